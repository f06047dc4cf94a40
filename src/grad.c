// grad.c - losses and mirrors, phase by phase, from the head back to the embedding.
#include "grad.h"
#include "num.h"
#include "sample.h"

enum {
    PANELS = 4,      // of 16 columns that a thread multiplies before it fetches other rows
    HEAD_ROWS = 128, // rows whose logits exist at a time, where slices follow each other
    WHATS = 4        // LEARN_ bits
};

typedef const float (*rows8)[TILE_ROWS];
typedef const float (*cols16)[TILE_COLS];

typedef struct grad_work {
    model *m;
    grad_part **at;     // [slots, WHATS] the part that learns there, or NULL
    int32_t *pos, *seq; // [room]
    float **in;         // [layers] the residual stream before each layer [room, hidden]
    float *dx, *y;      // [room, hidden]
    float *dq, *dout;   // [room, heads*head_dim]
    float *dk, *dv;     // [room, kv_heads*head_dim]
    float *h, *dh;      // [room, inter]
    float *dwide;       // [room, pad] gradient of a rotated input
    float *a, *b;       // packed factors of a product
    int64_t wide_room, a_room, b_room;
    tq_acts acts;
    int layer; // of the mirror that is running, for error lines; -1 outside the layers
    tape_op op;
} grad_work;

// Grows a buffer that keeps nothing.
static float *room(float **p, int64_t *have, int64_t want) {
    if (*have < want) {
        free(*p);
        *p = must_align((size_t)want, sizeof **p);
        *have = want;
    }
    return *p;
}

static grad_part *part_at(const grad *g, int slot, int what) {
    return g->work->at[slot * WHATS + __builtin_ctz((unsigned)what)];
}

// A run of another model that this one is to match, or NULL.
static ref_run *teacher_of(const grad *g) { return g->kind == LOSS_MATCH ? g->teacher : NULL; }

// ---- exact sums

// The largest share, in units, of a sum that gets `each` shares a sample.
static float limit_of(const grad *g, int64_t each) {
    return num_div(0x1p62f, (float)(g->samples * each));
}

// Adds a share, cut at the limit and rounded to a whole number of units. 1: not finite.
static int share(float limit, int64_t *sum, float x) {
    float v = num_mul(x, 1 / GRAD_UNIT); // exact, or infinite
    if ((num_bits(v) & 0x7fffffff) >= 0x7f800000) return 1;
    v = v > limit ? limit : v < -limit ? -limit : v;
    *sum += (int64_t)num_rint(v);
    return 0;
}

// The shares x [n], n <= BLOCK, of one sum each. Below 2^50 a double holds them, and adding 1.5 * 2^52
// rounds to a whole number, half to even, in its last bits: vectors can do that.
static int shares(float limit, int64_t *sum, const float *x, int64_t n) {
    enum { LARGE = 0x46800000 }; // 2^14, which is 2^50 units
    int bad = limit < 0x1p50f;
    for (int64_t i = 0; i < n; i++) bad |= (num_bits(x[i]) & 0x7fffffff) >= LARGE;
    if (!bad && n == BLOCK)
        for (int64_t i = 0; i < BLOCK; i++) {
            union {
                double f;
                int64_t i;
            } v = {(double)x[i] * (1 / GRAD_UNIT) + 0x1.8p52};
            sum[i] += v.i - 0x4338000000000000;
        }
    else
        for (int64_t i = bad = 0; i < n; i++) bad |= share(limit, &sum[i], x[i]);
    return bad;
}

int grad_not_finite(const model_config *c, int layer, tape_op op, int slot, char err[ERR]) {
    char where[40] = "";
    if (layer >= 0) snprintf(where, sizeof where, "layer %d, ", layer);
    return fail(err, "%smirror of %s: %s%s is not finite or too large", where, tape_op_name[op],
                slot < 0 ? "" : "the gradient of ",
                slot < 0 ? "a value" : model_slot_at(c, slot).name);
}

// The same of the mirror that is running; slot -1: of the stream or the loss.
static int bad_gradient(const grad *g, int slot, char err[ERR]) {
    return grad_not_finite(&g->r.m->c, g->work->layer, g->work->op, slot, err);
}

// The mirror that begins.
static void enter(grad *g, int layer, tape_op op) { g->work->layer = layer, g->work->op = op; }

// ---- linear layers

// y [T, n] in tiles of 8 columns: [n/8 rounded up][T][8].
static void pack_columns(float *out, const float *y, int64_t T, int64_t n) {
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n; r += TILE_ROWS)
        for (int64_t t = 0; t < T; t++) {
            float *to = out + r * T + t * TILE_ROWS;
            for (int64_t j = 0; j < TILE_ROWS && r + TILE_ROWS > n; j++)
                to[j] = r + j < n ? y[t * n + r + j] : 0;
            if (r + TILE_ROWS <= n) memcpy(to, y + t * n + r, TILE_ROWS * sizeof *to);
        }
}

// y [T, n] in tiles of 8 tokens: [T/8 rounded up][n][8]. times: one factor a column, or NULL.
static void pack_tokens(float *out, const float *y, int64_t T, int64_t n, const float *times) {
#pragma omp parallel
    {
        float *none = must_alloc((size_t)n, sizeof *none); // zeros behind the last token
#pragma omp for schedule(static)
        for (int64_t t = 0; t < T; t += TILE_ROWS) {
            const float *from[TILE_ROWS];
            float *to = out + t * n;
            for (int64_t j = 0; j < TILE_ROWS; j++) from[j] = t + j < T ? y + (t + j) * n : none;
            for (int64_t k = 0; k < n; k++, to += TILE_ROWS) {
                float f = times ? times[k] : 1; // a product with 1 is exact
                for (int64_t j = 0; j < TILE_ROWS; j++) to[j] = num_mul(from[j][k], f);
            }
        }
        free(none);
    }
}

