// quant.cuh - from rows of floats to the int8 activations of tq4.c: norm, rotation, rounding.
//
// Quantised rows lie block-major: 16 columns of one row are 16 bytes, and the rows of a block of
// columns stand side by side, so that a lane's dot product and an operand of mma_s8 are both one
// aligned read.
#ifndef QUANT_CUH
#define QUANT_CUH
#include "grid.cuh"

// Quantised rows, in shared or global memory.
typedef struct {
    int8_t *q;     // [blocks][apart][16]
    int32_t *mult; // [groups][apart]
    int32_t *e;    // [apart]
    int apart;     // rows that the arrays have room for
} act_rows;

// Element i of a row of floats [cols], zero behind it; normed when norm is given.
typedef struct {
    const float *x, *norm; // norm [cols] or NULL
    float factor;          // 1 / rms of x
    int cols;
} row_of;

DEV float element(const row_of *r, int i) {
    if (i >= r->cols) return 0;
    return r->norm ? num_mul(num_mul(r->x[i], r->factor), r->norm[i]) : r->x[i];
}

// What ref_norm multiplies a row by; a whole warp.
DEV float norm_factor(const float *x, int n, float eps) {
    float mean = num_div(lane_dot(x, x, n), (float)n);
    float r = num_div(1.0f, num_sqrt(num_add(mean, eps)));
    return finite(mean) ? r : mean;
}

// A group of 32 * each columns in the registers of a warp: lane l has each neighbours.
DEV void load_group(float v[4], const row_of *r, int group, int each) {
#pragma unroll
    for (int j = 0; j < 4; j++)
        v[j] = j < each ? element(r, (group * 32 + lane_id()) * each + j) : 0;
}

// tq_rotate: distances 1 and 2 within a lane where it has that many, then between lanes.
DEV void rotate_group(float v[4], int each) {
    float a = v[0], b = v[1], c = v[2], d = v[3];
    if (each >= 2) v[0] = num_add(a, b), v[1] = num_sub(a, b);
    if (each == 4) {
        float e = num_add(c, d), f = num_sub(c, d);
        a = v[0], b = v[1];
        v[0] = num_add(a, e), v[1] = num_add(b, f), v[2] = num_sub(a, e), v[3] = num_sub(b, f);
    }
    for (int h = 1; h < 32; h *= 2) {
        int upper = lane_id() & h;
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j < each) {
                float other = __shfl_xor_sync(0xffffffffu, v[j], h);
                v[j] = upper ? num_sub(other, v[j]) : num_add(v[j], other);
            }
    }
}

// smallest_sigma of tq4.c: m 2^e >= a / 127, m in 128 .. 255, from the bits of a >= 2^-100.
DEV void smallest_sigma(uint32_t bits, int32_t *m, int32_t *e) {
    uint32_t A = (bits & 0x7fffff) | 0x800000;
    int coarse = A > 127 * 255 * 512;
    uint32_t step = 127 * 512 << coarse, up = (A + step - 1) / step;
    *e = (int32_t)(bits >> 23) - 127 - 23 + 9 + coarse;
    *m = up < 128 ? 128 : (int32_t)up;
}

// Rounds the rotated group v by sigma and writes it as row t.
DEV void write_group(const act_rows *a, int t, int group, int each, const float v[4], float sigma) {
    int first = (group * 32 + lane_id()) * each;
    int8_t *q = a->q + ((int64_t)(first / 16) * a->apart + t) * 16 + first % 16;
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (j < each) q[j] = sigma == 0 ? 0 : (int8_t)num_rint(num_div(v[j], sigma));
}

// Rotates and rounds a group by its own sigma, which goes to mult and own_e (mult 0: the group
// counts as zero). Returns 1 when a value is not finite.
DEV int first_rounding(const act_rows *a, int t, int group, int each, const row_of *r,
                       int32_t *own_e) {
    float v[4];
    uint32_t top = 0;
    int32_t m = 0, e = -1000;
    load_group(v, r, group, each);
    rotate_group(v, each);
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (j < each && (num_bits(v[j]) & 0x7fffffff) > top) top = num_bits(v[j]) & 0x7fffffff;
    top = warp_max(top);
    int bad = top >= 0x7f800000;
    if (!bad && num_float(top) >= 0x1p-100f) smallest_sigma(top, &m, &e);
    write_group(a, t, group, each, v, m ? num_mul((float)m, num_power_of_two(e)) : 0);
    if (lane_id() == 0) a->mult[(int64_t)group * a->apart + t] = m, *own_e = e;
    return bad;
}

