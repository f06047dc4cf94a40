// mixed.c - serving and learning by turns in one launch, and between the slices of a pass, against
// the same turns by ref.c, where a pass is not cut: every token, every loss, and in the end every
// byte of the model are equal. The two have their sequences on different pages of the cache, and on
// others in each turn. For a build that has a device (make emu, make gpu-build).
#include "gpu.h"
#include "num.h"
#include "simd.h"
#include "train.h"

// Padding behind hidden and inter; a tile of DOWN has three slots in the first, which warps share.
// The second keeps keys and values in bf16.
static const model_config shapes[] = {
    {80, 600, 2, 4, 2, 32, 59, 4096, 1e-6f, 1e6, .qk_norm = 1, .tied = 1},
    {128, 200, 2, 6, 2, 32, 47, 4096, 1e-5f, 5e5, 8, 1, 4, 8192, .tied = 0, .kv_bf16 = 1},
};
enum {
    CONTEXT = 40,
    TURNS = 2,
    STEPS = 5,
    PROMPT = 11,
    TEXTS = 4,
    PAGES = 7,
    OUTS = TEXTS * (STEPS + 1)
};

// One side: a model that is served and learned.
typedef struct {
    model m;
    grad g;
    optim o;
    ref_run r;
    const backend *by;
} side;

static void open_side(side *s, const backend *by, const model_config *c, tq_kind kind, int learn) {
    char err[ERR];
    optim_config o = {.rate = 2e-2f,
                      .ratio = 0.5f,
                      .beta1 = 0.9f,
                      .beta2 = 0.95f,
                      .eps = 1e-12f,
                      .decay = 0.1f,
                      .clip = 1,
                      .warmup = 1,
                      .steps = TURNS};
    s->by = by;
    model_random(&s->m, c, kind, 3);
    grad_open(&s->g, &s->m, ref_linear, ref_tile, learn, 3, 2, CONTEXT);
    optim_open(&s->o, &s->g, &o);
    ref_open_pages(&s->r, &s->m, ref_linear, PROMPT, TEXTS, CONTEXT, PAGES);
    if (backend_learn(by, &s->g, &s->o, err) || backend_attach(by, &s->r, TEXTS, err)) {
        printf("FAIL mixed: %s\n", err);
        exit(1);
    }
}

static void close_side(side *s) {
    backend_detach(s->by);
    ref_close(&s->r);
    optim_close(&s->o);
    grad_close(&s->g);
    model_close(&s->m);
}

static void done(int bad, const char *err) {
    if (!bad) return;
    printf("FAIL mixed: %s\n", err);
    exit(1);
}

// How a row is sampled: greedy beside three that draw.
static const sample_options ways[TEXTS] = {
    {0, 0, 1, 0, 0}, {0.9f, 5, 1, 11, 1}, {1.3f, 0, 0.7f, 11, 2}, {0.9f, 9, 0.9f, 12, 1}};

// A token, then STEPS that are drawn, of four sequences by the weights as they are now, two of them
// behind prompts, which are in the cache already when prompts is 0: out has the tokens that were
// drawn, then for each sequence the sum of the bits of its first logits.
static void serve(side *s, int turn, int prompts, int32_t out[OUTS]) {
    char err[ERR];
    int64_t vocab = s->m.c.vocab;
    sample_options how[TEXTS];
    int32_t *page = s->r.page;
    for (int q = 0; q < TEXTS; q++) how[q] = ways[(q + turn) % TEXTS];
    for (int q = 0; q < TEXTS; q++) page[q] = (3 * q + turn + (s->by->device != NULL)) % PAGES;
    for (int32_t q = 0; q < 2 && prompts; q++) {
        int32_t id[PROMPT], pos[PROMPT], seq[PROMPT];
        for (int32_t t = 0; t < PROMPT; t++)
            id[t] = (t * t + 5 * turn + q) % (int32_t)vocab, pos[t] = t, seq[t] = q;
        done(ref_step(&s->r, id, pos, seq, PROMPT, PROMPT - 1, err), err);
    }
    int32_t id[TEXTS] = {1, 2, 3, 4}, pos[TEXTS] = {PROMPT, PROMPT}, seq[TEXTS] = {1, 0, 2, 3};
    int32_t first = page[0];
    page[0] = page[1], page[1] = first; // the two go on as each other
    done(ref_step(&s->r, id, pos, seq, TEXTS, 0, err), err);
    for (int64_t q = 0; q < TEXTS; q++) {
        uint32_t sum = 0;
        for (int64_t i = 0; i < vocab; i++) sum += num_bits(s->r.logits[q * vocab + i]);
        out[TEXTS * STEPS + q] = (int32_t)sum;
        pos[q]++;
    }
    if (s->by->device) {
        ref_rows(&s->r, id, pos, seq, TEXTS, 0);
        done(s->by->decode(s->by->device, &s->r, how, vocab, STEPS, out, err), err);
        return;
    }
    for (int i = 0; i < STEPS; i++) {
        done(ref_step(&s->r, id, pos, seq, TEXTS, 0, err), err);
        for (int q = 0; q < TEXTS; q++, out++) {
            *out = id[q] =
                sample_token(s->r.logits + q * vocab, vocab, &how[q], (uint32_t)pos[q] + 1);
            pos[q]++;
        }
    }
}

