// test_qgre - credit, baselines, gates and escalation, with figures worked out by hand.
#include "qgre.h"
#include <math.h>

static int failed;
static void check(int ok, const char *what) {
    printf("%s qgre: %s\n", ok ? "ok" : "FAIL", what);
    failed |= !ok;
}

// Two lines "p = ..", "T = .."; the qualities of each: that it is a number (structure), and which.
static void problem(int skill, uint32_t seed, uint32_t number, int held, task_problem *p) {
    (void)seed, (void)number, (void)held;
    *p = (task_problem){.bound = 1};
    snprintf(p->question, sizeof p->question, "q");
    strcpy(p->bind[0].name, "W");
    snprintf(p->bind[0].text, sizeof p->bind[0].text, "%d", 7 + skill);
}
static const task_section sections[] = {{"p", "A"}, {"T", "B"}};
static const task_quality qualities[] = {{"p s", 0, 0, "A_q = 0", 0, 1},
                                         {"p t", 0, 1, "A = W", 1, 1},
                                         {"T s", 1, 0, "B_q = 0", 0, 1},
                                         {"T t", 1, 1, "B = 2*W", 4 | 2, 1}};
static const task_skill skills[] = {
    {"first", 0, 0, 1, 0, 0}, {"second", 1, 0, 1, 0, 0}, {"never", 1, 0, 0, 0, 0}};
static const char *const variables[] = {"q", NULL};
static const task small = {.name = "small",
                           .variable = variables,
                           .sections = 2,
                           .qualities = 4,
                           .skills = 3,
                           .section = sections,
                           .quality = qualities,
                           .skill = skills,
                           .window = 10,
                           .mastery = .8f,
                           .regression = .65f,
                           .problem = problem};

typedef struct {
    qgre_answer a[32];
    float advantage[32][64];
    int32_t *id[32];
    task_problem p;
} group;

// Answers of the tokenizer's tokens, each with its end token unless it ends in '~'.
static void judge_skill(qgre *q, group *g, int skill, const char *const *text, long n) {
    char err[ERR];
    int32_t end = token_id(q->t, "<|im_end|>");
    *g = (group){.p = {.bound = 0}};
    problem(skill, 0, 0, 0, &g->p);
    for (long i = 0; i < n; i++) {
        size_t size = strlen(text[i]);
        int cut = size && text[i][size - 1] == '~';
        int64_t k = token_encode(q->t, text[i], size - (size_t)cut, 0, &g->id[i], err);
        g->id[i] = realloc(g->id[i], (size_t)(k + 1) * 4);
        g->id[i][k] = end;
        g->a[i] = (qgre_answer){.id = g->id[i], .n = k + !cut, .ended = !cut};
        g->a[i].advantage = g->advantage[i];
    }
    qgre_judge(q, 3, 0, skill, &g->p, g->a, n);
}

static void judge(qgre *q, group *g, const char *const *text, long n) {
    judge_skill(q, g, 0, text, n);
}

static void done(group *g) {
    for (int i = 0; i < 32; i++) free(g->id[i]);
}

static int near(float a, double b) { return fabs((double)a - b) < 1e-6 * (1 + fabs(b)); }

// Every token of an answer has this advantage from .. to - 1.
static int all_are(const float *x, int from, int to, double value) {
    int ok = 1;
    for (int i = from; i < to; i++) ok &= near(x[i], value);
    return ok;
}

static qgre fresh(const tokenizer *t, qgre_method m) {
    return (qgre){.o = {.task = &small, .method = m, .group = 4, .review = 0.3}, .seed = 5, .t = t};
}

