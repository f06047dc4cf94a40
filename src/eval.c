// eval.c - asking, counting, telling, showing.
#include "eval.h"
#include "convert.h"
#include "engine.h"
#include "num.h"
#include <jansson.h>
#include <unistd.h>

enum { TOGETHER = 64, SLICE = 256 }; // answers at once, and prompt tokens of a turn
enum { GREEDY, SAMPLED };

// An answer that is asked for. Its draws are named by these, so they do not depend on what else is
// asked.
typedef struct {
    int skill;
    uint32_t number; // of the held-out problem
    int sample;      // -1: the greedy one
} ask;

typedef struct {
    const eval_options *o;
    model m;
    qgre q;
    long ctx;
    ask *asked;          // [n]
    qgre_answer *answer; // [n] ids are its own
    long n, ended;
    int unsaved; // a file could not be written
} eval;

// Of some answers, how many have each quality; [qualities]: all of them.
typedef struct {
    int64_t n, problems, passed[QUALITIES + 1];
} score;

typedef struct {
    score of[SKILLS + 1][2]; // [skills]: of those that are trained; greedy, sampled
    long different[SKILLS];  // problems
} scores;

// ---- asking

static void problem_of(const eval *v, const ask *a, task_problem *p) {
    v->o->task->problem(a->skill, v->o->seed, a->number, 1, p);
}

static int request(eval *v, engine *e, long i, char err[ERR]) {
    const ask *a = &v->asked[i];
    sample_options how = {.top_p = 1, .seed = v->o->seed};
    task_problem p;
    int32_t *id;
    problem_of(v, a, &p);
    int64_t n = qgre_prompt(&v->q, &p, &id, err), most = v->ctx + 1 - n;
    if (n < 0) return -1;
    if (a->sample >= 0) how.temperature = (float)v->o->temperature;
    how.stream = (uint32_t)a->skill << 24 | a->number << 8 | (uint32_t)(a->sample & 255);
    uint8_t *data = must_alloc(J_REQUEST_HEAD + 4 * (size_t)n, 1);
    uint32_t size = engine_request(data, (uint64_t)i, 0, &how, -1, most, id, n);
    journal_record r = {.kind = J_REQUEST, .size = size, .data = data};
    int bad = most < 1 ? fail(err, "a problem of %s: %ld tokens: expected at most --ctx %ld",
                              v->o->task->name, (long)n, v->ctx)
                       : engine_input(e, &r, err);
    free(data);
    free(id);
    return bad;
}

static void hear(void *ctx, const sequence *s, const float *logits, int64_t vocab) {
    eval *v = ctx;
    (void)logits, (void)vocab;
    if (!s->end) return;
    int32_t *id = must_alloc((size_t)s->made, sizeof *id);
    memcpy(id, s->token + s->n, (size_t)s->made * sizeof *id);
    v->answer[s->id] = (qgre_answer){.id = id, .n = s->made, .ended = s->end == END_STOP};
    v->ended++;
    if (isatty(2) && (v->ended % TOGETHER == 0 || v->ended == v->n))
        fprintf(stderr, "\r%ld/%ld answers%s", v->ended, v->n, v->ended == v->n ? "\r\033[K" : "");
}

// Gets the answers to all that is asked.
static int get_answers(eval *v, char err[ERR]) {
    engine_options eo = {.slice = SLICE, .floor = 1, .snapshot = 1};
    train_text none = {0};
    engine_learning learn = {.text = &none};
    engine_owner owner = {.ctx = v, .drawn = hear};
    long next = 0, keys = KEYS, did = 1;
    int32_t count = token_count(v->q.t);
    eo.context = v->ctx + 1, eo.slots = lane_together(&v->m, eo.context, TOGETHER);
    if (eo.context < keys) keys = eo.context;
    eo.pages = eo.slots * ((eo.context + keys - 1) / keys);
    eo.known = count < v->m.c.vocab ? count : v->m.c.vocab;
    v->answer = must_alloc((size_t)v->n, sizeof *v->answer);
    v->ended = 0;
    engine *e = engine_open(&v->m, v->o->by, &eo, &learn, &owner);
    int bad = engine_wake(e, 1, err);
    while (!bad && did > 0) {
        while (!bad && next < v->n && engine_now(e).waiting < TOGETHER)
            bad = request(v, e, next++, err);
        did = bad ? 0 : engine_turn(e, err);
    }
    engine_close(e);
    return bad || did < 0 ? -1 : 0;
}

