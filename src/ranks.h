// ranks.h - one run on many processes: mpirun -n N assay train ...
//
// Rank 0 prints and writes files; the others compute their share. What is added up are integers, so
// neither their order nor the number of ranks is in the result. A plain run never touches MPI.
//
// Who fails between two calls goes straight to the end of the program, whose ranks_agree() meets the
// others at their next one. So before anything is exchanged all ranks agree that none has failed,
// and what every one of them then calls cannot fail on one alone.
#ifndef RANKS_H
#define RANKS_H
#include "assay.h"

// NULL or zeroed: a process alone, for which each function below does nothing.
typedef struct {
    int rank, size; // 0 .. size - 1
    int ended;      // they agreed on an error: there is nothing to exchange any more
} ranks;

static inline int ranks_alone(const ranks *r) { return !r || r->size < 2; }
static inline int ranks_first(const ranks *r) { return !r || r->rank == 0; }

int ranks_threads(void); // of a process that mpirun started beside others; 0: not decided here
// Under mpirun: meets the others. -1: this program was built without MPI.
int ranks_open(ranks *r, char err[ERR]);
void ranks_close(ranks *r); // all of them, after a last ranks_agree()
// This rank's part of n items: share[0] .. share[1] - 1, in order of rank, sizes that differ by one.
void ranks_share(const ranks *r, int64_t n, int64_t share[2]);
// -1 everywhere with the line of the lowest rank that has one, if any rank is bad.
int ranks_agree(ranks *r, int bad, char err[ERR]);
// The same as rank 0's, or the line names the first rank that has another.
int ranks_same(ranks *r, const char *what, const char *text, char err[ERR]);
// Adds up x[n] of all ranks, for all. Where only one rank's element is not 0 it gathers.
void ranks_sum_i64(ranks *r, int64_t *x, int64_t n);
void ranks_copy(ranks *r, void *data, int64_t bytes); // rank 0's, to all
#endif
