// openai.c - fields in, tokens to text, objects out.
#include "openai.h"
#include <sodium.h>
#include <time.h>

// ---- requests

// A body that is being read: its object, and where to say which field is wrong.
typedef struct {
    json_t *j;
    const char **param;
    char *err; // [ERR]
} body;

// An integer beyond 64 bits is a real number; a seed of this kind is halved until it fits.
static int open_body(body *b, const char *text, size_t n) {
    json_error_t e;
    b->j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!b->j && json_error_code(&e) == json_error_numeric_overflow)
        b->j = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &e);
    json_t *seed = json_object_get(b->j, "seed");
    for (double x; (x = json_real_value(seed)) >= 9e15 || x <= -9e15;)
        json_real_set(seed, x < 18e15 && x > -18e15 ? (double)(int64_t)(x / 2) : x / 2);
    if (json_is_object(b->j)) return 0;
    if (b->j) return fail(b->err, "the body: expected a JSON object");
    return fail(b->err, "the body: byte %d: %.300s", e.position, e.text);
}

// A field, NULL when it is absent or null; else it is the one that an error is about.
static json_t *field(const body *b, const char *name) {
    json_t *v = json_object_get(b->j, name);
    *b->param = name;
    return json_is_null(v) ? NULL : v;
}

// These leave *x as it is when the field is absent.
static int number(const body *b, const char *name, double lo, double hi, double *x) {
    const json_t *v = field(b, name);
    double y = json_number_value(v);
    if (v && !(json_is_number(v) && y >= lo && y <= hi))
        return fail(b->err, "%s: expected a number from %g to %g", name, lo, hi);
    if (v) *x = y;
    return 0;
}

// An integer, also as 16.0.
static int is_whole(const json_t *v, int64_t *x) {
    double y = json_real_value(v);
    int ok = json_is_real(v) && y > -9e15 && y < 9e15 && y == (double)(int64_t)y;
    *x = ok ? (int64_t)y : json_integer_value(v);
    return ok || json_is_integer(v);
}

static int integer(const body *b, const char *name, int64_t lo, int64_t hi, int64_t *x) {
    const json_t *v = field(b, name);
    int64_t y;
    if (v && !(is_whole(v, &y) && y >= lo && y <= hi))
        return fail(b->err, "%s: expected an integer from %lld to %lld", name, (long long)lo,
                    (long long)hi);
    if (v) *x = y;
    return 0;
}

static int flag(const body *b, const char *name, int *x) {
    const json_t *v = field(b, name);
    if (v && !json_is_boolean(v)) return fail(b->err, "%s: expected true or false", name);
    if (v) *x = json_is_true(v);
    return 0;
}