// Tokens of "p = 7\nT = 3": label, 7, line end, label, 3, end: six.
static void credit(const tokenizer *t) {
    static const char *const text[] = {"p = 7\nT = 3", "p = q\nT = 14", "p = 8\nT = q",
                                       "p = 7\nT = "};
    group g;
    qgre q = fresh(t, QGRE_CREDIT);
    judge(&q, &g, text, 4);
    uint32_t want[] = {7, 4 | 8, 1, 3};
    int ok = 1;
    for (int i = 0; i < 4; i++) ok &= g.a[i].verdict.formed && g.a[i].verdict.passed == want[i];
    check(ok, "verdicts");
    // p structure: 3 of 4 pass, p truth 2 of 4, T structure 2 of 4, T truth 1 of 4. Who passes has
    // (4 - 3)/3, (4 - 2)/3, (4 - 2)/3 and (4 - 1)/3, times one over the share: 4/9, 4/3, 4/3, 4. Who
    // does not has -3/3, -2/3, -2/3, -1/3, times one over the share: -4/3 each.
    const float *x = g.advantage[1];
    check(all_are(g.advantage[0], 1, 3, 4. / 9 + 4. / 3) &&
              all_are(g.advantage[2], 1, 3, 4. / 9 - 4. / 3),
          "credit: a section's own qualities, with its line end");
    check(all_are(x, 4, 7, 4. / 3 + 4), "credit: the end belongs to the last line");
    check(near(x[0], 0) && near(x[3], 0), "credit: labels earn nothing");
    check(all_are(x, 1, 3, -4. / 3 - 4. / 3) && all_are(g.advantage[0], 4, 6, 4. / 3 - 4. / 3),
          "credit: right in one section, wrong in another");
    done(&g);
    q = fresh(t, QGRE_UNIFORM);
    judge(&q, &g, text, 4);
    check(all_are(g.advantage[0], 1, 3, 8. / 9) && near(g.advantage[0][4], 8. / 9) &&
              all_are(g.advantage[1], 1, 3, 4. / 3) && near(g.advantage[1][4], 4. / 3),
          "uniform: the mean of all sections in every one");
    check(near(g.advantage[0][0], 0) && near(g.advantage[0][3], 0), "uniform: labels earn nothing");
    done(&g);
    q = fresh(t, QGRE_GATED);
    judge(&q, &g, text, 4);
    check(all_are(g.advantage[0], 1, 3, 4. / 9) && all_are(g.advantage[0], 4, 6, 4. / 3),
          "gates: truth does not count before structure is mastered");
    done(&g);
}

static void malformed(const tokenizer *t) {
    static const char *const text[] = {"p = 7\nT = 14~", "p = 7\np = 7\nT = 14", "T = 14\np = 7",
                                       "p = 7\nT = 14\nq"};
    group g;
    qgre q = fresh(t, QGRE_CREDIT);
    judge(&q, &g, text, 4);
    check(!g.a[0].verdict.formed && !g.a[1].verdict.formed && !g.a[3].verdict.formed &&
              !(g.a[0].verdict.passed | g.a[1].verdict.passed | g.a[3].verdict.passed),
          "malformed: no end, two lines of a label, something more");
    // p structure and truth stand in 3 of 4, those of T in 2 of 4. With nothing an answer loses the
    // share of the others that have a quality, times 4 over their number: 4/3, whoever they are.
    check(all_are(g.advantage[0], 0, (int)g.a[0].n, -8. / 3 - .1), "malformed: no end: all of it");
    check(near(g.advantage[1][1], 8. / 9) &&
              all_are(g.advantage[1], 2, (int)g.a[1].n, -8. / 3 - .1),
          "malformed: from the line on that is one too many");
    check(near(g.advantage[1][0], -8. / 3 - .1) && near(g.advantage[3][0], -8. / 3 - .1) &&
              near(g.advantage[3][3], -8. / 3 - .1) && near(g.advantage[2][0], 0),
          "malformed: labels pay as well, also of lines that are there; else they do not");
    check(all_are(g.advantage[3], 4, 6, 8. / 3) && all_are(g.advantage[3], 6, 9, -8. / 3 - .1),
          "malformed: what stands behind the last line");
    check(g.a[2].verdict.passed == 15 && near(g.advantage[2][2], 8. / 3),
          "lines in another order are read");
    done(&g);
    static const char *const ended[] = {"p = 8", "p = 7\nT = 14"};
    q = fresh(t, QGRE_CREDIT);
    judge(&q, &g, ended, 2);
    check(near(g.advantage[0][1], -2) && near(g.advantage[0][2], -2 - 4 - .1) &&
              all_are(g.advantage[1], 1, 3, 2) && all_are(g.advantage[1], 4, 7, 4),
          "malformed: ending behind a wrong line costs more than the line");
    check(near(g.advantage[0][0], -4 - .1) && near(g.advantage[1][0], 0) &&
              near(g.advantage[1][3], 0),
          "malformed: where a line is missing, the label that is there pays");
    // T alone, the label of p was passed over: both answers have T, which earns nothing then. Without
    // anything the first one would lose 4 in each line.
    static const char *const skipped[] = {"T = 14", "p = 7\nT = 14"};
    done(&g);
    q = fresh(t, QGRE_CREDIT);
    judge(&q, &g, skipped, 2);
    check(!g.a[0].verdict.formed && near(g.advantage[0][0], -4 - .1) &&
              all_are(g.advantage[0], 1, (int)g.a[0].n - 1, 0) &&
              near(g.advantage[0][g.a[0].n - 1], -4 - .1),
          "malformed: the label that passed over a line");
    done(&g);
    static const char *const thought[] = {"<think>T = 3</think>\n\np = 7\nT = 14",
                                          "<think>p = 7\nT = 14"};
    q = fresh(t, QGRE_CREDIT);
    judge(&q, &g, thought, 2);
    int thoughts = 0; // tokens up to the first of the answer's own value
    while (thoughts < g.a[0].n && near(g.advantage[0][thoughts], 0)) thoughts++;
    check(g.a[0].verdict.passed == 15 && thoughts > 10 && thoughts < (int)g.a[0].n,
          "thoughts earn nothing");
    check(!g.a[1].verdict.formed, "thoughts that do not end are no answer");
    done(&g);
    // The last three tokens are a label, 8 and the end; as in `ended`.
    static const char *const aloud[] = {"<think>T = 3</think>\n\np = 8", "p = 7\nT = 14"};
    q = fresh(t, QGRE_CREDIT);
    judge(&q, &g, aloud, 2);
    const float *x = g.advantage[0];
    int n = (int)g.a[0].n;
    check(!g.a[0].verdict.formed && n > 13 && all_are(x, 0, n - 3, 0) && near(x[n - 3], -4 - .1) &&
              near(x[n - 2], -2) && near(x[n - 1], -2 - 4 - .1),
          "malformed: a label behind thoughts pays, thoughts do not");
    done(&g);
}

