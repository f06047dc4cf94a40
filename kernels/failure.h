// failure.h - one number for each value of a learning pass that may turn out not to be finite, in
// the order in which grad.c would meet them, so that the lowest is what grad.c reports.
#ifndef FAILURE_H
#define FAILURE_H
#include "mega.cuh"

// Below FAIL_TEACHER: a phase of the learner's tape. From FAIL_MIRROR on: the sites of the head,
// then of each layer from the last to the first, then the embedding.
enum {
    FAIL_TEACHER = 1000000,
    FAIL_MIRROR = 2000000
}; // the first: + a phase of the teacher's tape

// What a mirror may fail on: the shares of a matrix or norm, or the residual stream's gradient.
enum { AT_LOSS, AT_HEAD, AT_NORM, AT_TOP, HEAD_SITES };
enum {
    AT_DOWN,
    AT_GATE,
    AT_UP,
    AT_FFN_NORM,
    AT_MIDDLE, // the stream between the halves of a layer
    AT_OUT,
    AT_Q_NORM,
    AT_K_NORM,
    AT_Q,
    AT_K,
    AT_V,
    AT_ATTN_NORM,
    AT_INPUT, // the stream before a layer
    LAYER_SITES
};
enum { EMBED_SLOT, HEAD_SLOT, NORM_SLOT, LAYER_SLOTS, SLOTS_OF_LAYER = 11 }; // as in model.h

// The slot of a site; layer -1: of the head. -1: of no parameter.
NUM static inline int site_slot(int layer, int site, int tied) {
    const int of_layer[LAYER_SITES] = {6, 4, 5, 8, -1, 3, 9, 10, 0, 1, 2, 7, -1};
    if (layer < 0)
        return site == AT_HEAD ? tied ? EMBED_SLOT : HEAD_SLOT : site == AT_NORM ? NORM_SLOT : -1;
    return of_layer[site] < 0 ? -1 : LAYER_SLOTS + layer * SLOTS_OF_LAYER + of_layer[site];
}

// The number of a site; layer -1: of the head, with HEAD_SITES for the embedding's mirror.
NUM static inline int site_code(int layers, int layer, int site) {
    int before = layer >= 0 ? layers - 1 - layer : layers;
    if (layer < 0 && site < HEAD_SITES) return FAIL_MIRROR + site;
    return FAIL_MIRROR + HEAD_SITES + before * LAYER_SITES + (layer < 0 ? 0 : site);
}

// What a code says. 0: a phase (slot is -1), 1: a mirror; slot -1: of the stream or the loss.
static inline int mega_failure(int layers, int teacher_layers, int tied, int code, int *layer,
                               int *op, int *slot) {
    int site = code - FAIL_MIRROR - HEAD_SITES;
    *slot = *layer = -1;
    if (code < FAIL_MIRROR) {
        int phase = code % FAIL_TEACHER,
            last = 1 + 5 * (code < FAIL_TEACHER ? layers : teacher_layers);
        *op = phase == 0 ? EMBED : phase == last ? HEAD : QKV + (phase - 1) % 5;
        if (phase > 0 && phase < last) *layer = (phase - 1) / 5;
        return 0;
    }
    if (site < 0) {
        *op = HEAD;
        *slot = site_slot(-1, site + HEAD_SITES, tied);
    } else if (site == layers * LAYER_SITES) {
        *op = EMBED;
        *slot = EMBED_SLOT;
    } else {
        int at = site % LAYER_SITES;
        *layer = layers - 1 - site / LAYER_SITES;
        *op = at == AT_DOWN ? DOWN : at <= AT_MIDDLE ? GATEUP : at == AT_OUT ? OUT : QKV;
        *slot = site_slot(*layer, at, tied);
    }
    return 1;
}
#endif
