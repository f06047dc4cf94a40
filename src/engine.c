// engine.c - sequences, learning, and the one rule by which they take turns.
#include "engine.h"
#include "num.h"
#include <sodium.h>

enum { PROMPTS = 512 }; // rows of a step of practice that go to prompts

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
    lane serve, practice;              // practice: of answers to the task

    grad g;
    optim opt;
    sample *given, *batch;    // [now.given] that wait; [samples] of this step
    long samples, done, pass; // of the batch; learned of it; in the pass that runs (0: none does)
    long taken;               // of `given`, by the batch
    int64_t targets;          // of the batch
    int64_t *first;           // [micro + 1] and the other arrays of grad_batch [micro, ctx]
    int32_t *id, *target;
    float *weight, *old; // old: log-probability when it was drawn; a task only
    int due;             // a snapshot

    qgre *task;            // NULL: a text, or samples
    qgre_state before;     // of the batch
    grad start;            // passes of the model as it began, for the divergence from it
    model *began;          // NULL: nobody asks
    int pass_of_start;     // the pass that runs is its
    sequence *tries;       // [batch] answers of this step, group by group
    qgre_answer *judged;   // [batch]
    int *skill;            // [groups]
    task_problem *problem; // [groups]
    int answered;          // all of them have been judged
};

engine_state engine_now(const engine *e) {
    engine_state now = e->now;
    now.running = e->serve.running, now.waiting = e->serve.waiting;
    now.pages_used = e->serve.pages_used;
    return now;
}

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
    int64_t keys = e->serve.r.keys, pages = (s->n + s->most + keys - 1) / keys;
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
    s->told = e->told_serve;
    lane_add(&e->serve, s);
    e->now.requests++;
    return 0;
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
    lane_empty(&e->serve);
    lane_empty(&e->practice);
    if (e->task && e->samples) e->task->now = e->before;
    if (!e->told_learn) grad_zero(&e->g);
    e->debt = 0, e->samples = e->done = e->pass = e->taken = e->answered = 0;
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
        lane_cancel(&e->serve, id);
    }
    }
    return 0;
}

// ---- serving

// Where a record with the tokens of these rows stands in the journal: its pairs of id and token.
static const uint8_t *told_tokens(engine *e, const lane *l, journal_kind kind, long heads,
                                  char err[ERR]) {
    const journal_record *r = e->owner.told(e->owner.ctx, kind, err);
    if (!r) return NULL;
    int same = r->size == 16 + 8 * (uint32_t)heads;
    for (long i = 0; i < heads && same; i++) {
        uint32_t id;
        memcpy(&id, r->data + 16 + 8 * i, 4);
        same = id == (uint32_t)l->row[i]->id;
    }
    if (!same) {
        fail(err, "tokens of %u sequences: expected those of %ld that run", (r->size - 16) / 8,
             heads);
        return NULL;
    }
    return r->data + 16;
}

// Tells the owner, if it asks, of a record. 1; -1: it said so.
static int made(engine *e, journal_kind kind, const void *data, uint32_t size, char err[ERR]) {
    return e->owner.made && e->owner.made(e->owner.ctx, kind, data, size, err) ? -1 : 1;
}

// What a task's answers need to be learned: log-probabilities, of the bits of the pass to come.
static void weigh(lane *l, long heads, const float *logits, int64_t vocab) {
#pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < heads; i++) {
        sequence *s = l->row[i];
        if (!s->told) s->logp[s->made] = sample_logp(logits + i * vocab, vocab, l->drawn[i]);
    }
}

