// test_grad.c - a pass that is done in slices, with steps of another run of the same model between
// them, ends on the bits of one that is done at once: sums, loss, log-probabilities, and the line of
// one that fails. The golden vectors of gradients are verify's.
#include "grad.h"
#include "num.h"
#include "sample.h"
#include "simd.h"

static int passed, failed;

__attribute__((format(printf, 2, 3))) static void check(int ok, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    printf("%s grad: ", ok ? "ok" : "FAIL");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    ok ? passed++ : failed++;
}

static const model_config shapes[] = {
    {80, 192, 2, 4, 2, 32, 59, 4096, 1e-6f, 1e6, .qk_norm = 1, .tied = 1},
    {128, 200, 2, 6, 2, 32, 47, 4096, 1e-5f, 5e5, 8, 1, 4, 8192, .tied = 0},
};

// Samples of 70, 33 and 47 rows: 5 pieces of 32 rows, the last of 22, or 3 samples.
enum { SAMPLES = 3, CONTEXT = 70, ROWS = 150, PIECES = 5, LAYERS = 2 };
static const int64_t start[SAMPLES + 1] = {0, 70, 103, ROWS};

static const struct {
    const char *name;
    int shape, learn, whole; // whole: the head or its norm learns
    tq_kind kind;
    grad_loss loss;
} cases[] = {
    {"TQ4, scales and codebooks, text", 0, LEARN_R1 | LEARN_R2, 0, KIND_TQ4, LOSS_TEXT},
    {"TQ4, norms too, policy", 1, LEARN_R1 | LEARN_R2 | LEARN_NORMS, 1, KIND_TQ4, LOSS_POLICY},
    {"TQ4, scales, match", 1, LEARN_R1, 0, KIND_TQ4, LOSS_MATCH},
    {"dense, text", 0, LEARN_DENSE | LEARN_NORMS, 1, KIND_F32, LOSS_TEXT},
    {"dense, match", 1, LEARN_DENSE | LEARN_NORMS, 1, KIND_F32, LOSS_MATCH},
};

static struct {
    int32_t token[ROWS], target[ROWS];
    float weight[ROWS], old[ROWS];
} data;
static const grad_batch batch = {SAMPLES, start, data.token, data.target, data.weight, data.old};

static void fill(int64_t vocab) {
    for (int t = 0; t < ROWS; t++) {
        data.token[t] = (int32_t)((t * t + 3) % vocab);
        data.target[t] = t % 7 == 6 ? -1 : (int32_t)((5 * t + 1) % vocab);
        data.weight[t] = (float)(t % 5 + 1) * 0.25f;
        data.old[t] = -4;
    }
}

// A run of the same model that goes on by a token a time: its logits so far, as one number.
typedef struct {
    ref_run r;
    int32_t pos;
    uint32_t hash;
} other;

static void step(other *o) {
    const int32_t token = o->pos * 11 % 40, zero = 0;
    char err[ERR];
    must(!ref_step(&o->r, &token, &o->pos, &zero, 1, 0, err));
    for (int64_t i = 0; i < o->r.m->c.vocab; i++)
        o->hash = o->hash * 16777619u ^ num_bits(o->r.logits[i]);
    o->pos++;
}

// What a pass leaves.
typedef struct {
    int64_t n, loss;
    int64_t *sum; // [n] of all parts
    float logp[ROWS];
} result;

static result take(const grad *g) {
    result r = {.loss = g->loss};
    for (int i = 0; i < g->parts; i++) r.n += g->part[i].n;
    int64_t *to = r.sum = must_alloc((size_t)r.n, sizeof *to);
    for (int i = 0; i < g->parts; to += g->part[i++].n)
        memcpy(to, g->part[i].sum, (size_t)g->part[i].n * sizeof *to);
    memcpy(r.logp, g->logp, sizeof r.logp);
    return r;
}

static int same(const result *a, const result *b) {
    return a->n == b->n && a->loss == b->loss && !memcmp(a->logp, b->logp, sizeof a->logp) &&
           !memcmp(a->sum, b->sum, (size_t)a->n * sizeof *a->sum);
}

// All slices, and after each a step of the other run. Returns how many; -1: it failed.
static int by_slices(grad *g, other *o, int back, int64_t *cost, char err[ERR]) {
    int n = 0, more = 1;
    grad_begin(g, &batch, back);
    for (*cost = 0; more > 0; n++) {
        *cost += grad_cost(g);
        more = grad_slice(g, err);
        step(o);
    }
    return more < 0 ? -1 : n;
}

// Multiply-adds of a pass: layers forward once, back three times, the head once and with back twice.
static int64_t all_products(const model *m, int back) {
    int64_t n = m->c.vocab * m->c.hidden * (back ? 2 : 1);
    for (int l = 0; l < m->c.layers; l++)
        for (int k = 0; k < W_COUNT; k++)
            n += m->layer[l].w[k].rows * m->layer[l].w[k].cols * (back ? 4 : 1);
    return n * ROWS;
}

