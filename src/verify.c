// verify.c - reads golden vectors and runs them.
#include "verify.h"
#include "num.h"
#include "optim.h"
#include "rng.h"
#include <inttypes.h>
#include <sodium.h>
#include <unistd.h>

// One case: what its line asks, and what the program makes of it, printed as the file prints it.
typedef struct {
    char *id, *reason, *flags, *in, *want; // the fields; of a model want is the lines that follow
    char op[32];                           // what is run
    const backend *by;
    int way;       // of several in which the case is run
    FILE *out;     // becomes the text that is compared with want
    void *mem[16]; // freed when the case is done
    int mems;
} vector;

static void *keep(vector *v, int64_t n, size_t size) {
    must(v->mems < 16);
    return v->mem[v->mems++] = must_alloc((size_t)n, size);
}

// ---- the items of a case

// The value of NAME= among words, "" when it is absent.
static const char *item(const char *words, const char *name) {
    size_t n = strlen(name);
    for (const char *s = words; (s = strstr(s, name)); s += n)
        if (s[n] == '=' && (s == words || s[-1] == ' ')) return s + n + 1;
    return "";
}

static int64_t integer(const vector *v, const char *name) { // bounded, so that products are
    int64_t x = atoll(item(v->in, name));
    return x < 0 ? 0 : x > 1 << 30 ? 1 << 30 : x;
}

static float real(const vector *v, const char *name) { return (float)atof(item(v->in, name)); }

static float centred(uint32_t w) { return (float)((int32_t)(w >> 8) - (1 << 23)); } // +-2^23

static uint32_t *stream(vector *v, uint32_t seed, uint32_t id, uint32_t which, int64_t words) {
    uint32_t *w = keep(v, (words + 3) / 4 * 4, sizeof *w);
    rng_words(seed, id, which, 0, w, (words + 3) / 4);
    return w;
}

// n floats of a FLOATS item (the forms stand in the head of tq4.txt), NULL when malformed.
static float *floats(vector *v, const char *name, int64_t n) {
    const char *s = item(v->in, name);
    char *end = (char *)s + 1;
    float *y = keep(v, n, sizeof *y);
    unsigned a, b, c;
    int k;
    if (sscanf(s, "fill:%x", &a) == 1) {
        for (int64_t i = 0; i < n; i++) y[i] = num_float(a);
    } else if (sscanf(s, "imp:%u,%x", &a, &b) == 2 && a) {
        for (int64_t i = 0; i < n; i += a) y[i] = num_float(b);
    } else if (sscanf(s, "unit:%u,%u,%u,%d", &a, &b, &c, &k) == 4 && k >= -126 && k <= 127) {
        uint32_t *w = stream(v, a, b, c, n);
        for (int64_t i = 0; i < n; i++) y[i] = centred(w[i]) * num_power_of_two(k - 23);
    } else if (sscanf(s, "model:%u,%u,%d", &a, &b, &k) == 3 && k >= -127 && k <= 126) {
        uint32_t *w = stream(v, a, b, 3, n);
        for (int64_t i = 0; i < n; i++)
            y[i] = (1 + (float)(w[i] >> 9) * 0x1p-23f) * num_power_of_two(-k);
    } else {
        for (int64_t i = 0; i < n; i++) { // f:HEX,HEX..
            if (*s != 'f' || *end != (i ? ',' : ':')) return NULL;
            y[i] = num_float((uint32_t)strtoul(end + 1, &end, 16));
        }
        return *end && *end != ' ' ? NULL : y;
    }
    return y;
}

// n bytes of a BYTES item, NULL when malformed. which: the stream in random models; wide: int8.
static uint8_t *bytes(vector *v, const char *name, int64_t n, uint32_t which, int wide) {
    const char *s = item(v->in, name);
    size_t hex = strcspn(s, " ");
    uint8_t *p = keep(v, n, 1);
    unsigned a, b;
    if (!strncmp(s, "b:", 2) && hex == 2 + 2 * (size_t)n)
        return sodium_hex2bin(p, (size_t)n, s + 2, hex - 2, NULL, NULL, NULL) ? NULL : p;
    if (sscanf(s, "fill:%x", &a) == 1) return memset(p, (int)a, (size_t)n);
    if (sscanf(s, "model:%u,%u", &a, &b) != 2) return NULL;
    memcpy(p, stream(v, a, b, which, (n + 3) / 4), (size_t)n);
    for (int64_t i = 0; i < n && wide; i++)
        p[i] = p[i] == 0x80 ? 0x81 : p[i] == 0 && which == 1 ? 1 : p[i];
    if (which == 2) p[n - 1] = 127;
    return p;
}

enum { MANY = 20 }; // tokens of a batch

// ---- what runs a case: prints its result; -1: the case is malformed

static void print_floats(vector *v, const char *head, const float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) fprintf(v->out, "%s%08x", i ? "," : head, num_bits(y[i]));
}

