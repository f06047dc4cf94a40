// ladder.h - how close each rung of the quantiser comes to the dense model.
#ifndef LADDER_H
#define LADDER_H
#include "distil.h"

typedef struct {
    char name[24];
    double raw[3], centred[3]; // cosine of the logits: mean, 1st percentile, minimum
    double kl[2];              // nats: mean, 99th percentile; below 1e-6 is arithmetic noise
    double top1;               // share of positions with the same best token
    double bits;               // stored bits per weight of the linear layers
    int64_t bytes, positions;  // of the linear layers; measured
} ladder_row;

// Measures m (run by linear) against the dense model on texts.
int ladder_measure(ladder_row *row, const model *dense, const model *m, linear_fn linear,
                   const convert_texts *t, char err[ERR]);
typedef struct {
    linear_fn linear;
    tile_fn tile;
    const convert_texts *calib;
    int64_t steps;                   // of the rung distil; 0 leaves it out
    void (*say)(const ladder_row *); // called with each row as it comes, or NULL
    void (*learn)(int64_t step, int64_t steps, float loss); // after each step, or NULL
} ladder_options;

// Every rung in turn, into rows (at most RUNGS + 2); returns how many, or -1.
int ladder_run(ladder_row *rows, const model *dense, const ladder_options *o,
               const convert_texts *test, char err[ERR]);
int ladder_save_json(const char *path, const ladder_row *rows, int n, char err[ERR]);
int ladder_save_svg(const char *path, const ladder_row *rows, int n, char err[ERR]);
#endif
