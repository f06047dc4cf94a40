// serve.c - connections, who may ask what, and answers that wait for tokens.
#include "serve.h"
#include "num.h"
#include "openai.h"
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    IDLE = 30,       // seconds for a request to be whole; without a byte, for a client that reads
    SHARE = 4,       // one address has at most the 4th part of the connections
    HEADERS = 32768, // bytes of memory of a connection: its headers, and what is being sent
    PATIENCE = 5,    // seconds that clients have at the end
    PAST = 1024,     // answers that feedback can name
    LINES = 20,      // of the journal that the page shows
    POINTS = 600,    // of its curve
    READ = 16,       // tokens read at a time
};

// The page stands in the program as it stands in its file.
__asm__(".pushsection .rodata\n"
        "serve_page: .incbin \"src/page.html\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char serve_page[]; // text with a NUL behind it

typedef enum MHD_Result result;
typedef struct exchange exchange;

typedef struct {
    int fd;
    int64_t due; // CLOCK_MONOTONIC in seconds when it is cut off; 0: there is none here
} connection;

struct serve {
    serve_options o;
    live *l;
    openai_model m;
    struct MHD_Daemon *http;
    pthread_t watch;
    int loopback, feedback;
    uint8_t token[crypto_hash_sha256_BYTES]; // its hash
    char *policy;                            // Content-Security-Policy of the page
    uint64_t answers[600];                   // by status code
    openai_answer *past[PAST];               // a ring: answer k is at k mod PAST
    uint64_t pasts;

    pthread_mutex_t lock; // of all below
    pthread_cond_t quiet; // active is 0, or the watch ends
    int over;             // it does
    connection *all;      // [o.connections]
    exchange *waiting;    // suspended, until something new is on the disk
    uint64_t wakes;       // how often that was
    long active;          // exchanges that have streams
};

typedef struct {
    const char *method, *path;
    result (*answer)(exchange *x);
    int open; // needs no token
} route;

// A request and its answer.
struct exchange {
    serve *s;
    struct MHD_Connection *c;
    const route *to;
    const char *id, *why; // of /v1/models/ID, or ""; why it is refused
    int refused;          // the status code, when it was refused before its body was read
    FILE *in;             // writes body; NULL: it is whole
    char *body;           // [size]
    size_t size, came;    // came: bytes, those not kept too
    openai_answer *a;     // what it waits for; a sample for learning is one without a prompt
    char *out;            // [out_size] of a stream: sent up to out_at
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
    int still = s->wakes == seen;
    if (still) {
        MHD_suspend_connection(x->c);
        x->next = s->waiting, s->waiting = x;
    }
    pthread_mutex_unlock(&s->lock);
    return still;
}

// Called by the journal's thread: those that wait look again.
static void wake(void *ctx) {
    serve *s = ctx;
    pthread_mutex_lock(&s->lock);
    s->wakes++;
    for (exchange *x = s->waiting, *next; x; x = next) {
        next = x->next; // x may be gone as soon as it is resumed
        MHD_resume_connection(x->c);
    }
    s->waiting = NULL;
    pthread_mutex_unlock(&s->lock);
}

static void set_due(serve *s, struct MHD_Connection *c, int64_t due) {
    connection *k = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    pthread_mutex_lock(&s->lock);
    k->due = due;
    pthread_mutex_unlock(&s->lock);
}

static int64_t deadline(const serve *s) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + s->o.deadline + 1;
}

// The library tells that a connection is there, and when it is about to be closed.
static void connected(void *ctx, struct MHD_Connection *c, void **own,
                      enum MHD_ConnectionNotificationCode code) {
    serve *s = ctx;
    connection *k = code == MHD_CONNECTION_NOTIFY_STARTED ? s->all : *own;
    pthread_mutex_lock(&s->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        while (k->due) must(++k < s->all + s->o.connections);
        k->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *own = k;
    }
    k->due = code == MHD_CONNECTION_NOTIFY_STARTED ? deadline(s) : 0;
    pthread_mutex_unlock(&s->lock);
}

