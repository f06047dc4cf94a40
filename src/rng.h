// rng.h - Philox4x32-10: random words as a pure function of a key and a counter.
//
// Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011). No state:
// word w of stream s of tensor id under a seed is the same on any machine, thread or block.
#ifndef RNG_H
#define RNG_H
#include <stdint.h>

typedef struct {
    uint32_t v[4];
} rng_block;

rng_block rng_philox(const uint32_t key[2], const uint32_t ctr[4]);

// Blocks first_block .. first_block + blocks - 1 (4 words each, below 2^32 blocks in all) of the
// stream: counter (block, 0, stream, 0), key (seed, id). out has 4 * blocks words.
void rng_words(uint32_t seed, uint32_t id, uint32_t stream, uint32_t first_block, uint32_t *out,
               int64_t blocks);

// A multiple of 2^-24 in [0, 1), exact.
static inline float rng_uniform(uint32_t w) { return (float)(w >> 8) * 0x1p-24f; }
#endif
