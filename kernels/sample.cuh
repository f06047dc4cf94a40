// sample.cuh - from logits to the next token of each row, the twin of sample.c: the same integers,
// found without sorting.
#ifndef SAMPLE_CUH
#define SAMPLE_CUH
#include "forward.cuh"

// Philox4x32-10 (chapter 2); the first two words of the block.
DEV uint64_t philox(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c2) {
    uint32_t x[4] = {c0, 0, c2, 0};
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xd2511f53 * x[0], q = (uint64_t)0xcd9e8d57 * x[2];
        x[0] = (uint32_t)(q >> 32) ^ x[1] ^ k0, x[1] = (uint32_t)q;
        x[2] = (uint32_t)(p >> 32) ^ x[3] ^ k1, x[3] = (uint32_t)p;
        k0 += 0x9e3779b9, k1 += 0xbb67ae85;
    }
    return (uint64_t)x[1] << 32 | x[0];
}

// What a block keeps while it samples a row.
typedef struct {
    unsigned long long sum[256]; // of the weights of each digit; of each warp's stretch
    unsigned long long many[256];
    int32_t token;
} sampling;

// Where a search ended: a weight, and the candidates that are heavier.
typedef struct {
    uint64_t weight, many, sum;
} rank;

// A weight is e^((z - max) / T) in units of 2^-32: at most 2^32.
DEV uint64_t weight_of(const float *e, int i) { return (uint64_t)num_mul(e[i], 0x1p32f); }

// The sum of x over the block, for every thread.
DEV uint64_t block_sum(sampling *s, uint64_t x) {
    x = (uint64_t)warp_sum((int64_t)x);
    __syncthreads();
    if (lane_id() == 0) s->sum[warp_id()] = x;
    __syncthreads();
    for (int w = 0; w < WARPS; w++) x = w ? x + s->sum[w] : s->sum[0];
    return x;
}

// Walks candidates from the heaviest, and names the one where the running count (by_sum 0) or sum
// of weights first passes target: digit by digit of the weight, 8 bits at a time. The lightest digit
// is what the others leave over: most weights are tiny, and would all count into one cell.
DEV rank search(sampling *s, const float *e, int n, uint64_t target, int by_sum) {
    rank at = {0, 0, 0}; // weight: the digits so far
    for (int shift = 32; shift >= 0; shift -= 8) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 256; i += THREADS) s->sum[i] = s->many[i] = 0;
        __syncthreads();
        for (int i0 = (int)threadIdx.x; i0 < n; i0 += 8 * THREADS) {
            float z[8]; // read ahead of the atomics, one latency for eight
#pragma unroll
            for (int k = 0; k < 8; k++) z[k] = i0 + k * THREADS < n ? e[i0 + k * THREADS] : 0;
#pragma unroll
            for (int k = 0; k < 8; k++) {
                uint64_t w = (uint64_t)num_mul(z[k], 0x1p32f), digit = w >> shift & 255;
                if (w >> shift >> 8 != at.weight || digit == 0) continue; // 0 has no digit
                atomicAdd(&s->sum[digit], (unsigned long long)w);
                atomicAdd(&s->many[digit], 1ull);
            }
        }
        __syncthreads();
        int digit = 255;
        for (; digit > 0; digit--) {
            if ((by_sum ? at.sum + s->sum[digit] : at.many + s->many[digit]) > target) break;
            at.many += s->many[digit], at.sum += s->sum[digit];
        }
        at.weight = at.weight << 8 | (uint64_t)digit;
    }
    return at;
}

