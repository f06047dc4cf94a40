// tq4.c - the format of chapter 5: shapes, rotation, exact linear layers, and fitting.
#include "tq4.h"
#include "num.h"

const char *const tq_rung_name[RUNGS] = {"tensor",   "row",      "block",    "rotate",
                                         "codebook", "feedback", "retarget", "distil"};

// ---- shapes

int64_t tq_pad(int64_t cols) { return (cols + 31) / 32 * 32; }

int tq_group(int64_t cols) {
    int g = GROUP_MAX;
    while (tq_pad(cols) % g) g /= 2;
    return g;
}

void tq_shape(tq_matrix *m, tq_kind kind, int64_t rows, int64_t cols) {
    must(cols > 0 && cols <= MAX_COLS);
    *m = (tq_matrix){.kind = kind,
                     .rows = rows,
                     .cols = cols,
                     .pad = tq_pad(cols),
                     .group = tq_group(cols),
                     .rotate = 1};
}

int64_t tq_bytes(const tq_matrix *m, int64_t bytes[4]) {
    int64_t n = m->rows * m->pad;
    bytes[0] = m->kind == KIND_TQ4  ? n / 2
               : m->kind == KIND_I8 ? n
                                    : m->rows * m->cols * tensor_type_size(m->type);
    bytes[1] = m->kind == KIND_F32 ? 0 : n / BLOCK;
    bytes[2] = m->kind == KIND_TQ4 ? LEVELS : 0;
    bytes[3] = m->kind == KIND_F32 ? 0 : m->rows * 4;
    return bytes[0] + bytes[1] + bytes[2] + bytes[3];
}

// ---- rotation and activations

// One pass: sums and differences of elements h apart, in a group of n.
static inline void butterfly(float *g, int n, int h) {
    for (int i = 0; i < n; i += 2 * h)
        for (int j = i; j < i + h; j++) {
            float a = g[j], b = g[j + h];
            g[j] = num_add(a, b);
            g[j + h] = num_sub(a, b);
        }
}

void tq_rotate(float *x, int64_t n, int group) {
    for (float *g = x; g < x + n; g += group) {
        butterfly(g, group, 1); // the short distances are known to the compiler,
        butterfly(g, group, 2); // which then finds vector instructions for them
        butterfly(g, group, 4);
        for (int h = 8; h < group; h *= 2) butterfly(g, group, h);
    }
}

void tq_widen(const tq_matrix *m, int64_t r, float *out) {
    tensor t = {.type = m->type,
                .dims = 1,
                .dim = {m->rows * m->cols},
                .data = m->dense,
                .bytes = m->rows * m->cols * tensor_type_size(m->type)};
    tensor_to_f32(&t, r * m->cols, m->cols, out);
}

// The smallest sigma = m 2^e, m in 128 .. 255, with 127 sigma >= a; a in [2^-100, 2^128).
// a = A 2^k with A in [2^23, 2^24), and 127 * 128 * 512 < 2^23, 2^24 <= 127 * 130 * 1024.
static void smallest_sigma(float a, int *m, int *e) {
    uint32_t bits = num_bits(a), A = (bits & 0x7fffff) | 0x800000;
    int k = (int)(bits >> 23) - 127 - 23;
    int coarse = A > 127 * 255 * 512; // m would be 256: one binade up
    uint32_t step = 127 * 512 << coarse, up = (A + step - 1) / step;
    *e = k + 9 + coarse;
    *m = up < 128 ? 128 : (int)up;
}

// One row: xh [pad] rotated, q [pad], mult and e [pad/group]; *top: E. -1: not finite. The bits of
// floats that are not negative have the order of their values.
static int quantize_row(const float *xh, int64_t pad, int group, int8_t *q, int32_t *mult, int *e,
                        int *top) {
    *top = -1000; // below any e
    for (int64_t g = 0; g < pad / group; g++) {
        uint32_t a = 0;
        for (int64_t i = g * group; i < (g + 1) * group; i++) {
            uint32_t b = num_bits(xh[i]) & 0x7fffffff;
            a = b > a ? b : a;
        }
        if (a >= 0x7f800000) return -1;
        mult[g] = 0; // the group counts as zero
        e[g] = -1000;
        if (num_float(a) >= 0x1p-100f) smallest_sigma(num_float(a), &mult[g], &e[g]);
        if (e[g] > *top) *top = e[g];
    }
    if (*top == -1000) *top = 0;
    for (int64_t g = 0; g < pad / group; g++) {
        const float *x = xh + g * group;
        int zero = mult[g] == 0;
        if (e[g] < *top - 16) e[g] = *top - 16, mult[g] = 128;
        float sigma = num_mul((float)mult[g], num_power_of_two(e[g])); // exact
        for (int i = 0; i < group; i++) q[g * group + i] = (int8_t)num_rint(num_div(x[i], sigma));
        if (zero) memset(q + g * group, 0, (size_t)group);
        mult[g] = mult[g] << (e[g] - *top + 16);
    }
    return 0;
}

