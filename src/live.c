// live.c - the inbox, the engine's thread, and what may be seen of it.
#include "live.h"
#include "bench.h"
#include "num.h"
#include <pthread.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 10 }; // over which the rate of decoding is taken

typedef struct {
    int32_t id;
    float logp;
    uint64_t version, place; // place: in the journal behind its record
} drawn;

struct live_stream {
    uint64_t id;
    journal_kind kind; // J_REQUEST or J_FEEDBACK
    uint8_t *input;    // [size] the record that asks for it, until it is taken
    uint32_t size;
    int top, released;
    drawn *token;    // [room]
    int32_t *top_id; // [room, top]
    float *tops;     // [room, top]
    int64_t made, room;
    engine_end ending, end; // with the token that has no place yet; and what may be seen
    uint64_t ended;         // from this place on
    struct live_stream *next;
};

struct live {
    live_options o;
    engine_options eo;
    engine *e;
    journal *j;
    sem_t work;                // posted when there may be something to do
    pthread_mutex_t lock;      // of what follows
    live_stream *first, *last; // not yet taken
    long queued[2];            // of them: requests, samples
    live_stream *open;         // taken, not yet freed
    uint64_t id;               // of the last stream
    live_state now;
    void (*wake)(void *);
    void *ctx;
    float loss[CURVE], reward[CURVE];
    int64_t step[CURVE], steps;
    live_record record[RECORDS];
    uint64_t before, records; // that other processes wrote; in all
    double second[SECONDS];   // when each of the last seconds was noted, and the tokens by then
    uint64_t tokens[SECONDS];
    int64_t seconds;
    int closed; // nothing is taken any more
    // Of the engine's thread only:
    live_stream *fresh[SLOTS]; // whose newest token has no place yet
    int freshs;
    float *scratch;         // [vocab]
    char snapshot[2][4096]; // the last two
    double begun;           // when the step began
    // Set by any thread, or by a signal:
    atomic_int stop, patience;
};

live *live_open(const live_options *o) {
    live *l = must_alloc(1, sizeof *l);
    l->o = *o;
    must(!pthread_mutex_init(&l->lock, NULL) && !sem_init(&l->work, 0, 0));
    return l;
}

static void free_stream(live_stream *s) {
    free(s->input);
    free(s->token);
    free(s->top_id);
    free(s->tops);
    free(s);
}

static void free_streams(live_stream *s) {
    for (live_stream *next; s; s = next) next = s->next, free_stream(s);
}

void live_close(live *l) {
    free_streams(l->open);
    free_streams(l->first);
    free(l->scratch);
    pthread_mutex_destroy(&l->lock);
    sem_destroy(&l->work);
    free(l);
}

void live_listen(live *l, void (*wake)(void *), void *ctx) {
    pthread_mutex_lock(&l->lock);
    l->wake = wake, l->ctx = ctx;
    pthread_mutex_unlock(&l->lock);
}

void live_wake(void *ctx) {
    live *l = ctx;
    char err[ERR];
    if (journal_failed(l->j, err)) sem_post(&l->work); // an idle engine must hear of it
    pthread_mutex_lock(&l->lock);
    if (l->wake) l->wake(l->ctx); // under the lock: after live_listen() nobody is in it
    pthread_mutex_unlock(&l->lock);
}

void live_stop(live *l, int patience) {
    l->patience = patience;
    l->stop = 1;
    sem_post(&l->work);
}

// ---- records

uint64_t live_note(live *l, journal_kind kind, const void *data, uint32_t size) {
    journal_record r = {.kind = kind, .size = size, .data = data};
    live_record mine = {.kind = kind, .size = size};
    uint64_t place = mine.place = journal_append(l->j, kind, data, size);
    journal_head(l->j, mine.chain);
    journal_describe(&r, mine.what);
    pthread_mutex_lock(&l->lock);
    mine.number = ++l->records;
    l->record[mine.number % RECORDS] = mine;
    pthread_mutex_unlock(&l->lock);
    return place;
}

// Of the snapshots two stay.
void live_keep(live *l, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", l->o.path, name);
    if (!strcmp(path, l->snapshot[1])) return;
    if (l->snapshot[0][0]) unlink(l->snapshot[0]);
    memcpy(l->snapshot[0], l->snapshot[1], sizeof path);
    memcpy(l->snapshot[1], path, sizeof path);
}

