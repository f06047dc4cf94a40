// host.cu - the host's side of the one launch: it lays models into device memory, writes commands
// into the mailbox, waits for their results, and brings home what was asked for.
//
// All device memory is taken before the launch. While the kernel runs it holds every
// multiprocessor, so nothing here may need another kernel: no memset and no copy within the
// device, only copies between the two memories, on a stream of their own.
#include "grid.cuh"
#include "failure.h"
#include "gpu.h"
#include <sched.h>
#include <time.h>
#ifdef ASSAY_EMU
enum { PATIENCE = 86400 }; // the emulator is slow
#else
enum { PATIENCE = 7200 };                       // seconds that the host waits for a command
static void host_pause(void) { sched_yield(); } // in each turn of a loop that waits for the kernel
#endif

// The numbers that both sides write for the same things.
static_assert(+DENSE == +KIND_F32 && +I8 == +KIND_I8 && +TQ4 == +KIND_TQ4, "tq4.h");
static_assert(+EMBED == +OP_EMBED && +QKV == +OP_QKV && +ATTEND == +OP_ATTEND && +OUT == +OP_OUT &&
                  +GATEUP == +OP_GATEUP && +DOWN == +OP_DOWN && +PHASE_OPS == +OPS,
              "tape.h");
static_assert(+R1 == +LEARN_R1 && +R2 == +LEARN_R2 && +NORMS == +LEARN_NORMS &&
                  +DENSES == +LEARN_DENSE && +TEXT == +LOSS_TEXT && +POLICY == +LOSS_POLICY &&
                  +MATCH == +LOSS_MATCH && +GPU_SLICE == +HEAD_SLICE,
              "grad.h");
static_assert(+EMBED_SLOT == +SLOT_EMBED && +HEAD_SLOT == +SLOT_HEAD && +NORM_SLOT == +SLOT_NORM &&
                  +LAYER_SLOTS == +SLOT_LAYERS && +SLOTS_OF_LAYER == W_COUNT + N_COUNT,
              "model.h");
static_assert(sizeof(mega_how) == sizeof(sample_options) &&
                  offsetof(mega_how, top_p) == offsetof(sample_options, top_p) &&
                  offsetof(mega_how, stream) == offsetof(sample_options, stream),
              "sample.h");
static_assert(+GPU_KEYS == +KEYS && +GPU_SEGMENT == +SEGMENT, "assay.h");

extern "C" __global__ void megakernel(mega *m);

enum {
    STAGE = 16 << 20, // bytes of host memory that copies go through
    HAVE = 1 << 16,   // matrices and norms
    SPIN = 20,        // seconds that a block waits for another
    IDLE = 30 * 86400 // seconds that the kernel waits for a command
};

// What lies in device memory already, by the host's array that it was made of.
typedef struct {
    const void *host;
    mega_matrix w;
    float *norm;
} resident;

typedef struct {
    mega m;            // as the device has it, unless changed
    mega *at;          // in device memory
    mega_mailbox *box; // in host memory that the device sees
    uint8_t *stage;    // [STAGE] in host memory that is copied fast
    uint8_t *base;     // device memory
    size_t size, used; // of base, bytes; used goes on beyond size
    size_t kept;       // used by what stays when all is detached
    cudaStream_t copies, kernel;
    int blocks, changed; // of the launch; m is not yet what the device has
    size_t shared;       // bytes of shared memory of a block
    uint32_t asked;      // commands so far
    long launches;
    int skip;            // of what decode() does, for measuring
    sample_options *how; // [logits_rows] of the run that serves, as the device has them
    resident *have;
    int haves;
    ref_run *run[RUNS];  // attached, or NULL
    int32_t *page[RUNS]; // [seqs, chunks] its pages as the device has them
    grad *g;
    optim *o;
    mega_part *part; // [g->parts] as the device has them
    char err[ERR];   // the first thing that went wrong with the device: nothing is done after it
} gpu;

