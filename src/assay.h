// assay.h - the limits of the program, its error line and its allocations, in one place.
//
// Errors. A function that reads something from outside returns 0 or -1 and, with -1, one line in
// err[ERR]: what was read (file, place), what was found, what was expected. A function that cannot
// fail returns void. A broken invariant stops the program and names the function: must().
#ifndef ASSAY_H
#define ASSAY_H
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ERR = 512,         // bytes of an error line with its NUL
    MAX_DIMS = 8,      // dimensions of a tensor
    MAX_COLS = 65536,  // columns of a linear layer: the int64 sum of tq4 is exact up to here
    MAX_LAYERS = 1024, // layers of a model
    GROUP_MAX = 128,   // columns rotated together at most
    BLOCK = 16,        // columns that share one scale (R1)
    LEVELS = 16,       // entries of a codebook (R2)
    LANES = 32,        // accumulators of a lane sum
    SEGMENT = 1024,    // elements of a sequential sum before its partial sum is added
    KEYS = 256,        // keys of one attention chunk
};

// Writes the error line and returns -1, so that a parser can say `return fail(err, ...)`. It is one
// line: names and texts of strangers stand in it.
__attribute__((format(printf, 2, 3))) static inline int fail(char err[ERR], const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, ERR, fmt, ap);
    va_end(ap);
    for (char *p = err; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127) *p = '?';
    return -1;
}

// Stops the program when something that the code itself guarantees does not hold.
#define must(ok)                                                                                   \
    do {                                                                                           \
        if (!(ok)) {                                                                               \
            fprintf(stderr, "assay: broken invariant in %s: %s\n", __func__, #ok);                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

// n elements of size bytes, zeroed; out of memory is one line and exit code 1.
static inline void *must_alloc(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p) {
        fprintf(stderr, "assay: out of memory: %zu x %zu bytes\n", n, size);
        exit(1);
    }
    return p;
}

// The same at a multiple of 64 bytes, a cache line, and not zeroed.
static inline void *must_align(size_t n, size_t size) {
    void *p = n < SIZE_MAX / 2 / size ? aligned_alloc(64, (n * size + 64) / 64 * 64) : NULL;
    if (!p) {
        fprintf(stderr, "assay: out of memory: %zu x %zu bytes\n", n, size);
        exit(1);
    }
    return p;
}
#endif
