// tq4.h - weights in 4 bits whose scales (R1) and codebook (R2) stay trainable, and the integer
// arithmetic that reads them.
//
// A matrix W [rows, cols] is stored over pad columns: cols rounded up to a multiple of 32, zeros
// behind. Each group of G columns is rotated by the unnormalised Walsh-Hadamard transform H
// (H H = G I). The stored weight is row[r] * scale[r, i/16] * level, level = codebook[code] (TQ4)
// or the code itself (I8); row carries 1/G. Activations are rotated by the same H and rounded to
// 8 bits, so a linear layer is one exact integer per output and one rounding (chapter 5).
#ifndef TQ4_H
#define TQ4_H
#include "assay.h"
#include "num.h"
#include "tensor.h"

#define TQ4_FORMAT "assay-tq4" // in the metadata of a file, with the version
#define TQ4_VERSION "1"

typedef enum { KIND_F32, KIND_I8, KIND_TQ4 } tq_kind; // F32: dense, in the type of its file

typedef struct {
    tq_kind kind;
    int64_t rows, cols;
    int64_t pad;            // stored columns, a multiple of 32, at most MAX_COLS
    int group;              // G: 32, 64 or 128, divides pad
    int rotate;             // 1 in every file; 0 only in the ladder's first rungs
    const uint8_t *codes;   // TQ4 [rows, pad/2]: byte j = column 2j (low nibble), 2j+1 (high)
                            // I8  [rows, pad]: int8
    const int8_t *scale;    // R1 [rows, pad/16]
    const int8_t *codebook; // R2 [16], TQ4 only
    const float *row;       // [rows]
    const void *dense;      // F32 only: [rows, cols] of type
    tensor_type type;       // F32, F16 or BF16
} tq_matrix;

// Activations of a batch of tokens, rotated and rounded to 8 bits. sigma_g = m_g 2^e_g.
typedef struct {
    int64_t rows, pad;
    int group;
    int8_t *q;                         // [rows, pad], |q| <= 127
    int32_t *mult;                     // [rows, pad/G]: m_g << (e_g - E + 16), below 2^24
    int *e;                            // [rows]: E, the largest e_g of the row
    int64_t q_room, mult_room, e_room; // allocated elements
} tq_acts;

// The rungs of the ladder, in order; each keeps what the one before it brought.
typedef enum {
    RUNG_TENSOR,
    RUNG_ROW,
    RUNG_BLOCK,
    RUNG_ROTATE,
    RUNG_CODEBOOK,
    RUNG_FEEDBACK,
    RUNG_RETARGET,
    RUNG_DISTIL, // fitted as RUNG_RETARGET; training follows (distil.h)
    RUNGS
} tq_rung;
extern const char *const tq_rung_name[RUNGS];

// The stored form while it is being made: a matrix with its own memory.
typedef struct {
    tq_matrix m;
    uint8_t *codes;
    int8_t *scale, *codebook;
    float *row;
} tq_owned;

int64_t tq_pad(int64_t cols); // cols rounded up to a multiple of 32
int tq_group(int64_t cols);   // G of that many columns
void tq_shape(tq_matrix *m, tq_kind kind, int64_t rows, int64_t cols); // fills kind .. rotate
int64_t tq_bytes(const tq_matrix *m, int64_t bytes[4]); // codes, scale, codebook, row; the sum

void tq_rotate(float *x, int64_t n, int group);               // in place, n a multiple of group
void tq_widen(const tq_matrix *dense, int64_t r, float *out); // row r of a dense matrix as f32
// Quantises x [rows, m->cols] for m. -1 when a value is not finite; a is then unspecified.
int tq_quantize(tq_acts *a, const float *x, int64_t rows, const tq_matrix *m);
void tq_acts_free(tq_acts *a);
// Y of row r for token t: the exact integer of the linear layer. |Y| < 2^61.
int64_t tq_dot(const tq_matrix *m, int64_t r, const tq_acts *a, int64_t t);
// y = float(Y) * row * 2^(E - 16), the one place where a linear layer rounds.
static inline float tq_finish(int64_t y, float row, int e) {
    return num_mul(num_mul((float)y, row), num_power_of_two(e - 16)); // e - 16 >= -130
}
int tq_level(const tq_matrix *m, int64_t r, int64_t i); // codebook[code] of a column, or its code
void tq_embed(const tq_matrix *m, int64_t r, float *x); // row r of an embedding, x [cols]

// What a calibration text says about a matrix, as sums over its tokens. x: the rotated input of
// the matrix in the model quantised so far; d: the dense model's input minus x; s: the dense
// model's residual stream minus the quantised one's, where the output is added to it.
typedef struct {
    const double *hess;  // [pad, pad] sum of x x^T
    const double *cross; // [pad, pad] sum of d x^T, row of d, column of x; NULL: keep the target
    const double *rest;  // [rows, pad] sum of s x^T, or NULL: s is zero
} tq_calib;

// Quantises the dense matrix w into q by a rung. cal: from RUNG_FEEDBACK on, else NULL. Equal bits
// for any number of threads. Kind I8 has 8-bit codes, scales from the largest magnitude, rotated.
// -1, and nothing to free: a weight is not finite, or 2^48 and more.
int tq_fit(tq_owned *q, const tq_matrix *w, tq_kind kind, tq_rung rung, const tq_calib *cal);
void tq_free(tq_owned *q);
#endif