static void forget(eval *v) {
    for (long i = 0; i < v->n && v->answer; i++) {
        free((void *)(uintptr_t)v->answer[i].id);
        free(v->answer[i].advantage);
    }
    free(v->answer);
    free(v->asked);
    v->answer = NULL, v->asked = NULL, v->n = 0;
}

// ---- counting

void eval_wilson(double passed, double n, double *low, double *high) {
    const double z = 1.959963984540054, share = n > 0 ? passed / n : 0;
    double middle = passed + z * z / 2, over = n + z * z;
    double half = z * (double)num_sqrt((float)(passed * (1 - share) + z * z / 4));
    *low = passed <= 0 ? 0 : (middle - half) / over;
    *high = passed >= n ? 1 : (middle + half) / over;
}

static void judge_all(eval *v) {
#pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < v->n; i++) {
        const ask *a = &v->asked[i];
        const uint32_t seed[2] = {v->o->seed ^ 0x6576616c, // "eval"
                                  (uint32_t)a->skill << 16 | a->number};
        task_problem p;
        problem_of(v, a, &p);
        qgre_verdict(&v->q, &p, seed, &v->answer[i], NULL);
    }
}

// Every answer with what was found of it, for judges of another make. Invalid bytes become U+FFFD.
static int save_answers(const eval *v, char err[ERR]) {
    const task *t = v->o->task;
    size_t room = token_room(v->q.t);
    char *out = must_alloc(room, 1);
    FILE *f = convert_create(v->o->answers);
    for (long i = 0; i < v->n && f; i++) {
        const ask *a = &v->asked[i];
        const qgre_answer *w = &v->answer[i];
        char *text;
        size_t size;
        FILE *memory = open_memstream(&text, &size);
        token_stream s = {0};
        task_problem p;
        json_t *passed = json_array();
        must(memory != NULL);
        for (int64_t k = 0; k <= w->n - w->ended; k++) {
            int32_t id = k < w->n - w->ended ? w->id[k] : -1; // at last what is held
            fwrite(out, 1, token_decode(v->q.t, &s, id, 0, out, room), memory);
        }
        must(!fclose(memory));
        for (int k = 0; k < t->qualities; k++)
            if (w->verdict.passed >> k & 1)
                json_array_append_new(passed, json_string(t->quality[k].name));
        problem_of(v, a, &p);
        json_t *line =
            json_pack("{ss ss si so sb so}", "skill", t->skill[a->skill].name, "question",
                      p.question, "sample", a->sample, "answer", json_stringn(text, size), "formed",
                      w->verdict.formed, "passed", passed);
        must(line != NULL);
        json_dumpf(line, f, JSON_COMPACT);
        fputc('\n', f);
        json_decref(line);
        free(text);
    }
    free(out);
    return convert_commit(f, v->o->answers, err);
}

