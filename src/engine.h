// engine.h - one owner of the weights: it serves sequences and learns between their tokens.
//
// The engine is a function of its inputs. What comes from outside (requests, cancellations, samples
// to learn) is journalled with the number of the turn before which it was taken; a turn is a step of
// serving, a step of practice, its judging, a slice of learning, an update or a snapshot; which one
// depends on nothing but the turns and inputs before it. So the journal's inputs, given again before the same turns, make
// the same tokens and the same weights on any backend (chapter 12).
#ifndef ENGINE_H
#define ENGINE_H
#include "journal.h"
#include "lane.h"
#include "qgre.h"
#include "train.h"

typedef struct {
    long slots;       // sequences that decode together, 1 .. SLOTS
    long context;     // keys of a sequence at most: prompt and answer
    long pages;       // of the cache, KEYS keys each, that all sequences share
    long slice;       // prompt tokens of a turn at most
    long share;       // percent of the work that goes to learning while there is something to serve
    long floor;       // rows: a step of serving costs at least as much as so many
    long snapshot;    // updates between two snapshots
    int64_t known;    // ids 0 .. known - 1 are drawn: the tokenizer has no others
    int feedback;     // samples are accepted
    int samples_only; // there is no text
    train_options train;   // steps 0: nothing is learned
    qgre_options practice; // of a task, instead of a text
} engine_options;

enum { TOP = 20 }; // log-probabilities of so many ids at most

typedef struct engine engine;

// What the engine tells its owner, in the order in which it happens.
typedef struct {
    void *ctx;
    // A record was made. A told engine asks first: then `told` returns the record that stands in
    // the journal here (NULL and err: there is another), and nothing is computed. made NULL: nobody
    // listens.
    int (*made)(void *ctx, journal_kind kind, const void *data, uint32_t size, char err[ERR]);
    const journal_record *(*told)(void *ctx, journal_kind kind, char err[ERR]);
    // A token was drawn, from these logits [vocab] (NULL: a device has them, or it was told); s->end
    // says whether it is the last one. Its J_TOKENS record follows. NULL: nobody listens.
    void (*drawn)(void *ctx, const sequence *s, const float *logits, int64_t vocab);
} engine_owner;

typedef struct {
    uint64_t turn, version, requests, prompt_tokens, tokens, learned;
    long running, waiting, pages_used, given; // given: samples that wait to be learned
    uint64_t samples;                         // given so far
    long step;
    float loss, norm; // of the last step: nats a token; of its mean gradient
    float reward;     // of the last step's answers: share of the task's qualities that they have
    uint64_t tried;   // tokens drawn in practice
    int64_t work[2];  // multiply-adds so far, by the rule's count: serving, learning
} engine_state;

// What is learned; it must live as long as the engine.
typedef struct {
    const train_text *text; // id NULL: samples only
    qgre *task;             // NULL: none
    model *began; // as the model was at first, for the divergence from it; NULL: not asked
} engine_learning;

// The engine changes m. It begins told: engine_wake().
engine *engine_open(model *m, const backend *by, const engine_options *o,
                    const engine_learning *learn, const engine_owner *owner);
void engine_close(engine *e);
void engine_own(engine *e, engine_owner owner); // another one from here on
// The payload of a J_REQUEST into p [J_REQUEST_HEAD + 4 n]; returns its size. turn: 0, whoever takes
// it knows. time: unix, ms.
uint32_t engine_request(uint8_t *p, uint64_t id, uint64_t time, const sample_options *how, int top,
                        int64_t most, const int32_t *prompt, int64_t n);
// The same of a J_FEEDBACK: [J_FEEDBACK_HEAD + 4 (n + answers)].
uint32_t engine_sample(uint8_t *p, uint64_t id, float weight, const int32_t *prompt, int64_t n,
                       const int32_t *answer, int64_t answers);
// Applies a record that came from outside. -1: it does not fit this engine.
int engine_input(engine *e, const journal_record *r, char err[ERR]);
// One turn: 1, or 0 when there is nothing to do. -1: a value was not finite, or owner said so.
int engine_turn(engine *e, char err[ERR]);
engine_state engine_now(const engine *e);
// What learns, its moments and fractions, as tensors; their data is the engine's own.
convert_plan engine_plan(engine *e);
// SHA-256 over the SHA-256 of each tensor. all 0: without the moments.
void engine_digest(engine *e, int all, uint8_t hash[32]);
// From here on learning is computed (a snapshot may have filled the plan's data before), and with
// serve 1 tokens are: sequences that are open stay told.
int engine_wake(engine *e, int serve, char err[ERR]);
int engine_ids(const engine *e, const int32_t *id, int64_t n); // 1: all are ids that it knows
#endif
