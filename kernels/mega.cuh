// mega.cuh - what the host writes and the kernel reads: matrices in bricks, phases, runs, learning,
// and the mailbox. Plain structs; all pointers are device pointers unless a comment says host.
#ifndef MEGA_CUH
#define MEGA_CUH
#include "device.cuh"
#include "num.h"

enum {
#ifdef MEGA_WARPS
    WARPS = MEGA_WARPS, // of a block: the emulator also runs smaller blocks
#else
    WARPS = 8, // 255 registers a thread: what decodes does not spill
#endif
    THREADS = 32 * WARPS,
    BRICK_TQ4 = 144, // bytes: 16 rows of 16 codes (8 bytes a row), then 16 scales, one a row
    BRICK_I8 = 272,  // bytes: 16 rows of 16 int8, then 16 scales
    SLOT_TQ4 = 16,   // bricks of a ring slot: 256 columns of 16 rows
    SLOT_I8 = 8,
    SLOT_BYTES = SLOT_TQ4 * BRICK_TQ4, // 2,304, room for SLOT_I8 * BRICK_I8 = 2,176
    MAX_SLOTS = 16,                    // of a warp's ring
    FEW = 4,                           // tokens whose activations every block quantises for itself
    GPU_KEYS = 256,                    // keys of one attention chunk, as KEYS in assay.h
    GPU_SEGMENT = 1024,                // as SEGMENT
    GPU_SLICE = 32,                    // rows of a piece of the head, as HEAD_SLICE in grad.h
    HEAD_PIECE = 128,                  // rows whose logits exist at a time, as HEAD_ROWS in grad.c
    RUN_SERVE = 0,
    RUN_LEARN = 1,
    RUN_TEACHER = 2,
    RUN_MORE = 3, // the first of the runs that are attached beside the one that serves
    RUNS = 5
};
// The same numbers as in tq4.h, tape.h and grad.h; host.cu asserts it.
enum { DENSE, I8, TQ4 };
enum { EMBED, QKV, ATTEND, OUT, GATEUP, DOWN, HEAD, PHASE_OPS };
enum { R1 = 1, R2 = 2, NORMS = 4, DENSES = 8 };
enum { TEXT, POLICY, MATCH };

// A matrix. Quantised: tiles of 16 rows, each a row of `blocks` bricks of 16 columns, so that any
// stretch of a tile is one contiguous copy, and a brick is one operand of mma_s8 with its scales.
// Rows past the last are zeros with scale 0.
typedef struct {
    int32_t kind; // tq_kind
    int32_t rows, cols, pad, group;
    int32_t tiles;    // of 16 rows
    int32_t blocks;   // pad / 16
    uint8_t *bricks;  // [tiles][blocks][BRICK_TQ4 or BRICK_I8]
    int8_t *codebook; // [16] TQ4, 16-byte aligned
    float *row;       // [tiles * 16]
    float *dense;     // F32: [rows, cols]
} mega_matrix;

typedef struct {
    int32_t op;      // tape_op
    int32_t layer;   // -1 for EMBED and HEAD
    int32_t linears; // matrices used
    mega_matrix w[3];
    float *norm;            // [hidden] or NULL
    float *norm_q, *norm_k; // [head_dim] or NULL
} mega_phase;

// How a row is sampled: the words of sample_options (sample.h).
typedef struct {
    float temperature;
    int32_t top_k;
    float top_p;
    uint32_t seed, stream;
} mega_how;

// A model with the buffers of a batch; the fields are those of ref_run.
typedef struct {
    int32_t hidden, inter, layers, heads, kv_heads, head_dim, vocab;
    float eps;
    mega_matrix embed;
    int32_t phases;
    mega_phase *phase;             // the tape
    int32_t room;                  // rows that the buffers hold, a multiple of 16
    int32_t context, keys, chunks; // of a sequence, a page, a sequence, as in ref_run
    int32_t cached, kv_bf16;       // of the cache, as in ref_run and model_config
    int32_t logits_rows;           // rows that logits holds
    int32_t *token, *pos, *seq;    // [room]
    float *x, *n;                  // [room, hidden]; n: normed, for dense matrices only
    float *raw_q, *q, *o;          // [room, heads*head_dim]; raw: before norm and rotation
    float *raw_k, *k, *v;          // [room, kv_heads*head_dim]
    float *g, *u, *h;              // [room, inter]; h = silu(g) u
    float *peak, *mass;            // [room, heads] of the softmax
    float *logits;                 // [logits_rows, vocab]
    int32_t *page;                 // [seqs, chunks]
    uint8_t *kcache, *vcache;      // [pages, cached, kv_heads, keys, head_dim] float or bf16
    float *cos, *sin;              // [context, head_dim/2]
    int8_t *acts;                  // many tokens: [blocks][room][16] quantised input of a phase
    int32_t *mult;                 // [groups][room]: m_g << (e_g - E + 16)
    int32_t *e;                    // [room]: E
    float *part;                   // [room, heads, chunks of the context, head_dim + 2]
    uint32_t *arrived;             // [room, heads] chunks done, 0 between phases
    float *weight;                 // [logits_rows, vocab] RUN_SERVE: of sampling, e^((z - max) / T)
    mega_how *how;                 // [logits_rows] RUN_SERVE
    float *best;                   // [blocks of the grid, room] best logit of a block's rows
    int32_t *best_id;              // the same, its token
} mega_run;