// Grows a buffer that keeps nothing.
static void *room(void *p, int64_t *have, int64_t want, size_t size) {
    if (*have >= want) return p;
    free(p);
    *have = want;
    return must_alloc((size_t)want, size);
}

int tq_quantize(tq_acts *a, const float *x, int64_t rows, const tq_matrix *m) {
    int64_t groups = m->pad / m->group;
    a->q = room(a->q, &a->q_room, rows * m->pad, 1);
    a->mult = room(a->mult, &a->mult_room, rows * groups, sizeof *a->mult);
    a->e = room(a->e, &a->e_room, rows, sizeof *a->e);
    a->rows = rows, a->pad = m->pad, a->group = m->group;
    int bad = 0;
#pragma omp parallel reduction(| : bad) if (rows > 1)
    {
        float *xh = must_alloc((size_t)m->pad, sizeof *xh);
        int *e = must_alloc((size_t)groups, sizeof *e);
#pragma omp for schedule(static)
        for (int64_t t = 0; t < rows; t++) {
            memcpy(xh, x + t * m->cols, (size_t)m->cols * sizeof *xh);
            memset(xh + m->cols, 0, (size_t)(m->pad - m->cols) * sizeof *xh);
            if (m->rotate) tq_rotate(xh, m->pad, m->group);
            bad |= quantize_row(xh, m->pad, m->group, a->q + t * m->pad, a->mult + t * groups, e,
                                &a->e[t]);
        }
        free(xh);
        free(e);
    }
    return bad ? -1 : 0;
}

void tq_acts_free(tq_acts *a) {
    free(a->q);
    free(a->mult);
    free(a->e);
    *a = (tq_acts){0};
}

// ---- reading weights

int tq_level(const tq_matrix *m, int64_t r, int64_t i) {
    if (m->kind == KIND_I8) return (int8_t)m->codes[r * m->pad + i];
    uint8_t byte = m->codes[(r * m->pad + i) / 2];
    return m->codebook[i % 2 ? byte >> 4 : byte & 15];
}

// |I| <= 128 * 128 * 127 * 128 < 2^28; Y adds at most 65,536/G of |I| * 255 * 2^16: below 2^61.
int64_t tq_dot(const tq_matrix *m, int64_t r, const tq_acts *a, int64_t t) {
    const int8_t *q = a->q + t * m->pad, *s = m->scale + r * (m->pad / BLOCK);
    const int32_t *mult = a->mult + t * (m->pad / m->group);
    int64_t y = 0;
    for (int64_t g = 0; g < m->pad / m->group; g++) {
        int32_t sum = 0;
        for (int64_t b = g * m->group / BLOCK; b < (g + 1) * m->group / BLOCK; b++) {
            int32_t dot = 0;
            for (int64_t i = b * BLOCK; i < (b + 1) * BLOCK; i++) dot += tq_level(m, r, i) * q[i];
            sum += s[b] * dot;
        }
        y += (int64_t)mult[g] * sum;
    }
    return y;
}

// |scale * level| <= 2^14 and 128 of them: all integers here are exact in a float.
void tq_embed(const tq_matrix *m, int64_t r, float *x) {
    float *v = must_alloc((size_t)m->pad, sizeof *v);
    for (int64_t i = 0; i < m->pad; i++)
        v[i] = (float)(m->scale[(r * m->pad + i) / BLOCK] * tq_level(m, r, i));
    tq_rotate(v, m->pad, m->group);
    for (int64_t i = 0; i < m->cols; i++) x[i] = num_mul(v[i], m->row[r]);
    free(v);
}

// ---- fitting

typedef struct {
    float level[LEVELS], mid[LEVELS - 1]; // ascending; a value above mid[k] is nearer level[k + 1]
} book;