typedef struct {
    const void *x;
    int64_t bytes;
} piece;

// SHA-256 of n pieces.
static void print_hash(vector *v, const char *head, const piece *p, int n) {
    crypto_hash_sha256_state s;
    unsigned char hash[32];
    char hex[65];
    crypto_hash_sha256_init(&s);
    for (int i = 0; i < n; i++) crypto_hash_sha256_update(&s, p[i].x, (size_t)p[i].bytes);
    crypto_hash_sha256_final(&s, hash);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    fprintf(v->out, "%s%s", head, hex);
}

// The functions are total: every line computes all of them and takes its own.
static int run_num(vector *v) {
    unsigned u[3] = {0};
    union {
        uint64_t u;
        double d;
    } x, y;
    float cos, sin;
    sscanf(v->in, "%x %x %x", &u[0], &u[1], &u[2]);
    float a = num_float(u[0]), b = num_float(u[1]), c = num_float(u[2]);
    const struct {
        const char *op;
        float y;
    } one[] = {{"fma", num_fma(a, b, c)}, {"sigmoid", num_sigmoid(a)},
               {"div", num_div(a, b)},    {"tanh", num_tanh(a)},
               {"sqrt", num_sqrt(a)},     {"from_f16", num_from_f16((uint16_t)u[0])},
               {"rint", num_rint(a)},     {"from_bf16", num_from_bf16((uint16_t)u[0])},
               {"exp", num_exp(a)},       {"log", num_log(a)}};
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        if (!strcmp(v->op, one[i].op))
            return fprintf(v->out, one[i].y != one[i].y ? "nan" : "%08x", num_bits(one[i].y));
    if (!strcmp(v->op, "to_bf16")) return fprintf(v->out, a != a ? "nan" : "%04x", num_to_bf16(a));
    if (!strcmp(v->op, "to_f16")) return fprintf(v->out, a != a ? "nan" : "%04x", num_to_f16(a));
    if (sscanf(v->in, "%" SCNx64 " %" SCNx64, &x.u, &y.u) != 2) return -1;
    if (!strcmp(v->op, "pow")) {
        x.d = num_pow(x.d, y.d);
        return fprintf(v->out, "%016" PRIx64, x.u);
    }
    if (strcmp(v->op, "rope")) return -1;
    num_rope_table(x.d, atoll(strchr(v->in, ' ')), &cos, &sin); // the position is decimal
    return fprintf(v->out, "%08x %08x", num_bits(cos), num_bits(sin));
}

// A sum of the products of two arrays, whose recipe stands in the head of num.txt.
static int run_dot(vector *v) {
    unsigned n, seed[2];
    if (sscanf(v->in, "%u %u %u", &n, &seed[0], &seed[1]) != 3) return -1;
    float *x[2] = {keep(v, n, sizeof(float)), keep(v, n, sizeof(float))};
    for (unsigned i = 0; i < 2 * n; i++) {
        uint32_t w = (i % n + 1) * 2654435761u + seed[i / n] * 40503u;
        w = (w ^ w >> 15) * 2246822519u;
        x[i / n][i % n] = centred(w) * num_power_of_two((int)(w & 7) - 27);
    }
    float y = (v->op[0] == 'l' ? num_lane_dot : num_seq_dot)(x[0], x[1], n);
    return fprintf(v->out, "%08x", num_bits(y));
}

static int run_rng(vector *v) {
    uint32_t u[6] = {0}, w[64];
    int n = 4;
    sscanf(v->in, "%x %x %x %x %x %x", &u[0], &u[1], &u[2], &u[3], &u[4], &u[5]);
    if (!strcmp(v->op, "philox"))
        memcpy(w, rng_philox(u, u + 2).v, 4 * sizeof *w);
    else if (!strcmp(v->op, "words") && u[4] <= 16)
        rng_words(u[0], u[1], u[2], u[3], w, u[4]), n = (int)u[4] * 4;
    else if (!strcmp(v->op, "uniform"))
        w[0] = num_bits(rng_uniform(u[0])), n = 1;
    else
        return -1;
    for (int i = 0; i < n; i++) fprintf(v->out, "%s%08x", i ? " " : "", w[i]);
    return n ? 0 : fprintf(v->out, "none");
}