// Block p of row r as floats: the weights, or scale times level, an integer below 2^14.
static void block16(const tq_matrix *m, int64_t r, int64_t p, float out[TILE_COLS]) {
    if (m->kind == KIND_F32) {
        int64_t n = m->cols - p * BLOCK < BLOCK ? m->cols - p * BLOCK : BLOCK;
        memset(out, 0, BLOCK * sizeof *out);
        memcpy(out, (const float *)m->dense + r * m->cols + p * BLOCK, (size_t)n * sizeof *out);
        return;
    }
    int64_t at = r * (m->pad / BLOCK) + p;
    const int8_t *q = (const int8_t *)m->codes + at * BLOCK; // KIND_I8
    const uint8_t *code = m->codes + at * BLOCK / 2;         // KIND_TQ4
    int s = m->scale[at];
    if (m->kind == KIND_I8)
        for (int i = 0; i < BLOCK; i++) out[i] = (float)(s * q[i]);
    else
        for (int i = 0; i < BLOCK; i++)
            out[i] = (float)(s * m->codebook[code[i / 2] >> (i % 2 * 4) & 15]);
}

static int64_t stride_of(const tq_matrix *m) { return m->kind == KIND_F32 ? m->cols : m->pad; }

// out[t,i] = sum over rows r, ascending, of dy[t,r] row[r] times the integers of row r; dense: of
// dy[t,r] W[r,i]. out [T, stride]. A thread takes PANELS blocks of columns through all rows.
static void input_gradient(grad *g, const tq_matrix *m, const float *dy, int64_t T, float *out) {
    grad_work *w = g->work;
    int64_t stride = stride_of(m), panels = (stride + BLOCK - 1) / BLOCK, rows = m->rows;
    int64_t tiles = (T + TILE_ROWS - 1) / TILE_ROWS;
    float *a = room(&w->a, &w->a_room, tiles * TILE_ROWS * rows);
    pack_tokens(a, dy, T, rows, m->kind == KIND_F32 ? NULL : m->row);
    memset(out, 0, (size_t)(T * stride) * sizeof *out);
#pragma omp parallel
    {
        float(*b)[SEGMENT][TILE_COLS] = must_align(PANELS, sizeof *b), part[TILE_ROWS][TILE_COLS];
#pragma omp for schedule(dynamic)
        for (int64_t p = 0; p < panels; p += PANELS)
            for (int64_t r = 0; r < rows; r += SEGMENT) {
                int64_t n = rows - r < SEGMENT ? rows - r : SEGMENT;
                int64_t ps = panels - p < PANELS ? panels - p : PANELS;
                for (int64_t q = 0; q < ps; q++)
                    for (int64_t k = 0; k < n; k++) block16(m, r + k, p + q, b[q][k]);
                for (int64_t i = 0; i < tiles * ps; i++) {
                    int64_t t = i / ps * TILE_ROWS, q = i % ps, first = (p + q) * BLOCK;
                    g->tile(part, (rows8)(a + t * rows) + r, (cols16)b[q], n);
                    for (int64_t x = t; x < T && x < t + TILE_ROWS; x++)
                        for (int64_t y = 0; y < BLOCK && first + y < stride; y++)
                            out[x * stride + first + y] =
                                num_add(out[x * stride + first + y], part[x - t][y]);
                }
            }
        free(b);
    }
}

// One tile of the weight gradient of a sample: out[i][j] = sum over its rows t, ascending.
static void sample_tile(const grad *g, float out[TILE_ROWS][TILE_COLS], rows8 a, cols16 b,
                        int64_t n) {
    float part[TILE_ROWS][TILE_COLS];
    memset(out, 0, sizeof part);
    for (int64_t first = 0; first < n; first += SEGMENT) {
        g->tile(part, a + first, b + first, n - first < SEGMENT ? n - first : SEGMENT);
        for (int i = 0; i < TILE_ROWS; i++)
            for (int j = 0; j < TILE_COLS; j++) out[i][j] = num_add(out[i][j], part[i][j]);
    }
}

// What the gradient d [16] of block p of row r means for the scale; book [16] gathers it by code.
// level: the codebook as floats.
static int block_shares(float limit, const tq_matrix *m, const float *level, int64_t r, int64_t p,
                        const float *d, int64_t *r1, float *book) {
    int64_t at = r * (m->pad / BLOCK) + p;
    const uint8_t *codes = m->codes + at * BLOCK / 2;
    float v = 0, s = m->scale[at];
    for (int i = 0; i < BLOCK; i += 2) {
        int low = codes[i / 2] & 15, high = codes[i / 2] >> 4;
        v = num_fma(level[high], d[i + 1], num_fma(level[low], d[i], v));
        book[low] = num_fma(s, d[i], book[low]);
        book[high] = num_fma(s, d[i + 1], book[high]);
    }
    return r1 ? share(limit, &r1[at], num_mul(m->row[r], v)) : 0;
}

// Rows r .. r + 7 of the weight gradient, sample by sample, into the sums. a: their dy, b: x.
static int rows_shares(const grad *g, const tq_matrix *m, int64_t r, rows8 a, const float *b,
                       const int64_t *start, int64_t seqs, grad_part *const parts[3], int64_t *r2) {
    int64_t stride = stride_of(m), n = m->rows - r < TILE_ROWS ? m->rows - r : TILE_ROWS, bad = 0;
    int64_t T = start[seqs] - start[0], *r1 = parts[0] ? parts[0]->sum : NULL;
    float d[TILE_ROWS][TILE_COLS], level[LEVELS];
    for (int k = 0; k < LEVELS && m->codebook; k++) level[k] = m->codebook[k];
    float limit =
        limit_of(g, parts[2] && parts[2]->slot == SLOT_EMBED ? 2 : 1); // with embed_mirror
    for (int64_t s = 0; s < seqs; s++) {
        float book[TILE_ROWS][LEVELS] = {{0}};
        int64_t first = start[s] - start[0], len = start[s + 1] - start[s];
        for (int64_t p = 0; p * BLOCK < stride; p++) {
            sample_tile(g, d, a + first, (cols16)(b + p * BLOCK * T) + first, len);
            for (int64_t i = 0; i < n; i++) {
                int64_t left = m->cols - p * BLOCK;
                if (parts[2])
                    bad |= shares(limit, &parts[2]->sum[(r + i) * m->cols + p * BLOCK], d[i],
                                  left < BLOCK ? left : BLOCK);
                else
                    bad |= block_shares(limit, m, level, r + i, p, d[i], r1, book[i]);
            }
        }
        for (int64_t i = 0; i < n && parts[1]; i++)
            for (int k = 0; k < LEVELS; k++)
                bad |= share(limit_of(g, m->rows), &r2[k], num_mul(m->row[r + i], book[i][k]));
    }
    return (int)bad;
}

