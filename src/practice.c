// practice.c - the line of a step.
#include "practice.h"
#include "bench.h"

static struct {
    const task *t;
    long steps;
    double begun, passed[QUALITIES]; // share of this step's answers that have each quality
    double whole, length;            // that have all; mean tokens
    uint64_t tokens;                 // drawn before
    uint32_t skills;                 // tried in this step
    int mastered, all;               // qualities of all trained skills
} now;

void practice_begin(const engine_options *o, engine_state s) {
    now.t = o->practice.task, now.steps = o->train.steps;
    now.begun = bench_now(), now.tokens = s.tried;
}

static void read_rewards(const uint8_t *p) {
    int32_t head[2], of[3];
    const task *t = now.t;
    memcpy(head, p + 16, sizeof head);
    p += J_REWARD_HEAD;
    now.mastered = now.all = 0, now.skills = 0, now.whole = now.length = 0;
    memset(now.passed, 0, sizeof now.passed);
    for (int i = 0; i < head[0]; i++, p += 4) {
        uint32_t bits;
        memcpy(&bits, p, 4);
        now.mastered += __builtin_popcount(bits);
        if (t->skill[i].trained) now.all += t->qualities;
    }
    double each = 3.0 / head[1];
    for (int i = 0; i < head[1] / 3; i++, p += 12) {
        memcpy(of, p, sizeof of);
        now.skills |= 1u << (of[0] & 255);
        for (int k = 0; k < t->qualities; k++) now.passed[k] += each * (of[1] >> k & 1);
        now.whole += each * (of[1] == (1 << t->qualities) - 1);
        now.length += each * of[2];
    }
}

void practice_say(journal_kind kind, const uint8_t *data, uint32_t size, const engine_state *s) {
    (void)size;
    if (kind == J_REWARD) read_rewards(data);
    if (kind != J_UPDATE) return;
    double took = bench_now() - now.begun;
    fprintf(stderr, "step %ld/%ld ", s->step, now.steps);
    for (int k = 0; k < now.t->qualities; k++)
        fprintf(stderr, " %s %2.0f", now.t->quality[k].name, 100 * now.passed[k]);
    fprintf(stderr, "  all %2.0f%%  mastered %d/%d  skills", 100 * now.whole, now.mastered,
            now.all);
    for (int i = 0; i < now.t->skills; i++)
        if (now.skills >> i & 1) fprintf(stderr, " %s", now.t->skill[i].name);
    fprintf(stderr, "  %.0f tokens each, %.1f s, %.0f tokens/s, norm %.3g\n", now.length, took,
            (double)(s->tried - now.tokens) / took, (double)s->norm);
    now.begun = bench_now(), now.tokens = s->tried;
}