// A batch of three samples in two passes, and a step. The first pass goes in slices where there are
// tokens that have been served by the same weights: after every other slice they are served again.
static int64_t learn(side *s, int turn, const int32_t served[OUTS], int *bad) {
    enum { ROWS = 50 };
    static const int64_t start[] = {0, 9, 40, ROWS}; // 40 rows of the first pass: two of its pieces
    char err[ERR];
    int32_t token[ROWS], target[ROWS], again[OUTS];
    float weight[ROWS];
    for (int t = 0; t < ROWS; t++) {
        token[t] = (int32_t)((t * t + turn) % s->m.c.vocab);
        target[t] = t % 7 == 6 ? -1 : (int32_t)((3 * t + turn) % s->m.c.vocab);
        weight[t] = (float)(t % 5 + 1) * 0.25f;
    }
    grad_batch two = {2, start, token, target, weight, NULL};
    grad_batch one = {1, start + 2, token, target, weight, NULL};
    if (served) {
        grad_begin(&s->g, &two, 1);
        for (int slice = 0, more = 1; more; slice++) {
            more = grad_slice(&s->g, err);
            done(more < 0, err);
            if (slice % 2 != turn % 2) continue;
            serve(s, turn, slice == 2, again);
            *bad |= memcmp(again, served, sizeof again) != 0;
        }
    } else {
        done(grad_pass(&s->g, &two, err), err);
    }
    done(grad_pass(&s->g, &one, err), err);
    int64_t loss = s->g.loss;
    optim_step(&s->o, &s->g, ROWS);
    return loss;
}

static int compare(const backend *by, int shape, tq_kind kind, int what) {
    const backend plain = {.name = "ref", .linear = ref_linear, .tile = ref_tile};
    side a, b;
    char hex[2][65], err[ERR];
    int32_t out[2][OUTS];
    int bad = 0;
    open_side(&a, &plain, &shapes[shape], kind, what);
    open_side(&b, by, &shapes[shape], kind, what);
    train_digest(&a.m, hex[0]);
    for (int turn = 0; turn < TURNS; turn++) {
        serve(&a, turn, 1, out[0]), serve(&b, turn, 1, out[1]);
        bad |= memcmp(out[0], out[1], sizeof out[0]) != 0;
        int64_t whole = learn(&a, turn, NULL, NULL), sliced = learn(&b, turn, out[0], &bad);
        bad |= whole != sliced || a.o.norm != b.o.norm;
    }
    serve(&a, 0, 1, out[0]), serve(&b, 0, 1, out[1]);
    bad |= memcmp(out[0], out[1], sizeof out[0]) != 0;
    done(backend_fetch(by, err), err);
    train_digest(&a.m, hex[1]);
    bad |= !strcmp(hex[0], hex[1]); // it did learn
    train_digest(&b.m, hex[0]);
    bad |= strcmp(hex[0], hex[1]) != 0;
    printf("%s mixed: %s %s: %d turns of serving and learning, weights %.16s\n",
           bad ? "FAIL" : "ok", shape ? "llama" : "qwen3", kind == KIND_F32 ? "f32" : "tq4", TURNS,
           hex[0]);
    close_side(&b);
    close_side(&a);
    return bad;
}

// The shape of a real model with random weights: the logits of a prompt and of a token after it.
static int large(const backend *by, const char *shape) {
    enum { ROWS = 6 };
    static const int32_t id[ROWS + 1] = {5, 77, 1, 900, 31, 250, 12}, seq[ROWS + 1] = {0};
    static const int32_t pos[ROWS + 1] = {0, 1, 2, 3, 4, 5, 6};
    char err[ERR];
    model m;
    ref_run a, b;
    int bad = 0;
    if (!model_shape(shape)) return 1;
    model_random(&m, model_shape(shape), KIND_TQ4, 1);
    ref_open(&a, &m, simd_linear, ROWS, 1, ROWS + 1);
    ref_open(&b, &m, simd_linear, ROWS, 1, ROWS + 1);
    done(backend_attach(by, &b, 1, err), err);
    for (int k = 0; k < 2; k++) {
        int64_t n = k ? 1 : ROWS, first = k ? ROWS : 0;
        done(ref_step(&a, id + first, pos + first, seq, n, n - 1, err), err);
        done(ref_step(&b, id + first, pos + first, seq, n, n - 1, err), err);
        bad |= memcmp(a.logits, b.logits, (size_t)m.c.vocab * sizeof(float)) != 0;
    }
    printf("%s mixed: shape %s: logits of a prompt and of the token after it\n",
           bad ? "FAIL" : "ok", shape);
    backend_detach(by);
    ref_close(&a);
    ref_close(&b);
    model_close(&m);
    return bad;
}

// With an argument: one of the two models in 4 bits, for many schedules of the emulator; or a shape.
int main(int argc, char **argv) {
    char err[ERR];
    backend by;
    backend_figures f;
    num_require_ieee();
    done(gpu_open(&by, err), err);
    int bad = 0;
    if (argc > 1 && !strncmp(argv[1], "qwen3-", 6)) bad = large(&by, argv[1]);
    for (int shape = 0; shape < 2 && (argc < 2 || strncmp(argv[1], "qwen3-", 6)); shape++) {
        if (argc > 1 && shape != atoi(argv[1])) continue;
        bad |= compare(&by, shape, KIND_TQ4, LEARN_R1 | LEARN_R2 | (shape ? 0 : LEARN_NORMS));
        if (argc == 1) bad |= compare(&by, shape, KIND_F32, LEARN_DENSE | LEARN_NORMS);
    }
    done(by.measure(by.device, &f, err), err);
    printf("%s mixed: kernel launches: %ld\n", f.launches == 1 ? "ok" : "FAIL", f.launches);
    by.close(by.device);
    return bad || f.launches != 1;
}
