// test_engine.c - the engine by itself, fed with records: what a sequence gets does not depend on
// who else is there, what is learned does not depend on what is served, and the rule holds.
#include "engine.h"
#include "num.h"
#include "simd.h"

static const model_config shape = {64,  96,           2,        4, 2, 16, 61, 600, 1e-6f,
                                   1e4, .qk_norm = 1, .tied = 1};
enum { REQUESTS = 5, PROMPT = 40, MOST = 250, TEXT = 200, MEMORY = 1 << 20 };
static const backend by = {.name = "simd", .linear = simd_linear, .tile = simd_tile};

static void check(int ok, const char *what) { printf("%s engine: %s\n", ok ? "ok" : "FAIL", what); }

// A run of the engine: its model, and the records that it made, as kind, size and payload.
typedef struct {
    model m;
    engine *e;
    train_text text;
    engine_learning learning;
    uint8_t *out;
    size_t size;
    int32_t tokens[REQUESTS + 1][MOST];
    int made[REQUESTS + 1];
    uint64_t versions;
} world;

static int keep(void *ctx, journal_kind kind, const void *data, uint32_t size, char err[ERR]) {
    world *w = ctx;
    (void)err;
    must(w->size + 8 + size < MEMORY);
    memcpy(w->out + w->size, &(uint32_t[]){kind, size}, 8);
    memcpy(w->out + w->size + 8, data, size);
    w->size += 8 + size;
    if (kind != J_TOKENS) return 0;
    for (uint32_t i = 16; i < size; i += 8) {
        uint32_t pair[2];
        memcpy(pair, (const uint8_t *)data + i, 8);
        w->tokens[pair[0]][w->made[pair[0]]++] = (int32_t)pair[1];
    }
    uint64_t version;
    memcpy(&version, (const uint8_t *)data + 8, 8);
    w->versions |= (uint64_t)1 << version;
    return 0;
}

static void begin(world *w, const engine_options *o) {
    char err[ERR];
    engine_options mine = *o;
    *w = (world){.out = must_alloc(MEMORY, 1)};
    model_random(&w->m, &shape, KIND_TQ4, 7);
    w->m.c.eos[0] = 3, w->m.c.eos_count = 1;
    w->text = (train_text){must_alloc(TEXT, 4), TEXT};
    for (int i = 0; i < TEXT; i++) w->text.id[i] = (i * i + 3 * i) % (int)shape.vocab;
    if (o->train.steps && train_settle(&mine.train, &w->m, err)) must(!"options that fit");
    engine_owner owner = {.ctx = w, .made = keep};
    w->learning = (engine_learning){.text = &w->text};
    w->e = engine_open(&w->m, &by, &mine, &w->learning, &owner);
    must(!engine_wake(w->e, 1, err));
}

static void end(world *w) {
    engine_close(w->e);
    model_close(&w->m);
    free(w->text.id);
    free(w->out);
}

static engine_options options(long steps) {
    return (engine_options){.slots = 3,
                            .context = 512,
                            .pages = 4, // fewer than the slots want
                            .slice = 16,
                            .share = 45,
                            .floor = 1,
                            .snapshot = 2,
                            .known = 60,
                            .feedback = 1,
                            .train = {.steps = steps,
                                      .batch = 3,
                                      .micro = 2,
                                      .ctx = 12,
                                      .by = &by,
                                      .warmup = -1,
                                      .clip = -1,
                                      .decay = -1,
                                      .rate = 0.02,
                                      .seed = 5}};
}

static int32_t prompt_of(uint32_t id, int i) { return (int32_t)(id * 7 + (uint32_t)i * 5) % 60; }
static sample_options how_of(uint32_t id) {
    return (sample_options){id % 2 ? 0.9f : 0, id == 3 ? 8 : 0, id == 5 ? 0.8f : 1, id, id};
}
static int32_t most_of(uint32_t id) { return id == 2 ? MOST : (int32_t)(10 + 4 * id); }

