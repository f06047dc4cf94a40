// mirror.cuh - losses and mirrors, the twin of grad.c: from the head back to the embedding.
//
// Every float sum has the order of grad.c: terms that the CPU adds one behind the other are added
// by one thread, or by one warp as a lane sum. A pass stops where its outcome is known to be a
// failure that grad.c would report.
#ifndef MIRROR_CUH
#define MIRROR_CUH
#include "forward.cuh"
#include "product.cuh"

// ---- norms, rotary positions, attention

// The shares of a norm: for a sample and a column one sum over rows, ascending. learn.dh has each
// row's factor. times: rows a token.
PHASE void norm_shares(mega *m, mega_part *part, const float *x, const float *d, int times,
                       span_of s, int code) {
    int n = (int)part->n;
    for (int64_t i = grid_thread(); i < (int64_t)s.seqs * n; i += grid_threads()) {
        int col = (int)(i % n), first = first_of(&s, (int)(i / n)) * times;
        int last = first_of(&s, (int)(i / n) + 1) * times;
        float sum = 0;
#pragma unroll 8
        for (int t = first; t < last; t++) {
            int64_t at = (int64_t)t * n + col;
            sum = num_fma(d[at], num_mul(x[at], m->learn.dh[t]), sum);
        }
        if (share(limit_of(m, 1), &part->sum[col], sum)) fail_at(m, code);
    }
}

// dy [rows, n] becomes dx, or dx is added to `into`; code >= 0: what is left must be finite.
PHASE void norm_back(mega *m, const float *w, const float *x, float *d, int n, int rows,
                     float *into, int code) {
    for (int t = grid_warp(); t < rows; t += grid_warps()) {
        const float *xt = x + (int64_t)t * n;
        float *dt = d + (int64_t)t * n, r = norm_factor(xt, n, m->run[RUN_LEARN].eps), acc = 0;
        for (int i = lane_id(); i < n; i += 32) acc = num_fma(num_mul(dt[i], w[i]), xt[i], acc);
        float c = num_mul(num_div(lane_fold(acc), (float)n), num_mul(r, r));
        for (int i = lane_id(); i < n; i += 32) {
            float v = num_mul(r, num_fma(-xt[i], c, num_mul(dt[i], w[i])));
            float *to = into ? &into[(int64_t)t * n + i] : &dt[i];
            *to = v = into ? num_add(*to, v) : v;
            if (code >= 0 && !finite(v)) fail_at(m, code);
        }
    }
}

// y = x r w, r = 1 / rms(x): dy [T * times, n] becomes dx, or is added to `into`; the shares of w.
PHASE void norm_mirror(mega *m, int layer, int site, const float *w, const float *x, float *dy,
                       int n, int times, span_of s, float *into, int stream) {
    int layers = m->run[RUN_LEARN].layers;
    mega_part *part = part_at(m, site_slot(layer, site, 0), NORMS);
    if (part) {
        for (int t = grid_warp(); t < s.T * times; t += grid_warps()) {
            float r = norm_factor(x + (int64_t)t * n, n, m->run[RUN_LEARN].eps);
            if (lane_id() == 0) m->learn.dh[t] = r;
        }
        grid_sync(m);
        norm_shares(m, part, x, dy, times, s, site_code(layers, layer, site));
        grid_sync(m);
    }
    norm_back(m, w, x, dy, n, s.T * times, into,
              stream < 0 ? -1 : site_code(layers, layer, stream));
    grid_sync(m);
}

// Turns the pairs of every head back: d [T, heads*head_dim].
PHASE void rope_mirror(const mega_run *r, float *d, int heads, int T) {
    int half = r->head_dim / 2;
    for (int64_t i = grid_thread(); i < (int64_t)T * heads * half; i += grid_threads()) {
        int64_t head = i / half, at = (int64_t)r->pos[head / heads] * half + i % half;
        float *x = d + head * 2 * half + i % half, a = x[0], b = x[half];
        x[0] = num_fma(a, r->cos[at], num_mul(b, r->sin[at]));
        x[half] = num_fma(b, r->cos[at], -num_mul(a, r->sin[at]));
    }
}

enum { STRIP = 128 }; // elements of a head whose sums a warp keeps, 4 a lane

