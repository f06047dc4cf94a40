// ref.h - the plain interpreter of a tape: what the words of chapter 7 mean, in C, one row at a
// time. Every other interpreter is right when it ends on these bits.
#ifndef REF_H
#define REF_H
#include "tape.h"

// How a linear layer is computed: y [a->rows, m->rows] from quantised a (KIND_F32: from x).
typedef void (*linear_fn)(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows,
                          float *y);
void ref_linear(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows, float *y);

// How a mirror multiplies: out[i][j] = sum over k < n <= SEGMENT, ascending, of a[k][i] * b[k][j].
enum { TILE_ROWS = 8, TILE_COLS = BLOCK };
typedef void (*tile_fn)(float out[TILE_ROWS][TILE_COLS], const float (*a)[TILE_ROWS],
                        const float (*b)[TILE_COLS], int64_t n);
void ref_tile(float out[TILE_ROWS][TILE_COLS], const float (*a)[TILE_ROWS],
              const float (*b)[TILE_COLS], int64_t n);

// The state of a batch: T rows (tokens), each at a position of a sequence. Keys and values of all
// sequences lie in pages of a chunk of attention each.
typedef struct ref_run {
    const model *m;
    tape t;
    linear_fn linear;
    int64_t room;                     // rows that the buffers hold
    int64_t seqs, context;            // sequences, and positions that each may have
    int64_t keys;                     // of a page: KEYS, or context when that is less
    int64_t chunks;                   // of a sequence: context / KEYS, rounded up
    int64_t pages;                    // of the cache, for all sequences together
    int32_t *page;                    // [seqs, chunks] where a chunk's keys lie, -1: nowhere yet
    int64_t rows;                     // T of the current step
    int64_t head_from;                // rows before this one get no logits
    const int32_t *token, *pos, *seq; // [T]
    float *x, *n;                     // [T, hidden]
    float *q, *o;                     // [T, heads*head_dim]
    float *k, *v;                     // [T, kv_heads*head_dim]
    float *g, *u;                     // [T, inter]
    float *raw_q, *raw_k;             // q and k before their norm and rotation, or NULL: not kept
    float *peak, *mass;               // [T, heads] of the softmax, or NULL: not kept
    float *logits;                    // [T - head_from, vocab]
    int64_t logits_room;              // elements
    void *kcache, *vcache;            // [pages, cached, kv_heads, keys, head_dim] float, or bf16
    int64_t cached;                   // layers that have a cache of their own, or 1: one for all
    float *cos, *sin;                 // [context, head_dim/2]
    tq_acts acts;
    // Called with the input [rows, cols] of a phase's linears before they are applied, or NULL.
    int (*tap)(void *ctx, const tape_phase *p, const float *x, int64_t rows, int64_t cols,
               char err[ERR]);
    void *tap_ctx;
    // Who runs a phase instead, and brings home what it makes (chapter 30); p NULL: all phases, of
    // which only logits come home. NULL: this file does.
    int (*phase)(struct ref_run *r, const tape_phase *p, char err[ERR]);
    void *device;
} ref_run;

// y = x / rms(x) * w. x and y [n] may be the same.
void ref_norm(float *y, const float *x, const float *w, int64_t n, float eps);
int ref_finite(const float *x, int64_t n); // 1 when all are
// The element of both caches where a head's key and value at a position begin; those of the next
// positions of the chunk follow, head_dim each.
int64_t ref_place(const ref_run *r, int layer, int64_t seq, int64_t head, int64_t pos);
// n elements of a cache: where they lie, or widened to wide [n].
const float *ref_cached(const ref_run *r, const void *cache, int64_t at, int64_t n, float *wide);
// Floats that attention to one row needs: an output, and in bf16 a chunk of keys and one of values.
int64_t ref_room(const ref_run *r);
// A cache with room for all sequences, each at pages of its own.
void ref_open(ref_run *r, const model *m, linear_fn linear, int64_t room, int64_t seqs,
              int64_t context);
// A cache of so many pages, none of them assigned: before a step, whoever runs it writes into
// r->page where the chunks of its rows lie. What a page held before does not matter.
void ref_open_pages(ref_run *r, const model *m, linear_fn linear, int64_t room, int64_t seqs,
                    int64_t context, int64_t pages);
void ref_close(ref_run *r);
// The rows of the next step: token in 0..vocab-1, pos in 0..context-1 ascending within a sequence,
// and keys 0..pos have their pages; the arrays must live until the step is done.
void ref_rows(ref_run *r, const int32_t *token, const int32_t *pos, const int32_t *seq,
              int64_t rows, int64_t head_from);
// Room for the logits of that many rows.
void ref_logits(ref_run *r, int64_t rows);
// -1 and the line that a value of a phase was not finite.
int ref_not_finite(const tape_phase *p, char err[ERR]);
// One phase of the current step. -1: a value was not finite (err names layer and phase).
int ref_phase(ref_run *r, const tape_phase *p, char err[ERR]);
// ref_rows() and all phases.
int ref_step(ref_run *r, const int32_t *token, const int32_t *pos, const int32_t *seq, int64_t rows,
             int64_t head_from, char err[ERR]);
#endif
