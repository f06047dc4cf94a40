// qgre.c - choosing, judging, crediting, opening gates.
#include "qgre.h"
#include "num.h"
#include "rng.h"

static const float MALFORMED = -0.1f; // for what breaks the form of an answer
enum {
    MEMORY = 16, // answers over which a running mean forgets
    RAREST = 16  // times an advantage counts at most, however rare the quality
};

int qgre_named(const char *method) {
    for (int i = QGRE_GATED; i <= QGRE_UNIFORM; i++)
        if (!strcmp(method, qgre_name((qgre_method)i))) return i;
    return -1;
}

const char *qgre_name(qgre_method method) {
    static const char *const name[] = {"qgre", "credit", "uniform"};
    return name[method];
}

// ---- what is tried

// 1: what others wait for in a skill is mastered.
static int mastered(const qgre *q, int skill) {
    const task *t = q->o.task;
    uint32_t due = t->skill[skill].due ? t->skill[skill].due : (1u << t->qualities) - 1;
    return !(due & ~q->now.skill[skill].mastered);
}

// Bits of the trained skills whose predecessors have what they need; without gates, of all.
static uint32_t unlocked(const qgre *q) {
    const task *t = q->o.task;
    uint32_t open = 0;
    for (int i = 0; i < t->skills; i++) {
        int ready = t->skill[i].trained;
        for (int k = 0; k < t->skills && q->o.method == QGRE_GATED; k++)
            if (t->skill[i].after >> k & 1) ready &= mastered(q, k);
        open |= (uint32_t)ready << i;
    }
    return open;
}

// One of a set: the next for each next group of a step.
static int pick(uint32_t set, uint32_t word, long group) {
    int n = __builtin_popcount(set);
    int at = (int)((((uint64_t)word * (uint64_t)n >> 32) + (uint64_t)group) % (uint64_t)n);
    while (at--) set &= set - 1;
    return __builtin_ctz(set);
}

int qgre_problem(const qgre *q, int64_t step, long group, task_problem *p) {
    const uint32_t key[2] = {q->seed, 0x71677265}; // "qgre"
    const uint32_t at[4] = {(uint32_t)group, 0, (uint32_t)step, 0};
    const uint32_t all[4] = {0, 1, (uint32_t)step, 0};
    rng_block w = rng_philox(key, at), turn = rng_philox(key, all);
    uint32_t open = unlocked(q), known = 0;
    for (int i = 0; i < q->o.task->skills && q->o.method == QGRE_GATED; i++)
        known |= (open >> i & 1 & (uint32_t) !(qgre_counts(q, i) & ~q->now.skill[i].mastered)) << i;
    uint32_t frontier = open & ~known;
    int review = known && (!frontier || (double)rng_uniform(w.v[0]) < q->o.review);
    int skill = pick(review ? known : frontier, turn.v[0], group);
    q->o.task->problem(skill, w.v[2], w.v[3], 0, p);
    return skill;
}

int64_t qgre_prompt(const qgre *q, const task_problem *p, int32_t **id, char err[ERR]) {
    char *text;
    const char *question = p->question;
    *id = NULL;
    if (token_chat(q->t, (const char *[]){"user"}, &question, 1, &text, err)) return -1;
    int64_t n = token_encode(q->t, text, strlen(text), 0, id, err);
    int32_t unknown = token_id(q->t, "<unk>"); // what has no token of its own became this
    free(text);
    for (int64_t i = 0; i < n && unknown >= 0; i++)
        if ((*id)[i] == unknown) {
            free(*id);
            *id = NULL;
            return fail(err, "the tokenizer has no tokens for a problem of %s in its chat template",
                        q->o.task->name);
        }
    return n;
}

// ---- what is judged

