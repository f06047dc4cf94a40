// test_serve.c - the door in front of an engine that does what a real one does rarely: a token
// reaches the disk between a look and the sleep after it, all fails, nothing ever comes.
//
// serve.c is compiled into this file with the functions of live.h named anew.
#define live_look fake_look
#define live_listen fake_listen
#define live_submit fake_submit
#define live_feedback fake_feedback
#define live_read fake_read
#define live_release fake_release
#define live_id fake_id
#define live_curve fake_curve
#define live_records fake_records
#define serve_open door_open
#define serve_close door_close
#include "../src/serve.c" // NOLINT
#include <poll.h>
#include <signal.h>

struct live_stream {
    int64_t made;
};

// What the fake engine does when it is asked for a token that is not there.
typedef enum { IN_BETWEEN, NEVER, FAILS, CANCELS } behaviour;

static struct {
    void (*wake)(void *);
    void *ctx;
    _Atomic behaviour does;
    _Atomic int open;   // streams not yet released
    _Atomic int tokens; // of an answer
    int deaf;           // takes no feedback
} fake;

void fake_listen(live *l, void (*call)(void *), void *ctx) {
    (void)l;
    fake.wake = call, fake.ctx = ctx;
}

void fake_look(live *l, live_state *s) {
    (void)l;
    *s = (live_state){.o = {.context = 512, .known = 301, .feedback = !fake.deaf, .pages = 2}};
}

live_stream *fake_submit(live *l, const live_request *q, char err[ERR]) {
    (void)l, (void)q;
    *err = 0;
    fake.open++;
    return must_alloc(1, sizeof(live_stream));
}

live_stream *fake_feedback(live *l, const int32_t *prompt, int64_t n, const int32_t *answer,
                           int64_t answers, float weight, char err[ERR]) {
    (void)prompt, (void)n, (void)answer, (void)answers, (void)weight;
    return fake_submit(l, NULL, err);
}

// IN_BETWEEN: hands out what is there, at most a token; then the next one is there and who listens is
// woken, at once and never again for it.
int64_t fake_read(live *l, live_stream *s, int64_t from, live_token *token, int64_t most,
                  engine_end *end) {
    (void)l;
    behaviour does = fake.does;
    *end = does == FAILS ? END_FAILED : does == CANCELS ? END_CANCEL : END_NOT;
    if (does != IN_BETWEEN) return 0;
    int there = s->made > from && most;
    if (there) *token = (live_token){.id = 'a' + (int32_t)from % 26, .version = 7};
    if (there && from == fake.tokens - 1) *end = END_STOP;
    s->made = from + there + 1;
    fake.wake(fake.ctx);
    return there;
}

void fake_release(live *l, live_stream *s) {
    (void)l;
    free(s);
    fake.open--;
}

uint64_t fake_id(const live_stream *s) {
    (void)s;
    return 1;
}

int64_t fake_curve(live *l, int64_t most, int64_t *step, float *loss, float *reward) {
    (void)l, (void)most, (void)step, (void)loss, (void)reward;
    return 0;
}

int64_t fake_records(live *l, int64_t most, live_record *out) {
    (void)l, (void)most, (void)out;
    return 0;
}

static int failures;
static void check(int ok, const char *what) {
    printf("%s serve: %s\n", ok ? "ok" : "FAIL", what);
    failures += !ok;
}

static int connect_to(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a));
    return fd;
}

static int send_to(int port, const char *path, const char *body) {
    char text[2048];
    int fd = connect_to(port),
        n = snprintf(text, sizeof text,
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     path, strlen(body), body);
    must(write(fd, text, (size_t)n) == n);
    return fd;
}

// All that is answered; "" when nothing comes for 10 seconds.
static const char *ask(int port, const char *path, const char *body) {
    static char got[1 << 20];
    size_t n = 0;
    int fd = send_to(port, path, body);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        ssize_t k = poll(&p, 1, 10000) > 0 ? read(fd, got + n, sizeof got - 1 - n) : -1;
        if (k < 0) n = 0;
        if (k <= 0) break;
        n += (size_t)k;
    }
    close(fd);
    got[n] = 0;
    return got;
}

