// ranks.c - agreement, sums and copies between processes, by MPI.
#include "ranks.h"
#include "num.h"
#include <omp.h>
#include <unistd.h>

enum { PIECE = 1 << 20 }; // elements of a call

#ifdef ASSAY_MPI
#include <mpi.h>

static void mpi_open(ranks *r) {
    int level; // the main thread alone calls MPI
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &r->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &r->size);
}

static void mpi_close(void) { MPI_Finalize(); }

static void mpi_reduce(int64_t *x, int64_t n, int least) {
    MPI_Allreduce(MPI_IN_PLACE, x, (int)n, MPI_INT64_T, least ? MPI_MIN : MPI_SUM, MPI_COMM_WORLD);
}

static void mpi_copy(void *data, int64_t bytes, int from) {
    MPI_Bcast(data, (int)bytes, MPI_BYTE, from, MPI_COMM_WORLD);
}

#else // there is one process: nothing of this is called

static void mpi_open(ranks *r) { *r = (ranks){0}; }
static void mpi_close(void) {}
static void mpi_reduce(int64_t *x, int64_t n, int least) { (void)x, (void)n, (void)least; }
static void mpi_copy(void *data, int64_t bytes, int from) { (void)data, (void)bytes, (void)from; }

#endif

// A number that mpirun told its processes; 1: there is none.
static int told(const char *name) {
    const char *text = getenv(name);
    return text ? (int)strtol(text, NULL, 10) : 1;
}

int ranks_threads(void) {
    int here = told("OMPI_COMM_WORLD_LOCAL_SIZE"), bound = omp_get_num_procs();
    if (here < 2 || getenv("OMP_NUM_THREADS")) return 0;
    int own = (int)sysconf(_SC_NPROCESSORS_ONLN) / here;
    own = own < 1 ? 1 : own;
    return own < bound ? own : bound; // mpirun may have bound the process to fewer
}

int ranks_open(ranks *r, char err[ERR]) {
    int size = told("OMPI_COMM_WORLD_SIZE");
    if (size < 2) return 0;
    mpi_open(r);
    num_require_ieee(); // what it loaded must not have changed the float environment
    if (r->size == size) return 0;
    return fail(err, "mpirun: %d ranks: this program was built without MPI (libopenmpi-dev)", size);
}

void ranks_close(ranks *r) {
    if (!ranks_alone(r)) mpi_close();
}

void ranks_share(const ranks *r, int64_t n, int64_t share[2]) {
    for (int k = 0; k < 2; k++) share[k] = ranks_alone(r) ? k * n : n * (r->rank + k) / r->size;
}

int ranks_agree(ranks *r, int bad, char err[ERR]) {
    char line[ERR];
    if (ranks_alone(r) || r->ended) return bad || (r && r->ended) ? -1 : 0;
    int64_t who = bad ? r->rank : r->size;
    mpi_reduce(&who, 1, 1);
    if (who == r->size) return 0;
    r->ended = 1;
    snprintf(line, ERR, "rank %d: %.*s", r->rank, ERR - 32, err);
    mpi_copy(line, ERR, (int)who);
    return fail(err, "%s", who ? line : line + strlen("rank 0: "));
}

int ranks_same(ranks *r, const char *what, const char *text, char err[ERR]) {
    char first[160];
    if (ranks_alone(r)) return 0;
    snprintf(first, sizeof first, "%s", text);
    mpi_copy(first, sizeof first, 0);
    int bad = strncmp(first, text, sizeof first - 1);
    if (bad) fail(err, "%s %.80s: rank 0 has %.80s: expected the same", what, text, first);
    return ranks_agree(r, bad, err);
}

void ranks_sum_i64(ranks *r, int64_t *x, int64_t n) {
    for (int64_t i = 0; i < n && !ranks_alone(r); i += PIECE)
        mpi_reduce(x + i, n - i < PIECE ? n - i : PIECE, 0);
}

void ranks_copy(ranks *r, void *data, int64_t bytes) {
    for (int64_t i = 0; i < bytes && !ranks_alone(r); i += PIECE)
        mpi_copy((char *)data + i, bytes - i < PIECE ? bytes - i : PIECE, 0);
}