// Each second: who is late is cut off. The library's thread then finds that the client has left.
static void *watch(void *ctx) {
    serve *s = ctx;
    struct timespec t;
    pthread_mutex_lock(&s->lock);
    while (!s->over) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        for (connection *k = s->all; k < s->all + s->o.connections; k++)
            if (k->due && k->due <= t.tv_sec) shutdown(k->fd, SHUT_RDWR), k->due = INT64_MAX;
        t.tv_sec++;
        pthread_cond_timedwait(&s->quiet, &s->lock, &t);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void count_active(serve *s, int by) {
    pthread_mutex_lock(&s->lock);
    s->active += by;
    if (!s->active) pthread_cond_broadcast(&s->quiet);
    pthread_mutex_unlock(&s->lock);
}

// A suspended connection is not watched, so we look ourselves whether its client has left. One that
// has closed its sending half counts as gone, whatever it sent before.
static int is_gone(exchange *x) {
    int fd = MHD_get_connection_info(x->c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0;
}

// ---- replies

static result reply(exchange *x, int code, const char *type, struct MHD_Response *r) {
    const char *const headers[][2] = {
        {"Content-Type", type},
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"WWW-Authenticate", code == 401 ? "Bearer" : NULL},
        {"Allow", code == 405 ? x->to->method : NULL},
        {"Retry-After", code == 429 || code == 503 ? "1" : NULL},
        {"Content-Security-Policy", !strncmp(type, "text/html", 9) ? x->s->policy : NULL}};
    must(r);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (headers[i][1]) must(MHD_add_response_header(r, headers[i][0], headers[i][1]));
    x->s->answers[code]++;
    result ok = MHD_queue_response(x->c, (unsigned)code, r);
    MHD_destroy_response(r);
    return ok;
}

static result reply_json(exchange *x, int code, json_t *j) {
    char *text = json_dumps(j, JSON_COMPACT);
    must(text); // all in it is UTF-8
    json_decref(j);
    return reply(x, code, "application/json",
                 MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE));
}

static result reply_error(exchange *x, int code, const char *message, const char *param) {
    return reply_json(x, code, openai_error(code, message, param));
}

// ---- tokens