// The matrix of a case (pad and G that differ from the file's are printed) and its input row.
static int get_matrix(vector *v, tq_matrix *m, tq_kind kind, const float **x) {
    int64_t rows = integer(v, "rows"), cols = integer(v, "cols");
    int narrow = kind == KIND_TQ4;
    if (cols < 1 || cols > MAX_COLS || rows < 0) return -1;
    tq_shape(m, kind, rows, cols);
    m->rotate = integer(v, "rot") != 0;
    if (m->pad != integer(v, "pad") || m->group != integer(v, "G"))
        fprintf(v->out, "pad=%d G=%d ", (int)m->pad, m->group);
    if (x && !(*x = floats(v, "x", cols))) return -1;
    if (!strcmp(v->op, "quant")) return 0;
    m->codes = bytes(v, "codes", rows * m->pad >> narrow, 0, !narrow);
    m->scale = (int8_t *)bytes(v, "scale", rows * m->pad / BLOCK, 1, 1);
    m->codebook = narrow ? (int8_t *)bytes(v, "book", LEVELS, 2, 1) : NULL;
    m->row = floats(v, "row", rows);
    return m->codes && m->scale && m->row && !m->codebook == !narrow ? 0 : -1;
}

// e and m of a group from m << (e - E + 16), with m in 128 .. 255.
static void print_acts(vector *v, const tq_acts *a) {
    int64_t groups = a->pad / a->group;
    fprintf(v->out, "E=%d", a->e[0]);
    for (int64_t g = 0; g < groups; g++)
        fprintf(v->out, "%s%d", g ? "," : " e=", a->e[0] + 8 - __builtin_clz(a->mult[g]));
    for (int64_t g = 0; g < groups; g++)
        fprintf(v->out, "%s%d", g ? "," : " m=", a->mult[g] >> (24 - __builtin_clz(a->mult[g])));
    if (item(v->want, "q")[0] == 's')
        print_hash(v, " q=sha256:", &(piece){a->q, a->pad}, 1);
    else
        for (int64_t i = 0; i < a->pad; i++) fprintf(v->out, "%s%d", i ? "," : " q=", a->q[i]);
}

// A linear layer of x [T, cols] on a device: a tape of one OUT phase, and a residual stream of -0,
// to which y is added without a change of its bits. -1: a value is not finite.
static int device_linear(vector *v, const tq_matrix *m, float *x, int64_t T, float *y) {
    tape_phase p = {.op = OP_OUT, .linears = 1, .w = {m}};
    model one = {.c = {.hidden = m->rows, .head_dim = m->cols}, .embed = *m};
    int32_t zero[3 * MANY] = {0};
    char err[ERR];
    one.c.inter = one.c.layers = one.c.heads = one.c.kv_heads = one.c.vocab = 1;
    float *angles = must_alloc((size_t)m->cols, sizeof *angles);
    ref_run r = {.m = &one,
                 .t = {1, &p},
                 .room = T,
                 .seqs = T,
                 .context = 1,
                 .keys = 1,
                 .chunks = 1,
                 .pages = 1,
                 .page = zero,
                 .cached = 1,
                 .x = y,
                 .o = x,
                 .cos = angles,
                 .sin = angles};
    for (int64_t i = 0; i < T * m->rows; i++) y[i] = -0.0f;
    int bad = backend_attach(v->by, &r, 1, err);
    if (!bad) ref_rows(&r, zero, zero, zero, T, T);
    bad = bad || ref_phase(&r, &p, err);
    if (bad && !strstr(err, "not finite")) fprintf(v->out, "%s: ", err);
    backend_detach(v->by);
    free(angles);
    return bad;
}

// quant and linear. A linear layer is run on one token and on several equal ones, which simd.c and
// a device compute in other ways; when one of them differs, its row is printed.
static int run_acts(vector *v) {
    static const int tokens[] = {1, 4, MANY};
    tq_acts a = {0};
    tq_matrix m;
    const float *x = NULL;
    tq_kind kind = strncmp(item(v->in, "kind"), "i8", 2) ? KIND_TQ4 : KIND_I8;
    if (get_matrix(v, &m, kind, &x)) return -1;
    float *y = keep(v, (1 + MANY) * m.rows, sizeof *y), *show = y, *to = y + m.rows;
    float *many = keep(v, MANY * m.cols, sizeof *many);
    int finite = 1, quant = !strcmp(v->op, "quant"), bad = 0;
    for (int t = 0; t < MANY; t++) memcpy(many + t * m.cols, x, (size_t)m.cols * sizeof *x);
    if (!v->by->device) bad = tq_quantize(&a, many, MANY, &m);
    if (quant && !bad) {
        a.rows = 1;
        print_acts(v, &a);
    } else {
        for (int i = 0; i < 3 && !bad; i++) {
            a.rows = tokens[i];
            if (v->by->device)
                bad = device_linear(v, &m, many, tokens[i], to);
            else
                v->by->linear(&m, &a, many, tokens[i], to);
            if (i == 0) memcpy(y, to, (size_t)m.rows * sizeof *y);
            for (int t = 0; t < tokens[i]; t++)
                if (memcmp(y, to + t * m.rows, (size_t)m.rows * sizeof *y)) show = to + t * m.rows;
            if (show != y) break;
        }
        for (int64_t i = 0; i < m.rows; i++)
            finite &= (num_bits(show[i]) & 0x7f800000) != 0x7f800000;
        if (finite && !bad) print_floats(v, "y=f:", show, m.rows);
    }
    tq_acts_free(&a);
    return bad || !finite ? fprintf(v->out, "error") : 0;
}

