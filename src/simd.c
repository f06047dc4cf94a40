// simd.c - linear layers in AVX2 and AVX-512 VNNI.
#include "simd.h"
#include "num.h"

static int chosen = -1; // the level in use; -1: the highest

#ifdef __AVX2__
#include <immintrin.h>

// Activations laid out for the vectors: in steps of `step` columns the order in which weights
// come out of their bytes. TQ4: even columns, then odd ones. I8: as they are.
typedef struct {
    int8_t *q;     // [T, pad]
    int32_t *bias; // [T, pad/8] or, for I8, [T, pad/4]: -128 times the sum of 8 or 4 neighbours
} laid;

static laid lay_out(const tq_matrix *m, const tq_acts *a, int64_t rows, int64_t step) {
    int64_t n = rows * m->pad, half = step / 2, i8 = m->kind == KIND_I8, many = i8 ? 4 : 8;
    laid l = {must_align((size_t)n, 1), must_align((size_t)(n / many), sizeof *l.bias)};
    if (i8) memcpy(l.q, a->q, (size_t)n);
    for (int64_t i = 0; i < n && !i8; i += step)
        for (int64_t j = 0; j < half; j++) {
            l.q[i + j] = a->q[i + 2 * j];
            l.q[i + half + j] = a->q[i + 2 * j + 1];
        }
    for (int64_t i = 0; i < n / many; i++) {
        int sum = 0;
        for (int64_t j = 0; j < many; j++) sum += a->q[i * many + j];
        l.bias[i] = -128 * sum;
    }
    return l;
}

// 32 weights and their scales. TQ4: lanes 0 .. 15 are even columns, 16 .. 31 odd.
static inline __m256i weights32(const tq_matrix *m, const uint8_t *codes, __m128i book) {
    if (m->kind == KIND_I8) return _mm256_loadu_si256((const __m256i *)codes);
    __m128i x = _mm_loadu_si128((const __m128i *)codes), low = _mm_set1_epi8(15);
    __m128i even = _mm_shuffle_epi8(book, _mm_and_si128(x, low));
    __m128i odd = _mm_shuffle_epi8(book, _mm_and_si128(_mm_srli_epi16(x, 4), low));
    return _mm256_set_m128i(odd, even);
}

static inline __m256i scales32(const tq_matrix *m, const int8_t *s) {
    __m256i v = _mm256_set1_epi32((int)((uint32_t)(uint16_t)s[1] << 16 | (uint16_t)s[0]));
    // as 16-bit lanes: I8 s0 x8, s1 x8; TQ4 (s0 x4, s1 x4) twice
    __m256i wide = _mm256_set_epi64x(0x0302030203020302, 0x0302030203020302, 0x0100010001000100,
                                     0x0100010001000100);
    __m256i split = _mm256_set_epi64x(0x0302030203020302, 0x0100010001000100, 0x0302030203020302,
                                      0x0100010001000100);
    return _mm256_shuffle_epi8(v, m->kind == KIND_I8 ? wide : split);
}

// |w| q sign(w): pairs stay within 2 * 128 * 127 = 32,512, so the saturating add never saturates;
// two of them times |s| <= 128 stay below 2^23, a group of 128 below 2^25.
static void row_avx2(const tq_matrix *m, int64_t r, const laid *l, const int32_t *mult, int64_t T,
                     int64_t *y) {
    const uint8_t *codes = m->codes + r * (m->kind == KIND_I8 ? m->pad : m->pad / 2);
    const int8_t *scale = m->scale + r * (m->pad / BLOCK);
    __m128i book =
        m->codebook ? _mm_loadu_si128((const __m128i *)m->codebook) : _mm_setzero_si128();
    for (int64_t t = 0; t < T; t++) {
        __m256i sum = _mm256_setzero_si256();
        for (int64_t i = 0; i < m->pad;) {
            __m256i in_group = _mm256_setzero_si256();
            __m256i k = _mm256_set1_epi64x(*mult++);
            for (int64_t end = i + m->group; i < end; i += 32) {
                __m256i w = weights32(m, codes + (m->kind == KIND_I8 ? i : i / 2), book);
                __m256i q = _mm256_loadu_si256((const __m256i *)(l->q + t * m->pad + i));
                __m256i dot = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
                dot = _mm256_madd_epi16(dot, scales32(m, scale + i / BLOCK));
                in_group = _mm256_add_epi32(in_group, dot);
            }
            sum = _mm256_add_epi64(sum, _mm256_mul_epi32(in_group, k));
            sum = _mm256_add_epi64(sum, _mm256_mul_epi32(_mm256_srli_epi64(in_group, 32), k));
        }
        int64_t part[4];
        _mm256_storeu_si256((__m256i *)part, sum);
        y[t] = part[0] + part[1] + part[2] + part[3];
    }
}

