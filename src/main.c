// main.c - the commands of the program: what a user types, and nothing else.
//
// Exit codes: 0 done, 1 bad input or a failed check (one line on stderr), 2 wrong usage.
#include "bench.h"
#include "eval.h"
#include "journal.h"
#include "ladder.h"
#include "num.h"
#include "practice.h"
#include "replay.h"
#include "sample.h"
#include "serve.h"
#include "simd.h"
#include "token.h"
#include "train.h"
#include "verify.h"
#include <errno.h>
#include <omp.h>
#include <signal.h>
#include <unistd.h>

// Every option of every command; a command names those that it takes.
typedef struct {
    const char *args[2]; // what is no option
    const char **given;  // the names of the options as they came, then NULL
    const char *prompt, *tokens, *rung, *calib, *text, *json, *svg, *backend, *shape, *vectors;
    const char *held, *key;
    long n, top_k, seed, jobs, context, init, distil;
    double temperature, top_p;
    int decode, chat, learn, serve, lines, cut, keygen;
    const char *dir, *from, *kv, *host;
    const char *task, *method;
    const char *token, *sign; // files with a bearer token, a secret key
    long port, grace;
    live_options live;
    engine_options engine;
    train_options train;
    eval_options eval;
    backend by;   // what --backend names, opened
    ranks *ranks; // of train
} options;

typedef struct {
    const char *name, *usage, *about;
    int args; // how many it needs
    int (*run)(const options *o, char err[ERR]);
    int device; // --backend may name one
} command;

#ifdef ASSAY_GPU // the name of the device that this program is built for
#include "gpu.h"
#else
#define ASSAY_GPU "gpu"
static int gpu_open(backend *b, char err[ERR]) {
    (void)b;
    return fail(err, "--backend gpu: built without CUDA (make gpu-build)");
}
#endif

// Whether a word stands in a command's usage, or in a list.
static int stands(const char *in, const char *word) {
    size_t n = strlen(word);
    for (const char *at = in; (at = strstr(at, word)); at += n)
        if ((at == in || strchr(" [|\n", at[-1])) && strchr(" ]|\n", at[n])) return 1;
    return 0;
}

// Refuses an option of the list that was given where it would mean nothing.
static int idle(const options *o, const char *list, const char *why, char err[ERR]) {
    for (const char **name = o->given; *name; name++)
        if (stands(list, *name)) return fail(err, "%s: %s", *name, why);
    return 0;
}

// What computes: a device is opened, and there is no other in its place.
static int choose(backend *b, const char *name, char err[ERR]) {
    int ref = !strcmp(name, "ref");
    *b = (backend){.linear = ref ? ref_linear : simd_linear, .tile = ref ? ref_tile : simd_tile};
    if (!strcmp(name, ASSAY_GPU) && gpu_open(b, err)) return -1;
    b->name = name;
    return 0;
}

// ---- inspect, tokenize

static int run_inspect(const options *o, char err[ERR]) {
    tensor_set s;
    int64_t bytes = 0;
    if (tensor_open(&s, o->args[0], err)) return -1;
    for (int i = 0; i < s.n; i++) {
        const tensor *t = &s.t[i];
        for (const char *p = t->name; *p; p++)
            putchar((unsigned char)*p < 32 || *p == 127 ? '?' : *p);
        printf("%*s %-5s [", (int)(strlen(t->name) < 56 ? 56 - strlen(t->name) : 0), "",
               tensor_type_name(t->type));
        for (int d = 0; d < t->dims; d++) printf("%s%lld", d ? ", " : "", (long long)t->dim[d]);
        printf("] %lld bytes\n", (long long)t->bytes);
        bytes += t->bytes;
    }
    const char *format = tensor_meta(&s, "format");
    int known = format && (!strcmp(format, "pt") || !strcmp(format, TQ4_FORMAT));
    printf("%d tensors, %lld bytes, %d files, format %s\n", s.n, (long long)bytes, s.files,
           known    ? format
           : format ? "unknown"
                    : "not stated");
    tensor_close(&s);
    char config[4096];
    model m;
    snprintf(config, sizeof config, "%s/config.json", o->args[0]);
    if (access(config, F_OK)) return 0; // tensors alone
    if (model_open(&m, o->args[0], err)) return -1;
    printf("a model of %lld layers: every tensor is there, of the right type and shape\n",
           (long long)m.c.layers);
    model_close(&m);
    return 0;
}

static int decode_ids(const tokenizer *t, const char *text, size_t size, char err[ERR]) {
    char *out = must_alloc(token_room(t), 1), *end;
    token_stream s = {0};
    for (const char *p = text;; p = end) {
        long id = strtol(p, &end, 10);
        if (end == p) {
            p += strspn(p, " \t\r\n");
            if (p == text + size) break;
            free(out);
            return fail(err, "stdin: byte %zu: expected a token id", (size_t)(p - text));
        }
        if (id < 0 || id >= token_count(t)) {
            free(out);
            return fail(err, "stdin: byte %zu: id %ld: expected 0 to %d", (size_t)(p - text), id,
                        token_count(t) - 1);
        }
        size_t n = token_decode(t, &s, (int32_t)id, 0, out, token_room(t));
        fwrite(out, 1, n, stdout);
    }
    size_t n = token_decode(t, &s, -1, 0, out, token_room(t));
    fwrite(out, 1, n, stdout);
    free(out);
    return 0;
}

static int run_tokenize(const options *o, char err[ERR]) {
    size_t n;
    int32_t *ids = NULL;
    tokenizer *t = token_open(o->args[0], err);
    char *text = t ? convert_read("-", &n, err) : NULL;
    int bad = !text;
    if (!bad && o->decode)
        bad = decode_ids(t, text, n, err);
    else if (!bad) {
        int64_t count = token_encode(t, text, n, 1, &ids, err);
        bad = count < 0;
        for (int64_t i = 0; i < count; i++) printf("%s%d", i ? " " : "", ids[i]);
        if (!bad) printf("\n");
    }
    free(ids);
    free(text);
    if (t) token_close(t);
    return bad;
}

// ---- quantize, ladder

static void show_progress(int done, int all, const char *name) {
    if (isatty(2)) {
        int full = 30 * done / all;
        fprintf(stderr, "\r[%.*s%*s] %d%% %-50.50s", full, "##############################",
                30 - full, "", 100 * done / all, name);
    } else
        fprintf(stderr, "quantize %d/%d %s\n", done, all, name);
}

enum { TEXTS = 160, TEST_TEXTS = 80, TEXT_LEN = 128, CALIB_SEED = 1, TEST_SEED = 2 };

