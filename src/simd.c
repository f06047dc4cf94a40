#include "simd.h"
#include "num.h"

static int chosen = -1; // the level in use; -1: the highest

#ifdef __x86_64__
#include <immintrin.h>

// Activations laid out for the vectors: in steps of `step` columns the order in which weights
// come out of their bytes. TQ4: even columns, then odd ones. I8: as they are.
typedef struct {
    int8_t *q;     // [T, pad]
    int32_t *bias; // [T, pad/4]: -128 times the sum of four neighbours in q
} laid;

static laid lay_out(const tq_matrix *m, const tq_acts *a, int64_t rows, int64_t step) {
    int64_t n = rows * m->pad;
    laid l = {must_alloc((size_t)n, 1), must_alloc((size_t)n / 4, sizeof *l.bias)};
    for (int64_t i = 0; i < n; i += step)
        for (int64_t j = 0; j < step; j++)
            l.q[i + (m->kind == KIND_I8 ? j : j / 2 + j % 2 * (step / 2))] = a->q[i + j];
    for (int64_t i = 0; i < n; i++) l.bias[i / 4] -= 128 * l.q[i];
    return l;
}

// 32 weights and their scales. TQ4: lanes 0 .. 15 are even columns, 16 .. 31 odd.
__attribute__((target("avx2"))) static inline __m256i
weights32(const tq_matrix *m, const uint8_t *codes, __m128i book) {
    if (m->kind == KIND_I8) return _mm256_loadu_si256((const __m256i *)codes);
    __m128i x = _mm_loadu_si128((const __m128i *)codes), low = _mm_set1_epi8(15);
    __m128i even = _mm_shuffle_epi8(book, _mm_and_si128(x, low));
    __m128i odd = _mm_shuffle_epi8(book, _mm_and_si128(_mm_srli_epi16(x, 4), low));
    return _mm256_set_m128i(odd, even);
}