#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define VNNI WIDE __attribute__((always_inline))

// Eight scales as the 32-bit lanes of two vectors. I8: each four times. TQ4: each twice, in s[0].
VNNI static inline void scales128(__m512i s[2], const int8_t *scale, int i8) {
    __m128i x = _mm_loadl_epi64((const __m128i *)scale);
    __m128i low = _mm_set_epi8(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    __m128i high = _mm_set_epi8(7, 7, 7, 7, 6, 6, 6, 6, 5, 5, 5, 5, 4, 4, 4, 4);
    __m128i pair = _mm_unpacklo_epi8(x, x);
    s[0] = _mm512_cvtepi8_epi32(i8 ? _mm_shuffle_epi8(x, low) : pair);
    if (i8) s[1] = _mm512_cvtepi8_epi32(_mm_shuffle_epi8(x, high));
}

// Row r for T tokens, T and i8 known to the compiler. A step is a group of 128 columns: two
// vectors of weights + 128. TQ4: lane k of the first holds columns 8k, 8k + 2, 8k + 4, 8k + 6, of
// the second the odd ones between; both meet in one sum. I8: lane k of each holds four neighbours.
VNNI static inline void row_vnni(const tq_matrix *m, int64_t r, const laid *l, const int32_t *mult,
                                 int T, int i8, int64_t *y) {
    int64_t pad = m->pad, groups = pad / 128;
    const uint8_t *codes = m->codes + r * (i8 ? pad : pad / 2);
    const int8_t *scale = m->scale + r * (pad / BLOCK), *q = l->q;
    const int32_t *bias = l->bias;
    __m512i top = _mm512_set1_epi8(-128), four = _mm512_set1_epi8(15), sum[4], w[2], s[2], v, book;
    if (!i8) book = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)m->codebook));
    if (!i8) book = _mm512_xor_si512(book, top); // + 128
    for (int t = 0; t < T; t++) sum[t] = _mm512_setzero_si512();
    for (int64_t g = 0; g < groups; g++, q += 128, bias += i8 ? 32 : 16, codes += i8 ? 128 : 64) {
        w[0] = _mm512_loadu_si512(codes);
        if (i8) {
            w[1] = _mm512_xor_si512(_mm512_loadu_si512(codes + 64), top);
            w[0] = _mm512_xor_si512(w[0], top);
        } else {
            w[1] = _mm512_and_si512(_mm512_srli_epi16(w[0], 4), four);
            w[1] = _mm512_shuffle_epi8(book, w[1]);
            w[0] = _mm512_shuffle_epi8(book, _mm512_and_si512(w[0], four));
        }
        scales128(s, scale + 8 * g, i8);
        for (int t = 0; t < T; t++) {
            const int8_t *x = q + t * pad;
            const int32_t *b = bias + t * pad / (i8 ? 4 : 8);
            __m512i k = _mm512_set1_epi32(mult[t * groups + g]);
            v = _mm512_dpbusd_epi32(_mm512_loadu_si512(b), w[0], _mm512_loadu_si512(x));
            if (i8) {
                __m512i u = _mm512_loadu_si512(b + 16);
                u = _mm512_dpbusd_epi32(u, w[1], _mm512_loadu_si512(x + 64));
                v = _mm512_mullo_epi32(v, s[0]);
                v = _mm512_add_epi32(v, _mm512_mullo_epi32(u, s[1]));
            } else
                v = _mm512_dpbusd_epi32(v, w[1], _mm512_loadu_si512(x + 64));
            v = _mm512_add_epi32(v, _mm512_srli_epi64(v, 32)); // lane 2k: 2k and 2k + 1
            if (!i8) v = _mm512_mul_epi32(v, s[0]);            // both are of block k
            sum[t] = _mm512_add_epi64(sum[t], _mm512_mul_epi32(v, k));
        }
    }
    for (int t = 0; t < T; t++) y[t] = _mm512_reduce_add_epi64(sum[t]);
}