// The code of each token: of a section, '.' none, '!' what breaks the form.
static int codes(const tokenizer *t, const char *text, const char *want) {
    static const uint32_t seed[2] = {1, 2};
    char err[ERR], have[64] = "";
    int8_t section[64];
    int32_t *id;
    task_problem p;
    qgre q = fresh(t, QGRE_CREDIT);
    problem(0, 0, 0, 0, &p);
    int64_t n = token_encode(t, text, strlen(text), 0, &id, err);
    id = realloc(id, (size_t)(n + 1) * 4);
    id[n] = token_id(t, "<|im_end|>");
    qgre_answer a = {.id = id, .n = n + 1, .ended = 1};
    qgre_verdict(&q, &p, seed, &a, section);
    for (int64_t i = 0; i <= n; i++)
        have[i] = section[i] < 0 ? '.' : section[i] == SECTIONS ? '!' : (char)('0' + section[i]);
    free(id);
    return !strcmp(have, want);
}

static void sections_of(const tokenizer *t) {
    check(codes(t, "p = 7\nT = 3", ".00.11"), "codes: sections, and labels of none");
    check(codes(t, "p = 7\nT = 14\nq", "!00!11!!!"), "codes: labels of an answer without its form");
    check(codes(t, "p = 8", "!00"), "codes: a missing line does not change the line that is there");
    check(codes(t, "q", "!!") && codes(t, "", "!"), "codes: no line at all");
}

static void alone(const tokenizer *t) {
    static const char *const right[] = {"p = 7\nT = 14"};
    group g;
    qgre q = fresh(t, QGRE_CREDIT);
    judge(&q, &g, right, 1);
    check(all_are(g.advantage[0], 1, 3, 2), "a group of one: against the running mean");
    done(&g);
    check(near(q.now.skill[0].mean[1], 1. / 16), "the mean moves by a sixteenth");
    judge(&q, &g, right, 1);
    check(all_are(g.advantage[0], 1, 3, 2. * 15 / 16), "a full reward is still reinforced");
    done(&g);
}