// A text file as token texts, or texts sampled from the model itself (file NULL).
static int get_texts(convert_texts *t, const model *m, const char *dir, const char *file,
                     int64_t seqs, uint32_t seed, char err[ERR]) {
    train_text all = {0};
    int32_t first = m->c.bos >= 0 ? m->c.bos : m->c.eos_count ? m->c.eos[0] : 0;
    int64_t len = TEXT_LEN < m->c.context ? TEXT_LEN : m->c.context;
    if (!file) return convert_sample(t, m, seqs, len, first, seed, err);
    int bad = train_read(&all, dir, file, m->c.vocab, err);
    if (!bad) {
        convert_cut(t, all.id, all.n, len);
        if (t->seqs > seqs * 8) t->seqs = seqs * 8; // of a large file the beginning is enough
        if (!t->seqs)
            bad = fail(err, "%.300s: %lld tokens: expected at least %lld", file, (long long)all.n,
                       (long long)len);
    }
    free(all.id);
    return bad;
}

// A model that is still dense everywhere.
static int open_dense(model *m, const char *dir, char err[ERR]) {
    if (model_open(m, dir, err)) return -1;
    int dense = 1;
    for (int i = 0; i < model_slots(&m->c); i++)
        if (model_matrix(m, i) && model_matrix(m, i)->kind != KIND_F32) dense = 0;
    if (dense) return 0;
    model_close(m);
    return fail(err, "%.300s: already quantised: expected a dense model", dir);
}

static void show_distil(int64_t step, int64_t steps, float loss) {
    if (isatty(2))
        fprintf(stderr, "distil %lld/%lld  loss %.6f    \r", (long long)step, (long long)steps,
                (double)loss);
}

// Quantised in memory, trained, then written.
static int quantize_distil(const options *o, const model *dense, const convert_texts *calib,
                           char err[ERR]) {
    distil_model q;
    if (convert_folder(o->args[0], o->args[1], err) ||
        distil_open(&q, dense, RUNG_DISTIL, calib, err))
        return -1;
    int bad = distil_train(&q, dense, o->by.linear, o->by.tile, o->distil, calib->token[0],
                           show_distil, err) ||
              convert_save(&q.m, o->args[0], o->args[1], err);
    distil_close(&q);
    return bad;
}

static int run_quantize(const options *o, char err[ERR]) {
    model m;
    convert_texts calib = {0};
    int rung = o->rung ? -1 : o->calib ? RUNG_RETARGET : RUNG_CODEBOOK;
    for (int i = RUNG_ROTATE; i < RUNGS; i++)
        if (o->rung && !strcmp(o->rung, tq_rung_name[i])) rung = i;
    if (rung >= 0 && rung < RUNG_FEEDBACK &&
        idle(o, "--calib", "expected with the rungs feedback, retarget and distil only", err))
        return 2;
    if (rung >= 0 && rung != RUNG_DISTIL && idle(o, "--distil", "expected with rung distil", err))
        return 2;
    if (rung < 0)
        return fail(err, "--rung %s: expected rotate, codebook, feedback, retarget or distil",
                    o->rung),
               2;
    if (open_dense(&m, o->args[0], err)) return -1;
    const char *file = o->calib && strcmp(o->calib, "self") ? o->calib : NULL;
    int bad =
        rung >= RUNG_FEEDBACK && get_texts(&calib, &m, o->args[0], file, TEXTS, CALIB_SEED, err);
    if (!bad && rung == RUNG_DISTIL)
        bad = quantize_distil(o, &m, &calib, err);
    else
        bad = bad ||
              convert_write(&m, o->args[0], o->args[1], (tq_rung)rung, &calib, show_progress, err);
    if (isatty(2)) fprintf(stderr, "\r%90s\r", "");
    if (!bad) fprintf(stderr, "wrote %s (rung %s)\n", o->args[1], tq_rung_name[rung]);
    free(calib.token);
    model_close(&m);
    return bad;
}

static void say_row(const ladder_row *r) {
    printf("%-16s %8.5f %8.5f %8.5f  %8.5f %8.5f %8.5f  %9.6f %9.5f  %6.2f%%  %5.2f %11lld\n",
           r->name, r->raw[0], r->raw[1], r->raw[2], r->centred[0], r->centred[1], r->centred[2],
           r->kl[0], r->kl[1], 100 * r->top1, r->bits, (long long)r->bytes);
    fflush(stdout);
}

static int run_ladder(const options *o, char err[ERR]) {
    model m;
    convert_texts calib = {0}, test = {0};
    ladder_row rows[RUNGS + 2];
    if (open_dense(&m, o->args[0], err)) return -1;
    const char *file = o->calib && strcmp(o->calib, "self") ? o->calib : NULL;
    int bad = get_texts(&calib, &m, o->args[0], file, TEXTS, CALIB_SEED, err) ||
              get_texts(&test, &m, o->args[0], o->text, TEST_TEXTS, TEST_SEED, err),
        n = 0;
    if (!bad) {
        printf("%lld held-out positions in texts of %lld; calibration on %lld tokens\n",
               (long long)(test.seqs * test.len), (long long)test.len,
               (long long)(calib.seqs * calib.len));
        printf("%-16s %26s  %26s  %9s %9s  %7s  %5s %11s\n", "", "raw cosine: mean, 1%, min",
               "centred: mean, 1%, min", "KL: mean", "99%", "top-1", "bits", "bytes");
        ladder_options l = {o->by.linear, o->by.tile, &calib, o->distil, say_row, show_distil};
        n = ladder_run(rows, &m, &l, &test, err);
        bad = n < 0;
    }
    if (!bad && o->json) bad = ladder_save_json(o->json, rows, n, err);
    if (!bad && o->svg) bad = ladder_save_svg(o->svg, rows, n, err);
    free(calib.token);
    free(test.token);
    model_close(&m);
    return bad;
}

// ---- train

static void show_step(const train_progress *p) {
    const char *over = isatty(2) ? "\r\033[K" : "", *end = "\n";
    char done[120] = "", held[40] = "";
    if (*over && p->held < 0 && p->step < p->steps) end = ""; // the next line comes over it
    if (p->step > 0)
        snprintf(done, sizeof done, "  loss %.4f  rate %.2e  norm %.3g  %.0f tokens/s  %.0f s left",
                 (double)p->loss, (double)p->rate, (double)p->norm, p->speed, p->left);
    if (p->held >= 0) snprintf(held, sizeof held, "  held-out %.4f", (double)p->held);
    fprintf(stderr, "%strain %ld/%ld%s%s%s", over, p->step, p->steps, done, held, end);
}