__attribute__((target("avx2"))) static inline __m256i scales32(const tq_matrix *m,
                                                               const int8_t *s) {
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
__attribute__((target("avx2"))) static void row_avx2(const tq_matrix *m, int64_t r, const laid *l,
                                                     const int32_t *mult, int64_t T, int64_t *y) {
    const uint8_t *codes = m->codes + r * (m->kind == KIND_I8 ? m->pad : m->pad / 2);
    const int8_t *scale = m->scale + r * (m->pad / BLOCK);
    __m128i book =
        m->codebook ? _mm_loadu_si128((const __m128i *)m->codebook) : _mm_setzero_si128();
    for (int64_t t = 0; t < T; t++) {
        __m256i sum = _mm256_setzero_si256();
        for (int64_t i = 0; i < m->pad;) {
            __m256i in_group = _mm256_setzero_si256();
            __m256i k = _mm256_set1_epi64x(mult[(t * m->pad + i) / m->group]);
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

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

// 64 weights + 128 as unsigned bytes. TQ4: lanes 0 .. 31 are even columns, 32 .. 63 odd.
VNNI static inline __m512i weights64(const tq_matrix *m, const uint8_t *codes, __m512i book) {
    if (m->kind == KIND_I8)
        return _mm512_xor_si512(_mm512_loadu_si512(codes), _mm512_set1_epi8(-128));
    __m256i x = _mm256_loadu_si256((const __m256i *)codes), low = _mm256_set1_epi8(15);
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_and_si256(x, low)),
                                      _mm256_and_si256(_mm256_srli_epi16(x, 4), low), 1);
    return _mm512_shuffle_epi8(book, both);
}

// Four scales as 32-bit lanes: I8 each four times; TQ4 each twice, and that twice.
VNNI static inline __m512i scales64(const tq_matrix *m, const int8_t *s) {
    int four;
    memcpy(&four, s, sizeof four);
    __m128i wide = _mm_set_epi8(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    __m128i split = _mm_set_epi8(3, 3, 2, 2, 1, 1, 0, 0, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_cvtepi8_epi32(
        _mm_shuffle_epi8(_mm_set1_epi32(four), m->kind == KIND_I8 ? wide : split));
}

// A lane holds four products: (w + 128) q summed onto -128 times the sum of q, exact. For many
// tokens the weights of the row are laid out once, in wide and in scales.
VNNI static void row_vnni(const tq_matrix *m, int64_t r, const laid *l, const int32_t *mult,
                          int64_t T, int64_t *y, uint8_t *wide, int32_t *scales) {
    const uint8_t *codes = m->codes + r * (m->kind == KIND_I8 ? m->pad : m->pad / 2);
    const int8_t *scale = m->scale + r * (m->pad / BLOCK);
    __m512i book = _mm512_setzero_si512();
    if (m->codebook)
        book =
            _mm512_xor_si512(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)m->codebook)),
                             _mm512_set1_epi8(-128));
    for (int64_t i = 0; i < m->pad && T > 1; i += 64) {
        _mm512_storeu_si512(wide + i, weights64(m, codes + (m->kind == KIND_I8 ? i : i / 2), book));
        _mm512_storeu_si512(scales + i / 4, scales64(m, scale + i / BLOCK));
    }
    for (int64_t t = 0; t < T; t++) {
        const int8_t *q = l->q + t * m->pad;
        const int32_t *bias = l->bias + t * m->pad / 4;
        __m512i sum = _mm512_setzero_si512();
        for (int64_t i = 0; i < m->pad;) {
            __m512i in_group = _mm512_setzero_si512();
            __m512i k = _mm512_set1_epi64(mult[(t * m->pad + i) / m->group]);
            for (int64_t end = i + m->group; i < end; i += 64) {
                __m512i w = T > 1 ? _mm512_loadu_si512(wide + i)
                                  : weights64(m, codes + (m->kind == KIND_I8 ? i : i / 2), book);
                __m512i s =
                    T > 1 ? _mm512_loadu_si512(scales + i / 4) : scales64(m, scale + i / BLOCK);
                __m512i dot = _mm512_dpbusd_epi32(_mm512_loadu_si512(bias + i / 4), w,
                                                  _mm512_loadu_si512(q + i));
                in_group = _mm512_add_epi32(in_group, _mm512_mullo_epi32(dot, s));
            }
            sum = _mm512_add_epi64(sum, _mm512_mul_epi32(in_group, k));
            sum = _mm512_add_epi64(sum, _mm512_mul_epi32(_mm512_srli_epi64(in_group, 32), k));
        }
        y[t] = _mm512_reduce_add_epi64(sum);
    }
}

int simd_levels(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) return 1;
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512bw")
               ? 3
               : 2;
}

static void x86_linear(const tq_matrix *m, const tq_acts *a, int64_t rows, float *y, int level) {
    int vnni = level == 2 && m->group >= 64; // a step of 64 columns lies in one group
    laid l = lay_out(m, a, rows, vnni ? 64 : 32);
#pragma omp parallel
    {
        int64_t *sum = must_alloc((size_t)rows, sizeof *sum);
        uint8_t *wide = must_alloc((size_t)m->pad, 1);
        int32_t *scales = must_alloc((size_t)m->pad / 4, sizeof *scales);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < m->rows; r++) {
            if (vnni)
                row_vnni(m, r, &l, a->mult, rows, sum, wide, scales);
            else
                row_avx2(m, r, &l, a->mult, rows, sum);
            for (int64_t t = 0; t < rows; t++)
                y[t * m->rows + r] = tq_finish(sum[t], m->row[r], a->e[t]);
        }
        free(sum);
        free(wide);
        free(scales);
    }
    free(l.q);
    free(l.bias);
}

#else
int simd_levels(void) { return 1; }
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
    if (chosen == 0 || m->kind == KIND_F32 || rows == 0)
        ref_linear(m, a, x, rows, y);
    else
        x86_linear(m, a, rows, y, chosen);
}