static void gates(const tokenizer *t) {
    static const char *const right[] = {"p = 7\nT = 14", "p = 7\nT = 14", "p = 7\nT = 14",
                                        "p = 7\nT = 14"};
    static const char *const loose[] = {"p = 1\nT = 1", "p = 1\nT = 1", "p = 1\nT = 1",
                                        "p = q\nT = q"};
    group g;
    task_problem p;
    qgre q = fresh(t, QGRE_GATED);
    check(qgre_counts(&q, 0) == (1 | 4), "gates: structure counts first");
    for (int i = 0; i < 2; i++) judge(&q, &g, loose, 4), done(&g);
    check(q.now.skill[0].mastered == 0, "gates: nothing before the window is full");
    judge(&q, &g, loose, 4), done(&g); // of the first ten 8 have their structure, of the last 7
    check(q.now.skill[0].mastered == 5, "gates: mastered at .8, and still so at .7");
    for (int i = 0; i < 3; i++) judge(&q, &g, right, 4), done(&g);
    check(q.now.skill[0].mastered == 15 && qgre_counts(&q, 0) == 15, "gates: all open");
    int second = 0, first = 0, never = 0;
    for (int i = 0; i < 1000; i++) {
        int s = qgre_problem(&q, i, 0, &p);
        first += s == 0, second += s == 1, never += s == 2;
    }
    check(never == 0 && first > 250 && first < 350 && first + second == 1000,
          "escalation: the frontier, and reviews three times of ten");
    for (int i = 0; i < 2; i++) judge(&q, &g, loose, 4), done(&g); // 2 of 10 right: p truth falls
    check((q.now.skill[0].mastered & 2) == 0 && (q.now.skill[0].mastered & 1),
          "gates: truth falls back, structure stays by hysteresis");
    check(!(qgre_counts(&q, 0) & 8) && qgre_problem(&q, 0, 0, &p) == 0,
          "gates: what rests on it no longer counts, the next skill is locked");
    q = fresh(t, QGRE_UNIFORM);
    second = 0;
    for (int i = 0; i < 1000; i++) second += qgre_problem(&q, i, 0, &p) == 1;
    check(second > 440 && second < 560, "without gates: all trained skills alike");
    q = fresh(t, QGRE_GATED);
    int s = 1;
    for (int i = 0; i < 100; i++) s &= qgre_problem(&q, i, 1, &p) == 0;
    check(s, "escalation: locked skills are not tried");
}

// ---- a real tokenizer

// Ids of tokens of Qwen3's vocabulary, where a blank is written Ġ and a line end Ċ; "!": of a
// row of the head that is padding. -1: there is no such token.
static int spell(const tokenizer *t, const char *const *word, int32_t *id) {
    int n = 0;
    for (; word[n]; n++) {
        id[n] = *word[n] == '!' ? token_count(t) + 7 : token_id(t, word[n]);
        if (id[n] < 0) return -1;
    }
    return n;
}

// What each token of an answer alone earns: '+' all of a section, '.' nothing, '-' as one of an
// answer without form.
static void earns(const tokenizer *t, const char *const *word, const char *want, const char *what) {
    int32_t id[32];
    float x[32];
    task_problem p;
    qgre q = fresh(t, QGRE_CREDIT);
    int n = spell(t, word, id), ok = n == (int)strlen(want);
    problem(0, 0, 0, 0, &p);
    if (ok) {
        qgre_answer a = {.id = id, .n = n, .advantage = x};
        a.ended = id[n - 1] == token_id(t, "<|im_end|>");
        qgre_judge(&q, 3, 0, 0, &p, &a, 1);
    }
    for (int i = 0; i < n && ok; i++)
        ok = near(x[i], want[i] == '+' ? 2 : want[i] == '-' ? -.1 : 0);
    check(ok, what);
}

#define TWO_LINES "p", "Ġ=", "Ġ", "7", "Ċ", "T", "Ġ=", "Ġ", "1", "4"
static void qwen(const tokenizer *t) {
    earns(t, (const char *[]){TWO_LINES, "<|im_end|>", NULL}, "..+++..++++",
          "Qwen3: a blank in front of an expression is its own");
    earns(t,
          (const char *[]){"p", "Ġ=", "Ġ(", "7", ")Ċ", "T", "Ġ=", "Ġ", "1", "0", "Ġ+", "Ġ", "4",
                           "<|im_end|>", NULL},
          "..+++..+++++++", "Qwen3: tokens that begin before or end behind an expression");
    earns(t,
          (const char *[]){"<think>", "Ċ", "T", "Ġ=", "Ġ", "3", "Ċ", "</think>", "ĊĊ", TWO_LINES,
                           "<|im_end|>", NULL},
          "...........+++..++++", "Qwen3: thoughts earn nothing");
    earns(t, (const char *[]){"<think>", "Ċ", TWO_LINES, "<|im_end|>", NULL}, "-------------",
          "Qwen3: thoughts without an end");
    earns(t, (const char *[]){"p", "Ġ", "=Ċ", "T", "Ġ=", "Ġ", "1", "4", "<|im_end|>", NULL},
          "---------", "Qwen3: a label and a line end in one token");
    earns(t,
          (const char *[]){"p", "Ġ=", "Ġ", "7", "ĊĊ", "T", "Ġ=", "Ġ", "1", "4", "<|im_end|>", NULL},
          "--++-------", "Qwen3: two line ends in one token are an empty line, of no section");
    earns(t, (const char *[]){TWO_LINES, "!", NULL}, "-----------",
          "Qwen3: an id beyond the tokenizer ends an answer without form");
    earns(t,
          (const char *[]){"p", "Ġ=", "!", "Ġ", "7", "Ċ", "T", "Ġ=", "Ġ", "1", "4", "<|im_end|>",
                           NULL},
          "..++++..++++", "Qwen3: such an id has no text");
}