static void broken(gpu *g, const char *what, const char *why) {
    if (!g->err[0]) snprintf(g->err, ERR, "the device: %s: %s", what, why);
}
// 1: it went well.
static int went(gpu *g, const char *what, cudaError_t e) {
    if (e != cudaSuccess) broken(g, what, cudaGetErrorString(e));
    return e == cudaSuccess;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- memory

// Device memory; NULL when it ends, and settle() says how much was wanted. The emulator gives each
// piece by itself, to see an access beyond its end; none is freed while the kernel runs.
static void *take(gpu *g, int64_t bytes) {
    size_t end = g->used + ((size_t)bytes + 255) / 256 * 256, at = g->used;
    g->used = end;
    if (end > g->size) return NULL;
#ifdef ASSAY_EMU
    void *p = NULL;
    (void)at;
    if (!went(g, "memory", cudaMalloc(&p, (size_t)bytes + (bytes == 0)))) return NULL;
    return p;
#else
    return g->base + at;
#endif
}

static void move(gpu *g, void *to, const void *from, int64_t bytes, cudaMemcpyKind kind) {
    if (g->err[0]) return;
    went(g, "a copy", cudaMemcpyAsync(to, from, (size_t)bytes, kind, g->copies));
    went(g, "a copy", cudaStreamSynchronize(g->copies));
}

// To the device; from NULL: zeros. to NULL: there was no memory.
static void put(gpu *g, void *to, const void *from, int64_t bytes) {
    for (int64_t at = 0, n; at < bytes && to; at += n) {
        n = least(bytes - at, STAGE);
        from ? memcpy(g->stage, (const uint8_t *)from + at, (size_t)n)
             : memset(g->stage, 0, (size_t)n);
        move(g, (uint8_t *)to + at, g->stage, n, cudaMemcpyHostToDevice);
    }
}

static void get(gpu *g, void *to, const void *from, int64_t bytes) {
    for (int64_t at = 0, n; at < bytes && !g->err[0]; at += n) {
        n = least(bytes - at, STAGE);
        move(g, g->stage, (const uint8_t *)from + at, n, cudaMemcpyDeviceToHost);
        memcpy((uint8_t *)to + at, g->stage, (size_t)n);
    }
}

// Memory for a copy of n bytes.
static void *keep(gpu *g, const void *from, int64_t bytes) {
    void *p = take(g, bytes);
    put(g, p, from, bytes);
    return p;
}

// The same bytes for each of n pointers to device memory, whose addresses follow.
static void takes(gpu *g, int64_t bytes, int n, ...) {
    va_list ap;
    va_start(ap, n);
    while (n--) *va_arg(ap, void **) = take(g, bytes);
    va_end(ap);
}

static int settle(gpu *g, char err[ERR]) {
    if (g->err[0]) return fail(err, "%s", g->err);
    g->changed = 1;
    if (g->used <= g->size) return 0;
    return fail(err, "the device: out of memory: %zu bytes wanted, %zu free", g->used, g->size);
}

// ---- matrices

// Tile i of a matrix in bricks: the codes of 16 rows by blocks, each with its 16 scales behind it.
static void make_tile(const tq_matrix *w, int64_t i, uint8_t *to) {
    int64_t blocks = w->pad / BLOCK, bytes = w->kind == KIND_TQ4 ? 8 : 16; // of a row in a brick
    memset(to, 0, (size_t)(blocks * (16 * bytes + 16)));
    for (int64_t r = 0; r < 16 && i * 16 + r < w->rows; r++)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t at = (i * 16 + r) * blocks + b;
            uint8_t *brick = to + b * (16 * bytes + 16);
            memcpy(brick + r * bytes, w->codes + at * bytes, (size_t)bytes);
            brick[16 * bytes + r] = (uint8_t)w->scale[at];
        }
}
static void make_row(const tq_matrix *w, int64_t r, uint8_t *to) { tq_widen(w, r, (float *)to); }

// `count` pieces of `each` bytes, made on all cores.
static void *make(gpu *g, const tq_matrix *w, int64_t count, int64_t each,
                  void (*piece)(const tq_matrix *w, int64_t i, uint8_t *to)) {
    uint8_t *to = (uint8_t *)take(g, count * each);
    int64_t fit = STAGE / each, n;
    for (int64_t first = 0; first < count && to; first += n) {
        n = least(count - first, fit);
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n; i++) piece(w, first + i, g->stage + i * each);
        move(g, to + first * each, g->stage, n * each, cudaMemcpyHostToDevice);
    }
    return to;
}

// Where the copy of a host's array is noted; *fresh: there is none yet.
static resident *find(gpu *g, const void *host, int *fresh) {
    int i = 0;
    while (i < g->haves && g->have[i].host != host) i++;
    must(i < HAVE);
    if ((*fresh = i == g->haves)) g->have[g->haves++] = resident{host, {}, NULL};
    return &g->have[i];
}

// A matrix is sent once: all runs of a model, and what learns, share it.
static mega_matrix send_matrix(gpu *g, const tq_matrix *w) {
    int fresh, brick = w->kind == KIND_TQ4 ? BRICK_TQ4 : BRICK_I8;
    resident *at = find(g, w->kind == KIND_F32 ? w->dense : w->codes, &fresh);
    mega_matrix *d = &at->w;
    if (!fresh) return *d;
    d->kind = w->kind, d->rows = (int32_t)w->rows, d->cols = (int32_t)w->cols;
    d->pad = (int32_t)w->pad, d->group = w->group;
    d->tiles = (d->rows + 15) / 16, d->blocks = d->pad / BLOCK;
    if (w->kind == KIND_F32) {
        d->dense = (float *)make(g, w, w->rows, w->cols * 4, make_row);
        return *d;
    }
    d->bricks = (uint8_t *)make(g, w, d->tiles, (int64_t)d->blocks * brick, make_tile);
    d->row = (float *)keep(g, NULL, (int64_t)d->tiles * 16 * 4);
    put(g, d->row, w->row, w->rows * 4);
    if (w->codebook) d->codebook = (int8_t *)keep(g, w->codebook, LEVELS);
    return *d;
}

static float *send_norm(gpu *g, const float *norm, int64_t n) {
    int fresh;
    resident *at = norm ? find(g, norm, &fresh) : NULL;
    if (norm && fresh) at->norm = (float *)keep(g, norm, n * 4);
    return norm ? at->norm : NULL;
}

