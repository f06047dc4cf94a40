// engine.c - sequences, learning, and the one rule by which they take turns.
#include "engine.h"
#include "num.h"
#include <sodium.h>

// A sample of a batch: ids [rows + 1], of which those from `target` on are learned.
typedef struct {
    int32_t *id;
    int64_t rows, target;
    float weight;
} sample;

struct engine {
    model *m;
    const backend *by;
    engine_options o;
    engine_owner owner;
    const train_text *text;
    engine_state now;
    int told_serve, told_learn, ready; // ready: the backend has taken over runs and learning
    int64_t debt;                      // multiply-adds x percent that serving is ahead of its share
    int64_t layers, head;              // multiply-adds of a row

    ref_run r;
    sequence *first, *last;     // of those that wait
    sequence *open[SLOTS];      // [now.running] in the order of their admission
    uint8_t used[SLOTS];        // slots
    int32_t *page;              // [pages] a stack: from now.pages_used on they are free
    int32_t *token, *pos, *seq; // [slots + slice] rows of a step
    sequence *row[SLOTS];       // whose the rows with logits are
    sample_options how[SLOTS];
    int32_t drawn[SLOTS];

    grad g;
    optim opt;
    sample *given, *batch;    // [now.given] that wait; [samples] of this step
    long samples, done, pass; // of the batch; learned of it; in the pass that runs (0: none does)
    long taken;               // of `given`, by the batch
    int64_t targets;          // of the batch
    int64_t *start;           // [micro + 1] and the other arrays of grad_batch [micro, ctx]
    int32_t *id, *target;
    float *weight;
    int due; // a snapshot
};

engine_state engine_now(const engine *e) { return e->now; }

int engine_ids(const engine *e, const int32_t *id, int64_t n) {
    int ok = 1;
    for (int64_t i = 0; i < n; i++) ok &= id[i] >= 0 && id[i] < e->o.known;
    return ok;
}

// ---- inputs

// The next bytes of a payload.
static void get(const uint8_t **p, void *value, size_t size) {
    memcpy(value, *p, size);
    *p += size;
}

static uint8_t *put(uint8_t *p, const void *value, size_t size) {
    memcpy(p, value, size);
    return p + size;
}

uint32_t engine_request(uint8_t *p, uint64_t id, uint64_t time, const sample_options *how, int top,
                        int64_t most, const int32_t *prompt, int64_t n) {
    const int32_t rest[] = {top, (int32_t)most, (int32_t)n}, top_k = how->top_k;
    p = put(put(put(p, &(uint64_t){0}, 8), &id, 8), &time, 8);
    p = put(put(put(p, &how->temperature, 4), &top_k, 4), &how->top_p, 4);
    p = put(put(put(p, &how->seed, 4), &how->stream, 4), rest, sizeof rest);
    put(p, prompt, (size_t)n * 4);
    return J_REQUEST_HEAD + 4 * (uint32_t)n;
}

uint32_t engine_sample(uint8_t *p, uint64_t id, float weight, const int32_t *prompt, int64_t n,
                       const int32_t *answer, int64_t answers) {
    const int32_t counts[] = {(int32_t)n, (int32_t)answers};
    p = put(put(put(p, &(uint64_t){0}, 8), &id, 8), &weight, 4);
    p = put(put(p, counts, sizeof counts), prompt, (size_t)n * 4);
    put(p, answer, (size_t)answers * 4);
    return J_FEEDBACK_HEAD + 4 * (uint32_t)(n + answers);
}

