// train.c - draws batches, steps, keeps checkpoints and reports.
#include "train.h"
#include "bench.h"
#include "num.h"
#include "rng.h"
#include "token.h"
#include <errno.h>
#include <jansson.h>
#include <sodium.h>
#include <unistd.h>

enum { BATCH_MAX = 4096, HELD = 64 }; // samples of a batch; windows of the held-out text at most

// ---- before a run

int train_learn(const char *what) {
    static const char *const name[] = {"r1", "r2", "r1r2", "r1r2+norms", "all"};
    static const int learn[] = {LEARN_R1, LEARN_R2, LEARN_R1 | LEARN_R2,
                                LEARN_R1 | LEARN_R2 | LEARN_NORMS, LEARN_DENSE | LEARN_NORMS};
    for (int i = 0; i < 5; i++)
        if (!strcmp(what, name[i])) return learn[i];
    return 0;
}

int train_read(train_text *t, const char *dir, const char *file, int64_t vocab, char err[ERR]) {
    size_t n;
    tokenizer *tk = token_open(dir, err);
    char *text = tk ? convert_read(file, &n, err) : NULL, why[ERR];
    t->n = text ? token_encode(tk, text, n, 1, &t->id, why) : -1;
    int bad = t->n < 0;
    if (text && bad) fail(err, "%.300s: %.180s", file, why);
    for (int64_t i = 0; i < t->n; i++)
        if (t->id[i] >= vocab)
            bad =
                fail(err, "%.300s: token %d: the model has %lld", file, t->id[i], (long long)vocab);
    free(text);
    if (tk) token_close(tk);
    return bad;
}

// n values near a normal distribution: 23 bits of each word of a block, added.
static void init_values(float *out, int64_t n, uint32_t seed, uint32_t slot, float deviation) {
    // The sum is below 2^25, its mean 2^24 - 2, its variance 4 (2^23)^2 / 12 = (2^23 / sqrt 3)^2.
    float unit = num_mul(num_mul(deviation, 1.7320508f), 0x1p-23f);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        uint32_t w[4];
        rng_words(seed, slot, 0, (uint32_t)i, w, 1);
        int32_t sum = (int32_t)((w[0] >> 9) + (w[1] >> 9) + (w[2] >> 9) + (w[3] >> 9));
        out[i] = num_mul((float)(sum - (1 << 24) + 2), unit); // at most 2^24: exact
    }
}

int train_init(model *m, const char *dir, uint32_t seed, char err[ERR]) {
    model_config c;
    if (model_config_read(&c, dir, err)) return -1;
    model_random(m, &c, KIND_F32, seed); // for its memory: every value is set here
    float residual = num_div(0.02f, num_sqrt((float)(2 * c.layers)));
    for (int i = 0; i < model_slots(&c); i++) {
        model_slot s = model_slot_at(&c, i);
        const tq_matrix *w = model_matrix(m, i);
        if (!s.present) continue;
        float *value = (float *)(uintptr_t)(w ? w->dense : *model_norm(m, i)); // m's own
        int adds = s.layer >= 0 && (w == &m->layer[s.layer].w[W_O] ||
                                    w == &m->layer[s.layer].w[W_DOWN]); // to the residual stream
        if (w) init_values(value, s.rows * s.cols, seed, (uint32_t)i, adds ? residual : 0.02f);
        for (int64_t k = 0; k < s.cols && !w; k++) value[k] = 1;
    }
    return 0;
}