// What would change the answer and does not exist here is refused unless its value asks for nothing.
static int refuse_others(const body *b) {
    static const char *const names[] = {"tools",
                                        "functions",
                                        "logit_bias",
                                        "suffix",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "echo",
                                        "prediction",
                                        "web_search_options",
                                        "audio",
                                        "min_p",
                                        "min_tokens",
                                        "ignore_eos",
                                        "chat_template_kwargs",
                                        "repetition_penalty"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *v = field(b, names[i]);
        double none = strcmp(names[i], "repetition_penalty") ? 0 : 1; // a factor
        int nothing = !v || json_is_false(v) ||
                      (json_is_number(v) && json_number_value(v) == none) ||
                      (json_is_string(v) && !json_string_length(v)) ||
                      (json_is_array(v) && !json_array_size(v)) ||
                      (json_is_object(v) && !json_object_size(v));
        if (!nothing) return fail(b->err, "%s: not supported", names[i]);
    }
    const json_t *format = field(b, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (format && (!type || strcmp(type, "text")))
        return fail(b->err, "response_format: only {\"type\": \"text\"} is supported");
    return 0;
}

static int read_stop(openai_answer *a, const body *b) {
    json_t *v = field(b, "stop"), *s;
    int ok = !v || json_is_string(v) || (json_is_array(v) && json_array_size(v) <= STOPS);
    for (size_t i = 0; ok && v && i < (json_is_array(v) ? json_array_size(v) : 1); i++) {
        s = json_is_array(v) ? json_array_get(v, i) : v;
        size_t n = json_string_length(s);
        ok = json_is_string(s) && n <= STOP_BYTES;
        if (ok && n) must(a->stop[a->stops++] = strdup(json_string_value(s)));
    }
    return ok ? 0
              : fail(b->err, "stop: expected a string of at most %d bytes, or up to %d of them",
                     STOP_BYTES, STOPS);
}

// Log-probabilities: a number in a completion, in a chat whether and how many.
static int read_top(openai_answer *a, const body *b, const openai_model *m) {
    int64_t top = -1;
    int wanted = 0;
    if (!a->chat && integer(b, "logprobs", 0, 5, &top)) return -1;
    if (a->chat && (flag(b, "logprobs", &wanted) || integer(b, "top_logprobs", 0, TOP, &top)))
        return -1;
    if (a->chat && top > 0 && !wanted)
        return fail(b->err, "top_logprobs: expected with logprobs true");
    if (top > m->known) top = m->known;
    a->top = a->chat ? (!wanted ? -1 : top < 0 ? 0 : (int)top) : (int)top;
    return 0;
}

static int read_options(openai_answer *a, const body *b, const openai_model *m) {
    double temperature = 1, top_p = 1;
    int64_t n = 1, best = -1, top_k = 0, seed = randombytes_random();
    const char *name = json_string_value(field(b, "model"));
    if (field(b, "model") && (!name || strcmp(name, m->name)))
        return fail(b->err, "model: expected %.200s", m->name);
    if (number(b, "temperature", 0, 2, &temperature) || number(b, "top_p", 0, 1, &top_p) ||
        integer(b, "top_k", 0, 1 << 24, &top_k) || integer(b, "n", 1, m->choices, &n) ||
        integer(b, "seed", INT64_MIN, INT64_MAX, &seed) || flag(b, "stream", &a->stream) ||
        integer(b, "best_of", n, n, &best) || read_top(a, b, m) || refuse_others(b) ||
        read_stop(a, b))
        return -1;
    const json_t *options = field(b, "stream_options");
    if (options && (!json_is_object(options) || !a->stream))
        return fail(b->err, "stream_options: expected an object, with stream true");
    a->usage = json_is_true(json_object_get(options, "include_usage"));
    a->choices = (int)n;
    a->choice = must_alloc((size_t)n, sizeof *a->choice);
    a->how = (sample_options){(float)temperature, (int)top_k, (float)top_p, (uint32_t)seed, 0};
    return 0;
}

// A message's text: a string, or parts of type text one after the other; the assistant may have said
// nothing. NULL: neither.
static char *content(const json_t *message, const char *role) {
    const json_t *v = json_object_get(message, "content");
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    must(f);
    int nothing = (!v || json_is_null(v)) && !strcmp(role, "assistant") &&
                  !json_array_size(json_object_get(message, "tool_calls"));
    int ok = json_is_string(v) || json_array_size(v) || nothing;
    if (json_is_string(v)) fputs(json_string_value(v), f);
    for (size_t i = 0; ok && i < json_array_size(v); i++) {
        const json_t *part = json_array_get(v, i);
        const char *type = json_string_value(json_object_get(part, "type")),
                   *s = json_string_value(json_object_get(part, "text"));
        ok = type && s && !strcmp(type, "text");
        if (ok) fputs(s, f);
    }
    must(!fclose(f));
    if (ok) return text;
    free(text);
    return NULL;
}

// A text that is longer than what fits is not tokenized to find that out.
static int64_t encode(const body *b, const openai_model *m, const char *text, int special,
                      int32_t **ids) {
    size_t n = strlen(text);
    *ids = NULL;
    if (n / TOKEN_TEXT > (size_t)m->context)
        return fail(b->err, "%s: %zu bytes: with its answer at most %lld tokens fit", *b->param, n,
                    (long long)m->context);
    return token_encode(m->t, text, n, special, ids, b->err);
}

static int read_messages(openai_answer *a, const body *b, const openai_model *m) {
    const json_t *v = field(b, "messages");
    size_t n = json_array_size(v);
    const char **role = must_alloc(n, sizeof *role);
    char **text = must_alloc(n, sizeof *text), *chat = NULL;
    int bad = n ? 0 : fail(b->err, "messages: expected an array of at least one message");
    for (size_t i = 0; i < n && !bad; i++) {
        const json_t *message = json_array_get(v, i);
        role[i] = json_string_value(json_object_get(message, "role"));
        if (role[i] && !strcmp(role[i], "developer")) role[i] = "system"; // its newer name
        text[i] = role[i] ? content(message, role[i]) : NULL;
        if (!role[i] || !text[i])
            bad = fail(b->err, "messages: %zu: expected role and content, a text", i);
    }
    if (!bad) bad = token_chat(m->t, role, (const char *const *)text, (int)n, &chat, b->err);
    if (!bad) a->size = encode(b, m, chat, 0, &a->prompt);
    for (size_t i = 0; i < n; i++) free(text[i]);
    free(chat), free(text), free(role);
    return bad || a->size < 0 ? -1 : 0;
}

static int read_prompt(openai_answer *a, const body *b, const openai_model *m) {
    const json_t *v = field(b, "prompt");
    if (json_array_size(v) == 1 && !json_is_number(json_array_get(v, 0))) v = json_array_get(v, 0);
    if (json_is_string(v)) {
        a->size = encode(b, m, json_string_value(v), 1, &a->prompt);
        return a->size < 0 ? -1 : 0;
    }
    a->size = (int64_t)json_array_size(v);
    a->prompt = must_alloc((size_t)a->size, sizeof *a->prompt);
    for (int64_t i = 0; i < a->size; i++) {
        const json_t *id = json_array_get(v, (size_t)i);
        int64_t x;
        if (!is_whole(id, &x) || x < 0 || x >= m->known)
            return fail(b->err, "prompt: %lld: expected an id from 0 to %lld", (long long)i,
                        (long long)m->known - 1);
        a->prompt[i] = (int32_t)x;
    }
    return 0;
}

// The prompt, then how much may follow it: in a completion 16 tokens unless it says so.
static int read_lengths(openai_answer *a, const body *b, const openai_model *m) {
    if (a->chat ? read_messages(a, b, m) : read_prompt(a, b, m)) return -1;
    int64_t left = m->context - a->size;
    if (a->size < 1) return fail(b->err, "prompt: expected at least one token, as text or ids");
    for (int64_t i = 0; i < a->size; i++)
        if (a->prompt[i] >= m->known) return fail(b->err, "the prompt: no such token in the model");
    if (left < 1)
        return fail(b->err, "the prompt has %lld tokens: with its answer at most %lld fit",
                    (long long)a->size, (long long)m->context);
    a->most = a->chat || left < 16 ? left : 16;
    if (integer(b, "max_tokens", 1, INT64_MAX, &a->most) ||
        (a->chat && integer(b, "max_completion_tokens", 1, INT64_MAX, &a->most)))
        return -1;
    if (a->most > left) a->most = left;
    field(b, "logprobs");
    if (!a->stream && a->choices * a->most * (1 + a->top) > LOGPS)
        return fail(b->err, "logprobs: expected at most %d together: fewer tokens, or a stream",
                    LOGPS);
    return 0;
}

int openai_read(openai_answer *a, int chat, const char *text, size_t n, const openai_model *m,
                const char **param, char err[ERR]) {
    body b = {NULL, param, err};
    unsigned char random[12];
    *a = (openai_answer){.chat = chat, .created = (int64_t)time(NULL)};
    *param = "";
    int bad = open_body(&b, text, n) || read_options(a, &b, m) || read_lengths(a, &b, m);
    json_decref(b.j);
    if (bad) return openai_free(a), -1;
    randombytes_buf(random, sizeof random);
    strcpy(a->id, chat ? "chatcmpl-" : "cmpl-");
    sodium_bin2hex(a->id + strlen(a->id), 25, random, sizeof random);
    for (int i = 0; i < a->choices; i++)
        a->choice[i].id = must_alloc((size_t)a->most, sizeof(int32_t));
    return 0;
}

int openai_read_feedback(openai_feedback *f, const char *text, size_t n, const openai_model *m,
                         const char **param, char err[ERR]) {
    body b = {NULL, param, err};
    *f = (openai_feedback){0};
    *param = "";
    int bad = open_body(&b, text, n) || integer(&b, "index", 0, CHOICES - 1, &f->index) ||
              number(&b, "rating", -1, 1, &f->rating);
    const char *id = bad ? NULL : json_string_value(field(&b, "id"));
    if (!bad && !id) bad = fail(err, "id: expected the id of an answer");
    if (!bad) snprintf(f->id, sizeof f->id, "%s", id);
    const json_t *answer = bad ? NULL : field(&b, "answer");
    if (answer && !json_is_string(answer)) bad = fail(err, "answer: expected a text");
    if (!bad && !answer && !json_object_get(b.j, "rating"))
        bad = fail(err, "answer: expected a text, or a rating");
    if (!bad && answer) {
        int32_t *ids;
        f->size = encode(&b, m, json_string_value(answer), 0, &ids);
        bad = f->size < 0;
        f->answer = must_alloc((size_t)(bad ? 0 : f->size) + 1, sizeof *ids);
        if (!bad) memcpy(f->answer, ids, (size_t)f->size * sizeof *ids);
        if (!bad && m->end >= 0) f->answer[f->size++] = m->end;
        free(ids);
    }
    json_decref(b.j);
    if (bad) free(f->answer), f->answer = NULL;
    return bad ? -1 : 0;
}

void openai_keep(openai_answer *a) {
    for (; a->stops; a->stops--) free(a->stop[a->stops - 1]);
    for (int i = 0; i < a->choices; i++) {
        openai_choice *c = &a->choice[i];
        free(c->text), free(c->logp);
        c->text = NULL, c->logp = NULL;
        must(c->id = realloc(c->id, (size_t)(c->n + 1) * sizeof *c->id));
    }
}

void openai_free(openai_answer *a) {
    openai_keep(a);
    for (int i = 0; i < a->choices; i++) free(a->choice[i].id);
    free(a->choice), free(a->prompt);
    *a = (openai_answer){0};
}

// ---- tokens to text

// n more bytes stand behind the text. What a stop string could begin with is held back; when one is
// whole the answer ends before it.
static int grow(const openai_answer *a, openai_choice *c, size_t n) {
    for (size_t i = 0; i < n; i++) c->characters += (c->text[c->size + i] & 0xC0) != 0x80;
    c->size += n;
    size_t held = c->size;
    for (size_t p = c->ready; p < c->size; p++)
        for (int k = 0; k < a->stops; k++) {
            size_t whole = strlen(a->stop[k]), have = c->size - p < whole ? c->size - p : whole;
            if (memcmp(c->text + p, a->stop[k], have)) continue;
            if (have == whole) {
                c->size = c->ready = p, c->end = END_STOP;
                return 1;
            }
            if (p < held) held = p;
        }
    c->ready = held;
    return 0;
}

// Room for what a token writes, behind the text.
static size_t make_room(openai_choice *c, const openai_model *m) {
    size_t need = c->size + token_room(m->t);
    if (need > c->room) {
        c->room = 2 * need;
        must(c->text = realloc(c->text, c->room));
    }
    return token_room(m->t);
}

// A token's own text; where that is no whole UTF-8, its bytes as bytes:\xe2\x82.
static json_t *token_text(const openai_model *m, int32_t id, json_t **bytes) {
    char *raw = must_alloc(token_room(m->t), 1), *name;
    size_t n = token_bytes(m->t, id, raw, token_room(m->t)), size;
    json_t *text = json_stringn(raw, n);
    FILE *f = text ? NULL : open_memstream(&name, &size);
    if (f) fputs("bytes:", f);
    *bytes = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(*bytes, json_integer((uint8_t)raw[i]));
        if (f) fprintf(f, "\\x%02x", (uint8_t)raw[i]);
    }
    if (f) {
        must(!fclose(f));
        text = json_string(name);
        free(name);
    }
    free(raw);
    return text;
}

