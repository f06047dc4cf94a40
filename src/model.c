// model.c - reads a folder, or makes a random model.
#include "model.h"
#include "num.h"
#include "rng.h"
#include <jansson.h>
#include <sodium.h>
#include <unistd.h>

// ---- config.json

// An integer field in lo .. hi; absent: the default, or an error when that is negative.
static int get_int(json_t *o, const char *key, int64_t missing, int64_t lo, int64_t hi,
                   int64_t *out, char err[ERR]) {
    json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) {
        if (missing < 0)
            return fail(err, "config.json: %s: expected an integer, found nothing", key);
        *out = missing;
    } else if (!json_is_integer(v))
        return fail(err, "config.json: %s: expected an integer", key);
    else
        *out = json_integer_value(v);
    if (*out < lo || *out > hi)
        return fail(err, "config.json: %s: %lld: expected %lld to %lld", key, (long long)*out,
                    (long long)lo, (long long)hi);
    return 0;
}

// A positive number; absent: the default, or an error when that is 0.
static int get_real(json_t *o, const char *key, double missing, double *out, char err[ERR]) {
    json_t *v = json_object_get(o, key);
    *out = json_is_number(v) ? json_number_value(v) : v && !json_is_null(v) ? 0 : missing;
    if (*out > 0 && *out < 1e30) return 0;
    return fail(err, "config.json: %s: expected a positive number", key);
}

// Fields that change the arithmetic and must stand at the value that this program computes.
static int get_refused(json_t *o, char err[ERR]) {
    static const char *const off[] = {"attention_bias", "mlp_bias", "use_sliding_window"};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (json_is_true(json_object_get(o, off[i])))
            return fail(err, "config.json: %s: true: expected false", off[i]);
    if (json_is_object(json_object_get(o, "quantization_config")))
        return fail(err,
                    "config.json: quantization_config: expected a model that is not quantised");
    const char *act = json_string_value(json_object_get(o, "hidden_act"));
    if (act && strcmp(act, "silu"))
        return fail(err, "config.json: hidden_act: \"%.40s\": expected \"silu\"", act);
    return 0;
}

// rope_theta and scaling; newer files keep both in rope_parameters.
static int get_rope(model_config *c, json_t *o, char err[ERR]) {
    json_t *p = json_object_get(o, "rope_parameters"), *s = json_object_get(o, "rope_scaling");
    if (p && !json_is_null(p)) s = p;
    if (s && !json_is_null(s) && !json_is_object(s))
        return fail(err, "config.json: rope_scaling: expected an object");
    json_t *at = json_object_get(p, "rope_theta") ? p : o;
    if (get_real(at, "rope_theta", 10000, &c->theta, err)) return -1;
    if (c->theta < 1) return fail(err, "config.json: rope_theta: expected 1 or more");
    json_t *type = json_object_get(s, "rope_type");
    if (!type) type = json_object_get(s, "type");
    const char *kind = type ? json_string_value(type) : json_object_size(s) ? "(none)" : "default";
    if (s == p && p && !type) kind = "default"; // rope_parameters may hold the base alone
    if (kind && !strcmp(kind, "default")) return 0;
    if (!kind) kind = "(not a string)";
    if (strcmp(kind, "llama3"))
        return fail(err, "config.json: rope_scaling: \"%.40s\": expected \"llama3\" or none", kind);
    if (get_real(s, "factor", 0, &c->rope_factor, err) ||
        get_real(s, "low_freq_factor", 0, &c->rope_low, err) ||
        get_real(s, "high_freq_factor", 0, &c->rope_high, err) ||
        get_real(s, "original_max_position_embeddings", 0, &c->rope_original, err))
        return -1;
    if (c->rope_factor >= 1 && c->rope_low < c->rope_high) return 0;
    return fail(err, "config.json: rope_scaling: expected factor >= 1, low_freq_factor < "
                     "high_freq_factor");
}

// eos_token_id of config.json or generation_config.json: an id or a list of ids.
static void get_eos(model_config *c, json_t *o) {
    json_t *v = json_object_get(o, "eos_token_id");
    size_t n = json_is_array(v) ? json_array_size(v) : json_is_integer(v);
    for (size_t i = 0; i < n && c->eos_count < 8; i++) {
        json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        int64_t k = json_is_integer(id) ? json_integer_value(id) : -1;
        if (k >= 0 && k < c->vocab) c->eos[c->eos_count++] = (int)k;
    }
}