static void real(void) {
    char err[ERR], dir[4096];
    const char *data = getenv("ASSAY_DATA");
    snprintf(dir, sizeof dir, "%.4000s/qwen3-tokenizer", data ? data : "../shared/data");
    tokenizer *t = token_open(dir, err);
    if (!t) {
        printf("not run: qgre: %s\n", err);
        return;
    }
    task_problem p = {.question = "m = 2"};
    int32_t *id;
    qgre q = fresh(t, QGRE_CREDIT);
    int64_t n = qgre_prompt(&q, &p, &id, err);
    check(n > 5 && id[0] == token_id(t, "<|im_start|>") && id[1] == token_id(t, "user") &&
              id[n - 2] == token_id(t, "assistant") && id[n - 1] == token_id(t, "Ċ"),
          "Qwen3: the prompt is the question in its own template");
    free(id);
    qwen(t);
    token_close(t);
}

// What one skill learns late, behind others that have mastered what is due.
static void late(const tokenizer *t) {
    static const task_skill of[] = {
        {"first", 0, 8, 1, 3, 2 | 4}, {"second", 1, 4, 1, 0, 0}, {"third", 2, 4, 0, 0, 0}};
    task three = small;
    task_problem p;
    qgre q = fresh(t, QGRE_GATED);
    three.skill = of, q.o.task = &three;
    qgre_skill *s = q.now.skill;
    check(qgre_counts(&q, 0) == 4 && qgre_counts(&q, 1) == (1 | 4), "late: not before the others");
    s[1].mastered = s[2].mastered = 1 | 2 | 8;
    check(qgre_counts(&q, 0) == 4,
          "late: not when the others have mastered anything but what is due");
    s[1].mastered = 4;
    check(qgre_counts(&q, 0) == 4, "late: not when one of them has");
    s[1].mastered = 1, s[2].mastered = 4;
    check(qgre_counts(&q, 0) == 4, "late: nor when the other one has");
    s[1].mastered = 4;
    check(qgre_counts(&q, 0) == (1 | 4), "late: all of it when all have");
    s[0].mastered = 1;
    check(qgre_counts(&q, 0) == (1 | 2 | 4), "late: and its own gates hold");
    int second = 0;
    for (int i = 0; i < 100; i++) second += qgre_problem(&q, i, 0, &p) == 1;
    check(second == 0, "due: the second skill wants a quality of the first");
    s[0].mastered = 8;
    for (int i = 0; i < 100; i++) second += qgre_problem(&q, i, 0, &p) == 1;
    check(second > 25 && second < 75, "due: that one is enough");
    s[1].mastered = 0,
    s[0].mastered = 8 | 4; // all that counts there: what is late waits for the second
    second = 0;
    for (int i = 0; i < 1000; i++) second += qgre_problem(&q, i, 0, &p) == 1;
    check(second > 650 && second < 750, "late: a skill that waits is reviewed, not practised");
    q.o.method = QGRE_CREDIT;
    check(qgre_counts(&q, 0) == 15, "late: without gates all count");
}

// What is due is mastered, and lost: of a window of ten, with .8 and .65.
static void due(const tokenizer *t) {
    static const task_skill of[] = {{"first", 0, 4 | 1, 1, 0, 0}, {"second", 0, 0, 1, 3, 1}};
    static const char *const both[] = {"p = 1\nT = 1", "p = 1\nT = 1", "p = 1\nT = 1",
                                       "p = 1\nT = 1"};
    static const char *const no_t[] = {"p = 1\nT = q", "p = 1\nT = q", "p = 1\nT = q",
                                       "p = 1\nT = q"};
    task two = small;
    group g;
    qgre q = fresh(t, QGRE_GATED);
    two.skill = of, two.skills = 2, q.o.task = &two;
    for (int i = 0; i < 2; i++) judge(&q, &g, both, 4), done(&g);
    check(qgre_counts(&q, 1) == 4, "due: not mastered while the window is not full");
    judge(&q, &g, both, 4), done(&g);
    check(q.now.skill[0].mastered == 5 && qgre_counts(&q, 1) == 5,
          "due: mastered, what is late counts");
    judge(&q, &g, no_t, 2), done(&g); // 8 of 10
    check(qgre_counts(&q, 1) == 5, "due: still so at .8");
    judge(&q, &g, no_t, 2), done(&g); // 6 of 10; p keeps its structure
    check(q.now.skill[0].mastered == 1 && qgre_counts(&q, 1) == 4,
          "due: lost, what is late waits again");
    for (int i = 0; i < 2; i++) judge(&q, &g, both, 4), done(&g); // 8 of 10
    check(qgre_counts(&q, 1) == 5, "due: found again");
}