// JSON has no infinity: -9999 stands for what cannot be drawn.
static json_t *real(float logp) { return json_real(logp > -9999.0f ? (double)logp : -9999.0); }

static json_t *chat_logprob(const openai_model *m, const openai_logp *p) {
    json_t *bytes, *text = token_text(m, p->id, &bytes);
    return json_pack("{so so so}", "token", text, "logprob", real(p->logp), "bytes", bytes);
}

static json_t *chat_logprobs(const openai_choice *c, const openai_model *m, int64_t each) {
    json_t *all = json_array();
    for (const openai_logp *p = c->logp; p < c->logp + c->listed * each; p += each) {
        json_t *entry = chat_logprob(m, p), *top = json_array();
        for (int64_t i = 1; i < each; i++) json_array_append_new(top, chat_logprob(m, p + i));
        json_object_set_new(entry, "top_logprobs", top);
        json_array_append_new(all, entry);
    }
    return json_pack("{so}", "content", all);
}

static json_t *text_logprobs(const openai_choice *c, const openai_model *m, int64_t each) {
    json_t *token = json_array(), *own = json_array(), *tops = json_array(), *at = json_array();
    json_t *bytes, *text;
    for (const openai_logp *p = c->logp; p < c->logp + c->listed * each; p += each) {
        json_t *top = json_object();
        for (int64_t i = 1; i < each; i++) {
            text = token_text(m, p[i].id, &bytes);
            json_object_setn_new(top, json_string_value(text), json_string_length(text),
                                 real(p[i].logp));
            json_decref(text), json_decref(bytes);
        }
        json_array_append_new(token, token_text(m, p->id, &bytes));
        json_array_append_new(own, real(p->logp));
        json_array_append_new(tops, top);
        json_array_append_new(at, json_integer(p->at));
        json_decref(bytes);
    }
    return json_pack("{so so so so}", "tokens", token, "token_logprobs", own, "top_logprobs", tops,
                     "text_offset", at);
}

