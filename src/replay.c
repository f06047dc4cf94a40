// replay.c - the first record, the comparison, and going on.
#include "replay.h"
#include "bench.h"
#include "token.h"
#include <jansson.h>
#include <sodium.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// ---- the first record

// What practice has as defaults where learning a text has others.
static void settle_practice(train_options *t, const model *m, qgre_options *q) {
    int dense = t->what && !strcmp(t->what, "all");
    if (!t->what && m->layer[0].w[0].kind == KIND_F32) dense = 1;
    if (!t->steps) t->steps = 300;
    if (!t->batch) t->batch = 8 * q->group;
    if (!t->micro) t->micro = t->batch < 16 ? t->batch : 16;
    if (!t->ctx) t->ctx = m->c.context < 160 ? (long)m->c.context : 160;
    if (t->rate == 0) t->rate = dense ? 6e-4 : 1e-2;
    if (t->decay < 0) t->decay = 0;
    long most = lane_together(m, t->ctx + 1, t->batch);
    if (!q->slots || q->slots > t->batch) q->slots = q->slots ? t->batch : most;
}

// The task's state, and the model as it began.
static int open_practice(replay_open *r, char err[ERR]) {
    const train_options *t = &r->run.engine.train;
    const qgre_options *q = &r->run.engine.practice;
    r->task = (qgre){.o = *q, .seed = t->seed, .t = r->t};
    if (t->batch % q->group)
        return fail(err, "--batch %ld: expected a multiple of --group %ld", t->batch, q->group);
    if (q->kl == 0) return 0;
    if (model_open(&r->began, r->run.dir, err)) return -1;
    r->began.c.kv_bf16 = r->m.c.kv_bf16;
    return 0;
}

// Model, text, and options that were not given.
static int open_all(replay_open *r, const backend *by, char err[ERR]) {
    engine_options *o = &r->run.engine;
    train_options *t = &o->train;
    json_t *said[2] = {json_string(r->run.dir),
                       r->run.text ? json_string(r->run.text) : json_null()};
    if (!said[0] || !said[1]) fail(err, "model and text: expected names in UTF-8");
    tokenizer *tk = said[0] && said[1] ? token_open(r->run.dir, err) : NULL;
    json_decref(said[0]), json_decref(said[1]);
    if (!tk) return -1;
    int32_t count = token_count(tk);
    r->t = tk;
    if (model_open(&r->m, r->run.dir, err)) return -1;
    r->m.c.kv_bf16 = r->run.kv_bf16;
    o->known = count < r->m.c.vocab ? count : r->m.c.vocab;
    if (o->context > r->m.c.context) o->context = r->m.c.context;
    int64_t keys = o->context < KEYS ? o->context : KEYS;
    long most = o->slots * (long)((o->context + keys - 1) / keys); // more would stay empty
    if (!o->pages || o->pages > most) o->pages = most;
    t->dir = r->run.dir, t->by = by;
    o->samples_only = !r->run.text;
    int bad = r->run.text && train_read(&r->text, r->run.dir, r->run.text, r->m.c.vocab, err);
    if (o->practice.task) settle_practice(t, &r->m, &o->practice);
    if (!bad && (r->run.text || o->feedback || o->practice.task)) bad = train_settle(t, &r->m, err);
    if (!r->run.text && !o->feedback && !o->practice.task) t->steps = 0;
    if (!bad && o->practice.task) bad = open_practice(r, err);
    if (!bad && r->run.text && r->text.n <= t->ctx)
        bad = fail(err, "%.300s: %ld tokens: expected more than --ctx %ld", r->run.text,
                   (long)r->text.n, t->ctx);
    if (!bad && r->run.out)
        bad = convert_folder(r->run.dir, r->run.out, err); // before all the work
    r->learn = (engine_learning){&r->text, o->practice.task ? &r->task : NULL,
                                 r->began.layer ? &r->began : NULL};
    return bad;
}

static engine *open_engine(replay_open *r, const backend *by, const engine_owner *owner) {
    return engine_open(&r->m, by, &r->run.engine, &r->learn, owner);
}

