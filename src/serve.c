// serve.c - connections, who may ask what, and answers that wait for tokens.
#include "serve.h"
#include "openai.h"
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <sodium.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    IDLE = 30,       // seconds without a byte after which a connection is closed
    HEADERS = 32768, // bytes of memory of a connection: its headers, and what is being sent
    PATIENCE = 5,    // seconds that clients have at the end
    PAST = 1024,     // answers that feedback can name
    RECORDS = 20,    // of the journal that the page shows
    POINTS = 600,    // of its curves
    READ = 16,       // tokens read at a time
};

// The page stands in the program as it stands in its file.
__asm__(".pushsection .rodata\n"
        ".global serve_page, serve_page_end\n"
        "serve_page: .incbin \"src/page.html\"\n"
        "serve_page_end: .byte 0\n"
        ".popsection\n");
extern const char serve_page[], serve_page_end[];

typedef struct exchange exchange;

struct serve {
    serve_options o;
    engine *e;
    openai_model m;
    struct MHD_Daemon *http;
    int loopback;
    uint8_t token[crypto_hash_sha256_BYTES]; // its hash
    char *policy;                            // Content-Security-Policy of the page
    uint64_t answers[600];                   // by status code
    openai_answer *past[PAST];               // a ring: answer k is at k mod PAST
    uint64_t pasts;

    pthread_mutex_t lock; // of all below
    pthread_cond_t quiet; // active is 0
    exchange *waiting;    // suspended, until something new is on the disk
    uint64_t wakes;       // how often that was
    int active, closing;  // exchanges that wait for tokens or send them
};

typedef struct {
    const char *method, *path;
    enum MHD_Result (*answer)(exchange *x);
    int open; // needs no token
} route;

// A request and its answer.
struct exchange {
    serve *s;
    struct MHD_Connection *c;
    const route *to;
    const char *id; // of the path /v1/models/ID, or ""
    int refused;    // the status code, when it was refused before its body was read
    const char *why;
    char *body;              // [size]
    size_t size, room, told; // told: bytes that came, those not kept too
    openai_answer *a;        // what it waits for: tokens
    engine_stream *sample;   // or a sample that is being written
    char *out;               // [out_size] of a stream: sent up to out_at
    size_t out_size, out_at;
    int last;       // out is the end of the stream
    exchange *next; // of those that wait
};

// ---- waiting

// How often something new has come; taken before looking for it.
static uint64_t wakes(serve *s) {
    pthread_mutex_lock(&s->lock);
    uint64_t n = s->wakes;
    pthread_mutex_unlock(&s->lock);
    return n;
}

// Sets the connection aside. 0: something has come since `seen`: look again.
static int wait_after(exchange *x, uint64_t seen) {
    serve *s = x->s;
    pthread_mutex_lock(&s->lock);
    int still = s->wakes == seen && !s->closing;
    if (still) {
        MHD_suspend_connection(x->c);
        x->next = s->waiting, s->waiting = x;
    }
    pthread_mutex_unlock(&s->lock);
    return still;
}

void serve_wake(void *ctx) {
    serve *s = ctx;
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->wakes++;
    for (exchange *x = s->waiting, *next; x; x = next) {
        next = x->next; // x may be gone as soon as it is resumed
        MHD_resume_connection(x->c);
    }
    s->waiting = NULL;
    pthread_mutex_unlock(&s->lock);
}

static void count_active(serve *s, int by) {
    pthread_mutex_lock(&s->lock);
    s->active += by;
    if (!s->active) pthread_cond_broadcast(&s->quiet);
    pthread_mutex_unlock(&s->lock);
}

static int is_closing(serve *s) {
    pthread_mutex_lock(&s->lock);
    int closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return closing;
}