static int request(world *w, uint32_t id, int32_t n, int32_t most, char err[ERR]) {
    uint8_t p[J_REQUEST_HEAD + 4 * PROMPT];
    int32_t prompt[PROMPT];
    sample_options h = how_of(id);
    for (int32_t i = 0; i < n; i++) prompt[i] = prompt_of(id, i);
    uint32_t size = engine_request(p, id, 0, &h, -1, most, prompt, n);
    return engine_input(w->e, &(journal_record){J_REQUEST, size, .data = p}, err);
}

static int cancel(world *w, uint64_t id) {
    char err[ERR];
    uint8_t p[16] = {0};
    memcpy(p + 8, &id, 8);
    return engine_input(w->e, &(journal_record){J_CANCEL, 16, .data = p}, err);
}

// All requests, each before the turn 2 (id - 1), and turns until nothing is to do.
static int run(world *w, int requests) {
    char err[ERR];
    uint32_t id = 1;
    for (;;) {
        while (id <= (uint32_t)requests && engine_now(w->e).turn >= 2 * (id - 1)) {
            if (request(w, id, 1 + (int32_t)(id * 9) % PROMPT, most_of(id), err)) return -1;
            id++;
        }
        int did = engine_turn(w->e, err);
        if (did <= 0) return did;
    }
}

// The same request alone, one token at a time, by the plain interpreter.
static int alone(const model *m, uint32_t id, const int32_t *token, int made) {
    char err[ERR];
    ref_run r;
    int32_t n = 1 + (int32_t)(id * 9) % PROMPT, seq = 0, next = 0;
    sample_options h = how_of(id);
    int same = 1, ended = 0;
    ref_open(&r, m, ref_linear, 1, 1, 512);
    for (int32_t t = 0; t < n + made; t++) {
        int32_t in = t < n ? prompt_of(id, t) : token[t - n];
        ended = t >= n && in == 3;
        if (t >= n) same &= in == next;
        if (t + 1 == n + made) break;
        must(!ref_step(&r, &in, &t, &seq, 1, 0, err));
        next = sample_token(r.logits, 60, &h, (uint32_t)t + 1);
    }
    ref_close(&r);
    return same && (ended || made == most_of(id));
}

static void test_serving(void) {
    engine_options o = options(0);
    world w;
    begin(&w, &o);
    int done = run(&w, REQUESTS) == 0, same = 1;
    for (uint32_t id = 1; id <= REQUESTS; id++) same &= alone(&w.m, id, w.tokens[id], w.made[id]);
    engine_state s = engine_now(w.e);
    check(done && s.running == 0 && s.waiting == 0, "five requests in three slots end");
    check(same, "each gets the tokens that it gets alone, by ref, with prompts in slices");
    check(s.pages_used == 0 && s.requests == REQUESTS, "all pages come back");
    end(&w);
}

static void digest(world *w, uint8_t hash[32]) { engine_digest(w->e, 1, hash); }

static void test_learning(void) {
    uint8_t plain[32], hash[32];
    int same = 1, again = 1, versions = 1;
    world w, v;
    engine_options o = options(4);
    begin(&w, &o);
    int bad = run(&w, 0);
    digest(&w, plain);
    check(!bad && engine_now(w.e).version == 4, "four steps without a request");
    // by hand: the windows of train.c, whole passes
    model m;
    grad g;
    optim opt;
    char err[ERR];
    model_random(&m, &shape, KIND_TQ4, 7);
    train_options t = o.train;
    must(!train_settle(&t, &m, err));
    train_open(&g, &opt, &m, &t);
    for (int step = 0; step < 4; step++) {
        int32_t id[36], target[36];
        float weight[36];
        for (int i = 0; i < 36; i++) {
            int64_t at = train_window(5, step, i / 12, TEXT - 12) + i % 12;
            id[i] = w.text.id[at], target[i] = w.text.id[at + 1], weight[i] = 1;
        }
        grad_batch b = {2, (int64_t[]){0, 12, 24}, id, target, weight, NULL};
        grad_batch c = {1, (int64_t[]){24, 36}, id, target, weight, NULL};
        must(!grad_pass(&g, &b, err) && !grad_pass(&g, &c, err));
        optim_step(&opt, &g, 36);
    }
    char hex[2][65];
    train_digest(&m, hex[0]), train_digest(&w.m, hex[1]);
    check(!strcmp(hex[0], hex[1]), "they end on the weights of the same steps by hand");
    optim_close(&opt), grad_close(&g), model_close(&m);
    end(&w);
    for (long share = 0; share < 100; share += 33) {
        o.share = share;
        begin(&w, &o), begin(&v, &o);
        bad |= run(&w, REQUESTS) | run(&v, REQUESTS);
        digest(&w, hash);
        same &= !memcmp(hash, plain, 32);
        again &= w.size == v.size && !memcmp(w.out, v.out, w.size);
        versions &= share == 0 ? w.versions == 1 : w.versions != 1;
        end(&w), end(&v);
    }
    check(!bad && same, "serving at any share does not change what is learned");
    check(again, "the same inputs make the same records, byte for byte");
    check(versions, "share 0 learns only when nothing is served, any other in between");
}

