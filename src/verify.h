// verify.h - the golden vectors of the arithmetic, run by the program itself.
#ifndef VERIFY_H
#define VERIFY_H
#include "backend.h"

// Runs num, rng, tq4, model, ref, grad and optim under dir with this way of computing; prints a
// line per family and one per failure. A device runs what it computes: linear layers, models,
// gradients, steps; the other cases are counted as not run. Returns the number of cases that
// passed, -1 when a file is missing or malformed.
int verify_all(const char *dir, const backend *by, int *failed, char err[ERR]);
#endif
