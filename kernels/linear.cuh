// linear.cuh - linear layers: the stream of bricks, and the exact integers that are made of it.
//
// A phase's tiles (16 rows of its matrices, one behind the other; gate and up in turn) are dealt to
// the blocks in contiguous stretches, and a block's slots (up to 256 columns of a tile) to its
// warps likewise. Each warp has a ring of slots of its own, fills it by bulk copies and empties it
// alone, so no block-wide barrier is needed; the ring runs ahead of the tape across grid barriers,
// since weights do not depend on activations. A tile that one warp reads whole is finished by it; the
// partial sums of the others meet in shared memory, as integers.
#ifndef LINEAR_CUH
#define LINEAR_CUH
#include "quant.cuh"

// ---- how a phase is dealt out

// Rows that a phase works on.
DEV int rows_of(const mega_phase *p, int rows, int head_from) {
    if (state()->command.skip >> p->op & 1) return 0;
    return p->op == HEAD ? rows - head_from : rows;
}
DEV int slot_bricks(const mega_matrix *w) { return w->kind == TQ4 ? SLOT_TQ4 : SLOT_I8; }
DEV int streams(const mega_phase *p) { return p->linears && p->w[0].kind != DENSE; }

// Bytes of scratch that few tokens take: partial sums, activations, and what quantise_block needs.
DEV int64_t split_bytes(int tokens) { return (int64_t)WARPS * 16 * tokens * 8; }
DEV int64_t few_bytes(const mega_matrix *w, int rows) {
    int64_t acts = (int64_t)rows * (w->pad + w->pad / w->group * 4 + 4);
    return split_bytes(FEW) + (acts + 15) / 16 * 16 + quantise_bytes(w, rows);
}
DEV int is_few(const mega *m, const mega_phase *p, int rows) {
    return rows <= FEW && few_bytes(&p->w[0], rows) <= m->scratch;
}

// A block's part of a phase, and of it a warp's.
typedef struct {
    int tile;        // the block's first; counted through all matrices of the phase
    int parts;       // slots of a tile
    int slots;       // of the block
    int first, last; // the warp's, counted from the block's first: first .. last - 1
} stretch;

DEV int begin_of(int slots, int warp) { return slots * warp / WARPS; }

DEV stretch stretch_of(const mega_phase *p) {
    int units = 0, each = p->op == GATEUP ? 2 : 1;
    for (int i = 0; i < p->linears; i++) units += p->w[i].tiles;
    units /= each; // a gate's tile and its up's stay together
    int lo = (int)((uint32_t)units * blockIdx.x / gridDim.x) * each; // below 2^24 * 2^8
    int hi = (int)((uint32_t)units * (blockIdx.x + 1) / gridDim.x) * each;
    int per = slot_bricks(&p->w[0]), parts = (p->w[0].blocks + per - 1) / per;
    int slots = (hi - lo) * parts;
    stretch s = {lo, parts, slots, begin_of(slots, warp_id()), begin_of(slots, warp_id() + 1)};
    return s;
}

// The matrix that a tile of the phase belongs to; *tile becomes its own count, *which its number.
DEV const mega_matrix *matrix_of(const mega_phase *p, int *tile, int *which) {
    *which = 0;
    if (p->op == GATEUP) {
        *which = *tile % 2;
        *tile /= 2;
    } else {
        while (*tile >= p->w[*which].tiles) *tile -= p->w[(*which)++].tiles;
    }
    return &p->w[*which];
}

// ---- a warp's ring

// All lanes hold the same. The cursor stands at the slot that is fetched next.
typedef struct {
    mega *m;
    const mega_run *r;
    int last, rows, head_from;  // of run_phases
    int slots, full;            // of the ring; those that were fetched and not yet emptied
    int in, out;                // the slot to fill next, the slot to empty next
    uint32_t parity;            // of the copies into `out`
    int phase, passes;          // cursor: phase == last: nothing is left
    int slot, end, part, parts; // in the pass: slot .. end - 1 are to be fetched
    int tile, first_slot, first_tile;
    int per, size;       // bricks of a slot, bytes of a brick
    const uint8_t *from; // in a tile: its next brick, NULL: not yet looked up
    int left;            // in a tile: bricks
} stream;