static void book_mids(book *b) {
    for (int k = 0; k < LEVELS - 1; k++) b->mid[k] = (b->level[k] + b->level[k + 1]) / 2;
}

static int nearest(const book *b, float x) {
    int code = 0;
    for (int k = 0; k < LEVELS - 1; k++) code += x > b->mid[k];
    return code;
}

// What row r of a stored matrix should be: the row, rotated and divided by G (exact).
static void target_row(const tq_matrix *w, const tq_matrix *m, int64_t r, float *u) {
    tq_widen(w, r, u);
    memset(u + m->cols, 0, (size_t)(m->pad - m->cols) * sizeof *u);
    if (!m->rotate) return;
    tq_rotate(u, m->pad, m->group);
    for (int64_t i = 0; i < m->pad; i++) u[i] *= 1.0f / (float)m->group;
}

static float largest(const float *u, int64_t n) { // the element with the largest magnitude
    float top = 0;
    for (int64_t i = 0; i < n; i++)
        if ((u[i] < 0 ? -u[i] : u[i]) > (top < 0 ? -top : top)) top = u[i];
    return top;
}

static float magnitude(float x) { return x < 0 ? -x : x; }

static void put_code(tq_owned *q, int64_t r, int64_t i, int code) {
    uint8_t *p = q->codes + (r * q->m.pad + i) / 2;
    *p = (uint8_t)(i % 2 ? (*p & 15) | code << 4 : (*p & 0xf0) | code);
}

// Scales from the largest magnitude, per block or one for the row; top: of the whole range that
// row must cover. steps: the codes reach -steps .. steps, each worth unit levels.
static void fit_absmax(tq_owned *q, int64_t r, const float *u, float top, int per_block, int steps,
                       int unit) {
    const tq_matrix *m = &q->m;
    float row = top / (float)(steps * unit) / 127;
    if (!(row > 0x1p-120f)) row = 0x1p-120f; // a row of zeros
    q->row[r] = row;
    for (int64_t b = 0; b < m->pad / BLOCK; b++) {
        float s = magnitude(largest(u + b * BLOCK, BLOCK)) / (float)(steps * unit) / row;
        int up = (int)s + (s > (float)(int)s); // rounded up, so that nothing is clipped
        int scale = !per_block ? 127 : up < 1 ? 1 : up > 127 ? 127 : up;
        q->scale[r * (m->pad / BLOCK) + b] = (int8_t)scale;
        for (int64_t i = b * BLOCK; i < (b + 1) * BLOCK; i++) {
            float x = num_rint(u[i] / (row * (float)scale * (float)unit)), n = (float)steps;
            int code = (int)(x > n ? n : x < -n ? -n : x);
            if (m->kind == KIND_I8)
                q->codes[r * m->pad + i] = (uint8_t)(int8_t)code;
            else
                put_code(q, r, i, code + LEVELS / 2);
        }
    }
}

// The best scale of a block near the guess, of either sign: for each candidate the codes are the
// nearest, then the scale is the least-squares one, u.v / v.v; the largest (u.v)^2 / v.v wins.
static float best_scale(const book *b, const float *u, float guess) {
    float best = 0, scale = guess;
    for (int c = 0; c < 22; c++) {
        float s = guess * (0.75f + 0.05f * (float)(c / 2)) * (c % 2 ? -1.0f : 1.0f), inv = 1 / s;
        float x[BLOCK], v[BLOCK], uv = 0, vv = 0;
        for (int i = 0; i < BLOCK; i++) x[i] = u[i] * inv, v[i] = b->level[0];
        for (int k = 0; k < LEVELS - 1; k++) {
            float mid = b->mid[k], step = b->level[k + 1] - b->level[k];
            for (int i = 0; i < BLOCK; i++) v[i] += x[i] > mid ? step : 0; // in vectors
        }
        for (int i = 0; i < BLOCK; i++) uv += u[i] * v[i], vv += v[i] * v[i];
        if (vv > 0 && uv * uv > best * vv) best = uv * uv / vv, scale = uv / vv;
    }
    return scale;
}

// A first guess: ratio times the block's root mean square; tiny blocks get a tiny scale.
static float first_scale(const float *u, float ratio) {
    float s = 0;
    for (int i = 0; i < BLOCK; i++) s += u[i] * u[i];
    s = num_sqrt(s / BLOCK) * ratio;
    return s > 0x1p-100f ? s : 0x1p-100f;
}

