// tape.h - a model as a flat list of phases. ref.c and the megakernel interpret the same list.
#ifndef TAPE_H
#define TAPE_H
#include "model.h"

typedef enum {
    OP_EMBED,  // token -> x [T, hidden]
    OP_QKV,    // x -> norm, quantise, q k v, q/k norm, rope, cache -> q [T, heads*head_dim]
    OP_ATTEND, // q, cache -> o [T, heads*head_dim]
    OP_OUT,    // o -> quantise, linear, x += .
    OP_GATEUP, // x -> norm, quantise -> g, u [T, inter]
    OP_DOWN,   // silu(g) * u -> quantise, linear, x += .
    OP_HEAD,   // x -> norm, quantise, linear -> logits [T, vocab]
    OPS
} tape_op;
extern const char *const tape_op_name[OPS];

typedef struct {
    tape_op op;
    int layer;                    // -1 for EMBED and HEAD
    int linears;                  // matrices used: 0 to 3
    const tq_matrix *w[3];        // QKV: q k v; OUT: o; GATEUP: gate up; DOWN: down; HEAD: head
    const float *norm;            // [hidden] or NULL
    const float *norm_q, *norm_k; // [head_dim] or NULL
} tape_phase;

typedef struct {
    int count;
    tape_phase *phase;
} tape;

void tape_build(tape *t, const model *m); // phase is the caller's to free
#endif