// The journal's date; https://reproducible-builds.org/specs/source-date-epoch/ sets another, so that a
// run can be made again with the same journal, up to the record that says when it ended. -1: it is none.
static long long date(char err[ERR]) {
    const char *set = getenv("SOURCE_DATE_EPOCH");
    if (!set) return (long long)time(NULL);
    size_t n = strspn(set, "0123456789");
    if (n && n < 16 && !set[n]) return strtoll(set, NULL, 10);
    return fail(err, "SOURCE_DATE_EPOCH=%.100s: expected whole seconds since 1970", set);
}

// What is learned and how; null: nothing is.
static json_t *learning(const replay_open *r) {
    const train_options *t = &r->run.engine.train;
    const qgre_options *q = &r->run.engine.practice;
    char sha[65];
    json_t *learn = json_null(), *practice = json_null();
    train_hash(&r->text, sha);
    if (t->steps)
        learn = json_pack("{s:s?, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}", "text",
                          r->run.text, "sha256", sha, "what", t->what, "steps", t->steps, "warmup",
                          t->warmup, "batch", t->batch, "micro", t->micro, "ctx", t->ctx, "seed",
                          (long)t->seed, "lr", t->rate, "clip", t->clip, "decay", t->decay);
    if (q->task)
        practice = json_pack("{s:s, s:s, s:I, s:f, s:f, s:I}", "name", q->task->name, "method",
                             qgre_name(q->method), "group", q->group, "kl", q->kl, "review",
                             q->review, "slots", q->slots);
    if (t->steps) json_object_set_new(learn, "task", practice);
    return learn;
}

static char *first_record(const replay_open *r, const char *backend_name, long long when) {
    const engine_options *o = &r->run.engine;
    char sha[65], config[65];
    train_digest(&r->m, sha);
    model_config_digest(&r->m.c, config);
    json_t *all = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:o, s:s, s:I}",
        "format", "assay-journal 1", "model", r->run.dir, "sha256", sha, "config", config, "known",
        o->known, "slots", o->slots, "context", o->context, "pages", o->pages, "slice", o->slice,
        "share", o->share, "floor", o->floor, "snapshot", o->snapshot, "feedback", o->feedback,
        "cache", r->run.kv_bf16 ? "bf16" : "f32", "learn", learning(r), "backend", backend_name,
        "time", when);
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    must(text != NULL);
    return text;
}

char *replay_begin(replay_open *r, const replay_run *run, const backend *by,
                   const engine_owner *owner, char err[ERR]) {
    *r = (replay_open){.run = *run};
    long long when = date(err);
    if (when < 0 || open_all(r, by, err)) {
        replay_close(r);
        return NULL;
    }
    char *first = first_record(r, by->name, when);
    r->e = open_engine(r, by, owner);
    if (!engine_wake(r->e, 1, err)) return first;
    replay_close(r);
    free(first);
    return NULL;
}

void replay_close(replay_open *r) {
    if (r->e) engine_close(r->e);
    if (r->what) json_decref(r->what);
    free(r->text.id);
    if (r->m.layer) model_close(&r->m);
    if (r->began.layer) model_close(&r->began);
    if (r->t) token_close(r->t);
}

// What is practised. -1: no such thing.
static int read_task(json_t *learn, qgre_options *q) {
    const char *name = "", *method = "";
    json_int_t group = 0, slots = 0;
    if (json_unpack(learn, "{s:{s:s, s:s, s:I, s:F, s:F, s?I}}", "task", "name", &name, "method",
                    &method, "group", &group, "kl", &q->kl, "review", &q->review, "slots", &slots))
        return -1;
    int m = qgre_named(method);
    q->task = task_named(name), q->method = m < 0 ? QGRE_GATED : (qgre_method)m;
    q->group = group >= 1 && group <= GROUP ? group : 1;
    q->slots = slots >= 0 && slots <= SLOTS ? slots : 0;
    return !q->task || m < 0 || q->group != group || q->slots != slots ||
           !(q->kl >= 0 && q->kl <= 10) || !(q->review >= 0 && q->review <= 1);
}

