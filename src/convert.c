// convert.c - texts, calibration and the folder that is written.
#include "convert.h"
#include "num.h"
#include "sample.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- texts

int convert_sample(convert_texts *t, const model *m, int64_t seqs, int64_t len, int32_t first,
                   uint32_t seed, char err[ERR]) {
    ref_run r;
    int bad = 0;
    int32_t *now = must_alloc((size_t)seqs * 3, sizeof *now), *pos = now + seqs, *seq = pos + seqs;
    *t = (convert_texts){seqs, len, must_alloc((size_t)(seqs * len), sizeof *t->token)};
    ref_open(&r, m, ref_linear, seqs, seqs, len);
    for (int64_t p = 0; p < len && !bad; p++) {
        for (int64_t s = 0; s < seqs; s++) {
            sample_options o = {1, 0, 1, seed, (uint32_t)s};
            const float *z = r.logits + s * m->c.vocab;
            now[s] = p ? sample_token(z, m->c.vocab, &o, (uint32_t)p) : first;
            t->token[s * len + p] = now[s];
            pos[s] = (int32_t)p, seq[s] = (int32_t)s;
        }
        if (p + 1 < len) bad = ref_step(&r, now, pos, seq, seqs, 0, err);
    }
    ref_close(&r);
    free(now);
    return bad;
}

void convert_cut(convert_texts *t, const int32_t *ids, int64_t n, int64_t len) {
    *t = (convert_texts){n / len, len, must_alloc((size_t)(n / len * len), sizeof *t->token)};
    memcpy(t->token, ids, (size_t)(n / len * len) * sizeof *ids);
}

// Positions and sequence numbers of count texts laid end to end: two arrays in one.
static int32_t *text_rows(const convert_texts *t, int64_t count) {
    int64_t rows = count * t->len;
    int32_t *pos = must_alloc((size_t)rows * 2, sizeof *pos);
    for (int64_t i = 0; i < rows; i++) {
        pos[i] = (int32_t)(i % t->len);
        pos[rows + i] = (int32_t)(i / t->len);
    }
    return pos;
}

int convert_step(ref_run *r, const convert_texts *t, int64_t first, int64_t count, char err[ERR]) {
    int32_t *pos = text_rows(t, count);
    int64_t rows = count * t->len;
    int bad = ref_step(r, t->token + first * t->len, pos, pos + rows, rows, 0, err);
    free(pos);
    return bad;
}

// ---- quantising a model

typedef struct {
    const model *dense;
    model m; // the matrices that are quantised so far stand in its places
    tq_rung rung;
    convert_emit emit;
    void *ctx;
    char *err;
    const float *input; // the dense model's input of the phase at hand [rows, cols]
    float *stream;      // and its residual stream before the phase adds to it [rows, hidden]
    ref_run dense_run, run;
} convert;

// x [rows, cols] minus less (or NULL), rotated as the columns of w are: [rows, pad].
static float *rotated(const float *x, const float *less, int64_t rows, const tq_matrix *w) {
    int64_t pad = tq_pad(w->cols);
    float *out = must_alloc((size_t)(rows * pad), sizeof *out); // zeroed: the padding
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t i = 0; i < w->cols; i++)
            out[t * pad + i] = x[t * w->cols + i] - (less ? less[t * w->cols + i] : 0);
        tq_rotate(out + t * pad, pad, tq_group(w->cols));
    }
    return out;
}

// sum over t of a_t b_t^T: [na, nb]. Each element is one ordered sum, so threads do not change it.
static double *outer_sum(const float *a, int64_t na, const float *b, int64_t nb, int64_t rows) {
    double *sum = must_alloc((size_t)(na * nb), sizeof *sum);
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < na; first += 8) // eight rows of the sum stay in the cache
        for (int64_t t = 0; t < rows; t++)
            for (int64_t i = first; i < na && i < first + 8; i++) {
                double x = a[t * na + i];
                for (int64_t j = 0; j < nb; j++) sum[i * nb + j] += x * b[t * nb + j];
            }
    return sum;
}

