// ref.c - the plain interpreter, phase by phase.
#include "ref.h"
#include "num.h"

// Linear layers. TQ4 and I8: one exact integer and one rounding. Dense: a lane sum.
void ref_linear(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows, float *y) {
#pragma omp parallel
    {
        float *wide = must_alloc((size_t)m->cols, sizeof *wide);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < m->rows; r++) {
            if (m->kind == KIND_F32) tq_widen(m, r, wide);
            for (int64_t t = 0; t < rows; t++)
                y[t * m->rows + r] = m->kind == KIND_F32
                                         ? num_lane_dot(wide, x + t * m->cols, m->cols)
                                         : tq_finish(tq_dot(m, r, a, t), m->row[r], a->e[t]);
        }
        free(wide);
    }
}

void ref_norm(float *y, const float *x, const float *w, int64_t n, float eps) {
    float mean = num_div(num_lane_dot(x, x, n), (float)n);
    float r = num_div(1.0f, num_sqrt(num_add(mean, eps)));
    if (!ref_finite(&mean, 1)) r = mean; // squares overflowed: no value may come out as if fine
    for (int64_t i = 0; i < n; i++) y[i] = num_mul(num_mul(x[i], r), w[i]);
}

void ref_tile(float out[TILE_ROWS][TILE_COLS], const float (*a)[TILE_ROWS],
              const float (*b)[TILE_COLS], int64_t n) {
    memset(out, 0, TILE_ROWS * sizeof *out);
    for (int64_t k = 0; k < n; k++)
        for (int i = 0; i < TILE_ROWS; i++)
            for (int j = 0; j < TILE_COLS; j++) out[i][j] = num_fma(a[k][i], b[k][j], out[i][j]);
}

// Turns the pairs (i, i + n/2) of a head [n] by the angles of its position.
static void rope(float *x, const float *cos, const float *sin, int64_t n) {
    for (int64_t i = 0; i < n / 2; i++) {
        float a = x[i], b = x[i + n / 2];
        x[i] = num_fma(a, cos[i], -num_mul(b, sin[i]));
        x[i + n / 2] = num_fma(b, cos[i], num_mul(a, sin[i]));
    }
}

int64_t ref_place(const ref_run *r, int layer, int64_t seq, int64_t head, int64_t pos) {
    const model_config *c = &r->m->c;
    int64_t page = r->page[seq * r->chunks + pos / r->keys];
    int64_t heads = (page * r->cached + layer % r->cached) * c->kv_heads + head;
    return (heads * r->keys + pos % r->keys) * c->head_dim;
}

const float *ref_cached(const ref_run *r, const void *cache, int64_t at, int64_t n, float *wide) {
    if (!r->m->c.kv_bf16) return (const float *)cache + at;
    for (int64_t i = 0; i < n; i++) wide[i] = num_from_bf16(((const uint16_t *)cache)[at + i]);
    return wide;
}

int64_t ref_room(const ref_run *r) {
    return (r->m->c.kv_bf16 ? 2 * KEYS + 1 : 1) * r->m->c.head_dim;
}

// A key or a value [head_dim] into its cache. 1: it is infinite when it is rounded.
static int append(const ref_run *r, void *cache, int64_t at, const float *x) {
    int64_t n = r->m->c.head_dim;
    uint16_t *to = (uint16_t *)cache + at;
    int bad = 0;
    if (!r->m->c.kv_bf16) memcpy((float *)cache + at, x, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n && r->m->c.kv_bf16; i++) {
        to[i] = num_to_bf16(x[i]);
        bad |= (to[i] & 0x7f80) == 0x7f80;
    }
    return bad;
}

