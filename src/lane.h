// lane.h - sequences that decode together: who waits, who has a slot and pages of the cache, and the
// rows of the next step (chapter 12).
#ifndef LANE_H
#define LANE_H
#include "backend.h"

enum { SLOTS = 256 };                 // sequences of a lane at most
#define LANE_CACHE ((int64_t)4 << 30) // bytes of keys and values where nobody says how many
typedef enum { END_NOT, END_STOP, END_LENGTH, END_CANCEL, END_FAILED } engine_end;

// A request from its arrival to its end.
typedef struct sequence {
    uint64_t id;
    int32_t *token;        // [n + most] the prompt, then what was drawn
    int64_t n, made, most; // made so far, at most
    int64_t fed;           // of its tokens have their keys in the cache, or are in this step
    sample_options how;
    int top;     // of so many ids log-probabilities are wanted; -1: not even of its own
    int told;    // its tokens are read from the journal: the cache does not hold it
    float *logp; // [most] of an answer to a task: log-probability of each token; else NULL
    int slot;    // -1: it waits
    engine_end end;
    struct sequence *next; // of those that wait
} sequence;

// Sequences that decode together, and their cache.
typedef struct lane {
    ref_run r;
    long slots, slice;     // sequences together; rows of prompts in a step
    int64_t pages, known;  // of the cache; ids below this are drawn
    long running, waiting; // sequences
    long pages_used;
    sequence *first, *last;     // of those that wait
    sequence *open[SLOTS];      // [running] in the order of their admission
    uint8_t used[SLOTS];        // slots
    int32_t *page;              // [pages] a stack: from pages_used on they are free
    int32_t *token, *pos, *seq; // [slots + slice] rows of a step
    sequence *row[SLOTS];       // whose the rows with logits are
    sample_options how[SLOTS];
    int32_t drawn[SLOTS];
} lane;

// A lane of so many slots, whose steps have at most `slice` rows of prompts; ids below known are
// drawn.
void lane_open(lane *l, const model *m, const backend *by, long slots, long slice, long context,
               long pages, int64_t known);
void lane_close(lane *l);               // an empty one; of one that was never opened nothing
void lane_add(lane *l, sequence *s);    // it waits
void lane_leave(lane *l, long i);       // the sequence open[i], with its slot and pages
void lane_cancel(lane *l, uint64_t id); // wherever it is
void lane_empty(lane *l);
// Admits who can be, and gathers the rows of the next step: first what prompts have before their last
// token, then one row for every sequence that can go on. Returns how many rows have logits, whose
// sequences stand in row[]; *rows: all that are computed, *all: of these and of those that are only
// told, *prompts: adds those of prompts.
long lane_gather(lane *l, int64_t *rows, int64_t *all, uint64_t *prompts);
// The tokens of the computed rows into drawn[]; their logits, where they are at hand.
int lane_draw(lane *l, const backend *by, int64_t rows, long heads, const float **logits,
              char err[ERR]);
long lane_pages(long context); // that a sequence of so many keys takes
// Of `most` sequences of so many keys each, how many decode together where nobody says: as many as
// LANE_CACHE holds, but one. A token does not depend on it.
long lane_together(const model *m, long context, long most);
#endif