// As objects they take a hundred times as much memory, so these are made when they are sent.
static void list_logprobs(const openai_answer *a, openai_choice *c, const live_token *k) {
    size_t each = 1 + (size_t)a->top, n = (size_t)c->listed++;
    if (!(n & (n - 1))) // room for a power of two
        must(c->logp = realloc(c->logp, (n ? 2 * n : 1) * each * sizeof *c->logp));
    openai_logp *p = c->logp + n * each;
    *p++ = (openai_logp){k->id, (int32_t)c->characters, k->logp};
    for (int i = 0; i < a->top; i++) *p++ = (openai_logp){k->top_id[i], 0, k->top[i]};
}

int openai_take(openai_answer *a, openai_choice *c, const openai_model *m, const live_token *k) {
    must(c->n < a->most && !c->end);
    if (a->top >= 0) list_logprobs(a, c, k);
    if (!c->n) c->first = k->version;
    c->last = k->version;
    c->id[c->n++] = k->id;
    size_t cap = make_room(c, m);
    if (model_ends(m->config, k->id)) return 0; // it counts and is listed, but is no text
    return grow(a, c, token_decode(m->t, &c->decoder, k->id, 1, c->text + c->size, cap));
}

void openai_end(openai_answer *a, openai_choice *c, const openai_model *m, engine_end end) {
    size_t cap = make_room(c, m);
    must(!c->end && end);
    if (grow(a, c, token_decode(m->t, &c->decoder, -1, 1, c->text + c->size, cap))) return;
    c->ready = c->size;
    c->end = end;
}

