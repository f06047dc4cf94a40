// fuzz_serve.c - any bytes as the head and the body of a request, and what the answers make of any
// tokens. Run from the repository root.
//
// The first byte chooses: 0 a completion, 1 a chat, 2 feedback, 3 lines that are a path, a method, Host,
// Origin and Authorization, of which what is let in must be in order. A request that is accepted keeps the
// limits; then its tokens are drawn from the bytes, and what a stream shows in pieces must be UTF-8
// without a stop string and the same as the whole answer.
//
// serve.c is compiled into this file with its functions named anew.
#define serve_open door_open
#define serve_close door_close
#include "../src/serve.c" // NOLINT

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef struct {
    char *s; // [n] may hold NULs
    size_t n;
} shown;

// The text of one choice, shown after every `step` tokens. Its JSON must be whole each time.
static shown show(openai_answer *a, openai_choice *c, const openai_model *m, const uint8_t *data,
                  size_t n, int64_t step) {
    shown text = {must_alloc(1, 1), 0};
    for (int64_t i = 0; i <= a->most && !c->end; i++) {
        live_token k = {.id = (int32_t)((n ? data[(size_t)i % n] * 31 + i : i) % m->known),
                        .version = (uint64_t)i};
        int last = i == a->most || i == 40;
        if (last)
            openai_end(a, c, m, END_LENGTH);
        else
            must(openai_take(a, c, m, &k) == (c->end == END_STOP));
        if (!last && !c->end && i % step) continue;
        json_t *j = openai_choice_json(a, 0, m);
        const json_t *part = json_object_get(j, a->chat ? a->stream ? "delta" : "message" : "text");
        const json_t *said = a->chat ? json_object_get(part, "content") : part;
        must(json_is_string(said));
        must(text.s = realloc(text.s, text.n + json_string_length(said) + 1));
        memcpy(text.s + text.n, json_string_value(said), json_string_length(said));
        text.n += json_string_length(said);
        json_decref(j);
    }
    return text;
}

// kind: 1 at loopback, 2 with a token.
static void enter(int kind, const char *text, size_t n) {
    static const char *const no[] = {"", "GET", NULL, NULL, NULL};
    char *all = strndup(text, n), *rest = all, *line[5];
    must(all);
    for (int i = 0; i < 5; i++) {
        line[i] = strsep(&rest, "\n");
        if (!line[i]) line[i] = (char *)(uintptr_t)no[i];
    }
    const char *method = line[1], *host = line[2], *origin = line[3], *token = line[4];
    serve s = {.o = {.host = "192.0.2.1", .token = kind & 2 ? "t" : NULL}, .loopback = kind & 1};
    crypto_hash_sha256(s.token, (const uint8_t *)"t", 1);
    exchange x = {.s = &s};
    int code = admit(&x, line[0], method, host, origin, token);
    must(!code || code == 401 || code == 403 || code == 404 || code == 405);
    must(code ? x.why && (code != 405 || x.to) : x.to != NULL);
    must(code || !strcmp(method, x.to->method) || !strcmp(method, "HEAD"));
    must(code || !*x.id || x.to->answer == models);
    char name[64] = "";
    if (host)
        snprintf(name, sizeof name, "|%.*s|", (int)strcspn(host, *host == '[' ? "]" : ":"), host);
    if (!code && s.loopback && host) must(strcasestr("|localhost|127.0.0.1|[::1|192.0.2.1|", name));
    if (!code && s.o.token && !x.to->open)
        must(token && !strncasecmp(token, "Bearer ", 7) && !strcmp(token + 7, "t"));
    if (!code && !strcmp(method, "POST") && origin)
        must(host && !strcasecmp(strstr(origin, "://") + 3, host));
    free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static tokenizer *t;
    static char err[ERR];
    static model_config c;
    if (!t)
        must((t = token_open("vectors/tiny", err)) && !model_config_read(&c, "vectors/tiny", err));
    const openai_model m = {.t = t,
                            .name = "tiny",
                            .known = token_count(t),
                            .context = 512,
                            .config = &c,
                            .choices = CHOICES,
                            .end = token_id(t, "<|im_end|>")};
    const char *param;
    if (!n) return 0;
    const char *body = (const char *)data + 1;
    err[0] = 0;
    if (data[0] % 4 == 3) return enter(data[0] / 4 % 4, body, n - 1), 0;
    if (data[0] % 4 == 2) {
        openai_feedback f;
        int bad = openai_read_feedback(&f, body, n - 1, &m, &param, err);
        must(bad ? !f.answer && err[0] : f.rating >= -1 && f.rating <= 1 && f.index >= 0);
        free(f.answer);
        return 0;
    }
    shown text[2] = {{0}, {0}};
    for (int pass = 0; pass < 2; pass++) {
        openai_answer a;
        int bad = openai_read(&a, data[0] % 4, body, n - 1, &m, &param, err);
        must(bad ? err[0] && param && !a.prompt : a.size > 0 && a.most > 0);
        if (bad) return json_decref(openai_error(400, err, param)), 0;
        must(a.size + a.most <= m.context && a.choices >= 1 && a.choices <= CHOICES);
        text[pass] = show(&a, a.choice, &m, data, n, pass ? 1 : 64);
        for (int k = 0; k < a.stops; k++)
            must(!memmem(text[pass].s, text[pass].n, a.stop[k], strlen(a.stop[k])));
        json_t *j = openai_json(&a, json_array(), 1, &m);
        must(j != NULL);
        json_decref(j);
        openai_free(&a);
    }
    must(text[0].n == text[1].n && !memcmp(text[0].s, text[1].s, text[0].n));
    free(text[0].s), free(text[1].s);
    return 0;
}
