// forward.cuh - the phases of the tape, each under the name of its twin in ref.c, and the loop that
// runs them one behind the other.
#ifndef FORWARD_CUH
#define FORWARD_CUH
#include "linear.cuh"

// Token rows of the embedding, a group of columns for a warp.
PHASE void phase_embed(mega *m, const mega_run *r, int rows, int code) {
    const mega_matrix *w = &r->embed;
    int each = w->kind == DENSE ? 1 : w->group / 32, groups = (w->pad + 32 * each - 1) / 32 / each;
    for (int i = grid_warp(); i < rows * groups; i += grid_warps()) {
        int t = i / groups, g = i % groups, row = r->token[t];
        float v[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int col = (g * 32 + lane_id()) * each + j;
            if (j >= each || (w->kind == DENSE && col >= w->cols)) continue;
            const uint8_t *brick = brick_at(w, row / 16, col / 16);
            v[j] = w->kind == DENSE ? w->dense[(int64_t)row * w->cols + col]
                                    : (float)(brick_scale(w, brick, row % 16) *
                                              brick_level(w, brick, row % 16, col % 16));
        }
        if (w->kind != DENSE) rotate_group(v, each);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int col = (g * 32 + lane_id()) * each + j;
            if (j >= each || col >= w->cols) continue;
            float y = w->kind == DENSE ? v[j] : num_mul(v[j], w->row[row]);
            r->x[(int64_t)t * w->cols + col] = y;
            if (!finite(y)) fail_at(m, code);
        }
    }
}

// ---- attention

// A query or key head [hd] of a row at a position: its norm, then its rotation; a warp. raw and out
// may not overlap.
DEV void turn_head(mega *m, const mega_run *r, const float *raw, const float *norm, float *out,
                   int pos, int code) {
    int hd = r->head_dim, half = hd / 2;
    const float *cos = r->cos + (int64_t)pos * half, *sin = r->sin + (int64_t)pos * half;
    float f = norm ? norm_factor(raw, hd, r->eps) : 1;
    for (int i = lane_id(); i < half; i += 32) {
        float a = raw[i], b = raw[i + half];
        if (norm) {
            a = num_mul(num_mul(a, f), norm[i]);
            b = num_mul(num_mul(b, f), norm[i + half]);
        }
        out[i] = num_fma(a, cos[i], -num_mul(b, sin[i]));
        out[i + half] = num_fma(b, cos[i], num_mul(a, sin[i]));
        if (!finite(out[i]) || !finite(out[i + half])) fail_at(m, code);
    }
}

DEV int key_bytes(const mega_run *r) { return r->head_dim * (r->kv_bf16 ? 2 : 4); }

// The keys (base: r->kcache) or values of a head in a chunk: key_bytes() each, one after another.
DEV uint8_t *cache_of(const mega_run *r, uint8_t *base, int layer, int seq, int head, int chunk) {
    int64_t at = (int64_t)r->page[seq * r->chunks + chunk] * r->cached + layer % r->cached;
    return base + (at * r->kv_heads + head) * r->keys * key_bytes(r);
}

// What will be found in the cache when x was put there.
DEV float as_cached(const mega_run *r, float x) {
    return r->kv_bf16 ? num_from_bf16(num_to_bf16(x)) : x;
}
DEV void put_cached(const mega_run *r, uint8_t *p, int i, float x) {
    if (r->kv_bf16)
        ((uint16_t *)p)[i] = num_to_bf16(x);
    else
        ((float *)p)[i] = x;
}

// A key that was just turned, with its value, into the outputs of QKV and the cache; a warp.
DEV void append(mega *m, const mega_run *r, int layer, int t, int head, const float *key,
                int code) {
    int hd = r->head_dim, chunk = r->pos[t] / GPU_KEYS, to = r->pos[t] % GPU_KEYS * hd;
    int64_t at = ((int64_t)t * r->kv_heads + head) * hd;
    uint8_t *keys = cache_of(r, r->kcache, layer, r->seq[t], head, chunk);
    uint8_t *values = cache_of(r, r->vcache, layer, r->seq[t], head, chunk);
    for (int i = lane_id(); i < hd; i += 32) {
        if (key != r->k + at) r->k[at + i] = key[i];
        float k = key[i], v = r->v[at + i];
        put_cached(r, keys, to + i, k), put_cached(r, values, to + i, v);
        if (!finite(as_cached(r, k)) || !finite(as_cached(r, v))) fail_at(m, code);
    }
}