static int run_practice(const options *o, char err[ERR]);

static int wrong_what(const options *o, char err[ERR]) {
    return o->train.what && !train_learn(o->train.what)
               ? fail(err, "--what %s: expected r1, r2, r1r2, r1r2+norms or all", o->train.what)
               : 0;
}

static int run_train(const options *o, char err[ERR]) {
    model m;
    train_options t = o->train;
    train_text text[2] = {0};
    train_result r;
    if (o->task) return run_practice(o, err);
    t.dir = o->args[0], t.seed = (uint32_t)o->seed, t.by = &o->by, t.ranks = o->ranks;
    if (!o->text || !t.out)
        return fail(err, "train: expected --text FILE or --task NAME, and --out DIR"), 2;
    if (wrong_what(o, err) ||
        idle(o, "--method --group --kl --review --slots --snapshot", "expected with --task", err))
        return 2;
    if (o->init < 0 ? model_open(&m, t.dir, err) : train_init(&m, t.dir, (uint32_t)o->init, err))
        return -1;
    int bad = train_settle(&t, &m, err) || train_read(text, t.dir, o->text, m.c.vocab, err) ||
              (o->held && train_read(text + 1, t.dir, o->held, m.c.vocab, err)) ||
              train_run(&m, &t, text, show_step, &r, err);
    if (!bad && ranks_first(o->ranks))
        printf("%s loss %.6f before, %.6f after; weights SHA-256 %s\n",
               o->held ? "held-out" : "batch", (double)r.first, (double)r.last, r.digest);
    else if (bad && isatty(2))
        fputc('\n', stderr);
    free(text[0].id);
    free(text[1].id);
    model_close(&m);
    return bad;
}

// ---- logits, generate

static int run_logits(const options *o, char err[ERR]) {
    model m;
    if (!o->tokens) return fail(err, "logits: expected --tokens 1,2,3"), 2;
    if (model_open(&m, o->args[0], err)) return -1;
    int64_t n = 0, room = (int64_t)strlen(o->tokens) + 1;
    int32_t *id = must_alloc((size_t)room * 3, sizeof *id), *pos = id + room, *seq = pos + room;
    int bad = 0;
    for (const char *p = o->tokens; !bad; p++) {
        char *end;
        long x = strtol(p, &end, 10);
        if (end == p || x < 0 || x >= m.c.vocab || (*end && *end != ','))
            bad = fail(err, "--tokens: byte %zu: expected ids 0 to %lld separated by commas",
                       (size_t)(p - o->tokens), (long long)m.c.vocab - 1);
        id[n] = (int32_t)x, pos[n] = (int32_t)n, n++;
        if (!*(p = end)) break;
    }
    if (!bad) {
        ref_run r;
        ref_open(&r, &m, o->by.linear, n, 1, n);
        bad = backend_attach(&o->by, &r, n, err) || ref_step(&r, id, pos, seq, n, 0, err);
        FILE *f = bad ? NULL : convert_create(o->args[1]);
        if (f) fwrite(r.logits, sizeof(float), (size_t)(n * m.c.vocab), f);
        bad = bad || convert_commit(f, o->args[1], err);
        backend_detach(&o->by);
        ref_close(&r);
    }
    free(id);
    model_close(&m);
    return bad;
}

enum { CHUNK = 16 }; // tokens of a device's command

// Draws what follows token id of position at: one token, or on a device up to CHUNK of the `most`
// that are wanted. Returns how many; -1: an error.
static int64_t draw(const backend *by, ref_run *r, const sample_options *so, int64_t known,
                    int32_t id, int32_t at, int64_t most, int32_t next[CHUNK], char err[ERR]) {
    const int32_t seq = 0;
    if (by->device) {
        int64_t n = most < CHUNK ? most : CHUNK;
        ref_rows(r, &id, &at, &seq, 1, 0);
        return by->decode(by->device, r, so, known, n, next, err) ? -1 : n;
    }
    if (ref_step(r, &id, &at, &seq, 1, 0, err)) return -1;
    *next = sample_token(r->logits, known, so, (uint32_t)at + 1);
    return 1;
}

// Prefill in one step, then token after token, each printed as it comes.
static int generate(const options *o, const model *m, const tokenizer *t, const int32_t *ids,
                    int64_t n, char err[ERR]) {
    ref_run r;
    int64_t most = o->n < o->context - n ? o->n : o->context - n, made = 0, have = 1, used = 0;
    int32_t *pos = must_alloc((size_t)n * 2, sizeof *pos), *seq = pos + n, next[CHUNK];
    int64_t known =
        token_count(t) < m->c.vocab ? token_count(t) : m->c.vocab; // rows may be padding
    char *out = must_alloc(token_room(t), 1);
    token_stream s = {0};
    sample_options so = {(float)o->temperature, (int)o->top_k, (float)o->top_p, (uint32_t)o->seed,
                         0};
    ref_open(&r, m, o->by.linear, n, 1, n + most);
    for (int64_t i = 0; i < n; i++) {
        pos[i] = (int32_t)i;
        token_decode(t, &s, ids[i], 1, out, token_room(t)); // the prompt's text is known
    }
    double start = bench_now(), first = 0;
    int bad = backend_attach(&o->by, &r, 1, err) || ref_step(&r, ids, pos, seq, n, n - 1, err);
    if (!bad) first = bench_now(), *next = sample_token(r.logits, known, &so, (uint32_t)n);
    for (; !bad && made < most; made++) {
        int32_t id = next[used++];
        if (model_ends(&m->c, id)) break;
        size_t k = token_decode(t, &s, id, 1, out, token_room(t));
        fwrite(out, 1, k, stdout);
        fflush(stdout);
        if (used < have || made + 1 == most) continue;
        have = draw(&o->by, &r, &so, known, id, (int32_t)(n + made), most - made - 1, next, err);
        used = 0, bad = have < 0;
    }
    if (!bad) {
        size_t k = token_decode(t, &s, -1, 1, out, token_room(t));
        fwrite(out, 1, k, stdout);
        printf("\n");
        double took = bench_now() - first; // made - 1 steps: the prompt's gave the first token
        fprintf(stderr, "prompt: %lld tokens in %.2f s; then %lld tokens at %.1f tokens/s\n",
                (long long)n, first - start, (long long)made,
                made > 1 ? (double)(made - 1) / took : 0);
    }
    backend_detach(&o->by);
    ref_close(&r);
    free(pos);
    free(out);
    return bad;
}