// The first candidate, by id, where the running sum passes target. Every weight counts as it is, or,
// with only > 0, those equal to it count 1. Each thread owns a stretch of ids.
DEV int in_order(sampling *s, const float *e, int n, uint64_t target, uint64_t only) {
    int lo = (int)((int64_t)n * threadIdx.x / THREADS);
    int hi = (int)((int64_t)n * (threadIdx.x + 1) / THREADS);
    uint64_t own = 0, before;
    for (int i = lo; i < hi; i++) {
        uint64_t w = weight_of(e, i);
        own += only ? w == only : w;
    }
    before = own;
    for (int d = 1; d < 32; d *= 2) { // the sum of the lanes up to this one
        uint64_t y = __shfl_sync(0xffffffffu, before, lane_id() - d);
        if (lane_id() >= d) before += y;
    }
    __syncthreads();
    if (threadIdx.x == 0) s->token = 0; // no weight is above 0 where the logits are not finite
    if (lane_id() == 31) s->sum[warp_id()] = before;
    __syncthreads();
    before -= own;
    for (int w = 0; w < warp_id(); w++) before += s->sum[w];
    if (before <= target && target < before + own) {
        int i = lo - 1;
        while (before <= target) {
            uint64_t w = weight_of(e, ++i);
            before += only ? w == only : w;
        }
        s->token = i;
    }
    __syncthreads();
    return s->token;
}

// Logits t, of the run's row `row`, with a temperature; a block.
DEV int draw(mega *m, const mega_run *r, int t, int row, int top) {
    const mega_how c = r->how[t];
    sampling *s = (sampling *)scratch(m);
    int n = known_ids(r);
    const float *z = r->logits + (int64_t)t * r->vocab;
    float *e = r->weight + (int64_t)t * r->vocab, most = z[top];
    uint64_t total = 0, own = 0;
    for (int i = (int)threadIdx.x; i < n; i += THREADS) {
        e[i] = num_exp(num_div(num_sub(z[i], most), c.temperature));
        own += weight_of(e, i);
    }
    total = block_sum(s, own);
    if (c.top_k > 0 && c.top_k < n) {
        rank last = search(s, e, n, (uint64_t)c.top_k - 1, 0);
        total = last.sum + ((uint64_t)c.top_k - last.many) * last.weight;
    }
    if (c.top_p < 1) {
        uint64_t share = (uint64_t)num_mul(c.top_p, 65536.0f);
        uint64_t enough = (uint64_t)((unsigned __int128)total * share >> 16);
        uint64_t target = enough ? enough - 1 : 0;
        rank last = search(s, e, n, target, 1);
        total = last.sum + ((target - last.sum) / last.weight + 1) * last.weight;
    }
    uint32_t pos = (uint32_t)r->pos[row] + 1; // of the token that is drawn
    uint64_t word = philox(c.seed, 0x73616d70, pos, c.stream);
    uint64_t target = (uint64_t)((unsigned __int128)word * total >> 64), only = 0;
    if (c.top_k > 0 || c.top_p < 1) { // candidates stand from the heaviest on
        rank at = search(s, e, n, target, 1);
        only = at.weight;
        target = (target - at.sum) / only;
    }
    return in_order(s, e, n, target, only);
}

// The token of logits t, found by one block: the best of all blocks, or a draw.
DEV int sample_row(mega *m, const mega_run *r, const mega_phase *head, int t, int row) {
    int at = -1;
    if (warp_id() == 0) {
        if (head->w[0].kind == DENSE) {
            largest(r->logits + (int64_t)t * r->vocab, 0, known_ids(r), &at);
        } else {
            float top = 0;
            for (int b = lane_id(); b < (int)gridDim.x; b += 32) { // ascending rows
                int64_t i = (int64_t)b * r->room + t;
                int id = r->best_id[i];
                float y = r->best[i];
                if (id >= 0 && (at < 0 || y > top)) top = y, at = id;
            }
            lane_largest(&top, &at);
        }
        if (lane_id() == 0) state()->word[1] = at;
    }
    __syncthreads();
    at = state()->word[1];
    return r->how[t].temperature > 0 ? draw(m, r, t, row, at) : at;
}

// The next token of every row whose logits there are (rows head_from ..): into out, and into the
// rows of the next step.
PHASE void sample_rows(mega *m, mega_run *r, int rows, int head_from, int step) {
    const mega_phase *head = &r->phase[r->phases - 1];
    for (int t = (int)blockIdx.x; t < rows - head_from; t += (int)gridDim.x) {
        int token = sample_row(m, r, head, t, head_from + t);
        __syncthreads();
        if (threadIdx.x == 0) {
            m->out[(int64_t)step * (rows - head_from) + t] = token;
            r->token[head_from + t] = token;
            r->pos[head_from + t]++;
        }
    }
}
#endif