static int feedback(world *w, int32_t n, int32_t answers, float weight, char err[ERR]) {
    uint8_t p[J_FEEDBACK_HEAD + 4 * 64];
    int32_t id[64];
    for (int32_t i = 0; i < n + answers; i++) id[i] = 9 + i % 5;
    uint32_t size = engine_sample(p, 0, weight, id, n, id + n, answers);
    return engine_input(w->e, &(journal_record){J_FEEDBACK, size, .data = p}, err);
}

static void test_feedback(void) {
    engine_options o = options(6);
    char err[ERR];
    float first = 0;
    int bad = 0;
    world w;
    begin(&w, &o);
    free(w.text.id), w.text.id = NULL; // samples only
    for (int i = 0; i < 6; i++) bad |= feedback(&w, 4, 5, 1, err);
    while (!bad && engine_turn(w.e, err) > 0)
        if (engine_now(w.e).step == 1) first = engine_now(w.e).loss;
    engine_state s = engine_now(w.e);
    check(!bad && s.step == 2 && s.learned == 30 && s.given == 0,
          "six samples are two batches of three, and 30 tokens of answers are learned");
    for (int i = 0; i < 12; i++) bad |= feedback(&w, 4, 5, 1, err);
    while (!bad && engine_turn(w.e, err) > 0) {}
    check(engine_now(w.e).loss < first, "a sample that comes again is known better");
    bad = feedback(&w, 30, 30, 0.5f, err);
    check(!bad, "a sample longer than a window is cut");
    check(feedback(&w, 0, 5, 1, err) && feedback(&w, 5, 0, 1, err) && feedback(&w, 5, 5, 0, err) &&
              feedback(&w, 5, 5, 1.5f, err),
          "samples without prompt, answer or a right weight are refused");
    end(&w);
}

static void test_inputs(void) {
    engine_options o = options(0);
    char err[ERR];
    world w;
    begin(&w, &o);
    check(request(&w, 1, 0, 5, err) && request(&w, 1, 5, 0, err) && request(&w, 1, 13, 500, err) &&
              engine_now(w.e).requests == 0,
          "requests without a prompt, for no token or for too many are refused");
    int bad = request(&w, 1, 10, 300, err) || request(&w, 2, 10, 300, err) ||
              request(&w, 3, 10, 300, err);
    for (int i = 0; i < 4 && !bad; i++) bad = engine_turn(w.e, err) != 1;
    engine_state s = engine_now(w.e);
    check(!bad && s.running == 2 && s.waiting == 1 && s.pages_used == 4, "pages limit who runs");
    cancel(&w, 1);
    bad = engine_turn(w.e, err) != 1;
    s = engine_now(w.e);
    check(!bad && s.running == 2 && s.waiting == 0, "who is cancelled makes room");
    cancel(&w, 99);
    bad = engine_input(w.e, &(journal_record){.kind = J_RESUME}, err);
    s = engine_now(w.e);
    check(!bad && s.running == 0 && s.pages_used == 0 && engine_turn(w.e, err) == 0,
          "after a resume nobody is there");
    end(&w);
}

// ---- practice

static int count_kinds(void *ctx, journal_kind kind, const void *data, uint32_t size,
                       char err[ERR]) {
    int *made = ctx;
    (void)data, (void)size, (void)err;
    made[kind]++;
    return 0;
}