// ---- runs

// The tape for the device; -1: the kernel has no way to run a phase of it.
static int send_tape(gpu *g, mega_run *d, const ref_run *r, char err[ERR]) {
    const model_config *c = &r->m->c;
    mega_phase *all = (mega_phase *)must_alloc((size_t)r->t.count, sizeof *all);
    int bad = r->m->embed.kind != KIND_F32 && !r->m->embed.rotate;
    for (int i = 0; i < r->t.count; i++) {
        const tape_phase *p = &r->t.phase[i];
        mega_phase *q = &all[i];
        q->op = p->op, q->layer = p->layer, q->linears = p->linears;
        for (int k = 0; k < p->linears; k++) {
            bad |= p->w[k]->kind != p->w[0]->kind || p->w[k]->group != p->w[0]->group;
            bad |= p->w[k]->kind != KIND_F32 && !p->w[k]->rotate;
            q->w[k] = send_matrix(g, p->w[k]);
        }
        q->norm = send_norm(g, p->norm, c->hidden);
        q->norm_q = send_norm(g, p->norm_q, c->head_dim);
        q->norm_k = send_norm(g, p->norm_k, c->head_dim);
    }
    d->embed = send_matrix(g, &r->m->embed);
    d->phases = r->t.count;
    d->phase = (mega_phase *)keep(g, all, (int64_t)r->t.count * (int64_t)sizeof *all);
    free(all);
    return bad ? fail(err, "the device: a matrix that is not rotated, or a phase of two kinds") : 0;
}

// Columns of the widest matrix.
static int64_t widest(const ref_run *r) {
    int64_t wide = r->m->embed.pad;
    for (int i = 0; i < r->t.count; i++)
        if (r->t.phase[i].linears && r->t.phase[i].w[0]->pad > wide) wide = r->t.phase[i].w[0]->pad;
    return wide;
}

static int run_phase(ref_run *r, const tape_phase *p, char err[ERR]);

static int attach(gpu *g, int which, ref_run *r, int64_t logits_rows, char err[ERR]) {
    mega_run *d = &g->m.run[which];
    const model_config *c = &r->m->c;
    int64_t room = (r->room + 15) / 16 * 16, hd = c->head_dim, wide = widest(r);
    int64_t angles = r->context * hd / 2 * 4, table = r->seqs * r->chunks * 4;
    int64_t kept = r->pages * r->cached * c->kv_heads * r->keys * hd * (c->kv_bf16 ? 2 : 4);
    *d = mega_run{};
    d->hidden = (int32_t)c->hidden, d->inter = (int32_t)c->inter, d->layers = (int32_t)c->layers;
    d->heads = (int32_t)c->heads, d->kv_heads = (int32_t)c->kv_heads, d->head_dim = (int32_t)hd;
    d->vocab = (int32_t)c->vocab, d->eps = c->eps, d->room = (int32_t)room;
    d->context = (int32_t)r->context, d->keys = (int32_t)r->keys, d->chunks = (int32_t)r->chunks;
    d->cached = (int32_t)r->cached, d->kv_bf16 = c->kv_bf16;
    d->logits_rows = (int32_t)logits_rows;
    takes(g, room * c->hidden * 4, 2, &d->x, &d->n);
    takes(g, room * c->heads * hd * 4, 3, &d->raw_q, &d->q, &d->o);
    takes(g, room * c->kv_heads * hd * 4, 3, &d->raw_k, &d->k, &d->v);
    takes(g, room * c->inter * 4, 3, &d->g, &d->u, &d->h);
    takes(g, room * c->heads * 4, 2, &d->peak, &d->mass);
    takes(g, logits_rows * c->vocab * 4, 1, &d->logits);
    if (which == RUN_SERVE) { // of others the logits come home
        takes(g, logits_rows * c->vocab * 4, 1, &d->weight);
        free(g->how);
        g->how = (sample_options *)must_alloc((size_t)logits_rows, sizeof *g->how);
        d->how = (mega_how *)keep(g, g->how, logits_rows * (int64_t)sizeof *g->how);
    }
    takes(g, kept, 2, &d->kcache, &d->vcache);
    takes(g, room * wide, 1, &d->acts);
    takes(g, room * wide / 32 * 4, 1, &d->mult);
    takes(g, room * 4, 1, &d->e);
    takes(g, room * c->heads * r->chunks * (hd + 2) * 4, 1, &d->part);
    takes(g, g->blocks * room * 4, 2, &d->best, &d->best_id);
    d->token = (int32_t *)take(g, 3 * room * 4);
    d->pos = d->token + room, d->seq = d->pos + room;
    d->arrived = (uint32_t *)keep(g, NULL, room * c->heads * 4);
    d->cos = (float *)keep(g, r->cos, angles), d->sin = (float *)keep(g, r->sin, angles);
    d->page = (int32_t *)keep(g, r->page, table);
    if (send_tape(g, d, r, err) || settle(g, err)) return -1;
    g->run[which] = r;
    g->page[which] = (int32_t *)memcpy(must_alloc((size_t)table, 1), r->page, (size_t)table);
    r->phase = run_phase, r->device = g;
    return 0;
}

