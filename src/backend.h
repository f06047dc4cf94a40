// backend.h - what computes: plain C, the processor's vector instructions, or a device that takes
// over runs and learning as they are opened.
#ifndef BACKEND_H
#define BACKEND_H
#include "optim.h"
#include "sample.h"

// What a device says of itself (chapter 24).
typedef struct {
    double copy;    // bytes a second, read and written, of a copy within its memory
    double barrier; // seconds of a barrier of all its blocks
    long launches;  // of its kernel so far
} backend_figures;

typedef struct backend {
    const char *name;
    linear_fn linear;
    tile_fn tile;
    void *device; // NULL: none, and none of what follows is called
    // Takes over a run: its steps and phases, until detach. So many rows at most get logits.
    int (*attach)(void *device, ref_run *r, int64_t logits_rows, char err[ERR]);
    // Takes over passes, and with o steps. Of g and o the device has copies from here on.
    int (*learn)(void *device, grad *g, optim *o, char err[ERR]);
    // Brings home all that learning changed.
    int (*fetch)(void *device, char err[ERR]);
    void (*detach)(void *device); // all of them, before they are closed
    // Goes on from the rows of ref_rows(): steps tokens for each, of ids below known and drawn as its
    // o [rows] says, into out [steps, rows]. No two rows are of one sequence; rows * steps <= DECODED.
    int (*decode)(void *device, ref_run *r, const sample_options *o, int64_t known, int64_t steps,
                  int32_t *out, char err[ERR]);
    // For measuring: decode() leaves out what phases of these operations (bits 1 << tape_op) compute.
    void (*leave_out)(void *device, int ops);
    // First before anything is attached; later only the launches are counted again.
    int (*measure)(void *device, backend_figures *f, char err[ERR]);
    void (*close)(void *device);
} backend;

enum { DECODED = 65536 };

static inline int backend_attach(const backend *b, ref_run *r, int64_t logits_rows, char err[ERR]) {
    return b->device ? b->attach(b->device, r, logits_rows, err) : 0;
}
static inline int backend_learn(const backend *b, grad *g, optim *o, char err[ERR]) {
    return b->device ? b->learn(b->device, g, o, err) : 0;
}
static inline int backend_fetch(const backend *b, char err[ERR]) {
    return b->device ? b->fetch(b->device, err) : 0;
}
static inline void backend_detach(const backend *b) {
    if (b->device) b->detach(b->device);
}
#endif