// Puts the cursor at the beginning of a pass.
DEV void rewind(stream *s) {
    s->slot = s->first_slot, s->tile = s->first_tile, s->part = s->slot % s->parts;
    s->from = NULL;
}

// Moves the cursor to the next phase that has bricks, from `phase` on.
DEV void seek(stream *s, int phase) {
    for (s->phase = phase; s->phase < s->last; s->phase++) {
        const mega_phase *p = &s->r->phase[s->phase];
        int rows = rows_of(p, s->rows, s->head_from);
        if (!streams(p) || rows == 0) continue;
        stretch w = stretch_of(p);
        if (w.first == w.last) continue;
        s->passes = is_few(s->m, p, rows) ? 1 : (rows + s->m->pass - 1) / s->m->pass;
        s->per = slot_bricks(&p->w[0]), s->size = brick_bytes(&p->w[0]);
        s->first_slot = w.first, s->end = w.last, s->parts = w.parts;
        s->first_tile = w.tile + w.first / w.parts;
        rewind(s);
        return;
    }
}

DEV void stream_open(stream *s, mega *m, const mega_run *r, int first, int last, int rows,
                     int head_from) {
    uint32_t kept = state()->ring[warp_id()];
    int at = (int)(kept >> 1);
    stream open = {m, r, last, rows, head_from, m->slots, 0, at, at, kept & 1};
    *s = open;
    seek(s, first);
}

// The ring is empty now: the place and the parity of its next slot are kept for the next command.
DEV void stream_close(stream *s) {
    __syncwarp();
    if (lane_id() == 0) state()->ring[warp_id()] = (uint32_t)s->out << 1 | s->parity;
    __syncwarp(); // the next stream_open reads it
}

// Starts copies until the ring is full or nothing is left. The lanes have read what is overwritten.
DEV void fetch(stream *s) {
    __syncwarp();
    while (s->phase < s->last && s->full < s->slots) {
        if (!s->from) {
            int tile = s->tile, which;
            const mega_matrix *w = matrix_of(&s->r->phase[s->phase], &tile, &which);
            s->from = brick_at(w, tile, s->part * s->per);
            s->left = w->blocks - s->part * s->per;
        }
        uint32_t bytes = (uint32_t)((s->left < s->per ? s->left : s->per) * s->size);
        if (lane_id() == 0) {
            uint64_t *bar = &state()->landed[warp_id()][s->in];
            copies_expect(bar, bytes);
            copies_start(ring_of(warp_id(), s->slots) + s->in * SLOT_BYTES, s->from, bytes, bar);
        }
        s->full++, s->in = s->in + 1 < s->slots ? s->in + 1 : 0;
        s->from += bytes, s->left -= s->per;
        if (++s->part == s->parts) s->part = 0, s->tile++, s->from = NULL;
        if (++s->slot < s->end) continue;
        if (--s->passes > 0)
            rewind(s);
        else
            seek(s, s->phase + 1);
    }
}

// The oldest slot, when it has landed.
DEV const unsigned char *landed(stream *s) {
    waiting w = {0, 0};
    while (!copies_landed(&state()->landed[warp_id()][s->out], s->parity))
        if (give_up(s->m, &w, state()->spin_ns)) {
            state()->stop = 1; // thread 0 may be gone: nobody waits behind it
            thread_exit();
        }
    __syncwarp(); // mma_s8 wants the warp in one piece
    return ring_of(warp_id(), s->slots) + s->out * SLOT_BYTES;
}

// The oldest slot has been read: another copy may take its place.
DEV void emptied(stream *s) {
    s->full--;
    if (++s->out == s->slots) s->out = 0, s->parity ^= 1;
    fetch(s);
}

// ---- what becomes of a result

// Takes W x of a matrix of the phase at (row, t), t counted from the phase's first row.
DEV void put(mega *m, const mega_run *r, const mega_phase *p, int which, int row, int t, float y,
             int code) {
    int64_t at = (int64_t)t * p->w[which].rows + row;
    switch (p->op) {
    case QKV: (which == 0 ? r->raw_q : which == 1 ? r->raw_k : r->v)[at] = y; break;
    case OUT:
    case DOWN: r->x[at] = y = num_add(r->x[at], y); break;
    case GATEUP: (which ? r->u : r->g)[at] = y; break;
    case HEAD: r->logits[at] = y; break;
    }
    if (!finite(y)) fail_at(m, code);
}