int train_settle(train_options *o, model *m, char err[ERR]) {
    int kinds[3] = {0};
    for (int i = 0; i < model_slots(&m->c); i++)
        if (model_matrix(m, i)) kinds[model_matrix(m, i)->kind]++;
    if (!o->what) o->what = kinds[KIND_TQ4] ? "r1r2" : "all";
    o->learn = train_learn(o->what);
    int all = o->learn & LEARN_DENSE;
    if (!o->steps) o->steps = 500;
    if (o->warmup < 0) o->warmup = o->steps < 1000 ? o->steps / 10 : 100;
    if (!o->every) o->every = o->steps < 10 ? 1 : o->steps / 10;
    if (!o->batch) o->batch = 16;
    if (!o->micro) o->micro = o->batch < 8 ? o->batch : 8;
    if (!o->ctx) o->ctx = m->c.context < 128 ? (long)m->c.context : 128;
    if (o->rate == 0) o->rate = all ? 2e-3 : 1e-3;
    if (o->clip < 0) o->clip = 1;
    if (o->decay < 0) o->decay = all ? 0.1 : 0;
    if (all ? kinds[KIND_I8] + kinds[KIND_TQ4] : !kinds[KIND_TQ4])
        return fail(err, "%.300s: --what %s: expected a %s model", o->dir, o->what,
                    all ? "dense" : "TQ4");
    if (o->ctx > m->c.context)
        return fail(err, "--ctx %ld: the model's context is %ld", o->ctx, (long)m->c.context);
    if (o->micro > o->batch)
        return fail(err, "--micro %ld: expected at most --batch %ld", o->micro, o->batch);
    if (o->warmup > o->steps)
        return fail(err, "--warmup %ld: expected at most --steps %ld", o->warmup, o->steps);
    return 0;
}

void train_digest(const model *m, char hex[65]) {
    unsigned char hash[32];
    crypto_hash_sha256_state s;
    convert_plan p = convert_planned(m, 0);
    crypto_hash_sha256_init(&s);
    for (int i = 0; i < p.n; i++) crypto_hash_sha256_update(&s, p.t[i].data, (size_t)p.t[i].bytes);
    crypto_hash_sha256_final(&s, hash);
    sodium_bin2hex(hex, 65, hash, sizeof hash);
    convert_plan_free(&p);
}

void train_hash(const train_text *t, char hex[65]) {
    unsigned char hash[32];
    crypto_hash_sha256(hash, (const unsigned char *)t->id, (size_t)t->n * 4);
    sodium_bin2hex(hex, 65, hash, sizeof hash);
}

// ---- the run

typedef struct {
    const train_options *o;
    const train_text *text; // [2]
    const model *m;
    grad g;
    optim opt;     // opt.step: steps done
    int32_t *id;   // [2 micro ctx] tokens of a pass, then their targets
    float *weight; // [micro ctx] all 1
    int64_t start[BATCH_MAX + 1], from[BATCH_MAX]; // rows of a pass's samples; where windows begin
    float *curve[2]; // [steps] loss of each batch; of the held-out text at 0, every, .. and steps
    json_t *options; // that decide the bits of the result
    char config[65]; // SHA-256 of the model's numbers, which decide them too
} train;

void train_open(grad *g, optim *opt, model *m, const train_options *o) {
    long samples = o->batch > HELD ? o->batch : HELD;
    grad_open(g, m, o->by->linear, o->by->tile, o->learn, samples, o->micro, o->ctx);
    const optim_config c = {(float)o->rate,  0.3f,           0.9f,      0.95f,   1e-12f,
                            (float)o->decay, (float)o->clip, o->warmup, o->steps};
    optim_open(opt, g, &c);
}