// The record's numbers back into r->run; -1: it is not such a record.
static int read_first(replay_open *r, const journal_record *rec, char sha[3][65], char err[ERR]) {
    engine_options *o = &r->run.engine;
    train_options *t = &o->train;
    const char *format = "", *dir = "", *hash = "", *config = "", *cache = "", *ids = "";
    json_int_t n[9] = {0}, l[6] = {0}, seed = 0;
    json_t *learn = NULL, *text;
    r->what = json_loadb((const char *)rec->data, rec->size, 0, NULL);
    int bad =
        rec->kind != J_OPEN ||
        json_unpack(r->what,
                    "{s:s, s:s, s:s, s?s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:o}",
                    "format", &format, "model", &dir, "sha256", &hash, "config", &config, "known",
                    &n[0], "slots", &n[1], "context", &n[2], "pages", &n[3], "slice", &n[4],
                    "share", &n[5], "floor", &n[6], "snapshot", &n[7], "feedback", &o->feedback,
                    "cache", &cache, "learn", &learn);
    if (!bad && json_is_object(learn))
        bad = json_unpack(learn, "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:F, s:F, s:F}",
                          "sha256", &ids, "what", &t->what, "steps", &l[0], "warmup", &l[1],
                          "batch", &l[2], "micro", &l[3], "ctx", &l[4], "seed", &seed, "lr",
                          &t->rate, "clip", &t->clip, "decay", &t->decay);
    if (bad || strcmp(format, "assay-journal 1") || strlen(hash) != 64)
        return fail(err, "expected the options of an assay-journal 1");
    if (!*config) return fail(err, "no \"config\": begun by an earlier program");
    for (int i = 0; i < 8; i++) bad |= n[i] < 0 || n[i] > 1 << 28;
    bad |= n[1] < 1 || n[1] > SLOTS || n[2] < 2 || n[2] > 1 << 20 || n[3] < 1 || n[4] < 1 ||
           n[4] > 4096 || n[5] > 99 || n[6] > 4096 || n[7] < 1 ||
           (o->feedback && !json_is_object(learn));
    text = json_object_get(learn, "text");
    if (json_is_object(json_object_get(learn, "task"))) bad |= read_task(learn, &o->practice);
    if (json_is_object(learn))
        bad |=
            !(json_is_string(text) || (json_is_null(text) && (o->feedback || o->practice.task))) ||
            l[0] < 1 || l[0] > 1 << 24 || l[1] < 0 || l[1] > l[0] || l[2] < 1 || l[2] > 4096 ||
            l[3] < 1 || l[3] > l[2] || l[4] < 1 || l[4] > 1 << 20 || !train_learn(t->what) ||
            !(t->rate > 0 && t->rate <= 1) || !(t->clip >= 0 && t->clip <= 1e9) ||
            !(t->decay >= 0 && t->decay <= 1);
    if (bad) return fail(err, "an option is out of range");
    o->known = n[0], o->slots = n[1], o->context = n[2], o->pages = n[3], o->slice = n[4];
    o->share = n[5], o->floor = n[6], o->snapshot = n[7];
    t->steps = l[0], t->warmup = l[1], t->batch = l[2], t->micro = l[3], t->ctx = l[4];
    t->seed = (uint32_t)seed;
    r->run.kv_bf16 = !strcmp(cache, "bf16");
    r->run.dir = dir, r->run.text = json_string_value(text);
    snprintf(sha[0], 65, "%s", hash);
    snprintf(sha[1], 65, "%s", ids);
    snprintf(sha[2], 65, "%s", config);
    return 0;
}

// Practice goes on as it began.
static int same_practice(const replay_open *r, const engine_options *asked, char err[ERR]) {
    replay_open now = *r;
    char why[ERR];
    now.run.engine.train = asked->train, now.run.engine.practice = asked->practice;
    now.run.engine.train.dir = r->run.dir;
    settle_practice(&now.run.engine.train, &now.m, &now.run.engine.practice);
    if (train_settle(&now.run.engine.train, &now.m, err)) return -1;
    json_t *ours = learning(&now);
    int bad = train_same(json_object_get(r->what, "learn"), ours, why);
    json_decref(ours);
    return bad ? fail(err, "begun %.400s", why) : 0;
}

