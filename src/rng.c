// rng.c - Philox4x32-10.
#include "rng.h"

rng_block rng_philox(const uint32_t key[2], const uint32_t ctr[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    rng_block x = {{ctr[0], ctr[1], ctr[2], ctr[3]}};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53 * x.v[0], p1 = (uint64_t)0xcd9e8d57 * x.v[2];
        x = (rng_block){{(uint32_t)(p1 >> 32) ^ x.v[1] ^ k0, (uint32_t)p1,
                         (uint32_t)(p0 >> 32) ^ x.v[3] ^ k1, (uint32_t)p0}};
        k0 += 0x9e3779b9; // the golden ratio
        k1 += 0xbb67ae85; // the square root of 3, less 1
    }
    return x;
}

void rng_words(uint32_t seed, uint32_t id, uint32_t stream, uint32_t first_block, uint32_t *out,
               int64_t blocks) {
    const uint32_t key[2] = {seed, id};
    for (int64_t b = 0; b < blocks; b++) {
        const uint32_t ctr[4] = {first_block + (uint32_t)b, 0, stream, 0};
        rng_block x = rng_philox(key, ctr);
        for (int i = 0; i < 4; i++) out[4 * b + i] = x.v[i];
    }
}
