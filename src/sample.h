// sample.h - from logits to a token, in exact integers, so that the sum has no order.
#ifndef SAMPLE_H
#define SAMPLE_H
#include "assay.h"

typedef struct {
    float temperature; // 0: the largest logit, the lower id when two are equal
    int top_k;         // 0: all
    float top_p;       // 1: all
    uint32_t seed;
} sample_options;

// The token of sequence seq at position pos from logits [n], n <= 2^24.
int32_t sample_token(const float *logits, int64_t n, const sample_options *o, uint32_t seq,
                     uint32_t pos);
#endif