static int get_config(model_config *c, json_t *o, char err[ERR]) {
    const char *arch = json_string_value(json_array_get(json_object_get(o, "architectures"), 0));
    if (!arch || (strcmp(arch, "Qwen3ForCausalLM") && strcmp(arch, "LlamaForCausalLM")))
        return fail(err,
                    "config.json: architectures: \"%.60s\": expected Qwen3ForCausalLM or "
                    "LlamaForCausalLM",
                    arch ? arch : "");
    c->qk_norm = !strcmp(arch, "Qwen3ForCausalLM");
    if (get_int(o, "hidden_size", -1, 2, MAX_COLS, &c->hidden, err) ||
        get_int(o, "intermediate_size", -1, 1, MAX_COLS, &c->inter, err) ||
        get_int(o, "num_hidden_layers", -1, 1, MAX_LAYERS, &c->layers, err) ||
        get_int(o, "num_attention_heads", -1, 1, 4096, &c->heads, err) ||
        get_int(o, "num_key_value_heads", c->heads, 1, c->heads, &c->kv_heads, err) ||
        get_int(o, "head_dim", c->hidden / c->heads, 2, 1024, &c->head_dim, err) ||
        get_int(o, "vocab_size", -1, 1, 1 << 24, &c->vocab, err) ||
        get_int(o, "max_position_embeddings", 2048, 1, 1 << 24, &c->context, err))
        return -1;
    if (c->heads % c->kv_heads)
        return fail(err, "config.json: num_key_value_heads: %lld: expected a divisor of %lld heads",
                    (long long)c->kv_heads, (long long)c->heads);
    if (c->head_dim % 2 || c->heads * c->head_dim > MAX_COLS)
        return fail(err,
                    "config.json: head_dim: %lld: expected an even number, heads x head_dim "
                    "at most %d",
                    (long long)c->head_dim, MAX_COLS);
    double eps;
    if (get_real(o, "rms_norm_eps", 1e-6, &eps, err) || get_refused(o, err) || get_rope(c, o, err))
        return -1;
    c->eps = (float)eps;
    c->tied = json_is_true(json_object_get(o, "tie_word_embeddings"));
    json_t *bos = json_object_get(o, "bos_token_id");
    int64_t id = json_is_integer(bos) ? json_integer_value(bos) : -1;
    c->bos = id >= 0 && id < c->vocab ? (int)id : -1;
    get_eos(c, o);
    return 0;
}

int model_config_read(model_config *c, const char *dir, char err[ERR]) {
    char path[4096];
    json_error_t e;
    *c = (model_config){0};
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *o = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (!o && e.line < 0) return fail(err, "%.200s: %.160s", path, e.text);
    if (!o) return fail(err, "%.200s: line %d: %.160s", path, e.line, e.text);
    int bad =
        json_is_object(o) ? get_config(c, o, err) : fail(err, "config.json: expected an object");
    json_decref(o);
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    if (bad || access(path, F_OK)) return bad; // a folder may have none
    if (!(o = json_load_file(path, 0, &e)))
        return e.line < 0 ? fail(err, "%.200s: %.160s", path, e.text)
                          : fail(err, "%.200s: line %d: %.160s", path, e.line, e.text);
    get_eos(c, o);
    json_decref(o);
    return 0;
}

void model_config_digest(const model_config *c, char hex[65]) {
    const double real[] = {(double)c->eps, c->theta,     c->rope_factor,
                           c->rope_low,    c->rope_high, c->rope_original};
    int64_t n[10 + 8] = {c->hidden,   c->inter, c->layers,  c->heads, c->kv_heads,
                         c->head_dim, c->vocab, c->qk_norm, c->tied,  c->eos_count};
    unsigned char hash[32];
    crypto_hash_sha256_state s;
    for (int i = 0; i < c->eos_count; i++) n[10 + i] = c->eos[i];
    crypto_hash_sha256_init(&s);
    crypto_hash_sha256_update(&s, (const unsigned char *)n, sizeof n);
    crypto_hash_sha256_update(&s, (const unsigned char *)real, sizeof real);
    crypto_hash_sha256_final(&s, hash);
    sodium_bin2hex(hex, 65, hash, sizeof hash);
}

int model_ends(const model_config *c, int32_t id) {
    for (int i = 0; i < c->eos_count; i++)
        if (c->eos[i] == id) return 1;
    return 0;
}

// ---- names

int model_slots(const model_config *c) {
    return SLOT_LAYERS + (int)c->layers * (W_COUNT + N_COUNT);
}

