// product.cuh - linear layers of a mirror: the gradients of their inputs and of what learns in them.
//
// Nothing as large as a matrix is stored: a tile of a weight gradient lies in shared memory until it
// has become shares of scales, levels or weights. A share is a whole number of units, so the sums
// of shares are exact in any order; all other sums have the order that is written at them.
#ifndef PRODUCT_CUH
#define PRODUCT_CUH
#include "failure.h"
#include "linear.cuh"

// ---- exact sums

DEV mega_part *part_at(const mega *m, int slot, int what) {
    int at = m->learn.at[slot * 4 + (what >= R2) + (what >= NORMS) + (what >= DENSES)];
    return at < 0 ? NULL : &m->learn.part[at];
}

// The largest share, in units, of a sum that gets `each` shares a sample.
DEV float limit_of(const mega *m, int64_t each) {
    return num_div(0x1p62f, (float)(m->learn.samples * each));
}

// A share, cut at the limit, as a whole number of units of 2^-36. 1: not finite.
DEV int units(float limit, float x, int64_t *u) {
    float v = num_mul(x, 0x1p36f); // exact, or infinite
    if (!finite(v)) return 1;
    v = v > limit ? limit : v < -limit ? -limit : v;
    *u = (int64_t)num_rint(v);
    return 0;
}
DEV void add_units(int64_t *sum, int64_t u) {
    atomicAdd((unsigned long long *)sum, (unsigned long long)u);
}
DEV int share(float limit, int64_t *sum, float x) {
    int64_t u;
    if (units(limit, x, &u)) return 1;
    add_units(sum, u);
    return 0;
}

// ---- products: out[i][j] = sum over k < n of a[k][i] b[k][j], ascending in each segment of 1,024,
// whose sums are then added in ascending order.

enum {
    SUBTILES = 8,      // of 16 x 32 outputs, each made by a warp; a lane has 4 x 4 of them
    OUTPUTS = 8 * 512, // sums that a block makes at a time
    OWN = (SUBTILES + WARPS - 1) / WARPS,
    SPREAD = (OUTPUTS + THREADS - 1) / THREADS // outputs of a tile that a thread keeps
};

struct alignas(16) quad {
    float v[4];
};
struct alignas(8) pair {
    float v[2];
};

// Weights: i are rows of w, j its columns, k tokens. Else: i are tokens, j columns of w, k rows. A
// tile has 2^tall by 2^wide subtiles; where these are fewer than 8, several segments are summed at
// a time. 2^deep terms are staged at a time.
typedef struct {
    const mega_matrix *w;
    const float *dy; // [tokens, w->rows]
    const float *x;  // weights: the input [tokens, stride]; else NULL
    int tokens, stride, n;
    int first_i, first_j; // of the tile
    int tall, wide, deep;
} product;

DEV int lead_of(const product *p) { return (16 << p->tall) + 2; } // of a, against bank conflicts
DEV int stage_of(const product *p) { return (lead_of(p) + (32 << p->wide)) << p->deep; } // floats
DEV int tile_of(const product *p) { return 512 << (p->tall + p->wide); }

// As deep as the scratch allows, beside `beside` bytes.
DEV void choose_depth(const mega *m, product *p, int beside) {
    p->deep = 6;
    while ((int64_t)(OUTPUTS / tile_of(p)) * stage_of(p) * 4 + beside > m->scratch && p->deep > 3)
        p->deep--;
}

// Columns col .. col + 3 of a row of floats [n]; 0 behind it.
DEV quad floats4(const float *row, int col, int n) {
    if (n % 4 == 0 && col < n) return *(const quad *)(row + col);
    quad q;
#pragma unroll
    for (int i = 0; i < 4; i++) q.v[i] = col + i < n ? row[col + i] : 0;
    return q;
}