// A step of a task, whose weights are changed a little behind the engine's back once its answers have
// been judged, or not; returns what the engine said.
static int practise(const tokenizer *t, int bend, int made[J_KINDS], char err[ERR]) {
    model m, began;
    must(!model_open(&m, "vectors/tiny", err) && !model_open(&began, "vectors/tiny", err));
    engine_options o = options(0);
    o.train = (train_options){.dir = "vectors/tiny", .what = "all", .steps = 2, .batch = 4};
    o.train.micro = 3, o.train.ctx = 96, o.train.by = &by;
    o.train.warmup = o.train.clip = o.train.decay = -1;
    o.practice = (qgre_options){.task = task_named("hamilton"), .group = 2, .kl = 0.05};
    o.context = 8, o.pages = 1, o.slots = 1, o.known = m.c.vocab, o.feedback = 0;
    must(!train_settle(&o.train, &m, err));
    qgre q = {.o = o.practice, .seed = 1, .t = t};
    train_text none = {0};
    engine_learning learn = {&none, &q, &began};
    engine_owner owner = {.ctx = made, .made = count_kinds};
    engine *e = engine_open(&m, &by, &o, &learn, &owner);
    int did = engine_wake(e, 1, err) ? -1 : 1;
    memset(made, 0, J_KINDS * sizeof *made);
    while (did > 0 && !made[J_REWARD]) did = engine_turn(e, err);
    float *w = (float *)(uintptr_t)*model_norm(&m, SLOT_NORM);
    if (bend) w[0] = num_mul(w[0], 1.001f);
    while (did > 0 && !made[J_UPDATE]) did = engine_turn(e, err);
    engine_close(e);
    model_close(&began);
    model_close(&m);
    return did;
}

static void test_worth(const tokenizer *t);

static void test_practice(void) {
    char err[ERR] = "";
    int made[J_KINDS];
    tokenizer *t = token_open("vectors/tiny", err);
    must(t != NULL);
    int did = practise(t, 0, made, err);
    check(did == 1 && made[J_ROLLOUT] > 10 && made[J_REWARD] == 1 && made[J_UPDATE] == 1,
          "a task: answers, rewards, an update; every ratio is 1");
    did = practise(t, 1, made, err);
    check(did < 0 && strstr(err, "log-probability") && made[J_UPDATE] == 0,
          "a ratio that is not 1 ends the run");
    test_worth(t);
    token_close(t);
}

// Tokens of answers as they were drawn.
enum { TRIES = 4, TRIED = 97 };
typedef struct {
    int32_t token[TRIES][TRIED];
    int n[TRIES], updates;
} drawn;

static int keep_drawn(void *ctx, journal_kind kind, const void *data, uint32_t size,
                      char err[ERR]) {
    drawn *d = ctx;
    (void)err;
    for (uint32_t i = 16, pair[2]; kind == J_ROLLOUT && i < size; i += 8) {
        memcpy(pair, (const uint8_t *)data + i, 8);
        d->token[pair[0]][d->n[pair[0]]++] = (int32_t)pair[1];
    }
    d->updates += kind == J_UPDATE;
    return 0;
}

// Adds an answer's gradient to g: each token is worth its advantage and kl (x - 1), x its probability
// under `began` over ours, 20 at most. One at a time, by arrays laid out here. Counts what was cut, and
// what pulls the other way.
static void add_answer(grad *g, grad *began, const int32_t *prompt, int64_t n,
                       const int32_t *answer, const qgre_answer *a, double kl, int count[2]) {
    char err[ERR];
    int64_t rows = n + a->n - 1, start[2] = {0, rows};
    int32_t all[2 * TRIED], target[2 * TRIED];
    float weight[2 * TRIED] = {0}, old[2 * TRIED] = {0};
    memcpy(all, prompt, (size_t)n * 4);
    memcpy(all + n, answer, (size_t)a->n * 4);
    for (int64_t k = 0; k < rows; k++) target[k] = k < n - 1 ? -1 : all[k + 1];
    grad_batch b = {1, start, all, target, weight, old};
    must(!grad_forward(began, &b, err) && !grad_forward(g, &b, err));
    g->loss = 0; // of that forward pass
    for (int64_t k = n - 1; k < rows; k++) {
        float x = num_exp(num_sub(began->logp[k], g->logp[k]));
        count[0] += x > 20, count[1] += x < 1;
        x = x > 20 ? 20 : x;
        weight[k] = num_add(a->advantage[k - n + 1], num_mul((float)kl, num_sub(x, 1)));
        old[k] = g->logp[k];
    }
    must(!grad_pass(g, &b, err));
}