static int gpu_attach(void *device, ref_run *r, int64_t logits_rows, char err[ERR]) {
    gpu *g = (gpu *)device;
    int i = RUN_SERVE;
    if (g->run[i])
        for (i = RUN_MORE; g->run[i];) must(++i < RUNS);
    return attach(g, i, r, logits_rows, err);
}

static void gpu_detach(void *device) {
    gpu *g = (gpu *)device;
    for (int i = 0; i < RUNS; i++)
        if (g->run[i]) g->run[i]->phase = NULL, g->run[i] = NULL, free(g->page[i]);
    if (g->g) g->g->pass = NULL, g->g->zero = NULL, g->g->step = NULL;
    free(g->part);
    free(g->how);
    g->g = NULL, g->o = NULL, g->part = NULL, g->how = NULL;
    g->haves = 0;
    g->used = g->kept;
}

// ---- commands

// Why the kernel does not go on, or NULL.
static const char *stopped(gpu *g, double until) {
    uint32_t parked = __atomic_load_n(&g->box->parked, __ATOMIC_ACQUIRE);
    if (parked == PARK_LOST) return "a block waited too long for the others";
    if (parked == PARK_IDLE) return "it had nothing to do for too long";
    if (parked) return "it was told to";
    cudaError_t e = cudaStreamQuery(g->kernel);
    if (e != cudaErrorNotReady) return e ? cudaGetErrorString(e) : "it ended by itself";
    return seconds() > until ? "no answer for too long" : NULL;
}

static int ask(gpu *g, const mega_command *c, char err[ERR]) {
    double until = seconds() + PATIENCE;
    const char *why = NULL;
    void *args[] = {&g->at};
    if (g->changed) put(g, g->at, &g->m, sizeof g->m), g->changed = 0;
    if (!g->launches) {
        g->launches++;
        went(g, "the launch was refused",
             cudaLaunchCooperativeKernel(megakernel, dim3((unsigned)g->blocks), dim3(THREADS), args,
                                         g->shared, g->kernel));
    }
    if (g->err[0]) return fail(err, "%s", g->err);
    g->box->command = *c;
    __atomic_store_n(&g->box->asked, ++g->asked, __ATOMIC_RELEASE);
    for (uint32_t turn = 1; __atomic_load_n(&g->box->done, __ATOMIC_ACQUIRE) != g->asked; turn++) {
        if (turn % 1024 == 0 && (why = stopped(g, until))) {
            broken(g, "the kernel stopped", why);
            return fail(err, "%s", g->err);
        }
        host_pause();
    }
    return 0;
}

static int which(const gpu *g, const ref_run *r) {
    int i = 0;
    while (g->run[i] != r) must(++i < RUNS);
    return i;
}

// 1: no two rows of the step are of one sequence.
static int alone(const ref_run *r) {
    int one = 1;
    if (r->rows > r->seqs) return 0;
    uint8_t *seen = (uint8_t *)must_alloc((size_t)r->seqs, 1);
    for (int64_t t = 0; t < r->rows; t++) one &= !seen[r->seq[t]]++;
    free(seen);
    return one;
}

static void put_rows(gpu *g, const mega_run *d, const ref_run *r) {
    int32_t *page = g->page[d - g->m.run];
    int64_t table = r->seqs * r->chunks * 4;
    if (memcmp(page, r->page, (size_t)table)) {
        memcpy(page, r->page, (size_t)table);
        put(g, d->page, page, table);
    }
    put(g, d->token, r->token, r->rows * 4);
    put(g, d->pos, r->pos, r->rows * 4);
    put(g, d->seq, r->seq, r->rows * 4);
}

static mega_command tape_of(gpu *g, const ref_run *r) {
    mega_command c = {};
    c.op = CMD_RUN, c.run = which(g, r), c.last = r->t.count;
    c.rows = (int32_t)r->rows, c.head_from = (int32_t)r->head_from;
    must(r->rows - r->head_from <= g->m.run[c.run].logits_rows);
    return c;
}

// What a phase makes, from the device's buffers into those of ref.c.
static void get_phase(gpu *g, const mega_run *d, ref_run *r, int op) {
    const model_config *c = &r->m->c;
    int64_t T = r->rows * 4, q = T * c->heads * c->head_dim, kv = T * c->kv_heads * c->head_dim;
    int64_t rows = r->rows - r->head_from;
    if (op == OP_EMBED || op == OP_OUT || op == OP_DOWN) get(g, r->x, d->x, T * c->hidden);
    if (op == OP_QKV) get(g, r->q, d->q, q), get(g, r->k, d->k, kv), get(g, r->v, d->v, kv);
    if (op == OP_ATTEND) get(g, r->o, d->o, q);
    if (op == OP_GATEUP) get(g, r->g, d->g, T * c->inter), get(g, r->u, d->u, T * c->inter);
    if (op == OP_HEAD) ref_logits(r, rows), get(g, r->logits, d->logits, rows * c->vocab * 4);
}