// x [T, cols] as the linear layer saw it, in blocks of 16 columns: [stride/16][T][16].
static void pack_input(grad *g, const tq_matrix *m, const float *x, int64_t T, float *out) {
    const tq_acts *q = &g->work->acts;
    int64_t panels = (stride_of(m) + BLOCK - 1) / BLOCK, groups = m->pad / m->group;
#pragma omp parallel for schedule(static)
    for (int64_t p = 0; p < panels; p++)
        for (int64_t t = 0; t < T; t++) {
            int64_t i = p * BLOCK, n = m->cols - i < BLOCK ? m->cols - i : BLOCK;
            float *to = out + (p * T + t) * BLOCK;
            if (m->kind == KIND_F32) {
                memset(to, 0, BLOCK * sizeof *to);
                memcpy(to, x + t * m->cols + i, (size_t)n * sizeof *to);
                continue;
            }
            float sigma =
                num_mul((float)q->mult[t * groups + i / m->group], num_power_of_two(q->e[t] - 16));
            for (int64_t j = 0; j < BLOCK; j++) to[j] = num_mul(q->q[t * m->pad + i + j], sigma);
        }
}

static int weight_gradient(grad *g, const tq_matrix *m, int slot, const float *x, const float *dy,
                           const int64_t *start, int64_t seqs, char err[ERR]) {
    grad_work *w = g->work;
    int64_t T = start[seqs] - start[0], panels = (stride_of(m) + BLOCK - 1) / BLOCK;
    grad_part *const parts[3] = {part_at(g, slot, LEARN_R1), part_at(g, slot, LEARN_R2),
                                 part_at(g, slot, LEARN_DENSE)};
    if (!parts[0] && !parts[1] && !parts[2]) return 0;
    if (m->kind != KIND_F32 && tq_quantize(&w->acts, x, T, m)) return bad_gradient(g, slot, err);
    float *a = room(&w->a, &w->a_room, (m->rows + TILE_ROWS) * T);
    float *b = room(&w->b, &w->b_room, panels * BLOCK * T);
    pack_columns(a, dy, T, m->rows);
    pack_input(g, m, x, T, b);
    int bad = 0;
#pragma omp parallel reduction(| : bad)
    {
        int64_t r2[LEVELS] = {0};
#pragma omp for schedule(static)
        for (int64_t r = 0; r < m->rows; r += TILE_ROWS)
            bad |= rows_shares(g, m, r, (rows8)(a + r * T), b, start, seqs, parts, r2);
#pragma omp critical
        for (int k = 0; k < LEVELS && parts[1]; k++) parts[1]->sum[k] += r2[k];
    }
    return bad ? bad_gradient(g, slot, err) : 0;
}

// The mirror of y = W x: from dy [T, rows] the shares of W's parameters and dx [T, cols], added to
// what dx holds when more is 1.
static int linear_mirror(grad *g, int slot, const float *x, const float *dy, const int64_t *start,
                         int64_t seqs, float *dx, int more, char err[ERR]) {
    grad_work *w = g->work;
    const tq_matrix *m = model_matrix(w->m, slot);
    int64_t T = start[seqs] - start[0], stride = stride_of(m);
    if (weight_gradient(g, m, slot == SLOT_HEAD && g->r.m->c.tied ? SLOT_EMBED : slot, x, dy, start,
                        seqs, err))
        return -1;
    float *wide = room(&w->dwide, &w->wide_room, T * stride);
    input_gradient(g, m, dy, T, wide);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < T; t++) {
        if (m->kind != KIND_F32) tq_rotate(wide + t * stride, stride, m->group);
        for (int64_t i = 0; i < m->cols; i++) {
            float v = wide[t * stride + i];
            dx[t * m->cols + i] = more ? num_add(dx[t * m->cols + i], v) : v;
        }
    }
    return 0;
}

// ---- norms, rotary positions, attention

// y = x r w, r = 1 / rms(x): dy [rows, n] becomes dx; the shares of w. times: rows a token.
static int norm_mirror(grad *g, int slot, const float *x, float *dy, const int64_t *start,
                       int64_t seqs, int64_t times, char err[ERR]) {
    const float *w = *model_norm(g->work->m, slot);
    grad_part *part = part_at(g, slot, LEARN_NORMS);
    int64_t n = model_slot_at(&g->r.m->c, slot).cols;
    int bad = 0;
#pragma omp parallel reduction(| : bad)
    {
        float *sum = must_alloc((size_t)n, sizeof *sum), *gw = must_alloc((size_t)n, sizeof *gw);
#pragma omp for schedule(static)
        for (int64_t s = 0; s < seqs; s++) {
            memset(sum, 0, (size_t)n * sizeof *sum);
            for (int64_t t = (start[s] - start[0]) * times; t < (start[s + 1] - start[0]) * times;
                 t++) {
                const float *xt = x + t * n;
                float *d = dy + t * n, mean = num_div(num_lane_dot(xt, xt, n), (float)n);
                float r = num_div(1.0f, num_sqrt(num_add(mean, g->r.m->c.eps)));
                for (int64_t i = 0; i < n; i++) {
                    sum[i] = num_fma(d[i], num_mul(xt[i], r), sum[i]);
                    gw[i] = num_mul(d[i], w[i]);
                }
                float c = num_mul(num_div(num_lane_dot(gw, xt, n), (float)n), num_mul(r, r));
                for (int64_t i = 0; i < n; i++) d[i] = num_mul(r, num_fma(-xt[i], c, gw[i]));
            }
#pragma omp critical
            for (int64_t i = 0; i < n && part; i++)
                bad |= share(limit_of(g, 1), &part->sum[i], sum[i]);
        }
        free(sum);
        free(gw);
    }
    return bad ? bad_gradient(g, slot, err) : 0;
}