static void run_open(train *t, model *m, const train_options *o, const train_text text[2]) {
    char sha[3][65];
    must(o->batch <= BATCH_MAX);
    long rows = o->micro * o->ctx;
    *t = (train){.o = o, .text = text, .m = m};
    t->id = must_alloc((size_t)rows * 2, sizeof *t->id);
    t->weight = must_alloc((size_t)rows, sizeof *t->weight);
    for (int k = 0; k < 2; k++) t->curve[k] = must_alloc((size_t)o->steps + 2, sizeof(float));
    for (long i = 0; i < rows; i++) t->weight[i] = 1;
    for (long i = 0; i <= o->micro; i++) t->start[i] = i * o->ctx;
    train_open(&t->g, &t->opt, m, o);
    train_digest(m, sha[2]); // before it learns
    model_config_digest(&m->c, t->config);
    for (int k = 0; k < 2; k++) train_hash(&text[k], sha[k]);
    t->options = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f}",
                           "format", "assay-train 1", "what", o->what, "text", sha[0], "held",
                           sha[1], "model", sha[2], "steps", o->steps, "warmup", o->warmup, "every",
                           o->every, "batch", o->batch, "ctx", o->ctx, "seed", (long)o->seed, "lr",
                           o->rate, "clip", o->clip, "decay", o->decay);
}

static void run_close(train *t) {
    backend_detach(t->o->by);
    optim_close(&t->opt);
    grad_close(&t->g);
    free(t->id);
    free(t->weight);
    free(t->curve[0]);
    free(t->curve[1]);
    json_decref(t->options);
}

// Points of a curve when so many steps are done.
static long points(const train *t, int k, long step) {
    if (k == 0) return step;
    if (!t->text[1].n) return 0;
    return 1 + step / t->o->every + (step == t->o->steps && step % t->o->every);
}

// The windows of ctx + 1 ids at t->from, `micro` in a pass: their loss, nats a token, and with
// back their gradients.
static int run_windows(train *t, const train_text *text, long count, int back, float *loss,
                       char err[ERR]) {
    long ctx = t->o->ctx, n;
    int64_t share[2];
    int bad = 0;
    t->g.loss = 0;
    ranks_share(t->o->ranks, count, share);
    for (long done = share[0]; done < share[1] && !bad; done += n) {
        n = share[1] - done < t->o->micro ? share[1] - done : t->o->micro;
        int32_t *target = t->id + n * ctx;
        for (long i = 0; i < n; i++) {
            const int32_t *id = text->id + t->from[done + i];
            memcpy(t->id + i * ctx, id, (size_t)ctx * sizeof *id);
            memcpy(target + i * ctx, id + 1, (size_t)ctx * sizeof *id);
        }
        grad_batch b = {n, t->start, t->id, target, t->weight, NULL};
        bad = back ? grad_pass(&t->g, &b, err) : grad_forward(&t->g, &b, err);
    }
    if (ranks_agree(t->o->ranks, bad, err)) return -1;
    ranks_sum_i64(t->o->ranks, &t->g.loss, 1);
    for (int i = 0; i < t->g.parts && back; i++)
        ranks_sum_i64(t->o->ranks, t->g.part[i].sum, t->g.part[i].n);
    *loss = num_div(num_mul((float)t->g.loss, GRAD_UNIT), (float)(count * ctx));
    return 0;
}

// Windows of the held-out text that lie evenly, always the same.
static int run_held(train *t, float *loss, char err[ERR]) {
    long n = (long)t->text[1].n - t->o->ctx, count = (n + t->o->ctx - 1) / t->o->ctx;
    if (count > HELD) count = HELD;
    for (long i = 0; i < count; i++) t->from[i] = i * n / count;
    return run_windows(t, &t->text[1], count, 0, loss, err);
}

int64_t train_window(uint32_t seed, int64_t step, long b, int64_t places) {
    const uint32_t key[2] = {seed, 0x74726169}; // "trai": no slot of train_init()
    const uint32_t ctr[4] = {(uint32_t)b, 0, (uint32_t)step, 0};
    return (int64_t)(rng_philox(key, ctr).v[0] * (uint64_t)places >> 32); // below 2^31: it fits
}

static int run_step(train *t, char err[ERR]) {
    for (long b = 0; b < t->o->batch; b++)
        t->from[b] = train_window(t->o->seed, t->opt.step, b, t->text[0].n - t->o->ctx);
    if (run_windows(t, t->text, t->o->batch, 1, &t->curve[0][t->opt.step], err)) return -1;
    optim_step(&t->opt, &t->g, (float)(t->o->batch * t->o->ctx));
    return 0;
}