static void sliced(int k) {
    const model_config *c = &shapes[cases[k].shape];
    const int match = cases[k].loss == LOSS_MATCH;
    char err[ERR];
    model m, of_teacher;
    grad g;
    ref_run teacher;
    other alone = {.pos = 0}, beside = {.pos = 0};
    int64_t cost, teaching = 0;
    model_random(&m, c, cases[k].kind, 30u + (uint32_t)k);
    model_random(&of_teacher, c, KIND_F32, 7);
    fill(c->vocab);
    grad_open(&g, &m, ref_linear, ref_tile, cases[k].learn, SAMPLES, SAMPLES, CONTEXT);
    ref_open(&teacher, &of_teacher, simd_linear, SAMPLES * CONTEXT, SAMPLES, CONTEXT);
    ref_open(&alone.r, &m, simd_linear, 1, 1, 40);
    ref_open(&beside.r, &m, simd_linear, 1, 1, 40);
    g.teacher = &teacher, g.kind = cases[k].loss, g.low = 0.2f, g.high = 0.3f;
    if (match) teaching = all_products(&of_teacher, 0) - ROWS * c->vocab * c->hidden;
    for (int back = 0; back < 2; back++) {
        grad_zero(&g);
        must(!(back ? grad_pass(&g, &batch, err) : grad_forward(&g, &batch, err)));
        result want = take(&g);
        grad_zero(&g);
        memset(g.logp, 0, sizeof want.logp);
        int n = by_slices(&g, &beside, back, &cost, err);
        result found = take(&g);
        for (int t = 0; t < ROWS; t++)
            if (data.target[t] < 0) want.logp[t] = 0; // what an earlier pass left
        int wanted = LAYERS * (1 + back) + match + (back && cases[k].whole ? SAMPLES : PIECES);
        check(n == wanted && same(&found, &want) && want.loss != 0, "%s, %s: %d slices%s",
              cases[k].name, back ? "with mirrors" : "forward", n,
              n == wanted ? ", the bits of one pass" : ": that is not what they should be");
        check(cost == all_products(&m, back) + teaching && grad_cost(&g) == 0,
              "%s, %s: multiply-adds of all slices", cases[k].name,
              back ? "with mirrors" : "forward");
        free(want.sum), free(found.sum);
    }
    while (alone.pos < beside.pos) step(&alone);
    check(alone.hash == beside.hash, "%s: nor do slices change the steps between them",
          cases[k].name);
    ref_close(&alone.r), ref_close(&beside.r), ref_close(&teacher);
    grad_close(&g);
    model_close(&of_teacher), model_close(&m);
}

// A pass that fails says the same line in slices, is over, and the next one is as if it had not been.
static void failing(void) {
    char whole[ERR], err[ERR];
    model m;
    grad g;
    other o = {.pos = 0};
    int64_t cost;
    model_random(&m, &shapes[0], KIND_TQ4, 5);
    fill(m.c.vocab);
    grad_open(&g, &m, ref_linear, ref_tile, LEARN_R1, SAMPLES, SAMPLES, CONTEXT);
    ref_open(&o.r, &m, ref_linear, 1, 1, 40);
    must(!grad_pass(&g, &batch, err));
    result want = take(&g);
    data.weight[100] = 1e30f;
    int bad = grad_pass(&g, &batch, whole), again = by_slices(&g, &o, 1, &cost, err);
    check(bad == -1 && again == -1 && !strcmp(whole, err) && grad_cost(&g) == 0,
          "a loss that is too large: at once and in slices: %s", err);
    fill(m.c.vocab);
    grad_zero(&g);
    must(by_slices(&g, &o, 1, &cost, err) > 0);
    result found = take(&g);
    check(same(&found, &want), "the pass after one that failed");
    free(want.sum), free(found.sum);
    ref_close(&o.r);
    grad_close(&g);
    model_close(&m);
}

// sample_logp() of a step's logits has the bits of a pass's log-probabilities.
static void log_probabilities(void) {
    char err[ERR];
    int32_t pos[CONTEXT], seq[CONTEXT] = {0};
    int n = 0, ok = 0;
    model m;
    grad g;
    ref_run r;
    model_random(&m, &shapes[0], KIND_TQ4, 6);
    fill(m.c.vocab);
    grad_open(&g, &m, simd_linear, ref_tile, LEARN_R1, SAMPLES, SAMPLES, CONTEXT);
    ref_open(&r, &m, simd_linear, CONTEXT, 1, CONTEXT);
    must(!grad_forward(&g, &batch, err));
    for (int t = 0; t < CONTEXT; t++) pos[t] = t;
    must(!ref_step(&r, data.token, pos, seq, CONTEXT, 0, err));
    for (int t = 0; t < CONTEXT; t++) {
        if (data.target[t] < 0) continue;
        float logp = sample_logp(r.logits + t * m.c.vocab, m.c.vocab, data.target[t]);
        n++, ok += num_bits(logp) == num_bits(g.logp[t]);
    }
    check(n == 60 && ok == n, "sample_logp: the bits of %d of %d log-probabilities of a pass", ok,
          n);
    ref_close(&r);
    grad_close(&g);
    model_close(&m);
}

int main(void) {
    num_require_ieee();
    for (int k = 0; k < (int)(sizeof cases / sizeof *cases); k++) sliced(k);
    failing();
    log_probabilities();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