// The second half of QKV where rows of one sequence attend to each other.
PHASE void turn_all(mega *m, const mega_run *r, const mega_phase *p, int rows, int code) {
    int hd = r->head_dim, all = r->heads + r->kv_heads;
    for (int i = grid_warp(); i < rows * all; i += grid_warps()) {
        int t = i / all, h = i % all, key = h - r->heads;
        if (key < 0) {
            int64_t at = ((int64_t)t * r->heads + h) * hd;
            turn_head(m, r, r->raw_q + at, p->norm_q, r->q + at, r->pos[t], code);
        } else {
            int64_t at = ((int64_t)t * r->kv_heads + key) * hd;
            turn_head(m, r, r->raw_k + at, p->norm_k, r->k + at, r->pos[t], code);
            __syncwarp();
            append(m, r, p->layer, t, key, r->k + at, code);
        }
    }
}

// What a block keeps while it works on a query head and a chunk of keys.
typedef struct {
    float score[GPU_KEYS], weight[GPU_KEYS];
    float q[1]; // [hd], then the key of the row's own position [hd]
} attending;

// The largest of the lanes' and the lowest place where it stands; -1: there is none. A warp.
DEV void lane_largest(float *top, int *at) {
    for (int d = 16; d > 0; d /= 2) {
        float y = __shfl_xor_sync(0xffffffffu, *top, d);
        int other = __shfl_xor_sync(0xffffffffu, *at, d);
        if (other >= 0 && (*at < 0 || y > *top || (y == *top && other < *at)))
            *top = y, *at = other;
    }
}

// The largest of z[lo .. hi - 1] and the first place where it stands; -1: there is none. A warp.
DEV float largest(const float *z, int lo, int hi, int *place) {
    int at = -1;
    float top = 0;
    for (int i = lo + lane_id(); i < hi; i += 32)
        if (at < 0 || z[i] > top) top = z[i], at = i;
    lane_largest(&top, &at);
    *place = at;
    return top;
}

// Writes a head's output, its softmax's peak and mass; o = sum / mass.
DEV void put_head(mega *m, const mega_run *r, int64_t i, int d, float sum, float peak, float mass,
                  int code) {
    float y = num_div(sum, mass);
    r->o[i * r->head_dim + d] = y;
    if (d == 0) r->peak[i] = peak, r->mass[i] = mass;
    if (!finite(y)) fail_at(m, code);
}

// The last block to arrive merges the chunks of a head in ascending order.
DEV void merge(mega *m, const mega_run *r, int64_t i, int chunks, int code) {
    int hd = r->head_dim;
    const float *part = r->part + i * r->chunks * (hd + 2);
    for (int d = (int)threadIdx.x; d < hd; d += THREADS) {
        float peak = part[hd], mass = part[hd + 1], sum = part[d];
        for (int c = 1; c < chunks; c++) {
            const float *next = part + (int64_t)c * (hd + 2);
            float top = next[hd] > peak ? next[hd] : peak;
            float old = num_exp(num_sub(peak, top)), add = num_exp(num_sub(next[hd], top));
            mass = num_fma(mass, old, num_mul(next[hd + 1], add));
            sum = num_fma(sum, old, num_mul(next[d], add));
            peak = top;
        }
        put_head(m, r, i, d, sum, peak, mass, code);
    }
}

// The scores of a query with n keys of the cache; a block.
DEV void score_keys(float *score, const float *q, const uint8_t *keys, int n, int hd, float scale,
                    int bf16) {
    for (int j = warp_id(); j < n; j += 4 * WARPS) { // four keys at a time are in flight
        float s[4] = {0, 0, 0, 0};
        for (int i = lane_id(); i < hd; i += 32) // ascending for each key, as lane_dot
#pragma unroll
            for (int u = 0; u < 4; u++) {
                int k = j + u * WARPS < n ? j + u * WARPS : j;
                s[u] = num_fma(q[i], wide_at(keys, k * hd + i, bf16), s[u]);
            }
#pragma unroll
        for (int u = 0; u < 4; u++) {
            int k = j + u * WARPS;
            if (k >= n) break;
            s[u] = num_mul(lane_fold(s[u]), scale);
            if (lane_id() == 0) score[k] = s[u];
        }
    }
}