// Tokens by fours, which share the row's weights in registers, then one by one.
WIDE static void rows_vnni(const tq_matrix *m, int64_t r, laid l, const int32_t *mult, int64_t T,
                           int64_t *y) {
    int i8 = m->kind == KIND_I8;
    for (int64_t t = 0, n; t < T; t += n) {
        n = T - t < 4 ? 1 : 4;
        if (n == 4)
            i8 ? row_vnni(m, r, &l, mult, 4, 1, y + t) : row_vnni(m, r, &l, mult, 4, 0, y + t);
        else
            i8 ? row_vnni(m, r, &l, mult, 1, 1, y + t) : row_vnni(m, r, &l, mult, 1, 0, y + t);
        l.q += n * m->pad, l.bias += n * m->pad / (i8 ? 4 : 8), mult += n * m->pad / 128;
    }
}

int simd_levels(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")
               ? 3
               : 2;
}

// Tokens in blocks: a block's activations, 3/2 byte a column, stay in a near cache while a thread's
// rows pass over them, and so do the lines of y that neighbouring rows write.
static void x86_linear(const tq_matrix *m, const tq_acts *a, int64_t rows, float *y, int level) {
    enum { TOKENS = 16 };
    int vnni = level == 2 && m->group == 128; // its step is a group of 128 columns
    laid l = lay_out(m, a, rows, vnni ? 128 : 32);
#pragma omp parallel
    for (int64_t t = 0; t < rows; t += TOKENS) {
        int64_t T = rows - t < TOKENS ? rows - t : TOKENS, at = t * m->pad, sum[TOKENS];
        laid block = {l.q + at, l.bias + at / (m->kind == KIND_I8 ? 4 : 8)};
        const int32_t *mult = a->mult + at / m->group;
#pragma omp for schedule(static) nowait
        for (int64_t r = 0; r < m->rows; r++) {
            vnni ? rows_vnni(m, r, block, mult, T, sum) : row_avx2(m, r, &block, mult, T, sum);
            for (int64_t i = 0; i < T; i++)
                y[(t + i) * m->rows + r] = tq_finish(sum[i], m->row[r], a->e[t + i]);
        }
    }
    free(l.q);
    free(l.bias);
}

// ---- many tokens: a lane is a row of the matrix

enum { PANEL = 16, INPUTS = 8, NEAR = 1 << 18 }; // elements of activations that stay near

// 16 rows [16, n] of 32-bit words become columns [n, 16]; n is a multiple of 4.
static void turn(const void *rows, int64_t n, void *panel) {
    const float *from = rows; // moved only
    for (int64_t i = 0; i < n; i += 4)
        for (int64_t k = 0; k < PANEL; k += 4) {
            __m128 q[4];
            for (int j = 0; j < 4; j++) q[j] = _mm_loadu_ps(from + (k + j) * n + i);
            _MM_TRANSPOSE4_PS(q[0], q[1], q[2], q[3]);
            for (int j = 0; j < 4; j++) _mm_storeu_ps((float *)panel + (i + j) * PANEL + k, q[j]);
        }
}