// The engine that the first record describes, told; by what lies in dir and text where these are
// given.
static int open_again(replay_open *r, const journal_record *rec, const replay_options *o,
                      const engine_owner *owner, char err[ERR]) {
    char sha[3][65], now[65];
    struct stat st;
    if (read_first(r, rec, sha, err)) return -1;
    int64_t known = r->run.engine.known;
    long context = r->run.engine.context;
    if (o->dir) r->run.dir = o->dir;
    if (o->text && !r->run.text)
        return fail(err, "--learn %.200s: the journal has learned no text", o->text);
    if (o->text) r->run.text = o->text;
    r->run.out = o->out;
    if (r->run.text && (stat(r->run.text, &st) || !S_ISREG(st.st_mode))) // a stranger named it
        return fail(err, "%.300s: expected the file that was learned (--learn FILE)", r->run.text);
    if (open_all(r, o->by, err)) return -1;
    if (o->asked && same_practice(r, o->asked, err)) return -1;
    train_digest(&r->m, now);
    if (strcmp(now, sha[0]) || r->run.engine.known != known)
        return fail(err, "%.300s: weights %.16s..: the journal began with %.16s.. (--model DIR)",
                    r->run.dir, now, sha[0]);
    model_config_digest(&r->m.c, now);
    if (strcmp(now, sha[2]) || r->run.engine.context != context)
        return fail(err, "%.300s/config.json: other numbers than the journal began with",
                    r->run.dir);
    train_hash(&r->text, now);
    if (r->run.engine.train.steps && r->run.text && strcmp(now, sha[1]))
        return fail(err, "%.300s: another text: the journal's has SHA-256 %.16s.. of its ids",
                    r->run.text, sha[1]);
    r->e = open_engine(r, o->by, owner);
    return 0;
}

// ---- the comparison

typedef struct {
    const replay_options *o;
    replay_result *result;
    replay_open *open;
    const journal_record *next; // what the engine must make now; NULL: nothing
    const char *from;           // the name of the snapshot that is waited for; NULL: none
    uint8_t chain[32];          // before the record
    engine_owner owner;
    int serve;  // tokens are computed too
    int spoilt; // the snapshot is not what the journal says
} run;

// A difference is named by the record, the turn and what stands on both sides.
static int differs(const run *r, journal_kind kind, const void *data, uint32_t size,
                   char err[ERR]) {
    const journal_record mine = {.kind = kind, .size = size, .data = data};
    char a[96] = "", b[96], at[40] = "";
    uint32_t i = 0;
    if (r->next) journal_describe(r->next, a);
    journal_describe(&mine, b);
    while (r->next && i < size && i < r->next->size && r->next->data[i] == mine.data[i]) i++;
    if (r->next && r->next->kind == kind) snprintf(at, sizeof at, " (from byte %u on)", i);
    return fail(err, "turn %llu: the journal has %s %.95s; made again: %s %.95s%s",
                (unsigned long long)engine_now(r->open->e).turn,
                r->next ? journal_kind_name[r->next->kind] : "nothing", a, journal_kind_name[kind],
                b, at);
}

static int compare(void *ctx, journal_kind kind, const void *data, uint32_t size, char err[ERR]) {
    run *r = ctx;
    if (!r->next || r->next->kind != kind || r->next->size != size ||
        memcmp(r->next->data, data, size))
        return differs(r, kind, data, size, err);
    r->next = NULL;
    return 0;
}

static const journal_record *tell(void *ctx, journal_kind kind, char err[ERR]) {
    run *r = ctx;
    if (r->next && r->next->kind == kind) return r->next;
    fail(err, "turn %llu: the journal has %s where %s must come",
         (unsigned long long)engine_now(r->open->e).turn,
         r->next ? journal_kind_name[r->next->kind] : "nothing", journal_kind_name[kind]);
    return NULL;
}

static void count_token(void *ctx, const sequence *s, const float *logits, int64_t vocab) {
    run *r = ctx;
    (void)logits, (void)vocab;
    *(s->told ? &r->result->told : &r->result->tokens) += 1;
}

static int turns_until(run *r, uint64_t turn, char err[ERR]) {
    int did = 1;
    while (engine_now(r->open->e).turn < turn && (did = engine_turn(r->open->e, err)) > 0) {}
    if (did == 0)
        return fail(err, "turn %llu: nothing to do before turn %llu, where the journal goes on",
                    (unsigned long long)engine_now(r->open->e).turn, (unsigned long long)turn);
    return did < 0 ? -1 : 0;
}