// With E known: groups more than 16 binades below it are rounded again, by 128 * 2^(E-16).
DEV void second_rounding(const act_rows *a, int t, int group, int each, const row_of *r,
                         int32_t own_e, int top) {
    int32_t *mult = &a->mult[(int64_t)group * a->apart + t], m = *mult;
    int low = own_e < top - 16;
    if (low && m) {
        float v[4];
        load_group(v, r, group, each);
        rotate_group(v, each);
        write_group(a, t, group, each, v, num_mul(128.0f, num_power_of_two(top - 16)));
    }
    __syncwarp();
    if (lane_id() == 0) *mult = low ? 128 : m << (own_e - top + 16);
}

// What quantise_block needs of shared memory: exponents and factors, then staged rows.
DEV int64_t quantise_bytes(const mega_matrix *w, int rows) {
    return ((int64_t)rows * (w->pad / w->group + 2) * 4 + 15) / 16 * 16;
}

// A block quantises rows x [rows, w->cols], normed when norm is given, into a. room: shared memory
// of quantise_bytes(), and as many bytes more as there are, where rows to be normed are staged.
// Ends with the block in step. Not finite: fail_at(code).
DEV void quantise_block(mega *m, const act_rows *a, const mega_matrix *w, const float *x,
                        const float *norm, float eps, int rows, unsigned char *room, int bytes,
                        int code) {
    int groups = w->pad / w->group, each = w->group / 32, bad = 0;
    int32_t *own_e = (int32_t *)room;                 // [rows, groups]
    float *factor = (float *)(own_e + rows * groups); // [rows]
    float *stage = (float *)(room + quantise_bytes(w, rows));
    int fit = (int)((bytes - quantise_bytes(w, rows)) / 4 / w->cols), staged = fit > 0;
    if (fit <= 0 || fit > rows) fit = rows;
    for (int t0 = 0; t0 < rows; t0 += fit) {
        int n = rows - t0 < fit ? rows - t0 : fit;
        const float *from = x + (int64_t)t0 * w->cols;
        if (staged) {
            stage_floats(stage, from, n * w->cols);
            __syncthreads();
            from = stage;
        }
        for (int t = warp_id(); t < n && norm; t += WARPS) {
            float f = norm_factor(from + (int64_t)t * w->cols, w->cols, eps);
            if (lane_id() == 0) factor[t0 + t] = f;
        }
        if (norm) __syncthreads();
        for (int i = warp_id(); i < n * groups; i += WARPS) {
            int t = i / groups, g = i % groups;
            row_of r = {from + (int64_t)t * w->cols, norm, norm ? factor[t0 + t] : 1, w->cols};
            bad |= first_rounding(a, t0 + t, g, each, &r, &own_e[(t0 + t) * groups + g]);
        }
        __syncthreads();
    }
    for (int i = warp_id(); i < rows * groups; i += WARPS) {
        int t = i / groups, g = i % groups;
        uint32_t top = 0; // of e + 1000
        for (int k = lane_id(); k < groups; k += 32) {
            uint32_t e = (uint32_t)(own_e[t * groups + k] + 1000);
            top = e > top ? e : top;
        }
        top = warp_max(top);
        row_of r = {x + (int64_t)t * w->cols, norm, norm ? factor[t] : 1, w->cols};
        int E = top ? (int)top - 1000 : 0;
        second_rounding(a, t, g, each, &r, own_e[t * groups + g], E);
        if (g == 0 && lane_id() == 0) a->e[t] = E;
    }
    if (bad) fail_at(m, code);
    __syncthreads();
}

// All blocks: rows x [rows, w->cols] into the run's arrays in global memory.
PHASE void quantise_many(mega *m, mega_run *r, const mega_matrix *w, const float *x,
                         const float *norm, int rows, int code) {
    for (int t = (int)blockIdx.x; t < rows; t += (int)gridDim.x) {
        act_rows a = {r->acts + t * 16, r->mult + t, r->e + t, r->room};
        quantise_block(m, &a, w, x + (int64_t)t * w->cols, norm, r->eps, 1, scratch(m), m->scratch,
                       code);
    }
}

// All blocks: y = norm(x) w, rows of `hidden`.
PHASE void norm_rows(const mega_run *r, float *y, const float *x, const float *w, int rows) {
    int n = r->hidden;
    for (int t = grid_warp(); t < rows; t += grid_warps()) {
        float f = norm_factor(x + (int64_t)t * n, n, r->eps);
        for (int i = lane_id(); i < n; i += 32)
            y[(int64_t)t * n + i] = num_mul(num_mul(x[(int64_t)t * n + i], f), w[i]);
    }
}
#endif
