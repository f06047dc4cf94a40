// replay.h - a journal as the program that it is: executed again and compared, or taken up where a
// process left it.
#ifndef REPLAY_H
#define REPLAY_H
#include "live.h"

// What a run begins with; all that decides its bits stands in the journal's first record.
typedef struct {
    const char *dir, *text; // the model's folder; the text that is learned, NULL: none
    engine_options engine;
    int kv_bf16;
    const char *out; // a folder for the model as it will be; NULL: none
} replay_run;

typedef struct {
    const char *path;            // of the journal
    const char *dir, *text;      // where model and text lie now; NULL: where the journal says
    const char *from;            // a snapshot's name: computing begins there; NULL: at the start
    const char *out;             // a folder for the model as it will be; NULL: none
    const engine_options *asked; // what practice must have begun with; NULL: whatever it was
    const backend *by;
} replay_options;

// What a replay has compared.
typedef struct {
    uint64_t records, tokens, updates; // read; the others made again
    uint64_t told;                     // tokens that were only read
    uint64_t version;
    double seconds;
    char digest[65]; // of the whole model as it ends
} replay_result;

// A model, its text and its engine, as a journal's first record describes them.
typedef struct {
    replay_run run;
    model m;
    train_text text;
    tokenizer *t; // of a task
    qgre task;
    model began; // of a task with a divergence from it
    engine_learning learn;
    engine *e;
    uint64_t records;
    struct json_t *what; // the first record, which run may point into
} replay_open;

// Makes the first record of a new journal (free it), and the engine, which has been woken.
char *replay_begin(replay_open *r, const replay_run *run, const backend *by,
                   const engine_owner *owner, char err[ERR]);
// Executes the journal again. -1: the first record that differs, or why it could not go on.
int replay(const replay_options *o, replay_result *r, char err[ERR]);
// Opens a journal to go on with it: the engine is as its last record left it, requests that were
// open are not, and l has taken over. Learning is computed from the newest sound snapshot on; one
// that is not is named in a line on stderr.
journal *replay_resume(replay_open *r, const replay_options *o, live *l, char err[ERR]);
void replay_close(replay_open *r);
#endif