// A snapshot has its name before its record is written.
static int write_snapshot(live *l, const uint8_t *data, uint32_t size, char err[ERR]) {
    char path[4096], chain[65], name[32];
    uint8_t head[32];
    journal_head(l->j, head);
    sodium_bin2hex(chain, sizeof chain, head, sizeof head);
    const char *const meta[][2] = {{"format", "assay-state 1"}, {"chain", chain}};
    snprintf(name, sizeof name, "%.*s", (int)size - J_SNAPSHOT_HEAD, data + J_SNAPSHOT_HEAD);
    snprintf(path, sizeof path, "%s.%s", l->o.path, name);
    convert_plan p = engine_plan(l->e);
    int bad = convert_file(path, p.t, p.n, meta, 2, err);
    convert_plan_free(&p);
    if (!bad) live_keep(l, name);
    return bad;
}

static void note_step(live *l) {
    double now = bench_now();
    engine_state s = engine_now(l->e);
    pthread_mutex_lock(&l->lock);
    l->step[l->steps % CURVE] = s.step;
    l->reward[l->steps % CURVE] = s.reward, l->loss[l->steps++ % CURVE] = s.loss;
    l->now.step_seconds = now - l->begun;
    pthread_mutex_unlock(&l->lock);
    l->begun = now;
}

// What is to be seen from a place on has been noted. If the disk was faster, its wake came too early.
static void noted(live *l, uint64_t place) {
    if (journal_durable(l->j) >= place) live_wake(l);
}

// The newest tokens may be seen as soon as this place is on the disk.
static void publish(live *l, uint64_t place) {
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < l->freshs; i++) {
        live_stream *s = l->fresh[i];
        s->token[s->made++].place = place;
        if (s->ending) s->end = s->ending, s->ended = place;
    }
    l->freshs = 0;
    l->now.now = engine_now(l->e); // who sees these tokens finds them counted
    pthread_mutex_unlock(&l->lock);
    noted(l, place);
}

static int made(void *ctx, journal_kind kind, const void *data, uint32_t size, char err[ERR]) {
    live *l = ctx;
    if (kind == J_SNAPSHOT && write_snapshot(l, data, size, err)) return -1;
    uint64_t place = live_note(l, kind, data, size);
    if (kind == J_TOKENS) publish(l, place);
    if (kind == J_UPDATE) note_step(l);
    if (l->o.said) {
        engine_state s = engine_now(l->e);
        l->o.said(kind, data, size, &s);
    }
    return 0;
}

// ---- tokens

// The likeliest ids of logits z [n], falling, the lower id first.
static void find_top(const float *z, int32_t n, int top, int32_t *id) {
    int have = 0;
    for (int32_t i = 0; i < n; i++) {
        int at = have;
        while (at > 0 && z[i] > z[id[at - 1]]) at--;
        if (at == top) continue;
        if (have < top) have++;
        memmove(id + at + 1, id + at, (size_t)(have - 1 - at) * sizeof *id);
        id[at] = i;
    }
}

// Log-probabilities by logits z [n]: of the token, and of the likeliest of the ids below known.
static void weigh(live *l, live_stream *s, drawn *d, const float *z, int64_t n) {
    float peak;
    int32_t *id = s->top_id + s->made * s->top;
    memcpy(l->scratch, z, (size_t)n * sizeof *z);
    float log_sum = num_log(sample_exponentials(l->scratch, n, &peak));
    d->logp = num_sub(num_sub(z[d->id], peak), log_sum);
    if (s->top) find_top(z, (int32_t)l->eo.known, s->top, id);
    for (int k = 0; k < s->top; k++)
        s->tops[s->made * s->top + k] = num_sub(num_sub(z[id[k]], peak), log_sum);
}

static void more_room(live_stream *s) {
    size_t room = (size_t)(s->room = s->room ? 2 * s->room : 64),
           top = s->top > 0 ? (size_t)s->top : 0;
    s->token = realloc(s->token, room * sizeof *s->token);
    s->top_id = realloc(s->top_id, (room * top + 1) * sizeof *s->top_id);
    s->tops = realloc(s->tops, (room * top + 1) * sizeof *s->tops);
    must(s->token && s->top_id && s->tops);
}

