// train.h - learning from text: batches, checkpoints, and what is reported of a run.
//
// A run is a function of the model, the ids of its texts and the options that its files name. It
// ends on the same bits for any microbatch, any number of threads and of processes, either backend,
// and however often it was killed and resumed.
#ifndef TRAIN_H
#define TRAIN_H
#include "backend.h"
#include "convert.h"
#include "ranks.h"

// What is NULL, 0, or of warmup, clip and decay below 0, is not given: train_settle() chooses.
typedef struct {
    const char *dir, *out;     // the model's folder; the folder that is written
    const char *what;          // r1, r2, r1r2, r1r2+norms or all
    int learn;                 // its LEARN_ bits
    long steps, warmup, every; // every so many steps: held-out loss and checkpoint
    long stop;                 // the run ends after this step as if it were cut off; 0: never
    long batch, micro, ctx;    // samples of a step and of a pass; tokens of a sample
    double rate, clip, decay;
    uint32_t seed;
    int resume;
    const backend *by;
    ranks *ranks; // that split the samples of a batch; NULL: this process alone
} train_options;

typedef struct {
    int32_t *id; // [n]
    int64_t n;
} train_text;

// After a step; step 0: before the first, of the rest only held.
typedef struct {
    long step, steps;
    float loss, rate, norm; // of the batch: nats a token; of its mean gradient
    float held;             // loss of the held-out text; -1: not measured at this step
    double speed, left;     // tokens a second; seconds
} train_progress;

typedef struct {
    float first, last; // loss of the held-out text before and after; without one, of the batches
    char digest[65];   // train_digest() of the trained model
} train_result;

int train_learn(const char *what); // LEARN_ bits; 0: no such thing
// The ids of a text file by the tokenizer of dir, each below vocab.
int train_read(train_text *t, const char *dir, const char *file, int64_t vocab, char err[ERR]);
// A dense model by the config.json of a folder, with random weights.
int train_init(model *m, const char *dir, uint32_t seed, char err[ERR]);
// Chooses what was not given and checks the options against the model.
int train_settle(train_options *o, model *m, char err[ERR]);
// A pass and an optimiser for such a run.
void train_open(grad *g, optim *opt, model *m, const train_options *o);
// Where window b of a step (from 0) begins, of a text with so many places.
int64_t train_window(uint32_t seed, int64_t step, long b, int64_t places);
// Trained values, fractions and moments as tensors, whose data is the model's and opt's own.
convert_plan train_plan(const model *m, const optim *opt);
// SHA-256 in hex over all values of the model: over the data of the file that it is saved as.
void train_digest(const model *m, char hex[65]);
void train_hash(const train_text *t, char hex[65]); // of a text's ids
// Options that decide bits, as JSON: -1 and "with NAME VALUE: .." when theirs are others. Microbatch
// and slots decide none.
int train_same(const struct json_t *theirs, struct json_t *ours, char err[ERR]);
// Learns text[0] in place and writes the folder o->out; text[1] is held out (id NULL: none).
// After -1 the folder is as the last checkpoint left it. Of many ranks the first writes and says; an
// error of its last files is known to the others after the next ranks_agree().
int train_run(model *m, const train_options *o, const train_text text[2],
              void (*say)(const train_progress *), train_result *r, char err[ERR]);
#endif
