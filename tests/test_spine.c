// test_spine.c - what must not change a bit: threads, the cut of a prefill, the company in a batch,
// the instructions of the processor; then the sampler's distribution, the rungs of tq_fit(), and
// the errors of values, and of squares, that are not finite; and that verify_all() can fail.
// Everything runs on random models; the golden vectors are not read.
#include "num.h"
#include "rng.h"
#include "sample.h"
#include "simd.h"
#include <omp.h>
#include "verify.h"
#include <signal.h>
#include <sodium.h>
#include <sys/wait.h>
#include <unistd.h>

static int passed, failed;

__attribute__((format(printf, 2, 3))) static void check(int ok, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    printf("%s spine: ", ok ? "ok" : "FAIL");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    ok ? passed++ : failed++;
}

static const int threads[] = {1, 2, 3, 7};
enum { THREADS = 4 };

// ---- whole models

// The sizes give G = 32, 64 and 128, and padding behind hidden (80 to 96) and inter (200 to 224).
static const model_config shapes[] = {
    {80, 192, 2, 4, 2, 32, 59, 4096, 1e-6f, 1e6, .qk_norm = 1, .tied = 1},
    {128, 200, 2, 6, 2, 32, 47, 4096, 1e-5f, 5e5, 8, 1, 4, 8192, .tied = 0},
};
static const char *const shape_name[] = {"qwen3", "llama"};
enum { TOKENS = 29, SEQS = 5, LONG = 270 };

static int32_t token_at(int seq, int pos, int64_t vocab) {
    return (int32_t)((seq * 31 + pos * 7 + pos * pos) % vocab);
}

// Logits [n, vocab] of sequence seq run alone, in steps of piece tokens (0: of 1, 2, 3, ..).
static float *alone(const model *m, linear_fn linear, int seq, int n, int piece) {
    int64_t vocab = m->c.vocab;
    float *y = must_alloc((size_t)(n * vocab), sizeof *y);
    int32_t token[LONG], pos[LONG], zero[LONG] = {0};
    char err[ERR];
    ref_run r;
    ref_open(&r, m, linear, n, 1, n);
    for (int i = 0; i < n; i++) token[i] = token_at(seq, i, vocab), pos[i] = i;
    for (int at = 0, step = 1; at < n; at += step, step++) {
        if (piece) step = piece;
        if (step > n - at) step = n - at;
        must(!ref_step(&r, token + at, pos + at, zero, step, 0, err));
        memcpy(y + at * vocab, r.logits, (size_t)(step * vocab) * sizeof *y);
    }
    ref_close(&r);
    return y;
}

// Logits [n - from, vocab] of one prefill that asks for the rows from `from` on.
static float *last(const model *m, int n, int from) {
    float *y = must_alloc((size_t)((n - from) * m->c.vocab), sizeof *y);
    int32_t token[LONG], pos[LONG], zero[LONG] = {0};
    char err[ERR];
    ref_run r;
    ref_open(&r, m, simd_linear, n, 1, n);
    for (int i = 0; i < n; i++) token[i] = token_at(0, i, m->c.vocab), pos[i] = i;
    must(!ref_step(&r, token, pos, zero, n, from, err));
    memcpy(y, r.logits, (size_t)((n - from) * m->c.vocab) * sizeof *y);
    ref_close(&r);
    return y;
}

// SEQS sequences of TOKENS, TOKENS - 1, .. tokens in turns of 1, 2, 3, .. positions each; the
// logits of all of them lie at y + seq * TOKENS * vocab.
static float *together(const model *m, linear_fn linear) {
    int64_t vocab = m->c.vocab;
    float *y = must_alloc((size_t)(SEQS * TOKENS * vocab), sizeof *y);
    int32_t token[SEQS * TOKENS], pos[SEQS * TOKENS], seq[SEQS * TOKENS];
    int done[SEQS] = {0};
    char err[ERR];
    ref_run r;
    ref_open(&r, m, linear, SEQS * TOKENS, SEQS, TOKENS);
    for (int turn = 1;; turn++) {
        int n = 0;
        for (int i = 0; i < turn; i++)
            for (int s = SEQS - 1; s >= 0; s--)
                if (done[s] < TOKENS - s) {
                    token[n] = token_at(s, done[s], vocab);
                    pos[n] = done[s]++;
                    seq[n++] = s;
                }
        if (!n) break;
        must(!ref_step(&r, token, pos, seq, n, 0, err));
        for (int i = 0; i < n; i++)
            memcpy(y + (seq[i] * TOKENS + pos[i]) * vocab, r.logits + i * vocab,
                   (size_t)vocab * sizeof *y);
    }
    ref_close(&r);
    return y;
}

static int equal(float *found, const float *want, int64_t n) {
    int same = !memcmp(found, want, (size_t)n * sizeof *want);
    free(found);
    return same;
}