// A token that nobody sees yet.
static void take_token(void *ctx, const sequence *q, const float *logits, int64_t vocab) {
    live *l = ctx;
    live_stream *s = l->open;
    while (s && s->id != q->id) s = s->next;
    must(s != NULL && l->freshs < SLOTS);
    pthread_mutex_lock(&l->lock); // who reads must not find the arrays moved
    if (s->made == s->room) more_room(s);
    pthread_mutex_unlock(&l->lock);
    drawn *d = &s->token[s->made];
    *d = (drawn){.id = q->token[q->n + q->made - 1], .version = engine_now(l->e).version};
    if (s->top >= 0) weigh(l, s, d, logits, vocab);
    s->ending = q->end;
    l->fresh[l->freshs++] = s;
}

engine_owner live_owner(live *l) {
    return (engine_owner){.ctx = l, .made = made, .drawn = take_token};
}

// ---- the engine's thread

void live_start(live *l, engine *e, const engine_options *o, journal *j, uint64_t records,
                int64_t vocab) {
    l->e = e, l->eo = *o, l->j = j;
    l->id = l->records = l->before = records; // every stream has a record: no id comes twice
    l->now.records = records, l->now.feedback = engine_now(e).samples;
    l->now.now = engine_now(e), l->now.o = *o;
    l->now.journal_bytes = journal_head(j, l->now.chain);
    l->scratch = must_alloc((size_t)vocab, sizeof *l->scratch);
    l->begun = bench_now();
}

static int apply(live *l, journal_kind kind, const void *data, uint32_t size, uint64_t *place,
                 char err[ERR]) {
    journal_record r = {.kind = kind, .size = size, .data = data};
    *place = live_note(l, kind, data, size);
    return engine_input(l->e, &r, err);
}

// Journals and admits what was submitted.
static int take_new(live *l, char err[ERR]) {
    pthread_mutex_lock(&l->lock);
    live_stream *s = l->first;
    l->first = l->last = NULL;
    l->now.now.waiting += l->queued[0]; // until the engine counts them: show()
    l->now.now.given += l->queued[1];
    l->queued[0] = l->queued[1] = 0;
    pthread_mutex_unlock(&l->lock);
    int bad = 0;
    for (live_stream *next; s; s = next) {
        uint64_t turn = engine_now(l->e).turn, place = 0;
        next = s->next;
        memcpy(s->input, &turn, sizeof turn);
        bad = bad || apply(l, s->kind, s->input, s->size, &place, err);
        pthread_mutex_lock(&l->lock);
        if (s->kind == J_FEEDBACK && !bad) s->end = END_STOP, s->ended = place, l->now.feedback++;
        s->next = l->open, l->open = s;
        pthread_mutex_unlock(&l->lock);
        if (s->kind == J_FEEDBACK) noted(l, place);
        free(s->input);
        s->input = NULL;
    }
    return bad ? -1 : 0;
}

static int cancel(live *l, live_stream *s, char err[ERR]) {
    uint64_t turn = engine_now(l->e).turn, place;
    uint8_t p[16];
    memcpy(p, &turn, 8), memcpy(p + 8, &s->id, 8);
    if (apply(l, J_CANCEL, p, sizeof p, &place, err)) return -1;
    pthread_mutex_lock(&l->lock);
    s->end = END_CANCEL, s->ended = place;
    pthread_mutex_unlock(&l->lock);
    return 0;
}

// Frees what nobody uses any more; what of it still runs is cancelled.
static int take_released(live *l, char err[ERR]) {
    live_stream **p = &l->open;
    while (*p) {
        live_stream *s = *p;
        pthread_mutex_lock(&l->lock);
        int released = s->released;
        if (released && s->end) *p = s->next;
        pthread_mutex_unlock(&l->lock);
        if (!released)
            p = &s->next;
        else if (s->end)
            free_stream(s);
        else if (cancel(l, s, err))
            return -1; // after it, the same stream again: it has ended
    }
    return 0;
}

// What others see of the engine.
static void show(live *l) {
    double now = bench_now();
    engine_state s = engine_now(l->e);
    pthread_mutex_lock(&l->lock);
    l->now.now = s;
    if (!l->seconds || now - l->second[(l->seconds - 1) % SECONDS] >= 1) {
        l->second[l->seconds % SECONDS] = now;
        l->tokens[l->seconds++ % SECONDS] = s.tokens;
    }
    pthread_mutex_unlock(&l->lock);
}

// 1: it is time to end.
static int ends(live *l, double *since) {
    engine_state s = engine_now(l->e);
    if (!l->stop) return 0;
    if (*since == 0) *since = bench_now();
    pthread_mutex_lock(&l->lock);
    l->closed = 1;
    int more = l->first != NULL;
    pthread_mutex_unlock(&l->lock);
    return !more && (s.running + s.waiting == 0 || bench_now() - *since >= (double)l->patience);
}