// ---- checkpoints

static void add_state(convert_plan *p, const char *base, const char *part, tensor_type type, long n,
                      const void *data) {
    snprintf(p->name[p->n], sizeof *p->name, "%s%s", base, part);
    p->t[p->n] = (tensor){.name = p->name[p->n], .type = type, .dims = 1, .dim = {n}, .data = data};
    p->t[p->n++].bytes = n * tensor_type_size(type);
}

convert_plan train_plan(const model *m, const optim *opt) {
    size_t most = 2 + 4 * (size_t)opt->parts; // with the curves of a run
    convert_plan p = {must_alloc(most, sizeof *p.t), 0, 0, must_alloc(most, sizeof *p.name)};
    for (int i = 0; i < opt->parts; i++) {
        const optim_part *q = &opt->part[i];
        const grad_part *v = q->p;
        char base[150];
        snprintf(base, sizeof base, "%s%s", model_slot_at(&m->c, v->slot).name,
                 v->what == LEARN_R1   ? ".scale"
                 : v->what == LEARN_R2 ? ".codebook"
                                       : "");
        add_state(&p, base, "", v->scale ? T_I8 : T_F32, v->n,
                  v->scale ? (const void *)v->scale : v->value);
        if (q->frac) add_state(&p, base, ".frac", T_U8, 2 * v->n, q->frac); // int16, low byte first
        add_state(&p, base, ".m", T_BF16, v->n, q->m);
        add_state(&p, base, ".v", T_F32, v->n, q->v);
    }
    return p;
}

// All that a run is after opt.step steps.
static convert_plan plan_state(const train *t) {
    convert_plan p = train_plan(t->m, &t->opt);
    add_state(&p, "loss", "", T_F32, t->opt.step, t->curve[0]);
    add_state(&p, "held", "", T_F32, points(t, 1, t->opt.step), t->curve[1]);
    return p;
}

static int save_state(const train *t, const char *path, char err[ERR]) {
    char step[24], *options = json_dumps(t->options, JSON_COMPACT);
    const char *const meta[][2] = {{"step", step}, {"options", options}, {"config", t->config}};
    convert_plan p = plan_state(t);
    snprintf(step, sizeof step, "%ld", (long)t->opt.step);
    int bad = convert_file(path, p.t, p.n, meta, 3, err);
    convert_plan_free(&p);
    free(options);
    return bad;
}

int train_same(const json_t *theirs, json_t *ours, char err[ERR]) {
    const char *key;
    json_t *value;
    json_object_foreach(ours, key, value) {
        json_t *was = json_object_get(theirs, key);
        if (json_is_object(value) && json_is_object(was)) {
            if (train_same(was, value, err)) return -1;
        } else if (strcmp(key, "micro") && strcmp(key, "slots") && !json_equal(was, value)) {
            char *said = was ? json_dumps(was, JSON_ENCODE_ANY) : NULL;
            fail(err, "with %s %.80s: expected the same", key, said ? said : "unknown");
            free(said);
            return -1;
        }
    }
    return 0;
}

static int load_state(train *t, const char *path, char err[ERR]) {
    tensor_set s;
    char why[ERR];
    if (tensor_open(&s, path, err)) return -1;
    const char *step = tensor_meta(&s, "step"), *config = tensor_meta(&s, "config");
    const char *options = tensor_meta(&s, "options");
    long at = step ? strtol(step, NULL, 10) : 0;
    json_t *theirs = json_loads(options ? options : "", 0, NULL);
    int bad = train_same(theirs, t->options, why);
    if (bad) fail(err, "%.300s: made %.180s", path, why);
    json_decref(theirs);
    if (!bad && (!config || strcmp(config, t->config)))
        bad = fail(err, "%.300s: made %s: expected the same", path,
                   config ? "with other numbers in config.json" : "by an earlier program");
    if (!bad && (at < 1 || at > t->o->steps))
        bad = fail(err, "%.300s: step %ld: expected 1 to %ld", path, at, t->o->steps);
    t->opt.step = bad ? 0 : at;
    convert_plan p = plan_state(t);
    bad = bad || convert_fill(&p, &s, path, err);
    convert_plan_free(&p);
    tensor_close(&s);
    return bad;
}