// The one rounding of tq_finish: from the exact integer to the float.
DEV void finish(mega *m, const mega_run *r, const mega_phase *p, int which, int row, int t,
                int64_t sum, int e, int code) {
    const mega_matrix *w = &p->w[which];
    if (row >= w->rows) return;
    put(m, r, p, which, row, t, num_mul(num_mul((float)sum, w->row[row]), num_power_of_two(e - 16)),
        code);
}

// Partial sums of tiles that several warps share: [warp][16 rows][tokens]. The tile's place is that
// of the first warp that begins inside it.
DEV int64_t *split_place(int64_t *split, const stretch *s, int first_slot, int tokens) {
    int w = 1;
    while (begin_of(s->slots, w) <= first_slot) w++;
    return split + (int64_t)w * 16 * tokens;
}

DEV void add_split(int64_t *at, int64_t x) {
    atomicAdd((unsigned long long *)at, (unsigned long long)x);
}

DEV void clear_split(int64_t *split, int tokens) {
    for (int i = (int)threadIdx.x; i < WARPS * 16 * tokens; i += THREADS) split[i] = 0;
}

// After every warp has added: the block finishes its shared tiles, tokens t0 .. t0 + n - 1.
DEV void finish_split(mega *m, const mega_run *r, const mega_phase *p, const stretch *s,
                      const int64_t *split, int tokens, int t0, int n, const int32_t *e, int code) {
    for (int w = 1; w < WARPS; w++) {
        int begin = begin_of(s->slots, w), first = begin - begin % s->parts, which;
        if (begin == first || begin >= s->slots || begin_of(s->slots, w - 1) > first) continue;
        int tile = s->tile + begin / s->parts;
        matrix_of(p, &tile, &which);
        for (int i = (int)threadIdx.x; i < 16 * n; i += THREADS)
            finish(m, r, p, which, tile * 16 + i / n, t0 + i % n,
                   split[(w * 16 + i / n) * tokens + i % n], e[i % n], code);
    }
}

// h = silu(g) u for the rows of this block's tiles, whose gate and up it has just finished.
DEV void finish_gate(const mega_run *r, const stretch *s, int t0, int n) {
    int first = s->tile / 2 * 16, last = first + s->slots / s->parts / 2 * 16;
    if (last > r->inter) last = r->inter;
    __syncthreads();
    for (int i = (int)threadIdx.x; i < (last - first) * n; i += THREADS) {
        int64_t at = (int64_t)(t0 + i / (last - first)) * r->inter + first + i % (last - first);
        float g = r->g[at];
        r->h[at] = num_mul(num_mul(g, num_sigmoid(g)), r->u[at]);
    }
}

// ---- few tokens: dot products of four

// A lane's share of a slot, out of the ring: of bricks 4 i + lane/8, rows 2 (lane%8) and the next.
typedef struct {
    uint32_t w[4][8];  // 16 columns of the first row, then of the second, as int8
    uint32_t scale[4]; // low byte: of the first row, high byte: of the second
} opened;

DEV void read_levels(uint32_t t[4], const mega_matrix *w) {
    const uint32_t *c = (const uint32_t *)w->codebook;
#pragma unroll
    for (int i = 0; i < 4; i++) t[i] = w->kind == TQ4 ? c[i] : 0;
}

DEV void open_slot(opened *o, const mega_matrix *w, const unsigned char *slot, int n,
                   const uint32_t t[4]) {
    int pair = lane_id() % 8, tq4 = w->kind == TQ4;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int b = 4 * i + lane_id() / 8;
        o->scale[i] = 0;
        if (b >= n) continue;
        const unsigned char *brick = slot + b * (tq4 ? BRICK_TQ4 : BRICK_I8);
        uint4 c = *(const uint4 *)(brick + pair * (tq4 ? 16 : 32));
        o->scale[i] = *(const uint16_t *)(brick + (tq4 ? 128 : 256) + pair * 2);
        if (tq4) {
            uint32_t codes[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
            for (int k = 0; k < 4; k++) levels8(&o->w[i][2 * k], t, codes[k]);
        } else {
            uint4 d = *(const uint4 *)(brick + pair * 32 + 16);
            o->w[i][0] = c.x, o->w[i][1] = c.y, o->w[i][2] = c.z, o->w[i][3] = c.w;
            o->w[i][4] = d.x, o->w[i][5] = d.y, o->w[i][6] = d.z, o->w[i][7] = d.w;
        }
    }
}