// Fills a skill's window of 16: so many of its answers, the last ones, have each quality.
static void fill(qgre *q, int ps, int pt, int ts, int tt) {
    const int have[] = {ps, pt, ts, tt};
    qgre_skill *s = &q->now.skill[0];
    memset(s->passed, 0, sizeof s->passed);
    s->seen = 16;
    for (int k = 0; k < 4; k++)
        for (int i = 16 - have[k]; i < 16; i++) s->passed[i] |= 1u << k;
}

static void rarity_of_groups(const tokenizer *t) {
    static const char *const text[] = {"p = 7\nT = 14", "p = 7\nT = 3", "p = 7\nT = q",
                                       "p = 8\nT = q"};
    task wide = small;
    group g;
    // Shares of 4/4, 3/4, 2/4 and 1/4: who passes has 0, (4 - 3)/3 * 4/3, (4 - 2)/3 * 2, (4 - 1)/3 * 4,
    // who does not -4/3 each. A skill's window is not asked.
    wide.window = 16;
    for (int i = 0; i < 2; i++) {
        qgre q = fresh(t, QGRE_CREDIT);
        q.o.task = &wide;
        if (i) fill(&q, 1, 2, 4, 8);
        judge(&q, &g, text, 4);
        check(all_are(g.advantage[0], 1, 3, 4. / 9) && all_are(g.advantage[3], 1, 3, -4. / 3),
              "rarity: what all have earns nothing");
        check(all_are(g.advantage[0], 4, 7, 4. / 3 + 4) &&
                  all_are(g.advantage[1], 4, 6, 4. / 3 - 4. / 3) &&
                  all_are(g.advantage[2], 4, 6, -4. / 3 - 4. / 3),
              "rarity: one over the share of the group, each quality by its own");
        check(near(g.advantage[0][0], 0) && near(g.advantage[3][3], 0),
              "rarity: labels earn nothing");
        done(&g);
    }
    qgre q = fresh(t, QGRE_UNIFORM);
    judge(&q, &g, text, 4);
    check(all_are(g.advantage[0], 1, 3, 26. / 9) && all_are(g.advantage[0], 4, 7, 26. / 9) &&
              all_are(g.advantage[1], 1, 3, 2. / 9) && all_are(g.advantage[2], 1, 3, -10. / 9) &&
              all_are(g.advantage[3], 4, 6, -2),
          "rarity: uniform has the mean of both sections");
    done(&g);
    q = fresh(t, QGRE_GATED);
    judge(&q, &g, text, 4);
    check(all_are(g.advantage[3], 1, 3, 0) && all_are(g.advantage[0], 4, 7, 4. / 3),
          "rarity: with gates, of what counts");
    done(&g);
    // Its worth and its rarity: of T structure, half.
    task_quality half[4];
    memcpy(half, qualities, sizeof half);
    half[2].worth = .5f, wide.quality = half;
    q = fresh(t, QGRE_CREDIT);
    q.o.task = &wide;
    judge(&q, &g, text, 4);
    check(all_are(g.advantage[0], 4, 7, 2. / 3 + 4) &&
              all_are(g.advantage[2], 4, 6, -2. / 3 - 4. / 3),
          "rarity: times what a quality is worth");
    done(&g);
    // Of 32 answers one has p truth, or two, or four: 16, 16 and 8 times (32 - k)/31.
    for (int k = 1; k <= 4; k *= 2) {
        const char *many[32];
        for (int i = 0; i < 32; i++) many[i] = i < k ? "p = 7\nT = 3" : "p = 8\nT = 3";
        q = fresh(t, QGRE_CREDIT);
        judge(&q, &g, many, 32);
        double times = k == 4 ? 8 : 16;
        check(all_are(g.advantage[0], 1, 3, times * (32 - k) / 31) &&
                  all_are(g.advantage[31], 1, 3, -times * k / 31) &&
                  all_are(g.advantage[0], 4, 6, 0),
              "rarity: 16 at most");
        done(&g);
    }
    static const char *const cut[] = {"p = 7\nT = 14", "p = 7~"};
    q = fresh(t, QGRE_CREDIT);
    judge(&q, &g, cut, 2);
    check(all_are(g.advantage[1], 0, (int)g.a[1].n, -4 - .1) && all_are(g.advantage[0], 1, 3, 4) &&
              all_are(g.advantage[0], 4, 7, 4),
          "rarity: what breaks the form costs the worst line with it");
    done(&g);
}