static int run_wht(vector *v) {
    int64_t n = integer(v, "n");
    float *x = floats(v, "x", n);
    if (!x || n < 1) return -1;
    tq_rotate(x, n, (int)n);
    print_floats(v, "y=f:", x, n);
    return 0;
}

static int run_embed(vector *v) {
    tq_matrix m;
    int64_t token = integer(v, "token");
    if (get_matrix(v, &m, KIND_I8, NULL) || token < 0 || token >= m.rows) return -1;
    float *x = keep(v, m.cols, sizeof *x);
    tq_embed(&m, token, x);
    print_floats(v, "y=f:", x, m.cols);
    return 0;
}

// The numbers of a model as the vectors write them.
static model_config get_config(const vector *v) {
    model_config c = {integer(v, "hidden"), integer(v, "inter"),
                      integer(v, "layers"), integer(v, "heads"),
                      integer(v, "kv"),     integer(v, "head_dim"),
                      integer(v, "vocab"),  .tied = integer(v, "tied") != 0};
    c.eps = real(v, "eps");
    c.theta = atof(item(v->in, "theta"));
    c.qk_norm = !strncmp(item(v->in, "family"), "qwen3", 5);
    c.kv_bf16 = !strncmp(item(v->in, "cache"), "bf16", 4);
    sscanf(item(v->in, "rope"), "llama3,%lf,%lf,%lf,%lf", &c.rope_factor, &c.rope_low, &c.rope_high,
           &c.rope_original);
    return c;
}

// config.json goes to a folder of its own, since a folder is what the program reads.
static int run_config(vector *v) {
    char dir[] = "/tmp/assay-XXXXXX", path[64], err[ERR];
    model_config c;
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    must(f && fputs(v->in + strlen("config "), f) >= 0 && !fclose(f));
    int bad = model_config_read(&c, dir, err);
    unlink(path);
    rmdir(dir);
    const char *word = strncmp(v->want, "error ", 6) ? "" : v->want + 6;
    if (bad) return fprintf(v->out, "error %s", *word && strstr(err, word) ? word : err);
    fprintf(v->out, "family=%s hidden=%d inter=%d layers=%d heads=%d kv=%d head_dim=%d vocab=%d ",
            c.qk_norm ? "qwen3" : "llama", (int)c.hidden, (int)c.inter, (int)c.layers, (int)c.heads,
            (int)c.kv_heads, (int)c.head_dim, (int)c.vocab);
    fprintf(v->out, "tied=%d qk_norm=%d theta=%.10g eps=%08x rope=", c.tied, c.qk_norm, c.theta,
            num_bits(c.eps));
    if (c.rope_factor == 0) return fprintf(v->out, "default");
    return fprintf(v->out, "llama3,%.10g,%.10g,%.10g,%.10g", c.rope_factor, c.rope_low, c.rope_high,
                   c.rope_original);
}

static int run_rope(vector *v) {
    model_config c = get_config(v);
    int64_t half = c.head_dim / 2, pos = integer(v, "pos");
    if (half < 1 || pos < 0) return -1;
    float *cos = keep(v, 2 * (pos + 1) * half, sizeof *cos), *sin = cos + (pos + 1) * half;
    model_rope(&c, pos + 1, cos, sin);
    print_floats(v, "cos=", cos + pos * half, half);
    print_floats(v, " sin=", sin + pos * half, half);
    return 0;
}

// The line of ref.txt for a phase that was just run.
static void print_phase(vector *v, const ref_run *r, const tape_phase *p) {
    const model_config *c = &r->m->c;
    int64_t row = r->rows * (int64_t)sizeof(float), q = c->heads * c->head_dim * row;
    int64_t kv = c->kv_heads * c->head_dim * row, x = c->hidden * row, g = c->inter * row;
    const piece made[OPS][3] = {[OP_EMBED] = {{r->x, x}},
                                [OP_QKV] = {{r->q, q}, {r->k, kv}, {r->v, kv}},
                                [OP_ATTEND] = {{r->o, q}},
                                [OP_OUT] = {{r->x, x}},
                                [OP_GATEUP] = {{r->g, g}, {r->u, g}},
                                [OP_DOWN] = {{r->x, x}},
                                [OP_HEAD] = {{r->logits, c->vocab * row}}};
    const float *first = made[p->op][0].x;
    char layer[16] = "-";
    if (p->layer >= 0) snprintf(layer, sizeof layer, "%d", p->layer);
    fprintf(v->out, "%sphase %s %s", p->op == OP_EMBED ? "" : "\n", layer, tape_op_name[p->op]);
    print_hash(v, " ", made[p->op], 3);
    fprintf(v->out, " %08x %08x", num_bits(first[0]), num_bits(first[1]));
}

