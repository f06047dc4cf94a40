// model.h - what a Hugging Face folder describes: the numbers of config.json and the matrices of
// the weight files, dense or TQ4, found by name and checked by shape.
#ifndef MODEL_H
#define MODEL_H
#include "assay.h"
#include "tensor.h"
#include "tq4.h"

typedef struct {
    int64_t hidden, inter, layers, heads, kv_heads, head_dim, vocab;
    int64_t context; // longest position + 1 that the model was made for
    float eps;       // of every norm
    double theta;    // base of the rotary angles
    double rope_factor, rope_low, rope_high, rope_original; // "llama3" scaling; factor 0: none
    int qk_norm;           // Qwen3: a norm on every query and key head
    int tied;              // the head is the embedding
    int bos;               // id that begins a text, -1: none
    int eos[8], eos_count; // ids that end a text
    int kv_bf16;           // keys and values are kept in bf16: an option, in no config.json
} model_config;

// The linear layers of a layer, in the order of their use.
enum { W_Q, W_K, W_V, W_O, W_GATE, W_UP, W_DOWN, W_COUNT };
// The norms: before attention, before the feed-forward part, of query and key heads.
enum { N_ATTN, N_FFN, N_Q, N_K, N_COUNT };

typedef struct {
    tq_matrix w[W_COUNT];
    const float *norm[N_COUNT]; // [hidden], [hidden], [head_dim], [head_dim]; NULL: none
} model_layer;

typedef struct {
    model_config c;
    tq_matrix embed, head;   // [vocab, hidden]; a tied head is a copy of embed
    const float *final_norm; // [hidden]
    model_layer *layer;      // [layers]
    tensor_set files;
    void **owned; // what model_close frees
    int64_t owned_count;
} model;

int model_config_read(model_config *c, const char *dir, char err[ERR]);
// SHA-256 of the numbers that decide bits (not: context, bos, kv_bf16), so not of the file's bytes.
void model_config_digest(const model_config *c, char hex[65]);
int model_ends(const model_config *c, int32_t id); // 1: the token ends a text
int model_open(model *m, const char *dir, char err[ERR]);
void model_close(model *m);
// Room in m->owned for each slot: a random matrix takes 4 pieces, grad_open moves 2 of a TQ4 matrix.
enum { OWNED = 8 };
void *model_own(model *m, int64_t n, size_t size); // n * size bytes that model_close frees
// A model of that shape with random weights (recipe in chapter 6): kind KIND_TQ4 (embedding and
// head I8) or KIND_F32.
void model_random(model *m, const model_config *c, tq_kind kind, uint32_t seed);
const model_config *model_shape(const char *name); // qwen3-tiny, 0.6b, 1.7b, 8b, 14b, or NULL
// The rotary tables for positions 0 .. n-1: cos and sin [n, head_dim/2].
void model_rope(const model_config *c, int64_t n, float *cos, float *sin);

// Every matrix and norm by its Hugging Face name. slot 0: embed, 1: head, 2: final norm, then
// per layer W_COUNT matrices and N_COUNT norms.
enum { SLOT_EMBED, SLOT_HEAD, SLOT_NORM, SLOT_LAYERS };
typedef struct {
    char name[128];     // with ".weight"
    int64_t rows, cols; // a norm has rows = 0
    int layer;          // -1 outside the layers
    int present;        // 0: this model has no such tensor (tied head, no q/k norm)
} model_slot;
int model_slots(const model_config *c);
model_slot model_slot_at(const model_config *c, int slot);
tq_matrix *model_matrix(model *m, int slot);  // NULL for a norm
const float **model_norm(model *m, int slot); // NULL for a matrix
#endif