static void models(void) {
    for (int i = 0; i < 4; i++) {
        const char *what = shape_name[i / 2];
        tq_kind kind = i % 2 ? KIND_F32 : KIND_TQ4;
        const char *as = i % 2 ? "dense" : "TQ4";
        model m;
        model_random(&m, &shapes[i / 2], kind, 20u + (uint32_t)i);
        int64_t all = TOKENS * m.c.vocab;
        omp_set_num_threads(1);
        float *want = alone(&m, ref_linear, 0, TOKENS, TOKENS);
        int ok = 1;
        for (int t = 1; t < THREADS; t++) {
            omp_set_num_threads(threads[t]);
            ok &= equal(alone(&m, ref_linear, 0, TOKENS, TOKENS), want, all);
            ok &= equal(alone(&m, simd_linear, 0, TOKENS, 4), want, all);
        }
        check(ok, "%s %s: the same logits with 1, 2, 3 and 7 threads", what, as);
        omp_set_num_threads(2);
        ok = equal(alone(&m, ref_linear, 0, TOKENS, 1), want, all);
        check(ok, "%s %s: token by token gives the logits of one prefill", what, as);
        ok = equal(alone(&m, ref_linear, 0, TOKENS, 0), want, all) &&
             equal(alone(&m, simd_linear, 0, TOKENS, 7), want, all);
        check(ok, "%s %s: so do pieces of 1, 2, 3, .. and of 7 tokens", what, as);
        ok = equal(last(&m, TOKENS, TOKENS - 2), want + (TOKENS - 2) * m.c.vocab, 2 * m.c.vocab);
        check(ok, "%s %s: and so do the last two rows asked for alone", what, as);
        for (int level = 0; level < simd_levels(); level++) {
            simd_use(level);
            ok = equal(alone(&m, simd_linear, 0, TOKENS, TOKENS), want, all) &&
                 equal(alone(&m, simd_linear, 0, TOKENS, 1), want, all);
            check(ok, "%s %s: the same logits from %s", what, as, simd_level_name(level));
        }
        float *batch[2] = {together(&m, ref_linear), together(&m, simd_linear)};
        ok = 1;
        for (int s = 0; s < SEQS; s++) {
            float *one = alone(&m, simd_linear, s, TOKENS - s, TOKENS);
            for (int b = 0; b < 2; b++)
                ok &= !memcmp(one, batch[b] + s * all,
                              (size_t)((TOKENS - s) * m.c.vocab) * sizeof *one);
            free(one);
        }
        check(ok, "%s %s: a row's logits are the same in a batch of %d sequences", what, as, SEQS);
        ok = memcmp(batch[0], batch[0] + all, (size_t)m.c.vocab * sizeof(float)) != 0;
        check(ok, "%s %s: and they do depend on the tokens", what, as);
        free(batch[0]);
        free(batch[1]);
        free(want);
        model_close(&m);
    }
}

// More than one chunk of keys: the chunk at 256 is cut differently by each way of stepping.
static void long_context(void) {
    model m;
    model_random(&m, &shapes[0], KIND_TQ4, 30);
    float *want = alone(&m, simd_linear, 1, LONG, LONG);
    int ok = equal(alone(&m, simd_linear, 1, LONG, 1), want, LONG * m.c.vocab) &&
             equal(alone(&m, simd_linear, 1, LONG, 100), want, LONG * m.c.vocab);
    check(ok, "%d keys: one prefill, pieces of 100 and single tokens agree", LONG);
    free(want);
    model_close(&m);
}

// ---- the cache

// 1: a sequence has the logits `want` on pages that another one used before, in another order, in
// pieces of 90 tokens, before each of which another has a token on the page between them; at token
// 180 the two change their numbers, and their pages go with them.
static int reuses_pages(const model *m, const float *want) {
    int32_t token[LONG], pos[LONG], seq[LONG] = {0};
    char err[ERR];
    int ok = 1;
    ref_run r;
    ref_open_pages(&r, m, simd_linear, LONG, 2, LONG, 3);
    r.page[0] = 2, r.page[1] = 0;
    for (int i = 0; i < LONG; i++) token[i] = token_at(3, i, m->c.vocab), pos[i] = i;
    must(!ref_step(&r, token, pos, seq, LONG, LONG - 1, err));
    for (int32_t at = 0; at < LONG; at += 90) {
        int large = at < 180;
        token[0] = 5, pos[0] = at / 90, seq[0] = !large;
        r.page[2 * large] = 0, r.page[2 * large + 1] = 2;
        r.page[2 * !large] = 1, r.page[2 * !large + 1] = -1;
        for (int i = 1; i <= 90; i++)
            token[i] = token_at(1, at + i - 1, m->c.vocab), pos[i] = at + i - 1, seq[i] = large;
        must(!ref_step(&r, token, pos, seq, 91, 1, err));
        ok &= !memcmp(r.logits, want + at * m->c.vocab, 90 * (size_t)m->c.vocab * sizeof *want);
    }
    ref_close(&r);
    return ok;
}