static void add(score *s, uint32_t passed, int qualities) {
    s->n++;
    for (int k = 0; k < qualities; k++) s->passed[k] += passed >> k & 1;
    s->passed[qualities] += passed == (1u << qualities) - 1;
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

// A skill of few numbers draws some of its problems more than once.
static long different(const eval *v, int skill) {
    long n = v->o->problems, all = 1;
    char(*question)[sizeof(task_problem)] = must_alloc((size_t)n, sizeof *question);
    for (long i = 0; i < n; i++) {
        task_problem p;
        problem_of(v, &(ask){skill, (uint32_t)i, -1}, &p);
        memcpy(question[i], p.question, sizeof p.question);
    }
    qsort(question, (size_t)n, sizeof *question, by_text);
    for (long i = 1; i < n; i++) all += strcmp(question[i - 1], question[i]) != 0;
    free(question);
    return all;
}

static int measure(eval *v, scores *s, char err[ERR]) {
    const task *t = v->o->task;
    long each = 1 + v->o->samples;
    v->n = t->skills * v->o->problems * each;
    v->asked = must_alloc((size_t)v->n, sizeof *v->asked);
    for (long i = 0; i < v->n; i++) {
        long problem = i / each;
        v->asked[i] = (ask){(int)(problem / v->o->problems), (uint32_t)(problem % v->o->problems),
                            (int)(i % each) - 1};
    }
    int bad = get_answers(v, err);
    if (!bad) judge_all(v);
    v->unsaved = !bad && v->o->answers && save_answers(v, err);
    for (long i = 0; i < v->n && !bad; i++) {
        int skill = v->asked[i].skill, drawn = v->asked[i].sample >= 0;
        uint32_t passed = v->answer[i].verdict.passed;
        add(&s->of[skill][drawn], passed, t->qualities);
        if (t->skill[skill].trained) add(&s->of[t->skills][drawn], passed, t->qualities);
    }
    for (int i = 0; i <= t->skills; i++)
        for (int k = 0; k < 2; k++)
            s->of[i][k].problems = k == SAMPLED && v->o->samples == 0 ? 0 : s->of[i][GREEDY].n;
    for (int i = 0; i < t->skills && !bad; i++) s->different[i] = different(v, i);
    forget(v);
    return bad;
}

// Share and interval of a quality. What varies freely are problems, not the answers to one.
static double share_of(const score *s, int quality, double *low, double *high) {
    double share = s->n ? (double)s->passed[quality] / (double)s->n : 0;
    int whole = s->n == s->passed[quality];
    double n = (double)s->problems;
    eval_wilson(whole ? n : share * n, n, low, high);
    return share;
}

// ---- telling

static int words(const char *name) {
    int n = 1;
    for (; *name; name++) n += *name == ' ';
    return n;
}

// Word number `at` of a name, as a column's head.
static void print_word(const char *name, int at) {
    for (; at > 0 && *name; at--) name += strcspn(name, " "), name += strspn(name, " ");
    char word[9];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(name, " "), name);
    printf("%9s", word);
}

// A skill's name has a word in each line of its column.
static void print_head(const task *t) {
    for (int line = 0, more = 1; more; line++) {
        more = 0;
        printf("%16s", "");
        for (int i = 0; i < t->skills; i++)
            print_word(t->skill[i].name, line), more |= words(t->skill[i].name) > line + 1;
        printf("%s\n", line ? "" : "  trained");
    }
    printf("%16s", "");
    for (int i = 0; i < t->skills; i++) printf("%9s", t->skill[i].trained ? "" : "untaught");
    printf("\n");
}

static void print_cell(const score of[2], int quality) {
    char text[2][16] = {"-", "-"}, both[40];
    for (int k = 0; k < 2; k++)
        if (of[k].n)
            snprintf(text[k], sizeof *text, "%.0f",
                     100 * (double)of[k].passed[quality] / (double)of[k].n);
    snprintf(both, sizeof both, "%s/%s", text[GREEDY], text[SAMPLED]);
    printf("%9s", both);
}

static void print_whole(const score of[2], int qualities, const char *whose) {
    static const char *const how[] = {"greedy", "sampled"};
    printf("all %d qualities, %s:", qualities, whose);
    for (int k = 0; k < 2; k++) {
        double low, high, share = share_of(&of[k], qualities, &low, &high);
        if (of[k].n)
            printf("%s %s %.1f%% (%.1f to %.1f) of %lld", k ? ";" : "", how[k], 100 * share,
                   100 * low, 100 * high, (long long)of[k].n);
    }
    printf("\n");
}

static void print_scores(const eval *v, const scores *s) {
    const task *t = v->o->task;
    printf("%s: %ld held-out problems of each skill, each answered once greedily and %ld times at "
           "temperature %g\npercent that pass, greedy/sampled\n",
           t->name, v->o->problems, v->o->samples, v->o->temperature);
    print_head(t);
    for (int k = 0; k <= t->qualities; k++) {
        printf("%-16.16s", k < t->qualities ? t->quality[k].name : "all");
        for (int i = 0; i <= t->skills; i++) print_cell(s->of[i], k);
        printf("\n");
    }
    printf("%-16s", "different");
    for (int i = 0; i < t->skills; i++) printf("%9ld", s->different[i]);
    printf("\n");
    print_whole(s->of[t->skills], t->qualities, "trained skills");
    for (int i = 0; i < t->skills; i++)
        if (!t->skill[i].trained) print_whole(s->of[i], t->qualities, t->skill[i].name);
}

