// tape.c - the list of phases of a model.
#include "tape.h"

const char *const tape_op_name[OPS] = {"EMBED", "QKV", "ATTEND", "OUT", "GATEUP", "DOWN", "HEAD"};

void tape_build(tape *t, const model *m) {
    t->phase = must_alloc((size_t)(2 + 5 * m->c.layers), sizeof *t->phase);
    tape_phase *p = t->phase;
    *p++ = (tape_phase){.op = OP_EMBED, .layer = -1};
    for (int l = 0; l < m->c.layers; l++) {
        const model_layer *y = &m->layer[l];
        const tq_matrix *w = y->w;
        *p++ = (tape_phase){
            OP_QKV, l, 3, {&w[W_Q], &w[W_K], &w[W_V]}, y->norm[N_ATTN], y->norm[N_Q], y->norm[N_K]};
        *p++ = (tape_phase){.op = OP_ATTEND, .layer = l};
        *p++ = (tape_phase){.op = OP_OUT, .layer = l, .linears = 1, .w = {&w[W_O]}};
        *p++ = (tape_phase){.op = OP_GATEUP,
                            .layer = l,
                            .linears = 2,
                            .w = {&w[W_GATE], &w[W_UP]},
                            .norm = y->norm[N_FFN]};
        *p++ = (tape_phase){.op = OP_DOWN, .layer = l, .linears = 1, .w = {&w[W_DOWN]}};
    }
    *p++ = (tape_phase){
        .op = OP_HEAD, .layer = -1, .linears = 1, .w = {&m->head}, .norm = m->final_norm};
    t->count = (int)(p - t->phase);
}