// 1: a step whose row, at position `at`, has no page (or that of an earlier key has none) stops the
// program.
static int needs_page(const model *m, int32_t at, int32_t first, int32_t second) {
    int32_t token = 1, seq = 0;
    int status;
    fflush(stdout);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        ref_run r;
        must(freopen("/dev/null", "w", stderr) != NULL);
        ref_open_pages(&r, m, ref_linear, 1, 1, LONG, 2);
        r.page[0] = first, r.page[1] = second;
        ref_rows(&r, &token, &at, &seq, 1, 0);
        _exit(0);
    }
    must(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void pages(void) {
    float *want[2];
    model m;
    for (int i = 0; i < 2; i++) {
        const char *kind = i ? "bf16" : "f32";
        model_random(&m, &shapes[0], KIND_TQ4, 31);
        m.c.kv_bf16 = i;
        want[i] = alone(&m, simd_linear, 1, LONG, LONG);
        check(reuses_pages(&m, want[i]), "%s cache: pages used before, out of order", kind);
        int ok = equal(alone(&m, ref_linear, 1, LONG, 1), want[i], LONG * m.c.vocab);
        check(ok, "%s cache: token by token gives the logits of one prefill", kind);
        if (!i) {
            ok = needs_page(&m, 0, -1, 1) && needs_page(&m, 0, 2, 1) &&
                 needs_page(&m, 256, 0, -1) && needs_page(&m, 256, -1, 0) &&
                 !needs_page(&m, 255, 0, -1);
            check(ok, "a step whose keys have no page stops the program");
        }
        model_close(&m);
    }
    check(memcmp(want[0], want[1], (size_t)shapes[0].vocab * sizeof(float)) != 0,
          "a cache in bf16 gives other logits");
    free(want[0]);
    free(want[1]);
}

// A key that is finite, and infinite in bf16: an element of key head 0 of layer 1 at position 0,
// where nothing is turned, is made 0x1.ff4p127 by its norm; bf16 ends at 0x1.fep127.
static void rounds_to_infinity(void) {
    int32_t token = 1, zero = 0;
    char err[ERR] = "none";
    for (int bf16 = 0; bf16 < 2; bf16++) {
        model m;
        ref_run r;
        model_random(&m, &shapes[0], KIND_TQ4, 42);
        m.c.kv_bf16 = bf16;
        float *w = (float *)(uintptr_t)m.layer[1].norm[N_K];
        ref_open(&r, &m, ref_linear, 1, 1, 1);
        must(!ref_step(&r, &token, &zero, &zero, 1, 0, err));
        int at = 0;
        for (int i = 1; i < 32; i++) // |k / w| above 1, so that the weight is finite
            if (r.k[i] / w[i] * (r.k[i] / w[i]) > r.k[at] / w[at] * (r.k[at] / w[at])) at = i;
        w[at] = 0x1.ff4p127f / (r.k[at] / w[at]);
        int bad = ref_step(&r, &token, &zero, &zero, 1, 0, err);
        check(bad && strstr(err, bf16 ? "layer 1, phase QKV" : "layer 1, phase ATTEND"),
              "%s cache: a key that rounding makes infinite: %s", bf16 ? "bf16" : "f32", err);
        ref_close(&r);
        model_close(&m);
    }
}

// ---- linear layers

typedef struct {
    tq_matrix m;
    tq_acts a;
    uint8_t *codes;
    int8_t *scale, book[LEVELS];
    float *row;
} layer;

// How the bytes are chosen: at random, or all of one sign, or with signs that agree, so that every
// sum ends at its bound. -128 cannot come from quantising, but a file may hold it.
enum { RANDOM, HIGH, LOW, MIXED, WAYS };

static int8_t pick(int way, uint32_t w) {
    if (way == RANDOM) return (int8_t)w;
    return way == HIGH || (way == MIXED && w & 1) ? 127 : -128;
}

static layer layer_make(tq_kind kind, int64_t rows, int64_t cols, int64_t T, int way) {
    layer l = {0};
    tq_shape(&l.m, kind, rows, cols);
    int64_t n = rows * l.m.pad, q = T * l.m.pad, g = T * l.m.pad / l.m.group;
    uint32_t *w = must_alloc((size_t)(n + q + g + 4), sizeof *w);
    rng_words(1, (uint32_t)cols, (uint32_t)way, 0, w, (n + q + g + 3) / 4);
    l.codes = must_alloc((size_t)n, 1);
    l.scale = must_alloc((size_t)n / BLOCK, 1);
    l.row = must_alloc((size_t)rows, sizeof *l.row);
    for (int64_t i = 0; i < n; i++)
        l.codes[i] = kind == KIND_I8 || way == RANDOM ? (uint8_t)pick(way, w[i])
                     : way == MIXED                   ? (uint8_t)(w[i] & 1 ? 0xff : 0)
                                                      : 0xff;
    for (int64_t i = 0; i < n / BLOCK; i++) l.scale[i] = pick(way == RANDOM ? way : LOW, w[i] >> 8);
    for (int i = 0; i < LEVELS; i++) l.book[i] = way == RANDOM ? (int8_t)(w[i] >> 16) : 127;
    if (way == LOW || way == MIXED) l.book[way == LOW ? 15 : 0] = -128;
    for (int64_t r = 0; r < rows; r++) l.row[r] = 1.0f + (float)r;
    l.m.codes = l.codes, l.m.scale = l.scale, l.m.row = l.row;
    l.a = (tq_acts){.rows = T, .pad = l.m.pad, .group = l.m.group};
    l.a.q = must_alloc((size_t)q, 1);
    l.a.mult = must_alloc((size_t)g, sizeof *l.a.mult);
    l.a.e = must_alloc((size_t)T, sizeof *l.a.e);
    for (int64_t i = 0; i < q; i++) {
        int8_t x = pick(way, w[n + i % l.m.pad]); // a mixed row agrees with the signs of row 0
        if (way == MIXED) x = pick(way, w[kind == KIND_I8 ? i % l.m.pad : i % l.m.pad / 2]);
        l.a.q[i] = x == -128 ? -127 : x;
    }
    for (int64_t i = 0; i < g; i++)
        l.a.mult[i] = way == RANDOM ? (int32_t)(128 + (w[n + q + i] & 127)) << (w[n + q + i] >> 28)
                                    : 255 << 16;
    free(w);
    return l;
}

static void layer_free(layer *l) {
    free(l->codes);
    free(l->scale);
    free(l->row);
    tq_acts_free(&l->a);
}

// The sum as chapter 5 defines it, in 128 bits, one weight at a time.
static __int128 exact(const layer *l, int64_t r, int64_t t) {
    __int128 y = 0;
    for (int64_t i = 0; i < l->m.pad; i++) {
        int64_t at = r * l->m.pad + i, byte = l->codes[l->m.kind == KIND_I8 ? at : at / 2];
        int level = l->m.kind == KIND_I8 ? (int8_t)byte : l->book[at % 2 ? byte / 16 : byte % 16];
        y += (__int128)l->a.mult[(t * l->m.pad + i) / l->m.group] * l->scale[at / BLOCK] * level *
             l->a.q[t * l->m.pad + i];
    }
    return y;
}

static void linears(void) {
    static const int64_t cols[] = {32,  40,  64,  96,  100, 128, 160,  192,
                                   224, 256, 320, 352, 384, 640, 1000, 2048};
    static const int64_t tokens[] = {1, 2, 21}; // a block of 16, then fours and ones
    for (int k = 0; k < 2; k++) {
        tq_kind kind = k ? KIND_I8 : KIND_TQ4;
        int exact_ok = 1, level_ok[8] = {1, 1, 1, 1, 1, 1, 1, 1}, cases = 0;
        for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
            for (int j = 0; j < 3 * WAYS; j++) {
                int64_t rows = 5, T = tokens[j % 3];
                layer l = layer_make(kind, rows, cols[c], T, j / 3);
                l.m.codebook = l.book;
                if (k) l.m.codebook = NULL;
                float want[5 * 21], found[5 * 21];
                ref_linear(&l.m, &l.a, NULL, T, want);
                for (int64_t t = 0; t < T; t++)
                    for (int64_t r = 0; r < rows; r++) {
                        __int128 y = exact(&l, r, t);
                        exact_ok &= y == tq_dot(&l.m, r, &l.a, t) &&
                                    want[t * rows + r] == (float)(int64_t)y * l.row[r] * 0x1p-16f;
                    }
                for (int level = 0; level < simd_levels(); level++) {
                    simd_use(level);
                    memset(found, 0, sizeof found);
                    simd_linear(&l.m, &l.a, NULL, T, found);
                    level_ok[level] &= !memcmp(found, want, (size_t)(T * rows) * sizeof *want);
                }
                cases++;
                layer_free(&l);
            }
        check(exact_ok, "%s: the integer and its rounding, %d cases to the bounds of the sums",
              k ? "I8" : "TQ4", cases);
        for (int level = 0; level < simd_levels(); level++)
            check(level_ok[level], "%s: %s gives the same", k ? "I8" : "TQ4",
                  simd_level_name(level));
    }
    layer l = layer_make(KIND_I8, 1, MAX_COLS, 1, LOW);
    __int128 y = exact(&l, 0, 0), bound = (__int128)1 << 61;
    float want, found;
    ref_linear(&l.m, &l.a, NULL, 1, &want);
    int ok = y == tq_dot(&l.m, 0, &l.a, 0) && y < bound && y > -bound &&
             (y > bound / 8 || y < -bound / 8);
    for (int level = 0; level < simd_levels(); level++) {
        simd_use(level);
        simd_linear(&l.m, &l.a, NULL, 1, &found);
        ok &= found == want;
    }
    check(ok, "%d columns at their bounds stay below 2^61", MAX_COLS);
    layer_free(&l);
}

// ---- fitting

enum { ROWS = 40, COLS = 300 }; // pad 320, G 64

static void gaussian(float *x, int64_t n, uint32_t seed) { // Marsaglia's polar method
    uint32_t at = 0;
    for (int64_t i = 0; i < n;) {
        uint32_t w[4];
        rng_words(seed, 0, 0, at++, w, 1);
        for (int j = 0; j < 4 && i < n; j += 2) {
            float a = 2 * rng_uniform(w[j]) - 1, b = 2 * rng_uniform(w[j + 1]) - 1,
                  s = a * a + b * b;
            if (s > 0 && s < 1) x[i++] = a * num_sqrt(-2 * num_log(s) / s);
        }
    }
}

static tq_matrix dense(const float *x, int64_t rows, int64_t cols) {
    tq_matrix m;
    tq_shape(&m, KIND_F32, rows, cols);
    m.dense = x;
    m.type = T_F32;
    return m;
}

// The stored rows in the rotated domain, minus what they should be: (1 + shift) H w / G, and 2 shift
// more in column r of row r.
static void errors(const tq_owned *q, const float *w, float *e, float shift) {
    const tq_matrix *m = &q->m;
    for (int64_t r = 0; r < m->rows; r++) {
        float *u = e + r * m->pad;
        memset(u, 0, (size_t)m->pad * sizeof *u);
        memcpy(u, w + r * m->cols, (size_t)m->cols * sizeof *u);
        if (m->rotate) tq_rotate(u, m->pad, m->group);
        for (int64_t i = 0; i < m->pad; i++) {
            int64_t at = r * m->pad + i;
            int byte = q->codes[m->kind == KIND_I8 ? at : at / 2];
            int level =
                m->kind == KIND_I8 ? (int8_t)byte : q->codebook[i % 2 ? byte / 16 : byte % 16];
            float want =
                (1 + shift) * u[i] / (float)(m->rotate ? m->group : 1) + (i == r ? 2 * shift : 0);
            u[i] = q->row[r] * (float)(q->scale[at / BLOCK] * level) - want;
        }
    }
}

static double weighted(const float *e, const double *h, int64_t rows, int64_t n) {
    double sum = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                sum += h ? e[r * n + i] * h[i * n + j] * e[r * n + j] : 0;
    return sum;
}

static void digest(const tq_owned *q, unsigned char out[32]) {
    int64_t b[4];
    crypto_hash_sha256_state s;
    tq_bytes(&q->m, b);
    crypto_hash_sha256_init(&s);
    crypto_hash_sha256_update(&s, q->codes, (size_t)b[0]);
    crypto_hash_sha256_update(&s, (unsigned char *)q->scale, (size_t)b[1]);
    crypto_hash_sha256_update(&s, (unsigned char *)q->codebook, LEVELS);
    crypto_hash_sha256_update(&s, (unsigned char *)q->row, (size_t)b[3]);
    crypto_hash_sha256_final(&s, out);
}

// Fits with 1, 2, 3 and 7 threads; q is the last. Returns whether all were equal.
static int fit(tq_owned *q, const tq_matrix *w, tq_kind kind, tq_rung rung, const tq_calib *cal) {
    unsigned char first[32] = {0}, hash[32] = {0};
    int same = 1;
    for (int t = 0; t < THREADS; t++) {
        if (t) tq_free(q);
        omp_set_num_threads(threads[t]);
        tq_fit(q, w, kind, rung, cal);
        digest(q, t ? hash : first);
        same &= !t || !memcmp(first, hash, sizeof hash);
    }
    omp_set_num_threads(2);
    return same;
}

static double square_error(const tq_owned *q, const float *w, float *e) {
    double sum = 0, all = 0;
    errors(q, w, e, 0);
    for (int64_t i = 0; i < ROWS * q->m.pad; i++)
        sum += (double)e[i] * e[i] * (q->m.rotate ? q->m.group : 1);
    for (int64_t i = 0; i < ROWS * COLS; i++) all += (double)w[i] * w[i];
    return sum / all;
}

enum { PAD = 320 };
static const float shift = 0.05f;

// Sums over a text of inputs x whose columns are correlated. The dense model's inputs are 1.05 x,
// its residual stream is ahead by .1 of the first ROWS columns of x.
static tq_calib calibration(double **memory) {
    enum { TEXT = 400 };
    double *h = must_alloc((2 * PAD + ROWS) * PAD, sizeof *h), *d = h + PAD * PAD,
           *s = d + PAD * PAD;
    for (int t = 0; t < TEXT; t++) {
        float x[PAD];
        gaussian(x, PAD, 1000u + (uint32_t)t);
        for (int i = 1; i < PAD; i++) // alike within a block and one block away
            x[i] = 0.5f * x[i - 1] + 0.2f * x[i] + (i < BLOCK ? 0 : 0.45f * x[i - BLOCK]);
        for (int i = 0; i < PAD; i++)
            for (int j = 0; j < PAD; j++) h[i * PAD + j] += (double)x[i] * x[j];
    }
    for (int i = 0; i < PAD * PAD; i++) d[i] = shift * h[i];
    for (int i = 0; i < ROWS * PAD; i++) s[i] = 2 * shift * h[i];
    *memory = h;
    return (tq_calib){h, d, s};
}

static void fits(void) {
    static float w[ROWS * COLS], e[ROWS * PAD];
    double *memory, *zero = must_alloc(PAD * PAD, sizeof *zero), before = 1, plain = 0;
    tq_calib cal = calibration(&memory), quiet = {memory, zero, NULL};
    tq_owned q;
    gaussian(w, ROWS * COLS, 1);
    tq_matrix m = dense(w, ROWS, COLS);
    for (int rung = 0; rung <= RUNG_CODEBOOK; rung++) {
        check(fit(&q, &m, KIND_TQ4, rung, NULL), "tq_fit %s: equal for 1, 2, 3 and 7 threads",
              tq_rung_name[rung]);
        double error = square_error(&q, w, e);
        // a rotated Gaussian is a Gaussian, so that rung may lose or win a little here
        check(error < before * (rung == RUNG_ROTATE ? 1.05 : 1), "tq_fit %s: relative error %.5f",
              tq_rung_name[rung], error);
        if (rung == RUNG_CODEBOOK)
            check(error > 0.0035 && error < 0.0042, "tq_fit codebook: in .0035 .. .0042");
        before = error;
        plain = weighted(e, memory, ROWS, PAD);
        tq_free(&q);
    }
    check(fit(&q, &m, KIND_TQ4, RUNG_FEEDBACK, &quiet), "tq_fit feedback: equal for all threads");
    square_error(&q, w, e);
    double fed = weighted(e, memory, ROWS, PAD);
    check(fed < 0.35 * plain, "tq_fit feedback: the outputs' error is %.2f of the codebook's",
          fed / plain);
    errors(&q, w, e, shift);
    before = weighted(e, memory, ROWS, PAD);
    tq_free(&q);
    check(fit(&q, &m, KIND_TQ4, RUNG_FEEDBACK, &cal), "tq_fit feedback with differences: equal");
    errors(&q, w, e, shift);
    double moved = weighted(e, memory, ROWS, PAD);
    check(moved < 0.4 * before, "tq_fit feedback: it answers to differences: error %.2f of before",
          moved / before);
    tq_free(&q);
    check(fit(&q, &m, KIND_I8, RUNG_CODEBOOK, NULL), "tq_fit I8: equal for all threads");
    double error = square_error(&q, w, e);
    check(error < 1e-4, "tq_fit I8: relative error %.2g", error);
    tq_free(&q);
    free(memory);
    free(zero);
}

// cols columns are the same as pad columns with zeros behind: stored form, outputs, embedding.
static void padding(void) {
    enum { SHORT = 40, WIDE = 64 };
    static float w[ROWS * SHORT], wide[ROWS * WIDE], x[WIDE], y[2][ROWS], z[2][WIDE];
    gaussian(w, ROWS * SHORT, 2);
    gaussian(x, SHORT, 3);
    for (int r = 0; r < ROWS; r++)
        memcpy(wide + (size_t)r * WIDE, w + (size_t)r * SHORT, SHORT * sizeof *w);
    tq_matrix m[2] = {dense(w, ROWS, SHORT), dense(wide, ROWS, WIDE)};
    for (int k = 0; k < 2; k++) {
        tq_owned q[2];
        tq_acts a = {0};
        unsigned char hash[2][32];
        for (int i = 0; i < 2; i++) {
            tq_fit(&q[i], &m[i], k ? KIND_I8 : KIND_TQ4, RUNG_CODEBOOK, NULL);
            digest(&q[i], hash[i]);
            must(!tq_quantize(&a, x, 1, &q[i].m));
            simd_linear(&q[i].m, &a, NULL, 1, y[i]);
            tq_embed(&q[i].m, 3, z[i]);
            tq_free(&q[i]);
        }
        check(!memcmp(hash[0], hash[1], 32) && !memcmp(y[0], y[1], sizeof y[0]) &&
                  !memcmp(z[0], z[1], SHORT * sizeof(float)),
              "%s: %d columns give what %d with zeros behind give", k ? "I8" : "TQ4", SHORT, WIDE);
        tq_acts_free(&a);
    }
}

// ---- values that are not finite

static void poison(const float *p, uint32_t bits) { *(float *)(uintptr_t)p = num_float(bits); }

static void not_finite(void) {
    for (int kind = 0; kind < 2; kind++)
        for (int where = 0; where < 7; where++) {
            static const char *const want[] = {"EMBED",  "QKV",  "QKV", "OUT",
                                               "GATEUP", "DOWN", "HEAD"};
            model m;
            ref_run r;
            char err[ERR] = "none", at_layer[32];
            int32_t token[2] = {1, 2}, pos[2] = {0, 1}, seq[2] = {0, 0};
            model_random(&m, &shapes[0], kind ? KIND_F32 : KIND_TQ4, 40);
            tq_matrix *w = m.layer[1].w;
            int64_t at = 2 * m.c.hidden;
            const float *place[] = {kind ? (const float *)m.embed.dense + at : m.embed.row + 2,
                                    m.layer[1].norm[N_ATTN],
                                    m.layer[1].norm[N_K],
                                    kind ? w[W_O].dense : w[W_O].row,
                                    m.layer[1].norm[N_FFN],
                                    kind ? w[W_DOWN].dense : w[W_DOWN].row,
                                    m.final_norm};
            poison(place[where], where % 2 ? 0x7f800000 : 0x7fc00000);
            ref_open(&r, &m, simd_linear, 2, 1, 2);
            int bad = ref_step(&r, token, pos, seq, 2, 0, err);
            snprintf(at_layer, sizeof at_layer, "%s",
                     where == 0 || where == 6 ? "phase" : "layer 1,");
            check(bad == -1 && strstr(err, at_layer) && strstr(err, want[where]),
                  "%s: not finite in %s: %s", kind ? "dense" : "TQ4", want[where], err);
            ref_close(&r);
            model_close(&m);
        }
}

// Row r of a matrix, made 2^70 times as large: still finite, but its square is not.
static void enlarge(const tq_matrix *m, int64_t r) {
    const float *first = m->kind == KIND_F32 ? (const float *)m->dense + r * m->cols : m->row + r;
    float *x = (float *)(uintptr_t)first;
    for (int64_t i = 0; i < (m->kind == KIND_F32 ? m->cols : 1); i++) x[i] *= 0x1p70f;
}

// A norm whose mean square overflows: an error in its phase, not zeros that look like values.
static void norm_overflow(void) {
    float x[3] = {0x1p70f, -1, 0x1p-100f}, w[3] = {1, 1, 1}, y[3];
    ref_norm(y, x, w, 3, 1e-6f);
    check(!ref_finite(&y[0], 1) && !ref_finite(&y[1], 1) && !ref_finite(&y[2], 1),
          "a norm whose squares overflow has no finite value");
    for (int kind = 0; kind < 2; kind++)
        for (int where = 0; where < 5; where++) {
            static const char *const want[] = {"layer 0, phase QKV", "layer 1, phase QKV",
                                               "layer 1, phase QKV", "layer 1, phase GATEUP",
                                               "phase HEAD"};
            model m;
            ref_run r;
            char err[ERR] = "none";
            int32_t token[2] = {1, 2}, pos[2] = {0, 1}, seq[2] = {0, 0};
            model_random(&m, &shapes[0], kind ? KIND_F32 : KIND_TQ4, 41);
            tq_matrix *l = m.layer[1].w;
            enlarge((tq_matrix *[]){&m.embed, &l[W_Q], &l[W_K], &l[W_O], &l[W_DOWN]}[where], 2);
            ref_open(&r, &m, simd_linear, 2, 1, 2);
            int bad = ref_step(&r, token, pos, seq, 2, 0, err);
            check(bad == -1 && strstr(err, want[where]), "%s: a norm overflows: %s",
                  kind ? "dense" : "TQ4", err);
            ref_close(&r);
            model_close(&m);
        }
}

// ---- the sampler

enum { IDS = 12, DRAWS = 100000 };

static double exp_double(double x) { // the Taylor series of e^(x/64), 64 times
    double y = 1, term = 1;
    for (int k = 1; k < 20; k++) y += term *= x / 64 / k;
    for (int k = 0; k < 6; k++) y *= y;
    return y;
}

// Draws against probabilities p (0: never drawn). 11 degrees of freedom exceed 31.3 once in 1,000.
static void distribution(const char *what, const float *z, sample_options o, const double *p) {
    int count[IDS] = {0}, never = 1, twice = 0;
    double chi = 0, match = 0;
    for (int i = 0; i < DRAWS; i++) {
        sample_options other = o;
        other.stream++;
        int a = sample_token(z, IDS, &o, (uint32_t)i),
            b = sample_token(z, IDS, &other, (uint32_t)i);
        count[a]++;
        twice += a == b;
    }
    for (int i = 0; i < IDS; i++) {
        double expected = p[i] * DRAWS;
        if (expected > 0)
            chi += (count[i] - expected) * (count[i] - expected) / expected;
        else
            never &= count[i] == 0;
        match += p[i] * p[i] * DRAWS;
    }
    check(never && chi < 31.3, "sampling %s: chi-square %.1f over %d draws", what, chi, DRAWS);
    double off = twice - match; // variance below DRAWS / 4; 5 sigma = 790
    check(off < 790 && off > -790, "sampling %s: another stream draws for itself", what);
}

static void sampling(void) {
    static const float z[IDS] = {1, 2.5f, 0, 2.5f, -1, 0.5f, 2, -3, 1.5f, -0.5f, 0.25f, 1.75f};
    double weight[IDS], p[IDS], sum = 0;
    sample_options o = {0, 0, 1, 7, 3};
    check(sample_token(z, IDS, &o, 0) == 1, "temperature 0: the lower of two equal logits");
    float equal_z[5] = {-0.0f, 0, 0, -0.0f, 0};
    check(sample_token(equal_z, 5, &o, 0) == 0, "temperature 0: -0 and +0 are equal");
    o = (sample_options){1, 1, 1, 7, 3};
    int ok = 1;
    for (uint32_t i = 0; i < 1000; i++) ok &= sample_token(z, IDS, &o, i) == 1;
    check(ok, "top-k 1 is the largest logit, the lower id of two");
    o = (sample_options){0.8f, 0, 1, 7, 3};
    for (int i = 0; i < IDS; i++) sum += weight[i] = exp_double((z[i] - 2.5) / 0.8f);
    for (int i = 0; i < IDS; i++) p[i] = weight[i] / sum;
    distribution("at temperature 0.8", z, o, p);
    o.top_k = 4; // by weight the ids are 1 3 6 11 8 0 5 10 2 9 4 7
    double four = weight[1] + weight[3] + weight[6] + weight[11], three = four - weight[11];
    for (int i = 0; i < IDS; i++)
        p[i] = i == 1 || i == 3 || i == 6 || i == 11 ? weight[i] / four : 0;
    distribution("with top-k 4", z, o, p);
    o.top_k = 0;
    o.top_p = 0.6f; // 1 and 3 are 56% of all, with 6 it is 71%
    p[11] = 0;
    for (int i = 0; i < IDS; i++) p[i] *= four / three;
    distribution("with top-p 0.6", z, o, p);
    float level[4] = {1, 1, 1, 1};
    o = (sample_options){1, 0, 0.5f, 7, 3};
    ok = 1;
    for (uint32_t i = 0; i < 1000; i++) ok &= sample_token(level, 4, &o, i) < 2;
    check(ok, "top-p 0.5 of four equal logits keeps the two lowest ids");
    o = (sample_options){1e-3f, 0, 1, 7, 3};
    double half[IDS] = {[1] = 0.5, [3] = 0.5};
    distribution("almost without temperature", z, o, half);
}

// ---- the runner of the golden vectors

// Runs verify_all() on a folder whose only file is num.txt with this text, without its output.
static int verify_text(const char *text, int *wrong, char err[ERR]) {
    char dir[] = "/tmp/assay-spine-XXXXXX", path[64];
    must(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/num.txt", dir);
    FILE *f = fopen(path, "w");
    must(f && fputs(text, f) >= 0 && !fclose(f));
    fflush(stdout);
    int keep = dup(1);
    must(keep >= 0 && freopen("/dev/null", "w", stdout) != NULL);
    *wrong = 0;
    int n = verify_all(dir, &(backend){.name = "ref", .linear = ref_linear, .tile = ref_tile},
                       wrong, err);
    fflush(stdout);
    must(dup2(keep, 1) == 1 && !close(keep));
    unlink(path);
    rmdir(dir);
    return n;
}

static void verifying(void) {
    char err[ERR];
    int wrong, n = verify_text("# a\nexp.1 | r | - | 00000000 | 3f800000\n", &wrong, err);
    check(n == -1 && wrong == 0 && strstr(err, "rng.txt"), "verify: a missing file: %s", err);
    verify_text("exp.1 | r | - | 00000000 | 3f800001\nexp.2 | r | - | 0 | 3f800000", &wrong, err);
    check(wrong == 1, "verify: one case of two differs");
    verify_text("exp.1 | r | - | 00000000 | 3f80000\nexp.2 | r | - | 0 | 3f8000000\n", &wrong, err);
    check(wrong == 2, "verify: a digit less or more differs");
    n = verify_text("# a\n\n# b\nexp.1 | r | - | 00000000\n", &wrong, err);
    check(n == -1 && strstr(err, "num.txt: line 2"), "verify: an empty line: %s", err);
    n = verify_text("# a\n# b\nexp.1 | r | - | 00000000\n", &wrong, err);
    check(n == -1 && strstr(err, "num.txt: line 3"), "verify: a field less: %s", err);
    n = verify_text("# a\n", &wrong, err);
    check(n == -1 && strstr(err, "num.txt: line 2"), "verify: no case: %s", err);
    n = verify_text("# a\nexo.1 | r | - | 00000000 | 3f800000\n", &wrong, err);
    check(n == -1 && strstr(err, "num.txt: line 2"), "verify: an unknown function: %s", err);
}

int main(void) {
    num_require_ieee();
    models();
    long_context();
    pages();
    rounds_to_infinity();
    linears();
    fits();
    padding();
    not_finite();
    norm_overflow();
    sampling();
    verifying();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
