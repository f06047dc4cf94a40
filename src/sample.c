// sample.c - weights, cuts and the draw.
#include "sample.h"
#include "num.h"
#include "rng.h"

typedef struct {
    uint64_t weight;
    int32_t id;
} candidate;

static int by_weight(const void *a, const void *b) { // heavier first, then the lower id
    const candidate *x = a, *y = b;
    return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : x->id - y->id;
}

// Moves to the front all that can be among the heaviest: whole powers of two of weights, from the
// largest down, until these hold top_k candidates, or (top_k 0) a sum of `enough`.
static int64_t narrow(candidate *c, int64_t n, int top_k, uint64_t enough) {
    enum { POWERS = 34 }; // of 0, and of 1 .. 2^32 by their length in bits
    uint64_t sum[POWERS] = {0}, above = 0;
    int64_t count[POWERS] = {0}, have = 0, kept = 0;
    int least = POWERS;
    for (int64_t i = 0; i < n; i++) {
        int bits = c[i].weight ? 64 - __builtin_clzll(c[i].weight) : 0;
        sum[bits] += c[i].weight, count[bits]++;
    }
    while (least > 0 && (have == 0 || (top_k > 0 ? have < top_k : above < enough)))
        least--, have += count[least], above += sum[least];
    uint64_t lowest = least > 0 ? (uint64_t)1 << (least - 1) : 0;
    for (int64_t i = 0; i < n; i++)
        if (c[i].weight >= lowest) c[kept++] = c[i];
    return kept;
}

// Keeps the heaviest top_k, then the fewest heaviest whose sum reaches top_p of what is left.
static int64_t cut(candidate *c, int64_t n, const sample_options *o) {
    uint64_t total = 0, sum = 0, share = (uint64_t)(o->top_p * 65536.0f); // 0..65535
    int few = o->top_k > 0 && o->top_k < n;
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) total += c[i].weight;
    if (few)
        n = narrow(c, n, o->top_k, 0);
    else if (o->top_p < 1)
        n = narrow(c, n, 0, (uint64_t)((unsigned __int128)total * share >> 16));
    qsort(c, (size_t)n, sizeof *c, by_weight);
    if (few) n = o->top_k;
    if (o->top_p >= 1) return n;
    if (few) total = 0;
    for (int64_t i = 0; i < n && few; i++) total += c[i].weight;
    uint64_t enough = (uint64_t)((unsigned __int128)total * share >> 16);
    do sum += c[kept++].weight;
    while (kept < n && sum < enough);
    return kept;
}

// A weight is e^((z - max) / T) in units of 2^-32: at most 2^32, and 2^24 of them stay below 2^56.
int32_t sample_token(const float *logits, int64_t n, const sample_options *o, uint32_t pos) {
    int32_t top = 0;
    for (int64_t i = 1; i < n; i++)
        if (logits[i] > logits[top]) top = (int32_t)i;
    if (o->temperature <= 0) return top;
    candidate *c = must_alloc((size_t)n, sizeof *c);
    float e[64], most = logits[top], heat = o->temperature;
    for (int64_t first = 0; first < n; first += 64) { // so many at a time fill vectors
        int64_t k = n - first < 64 ? n - first : 64;
        for (int64_t i = 0; i < k; i++)
            e[i] = num_exp(num_div(num_sub(logits[first + i], most), heat));
        for (int64_t i = 0; i < k; i++)
            c[first + i] = (candidate){(uint64_t)num_mul(e[i], 0x1p32f), (int32_t)(first + i)};
    }
    if (o->top_k > 0 || o->top_p < 1) n = cut(c, n, o);
    uint64_t total = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) total += c[i].weight;
    rng_block r = rng_philox((uint32_t[]){o->seed, 0x73616d70}, (uint32_t[]){pos, 0, o->stream, 0});
    uint64_t word = (uint64_t)r.v[1] << 32 | r.v[0];
    uint64_t draw = (uint64_t)((unsigned __int128)word * total >> 64); // 0 .. total - 1
    int64_t i = 0;
    while ((sum += c[i].weight) <= draw) i++;
    int32_t id = c[i].id;
    free(c);
    return id;
}

float sample_exponentials(float *z, int64_t n, float *peak) {
    float acc[LANES] = {0}, top = z[0];
    int64_t i = 0;
    for (int64_t k = 1; k < n; k++) top = z[k] > top ? z[k] : top;
    for (int64_t k = 0; k < n; k++) z[k] = num_exp(num_sub(z[k], top));
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) acc[l] = num_add(acc[l], z[i + l]);
    for (int l = 0; i + l < n; l++) acc[l] = num_add(acc[l], z[i + l]);
    *peak = top;
    for (int m = LANES / 2; m > 0; m /= 2)
        for (int l = 0; l < m; l++) acc[l] = num_add(acc[l], acc[l + m]);
    return acc[0];
}

float sample_logp(const float *logits, int64_t n, int32_t id) {
    float peak, *e = must_alloc((size_t)n, sizeof *e);
    memcpy(e, logits, (size_t)n * sizeof *e);
    float sum = sample_exponentials(e, n, &peak);
    free(e);
    return num_sub(num_sub(logits[id], peak), num_log(sum));
}