// What a snapshot's file holds, into the engine; it must be the one that the record is about.
static int load_snapshot(run *r, const journal_record *rec, char err[ERR]) {
    char path[4096], chain[65];
    uint8_t hash[32];
    tensor_set s;
    snprintf(path, sizeof path, "%s.%s", r->o->path, r->from);
    if (tensor_open(&s, path, err)) return -1;
    const char *format = tensor_meta(&s, "format"), *tied = tensor_meta(&s, "chain");
    sodium_bin2hex(chain, sizeof chain, r->chain, sizeof r->chain);
    convert_plan p = engine_plan(r->open->e);
    int bad = 0;
    if (!format || strcmp(format, "assay-state 1") || !tied || strcmp(tied, chain))
        bad = fail(err, "%.300s: expected the snapshot that this journal made here", path);
    bad = bad || convert_fill(&p, &s, path, err);
    convert_plan_free(&p);
    tensor_close(&s);
    engine_digest(r->open->e, 1, hash);
    if (!bad && memcmp(hash, rec->data + 16, sizeof hash))
        bad = fail(err, "%.300s: its values are not those that the journal names", path);
    return bad ? -1 : 0;
}

// The number behind "turn" of a record of JSON.
static int json_turn(const journal_record *rec, uint64_t *turn, char sha[65], char err[ERR]) {
    json_t *all = json_loadb((const char *)rec->data, rec->size, 0, NULL);
    json_int_t n = -1;
    const char *hex = "";
    int bad = json_unpack(all, "{s:I, s?s}", "turn", &n, "model", &hex) || n < 0;
    *turn = (uint64_t)n;
    snprintf(sha, 65, "%s", hex);
    json_decref(all);
    return bad ? fail(err, "expected a turn") : 0;
}

static int replay_input(run *r, const journal_record *rec, char err[ERR]) {
    uint64_t turn = 0;
    char sha[65] = "", now[65];
    int text = rec->kind == J_RESUME || rec->kind == J_STOP;
    if (rec->kind == J_OPEN) return fail(err, "a journal begins once");
    if (text ? json_turn(rec, &turn, sha, err) : 0) return -1;
    if (!text) memcpy(&turn, rec->data, 8);
    if (turn < engine_now(r->open->e).turn)
        return fail(err, "turn %llu: turn %llu has passed", (unsigned long long)turn,
                    (unsigned long long)engine_now(r->open->e).turn - 1);
    if (turns_until(r, turn, err)) return -1;
    if (rec->kind != J_STOP) return engine_input(r->open->e, rec, err);
    if (r->from) return 0; // learning is only told here
    train_digest(&r->open->m, now);
    return strcmp(sha, now) ? fail(err, "weights %s: the journal has %s", now, sha) : 0;
}

// The engine makes the record, in its turn.
static int replay_output(run *r, const journal_record *rec, char err[ERR]) {
    uint64_t turn;
    memcpy(&turn, rec->data, 8);
    if (turns_until(r, turn, err)) return -1;
    r->next = rec;
    int did = engine_turn(r->open->e, err);
    if (did < 0) return -1;
    if (r->next)
        return fail(err, "turn %llu: the journal has %s here, and nothing was made",
                    (unsigned long long)turn, journal_kind_name[rec->kind]);
    if (rec->kind == J_UPDATE && !r->from) r->result->updates++;
    if (rec->kind != J_SNAPSHOT || !r->from || strlen(r->from) != rec->size - J_SNAPSHOT_HEAD ||
        memcmp(r->from, rec->data + J_SNAPSHOT_HEAD, rec->size - J_SNAPSHOT_HEAD))
        return 0;
    r->spoilt = load_snapshot(r, rec, err);
    r->from = NULL;
    return r->spoilt ? -1 : engine_wake(r->open->e, r->serve, err);
}

static int take_record(void *ctx, const journal_record *rec, char err[ERR]) {
    run *r = ctx;
    char why[ERR];
    int bad = 0;
    if (rec->number == 1) {
        bad = open_again(r->open, rec, r->o, &r->owner, why);
        if (!bad && !r->from) bad = engine_wake(r->open->e, r->serve, why);
    } else if (rec->kind == J_TOKENS || rec->kind == J_ROLLOUT || rec->kind == J_REWARD ||
               rec->kind == J_UPDATE || rec->kind == J_SNAPSHOT) {
        bad = replay_output(r, rec, why);
    } else if (rec->kind != J_SIGNATURE) {
        bad = replay_input(r, rec, why);
    }
    memcpy(r->chain, rec->chain, sizeof r->chain);
    r->result->records = r->open->records = rec->number;
    return bad ? fail(err, "%.200s: record %llu: %.280s", r->o->path,
                      (unsigned long long)rec->number, why)
               : 0;
}