// The same of row r of a matrix: the weights, or scale times level, an integer below 2^14.
DEV quad weights4(const mega_matrix *w, const uint32_t levels[4], int r, int col) {
    if (w->kind == DENSE) return floats4(w->dense + (int64_t)r * w->cols, col, w->cols);
    quad q = {{0, 0, 0, 0}};
    if (col >= w->pad) return q;
    const uint8_t *brick = brick_at(w, r / 16, col / 16);
    int at = r % 16 * 16 + col % 16, scale = brick_scale(w, brick, r % 16);
    uint32_t c = w->kind == TQ4 ? levels4(levels, *(const uint16_t *)(brick + at / 2))
                                : *(const uint32_t *)(brick + at);
#pragma unroll
    for (int i = 0; i < 4; i++) q.v[i] = (float)(scale * (int8_t)(c >> 8 * i));
    return q;
}

// Terms first .. first + n - 1 of a tile's factors: a [k][lead], then b [k][32 << wide].
DEV void stage(const product *p, int first, int n, float *a) {
    const mega_matrix *w = p->w;
    int side = 16 << p->tall, lead = lead_of(p), rows = w->rows;
    for (int e = (int)threadIdx.x; e < side << p->deep; e += THREADS) {
        int k = p->x ? e >> (4 + p->tall) : e & ((1 << p->deep) - 1); // memory is read along rows
        int i = p->x ? e & (side - 1) : e >> p->deep, at = p->first_i + i;
        if (k >= n) continue;
        int t = p->x ? first + k : at, r = p->x ? at : first + k;
        float v = t < p->tokens && r < rows ? p->dy[(int64_t)t * rows + r] : 0;
        a[k * lead + i] = p->x || w->kind == DENSE ? v : num_mul(v, w->row[r]);
    }
    float *b = a + (lead << p->deep);
    uint32_t levels[4];
    if (w->kind == TQ4) read_levels(levels, w);
    for (int e = (int)threadIdx.x; e < 8 << (p->wide + p->deep); e += THREADS) {
        int k = e >> (3 + p->wide), j = (e & ((8 << p->wide) - 1)) * 4, col = p->first_j + j;
        if (k >= n) continue;
        *(quad *)(b + (k << (5 + p->wide)) + j) =
            p->x ? floats4(p->x + (int64_t)(first + k) * p->stride, col, p->stride)
                 : weights4(w, levels, first + k, col);
    }
}

// What a lane has of a subtile: rows 4 (l/8) .. + 3, columns 4 (l%8) .. + 3. s: of the warp's own.
// Returns the segment, of those summed at a time; -1: none. i, j: the first, within the tile.
DEV int place_of(const product *p, int s, int *i, int *j) {
    int v = warp_id() + s * WARPS, sub = v & ((1 << (p->tall + p->wide)) - 1);
    *i = (sub >> p->wide) * 16 + lane_id() / 8 * 4;
    *j = (sub & ((1 << p->wide) - 1)) * 32 + lane_id() % 8 * 4;
    return SUBTILES % WARPS && v >= SUBTILES ? -1 : v >> (p->tall + p->wide);
}

// Terms of the stage that begins at first, of the segment that lies `ahead` further on.
DEV int terms(const product *p, int first, int ahead) {
    int n = p->n - first - ahead * GPU_SEGMENT;
    return n < 0 ? 0 : n < 1 << p->deep ? n : 1 << p->deep;
}

// Adds the staged terms: one sum for each output, ascending.
DEV void multiply(const product *p, const float *stages, int first, float acc[OWN][16]) {
#pragma unroll
    for (int s = 0; s < OWN; s++) {
        int i, j, g = place_of(p, s, &i, &j), lead = lead_of(p);
        if (g < 0) continue;
        const float *a = stages + g * stage_of(p) + i;
        const float *b = stages + g * stage_of(p) + (lead << p->deep) + j;
        int n = terms(p, first, g);
#pragma unroll 4
        for (int k = 0; k < n; k++) {
            pair x[2] = {*(const pair *)(a + k * lead), *(const pair *)(a + k * lead + 2)};
            quad y = *(const quad *)(b + (k << (5 + p->wide)));
#pragma unroll
            for (int o = 0; o < 16; o++)
                acc[s][o] = num_fma(x[o / 8].v[o / 4 % 2], y.v[o % 4], acc[s][o]);
        }
    }
}