static void behave(int port) {
    static const char *const plain = "{\"prompt\":[9]}", *const chat = "/v1/chat/completions",
                             *const stream = "{\"prompt\":[9],\"stream\":true}",
                             *const path = "/v1/completions";
    const char *hello = "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":3}";
    fake.does = IN_BETWEEN;
    const char *got = ask(port, path, plain);
    check(strstr(got, " 200 ") && strstr(got, "\"version_last\":7"),
          "a token between look and sleep is not missed");
    check(strstr(ask(port, path, stream), "data: [DONE]") != NULL, "nor in a stream");
    check(strstr(ask(port, chat, hello), "\"index\":2") != NULL, "nor of three choices");
    fake.does = FAILS;
    check(strstr(ask(port, path, plain), " 500 ") != NULL, "a failed engine is status 500");
    got = ask(port, path, stream);
    check(strstr(got, "\"server_error\"") && !strstr(got, "[DONE]"), "and an error in a stream");
    fake.does = CANCELS;
    got = ask(port, path, plain);
    check(strstr(got, " 503 ") && strstr(got, "Retry-After"), "one that stops is status 503");
    fake.does = NEVER;
    for (int i = 0; i < 2; i++) {
        int fd = send_to(port, path, i ? stream : plain);
        for (int k = 0; k < 1000 && !fake.open; k++) usleep(10000);
        int open = fake.open;
        close(fd);
        for (int k = 0; k < 1000 && fake.open; k++) usleep(10000), fake.wake(fake.ctx);
        check(open == 1 && !fake.open,
              i ? "nor one that reads a stream" : "who leaves before the answer is not waited for");
    }
}

// A sample is accepted when its stream has ended, and not before.
static void feed(int port) {
    char body[128], id[64] = "";
    fake.does = IN_BETWEEN;
    const char *got = strstr(ask(port, "/v1/completions", "{\"prompt\":[9]}"), "cmpl-");
    snprintf(id, sizeof id, "%.29s", got ? got : "");
    snprintf(body, sizeof body, "{\"id\":\"%s\",\"rating\":1}", id);
    fake.does = NEVER;
    int fd = send_to(port, "/v1/feedback", body);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (int k = 0; k < 20; k++) usleep(10000), fake.wake(fake.ctx);
    check(poll(&p, 1, 0) == 0 && fake.open == 1,
          "a sample that is not on the disk is not accepted");
    fake.does = FAILS;
    fake.wake(fake.ctx);
    char text[64] = "";
    check(poll(&p, 1, 10000) == 1 && read(fd, text, 60) > 0 && strstr(text, " 500 "),
          "and one that cannot be written is refused");
    close(fd);
}

// A client that sends a byte of each of these again and again, beside one that waits for a token.
static void drip(const tokenizer *t, const model_config *c) {
    static const char *const begun[] = {
        "",
        "G",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX: ",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: ",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}GET /"};
    enum { N = sizeof begun / sizeof *begun };
    char err[ERR], got[4096];
    int port, fd[N], open = N, patient, one = 0;
    const serve_options o = {
        .host = "127.0.0.1", .name = "tiny", .connections = N + 1, .deadline = 2};
    fake.does = NEVER;
    fake.deaf = 1;
    serve *s = door_open(&o, NULL, t, c, &port, err);
    must(s != NULL);
    fake.deaf = 0;
    patient = send_to(port, "/v1/completions", "{\"prompt\":[9]}");
    for (int i = 0; i < N; i++) {
        fd[i] = connect_to(port);
        must(write(fd[i], begun[i], strlen(begun[i])) == (ssize_t)strlen(begun[i]));
    }
    for (int k = 0; k < 100 && open; k++) {
        usleep(100000);
        for (int i = 0; i < N; i++) {
            if (fd[i] < 0) continue;
            ssize_t n = recv(fd[i], got, sizeof got, MSG_DONTWAIT);
            int gone = !n || (n < 0 && errno != EAGAIN);
            if (!gone) gone = i && send(fd[i], "x", 1, MSG_NOSIGNAL) < 0;
            if (gone) close(fd[i]), fd[i] = -1, open--;
        }
    }
    check(!open, "who sends a byte now and then is cut off");
    check(strstr(ask(port, "/v1/feedback", "{"), " 400 ") != NULL, "others are served then");
    fake.does = IN_BETWEEN;
    fake.wake(fake.ctx);
    for (ssize_t n; one < 4000 && (n = read(patient, got + one, sizeof got - 1 - (size_t)one)) > 0;)
        one += (int)n;
    got[one] = 0;
    check(strstr(got, " 200 ") != NULL, "who waits for a token is not");
    close(patient);
    ask(port, "/health", ""); // the thread has seen the end of the one before
    check(!s->pasts, "an answer is not kept where feedback is not taken");
    door_close(s);
}

