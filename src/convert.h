// convert.h - from a dense model to a quantised one, matrix by matrix.
#ifndef CONVERT_H
#define CONVERT_H
#include "ref.h"

// Texts of equal length: token [seqs, len], as ids.
typedef struct {
    int64_t seqs, len;
    int32_t *token;
} convert_texts;

// Samples texts from the model itself at temperature 1, each begun with the id `first`.
int convert_sample(convert_texts *t, const model *m, int64_t seqs, int64_t len, int32_t first,
                   uint32_t seed, char err[ERR]);
// Cuts n ids into texts of length len (the rest is dropped); seqs = 0 when n < len.
void convert_cut(convert_texts *t, const int32_t *ids, int64_t n, int64_t len);

// One step of a run over count whole texts from `first` on, with logits at every position.
int convert_step(ref_run *r, const convert_texts *t, int64_t first, int64_t count, char err[ERR]);

// Quantises the dense model by a rung: embedding and head I8, linears TQ4 (RUNGS: I8 everywhere,
// the 8-bit row of the ladder). calib: the text on which the rungs from RUNG_FEEDBACK on compare
// the two models while the quantised one grows. Each matrix is handed to emit in the order of its slot
// and becomes emit's; with a calib it must live until the call ends, since the rest of the text's
// forward pass reads it. -1: emit failed, or a value was not finite.
typedef int (*convert_emit)(void *ctx, int slot, tq_owned *q, char err[ERR]);
int convert_quantize(const model *dense, tq_rung rung, const convert_texts *calib,
                     convert_emit emit, void *ctx, char err[ERR]);
// The same into a folder: config.json and the tokenizer's files copied, model.safetensors
// streamed. progress: called for each matrix that is made, or NULL.
int convert_write(const model *dense, const char *from, const char *to, tq_rung rung,
                  const convert_texts *calib, void (*progress)(int done, int all, const char *name),
                  char err[ERR]);

// Makes the folder `to`, unless it is there; -1: it cannot be made, or is `from` itself.
int convert_folder(const char *from, const char *to, char err[ERR]);
// The model as it stands into a folder, each matrix in its kind, with the other files of `from`.
int convert_save(const model *m, const char *from, const char *to, char err[ERR]);

// The tensors of a model's file, in the order of the slots, with their data. quantised: as
// convert_write() will make them, without data.
typedef struct {
    tensor *t; // [n]
    int n, quantised;
    char (*name)[160];
} convert_plan;
convert_plan convert_planned(const model *m, int quantised);
void convert_plan_free(convert_plan *p);
// A safetensors file of tensors that have their data.
int convert_file(const char *path, const tensor *t, int n, const char *const meta[][2], int metas,
                 char err[ERR]);

// The data of a plan from the tensors of a file (path: for the error line), which must be of the
// same types and sizes.
int convert_fill(const convert_plan *p, const tensor_set *s, const char *path, char err[ERR]);

// A file that gets its name only when it is whole: written as PATH.part, then fsync and rename.
// After an error, f being NULL too, nothing is left.
FILE *convert_create(const char *path);
int convert_commit(FILE *f, const char *path, char err[ERR]);
// All of a file, or of stdin for "-": *n bytes with a NUL behind them. NULL: err says why.
char *convert_read(const char *path, size_t *n, char err[ERR]);
#endif