static int run_phase(ref_run *r, const tape_phase *p, char err[ERR]) {
    gpu *g = (gpu *)r->device;
    mega_command c = tape_of(g, r);
    const mega_run *d = &g->m.run[c.run];
    if (p) c.first = (int32_t)(p - r->t.phase), c.last = c.first + 1;
    c.single = !p && alone(r); // then ATTEND finishes what QKV makes
    if (c.first == 0) put_rows(g, d, r);
    if (c.first == 0 && r->t.phase->op == OP_OUT) { // a tape that begins with what the host has
        put(g, d->o, r->o, r->rows * d->heads * d->head_dim * 4);
        put(g, d->x, r->x, r->rows * d->hidden * 4);
    }
    if (ask(g, &c, err)) return -1;
    if (g->box->failed >= 0) return ref_not_finite(&r->t.phase[g->box->failed], err);
    get_phase(g, d, r, p ? p->op : OP_HEAD);
    return g->err[0] ? fail(err, "%s", g->err) : 0;
}

static int gpu_decode(void *device, ref_run *r, const sample_options *o, int64_t known,
                      int64_t steps, int32_t *out, char err[ERR]) {
    gpu *g = (gpu *)device;
    mega_command c = tape_of(g, r);
    const mega_run *d = &g->m.run[c.run];
    int64_t bytes = r->rows * (int64_t)sizeof *o;
    must(c.run == RUN_SERVE && r->rows * steps <= DECODED && r->head_from == 0 && alone(r));
    c.single = 1, c.steps = (int32_t)steps, c.known = (int32_t)known, c.skip = g->skip;
    if (memcmp(g->how, o, (size_t)bytes)) {
        memcpy(g->how, o, (size_t)bytes);
        put(g, d->how, o, bytes);
    }
    put_rows(g, d, r);
    if (ask(g, &c, err)) return -1;
    if (g->box->failed >= 0) return ref_not_finite(&r->t.phase[g->box->failed], err);
    memcpy(out, g->m.out, (size_t)(r->rows * steps) * sizeof *out);
    return 0;
}

// ---- learning

// An array that lies as R1 does, element by element: the host has [rows, blocks] of size bytes, the
// device for each tile and block 16 of them, `lead` bytes from the beginning of `step` bytes.
static void move_r1(gpu *g, const mega_matrix *w, uint8_t *device, uint8_t *host, int64_t size,
                    int64_t lead, int64_t step, int home) {
    int64_t tile = w->blocks * step, fit = STAGE / tile, n;
    for (int64_t first = 0; first < w->tiles && device; first += n) {
        n = least(w->tiles - first, fit);
        int64_t last = least((first + n) * 16, w->rows);
        if (home)
            move(g, g->stage, device + first * tile, n * tile, cudaMemcpyDeviceToHost);
        else
            memset(g->stage, 0, (size_t)(n * tile));
#pragma omp parallel for schedule(static)
        for (int64_t r = first * 16; r < last; r++)
            for (int64_t b = 0; b < w->blocks; b++) {
                uint8_t *there = host + (r * w->blocks + b) * size;
                uint8_t *here =
                    g->stage + (r / 16 - first) * tile + b * step + lead + r % 16 * size;
                memcpy(home ? there : here, home ? here : there, (size_t)size);
            }
        if (!home) move(g, device + first * tile, g->stage, n * tile, cudaMemcpyHostToDevice);
    }
}

// An array of a part, elements of `size` bytes.
static void move_part(gpu *g, const mega_part *p, int64_t n, void *device, void *host, int64_t size,
                      int home) {
    if (p->what == R1)
        move_r1(g, &p->w, (uint8_t *)device, (uint8_t *)host, size, 0, 16 * size, home);
    else
        home ? get(g, host, device, n * size) : put(g, device, host, n * size);
}

// A part of no model, as the vectors of optim have it: the least matrix that holds its values.
static mega_matrix send_values(gpu *g, const grad_part *p) {
    int64_t rows = p->what == LEARN_R1 ? p->n : 1;
    tq_matrix w = {};
    int8_t book[LEVELS] = {0};
    uint8_t *codes = (uint8_t *)must_alloc((size_t)rows, 8 + 4 + 1);
    w.kind = KIND_TQ4, w.rows = rows, w.cols = w.pad = w.group = BLOCK, w.codes = codes;
    w.row = (float *)(codes + 8 * rows);
    w.scale = p->what == LEARN_R1 ? p->scale : (int8_t *)(codes + 12 * rows);
    w.codebook = p->what == LEARN_R2 ? p->scale : book;
    mega_matrix d = send_matrix(g, &w);
    g->haves--; // nobody shares it
    free(codes);
    return d;
}

// Device memory with a copy of a part's array.
static void *send_array(gpu *g, const mega_part *p, int64_t n, void *host, int64_t size) {
    void *d = take(g, p->n * size);
    move_part(g, p, n, d, host, size, 0);
    return d;
}

