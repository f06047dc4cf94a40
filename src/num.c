// num.c - the CPU's ordered sums, the check of the float environment, and rotary tables in double.
#include "num.h"
#include "assay.h"

#ifdef __AVX2__
#include <immintrin.h>

// The accumulators in four registers, folded by 16 and 8; n a multiple of 32.
static inline __m256 lanes(const float *a, const float *b, int64_t n) {
    __m256 s[4];
    for (int j = 0; j < 4; j++) s[j] = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += LANES)
        for (int j = 0; j < 4; j++)
            s[j] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8 * j), _mm256_loadu_ps(b + i + 8 * j),
                                   s[j]);
    return _mm256_add_ps(_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[1], s[3]));
}

static float lane_dot_avx2(const float *a, const float *b, int64_t n) {
    __m256 s = lanes(a, b, n);
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

// Of eight vectors b, n apart: a fold by 4, 2 and 1 takes two vectors of sums and leaves one that
// holds twice as many, each half as long.
static void lane_dots_avx2(float *y, const float *a, const float *b, int64_t n) {
    __m256 v[8], w[4], x[2];
    for (int k = 0; k < 8; k++) v[k] = lanes(a, b + k * n, n);
    for (int k = 0; k < 4; k++)
        w[k] = _mm256_add_ps(_mm256_permute2f128_ps(v[k], v[k + 4], 0x20),
                             _mm256_permute2f128_ps(v[k], v[k + 4], 0x31));
    for (int k = 0; k < 2; k++)
        x[k] = _mm256_add_ps(_mm256_shuffle_ps(w[2 * k], w[2 * k + 1], 0x44),
                             _mm256_shuffle_ps(w[2 * k], w[2 * k + 1], 0xee));
    _mm256_storeu_ps(
        y, _mm256_add_ps(_mm256_shuffle_ps(x[0], x[1], 0x88), _mm256_shuffle_ps(x[0], x[1], 0xdd)));
}

// 32 elements of y stay in registers.
static void add_times_avx2(float *y, const float *s, int64_t ds, const float *x, int64_t dx,
                           int64_t count) {
    __m256 v[4];
    for (int k = 0; k < 4; k++) v[k] = _mm256_loadu_ps(y + 8 * k);
    for (int64_t j = 0; j < count; j++) {
        __m256 f = _mm256_broadcast_ss(s + j * ds);
        for (int k = 0; k < 4; k++)
            v[k] = _mm256_fmadd_ps(f, _mm256_loadu_ps(x + j * dx + 8 * k), v[k]);
    }
    for (int k = 0; k < 4; k++) _mm256_storeu_ps(y + 8 * k, v[k]);
}
#endif

// Element i goes to accumulator i mod 32; then accumulators 16, 8, 4, 2, 1 apart are added.
float num_lane_dot(const float *a, const float *b, int64_t n) {
#ifdef __AVX2__
    if (n % LANES == 0) return lane_dot_avx2(a, b, n);
#endif
    float acc[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) acc[l] = num_fma(a[i + l], b[i + l], acc[l]);
    for (int l = 0; i + l < n; l++) acc[l] = num_fma(a[i + l], b[i + l], acc[l]);
    for (int m = LANES / 2; m > 0; m /= 2)
        for (int l = 0; l < m; l++) acc[l] += acc[l + m];
    return acc[0];
}

void num_lane_dots(float *y, const float *a, const float *b, int64_t n, int64_t count) {
    int64_t j = 0;
#ifdef __AVX2__
    for (; n % LANES == 0 && j + 8 <= count; j += 8) lane_dots_avx2(y + j, a, b + j * n, n);
#endif
    for (; j < count; j++) y[j] = num_lane_dot(a, b + j * n, n);
}

void num_add_times(float *y, int64_t n, const float *s, int64_t ds, const float *x, int64_t dx,
                   int64_t count) {
    int64_t i = 0;
#ifdef __AVX2__
    for (; i + 32 <= n; i += 32) add_times_avx2(y + i, s, ds, x + i, dx, count);
#endif
    for (int64_t j = 0; j < count; j++)
        for (int64_t k = i; k < n; k++) y[k] = num_fma(s[j * ds], x[j * dx + k], y[k]);
}

// One accumulator, ascending, in segments of 1,024 that are added in ascending order.
float num_seq_dot(const float *a, const float *b, int64_t n) {
    float total = 0.0f, segment = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        segment = num_fma(a[i], b[i], i % SEGMENT ? segment : 0.0f);
        if (i % SEGMENT == SEGMENT - 1 || i == n - 1) total += segment;
    }
    return total;
}

// By behaviour, so the same on every machine; volatile keeps the compiler from knowing the answers.
void num_require_ieee(void) {
    volatile float one = 1.0f, least = 0x1p-149f, normal = 0x1p-126f;
    if (one + 0x1p-24f == 1.0f && one + 0x1.8p-23f == 0x1.000004p+0f && // nearest, ties to even
        least * 0x1p+100f == 0x1p-49f && normal * 0.5f == 0x1p-127f)    // subnormals in and out
        return;
    fprintf(stderr, "assay: float arithmetic is not IEEE (rounding mode or flush to zero): was a "
                    "library built with -ffast-math loaded?\n");
    exit(1);
}

// The product of base^(2^-j) over the binary digits j of |e|: square roots and products only.
double num_pow(double base, double e) {
    must(base > 0 && e > -8 && e < 8);
    double y = 1, digits = e < 0 ? -e : e;
    for (double b = base; digits > 0; b = __builtin_sqrt(b), digits *= 2)
        for (; digits >= 1; digits -= 1) y *= b;
    return e < 0 ? 1 / y : y;
}

// sin(r + q pi/2) for |r| <= pi/4: the Taylor series of sin (q even) or cos to r^19 or r^18.
static double sine(double r, int q) {
    double y = 1;
    for (int i = q & 1 ? 18 : 19; i > 1; i -= 2) y = 1 - y * r * r / (i * (i - 1));
    return (q & 2 ? -1 : 1) * (q & 1 ? y : y * r);
}

// pi/2 = 0x1.921fb544p+0 + 0x1.0b4611a6p-34 + 0x1.3198a2e037073p-69: the first two have 33 bits.
void num_rope_table(double inv_freq, int64_t pos, float *cos, float *sin) {
    double angle = (double)pos * inv_freq;
    must(angle >= 0 && angle <= 0x1p20);
    double n = __builtin_rint(angle * 0x1.45f306dc9c883p-1); // 0..2^20: n times 33 bits is exact
    double r = angle - n * 0x1.921fb544p+0 - n * 0x1.0b4611a6p-34 - n * 0x1.3198a2e037073p-69;
    *cos = (float)sine(r, ((int)n + 1) & 3);
    *sin = (float)sine(r, (int)n & 3);
}