static int convert_slot(convert *c, int slot, const tq_calib *cal) {
    tq_owned q;
    tq_kind kind = slot < SLOT_LAYERS || c->rung == RUNGS ? KIND_I8 : KIND_TQ4;
    model *dense = (model *)(uintptr_t)c->dense; // model_matrix serves readers and writers
    if (tq_fit(&q, model_matrix(dense, slot), kind, c->rung, cal))
        return fail(c->err, "%s: a weight is not finite or above 2^48",
                    model_slot_at(&dense->c, slot).name);
    *model_matrix(&c->m, slot) = q.m;
    const tensor *t = tensor_find(&dense->files, model_slot_at(&dense->c, slot).name);
    if (t) tensor_release(t); // no more than the matrix at hand stays in memory
    return c->emit(c->ctx, slot, &q, c->err);
}

// The dense model's tap: keeps what the quantised one will be compared with.
static int keep_dense(void *ctx, const tape_phase *p, const float *x, int64_t rows, int64_t cols,
                      char err[ERR]) {
    convert *c = ctx;
    (void)p, (void)cols, (void)err;
    c->input = x;
    memcpy(c->stream, c->dense_run.x, (size_t)(rows * c->m.c.hidden) * sizeof *c->stream);
    return 0;
}

// The quantised model's tap: quantises the linears of the phase that is about to use them.
static int convert_phase(void *ctx, const tape_phase *p, const float *x, int64_t rows, int64_t cols,
                         char err[ERR]) {
    convert *c = ctx;
    must(err == c->err);
    if (p->op == OP_HEAD) return 0;
    const tq_matrix *w = p->w[0];
    int64_t pad = tq_pad(cols), hidden = c->m.c.hidden;
    int bad = 0, first = SLOT_LAYERS + p->layer * (W_COUNT + N_COUNT);
    float *in = rotated(x, NULL, rows, w), *off = NULL;
    double *hess = outer_sum(in, pad, in, pad, rows), *cross = NULL, *rest = NULL;
    if (c->rung >= RUNG_RETARGET) {
        off = rotated(c->input, x, rows, w);
        cross = outer_sum(off, pad, in, pad, rows);
    }
    if (cross && (p->op == OP_OUT || p->op == OP_DOWN)) {
        for (int64_t i = 0; i < rows * hidden; i++) c->stream[i] -= c->run.x[i];
        rest = outer_sum(c->stream, hidden, in, pad, rows);
    }
    tq_calib cal = {hess, cross, rest};
    for (int i = 0; i < p->linears && !bad; i++)
        bad = convert_slot(c, first + (int)(p->w[i] - c->m.layer[p->layer].w), &cal);
    free(in);
    free(off);
    free(hess);
    free(cross);
    free(rest);
    return bad;
}

// The dense and the quantised model walk the text side by side, a phase at a time; each phase of
// the quantised one is made just before it runs.
static int convert_calibrated(convert *c, const convert_texts *t) {
    int64_t rows = t->seqs * t->len;
    int bad = 0;
    ref_run *a = &c->dense_run, *b = &c->run;
    int32_t *pos = text_rows(t, t->seqs);
    ref_open(a, c->dense, ref_linear, rows, t->seqs, t->len);
    ref_open(b, &c->m, ref_linear, rows, t->seqs, t->len);
    a->tap = keep_dense, b->tap = convert_phase, a->tap_ctx = b->tap_ctx = c;
    c->stream = must_alloc((size_t)(rows * c->m.c.hidden), sizeof *c->stream);
    ref_rows(a, t->token, pos, pos + rows, rows, rows);
    ref_rows(b, t->token, pos, pos + rows, rows, rows);
    for (int i = 0; i < a->t.count && !bad; i++)
        bad = ref_phase(a, &a->t.phase[i], c->err) || ref_phase(b, &b->t.phase[i], c->err);
    free(c->stream);
    free(pos);
    ref_close(a);
    ref_close(b);
    return bad;
}

