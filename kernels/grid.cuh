// grid.cuh - blocks and warps of the one launch: who waits for whom, what a block keeps in shared
// memory, and the ordered sums that a warp makes.
#ifndef GRID_CUH
#define GRID_CUH
#include "mega.cuh"

// Of a block. The rings of the warps come first, then the scratch that a phase uses as it likes.
typedef struct {
    uint64_t landed[WARPS][MAX_SLOTS]; // counts the copies into each slot of a warp's ring
    uint32_t ring[WARPS];              // of a warp's ring between commands: its next slot, parity
    uint32_t barriers;                 // grid barriers that this block has passed
    uint32_t stop;                     // the kernel ends: somebody gave up waiting
    int32_t word[4];                   // for values that one thread finds out for its block
    uint64_t idle_ns, spin_ns;         // of the mailbox
    mega_command command;
} block_state;

enum { STATE_BYTES = (sizeof(block_state) + 127) / 128 * 128 };

DEV block_state *state(void) { return (block_state *)shared_memory(); }
DEV unsigned char *ring_of(int warp, int slots) {
    return shared_memory() + STATE_BYTES + warp * slots * SLOT_BYTES;
}
DEV unsigned char *scratch(const mega *m) { return ring_of(WARPS, m->slots); }

DEV int lane_id(void) { return (int)threadIdx.x % 32; }
DEV int warp_id(void) { return (int)threadIdx.x / 32; }
DEV int grid_warp(void) { return (int)blockIdx.x * WARPS + warp_id(); }
DEV int grid_warps(void) { return (int)gridDim.x * WARPS; }
DEV int64_t grid_thread(void) { return (int64_t)blockIdx.x * THREADS + threadIdx.x; }
DEV int64_t grid_threads(void) { return (int64_t)gridDim.x * THREADS; }

// ---- waiting. Every loop that waits asks give_up() in each turn (for a command: too_long());
// 1: the kernel ends. Whoever waited longer than `limit` nanoseconds says so to the host and to the other blocks.

typedef struct {
    uint32_t turns;
    uint64_t until; // 0: not yet known
} waiting;

DEV int too_long(waiting *w, uint64_t limit) {
    spin_pause();
    if (++w->turns % 256) return 0;
    uint64_t now = nanoseconds();
    if (!w->until) w->until = now + limit;
    return now >= w->until;
}

DEV int give_up(mega *m, waiting *w, uint64_t limit) {
    int late = too_long(w, limit);
    if (late && add_release(m->parked, 1) == 0) store_release_system(&m->box->parked, PARK_LOST);
    return late || (w->turns % 256 == 0 && load_acquire(m->parked));
}

// ---- the barrier of the grid: one word counts arrivals. The thread that arrives has the writes of
// its block behind it (__syncthreads), releases them with its own, and acquires all others'.

// Says that this block's writes of the phase are done. Every thread of the block calls it.
DEV void grid_arrive(mega *m) {
    __syncthreads();
    if (threadIdx.x == 0) {
        add_release(m->arrive, 1);
        state()->barriers++;
    }
}

// Waits until every block has arrived. After it all that any block wrote before may be read.
DEV void grid_wait_for(mega *m, uint64_t limit) {
    if (threadIdx.x == 0) {
        waiting w = {0, 0};
        uint32_t all = state()->barriers * gridDim.x; // wraps like the word it is compared with
        const uint32_t *arrive = m->arrive; // each look empties the L1: read the pointer once
        while ((int32_t)(load_acquire(arrive) - all) < 0)
            if (give_up(m, &w, limit)) {
                state()->stop = 1;
                break;
            }
    }
    __syncthreads();
    if (state()->stop) thread_exit(); // the host has read it in the mailbox
}
DEV void grid_wait(mega *m) { grid_wait_for(m, state()->spin_ns); }

DEV void grid_sync(mega *m) {
    grid_arrive(m);
    grid_wait(m);
}

// A value was not finite: the lowest code, which is the first in the order of the tape, is kept.
DEV void fail_at(mega *m, int code) { atomicMin(m->failed, code); }
DEV int finite(float x) { return (num_bits(x) & 0x7f800000) != 0x7f800000; }