static int run_generate(const options *o, char err[ERR]) {
    model m;
    int32_t *ids = NULL;
    char *text = NULL;
    int64_t n = -1;
    if (model_open(&m, o->args[0], err)) return -1;
    tokenizer *t = token_open(o->args[0], err);
    if (t && o->chat && token_chat(t, (const char *[]){"user"}, &o->prompt, 1, &text, err) == 0)
        n = token_encode(t, text, strlen(text), 0, &ids, err);
    else if (t && !o->chat)
        n = token_encode(t, o->prompt, strlen(o->prompt), 1, &ids, err);
    int bad = n < 0;
    if (n == 0) bad = fail(err, "-p: expected a prompt of at least one token");
    if (!bad && n >= o->context)
        bad = fail(err, "-p: %lld tokens: expected fewer than --context %ld", (long long)n,
                   o->context);
    for (int64_t i = 0; i < n && !bad; i++)
        if (ids[i] >= m.c.vocab)
            bad = fail(err, "tokenizer.json: id %d: the model has %lld tokens", ids[i],
                       (long long)m.c.vocab);
    bad = bad || generate(o, &m, t, ids, n, err);
    free(ids);
    free(text);
    if (t) token_close(t);
    model_close(&m);
    return bad;
}

// ---- journal

typedef struct {
    int json;
    uint64_t records, end;
    uint32_t kind; // of the last record
    uint8_t chain[32], key[32];
} listing;

static void print_hex(const uint8_t *p, int n) {
    for (int i = 0; i < n; i++) printf("%02x", p[i]);
}

static int list_record(void *ctx, const journal_record *r, char err[ERR]) {
    (void)err;
    listing *l = ctx;
    char what[96];
    l->records = r->number, l->end = r->end, l->kind = r->kind;
    memcpy(l->chain, r->chain, 32);
    if (r->kind == J_SIGNATURE) memcpy(l->key, r->data, 32);
    if (l->json) return journal_json(r, stdout), 0;
    journal_describe(r, what);
    printf("%6llu %10llu %-9s %8u ", (unsigned long long)r->number, (unsigned long long)r->at,
           journal_kind_name[r->kind], r->size);
    print_hex(r->chain, 4);
    printf(" %s\n", what);
    return 0;
}

static void list_end(const listing *l, uint64_t torn) {
    printf(l->json ? "{\"records\":%llu,\"bytes\":%llu,\"torn\":%llu,\"chain\":\""
                   : "%llu records, %llu bytes, %llu torn, chain ",
           (unsigned long long)l->records, (unsigned long long)l->end, (unsigned long long)torn);
    print_hex(l->chain, l->records ? 32 : 0);
    printf(l->json ? "\"}\n" : "\n");
}

static int run_journal(const options *o, char err[ERR]) {
    listing l = {.json = o->lines};
    uint8_t key[32];
    uint64_t torn, lost;
    char why[ERR];
    if (o->keygen || o->train.out) {
        const char *rest = o->keygen ? "--json --cut --key --out" : "--json --cut --key";
        if (idle(o, rest, o->keygen ? "no use with --keygen" : "no use with --out", err)) return 2;
    }
    if (o->keygen) return journal_keygen(o->args[0], err);
    if (o->train.out) return practice_plot(o->args[0], o->train.out, err);
    if (o->key && journal_key(o->key, key, 32, err)) return -1;
    int bad = journal_read(o->args[0], list_record, &l, &torn, err);
    if (!bad) list_end(&l, torn);
    if (o->cut && !journal_cut(o->args[0], &lost, why)) {
        fprintf(stderr, "cut behind record %llu: %llu bytes are lost%s%s\n",
                (unsigned long long)l.records, (unsigned long long)lost, bad ? ": " : "",
                bad ? err : "");
        bad = 0;
    } else if (o->cut)
        bad = fail(err, "%s", why);
    if (bad || !o->key) return bad;
    if (l.kind != J_SIGNATURE)
        return fail(err, "%.300s: the last record is no signature: expected one by %.150s",
                    o->args[0], o->key);
    return memcmp(l.key, key, 32)
               ? fail(err, "%.300s: signed by another key than %.150s", o->args[0], o->key)
               : 0;
}

// ---- serve, resume, replay

static live *running; // what a signal stops
static int grace;     // seconds
static void on_signal(int number) {
    (void)number;
    live_stop(running, grace);
}

// What files hold that are named on the command line.
typedef struct {
    char token[256]; // what clients must present; empty: nothing
    uint8_t sign[64];
} secrets;

static int read_secrets(secrets *s, const options *o, char err[ERR]) {
    size_t n;
    *s = (secrets){0};
    if (o->sign && journal_key(o->sign, s->sign, sizeof s->sign, err)) return -1;
    if (!o->token) return 0;
    char *text = convert_read(o->token, &n, err);
    if (!text) return -1;
    text[strcspn(text, "\r\n")] = 0; // the first line
    int bad = strlen(text) < 8 || strlen(text) >= sizeof s->token;
    if (bad) fail(err, "%.300s: expected a token of 8 to 255 bytes", o->token);
    snprintf(s->token, sizeof s->token, "%s", bad ? "" : text);
    free(text);
    return bad;
}

// Serves until a signal: l has its engine and its journal. *open: it did.
static int serve_all(const options *o, const secrets *keys, live *l, replay_open *r, int *open,
                     char err[ERR]) {
    struct sigaction act = {.sa_handler = on_signal};
    serve_options s = {.host = o->host, .port = (int)o->port};
    int port = 0, v6 = strchr(o->host, ':') != NULL;
    s.choices = (int)(r->run.engine.slots + o->live.queue);
    if (*keys->token) s.token = keys->token;
    const char *name = strrchr(r->run.dir, '/');
    s.name = name && name[1] ? name + 1 : r->run.dir;
    tokenizer *t = token_open(r->run.dir, err);
    serve *door = t ? serve_open(&s, l, t, &r->m.c, &port, err) : NULL;
    int bad = !door;
    if ((*open = door != NULL)) {
        running = l, grace = (int)o->grace;
        signal(SIGPIPE, SIG_IGN); // clients may leave at any time
        sigaction(SIGTERM, &act, NULL);
        sigaction(SIGINT, &act, NULL);
        fprintf(stderr, "serving %s at http://%s%s%s:%d, journal %s\n", s.name, v6 ? "[" : "",
                o->host, v6 ? "]" : "", port, o->live.path);
        bad = live_run(l, &r->m, err);
        serve_close(door);
        signal(SIGTERM, SIG_IGN); // it ends already
        signal(SIGINT, SIG_IGN);
    }
    if (t) token_close(t);
    return bad;
}