static mega_part send_part(gpu *g, const grad *gr, const grad_part *p, const optim_part *q) {
    model *m = (model *)(uintptr_t)gr->r.m;
    mega_part d = {};
    d.slot = p->slot, d.what = p->what, d.n = p->n;
    if (m && p->what != LEARN_NORMS)
        d.w = send_matrix(g, model_matrix(m, p->slot)), d.value = d.w.dense;
    else if (p->scale)
        d.w = send_values(g, p);
    else
        d.value = send_norm(g, p->value, p->n); // of no model: as good as a norm
    if (p->what == LEARN_R1) d.n = (int64_t)d.w.tiles * d.w.blocks * 16;
    d.sum = (int64_t *)send_array(g, &d, p->n, p->sum, 8);
    if (!q) return d;
    d.m = (uint16_t *)send_array(g, &d, p->n, q->m, 2);
    d.v = (float *)send_array(g, &d, p->n, q->v, 4);
    if (q->frac) d.frac = (int16_t *)send_array(g, &d, p->n, q->frac, 2);
    d.fixed = q->fixed;
    return d;
}

// Sends every array that learns, and where in the model each stands.
static void send_parts(gpu *g, const grad *gr, const optim *o) {
    mega_learn *l = &g->m.learn;
    int slots = gr->r.m ? model_slots(&gr->r.m->c) : 4;
    mega_part *part = g->part = (mega_part *)must_alloc((size_t)gr->parts, sizeof *part);
    int32_t *at = (int32_t *)must_alloc((size_t)slots * 4, sizeof *at);
    memset(at, -1, (size_t)slots * 4 * sizeof *at);
    for (int i = 0; i < gr->parts; i++) {
        part[i] = send_part(g, gr, &gr->part[i], o ? &o->part[i] : NULL);
        at[gr->part[i].slot * 4 + __builtin_ctz((unsigned)gr->part[i].what)] = i;
    }
    l->parts = gr->parts;
    l->part = (mega_part *)keep(g, part, gr->parts * (int64_t)sizeof *part);
    l->at = (int32_t *)keep(g, at, (int64_t)slots * 4 * 4);
    free(at);
}

// The buffers of a pass, with room for the rows of the run.
static void take_pass(gpu *g, const grad *gr) {
    mega_learn *l = &g->m.learn;
    const model_config *c = &gr->r.m->c;
    int64_t room = g->m.run[RUN_LEARN].room;
    takes(g, (gr->r.seqs + 1) * 8, 1, &l->start);
    takes(g, room * 4, 3, &l->target, &l->weight, &l->old);
    l->logp = (float *)keep(g, NULL, room * 4); // rows without a target keep what they had
    takes(g, c->layers * room * c->hidden * 4, 1, &l->in);
    takes(g, room * c->hidden * 4, 2, &l->dx, &l->y);
    takes(g, room * c->heads * c->head_dim * 4, 2, &l->dq, &l->dout);
    takes(g, room * c->kv_heads * c->head_dim * 4, 2, &l->dk, &l->dv);
    takes(g, room * (c->inter > c->heads ? c->inter : c->heads) * 4, 1, &l->dh);
    takes(g, room * widest(&gr->r) * 4, 1, &l->wide);
    l->tied = c->tied, l->context = (int32_t)gr->r.context;
}

// -1 and the line that grad.c would have ended with.
static int pass_failed(const grad *gr, int code, char err[ERR]) {
    const model_config *c = &gr->r.m->c;
    int layers = (int)c->layers, teacher = gr->teacher ? (int)gr->teacher->m->c.layers : 0;
    int layer, op, slot, mirror = mega_failure(layers, teacher, c->tied, code, &layer, &op, &slot);
    tape_phase p = {};
    p.op = (tape_op)op, p.layer = layer;
    return mirror ? grad_not_finite(c, layer, p.op, slot, err) : ref_not_finite(&p, err);
}

static void send_batch(gpu *g, const grad *gr) {
    mega_learn *l = &g->m.learn;
    const grad_batch *b = &gr->batch;
    int64_t first = b->start[0], T = gr->r.rows;
    int64_t *start = (int64_t *)must_alloc((size_t)b->seqs + 1, sizeof *start);
    for (int64_t s = 0; s <= b->seqs; s++) start[s] = b->start[s] - first;
    put(g, l->start, start, (b->seqs + 1) * 8);
    free(start);
    put_rows(g, &g->m.run[RUN_LEARN], &gr->r);
    if (g->run[RUN_TEACHER]) put_rows(g, &g->m.run[RUN_TEACHER], gr->teacher);
    put(g, l->target, b->target + first, T * 4);
    put(g, l->weight, b->weight + first, T * 4);
    put(g, l->old, b->old ? b->old + first : NULL, T * 4);
    put(g, l->loss, &gr->loss, 8);
    l->kind = gr->kind, l->low = gr->low, l->high = gr->high, l->samples = gr->samples;
    l->seqs = (int32_t)b->seqs, l->whole = gr->whole, l->pieces = (int32_t)gr->pieces;
    g->changed = 1;
}

static int run_pass(grad *gr, int64_t n, char err[ERR]) {
    gpu *g = (gpu *)gr->device;
    mega_command c = {};
    c.op = CMD_LEARN, c.back = gr->back, c.rows = (int32_t)gr->r.rows;
    c.first = (int32_t)gr->slice, c.last = (int32_t)(gr->slice + n);
    if (gr->slice == 0) send_batch(g, gr);
    if (ask(g, &c, err)) return -1;
    if (g->box->failed >= 0) return pass_failed(gr, g->box->failed, err);
    if (c.last < gr->slices) return 0;
    get(g, &gr->loss, g->m.learn.loss, 8);
    get(g, gr->logp, g->m.learn.logp, gr->r.rows * 4);
    return g->err[0] ? fail(err, "%s", g->err) : 0;
}