// The group of a block of 16 columns, as a shift: 128, 64 or 32 columns.
DEV int group_shift(const mega_matrix *w) { return w->group == 128 ? 3 : w->group == 64 ? 2 : 1; }

// Adds the slot, whose first brick is `block` of its tile, to the sums of two rows.
DEV void dot_slot(int64_t sum[2][FEW], const opened *o, int shift, int block, int n,
                  const act_rows *a, int rows) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int b = 4 * i + lane_id() / 8;
        if (b >= n) continue;
        int s0 = (int8_t)o->scale[i], s1 = (int8_t)(o->scale[i] >> 8);
        const int32_t *mult = a->mult + ((block + b) >> shift) * a->apart;
        const uint4 *x = (const uint4 *)(a->q + (block + b) * a->apart * 16);
#pragma unroll
        for (int t = 0; t < FEW; t++) {
            if (t >= rows) break;
            uint4 q = x[t];
            const uint32_t *c = o->w[i];
            int d0 = __dp4a((int)c[0], (int)q.x, 0), d1 = __dp4a((int)c[4], (int)q.x, 0);
            d0 = __dp4a((int)c[1], (int)q.y, d0), d1 = __dp4a((int)c[5], (int)q.y, d1);
            d0 = __dp4a((int)c[2], (int)q.z, d0), d1 = __dp4a((int)c[6], (int)q.z, d1);
            d0 = __dp4a((int)c[3], (int)q.w, d0), d1 = __dp4a((int)c[7], (int)q.w, d1);
            sum[0][t] += (int64_t)mult[t] * (s0 * d0); // |s d| < 2^25, mult < 2^24
            sum[1][t] += (int64_t)mult[t] * (s1 * d1);
        }
    }
}

// The warp has added what it reads of a tile: finishes it, or hands the sums to the block.
DEV void close_tile(mega *m, const mega_run *r, const mega_phase *p, const stretch *s, int tile,
                    int first_slot, int64_t sum[2][FEW], const act_rows *a, int rows,
                    int64_t *split, int code) {
    int which, whole = s->first <= first_slot && first_slot + s->parts <= s->last;
    int row = lane_id() % 8 * 2, mine = lane_id() / 8;
    matrix_of(p, &tile, &which);
    int64_t *place = whole ? NULL : split_place(split, s, first_slot, FEW);
#pragma unroll
    for (int t = 0; t < FEW; t++) {
        if (t >= rows) break;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int64_t y = sum[i][t];
            y += __shfl_xor_sync(0xffffffffu, y, 8);
            y += __shfl_xor_sync(0xffffffffu, y, 16);
            sum[i][t] = 0;
            if (mine != t) continue;
            if (whole)
                finish(m, r, p, which, tile * 16 + row + i, t, y, a->e[t], code);
            else
                add_split(&place[(row + i) * FEW + t], y);
        }
    }
}

// Before the barrier that ends the phase before: takes this phase's first slot out of the ring.
DEV void open_first(stream *s, const mega_phase *p, opened *o) {
    stretch w = stretch_of(p);
    fetch(s);
    if (w.first == w.last) return;
    uint32_t levels[4];
    int tile = w.tile + w.first / w.parts, which, part = w.first % w.parts;
    const mega_matrix *x = matrix_of(p, &tile, &which);
    int per = slot_bricks(x), n = x->blocks - part * per;
    read_levels(levels, x);
    open_slot(o, x, landed(s), n < per ? n : per, levels);
    emptied(s);
}

// The block's stretch of a phase. first: its first slot, already out of the ring.
DEV void dot_stretch(stream *s, const mega_phase *p, const stretch *w, opened *first,
                     const act_rows *a, int rows, int64_t *split, int code) {
    int64_t sum[2][FEW] = {{0}};
    uint32_t levels[4];
    int tile = w->tile + w->first / w->parts, part = w->first % w->parts;
    const mega_matrix *x = NULL;
    int per = slot_bricks(&p->w[0]), blocks = p->w[0].blocks, shift = group_shift(&p->w[0]);
    for (int slot = w->first; slot < w->last; slot++) {
        if (!x || part == 0) {
            int own = tile, which;
            x = matrix_of(p, &own, &which);
            read_levels(levels, x);
        }
        int block = part * per, n = blocks - block;
        if (n > per) n = per;
        if (slot > w->first) {
            open_slot(first, x, landed(s), n, levels);
            emptied(s);
        }
        dot_slot(sum, first, shift, block, n, a, rows);
        if (++part < w->parts && slot + 1 < w->last) continue;
        close_tile(s->m, s->r, p, w, tile, slot - (part - 1), sum, a, rows, split, code);
        if (part == w->parts) part = 0, tile++;
    }
}