// ---- answers

int openai_news(const openai_answer *a, const openai_choice *c) {
    if (!a->stream) return 1;
    return c->shown < 2 && (c->ready || c->end || (a->chat && !c->shown));
}

json_t *openai_choice_json(openai_answer *a, int i, const openai_model *m) {
    openai_choice *c = &a->choice[i];
    json_t *text = json_stringn(c->ready ? c->text : "", c->ready), *j;
    must(text); // it is UTF-8, and cut between characters
    if (c->ready) memmove(c->text, c->text + c->ready, c->size - c->ready);
    c->size -= c->ready, c->ready = 0;
    if (!a->chat)
        j = json_pack("{si so}", "index", i, "text", text);
    else if (!a->stream)
        j = json_pack("{si s{ss so sn}}", "index", i, "message", "role", "assistant", "content",
                      text, "refusal");
    else if (!c->shown)
        j = json_pack("{si s{ss so}}", "index", i, "delta", "role", "assistant", "content", text);
    else
        j = json_pack("{si s{so}}", "index", i, "delta", "content", text);
    json_object_set_new(j, "logprobs",
                        !c->listed ? json_null()
                        : a->chat  ? chat_logprobs(c, m, 1 + a->top)
                                   : text_logprobs(c, m, 1 + a->top));
    c->listed = 0;
    c->shown = c->end ? 2 : 1;
    json_object_set_new(j, "finish_reason",
                        c->end ? json_string(c->end == END_STOP ? "stop" : "length") : json_null());
    json_object_set_new(j, "assay",
                        json_pack("{sI sI sI}", "request", (json_int_t)c->request, "version_first",
                                  (json_int_t)c->first, "version_last", (json_int_t)c->last));
    return j;
}