// Query head i % heads of row i / heads over keys 0 .. pos; sets o, and room is [ref_room()].
// Returns the largest score in top[0] and the sum of the exponentials in top[1].
static void attend(const ref_run *r, int layer, int64_t i, float *room, float top[2]) {
    const model_config *c = &r->m->c;
    int64_t hd = c->head_dim, t = i / c->heads, p = r->pos[t], share = c->heads / c->kv_heads;
    const float *q = r->q + i * hd;
    float *o = r->o + i * hd, *part = room, *wide = room + hd;
    float scale = num_div(1.0f, num_sqrt((float)hd)), m = 0, l = 0, s[KEYS];
    for (int64_t first = 0; first <= p; first += KEYS) {
        int64_t n = p + 1 - first < KEYS ? p + 1 - first : KEYS;
        int64_t at = ref_place(r, layer, r->seq[t], i % c->heads / share, first);
        float mc = 0, lc = 0;
        num_lane_dots(s, q, ref_cached(r, r->kcache, at, n * hd, wide), hd, n);
        for (int64_t j = 0; j < n; j++) s[j] = num_mul(s[j], scale);
        for (int64_t j = 0; j < n; j++)
            if (j == 0 || s[j] > mc) mc = s[j];
        float *oc = first ? part : o; // the first chunk is taken as it is
        memset(oc, 0, (size_t)hd * sizeof *oc);
        for (int64_t j = 0; j < n; j++) s[j] = num_exp(num_sub(s[j], mc));
        for (int64_t j = 0; j < n; j++) lc = num_add(lc, s[j]);
        num_add_times(oc, hd, s, 1, ref_cached(r, r->vcache, at, n * hd, wide), hd, n);
        if (first) {
            float most = mc > m ? mc : m;
            float old = num_exp(num_sub(m, most)), new = num_exp(num_sub(mc, most));
            l = num_fma(l, old, num_mul(lc, new));
            for (int64_t d = 0; d < hd; d++) o[d] = num_fma(o[d], old, num_mul(oc[d], new));
            m = most;
        } else {
            m = mc;
            l = lc;
        }
    }
    for (int64_t d = 0; d < hd; d++) o[d] = num_div(o[d], l);
    top[0] = m, top[1] = l;
}

int ref_not_finite(const tape_phase *p, char err[ERR]) {
    if (p->layer < 0) return fail(err, "phase %s: a value is not finite", tape_op_name[p->op]);
    return fail(err, "layer %d, phase %s: a value is not finite", p->layer, tape_op_name[p->op]);
}

// All linears of a phase on the input x [rows, cols]; y[i] [rows, w[i]->rows].
static int linears(ref_run *r, const tape_phase *p, const float *x, int64_t rows, float *const y[],
                   char err[ERR]) {
    int64_t cols = p->w[0]->cols;
    if (r->tap && r->tap(r->tap_ctx, p, x, rows, cols, err)) return -1;
    for (int i = 0; i < p->linears; i++) {
        const tq_matrix *w = p->w[i], *before = i ? p->w[i - 1] : NULL;
        int same = before && before->kind != KIND_F32 && before->rotate == w->rotate;
        if (w->kind != KIND_F32 && !same && tq_quantize(&r->acts, x, rows, w))
            return ref_not_finite(p, err);
        r->linear(w, &r->acts, x, rows, y[i]);
    }
    return 0;
}

static int phase_embed(ref_run *r) {
    const tq_matrix *e = &r->m->embed;
    for (int64_t t = 0; t < r->rows; t++) {
        float *x = r->x + t * e->cols;
        e->kind == KIND_F32 ? tq_widen(e, r->token[t], x) : tq_embed(e, r->token[t], x);
    }
    return 0;
}

static int phase_qkv(ref_run *r, const tape_phase *p, char err[ERR]) {
    const model_config *c = &r->m->c;
    int64_t hd = c->head_dim;
    int bad = 0;
    for (int64_t t = 0; t < r->rows; t++)
        ref_norm(r->n + t * c->hidden, r->x + t * c->hidden, p->norm, c->hidden, c->eps);
    if (linears(r, p, r->n, r->rows, (float *[]){r->q, r->k, r->v}, err)) return -1;
    if (r->raw_q) memcpy(r->raw_q, r->q, (size_t)(r->rows * c->heads * hd) * sizeof(float));
    if (r->raw_k) memcpy(r->raw_k, r->k, (size_t)(r->rows * c->kv_heads * hd) * sizeof(float));
#pragma omp parallel for schedule(static) if (r->rows > 1) reduction(| : bad)
    for (int64_t t = 0; t < r->rows; t++) {
        const float *cos = r->cos + r->pos[t] * hd / 2, *sin = r->sin + r->pos[t] * hd / 2;
        for (int64_t h = 0; h < c->heads; h++) {
            float *q = r->q + (t * c->heads + h) * hd;
            if (p->norm_q) ref_norm(q, q, p->norm_q, hd, c->eps);
            rope(q, cos, sin, hd);
        }
        for (int64_t h = 0; h < c->kv_heads; h++) {
            float *k = r->k + (t * c->kv_heads + h) * hd, *v = r->v + (t * c->kv_heads + h) * hd;
            if (p->norm_k) ref_norm(k, k, p->norm_k, hd, c->eps);
            rope(k, cos, sin, hd);
            int64_t at = ref_place(r, p->layer, r->seq[t], h, r->pos[t]);
            bad |= append(r, r->kcache, at, k) | append(r, r->vcache, at, v);
        }
    }
    return bad ? ref_not_finite(p, err) : 0;
}

