// practice.c - the line of a step, and the curves of all of them.
#include "practice.h"
#include "bench.h"
#include "convert.h"
#include <jansson.h>

// ---- a step

int practice_read(practice_step *s, const task *t, const uint8_t *data, uint32_t size) {
    uint32_t head[2], of[3], all = (1u << t->qualities) - 1;
    if (size < J_REWARD_HEAD) return -1;
    memcpy(head, data + 16, sizeof head);
    if (head[0] != (uint32_t)t->skills || head[1] % 3 || !head[1] ||
        size != J_REWARD_HEAD + 4 * ((uint64_t)head[0] + head[1]))
        return -1;
    *s = (practice_step){.answers = head[1] / 3};
    memcpy(s->mastered, data + J_REWARD_HEAD, 4 * head[0]);
    for (int i = 0; i < t->skills; i++)
        if (s->mastered[i] & ~all) return -1;
    const uint8_t *p = data + J_REWARD_HEAD + 4 * head[0];
    for (int64_t i = 0; i < s->answers; i++, p += sizeof of) {
        memcpy(of, p, sizeof of);
        if ((of[0] & 255) >= head[0] || of[1] & ~all) return -1;
        s->skills |= 1u << (of[0] & 255);
        for (int k = 0; k < t->qualities; k++) s->passed[k] += of[1] >> k & 1;
        s->passed[t->qualities] += of[1] == all;
        s->tokens += of[2];
    }
    return 0;
}

static struct {
    const task *t;
    long steps;
    double begun;
    uint64_t tokens;    // drawn before
    practice_step step; // as far as it is known
} now;

void practice_begin(const engine_options *o, engine_state s) {
    now.t = o->practice.task, now.steps = o->train.steps;
    now.begun = bench_now(), now.tokens = s.tried;
}

void practice_say(journal_kind kind, const uint8_t *data, uint32_t size, const engine_state *s) {
    const task *t = now.t;
    const practice_step *r = &now.step;
    if (kind == J_REWARD) must(!practice_read(&now.step, t, data, size));
    if (kind != J_UPDATE || !r->answers) return;
    double took = bench_now() - now.begun, each = 1.0 / (double)r->answers;
    int mastered = 0, all = 0;
    fprintf(stderr, "step %ld/%ld ", s->step, now.steps);
    for (int k = 0; k < t->qualities; k++)
        fprintf(stderr, " %s %2.0f", t->quality[k].name, 100 * each * (double)r->passed[k]);
    for (int i = 0; i < t->skills; i++)
        if (t->skill[i].trained)
            mastered += __builtin_popcount(r->mastered[i]), all += t->qualities;
    fprintf(stderr, "  all %2.0f%%  mastered %d/%d  skills",
            100 * each * (double)r->passed[t->qualities], mastered, all);
    for (int i = 0; i < t->skills; i++)
        if (r->skills >> i & 1) fprintf(stderr, " %s", t->skill[i].name);
    fprintf(stderr, "  %.0f tokens each, %.1f s, %.0f tokens/s, norm %.3g\n",
            each * (double)r->tokens, took, (double)(s->tried - now.tokens) / took,
            (double)s->norm);
    now.begun = bench_now(), now.tokens = s->tried;
}

// ---- all steps of a journal

typedef struct {
    const char *path;
    const task *t;
    char method[16];
    long planned;      // steps of the whole run
    practice_step *of; // [n]
    long n;
    practice_step next; // its answers are known, its update is not
} course;

// The first record says what is practised.
static int read_open(course *c, const journal_record *r, char err[ERR]) {
    const char *name = "", *method = "";
    json_int_t steps = 0;
    json_t *all = json_loadb((const char *)r->data, r->size, 0, NULL);
    int bad = r->kind != J_OPEN || json_unpack(all, "{s:{s:I, s:{s:s, s:s}}}", "learn", "steps",
                                               &steps, "task", "name", &name, "method", &method);
    c->t = bad ? NULL : task_named(name);
    snprintf(c->method, sizeof c->method, "%s", method);
    c->planned = (long)steps;
    json_decref(all);
    bad = bad || !c->t || qgre_named(c->method) < 0 || steps < 1 || steps > 1 << 24;
    return bad ? fail(err, "%.300s: record 1: no task is practised", c->path) : 0;
}