// Turns the pairs of a head back.
static void rope_mirror(float *d, const float *cos, const float *sin, int64_t n) {
    for (int64_t i = 0; i < n / 2; i++) {
        float a = d[i], b = d[i + n / 2];
        d[i] = num_fma(a, cos[i], num_mul(b, sin[i]));
        d[i + n / 2] = num_fma(b, cos[i], -num_mul(a, sin[i]));
    }
}

enum { QUERIES = 8 }; // rows that go through a chunk of keys together

// Rows `row`, row + 1, .. of a query head, at positions p .. p + count - 1, with the keys of a chunk,
// which begin at `at` of the cache: adds to dq, and to dk and dv of the chunk.
static void chunk_mirror(const grad *g, int64_t row, int64_t p, int64_t count, int64_t at,
                         int64_t first, int64_t head, float *dk, float *dv, float *wide) {
    const ref_run *r = &g->r;
    const model_config *c = &r->m->c;
    int64_t hd = c->head_dim, apart = c->kv_heads * hd, next = c->heads * hd;
    int64_t most = p + count - first < KEYS ? p + count - first : KEYS;
    const float *key = ref_cached(r, r->kcache, at, most * hd, wide);
    const float *value = ref_cached(r, r->vcache, at, most * hd, wide + KEYS * hd);
    const float *q = r->q + (row * c->heads + head) * hd;
    const float *d = g->work->dout + (row * c->heads + head) * hd;
    float scale = num_div(1.0f, num_sqrt((float)hd)), share_of[QUERIES][KEYS], s[QUERIES][KEYS];
    for (int64_t k = 0; k < count; k++) {
        int64_t n = p + k + 1 - first < KEYS ? p + k + 1 - first : KEYS;
        int64_t at_row = (row + k) * c->heads + head;
        float peak = r->peak[at_row], mass = r->mass[at_row];
        float all = num_lane_dot(d + k * next, r->o + at_row * hd, hd);
        num_lane_dots(share_of[k], q + k * next, key, hd, n);
        num_lane_dots(s[k], d + k * next, value, hd, n);
        for (int64_t i = 0; i < n; i++) {
            float e = num_exp(num_sub(num_mul(share_of[k][i], scale), peak));
            share_of[k][i] = num_div(e, mass);
            s[k][i] = num_mul(num_mul(share_of[k][i], num_sub(s[k][i], all)), scale);
        }
        num_add_times(g->work->dq + at_row * hd, hd, s[k], 1, key, hd, n);
    }
    for (int64_t i = 0; i < most; i++) { // from the first row on that sees the key
        int64_t k = first + i > p ? first + i - p : 0;
        float *to_key = dk + (first + i) * apart, *to_value = dv + (first + i) * apart;
        num_add_times(to_key, hd, &s[k][i], KEYS, q + k * next, next, count - k);
        num_add_times(to_value, hd, &share_of[k][i], KEYS, d + k * next, next, count - k);
    }
}

// From dout to dq, dk, dv. A key head's gradient is one sum: query heads ascending, in each the
// positions ascending.
static void phase_attend_mirror(grad *g, int layer, const grad_batch *b) {
    grad_work *w = g->work;
    const ref_run *r = &g->r;
    const model_config *c = &r->m->c;
    int64_t hd = c->head_dim, share_of = c->heads / c->kv_heads, kv = c->kv_heads * hd;
    memset(w->dq, 0, (size_t)(r->rows * c->heads * hd) * sizeof *w->dq);
    memset(w->dk, 0, (size_t)(r->rows * kv) * sizeof *w->dk);
    memset(w->dv, 0, (size_t)(r->rows * kv) * sizeof *w->dv);
#pragma omp parallel
    {
        float *wide = must_alloc((size_t)ref_room(r), sizeof *wide);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < b->seqs * c->kv_heads; i++) {
            int64_t s = i / c->kv_heads, head = i % c->kv_heads, row = b->start[s] - b->start[0];
            int64_t n = b->start[s + 1] - b->start[s];
            float *dk = w->dk + row * kv + head * hd, *dv = w->dv + row * kv + head * hd;
            for (int64_t h = head * share_of; h < (head + 1) * share_of; h++)
                for (int64_t p = 0; p < n; p += QUERIES) {
                    int64_t count = n - p < QUERIES ? n - p : QUERIES;
                    for (int64_t first = 0; first < p + count; first += KEYS)
                        chunk_mirror(g, row + p, p, count, ref_place(r, layer, s, head, first),
                                     first, h, dk, dv, wide);
                }
        }
        free(wide);
    }
}

// Back through rotation and q/k norm: d [T, heads*head_dim], raw: before them.
static int turn_back(grad *g, float *d, const float *raw, int64_t heads, int slot,
                     const grad_batch *b, char err[ERR]) {
    int64_t hd = g->r.m->c.head_dim;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < g->r.rows * heads; i++) {
        int64_t at = g->r.pos[i / heads] * hd / 2;
        rope_mirror(d + i * hd, g->r.cos + at, g->r.sin + at, hd);
    }
    if (!g->r.m->c.qk_norm) return 0;
    return norm_mirror(g, slot, raw, d, b->start, b->seqs, heads, err);
}