// What a device does in one command must be what it did phase by phase: all rows, of which want
// has the logits, and then single rows; and it must draw the tokens that sample.c draws.
static int whole_steps(vector *v, ref_run *r, const float *want, char err[ERR]) {
    enum { ROWS = 9, STEPS = 6 };
    static const sample_options how[] = {
        {0, 0, 1, 0, 0}, {0.8f, 0, 1, 7, 0}, {1.5f, 9, 0.9f, 8, 3}};
    const int32_t *token = r->token, *pos = r->pos, zero = 0;
    int64_t T = r->rows, vocab = r->m->c.vocab, known = vocab - 3, steps = T < STEPS ? T : STEPS;
    size_t row = (size_t)vocab * sizeof *want;
    int32_t drawn[STEPS];
    if (ref_step(r, token, pos, r->seq, T, 0, err)) return -1;
    if (memcmp(r->logits, want, (size_t)T * row)) fprintf(v->out, "; all rows in a step differ");
    for (int64_t t = T > ROWS ? T - ROWS : 0; t < T; t++) {
        if (ref_step(r, token + t, pos + t, &zero, 1, 0, err)) return -1;
        if (memcmp(r->logits, want + t * vocab, row))
            fprintf(v->out, "; row %d alone differs", (int)t);
    }
    for (int k = 0; k < 3; k++) {
        int32_t id = token[0], at = 0;
        ref_rows(r, &id, &at, &zero, 1, 0);
        if (v->by->decode(v->by->device, r, &how[k], known, steps, drawn, err)) return -1;
        for (; at < steps; at++) {
            if (ref_step(r, &id, &at, &zero, 1, 0, err)) return -1;
            id = sample_token(r->logits, known, &how[k], (uint32_t)at + 1);
            if (id != drawn[at])
                return fprintf(v->out, "; draw %d, token %d: %d for %d", k, at, drawn[at], id), 0;
        }
    }
    return 0;
}

static int run_whole(vector *v) {
    model m;
    ref_run r;
    char err[ERR];
    model_config c = get_config(v);
    int64_t T = integer(v, "T"), seed = integer(v, "seed"), pages = 2 * ((T + KEYS - 1) / KEYS);
    if (T < 1 || c.hidden < 1 || c.inter < 1 || c.kv_heads < 1 || c.vocab < 1) return -1;
    int32_t *token = keep(v, 3 * T, sizeof *token), *pos = token + T, *seq = pos + T;
    for (int64_t i = 0; i < T; i++) {
        token[i] = (int32_t)((7 * i * i + 3 * i + seed) % c.vocab);
        pos[i] = (int32_t)i;
    }
    int dense = !strncmp(item(v->in, "kind"), "f32", 3);
    model_random(&m, &c, dense ? KIND_F32 : KIND_TQ4, (uint32_t)seed);
    ref_open_pages(&r, &m, v->by->linear, T, 1, T, pages); // backwards, with gaps between them
    for (int64_t i = 0; i < r.chunks; i++) r.page[i] = (int32_t)(pages - 1 - 2 * i);
    ref_rows(&r, token, pos, seq, T, 0);
    int bad = backend_attach(v->by, &r, T, err);
    for (int i = 0; i < r.t.count && !bad; i++)
        if (!(bad = ref_phase(&r, &r.t.phase[i], err))) print_phase(v, &r, &r.t.phase[i]);
    if (v->by->device && !bad) {
        float *logits = keep(v, T * c.vocab, sizeof *logits);
        memcpy(logits, r.logits, (size_t)(T * c.vocab) * sizeof *logits);
        bad = whole_steps(v, &r, logits, err);
    }
    if (bad) fprintf(v->out, "\n%s", err);
    backend_detach(v->by);
    ref_close(&r);
    model_close(&m);
    return 0;
}

// ---- gradients

static const char *const what_name[] = {"", "r1", "r2", "", "norm", [LEARN_DENSE] = "dense"};

// n floats sign * (a + step i mod b) 2^k of an item a,b,k, NULL when malformed.
static float *ramp(vector *v, const char *name, int64_t step, int sign, int64_t n) {
    int a, b, k;
    float *y = keep(v, n, sizeof *y);
    if (sscanf(item(v->in, name), "%d,%d,%d", &a, &b, &k) != 3 || b < 1) return NULL;
    for (int64_t i = 0; i < n; i++) y[i] = (float)(sign * (a + step * i % b)) * num_power_of_two(k);
    return y;
}