// What the scores of a query have in common.
typedef struct {
    float scale, peak, mass; // 1 / sqrt(head_dim); of the softmax
    float all;               // d o
} score_of;

// Of a query and a key: the share of the softmax, and the gradient of the score; a warp.
DEV void score_mirror(const score_of *c, const float *q, const float *d, const uint8_t *key,
                      const uint8_t *value, int hd, int bf16, float *weight, float *s) {
    float score = num_mul(lane_fold(lane_acc(q, key, hd, bf16)), c->scale);
    float dp = lane_fold(lane_acc(d, value, hd, bf16));
    *weight = num_div(num_exp(num_sub(score, c->peak)), c->mass);
    *s = num_mul(num_mul(*weight, num_sub(dp, c->all)), c->scale);
}
// y += s x, from element `first` on.
DEV void add_times(float y[STRIP / 32], float s, const void *x, int first, int hd, int bf16) {
#pragma unroll
    for (int i = 0; i < STRIP / 32; i++) {
        int c = first + lane_id() + 32 * i;
        if (c < hd) y[i] = num_fma(s, wide_at(x, c, bf16), y[i]);
    }
}
DEV void put_strip(float *to, const float y[STRIP / 32], int first, int hd) {
#pragma unroll
    for (int i = 0; i < STRIP / 32; i++)
        if (first + lane_id() + 32 * i < hd) to[first + lane_id() + 32 * i] = y[i];
}

// From dout to dq: for a query head one sum over keys, ascending. A warp for each; d o is kept.
DEV void query_sums(mega *m, const mega_run *r, int layer, int T, int bf16) {
    const mega_learn *l = &m->learn;
    int hd = r->head_dim, group = r->heads / r->kv_heads;
    float scale = num_div(1.0f, num_sqrt((float)hd));
    for (int i = grid_warp(); i < T * r->heads; i += grid_warps()) {
        int t = i % T, h = i / T;
        int64_t row = (int64_t)t * r->heads + h;
        const float *q = r->q + row * hd, *d = l->dout + row * hd;
        score_of c = {scale, r->peak[row], r->mass[row], lane_dot(d, r->o + row * hd, hd)};
        if (lane_id() == 0) l->dh[row] = c.all;
        for (int first = 0; first < hd; first += STRIP) {
            const uint8_t *key = NULL, *value = NULL;
            float dq[STRIP / 32] = {0}, weight, s;
            for (int j = 0; j <= r->pos[t]; j++) {
                if (j % GPU_KEYS == 0) {
                    key = cache_of(r, r->kcache, layer, r->seq[t], h / group, j / GPU_KEYS);
                    value = cache_of(r, r->vcache, layer, r->seq[t], h / group, j / GPU_KEYS);
                }
                score_mirror(&c, q, d, key, value, hd, bf16, &weight, &s);
                add_times(dq, s, key, first, hd, bf16);
                key += key_bytes(r), value += key_bytes(r);
            }
            put_strip(l->dq + row * hd, dq, first, hd);
        }
    }
}
PHASE void query_mirror(mega *m, const mega_run *r, int layer, int T) {
    r->kv_bf16 ? query_sums(m, r, layer, T, 1) : query_sums(m, r, layer, T, 0);
}

// To dk and dv: for a key head one sum, query heads ascending, in each the positions ascending. A
// warp for each.
DEV void key_sums(mega *m, const mega_run *r, int layer, int T, int bf16) {
    const mega_learn *l = &m->learn;
    int hd = r->head_dim, group = r->heads / r->kv_heads;
    float scale = num_div(1.0f, num_sqrt((float)hd));
    for (int i = grid_warp(); i < T * r->kv_heads; i += grid_warps()) {
        int t = i % T, head = i / T, seq = r->seq[t], last = (int)l->start[seq + 1];
        int64_t own = ((int64_t)t * r->kv_heads + head) * hd;
        int chunk = r->pos[t] / GPU_KEYS, at = r->pos[t] % GPU_KEYS * key_bytes(r);
        const uint8_t *key = cache_of(r, r->kcache, layer, seq, head, chunk) + at;
        const uint8_t *value = cache_of(r, r->vcache, layer, seq, head, chunk) + at;
        for (int first = 0; first < hd; first += STRIP) {
            float dk[STRIP / 32] = {0}, dv[STRIP / 32] = {0}, weight, s;
            for (int h = head * group; h < (head + 1) * group; h++)
                for (int p = t; p < last; p++) {
                    int64_t row = (int64_t)p * r->heads + h;
                    const float *q = r->q + row * hd, *d = l->dout + row * hd;
                    score_of c = {scale, r->peak[row], r->mass[row], l->dh[row]};
                    score_mirror(&c, q, d, key, value, hd, bf16, &weight, &s);
                    add_times(dk, s, q, first, hd, 0);
                    add_times(dv, weight, d, first, hd, 0);
                }
            put_strip(l->dk + own, dk, first, hd);
            put_strip(l->dv + own, dv, first, hd);
        }
    }
}
PHASE void key_mirror(mega *m, const mega_run *r, int layer, int T) {
    r->kv_bf16 ? key_sums(m, r, layer, T, 1) : key_sums(m, r, layer, T, 0);
}