// Rank 0 reads the state, if there is one, and hands it on.
static int share_state(train *t, const char *path, char err[ERR]) {
    ranks *all = t->o->ranks;
    int there = t->o->resume && ranks_first(all) && (!access(path, F_OK) || errno != ENOENT);
    int bad = there && load_state(t, path, err);
    if (ranks_agree(all, bad, err)) return -1;
    ranks_copy(all, &t->opt.step, sizeof t->opt.step);
    convert_plan p = plan_state(t);
    for (int i = 0; i < p.n && t->opt.step; i++)
        ranks_copy(all, (void *)(uintptr_t)p.t[i].data, p.t[i].bytes);
    convert_plan_free(&p);
    return 0;
}

// Every rank is at the same run.
static int same_run(const train *t, char err[ERR]) {
    json_t *all = json_copy(t->options), *value;
    const char *key;
    int bad = 0;
    json_object_set_new(all, "stop", json_integer(t->o->stop));
    json_object_set_new(all, "config", json_string(t->config));
    json_object_foreach(all, key, value) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        bad = bad || ranks_same(t->o->ranks, key, text, err);
        free(text);
    }
    json_decref(all);
    return bad;
}

// All ranks must have come to the same weights; rank 0 writes the state.
static int checkpoint(const train *t, const char *path, char err[ERR]) {
    char what[48], sha[65] = "";
    ranks *all = t->o->ranks;
    snprintf(what, sizeof what, "weights after step %ld:", (long)t->opt.step);
    if (!ranks_alone(all)) train_digest(t->m, sha);
    if (ranks_same(all, what, sha, err)) return -1;
    return backend_fetch(t->o->by, err) || (ranks_first(all) && save_state(t, path, err));
}

// ---- reports