// Learns the codebook on up to 16,384 blocks spread over the rows: scales given levels, then
// levels given scales, in turn. Returns the mean of scale / rms, the guess for all other blocks.
static float fit_codebook(const tq_matrix *w, tq_owned *q) {
    static const float normal[LEVELS / 2] = {6, 18, 31, 44, 58, 75, 96, 127}; // Lloyd-Max, N(0,1)
    const tq_matrix *m = &q->m;
    int64_t per = m->pad / BLOCK, rows = 16384 / per < m->rows ? 16384 / per : m->rows;
    if (rows < 1) rows = 1;
    float *u = must_alloc((size_t)(rows * m->pad), sizeof *u);
    float *s = must_alloc((size_t)(rows * per), sizeof *s), ratio = 2.73f / 127;
    book b;
    for (int k = 0; k < LEVELS / 2; k++) b.level[8 + k] = normal[k], b.level[7 - k] = -normal[k];
    book_mids(&b);
    for (int64_t i = 0; i < rows; i++) target_row(w, m, i * m->rows / rows, u + i * m->pad);
    for (int64_t i = 0; i < rows * per; i++) s[i] = first_scale(u + i * BLOCK, ratio);
    for (int turn = 0; turn < 16; turn++) {
        double num[LEVELS] = {0}, den[LEVELS] = {0}, rms = 0, size = 0;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < rows * per; i++) s[i] = best_scale(&b, u + i * BLOCK, s[i]);
        for (int64_t i = 0; i < rows * m->pad; i++) {
            float x = s[i / BLOCK];
            int code = nearest(&b, u[i] / x);
            num[code] += (double)x * u[i], den[code] += (double)x * x;
        }
        for (int k = 0; k < LEVELS; k++)
            if (den[k] > 0) b.level[k] = (float)(num[k] / den[k]);
        for (int k = 1; k < LEVELS; k++) // an empty level keeps its place in the order
            if (b.level[k] < b.level[k - 1]) b.level[k] = b.level[k - 1];
        float top = magnitude(largest(b.level, LEVELS)), grow = top > 0 ? 127 / top : 1;
        for (int k = 0; k < LEVELS; k++) b.level[k] *= grow;
        for (int64_t i = 0; i < rows * per; i++) {
            s[i] /= grow;
            rms += (double)first_scale(u + i * BLOCK, 1), size += (double)magnitude(s[i]);
        }
        ratio = (float)(size / rms);
        book_mids(&b);
    }
    for (int k = 0; k < LEVELS; k++) q->codebook[k] = (int8_t)num_rint(b.level[k]);
    free(u);
    free(s);
    return ratio;
}

// Scales and codes of one row by search, each block for itself.
static void fit_row(tq_owned *q, const book *b, int64_t r, const float *u, float ratio) {
    int64_t per = q->m.pad / BLOCK;
    float *s = must_alloc((size_t)per, sizeof *s);
    for (int64_t i = 0; i < per; i++) {
        s[i] = best_scale(b, u + i * BLOCK, first_scale(u + i * BLOCK, ratio));
        s[i] = best_scale(b, u + i * BLOCK, s[i]);
    }
    float row = magnitude(largest(s, per)) / 127;
    if (!(row > 0x1p-120f)) row = 0x1p-120f;
    q->row[r] = row;
    for (int64_t i = 0; i < per; i++) {
        int x = (int)num_rint(s[i] / row);
        x = x ? x : s[i] < 0 ? -1 : 1;
        q->scale[r * per + i] = (int8_t)x;
        for (int64_t j = i * BLOCK; j < (i + 1) * BLOCK; j++)
            put_code(q, r, j, nearest(b, u[j] / (row * (float)x)));
    }
    free(s);
}

// ---- error feedback

// hess / mean diagonal + damping = (I + U) D (I + U)^T with U strictly upper.
typedef struct {
    int64_t n;
    float *f, *d; // [n, n]: f[k][j] = U[j][k], j < k; [n]: D. Then, for an error row e,
                  // e H e^T = sum_k D_k (e_k + sum_{j<k} f[k][j] e_j)^2
    double mean;  // of hess's diagonal
} factor;