// Takes what has come for the choices that have not ended; in a stream no more than makes an event.
// Returns how many have not.
static int take(exchange *x) {
    openai_answer *a = x->a;
    int running = 0;
    for (int i = 0; i < a->choices; i++) {
        openai_choice *c = &a->choice[i];
        live_token k[READ];
        engine_end end = END_NOT;
        int64_t n = READ;
        while (!c->end && n == READ && !(a->stream && c->ready)) {
            n = live_read(x->s->l, c->from, c->n, k, READ, &end);
            for (int64_t j = 0; j < n && !c->end; j++) openai_take(a, c, &x->s->m, &k[j]);
        }
        if (!c->end && end) openai_end(a, c, &x->s->m, end);
        if (c->end && c->from) live_release(x->s->l, c->from), c->from = NULL;
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

// The answer in one piece, when it is whole; until then this is called again after each wake.
static result whole_answer(exchange *x) {
    const char *why;
    for (;;) {
        uint64_t seen = wakes(x->s);
        if (!take(x)) break;
        if (is_gone(x)) return MHD_NO;
        if (wait_after(x, seen)) return MHD_YES;
    }
    int code = failed(x->a, &why);
    if (code) return reply_error(x, code, why, "");
    if (!x->a->prompt) return reply_json(x, 200, json_pack("{sb}", "accepted", 1));
    json_t *choices = json_array();
    for (int i = 0; i < x->a->choices; i++)
        json_array_append_new(choices, openai_choice_json(x->a, i, &x->s->m));
    return reply_json(x, 200, openai_json(x->a, choices, 1, &x->s->m));
}

static void write_event(FILE *f, json_t *j) {
    fputs("data: ", f);
    must(!json_dumpf(j, f, JSON_COMPACT));
    fputs("\n\n", f);
    json_decref(j);
}

// Writes the events that are due to x->out, of which nothing is left. running: choices that go on.
static void write_events(exchange *x, int running) {
    openai_answer *a = x->a;
    const char *why;
    free(x->out);
    x->out_at = 0;
    FILE *f = open_memstream(&x->out, &x->out_size);
    must(f);
    int code = failed(a, &why);
    for (int i = 0; i < a->choices && !code; i++)
        if (openai_news(a, &a->choice[i]))
            write_event(f, openai_json(a, json_pack("[o]", openai_choice_json(a, i, &x->s->m)), 0,
                                       &x->s->m));
    x->last = code || !running;
    if (code) write_event(f, openai_error(code, why, ""));
    if (!code && x->last && a->usage) write_event(f, openai_json(a, json_array(), 1, &x->s->m));
    if (!code && x->last) fputs("data: [DONE]\n\n", f);
    must(!fclose(f));
}

// The next bytes of a stream, at most `most`; 0: the connection has been set aside.
static ssize_t read_stream(void *ctx, uint64_t at, char *to, size_t most) {
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

// Without a stream there is no answer: err says why, or the queue is full.
static result refuse(exchange *x, const char *err) {
    live_state now;
    if (*err) return reply_error(x, 400, err, "");
    live_look(x->s->l, &now);
    if (now.stopping) return reply_error(x, 503, "the server is stopping", "");
    return reply_error(x, 429, "the queue is full", "");
}

static void begin_answer(exchange *x) {
    x->a = must_alloc(1, sizeof *x->a);
    set_due(x->s, x->c, INT64_MAX);
    count_active(x->s, 1);
}

// Asks the engine for every choice, or for none of them.
static result generate(exchange *x) {
    char err[ERR];
    const char *param;
    int chat = strstr(x->to->path, "chat") != NULL;
    begin_answer(x);
    openai_answer *a = x->a;
    if (openai_read(a, chat, x->body, x->size, &x->s->m, &param, err))
        return reply_error(x, strcmp(param, "model") ? 400 : 404, err, param);
    for (int i = 0; i < a->choices; i++) {
        live_request q = {a->prompt, a->size, a->most, a->how, a->top};
        q.how.stream = (uint32_t)i;
        a->choice[i].from = live_submit(x->s->l, &q, err);
        if (!a->choice[i].from) return refuse(x, err);
        a->choice[i].request = live_id(a->choice[i].from);
    }
    if (!a->stream) return whole_answer(x);
    return reply(x, 200, "text/event-stream; charset=utf-8",
                 MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, x, NULL));
}

// A sample is accepted when it is on the disk.
static result feedback(exchange *x) {
    serve *s = x->s;
    openai_feedback f;
    char err[ERR];
    const char *param, *no = "a rating of 0 or below is not learned from";
    const openai_answer *a = NULL;
    live_state now;
    live_look(s->l, &now);
    if (!now.o.feedback) return reply_error(x, 403, "the server learns from no feedback", "");
    if (openai_read_feedback(&f, x->body, x->size, &s->m, &param, err))
        return reply_error(x, 400, err, param);
    for (uint64_t i = s->pasts < PAST ? 0 : s->pasts - PAST; i < s->pasts; i++)
        if (!strcmp(s->past[i % PAST]->id, f.id)) a = s->past[i % PAST];
    int known = a && f.index < a->choices, learns = f.answer || f.rating > 0;
    const openai_choice *c = known ? &a->choice[f.index] : NULL;
    if (c && learns) {
        begin_answer(x);
        x->a->choices = 1, x->a->choice = must_alloc(1, sizeof *x->a->choice);
        x->a->choice->from =
            live_feedback(s->l, a->prompt, a->size, f.answer ? f.answer : c->id,
                          f.answer ? f.size : c->n, f.rating > 0 ? (float)f.rating : 1.0f, err);
    }
    free(f.answer);
    if (!c) return reply_error(x, 404, "no answer of this id and index is remembered", "id");
    if (!learns) return reply_json(x, 200, json_pack("{sb ss}", "accepted", 0, "reason", no));
    return x->a->choice->from ? whole_answer(x) : refuse(x, err);
}

// ---- what is answered at once

static result page(exchange *x) {
    return reply(x, 200, "text/html; charset=utf-8",
                 MHD_create_response_from_buffer(strlen(serve_page), (char *)(uintptr_t)serve_page,
                                                 MHD_RESPMEM_PERSISTENT));
}

static result health(exchange *x) {
    live_state n;
    live_look(x->s->l, &n);
    return reply_json(x, 200,
                      json_pack("{ss sI}", "status", "ok", "version", (json_int_t)n.now.version));
}

static result models(exchange *x) {
    const char *name = x->s->o.name;
    json_t *m = json_pack("{ss ss si ss}", "id", name, "object", "model", "created", 0, "owned_by",
                          "assay");
    if (!*x->id) return reply_json(x, 200, json_pack("{ss s[o]}", "object", "list", "data", m));
    if (!strcmp(x->id, name)) return reply_json(x, 200, m);
    json_decref(m);
    return reply_error(x, 404, "no such model", "model");
}

// Calls say() with each figure of the run: its name, its kind (NULL: as the one before) and its
// value, NaN where there is none.
static void tell_figures(live *l, void *to,
                         void (*say)(void *to, const char *name, const char *kind, double value)) {
    static const char *const counter = "counter", *const gauge = "gauge";
    live_state n;
    live_look(l, &n);
    const engine_state *e = &n.now;
    double none = num_float(0x7fc00000u), learns = n.o.train.steps ? 0 : none;
    say(to, "requests_total", counter, (double)e->requests);
    say(to, "prompt_tokens_total", counter, (double)e->prompt_tokens);
    say(to, "tokens_total", counter, (double)e->tokens);
    say(to, "learned_tokens_total", counter, (double)e->learned);
    say(to, "feedback_total", counter, (double)n.feedback);
    say(to, "turns_total", counter, (double)e->turn);
    say(to, "journal_records_total", counter, (double)n.records);
    say(to, "journal_bytes_total", counter, (double)n.journal_bytes);
    say(to, "requests_running", gauge, (double)e->running);
    say(to, "requests_waiting", gauge, (double)e->waiting);
    say(to, "decode_tokens_per_second", gauge, n.decode_rate);
    say(to, "cache_pages{state=\"used\"}", gauge, (double)e->pages_used);
    say(to, "cache_pages{state=\"free\"}", NULL, (double)(n.o.pages - e->pages_used));
    say(to, "weight_version", gauge, (double)e->version);
    say(to, "learn_step", gauge, (double)e->step + learns);
    say(to, "learn_steps", gauge, (double)n.o.train.steps + learns);
    say(to, "learn_samples_waiting", gauge, (double)e->given);
    say(to, "learn_loss", gauge, e->step ? (double)e->loss : none);
    say(to, "learn_reward", gauge, e->step && n.o.practice.task ? (double)e->reward : none);
    say(to, "practice_tokens_total", counter, n.o.practice.task ? (double)e->tried : none);
    say(to, "learn_gradient_norm", gauge, e->step ? (double)e->norm : none);
    say(to, "learn_step_seconds", gauge, e->step ? n.step_seconds : none);
}

static void say_line(void *to, const char *name, const char *kind, double value) {
    if (value != value) return;
    if (kind) fprintf(to, "# TYPE assay_%.*s %s\n", (int)strcspn(name, "{"), name, kind);
    fprintf(to, "assay_%s %.17g\n", name, value);
}

static void say_json(void *to, const char *name, const char *kind, double value) {
    (void)kind;
    if (value == value) json_object_set_new(to, name, json_real(value));
}

// What Prometheus reads, in its text format 0.0.4.
static result metrics(exchange *x) {
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    must(f);
    tell_figures(x->s->l, f, say_line);
    fputs("# TYPE assay_http_answers_total counter\n", f);
    for (int i = 0; i < 600; i++)
        if (x->s->answers[i])
            fprintf(f, "assay_http_answers_total{code=\"%d\"} %llu\n", i,
                    (unsigned long long)x->s->answers[i]);
    must(!fclose(f));
    return reply(x, 200, "text/plain; version=0.0.4; charset=utf-8",
                 MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE));
}

// What the page shows.
static result state(exchange *x) {
    int64_t step[POINTS], n;
    float loss[POINTS], reward[POINTS];
    live_record r[LINES];
    live_state now;
    char chain[65];
    json_t *figures = json_object(), *curve = json_array(), *records = json_array();
    live_look(x->s->l, &now);
    tell_figures(x->s->l, figures, say_json);
    n = live_curve(x->s->l, POINTS, step, loss, reward);
    for (int64_t i = 0; i < n; i++) {
        json_t *point = json_pack("[If]", (json_int_t)step[i], (double)loss[i]);
        if (now.o.practice.task) json_array_append_new(point, json_real((double)reward[i]));
        json_array_append_new(curve, point);
    }
    n = live_records(x->s->l, LINES, r);
    for (int64_t i = 0; i < n; i++) {
        sodium_bin2hex(chain, sizeof chain, r[i].chain, sizeof r[i].chain);
        json_array_append_new(records, json_pack("{sI ss ss ss}", "number", (json_int_t)r[i].number,
                                                 "kind", journal_kind_name[r[i].kind], "what",
                                                 r[i].what, "chain", chain));
    }
    sodium_bin2hex(chain, sizeof chain, now.chain, sizeof now.chain);
    return reply_json(x, 200,
                      json_pack("{ss sb ss so so so}", "model", x->s->o.name, "feedback",
                                now.o.feedback, "head", chain, "figures", figures, "curve", curve,
                                "records", records));
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

static const char *header(exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->c, MHD_HEADER_KIND, name);
}

// A server on a loopback address is reached by these names only: any other is a stranger's, made to
// point here.
static int host_allowed(const serve *s, const char *host) {
    const char *const names[] = {"localhost", "127.0.0.1", "[::1]", s->o.host};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if (!strncasecmp(host, names[i], n) && (!host[n] || host[n] == ':')) return 1;
    }
    return 0;
}