// A whole phase for few tokens, x [rows, cols]: what can be done without x comes before the wait.
PHASE void linear_few(stream *from, const mega_phase *p, const float *x, int rows, int code) {
    stream s = *from; // in registers while the phase runs
    opened first;
    stretch w = stretch_of(p);
    const mega_matrix *in = &p->w[0];
    unsigned char *room = scratch(s.m);
    int64_t *split = (int64_t *)room;
    act_rows a = {(int8_t *)room + split_bytes(FEW), NULL, NULL, rows};
    a.mult = (int32_t *)(a.q + rows * in->pad);
    a.e = a.mult + rows * (in->pad / in->group);
    int own = (int)(few_bytes(in, rows) - quantise_bytes(in, rows));
    open_first(&s, p, &first);
    grid_wait(s.m);
    clear_split(split, FEW);
    quantise_block(s.m, &a, in, x, p->norm, s.r->eps, rows, room + own, s.m->scratch - own, code);
    dot_stretch(&s, p, &w, &first, &a, rows, split, code);
    __syncthreads();
    finish_split(s.m, s.r, p, &w, split, FEW, 0, rows, a.e, code);
    if (p->op == GATEUP) finish_gate(s.r, &w, 0, rows);
    *from = s;
}

// ---- many tokens: matrix products of 16 rows, 16 columns and 8 tokens

enum { OCTETS = 2 }; // of tokens in a pass of 16, the longest

// Adds a slot for `octets` octets of tokens from t0 on. part: sums within a group, in int32.
DEV void mma_slot(int64_t sum[OCTETS][4], int32_t part[OCTETS][4], const mega_run *r,
                  const mega_matrix *w, const unsigned char *slot, int block, int n,
                  const uint32_t levels[4], int t0, int octets) {
    int lane = lane_id(), tq4 = w->kind == TQ4, shift = group_shift(w);
    for (int b = 0; b < n; b++, block++) {
        const unsigned char *brick = slot + b * (tq4 ? BRICK_TQ4 : BRICK_I8);
        const int8_t *scale = (const int8_t *)brick + (tq4 ? 128 : 256);
        uint32_t a0, a1;
        if (tq4) {
            a0 = levels4(levels, *(const uint16_t *)(brick + lane * 2));
            a1 = levels4(levels, *(const uint16_t *)(brick + 64 + lane * 2));
        } else {
            a0 = *(const uint32_t *)(brick + lane * 4);
            a1 = *(const uint32_t *)(brick + 128 + lane * 4);
        }
        int s0 = scale[lane / 4], s1 = scale[lane / 4 + 8],
            ends = ((block + 1) & ((1 << shift) - 1)) == 0;
        const int8_t *x = r->acts + ((int64_t)block * r->room + t0) * 16 + lane * 4;
        const int32_t *mult = r->mult + (int64_t)(block >> shift) * r->room + t0 + lane % 4 * 2;
#pragma unroll
        for (int o = 0; o < OCTETS; o++) {
            if (o >= octets) break;
            int32_t c[4] = {0};
            mma_s8(c, a0, a1, *(const uint32_t *)(x + o * 128));
            part[o][0] += s0 * c[0], part[o][1] += s0 * c[1];
            part[o][2] += s1 * c[2], part[o][3] += s1 * c[3];
            if (!ends) continue;
            int32_t m0 = mult[o * 8], m1 = mult[o * 8 + 1];
            sum[o][0] += (int64_t)m0 * part[o][0], sum[o][1] += (int64_t)m1 * part[o][1];
            sum[o][2] += (int64_t)m0 * part[o][2], sum[o][3] += (int64_t)m1 * part[o][3];
            part[o][0] = part[o][1] = part[o][2] = part[o][3] = 0;
        }
    }
}

