// exhaustive_num.c - every binary32 through every function of num.h. exp, log, sigmoid and tanh:
// the largest error against binary64 functions of libm, and the SHA-256 of all results against
// vectors/exhaustive.txt. bf16 and f16: every value, both directions, against the nearest element
// of the sorted list of all codes. Minutes on 2 cores; --stride K looks at every Kth value only
// (no digest then). Run in the repository's root.
//
// libm is opened by name, here only, so that no part of the program is ever linked with it.
#include "num.h"
#include "assay.h"
#include <dlfcn.h>
#include <sodium.h>

enum { SEGMENTS = 256, PER_SEGMENT = 1 << 24, BATCH = 1 << 12 };

static int passed, failed;
static double (*m_exp)(double), (*m_log)(double), (*m_tanh)(double);

static void check(int ok, const char *what) {
    if (ok)
        passed++;
    else
        failed++;
    printf("%s exhaustive: %s\n", ok ? "ok" : "FAIL", what);
    fflush(stdout);
}

static double true_exp(double x) { return m_exp(x); }
static double true_log(double x) { return m_log(x); }
static double true_tanh(double x) { return m_tanh(x); }
static double true_sigmoid(double x) {
    double e = m_exp(x < 0 ? x : -x);
    return (x < 0 ? e : 1) / (1 + e);
}

static float f_exp(float x) { return num_exp(x); }
static float f_log(float x) { return num_log(x); }
static float f_sigmoid(float x) { return num_sigmoid(x); }
static float f_tanh(float x) { return num_tanh(x); }

// Error in units of the last place of the true value t (2^-149 below 2^-126). Infinity counts as
// 2^128, on both sides. A NaN must meet a NaN, a zero must have the sign of t.
static double ulps(float y, double t) {
    if (t != t || y != y) return (t != t) == (y != y) ? 0 : 1e9;
    if (!__builtin_signbit(y) != !__builtin_signbit(t)) return 1e9;
    double a = t < 0 ? -t : t, b = y < 0 ? -(double)y : y;
    if (a > 0x1p128) a = 0x1p128;
    if (b > 0x1p128) b = 0x1p128;
    uint64_t u;
    memcpy(&u, &a, sizeof u);
    int64_t e = (int64_t)(u >> 52) - 1023;
    e = e < -126 ? -126 : e > 127 ? 127 : e;
    u = (uint64_t)(1023 + 23 - e) << 52; // 1 / ulp
    double inverse;
    memcpy(&inverse, &u, sizeof inverse);
    return (a > b ? a - b : b - a) * inverse;
}

// What segments of the arguments gave: the largest error, where, and the digest of the results.
typedef struct {
    double error;
    uint32_t at;
    unsigned char hash[crypto_hash_sha256_BYTES];
} result;

static void run_segment(float (*f)(float), double (*g)(double), uint32_t segment, uint32_t stride,
                        result *r) {
    uint32_t out[BATCH];
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    r->error = -1;
    uint64_t start = (uint64_t)segment * PER_SEGMENT, end = start + PER_SEGMENT;
    start = (start + stride - 1) / stride * stride;
    int n = 0;
    for (uint64_t u = start; u < end; u += stride) {
        float x = num_float((uint32_t)u), y = f(x);
        double error = ulps(y, g((double)x));
        if (error > r->error) {
            r->error = error;
            r->at = (uint32_t)u;
        }
        out[n++] = y != y ? 0x7fc00000u : num_bits(y);
        if (n == BATCH) {
            crypto_hash_sha256_update(&state, (unsigned char *)out, sizeof out);
            n = 0;
        }
    }
    crypto_hash_sha256_update(&state, (unsigned char *)out, (unsigned)n * sizeof *out);
    crypto_hash_sha256_final(&state, r->hash);
}

static int golden(const char *name, char want[65]) {
    char line[512], id[32];
    int found = 0;
    FILE *f = fopen("vectors/exhaustive.txt", "r");
    while (!found && f && fgets(line, sizeof line, f))
        found = sscanf(line, "%31s | all | %64s", id, want) == 2 && !strcmp(id, name);
    if (f) fclose(f);
    return found;
}

static void function(const char *name, float (*f)(float), double (*g)(double), double bound,
                     uint32_t stride) {
    static result r[SEGMENTS];
#pragma omp parallel for schedule(dynamic)
    for (uint32_t s = 0; s < SEGMENTS; s++) run_segment(f, g, s, stride, &r[s]);
    result worst = r[0];
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    for (int s = 0; s < SEGMENTS; s++) {
        if (r[s].error > worst.error) worst = r[s];
        crypto_hash_sha256_update(&state, r[s].hash, sizeof r[s].hash);
    }
    char what[256], text[65], want[65] = "";
    snprintf(what, sizeof what, "%s: largest error %.4f ulp at %08x (%a), stated below %.2f", name,
             worst.error, worst.at, (double)num_float(worst.at), bound);
    check(worst.error < bound, what);
    if (stride > 1) return;
    crypto_hash_sha256_final(&state, worst.hash);
    sodium_bin2hex(text, sizeof text, worst.hash, sizeof worst.hash);
    int same = golden(name, want) && !strcmp(text, want);
    snprintf(what, sizeof what, "%s: digest of all results %s", name, text);
    check(same, what);
}