// The comparison takes the same time for any token: it is of hashes, and of all their bytes.
static int token_right(const serve *s, const char *given) {
    uint8_t hash[crypto_hash_sha256_BYTES];
    if (!given || strncasecmp(given, "Bearer ", 7)) return 0;
    crypto_hash_sha256(hash, (const uint8_t *)given + 7, strlen(given + 7));
    return !sodium_memcmp(hash, s->token, sizeof hash);
}

// Finds the route. The status code and x->why when it is refused, 0 when not. The last three are
// headers, or NULL.
static int admit(exchange *x, const char *path, const char *method, const char *host,
                 const char *origin, const char *token) {
    static const char under[] = "/v1/models/";
    const char *from = origin ? strstr(origin, "://") : NULL;
    int named = !strncmp(path, under, sizeof under - 1),
        get = !strcmp(method, "GET") || !strcmp(method, "HEAD");
    x->id = named ? path + sizeof under - 1 : "";
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (!strcmp(path, routes[i].path) || (named && routes[i].answer == models))
            x->to = &routes[i];
    x->why = "the Host is not this server's";
    if (x->s->loopback && host && !host_allowed(x->s, host)) return 403;
    x->why = "a page of another origin may send nothing here";
    if (origin && !get && !(from && host && !strcasecmp(from + 3, host))) return 403;
    x->why = "expected the bearer token that the server was started with";
    if (x->s->o.token && !(x->to && x->to->open) && !token_right(x->s, token)) return 401;
    x->why = "there is nothing at this path";
    if (!x->to) return 404;
    x->why = "another method is expected here";
    return strcmp(method, x->to->method) && !(get && *x->to->method == 'G') ? 405 : 0;
}