// A step of a lane, whose tokens make a record of this kind. *cost: rows, of which heads have logits.
static int lane_step(engine *e, lane *l, journal_kind kind, int64_t *cost, char err[ERR]) {
    uint8_t out[16 + 8 * SLOTS];
    const uint8_t *told = NULL;
    const float *logits;
    int64_t rows, all, vocab = e->m->c.vocab;
    uint64_t prompts = 0;
    int any = 0;
    long heads = lane_gather(l, &rows, &all, &prompts), n = 0;
    for (long i = 0; i < heads; i++) any |= l->row[i]->told;
    if (any && !(told = told_tokens(e, l, kind, heads, err))) return -1;
    if (lane_draw(l, e->by, rows, heads, &logits, err)) return -1;
    if (l == &e->practice) weigh(l, heads, logits, vocab);
    memcpy(out, &e->now.turn, 8), memcpy(out + 8, &e->now.version, 8);
    for (long i = 0; i < heads; i++) {
        sequence *s = l->row[i];
        const float *z = logits && !s->told ? logits + n * vocab : NULL;
        uint32_t low = (uint32_t)s->id;
        int32_t id;
        if (s->told)
            memcpy(&id, told + 8 * i + 4, 4);
        else
            id = l->drawn[n++];
        if (id < 0 || id >= l->known) return fail(err, "token %d: expected an id of the model", id);
        memcpy(out + 16 + 8 * i, &low, 4), memcpy(out + 20 + 8 * i, &id, 4);
        s->token[s->n + s->made++] = id;
        s->end = model_ends(&e->m->c, id)                 ? END_STOP
                 : s->made == s->most || id >= e->o.known ? END_LENGTH
                                                          : END_NOT;
        if (l == &e->serve && e->owner.drawn) e->owner.drawn(e->owner.ctx, s, z, vocab);
    }
    for (long i = l->running - 1; i >= 0; i--) // before others hear of it: they count too
        if (l->open[i]->end) lane_leave(l, i);
    *cost = (all > e->o.floor ? all : e->o.floor) * e->layers + heads * e->head;
    if (l == &e->serve) e->now.tokens += (uint64_t)heads, e->now.prompt_tokens += prompts;
    return heads ? made(e, kind, out, 16 + 8 * (uint32_t)heads, err) : 1;
}

static int serve_turn(engine *e, char err[ERR]) {
    int64_t cost;
    if (lane_step(e, &e->serve, J_TOKENS, &cost, err) < 0) return -1;
    e->debt += cost * e->o.share;
    e->now.work[0] += cost;
    return 1;
}

// ---- practice

// Problems of this step, and what is asked; the answers begin to be drawn.
static int begin_tries(engine *e, char err[ERR]) {
    const train_options *o = &e->o.train;
    qgre *q = e->task;
    long group = q->o.group;
    e->before = q->now, e->answered = 0;
    for (long g = 0; g < o->batch / group; g++) {
        int32_t *id;
        e->skill[g] = qgre_problem(q, e->opt.step, g, &e->problem[g]);
        int64_t n = qgre_prompt(q, &e->problem[g], &id, err);
        if (n < 1 || n > o->ctx || !engine_ids(e, id, n)) {
            free(id);
            return n < 0 ? -1
                         : fail(err, "a problem of %s: %ld tokens: expected at most --ctx %ld",
                                q->o.task->name, (long)n, o->ctx);
        }
        for (long i = g * group; i < (g + 1) * group; i++) {
            sequence *s = &e->tries[i], was = *s;
            *s = (sequence){.id = (uint64_t)i, .token = was.token, .logp = was.logp, .n = n};
            s->most = o->ctx + 1 - n, s->told = e->told_learn;
            s->how = (sample_options){.temperature = 1, .top_p = 1, .seed = o->seed};
            s->how.stream = (uint32_t)(e->opt.step * o->batch + i);
            memcpy(s->token, id, (size_t)n * sizeof *id);
            lane_add(&e->practice, s);
        }
        free(id);
    }
    return 0;
}