// Dimension d of n values of the cache, each by its weight; the weights are added to *mass.
DEV float sum_values(const float *weight, const uint8_t *values, int n, int hd, int d, float *mass,
                     int bf16) {
    float sum = 0, all = 0;
#pragma unroll 8
    for (int j = 0; j < n; j++) {
        all = num_add(all, weight[j]);
        sum = num_fma(weight[j], wide_at(values, j * hd + d, bf16), sum);
    }
    *mass = all;
    return sum;
}

// One query head of a row over a chunk of its keys; a block. The new key and value of a row that is
// alone in its sequence do not come from the cache, which another block may be writing.
DEV void attend(mega *m, const mega_run *r, const mega_phase *p, int layer, int t, int h, int chunk,
                int single, int code) {
    attending *a = (attending *)scratch(m);
    int hd = r->head_dim, pos = r->pos[t], first = chunk * GPU_KEYS, group = r->heads / r->kv_heads;
    int n = pos + 1 - first < GPU_KEYS ? pos + 1 - first : GPU_KEYS, chunks = pos / GPU_KEYS + 1;
    int64_t i = (int64_t)t * r->heads + h, key_at = ((int64_t)t * r->kv_heads + h / group) * hd;
    const uint8_t *keys = cache_of(r, r->kcache, layer, r->seq[t], h / group, chunk);
    const uint8_t *values = cache_of(r, r->vcache, layer, r->seq[t], h / group, chunk);
    float *q = a->q, *own = a->q + hd, scale = num_div(1.0f, num_sqrt((float)hd));
    int last = chunk == chunks - 1, fresh = single && last ? n - 1 : -1; // the key that is own
    int old = fresh < 0 ? n : n - 1;                                     // come from the cache
    if (!single) {
        for (int d = (int)threadIdx.x; d < hd; d += THREADS) q[d] = r->q[i * hd + d];
    } else if (warp_id() == 0) {
        turn_head(m, r, r->raw_q + i * hd, p->norm_q, q, pos, code - 1);
        __syncwarp();
        for (int d = lane_id(); d < hd && chunk == 0; d += 32) r->q[i * hd + d] = q[d];
    } else if (warp_id() == 1 && last) {
        turn_head(m, r, r->raw_k + key_at, p->norm_k, own, pos, code - 1);
        __syncwarp();
        if (h % group == 0) append(m, r, layer, t, h / group, own, code - 1);
        for (int d = lane_id(); d < hd; d += 32) own[d] = as_cached(r, own[d]);
    }
    __syncthreads();
    r->kv_bf16 ? score_keys(a->score, q, keys, old, hd, scale, 1)
               : score_keys(a->score, q, keys, old, hd, scale, 0);
    if (fresh >= 0 && warp_id() == fresh % WARPS) {
        float s = num_mul(lane_dot(q, own, hd), scale);
        if (lane_id() == 0) a->score[fresh] = s;
    }
    __syncthreads();
    int at;
    float peak = largest(a->score, 0, n, &at), mass = 0;
    for (int j = (int)threadIdx.x; j < n; j += THREADS)
        a->weight[j] = num_exp(num_sub(a->score[j], peak));
    __syncthreads();
    float *part = r->part + (i * r->chunks + chunk) * (hd + 2);
    for (int d = (int)threadIdx.x; d < hd; d += THREADS) {
        float newest = fresh < 0 ? 0 : as_cached(r, r->v[key_at + d]);
        float sum = r->kv_bf16 ? sum_values(a->weight, values, old, hd, d, &mass, 1)
                               : sum_values(a->weight, values, old, hd, d, &mass, 0);
        if (fresh >= 0) {
            mass = num_add(mass, a->weight[old]);
            sum = num_fma(a->weight[old], newest, sum);
        }
        if (chunks == 1)
            put_head(m, r, i, d, sum, peak, mass, code);
        else
            part[d] = sum;
        if (chunks > 1 && d == 0) part[hd] = peak, part[hd + 1] = mass;
    }
    __syncthreads();
    if (chunks == 1) return;
    if (threadIdx.x == 0) {
        state()->word[0] = add_release(&r->arrived[i], 1) == (uint32_t)chunks - 1;
        if (state()->word[0]) r->arrived[i] = 0;
    }
    __syncthreads();
    if (state()->word[0]) merge(m, r, i, chunks, code);
    __syncthreads();
}

