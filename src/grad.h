// grad.h - the mirrors: for every phase of the tape, the phase that carries gradients back.
//
// A gradient is an exact integer: each sample's share of each parameter is one ordered float sum,
// rounded once to a multiple of GRAD_UNIT, and the shares are added as int64. So the gradient of a
// batch has the same bits however it is cut into passes, threads or machines (chapter 10).
#ifndef GRAD_H
#define GRAD_H
#include "ref.h"

#define GRAD_UNIT 0x1p-36f
enum { HEAD_SLICE = 32 }; // rows of the head that a slice of a pass does

// What learns: block scales, codebooks, norms, and dense matrices with the embedding.
enum { LEARN_R1 = 1, LEARN_R2 = 2, LEARN_NORMS = 4, LEARN_DENSE = 8 };

typedef enum {
    LOSS_TEXT,   // minus the log-probability of the target
    LOSS_POLICY, // minus the clipped ratio to an older policy times the advantage
    LOSS_MATCH   // KL divergence from a teacher, and half the mean square of logit differences
} grad_loss;

// An array of parameters that learns; its values are the model's own.
typedef struct {
    int slot;      // of the model
    int what;      // one LEARN_ bit
    int64_t n;     // parameters
    float *value;  // LEARN_NORMS, LEARN_DENSE [n]
    int8_t *scale; // LEARN_R1 [n], LEARN_R2 [16]
    int64_t *sum;  // [n] gradient of the batch so far, in units of GRAD_UNIT
} grad_part;

// Samples laid end to end: rows start[s] .. start[s + 1] - 1 are sample s, its positions 0, 1, ...
typedef struct {
    int64_t seqs;
    const int64_t *start;  // [seqs + 1]
    const int32_t *token;  // [rows]
    const int32_t *target; // [rows]; -1: this row has no loss
    const float *weight;   // [rows]; LOSS_POLICY: with the advantage in it, signed
    const float *old;      // [rows] LOSS_POLICY: log-probability under the policy that sampled
} grad_batch;

struct optim_now; // of optim.h

typedef struct grad {
    ref_run r;
    tile_fn tile;
    ref_run *teacher; // LOSS_MATCH: a run of another model, with room for the same rows
    grad_loss kind;
    float low, high; // LOSS_POLICY: the ratio counts within 1 - low .. 1 + high
    int parts;
    grad_part *part;
    int64_t samples; // of a batch at most: what bounds the size of a share
    int64_t loss;    // of the batch so far, in units of GRAD_UNIT
    float *logp;     // [room] log-probability of the target, rows of the last pass
    // The pass that is under way:
    grad_batch batch;
    int back;              // with mirrors
    int whole;             // the head goes sample by sample, else by HEAD_SLICE rows
    int64_t pieces;        // of the head
    int64_t slice, slices; // the next one, of how many
    struct grad_work *work;
    // Who runs the next n slices of a pass (and brings home loss and logp with the last), makes the
    // sums 0 and steps (returns the norm) instead, or NULL: these files.
    int (*pass)(struct grad *g, int64_t n, char err[ERR]);
    void (*zero)(struct grad *g);
    float (*step)(struct grad *g, const struct optim_now *now);
    void *device;
} grad;

// Prepares passes of up to `micro` samples of up to `context` tokens, `samples` of them in a
// batch. learn: LEARN_ bits; the arrays they name move into memory of the model's own, so runs of
// this model that were opened before must not go on. It may name nothing the model has: parts = 0.
void grad_open(grad *g, model *m, linear_fn linear, tile_fn tile, int learn, int64_t samples,
               int64_t micro, int64_t context);
void grad_close(grad *g);
void grad_zero(grad *g); // begins a batch
// Forward pass and loss of some samples of the batch. -1: a value was not finite, or too large.
int grad_forward(grad *g, const grad_batch *b, char err[ERR]);
// The same, and the mirrors: adds to every sum.
int grad_pass(grad *g, const grad_batch *b, char err[ERR]);
// The same in slices: each layer forward, the teacher, pieces of the head, and with back each layer's
// mirror, the last first. Between two slices other runs of the model may do steps; its weights stay
// as they are, and so do the batch's arrays.
void grad_begin(grad *g, const grad_batch *b, int back);
// Does the next slice. 1: there are more, 0: the pass is done, -1: as grad_pass; it is over.
int grad_slice(grad *g, char err[ERR]);
// Leaves the next slice out, as if it had been done. 1: there are more.
int grad_skip(grad *g);
// Multiply-adds of the next slice's linear layers; 0: the pass is done.
int64_t grad_cost(const grad *g);
// -1 and the line of a mirror whose value was not finite or too large; layer -1: outside the layers,
// slot: of the parameter whose gradient it is, -1: of none.
int grad_not_finite(const model_config *c, int layer, tape_op op, int slot, char err[ERR]);
// Bytes that learning takes beside the weights of a shape: [0] gradients, [1] optimiser state,
// [2] activations of a pass of `rows` tokens.
void grad_bytes(const model_config *c, int learn, int64_t rows, int64_t bytes[3]);
#endif