// The batch of a case; -1: malformed. Returns the length of its longest sample.
static int64_t get_batch(vector *v, grad_batch *b, int64_t vocab) {
    int64_t *start = keep(v, 65, sizeof *start), context = 0;
    int64_t mask = integer(v, "mask"), seed = integer(v, "seed");
    for (const char *s = item(v->in, "cut"); b->seqs < 64 && *s && *s != ' '; b->seqs++) {
        int64_t n = strtol(s, (char **)&s, 10);
        if (n < 1 || n > 1 << 20) return -1;
        start[b->seqs + 1] = start[b->seqs] + n;
        context = n > context ? n : context;
        s += *s == ',';
    }
    int64_t T = start[b->seqs];
    int32_t *token = keep(v, 2 * T, sizeof *token), *target = token + T;
    for (int64_t i = 0; i < T; i++) {
        token[i] = (int32_t)((7 * i * i + 3 * i + seed) % vocab);
        target[i] = (int32_t)((5 * i * i + 11 * i + seed + 1) % vocab);
        if (mask && i % mask == mask - 1) target[i] = -1;
    }
    b->start = start, b->token = token, b->target = target;
    b->weight = ramp(v, "weight", 7, 1, T), b->old = ramp(v, "old", 11, -1, T);
    return b->weight && b->old && T ? context : -1;
}

// The lines of grad.txt for a batch of T rows that is done; logp [T] loses the rows without target.
static void print_grad(vector *v, grad *g, const int32_t *target, float *logp, int64_t T) {
    int64_t n = 0;
    for (int64_t t = 0; t < T; t++)
        if (target[t] >= 0) logp[n++] = logp[t];
    fprintf(v->out, " loss %" PRId64, g->loss);
    print_hash(v, " ", &(piece){logp, n * 4}, 1);
    for (int64_t i = 0; i < n && i < 2; i++) fprintf(v->out, " %08x", num_bits(logp[i]));
    for (int i = 0; i < g->parts; i++) {
        const grad_part *p = &g->part[i];
        fprintf(v->out, "\n part %s %s %" PRId64, model_slot_at(&g->r.m->c, p->slot).name,
                what_name[p->what], p->n);
        print_hash(v, " ", &(piece){p->sum, p->n * 8}, 1);
        fprintf(v->out, " %" PRId64 " %" PRId64, p->sum[0], p->sum[1]);
    }
}

// Way 0 is one pass, after a forward pass that must find the same loss; 1: a pass for each sample;
// 2: the same with the last sample first.
enum { GRAD_WAYS = 3 };

static int run_grad(vector *v) {
    grad g;
    grad_batch b = {0};
    model m, other;
    ref_run teacher;
    char err[ERR];
    model_config c = get_config(v);
    int64_t context = c.vocab < 1 ? -1 : get_batch(v, &b, c.vocab), alone = 0;
    if (context < 1 || c.hidden < 1 || c.inter < 1 || c.kv_heads < 1) return -1;
    int64_t T = b.start[b.seqs], micro = v->way ? 1 : b.seqs;
    int dense = !strncmp(item(v->in, "kind"), "f32", 3), loss = *item(v->in, "loss"), bad = 0;
    float *logp = keep(v, T, sizeof *logp);
    model_random(&m, &c, dense ? KIND_F32 : KIND_TQ4, (uint32_t)integer(v, "seed"));
    model_random(&other, &c, KIND_F32, (uint32_t)integer(v, "teacher"));
    ref_open(&teacher, &other, v->by->linear, micro * context, micro, context);
    grad_open(&g, &m, v->by->linear, v->by->tile, (int)integer(v, "learn"), b.seqs, micro, context);
    g.teacher = &teacher;
    g.kind = loss == 'm' ? LOSS_MATCH : loss == 'p' ? LOSS_POLICY : LOSS_TEXT;
    g.low = real(v, "low"), g.high = real(v, "high");
    bad = backend_learn(v->by, &g, NULL, err);
    if (!v->way && !bad && !(bad = grad_forward(&g, &b, err))) alone = g.loss;
    grad_zero(&g);
    for (int64_t s = 0; s < b.seqs && !bad; s += micro) {
        grad_batch part = b;
        part.seqs = micro, part.start += v->way == 2 ? b.seqs - 1 - s : s;
        int64_t first = part.start[0], rows = part.start[micro] - first;
        bad = grad_pass(&g, &part, err);
        memcpy(logp + first, g.logp, (size_t)rows * sizeof *logp);
    }
    bad = bad || backend_fetch(v->by, err);
    backend_detach(v->by);
    const char *word = strncmp(v->want, " error ", 7) ? "" : v->want + 7;
    if (bad)
        fprintf(v->out, " error %s", *word && strstr(err, word) ? word : err);
    else
        print_grad(v, &g, b.target, logp, T);
    if (!bad && !v->way && alone != g.loss) fprintf(v->out, "\n forward alone %" PRId64, alone);
    grad_close(&g);
    ref_close(&teacher);
    model_close(&other);
    model_close(&m);
    return 0;
}