static int phase_attend(ref_run *r, const tape_phase *p) {
    const model_config *c = &r->m->c;
#pragma omp parallel
    {
        float *room = must_alloc((size_t)ref_room(r), sizeof *room), top[2];
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < r->rows * c->heads; i++) {
            attend(r, p->layer, i, room, top);
            if (r->peak) r->peak[i] = top[0], r->mass[i] = top[1];
        }
        free(room);
    }
    return 0;
}

// x += w y, for OUT and DOWN; y [rows, cols].
static int add_linear(ref_run *r, const tape_phase *p, const float *y, char err[ERR]) {
    if (linears(r, p, y, r->rows, (float *[]){r->n}, err)) return -1;
    for (int64_t i = 0; i < r->rows * r->m->c.hidden; i++) r->x[i] = num_add(r->x[i], r->n[i]);
    return 0;
}

static int phase_gateup(ref_run *r, const tape_phase *p, char err[ERR]) {
    const model_config *c = &r->m->c;
    for (int64_t t = 0; t < r->rows; t++)
        ref_norm(r->n + t * c->hidden, r->x + t * c->hidden, p->norm, c->hidden, c->eps);
    return linears(r, p, r->n, r->rows, (float *[]){r->g, r->u}, err);
}

// Overwrites g with silu(g) * u.
static int phase_down(ref_run *r, const tape_phase *p, char err[ERR]) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < r->rows * r->m->c.inter; i++)
        r->g[i] = num_mul(num_mul(r->g[i], num_sigmoid(r->g[i])), r->u[i]);
    return add_linear(r, p, r->g, err);
}

void ref_logits(ref_run *r, int64_t rows) {
    if (rows * r->m->c.vocab <= r->logits_room) return;
    free(r->logits);
    r->logits_room = rows * r->m->c.vocab;
    r->logits = must_alloc((size_t)r->logits_room, sizeof *r->logits);
}

static int phase_head(ref_run *r, const tape_phase *p, char err[ERR]) {
    const model_config *c = &r->m->c;
    int64_t rows = r->rows - r->head_from, first = r->head_from * c->hidden;
    ref_logits(r, rows);
    for (int64_t t = 0; t < rows; t++)
        ref_norm(r->n + t * c->hidden, r->x + first + t * c->hidden, p->norm, c->hidden, c->eps);
    return linears(r, p, r->n, rows, (float *[]){r->logits}, err);
}

// Not finite: the exponent is all ones.
int ref_finite(const float *x, int64_t n) {
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) bad |= (num_bits(x[i]) & 0x7f800000) == 0x7f800000;
    return !bad;
}

int ref_phase(ref_run *r, const tape_phase *p, char err[ERR]) {
    const model_config *c = &r->m->c;
    int64_t T = r->rows, q = T * c->heads * c->head_dim, kv = T * c->kv_heads * c->head_dim;
    int64_t x = T * c->hidden, g = T * c->inter;
    int bad = 0, ok = 1;
    if (r->phase) return r->phase(r, p, err);
    switch (p->op) {
    case OP_EMBED: bad = phase_embed(r), ok = ref_finite(r->x, x); break;
    case OP_QKV:
        bad = phase_qkv(r, p, err);
        ok = ref_finite(r->q, q) && ref_finite(r->k, kv) && ref_finite(r->v, kv);
        break;
    case OP_ATTEND: bad = phase_attend(r, p), ok = ref_finite(r->o, q); break;
    case OP_OUT: bad = add_linear(r, p, r->o, err), ok = ref_finite(r->x, x); break;
    case OP_GATEUP:
        bad = phase_gateup(r, p, err), ok = ref_finite(r->g, g) && ref_finite(r->u, g);
        break;
    case OP_DOWN: bad = phase_down(r, p, err), ok = ref_finite(r->x, x); break;
    case OP_HEAD:
        bad = phase_head(r, p, err);
        ok = ref_finite(r->logits, (T - r->head_from) * c->vocab);
        break;
    case OPS: must(!"a phase has an operation");
    }
    return bad ? -1 : ok ? 0 : ref_not_finite(p, err);
}