static json_t *json_score(const task *t, const score *s) {
    json_t *all = json_object();
    for (int k = 0; k <= t->qualities; k++) {
        double low, high, share = share_of(s, k, &low, &high);
        json_object_set_new(all, k < t->qualities ? t->quality[k].name : "all",
                            json_pack("{s:I, s:I, s:f, s:f, s:f}", "n", (json_int_t)s->n, "passed",
                                      (json_int_t)s->passed[k], "share", share, "low", low, "high",
                                      high));
    }
    return all;
}

static int save_scores(const eval *v, const scores *s, char err[ERR]) {
    const eval_options *o = v->o;
    const task *t = o->task;
    char digest[65];
    json_t *skills = json_object(), *dir = json_string(o->dir);
    if (!dir) dir = json_null(); // a name that is not UTF-8
    train_digest(&v->m, digest);
    for (int i = 0; i < t->skills; i++)
        json_object_set_new(skills, t->skill[i].name,
                            json_pack("{s:b, s:I, s:o, s:o}", "trained", t->skill[i].trained,
                                      "different", (json_int_t)s->different[i], "greedy",
                                      json_score(t, &s->of[i][GREEDY]), "sampled",
                                      json_score(t, &s->of[i][SAMPLED])));
    json_t *all = json_pack("{s:s, s:o, s:s, s:I, s:I, s:f, s:I, s:I, s:o, s:o, s:o}", "task",
                            t->name, "model", dir, "sha256", digest, "problems",
                            (json_int_t)o->problems, "samples", (json_int_t)o->samples,
                            "temperature", o->temperature, "seed", (json_int_t)o->seed, "ctx",
                            (json_int_t)v->ctx, "greedy", json_score(t, &s->of[t->skills][GREEDY]),
                            "sampled", json_score(t, &s->of[t->skills][SAMPLED]), "skills", skills);
    const size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(9);
    int console = !strcmp(o->json, "-");
    FILE *f = console ? stdout : convert_create(o->json);
    if (f) json_dumpf(all, f, flags);
    if (console) putchar('\n');
    json_decref(all);
    return console ? 0 : convert_commit(f, o->json, err);
}

// ---- showing

enum { SHOWN = 16, SHADES = 3 }; // answers of a group; shades

static const float LEAST[SHADES] = {0, 0.2f, 0.6f}; // absolute advantage from which a shade is used
static const int SHADE[2][SHADES] = {{52, 88, 124}, {22, 28, 34}}; // below and above zero

static void begin_shade(float advantage) {
    float size = advantage < 0 ? -advantage : advantage;
    int level = 0;
    while (level + 1 < SHADES && size >= LEAST[level + 1]) level++;
    if (size > 0) printf("\033[38;5;231;48;5;%dm", SHADE[advantage > 0][level]);
}

// Bytes of a model go to the terminal as what they are, if they are printable, or as \xNN.
static void print_bytes(const char *text, size_t n, float advantage, int colour) {
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)text[i];
        if (c != '\n') {
            printf(c < 32 || c > 126 ? "\\x%02x" : "%c", c);
            continue;
        }
        printf("%s\n    ", colour ? "\033[0m" : "");
        if (colour) begin_shade(advantage);
    }
}

// Tokens that earned the same, one behind the other; without colour the number behind them.
static void print_run(const char *text, size_t n, float advantage, int colour) {
    int line = n && text[n - 1] == '\n';
    if (colour) begin_shade(advantage);
    print_bytes(text, n - (size_t)line, advantage, colour);
    if (colour) printf("\033[0m");
    if (!colour && (advantage < 0 || advantage > 0)) printf("[%+.2f]", (double)advantage);
    if (line) print_bytes("\n", 1, 0, 0);
}

static void print_answer(const eval *v, const qgre_answer *a, int colour) {
    static const char end[] = "<end>";
    const task *t = v->o->task;
    size_t room = token_room(v->q.t) + sizeof end;
    char *text = must_alloc((size_t)a->n + 1, room);
    printf("  passes");
    for (int k = 0; k < t->qualities; k++)
        if (a->verdict.passed >> k & 1) printf(" %s,", t->quality[k].name);
    printf(" %d of %d%s\n    ", __builtin_popcount(a->verdict.passed), t->qualities,
           a->verdict.formed ? "" : " (without the form)");
    for (int64_t i = 0, from = 0; i < a->n; from = i) {
        size_t size = 0;
        do {
            if (i == a->n - 1 && a->ended)
                memcpy(text + size, end, sizeof end - 1), size += sizeof end - 1;
            else
                size += token_bytes(v->q.t, a->id[i], text + size, room);
            i++;
        } while (i < a->n && num_bits(a->advantage[i]) == num_bits(a->advantage[from]));
        print_run(text, size, a->advantage[from], colour);
    }
    printf("\n");
    free(text);
}