// ---- optimiser

static void print_part(vector *v, const optim_part *q) {
    const grad_part *p = q->p;
    int level = p->scale != NULL;
    const piece all[] = {{level ? (void *)p->scale : p->value, level ? p->n : p->n * 4},
                         {q->frac, level ? p->n * 2 : 0},
                         {q->m, p->n * 2},
                         {q->v, p->n * 4}};
    fprintf(v->out, "\n part %s %" PRId64, what_name[p->what], p->n);
    print_hash(v, " ", all, 4);
    level ? fprintf(v->out, " %d %d", p->scale[0], q->frac[0])
          : fprintf(v->out, " %08x -", num_bits(p->value[0]));
    fprintf(v->out, " %04x %08x", q->m[0], num_bits(q->v[0]));
}

// The arrays of a case, at most one of each kind, and for each room for the words of a step.
static int get_parts(vector *v, grad *g, uint32_t *words[4]) {
    const char *s = item(v->in, "sizes");
    for (int kind = 0; kind < 4; kind++, s += *s == ',') {
        grad_part *p = &g->part[g->parts];
        *p = (grad_part){.slot = kind, .what = 1 << kind, .n = strtol(s, (char **)&s, 10)};
        if (p->n < 1) continue;
        const char *name = what_name[p->what];
        if (kind < 2)
            p->scale = (int8_t *)bytes(v, name, p->n, 1 + (uint32_t)kind, 1);
        else
            p->value = floats(v, name, p->n);
        if ((!p->scale && !p->value) || (p->what == LEARN_R2 && p->n != LEVELS)) return -1;
        p->sum = keep(v, p->n, sizeof *p->sum);
        words[g->parts++] = keep(v, 2 * p->n + 4, sizeof **words);
    }
    return 0;
}

static int run_optim(vector *v) {
    grad_part part[4];
    uint32_t *w[4], seed = (uint32_t)integer(v, "seed");
    grad g = {.part = part};
    optim o;
    char err[ERR];
    int span, down;
    if (sscanf(item(v->in, "grads"), "%d,%d", &span, &down) != 2 || span < 0 || span > 32 ||
        down < 0 || down > 62)
        return -1;
    if (get_parts(v, &g, w)) return -1;
    optim_config c = {real(v, "rate"),  real(v, "ratio"),     real(v, "beta1"),
                      real(v, "beta2"), real(v, "eps"),       real(v, "decay"),
                      real(v, "clip"),  integer(v, "warmup"), integer(v, "steps")};
    optim_open(&o, &g, &c);
    for (int t = 1; t <= integer(v, "run"); t++) {
        for (int i = 0; i < g.parts; i++) {
            grad_part *p = &part[i];
            rng_words(seed, (uint32_t)p->slot, 16 + (uint32_t)t, 0, w[i], (p->n + 1) / 2);
            for (int64_t k = 0; k < p->n && span; k++)
                p->sum[k] +=
                    (int32_t)w[i][2 * k] * (1ll << w[i][2 * k + 1] % (uint32_t)span) >> down;
        }
        if (backend_learn(v->by, &g, &o, err)) fprintf(v->out, "%s", err);
        optim_step(&o, &g, real(v, "count"));
        if (backend_fetch(v->by, err)) fprintf(v->out, "%s", err);
        backend_detach(v->by);
        fprintf(v->out, "%s step %d %08x %08x", t > 1 ? "\n" : "", t, num_bits(optim_rate(&c, t)),
                num_bits(o.norm));
    }
    for (int i = 0; i < o.parts; i++) print_part(v, &o.part[i]);
    optim_close(&o);
    return 0;
}

// ---- files

static const struct {
    const char *file, *op; // op NULL: all others
    int (*run)(vector *v);
    int device; // a device runs it
} runner[] = {{"num", "lane_dot", run_dot, 0}, {"num", "seq_dot", run_dot, 0},
              {"num", NULL, run_num, 0},       {"rng", NULL, run_rng, 0},
              {"tq4", "quant", run_acts, 0},   {"tq4", "linear", run_acts, 1},
              {"tq4", "wht", run_wht, 0},      {"tq4", "embed", run_embed, 0},
              {"model", "rope", run_rope, 0},  {"model", "config", run_config, 0},
              {"ref", NULL, run_whole, 1},     {"grad", NULL, run_grad, 1},
              {"optim", NULL, run_optim, 1}};

enum { RUNNERS = sizeof runner / sizeof *runner };

// Moves both to where they part; 1: nowhere. A "-" instead of a number stands for any 8 digits.
static int agree(const char **got, const char **want) {
    for (const char *start = *want;; ++*want) {
        const char *w = *want;
        int any = w > start && strchr("=,", w[-1]) && *w == '-' && strchr(", ", w[1]);
        if (any ? strlen(*got) < 8 : **got != *w) return 0;
        if (!*w) return 1;
        *got += any ? 8 : 1;
    }
}