// A tile; the thread gets outputs threadIdx.x + q * THREADS of it, counted row by row. stages: shared
// memory, free again at the end.
DEV void tile_sum(const product *p, float *stages, float out[SPREAD]) {
    int tile = tile_of(p), segments = OUTPUTS / tile;
#pragma unroll
    for (int q = 0; q < SPREAD; q++) out[q] = 0;
    for (int first = 0; first < p->n; first += segments * GPU_SEGMENT) {
        float acc[OWN][16] = {{0}};
        for (int k = first; k < first + GPU_SEGMENT && k < p->n; k += 1 << p->deep) {
            for (int g = 0; g < segments; g++)
                stage(p, k + g * GPU_SEGMENT, terms(p, k, g), stages + g * stage_of(p));
            __syncthreads();
            multiply(p, stages, k, acc);
            __syncthreads();
        }
#pragma unroll
        for (int s = 0; s < OWN; s++) {
            int i, j, g = place_of(p, s, &i, &j);
            if (g < 0) continue;
#pragma unroll
            for (int o = 0; o < 16; o++)
                stages[g * tile + ((i + o / 4) << (5 + p->wide)) + j + o % 4] = acc[s][o];
        }
        __syncthreads();
#pragma unroll
        for (int q = 0; q < SPREAD; q++)
            for (int g = 0; g < segments && first + g * GPU_SEGMENT < p->n; g++)
                if ((int)threadIdx.x + q * THREADS < tile)
                    out[q] = num_add(out[q], stages[g * tile + threadIdx.x + q * THREADS]);
        __syncthreads();
    }
}

// ---- linear layers

// out[t,i] = sum over rows r, ascending, of dy[t,r] row[r] times the integers of row r; dense: of
// dy[t,r] W[r,i], added to what out holds when more is 1. out [T, pad], dense: [T, cols].
PHASE void input_gradient(mega *m, const mega_matrix *w, const float *dy, int T, float *out,
                          int more) {
    int stride = w->kind == DENSE ? w->cols : w->pad;
    product p = {w, dy, NULL, T, stride, w->rows, 0, 0, 2, 1, 0};
    if (w->rows > 4 * GPU_SEGMENT && (T + 63) / 64 * ((stride + 63) / 64) < (int)gridDim.x)
        p.tall = 1, p.wide = 0; // more tiles, four segments at a time
    choose_depth(m, &p, 0);
    int side = 16 << p.tall, across = (stride + side - 1) / side;
    for (int i = (int)blockIdx.x; i < (T + side - 1) / side * across; i += (int)gridDim.x) {
        float sum[SPREAD];
        p.first_i = i / across * side, p.first_j = i % across * side;
        tile_sum(&p, (float *)scratch(m), sum);
#pragma unroll
        for (int q = 0; q < SPREAD; q++) {
            int e = (int)threadIdx.x + q * THREADS;
            int t = p.first_i + (e >> (5 + p.wide)), col = p.first_j + (e & (side - 1));
            if (e >= tile_of(&p) || t >= T || col >= stride) continue;
            float *to = &out[(int64_t)t * stride + col];
            *to = more ? num_add(*to, sum[q]) : sum[q];
        }
    }
}

// From the gradient of a rotated input, wide [T, pad], that of the input.
PHASE void turn_input(mega *m, const mega_matrix *w, int T, float *dx, int more) {
    int each = w->group / 32, groups = w->pad / w->group;
    for (int64_t i = grid_warp(); i < (int64_t)T * groups; i += grid_warps()) {
        int64_t t = i / groups;
        int first = ((int)(i % groups) * 32 + lane_id()) * each;
        float v[4];
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = j < each ? m->learn.wide[t * w->pad + first + j] : 0;
        rotate_group(v, each);
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j < each && first + j < w->cols) {
                float *to = &dx[t * w->cols + first + j];
                *to = more ? num_add(*to, v[j]) : v[j];
            }
    }
}