// Where the answer proper begins: behind the thoughts of a model that thinks aloud. SIZE_MAX: they
// do not end.
static size_t behind_thoughts(const char *text, size_t n) {
    static const char open[] = "<think>", close[] = "</think>";
    size_t at = 0, head = sizeof open - 1, tail = sizeof close - 1;
    while (at < n && memchr(" \t\n", text[at], 3)) at++;
    if (n - at < head || memcmp(text + at, open, head)) return 0;
    for (at += head; at + tail <= n; at++)
        if (!memcmp(text + at, close, tail)) {
            for (at += tail; at < n && text[at] == '\n';) at++;
            return at;
        }
    return SIZE_MAX;
}

// The section of the byte at `at`, -1: of none. Blanks in front of an expression are its own: many
// tokenizers begin a word with one.
static int section_of(const task_verdict *v, int sections, const char *text, size_t n, size_t at) {
    size_t ink = at;
    while (ink < n && text[ink] == ' ') ink++;
    for (int s = 0; s < sections; s++)
        if (ink >= v->span[s].from && at < v->span[s].to) return s;
    return -1;
}

void qgre_verdict(const qgre *q, const task_problem *p, const uint32_t seed[2], qgre_answer *a,
                  int8_t *section) {
    const task *t = q->o.task;
    size_t room = token_room(q->t), size = 0;
    char *text = must_alloc((size_t)a->n + 1, room);
    size_t *from = must_alloc((size_t)a->n + 1, sizeof *from);
    int64_t n = a->n - (a->ended != 0);
    for (int64_t i = 0; i < n; i++) {
        from[i] = size;
        if (a->id[i] < token_count(q->t)) // rows of the head may be padding
            size += token_bytes(q->t, a->id[i], text + size, room);
    }
    from[n] = size;
    size_t skip = behind_thoughts(text, size);
    a->verdict = (task_verdict){0};
    if (a->ended && skip <= size) task_judge(t, p, text + skip, size - skip, seed, &a->verdict);
    // A token belongs to the section that holds its first byte; the end, to the last line. Labels
    // belong to none; but without the form it may be a label that passed over a line.
    for (int64_t i = 0; i < a->n && section; i++) {
        size_t byte = i < n ? from[i] : size ? size - 1 : 0;
        section[i] = -1;
        if (skip > size || (byte >= skip && byte - skip >= a->verdict.read))
            section[i] = SECTIONS;
        else if (byte >= skip)
            section[i] =
                (int8_t)section_of(&a->verdict, t->sections, text + skip, size - skip, byte - skip);
        if (section[i] < 0 && byte >= skip && !a->verdict.formed) section[i] = SECTIONS;
    }
    free(text);
    free(from);
}

// ---- what counts

uint32_t qgre_counts(const qgre *q, int skill) {
    const task *t = q->o.task;
    uint32_t open = 0, late = 0;
    for (int i = 0; i < t->skills && q->o.method == QGRE_GATED; i++)
        if (t->skill[skill].behind >> i & 1 && !mastered(q, i)) late = t->skill[skill].late;
    for (int k = 0; k < t->qualities; k++)
        if (q->o.method != QGRE_GATED || !(t->quality[k].rests & ~q->now.skill[skill].mastered))
            open |= 1u << k;
    return open & ~late;
}

// An answer goes into its skill's window; gates open and close by the window's means.
static void note(qgre *q, int skill, uint32_t passed) {
    const task *t = q->o.task;
    qgre_skill *s = &q->now.skill[skill];
    s->passed[s->seen++ % t->window] = passed;
    for (int k = 0; k < t->qualities; k++) {
        float r = (float)(passed >> k & 1);
        s->mean[k] = num_add(s->mean[k], num_div(num_sub(r, s->mean[k]), (float)MEMORY));
    }
    if (s->seen < t->window) return;
    for (int k = 0; k < t->qualities; k++) {
        long have = 0;
        for (long i = 0; i < t->window; i++) have += s->passed[i] >> k & 1;
        float mean = num_div((float)have, (float)t->window);
        if (mean >= t->mastery) s->mastered |= 1u << k;
        if (mean < t->regression) s->mastered &= ~(1u << k);
    }
}

// ---- what is earned