// An array of parameters that learns (grad_part with its optim_part). R1 lies in the order of the
// bricks: [tiles][blocks][16 rows]; its scales are those inside the bricks.
typedef struct {
    int32_t slot, what; // as in grad_part
    int64_t n;          // elements here: R1 tiles * blocks * 16, else as in grad_part
    mega_matrix w;      // R1, R2, DENSE: the matrix
    float *value;       // LEARN_NORMS, LEARN_DENSE [n]
    int64_t *sum;       // [n]
    uint16_t *m;        // [n]
    float *v;           // [n]
    int16_t *frac;      // [n] R1, R2
    int32_t fixed;      // R2
} mega_part;

typedef struct {
    int32_t parts;
    mega_part *part;
    int32_t *at;     // [slots, 4] index of the part that learns there, or -1
    int32_t kind;    // grad_loss
    int32_t tied;    // the head is the embedding
    int32_t context; // longest sample, as g->r.context
    int64_t samples;
    float low, high;
    int32_t seqs;
    int32_t whole, pieces; // of the head, as in grad
    int64_t *start;        // [seqs + 1], from 0
    int32_t *target;       // [room]
    float *weight, *old;   // [room]
    float *in;             // [layers, room, hidden]
    float *dx, *y;         // [room, hidden]
    float *dq, *dout;      // [room, heads*head_dim]
    float *dk, *dv;        // [room, kv_heads*head_dim]
    float *dh;             // [room, inter]
    float *wide;           // [room, the widest pad] gradient of a rotated input
    float *logp;           // [room]
    int64_t *loss;         // [1] in units, of the batch so far
    uint64_t *squares;     // [grid, 3] partial sums of squares, 192 bits each
    float *norm;           // [1] of the last update's mean gradient, before clipping
} mega_learn;

typedef enum { CMD_NONE, CMD_RUN, CMD_LEARN, CMD_UPDATE, CMD_BARRIERS, CMD_STOP } mega_op;

typedef struct {
    int32_t op;          // mega_op
    int32_t run;         // CMD_RUN: which
    int32_t first, last; // CMD_RUN: phases first .. last - 1 of its tape; CMD_LEARN: slices
    int32_t rows, head_from;
    int32_t single; // no two rows are of one sequence: the cache is appended within ATTEND
    int32_t steps;  // CMD_RUN: > 0: sample after HEAD and go on, so many tokens a row
    int32_t back;   // CMD_LEARN: 0: forward and loss only
    float count, rate, ratio, beta1, beta2, eps, decay, clip; // CMD_UPDATE; rate: of this step
    float correct_m, correct_v;                               // 1 / (1 - beta^t)
    int32_t known;                                            // steps > 0: ids below it are sampled
    int32_t skip; // CMD_RUN: bits of operations that are left out, to see what the others cost
} mega_command;

typedef enum { PARK_NONE, PARK_STOPPED, PARK_IDLE, PARK_LOST } mega_park;

// One page of host memory that both sides see. A word that is polled has a cache line of its own.
typedef struct {
    uint32_t asked; // generation of the command below; the host adds 1 when it is written
    uint32_t pad0[15];
    uint32_t done; // generation that is done
    uint32_t pad1[15];
    uint32_t parked; // mega_park: the kernel has ended, or a block gave up waiting
    uint32_t pad2[15];
    mega_command command;
    int32_t failed; // after done: the lowest phase of the tape whose value was not finite, or -1;
                    // of a mirror, a number that mirror.cuh makes
    uint64_t idle_ns, spin_ns; // how long the kernel waits for a command, and for anything else
} mega_mailbox;

// The state of the launch, in device memory.
typedef struct {
    mega_run run[RUNS];
    mega_learn learn;
    mega_command command; // the one that runs
    mega_mailbox *box;    // mapped host memory
    int32_t *out;         // mapped host memory [steps, rows] tokens sampled
    uint32_t *arrive;     // [1] the word of the grid barrier, on a line of its own
    int32_t *failed;      // [1] lowest failing phase, INT32_MAX: none
    uint32_t *parked;     // [1] a block gave up: all others follow
    int32_t slots;        // of each warp's ring, at most MAX_SLOTS; WARPS * slots = 48 on an H200
    int32_t pass;         // tokens of a pass over the weights: 16, or 8 where memory is short
    int32_t scratch;      // bytes of shared memory beside the rings
} mega;
#endif