// The quantised input as floats: wide [T, pad]. A warp takes a row.
PHASE void widen_input(mega *m, const mega_run *r, const mega_matrix *w, int T) {
    for (int t = grid_warp(); t < T; t += grid_warps())
        for (int i = lane_id(); i < w->pad; i += 32) {
            float mult = (float)r->mult[(int64_t)(i / w->group) * r->room + t];
            float q = (float)r->acts[((int64_t)(i / 16) * r->room + t) * 16 + i % 16];
            m->learn.wide[(int64_t)t * w->pad + i] =
                num_mul(q, num_mul(mult, num_power_of_two(r->e[t] - 16)));
        }
}

enum { WIDTH = 256, LEAD = WIDTH + 4 }; // columns of a tile of 16 rows' weight gradient

// What d [16][LEAD], columns 16 b0 .. of the gradient of 16 rows, means for their scales.
DEV int scale_shares(const mega *m, const mega_matrix *w, mega_part *r1, int tile, int b0, int n,
                     const float *d) {
    float limit = limit_of(m, 1);
    int bad = 0;
    for (int e = (int)threadIdx.x; e < n * 16; e += THREADS) {
        int b = e / 16, row = e % 16;
        const uint8_t *brick = brick_at(w, tile, b0 + b);
        float v = 0;
        for (int i = 0; i < 16; i++)
            v = num_fma((float)brick_level(w, brick, row, i), d[row * LEAD + b * 16 + i], v);
        if (tile * 16 + row < w->rows)
            bad |= share(limit, &r1->sum[((int64_t)tile * w->blocks + b0 + b) * 16 + row],
                         num_mul(w->row[tile * 16 + row], v));
    }
    return bad;
}

// The same for the codebook: book [16 rows][16 codes] gathers it by code, columns ascending.
DEV void gather_book(const mega_matrix *w, int tile, int b0, int n, const float *d, float *book) {
    for (int e = (int)threadIdx.x; e < 256; e += THREADS) {
        int row = e / 16, code = e % 16;
        float sum = book[e];
        for (int b = 0; b < n; b++) {
            const uint8_t *brick = brick_at(w, tile, b0 + b);
            float scale = (float)brick_scale(w, brick, row);
#pragma unroll
            for (int i = 0; i < 16; i += 4) {
                int c = *(const uint16_t *)(brick + row * 8 + i / 2);
                quad v = *(const quad *)&d[row * LEAD + b * 16 + i];
#pragma unroll
                for (int j = 0; j < 4; j++)
                    if ((c >> 4 * j & 15) == code) sum = num_fma(scale, v.v[j], sum);
            }
        }
        book[e] = sum;
    }
}

// Each row's book is a share of each level: those of the tile are added, then the tile's to the sum.
DEV int book_shares(const mega *m, const mega_matrix *w, mega_part *r2, int tile,
                    const float *book) {
    float limit = limit_of(m, w->rows);
    int bad = 0;
    for (int code = (int)threadIdx.x; code < 16; code += THREADS) {
        int64_t sum = 0, u = 0;
        for (int i = 0; i < 16 && tile * 16 + i < w->rows; i++) {
            bad |= units(limit, num_mul(w->row[tile * 16 + i], book[i * 16 + code]), &u);
            sum += u;
        }
        add_units(&r2->sum[code], sum);
    }
    return bad;
}

// A tile's gradient as shares of dense weights; sum: as tile_sum gives it.
DEV int dense_shares(const mega *m, const product *p, mega_part *part, const float sum[SPREAD]) {
    float limit = limit_of(m, part->slot == EMBED_SLOT ? 2 : 1); // with embed_mirror
    int bad = 0;
#pragma unroll
    for (int q = 0; q < SPREAD; q++) {
        int e = (int)threadIdx.x + q * THREADS, col = p->first_j + e % WIDTH;
        int64_t row = p->first_i + e / WIDTH;
        if (e < 16 * WIDTH && row < p->w->rows && col < p->w->cols)
            bad |= share(limit, &part->sum[row * p->w->cols + col], sum[q]);
    }
    return bad;
}