static factor factorise(const double *hess, int64_t n) {
    factor x = {n, must_alloc((size_t)(n * n), sizeof(float)), must_alloc((size_t)n, sizeof(float)),
                0};
    double *a = must_alloc((size_t)(n * n), sizeof *a);
    for (int64_t i = 0; i < n; i++) x.mean += hess[i * n + i] / (double)n;
    if (!(x.mean > 0)) x.mean = 1;
    for (int64_t i = 0; i < n * n; i++) a[i] = hess[i] / x.mean + (i % (n + 1) ? 0 : 0.01);
    for (int64_t k = n - 1; k >= 0; k--) {
        const double *row = a + k * n;
        x.d[k] = (float)row[k];
        for (int64_t j = 0; j < k; j++) x.f[k * n + j] = (float)(row[j] / row[k]);
#pragma omp parallel for schedule(static) if (k > 256)
        for (int64_t i = 0; i < k; i++) {
            double y = row[i] / row[k];
            for (int64_t j = 0; j <= i; j++) a[i * n + j] -= y * row[j];
        }
    }
    free(a);
    return x;
}

// Moves the target row to what answers best to the inputs that the quantised model has:
// u += (u cross + rest) (hess + damping)^-1, the least-squares row for the dense outputs.
static void retarget(const factor *x, const tq_calib *cal, int64_t r, float *u) {
    int64_t n = x->n;
    double *c = must_alloc((size_t)n, sizeof *c);
    for (int64_t j = 0; j < n; j++) c[j] = cal->rest ? cal->rest[r * n + j] : 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) c[j] += (double)u[i] * cal->cross[i * n + j];
    for (int64_t k = n - 1; k >= 0; k--) // (I + U) a = c
        for (int64_t j = 0; j < k; j++) c[j] -= (double)x->f[k * n + j] * c[k];
    for (int64_t k = 0; k < n; k++) { // D (I + U)^T z = a
        c[k] /= (double)x->d[k];
        for (int64_t j = 0; j < k; j++) c[k] -= (double)x->f[k * n + j] * c[j];
    }
    for (int64_t j = 0; j < n; j++) u[j] += (float)(c[j] / x->mean);
    free(c);
}

enum { TRIES = 256 }; // candidate scales -127 .. 127 without 0, and 127 twice more

// One block of a row under error feedback: every scale is tried; within a try the 16 codes are
// chosen in order, each for its value plus the fed-back errors of those before it. base [16]: the
// values with the feedback of all earlier blocks. f: the block's rows of the factor, f[i][j] at
// i * n + j, j < i within the block. Returns the best scale and its codes.
static int feedback_block(const book *b, const float *base, const float *u, const float *f,
                          int64_t n, const float *d, float row, int code[BLOCK], float err[BLOCK]) {
    float e[BLOCK][TRIES], loss[TRIES] = {0}, s[TRIES], inv[TRIES];
    int best = -1;
    for (int t = 0; t < TRIES; t++) {
        int x = t < 127 ? t - 127 : t < 254 ? t - 126 : 127;
        s[t] = row * (float)x, inv[t] = 1 / s[t];
    }
    for (int i = 0; i < BLOCK; i++) {
        float want[TRIES], v[TRIES];
        for (int t = 0; t < TRIES; t++) want[t] = base[i], v[t] = b->level[0];
        for (int j = 0; j < i; j++)
            for (int t = 0; t < TRIES; t++) want[t] += f[i * n + j] * e[j][t];
        for (int k = 0; k < LEVELS - 1; k++) {
            float mid = b->mid[k], step = b->level[k + 1] - b->level[k];
            for (int t = 0; t < TRIES; t++) v[t] += want[t] * inv[t] > mid ? step : 0;
        }
        for (int t = 0; t < TRIES; t++) {
            float miss = want[t] - s[t] * v[t];
            loss[t] += d[i] * miss * miss;
            e[i][t] = u[i] - s[t] * v[t];
        }
    }
    for (int t = 0; t < TRIES; t++)
        if (best < 0 || loss[t] < loss[best]) best = t;
    for (int i = 0; i < BLOCK; i++) {
        err[i] = e[i][best];
        code[i] = nearest(b, (u[i] - err[i]) * inv[best]); // the level itself, up to rounding
    }
    return best < 127 ? best - 127 : best < 254 ? best - 126 : 127;
}