// Scale times level of row r: at most 2^14, so 16 bits hold it.
VNNI static inline void expand(const tq_matrix *m, int64_t r, int16_t *out) {
    const uint8_t *codes = m->codes + r * (m->kind == KIND_I8 ? m->pad : m->pad / 2);
    const int8_t *scale = m->scale + r * (m->pad / BLOCK);
    __m128i book =
        m->codebook ? _mm_loadu_si128((const __m128i *)m->codebook) : _mm_setzero_si128();
    for (int64_t i = 0; i < m->pad; i += BLOCK) {
        __m128i x = _mm_loadl_epi64((const __m128i *)(codes + i / 2)), four = _mm_set1_epi8(15);
        __m128i even = _mm_shuffle_epi8(book, _mm_and_si128(x, four));
        __m128i odd = _mm_shuffle_epi8(book, _mm_and_si128(_mm_srli_epi16(x, 4), four));
        __m128i w = m->kind == KIND_I8 ? _mm_loadu_si128((const __m128i *)(codes + i))
                                       : _mm_unpacklo_epi8(even, odd);
        __m256i s = _mm256_set1_epi16(scale[i / BLOCK]);
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_mullo_epi16(_mm256_cvtepi8_epi16(w), s));
    }
}

// T inputs q [T, pad], in pairs of columns, times a panel [pad / 2, 16]; y [T] of 16 rows. A group's
// sums stay below 2^28; even rows and odd ones meet their multipliers apart.
VNNI static inline void panel_integers(const tq_matrix *m, const int32_t *w, const int32_t *q,
                                       const int32_t *mult, const int *e, __m512 row, int T,
                                       __m512 *y) {
    int64_t pairs = m->pad / 2, half = m->group / 2, groups = m->pad / m->group;
    __m512i even[INPUTS], odd[INPUTS], sum[INPUTS];
    for (int t = 0; t < T; t++) even[t] = odd[t] = _mm512_setzero_si512();
    for (int64_t g = 0; g < groups; g++) {
        for (int t = 0; t < T; t++) sum[t] = _mm512_setzero_si512();
        for (int64_t i = g * half; i < (g + 1) * half; i++) {
            __m512i v = _mm512_loadu_si512(w + i * PANEL);
            for (int t = 0; t < T; t++)
                sum[t] = _mm512_dpwssd_epi32(sum[t], v, _mm512_set1_epi32(q[t * pairs + i]));
        }
        for (int t = 0; t < T; t++) {
            __m512i k = _mm512_set1_epi32(mult[t * groups + g]),
                    high = _mm512_srli_epi64(sum[t], 32);
            even[t] = _mm512_add_epi64(even[t], _mm512_mul_epi32(sum[t], k));
            odd[t] = _mm512_add_epi64(odd[t], _mm512_mul_epi32(high, k));
        }
    }
    __m512i order = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int t = 0; t < T; t++) { // tq_finish()
        __m512 low = _mm512_castps256_ps512(_mm512_cvtepi64_ps(even[t]));
        __m512 high = _mm512_castps256_ps512(_mm512_cvtepi64_ps(odd[t]));
        __m512 all = _mm512_mul_ps(_mm512_permutex2var_ps(low, order, high), row);
        y[t] = _mm512_mul_ps(all, _mm512_set1_ps(num_power_of_two(e[t] - 16)));
    }
}

// Lane l of the sums of T inputs x [T, n] with a panel [n, 16].
VNNI static inline void panel_lane(const float *w, const float *x, int64_t n, int T, int64_t l,
                                   __m512 *s) {
    for (int t = 0; t < T; t++) s[t] = _mm512_setzero_ps();
    for (int64_t i = l; i < n; i += LANES) {
        __m512 v = _mm512_loadu_ps(w + i * PANEL);
        for (int t = 0; t < T; t++) s[t] = _mm512_fmadd_ps(v, _mm512_set1_ps(x[t * n + i]), s[t]);
    }
}