void ref_rows(ref_run *r, const int32_t *token, const int32_t *pos, const int32_t *seq,
              int64_t rows, int64_t head_from) {
    must(rows > 0 && rows <= r->room && head_from >= 0 && head_from <= rows);
    r->token = token, r->pos = pos, r->seq = seq, r->rows = rows, r->head_from = head_from;
    for (int64_t t = 0; t < rows; t++)
        must(token[t] >= 0 && token[t] < r->m->c.vocab && pos[t] >= 0 && pos[t] < r->context &&
             seq[t] >= 0 && seq[t] < r->seqs);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i <= pos[t] / r->keys; i++) {
            int32_t page = r->page[seq[t] * r->chunks + i];
            must(page >= 0 && page < r->pages);
        }
}

int ref_step(ref_run *r, const int32_t *token, const int32_t *pos, const int32_t *seq, int64_t rows,
             int64_t head_from, char err[ERR]) {
    ref_rows(r, token, pos, seq, rows, head_from);
    if (r->phase) return r->phase(r, NULL, err);
    for (int i = 0; i < r->t.count; i++)
        if (ref_phase(r, &r->t.phase[i], err)) return -1;
    return 0;
}

static float *floats(int64_t n) { return must_alloc((size_t)n, sizeof(float)); }

void ref_open_pages(ref_run *r, const model *m, linear_fn linear, int64_t room, int64_t seqs,
                    int64_t context, int64_t pages) {
    const model_config *c = &m->c;
    int64_t keys = context < KEYS ? context : KEYS, chunks = (context + KEYS - 1) / KEYS;
    size_t cache = (size_t)(pages * c->layers * c->kv_heads * keys * c->head_dim);
    size_t each = c->kv_bf16 ? sizeof(uint16_t) : sizeof(float);
    *r = (ref_run){.m = m,
                   .linear = linear,
                   .room = room,
                   .seqs = seqs,
                   .context = context,
                   .keys = keys,
                   .chunks = chunks,
                   .pages = pages,
                   .cached = m->c.layers};
    tape_build(&r->t, m);
    r->x = floats(room * c->hidden), r->n = floats(room * c->hidden);
    r->q = floats(room * c->heads * c->head_dim), r->o = floats(room * c->heads * c->head_dim);
    r->k = floats(room * c->kv_heads * c->head_dim);
    r->v = floats(room * c->kv_heads * c->head_dim);
    r->g = floats(room * c->inter), r->u = floats(room * c->inter);
    r->kcache = must_alloc(cache, each), r->vcache = must_alloc(cache, each);
    r->page = must_alloc((size_t)(seqs * chunks), sizeof *r->page);
    for (int64_t i = 0; i < seqs * chunks; i++) r->page[i] = -1;
    r->cos = floats(context * c->head_dim / 2), r->sin = floats(context * c->head_dim / 2);
    model_rope(c, context, r->cos, r->sin);
}

void ref_open(ref_run *r, const model *m, linear_fn linear, int64_t room, int64_t seqs,
              int64_t context) {
    ref_open_pages(r, m, linear, room, seqs, context, seqs * ((context + KEYS - 1) / KEYS));
    for (int64_t i = 0; i < r->pages; i++) r->page[i] = (int32_t)i;
}

void ref_close(ref_run *r) {
    void *all[] = {r->x,      r->n,      r->q,      r->o,    r->k,   r->v,   r->g,      r->u,
                   r->logits, r->kcache, r->vcache, r->page, r->cos, r->sin, r->t.phase};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    tq_acts_free(&r->acts);
}