int replay(const replay_options *o, replay_result *result, char err[ERR]) {
    replay_open open = {0};
    run r = {.o = o, .result = result, .open = &open, .serve = 1};
    *result = (replay_result){0};
    r.owner = (engine_owner){&r, compare, tell, count_token};
    r.from = o->from;
    double begun = bench_now();
    int bad = journal_read(o->path, take_record, &r, NULL, err);
    if (!bad && !open.e) bad = fail(err, "%.300s: no record", o->path);
    if (!bad && r.from) bad = fail(err, "%.300s: names no snapshot %.100s", o->path, r.from);
    if (!bad) {
        result->seconds = bench_now() - begun;
        result->version = engine_now(open.e).version;
        train_digest(&open.m, result->digest);
        bad = o->out && convert_save(&open.m, open.run.dir, o->out, err);
    }
    replay_close(&open);
    return bad ? -1 : 0;
}

// ---- going on

typedef struct {
    const char *path;
    char name[2][24]; // of the last snapshots whose files are there, the newest last
} newest;

static int note_snapshot(void *ctx, const journal_record *rec, char err[ERR]) {
    newest *n = ctx;
    char path[4096];
    (void)err;
    if (rec->kind != J_SNAPSHOT || rec->size - J_SNAPSHOT_HEAD >= sizeof *n->name) return 0;
    snprintf(path, sizeof path, "%s.%.*s", n->path, (int)rec->size - J_SNAPSHOT_HEAD,
             rec->data + J_SNAPSHOT_HEAD);
    if (access(path, R_OK)) return 0;
    memcpy(n->name[0], n->name[1], sizeof *n->name);
    snprintf(n->name[1], sizeof *n->name, "%.*s", (int)rec->size - J_SNAPSHOT_HEAD,
             rec->data + J_SNAPSHOT_HEAD);
    return 0;
}

// The journal, opened, and an engine that was told it; learning is computed from the snapshot `from`
// on, NULL: from the start. *spoilt: that snapshot is damaged.
static journal *tell_all(replay_open *open, const replay_options *o, const char *from, live *l,
                         int *spoilt, char err[ERR]) {
    replay_result result = {0};
    run r = {.o = o, .result = &result, .open = open, .from = from};
    char why[ERR];
    *open = (replay_open){0};
    r.owner = (engine_owner){&r, compare, tell, NULL};
    journal *j = journal_open(o->path, take_record, &r, live_wake, l, err);
    *spoilt = r.spoilt;
    if (j && open->e && !r.from) return j;
    if (j && r.from) fail(err, "%.300s: names no snapshot %.100s any more", o->path, r.from);
    if (j && !open->e) fail(err, "%.300s: no record: expected a journal that has begun", o->path);
    if (j) journal_close(j, why);
    replay_close(open);
    return NULL;
}

journal *replay_resume(replay_open *open, const replay_options *o, live *l, char err[ERR]) {
    newest n = {.path = o->path};
    char text[128], why[ERR];
    journal *j = NULL;
    int spoilt = 1;
    if (journal_read(o->path, note_snapshot, &n, NULL, err)) return NULL;
    for (int i = 1; spoilt && i >= -1; i--) {
        const char *from = i >= 0 && *n.name[i] ? n.name[i] : NULL;
        j = tell_all(open, o, from, l, &spoilt, err);
        if (spoilt) fprintf(stderr, "assay: %s; learning is computed again from before\n", err);
    }
    if (!j) return NULL;
    engine_state s = engine_now(open->e);
    int size =
        snprintf(text, sizeof text, "{\"turn\":%llu,\"version\":%llu,\"time\":%lld}",
                 (unsigned long long)s.turn, (unsigned long long)s.version, (long long)time(NULL));
    engine_own(open->e, live_owner(l));
    live_start(l, open->e, &open->run.engine, j, open->records, open->m.c.vocab);
    for (int i = 0; i < 2; i++)
        if (*n.name[i]) live_keep(l, n.name[i]);
    live_note(l, J_RESUME, text, (uint32_t)size);
    journal_record rec = {.kind = J_RESUME, .size = (uint32_t)size, .data = (uint8_t *)text};
    if (!engine_input(open->e, &rec, err) && !engine_wake(open->e, 1, err)) return j;
    journal_close(j, why);
    replay_close(open);
    return NULL;
}