// All lanes, folded: 16 and 8 apart while they are in registers, then 4, 2, 1.
VNNI static inline void panel_floats(const float *w, const float *x, int64_t n, int T, __m512 *y) {
    __m512 a[INPUTS], b[INPUTS], c[INPUTS], d[8][INPUTS];
    for (int64_t l = 0; l < 8; l++) {
        panel_lane(w, x, n, T, l, a);
        panel_lane(w, x, n, T, l + 16, b);
        for (int t = 0; t < T; t++) a[t] = _mm512_add_ps(a[t], b[t]);
        panel_lane(w, x, n, T, l + 8, b);
        panel_lane(w, x, n, T, l + 24, c);
        for (int t = 0; t < T; t++) d[l][t] = _mm512_add_ps(a[t], _mm512_add_ps(b[t], c[t]));
    }
    for (int apart = 4; apart > 0; apart /= 2)
        for (int l = 0; l < apart; l++)
            for (int t = 0; t < T; t++) d[l][t] = _mm512_add_ps(d[l][t], d[l + apart][t]);
    for (int t = 0; t < T; t++) y[t] = d[0][t];
}

// What a panel's rows are multiplied with.
typedef struct {
    const float *x;   // F32 [T, cols]
    const int32_t *q; // TQ4 and I8 [T, pad / 2]: two columns of 16 bits
    const tq_acts *a;
} inputs;

VNNI static inline void panel_tokens(const tq_matrix *m, const void *w, const inputs *in, int64_t t,
                                     int T, __m512 row, __mmask16 rows, float *y) {
    __m512 out[INPUTS];
    if (m->kind == KIND_F32)
        panel_floats(w, in->x + t * m->cols, m->cols, T, out);
    else
        panel_integers(m, w, in->q + t * m->pad / 2, in->a->mult + t * (m->pad / m->group),
                       in->a->e + t, row, T, out);
    for (int i = 0; i < T; i++) _mm512_mask_storeu_ps(y + (t + i) * m->rows, rows, out[i]);
}

// Rows r .. r + 15 for tokens t .. last - 1; room: two panels.
WIDE static void panel_rows(const tq_matrix *m, const inputs *in, int64_t r, int64_t t,
                            int64_t last, uint32_t *room, float *y) {
    int64_t n = m->kind == KIND_F32 ? m->cols : m->pad / 2;
    uint32_t *panel = room + n * PANEL;
    int many = m->rows - r < PANEL ? (int)(m->rows - r) : PANEL;
    __mmask16 rows = (__mmask16)((1u << many) - 1);
    __m512 row = m->row ? _mm512_maskz_loadu_ps(rows, m->row + r) : _mm512_setzero_ps();
    memset(room, 0, (size_t)(n * PANEL) * sizeof *room);
    for (int k = 0; k < many; k++)
        m->kind == KIND_F32 ? tq_widen(m, r + k, (float *)(void *)room + k * n)
                            : expand(m, r + k, (int16_t *)room + k * m->pad);
    turn(room, n, panel);
    for (; t + INPUTS <= last; t += INPUTS) panel_tokens(m, panel, in, t, INPUTS, row, rows, y + r);
    for (; t < last; t++) panel_tokens(m, panel, in, t, 1, row, rows, y + r);
}

// Blocks of tokens whose activations stay in a near cache, times panels.
static void x86_panels(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows,
                       float *y) {
    int64_t cols = m->kind == KIND_F32 ? m->cols : m->pad,
            n = m->kind == KIND_F32 ? 0 : rows * cols;
    int64_t block = (NEAR / cols + INPUTS) / INPUTS * INPUTS;
    int16_t *q = must_align((size_t)n + 1, sizeof *q);
    const inputs in = {x, (const int32_t *)q, a};
#pragma omp parallel
    {
        uint32_t *room = must_align((size_t)(2 * PANEL * cols), sizeof *room);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++) q[i] = a->q[i];
#pragma omp for schedule(static) collapse(2)
        for (int64_t t = 0; t < rows; t += block)
            for (int64_t r = 0; r < m->rows; r += PANEL)
                panel_rows(m, &in, r, t, t + block < rows ? t + block : rows, room, y);
        free(room);
    }
    free(q);
}