// A piece of the body. One of unknown length that goes on and on is cut off.
static result receive(exchange *x, const char *piece, size_t *n) {
    size_t most = (size_t)x->s->o.body;
    x->came += *n;
    if (x->came > 2 * most) return MHD_NO;
    if (x->came > most) x->refused = 413, x->why = "the body is too large";
    if (!x->refused) must(fwrite(piece, 1, *n, x->in) == *n);
    *n = 0;
    return MHD_YES;
}

// Called when the headers are there, for each piece of the body, when it is whole, and when the
// connection is resumed.
static result handle(void *ctx, struct MHD_Connection *c, const char *path, const char *method,
                     const char *version, const char *piece, size_t *n, void **own) {
    exchange *x = *own;
    (void)version;
    if (!x) {
        *own = x = must_alloc(1, sizeof *x);
        x->s = ctx, x->c = c;
        must(x->in = open_memstream(&x->body, &x->size));
        x->refused = admit(x, path, method, header(x, "Host"), header(x, "Origin"),
                           header(x, "Authorization"));
        const char *length = header(x, "Content-Length");
        if (!length || strtoull(length, NULL, 10) <= (uint64_t)x->s->o.body) return MHD_YES;
        return reply_error(x, 413, "the body is too large", "");
    }
    if (*n) return receive(x, piece, n);
    if (!x->in) return whole_answer(x); // resumed
    must(!fclose(x->in));
    x->in = NULL;
    return x->refused ? reply_error(x, x->refused, x->why, "") : x->to->answer(x);
}

