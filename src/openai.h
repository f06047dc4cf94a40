// openai.h - the OpenAI-compatible requests and answers as JSON. No HTTP and no threads here, so that
// any bytes can be tried on it. Chapter 14.
#ifndef OPENAI_H
#define OPENAI_H
#include "live.h"
#include "token.h"
#include <jansson.h>

enum {
    CHOICES = 128,
    STOPS = 4,
    STOP_BYTES = 256,
    OPENAI_ID = 40,
    LOGPS = 1 << 16, // log-probabilities of an answer in one piece
    TOKEN_TEXT = 16, // bytes for each token of the context: a longer text is not even tokenized
};

// What requests are read against.
typedef struct {
    const tokenizer *t;
    const char *name;       // of the model
    int64_t known, context; // ids are 0 .. known - 1; tokens of prompt and answer together at most
    const model_config *config;
    int64_t choices; // of a request at most, 1 .. CHOICES
    int32_t end;     // the token that ends an answer, -1: none
} openai_model;

// A log-probability that is still to be shown.
typedef struct {
    int32_t id, at; // at: characters of the answer before it
    float logp;
} openai_logp;

// One answer as it grows.
typedef struct {
    live_stream *from; // where its tokens come from; NULL: no more are wanted
    int32_t *id;       // [most] the tokens taken so far
    int64_t n;         // how many
    token_stream decoder;
    char *text;               // [size] not yet shown, of which the first `ready` bytes may be:
    size_t size, ready, room; // the rest could be the beginning of a stop string
    int64_t characters;       // decoded so far
    openai_logp *logp; // [listed][1 + top] of the tokens not yet shown: its own, the likeliest
    int64_t listed;
    uint64_t request;     // its number in the journal
    uint64_t first, last; // weight versions of its tokens
    engine_end end;
    int shown; // 0: nothing yet; 1: something; 2: its end
} openai_choice;

typedef struct {
    int chat, stream, usage; // usage: the stream ends with a chunk of it
    int top;                 // of so many ids log-probabilities are wanted; -1: not even of its own
    int stops;
    char *stop[STOPS];
    sample_options how;
    int32_t *prompt;    // [size] ids
    int64_t size, most; // tokens of the answer at most
    char id[OPENAI_ID];
    int64_t created; // Unix time
    int choices;
    openai_choice *choice; // [choices]
} openai_answer;

typedef struct {
    char id[OPENAI_ID];
    int64_t index;   // of the choice
    double rating;   // -1 .. 1, 0 when it was not given
    int32_t *answer; // [size] ids with the end token; NULL: none was given
    int64_t size;
} openai_feedback;

// Reads the body of a request. -1: err says why, and *param which field ("": none) is wrong;
// the answer is then empty.
int openai_read(openai_answer *a, int chat, const char *body, size_t n, const openai_model *m,
                const char **param, char err[ERR]);
int openai_read_feedback(openai_feedback *f, const char *body, size_t n, const openai_model *m,
                         const char **param, char err[ERR]);
void openai_keep(openai_answer *a); // only the ids, in as much memory as they need
void openai_free(openai_answer *a);

// Takes the next token of a choice; 1: a stop string has ended it.
int openai_take(openai_answer *a, openai_choice *c, const openai_model *m, const live_token *k);
void openai_end(openai_answer *a, openai_choice *c, const openai_model *m, engine_end end);
// Has it something to show? Then the next two show it: all so far, or in a stream what is new.
int openai_news(const openai_answer *a, const openai_choice *c);
json_t *openai_choice_json(openai_answer *a, int i, const openai_model *m);
// The whole answer or a chunk around choices (it takes them over). usage: with the counts of tokens.
json_t *openai_json(const openai_answer *a, json_t *choices, int usage, const openai_model *m);
json_t *openai_error(int code, const char *message, const char *param);
#endif
