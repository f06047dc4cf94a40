// verify.h - the golden vectors of the arithmetic, run by the program itself.
#ifndef VERIFY_H
#define VERIFY_H
#include "ref.h"

// Runs num, rng, tq4, model, ref, grad and optim under dir with this way of computing linear layers; prints a
// line per family and one per failure. Returns the number of cases that passed, -1 when a file is
// missing or malformed.
int verify_all(const char *dir, linear_fn linear, int *failed, char err[ERR]);
#endif