// Places of the best, the middle and the worst answer of a group, equals in their order.
static void choose(const qgre_answer *a, int of[3]) {
    int order[SHOWN];
    for (int i = 0, k; i < SHOWN; order[k] = i++)
        for (k = i; k && __builtin_popcount(a[order[k - 1]].verdict.passed) <
                             __builtin_popcount(a[i].verdict.passed);
             k--)
            order[k] = order[k - 1];
    of[0] = order[0], of[1] = order[SHOWN / 2], of[2] = order[SHOWN - 1];
}

static void print_legend(const eval *v, int colour) {
    printf("\nWhat tokens earn in a group of %d answers, by method %s at its beginning; the best, "
           "the middle and the worst.\n",
           SHOWN, qgre_name(v->o->method));
    if (!colour) printf("Numbers in brackets are advantages of the tokens before them.");
    for (int i = 0; i < 2 * SHADES && colour; i++) {
        int level = i < SHADES ? SHADES - 1 - i : i - SHADES;
        float sign = i < SHADES ? -1 : 1, least = LEAST[level];
        begin_shade(sign * (least > 0 ? least : 0.1f));
        printf(" %s %.1f \033[0m", i < SHADES ? "below" : "above",
               (double)(least > 0 ? sign * least : 0));
    }
    printf("\n");
}

static int show(eval *v, char err[ERR]) {
    const task *t = v->o->task;
    const char *plain = getenv("NO_COLOR");
    int colour = isatty(1) && !(plain && *plain);
    v->n = v->o->show * SHOWN;
    v->asked = must_alloc((size_t)v->n, sizeof *v->asked);
    for (long i = 0; i < v->n; i++) {
        long problem = i / SHOWN;
        v->asked[i] =
            (ask){(int)(problem % t->skills), (uint32_t)(problem / t->skills), (int)(i % SHOWN)};
    }
    int bad = get_answers(v, err);
    if (!bad) print_legend(v, colour);
    for (long i = 0; i < v->n && !bad; i += SHOWN) {
        qgre_answer *a = v->answer + i;
        task_problem p;
        int best[3];
        problem_of(v, &v->asked[i], &p);
        for (int k = 0; k < SHOWN; k++)
            a[k].advantage = must_alloc((size_t)a[k].n, sizeof *a[k].advantage);
        v->q.now = (qgre_state){0};
        qgre_judge(&v->q, 0, i / SHOWN, v->asked[i].skill, &p, a, SHOWN);
        choose(a, best);
        printf("\nproblem %ld\n    ", i / SHOWN + 1);
        print_bytes(p.question, strlen(p.question), 0, 0);
        printf("\n");
        for (int k = 0; k < 3; k++) print_answer(v, &a[best[k]], colour);
    }
    forget(v);
    return bad;
}

// ---- all of it

int eval_run(const eval_options *o, char err[ERR]) {
    eval v = {.o = o};
    scores *s = must_alloc(1, sizeof *s);
    tokenizer *t = token_open(o->dir, err);
    int bad = !t || model_open(&v.m, o->dir, err);
    v.q = (qgre){.seed = o->seed, .t = t};
    v.q.o = (qgre_options){.task = o->task, .method = o->method, .group = SHOWN};
    if (!bad) v.ctx = o->ctx ? o->ctx : v.m.c.context < 160 ? (long)v.m.c.context : 160;
    if (!bad && v.ctx > v.m.c.context)
        bad = fail(err, "--ctx %ld: expected at most %ld, the model's context", v.ctx,
                   (long)v.m.c.context);
    int alone = o->json && !strcmp(o->json, "-");
    bad = bad || measure(&v, s, err);
    if (!bad && !alone) print_scores(&v, s);
    if (!bad && o->json && save_scores(&v, s, err)) v.unsaved = 1;
    if (!bad && o->show) bad = show(&v, err);
    if (v.m.layer) model_close(&v.m);
    if (t) token_close(t);
    free(s);
    return bad || v.unsaved ? -1 : 0;
}
