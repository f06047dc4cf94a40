// engine.h - one owner of the weights: it serves sequences and learns between their tokens.
//
// The engine is a function of its inputs. Whatever comes from outside (requests, cancellations,
// feedback) is journalled with the number of the turn before which it was taken; a turn is one step
// of serving, one slice of learning or one update, and which one it is depends on nothing but the
// turns and inputs before it. So the journal's inputs, fed again at the same turns, give the same
// tokens and the same weights on any backend (chapter 12).
//
// engine_run() belongs to one thread. The functions marked "any thread" may be called beside it.
#ifndef ENGINE_H
#define ENGINE_H
#include "journal.h"
#include "train.h"

typedef struct {
    long slots;    // sequences that decode together, 1 .. 256
    long context;  // keys of a sequence at most: prompt and answer
    long pages;    // of the cache, KEYS keys each, that all sequences share; 0: enough for all slots
    long slice;    // prompt tokens of a turn at most
    long queue;    // sequences that wait for a slot at most
    long share;    // percent of the work that goes to learning while there is something to serve
    long floor;    // rows: a step of serving costs at least as much as so many
    long snapshot; // updates between two snapshots
    int feedback;  // learns what clients say
    train_options train; // .text NULL and no feedback: nothing is learned
} engine_options;

typedef struct {
    const int32_t *prompt; // [n], ids of the model, n >= 1
    int64_t n, most;       // tokens wanted at most, 1 .. context - n
    sample_options how;    // .stream: 0, 1, .. of the choices of one request
    int top;               // of so many ids log-probabilities are wanted, 0 .. TOP; -1: of none
} engine_request;

enum { TOP = 20 };
typedef enum { END_NOT, END_STOP, END_LENGTH, END_CANCEL, END_FAILED } engine_end;

typedef struct {
    int32_t id;
    uint64_t version; // of the weights that made it
    float logp;       // its log-probability under the weights, before temperature and cuts
    int32_t top_id[TOP];
    float top[TOP]; // the largest ones, falling, the lower id first when equal
} engine_token;

typedef struct engine engine;
typedef struct engine_stream engine_stream;

typedef struct {
    uint64_t turns, version, requests, prompt_tokens, tokens, feedback; // so far
    uint64_t learned;                // tokens
    long running, waiting, pages, pages_used, slots;
    long step, steps;                // of learning; steps 0: nothing is learned
    float loss, norm, reward;        // of the last step: nats a token; reward: NaN: there is none
    double step_seconds, decode_rate; // of the last step; tokens a second of the last ten seconds
    uint64_t journal_bytes;
    uint8_t head[32]; // of the journal
} engine_stats;

// ---- any thread
// NULL: the queue is full (err empty), or the request is refused (err says why).
engine_stream *engine_submit(engine *e, const engine_request *q, char err[ERR]);
// Tokens from..from+most-1 as far as they are on the disk; *end: why there will be no more (after
// the last one), or END_NOT. token[i].top is filled as far as the request wanted.
int64_t engine_read(engine *e, engine_stream *s, int64_t from, engine_token *token, int64_t most,
                    engine_end *end);
// Ends the stream's use: a running sequence is cancelled. Every stream is released once.
void engine_release(engine *e, engine_stream *s);
// A sample: the answer is learned after the prompt, with this weight, 0 < weight <= 1. The stream
// ends with END_STOP when it is on the disk. NULL as above.
engine_stream *engine_feedback(engine *e, const int32_t *prompt, int64_t n, const int32_t *answer,
                               int64_t answers, float weight, char err[ERR]);
void engine_stats_of(engine *e, engine_stats *s);
// Loss and reward of the last `most` steps, the oldest first: step[i], loss[i]; returns how many.
int64_t engine_curve(engine *e, int64_t most, int64_t *step, float *loss, float *reward);
// The last records of the journal, oldest first (data is NULL); returns how many, at most `most`.
typedef struct {
    uint64_t number;
    uint32_t kind, size;
    uint8_t chain[32];
    char what[96]; // one line: "version 12, loss 2.31", ...
} engine_record;
int64_t engine_records(engine *e, int64_t most, engine_record *out);
// No more submissions; what runs may end within `patience` seconds, then the rest is cancelled and
// engine_run() returns. Safe in a signal handler.
void engine_stop(engine *e, int patience);
#endif