// ---- layers

static void add_to(float *x, const float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = num_add(x[i], y[i]);
}

// h = silu(g) u: from dh the gradients of g and u, in the places of g and u.
static void silu_mirror(grad *g, int64_t n) {
    const grad_work *w = g->work;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float x = g->r.g[i], u = g->r.u[i], s = num_sigmoid(x), d = w->dh[i];
        g->r.u[i] = num_mul(d, num_mul(x, s));
        g->r.g[i] = num_mul(num_mul(d, u), num_mul(s, num_fma(x, num_sub(1.0f, s), 1.0f)));
    }
}

// The feed-forward half: r.x is the residual stream in the middle, w->dx the gradient after the
// layer and then of the middle.
static int feed_mirror(grad *g, int layer, const grad_batch *b, char err[ERR]) {
    grad_work *w = g->work;
    int slot = SLOT_LAYERS + layer * (W_COUNT + N_COUNT);
    int64_t n = g->r.rows * g->r.m->c.inter, hidden = g->r.rows * g->r.m->c.hidden;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        w->h[i] = num_mul(num_mul(g->r.g[i], num_sigmoid(g->r.g[i])), g->r.u[i]);
    enter(g, layer, OP_DOWN);
    if (linear_mirror(g, slot + W_DOWN, w->h, w->dx, b->start, b->seqs, w->dh, 0, err)) return -1;
    silu_mirror(g, n);
    enter(g, layer, OP_GATEUP);
    if (linear_mirror(g, slot + W_GATE, g->r.n, g->r.g, b->start, b->seqs, w->y, 0, err) ||
        linear_mirror(g, slot + W_UP, g->r.n, g->r.u, b->start, b->seqs, w->y, 1, err) ||
        norm_mirror(g, slot + W_COUNT + N_FFN, g->r.x, w->y, b->start, b->seqs, 1, err))
        return -1;
    add_to(w->dx, w->y, hidden);
    return ref_finite(w->dx, hidden) ? 0 : bad_gradient(g, -1, err);
}

// The attention half: w->dx becomes the gradient before the layer, whose input is w->in[layer].
static int attention_mirror(grad *g, int layer, const grad_batch *b, char err[ERR]) {
    grad_work *w = g->work;
    const model_config *c = &g->r.m->c;
    const int64_t *start = b->start;
    int64_t seqs = b->seqs, hidden = g->r.rows * c->hidden;
    int slot = SLOT_LAYERS + layer * (W_COUNT + N_COUNT);
    const float *x = w->in[layer], *norm = *model_norm(w->m, slot + W_COUNT + N_ATTN);
    enter(g, layer, OP_OUT);
    if (linear_mirror(g, slot + W_O, g->r.o, w->dx, start, seqs, w->dout, 0, err)) return -1;
    phase_attend_mirror(g, layer, b);
    enter(g, layer, OP_QKV);
    if (turn_back(g, w->dq, g->r.raw_q, c->heads, slot + W_COUNT + N_Q, b, err) ||
        turn_back(g, w->dk, g->r.raw_k, c->kv_heads, slot + W_COUNT + N_K, b, err))
        return -1;
    for (int64_t t = 0; t < g->r.rows; t++)
        ref_norm(g->r.n + t * c->hidden, x + t * c->hidden, norm, c->hidden, c->eps);
    if (linear_mirror(g, slot + W_Q, g->r.n, w->dq, start, seqs, w->y, 0, err) ||
        linear_mirror(g, slot + W_K, g->r.n, w->dk, start, seqs, w->y, 1, err) ||
        linear_mirror(g, slot + W_V, g->r.n, w->dv, start, seqs, w->y, 1, err) ||
        norm_mirror(g, slot + W_COUNT + N_ATTN, x, w->y, start, seqs, 1, err))
        return -1;
    add_to(w->dx, w->y, hidden);
    return ref_finite(w->dx, hidden) ? 0 : bad_gradient(g, -1, err);
}

// Phases first .. last - 1 of a tape.
static int phases(ref_run *r, int first, int last, char err[ERR]) {
    for (int i = first; i < last; i++)
        if (ref_phase(r, &r->t.phase[i], err)) return -1;
    return 0;
}

// The layer forward; its input is kept for its mirror.
static int layer_forward(grad *g, int layer, char err[ERR]) {
    if (layer == 0 && phases(&g->r, 0, 1, err)) return -1;
    if (g->back)
        memcpy(g->work->in[layer], g->r.x, (size_t)(g->r.rows * g->r.m->c.hidden) * sizeof(float));
    return phases(&g->r, 5 * layer + OP_QKV, 5 * layer + OP_DOWN + 1, err);
}

// Runs the layer forward again from its input, up to what its mirrors read, then the mirrors.
static int layer_mirror(grad *g, int layer, char err[ERR]) {
    memcpy(g->r.x, g->work->in[layer], (size_t)(g->r.rows * g->r.m->c.hidden) * sizeof(float));
    if (phases(&g->r, 5 * layer + OP_QKV, 5 * layer + OP_DOWN, err)) return -1;
    if (feed_mirror(g, layer, &g->batch, err)) return -1;
    return attention_mirror(g, layer, &g->batch, err);
}

static int embed_mirror(grad *g, char err[ERR]) {
    enter(g, -1, OP_EMBED);
    grad_part *part = part_at(g, SLOT_EMBED, LEARN_DENSE);
    int64_t n = g->r.m->c.hidden;
    float limit = limit_of(g, 2 * g->r.context); // half the room; a tied head has the other half
    int bad = 0;
    for (int64_t t = 0; t < g->r.rows && part; t++)
        for (int64_t i = 0; i < n; i++)
            bad |= share(limit, &part->sum[g->r.token[t] * n + i], g->work->dx[t * n + i]);
    return bad ? bad_gradient(g, SLOT_EMBED, err) : 0;
}

