// optim.h - AdamW on the exact gradients of chapter 10, for all kinds of parameters.
#ifndef OPTIM_H
#define OPTIM_H
#include "grad.h"

typedef struct {
    float rate;  // of R1 and R2 in units of the int8 range: a step of 1 is 127 levels
    float ratio; // R2 moves at rate * ratio
    float beta1, beta2, eps;
    float decay;           // of dense matrices only
    float clip;            // largest norm of the mean gradient; 0: none
    int64_t warmup, steps; // rate rises over warmup steps, then falls along a cosine to a tenth
} optim_config;

typedef struct {
    grad_part *p;
    uint16_t *m;   // [n] bf16 mean of the gradients
    float *v;      // [n] mean of their squares
    int16_t *frac; // [n] R1, R2: the master value is scale + frac 2^-16; else NULL
    int fixed;     // R2: the level that does not move
} optim_part;

typedef struct {
    optim_config c;
    int64_t step; // steps done
    int parts;
    optim_part *part;
    float norm; // of the last step's mean gradient, before clipping
} optim;

// What all parameters of a step share, and what a device is told of it.
typedef struct optim_now {
    const optim_config *c;
    float count, rate;
    float correct_m, correct_v; // 1 / (1 - beta^t)
} optim_now;

void optim_open(optim *o, const grad *g, const optim_config *c);
void optim_close(optim *o);
float optim_rate(const optim_config *c, int64_t step); // step 1 .. steps
// One step on the batch's gradient divided by count; begins the next batch.
void optim_step(optim *o, grad *g, float count);
#endif