// After the last token: the journal is closed, and the model as it is now is written.
static int end_serving(const options *o, const secrets *keys, live *l, replay_open *r, journal *j,
                       int bad, char err[ERR]) {
    char why[ERR];
    engine_state s = engine_now(r->e);
    if (!bad && o->sign) journal_sign(j, keys->sign);
    if (journal_close(j, why) && !bad) bad = fail(err, "%s", why);
    if (!bad && o->train.out) bad = convert_save(&r->m, r->run.dir, o->train.out, err);
    if (!bad) {
        char hex[65];
        train_digest(&r->m, hex);
        printf("version %llu, weights SHA-256 %s\n", (unsigned long long)s.version, hex);
    }
    replay_close(r);
    live_close(l);
    return bad;
}

static int refuse_record(void *path, const journal_record *r, char err[ERR]) {
    (void)r;
    return fail(err, "%.300s: exists: `assay resume`, or `train --resume`, goes on with it",
                (const char *)path);
}

// A process that was killed at its start leaves a journal without records: that is taken.
static int has_begun(char *path, char err[ERR]) {
    return !access(path, F_OK) && journal_read(path, refuse_record, path, NULL, err);
}

static journal *new_journal(char *path, live *l, char err[ERR]) {
    return access(path, F_OK) ? journal_create(path, live_wake, l, err)
                              : journal_open(path, refuse_record, path, live_wake, l, err);
}

// A new journal and its engine, which l is to run.
static journal *begin(const options *o, replay_run *run, const char *path, live *l, replay_open *r,
                      char err[ERR]) {
    char *name = (char *)(uintptr_t)path;                            // which nobody changes
    if (!o->engine.floor) run->engine.floor = o->by.device ? 64 : 1; // a device waits for memory
    if (has_begun(name, err)) return NULL;
    engine_owner owner = live_owner(l);
    char *first = replay_begin(r, run, &o->by, &owner, err);
    journal *j = first ? new_journal(name, l, err) : NULL;
    if (j) {
        live_start(l, r->e, &r->run.engine, j, 0, r->m.c.vocab);
        live_note(l, J_OPEN, first, (uint32_t)strlen(first));
    } else if (first)
        replay_close(r);
    free(first);
    return j;
}

// What a task is practised with; -1: no such task or method.
static int read_practice(const options *o, const char *name, qgre_options *q, char err[ERR]) {
    int method = qgre_named(o->method);
    *q = o->engine.practice;
    if (!(q->task = task_named(name)))
        return fail(err, "--task %.100s: there is no such task", name);
    if (method < 0)
        return fail(err, "--method %.100s: expected qgre, credit or uniform", o->method);
    q->method = (qgre_method)method;
    return 0;
}

static int run_serve(const options *o, char err[ERR]) {
    replay_run run = {o->args[0], o->text, o->engine, !strcmp(o->kv, "bf16"), o->train.out};
    replay_open r;
    secrets keys;
    int open;
    run.engine.train = o->train, run.engine.train.seed = (uint32_t)o->seed;
    run.engine.context = o->context, run.engine.practice.task = NULL;
    if (!run.engine.slots) run.engine.slots = 16;
    if (o->text && task_named(o->text)) {
        if (read_practice(o, o->text, &run.engine.practice, err)) return 2;
        if (o->engine.feedback)
            return fail(err, "--feedback: expected a text to learn, not the task %.100s", o->text),
                   2;
        run.text = NULL;
    } else if (idle(o, "--method --group --kl --review", "expected with --learn TASK", err))
        return 2;
    if (!o->text && !o->engine.feedback &&
        idle(o, "--what --steps --lr --warmup --batch --micro --ctx --clip --decay --until-learned",
             "expected with --learn or --feedback", err))
        return 2;
    if (strcmp(o->kv, "f32") && strcmp(o->kv, "bf16"))
        return fail(err, "--kv %s: expected f32 or bf16", o->kv), 2;
    if (wrong_what(o, err)) return 2;
    if (read_secrets(&keys, o, err)) return -1;
    live *l = live_open(&o->live);
    journal *j = begin(o, &run, o->live.path, l, &r, err);
    if (!j) {
        live_close(l);
        return -1;
    }
    int bad = serve_all(o, &keys, l, &r, &open, err);
    if (!open) unlink(o->live.path); // nothing was served, and it is still ours
    bad = end_serving(o, &keys, l, &r, j, bad, err);
    return bad;
}

static int run_resume(const options *o, char err[ERR]) {
    replay_options p = {
        .path = o->args[0], .dir = o->dir, .text = o->text, .out = o->train.out, .by = &o->by};
    replay_open r;
    live_options lo = o->live;
    secrets keys;
    int open;
    if (read_secrets(&keys, o, err)) return -1;
    lo.path = p.path;
    live *l = live_open(&lo);
    journal *j = replay_resume(&r, &p, l, err);
    if (!j) {
        live_close(l);
        return -1;
    }
    options with = *o;
    with.live.path = p.path;
    engine_state s = engine_now(r.e);
    fprintf(stderr, "%s: goes on at turn %llu, version %llu\n", p.path, (unsigned long long)s.turn,
            (unsigned long long)s.version);
    int bad = serve_all(&with, &keys, l, &r, &open, err);
    return end_serving(&with, &keys, l, &r, j, bad, err);
}