// The value of a positive code of a format with that many mantissa bits; the code of infinity
// counts as the next power of two. Built by halving and doubling alone.
static double code_value(uint32_t code, int mantissa, int bias) {
    int e = (int)(code >> mantissa);
    double v = (double)(code & ((1u << mantissa) - 1)) + (e ? 1 << mantissa : 0);
    for (int k = (e ? e : 1) - bias - mantissa; k; k += k < 0 ? 1 : -1) v *= k < 0 ? 0.5 : 2;
    return v;
}

// Positive values in ascending order meet the codes in ascending order: the nearest code never
// goes down. Returns the number of wrong results for both signs.
static int64_t wrong_narrowing(uint16_t (*to)(float), const double *value, uint32_t infinity,
                               uint64_t start, uint64_t end, uint32_t stride) {
    int64_t wrong = 0;
    uint32_t code = 0;
    for (uint64_t u = start; u < end; u += stride) {
        float x = num_float((uint32_t)u);
        uint16_t h = to(x), minus = to(-x);
        if (u > 0x7f800000) {
            wrong += (h & 0x7fffu) <= infinity || (minus & 0x7fffu) <= infinity;
            continue;
        }
        while (code < infinity) {
            double down = (double)x - value[code], up = value[code + 1] - (double)x;
            if (down < up || (down == up && code % 2 == 0)) break;
            code++;
        }
        wrong += h != code || minus != (code | 0x8000u);
    }
    return wrong;
}

static void conversion(const char *name, uint16_t (*to)(float), float (*from)(uint16_t),
                       int mantissa, int bias, uint32_t infinity, uint32_t stride) {
    double *value = must_alloc(infinity + 1, sizeof *value);
    int64_t wrong = 0, wide = 0;
    for (uint32_t c = 0; c <= infinity; c++) value[c] = code_value(c, mantissa, bias);
    for (uint32_t c = 0; c < 0x8000; c++) {
        float x = from((uint16_t)c);
        int ok = c < infinity    ? (double)x == value[c]
                 : c == infinity ? num_bits(x) == 0x7f800000u
                                 : x != x;
        wide += !ok || num_bits(from((uint16_t)(c | 0x8000))) != (num_bits(x) | 0x80000000u);
        if (c <= infinity) wide += to(x) != c; // and back
    }
#pragma omp parallel for schedule(dynamic) reduction(+ : wrong)
    for (uint64_t s = 0; s < SEGMENTS / 2; s++)
        wrong +=
            wrong_narrowing(to, value, infinity, s * PER_SEGMENT, (s + 1) * PER_SEGMENT, stride);
    char what[128];
    snprintf(what, sizeof what, "%s: all 65,536 codes to binary32: %lld wrong", name,
             (long long)wide);
    check(wide == 0, what);
    snprintf(what, sizeof what, "%s: every binary32 to its nearest code: %lld wrong", name,
             (long long)wrong);
    check(wrong == 0, what);
    free(value);
}

static uint16_t f_to_bf16(float x) { return num_to_bf16(x); }
static uint16_t f_to_f16(float x) { return num_to_f16(x); }
static float f_from_bf16(uint16_t h) { return num_from_bf16(h); }
static float f_from_f16(uint16_t h) { return num_from_f16(h); }

int main(int argc, char **argv) {
    long stride = argc == 3 && !strcmp(argv[1], "--stride") ? strtol(argv[2], NULL, 10) : 1;
    if (stride < 1 || stride > PER_SEGMENT || (argc != 1 && argc != 3)) {
        fprintf(stderr, "exhaustive_num [--stride K], K from 1 to %d\n", PER_SEGMENT);
        return 2;
    }
    void *m = dlopen("libm.so.6", RTLD_NOW);
    if (m) {
        *(void **)&m_exp = dlsym(m, "exp");
        *(void **)&m_log = dlsym(m, "log");
        *(void **)&m_tanh = dlsym(m, "tanh");
    }
    if (!m_exp || !m_log || !m_tanh) {
        fprintf(stderr, "exhaustive_num: libm.so.6 with exp, log and tanh cannot be opened\n");
        return 1;
    }
    num_require_ieee();
    uint32_t k = (uint32_t)stride;
    conversion("bf16", f_to_bf16, f_from_bf16, 7, 127, 0x7f80, k);
    conversion("f16", f_to_f16, f_from_f16, 10, 15, 0x7c00, k);
    function("exp", f_exp, true_exp, 0.91, k);
    function("log", f_log, true_log, 0.94, k);
    function("sigmoid", f_sigmoid, true_sigmoid, 2.41, k);
    function("tanh", f_tanh, true_tanh, 1.50, k);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