static void free_answer(openai_answer *a) {
    if (a) openai_free(a);
    free(a);
}

// The answer was sent, or its client has left: the next request may come. Whole ones are kept for
// feedback.
static void completed(void *ctx, struct MHD_Connection *c, void **own,
                      enum MHD_RequestTerminationCode code) {
    exchange *x = *own;
    serve *s = ctx;
    (void)code;
    set_due(s, c, deadline(s));
    if (!x) return;
    openai_answer *a = x->a;
    int whole = a && a->prompt;
    for (int i = 0; a && i < a->choices; i++) {
        if (a->choice[i].from) live_release(s->l, a->choice[i].from);
        whole = whole && (a->choice[i].end == END_STOP || a->choice[i].end == END_LENGTH);
    }
    if (a) count_active(s, -1);
    if (whole && s->feedback) {
        openai_keep(a);
        openai_answer **at = &s->past[s->pasts++ % PAST];
        free_answer(*at);
        *at = a;
    } else
        free_answer(a);
    if (x->in) fclose(x->in);
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
    struct sockaddr_in6 bound; // its port stands where sockaddr_in has it
    socklen_t size = sizeof bound;
    char service[16];
    int one = 1, fd = -1;
    snprintf(service, sizeof service, "%d", s->o.port);
    int wrong = getaddrinfo(s->o.host, service, &how, &a);
    if (wrong) return fail(err, "--host %.200s: %s", s->o.host, gai_strerror(wrong));
    const struct sockaddr_in *v4 = (const void *)a->ai_addr;
    const struct sockaddr_in6 *v6 = (const void *)a->ai_addr;
    s->loopback = a->ai_family == AF_INET ? ntohl(v4->sin_addr.s_addr) >> 24 == 127
                                          : IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    if (!s->loopback && !s->o.token)
        fail(err, "--host %.200s: not a loopback address: expected a token too", s->o.host);
    else if ((fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0 ||
             setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
             bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 1024) ||
             getsockname(fd, (struct sockaddr *)&bound, &size)) {
        fail(err, "--host %.200s --port %d: %s", s->o.host, s->o.port, strerror(errno));
        if (fd >= 0) close(fd);
        fd = -1;
    }
    freeaddrinfo(a);
    if (fd >= 0) *port = ntohs(bound.sin6_port);
    return fd;
}