// Bits of what was passed, and of what is mastered now.
static int judge_turn(engine *e, char err[ERR]) {
    qgre *q = e->task;
    const task *t = q->o.task;
    long batch = e->o.train.batch, group = q->o.group;
    uint32_t head[] = {(uint32_t)t->skills, 3 * (uint32_t)batch}, size = J_REWARD_HEAD;
    size += 4 * (head[0] + head[1]);
    uint8_t *out = must_alloc(size, 1), *p = out;
    uint32_t passed = 0;
    e->targets = 0;
    for (long g = 0; g < batch / group; g++) {
        qgre_answer *a = e->judged + g * group;
        for (long i = 0; i < group; i++) {
            const sequence *s = &e->tries[g * group + i];
            a[i].id = s->token + s->n, a[i].n = s->made, a[i].ended = s->end == END_STOP;
            e->targets += s->made;
        }
        qgre_judge(q, e->opt.step, g, e->skill[g], &e->problem[g], a, group);
    }
    p = put(put(put(p, &e->now.turn, 8), &e->now.version, 8), head, sizeof head);
    for (int i = 0; i < t->skills; i++) p = put(p, &q->now.skill[i].mastered, 4);
    for (long i = 0; i < batch; i++) {
        const task_verdict *v = &e->judged[i].verdict;
        uint32_t of[] = {(uint32_t)e->skill[i / group] + 256 * (uint32_t)v->formed, v->passed,
                         (uint32_t)e->judged[i].n};
        p = put(p, of, sizeof of);
        passed += (uint32_t)__builtin_popcount(v->passed);
    }
    e->now.reward = num_div((float)passed, (float)(batch * t->qualities));
    e->now.tried += (uint64_t)e->targets;
    e->answered = 1;
    int done = made(e, J_REWARD, out, size, err);
    free(out);
    return done;
}

static int try_turn(engine *e, char err[ERR]) {
    int64_t cost;
    if (!e->practice.running && !e->practice.first) return judge_turn(e, err);
    if (lane_step(e, &e->practice, J_ROLLOUT, &cost, err) < 0) return -1;
    e->debt -= cost * (100 - e->o.share);
    e->now.work[1] += cost;
    return 1;
}

// Of the pass that begins: what its tokens are worth. The divergence from the model as it began, by
// the estimate x - 1 - log x with x its probability over ours, has the gradient of an advantage of
// kl (x - 1); a token that had become very unlikely pulls with 20 kl at most.
static void worth(engine *e) {
    int64_t t = 0;
    for (long i = e->done; i < e->done + e->pass; i++) {
        const sequence *s = &e->tries[i];
        for (int64_t k = s->n - 1, a = 0; a < s->made; k++, a++) {
            float x = 1;
            if (e->began) x = num_exp(num_sub(e->start.logp[t + k], s->logp[a]));
            if (x > 20) x = 20;
            e->weight[t + k] =
                num_add(e->judged[i].advantage[a], num_mul((float)e->task->o.kl, num_sub(x, 1)));
        }
        t += s->n + s->made - 1;
    }
}

// The ratio of a fresh answer is 1: what was drawn with this log-probability has it in the pass.
static int same_logp(const engine *e, char err[ERR]) {
    int64_t t = 0;
    for (long i = e->done; i < e->done + e->pass; i++) {
        const sequence *s = &e->tries[i];
        for (int64_t a = 0; a < s->made; a++)
            if (e->g.logp[t + s->n - 1 + a] != s->logp[a])
                return fail(err,
                            "answer %ld, token %ld: log-probability %.9g in the pass, %.9g "
                            "when it was drawn",
                            i, (long)a, (double)e->g.logp[t + s->n - 1 + a], (double)s->logp[a]);
        t += s->n + s->made - 1;
    }
    return 0;
}

// ---- learning

static int wants_to_learn(const engine *e) {
    if (e->due || e->samples) return 1;
    return e->opt.step < e->o.train.steps && (e->task || e->text->id || e->now.given);
}

// Samples that clients gave come first, the oldest before the others, and fill at most half a batch
// where there is a text. The rest are windows of the text, those that `assay train` would take.
static int begin_batch(engine *e, char err[ERR]) {
    const train_options *o = &e->o.train;
    long room = e->text->id ? (o->batch + 1) / 2 : o->batch;
    e->done = 0;
    if (e->task) {
        e->samples = o->batch;
        return begin_tries(e, err);
    }
    e->taken = e->now.given < room ? e->now.given : room;
    e->samples = e->text->id ? o->batch : e->taken;
    e->targets = 0;
    for (long b = 0; b < e->taken; b++) e->batch[b] = e->given[b];
    for (long b = e->taken; b < e->samples; b++) {
        int64_t at = train_window(o->seed, e->opt.step, b, e->text->n - o->ctx);
        e->batch[b] = (sample){e->text->id + at, o->ctx, 1, 1};
    }
    for (long b = 0; b < e->samples; b++) e->targets += e->batch[b].rows + 1 - e->batch[b].target;
    return 0;
}