// Advantage of passing or not: against the others of the group, or what was usual.
static float advantage(const qgre_skill *s, int quality, long passed, int64_t all, long n) {
    if (n == 1) return num_sub((float)passed, s->mean[quality]);
    return num_div((float)(n * passed - all), (float)(n - 1));
}

// What is rare is worth more: one over the share of the group that has the quality, or of the skill's
// last answers where there is no group; RAREST at most. So practice climbs the logarithm of that
// share, for each problem, and not the share.
static float rarity(const task *t, const qgre_skill *s, int quality, int64_t have, int64_t n) {
    if (n == 1) {
        if (s->seen < t->window) return 1;
        n = t->window, have = 0;
        for (long i = 0; i < n; i++) have += s->passed[i] >> quality & 1;
    }
    if (have * RAREST < n) return RAREST;
    return num_div((float)n, (float)have);
}

// The reward of each section with these qualities, over those that count; uniform: the mean, in all.
static void earn(const qgre *q, int skill, uint32_t passed, const int64_t *all, long n,
                 float worth[SECTIONS]) {
    const task *t = q->o.task;
    uint32_t counts = qgre_counts(q, skill);
    float sum = 0;
    for (int s = 0; s < SECTIONS; s++) worth[s] = 0;
    for (int k = 0; k < t->qualities; k++) {
        if (!(counts >> k & 1)) continue;
        float x = advantage(&q->now.skill[skill], k, passed >> k & 1, all[k], n);
        x = num_mul(num_mul(x, t->quality[k].worth), rarity(t, &q->now.skill[skill], k, all[k], n));
        worth[t->quality[k].section] = num_add(worth[t->quality[k].section], x);
        sum = num_add(sum, x);
    }
    if (q->o.method == QGRE_UNIFORM)
        for (int s = 0; s < SECTIONS; s++) worth[s] = num_div(sum, (float)t->sections);
}

// What an answer's tokens earned. What breaks its form costs as much as the worst line could lose:
// where it were cheaper, to break off would be the way out of a line that went wrong.
static void share_out(const qgre *q, int skill, const int64_t *all, long n, qgre_answer *a,
                      const int8_t *section) {
    float worth[SECTIONS], lost[SECTIONS], broke = 0;
    int64_t others[QUALITIES];
    for (int k = 0; k < QUALITIES; k++) others[k] = all[k] - (a->verdict.stands >> k & 1);
    earn(q, skill, a->verdict.stands, all, n, worth);
    earn(q, skill, 0, others, n, lost);
    for (int s = 0; s < SECTIONS; s++) broke = lost[s] < broke ? lost[s] : broke;
    broke = num_add(broke, MALFORMED);
    for (int64_t k = 0; k < a->n; k++) {
        int s = section[k], last = k == a->n - 1;
        a->advantage[k] = s < 0 || s == SECTIONS ? 0 : worth[s];
        if (s == SECTIONS || (last && !a->verdict.formed))
            a->advantage[k] = num_add(a->advantage[k], broke);
    }
}

void qgre_judge(qgre *q, int64_t step, long group, int skill, const task_problem *p,
                qgre_answer *answer, long n) {
    const uint32_t seed[2] = {q->seed ^ (uint32_t)step, (uint32_t)group ^ 0x6a756467}; // "judg"
    int8_t **section = must_alloc((size_t)n, sizeof *section);
    int64_t all[QUALITIES] = {0};
    for (long i = 0; i < n; i++) section[i] = must_alloc((size_t)answer[i].n + 1, 1);
#pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < n; i++) qgre_verdict(q, p, seed, &answer[i], section[i]);
    for (long i = 0; i < n; i++)
        for (int k = 0; k < q->o.task->qualities; k++) all[k] += answer[i].verdict.stands >> k & 1;
    for (long i = 0; i < n; i++) {
        share_out(q, skill, all, n, &answer[i], section[i]);
        free(section[i]);
    }
    free(section);
    for (long i = 0; i < n; i++) note(q, skill, answer[i].verdict.passed);
}