static int input_request(engine *e, const uint8_t *p, uint32_t size, char err[ERR]) {
    sequence *s = must_alloc(1, sizeof *s);
    int32_t top_k = 0, top = 0, most = 0, n = 0;
    uint64_t turn, time;
    if (size >= J_REQUEST_HEAD) {
        get(&p, &turn, 8), get(&p, &s->id, 8), get(&p, &time, 8);
        get(&p, &s->how.temperature, 4), get(&p, &top_k, 4), get(&p, &s->how.top_p, 4);
        get(&p, &s->how.seed, 4), get(&p, &s->how.stream, 4);
        get(&p, &top, 4), get(&p, &most, 4), get(&p, &n, 4);
    }
    s->how.top_k = top_k, s->top = top, s->most = most, s->n = n;
    int64_t pages = (s->n + s->most + e->r.keys - 1) / e->r.keys;
    if (n < 1 || size != J_REQUEST_HEAD + 4 * (uint64_t)n || most < 1 ||
        s->n + s->most > e->o.context || pages > e->o.pages || top_k < 0 || top > TOP ||
        !(s->how.temperature >= 0 && s->how.temperature <= 100) ||
        !(s->how.top_p >= 0 && s->how.top_p <= 1)) {
        free(s);
        return fail(err, "a request of %d ids for %d more: expected at most %ld together", n, most,
                    e->o.context);
    }
    s->token = must_alloc((size_t)(s->n + s->most), sizeof *s->token);
    memcpy(s->token, p, (size_t)n * 4);
    if (!engine_ids(e, s->token, n)) {
        free(s->token);
        free(s);
        return fail(err, "a request: expected ids below %ld", (long)e->o.known);
    }
    s->slot = -1, s->told = e->told_serve;
    if (e->last)
        e->last->next = s;
    else
        e->first = s;
    e->last = s;
    e->now.requests++, e->now.waiting++;
    return 0;
}

static void drop(sequence *s) {
    free(s->token);
    free(s);
}

// Gives slot and pages back.
static void leave(engine *e, long i) {
    sequence *s = e->open[i];
    int32_t *page = e->r.page + s->slot * e->r.chunks;
    for (int64_t k = e->r.chunks - 1; k >= 0; k--)
        if (page[k] >= 0) e->page[--e->now.pages_used] = page[k], page[k] = -1;
    e->used[s->slot] = 0;
    memmove(e->open + i, e->open + i + 1, (size_t)(--e->now.running - i) * sizeof *e->open);
    drop(s);
}

static void cancel(engine *e, uint64_t id) {
    sequence *before = NULL;
    for (long i = 0; i < e->now.running; i++)
        if (e->open[i]->id == id) {
            leave(e, i);
            return;
        }
    for (sequence *s = e->first; s; before = s, s = s->next)
        if (s->id == id) {
            *(before ? &before->next : &e->first) = s->next;
            if (e->last == s) e->last = before;
            e->now.waiting--;
            drop(s);
            return;
        }
}

static int input_feedback(engine *e, const uint8_t *p, uint32_t size, char err[ERR]) {
    uint64_t turn, id;
    int32_t n = 0, answers = 0;
    sample s = {0};
    if (size >= J_FEEDBACK_HEAD)
        get(&p, &turn, 8), get(&p, &id, 8), get(&p, &s.weight, 4), get(&p, &n, 4),
            get(&p, &answers, 4);
    if (n < 1 || answers < 1 || size != J_FEEDBACK_HEAD + 4 * ((uint64_t)n + (uint64_t)answers) ||
        !(s.weight > 0 && s.weight <= 1) || !e->o.feedback)
        return fail(err,
                    "a sample of %d and %d ids: expected both, a weight of 0 to 1, and an "
                    "engine that takes samples",
                    n, answers);
    int64_t all = (int64_t)n + answers, most = e->o.train.ctx + 1,
            cut = all > most ? all - most : 0;
    s.rows = all - cut - 1;
    s.target = n > cut ? n - cut : 1;
    s.id = must_alloc((size_t)(s.rows + 1), sizeof *s.id);
    memcpy(s.id, p + 4 * cut, (size_t)(s.rows + 1) * 4);
    if (!engine_ids(e, s.id, s.rows + 1)) {
        free(s.id);
        return fail(err, "a sample: expected ids below %ld", (long)e->o.known);
    }
    if (e->now.given % 64 == 0) {
        e->given = realloc(e->given, (size_t)(e->now.given + 64) * sizeof s);
        must(e->given != NULL);
    }
    e->given[e->now.given++] = s;
    e->now.samples++;
    return 0;
}