// Samples: rows start[s] .. start[s + 1] - 1 of the pass; start NULL: all of T rows are one.
typedef struct {
    int T, seqs;
    const int64_t *start;
} span_of;

DEV int first_of(const span_of *s, int i) { return s->start ? (int)s->start[i] : i ? s->T : 0; }

// The shares of a matrix from its input x [T, stride], as floats, and dy [T, rows]: a block takes 16
// rows of a sample and 256 columns, or all, ascending, where a codebook's sum goes through them.
PHASE void weight_gradient(mega *m, const mega_matrix *w, int slot, const float *x, const float *dy,
                           span_of s, int code) {
    mega_part *r1 = part_at(m, slot, R1), *r2 = part_at(m, slot, R2);
    mega_part *dense = part_at(m, slot, DENSES);
    int stride = w->kind == DENSE ? w->cols : w->pad, tiles = (w->rows + 15) / 16, bad = 0;
    int across = (stride + WIDTH - 1) / WIDTH, pieces = r2 ? 1 : across;
    float *book = (float *)scratch(m), *d = book + 256, sum[SPREAD]; // d lies where the stages do
    product p = {w, dy, x, 0, stride, 0, 0, 0, 0, 3, 0};
    choose_depth(m, &p, 1024);
    for (int64_t i = blockIdx.x; i < (int64_t)s.seqs * pieces * tiles; i += gridDim.x) {
        int tile = (int)(i % tiles), first = first_of(&s, (int)(i / tiles / pieces));
        p.n = p.tokens = first_of(&s, (int)(i / tiles / pieces) + 1) - first;
        p.x = x + (int64_t)first * stride, p.dy = dy + (int64_t)first * w->rows;
        p.first_i = tile * 16;
        for (int e = (int)threadIdx.x; e < 256; e += THREADS) book[e] = 0;
        for (int c = (int)(i / tiles % pieces); c < across; c += pieces) {
            int b0 = c * 16, n = w->blocks - b0 < 16 ? w->blocks - b0 : 16;
            p.first_j = c * WIDTH;
            tile_sum(&p, d, sum);
            if (dense) {
                bad |= dense_shares(m, &p, dense, sum);
                continue;
            }
#pragma unroll
            for (int q = 0; q < SPREAD; q++) {
                int e = (int)threadIdx.x + q * THREADS;
                if (e < 16 * WIDTH) d[e / WIDTH * LEAD + e % WIDTH] = sum[q];
            }
            __syncthreads();
            if (r1) bad |= scale_shares(m, w, r1, tile, b0, n, d);
            if (r2) gather_book(w, tile, b0, n, d, book);
            __syncthreads();
        }
        if (r2) bad |= book_shares(m, w, r2, tile, book);
        __syncthreads();
    }
    if (bad) fail_at(m, code);
}

// The mirror of y = W x: from dy [T, rows] the shares of W's parameters and dx [T, cols], added to
// what dx holds when more is 1.
PHASE void linear_mirror(mega *m, int layer, int site, const mega_matrix *w, const float *x,
                         const float *dy, span_of s, float *dx, int more) {
    mega_run *r = &m->run[RUN_LEARN];
    float *wide = m->learn.wide;
    int slot = site_slot(layer, site, m->learn.tied), code = site_code(r->layers, layer, site);
    int quantised = w->kind != DENSE;
    if (part_at(m, slot, R1) || part_at(m, slot, R2) || part_at(m, slot, DENSES)) {
        if (quantised) {
            quantise_many(m, r, w, x, NULL, s.T, code);
            grid_sync(m);
            widen_input(m, r, w, s.T);
            grid_sync(m);
        }
        weight_gradient(m, w, slot, quantised ? wide : x, dy, s, code);
        if (quantised) grid_sync(m); // wide is free again
    }
    input_gradient(m, w, dy, s.T, quantised ? wide : dx, more && !quantised);
    grid_sync(m);
    if (!quantised) return;
    turn_input(m, w, s.T, dx, more);
    grid_sync(m);
}
#endif