// Scales and codes of one row once fit_row() has found its row factor, which is raised so that
// the feedback may ask for larger scales. Each error is carried to later columns.
static void feedback_row(tq_owned *q, const book *b, int64_t r, const float *u, const factor *x) {
    int64_t n = x->n;
    q->row[r] *= 1.3f;
    float *e = must_alloc((size_t)n, sizeof *e);
    for (int64_t at = 0; at < n; at += BLOCK) {
        float base[BLOCK];
        int code[BLOCK];
        for (int i = 0; i < BLOCK; i++)
            base[i] = u[at + i] + num_lane_dot(x->f + (at + i) * n, e, at);
        int s = feedback_block(b, base, u + at, x->f + at * n + at, n, x->d + at, q->row[r], code,
                               e + at);
        q->scale[(r * n + at) / BLOCK] = (int8_t)s;
        for (int i = 0; i < BLOCK; i++) put_code(q, r, at + i, code[i]);
    }
    free(e);
}

// ---- a whole matrix

static void owned_alloc(tq_owned *q, const tq_matrix *w, tq_kind kind) {
    *q = (tq_owned){0};
    tq_shape(&q->m, kind, w->rows, w->cols);
    int64_t bytes[4];
    tq_bytes(&q->m, bytes);
    q->codes = must_alloc((size_t)bytes[0], 1);
    q->scale = must_alloc((size_t)bytes[1], 1);
    q->codebook = must_alloc(LEVELS, 1);
    q->row = must_alloc((size_t)w->rows, sizeof *q->row);
    q->m.codes = q->codes, q->m.scale = q->scale, q->m.codebook = q->codebook, q->m.row = q->row;
}

// The largest magnitude of all targets; infinity when one of them is not finite.
static float largest_of_all(const tq_matrix *w, const tq_matrix *m) {
    float top = 0;
#pragma omp parallel reduction(max : top)
    {
        float *u = must_alloc((size_t)m->pad, sizeof *u);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < m->rows; r++) {
            target_row(w, m, r, u);
            for (int64_t i = 0; i < m->pad; i++) {
                float x = magnitude(u[i]);
                if (!(x <= 0x1.fffffep+127f)) x = num_float(0x7f800000);
                if (x > top) top = x;
            }
        }
        free(u);
    }
    return top;
}

int tq_fit(tq_owned *q, const tq_matrix *w, tq_kind kind, tq_rung rung, const tq_calib *cal) {
    must(w->kind == KIND_F32 && kind != KIND_F32);
    owned_alloc(q, w, kind);
    int64_t n = q->m.pad;
    int search = kind == KIND_TQ4 && rung >= RUNG_CODEBOOK;
    int steps = kind == KIND_I8 ? 127 : 7, unit = kind == KIND_I8 ? 1 : 18;
    q->m.rotate = kind == KIND_I8 || rung >= RUNG_ROTATE;
    for (int k = 0; k < LEVELS; k++) q->codebook[k] = (int8_t)(k ? unit * (k - 8) : -127);
    float all = largest_of_all(w, &q->m);
    if (!(all < 0x1p48f)) { // squares of sums of them must stay finite
        tq_free(q);
        return -1;
    }
    int whole = kind == KIND_TQ4 && rung == RUNG_TENSOR;
    float ratio = search ? fit_codebook(w, q) : 0;
    factor x = {0};
    if (search && rung >= RUNG_FEEDBACK && cal) x = factorise(cal->hess, n);
    book b;
    for (int k = 0; k < LEVELS; k++) b.level[k] = q->codebook[k];
    book_mids(&b);
#pragma omp parallel
    {
        float *u = must_alloc((size_t)n, sizeof *u);
#pragma omp for schedule(dynamic)
        for (int64_t r = 0; r < w->rows; r++) {
            target_row(w, &q->m, r, u);
            if (x.f && cal->cross) retarget(&x, cal, r, u);
            if (search)
                fit_row(q, &b, r, u, ratio);
            else
                fit_absmax(q, r, u, whole ? all : magnitude(largest(u, n)),
                           kind == KIND_I8 || rung >= RUNG_BLOCK, steps, unit);
            if (x.f) feedback_row(q, &b, r, u, &x);
        }
        free(u);
    }
    free(x.f);
    free(x.d);
    return 0;
}

void tq_free(tq_owned *q) {
    free(q->codes);
    free(q->scale);
    free(q->codebook);
    free(q->row);
    *q = (tq_owned){0};
}