// A suspended connection is not watched, so we look ourselves whether its client has left. One that
// has closed its sending half counts as gone.
static int is_gone(exchange *x) {
    char byte;
    int fd = MHD_get_connection_info(x->c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

// ---- replies

static void header(struct MHD_Response *r, const char *name, const char *value) {
    must(MHD_add_response_header(r, name, value) == MHD_YES);
}

static enum MHD_Result queue(exchange *x, int code, const char *type, struct MHD_Response *r) {
    must(r);
    header(r, "Content-Type", type);
    header(r, "Cache-Control", "no-store");
    header(r, "X-Content-Type-Options", "nosniff");
    header(r, "Referrer-Policy", "no-referrer");
    if (code == 401) header(r, "WWW-Authenticate", "Bearer");
    if (code == 405) header(r, "Allow", x->to->method);
    if (code == 429 || code == 503) header(r, "Retry-After", "1");
    if (x->to && !strcmp(x->to->path, "/")) header(r, "Content-Security-Policy", x->s->policy);
    x->s->answers[code]++;
    enum MHD_Result ok = MHD_queue_response(x->c, (unsigned)code, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result reply(exchange *x, int code, const char *type, char *text, size_t n) {
    return queue(x, code, type, MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_FREE));
}

static enum MHD_Result reply_json(exchange *x, int code, json_t *j) {
    char *text = json_dumps(j, JSON_COMPACT);
    must(text); // everything in it is UTF-8
    json_decref(j);
    return reply(x, code, "application/json", text, strlen(text));
}

static enum MHD_Result reply_error(exchange *x, int code, const char *message, const char *param) {
    return reply_json(x, code, openai_error(code, message, param));
}

// ---- tokens

// Takes what has come for the choices that have not ended. Returns how many have not.
static int take(exchange *x) {
    openai_answer *a = x->a;
    int running = 0, closing = is_closing(x->s);
    for (int i = 0; i < a->choices; i++) {
        openai_choice *c = &a->choice[i];
        engine_token k[READ];
        engine_end end = END_NOT;
        int64_t n = READ;
        while (!c->end && n == READ) {
            n = engine_read(x->s->e, c->from, c->n, k, READ, &end);
            for (int64_t j = 0; j < n && !c->end; j++) openai_take(a, c, &x->s->m, &k[j]);
        }
        if (!c->end && closing && !end) end = END_CANCEL;
        if (!c->end && end) openai_end(a, c, &x->s->m, end);
        if (c->end && c->from) engine_release(x->s->e, c->from), c->from = NULL;
        running += !c->end;
    }
    return running;
}

// The code and the line when a choice did not end as it should: the engine stopped or failed.
static int failed(const openai_answer *a, const char **why) {
    int code = 0;
    for (int i = 0; i < a->choices; i++) {
        if (a->choice[i].end == END_CANCEL && !code) code = 503, *why = "the server is stopping";
        if (a->choice[i].end == END_FAILED) code = 500, *why = "the engine has failed";
    }
    return code;
}

// The answer in one piece, when it is whole.
static enum MHD_Result whole_answer(exchange *x) {
    for (;;) {
        uint64_t seen = wakes(x->s);
        if (!take(x)) break;
        if (is_gone(x)) return MHD_NO;
        if (wait_after(x, seen)) return MHD_YES;
    }
    const char *why;
    int code = failed(x->a, &why);
    if (code) return reply_error(x, code, why, "");
    json_t *choices = json_array();
    for (int i = 0; i < x->a->choices; i++)
        json_array_append_new(choices, openai_choice_json(x->a, i));
    return reply_json(x, 200, openai_json(x->a, choices, 1, &x->s->m));
}

static void event(FILE *f, json_t *j) {
    char *text = json_dumps(j, JSON_COMPACT);
    must(text);
    fprintf(f, "data: %s\n\n", text);
    free(text);
    json_decref(j);
}

// Writes the events that are due to x->out, of which nothing is left. running: choices that go on.
static void write_events(exchange *x, int running) {
    openai_answer *a = x->a;
    const char *why;
    free(x->out);
    x->out = NULL, x->out_at = 0;
    FILE *f = open_memstream(&x->out, &x->out_size);
    must(f);
    int code = failed(a, &why);
    for (int i = 0; i < a->choices && !code; i++)
        if (openai_news(a, &a->choice[i]))
            event(f, openai_json(a, json_pack("[o]", openai_choice_json(a, i)), 0, &x->s->m));
    if (code) event(f, openai_error(code, why, ""));
    if (!code && !running && a->usage) event(f, openai_json(a, json_array(), 1, &x->s->m));
    if (!code && !running) fputs("data: [DONE]\n\n", f);
    must(!fclose(f));
    x->last = code || !running;
}

// The next bytes of a stream, at most `most`; 0: the connection has been set aside.
static ssize_t stream_answer(void *ctx, uint64_t at, char *to, size_t most) {
    exchange *x = ctx;
    (void)at;
    while (x->out_at == x->out_size) {
        if (x->last) return MHD_CONTENT_READER_END_OF_STREAM;
        uint64_t seen = wakes(x->s);
        write_events(x, take(x));
        if (x->out_size) break;
        if (is_gone(x)) return MHD_CONTENT_READER_END_WITH_ERROR;
        if (wait_after(x, seen)) return 0;
    }
    size_t n = x->out_size - x->out_at < most ? x->out_size - x->out_at : most;
    memcpy(to, x->out + x->out_at, n);
    x->out_at += n;
    return (ssize_t)n;
}

// Asks the engine for every choice of x->a, or for none of them.
static enum MHD_Result submit(exchange *x) {
    openai_answer *a = x->a;
    char err[ERR] = "";
    for (int i = 0; i < a->choices; i++) {
        engine_request q = {a->prompt, a->size, a->most, a->how, a->top};
        q.how.stream = (uint32_t)i;
        a->choice[i].from = engine_submit(x->s->e, &q, err);
        if (!a->choice[i].from && *err) return reply_error(x, 400, err, "");
        if (!a->choice[i].from) return reply_error(x, 429, "the queue is full: try later", "");
    }
    if (!a->stream) return whole_answer(x);
    return queue(
        x, 200, "text/event-stream; charset=utf-8",
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, stream_answer, x, NULL));
}

static enum MHD_Result generate(exchange *x) {
    char err[ERR];
    const char *param;
    if (x->a) return whole_answer(x); // resumed
    x->a = must_alloc(1, sizeof *x->a);
    count_active(x->s, 1);
    int chat = strstr(x->to->path, "chat") != NULL;
    if (openai_read(x->a, chat, x->body, x->size, &x->s->m, &param, err))
        return reply_error(x, strcmp(param, "model") ? 400 : 404, err, param);
    return submit(x);
}

// ---- feedback

static const openai_answer *past_answer(const serve *s, const char *id) {
    for (uint64_t i = s->pasts < PAST ? 0 : s->pasts - PAST; i < s->pasts; i++)
        if (!strcmp(s->past[i % PAST]->id, id)) return s->past[i % PAST];
    return NULL;
}

static enum MHD_Result accepted(exchange *x, const char *reason) {
    return reply_json(x, 200, json_pack("{sb ss*}", "accepted", !reason, "reason", reason));
}

// An answer that is written to the journal is accepted; until then this is called again.
static enum MHD_Result sample_written(exchange *x) {
    for (;;) {
        uint64_t seen = wakes(x->s);
        engine_token none;
        engine_end end = END_NOT;
        engine_read(x->s->e, x->sample, 0, &none, 0, &end);
        if (end == END_STOP) return accepted(x, NULL);
        if (end == END_FAILED) return reply_error(x, 500, "the engine has failed", "");
        if (end || is_closing(x->s)) return reply_error(x, 503, "the server is stopping", "");
        if (is_gone(x)) return MHD_NO;
        if (wait_after(x, seen)) return MHD_YES;
    }
}

static enum MHD_Result feedback(exchange *x) {
    openai_feedback f;
    char err[ERR] = "";
    const char *param;
    if (x->sample) return sample_written(x); // resumed
    if (!x->s->o.feedback) return reply_error(x, 403, "started without --feedback", "");
    if (openai_read_feedback(&f, x->body, x->size, &x->s->m, &param, err))
        return reply_error(x, 400, err, param);
    const openai_answer *a = past_answer(x->s, f.id);
    const openai_choice *c = a && f.index < a->choices ? &a->choice[f.index] : NULL;
    if (c && (f.answer || f.rating > 0))
        x->sample =
            engine_feedback(x->s->e, a->prompt, a->size, f.answer ? f.answer : c->id,
                            f.answer ? f.size : c->n, f.rating > 0 ? (float)f.rating : 1.0f, err);
    int given = f.answer != NULL;
    free(f.answer);
    if (!c) return reply_error(x, 404, "no answer of this id and index is remembered", "id");
    if (!given && f.rating <= 0) return accepted(x, "a rating of 0 or below is not learned from");
    if (!x->sample && *err) return reply_error(x, 400, err, "");
    if (!x->sample) return reply_error(x, 429, "the queue is full: try later", "");
    count_active(x->s, 1);
    return sample_written(x);
}

// ---- what can be asked at once

static enum MHD_Result page(exchange *x) {
    return queue(x, 200, "text/html; charset=utf-8",
                 MHD_create_response_from_buffer((size_t)(serve_page_end - serve_page),
                                                 (char *)(uintptr_t)serve_page,
                                                 MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result health(exchange *x) {
    engine_stats n;
    engine_stats_of(x->s->e, &n);
    return reply_json(x, 200,
                      json_pack("{ss sI}", "status", "ok", "version", (json_int_t)n.version));
}

static json_t *model_json(const serve *s) {
    return json_pack("{ss ss si ss}", "id", s->o.name, "object", "model", "created", 0, "owned_by",
                     "assay");
}

static enum MHD_Result models(exchange *x) {
    if (!*x->id)
        return reply_json(x, 200,
                          json_pack("{ss s[o]}", "object", "list", "data", model_json(x->s)));
    if (!strcmp(x->id, x->s->o.name)) return reply_json(x, 200, model_json(x->s));
    return reply_error(x, 404, "no such model", "model");
}

// A value as Prometheus reads it; NaN stands for "there is none" and is left out.
static void metric(FILE *f, const char *name, const char *kind, double value) {
    if (value == value) fprintf(f, "# TYPE assay_%s %s\nassay_%s %.9g\n", name, kind, name, value);
}

static enum MHD_Result metrics(exchange *x) {
    char *text;
    size_t size;
    engine_stats n;
    engine_stats_of(x->s->e, &n);
    FILE *f = open_memstream(&text, &size);
    must(f);
    metric(f, "requests_total", "counter", (double)n.requests);
    metric(f, "prompt_tokens_total", "counter", (double)n.prompt_tokens);
    metric(f, "tokens_total", "counter", (double)n.tokens);
    metric(f, "learned_tokens_total", "counter", (double)n.learned);
    metric(f, "feedback_total", "counter", (double)n.feedback);
    metric(f, "turns_total", "counter", (double)n.turns);
    metric(f, "journal_bytes_total", "counter", (double)n.journal_bytes);
    metric(f, "requests_running", "gauge", (double)n.running);
    metric(f, "requests_waiting", "gauge", (double)n.waiting);
    metric(f, "weight_version", "gauge", (double)n.version);
    metric(f, "decode_tokens_per_second", "gauge", n.decode_rate);
    fprintf(f,
            "# TYPE assay_cache_pages gauge\nassay_cache_pages{state=\"used\"} %ld\n"
            "assay_cache_pages{state=\"free\"} %ld\n",
            n.pages_used, n.pages - n.pages_used);
    if (n.steps) {
        metric(f, "learn_step", "gauge", (double)n.step);
        metric(f, "learn_loss", "gauge", (double)n.loss);
        metric(f, "learn_gradient_norm", "gauge", (double)n.norm);
        metric(f, "learn_reward", "gauge", (double)n.reward);
        metric(f, "learn_step_seconds", "gauge", n.step_seconds);
    }
    fputs("# TYPE assay_http_answers_total counter\n", f);
    for (int i = 0; i < 600; i++)
        if (x->s->answers[i])
            fprintf(f, "assay_http_answers_total{code=\"%d\"} %llu\n", i,
                    (unsigned long long)x->s->answers[i]);
    must(!fclose(f));
    return reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", text, size);
}

// A number that JSON can hold, or null.
static json_t *real_or_null(double value) {
    json_t *j = json_real(value); // NULL: infinite, or not a number
    return j ? j : json_null();
}

static json_t *curve_json(engine *e) {
    int64_t step[POINTS];
    float loss[POINTS], reward[POINTS];
    json_t *list = json_array();
    int64_t n = engine_curve(e, POINTS, step, loss, reward);
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list,
                              json_pack("[Ioo]", (json_int_t)step[i], real_or_null((double)loss[i]),
                                        real_or_null((double)reward[i])));
    return list;
}

static json_t *records_json(engine *e) {
    engine_record r[RECORDS];
    char chain[65];
    json_t *list = json_array();
    int64_t n = engine_records(e, RECORDS, r);
    for (int64_t i = 0; i < n; i++) {
        sodium_bin2hex(chain, sizeof chain, r[i].chain, sizeof r[i].chain);
        json_array_append_new(
            list, json_pack("{sI ss sI ss ss}", "number", (json_int_t)r[i].number, "kind",
                            r[i].kind < J_KINDS ? journal_kind_name[r[i].kind] : "unknown", "size",
                            (json_int_t)r[i].size, "chain", chain, "what", r[i].what));
    }
    return list;
}

static enum MHD_Result state(exchange *x) {
    engine_stats n;
    char head[65];
    engine_stats_of(x->s->e, &n);
    sodium_bin2hex(head, sizeof head, n.head, sizeof n.head);
    json_t *j = json_pack(
        "{ss sb sI sI sI sI sI sI si si si si si si si so so so so so sI ss so so}", "model",
        x->s->o.name, "feedback", x->s->o.feedback, "version", (json_int_t)n.version, "turns",
        (json_int_t)n.turns, "requests", (json_int_t)n.requests, "prompt_tokens",
        (json_int_t)n.prompt_tokens, "tokens", (json_int_t)n.tokens, "learned",
        (json_int_t)n.learned, "running", (int)n.running, "waiting", (int)n.waiting, "pages",
        (int)n.pages, "pages_used", (int)n.pages_used, "slots", (int)n.slots, "step", (int)n.step,
        "steps", (int)n.steps, "loss", real_or_null((double)n.loss), "norm",
        real_or_null((double)n.norm), "reward", real_or_null((double)n.reward), "step_seconds",
        real_or_null(n.step_seconds), "decode_rate", real_or_null(n.decode_rate), "journal_bytes",
        (json_int_t)n.journal_bytes, "head", head, "curve", curve_json(x->s->e), "records",
        records_json(x->s->e));
    must(j);
    return reply_json(x, 200, j);
}

// ---- who may ask what

static const route routes[] = {
    {"GET", "/", page, 1},
    {"GET", "/health", health, 1},
    {"GET", "/metrics", metrics, 0},
    {"GET", "/v1/models", models, 0},
    {"GET", "/v1/assay/state", state, 0},
    {"POST", "/v1/completions", generate, 0},
    {"POST", "/v1/chat/completions", generate, 0},
    {"POST", "/v1/feedback", feedback, 0},
};

static const char *header_of(exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->c, MHD_HEADER_KIND, name);
}

// A server on a loopback address is reached by these names only: another one is a page of a stranger
// whose name was made to point here.
static int host_allowed(const serve *s, const char *host) {
    const char *const names[] = {"localhost", "127.0.0.1", "[::1]", s->o.host};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (!strncasecmp(host, names[i], n) && (!host[n] || host[n] == ':')) return 1;
    }
    return 0;
}

// A page of another origin may not send anything here.
static int origin_allowed(const char *origin, const char *host) {
    const char *name = strstr(origin, "://");
    return name && host && !strcasecmp(name + 3, host);
}

// The comparison takes the same time for any token: it is of hashes, and of all their bytes.
static int token_right(exchange *x) {
    uint8_t hash[crypto_hash_sha256_BYTES];
    const char *given = header_of(x, "Authorization");
    if (!given || strncasecmp(given, "Bearer ", 7)) given = "Bearer ";
    crypto_hash_sha256(hash, (const uint8_t *)given + 7, strlen(given + 7));
    return !sodium_memcmp(hash, x->s->token, sizeof hash);
}

// Finds the route; the code when it is refused, 0 when not.
static int admit(exchange *x, const char *path, const char *method) {
    const char *host = header_of(x, "Host"), *origin = header_of(x, "Origin");
    static const char models_at[] = "/v1/models/";
    int named = !strncmp(path, models_at, sizeof models_at - 1);
    x->id = named ? path + sizeof models_at - 1 : "";
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (!strcmp(named ? "/v1/models" : path, routes[i].path)) x->to = &routes[i];
    x->why = "not from here: the Host is not this server's";
    if (x->s->loopback && host && !host_allowed(x->s, host)) return 403;
    x->why = "not from here: the Origin is another one";
    if (origin && strcmp(method, "GET") && !origin_allowed(origin, host)) return 403;
    x->why = "expected the bearer token that the server was started with";
    if (x->s->o.token && !(x->to && x->to->open) && !token_right(x)) return 401;
    x->why = "there is nothing at this path";
    if (!x->to) return 404;
    x->why = "another method is expected here";
    if (strcmp(method, x->to->method) &&
        !(!strcmp(method, "HEAD") && !strcmp(x->to->method, "GET")))
        return 405;
    return 0;
}

static int too_large(exchange *x) {
    const char *length = header_of(x, "Content-Length");
    return length && strtoull(length, NULL, 10) > (uint64_t)x->s->o.body;
}

// Keeps a piece of the body, unless the request is refused. A body of unknown length that goes on
// and on is cut off.
static enum MHD_Result receive(exchange *x, const char *piece, size_t *n) {
    size_t most = (size_t)x->s->o.body;
    x->told += *n;
    if (!x->refused && x->told > most) x->refused = 413, x->why = "the body is too large";
    if (x->told > 2 * most) return MHD_NO;
    if (!x->refused) {
        if (x->size + *n > x->room) {
            x->room = 2 * (x->size + *n);
            must(x->body = realloc(x->body, x->room));
        }
        memcpy(x->body + x->size, piece, *n);
        x->size += *n;
    }
    *n = 0;
    return MHD_YES;
}

// Called when the headers are there, for each piece of the body, when it is whole, and when the
// connection is resumed.
static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *path,
                              const char *method, const char *version, const char *piece, size_t *n,
                              void **own) {
    exchange *x = *own;
    (void)version;
    if (!x) {
        *own = x = must_alloc(1, sizeof *x);
        x->s = ctx, x->c = c;
        x->refused = admit(x, path, method);
        return too_large(x) ? reply_error(x, 413, "the body is too large", "") : MHD_YES;
    }
    if (*n) return receive(x, piece, n);
    return x->refused ? reply_error(x, x->refused, x->why, "") : x->to->answer(x);
}

// The answers of the past are kept for feedback, without their text.
static void remember(serve *s, openai_answer *a) {
    openai_answer **at = &s->past[s->pasts++ % PAST];
    if (*at) openai_free(*at), free(*at);
    *at = a;
    for (int i = 0; i < a->choices; i++) {
        openai_choice *c = &a->choice[i];
        free(c->text), c->text = NULL;
        must(c->id = realloc(c->id, (size_t)(c->n ? c->n : 1) * sizeof *c->id));
    }
}

// The answer was sent, or its client has left.
static void completed(void *ctx, struct MHD_Connection *c, void **own,
                      enum MHD_RequestTerminationCode code) {
    exchange *x = *own;
    serve *s = ctx;
    const char *why;
    (void)c, (void)code;
    if (!x) return;
    if (x->sample) engine_release(s->e, x->sample);
    for (int i = 0; x->a && i < x->a->choices; i++)
        if (x->a->choice[i].from) engine_release(s->e, x->a->choice[i].from);
    if (x->a || x->sample) count_active(s, -1);
    int whole = x->a && x->a->choices > 0 && !failed(x->a, &why);
    for (int i = 0; whole && i < x->a->choices; i++) whole = x->a->choice[i].end != END_NOT;
    if (whole && s->o.feedback)
        remember(s, x->a);
    else if (x->a)
        openai_free(x->a), free(x->a);
    free(x->body), free(x->out), free(x);
    *own = NULL;
}

// ---- start and end

// Appends the hash of what stands between the marks, as a policy names it.
static void allow_inline(FILE *f, const char *directive, const char *from, const char *to) {
    uint8_t hash[crypto_hash_sha256_BYTES];
    char text[sodium_base64_ENCODED_LEN(sizeof hash, sodium_base64_VARIANT_ORIGINAL)];
    const char *begin = strstr(serve_page, from), *end = begin ? strstr(begin, to) : NULL;
    must(end);
    begin += strlen(from);
    crypto_hash_sha256(hash, (const uint8_t *)begin, (uint64_t)(end - begin));
    sodium_bin2base64(text, sizeof text, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
    fprintf(f, "; %s 'sha256-%s'", directive, text);
}

// The page may run its own script and style and ask its own server, and nothing else.
static char *page_policy(void) {
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    must(f);
    fputs("default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
          "frame-ancestors 'none'",
          f);
    allow_inline(f, "script-src", "<script>", "</script>");
    allow_inline(f, "style-src", "<style>", "</style>");
    must(!fclose(f));
    return text;
}

// A socket that listens at the address. -1: err says why there is none.
static int listen_at(serve *s, int *port, char err[ERR]) {
    struct addrinfo *a, how = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char service[16];
    int one = 1, fd = -1, wrong;
    snprintf(service, sizeof service, "%d", s->o.port);
    if ((wrong = getaddrinfo(s->o.host, service, &how, &a)))
        return fail(err, "--host %.200s: %s", s->o.host, gai_strerror(wrong));
    const struct sockaddr_in *v4 = (const void *)a->ai_addr;
    const struct sockaddr_in6 *v6 = (const void *)a->ai_addr;
    s->loopback = a->ai_family == AF_INET ? ntohl(v4->sin_addr.s_addr) >> 24 == 127
                                          : IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    if (!s->loopback && !s->o.token)
        fail(err, "--host %.200s: expected a loopback address, or a token with any other",
             s->o.host);
    else if ((fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0 ||
             setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
             bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 1024)) {
        fail(err, "--host %.200s --port %d: %s", s->o.host, s->o.port, strerror(errno));
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(a);
    struct sockaddr_in6 bound; // its port stands where sockaddr_in has it
    socklen_t size = sizeof bound;
    if (fd >= 0) must(!getsockname(fd, (struct sockaddr *)&bound, &size));
    if (fd >= 0) *port = ntohs(bound.sin6_port);
    return fd;
}

// Each connection needs a file; some are needed for other things.
static int enough_files(long connections, char err[ERR]) {
    struct rlimit r;
    rlim_t need = (rlim_t)connections + 64;
    must(!getrlimit(RLIMIT_NOFILE, &r));
    if (r.rlim_cur < need && r.rlim_max >= need) {
        r.rlim_cur = need;
        must(!setrlimit(RLIMIT_NOFILE, &r));
    }
    if (r.rlim_cur >= need) return 0;
    return fail(err, "%ld connections need %llu open files: the limit is %llu", connections,
                (unsigned long long)need, (unsigned long long)r.rlim_max);
}

static void serve_free(serve *s) {
    for (int i = 0; i < PAST; i++)
        if (s->past[i]) openai_free(s->past[i]), free(s->past[i]);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->quiet);
    free(s->policy), free(s);
}

serve *serve_open(const serve_options *o, engine *e, const tokenizer *t, const model_config *c,
                  int *port, char err[ERR]) {
    static const char *const ends[] = {[CHAT_ML] = "<|im_end|>",
                                       [CHAT_LLAMA3] = "<|eot_id|>",
                                       [CHAT_GEMMA] = "<end_of_turn>",
                                       [CHAT_LLAMA2] = "</s>"};
    serve *s = must_alloc(1, sizeof *s);
    int family = token_family(t), count = token_count(t);
    must(sodium_init() >= 0);
    s->o = *o, s->e = e;
    if (!s->o.connections) s->o.connections = 1100;
    if (!s->o.body) s->o.body = 1 << 20;
    s->m = (openai_model){t, o->name, count < c->vocab ? count : c->vocab, o->context,
                          family == CHAT_NONE ? -1 : token_id(t, ends[family])};
    if (s->m.end < 0 && c->eos_count) s->m.end = c->eos[0];
    if (o->token) crypto_hash_sha256(s->token, (const uint8_t *)o->token, strlen(o->token));
    s->policy = page_policy();
    must(!pthread_mutex_init(&s->lock, NULL) && !pthread_cond_init(&s->quiet, NULL));
    int fd = enough_files(s->o.connections, err) ? -1 : listen_at(s, port, err);
    if (fd >= 0)
        s->http = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, s,
            MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, completed, s,
            MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o.connections, MHD_OPTION_CONNECTION_TIMEOUT,
            (unsigned)IDLE, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS, MHD_OPTION_END);
    if (s->http) return s;
    if (fd >= 0) fail(err, "the HTTP server does not start: %s", strerror(errno)), close(fd);
    serve_free(s);
    return NULL;
}

void serve_close(serve *s) {
    struct timespec until;
    int fd = MHD_quiesce_daemon(s->http), late = 0;
    if (fd >= 0) close(fd);
    serve_wake(s);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE;
    pthread_mutex_lock(&s->lock);
    while (s->active && !late) late = pthread_cond_timedwait(&s->quiet, &s->lock, &until);
    s->closing = 1;
    pthread_mutex_unlock(&s->lock);
    serve_wake(s);
    MHD_stop_daemon(s->http);
    serve_free(s);
}