// The samples of a pass, laid end to end. Of a task they are passed twice where a start is asked.
static void begin_pass(engine *e) {
    const train_options *o = &e->o.train;
    int64_t t = 0;
    e->pass = e->samples - e->done < o->micro ? e->samples - e->done : o->micro;
    for (long i = 0; i < e->pass && e->task; i++) {
        const sequence *s = &e->tries[e->done + i];
        e->batch[e->done + i] = (sample){s->token, s->n + s->made - 1, s->n, 0};
        memcpy(e->old + t + s->n - 1, s->logp, (size_t)s->made * sizeof *s->logp);
        t += s->n + s->made - 1;
    }
    t = 0;
    for (long i = 0; i < e->pass; i++) {
        const sample *s = &e->batch[e->done + i];
        e->first[i] = t;
        for (int64_t k = 0; k < s->rows; k++, t++) {
            e->id[t] = s->id[k];
            e->target[t] = k + 1 >= s->target ? s->id[k + 1] : -1;
            e->weight[t] = s->weight;
        }
    }
    e->first[e->pass] = t;
    grad_batch b = {e->pass, e->first, e->id, e->target, e->weight, e->old};
    if ((e->pass_of_start = e->began != NULL))
        grad_begin(&e->start, &b, 0);
    else {
        if (e->task) worth(e);
        grad_begin(&e->g, &b, 1);
    }
}

// The next slice. 1: there are more, 0: the samples are learned.
static int pass_slice(engine *e, char err[ERR]) {
    grad *g = e->pass_of_start ? &e->start : &e->g;
    int more = e->told_learn ? grad_skip(g) : grad_slice(g, err);
    if (more) return more;
    if (e->pass_of_start) {
        grad_batch b = {e->pass, e->first, e->id, e->target, e->weight, e->old};
        e->pass_of_start = 0;
        if (!e->told_learn) worth(e);
        grad_begin(&e->g, &b, 1);
        return 1;
    }
    return e->task && !e->told_learn && same_logp(e, err) ? -1 : 0;
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
        optim_step(&e->opt, &e->g, (float)(e->task ? e->samples : (long)targets));
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
    e->samples = e->done = e->taken = e->answered = 0;
    e->due = e->opt.step % e->o.snapshot == 0 || e->opt.step == e->o.train.steps;
    return made(e, J_UPDATE, out, sizeof out, err);
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
    return made(e, J_SNAPSHOT, out, J_SNAPSHOT_HEAD + (uint32_t)n, err);
}

static int learn_turn(engine *e, char err[ERR]) {
    if (e->due) return snapshot_turn(e, err);
    if (!e->samples && begin_batch(e, err)) return -1;
    if (e->task && !e->answered) return try_turn(e, err);
    if (e->done == e->samples) return update_turn(e, err);
    if (!e->pass) begin_pass(e);
    int64_t cost = grad_cost(e->pass_of_start ? &e->start : &e->g);
    e->debt -= cost * (100 - e->o.share);
    e->now.work[1] += cost;
    int more = pass_slice(e, err);
    if (!more) e->done += e->pass, e->pass = 0;
    return more < 0 ? -1 : 1;
}

// ---- opening, and turns

// Multiply-adds of a row: of the layers, and of the head.
static void count_work(engine *e) {
    const tape *t = &e->serve.r.t;
    for (int i = 0; i < t->count; i++) {
        const tape_phase *p = &t->phase[i];
        for (int k = 0; k < p->linears; k++)
            *(p->op == OP_HEAD ? &e->head : &e->layers) += p->w[k]->rows * p->w[k]->cols;
    }
}

static void open_learning(engine *e) {
    const train_options *o = &e->o.train;
    size_t rows = (size_t)(o->micro * o->ctx);
    train_open(&e->g, &e->opt, e->m, o);
    e->batch = must_alloc((size_t)o->batch, sizeof *e->batch);
    e->first = must_alloc((size_t)o->micro + 1, sizeof *e->first);
    e->id = must_alloc(rows * 2, sizeof *e->id), e->target = e->id + rows;
    e->weight = must_alloc(rows, sizeof *e->weight);
}