// The streams end; the journal says of which model.
static int last_record(live *l, const model *m, char err[ERR]) {
    char text[256], hex[65];
    engine_state s = engine_now(l->e);
    for (live_stream *q = l->open; q; q = q->next)
        if (!q->end && cancel(l, q, err)) return -1;
    train_digest(m, hex);
    int n = snprintf(
        text, sizeof text, "{\"turn\":%llu,\"version\":%llu,\"model\":\"%s\",\"time\":%lld}",
        (unsigned long long)s.turn, (unsigned long long)s.version, hex, (long long)time(NULL));
    return journal_wait(l->j, live_note(l, J_STOP, text, (uint32_t)n), err);
}

// No stream is left without an end: what is not on the disk now will never be.
static void end_all(live *l) {
    char err[ERR];
    uint8_t chain[32];
    journal_wait(l->j, journal_head(l->j, chain), err);
    uint64_t durable = journal_durable(l->j);
    pthread_mutex_lock(&l->lock);
    l->closed = 1;
    for (live_stream *s = l->open; s; s = s->next)
        if (!s->end || s->ended > durable) s->end = END_FAILED;
    for (live_stream *s = l->first; s; s = s->next) s->end = END_FAILED;
    pthread_mutex_unlock(&l->lock);
}

int live_run(live *l, const model *m, char err[ERR]) {
    double since = 0;
    int bad = 0, did;
    while (!bad && !ends(l, &since)) {
        bad = journal_failed(l->j, err) || take_new(l, err) || take_released(l, err);
        did = bad ? 0 : engine_turn(l->e, err);
        bad |= did < 0;
        show(l);
        if (!bad && !did && l->o.until_learned) l->stop = 1;
        if (!bad && !did && !l->stop) sem_wait(&l->work); // a signal may end it early
    }
    bad = bad || last_record(l, m, err);
    end_all(l);
    live_wake(l);
    return bad ? -1 : 0;
}

// ---- any thread

static live_stream *submit(live *l, live_stream *s) {
    pthread_mutex_lock(&l->lock);
    const engine_state *n = &l->now.now;
    int sample = s->kind == J_FEEDBACK;
    long waits = l->queued[sample] + (sample ? n->given : n->running + n->waiting);
    int full = l->closed || l->stop || waits >= l->eo.slots + l->o.queue;
    if (!full) {
        s->id = ++l->id;
        memcpy(s->input + 8, &s->id, 8);
        if (l->last)
            l->last->next = s;
        else
            l->first = s;
        l->last = s;
        l->queued[sample]++;
    }
    pthread_mutex_unlock(&l->lock);
    if (full) free_stream(s);
    if (!full) sem_post(&l->work);
    return full ? NULL : s;
}

long live_context(const engine_options *o) {
    return o->context < o->pages * KEYS ? o->context : o->pages * KEYS;
}

live_stream *live_submit(live *l, const live_request *q, char err[ERR]) {
    const engine_options *o = &l->eo;
    struct timespec t;
    *err = 0;
    must(q->top <= o->known);
    if (q->n < 1 || q->most < 1 || q->n + q->most > live_context(o)) {
        fail(err, "%lld tokens and %lld more: expected at most %ld together", (long long)q->n,
             (long long)q->most, live_context(o));
        return NULL;
    }
    if (!engine_ids(l->e, q->prompt, q->n)) {
        fail(err, "an id of the prompt: expected 0 to %lld", (long long)o->known - 1);
        return NULL;
    }
    live_stream *s = must_alloc(1, sizeof *s);
    s->kind = J_REQUEST, s->top = q->top;
    s->input = must_alloc(J_REQUEST_HEAD + 4 * (size_t)q->n, 1);
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    s->size = engine_request(s->input, 0, ms, &q->how, q->top, q->most, q->prompt, q->n);
    return submit(l, s);
}

// 1: a sample that comes now will be learned: the steps behind the one that runs have room.
static int steps_left(live *l) {
    const train_options *t = &l->eo.train;
    pthread_mutex_lock(&l->lock);
    int64_t steps = t->steps - l->now.now.step - 1;
    int64_t room = l->eo.samples_only ? t->batch : (t->batch + 1) / 2;
    int left = l->now.now.given + l->queued[1] < steps * room;
    pthread_mutex_unlock(&l->lock);
    return left;
}