// A group of one asks the skill's window.
static void rarity_alone(const tokenizer *t) {
    static const struct {
        int ps, pt, ts, tt;
        double p, T; // what a right answer earns; no mean has moved
    } of[] = {{16, 4, 2, 1, 1 + 4, 8 + 16}, {15, 0, 8, 3, 16. / 15 + 16, 2 + 16. / 3}};
    static const char *const right[] = {"p = 7\nT = 14"};
    task wide = small;
    group g;
    qgre q;
    wide.window = 16;
    for (int i = 0; i < 2; i++) {
        q = fresh(t, QGRE_CREDIT);
        q.o.task = &wide, fill(&q, of[i].ps, of[i].pt, of[i].ts, of[i].tt);
        judge(&q, &g, right, 1);
        check(all_are(g.advantage[0], 1, 3, of[i].p) && all_are(g.advantage[0], 4, 7, of[i].T),
              "rarity: of one alone, by the share of the window");
        done(&g);
    }
    q = fresh(t, QGRE_CREDIT);
    q.o.task = &wide, fill(&q, 16, 4, 2, 1), q.now.skill[0].seen = 15;
    judge(&q, &g, right, 1);
    check(all_are(g.advantage[0], 1, 3, 2) && all_are(g.advantage[0], 4, 7, 2),
          "rarity: not before the window is full, though the answer fills it");
    done(&g);
    // A window of 32, of which the first half has them: 32/16 = 2, 32/4 = 8, 32/2 = 16, and 16 for one.
    q = fresh(t, QGRE_CREDIT);
    wide.window = 32, q.o.task = &wide, fill(&q, 16, 4, 2, 1), q.now.skill[0].seen = 32;
    judge(&q, &g, right, 1);
    check(all_are(g.advantage[0], 1, 3, 2 + 8) && all_are(g.advantage[0], 4, 7, 16 + 16),
          "rarity: of one alone, 16 at most");
    done(&g);
    wide.window = 16;
    // Against means of 1/2 and 1/4, by rarities of 1 and 16.
    q = fresh(t, QGRE_CREDIT);
    q.o.task = &wide, fill(&q, 16, 0, 16, 16);
    q.now.skill[0].mean[0] = .5f, q.now.skill[0].mean[1] = .25f;
    judge(&q, &g, right, 1);
    check(all_are(g.advantage[0], 1, 3, .5 + 16 * .75), "rarity: times what is above the mean");
    done(&g);
    // A window of ten. p truth comes with the tenth answer; the eleventh finds it once in ten, the
    // twelfth twice. Each mean has moved by a sixteenth of what was missing.
    static const char *const other[] = {"p = 8\nT = 3"}, *const found[] = {"p = 7\nT = 3"};
    q = fresh(t, QGRE_CREDIT);
    int ok = 1;
    double structure = 1, truth = 1; // 1 less their means
    for (int i = 0; i < 12; i++) {
        judge(&q, &g, i < 9 ? other : found, 1);
        double times = i == 9 ? 1 : i == 10 ? 10 : 5;
        if (i >= 9) ok &= all_are(g.advantage[0], 1, 3, structure + truth * times);
        structure *= 15. / 16, truth *= i < 9 ? 1 : 15. / 16;
        done(&g);
    }
    check(ok, "rarity: of the last answers, without the one that is judged");
    // Another skill, whose p is 8: by its own window, 16/8 and 16/16; by the first one's, 1 and 16.
    static const char *const second[] = {"p = 8"};
    q = fresh(t, QGRE_CREDIT);
    q.o.task = &wide, fill(&q, 8, 16, 16, 16);
    q.now.skill[1] = q.now.skill[0], fill(&q, 16, 1, 1, 1);
    judge_skill(&q, &g, 1, second, 1);
    check(near(g.advantage[0][1], 2 + 1), "rarity: of the skill's own window");
    done(&g);
}

// ---- turns