// A task, practised without clients: the engine and the journal are those of a server.
static int run_practice(const options *o, char err[ERR]) {
    replay_run run = {o->args[0], NULL, o->engine, 0, o->train.out};
    replay_open r;
    options with = *o;
    secrets keys = {0};
    char path[4096];
    struct sigaction act = {.sa_handler = on_signal};
    if (!o->train.out) return fail(err, "train --task: expected --out DIR"), 2;
    if (read_practice(o, o->task, &run.engine.practice, err) ||
        idle(o, "--text --held --init --stop --every", "no use with --task", err))
        return 2;
    if (!ranks_alone(o->ranks)) return fail(err, "--task: expected one process, without mpirun"), 2;
    if (wrong_what(o, err)) return 2;
    int size = (int)strlen(o->train.out);
    while (size > 1 && o->train.out[size - 1] == '/') size--;
    snprintf(path, sizeof path, "%.*s.journal", size < 4000 ? size : 4000, o->train.out);
    run.engine.practice.slots = run.engine.slots; // no client is served
    run.engine.slots = 1, run.engine.context = 2;
    with.live = (live_options){.path = path, .until_learned = 1, .said = practice_say};
    live *l = live_open(&with.live);
    run.engine.train = o->train, run.engine.train.seed = (uint32_t)o->seed;
    replay_options again = {
        .path = path, .dir = o->args[0], .out = o->train.out, .asked = &run.engine, .by = &o->by};
    journal *j = o->train.resume && has_begun(path, err) ? replay_resume(&r, &again, l, err)
                                                         : begin(o, &run, path, l, &r, err);
    if (!j) {
        live_close(l);
        return -1;
    }
    running = l, grace = 0;
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    practice_begin(&r.run.engine, engine_now(r.e));
    int bad = live_run(l, &r.m, err);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    long step = engine_now(r.e).step, steps = r.run.engine.train.steps;
    if (step < steps) with.train.out = NULL; // a signal: there is no model of this run yet
    bad = end_serving(&with, &keys, l, &r, j, bad, err);
    if (!bad && step < steps)
        bad = fail(err, "%.300s: stopped at step %ld of %ld: --resume goes on", path, step, steps);
    return bad ? bad : practice_plot(path, o->train.out, err);
}

static int run_eval(const options *o, char err[ERR]) {
    eval_options e = o->eval;
    qgre_options q;
    if (!o->task) return fail(err, "eval: expected --task NAME"), 2;
    if (read_practice(o, o->task, &q, err)) return 2;
    if (!e.show && idle(o, "--method", "expected with --show", err)) return 2;
    if (e.show && o->json && !strcmp(o->json, "-"))
        return fail(err, "--show: expected --json FILE, as - leaves no room on stdout"), 2;
    e.dir = o->args[0], e.by = &o->by, e.task = q.task, e.method = q.method;
    e.temperature = o->temperature, e.ctx = o->train.ctx, e.seed = (uint32_t)o->seed,
    e.json = o->json;
    return eval_run(&e, err);
}

static int run_replay(const options *o, char err[ERR]) {
    replay_options p = {.path = o->args[0],
                        .dir = o->dir,
                        .text = o->text,
                        .from = o->from,
                        .out = o->train.out,
                        .by = &o->by};
    replay_result r;
    if (replay(&p, &r, err)) return -1;
    fprintf(stderr, "%llu records: %llu tokens and %llu updates made again in %.1f s",
            (unsigned long long)r.records, (unsigned long long)r.tokens,
            (unsigned long long)r.updates, r.seconds);
    if (r.told)
        fprintf(stderr, "; %llu tokens before %s only read", (unsigned long long)r.told, o->from);
    fprintf(stderr, "\n");
    printf("version %llu, same weights: SHA-256 %s\n", (unsigned long long)r.version, r.digest);
    return 0;
}

// ---- sizes, bench, verify

static int run_bench(const options *o, char err[ERR]) {
    if (!model_shape(o->shape))
        return fail(err, "--shape %s: expected tiny, 0.6b, 1.7b, 8b or 14b", o->shape), 2;
    if (!o->serve && idle(o, "--share", "expected with --serve", err)) return 2;
    if ((o->serve || o->by.device) &&
        idle(o, "--learn", o->serve ? "no use with --serve" : "no use with a device", err))
        return 2;
    if (o->serve) return bench_serve(o->shape, &o->by, o->engine.share, err);
    if (o->by.device) return bench_device(&o->by, o->shape, err);
    return o->learn ? bench_learn(o->shape, err) : bench_decode(o->shape, err);
}

static int run_sizes(const options *o, char err[ERR]) {
    (void)o, (void)err;
    bench_sizes();
    return 0;
}

static int run_verify(const options *o, char err[ERR]) {
    int failed = 0, passed = verify_all(o->vectors, &o->by, &failed, err);
    if (passed < 0) return -1;
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? fail(err, "verify: %d of %d cases differ", failed, passed + failed) : 0;
}

// ---- the command line