// A new process: it has no clients, and begins the batch anew.
static void input_resume(engine *e) {
    while (e->now.running) leave(e, 0);
    while (e->first) cancel(e, e->first->id);
    if (!e->told_learn) grad_zero(&e->g);
    e->debt = 0, e->samples = e->done = e->pass = e->taken = 0;
}

int engine_input(engine *e, const journal_record *r, char err[ERR]) {
    switch ((int)r->kind) {
    case J_REQUEST: return input_request(e, r->data, r->size, err);
    case J_FEEDBACK: return input_feedback(e, r->data, r->size, err);
    case J_RESUME: input_resume(e); return 0;
    case J_CANCEL: {
        uint64_t id;
        must(r->size == 16);
        memcpy(&id, r->data + 8, 8);
        cancel(e, id);
    }
    }
    return 0;
}

// ---- serving

// Who waits gets a slot when there is one, and pages for all of its keys; nobody overtakes.
static void admit(engine *e) {
    while (e->first && e->now.running < e->o.slots) {
        sequence *s = e->first;
        int64_t need = (s->n + s->most + e->r.keys - 1) / e->r.keys;
        if (e->now.pages_used + need > e->o.pages) return;
        s->slot = 0;
        while (e->used[s->slot]) s->slot++;
        e->used[s->slot] = 1;
        for (int64_t i = 0; i < need; i++)
            e->r.page[s->slot * e->r.chunks + i] = e->page[e->now.pages_used++];
        e->first = s->next;
        if (!e->first) e->last = NULL;
        e->now.waiting--;
        e->open[e->now.running++] = s;
    }
}

static void add_row(engine *e, const sequence *s, int64_t *rows) {
    int64_t at = s->fed; // the row's place in its sequence
    e->token[*rows] = s->token[at], e->pos[*rows] = (int32_t)at;
    e->seq[(*rows)++] = s->slot;
}

// The rows of a step: first what prompts have before their last token, at most `slice` of them;
// behind these, one row for every sequence that can go on. Returns how many of the rows have logits;
// *rows: all that are computed, *cost: of these and of those that are only told.
static long gather(engine *e, int64_t *rows, int64_t *cost) {
    int64_t left = e->o.slice, all = 0;
    long heads = 0;
    *rows = 0;
    for (long i = 0; i < e->now.running; i++) {
        sequence *s = e->open[i];
        for (; s->fed < s->n - 1 && left > 0; s->fed++, left--, all++)
            if (!s->told) add_row(e, s, rows);
    }
    e->now.prompt_tokens += (uint64_t)all;
    for (long i = 0; i < e->now.running; i++) {
        sequence *s = e->open[i];
        if (s->fed < s->n - 1) continue; // its prompt goes on in the next step
        if (!s->told) add_row(e, s, rows);
        e->now.prompt_tokens += s->made == 0;
        s->fed++, all++;
        e->row[heads++] = s;
    }
    *cost = (all > e->o.floor ? all : e->o.floor) * e->layers + heads * e->head;
    return heads;
}

// The tokens of the computed rows into e->drawn; logits, where they are at hand.
static int draw(engine *e, int64_t rows, long heads, const float **logits, char err[ERR]) {
    int wanted = 0;
    long n = 0;
    for (long i = 0; i < heads; i++)
        if (!e->row[i]->told) {
            e->how[n++] = e->row[i]->how;
            wanted |= e->row[i]->top >= 0;
        }
    *logits = NULL;
    if (rows == 0) return 0;
    if (e->by->device && n == rows && !wanted) {
        ref_rows(&e->r, e->token, e->pos, e->seq, rows, 0);
        return e->by->decode(e->by->device, &e->r, e->how, e->o.known, 1, e->drawn, err);
    }
    int64_t from = n ? rows - n : rows - 1, vocab = e->m->c.vocab;
    if (ref_step(&e->r, e->token, e->pos, e->seq, rows, from, err)) return -1;
#pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < n; i++)
        e->drawn[i] = sample_token(e->r.logits + i * vocab, e->o.known, &e->how[i],
                                   (uint32_t)e->pos[from + i] + 1);
    *logits = e->r.logits;
    return 0;
}