// ---- layers

DEV void copy_floats(float *to, const float *from, int64_t n) {
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) to[i] = from[i];
}

// h = silu(g) u: from dh the gradients of g and u, in the places of g and u.
PHASE void silu_mirror(mega *m, const mega_run *r, int64_t n) {
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) {
        float x = r->g[i], u = r->u[i], s = num_sigmoid(x), d = m->learn.dh[i];
        r->u[i] = num_mul(d, num_mul(x, s));
        r->g[i] = num_mul(num_mul(d, u), num_mul(s, num_fma(x, num_sub(1.0f, s), 1.0f)));
    }
}

// The feed-forward half: r->x is the residual stream in the middle, learn.dx the gradient after the
// layer and then of the middle.
DEV void feed_mirror(mega *m, const mega_run *r, int layer, span_of s) {
    const mega_learn *l = &m->learn;
    const mega_phase *up = &r->phase[5 * layer + GATEUP], *down = up + 1;
    norm_rows(r, r->n, r->x, up->norm, s.T);
    linear_mirror(m, layer, AT_DOWN, &down->w[0], r->h, l->dx, s, l->dh, 0);
    silu_mirror(m, r, (int64_t)s.T * r->inter);
    grid_sync(m);
    linear_mirror(m, layer, AT_GATE, &up->w[0], r->n, r->g, s, l->y, 0);
    linear_mirror(m, layer, AT_UP, &up->w[1], r->n, r->u, s, l->y, 1);
    norm_mirror(m, layer, AT_FFN_NORM, up->norm, r->x, l->y, r->hidden, 1, s, l->dx, AT_MIDDLE);
}

// The attention half: learn.dx becomes the gradient before the layer, whose input is x.
DEV void attention_mirror(mega *m, const mega_run *r, int layer, const float *x, span_of s) {
    const mega_learn *l = &m->learn;
    const mega_phase *p = &r->phase[5 * layer + QKV], *out = &r->phase[5 * layer + OUT];
    norm_rows(r, r->n, x, p->norm, s.T);
    linear_mirror(m, layer, AT_OUT, &out->w[0], r->o, l->dx, s, l->dout, 0);
    query_mirror(m, r, layer, s.T);
    grid_sync(m);
    key_mirror(m, r, layer, s.T);
    grid_sync(m);
    rope_mirror(r, l->dq, r->heads, s.T);
    rope_mirror(r, l->dk, r->kv_heads, s.T);
    grid_sync(m);
    if (p->norm_q) {
        int hd = r->head_dim;
        norm_mirror(m, layer, AT_Q_NORM, p->norm_q, r->raw_q, l->dq, hd, r->heads, s, NULL, -1);
        norm_mirror(m, layer, AT_K_NORM, p->norm_k, r->raw_k, l->dk, hd, r->kv_heads, s, NULL, -1);
    }
    linear_mirror(m, layer, AT_Q, &p->w[0], r->n, l->dq, s, l->y, 0);
    linear_mirror(m, layer, AT_K, &p->w[1], r->n, l->dk, s, l->y, 1);
    linear_mirror(m, layer, AT_V, &p->w[2], r->n, l->dv, s, l->y, 1);
    norm_mirror(m, layer, AT_ATTN_NORM, p->norm, x, l->y, r->hidden, 1, s, l->dx, AT_INPUT);
}