int convert_quantize(const model *dense, tq_rung rung, const convert_texts *calib,
                     convert_emit emit, void *ctx, char err[ERR]) {
    convert c = {.dense = dense, .m = *dense, .rung = rung, .emit = emit, .ctx = ctx, .err = err};
    int64_t layers = dense->c.layers;
    int bad = 0, calibrated = rung >= RUNG_FEEDBACK && rung < RUNGS && calib;
    int slots = calibrated ? SLOT_LAYERS : model_slots(&dense->c);
    c.m.layer = must_alloc((size_t)layers, sizeof *c.m.layer);
    memcpy(c.m.layer, dense->layer, (size_t)layers * sizeof *c.m.layer);
    for (int i = 0; i < slots && !bad; i++)
        if (model_slot_at(&dense->c, i).present && model_matrix(&c.m, i))
            bad = convert_slot(&c, i, NULL);
    if (dense->c.tied) c.m.head = c.m.embed;
    if (!bad && calibrated) bad = convert_calibrated(&c, calib);
    free(c.m.layer);
    return bad;
}

// ---- into a folder

// The stored arrays of a matrix w of the slot (any w for a norm), in file order, with their data;
// returns how many (0 to 4).
static int slot_tensors(const model *m, int slot, const tq_matrix *w, tensor *t,
                        char (*name)[160]) {
    model_slot s = model_slot_at(&m->c, slot);
    if (!s.present) return 0;
    const char *part[4] = {""};
    int n = 1;
    if (s.rows == 0) {
        const float *norm = *model_norm((model *)(uintptr_t)m, slot);
        t[0] = (tensor){.type = T_F32, .dims = 1, .dim = {s.cols}, .data = norm};
    } else if (w->kind == KIND_F32) {
        t[0] = (tensor){.type = w->type, .dims = 2, .dim = {s.rows, s.cols}, .data = w->dense};
    } else {
        int tq4 = w->kind == KIND_TQ4;
        part[0] = ".codes", part[1] = ".scale", part[2] = ".codebook", part[2 + tq4] = ".row";
        t[0] = (tensor){.type = tq4 ? T_U8 : T_I8, .dims = 2, .dim = {s.rows, w->pad >> tq4}};
        t[1] = (tensor){.type = T_I8, .dims = 2, .dim = {s.rows, w->pad / BLOCK}};
        t[2] = (tensor){.type = T_I8, .dims = 1, .dim = {LEVELS}, .data = w->codebook};
        t[2 + tq4] = (tensor){.type = T_F32, .dims = 1, .dim = {s.rows}, .data = w->row};
        t[0].data = w->codes, t[1].data = w->scale;
        n = 3 + tq4;
    }
    for (int i = 0; i < n; i++) {
        snprintf(name[i], 160, "%s%s", s.name, part[i]);
        t[i].name = name[i];
        t[i].bytes = tensor_type_size(t[i].type) * t[i].dim[0] * (t[i].dims > 1 ? t[i].dim[1] : 1);
    }
    return n;
}

convert_plan convert_planned(const model *m, int quantised) {
    int slots = model_slots(&m->c), n = 0;
    convert_plan p = {.t = must_alloc((size_t)slots * 4, sizeof *p.t),
                      .name = must_alloc((size_t)slots * 4, sizeof *p.name)};
    for (int i = 0; i < slots; i++, p.n += n) {
        model_slot s = model_slot_at(&m->c, i);
        const tq_matrix *w = model_matrix((model *)(uintptr_t)m, i);
        tq_matrix shape = {0};
        if (w && quantised)
            tq_shape(&shape, i < SLOT_LAYERS ? KIND_I8 : KIND_TQ4, s.rows, s.cols), w = &shape;
        n = slot_tensors(m, i, w, p.t + p.n, p.name + p.n);
        p.quantised |= n > 1;
    }
    return p;
}

void convert_plan_free(convert_plan *p) {
    free(p->t);
    free(p->name);
}