// ---- head and loss

// Loss of a row and the factor of its log-probability's gradient (chapter 10).
static float row_loss(const grad *g, float logp, float weight, float old, float *factor) {
    *factor = weight;
    if (g->kind != LOSS_POLICY) return num_mul(weight, -logp);
    float r = num_exp(num_sub(logp, old)), a = num_mul(r, weight);
    float most = num_add(1.0f, g->high), least = num_sub(1.0f, g->low);
    float b = num_mul(r > most ? most : r < least ? least : r, weight);
    *factor = b < a ? 0 : a;
    return a < b ? -a : -b;
}

// KL from the teacher plus half the mean square of the logits' difference: logits z and zt [n]
// become dz and scratch, as d [3, n] is; *logp: of y.
static float match_loss(float *z, float *zt, float *d, int64_t n, float weight, int32_t y,
                        float *logp) {
    float peak, peak_t, vocab = (float)n, *e = d + n, *f = e + n;
    memcpy(d, z, (size_t)n * sizeof *d);
    memcpy(e, zt, (size_t)n * sizeof *e);
    for (int64_t i = 0; i < n; i++) f[i] = num_sub(z[i], zt[i]);
    float sum = sample_exponentials(z, n, &peak), sum_t = sample_exponentials(zt, n, &peak_t);
    float log_sum = num_log(sum), log_t = num_log(sum_t);
    *logp = num_sub(num_sub(d[y], peak), log_sum);
    for (int64_t i = 0; i < n; i++) {
        d[i] =
            num_sub(num_sub(num_sub(e[i], peak_t), log_t), num_sub(num_sub(d[i], peak), log_sum));
        zt[i] = num_div(zt[i], sum_t);
        z[i] = num_mul(weight, num_add(num_sub(num_div(z[i], sum), zt[i]), num_div(f[i], vocab)));
    }
    float apart = num_div(num_lane_dot(f, f, n), num_mul(2.0f, vocab));
    return num_mul(weight, num_add(num_lane_dot(zt, d, n), apart));
}

// A loss is told, so it is not cut. 1: not finite, or above the limit.
static int loss_share(const grad *g, int64_t *loss, float x) {
    float limit = limit_of(g, g->r.context), v = num_mul(x, 1 / GRAD_UNIT);
    return v > limit || v < -limit || share(limit, loss, x);
}

// The row t of the pass: its logits z become their gradient (0 where the row is masked), and its
// loss is added; 1: the loss is not finite or too large. Matching: zt, the teacher's logits, and
// d [3, vocab] are overwritten; otherwise both are NULL.
static int head_row(grad *g, const grad_batch *b, int64_t t, float *z, float *zt, float *d,
                    int64_t *loss) {
    int64_t n = g->r.m->c.vocab, at = b->start[0] + t;
    int32_t y = b->target[at];
    if (y < 0) {
        memset(z, 0, (size_t)n * sizeof *z);
        return 0;
    }
    float zy = z[y], peak, factor;
    if (g->kind == LOSS_MATCH)
        return loss_share(g, loss, match_loss(z, zt, d, n, b->weight[at], y, &g->logp[t]));
    float sum = sample_exponentials(z, n, &peak);
    g->logp[t] = num_sub(num_sub(zy, peak), num_log(sum));
    float value = row_loss(g, g->logp[t], b->weight[at], b->old ? b->old[at] : 0, &factor);
    for (int64_t i = 0; i < n; i++)
        z[i] = num_mul(factor, num_sub(num_div(z[i], sum), i == y ? 1.0f : 0.0f));
    return loss_share(g, loss, value);
}

// Rows first .. last - 1 of the pass: logits, loss, and with back their mirror, which leaves the
// gradient of the residual stream in w->dx.
static int head(grad *g, int64_t first, int64_t last, char err[ERR]) {
    grad_work *w = g->work;
    ref_run *r[2] = {&g->r, teacher_of(g)};
    enter(g, -1, OP_HEAD);
    int64_t hidden = g->r.m->c.hidden, vocab = g->r.m->c.vocab, rows = g->r.rows, loss = 0;
    const int64_t all[2] = {first, last};
    int bad = 0;
    for (int i = 0; i < 2 && r[i]; i++) {
        r[i]->head_from = first, r[i]->rows = last;
        bad = phases(r[i], r[i]->t.count - 1, r[i]->t.count, err);
        r[i]->rows = rows;
        if (bad) return -1;
    }
#pragma omp parallel reduction(+ : loss) reduction(| : bad)
    {
        float *d = r[1] ? must_alloc((size_t)vocab * 3, sizeof *d) : NULL;
#pragma omp for schedule(static)
        for (int64_t t = first; t < last; t++)
            bad |= head_row(g, &g->batch, t, g->r.logits + (t - first) * vocab,
                            r[1] ? r[1]->logits + (t - first) * vocab : NULL, d, &loss);
        free(d);
    }
    if (bad) return bad_gradient(g, -1, err);
    g->loss += loss;
    if (!g->back) return 0;
    float *dx = w->dx + first * hidden;
    if (linear_mirror(g, SLOT_HEAD, g->r.n, g->r.logits, all, 1, dx, 0, err) ||
        norm_mirror(g, SLOT_NORM, g->r.x + first * hidden, dx, all, 1, 1, err))
        return -1;
    return ref_finite(dx, (last - first) * hidden) ? 0 : bad_gradient(g, -1, err);
}

// The row where piece i of the head begins.
static int64_t piece_row(const grad *g, int64_t i) {
    const int64_t *start = g->batch.start;
    if (g->whole) return start[i] - start[0];
    return i * HEAD_SLICE < g->r.rows ? i * HEAD_SLICE : g->r.rows;
}

// ---- passes