model_slot model_slot_at(const model_config *c, int slot) {
    static const char *const name[W_COUNT + N_COUNT] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
        "mlp.down_proj",    "input_layernorm",  "post_attention_layernorm",
        "self_attn.q_norm", "self_attn.k_norm"};
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const int64_t shape[W_COUNT + N_COUNT][2] = {
        {q, c->hidden},        {kv, c->hidden},       {kv, c->hidden},       {c->hidden, q},
        {c->inter, c->hidden}, {c->inter, c->hidden}, {c->hidden, c->inter}, {0, c->hidden},
        {0, c->hidden},        {0, c->head_dim},      {0, c->head_dim}};
    if (slot == SLOT_EMBED)
        return (model_slot){"model.embed_tokens.weight", c->vocab, c->hidden, -1, 1};
    if (slot == SLOT_HEAD) return (model_slot){"lm_head.weight", c->vocab, c->hidden, -1, !c->tied};
    if (slot == SLOT_NORM) return (model_slot){"model.norm.weight", 0, c->hidden, -1, 1};
    int l = (slot - SLOT_LAYERS) / (W_COUNT + N_COUNT),
        i = (slot - SLOT_LAYERS) % (W_COUNT + N_COUNT);
    model_slot s = {"", shape[i][0], shape[i][1], l, i < W_COUNT + N_Q || c->qk_norm};
    snprintf(s.name, sizeof s.name, "model.layers.%d.%s.weight", l, name[i]);
    return s;
}

tq_matrix *model_matrix(model *m, int slot) {
    if (slot <= SLOT_HEAD) return slot == SLOT_EMBED ? &m->embed : &m->head;
    int i = (slot - SLOT_LAYERS) % (W_COUNT + N_COUNT);
    if (slot == SLOT_NORM || i >= W_COUNT) return NULL;
    return &m->layer[(slot - SLOT_LAYERS) / (W_COUNT + N_COUNT)].w[i];
}

const float **model_norm(model *m, int slot) {
    if (slot == SLOT_NORM) return &m->final_norm;
    int i = (slot - SLOT_LAYERS) % (W_COUNT + N_COUNT);
    if (slot < SLOT_LAYERS || i < W_COUNT) return NULL;
    return &m->layer[(slot - SLOT_LAYERS) / (W_COUNT + N_COUNT)].norm[i - W_COUNT];
}

// ---- opening a folder

void *model_own(model *m, int64_t n, size_t size) {
    must(m->owned_count < (int64_t)model_slots(&m->c) * OWNED);
    return m->owned[m->owned_count++] = must_align((size_t)n, size);
}

static void prepare(model *m, const model_config *c) {
    *m = (model){.c = *c};
    m->layer = must_alloc((size_t)c->layers, sizeof *m->layer);
    m->owned = must_alloc((size_t)model_slots(c) * OWNED, sizeof *m->owned);
}

// A tensor that must have this type and shape (cols < 0: one dimension).
static const tensor *expect(model *m, const char *name, const char *part, tensor_type type,
                            int64_t rows, int64_t cols, char err[ERR]) {
    char full[160];
    snprintf(full, sizeof full, "%s%s", name, part);
    const tensor *t = tensor_find(&m->files, full);
    int dense = type == T_LISTED;
    if (!t)
        fail(err, "%s: missing", full);
    else if (dense ? t->type > T_BF16 : t->type != type)
        fail(err, "%s: %s: expected %s", full, tensor_type_name(t->type),
             dense ? "F32, F16 or BF16" : tensor_type_name(type));
    else if (t->dims != (cols < 0 ? 1 : 2) || t->dim[0] != rows || (cols >= 0 && t->dim[1] != cols))
        fail(err,
             cols < 0 ? "%s: %d dimensions, %lld x %lld: expected [%lld]"
                      : "%s: %d dimensions, %lld x %lld: expected [%lld, %lld]",
             full, t->dims, (long long)(t->dims > 0 ? t->dim[0] : 1),
             (long long)(t->dims > 1 ? t->dim[1] : 1), (long long)rows, (long long)cols);
    else
        return t;
    return NULL;
}

