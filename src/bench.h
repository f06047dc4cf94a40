// bench.h - what the program costs: exact bytes of each shape, and decode speed as a share of the
// memory bandwidth that the same run measures.
#ifndef BENCH_H
#define BENCH_H
#include "backend.h"

double bench_now(void); // seconds of a clock that never jumps
void bench_sizes(void); // a table to stdout
// Decodes with random TQ4 weights of a shape, by every way of computing linears that this
// processor has; a table to stdout. The shape must be one of model_shape()'s.
int bench_decode(const char *shape, char err[ERR]);
// Forward passes and whole steps of learning at a shape, their ratio, and the memory they took.
int bench_learn(const char *shape, char err[ERR]);
// Serving and learning alone and together, at a shape and a share of the work (chapter 12): tokens a
// second, and how long the first token of a request takes.
int bench_serve(const char *shape, const backend *by, long share, char err[ERR]);
// On a device: decoding in batches, prefill, learning, and what its one launch costs.
int bench_device(const backend *by, const char *shape, char err[ERR]);
#endif
