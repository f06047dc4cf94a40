// bench.c - sizes and speed.
#include "bench.h"
#include "engine.h"
#include "simd.h"
#include <omp.h>
#include <sys/resource.h>
#include <time.h>

double bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void bench_sizes(void) {
    static const char *const all[] = {"qwen3-0.6b", "qwen3-1.7b", "qwen3-8b", "qwen3-14b"};
    enum { LEARN_ROWS = 1024 };
    int64_t learn[4][4];
    printf("%-12s %15s %15s %8s %6s %15s %15s\n", "shape", "linear bf16", "linear TQ4", "share",
           "bits", "embed+head I8", "whole TQ4");
    for (int i = 0; i < 4; i++) {
        const model_config *c = model_shape(all[i]);
        int64_t dense = 0, tq4 = 0, i8 = 0, norms = 0;
        for (int s = 0; s < model_slots(c); s++) {
            model_slot at = model_slot_at(c, s);
            tq_matrix m;
            int64_t b[4];
            if (!at.present) continue;
            if (!at.rows)
                norms += 4 * at.cols;
            else {
                tq_shape(&m, s < SLOT_LAYERS ? KIND_I8 : KIND_TQ4, at.rows, at.cols);
                *(s < SLOT_LAYERS ? &i8 : &tq4) += tq_bytes(&m, b);
                if (s >= SLOT_LAYERS) dense += 2 * at.rows * at.cols;
            }
        }
        printf("%-12s %15lld %15lld %7.1f%% %6.3f %15lld %15lld\n", all[i], (long long)dense,
               (long long)tq4, 100 * (double)tq4 / (double)dense, 16 * (double)tq4 / (double)dense,
               (long long)i8, (long long)(tq4 + i8 + norms));
        learn[i][3] = tq4 + i8 + norms;
        grad_bytes(c, LEARN_R1 | LEARN_R2, LEARN_ROWS, learn[i]);
    }
    printf("\nlearning R1 and R2, %d tokens a pass\n%-12s %15s %15s %15s %15s\n", LEARN_ROWS,
           "shape", "gradients", "optimiser", "activations", "all, weights too");
    for (int i = 0; i < 4; i++)
        printf("%-12s %15lld %15lld %15lld %15lld\n", all[i], (long long)learn[i][0],
               (long long)learn[i][1], (long long)learn[i][2],
               (long long)(learn[i][0] + learn[i][1] + learn[i][2] + learn[i][3]));
}

// Bytes read per second by a plain sum over memory far larger than the caches.
static double read_bandwidth(void) {
    int64_t n = 1 << 27; // 1 GiB of uint64
    uint64_t *p = must_alloc((size_t)n, sizeof *p), sum = 0;
    double best = 0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) p[i] = (uint64_t)i;
    for (int turn = 0; turn < 5; turn++) {
        double start = bench_now();
#pragma omp parallel for schedule(static) reduction(+ : sum)
        for (int64_t i = 0; i < n; i++) sum += p[i];
        double rate = 8 * (double)n / (bench_now() - start);
        if (rate > best) best = rate;
    }
    must(sum == 5 * ((uint64_t)n * ((uint64_t)n - 1) / 2));
    free(p);
    return best;
}

static int64_t bytes_per_token(model *m) {
    int64_t sum = 0, b[4];
    for (int s = 0; s < model_slots(&m->c); s++) {
        const tq_matrix *w = s == SLOT_EMBED ? NULL : model_matrix(m, s);
        if (w) sum += tq_bytes(w, b);
    }
    return sum;
}

// The middle of n >= 1 values, which it sorts.
static double median(double *s, int n) {
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && s[j] < s[j - 1]; j--) {
            double x = s[j];
            s[j] = s[j - 1], s[j - 1] = x;
        }
    return s[n / 2];
}