// A step of a task by the engine, leashed to a model that is far from it, and the same step by hand.
static void test_worth(const tokenizer *t) {
    char err[ERR] = "", hex[2][65];
    drawn d = {0};
    model m[2], began[2];
    engine_options o = options(0);
    o.train = (train_options){.dir = "vectors/tiny", .what = "all", .steps = 2, .batch = TRIES};
    o.train.micro = 3, o.train.ctx = TRIED - 1, o.train.by = &by;
    o.train.warmup = o.train.clip = o.train.decay = -1;
    o.practice = (qgre_options){.task = task_named("hamilton"), .group = 2, .kl = 0.05};
    o.context = 8, o.pages = 1, o.slots = 1, o.feedback = 0;
    for (int i = 0; i < 2; i++) {
        must(!model_open(&m[i], "vectors/tiny", err));
        model_random(&began[i], &m[i].c, KIND_F32, 3);
    }
    o.known = m[0].c.vocab;
    must(!train_settle(&o.train, &m[0], err));
    qgre q = {.o = o.practice, .seed = 1, .t = t}, mine = q;
    train_text none = {0};
    engine_learning learn = {&none, &q, &began[0]};
    engine_owner owner = {.ctx = &d, .made = keep_drawn};
    engine *e = engine_open(&m[0], &by, &o, &learn, &owner);
    int did = engine_wake(e, 1, err) ? -1 : 1, count[2] = {0};
    while (did > 0 && !d.updates) did = engine_turn(e, err);
    engine_close(e);

    grad g, far;
    optim opt;
    train_open(&g, &opt, &m[1], &o.train);
    g.kind = far.kind = LOSS_POLICY, g.low = 0.2f, g.high = 0.28f;
    grad_open(&far, &began[1], by.linear, by.tile, 0, TRIES, 1, o.train.ctx);
    grad_zero(&g);
    task_problem p[2];
    int32_t *id[2];
    int64_t n[2];
    int skill[2];
    for (int k = 0; k < 2; k++) {
        skill[k] = qgre_problem(&mine, 0, k, &p[k]);
        n[k] = qgre_prompt(&mine, &p[k], &id[k], err);
    }
    for (int k = 0; k < 2; k++) {
        float advantage[2][TRIED];
        qgre_answer a[2];
        for (int i = 0; i < 2; i++) {
            int made = d.n[2 * k + i], end = model_ends(&m[1].c, d.token[2 * k + i][made - 1]);
            a[i] = (qgre_answer){d.token[2 * k + i], made, end, advantage[i], {0}};
        }
        qgre_judge(&mine, 0, k, skill[k], &p[k], a, 2);
        for (int i = 0; i < 2; i++)
            add_answer(&g, &far, id[k], n[k], d.token[2 * k + i], &a[i], o.practice.kl, count);
        free(id[k]);
    }
    optim_step(&opt, &g, TRIES);
    for (int i = 0; i < 2; i++) train_digest(&m[i], hex[i]);
    check(did == 1 && !strcmp(hex[0], hex[1]), "a task: the step by hand ends on the same weights");
    check(count[0] > 0 && count[1] > 10, "a task: the leash pulls both ways, and is cut");
    optim_close(&opt);
    grad_close(&g);
    grad_close(&far);
    for (int i = 0; i < 2; i++) model_close(&m[i]), model_close(&began[i]);
}

int main(void) {
    num_require_ieee();
    test_serving();
    test_learning();
    test_feedback();
    test_inputs();
    test_practice();
    return 0;
}
