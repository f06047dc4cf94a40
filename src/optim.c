// optim.c - the exact norm, the schedule and one step of AdamW.
#include "optim.h"
#include "num.h"

void optim_open(optim *o, const grad *g, const optim_config *c) {
    *o = (optim){.c = *c, .parts = g->parts};
    o->part = must_alloc((size_t)o->parts, sizeof *o->part);
    for (int i = 0; i < o->parts; i++) {
        grad_part *p = &g->part[i];
        optim_part *q = &o->part[i];
        size_t n = (size_t)p->n;
        q->p = p;
        q->m = must_alloc(n, sizeof *q->m), q->v = must_alloc(n, sizeof *q->v);
        if (p->scale) q->frac = must_alloc(n, sizeof *q->frac);
        for (int k = 0; k < p->n && p->what == LEARN_R2; k++)
            if (abs(p->scale[k]) > abs(p->scale[q->fixed])) q->fixed = k;
    }
}

void optim_close(optim *o) {
    for (int i = 0; i < o->parts; i++) {
        free(o->part[i].m);
        free(o->part[i].v);
        free(o->part[i].frac);
    }
    free(o->part);
}

float optim_rate(const optim_config *c, int64_t step) {
    float cos = 1, sin;
    int64_t falling = c->steps - c->warmup;
    if (step <= c->warmup) return num_mul(c->rate, num_div((float)step, (float)c->warmup));
    if (falling > 0)
        num_rope_table(3.141592653589793 / (double)falling, step - c->warmup, &cos, &sin);
    return num_mul(c->rate, num_fma(0.45f, num_add(1.0f, cos), 0.1f));
}

// A sum of squares of int64: at most 2^126 each, so 2^65 of them fit 192 bits.
typedef struct {
    unsigned __int128 low;
    uint64_t high;
} wide;

static void wide_add(wide *w, unsigned __int128 x) {
    w->low += x;
    w->high += w->low < x;
}

// sqrt(w): pairs of low bits are dropped until w is below 2^62, which leaves its leading 61 or 62;
// these are rounded to a float, and its root is doubled once for every pair.
static float wide_root(const wide *w) {
    int shift = 0;
    wide x = *w;
    while (x.high || x.low >> 62) {
        x.low = x.low >> 2 | (unsigned __int128)(x.high & 3) << 126;
        x.high >>= 2;
        shift++; // two bits
    }
    return num_mul(num_sqrt((float)(int64_t)x.low), num_power_of_two(shift));
}

// The exact norm of the whole gradient, in GRAD_UNITs, rounded at the end.
static float gradient_norm(const optim *o) {
    wide all = {0};
#pragma omp parallel
    {
        wide own = {0};
        for (int i = 0; i < o->parts; i++) {
            const grad_part *p = o->part[i].p;
#pragma omp for schedule(static) nowait
            for (int64_t k = 0; k < p->n; k++)
                wide_add(&own, (unsigned __int128)((__int128)p->sum[k] * p->sum[k]));
        }
#pragma omp critical
        {
            wide_add(&all, own.low);
            all.high += own.high;
        }
    }
    return wide_root(&all);
}

// b^t by squaring.
static float power(float b, int64_t t) {
    float y = 1;
    for (; t; t >>= 1, b = num_mul(b, b))
        if (t & 1) y = num_mul(y, b);
    return y;
}

// The int8 and its fraction, moved against a by rate levels, within -127 .. 127.
static void move_level(int8_t *level, int16_t *frac, float rate, float a) {
    float p = num_fma(-rate, a, num_add((float)*level, num_mul((float)*frac, 0x1p-16f)));
    p = p > 127 ? 127 : p < -127 ? -127 : p;
    float whole = num_rint(p), f = num_rint(num_mul(num_sub(p, whole), 0x1p16f));
    *level = (int8_t)whole;
    *frac = (int16_t)(f > 32767 ? 32767 : f);
}

void optim_step(optim *o, grad *g, float count) {
    const optim_config *c = &o->c;
    int64_t t = ++o->step;
    float inv = num_div(1.0f, count), rate = optim_rate(c, t);
    float cm = num_div(1.0f, num_sub(1.0f, power(c->beta1, t)));
    float cv = num_div(1.0f, num_sub(1.0f, power(c->beta2, t)));
    if (g->step) {
        o->norm = g->step(g, &(optim_now){c, count, rate, cm, cv});
        return;
    }
    o->norm = num_mul(num_mul(gradient_norm(o), GRAD_UNIT), inv);
    float clip = c->clip > 0 && o->norm > c->clip ? num_div(c->clip, o->norm) : 1.0f;
    float unit = num_mul(num_mul(GRAD_UNIT, inv), clip);
    for (int i = 0; i < o->parts; i++) {
        optim_part *q = &o->part[i];
        grad_part *p = q->p;
        float decay = p->what == LEARN_DENSE ? c->decay : 0;
        float own = p->what == LEARN_R2 ? num_mul(rate, c->ratio) : rate,
              levels = num_mul(own, 127);
#pragma omp parallel for schedule(static)
        for (int64_t k = 0; k < p->n; k++) {
            float s = num_mul((float)p->sum[k], unit), v = num_mul(num_sub(1.0f, c->beta2), s);
            float m =
                num_fma(c->beta1, num_from_bf16(q->m[k]), num_mul(num_sub(1.0f, c->beta1), s));
            v = num_fma(c->beta2, q->v[k], num_mul(v, s));
            q->m[k] = num_to_bf16(m), q->v[k] = v;
            float a = num_div(num_mul(m, cm), num_add(num_sqrt(num_mul(v, cv)), c->eps));
            if (!p->scale)
                p->value[k] = num_fma(-own, num_fma(decay, p->value[k], a), p->value[k]);
            else if (p->what == LEARN_R1 || k != q->fixed)
                move_level(&p->scale[k], &q->frac[k], levels, a);
        }
    }
    grad_zero(g);
}