static int save_json(const train *t, const char *digest, char err[ERR]) {
    char path[4096];
    json_t *curve[2] = {json_array(), json_array()};
    for (int k = 0; k < 2; k++)
        for (long i = 0; i < points(t, k, (long)t->opt.step); i++)
            json_array_append_new(curve[k], json_real((double)t->curve[k][i]));
    json_t *all = json_pack("{s:O, s:s, s:o, s:o}", "options", t->options, "sha256", digest,
                            "held_out", curve[1], "loss", curve[0]);
    snprintf(path, sizeof path, "%s/train.json", t->o->out);
    FILE *f = convert_create(path);
    if (f) json_dumpf(all, f, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    json_decref(all);
    return convert_commit(f, path, err);
}

// Both curves over the steps, in a plot of 680 x 300.
static int save_svg(const train *t, char err[ERR]) {
    char path[4096];
    long steps = t->o->steps, done = (long)t->opt.step;
    float least = t->curve[0][0], most = least;
    for (int k = 0; k < 2; k++)
        for (long i = 0; i < points(t, k, done); i++) {
            least = t->curve[k][i] < least ? t->curve[k][i] : least;
            most = t->curve[k][i] > most ? t->curve[k][i] : most;
        }
    double low = (double)(long)least, high = (double)(long)most + 1;
    snprintf(path, sizeof path, "%s/train.svg", t->o->out);
    FILE *f = convert_create(path);
    if (!f) return convert_commit(f, path, err);
    fprintf(f, "<svg xmlns='http://www.w3.org/2000/svg' width='760' height='380' "
               "font-family='sans-serif' font-size='13'>\n<text x='60' y='20'>Loss, nats a token, "
               "over steps: batches (blue), held-out text (red)</text>\n");
    for (int i = 0; i <= 4; i++)
        fprintf(f,
                "<path d='M60 %dh680' stroke='#ccc'/><text x='10' y='%d'>%.2f</text>"
                "<text x='%d' y='362' text-anchor='middle'>%ld</text>\n",
                340 - 75 * i, 344 - 75 * i, low + (high - low) * i / 4, 60 + 170 * i,
                steps * i / 4);
    for (int k = 0; k < 2; k++) {
        fprintf(f, "<path fill='none' stroke='%s' d='", k ? "#c33" : "#9bd");
        for (long i = 0; i < points(t, k, done); i++) {
            long at = k == 0 ? i + 1 : i * t->o->every < steps ? i * t->o->every : steps;
            fprintf(f, "%c%.1f %.1f", i ? 'L' : 'M', 60 + 680 * (double)at / (double)steps,
                    340 - 300 * ((double)t->curve[k][i] - low) / (high - low));
        }
        fprintf(f, "'/>\n");
    }
    fprintf(f, "</svg>\n");
    return convert_commit(f, path, err);
}

// ---- from the first step to the last

static int run_steps(train *t, const char *path, void (*say)(const train_progress *),
                     char err[ERR]) {
    const train_options *o = t->o;
    double begun = bench_now();
    char why[ERR];
    for (long first = (long)t->opt.step, step = first;; step++) {
        double took = bench_now() - begun, done = (double)(step - first);
        train_progress p = {step, o->steps, 0, 0, t->opt.norm, -1, 0, 0};
        if (step > first)
            p.loss = t->curve[0][step - 1], p.rate = optim_rate(&t->opt.c, step),
            p.speed = done * (double)(o->batch * o->ctx) / took,
            p.left = took / done * (double)(o->steps - step);
        if ((step % o->every == 0 || step == o->steps) && (step > first || step == 0)) {
            if (t->text[1].n) {
                if (run_held(t, &p.held, err)) return -1;
                t->curve[1][points(t, 1, step) - 1] = p.held;
            }
            if (step > 0 && checkpoint(t, path, err)) return -1;
        }
        if (ranks_first(o->ranks) && (step > first || p.held >= 0)) say(&p);
        if (step == o->steps || (o->stop && step == o->stop)) return 0;
        if (run_step(t, why)) return fail(err, "step %ld: %s", step + 1, why);
    }
}

int train_run(model *m, const train_options *o, const train_text text[2],
              void (*say)(const train_progress *), train_result *r, char err[ERR]) {
    train t;
    char path[4096];
    for (int k = 0; k < 2; k++)
        if (text[k].n <= o->ctx && (k == 0 || text[k].id))
            return fail(err, "%s: %ld tokens: expected more than --ctx %ld",
                        k ? "--held" : "--text", (long)text[k].n, o->ctx);
    if (!ranks_alone(o->ranks) && o->by->device)
        return fail(err, "--backend %s: expected one rank: many are not built", o->by->name);
    int bad = ranks_first(o->ranks) && convert_folder(o->dir, o->out, err);
    if (ranks_agree(o->ranks, bad, err)) return -1;
    snprintf(path, sizeof path, "%s/state.safetensors", o->out);
    run_open(&t, m, o, text);
    bad = same_run(&t, err) || share_state(&t, path, err) ||
          backend_learn(o->by, &t.g, &t.opt, err) || run_steps(&t, path, say, err) ||
          backend_fetch(o->by, err);
    if (!bad) {
        int k = text[1].n > 0;
        train_digest(m, r->digest);
        r->first = t.curve[k][0], r->last = t.curve[k][points(&t, k, (long)t.opt.step) - 1];
        bad = ranks_first(o->ranks) && (convert_save(m, o->dir, o->out, err) ||
                                        save_json(&t, r->digest, err) || save_svg(&t, err));
    }
    run_close(&t);
    return bad ? -1 : 0;
}