// Decodes `steps` tokens one by one; seconds per token, the median.
static int time_decode(double *seconds, const model *m, linear_fn linear, int steps,
                       char err[ERR]) {
    ref_run r;
    double s[64] = {0};
    int bad = 0, kept = 0;
    ref_open(&r, m, linear, 1, 1, steps + 1);
    for (int32_t i = 0; i <= steps && !bad; i++) {
        double start = bench_now();
        bad = ref_step(&r, &(int32_t){i % 50}, &i, &(int32_t){0}, 1, 0, err);
        if (i) s[kept++] = bench_now() - start; // the first touches cold pages
    }
    *seconds = median(s, kept);
    ref_close(&r);
    return bad;
}

int bench_decode(const char *shape, char err[ERR]) {
    const model_config *c = model_shape(shape);
    model m;
    must(c);
    double t, plain, after;
    model_random(&m, c, KIND_TQ4, 1);
    int64_t bytes = bytes_per_token(&m);
    int bad = 0;
    printf("shape %s, random weights, %d threads; a token reads %lld bytes of weights\n", shape,
           omp_get_max_threads(), (long long)bytes);
    printf("plain: a sum over 1 GiB, the best of ten just before and after each row\n");
    for (int i = 0; i < simd_levels() && !bad; i++) {
        simd_use(i);
        plain = read_bandwidth();
        if ((bad = time_decode(&t, &m, i ? simd_linear : ref_linear, i ? 24 : 2, err))) break;
        after = read_bandwidth();
        plain = after > plain ? after : plain;
        printf("%-8s %8.2f tokens/s  %7.2f GB/s of weights, %5.1f%% of plain (%.2f GB/s)\n",
               simd_level_name(i), 1 / t, (double)bytes / t / 1e9, 100 * (double)bytes / t / plain,
               plain / 1e9);
        fflush(stdout);
    }
    model_close(&m);
    return bad;
}

