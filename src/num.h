// num.h - the float arithmetic that the program may use; the one file that CPU and GPU share.
//
// binary32, round to nearest even, gradual underflow: + - * / sqrt fma rint are one IEEE operation
// each; exp, log, sigmoid and tanh are made of them in the order written here, so their bits are
// the same on every machine. Then bf16 and f16, and for the CPU the ordered sums and the doubles
// behind rotary tables (num.c). Chapter 1 derives ranges and errors.
//
// Obligations: -ffp-contract=off; nvcc -fmad=false -ftz=false -prec-div=true -prec-sqrt=true; FMA
// in the target, so that nothing here calls libm; num_require_ieee() once in each process.
#ifndef NUM_H
#define NUM_H
#include <stdint.h>
#ifdef __CUDACC__
#define NUM __device__ __host__
#else
#define NUM
#endif

typedef union {
    float f;
    uint32_t u;
} num_word;

NUM static inline uint32_t num_bits(float x) { return (num_word){.f = x}.u; }
NUM static inline float num_float(uint32_t u) { return (num_word){.u = u}.f; }

NUM static inline float num_add(float a, float b) { return a + b; }
NUM static inline float num_sub(float a, float b) { return a - b; }
NUM static inline float num_mul(float a, float b) { return a * b; }
NUM static inline float num_div(float a, float b) { return a / b; }
NUM static inline float num_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
NUM static inline float num_sqrt(float a) { return __builtin_sqrtf(a); }
NUM static inline float num_rint(float a) { return __builtin_rintf(a); } // half to even

// 2^k, k in -149 .. 127; below -126 it is subnormal.
NUM static inline float num_power_of_two(int k) {
    return num_float(k < -126 ? 1u << (k + 149) : (uint32_t)(k + 127) << 23);
}

// The next four give a NaN for a NaN. Its bits differ between machines: raise an error, never keep
// it. The errors are the largest over all 2^32 arguments.

// e^x, error below 0.91 ulp: +0 below -103.98, gradual underflow, +inf from 88.73 on.
// Limits and NaN by the words: comparisons of floats stay branches, and a loop with branches gets
// no vector instructions.
NUM static inline float num_exp(float x) {
    uint32_t sign = num_bits(x) & 0x80000000u, a = num_bits(x) ^ sign;
    uint32_t most = sign ? 0x42d00000u : 0x42b20000u; // -104 and 89
    x = num_float(sign | (a < most ? a : most));
    // x = n ln 2 + r, n in -150..128, |r| < 0.3466; 0x1.62e4p-1 has 15 bits: n times it is exact
    float n = num_rint(x * 0x1.715476p+0f);
    float r = num_fma(n, -0x1.7f7d1cp-20f, num_fma(n, -0x1.62e4p-1f, x));
    float p = num_fma(0x1.6b675p-10f, r, 0x1.122f1cp-7f);
    p = num_fma(num_fma(p, r, 0x1.55568ep-5f), r, 0x1.5554a4p-3f);
    p = num_fma(num_fma(num_fma(p, r, 0.5f), r, 1.0f), r, 1.0f); // e^r, 0.7..1.42
    // 2^n = 2^(k-h) * 2^h, both normal: only the last product can round
    int32_t k = (int32_t)n, h = k / 2;
    p = p * num_float((uint32_t)(k - h + 127) << 23) * num_float((uint32_t)(h + 127) << 23);
    uint32_t nan = 0u - ((0x7f800000u - a) >> 31); // all ones or none
    return num_float(num_bits(p) | nan);
}