static int open_matrix(model *m, const model_slot *s, tq_matrix *w, char err[ERR]) {
    char codes[160];
    snprintf(codes, sizeof codes, "%s.codes", s->name);
    const tensor *t = tensor_find(&m->files, codes), *part;
    tq_kind kind = !t ? KIND_F32 : t->type == T_I8 ? KIND_I8 : KIND_TQ4;
    tq_shape(w, kind, s->rows, s->cols);
    if (kind == KIND_F32) {
        if (!(part = expect(m, s->name, "", T_LISTED, s->rows, s->cols, err))) return -1;
        w->dense = part->data;
        w->type = part->type;
        return 0;
    }
    int tq4 = kind == KIND_TQ4;
    if (!(part = expect(m, s->name, ".codes", tq4 ? T_U8 : T_I8, s->rows, w->pad >> tq4, err)))
        return -1;
    w->codes = part->data;
    if (!(part = expect(m, s->name, ".scale", T_I8, s->rows, w->pad / BLOCK, err))) return -1;
    w->scale = part->data;
    if (!(part = expect(m, s->name, ".row", T_F32, s->rows, -1, err))) return -1;
    w->row = part->data;
    if (tq4 && !(part = expect(m, s->name, ".codebook", T_I8, LEVELS, -1, err))) return -1;
    w->codebook = tq4 ? part->data : NULL;
    return 0;
}

static int open_tensors(model *m, const char *dir, char err[ERR]) {
    if (tensor_open(&m->files, dir, err)) return -1;
    const char *format = tensor_meta(&m->files, "format");
    const char *version = tensor_meta(&m->files, "version");
    if (format && !strcmp(format, TQ4_FORMAT) && (!version || strcmp(version, TQ4_VERSION)))
        return fail(err, "%.300s: format %s: expected version " TQ4_VERSION, dir, TQ4_FORMAT);
    for (int i = 0; i < model_slots(&m->c); i++) {
        model_slot s = model_slot_at(&m->c, i);
        tq_matrix *w = model_matrix(m, i);
        if (s.present && w && open_matrix(m, &s, w, err)) return -1;
        if (!s.present || w) continue;
        const tensor *t = expect(m, s.name, "", T_LISTED, s.cols, -1, err);
        if (!t) return -1;
        float *norm = model_own(m, s.cols, sizeof *norm);
        tensor_to_f32(t, 0, s.cols, norm);
        for (int64_t k = 0; k < s.cols; k++)
            if ((num_bits(norm[k]) & 0x7f800000) == 0x7f800000)
                return fail(err, "%s: a value is not finite", s.name);
        *model_norm(m, i) = norm;
    }
    return 0;
}

int model_open(model *m, const char *dir, char err[ERR]) {
    model_config c;
    if (model_config_read(&c, dir, err)) return -1;
    prepare(m, &c);
    if (open_tensors(m, dir, err)) return model_close(m), -1;
    if (c.tied) m->head = m->embed;
    return 0;
}

void model_close(model *m) {
    for (int64_t i = 0; i < m->owned_count; i++) free(m->owned[i]);
    free(m->owned);
    free(m->layer);
    tensor_close(&m->files);
    *m = (model){0};
}

// ---- rotary tables

void model_rope(const model_config *c, int64_t n, float *cos, float *sin) {
    int64_t half = c->head_dim / 2;
    double turn = 6.283185307179586;
    for (int64_t i = 0; i < half; i++) {
        double f = 1 / num_pow(c->theta, 2 * (double)i / (double)c->head_dim);
        if (c->rope_factor >
            0) { // "llama3": long waves are stretched, short ones kept, between: mixed
            double waves = c->rope_original * f / turn; // turns in the original context
            double mix = (waves - c->rope_low) / (c->rope_high - c->rope_low);
            mix = waves < c->rope_low ? 0 : waves > c->rope_high ? 1 : mix;
            f = (1 - mix) * f / c->rope_factor + mix * f;
        }
        for (int64_t p = 0; p < n; p++)
            num_rope_table(f, p, &cos[p * half + i], &sin[p * half + i]);
    }
}

// ---- random models

static int log2_floor(int64_t n) { return 63 - __builtin_clzll((unsigned long long)n); }

// n bytes of a stream; n is rounded up to whole blocks, so the memory must hold them.
static void *random_bytes(model *m, uint32_t seed, uint32_t id, uint32_t stream, int64_t n) {
    int64_t blocks = (n + 15) / 16, part = 1 << 16;
    uint32_t *out = model_own(m, blocks * 4, sizeof *out);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b += part)
        rng_words(seed, id, stream, (uint32_t)b, out + 4 * b,
                  blocks - b < part ? blocks - b : part);
    return out;
}

static int8_t *random_int8(model *m, uint32_t seed, uint32_t id, uint32_t stream, int64_t n,
                           int zero) {
    int8_t *p = random_bytes(m, seed, id, stream, n);
    for (int64_t i = 0; i < n; i++) p[i] = p[i] == -128 ? -127 : p[i] ? p[i] : (int8_t)zero;
    return p;
}