static void zero_sums(grad *gr) {
    gpu *g = (gpu *)gr->device;
    for (int i = 0; i < gr->parts; i++) put(g, g->part[i].sum, NULL, g->part[i].n * 8);
}

// A device that is lost here says so in the pass or the fetch that follows.
static float run_step(grad *gr, const optim_now *now) {
    gpu *g = (gpu *)gr->device;
    const optim_config *o = now->c;
    mega_command c = {};
    char err[ERR];
    float norm = 0;
    c.op = CMD_UPDATE, c.count = now->count, c.rate = now->rate, c.ratio = o->ratio;
    c.beta1 = o->beta1, c.beta2 = o->beta2, c.eps = o->eps, c.decay = o->decay, c.clip = o->clip;
    c.correct_m = now->correct_m, c.correct_v = now->correct_v;
    gr->loss = 0;
    if (!ask(g, &c, err)) get(g, &norm, g->m.learn.norm, 4);
    return norm;
}

static int gpu_learn(void *device, grad *gr, optim *o, char err[ERR]) {
    gpu *g = (gpu *)device;
    mega_learn *l = &g->m.learn;
    int64_t rows = least(gr->r.room, HEAD_PIECE);
    *l = mega_learn{};
    for (int i = 0; i < gr->parts && gr->r.m; i++) { // then a sample's logits are in one piece
        int slot = gr->part[i].slot;
        if (slot == SLOT_NORM || slot == (gr->r.m->c.tied ? SLOT_EMBED : SLOT_HEAD))
            rows = rows > gr->r.context ? rows : gr->r.context;
    }
    if (gr->r.m && attach(g, RUN_LEARN, &gr->r, rows, err)) return -1;
    if (gr->kind == LOSS_MATCH && attach(g, RUN_TEACHER, gr->teacher, rows, err)) return -1;
    if (gr->r.m) take_pass(g, gr);
    l->loss = (int64_t *)keep(g, NULL, 8), l->norm = (float *)keep(g, NULL, 4);
    l->squares = (uint64_t *)take(g, g->blocks * 3 * 8);
    send_parts(g, gr, o);
    if (settle(g, err)) return -1;
    g->g = gr, g->o = o;
    gr->pass = run_pass, gr->zero = zero_sums, gr->step = run_step, gr->device = g;
    return 0;
}

static int gpu_fetch(void *device, char err[ERR]) {
    gpu *g = (gpu *)device;
    for (int i = 0; g->g && i < g->g->parts; i++) {
        const mega_part *d = &g->part[i];
        const grad_part *p = &g->g->part[i];
        const optim_part *q = g->o ? &g->o->part[i] : NULL;
        move_part(g, d, p->n, d->sum, p->sum, 8, 1);
        if (!q) continue;
        if (p->what == LEARN_R1)
            move_r1(g, &d->w, d->w.bricks, (uint8_t *)p->scale, 1, 128, BRICK_TQ4, 1);
        else
            p->scale ? get(g, p->scale, d->w.codebook, LEVELS)
                     : get(g, p->value, d->value, p->n * 4);
        move_part(g, d, p->n, d->m, q->m, 2, 1);
        move_part(g, d, p->n, d->v, q->v, 4, 1);
        if (q->frac) move_part(g, d, p->n, d->frac, q->frac, 2, 1);
    }
    return g->err[0] ? fail(err, "%s", g->err) : 0;
}

// ---- opening and measuring

// Bytes a second of a copy within the device's memory. It may need the multiprocessors: before the
// launch.
static double time_copy(gpu *g) {
    double best = 1e9;
    int64_t bytes = least((int64_t)g->size / 4, 1 << 30);
    void *from = keep(g, NULL, bytes), *to = take(g, bytes);
    for (int turn = 0; turn < 5; turn++) {
        double start = seconds();
        move(g, to, from, bytes, cudaMemcpyDeviceToDevice);
        if (seconds() - start < best) best = seconds() - start;
    }
    g->used = g->kept;
    return 2 * (double)bytes / best;
}

static void gpu_leave_out(void *device, int ops) { ((gpu *)device)->skip = ops; }

static int gpu_measure(void *device, backend_figures *f, char err[ERR]) {
    gpu *g = (gpu *)device;
    mega_command c = {};
    if (!g->launches) {
        f->copy = time_copy(g);
        c.op = CMD_BARRIERS, c.steps = 1; // with the launch
        if (settle(g, err) || ask(g, &c, err)) return -1;
        double start = seconds();
        c.steps = 1000;
        if (ask(g, &c, err)) return -1;
        f->barrier = (seconds() - start) / c.steps;
    }
    f->launches = g->launches;
    return 0;
}