static const command commands[] = {
    {"inspect", "PATH", "names, types, shapes and bytes of a folder or a safetensors file", 1,
     run_inspect, 0},
    {"tokenize", "DIR [--decode]", "ids of the text on stdin, or its text from ids", 1,
     run_tokenize, 0},
    {"quantize",
     "DIR OUT [--rung rotate|codebook|feedback|retarget|distil] [--calib FILE|self]\n"
     "       [--distil STEPS] [--backend ref|simd] [--jobs N]",
     "a dense model to TQ4; the last three calibrate on a text (self: sampled from the model)", 2,
     run_quantize, 0},
    {"logits", "MODEL --tokens 1,2,3 OUT [--backend ref|simd|gpu] [--jobs N]",
     "raw little-endian float32 [tokens, vocab] to OUT", 2, run_logits, 1},
    {"generate",
     "MODEL -p TEXT [-n N] [--chat] [--temp T --top-k K --top-p P --seed S] [--context N]\n"
     "       [--backend ref|simd|gpu] [--jobs N]",
     "text to stdout as it comes, tokens/s to stderr", 1, run_generate, 1},
    {"ladder",
     "DIR [--text FILE] [--calib FILE] [--distil STEPS] [--json FILE] [--svg FILE]\n"
     "       [--backend ref|simd] [--jobs N]",
     "how close each rung's answers come to the dense model's", 1, run_ladder, 0},
    {"train",
     "MODEL --text FILE|--task NAME --out DIR [--held FILE] [--what r1|r2|r1r2|r1r2+norms|all]\n"
     "       [--steps N] [--stop N] [--lr X] [--warmup N] [--batch B] [--micro M] [--ctx T] "
     "[--seed S]\n"
     "       [--clip X] [--decay X] [--every N] [--init SEED] [--resume]\n"
     "       [--method qgre|credit|uniform] [--group N] [--kl X] [--review P] [--slots N]\n"
     "       [--snapshot N] [--backend ref|simd|gpu] [--jobs N]",
     "learns a text, or practises a task; --init: random weights by the folder's config.json; "
     "--resume: goes on",
     1, run_train, 1},
    {"eval",
     "MODEL --task hamilton|slopes [--problems N] [--samples N] [--temp T] [--seed S] [--ctx T]\n"
     "       [--json FILE|-] [--answers FILE] [--show N [--method qgre|credit|uniform]] [--backend "
     "ref|simd|gpu] "
     "[--jobs N]",
     "how many answers to held-out problems are right; --show: what their tokens earn", 1, run_eval,
     1},
    {"journal", "FILE [--json] [--cut] [--key FILE.pub] [--out DIR]   or   journal --keygen FILE",
     "lists and checks a journal; --cut: at damage; --key: the last record signs all by this key; "
     "--out: curves of practice",
     1, run_journal, 0},
    {"serve",
     "MODEL [--learn FILE|TASK] [--feedback] [--journal FILE] [--host H] [--port P] [--token-file "
     "FILE]\n"
     "       [--slots N] [--context N] [--pages N] [--slice N] [--queue N] [--share PERCENT] "
     "[--floor ROWS]\n"
     "       [--kv f32|bf16] [--snapshot N] [--grace S] [--until-learned] [--sign KEY] [--out "
     "DIR]\n"
     "       [--what ..] [--steps N] [--lr X] [--warmup N] [--batch B] [--micro M] [--ctx T] "
     "[--seed S]\n"
     "       [--clip X] [--decay X] [--method qgre|credit|uniform] [--group N] [--kl X] [--review "
     "P]\n"
     "       [--backend ref|simd|gpu] [--jobs N]",
     "answers over HTTP and learns at the same time; every step goes to the journal", 1, run_serve,
     1},
    {"resume",
     "JOURNAL [--model DIR] [--learn FILE] [--host H] [--port P] [--token-file FILE] [--queue N]\n"
     "       [--grace S] [--until-learned] [--sign KEY] [--out DIR] [--backend ref|simd|gpu] "
     "[--jobs N]",
     "goes on where the journal ends; --model, --learn: where these lie now", 1, run_resume, 1},
    {"replay",
     "JOURNAL [--from SNAPSHOT] [--model DIR] [--learn FILE] [--out DIR] [--backend ref|simd|gpu]\n"
     "       [--jobs N]",
     "executes a journal again: the same weights, or the first record that differs", 1, run_replay,
     1},
    {"verify", "[--backend ref|simd|gpu] [--vectors DIR] [--jobs N]",
     "the golden vectors of the arithmetic and of whole models", 0, run_verify, 1},
    {"bench",
     "[--shape tiny|0.6b|1.7b|8b|14b] [--learn] [--serve [--share PERCENT]] [--backend gpu] "
     "[--jobs "
     "N]",
     "random weights: decode speed against the memory's bandwidth; --learn: steps against forward; "
     "--serve: both at once",
     0, run_bench, 1},
    {"sizes", "", "exact bytes of each shape", 0, run_sizes, 0},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

// What was printed must have arrived.
static int finish(void) {
    if (!fflush(stdout) && !ferror(stdout)) return 0;
    fprintf(stderr, "assay: stdout: %s\n", strerror(errno));
    return 1;
}

static int usage(const command *c, const char *what, const char *which) {
    FILE *f = what ? stderr : stdout;
    if (what) fprintf(f, "assay: %s%s\n", what, which);
    if (c)
        fprintf(f, "usage: assay %s %s\n  %s\n", c->name, c->usage, c->about);
    else {
        fprintf(f, "usage: assay COMMAND ...   (assay COMMAND --help says more)\n");
        for (int i = 0; i < COMMANDS; i++)
            fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].about);
    }
    return what ? 2 : finish();
}

typedef struct {
    const char *name;
    const char **text;
    long *integer;
    double *real;
    int *flag;
    double lo, hi;
    const char *only; // this one command, NULL: all that take it
} option;

// The value of one option; returns how many words it used, 0 when the value is wrong.
static int take(const option *p, const char *value) {
    char *end;
    if (p->flag) return *p->flag = 1;
    if (!value) return 0;
    if (p->text) return *p->text = value, 2;
    double x = strtod(value, &end);
    if (end == value || *end || !(x >= p->lo && x <= p->hi)) return 0;
    if (p->integer && x != (double)(long)x) return 0;
    if (p->integer)
        *p->integer = (long)x;
    else
        *p->real = x;
    return 2;
}