// Answers are drawn from all ids of the head: the distribution that the pass will see.
static void open_practice(engine *e) {
    const train_options *o = &e->o.train;
    size_t batch = (size_t)o->batch, room = (size_t)o->ctx + 1;
    long slots = e->task->o.slots, chunks = lane_pages(o->ctx + 1);
    if (!slots) slots = lane_together(e->m, o->ctx + 1, o->batch);
    lane_open(&e->practice, e->m, e->by, slots, PROMPTS, o->ctx + 1, slots * chunks, e->m->c.vocab);
    e->g.kind = LOSS_POLICY, e->g.low = 0.2f, e->g.high = 0.28f;
    e->tries = must_alloc(batch, sizeof *e->tries);
    e->judged = must_alloc(batch, sizeof *e->judged);
    e->skill = must_alloc(batch, sizeof *e->skill);
    e->problem = must_alloc(batch, sizeof *e->problem);
    e->old = must_alloc((size_t)(o->micro * o->ctx), sizeof *e->old);
    for (size_t i = 0; i < batch; i++) {
        e->tries[i].token = must_alloc(room, sizeof(int32_t));
        e->tries[i].logp = must_alloc(room, sizeof(float));
        e->judged[i].advantage = must_alloc(room, sizeof(float));
    }
    if (!e->began) return;
    grad_open(&e->start, e->began, e->by->linear, e->by->tile, 0, o->batch, o->micro, o->ctx);
}

static void close_practice(engine *e) {
    for (long i = 0; i < e->o.train.batch; i++) {
        free(e->tries[i].token);
        free(e->tries[i].logp);
        free(e->judged[i].advantage);
    }
    if (e->began) grad_close(&e->start);
    free(e->tries);
    free(e->judged);
    free(e->skill);
    free(e->problem);
    free(e->old);
}

engine *engine_open(model *m, const backend *by, const engine_options *o,
                    const engine_learning *learn, const engine_owner *owner) {
    engine *e = must_alloc(1, sizeof *e);
    *e = (engine){.m = m, .by = by, .o = *o, .owner = *owner, .text = learn->text};
    must(o->slots >= 1 && o->slots <= SLOTS && o->slice >= 1 && o->share >= 0 && o->share < 100);
    e->told_serve = e->told_learn = 1;
    if (o->train.steps) open_learning(e); // first: it moves what learns
    lane_open(&e->serve, m, by, o->slots, o->slice, o->context, o->pages, o->known);
    count_work(e);
    e->task = o->train.steps ? learn->task : NULL, e->began = learn->began;
    if (e->task) open_practice(e);
    return e;
}

int engine_wake(engine *e, int serve, char err[ERR]) {
    e->told_learn = 0, e->told_serve = !serve;
    if (e->ready) return 0;
    e->ready = 1;
    if (e->o.train.steps && backend_learn(e->by, &e->g, &e->opt, err)) return -1;
    if (backend_attach(e->by, &e->serve.r, e->o.slots, err)) return -1;
    if (e->task && backend_attach(e->by, &e->practice.r, e->practice.slots, err)) return -1;
    return e->task && e->began ? backend_attach(e->by, &e->start.r, HEAD_SLICE, err) : 0;
}

void engine_own(engine *e, engine_owner owner) { e->owner = owner; }

void engine_close(engine *e) {
    e->told_learn = 1; // no sums to clear
    input_resume(e);
    backend_detach(e->by);
    lane_close(&e->serve);
    lane_close(&e->practice);
    if (e->task) close_practice(e);
    if (e->o.train.steps) {
        optim_close(&e->opt);
        grad_close(&e->g);
    }
    for (long i = 0; i < e->now.given; i++) free(e->given[i].id);
    free(e->given);
    free(e->batch);
    free(e->first);
    free(e->id);
    free(e->weight);
    free(e);
}

int engine_turn(engine *e, char err[ERR]) {
    int serve = e->serve.running || e->serve.first, learn = wants_to_learn(e);
    if (!serve && !learn) return 0;
    int done = serve && (!learn || e->debt <= 0) ? serve_turn(e, err) : learn_turn(e, err);
    if (!serve || !learn) e->debt = 0;
    e->now.turn++;
    return done;
}
