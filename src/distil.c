// distil.c - a quantised model in memory, and its training against the dense one.
#include "distil.h"
#include "num.h"

enum { SEQS = 16, LEN = 128, WARMUP = 20, SEED = 1 << 16 };

static int keep(void *ctx, int slot, tq_owned *q, char err[ERR]) {
    (void)err;
    distil_model *k = ctx;
    k->kept[slot] = *q;
    *model_matrix(&k->m, slot) = q->m;
    return 0;
}

int distil_open(distil_model *q, const model *dense, tq_rung rung, const convert_texts *calib,
                char err[ERR]) {
    size_t layers = (size_t)dense->c.layers, slots = (size_t)model_slots(&dense->c);
    *q = (distil_model){.m = *dense, .kept = must_alloc(slots, sizeof *q->kept)};
    q->m.layer = must_alloc(layers, sizeof *q->m.layer);
    memcpy(q->m.layer, dense->layer, layers * sizeof *q->m.layer);
    q->m.owned = must_alloc(slots * OWNED, sizeof *q->m.owned);
    q->m.owned_count = 0;
    int bad = convert_quantize(dense, rung, calib, keep, q, err);
    if (dense->c.tied) q->m.head = q->m.embed;
    if (bad) distil_close(q);
    return bad;
}

void distil_close(distil_model *q) {
    for (int i = 0; i < model_slots(&q->m.c); i++) tq_free(&q->kept[i]);
    for (int64_t i = 0; i < q->m.owned_count; i++) free(q->m.owned[i]);
    free(q->m.owned);
    free(q->m.layer);
    free(q->kept);
}

int distil_train(distil_model *q, const model *dense, linear_fn linear, tile_fn tile, int64_t steps,
                 int32_t first, void (*say)(int64_t step, int64_t steps, float loss),
                 char err[ERR]) {
    int64_t len = dense->c.context < LEN ? dense->c.context : LEN, rows = SEQS * len;
    int64_t start[SEQS + 1];
    int bad = 0;
    grad g;
    optim o;
    ref_run teacher;
    optim_config c = {1e-3f, 0.3f, 0.9f, 0.95f, 1e-12f, 0, 0, steps < WARMUP ? steps : WARMUP,
                      steps};
    float *weight = must_alloc((size_t)rows, sizeof *weight);
    for (int64_t i = 0; i < rows; i++) weight[i] = 1;
    for (int64_t i = 0; i <= SEQS; i++) start[i] = i * len;
    grad_open(&g, &q->m, linear, tile, LEARN_R1 | LEARN_R2, SEQS, SEQS, len);
    ref_open(&teacher, dense, linear, rows, SEQS, len);
    optim_open(&o, &g, &c);
    g.kind = LOSS_MATCH, g.teacher = &teacher;
    for (int64_t i = 0; i < steps && !bad; i++) {
        convert_texts t;
        bad = convert_sample(&t, dense, SEQS, len, first, (uint32_t)(SEED + i), err);
        grad_batch b = {SEQS, start, t.token, t.token, weight, NULL}; // a target marks a row
        bad = bad || grad_pass(&g, &b, err);
        if (!bad && say) say(i + 1, steps, num_div((float)g.loss * GRAD_UNIT, (float)rows));
        if (!bad) optim_step(&o, &g, (float)rows);
        free(t.token);
    }
    optim_close(&o);
    ref_close(&teacher);
    grad_close(&g);
    free(weight);
    return bad;
}