// Query heads and chunks of keys over all blocks. p: the QKV phase before, for the norms.
PHASE void phase_attend(mega *m, const mega_run *r, const mega_phase *p, int rows, int single,
                        int code) {
    int longest = 0, heads = rows * r->heads;
    for (int t = lane_id(); t < rows; t += 32)
        if (r->pos[t] >= longest) longest = r->pos[t] + 1;
    longest = (int)warp_max((uint32_t)longest);
    for (int i = (int)blockIdx.x; i < (longest + GPU_KEYS - 1) / GPU_KEYS * heads;
         i += (int)gridDim.x) {
        int t = i % heads / r->heads, chunk = i / heads;
        if (chunk * GPU_KEYS <= r->pos[t])
            attend(m, r, p, p->layer, t, i % r->heads, chunk, single, code);
    }
}

// ---- the tape

// The input of a phase's linears before the norm it may have.
DEV const float *input_of(const mega_run *r, const mega_phase *p, int head_from) {
    switch (p->op) {
    case OUT: return r->o;
    case DOWN: return r->h;
    case HEAD: return r->x + (int64_t)head_from * r->hidden;
    default: return r->x;
    }
}

// The ids that may be sampled: a vocabulary may have rows that no token uses.
DEV int known_ids(const mega_run *r) {
    int known = state()->command.known;
    return known > 0 && known < r->vocab ? known : r->vocab;
}

// The best logit of the rows of the vocabulary that this block made, for greedy sampling.
DEV void best_of_block(const mega_run *r, const mega_phase *p, int rows) {
    if (p->w[0].kind == DENSE) return;
    stretch s = stretch_of(p);
    int lo = s.tile * 16, hi = lo + s.slots / s.parts * 16, vocab = r->vocab;
    if (hi > known_ids(r)) hi = known_ids(r);
    __syncthreads();
    for (int t = warp_id(); t < rows; t += WARPS) {
        int at;
        float top = largest(r->logits + (int64_t)t * vocab, lo, hi, &at);
        if (lane_id() == 0) {
            r->best[(int64_t)blockIdx.x * r->room + t] = top;
            r->best_id[(int64_t)blockIdx.x * r->room + t] = at;
        }
    }
}

// Phases first .. last - 1 of the tape. A barrier of the grid stands between two phases and after
// the last; its wait lies inside the phase that follows, behind what that phase can do before.
PHASE void run_phases(mega *m, mega_run *r, int first, int last, int rows, int head_from,
                      int single) {
    stream s;
    stream_open(&s, m, r, first, last, rows, head_from);
    fetch(&s);
    grid_arrive(m);
    for (int i = first; i < last; i++) {
        const mega_phase *p = &r->phase[i];
        int n = rows_of(p, rows, head_from);
        const float *x = input_of(r, p, head_from);
        if (n > 0 && streams(p) && is_few(m, p, n)) {
            linear_few(&s, p, x, n, i); // it waits
        } else if (n > 0 && p->linears) {
            grid_wait(m);
            if (streams(p)) {
                quantise_many(m, r, &p->w[0], x, p->norm, n, i);
                grid_sync(m);
                linear_many(&s, p, n, i);
            } else {
                if (p->norm) {
                    norm_rows(r, r->n, x, p->norm, n);
                    grid_sync(m);
                }
                linear_dense(m, r, p, p->norm ? r->n : x, n, i);
            }
        } else {
            grid_wait(m);
            if (p->op == EMBED && n > 0) phase_embed(m, r, rows, i);
            if (p->op == ATTEND && n > 0) phase_attend(m, r, p - 1, rows, single, i);
        }
        if (p->op == QKV && !single && n > 0) {
            grid_sync(m);
            turn_all(m, r, p, rows, i);
        }
        if (p->op == HEAD && n > 0) best_of_block(r, p, n);
        grid_arrive(m);
    }
    grid_wait(m);
    stream_close(&s);
}
#endif