// Each connection needs a file; some are needed for other things.
static int enough_files(long connections, char err[ERR]) {
    struct rlimit r;
    rlim_t need = (rlim_t)connections + 64;
    must(!getrlimit(RLIMIT_NOFILE, &r));
    if (r.rlim_cur >= need) return 0;
    r.rlim_cur = need;
    if (r.rlim_max >= need && !setrlimit(RLIMIT_NOFILE, &r)) return 0;
    return fail(err, "%ld connections need %llu open files: the limit is %llu", connections,
                (unsigned long long)need, (unsigned long long)r.rlim_max);
}

static void serve_free(serve *s) {
    for (int i = 0; i < PAST; i++) free_answer(s->past[i]);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->quiet);
    free(s->all), free(s->policy), free(s);
}

serve *serve_open(const serve_options *o, live *l, const tokenizer *t, const model_config *c,
                  int *port, char err[ERR]) {
    static const char *const ends[] = {[CHAT_NONE] = "",
                                       [CHAT_ML] = "<|im_end|>",
                                       [CHAT_LLAMA3] = "<|eot_id|>",
                                       [CHAT_GEMMA] = "<end_of_turn>",
                                       [CHAT_LLAMA2] = "</s>"};
    serve *s = must_alloc(1, sizeof *s);
    live_state now;
    live_look(l, &now);
    pthread_condattr_t steady; // a wait that no jump of the clock makes longer
    must(sodium_init() >= 0 && !pthread_mutex_init(&s->lock, NULL) &&
         !pthread_condattr_init(&steady) && !pthread_condattr_setclock(&steady, CLOCK_MONOTONIC) &&
         !pthread_cond_init(&s->quiet, &steady));
    s->o = *o, s->l = l;
    if (!s->o.connections) s->o.connections = 1100;
    if (!s->o.body) s->o.body = 1 << 20;
    if (!s->o.deadline) s->o.deadline = IDLE;
    if (!s->o.choices || s->o.choices > CHOICES) s->o.choices = CHOICES;
    s->all = must_alloc((size_t)s->o.connections, sizeof *s->all);
    s->feedback = now.o.feedback;
    s->m = (openai_model){.t = t,
                          .name = o->name,
                          .known = now.o.known,
                          .context = live_context(&now.o),
                          .config = c,
                          .choices = s->o.choices,
                          .end = token_id(t, ends[token_family(t)])};
    if (s->m.end < 0 && c->eos_count) s->m.end = c->eos[0];
    if (o->token) crypto_hash_sha256(s->token, (const uint8_t *)o->token, strlen(o->token));
    s->policy = page_policy();
    int fd = enough_files(s->o.connections, err) ? -1 : listen_at(s, port, err);
    if (fd >= 0)
        s->http = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, s,
            MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, completed, s,
            MHD_OPTION_NOTIFY_CONNECTION, connected, s, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
            s->loopback ? 0U : (unsigned)(s->o.connections + SHARE - 1) / SHARE,
            MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o.connections, MHD_OPTION_CONNECTION_TIMEOUT,
            (unsigned)IDLE, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS, MHD_OPTION_END);
    if (s->http) {
        must(!pthread_create(&s->watch, NULL, watch, s));
        live_listen(l, wake, s);
        return s;
    }
    if (fd >= 0) fail(err, "the HTTP server does not start: %s", strerror(errno)), close(fd);
    serve_free(s);
    return NULL;
}

// After live_run() every stream has its end, so nobody waits after this wake.
void serve_close(serve *s) {
    struct timespec until;
    int fd = MHD_quiesce_daemon(s->http), late = 0;
    if (fd >= 0) close(fd);
    wake(s);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE;
    pthread_mutex_lock(&s->lock);
    while (s->active && !late) late = pthread_cond_timedwait(&s->quiet, &s->lock, &until);
    s->over = 1;
    pthread_cond_broadcast(&s->quiet);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->watch, NULL);
    live_listen(s->l, NULL, NULL);
    MHD_stop_daemon(s->http);
    serve_free(s);
}