// The first word of Philox for the key (5, 71677265) and the counters (0, 1, step, 0), by
// vectors/gen/rng.py.
static const uint32_t TURN[] = {0xdb9901f2, 0x28312fa8, 0x136ecfe3, 0x024b8a52,
                                0x5cf64da3, 0x9e88b175, 0x56b5f713, 0x4241feb3,
                                0x6f038b73, 0xd860a50f, 0x8bb43ee6, 0xc95e4092};

// Whether a skill is the one whose turn it is among those of a set, in their order.
static int has_turn(uint32_t set, int64_t step, long place, int skill) {
    int order[SKILLS], n = 0;
    for (int i = 0; i < SKILLS; i++)
        if (set >> i & 1) order[n++] = i;
    double offset = floor(TURN[step] / 4294967296. * n);
    return order[((int)offset + place) % n] == skill;
}

// Of a step with 1 to 12 groups, how often the counts of a set's skills differ by more than one.
static int uneven(const qgre *q, int64_t step, uint32_t set) {
    int wrong = 0, of[SKILLS] = {0};
    task_problem p;
    for (long place = 0; place < 12; place++) {
        int least = 99, most = 0;
        of[qgre_problem(q, step, place, &p)]++;
        for (int i = 0; i < SKILLS; i++)
            if (set >> i & 1)
                least = of[i] < least ? of[i] : least, most = of[i] > most ? of[i] : most;
        wrong += most - least > 1;
    }
    return wrong;
}

static void turns(const tokenizer *t) {
    static const task_skill of[] = {{"a", 0, 0, 1, 0, 0}, {"b", 0, 0, 1, 0, 0},
                                    {"c", 0, 0, 1, 0, 0}, {"never", 0, 0, 0, 0, 0},
                                    {"d", 0, 0, 1, 0, 0}, {"e", 0, 0, 1, 0, 0}};
    task five = small; // all but "never": bits 55
    task_problem p;
    five.skill = of, five.skills = 6;
    for (int m = QGRE_GATED; m <= QGRE_UNIFORM; m++) {
        qgre q = fresh(t, (qgre_method)m);
        char what[80];
        int wrong = 0, other = 0;
        q.o.task = &five;
        for (int64_t step = 0; step < (int64_t)(sizeof TURN / sizeof *TURN); step++)
            for (long place = 0; place < 12; place++)
                other += !has_turn(55, step, place, qgre_problem(&q, step, place, &p));
        check(!other, "turns: the offset of a step and the place of a group, by Philox");
        for (int64_t step = 0; step < 200; step++) wrong += uneven(&q, step, 55);
        snprintf(what, sizeof what, "turns: %s: no skill is two groups behind another",
                 qgre_name((qgre_method)m));
        check(!wrong, what);
    }
    // The first two skills are mastered: a group draws from them or from the other three.
    qgre q = fresh(t, QGRE_GATED);
    q.o.task = &five;
    int first[SKILLS] = {0}, known = 0, wrong = 0, cells = 0;
    for (int64_t step = 0; step < 500; step++) first[qgre_problem(&q, step, 0, &p)]++;
    check(first[0] > 60 && first[1] > 60 && first[2] > 60 && first[4] > 60 && first[5] > 60 &&
              !first[3],
          "turns: steps begin with any skill");
    q.now.skill[0].mastered = q.now.skill[1].mastered = 15;
    for (int64_t step = 0; step < (int64_t)(sizeof TURN / sizeof *TURN); step++)
        for (long place = 0; place < 12; place++, cells++) {
            int skill = qgre_problem(&q, step, place, &p), review = skill < 2;
            known += review, wrong += !has_turn(review ? 3 : 52, step, place, skill);
        }
    check(!wrong && known > cells / 5 && known < cells * 2 / 5,
          "turns: each set by its own, reviews three times of ten");
    for (int i = 0; i < 6; i++) q.now.skill[i].mastered = 15;
    for (int64_t step = 0; step < 200; step++) wrong += uneven(&q, step, 55);
    check(!wrong, "turns: reviews when all is mastered");
}

int main(void) {
    char err[ERR];
    tokenizer *t = token_open("vectors/tiny", err);
    if (!t) {
        printf("FAIL qgre: %s\n", err);
        return 1;
    }
    credit(t);
    malformed(t);
    sections_of(t);
    alone(t);
    gates(t);
    late(t);
    due(t);
    rarity_of_groups(t);
    rarity_alone(t);
    turns(t);
    real();
    check(qgre_named("credit") == QGRE_CREDIT && qgre_named("grpo") < 0, "methods by name");
    token_close(t);
    return failed;
}