int convert_file(const char *path, const tensor *t, int n, const char *const meta[][2], int metas,
                 char err[ERR]) {
    tensor_writer w;
    if (tensor_write_open(&w, path, t, n, meta, metas, err)) return -1;
    for (int i = 0; i < n; i++)
        if (tensor_write(&w, t[i].data, t[i].bytes, err)) return -1;
    return tensor_write_close(&w, err);
}

typedef struct {
    const model *dense;
    tensor_writer w;
    int slot;       // everything before it is written
    tq_owned *kept; // [slots]: what a calibrated forward pass still reads; NULL: nothing
    void (*progress)(int done, int all, const char *name);
} folder;

static int write_slot(folder *f, int slot, const tq_matrix *w, char err[ERR]) {
    tensor t[4];
    char name[4][160];
    int n = slot_tensors(f->dense, slot, w, t, name);
    for (int i = 0; i < n; i++)
        if (tensor_write(&f->w, t[i].data, t[i].bytes, err)) return -1;
    return 0;
}

// Writes the norms that stand before `slot`.
static int write_norms(folder *f, int slot, char err[ERR]) {
    for (; f->slot < slot; f->slot++)
        if (model_slot_at(&f->dense->c, f->slot).rows == 0 && write_slot(f, f->slot, NULL, err))
            return -1;
    return 0;
}

static int write_matrix(void *ctx, int slot, tq_owned *q, char err[ERR]) {
    folder *f = ctx;
    if (f->progress)
        f->progress(slot, model_slots(&f->dense->c), model_slot_at(&f->dense->c, slot).name);
    int bad = write_norms(f, slot, err) || write_slot(f, slot, &q->m, err);
    f->slot = slot + 1;
    if (f->kept)
        f->kept[slot] = *q;
    else
        tq_free(q);
    return bad ? -1 : 0;
}

// Where to write until it is whole; a device or a pipe is written as it is.
static void part_name(char part[4104], const char *path) {
    struct stat s;
    int regular = stat(path, &s) || S_ISREG(s.st_mode);
    snprintf(part, 4104, "%s%s", path, regular ? ".part" : "");
}

FILE *convert_create(const char *path) {
    char part[4104];
    part_name(part, path);
    return fopen(part, "wb");
}

int convert_commit(FILE *f, const char *path, char err[ERR]) {
    char part[4104];
    int why = errno; // of what failed before
    part_name(part, path);
    int direct = strcmp(part, path) == 0, bad = !f || ferror(f); // direct: nothing to rename
    if (!bad && (fflush(f) || (!direct && fsync(fileno(f))))) bad = 1, why = errno;
    if (f && fclose(f) && !bad) bad = 1, why = errno;
    if (!bad && !direct && rename(part, path)) bad = 1, why = errno;
    if (!bad) return 0;
    if (f && !direct) remove(part);
    return fail(err, "%.300s: %s", path, strerror(why));
}

// Copies a small file of the folder; one that is not there is taken out of the copy too.
static int copy_file(const char *from, const char *to, const char *name, char err[ERR]) {
    char a[4096], b[4096];
    int c;
    snprintf(a, sizeof a, "%s/%s", from, name);
    snprintf(b, sizeof b, "%s/%s", to, name);
    FILE *in = fopen(a, "rb");
    if (!in && errno != ENOENT) return fail(err, "%.300s: %s", a, strerror(errno));
    if (!in) return remove(b) && errno != ENOENT ? fail(err, "%.300s: %s", b, strerror(errno)) : 0;
    FILE *out = convert_create(b);
    while (out && (c = getc(in)) != EOF && putc(c, out) != EOF) continue;
    int bad = ferror(in);
    fclose(in);
    int lost = convert_commit(out, b, err);
    return bad ? fail(err, "%.300s: cannot be read", a) : lost;
}