// ln x, error below 0.94 ulp; -inf for +0 and -0, NaN below.
NUM static inline float num_log(float x) {
    if (!(x > 0.0f)) return num_float(x == 0.0f ? 0xff800000u : 0x7fc00000u);
    if (num_bits(x) == 0x7f800000u) return x;
    int32_t tiny = x < 0x1p-126f;
    uint32_t u = num_bits(tiny ? x * 0x1p+23f : x);
    // x = 2^k (1 + f), 1 + f in [2/3, 4/3), f exact; >> of a negative keeps its sign
    int32_t e = (int32_t)(u - 0x3f2aaaabu) >> 23;
    float f = num_float(u - ((uint32_t)e << 23)) - 1.0f, k = (float)(e - 23 * tiny);
    float p = num_fma(-0x1.06cddep-3f, f, 0x1.1ec5e2p-3f);
    p = num_fma(num_fma(p, f, -0x1.f3a7e4p-4f), f, 0x1.1ec0fep-3f);
    p = num_fma(num_fma(p, f, -0x1.559802p-3f), f, 0x1.99d1c4p-3f);
    p = num_fma(num_fma(p, f, -0x1.ffff14p-3f), f, 0x1.555502p-2f);
    p = num_fma(p, f, -0.5f);
    return num_fma(k, 0x1.62e43p-1f, num_fma(p, f * f, f));
}

// 1 / (1 + e^-x), error below 2.41 ulp; the exponential is at most 1, so nothing overflows.
NUM static inline float num_sigmoid(float x) {
    uint32_t u = num_bits(x), below = u & 0x80000000u;
    float e = num_exp(num_float(u | 0x80000000u)); // of -|x|
    return num_float(below ? num_bits(e) : 0x3f800000u) / (1.0f + e);
}

// tanh x, error below 1.50 ulp; the sign is copied, so it is odd in every bit.
NUM static inline float num_tanh(float x) {
    float a = num_float(num_bits(x) & 0x7fffffffu), z = a * a, e = num_exp(-2.0f * a);
    float p = num_fma(0x1.09f0cep-6f, z, -0x1.ae9b68p-5f);
    p = num_fma(num_fma(p, z, 0x1.10c64p-3f), z, -0x1.555422p-2f);
    float y = a < 0.5625f ? num_fma(a * z, p, a) : 1.0f - 2.0f * e / (1.0f + e);
    return num_float(num_bits(y) | (num_bits(x) & 0x80000000u));
}

NUM static inline float num_from_bf16(uint16_t h) { return num_float((uint32_t)h << 16); }

// Nearest even; too large becomes infinity; a NaN is made quiet.
NUM static inline uint16_t num_to_bf16(float x) {
    uint32_t u = num_bits(x);
    return (uint16_t)(x != x ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

// Exact, subnormals too: the exponent is rebased by a product. Infinity and NaN keep their bits.
NUM static inline float num_from_f16(uint16_t h) {
    float x = num_float((uint32_t)(h & 0x7fff) << 13) * 0x1p+112f; // 2^-24..131008
    uint32_t u = num_bits(x) | (x >= 65536.0f ? 0x7f800000u : 0);
    return num_float(u | (uint32_t)(h & 0x8000) << 16);
}

// Nearest even; 65520 and above becomes infinity; a NaN becomes 7e00 or fe00.
NUM static inline uint16_t num_to_f16(float x) {
    uint32_t u = num_bits(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a >= 0x477ff000) return (uint16_t)(sign | (x != x ? 0x7e00 : 0x7c00));
    if (a < 0x38800000) // below 2^-14: a count of 2^-24, 0..1024
        return (uint16_t)(sign | (uint32_t)num_rint(num_float(a) * 0x1p+24f));
    return (uint16_t)(sign | (((a + 0xfff + (a >> 13 & 1)) >> 13) - (112 << 10)));
}

// Ordered sums of products a[i] * b[i], i < n.
float num_lane_dot(const float *a, const float *b, int64_t n);
float num_seq_dot(const float *a, const float *b, int64_t n);
// y[j] = num_lane_dot(a, b + j n, n), j < count.
void num_lane_dots(float *y, const float *a, const float *b, int64_t n, int64_t count);
// y [n] += sum over j < count, ascending, of s[j ds] * x[j dx ..]; s and x do not overlap y.
void num_add_times(float *y, int64_t n, const float *s, int64_t ds, const float *x, int64_t dx,
                   int64_t count);

// Stops the program unless floats round to nearest even and underflow gradually.
void num_require_ieee(void);

// base^e for base > 0, |e| < 8; cos and sin of pos * inv_freq, which lies in [0, 2^20].
double num_pow(double base, double e);
void num_rope_table(double inv_freq, int64_t pos, float *cos, float *sin);
#endif