enum { SLICE_LAYER, SLICE_TEACHER, SLICE_HEAD, SLICE_MIRROR };

// What the next slice is; *i: of which layer, or piece of the head.
static int next_slice(const grad *g, int64_t *i) {
    int64_t layers = g->r.m->c.layers;
    *i = g->slice;
    if (*i < layers) return SLICE_LAYER;
    *i -= layers;
    if (teacher_of(g) && (*i)-- == 0) return SLICE_TEACHER;
    if (*i < g->pieces) return SLICE_HEAD;
    *i = layers - 1 - (*i - g->pieces);
    return SLICE_MIRROR;
}

// Does the next slice; of the head and on a device up to n. Returns how many; -1: failed.
static int64_t do_slices(grad *g, int64_t n, char err[ERR]) {
    int64_t i, done = 1;
    int bad = 0;
    if (g->pass) return g->pass(g, n, err) ? -1 : n;
    switch (next_slice(g, &i)) {
    case SLICE_LAYER: bad = layer_forward(g, (int)i, err); break;
    case SLICE_TEACHER: bad = phases(g->teacher, 0, g->teacher->t.count - 1, err); break;
    case SLICE_HEAD:
        while (!g->whole && done < n && done < HEAD_ROWS / HEAD_SLICE && i + done < g->pieces)
            done++;
        bad = head(g, piece_row(g, i), piece_row(g, i + done), err);
        break;
    case SLICE_MIRROR:
        bad = layer_mirror(g, (int)i, err);
        if (!bad && i == 0) bad = embed_mirror(g, err);
    }
    return bad ? -1 : done;
}

// The next n slices; returns as grad_slice() does.
static int slices(grad *g, int64_t n, char err[ERR]) {
    int64_t last = g->slice + n, done;
    must(n > 0 && last <= g->slices);
    for (; g->slice < last; g->slice += done)
        if ((done = do_slices(g, last - g->slice, err)) < 0) {
            g->slice = g->slices;
            return -1;
        }
    return g->slice < g->slices;
}

void grad_begin(grad *g, const grad_batch *b, int back) {
    grad_work *w = g->work;
    ref_run *r[2] = {&g->r, teacher_of(g)};
    int64_t T = b->start[b->seqs] - b->start[0], first = b->start[0], layers = g->r.m->c.layers;
    int slot = g->r.m->c.tied ? SLOT_EMBED : SLOT_HEAD;
    must(b->seqs <= g->r.seqs);
    for (int64_t s = 0; s < b->seqs; s++)
        for (int64_t t = b->start[s]; t < b->start[s + 1]; t++)
            w->pos[t - first] = (int32_t)(t - b->start[s]), w->seq[t - first] = (int32_t)s;
    for (int k = 0; k < 2 && r[k]; k++) ref_rows(r[k], b->token + first, w->pos, w->seq, T, T);
    g->batch = *b, g->back = back, g->slice = 0;
    g->whole = back && (part_at(g, SLOT_NORM, LEARN_NORMS) || part_at(g, slot, LEARN_DENSE) ||
                        part_at(g, slot, LEARN_R1) || part_at(g, slot, LEARN_R2));
    g->pieces = g->whole ? b->seqs : (T + HEAD_SLICE - 1) / HEAD_SLICE;
    g->slices = layers + (r[1] != NULL) + g->pieces + (back ? layers : 0);
}

int grad_slice(grad *g, char err[ERR]) { return slices(g, 1, err); }
int grad_skip(grad *g) { return ++g->slice < g->slices; }

// Multiply-adds of the linears of phases first .. last - 1.
static int64_t products(const ref_run *r, int64_t first, int64_t last) {
    int64_t n = 0;
    for (const tape_phase *p = r->t.phase + first; p < r->t.phase + last; p++)
        for (int k = 0; k < p->linears; k++) n += p->w[k]->rows * p->w[k]->cols;
    return n * r->rows;
}

int64_t grad_cost(const grad *g) {
    const model_config *c = &g->r.m->c;
    int64_t i, kind = next_slice(g, &i), layer = 5 * i + OP_QKV;
    if (g->slice == g->slices) return 0;
    if (kind == SLICE_TEACHER) return products(g->teacher, 0, g->teacher->t.count - 1);
    if (kind != SLICE_HEAD)
        return products(&g->r, layer, layer + 5) * (kind == SLICE_MIRROR ? 3 : 1);
    return (piece_row(g, i + 1) - piece_row(g, i)) * c->vocab * c->hidden * (g->back ? 2 : 1);
}

static int pass(grad *g, const grad_batch *b, int back, char err[ERR]) {
    grad_begin(g, b, back);
    return slices(g, g->slices, err);
}

int grad_forward(grad *g, const grad_batch *b, char err[ERR]) { return pass(g, b, 0, err); }
int grad_pass(grad *g, const grad_batch *b, char err[ERR]) { return pass(g, b, 1, err); }

void grad_zero(grad *g) {
    g->loss = 0;
    if (g->zero) g->zero(g);
    for (int i = 0; i < g->parts; i++)
        memset(g->part[i].sum, 0, (size_t)g->part[i].n * sizeof *g->part[i].sum);
}

// ---- opening

// The parameters of a slot that `what` names; 0: none.
static int64_t part_size(const model_config *c, const tq_matrix *m, int slot, int what) {
    model_slot s = model_slot_at(c, slot);
    if (!s.present || (what == LEARN_NORMS) != (s.rows == 0)) return 0;
    if (what == LEARN_NORMS) return s.cols;
    if (what == LEARN_DENSE) return m->kind == KIND_F32 ? s.rows * s.cols : 0;
    if (m->kind != KIND_TQ4) return 0;
    return what == LEARN_R1 ? m->rows * (m->pad / BLOCK) : LEVELS;
}