// close_tile for many tokens: lane l has rows l/4 and l/4 + 8, tokens 2 (l%4) and + 1 of an octet.
DEV void close_many(mega *m, const mega_run *r, const mega_phase *p, const stretch *s, int tile,
                    int first_slot, int64_t sum[OCTETS][4], int t0, int rows, int64_t *split,
                    int code) {
    int which, whole = s->first <= first_slot && first_slot + s->parts <= s->last;
    int tokens = m->pass;
    matrix_of(p, &tile, &which);
    int64_t *place = whole ? NULL : split_place(split, s, first_slot, tokens);
#pragma unroll
    for (int i = 0; i < OCTETS * 4; i++) {
        int row = lane_id() / 4 + i % 4 / 2 * 8, t = i / 4 * 8 + lane_id() % 4 * 2 + i % 2;
        int64_t y = sum[i / 4][i % 4];
        sum[i / 4][i % 4] = 0;
        if (t >= tokens || t0 + t >= rows) continue;
        if (whole)
            finish(m, r, p, which, tile * 16 + row, t0 + t, y, r->e[t0 + t], code);
        else
            add_split(&place[row * tokens + t], y);
    }
}

// The block's stretch of a phase for tokens t0 .. of `rows`, at most a pass of them.
DEV void linear_pass(stream *s, const mega_phase *p, const stretch *w, int t0, int rows,
                     int64_t *split, int code) {
    int64_t sum[OCTETS][4] = {{0}};
    int32_t partial[OCTETS][4] = {{0}};
    uint32_t levels[4];
    int tile = w->tile + w->first / w->parts, part = w->first % w->parts;
    int n = rows - t0 < s->m->pass ? rows - t0 : s->m->pass;
    const mega_matrix *x = NULL;
    for (int slot = w->first; slot < w->last; slot++) {
        if (!x || part == 0) {
            int own = tile, which;
            x = matrix_of(p, &own, &which);
            read_levels(levels, x);
        }
        int per = slot_bricks(x), block = part * per, left = x->blocks - block;
        mma_slot(sum, partial, s->r, x, landed(s), block, left < per ? left : per, levels, t0,
                 (n + 7) / 8);
        emptied(s);
        if (++part < w->parts && slot + 1 < w->last) continue;
        close_many(s->m, s->r, p, w, tile, slot - (part - 1), sum, t0, rows, split, code);
        if (part == w->parts) part = 0, tile++;
    }
}

// A whole phase for many tokens, whose quantised input every block may read.
PHASE void linear_many(stream *from, const mega_phase *p, int rows, int code) {
    stream s = *from;
    stretch w = stretch_of(p);
    int64_t *split = (int64_t *)scratch(s.m);
    int pass = s.m->pass;
    for (int t0 = 0; t0 < rows; t0 += pass) {
        int n = rows - t0 < pass ? rows - t0 : pass;
        clear_split(split, pass);
        __syncthreads();
        linear_pass(&s, p, &w, t0, rows, split, code);
        __syncthreads();
        finish_split(s.m, s.r, p, &w, split, pass, t0, n, s.r->e + t0, code);
        if (p->op == GATEUP) finish_gate(s.r, &w, t0, n);
        __syncthreads();
    }
    *from = s;
}

// ---- dense: a lane sum for each row and token, x [rows, cols]

PHASE void linear_dense(mega *m, const mega_run *r, const mega_phase *p, const float *x, int rows,
                        int code) {
    int most = 0, n = p->w[0].cols;
    for (int i = 0; i < p->linears; i++) most = p->w[i].rows > most ? p->w[i].rows : most;
    for (int row = grid_warp(); row < most; row += grid_warps())
        for (int t = 0; t < rows; t++) {
            float y[3];
            for (int i = 0; i < p->linears; i++) {
                if (row >= p->w[i].rows) continue;
                y[i] = lane_dot(p->w[i].dense + (int64_t)row * n, x + (int64_t)t * n, n);
                if (lane_id() == 0) put(m, r, p, i, row, t, y[i], code);
            }
            if (p->op == GATEUP && lane_id() == 0)
                r->h[(int64_t)t * r->inter + row] = num_mul(num_mul(y[0], num_sigmoid(y[0])), y[1]);
        }
}
#endif