static int parse(const command *c, int argc, char **argv, options *o) {
    const option all[] = {{"-p", .text = &o->prompt},
                          {"--tokens", .text = &o->tokens},
                          {"--rung", .text = &o->rung},
                          {"--calib", .text = &o->calib},
                          {"--text", .text = &o->text},
                          {"--json", .text = &o->json},
                          {"--svg", .text = &o->svg},
                          {"--backend", .text = &o->backend},
                          {"--shape", .text = &o->shape},
                          {"--vectors", .text = &o->vectors},
                          {"-n", .integer = &o->n, .lo = 1, .hi = 1 << 24},
                          {"--top-k", .integer = &o->top_k, .lo = 0, .hi = 1 << 24},
                          {"--held", .text = &o->held},
                          {"--task", .text = &o->task},
                          {"--method", .text = &o->method},
                          {"--group", .integer = &o->engine.practice.group, .lo = 1, .hi = GROUP},
                          {"--kl", .real = &o->engine.practice.kl, .lo = 0, .hi = 10},
                          {"--review", .real = &o->engine.practice.review, .lo = 0, .hi = 1},
                          {"--what", .text = &o->train.what},
                          {"--out", .text = &o->train.out},
                          {"--stop", .integer = &o->train.stop, .lo = 0, .hi = 1 << 24},
                          {"--distil", .integer = &o->distil, .lo = 0, .hi = 1 << 20},
                          {"--steps", .integer = &o->train.steps, .lo = 1, .hi = 1 << 24},
                          {"--warmup", .integer = &o->train.warmup, .lo = 0, .hi = 1 << 24},
                          {"--every", .integer = &o->train.every, .lo = 1, .hi = 1 << 24},
                          {"--batch", .integer = &o->train.batch, .lo = 1, .hi = 4096},
                          {"--micro", .integer = &o->train.micro, .lo = 1, .hi = 4096},
                          {"--ctx", .integer = &o->train.ctx, .lo = 1, .hi = 1 << 20},
                          {"--init", .integer = &o->init, .lo = 0, .hi = 4294967295.0},
                          {"--lr", .real = &o->train.rate, .lo = 1e-9, .hi = 1},
                          {"--clip", .real = &o->train.clip, .lo = 0, .hi = 1e9},
                          {"--decay", .real = &o->train.decay, .lo = 0, .hi = 1},
                          {"--resume", .flag = &o->train.resume},
                          {"--seed", .integer = &o->seed, .lo = 0, .hi = 4294967295.0},
                          {"--jobs", .integer = &o->jobs, .lo = 1, .hi = 1024},
                          {"--context", .integer = &o->context, .lo = 2, .hi = 1 << 20},
                          {"--temp", .real = &o->temperature, .lo = 0, .hi = 100},
                          {"--top-p", .real = &o->top_p, .lo = 0, .hi = 1},
                          {"--problems", .integer = &o->eval.problems, .lo = 1, .hi = 1000},
                          {"--samples", .integer = &o->eval.samples, .lo = 0, .hi = 64},
                          {"--answers", .text = &o->eval.answers},
                          {"--show", .integer = &o->eval.show, .lo = 0, .hi = 100},
                          {"--decode", .flag = &o->decode},
                          {"--chat", .flag = &o->chat},
                          {"--serve", .flag = &o->serve},
                          {"--model", .text = &o->dir},
                          {"--from", .text = &o->from},
                          {"--kv", .text = &o->kv},
                          {"--journal", .text = &o->live.path},
                          {"--host", .text = &o->host},
                          {"--token-file", .text = &o->token},
                          {"--sign", .text = &o->sign},
                          {"--port", .integer = &o->port, .lo = 0, .hi = 65535},
                          {"--grace", .integer = &o->grace, .lo = 0, .hi = 3600},
                          {"--queue", .integer = &o->live.queue, .lo = 0, .hi = 1 << 16},
                          {"--slots", .integer = &o->engine.slots, .lo = 1, .hi = SLOTS},
                          {"--pages", .integer = &o->engine.pages, .lo = 1, .hi = 1 << 24},
                          {"--slice", .integer = &o->engine.slice, .lo = 1, .hi = 4096},
                          {"--share", .integer = &o->engine.share, .lo = 0, .hi = 99},
                          {"--floor", .integer = &o->engine.floor, .lo = 0, .hi = 4096},
                          {"--snapshot", .integer = &o->engine.snapshot, .lo = 1, .hi = 1 << 24},
                          {"--feedback", .flag = &o->engine.feedback},
                          {"--until-learned", .flag = &o->live.until_learned},
                          // bench, which takes no model, has a flag of this name; others a text
                          {"--learn", .text = &o->text, .flag = c->args ? NULL : &o->learn},
                          {"--json", .flag = &o->lines, .only = "journal"},
                          {"--cut", .flag = &o->cut},
                          {"--key", .text = &o->key},
                          {"--keygen", .flag = &o->keygen}};
    int args = 0, given = 0, used;
    o->given = must_alloc((size_t)argc + 1, sizeof *o->given);
    for (int i = 0; i < argc; i += used) {
        const option *p = NULL;
        used = 1;
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            if (!strcmp(argv[i], all[k].name) && stands(c->usage, argv[i]) &&
                (!all[k].only || !strcmp(all[k].only, c->name)))
                p = &all[k];
        if (p && !(used = take(p, i + 1 < argc ? argv[i + 1] : NULL)))
            return usage(c, "a value is missing or out of range: ", argv[i]);
        if (p) o->given[given++] = p->name;
        if (!p && argv[i][0] == '-' && argv[i][1])
            return usage(c, "no such option here: ", argv[i]);
        if (!p && args == c->args) return usage(c, "one argument too many: ", argv[i]);
        if (!p) o->args[args++] = argv[i];
    }
    if (args < c->args) return usage(c, "an argument is missing", "");
    if (strcmp(o->backend, "ref") && strcmp(o->backend, "simd") &&
        (strcmp(o->backend, ASSAY_GPU) || !c->device))
        return usage(c,
                     c->device ? "--backend: expected ref, simd or " ASSAY_GPU ": "
                               : "--backend: expected ref or simd: ",
                     o->backend);
    if (!o->prompt && stands(c->usage, "-p")) return usage(c, "-p TEXT is missing", "");
    return 0;
}

// OpenMP threads that wait for each other in a loop waste cores that a server's other threads and
// other programs want. OpenMP reads the environment before main(): once more, with short loops.
static void wait_briefly(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    if (!setenv("GOMP_SPINCOUNT", "2000", 1)) execv("/proc/self/exe", argv); // or goes on as it is
}

int main(int argc, char **argv) {
    ranks all = {0};
    options o = {.ranks = &all,
                 .backend = "simd",
                 .shape = "1.7b",
                 .vectors = "vectors",
                 .n = 256,
                 .top_p = 1,
                 .context = 4096,
                 .distil = 100,
                 .temperature = 0.8,
                 .seed = 1,
                 .init = -1,
                 .kv = "f32",
                 .method = "qgre",
                 .host = "127.0.0.1",
                 .port = 8080,
                 .grace = 5,
                 .live = {.queue = 64, .path = "assay.journal"},
                 .engine = {.slice = 64,
                            .share = 60,
                            .snapshot = 100,
                            .practice = {.group = 16, .kl = 0.05, .review = 0.3}},
                 .train = {.warmup = -1, .clip = -1, .decay = -1},
                 .eval = {.problems = 25, .samples = 4}};
    char err[ERR] = "";
    const command *c = NULL;
    num_require_ieee();
    signal(SIGXFSZ, SIG_IGN); // a file size limit is an error of write, not an end
    for (int i = 0; i < COMMANDS && argc > 1; i++)
        if (!strcmp(argv[1], commands[i].name)) c = &commands[i];
    if (!c) {
        int help = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help"));
        return usage(NULL,
                     help       ? NULL
                     : argc > 1 ? "no such command: "
                                : "a command is missing",
                     argc > 1 ? argv[1] : "");
    }
    for (int i = 2; i < argc; i++)
        if (!strcmp(argv[i], "--help")) return usage(c, NULL, "");
    for (int i = 1; i < argc; i++)
        if (c->run == run_serve || c->run == run_resume || c->run == run_replay ||
            c->run == run_eval || !strcmp(argv[i], "--serve") || !strcmp(argv[i], "--task"))
            wait_briefly(argv);
    if (c->run == run_eval) o.temperature = 1;
    int bad = parse(c, argc - 2, argv + 2, &o);
    if (bad) return free(o.given), bad;
    if (!o.jobs) o.jobs = ranks_threads();
    if (o.jobs) omp_set_num_threads((int)o.jobs);
    bad = c->run == run_train ? ranks_open(&all, err) : 0;
    bad = bad || choose(&o.by, o.backend, err);
    if (!bad) bad = c->run(&o, err);
    if (ranks_agree(&all, bad, err) && !bad) bad = -1;
    if (o.by.device) o.by.close(o.by.device);
    if (bad && ranks_first(&all)) fprintf(stderr, "assay: %s\n", err);
    bad = bad ? (bad == 2 ? 2 : 1) : finish();
    free(o.given);
    ranks_close(&all); // the line is out: at the first end in failure mpirun stops the others
    return bad;
}