// Runs the layer forward again from its input, up to what its mirrors read, then the mirrors.
PHASE void layer_mirror(mega *m, mega_run *r, int layer, span_of s) {
    const float *x = m->learn.in + (int64_t)layer * r->room * r->hidden;
    copy_floats(r->x, x, (int64_t)s.T * r->hidden);
    grid_sync(m);
    run_phases(m, r, 5 * layer + QKV, 5 * layer + DOWN, s.T, s.T, 0);
    feed_mirror(m, r, layer, s);
    attention_mirror(m, r, layer, x, s);
}

// Half the room of the embedding's sums is for this; a tied head has the other half.
PHASE void embed_mirror(mega *m, const mega_run *r, int T) {
    mega_part *part = part_at(m, EMBED_SLOT, DENSES);
    float limit = limit_of(m, 2 * m->learn.context);
    int64_t n = r->hidden;
    for (int64_t i = grid_thread(); i < T * n && part; i += grid_threads())
        if (share(limit, &part->sum[r->token[i / n] * n + i % n], m->learn.dx[i]))
            fail_at(m, site_code(r->layers, -1, HEAD_SITES));
}

// ---- head and loss

// The lane sum of e^(z - peak) over logits z [n]; a warp.
DEV float exp_sum(const float *z, int n, float peak) {
    float acc = 0;
#pragma unroll 4
    for (int i = lane_id(); i < n; i += 32) acc = num_add(acc, num_exp(num_sub(z[i], peak)));
    return lane_fold(acc);
}

// Loss of a row and the factor of its log-probability's gradient (chapter 10).
DEV float row_loss(const mega_learn *l, float logp, float weight, float old, float *factor) {
    *factor = weight;
    if (l->kind != POLICY) return num_mul(weight, -logp);
    float r = num_exp(num_sub(logp, old)), a = num_mul(r, weight);
    float most = num_add(1.0f, l->high), least = num_sub(1.0f, l->low);
    float b = num_mul(r > most ? most : r < least ? least : r, weight);
    *factor = b < a ? 0 : a;
    return a < b ? -a : -b;
}

// KL from the teacher plus half the mean square of the logits' difference: logits z [n] become dz;
// peak, sum: of z. A warp.
DEV float match_loss(float *z, const float *zt, int n, float weight, float peak, float sum) {
    int place;
    float peak_t = largest(zt, 0, n, &place), sum_t = exp_sum(zt, n, peak_t), vocab = (float)n;
    float log_sum = num_log(sum), log_t = num_log(sum_t), kl = 0, square = 0;
    for (int i = lane_id(); i < n; i += 32) {
        float a = num_sub(z[i], peak), b = num_sub(zt[i], peak_t), f = num_sub(z[i], zt[i]);
        float p = num_div(num_exp(b), sum_t);
        kl = num_fma(p, num_sub(num_sub(b, log_t), num_sub(a, log_sum)), kl);
        square = num_fma(f, f, square);
        z[i] = num_mul(weight, num_add(num_sub(num_div(num_exp(a), sum), p), num_div(f, vocab)));
    }
    float apart = num_div(lane_fold(square), num_mul(2.0f, vocab));
    return num_mul(weight, num_add(lane_fold(kl), apart));
}

// Rows first .. first + T - 1 of the pass: logits become their gradient, the loss is added. A warp
// has a row, and neighbours are in different blocks.
PHASE void head_rows(mega *m, const mega_run *r, const mega_run *teacher, int first, int T) {
    const mega_learn *l = &m->learn;
    int n = r->vocab, place;
    for (int t = warp_id() * (int)gridDim.x + (int)blockIdx.x; t < T; t += grid_warps()) {
        float *z = r->logits + (int64_t)t * n, value, factor;
        int y = l->target[first + t];
        if (y < 0) {
            for (int i = lane_id(); i < n; i += 32) z[i] = 0;
            continue;
        }
        float zy = z[y], peak = largest(z, 0, n, &place), sum = exp_sum(z, n, peak);
        float logp = num_sub(num_sub(zy, peak), num_log(sum)), weight = l->weight[first + t];
        __syncwarp(); // every lane has read z[y] before it changes
        if (teacher) {
            value = match_loss(z, teacher->logits + (int64_t)t * n, n, weight, peak, sum);
        } else {
            value = row_loss(l, logp, weight, l->old ? l->old[first + t] : 0, &factor);
            for (int i = lane_id(); i < n; i += 32) {
                float p = num_div(num_exp(num_sub(z[i], peak)), sum);
                z[i] = num_mul(factor, num_sub(p, i == y ? 1.0f : 0.0f));
            }
        }
        if (lane_id() > 0) continue;
        l->logp[first + t] = logp;
        float limit = limit_of(m, l->context), v = num_mul(value, 0x1p36f); // told, so not cut
        if (v > limit || v < -limit || share(limit, l->loss, value))
            fail_at(m, site_code(r->layers, -1, AT_LOSS));
    }
}

