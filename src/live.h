// live.h - an engine at work: requests come from other threads, tokens go back when the journal has
// them on the disk.
//
// live_run() is the engine's thread. All other functions may be called beside it, from any thread.
#ifndef LIVE_H
#define LIVE_H
#include "engine.h"

typedef struct {
    const int32_t *prompt; // [n], n >= 1
    int64_t n, most;       // most: tokens wanted, n + most <= context
    sample_options how;    // .stream: 0, 1, .. of the choices of one request
    int top;               // of so many ids log-probabilities are wanted, 0 .. TOP; -1: of none
} live_request;

typedef struct {
    int32_t id;
    uint64_t version;    // of the weights that made it
    float logp;          // under the weights, before temperature and cuts
    int32_t top_id[TOP]; // the request's `top` likeliest ids, the lower id first when equal
    float top[TOP];      // and their log-probabilities
} live_token;

typedef struct live live;
typedef struct live_stream live_stream;

typedef struct {
    engine_state now;
    engine_options o;
    double step_seconds;             // of the last step
    double decode_rate;              // tokens a second, of the last ten
    uint64_t feedback;               // samples accepted
    int stopping;                    // nothing is taken any more
    uint64_t records, journal_bytes; // on the disk
    uint8_t chain[32];               // head of these
} live_state;

typedef struct {
    uint64_t number; // of the record in its journal, from 1
    uint64_t place;  // behind it
    uint32_t kind, size;
    uint8_t chain[32];
    char what[96]; // its content in a line
} live_record;

enum { CURVE = 4096, RECORDS = 256 }; // the last steps and records that are remembered

typedef struct {
    long queue;        // sequences that wait at most
    const char *path;  // of the journal; snapshots are PATH.vNNNNNNNN
    int until_learned; // live_run() ends when all is learned and nothing is open
    // Hears of every record that the engine makes, or NULL.
    void (*said)(journal_kind kind, const uint8_t *data, uint32_t size, const engine_state *s);
} live_options;

// An engine that has been woken, or is about to be, and its journal, which has so many records.
// owner(): what engine_open() is to be told.
live *live_open(const live_options *o);
engine_owner live_owner(live *l);
void live_start(live *l, engine *e, const engine_options *o, journal *j, uint64_t records,
                int64_t vocab);
void live_keep(live *l, const char *name); // the newest snapshot, written by another process
uint64_t live_note(live *l, journal_kind kind, const void *data, uint32_t size); // appends a record
void live_close(live *l);
// What is called, by the journal's thread, when something has reached the disk.
void live_listen(live *l, void (*wake)(void *), void *ctx);
void live_wake(void *l); // for journal_open()
// Until live_stop() or an error: a value that was not finite, or a disk that failed.
int live_run(live *l, const model *m, char err[ERR]);
// No more requests; what runs may end within `patience` seconds, then live_run() ends. Safe in a
// signal handler.
void live_stop(live *l, int patience);

long live_context(const engine_options *o); // tokens of a request and its answer at most
// NULL: the queue is full or the engine stops (err empty), or the request cannot be (err says why).
live_stream *live_submit(live *l, const live_request *q, char err[ERR]);
// A sample: the answer is learned behind the prompt, 0 < weight <= 1. The stream ends with END_STOP,
// without a token, when the sample is on the disk. NULL as above.
live_stream *live_feedback(live *l, const int32_t *prompt, int64_t n, const int32_t *answer,
                           int64_t answers, float weight, char err[ERR]);
uint64_t live_id(const live_stream *s);
// Tokens from .. from + most - 1, as far as they are on the disk. *end: why there are no more behind
// them, or END_NOT. After END_STOP the last token is the one that ends a text.
int64_t live_read(live *l, live_stream *s, int64_t from, live_token *token, int64_t most,
                  engine_end *end);
// The stream is not used any more; what runs is cancelled.
void live_release(live *l, live_stream *s);
void live_look(live *l, live_state *s);
// Loss and reward of the last steps, oldest first; at most `most`.
int64_t live_curve(live *l, int64_t most, int64_t *step, float *loss, float *reward);
// The last records that are on the disk, oldest first.
int64_t live_records(live *l, int64_t most, live_record *out);
#endif