static int is_end(const model *m, int32_t id) {
    for (int i = 0; i < m->c.eos_count; i++)
        if (m->c.eos[i] == id) return 1;
    return 0;
}

// Where a record with the tokens of these rows stands in the journal: its pairs of id and token.
static const uint8_t *told_tokens(engine *e, long heads, char err[ERR]) {
    const journal_record *r = e->owner.told(e->owner.ctx, J_TOKENS, err);
    if (!r) return NULL;
    int same = r->size == 16 + 8 * (uint32_t)heads;
    for (long i = 0; i < heads && same; i++) {
        uint32_t id;
        memcpy(&id, r->data + 16 + 8 * i, 4);
        same = id == (uint32_t)e->row[i]->id;
    }
    if (!same) {
        fail(err, "tokens of %u sequences: expected those of %ld that run", (r->size - 16) / 8,
             heads);
        return NULL;
    }
    return r->data + 16;
}

static int serve_turn(engine *e, char err[ERR]) {
    uint8_t out[16 + 8 * SLOTS];
    const uint8_t *told = NULL;
    const float *logits;
    int64_t rows, cost;
    int any = 0;
    admit(e);
    long heads = gather(e, &rows, &cost), n = 0;
    for (long i = 0; i < heads; i++) any |= e->row[i]->told;
    if (any && !(told = told_tokens(e, heads, err))) return -1;
    if (draw(e, rows, heads, &logits, err)) return -1;
    memcpy(out, &e->now.turn, 8), memcpy(out + 8, &e->now.version, 8);
    for (long i = 0; i < heads; i++) {
        sequence *s = e->row[i];
        const float *z = logits && !s->told ? logits + n * e->m->c.vocab : NULL;
        uint32_t low = (uint32_t)s->id;
        int32_t id;
        if (s->told)
            memcpy(&id, told + 8 * i + 4, 4);
        else
            id = e->drawn[n++];
        if (!engine_ids(e, &id, 1)) return fail(err, "token %d: expected an id of the model", id);
        memcpy(out + 16 + 8 * i, &low, 4), memcpy(out + 20 + 8 * i, &id, 4);
        s->token[s->n + s->made++] = id;
        s->end = is_end(e->m, id) ? END_STOP : s->made == s->most ? END_LENGTH : END_NOT;
        if (e->owner.drawn) e->owner.drawn(e->owner.ctx, s, z, e->m->c.vocab);
    }
    e->now.tokens += (uint64_t)heads;
    for (long i = e->now.running - 1; i >= 0; i--) // before others hear of it: they count too
        if (e->open[i]->end) leave(e, i);
    if (heads && e->owner.made(e->owner.ctx, J_TOKENS, out, 16 + 8 * (uint32_t)heads, err))
        return -1;
    e->debt += cost * e->o.share;
    e->now.work[0] += cost;
    return 1;
}

// ---- learning

static int wants_to_learn(const engine *e) {
    if (e->due || e->samples) return 1;
    return e->opt.step < e->o.train.steps && (e->text->id || e->now.given);
}

// Samples that clients gave come first, the oldest before the others, and fill at most half a batch
// where there is a text. The rest are windows of the text, those that `assay train` would take.
static void begin_batch(engine *e) {
    const train_options *o = &e->o.train;
    long room = e->text->id ? (o->batch + 1) / 2 : o->batch;
    e->taken = e->now.given < room ? e->now.given : room;
    e->samples = e->text->id ? o->batch : e->taken;
    e->done = e->targets = 0;
    for (long b = 0; b < e->taken; b++) e->batch[b] = e->given[b];
    for (long b = e->taken; b < e->samples; b++) {
        int64_t at = train_window(o->seed, e->opt.step, b, e->text->n - o->ctx);
        e->batch[b] = (sample){e->text->id + at, o->ctx, 1, 1};
    }
    for (long b = 0; b < e->samples; b++) e->targets += e->batch[b].rows + 1 - e->batch[b].target;
}

