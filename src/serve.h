// serve.h - the door to a running engine: an HTTP server with the OpenAI-compatible interface, and a
// page.
//
// One thread of its own answers all connections and waits for none of them: a connection that has no
// tokens yet is set aside until something new is on the disk, and what its client has left is
// cancelled. Chapter 14.
#ifndef SERVE_H
#define SERVE_H
#include "live.h"
#include "token.h"

typedef struct {
    const char *host;       // any address that is not loopback needs a token
    int port;               // 0: any free one; serve_open() says which
    const char *token;      // bearer token, or NULL
    const char *name;       // the model's id in /v1/models
    long connections, body; // at most; bytes of a request's body. 0: 1,100 and 1 MiB
    long deadline;          // seconds for a request to be whole. 0: 30
    long choices;           // of a request at most: what slots and queue hold. 0: 128
} serve_options;

typedef struct serve serve;

// Starts the thread. NULL: err says why (the address, the token).
serve *serve_open(const serve_options *o, live *l, const tokenizer *t, const model_config *c,
                  int *port, char err[ERR]);
// After live_run(): takes no more connections, gives clients 5 s to take what is theirs, and closes.
void serve_close(serve *s);
#endif