static void gpu_close(void *device) {
    gpu *g = (gpu *)device;
    mega_command c = {};
    c.op = CMD_STOP;
    if (g->launches) { // after an error too: a kernel that still listens ends
        g->box->command = c;
        __atomic_store_n(&g->box->asked, ++g->asked, __ATOMIC_RELEASE);
    }
    if (g->launches && !g->err[0]) went(g, "the end", cudaStreamSynchronize(g->kernel));
    if (g->err[0]) return; // a kernel that hangs ends with the process, and memory with it
    cudaFree(g->base);
    cudaFreeHost(g->stage);
    cudaFreeHost(g->box);
    cudaFreeHost(g->m.out);
    free(g->have);
    free(g);
}

static void nowhere(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows, float *y) {
    (void)m, (void)a, (void)x, (void)rows, (void)y;
    must(!"a run of the device was attached");
}

// How a block's shared memory is shared out: rings for the weights, and scratch.
static int choose_shared(gpu *g, const cudaDeviceProp *p, char err[ERR]) {
    int large = p->sharedMemPerBlockOptin >= 200 << 10, fit = 0;
    g->m.slots = (large ? 48 : 32) / WARPS, g->m.pass = large ? 16 : 8;
    g->shared = p->sharedMemPerBlockOptin / 128 * 128;
    g->m.scratch = (int32_t)g->shared - STATE_BYTES - WARPS * g->m.slots * SLOT_BYTES;
    if (g->m.scratch < 24 << 10)
        return fail(err, "the device: %zu bytes of shared memory for a block: expected 99 KiB",
                    p->sharedMemPerBlockOptin);
    went(g, "shared memory",
         cudaFuncSetAttribute(megakernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              (int)g->shared));
    went(g, "shared memory",
         cudaOccupancyMaxActiveBlocksPerMultiprocessor(&fit, megakernel, THREADS, g->shared));
    g->blocks = p->multiProcessorCount;
    if (g->err[0]) return fail(err, "%s", g->err);
    return fit ? 0 : fail(err, "the device: a block of the kernel does not fit a multiprocessor");
}

// Host memory that both sides see, streams, and all of the device's memory but a sixteenth.
static int take_all(gpu *g, char err[ERR]) {
    size_t all;
    went(g, "host memory", cudaHostAlloc((void **)&g->box, sizeof *g->box, cudaHostAllocMapped));
    went(g, "host memory", cudaHostAlloc((void **)&g->m.out, DECODED * 4, cudaHostAllocMapped));
    went(g, "host memory", cudaMallocHost((void **)&g->stage, STAGE));
    went(g, "a stream", cudaStreamCreateWithFlags(&g->copies, cudaStreamNonBlocking));
    went(g, "a stream", cudaStreamCreateWithFlags(&g->kernel, cudaStreamNonBlocking));
    went(g, "memory", cudaMemGetInfo(&g->size, &all));
    if (g->err[0]) return fail(err, "%s", g->err);
    memset(g->box, 0, sizeof *g->box);
    g->box->idle_ns = IDLE * 1000000000ull, g->box->spin_ns = SPIN * 1000000000ull;
    g->size -= g->size / 16;
#ifndef ASSAY_EMU
    if (cudaMalloc((void **)&g->base, g->size))
        return fail(err, "the device: out of memory: %zu bytes wanted, of %zu", g->size, all);
#endif
    return 0;
}

int gpu_open(backend *b, char err[ERR]) {
    int count = 0, limited = 0;
    int32_t first; // read back at once: nothing that a copy home needs is set up beside the kernel
    cudaDeviceProp p;
    unsetenv("CUDA_LAUNCH_BLOCKING"); // the launch would wait for a kernel that waits for us
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "8", 1); // nor may copies queue up behind it
    setenv("CUDA_MODULE_LOADING", "EAGER", 1); // no code may be loaded beside the running kernel
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e || !count)
        return fail(err, "no CUDA device: %s", e ? cudaGetErrorString(e) : "none was found");
    gpu *g = (gpu *)must_alloc(1, sizeof *g);
    g->have = (resident *)must_alloc(HAVE, sizeof *g->have);
    if (!went(g, "its properties", cudaGetDeviceProperties(&p, 0))) return fail(err, "%s", g->err);
    if (!p.cooperativeLaunch) return fail(err, "%s: no cooperative launch", p.name);
    cudaDeviceGetAttribute(&limited, cudaDevAttrKernelExecTimeout, 0);
    if (limited) return fail(err, "%s: shows a screen, so it ends kernels after seconds", p.name);
    if (choose_shared(g, &p, err) || take_all(g, err)) return -1;
    const int32_t none = INT32_MAX;
    g->m.box = g->box;
    g->at = (mega *)take(g, sizeof *g->at);
    g->m.arrive = (uint32_t *)keep(g, NULL, 128);
    g->m.failed = (int32_t *)keep(g, &none, 4);
    g->m.parked = (uint32_t *)keep(g, NULL, 4);
    g->kept = g->used;
    if (g->m.failed) get(g, &first, g->m.failed, 4);
    *b = backend{"gpu",      nowhere,       ref_tile,    g,
                 gpu_attach, gpu_learn,     gpu_fetch,   gpu_detach,
                 gpu_decode, gpu_leave_out, gpu_measure, gpu_close};
    return settle(g, err);
}