// After a barrier: 1 when something failed, and then the pass ends; offset is added to the number.
DEV int stopped(mega *m, int offset) {
    int code = *m->failed;
    grid_sync(m); // every thread has read it
    if (code == 0x7fffffff) return 0;
    if (grid_thread() == 0) *m->failed = code + offset;
    return 1;
}

// Rows first .. first + T - 1 of the pass: logits, loss, and with back their mirror, which leaves the
// gradient of the residual stream in learn.dx. 1: it failed.
PHASE int head_mirror(mega *m, mega_run *r, mega_run *teacher, int first, int T, int back) {
    float *dx = m->learn.dx + (int64_t)first * r->hidden;
    const float *x = r->x + (int64_t)first * r->hidden;
    const mega_phase *p = &r->phase[r->phases - 1];
    span_of s = {T, 1, NULL};
    run_phases(m, r, r->phases - 1, r->phases, first + T, first, 0);
    if (stopped(m, 0)) return 1;
    if (teacher) {
        run_phases(m, teacher, teacher->phases - 1, teacher->phases, first + T, first, 0);
        if (stopped(m, FAIL_TEACHER)) return 1;
    }
    head_rows(m, r, teacher, first, T);
    if (back) {
        norm_rows(r, r->n, x, p->norm, T);
        grid_sync(m);
        linear_mirror(m, -1, AT_HEAD, &p->w[0], r->n, r->logits, s, dx, 0);
        norm_mirror(m, -1, AT_NORM, p->norm, x, dx, r->hidden, 1, s, NULL, AT_TOP);
    } else {
        grid_sync(m);
    }
    return stopped(m, 0);
}

// The row where piece i of the head begins.
DEV int piece_row(const mega_learn *l, int i, int T) {
    if (l->whole) return (int)l->start[i];
    return i * GPU_SLICE < T ? i * GPU_SLICE : T;
}

// ---- passes

// Slices first .. last - 1 of a pass, in the order of grad.c: forward, loss, and with back the
// mirrors. Adds to the loss and to every sum.
PHASE void learn_pass(mega *m) {
    const mega_learn *l = &m->learn;
    mega_run *r = &m->run[RUN_LEARN], *teacher = l->kind == MATCH ? &m->run[RUN_TEACHER] : NULL;
    int T = state()->command.rows, back = state()->command.back, last = state()->command.last;
    int i = state()->command.first, top = r->layers + (teacher != NULL), bottom = top + l->pieces;
    if (i == 0) run_phases(m, r, 0, 1, T, T, 0);
    for (; i < last && i < r->layers; i++) {
        int64_t n = (int64_t)T * r->hidden;
        if (back) copy_floats(l->in + (int64_t)i * r->room * r->hidden, r->x, n);
        run_phases(m, r, 5 * i + QKV, 5 * i + DOWN + 1, T, T, 0);
    }
    if (stopped(m, 0)) return;
    if (teacher && i < last && i == r->layers) {
        run_phases(m, teacher, 0, teacher->phases - 1, T, T, 0);
        if (stopped(m, FAIL_TEACHER)) return;
        i++;
    }
    for (int n; i < last && i < bottom; i += n) {
        n = l->whole ? 1 : HEAD_PIECE / GPU_SLICE;
        if (i + n > last) n = last - i;
        if (i + n > bottom) n = bottom - i;
        int row = piece_row(l, i - top, T), end = piece_row(l, i + n - top, T);
        if (head_mirror(m, r, teacher, row, end - row, back)) return;
    }
    for (; i < last; i++)
        layer_mirror(m, r, bottom + r->layers - 1 - i, (span_of){T, l->seqs, l->start});
    if (last == bottom + r->layers) embed_mirror(m, r, T);
}
#endif
