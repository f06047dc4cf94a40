// serve.h - the engine's door: an HTTP server with the OpenAI-compatible interface, and a page.
//
// One thread of its own answers all connections and waits for none of them: what has no tokens yet is
// set aside until serve_wake(), and what its client has left is cancelled. Chapter 14.
#ifndef SERVE_H
#define SERVE_H
#include "engine.h"
#include "token.h"

typedef struct {
    const char *host;       // "127.0.0.1"; anything that is not loopback needs a token
    int port;               // 0: any free one; serve_open() says which
    const char *token;      // bearer token, or NULL
    const char *name;       // the model's id in /v1/models
    long connections, body; // at most; bytes of a request's body. 0: 1,100 and 1 MiB
    long context;           // the engine's: tokens of prompt and answer together
    int feedback;           // 1: /v1/feedback is there
} serve_options;

typedef struct serve serve;

// Starts the thread. NULL: err says why (the address, the token).
serve *serve_open(const serve_options *o, engine *e, const tokenizer *t, const model_config *c,
                  int *port, char err[ERR]);
// Something new is on the disk: those that wait look again. Any thread; s may be NULL.
void serve_wake(void *s);
// After the engine's streams have ended: takes no more connections, gives the clients 5 s to take
// what is theirs, and closes.
void serve_close(serve *s);
#endif