static float *move_dense(model *m, int slot) {
    tq_matrix *w = model_matrix(m, slot);
    float *value = model_own(m, w->rows * w->cols, sizeof *value);
    for (int64_t r = 0; r < w->rows; r++) tq_widen(w, r, value + r * w->cols);
    w->dense = value, w->type = T_F32;
    return value;
}

// Puts the values of a part into memory that may change.
static void move_part(model *m, grad_part *p) {
    tq_matrix *w = model_matrix(m, p->slot);
    if (p->what == LEARN_DENSE) {
        p->value = move_dense(m, p->slot);
    } else if (p->what == LEARN_NORMS) {
        p->value = model_own(m, p->n, sizeof *p->value);
        memcpy(p->value, *model_norm(m, p->slot), (size_t)p->n * sizeof *p->value);
        *model_norm(m, p->slot) = p->value;
    } else {
        p->scale = model_own(m, p->n, 1);
        memcpy(p->scale, p->what == LEARN_R1 ? w->scale : w->codebook, (size_t)p->n);
        *(p->what == LEARN_R1 ? &w->scale : &w->codebook) = p->scale;
    }
}

static float *floats(int64_t n) { return must_alloc((size_t)n, sizeof(float)); }

static void open_work(grad *g, int64_t rows) {
    grad_work *w = g->work;
    const model_config *c = &g->r.m->c;
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    w->pos = must_alloc((size_t)rows, sizeof *w->pos);
    w->seq = must_alloc((size_t)rows, sizeof *w->seq);
    w->in = must_alloc((size_t)c->layers, sizeof *w->in);
    for (int64_t l = 0; l < c->layers; l++) w->in[l] = floats(rows * c->hidden);
    w->dx = floats(rows * c->hidden), w->y = floats(rows * c->hidden);
    w->dq = floats(rows * q), w->dout = floats(rows * q);
    w->dk = floats(rows * kv), w->dv = floats(rows * kv);
    w->h = floats(rows * c->inter), w->dh = floats(rows * c->inter);
    g->logp = floats(rows);
    g->r.raw_q = floats(rows * q), g->r.raw_k = floats(rows * kv);
    g->r.peak = floats(rows * c->heads), g->r.mass = floats(rows * c->heads);
}

void grad_open(grad *g, model *m, linear_fn linear, tile_fn tile, int learn, int64_t samples,
               int64_t micro, int64_t context) {
    int slots = model_slots(&m->c);
    int64_t each = 2 * context; // the most shares a sample has in a sum
    *g = (grad){.samples = samples, .tile = tile, .work = must_alloc(1, sizeof(grad_work))};
    g->part = must_alloc((size_t)slots * WHATS, sizeof *g->part);
    g->work->m = m;
    g->work->at = must_alloc((size_t)slots * WHATS, sizeof(grad_part *));
    for (int i = 0; i < slots; i++) {
        const tq_matrix *w = model_matrix(m, i);
        for (int what = 1; what < 1 << WHATS; what *= 2) {
            int64_t n = learn & what ? part_size(&m->c, w, i, what) : 0;
            if (n == 0) continue;
            grad_part *p = &g->part[g->parts++];
            *p = (grad_part){.slot = i, .what = what, .n = n};
            p->sum = must_alloc((size_t)n, sizeof *p->sum);
            g->work->at[i * WHATS + __builtin_ctz((unsigned)what)] = p;
            move_part(m, p);
        }
        if (w && w->rows > each) each = w->rows;
        if (w && w->kind == KIND_F32 && w->type != T_F32) // mirrors read floats
            move_dense(m, i);
    }
    if (m->c.tied) m->head = m->embed;
    must(samples > 0 && samples * each <= (int64_t)1 << 40); // what the proof assumes
    ref_open(&g->r, m, linear, micro * context, micro, context);
    g->r.cached = 1; // a layer's mirror fills the cache again; memory never touched is never there
    open_work(g, micro * context);
}

void grad_close(grad *g) {
    grad_work *w = g->work;
    float *all[] = {w->dx, w->y, w->dq,    w->dout, w->dk,      w->dv,      w->h,      w->dh,
                    w->a,  w->b, w->dwide, g->logp, g->r.raw_q, g->r.raw_k, g->r.peak, g->r.mass};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    for (int64_t l = 0; l < g->r.m->c.layers; l++) free(w->in[l]);
    for (int i = 0; i < g->parts; i++) free(g->part[i].sum);
    free(w->in);
    free(w->pos);
    free(w->seq);
    free(w->at);
    tq_acts_free(&w->acts);
    ref_close(&g->r);
    free(g->part);
    free(w);
}

void grad_bytes(const model_config *c, int learn, int64_t rows, int64_t bytes[3]) {
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    int64_t wide = c->inter > q ? c->inter : q, head = HEAD_ROWS < rows ? HEAD_ROWS : rows;
    int64_t packed = wide * rows > head * c->vocab ? wide * rows : head * c->vocab;
    bytes[0] = bytes[1] = 0;
    for (int i = 0; i < model_slots(c); i++) {
        model_slot s = model_slot_at(c, i);
        tq_matrix m;
        if (s.rows) tq_shape(&m, i < SLOT_LAYERS ? KIND_I8 : KIND_TQ4, s.rows, s.cols);
        for (int what = 1; what < LEARN_DENSE; what *= 2) {
            int64_t n = learn & what ? part_size(c, &m, i, what) : 0;
            bytes[0] += n * 8;
            bytes[1] += n * (what == LEARN_NORMS ? 6 + 4 : 6 + 2 + 1); // moments; own values
        }
    }
    // ref.h and grad_work, float by float: a row of a layer's input, of each buffer, of the cache
    bytes[2] = 4 * rows *
                   (c->layers * c->hidden + 2 * kv + 4 * c->hidden + 5 * q + 5 * kv + 4 * c->inter +
                    c->head_dim + 2 * c->heads + 3 * tq_pad(wide)) +
               4 * (packed + head * c->vocab);
}
