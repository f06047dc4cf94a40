// update.cuh - one step of AdamW, the twin of optim_step: the exact norm of the whole gradient, then
// every parameter, in place.
#ifndef UPDATE_CUH
#define UPDATE_CUH
#include "grid.cuh"

// A sum of squares of int64: at most 2^126 each, so 2^65 of them fit 192 bits.
typedef struct {
    unsigned __int128 low;
    uint64_t high;
} wide_sum;

DEV void wide_add(wide_sum *w, unsigned __int128 x) {
    w->low += x;
    w->high += w->low < x;
}
DEV void wide_put(uint64_t to[3], const wide_sum *w) {
    to[0] = (uint64_t)w->low, to[1] = (uint64_t)(w->low >> 64), to[2] = w->high;
}
DEV void wide_take(wide_sum *w, const uint64_t from[3]) {
    wide_add(w, (unsigned __int128)from[1] << 64 | from[0]);
    w->high += from[2];
}

// sqrt(w): pairs of low bits are dropped until w is below 2^62; the rest is rounded to a float, and
// its root is doubled once for every pair.
DEV float wide_root(const wide_sum *w) {
    int shift = 0;
    wide_sum x = *w;
    while (x.high || x.low >> 62) {
        x.low = x.low >> 2 | (unsigned __int128)(x.high & 3) << 126;
        x.high >>= 2;
        shift++;
    }
    return num_mul(num_sqrt((float)(int64_t)x.low), num_power_of_two(shift));
}

// The sum of squares of the whole gradient, which every thread gets.
DEV float gradient_norm(mega *m) {
    uint64_t *room = (uint64_t *)scratch(m);
    float *root = (float *)(room + 3 * THREADS);
    wide_sum own = {0, 0};
    for (int i = 0; i < m->learn.parts; i++) {
        const mega_part *p = &m->learn.part[i];
        for (int64_t k = grid_thread(); k < p->n; k += grid_threads())
            wide_add(&own, (unsigned __int128)((__int128)p->sum[k] * p->sum[k]));
    }
    wide_put(room + 3 * threadIdx.x, &own);
    __syncthreads();
    for (int pass = 0; pass < 2; pass++) { // the threads of a block, then the blocks
        wide_sum all = {0, 0};
        int n = pass ? (int)gridDim.x : THREADS;
        for (int i = 0; i < n && threadIdx.x == 0; i++)
            wide_take(&all, (pass ? m->learn.squares : room) + 3 * i);
        if (pass == 0 && threadIdx.x == 0) wide_put(m->learn.squares + 3 * blockIdx.x, &all);
        if (pass == 0) grid_sync(m);
        if (pass == 1 && threadIdx.x == 0) *root = wide_root(&all);
    }
    __syncthreads();
    return *root;
}

// The int8 and its fraction, moved against a by rate levels, within -127 .. 127.
DEV void move_level(int8_t *level, int16_t *frac, float rate, float a) {
    float p = num_fma(-rate, a, num_add((float)*level, num_mul((float)*frac, 0x1p-16f)));
    p = p > 127 ? 127 : p < -127 ? -127 : p;
    float whole = num_rint(p), f = num_rint(num_mul(num_sub(p, whole), 0x1p16f));
    *level = (int8_t)whole;
    *frac = (int16_t)(f > 32767 ? 32767 : f);
}

// Parameter k of a part; unit: of a sum, in the mean gradient after clipping.
DEV void update_one(const mega_part *p, int64_t k, const mega_command *c, float unit) {
    float s = num_mul((float)p->sum[k], unit), v = num_mul(num_sub(1.0f, c->beta2), s);
    float m = num_fma(c->beta1, num_from_bf16(p->m[k]), num_mul(num_sub(1.0f, c->beta1), s));
    v = num_fma(c->beta2, p->v[k], num_mul(v, s));
    p->m[k] = num_to_bf16(m), p->v[k] = v, p->sum[k] = 0;
    float a =
        num_div(num_mul(m, c->correct_m), num_add(num_sqrt(num_mul(v, c->correct_v)), c->eps));
    float decay = p->what == DENSES ? c->decay : 0;
    float own = p->what == R2 ? num_mul(c->rate, c->ratio) : c->rate;
    if (p->what == R1)
        move_level((int8_t *)p->w.bricks + k / 16 * BRICK_TQ4 + 128 + k % 16, &p->frac[k],
                   num_mul(own, 127), a);
    else if (p->what != R2)
        p->value[k] = num_fma(-own, num_fma(decay, p->value[k], a), p->value[k]);
    else if (k != p->fixed)
        move_level(&p->w.codebook[k], &p->frac[k], num_mul(own, 127), a);
}

// One step on the batch's gradient divided by count; begins the next batch.
PHASE void update_step(mega *m) {
    const mega_command *c = &state()->command;
    const mega_learn *l = &m->learn;
    float inv = num_div(1.0f, c->count);
    float norm = num_mul(num_mul(gradient_norm(m), 0x1p-36f), inv);
    float clip = c->clip > 0 && norm > c->clip ? num_div(c->clip, norm) : 1.0f;
    float unit = num_mul(num_mul(0x1p-36f, inv), clip);
    for (int i = 0; i < l->parts; i++)
        for (int64_t k = grid_thread(); k < l->part[i].n; k += grid_threads())
            update_one(&l->part[i], k, c, unit);
    if (grid_thread() == 0) *l->norm = norm, *l->loss = 0;
    copies_fence(); // bricks and codebooks are read by bulk copies
    grid_sync(m);
}
#endif