// Elsewhere than on loopback one address has its part of the connections.
static void crowd(const tokenizer *t, const model_config *c) {
    static const char *const health = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    char err[ERR], got[4096];
    int port, fd[3], answered = 0;
    const serve_options o = {.host = "0.0.0.0", .name = "tiny", .token = "t", .connections = 8};
    serve *s = door_open(&o, NULL, t, c, &port, err);
    must(s != NULL);
    for (int i = 0; i < 3; i++) {
        fd[i] = connect_to(port);
        send(fd[i], health, strlen(health), MSG_NOSIGNAL);
        answered += (i < 2) == (read(fd[i], got, sizeof got) > 0);
    }
    for (int i = 0; i < 3; i++) close(fd[i]);
    check(answered == 3, "one address has a fourth of the connections");
    door_close(s);
}

// What a request may ask for at most.
static void limits(int port) {
    char body[16384];
    const char *chat = "/v1/chat/completions", *got;
    static const char *const listed =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":%d,"
        "\"logprobs\":true,\"top_logprobs\":20,\"max_tokens\":160%s}";
    fake.does = IN_BETWEEN;
    snprintf(body, sizeof body, listed, 20, "");
    got = ask(port, chat, body);
    check(strstr(got, " 400 ") && strstr(got, "\"param\":\"logprobs\""),
          "20 x 160 x 21 log-probabilities are too many");
    snprintf(body, sizeof body, listed, 19, "");
    check(strstr(ask(port, chat, body), " 200 ") != NULL, "19 x 160 x 21 are not");
    snprintf(body, sizeof body, listed, 20, ",\"stream\":true");
    check(strstr(ask(port, chat, body), "[DONE]") != NULL, "nor are they in a stream");
    got = ask(port, "/v1/completions", "{\"prompt\":[9],\"n\":21}");
    check(strstr(got, " 400 ") && strstr(got, "\"param\":\"n\""), "more choices than places: 400");
}

// Reads what no socket's buffers hold, and begins only when the door is being closed.
static void *read_late(void *ctx) {
    int fd = *(int *)ctx;
    static char got[65536 + 32], tail[33];
    size_t all = 0;
    usleep(300000);
    for (ssize_t n; (n = read(fd, got + 32, 65536)) > 0; all += (size_t)n)
        memmove(got, got + n, 32); // the last 32 bytes stand before the next piece
    memcpy(tail, got, 32);
    check(all > 8 << 20 && strstr(tail, "[DONE]"), "a slow client gets its answer to the end");
    return NULL;
}

int main(void) {
    char err[ERR];
    int port;
    pthread_t late;
    tokenizer *t = token_open("vectors/tiny", err);
    model_config c;
    must(t && !model_config_read(&c, "vectors/tiny", err));
    signal(SIGPIPE, SIG_IGN);
    fake.tokens = 5;
    drip(t, &c);
    crowd(t, &c);
    const serve_options o = {.host = "127.0.0.1", .name = "tiny", .choices = 20};
    serve *s = door_open(&o, NULL, t, &c, &port, err);
    must(s != NULL);
    behave(port);
    feed(port);
    limits(port);
    check(s->pasts > 1 && !s->past[0]->choice->text && s->past[0]->choice->id,
          "of an answer only the ids are kept");
    fake.does = IN_BETWEEN;
    fake.tokens = 480;
    int fd =
        send_to(port, "/v1/chat/completions",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":16,\"stream\":true,"
                "\"logprobs\":true,\"top_logprobs\":20}");
    for (int k = 0; k < 1000 && fake.open < 16; k++) usleep(10000);
    must(!pthread_create(&late, NULL, read_late, &fd));
    door_close(s);
    must(!pthread_join(late, NULL));
    close(fd);
    check(fake.open == 0, "every stream is released");
    token_close(t);
    return failures != 0;
}