// The sums of a tile stay in registers: 4 rows of 16 columns in eight vectors of 8.
static void half_avx2(float (*out)[TILE_COLS], const float *a, const float (*b)[TILE_COLS],
                      int64_t n) {
    __m256 sum[4][2];
    for (int i = 0; i < 4; i++) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
    for (int64_t k = 0; k < n; k++, a += TILE_ROWS) {
        __m256 low = _mm256_loadu_ps(b[k]), high = _mm256_loadu_ps(b[k] + 8);
        for (int i = 0; i < 4; i++) {
            __m256 x = _mm256_broadcast_ss(a + i);
            sum[i][0] = _mm256_fmadd_ps(x, low, sum[i][0]);
            sum[i][1] = _mm256_fmadd_ps(x, high, sum[i][1]);
        }
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out[i], sum[i][0]);
        _mm256_storeu_ps(out[i] + 8, sum[i][1]);
    }
}

// 8 rows of 16 columns in eight vectors of 16.
WIDE static void whole_avx512(float (*out)[TILE_COLS], const float (*a)[TILE_ROWS],
                              const float (*b)[TILE_COLS], int64_t n) {
    __m512 sum[TILE_ROWS];
    for (int i = 0; i < TILE_ROWS; i++) sum[i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < n; k++) {
        __m512 w = _mm512_loadu_ps(b[k]);
        for (int i = 0; i < TILE_ROWS; i++)
            sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(a[k][i]), w, sum[i]);
    }
    for (int i = 0; i < TILE_ROWS; i++) _mm512_storeu_ps(out[i], sum[i]);
}

static void x86_tile(float (*out)[TILE_COLS], const float (*a)[TILE_ROWS],
                     const float (*b)[TILE_COLS], int64_t n, int level) {
    if (level == 2)
        whole_avx512(out, a, b, n);
    else
        half_avx2(out, a[0], b, n), half_avx2(out + 4, a[0] + 4, b, n);
}

#else
int simd_levels(void) { return 1; }
static void x86_panels(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows,
                       float *y) {
    ref_linear(m, a, x, rows, y);
}
static void x86_tile(float (*out)[TILE_COLS], const float (*a)[TILE_ROWS],
                     const float (*b)[TILE_COLS], int64_t n, int level) {
    (void)level;
    ref_tile(out, a, b, n);
}
static void x86_linear(const tq_matrix *m, const tq_acts *a, int64_t rows, float *y, int level) {
    (void)level;
    ref_linear(m, a, NULL, rows, y);
}
#endif

const char *simd_level_name(int level) {
    static const char *const name[] = {"scalar", "avx2", "avx512"};
    return name[level];
}

void simd_use(int level) { chosen = level; }

void simd_linear(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows, float *y) {
    if (chosen < 0) chosen = simd_levels() - 1;
    int dense = m->kind == KIND_F32;
    if (chosen == 2 && rows >= 8 && (!dense || m->cols % LANES == 0))
        x86_panels(m, a, x, rows, y);
    else if (chosen == 0 || rows == 0 || dense)
        ref_linear(m, a, x, rows, y);
    else
        x86_linear(m, a, rows, y, chosen);
}

void simd_tile(float out[TILE_ROWS][TILE_COLS], const float (*a)[TILE_ROWS],
               const float (*b)[TILE_COLS], int64_t n) {
    if (chosen < 0) chosen = simd_levels() - 1;
    chosen ? x86_tile(out, a, b, n, chosen) : ref_tile(out, a, b, n);
}