static float *random_floats(model *m, uint32_t seed, uint32_t id, uint32_t stream, int64_t n,
                            float (*make)(uint32_t word, float unit), float unit) {
    float *f = random_bytes(m, seed, id, stream, 4 * n);
    for (int64_t i = 0; i < n; i++) {
        uint32_t w;
        memcpy(&w, &f[i], sizeof w);
        f[i] = make(w, unit);
    }
    return f;
}

static float make_row(uint32_t w, float unit) { return unit * (1 + (float)(w >> 9) * 0x1p-23f); }
static float make_norm(uint32_t w, float unit) { return unit + (float)(w >> 8) * 0x1p-24f; }
static float make_dense(uint32_t w, float unit) {
    return (float)((int32_t)(w >> 8) - (1 << 23)) * 0x1p-23f * unit;
}

// sum: 1 when outputs are sums over the columns, 0 for an embedding; the scale brings them near 1.
static void random_matrix(model *m, tq_matrix *w, tq_kind kind, uint32_t seed, uint32_t id,
                          int sum) {
    if (kind == KIND_F32) {
        int k = sum ? log2_floor(w->cols) / 2 : 0;
        w->dense =
            random_floats(m, seed, id, 0, w->rows * w->cols, make_dense, num_power_of_two(-k));
        return;
    }
    int k = 12 + log2_floor((sum ? w->pad : 1) * w->group) / 2;
    int64_t n = w->rows * w->pad;
    w->codes = kind == KIND_TQ4 ? random_bytes(m, seed, id, 0, n / 2)
                                : (uint8_t *)random_int8(m, seed, id, 0, n, 0);
    w->scale = random_int8(m, seed, id, 1, n / BLOCK, 1);
    w->row = random_floats(m, seed, id, 3, w->rows, make_row, num_power_of_two(-k));
    if (kind == KIND_I8) return;
    int8_t *c = random_int8(m, seed, id, 2, LEVELS, 0);
    c[LEVELS - 1] = 127;
    w->codebook = c;
}

void model_random(model *m, const model_config *c, tq_kind kind, uint32_t seed) {
    static const uint8_t id[W_COUNT + N_COUNT] = {1, 2, 3, 4, 6, 7, 8, 0, 5, 9, 10};
    prepare(m, c);
    for (int i = 0; i < model_slots(c); i++) {
        model_slot s = model_slot_at(c, i);
        tq_matrix *w = model_matrix(m, i);
        if (!s.present) continue;
        uint32_t own_id = i < SLOT_LAYERS ? (uint32_t)i
                                          : 16 + 16 * (uint32_t)s.layer +
                                                id[(i - SLOT_LAYERS) % (W_COUNT + N_COUNT)];
        if (!w) {
            *model_norm(m, i) = random_floats(m, seed, own_id, 0, s.cols, make_norm, 0.5f);
            continue;
        }
        tq_kind own_kind = i < SLOT_LAYERS && kind == KIND_TQ4 ? KIND_I8 : kind;
        tq_shape(w, own_kind, s.rows, s.cols);
        random_matrix(m, w, own_kind, seed, own_id, i != SLOT_EMBED);
    }
    if (c->tied) m->head = m->embed;
}

const model_config *model_shape(const char *name) {
    static const struct {
        const char *name;
        model_config c;
    } shape[] = {
        {"qwen3-tiny", {128, 384, 5, 4, 2, 32, 301, 512, 1e-6f, 1e4, .qk_norm = 1, .tied = 1}},
        {"qwen3-0.6b",
         {1024, 3072, 28, 16, 8, 128, 151936, 40960, 1e-6f, 1e6, .qk_norm = 1, .tied = 1}},
        {"qwen3-1.7b",
         {2048, 6144, 28, 16, 8, 128, 151936, 40960, 1e-6f, 1e6, .qk_norm = 1, .tied = 1}},
        {"qwen3-8b", {4096, 12288, 36, 32, 8, 128, 151936, 40960, 1e-6f, 1e6, .qk_norm = 1}},
        {"qwen3-14b", {5120, 17408, 40, 40, 8, 128, 151936, 40960, 1e-6f, 1e6, .qk_norm = 1}},
    };
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        if (!strcmp(name, shape[i].name) || !strcmp(name, shape[i].name + 6)) return &shape[i].c;
    return NULL;
}