// A step counts with its update: what a killed process had tried but not learned was tried again.
static int read_record(void *ctx, const journal_record *r, char err[ERR]) {
    course *c = ctx;
    if (r->number == 1) return read_open(c, r, err);
    if (r->kind == J_REWARD && practice_read(&c->next, c->t, r->data, r->size))
        return fail(err, "%.300s: record %llu: not of task %s", c->path,
                    (unsigned long long)r->number, c->t->name);
    if (r->kind != J_UPDATE || !c->next.answers) return 0;
    if (c->n % 1024 == 0) {
        c->of = realloc(c->of, (size_t)(c->n + 1024) * sizeof *c->of);
        must(c->of != NULL);
    }
    memcpy(&c->next.step, r->data + 16, 8);
    c->of[c->n++] = c->next;
    c->next.answers = 0;
    return 0;
}

static int save_json(const course *c, const char *path, char err[ERR]) {
    const task *t = c->t;
    json_t *qualities = json_array(), *skills = json_array(), *steps = json_array();
    for (int k = 0; k < t->qualities; k++)
        json_array_append_new(qualities, json_string(t->quality[k].name));
    for (int i = 0; i < t->skills; i++)
        json_array_append_new(skills, json_string(t->skill[i].name));
    for (long i = 0; i < c->n; i++) {
        const practice_step *s = &c->of[i];
        json_t *share = json_array(), *tried = json_array(), *mastered = json_array();
        for (int k = 0; k < t->qualities; k++)
            json_array_append_new(share, json_real((double)s->passed[k] / (double)s->answers));
        for (int k = 0; k < t->skills; k++) {
            if (s->skills >> k & 1) json_array_append_new(tried, json_integer(k));
            json_array_append_new(mastered, json_integer(s->mastered[k]));
        }
        json_array_append_new(steps,
                              json_pack("{s:I, s:I, s:I, s:o, s:f, s:o, s:o}", "step",
                                        (json_int_t)s->step, "answers", (json_int_t)s->answers,
                                        "tokens", (json_int_t)s->tokens, "share", share, "all",
                                        (double)s->passed[t->qualities] / (double)s->answers,
                                        "skills", tried, "mastered", mastered));
    }
    json_t *all =
        json_pack("{s:s, s:s, s:I, s:o, s:o, s:o}", "task", t->name, "method", c->method, "planned",
                  (json_int_t)c->planned, "qualities", qualities, "skills", skills, "steps", steps);
    FILE *f = convert_create(path);
    if (f) json_dumpf(all, f, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(all);
    return convert_commit(f, path, err);
}

// ---- the plot: curves above, a row for each skill below

// Pixels: the curves' field and the rows below it; steps of a running mean; points of a curve.
enum { LEFT = 130, WIDE = 440, UP = 40, DOWN = 300, ROWS = 340, MEAN = 10, POINTS = 1000 };
static const char *const COLOUR[SECTIONS] = {"#c22", "#d70", "#a90", "#283",
                                             "#0aa", "#26d", "#83c", "#777"};

static double across(const course *c, int64_t step) {
    return LEFT + WIDE * (double)step / (double)c->planned;
}

// How a quality is drawn; [qualities]: all of them.
static void put_style(const task *t, int quality, FILE *f) {
    if (quality == t->qualities)
        fprintf(f, "stroke='#000' stroke-width='2.5'");
    else
        fprintf(f, "stroke='%s' stroke-width='1.5'%s", COLOUR[t->quality[quality].section],
                t->quality[quality].truth ? "" : " stroke-dasharray='5 3'");
}

static void put_curve(const course *c, int quality, FILE *f) {
    int64_t passed = 0, answers = 0;
    long apart = (c->n + POINTS - 1) / POINTS, drawn = 0;
    fprintf(f, "<path fill='none' ");
    put_style(c->t, quality, f);
    fprintf(f, " d='");
    for (long i = 0; i < c->n; i++) {
        passed += c->of[i].passed[quality], answers += c->of[i].answers;
        if (i >= MEAN)
            passed -= c->of[i - MEAN].passed[quality], answers -= c->of[i - MEAN].answers;
        if (i % apart && i + 1 < c->n) continue;
        fprintf(f, "%c%.1f %.1f", drawn++ ? 'L' : 'M', across(c, c->of[i].step),
                DOWN - (DOWN - UP) * (double)passed / (double)answers);
    }
    fprintf(f, "'/>\n");
}

static void put_axes(const course *c, FILE *f) {
    fprintf(f,
            "<svg xmlns='http://www.w3.org/2000/svg' width='760' height='460' "
            "font-family='sans-serif' font-size='12'>\n<rect width='760' height='460' "
            "fill='#fff'/>\n<text x='%d' y='22' font-size='13'>%s, method %s: percent of answers "
            "that pass, mean of the last %d steps</text>\n",
            LEFT, c->t->name, c->method, MEAN);
    for (int i = 0; i <= 4; i++) {
        int y = DOWN - (DOWN - UP) * i / 4;
        long step = c->planned * i / 4;
        fprintf(f,
                "<path d='M%d %dh%d' stroke='#ddd'/><text x='%d' y='%d' text-anchor='end'>%d"
                "</text><text x='%.1f' y='%d' text-anchor='middle'>%ld</text>\n",
                LEFT, y, WIDE, LEFT - 6, y + 4, 25 * i, across(c, step), DOWN + 18, step);
    }
}

static void put_legend(const task *t, FILE *f) {
    const int x = LEFT + WIDE + 20, y = UP + 14 * (t->qualities + 1) + 8;
    for (int k = 0; k <= t->qualities; k++) {
        fprintf(f, "<path d='M%d %dh26' ", x, UP + 14 * k);
        put_style(t, k, f);
        fprintf(f, "/><text x='%d' y='%d'>%s</text>\n", x + 32, UP + 4 + 14 * k,
                k < t->qualities ? t->quality[k].name : "all");
    }
    fprintf(f,
            "<text x='%d' y='%d' fill='#555'>skill: from its first try on</text>\n"
            "<text x='%d' y='%d' fill='#555'>mark above: mastered</text>\n"
            "<text x='%d' y='%d' fill='#555'>mark below: lost again</text>\n",
            x, y, x, y + 16, x, y + 32);
}

// When a skill was tried first, and when each of its qualities was mastered or lost again.
static void put_skill(const course *c, int skill, double y, double tall, FILE *f) {
    const task *t = c->t;
    uint32_t before = 0;
    long first = 0;
    while (first < c->n && !(c->of[first].skills >> skill & 1)) first++;
    fprintf(f, "<text x='%d' y='%.1f' text-anchor='end' font-size='10'>%s</text>\n", LEFT - 6,
            y + 3, t->skill[skill].name);
    if (first == c->n) return;
    double x = across(c, c->of[first].step);
    fprintf(f,
            "<path d='M%.1f %dV%.1f' stroke='#bbb' stroke-dasharray='1 3'/>"
            "<path d='M%.1f %.1fH%.1f' stroke='#999'/>\n",
            x, UP, y, x, y, across(c, c->of[c->n - 1].step));
    for (long i = first; i < c->n; i++) {
        uint32_t has = c->of[i].mastered[skill], turned = has ^ before;
        for (int k = 0; k < t->qualities; k++)
            if (turned >> k & 1)
                fprintf(f, "<path d='M%.1f %.1fv%.1f' stroke='%s' stroke-width='%s'/>\n",
                        across(c, c->of[i].step), y, has >> k & 1 ? -tall : tall,
                        COLOUR[t->quality[k].section], t->quality[k].truth ? "2" : "1");
        before = has;
    }
}

static int save_svg(const course *c, const char *path, char err[ERR]) {
    const task *t = c->t;
    FILE *f = convert_create(path);
    int rows = 0, row = 0;
    if (!f) return convert_commit(f, path, err);
    for (int i = 0; i < t->skills; i++) rows += t->skill[i].trained != 0;
    double apart = rows > 6 ? 110.0 / rows : 18;
    put_axes(c, f);
    for (int i = 0; i < t->skills; i++)
        if (t->skill[i].trained) put_skill(c, i, ROWS + apart * row++, apart * 0.4, f);
    for (int k = 0; k <= t->qualities && c->n; k++) put_curve(c, k, f);
    put_legend(t, f);
    fprintf(f, "</svg>\n");
    return convert_commit(f, path, err);
}

int practice_plot(const char *path, const char *out, char err[ERR]) {
    course c = {.path = path};
    char name[2][4096];
    snprintf(name[0], sizeof *name, "%s/train.json", out);
    snprintf(name[1], sizeof *name, "%s/train.svg", out);
    int bad = journal_read(path, read_record, &c, NULL, err);
    if (!bad && !c.t) bad = fail(err, "%.300s: no record", path);
    bad = bad || save_json(&c, name[0], err) || save_svg(&c, name[1], err);
    free(c.of);
    return bad ? -1 : 0;
}