static void begin_pass(engine *e) {
    const train_options *o = &e->o.train;
    int64_t t = 0;
    e->pass = e->samples - e->done < o->micro ? e->samples - e->done : o->micro;
    for (long i = 0; i < e->pass; i++) {
        const sample *s = &e->batch[e->done + i];
        e->start[i] = t;
        for (int64_t k = 0; k < s->rows; k++, t++) {
            e->id[t] = s->id[k];
            e->target[t] = k + 1 >= s->target ? s->id[k + 1] : -1;
            e->weight[t] = s->weight;
        }
    }
    e->start[e->pass] = t;
    grad_batch b = {e->pass, e->start, e->id, e->target, e->weight, NULL};
    grad_begin(&e->g, &b, 1);
}

convert_plan engine_plan(engine *e) { return train_plan(e->m, &e->opt); }

void engine_digest(engine *e, int all, uint8_t hash[32]) {
    convert_plan p = engine_plan(e);
    uint8_t(*each)[32] = must_alloc((size_t)p.n, sizeof *each);
    int n = 0;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < p.n; i++) crypto_hash_sha256(each[i], p.t[i].data, (size_t)p.t[i].bytes);
    for (int i = 0; i < p.n; i++) {
        const char *end = strrchr(p.name[i], '.');
        if (all || (strcmp(end, ".m") && strcmp(end, ".v"))) memcpy(each[n++], each[i], 32);
    }
    crypto_hash_sha256(hash, each[0], (size_t)n * 32);
    free(each);
    convert_plan_free(&p);
}

// What the batch said of the last step, whether computed or told.
static void note_step(engine *e, int64_t loss, uint32_t targets, float norm) {
    e->now.loss = num_div(num_mul((float)loss, GRAD_UNIT), (float)targets);
    e->now.norm = norm;
    e->now.step = (long)e->opt.step;
}

static int update_turn(engine *e, char err[ERR]) {
    uint8_t out[J_UPDATE_SIZE];
    const journal_record *r = NULL;
    int64_t loss = e->g.loss;
    uint32_t targets = (uint32_t)e->targets;
    if (e->told_learn) {
        if (!(r = e->owner.told(e->owner.ctx, J_UPDATE, err))) return -1;
        memcpy(out, r->data, sizeof out);
        memcpy(&loss, out + 24, 8), memcpy(&e->opt.norm, out + 36, 4);
        e->opt.step++;
    } else {
        optim_step(&e->opt, &e->g, (float)targets);
        if (backend_fetch(e->by, err)) return -1;
        engine_digest(e, 0, out + 40);
    }
    e->now.version++;
    e->now.learned += targets;
    uint64_t step = (uint64_t)e->opt.step;
    memcpy(out, &e->now.turn, 8), memcpy(out + 8, &e->now.version, 8), memcpy(out + 16, &step, 8);
    memcpy(out + 24, &loss, 8), memcpy(out + 32, &targets, 4), memcpy(out + 36, &e->opt.norm, 4);
    note_step(e, loss, targets, e->opt.norm);
    for (long i = 0; i < e->taken; i++) free(e->given[i].id);
    e->now.given -= e->taken;
    for (long i = 0; i < e->now.given; i++) e->given[i] = e->given[i + e->taken];
    e->samples = e->done = e->taken = 0;
    e->due = e->opt.step % e->o.snapshot == 0 || e->opt.step == e->o.train.steps;
    return e->owner.made(e->owner.ctx, J_UPDATE, out, sizeof out, err) ? -1 : 1;
}

static int snapshot_turn(engine *e, char err[ERR]) {
    uint8_t out[J_SNAPSHOT_HEAD + 24] = {0};
    const journal_record *r = NULL;
    if (e->told_learn && !(r = e->owner.told(e->owner.ctx, J_SNAPSHOT, err))) return -1;
    memcpy(out, &e->now.turn, 8), memcpy(out + 8, &e->now.version, 8);
    if (r)
        memcpy(out + 16, r->data + 16, 32);
    else
        engine_digest(e, 1, out + 16);
    int n =
        snprintf((char *)out + J_SNAPSHOT_HEAD, 24, "v%08llu", (unsigned long long)e->now.version);
    e->due = 0;
    return e->owner.made(e->owner.ctx, J_SNAPSHOT, out, J_SNAPSHOT_HEAD + (uint32_t)n, err) ? -1
                                                                                            : 1;
}