// Steps of one sample of `rows` tokens, as many as fit a minute, three at most; the quickest ones.
static int time_learning(const backend *by, model *m, int learn, int64_t rows, const char *what,
                         char err[ERR]) {
    grad g;
    optim o;
    optim_config c = {.rate = 1e-3f, .ratio = 1, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-12f};
    int64_t start[2] = {0, rows};
    int32_t *token = must_alloc((size_t)rows, sizeof *token);
    float *weight = must_alloc((size_t)rows, sizeof *weight);
    for (int64_t t = 0; t < rows; t++) token[t] = (int32_t)(t * t % 251), weight[t] = 1;
    grad_batch b = {1, start, token, token, weight, NULL};
    grad_open(&g, m, by->linear, by->tile, learn, 1, 1, rows);
    optim_open(&o, &g, &c);
    int bad = backend_learn(by, &g, &o, err);
    double begun = bench_now(), forward = 1e9, step = 1e9;
    for (int turn = 0; turn < 3 && !bad && (turn == 0 || bench_now() - begun < 60); turn++) {
        double t0 = bench_now();
        bad = grad_forward(&g, &b, err);
        double t1 = bench_now();
        bad = bad || grad_pass(&g, &b, err);
        if (!bad) optim_step(&o, &g, (float)rows);
        double t2 = bench_now();
        forward = t1 - t0 < forward ? t1 - t0 : forward;
        step = t2 - t1 < step ? t2 - t1 : step;
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    if (!bad)
        printf("%-22s %9.1f tokens/s forward %9.1f a step, ratio %.2f; peak resident %.2f GB\n",
               what, (double)rows / forward, (double)rows / step, step / forward,
               (double)used.ru_maxrss * 1024e-9);
    fflush(stdout);
    backend_detach(by);
    optim_close(&o);
    grad_close(&g);
    free(token);
    free(weight);
    return bad;
}

int bench_learn(const char *shape, char err[ERR]) {
    const model_config *c = model_shape(shape);
    model m;
    must(c);
    const backend by = {.linear = simd_linear, .tile = simd_tile};
    int64_t rows = c->context < 1024 ? c->context : 1024;
    printf("shape %s, random weights, %d threads, a sample of %lld tokens\n", shape,
           omp_get_max_threads(), (long long)rows);
    model_random(&m, c, KIND_TQ4, 1);
    int bad = time_learning(&by, &m, LEARN_R1 | LEARN_R2, rows, "TQ4, R1 and R2", err);
    model_close(&m);
    if (bad || c->hidden > 256) return bad; // dense weights and moments of a large model: too much
    model_random(&m, c, KIND_F32, 1);
    bad = time_learning(&by, &m, LEARN_DENSE | LEARN_NORMS, rows, "F32, everything", err);
    model_close(&m);
    return bad;
}

enum { DECODE_STEPS = 64, TURNS = 5, PREFILL = 512 };

// Greedy decoding of `batch` sequences without the operations of skip; seconds for each token that
// all of them get, the median.
static int time_batch(const backend *by, const model *m, int64_t batch, int skip, double *seconds,
                      char err[ERR]) {
    ref_run r;
    int32_t at[3][16] = {{0}}, *out = must_alloc((size_t)batch * DECODE_STEPS, sizeof *out);
    double s[TURNS] = {0};
    sample_options greedy[16] = {{0}}; // temperature 0
    for (int32_t i = 0; i < batch; i++) at[0][i] = 7 * i, at[2][i] = i;
    ref_open(&r, m, by->linear, batch, batch, DECODE_STEPS);
    int bad = backend_attach(by, &r, batch, err);
    for (int turn = -1; turn < TURNS && !bad; turn++) { // the first touches cold memory
        ref_rows(&r, at[0], at[1], at[2], batch, 0);
        double start = bench_now();
        bad = by->decode(by->device, &r, greedy, m->c.vocab, DECODE_STEPS, out, err);
        if (turn >= 0) s[turn] = bench_now() - start;
        by->leave_out(by->device, skip); // from the second turn on: the first has made tokens
    }
    by->leave_out(by->device, 0);
    *seconds = median(s, TURNS) / DECODE_STEPS;
    backend_detach(by);
    ref_close(&r);
    free(out);
    return bad;
}

// A prompt of `rows` tokens with logits for the last; seconds, the median.
static int time_prefill(const backend *by, const model *m, int64_t rows, double *seconds,
                        char err[ERR]) {
    ref_run r;
    double s[TURNS] = {0};
    int32_t *token = must_alloc((size_t)rows * 3, sizeof *token), *pos = token + rows;
    for (int32_t t = 0; t < rows; t++) token[t] = t * t % 251, pos[t] = t;
    ref_open(&r, m, by->linear, rows, 1, rows);
    int bad = backend_attach(by, &r, 1, err);
    for (int turn = -1; turn < TURNS && !bad; turn++) {
        double start = bench_now();
        bad = ref_step(&r, token, pos, pos + rows, rows, rows - 1, err);
        if (turn >= 0) s[turn] = bench_now() - start;
    }
    *seconds = median(s, TURNS);
    backend_detach(by);
    ref_close(&r);
    free(token);
    return bad;
}

// Where the time of a token goes, batch 1: what is saved when operations are left out.
static int time_stages(const backend *by, const model *m, double whole, char err[ERR]) {
    enum { LINEARS = 1 << OP_QKV | 1 << OP_OUT | 1 << OP_GATEUP | 1 << OP_DOWN };
    static const struct {
        const char *name;
        int skip;
    } stage[] = {{"ATTEND", 1 << OP_ATTEND},
                 {"HEAD", 1 << OP_HEAD},
                 {"QKV", 1 << OP_QKV},
                 {"OUT", 1 << OP_OUT},
                 {"GATEUP", 1 << OP_GATEUP},
                 {"DOWN", 1 << OP_DOWN},
                 {"all linears of layers", LINEARS},
                 {"everything but barriers and samples", (1 << OPS) - 1}};
    double t;
    for (size_t i = 0; i < sizeof stage / sizeof *stage; i++) {
        if (time_batch(by, m, 1, stage[i].skip, &t, err)) return -1;
        printf("without %-36s %9.2f us a token, %9.2f less\n", stage[i].name, 1e6 * t,
               1e6 * (whole - t));
    }
    return 0;
}

int bench_device(const backend *by, const char *shape, char err[ERR]) {
    const model_config *c = model_shape(shape);
    model m;
    backend_figures f;
    double t, one = 0;
    must(c);
    if (by->measure(by->device, &f, err)) return -1;
    model_random(&m, c, KIND_TQ4, 1);
    double bytes = (double)bytes_per_token(&m);
    int64_t rows = c->context < PREFILL ? c->context : PREFILL;
    int bad = 0;
    printf("shape %s, random weights, %s; a token reads %.0f bytes of weights\n", shape, by->name,
           bytes);
    printf("copy within the memory: %.2f GB/s read and written; a barrier of all blocks: %.2f us\n",
           f.copy / 1e9, 1e6 * f.barrier);
    for (int64_t batch = 1; batch <= 16 && !bad; batch *= 4) {
        if ((bad = time_batch(by, &m, batch, 0, &t, err))) break;
        if (batch == 1) one = t;
        printf("batch %-2lld %10.2f tokens/s  %8.2f GB/s of weights, %5.1f%% of the copy\n",
               (long long)batch, (double)batch / t, bytes / t / 1e9, 100 * bytes / t / f.copy);
        fflush(stdout);
    }
    bad = bad || time_stages(by, &m, one, err);
    if (!bad && !(bad = time_prefill(by, &m, rows, &t, err)))
        printf("prefill  %10.2f tokens/s, %lld tokens\n", (double)rows / t, (long long)rows);
    rows = c->context < 2 * PREFILL ? c->context : 2 * PREFILL;
    bad = bad || time_learning(by, &m, LEARN_R1 | LEARN_R2, rows, "TQ4, R1 and R2", err) ||
          by->measure(by->device, &f, err);
    if (!bad) printf("kernel launches: %ld\n", f.launches);
    model_close(&m);
    return bad;
}

// ---- serving and learning together

enum { STREAMS = 8, FIRSTS = 5, WORDS = 32, SERVE_CONTEXT = 512 };

// What is measured of one engine.
typedef struct {
    double decode, learn, first[FIRSTS]; // tokens a second; seconds
} together;

static int ask(engine *e, uint64_t id, int64_t most, char err[ERR]) {
    uint8_t p[J_REQUEST_HEAD + 4 * WORDS];
    int32_t prompt[WORDS];
    const sample_options how = {0.8f, 0, 1, 1, (uint32_t)id};
    for (int32_t i = 0; i < WORDS; i++) prompt[i] = (i * i + (int32_t)id) % 251;
    uint32_t size = engine_request(p, id, 0, &how, -1, most, prompt, WORDS);
    return engine_input(e, &(journal_record){J_REQUEST, size, .data = p}, err);
}

// Turns for so many seconds, with so many sequences at a time; *id: of the last one.
static int spend(engine *e, double seconds, int streams, uint64_t *id, char err[ERR]) {
    double begun = bench_now();
    while (bench_now() - begun < seconds) {
        engine_state s = engine_now(e);
        if (s.running + s.waiting < streams && ask(e, ++*id, SERVE_CONTEXT - WORDS, err)) return -1;
        if (engine_turn(e, err) < 0) return -1;
    }
    return 0;
}

// Rates over so many seconds; then FIRSTS requests more, one by one, until each has its token.
static int time_engine(engine *e, int streams, double seconds, int64_t row, together *t,
                       char err[ERR]) {
    uint64_t id = 0;
    if (spend(e, seconds / 8, streams, &id, err)) return -1; // prompts, and cold memory
    engine_state a = engine_now(e);
    double begun = bench_now();
    if (spend(e, seconds, streams, &id, err)) return -1;
    engine_state b = engine_now(e);
    double took = bench_now() - begun;
    t->decode = (double)(b.tokens - a.tokens) / took;
    t->learn = (double)(b.work[1] - a.work[1]) / (double)row / took;
    for (int i = 0; i < FIRSTS && streams; i++) {
        uint64_t before = engine_now(e).prompt_tokens;
        begun = bench_now();
        if (ask(e, ++id, 1, err)) return -1;
        while (engine_now(e).prompt_tokens < before + WORDS)
            if (engine_turn(e, err) < 0) return -1;
        t->first[i] = bench_now() - begun;
        if (spend(e, seconds / 16, streams, &id, err)) return -1;
    }
    return 0;
}

static int bench_engine(model *m, const backend *by, int streams, int learn, long share,
                        double seconds, together *t, char err[ERR]) {
    enum { TEXT = 4096 };
    train_text text = {must_alloc(TEXT, sizeof(int32_t)), TEXT};
    int64_t context = m->c.context < SERVE_CONTEXT ? m->c.context : SERVE_CONTEXT, row = 0;
    for (int i = 0; i < TEXT; i++) text.id[i] = i * i % 251;
    engine_options o = {.slots = STREAMS + 1,
                        .context = context,
                        .slice = 64,
                        .share = share,
                        .floor = by->device ? 64 : 1,
                        .snapshot = 1 << 24,
                        .known = m->c.vocab};
    o.pages = o.slots * ((context + KEYS - 1) / KEYS);
    o.train = (train_options){.steps = 1 << 20, .batch = 2, .micro = 1, .ctx = 128, .by = by};
    o.train.warmup = o.train.clip = o.train.decay = -1;
    if (learn && train_settle(&o.train, m, err)) return -1;
    if (!learn) o.train.steps = 0;
    for (int i = SLOT_LAYERS; i < model_slots(&m->c); i++) {
        const tq_matrix *w = model_matrix(m, i);
        if (w) row += 4 * w->rows * w->cols; // forward, and three times as much back
    }
    row += 2 * m->c.vocab * m->c.hidden;
    engine *e = engine_open(m, by, &o, &(engine_learning){.text = &text}, &(engine_owner){0});
    int bad = engine_wake(e, 1, err) || time_engine(e, streams, seconds, row, t, err);
    engine_close(e);
    free(text.id);
    return bad;
}

int bench_serve(const char *shape, const backend *by, long share, char err[ERR]) {
    together alone = {0}, learn = {0}, both = {0};
    const model_config *c = model_shape(shape);
    model m;
    model_random(&m, c, KIND_TQ4, 1);
    m.c.eos_count = 0;
    double seconds = c->hidden < 256 || by->device ? 8 : 60; // of each of three engines
    int bad = bench_engine(&m, by, STREAMS, 0, share, seconds, &alone, err) ||
              bench_engine(&m, by, 0, 1, share, seconds, &learn, err) ||
              bench_engine(&m, by, STREAMS, 1, share, seconds, &both, err);
    model_close(&m);
    if (bad) return -1;
    printf(
        "shape %s, random weights, %d threads, %d streams, learning R1 and R2 in windows of 128, "
        "share %ld%%\n",
        shape, omp_get_max_threads(), STREAMS, share);
    printf("%-34s %10s %10s %7s\n", "", "alone", "together", "ratio");
    printf("%-34s %10.1f %10.1f %6.0f%%\n", "tokens/s decoded", alone.decode, both.decode,
           100 * both.decode / alone.decode);
    printf("%-34s %10.1f %10.1f %6.0f%%\n", "tokens/s learned", learn.learn, both.learn,
           100 * both.learn / learn.learn);
    printf("%-34s %10.3f %10.3f\n", "first token, s (median of 5)", median(alone.first, FIRSTS),
           median(both.first, FIRSTS));
    return 0;
}
