// sample.h - from logits to a token, in exact integers, so that the sum has no order.
#ifndef SAMPLE_H
#define SAMPLE_H
#include "assay.h"

typedef struct {
    float temperature; // 0: the largest logit, the lower id when two are equal
    int top_k;         // 0: all
    float top_p;       // 1: all
    uint32_t seed;
    uint32_t stream; // which of the texts that are drawn with this seed
} sample_options;

// The token at position pos from logits [n], n <= 2^24.
int32_t sample_token(const float *logits, int64_t n, const sample_options *o, uint32_t pos);
// Logits z [n] become e^(z - peak), peak the largest; returns their lane sum (chapter 1).
float sample_exponentials(float *z, int64_t n, float *peak);
// Log-probability of an id by the logits themselves: the bits of grad.h's logp.
float sample_logp(const float *logits, int64_t n, int32_t id);
#endif