// The block copies n floats into shared memory, 8 reads of a thread at a time.
DEV void stage_floats(float *to, const float *from, int n) {
    for (int i = (int)threadIdx.x; i < n; i += 8 * THREADS) {
        float v[8];
#pragma unroll
        for (int k = 0; k < 8; k++)
            if (i + k * THREADS < n) v[k] = from[i + k * THREADS];
#pragma unroll
        for (int k = 0; k < 8; k++)
            if (i + k * THREADS < n) to[i + k * THREADS] = v[k];
    }
}

// ---- sums of a warp; every lane gets the result

// The ordered sum num_lane_dot: element i goes to lane i mod 32, ascending, then 16, 8, 4, 2, 1.
DEV float lane_fold(float acc) {
    for (int d = 16; d > 0; d /= 2) acc = num_add(acc, __shfl_xor_sync(0xffffffffu, acc, d));
    return acc;
}
// Element i of floats, or of bf16.
DEV float wide_at(const void *p, int64_t i, int bf16) {
    return bf16 ? num_from_bf16(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}
// A lane's part of it; 4 terms are read at a time, without a branch, so that they wait together.
DEV float lane_acc(const float *a, const void *b, int n, int bf16) {
    float acc = 0;
    for (int i = lane_id(); i < n; i += 128) {
        float x[4], y[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int at = i + 32 * k < n ? i + 32 * k : i;
            x[k] = a[at], y[k] = wide_at(b, at, bf16);
        }
#pragma unroll
        for (int k = 0; k < 4; k++) acc = i + 32 * k < n ? num_fma(x[k], y[k], acc) : acc;
    }
    return acc;
}
DEV float lane_dot(const float *a, const float *b, int n) {
    return lane_fold(lane_acc(a, b, n, 0));
}
// The larger of non-negative floats, by their bits.
DEV uint32_t warp_max(uint32_t x) {
    for (int d = 16; d > 0; d /= 2) {
        uint32_t y = __shfl_xor_sync(0xffffffffu, x, d);
        x = y > x ? y : x;
    }
    return x;
}
DEV int64_t warp_sum(int64_t x) {
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}

// ---- reading bricks

DEV int brick_bytes(const mega_matrix *w) { return w->kind == TQ4 ? BRICK_TQ4 : BRICK_I8; }
DEV const uint8_t *brick_at(const mega_matrix *w, int tile, int block) {
    return w->bricks + ((int64_t)tile * w->blocks + block) * brick_bytes(w);
}
// Codes picked from the 16 levels: t holds them, a byte each; code i of the 4 in `codes` (nibbles,
// the first lowest) becomes byte i. A selector of prmt has 3 bits; the fourth bit of a code
// chooses between the lower and the upper half of the levels.
DEV uint32_t levels4(const uint32_t t[4], uint32_t codes) {
    uint32_t pick = codes & 0x7777, high = (codes >> 1 & 0x4444) | 0x3210;
    return prmt(prmt(t[0], t[1], pick), prmt(t[2], t[3], pick), high);
}
// The same for the 8 codes of a word.
DEV void levels8(uint32_t out[2], const uint32_t t[4], uint32_t codes) {
    uint32_t pick = codes & 0x77777777, high = (codes >> 1 & 0x44444444) | 0x32103210;
    for (int i = 0; i < 2; i++, pick >>= 16, high >>= 16)
        out[i] = prmt(prmt(t[0], t[1], pick), prmt(t[2], t[3], pick), high);
}
// The level (TQ4) or code (I8) at row 0 .. 15, column 0 .. 15 of a brick, and its row's scale.
DEV int brick_level(const mega_matrix *w, const uint8_t *brick, int row, int col) {
    if (w->kind != TQ4) return (int8_t)brick[row * 16 + col];
    return w->codebook[brick[row * 8 + col / 2] >> (col % 2 * 4) & 15];
}
DEV int brick_scale(const mega_matrix *w, const uint8_t *brick, int row) {
    return (int8_t)brick[(w->kind == TQ4 ? 128 : 256) + row];
}
#endif