static int learn_turn(engine *e, char err[ERR]) {
    if (e->due) return snapshot_turn(e, err);
    if (!e->samples) begin_batch(e);
    if (e->done == e->samples) return update_turn(e, err);
    if (!e->pass) begin_pass(e);
    int64_t cost = grad_cost(&e->g);
    e->debt -= cost * (100 - e->o.share);
    e->now.work[1] += cost;
    int more = e->told_learn ? grad_skip(&e->g) : grad_slice(&e->g, err);
    if (!more) e->done += e->pass, e->pass = 0;
    return more < 0 ? -1 : 1;
}

// ---- opening, and turns

// Multiply-adds of a row: of the layers, and of the head.
static void count_work(engine *e) {
    for (int i = 0; i < e->r.t.count; i++) {
        const tape_phase *p = &e->r.t.phase[i];
        for (int k = 0; k < p->linears; k++)
            *(p->op == OP_HEAD ? &e->head : &e->layers) += p->w[k]->rows * p->w[k]->cols;
    }
}

static void open_learning(engine *e) {
    const train_options *o = &e->o.train;
    size_t rows = (size_t)(o->micro * o->ctx);
    train_open(&e->g, &e->opt, e->m, o);
    e->batch = must_alloc((size_t)o->batch, sizeof *e->batch);
    e->start = must_alloc((size_t)o->micro + 1, sizeof *e->start);
    e->id = must_alloc(rows * 2, sizeof *e->id), e->target = e->id + rows;
    e->weight = must_alloc(rows, sizeof *e->weight);
}

engine *engine_open(model *m, const backend *by, const engine_options *o, const train_text *text,
                    const engine_owner *owner) {
    engine *e = must_alloc(1, sizeof *e);
    size_t rows = (size_t)(o->slots + o->slice);
    *e = (engine){.m = m, .by = by, .o = *o, .owner = *owner, .text = text};
    must(o->slots >= 1 && o->slots <= SLOTS && o->slice >= 1 && o->share >= 0 && o->share < 100);
    e->told_serve = e->told_learn = 1;
    if (o->train.steps) open_learning(e); // first: it moves what learns
    ref_open_pages(&e->r, m, by->linear, (int64_t)rows, o->slots, o->context, o->pages);
    count_work(e);
    e->token = must_alloc(rows * 3, sizeof *e->token);
    e->pos = e->token + rows, e->seq = e->pos + rows;
    e->page = must_alloc((size_t)o->pages, sizeof *e->page);
    for (long i = 0; i < o->pages; i++) e->page[i] = (int32_t)i;
    return e;
}

int engine_wake(engine *e, int serve, char err[ERR]) {
    e->told_learn = 0, e->told_serve = !serve;
    if (e->ready) return 0;
    e->ready = 1;
    if (e->o.train.steps && backend_learn(e->by, &e->g, &e->opt, err)) return -1;
    return backend_attach(e->by, &e->r, e->o.slots, err);
}

void engine_own(engine *e, engine_owner owner) { e->owner = owner; }

void engine_close(engine *e) {
    e->told_learn = 1; // no sums to clear
    input_resume(e);
    backend_detach(e->by);
    ref_close(&e->r);
    if (e->o.train.steps) {
        optim_close(&e->opt);
        grad_close(&e->g);
    }
    for (long i = 0; i < e->now.given; i++) free(e->given[i].id);
    free(e->given);
    free(e->batch);
    free(e->start);
    free(e->id);
    free(e->weight);
    free(e->token);
    free(e->page);
    free(e);
}

int engine_turn(engine *e, char err[ERR]) {
    int serve = e->now.running || e->first, learn = wants_to_learn(e);
    if (!serve && !learn) return 0;
    int done = serve && (!learn || e->debt <= 0) ? serve_turn(e, err) : learn_turn(e, err);
    if (!serve || !learn) e->debt = 0;
    e->now.turn++;
    return done;
}