live_stream *live_feedback(live *l, const int32_t *prompt, int64_t n, const int32_t *answer,
                           int64_t answers, float weight, char err[ERR]) {
    *err = 0;
    if (!steps_left(l)) {
        fail(err, "learning ends with step %ld: there is no room for another sample",
             l->eo.train.steps);
        return NULL;
    }
    if (n < 1 || answers < 1 || n + answers > l->eo.context + 1 || !(weight > 0 && weight <= 1) ||
        !l->eo.feedback || !engine_ids(l->e, prompt, n) || !engine_ids(l->e, answer, answers)) {
        fail(err,
             "a sample of %lld and %lld ids: expected both, %ld together at most, and a weight "
             "above 0, at most 1",
             (long long)n, (long long)answers, l->eo.context + 1);
        return NULL;
    }
    live_stream *s = must_alloc(1, sizeof *s);
    s->kind = J_FEEDBACK, s->top = -1;
    s->input = must_alloc(J_FEEDBACK_HEAD + 4 * (size_t)(n + answers), 1);
    s->size = engine_sample(s->input, 0, weight, prompt, n, answer, answers);
    return submit(l, s);
}

uint64_t live_id(const live_stream *s) { return s->id; }

int64_t live_read(live *l, live_stream *s, int64_t from, live_token *token, int64_t most,
                  engine_end *end) {
    uint64_t durable = journal_durable(l->j);
    int64_t n = 0, at = from;
    pthread_mutex_lock(&l->lock);
    for (; n < most && at < s->made && s->token[at].place <= durable; n++, at++) {
        const drawn *d = &s->token[at];
        token[n] = (live_token){.id = d->id, .version = d->version, .logp = d->logp};
        for (int k = 0; k < s->top; k++) {
            token[n].top_id[k] = s->top_id[at * s->top + k];
            token[n].top[k] = s->tops[at * s->top + k];
        }
    }
    int seen = at == s->made && s->ended <= durable;
    *end = s->end == END_FAILED || seen ? s->end : END_NOT;
    pthread_mutex_unlock(&l->lock);
    return n;
}

void live_release(live *l, live_stream *s) {
    pthread_mutex_lock(&l->lock);
    s->released = 1;
    pthread_mutex_unlock(&l->lock);
    sem_post(&l->work);
}

void live_look(live *l, live_state *s) {
    double now = bench_now();
    uint64_t durable = journal_durable(l->j);
    pthread_mutex_lock(&l->lock);
    for (uint64_t i = l->records; i > l->now.records && i + RECORDS > l->records; i--) {
        const live_record *r = &l->record[i % RECORDS];
        if (r->place > durable) continue;
        l->now.records = i, l->now.journal_bytes = r->place;
        memcpy(l->now.chain, r->chain, sizeof r->chain);
    }
    *s = l->now;
    s->stopping = l->closed || l->stop;
    for (int64_t i = l->seconds > SECONDS ? l->seconds - SECONDS : 0; i < l->seconds; i++) {
        double age = now - l->second[i % SECONDS];
        if (age > SECONDS || age <= 0) continue;
        s->decode_rate = (double)(s->now.tokens - l->tokens[i % SECONDS]) / age;
        break;
    }
    pthread_mutex_unlock(&l->lock);
}

int64_t live_curve(live *l, int64_t most, int64_t *step, float *loss, float *reward) {
    pthread_mutex_lock(&l->lock);
    int64_t n = l->steps < CURVE ? l->steps : CURVE;
    if (n > most) n = most;
    for (int64_t i = 0, at = l->steps - n; i < n; i++, at++)
        step[i] = l->step[at % CURVE], loss[i] = l->loss[at % CURVE],
        reward[i] = l->reward[at % CURVE];
    pthread_mutex_unlock(&l->lock);
    return n;
}

int64_t live_records(live *l, int64_t most, live_record *out) {
    uint64_t durable = journal_durable(l->j), n = 0;
    pthread_mutex_lock(&l->lock);
    uint64_t from = l->records > l->before + RECORDS ? l->records - RECORDS : l->before;
    uint64_t last = l->records;
    while (last > from && l->record[last % RECORDS].place > durable) last--;
    if (last > from + (uint64_t)most) from = last - (uint64_t)most;
    for (; from < last; n++) out[n] = l->record[++from % RECORDS];
    pthread_mutex_unlock(&l->lock);
    return (int64_t)n;
}