int convert_folder(const char *from, const char *to, char err[ERR]) {
    struct stat a, b;
    if (!*to) return fail(err, "expected the name of a folder, not an empty one");
    if (mkdir(to, 0777) ? errno != EEXIST : tensor_sync_name(to))
        return fail(err, "%.300s: %s", to, strerror(errno));
    if (stat(to, &b) || !S_ISDIR(b.st_mode)) return fail(err, "%.300s: expected a folder", to);
    if (!stat(from, &a) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return fail(err, "%.300s: is the model itself: expected another folder", to);
    return 0;
}

// The folder with everything but the weights, whose path is written to path.
static int begin_folder(char path[4096], const char *from, const char *to, char err[ERR]) {
    static const char *const side[] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                       "generation_config.json"};
    if (convert_folder(from, to, err)) return -1;
    for (size_t i = 0; i < sizeof side / sizeof *side; i++)
        if (copy_file(from, to, side[i], err)) return -1;
    snprintf(path, 4096, "%s/model.safetensors", to);
    return 0;
}

static const char *const tq4_meta[2][2] = {{"format", TQ4_FORMAT}, {"version", TQ4_VERSION}};
static const char *const dense_meta[1][2] = {{"format", "pt"}}; // as Hugging Face's readers want it

int convert_save(const model *m, const char *from, const char *to, char err[ERR]) {
    char path[4096];
    if (begin_folder(path, from, to, err)) return -1;
    convert_plan p = convert_planned(m, 0);
    int bad =
        convert_file(path, p.t, p.n, p.quantised ? tq4_meta : dense_meta, p.quantised ? 2 : 1, err);
    convert_plan_free(&p);
    return bad;
}

int convert_write(const model *dense, const char *from, const char *to, tq_rung rung,
                  const convert_texts *calib, void (*progress)(int done, int all, const char *name),
                  char err[ERR]) {
    char path[4096];
    int slots = model_slots(&dense->c);
    if (begin_folder(path, from, to, err)) return -1;
    folder f = {.dense = dense, .progress = progress};
    if (calib && rung >= RUNG_FEEDBACK) f.kept = must_alloc((size_t)slots, sizeof *f.kept);
    convert_plan p = convert_planned(dense, 1);
    int bad = tensor_write_open(&f.w, path, p.t, p.n, tq4_meta, 2, err);
    if (!bad) {
        bad = convert_quantize(dense, rung, calib, write_matrix, &f, err) ||
              write_norms(&f, slots, err) || tensor_write_close(&f.w, err);
        if (bad) tensor_write_abort(&f.w);
    }
    for (int i = 0; i < slots && f.kept; i++) tq_free(&f.kept[i]);
    free(f.kept);
    convert_plan_free(&p);
    return bad ? -1 : 0;
}

int convert_fill(const convert_plan *p, const tensor_set *s, const char *path, char err[ERR]) {
    for (int i = 0; i < p->n; i++) {
        const tensor *t = &p->t[i], *have = tensor_find(s, p->name[i]);
        if (!have || have->type != t->type || have->bytes != t->bytes)
            return fail(err, "%.200s: %.150s: expected %ld bytes of %s", path, p->name[i],
                        (long)t->bytes, tensor_type_name(t->type));
        memcpy((void *)(uintptr_t)t->data, have->data, (size_t)have->bytes); // the run's own memory
    }
    return 0;
}

char *convert_read(const char *path, size_t *n, char err[ERR]) {
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    char *p = NULL;
    size_t room = 0, got;
    *n = 0;
    if (!f) {
        fail(err, "%.300s: %s", path, strerror(errno));
        return NULL;
    }
    do {
        if (*n + 65537 > room) {
            char *bigger = must_alloc(room = 2 * room + 65537, 1);
            if (p) memcpy(bigger, p, *n);
            free(p);
            p = bigger;
        }
        got = fread(p + *n, 1, 65536, f);
        *n += got;
    } while (got);
    p[*n] = 0;
    int bad = ferror(f);
    if (f != stdin) fclose(f);
    if (!bad) return p;
    fail(err, "%.300s: %s", path, strerror(errno));
    free(p);
    return NULL;
}
