// simd.h - the linear layers of ref.c in the vector instructions that this processor has: the
// same integers, so the same bits.
#ifndef SIMD_H
#define SIMD_H
#include "ref.h"

// Level 0: scalar (ref_linear itself). Above it, as far as the processor goes, AVX2, then
// AVX-512 VNNI; simd_use() picks one for all later calls, the highest is the default.
int simd_levels(void);
const char *simd_level_name(int level);
void simd_use(int level);
void simd_linear(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows, float *y);
void simd_tile(float out[TILE_ROWS][TILE_COLS], const float (*a)[TILE_ROWS],
               const float (*b)[TILE_COLS], int64_t n);
#endif