// Runs the case in its way; 1: it gave what is wanted, 0: it did not, which is printed; -1:
// malformed.
static int run_way(vector *v, const char *file, int (*run)(vector *v)) {
    char *text = NULL;
    size_t n;
    must((v->out = open_memstream(&text, &n)) != NULL);
    int malformed = run(v) < 0;
    fclose(v->out);
    const char *got = text, *want = v->want;
    int ok = agree(&got, &want);
    for (int k = 0; k < 90 && got > text && got[-1] != '\n' && want > v->want; k++) got--, want--;
    if (!ok && !malformed) // some of what is equal is shown, but no more than a line
        printf("FAIL %s %s (%s)%s: it is ..%.*s.. and should be ..%.*s..\n", file, v->id, v->reason,
               v->way ? ", cut into passes" : "", (int)strcspn(got, "\n") % 200, got,
               (int)strcspn(want, "\n") % 200, want);
    while (v->mems) free(v->mem[--v->mems]);
    free(text);
    return malformed ? -1 : ok;
}

// As run_way(); 2: not run, the device has no such function, or none for a matrix not rotated.
static int run_case(vector *v, const char *file) {
    size_t i = 0;
    while (strcmp(file, runner[i].file) || (runner[i].op && strcmp(v->op, runner[i].op)))
        if (++i == RUNNERS) return -1;
    if (v->by->device && (!runner[i].device || *item(v->in, "rot") == '0')) return 2;
    int ok = 1, ways = runner[i].run == run_grad ? GRAD_WAYS : 1;
    for (; ok == 1 && v->way < ways; v->way++) ok = run_way(v, file, runner[i].run);
    return ok;
}

// The fields of "a | b | c | d | e"; of a model e stands on the lines that follow.
static int split(vector *v, char *text) {
    char **field[] = {&v->id, &v->reason, &v->flags, &v->in};
    int n = 0;
    for (int i = 0; i < 4; i++) {
        char *bar = strstr(text, " | "), *end = bar ? bar : strchr(text, '\n');
        if (!end) return -1;
        *end = 0;
        *field[i] = text;
        text = end + (bar ? 3 : 1);
    }
    v->want = text;
    sscanf(v->id, "%31[a-z0-9_].%*d%n", v->op, &n); // in num and rng the id says it
    return n || sscanf(v->in, "%31s", v->op) == 1 ? 0 : -1;
}

// Cases of one kind that lie together get one line of output; n: how many failed, passed, were not
// run.
static void report(const backend *by, const char *file, const char *op, int n[3]) {
    if (n[0] + n[1]) printf("%s %s %s: %d cases\n", n[0] ? "FAIL" : "ok ", file, op, n[0] + n[1]);
    if (n[2]) printf("not run on %s: %s %s: %d cases\n", by->name, file, op, n[2]);
    fflush(stdout);
    n[0] = n[1] = n[2] = 0;
}

static int verify_file(const char *dir, const char *name, const backend *by, int *failed,
                       char err[ERR]) {
    char path[4096], *text = NULL, *next, group[32] = "";
    size_t room = 0;
    int line = 1, n[3] = {0}, passed = 0, result = 0;
    snprintf(path, sizeof path, "%s/%s.txt", dir, name);
    FILE *f = fopen(path, "r");
    if (!f || getdelim(&text, &room, 0, f) <= 0) result = -1; // text has no NUL: the whole file
    if (f) fclose(f);
    for (char *s = text; result >= 0 && *s; s = next) {
        vector v = {.by = by};
        char *end = s + strcspn(s, "\n");
        int lines = 1;
        for (; !strncmp(end, "\nphase ", 7) || !strncmp(end, "\n ", 2); lines++)
            end += 1 + strcspn(end + 1, "\n");
        next = end + (*end != 0);
        *end = 0;
        if (*s != '#' && (result = split(&v, s)) >= 0) {
            if (strcmp(v.op, group)) report(by, name, group, n);
            strcpy(group, v.op);
            result = run_case(&v, name);
            if (result >= 0) n[result]++;
            passed += result == 1, *failed += result == 0;
        }
        if (result >= 0) line += lines;
    }
    report(by, name, group, n);
    free(text);
    if (result >= 0 && group[0]) return passed; // there was a case
    return fail(err, "%.400s: line %d: missing or malformed", path, line);
}

int verify_all(const char *dir, const backend *by, int *failed, char err[ERR]) {
    static const char *const file[] = {"num", "rng", "tq4", "model", "ref", "grad", "optim"};
    int passed = 0;
    for (int i = 0; i < (int)(sizeof file / sizeof *file) && passed >= 0; i++) {
        int n = verify_file(dir, file[i], by, failed, err);
        passed = n < 0 ? -1 : passed + n;
    }
    return passed;
}
