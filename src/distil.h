// distil.h - the ladder's last rung: block scales and codebooks trained until the quantised model
// answers like the dense one, on text that the dense model writes as it goes.
#ifndef DISTIL_H
#define DISTIL_H
#include "convert.h"
#include "optim.h"

// A quantised model in memory, over a dense one that must outlive it.
typedef struct {
    model m;
    tq_owned *kept; // [slots]
} distil_model;

// Quantises as convert_quantize() does, into memory.
int distil_open(distil_model *q, const model *dense, tq_rung rung, const convert_texts *calib,
                char err[ERR]);
void distil_close(distil_model *q);
// Trains R1 and R2 for some steps of 16 texts of 128 tokens, each text sampled anew from the dense
// model after the token `first`. say: called after each step with its loss (nats a token), or NULL.
int distil_train(distil_model *q, const model *dense, linear_fn linear, tile_fn tile, int64_t steps,
                 int32_t first, void (*say)(int64_t step, int64_t steps, float loss),
                 char err[ERR]);
#endif