json_t *openai_json(const openai_answer *a, json_t *choices, int usage, const openai_model *m) {
    static const char *const object[2][2] = {{"text_completion", "text_completion"},
                                             {"chat.completion", "chat.completion.chunk"}};
    char version[24];
    uint64_t last = 0;
    json_int_t made = 0, asked = a->size;
    for (int i = 0; i < a->choices; i++) {
        if (a->choice[i].last > last) last = a->choice[i].last;
        made += a->choice[i].n;
    }
    snprintf(version, sizeof version, "v%llu", (unsigned long long)last);
    json_t *j = json_pack("{ss ss sI ss so ss}", "id", a->id, "object", object[a->chat][a->stream],
                          "created", (json_int_t)a->created, "model", m->name, "choices", choices,
                          "system_fingerprint", version);
    if (usage)
        json_object_set_new(j, "usage",
                            json_pack("{sI sI sI}", "prompt_tokens", asked, "completion_tokens",
                                      made, "total_tokens", asked + made));
    else if (a->usage)
        json_object_set_new(j, "usage", json_null());
    return j;
}

json_t *openai_error(int code, const char *message, const char *param) {
    char plain[ERR];
    snprintf(plain, sizeof plain, "%s", message);
    for (char *p = plain; *p; p++)
        if ((unsigned char)*p < 32 || (unsigned char)*p > 126)
            *p = '?'; // may be cut in a character
    return json_pack("{s{ss ss ss? sn}}", "error", "message", plain, "type",
                     code >= 500   ? "server_error"
                     : code == 429 ? "rate_limit_error"
                                   : "invalid_request_error",
                     "param", *param ? param : NULL, "code");
}
