// token.c - see token.h. Order: tables, normalisation, reading the file, encoding, decoding, chat.
//
// A tokenizer is a pipeline: added tokens are cut out of the text; what lies between them is
// normalised, cut into words and spelled; each word is merged from single characters upwards. The
// strings stay in the JSON tree, where the hash table of model.vocab also finds the ids.
#include "token.h"
#include <jansson.h>
#include <utf8proc.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { SPLITS = 8, EXTRA = 8 }; // patterns that cut words; ids that are put before the text
enum { NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, DECODER, STAGES };
enum { NFC = 1, PREPEND = 2, SPACES = 4 };                             // bits of does[NORMALIZER]
enum { SPLIT = 1, BYTES = 2, NOTHING = 4 };                            // does[PRE_TOKENIZER]
enum { PLAIN = 1, FRAME = 2 };                                         // does[POST_PROCESSOR]
enum { UNSPELL = 1, UNSPACE = 2, FALLBACK = 4, FUSE = 8, STRIP = 16 }; // does[DECODER]

// Every step that is supported, as the file writes it: keys sorted, trim_offsets and a regular
// expression left out; or only its type, where its other fields are read or do not matter.
static const struct known {
    int stage, does;
    const char *step, *regex;
} known[] = {
    {NORMALIZER, NFC, "{'type':'NFC'}", NULL},
    {NORMALIZER, PREPEND, "{'prepend':'▁','type':'Prepend'}", NULL},
    {NORMALIZER, SPACES, "{'content':'▁','pattern':{'String':' '},'type':'Replace'}", NULL},
    {PRE_TOKENIZER, SPLIT, "{'behavior':'Isolated','invert':false,'type':'Split'}", NULL},
    {PRE_TOKENIZER, SPLIT, "{'individual_digits':true,'type':'Digits'}", "\\p{N}"},
    {PRE_TOKENIZER, BYTES, "{'add_prefix_space':false,'type':'ByteLevel','use_regex':false}", NULL},
    {PRE_TOKENIZER, BYTES, "{'add_prefix_space':false,'type':'ByteLevel','use_regex':true}",
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {PRE_TOKENIZER, NOTHING, // Gemma's: SPACES has left no space
     "{'behavior':'MergedWithPrevious','invert':false,'pattern':{'String':' '},'type':'Split'}",
     NULL},
    {POST_PROCESSOR, PLAIN, "ByteLevel", NULL},
    {POST_PROCESSOR, FRAME, "TemplateProcessing", NULL},
    {DECODER, UNSPELL, "ByteLevel", NULL},
    {DECODER, UNSPACE, "{'content':' ','pattern':{'String':'▁'},'type':'Replace'}", NULL},
    {DECODER, FALLBACK, "{'type':'ByteFallback'}", NULL},
    {DECODER, FUSE, "{'type':'Fuse'}", NULL},
    {DECODER, STRIP, "{'content':' ','start':1,'stop':0,'type':'Strip'}", NULL},
};

struct text {
    const char *s;
    size_t n; // bytes; s may hold NULs
};
struct token {
    struct text text; // as the file spells it
    int special;      // 1: skip_special skips it
};
struct merge {
    uint64_t pair;    // left id << 32 | right id
    int32_t rank, id; // the lowest rank merges first, -1: empty; the id that the pair becomes
};
struct added {
    struct text text; // in its own memory, normalised when it is
    int32_t id;
    int normalized; // 1: looked for after normalisation
};

struct tokenizer {
    json_t *json, *vocab; // the file; its model.vocab
    int32_t count, unk;   // unk -1: none
    int byte_fallback, fuse_unk, ignore_merges, does[STAGES], n_split, n_added, n_extra;
    pcre2_code *split[SPLITS];
    int32_t extra[EXTRA];        // what the post-processor puts before the text
    struct token *token;         // [count]
    struct merge *merge;         // [merge_mask + 1], at most half full
    struct added *added;         // [n_added] by normalized, first byte, longest first
    struct added *first[2][256]; // [normalized][byte]: the first of added that begins so, or NULL
    uint32_t merge_mask;
    char spelling[256][3];  // how a byte-level file spells a byte: 1 or 2 bytes of UTF-8
    int16_t unspell[0x200]; // the byte that a code point spells, -1: none
    size_t longest;         // bytes of a token's text
};

// The id in model.vocab, or -1.
static int32_t find(const tokenizer *t, struct text x) {
    const json_t *id = json_object_getn(t->vocab, x.s, x.n);
    return id ? (int32_t)json_integer_value(id) : -1;
}

// The entry of this pair, or the empty entry where it belongs.
static struct merge *merge_of(const tokenizer *t, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)left << 32 | (uint32_t)right;
    for (uint64_t i = pair * 0x9E3779B97F4A7C15u >> 32;; i++) {
        struct merge *m = &t->merge[i & t->merge_mask];
        if (m->rank < 0 || m->pair == pair) return m;
    }
}

// Length 1..4 of the UTF-8 sequence that x begins with, or 0 if none begins so. x.n >= 1 may end
// before the sequence does. (Unicode 15, table 3-7: no surrogates, nothing overlong.)
static size_t utf8(struct text x) {
    const uint8_t *b = (const uint8_t *)x.s;
    if (b[0] < 0x80) return 1;
    size_t n = 2u + (b[0] > 0xDF) + (b[0] > 0xEF);
    uint8_t low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    if (b[0] < 0xC2 || b[0] > 0xF4 || (x.n > 1 && (b[1] < low || b[1] > high))) return 0;
    for (size_t i = 2; i < n && i < x.n; i++)
        if ((b[i] & 0xC0) != 0x80) return 0;
    return n;
}

static size_t class_of(utf8proc_int32_t c) {
    return (size_t)utf8proc_get_property(c)->combining_class; // 0..254; 0 is no combining mark
}

// Sorts each run of combining marks in u[n] by class, stably and in linear time: utf8proc's own
// ordering takes quadratic time on a long run.
static void order_marks(utf8proc_int32_t *u, size_t n) {
    utf8proc_int32_t *sorted = must_alloc(n, sizeof *sorted);
    for (size_t i = 0, j; i < n; i = j + (j == i)) {
        size_t at[256] = {0}, sum = 0;
        for (j = i; j < n && class_of(u[j]); j++) at[class_of(u[j])]++;
        for (int c = 0; j - i > 1 && c < 256; c++) sum += at[c], at[c] = sum - at[c];
        for (size_t k = i; j - i > 1 && k < j; k++) sorted[i + at[class_of(u[k])]++] = u[k];
        if (j - i > 1) memcpy(u + i, sorted + i, (j - i) * sizeof *u);
    }
    free(sorted);
}

// Normalisation form C of valid UTF-8, in new memory. A canonical decomposition has at most 2 code
// points a byte, and the composed text at most 3 bytes a byte.
static struct text nfc(struct text x) {
    utf8proc_int32_t c, *u = must_alloc(2 * x.n + 4, sizeof *u);
    utf8proc_ssize_t m = 0;
    int bound = 0;
    for (size_t i = 0; i < x.n;) {
        i += (size_t)utf8proc_iterate((const uint8_t *)x.s + i, (utf8proc_ssize_t)(x.n - i), &c);
        m += utf8proc_decompose_char(c, u + m, 4, UTF8PROC_DECOMPOSE, &bound);
    }
    order_marks(u, (size_t)m);
    m = utf8proc_normalize_utf32(u, m, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    uint8_t *s = must_alloc(3 * x.n + 4, 1), *q = s;
    for (utf8proc_ssize_t k = 0; k < m; k++) q += utf8proc_encode_char(u[k], q);
    free(u);
    return (struct text){(char *)s, (size_t)(q - s)};
}

// x as the normaliser leaves it; *own is memory to free. All text below U+0300, which UTF-8 begins
// with the byte CC, is in form C.
static struct text normalise(const tokenizer *t, struct text x, char **own) {
    int does = t->does[NORMALIZER];
    size_t k = 0;
    *own = NULL;
    while (does & NFC && k < x.n && (uint8_t)x.s[k] < 0xCC) k++;
    if (does & NFC && k < x.n) *own = (char *)(x = nfc(x)).s;
    if (!(does & (PREPEND | SPACES)) || !x.n) return x;
    char *s = must_alloc(3 * x.n + 4, 1), *q = does & PREPEND ? mempcpy(s, "▁", 3) : s;
    for (k = 0; k < x.n; k++)
        if (does & SPACES && x.s[k] == ' ')
            q = mempcpy(q, "▁", 3);
        else
            *q++ = x.s[k];
    free(*own);
    return (struct text){*own = s, (size_t)(q - s)};
}

static struct text text_of(const json_t *j) {
    return (struct text){json_string_value(j), json_string_length(j)};
}

// Ids must be 0 .. count - 1, one for each token.
static int add_token(tokenizer *t, const json_t *id, struct text x, int special, char err[ERR]) {
    json_int_t i = json_is_integer(id) ? json_integer_value(id) : -1;
    if (i < 0 || i >= t->count)
        return fail(err, "the id of '%.99s' is not an integer in 0..%d", x.s, t->count - 1);
    const struct text *old = &t->token[i].text;
    if (old->s && (old->n != x.n || memcmp(old->s, x.s, x.n)))
        return fail(err, "'%.99s' and '%.99s' have the same id %d", old->s, x.s, (int)i);
    t->token[i] = (struct token){x, special};
    if (x.n > t->longest) t->longest = x.n;
    return 0;
}

// The model without its merges; the added tokens are counted here, before they are read.
static int read_model(tokenizer *t, json_t *added, char err[ERR]) {
    json_t *dropout = NULL, *prefix = NULL, *suffix = NULL, *unk = NULL, *j;
    const char *type, *key;
    json_error_t e;
    size_t i;
    if (json_unpack_ex(json_object_get(t->json, "model"), &e, 0,
                       "{s:s, s:o, s?o, s?b, s?b, s?b, s?o, s?o, s?o}", "type", &type, "vocab",
                       &t->vocab, "unk_token", &unk, "byte_fallback", &t->byte_fallback, "fuse_unk",
                       &t->fuse_unk, "ignore_merges", &t->ignore_merges, "dropout", &dropout,
                       "continuing_subword_prefix", &prefix, "end_of_word_suffix", &suffix))
        return fail(err, "model: %s", e.text);
    if (strcmp(type, "BPE")) return fail(err, "model.type: %.99s is not supported, BPE is", type);
    if (json_is_number(dropout) || json_string_length(prefix) || json_string_length(suffix))
        return fail(err, "model: dropout, continuing_subword_prefix, end_of_word_suffix: not null");
    if (!json_object_size(t->vocab)) return fail(err, "model.vocab: not an object, or empty");
    t->count = (int32_t)json_object_size(t->vocab);
    json_array_foreach(added, i, j) {
        struct text x = text_of(json_object_get(j, "content"));
        t->count += x.s && find(t, x) < 0;
    }
    t->token = must_alloc((size_t)t->count, sizeof *t->token);
    json_object_foreach(t->vocab, key, j) {
        if (add_token(t, j, (struct text){key, strlen(key)}, 0, err)) return -1;
    }
    t->unk = json_is_string(unk) ? find(t, text_of(unk)) : -1;
    if (json_is_string(unk) && t->unk < 0) return fail(err, "model.unk_token: not in the vocab");
    return 0;
}

// A merge is ["left", "right"] or "left right"; of equal ones the last counts.
static int read_merges(tokenizer *t, json_t *merges, char err[ERR]) {
    size_t i, room = 2;
    json_t *j;
    if (!json_is_array(merges)) return fail(err, "model.merges: not an array");
    while (room < 2 * json_array_size(merges)) room *= 2;
    t->merge = memset(must_alloc(room, sizeof *t->merge), -1, room * sizeof *t->merge);
    t->merge_mask = (uint32_t)(room - 1);
    char *both = must_alloc(2 * t->longest + 1, 1);
    json_array_foreach(merges, i, j) {
        struct text a = text_of(json_array_get(j, 0)), b = text_of(json_array_get(j, 1));
        if (json_is_string(j) && strchr(json_string_value(j), ' ')) {
            a = (struct text){json_string_value(j), strcspn(json_string_value(j), " ")};
            b = (struct text){a.s + a.n + 1, json_string_length(j) - a.n - 1};
        }
        int32_t left = a.s ? find(t, a) : -1, right = left >= 0 && b.s ? find(t, b) : -1, id = -1;
        if (right >= 0) memcpy(mempcpy(both, a.s, a.n), b.s, b.n);
        if (right >= 0) id = find(t, (struct text){both, a.n + b.n});
        if (id < 0) break;
        *merge_of(t, left, right) =
            (struct merge){(uint64_t)left << 32 | (uint32_t)right, (int32_t)i, id};
    }
    free(both);
    if (i == json_array_size(merges)) return 0;
    return fail(err, "model.merges[%zu]: not two tokens that together are a token", i);
}

static int by_first_byte(const void *left, const void *right) {
    const struct added *a = left, *b = right;
    int d = a->normalized - b->normalized;
    if (!d) d = (uint8_t)a->text.s[0] - (uint8_t)b->text.s[0];
    return d ? d : (a->text.n < b->text.n) - (a->text.n > b->text.n);
}

static int read_added(tokenizer *t, json_t *list, char err[ERR]) {
    json_t *j, *id;
    json_error_t e;
    size_t i;
    t->added = must_alloc(json_array_size(list), sizeof *t->added);
    json_array_foreach(list, i, j) {
        struct added a = {0};
        int word = 0, left = 0, right = 0, special = 0;
        char *own = NULL;
        if (json_unpack_ex(j, &e, 0, "{s:o, s:s%, s?b, s?b, s?b, s?b, s?b}", "id", &id, "content",
                           &a.text.s, &a.text.n, "single_word", &word, "lstrip", &left, "rstrip",
                           &right, "normalized", &a.normalized, "special", &special))
            return fail(err, "added_tokens[%zu]: %s", i, e.text);
        if (word || left || right || !a.text.n)
            return fail(err, "added_tokens[%zu]: single_word, lstrip, rstrip or no content", i);
        if (add_token(t, id, a.text, special, err)) return -1;
        a.id = (int32_t)json_integer_value(id);
        if (find(t, a.text) >= 0 && find(t, a.text) != a.id)
            return fail(err, "added_tokens[%zu]: model.vocab has it with another id", i);
        if (a.normalized) a.text = normalise(t, a.text, &own);
        if (!own) a.text.s = strndup(a.text.s, a.text.n);
        t->added[t->n_added++] = a;
    }
    for (int32_t k = 0; k < t->count; k++)
        if (!t->token[k].text.s) return fail(err, "no token has the id %d", k);
    qsort(t->added, (size_t)t->n_added, sizeof *t->added, by_first_byte);
    for (struct added *a = t->added + t->n_added; a-- > t->added;)
        t->first[a->normalized][(uint8_t)a->text.s[0]] = a;
    return 0;
}

// A pattern that cuts words. PCRE2's \s has U+180E, which is no white space; other escapes may mean
// something else to Oniguruma, for which the pattern is written, and are refused.
static int add_split(tokenizer *t, const char *p, char err[ERR]) {
    char *own = must_alloc(strlen(p) + 1, 8), *q = own;
    int code;
    size_t at;
    if (t->n_split == SPLITS) return free(own), fail(err, "more than %d patterns", SPLITS);
    for (; *p; p++) {
        *q++ = *p;
        if (*p != '\\') continue;
        if (!*++p || !strchr("sSpPrnt.+*?()[]{}|^$/'\"-", *p)) break;
        if (*p == 's' || *p == 'S')
            q += sprintf(q, "%c{White_Space}", *p == 's' ? 'p' : 'P');
        else
            *q++ = *p;
    }
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)own, (size_t)(q - own), PCRE2_UTF, &code, &at, NULL);
    free(own);
    if (re) t->split[t->n_split++] = re;
    if (re) pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
    if (*p) return fail(err, "pattern: the escape \\%.1s is not supported", p);
    return re ? 0 : fail(err, "pattern: PCRE2 error %d at byte %zu", code, at);
}

// The ids that TemplateProcessing puts before the text.
static int read_frame(tokenizer *t, const json_t *j, char err[ERR]) {
    const json_t *single = json_object_get(j, "single"), *item;
    size_t i;
    json_array_foreach(single, i, item) {
        if (json_object_get(item, "Sequence")) break;
        item = json_object_get(json_object_get(item, "SpecialToken"), "id");
        int32_t id = json_is_string(item) ? token_id(t, json_string_value(item)) : -1;
        if (id < 0 || t->n_extra == EXTRA) return fail(err, "single[%zu]: not a token", i);
        t->extra[t->n_extra++] = id;
    }
    return i + 1 == json_array_size(single) ? 0 : fail(err, "single: does not end in a Sequence");
}

// One step, told by the table. Steps stand in the order of their bits; bit 1 may come again.
static int read_step(tokenizer *t, int stage, json_t *j, char err[ERR]) {
    json_t *pattern = json_incref(json_object_get(json_object_get(j, "pattern"), "Regex"));
    const char *regex = json_string_value(pattern), *type;
    const struct known *k = known, *end = known + sizeof known / sizeof *known;
    int *does = &t->does[stage], bad;
    if (!(type = json_string_value(json_object_get(j, "type")))) type = "";
    if (regex) json_object_del(j, "pattern");
    json_object_del(j, "trim_offsets");
    char *step = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    for (char *c = step; *c; c++) *c = *c == '"' ? '\'' : *c;
    while (k < end && (k->stage != stage || (strcmp(k->step, step) && strcmp(k->step, type)))) k++;
    bad = k == end || (k->does == 1 ? *does > 1 : *does >= k->does);
    if (!bad && stage == PRE_TOKENIZER) {
        if (k->regex) regex = k->regex;
        bad = k->does == SPLIT ? !regex : k->does == NOTHING && !(t->does[NORMALIZER] & SPACES);
    }
    if (bad)
        fail(err, "not supported in this place: %.300s", step);
    else if (stage == PRE_TOKENIZER && regex)
        bad = add_split(t, regex, err);
    else if (stage == POST_PROCESSOR && k->does == FRAME)
        bad = read_frame(t, j, err);
    *does |= bad ? 0 : k->does;
    free(step);
    json_decref(pattern);
    return bad;
}

// A stage is null, one step, or a Sequence of steps.
static int read_stage(tokenizer *t, int stage, char err[ERR]) {
    static const char *const name[] = {"normalizer", "pre_tokenizer", "post_processor", "decoder"};
    static const char *const steps[] = {"normalizers", "pretokenizers", "processors", "decoders"};
    json_t *j = json_object_get(t->json, name[stage]), *list = json_object_get(j, steps[stage]);
    char why[ERR];
    size_t n = json_is_array(list) ? json_array_size(list) : j && !json_is_null(j);
    for (size_t i = 0; i < n; i++)
        if (read_step(t, stage, json_is_array(list) ? json_array_get(list, i) : j, why))
            return fail(err, "%s, step %zu: %.400s", name[stage], i, why);
    return 0;
}

// One encoding under way.
struct symbol {
    int32_t id, prev, next; // id -1: merged away; prev, next: places in the word, -1: none
};
struct run {
    const tokenizer *t;
    char *err;
    pcre2_match_data *match;
    int32_t *id; // [n of room] the output
    size_t n, room, symbols, queued;
    char *spelled;         // [symbols] the word
    struct symbol *symbol; // [symbols]
    uint64_t *heap;        // [queued of 2 * symbols] rank << 32 | place of the left symbol
};

static void emit(struct run *r, int32_t id) {
    if (r->n == r->room) {
        r->room = 2 * r->room + 64;
        r->id = realloc(r->id, r->room * sizeof *r->id);
        must(r->id);
    }
    r->id[r->n++] = id;
}

// Queues the pair that begins with the symbol at left, if there is one and it merges.
static void push(struct run *r, int32_t left) {
    int32_t right = left < 0 ? -1 : r->symbol[left].next;
    if (right < 0) return;
    int32_t rank = merge_of(r->t, r->symbol[left].id, r->symbol[right].id)->rank;
    if (rank < 0) return;
    uint64_t key = (uint64_t)rank << 32 | (uint32_t)left;
    size_t i = r->queued++;
    for (; i && r->heap[(i - 1) / 2] > key; i = (i - 1) / 2) r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = key;
}

static uint64_t pop(struct run *r) {
    uint64_t top = r->heap[0], last = r->heap[--r->queued];
    size_t i = 0;
    for (size_t c = 1; c < r->queued; i = c, c = 2 * c + 1) {
        c += c + 1 < r->queued && r->heap[c + 1] < r->heap[c];
        if (last <= r->heap[c]) break;
        r->heap[i] = r->heap[c];
    }
    r->heap[i] = last;
    return top;
}

// The symbols that a spelled word begins with: characters; of a character that is no token its
// bytes <0x..>; and where these are no tokens, unk.
static int32_t spread(struct run *r, struct text w) {
    const tokenizer *t = r->t;
    struct symbol *y = r->symbol;
    int32_t m = 0, unks = 0; // unks: 1 if an unk waits, for fuse_unk makes one of several
    for (size_t n; w.n; w.s += n, w.n -= n) {
        n = utf8(w);
        int32_t id = find(t, (struct text){w.s, n}), byte[4];
        if (id >= 0) {
            if (unks) y[m++].id = t->unk;
            unks = 0, y[m++].id = id;
            continue;
        }
        size_t k = 0;
        for (char name[8]; t->byte_fallback && k < n; k++) {
            snprintf(name, sizeof name, "<0x%02X>", (uint8_t)w.s[k]);
            if ((byte[k] = find(t, (struct text){name, 6})) < 0) break;
        }
        if (k == n) {
            for (k = 0; k < n; k++) y[m++].id = byte[k];
        } else if (t->unk >= 0) {
            if (unks && !t->fuse_unk) y[m++].id = t->unk;
            unks = 1;
        }
    }
    if (unks) y[m++].id = t->unk;
    for (int32_t i = 0; i < m; i++) y[i].prev = i - 1, y[i].next = i + 1 < m ? i + 1 : -1;
    return m;
}

// The word as the file spells it, in the run's own memory, with room for its symbols.
static struct text spell(struct run *r, struct text w) {
    int bytes = r->t->does[PRE_TOKENIZER] & BYTES;
    size_t n = 0, need = bytes ? 2 * w.n : w.n;
    if (need + 1 > r->symbols) {
        r->symbols = 2 * need + 64;
        free(r->spelled), free(r->symbol), free(r->heap);
        r->spelled = must_alloc(r->symbols, 1);
        r->symbol = must_alloc(r->symbols, sizeof *r->symbol);
        r->heap = must_alloc(2 * r->symbols, sizeof *r->heap);
    }
    if (!bytes) return w;
    for (size_t i = 0; i < w.n; i++) {
        const char *c = r->t->spelling[(uint8_t)w.s[i]];
        r->spelled[n++] = c[0];
        r->spelled[n] = c[1];
        n += c[1] != 0;
    }
    return (struct text){r->spelled, n};
}

// Merges the pair of the lowest rank, of equals the leftmost, until no pair merges. A queued pair
// whose symbols have changed since has another rank or none. Every merge takes a pair from the
// queue and adds at most two: with m symbols it never holds 2 m, and all takes O(m log m).
static void merge_word(struct run *r, struct text w) {
    int32_t whole = r->t->ignore_merges ? find(r->t, w) : -1;
    if (whole >= 0) {
        emit(r, whole);
        return;
    }
    int32_t m = spread(r, w);
    for (int32_t i = 0; i < m; i++) push(r, i);
    while (r->queued) {
        uint64_t key = pop(r);
        struct symbol *a = &r->symbol[(uint32_t)key];
        if (a->id < 0 || a->next < 0) continue;
        struct symbol *b = &r->symbol[a->next];
        const struct merge *e = merge_of(r->t, a->id, b->id);
        if (e->rank != (int32_t)(key >> 32)) continue;
        a->id = e->id, a->next = b->next, b->id = -1;
        if (a->next >= 0) r->symbol[a->next].prev = (int32_t)(uint32_t)key;
        push(r, a->prev);
        push(r, (int32_t)(uint32_t)key);
    }
    for (int32_t i = m ? 0 : -1; i >= 0; i = r->symbol[i].next) emit(r, r->symbol[i].id);
}

// Cuts x by the patterns from k on, matches and gaps alike, and merges every word.
static int cut_words(struct run *r, int k, struct text x) {
    if (!x.n) return 0;
    if (x.n > INT32_MAX / 4) return fail(r->err, "text: a piece of %zu bytes", x.n);
    if (k == r->t->n_split) return merge_word(r, spell(r, x)), 0;
    const size_t *v = pcre2_get_ovector_pointer(r->match);
    for (size_t at = 0, from, to; at < x.n; at = to) {
        int n = pcre2_match(r->t->split[k], (PCRE2_SPTR)x.s, x.n, at,
                            PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, r->match, NULL);
        if (n < 0 && n != PCRE2_ERROR_NOMATCH)
            return fail(r->err, "text: PCRE2 error %d at byte %zu of a piece", n, at);
        from = n < 0 ? x.n : v[0], to = n < 0 ? x.n : v[1];
        if (cut_words(r, k + 1, (struct text){x.s + at, from - at}) ||
            cut_words(r, k + 1, (struct text){x.s + from, to - from}))
            return -1;
    }
    return 0;
}

// The longest added token that x begins with, or NULL.
static const struct added *added_at(const tokenizer *t, int normalized, struct text x) {
    const struct added *a = t->first[normalized][(uint8_t)x.s[0]], *end = t->added + t->n_added;
    for (; a && a < end && a->normalized == normalized && a->text.s[0] == x.s[0]; a++)
        if (a->text.n <= x.n && !memcmp(a->text.s, x.s, a->text.n)) return a;
    return NULL;
}

// Cuts the added tokens out of x: first those of the text as it is; what lies between them is
// normalised and gives up those of normalised text; what then is left is cut into words.
static int cut_added(struct run *r, int normalized, struct text x) {
    char *own = NULL;
    for (size_t i = 0, from = 0; i <= x.n; i++) {
        const struct added *a = NULL;
        if (i < x.n && !(a = added_at(r->t, normalized, (struct text){x.s + i, x.n - i}))) continue;
        struct text gap = {x.s + from, i - from};
        int bad = normalized ? cut_words(r, 0, gap)
                  : gap.n    ? cut_added(r, 1, normalise(r->t, gap, &own))
                             : 0;
        free(own), own = NULL;
        if (bad) return -1;
        if (!a) break;
        emit(r, a->id);
        from = i + a->text.n, i = from - 1;
    }
    return 0;
}

int64_t token_encode(const tokenizer *t, const char *text, size_t len, int special, int32_t **ids,
                     char err[ERR]) {
    *ids = NULL;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8((struct text){text + i, len - i});
        if (!n || n > len - i) return fail(err, "text: byte %zu is not UTF-8", i);
    }
    struct run r = {.t = t, .err = err, .match = pcre2_match_data_create(1, NULL)};
    for (int i = 0; special && i < t->n_extra; i++) emit(&r, t->extra[i]);
    int bad = cut_added(&r, 0, (struct text){text, len});
    free(r.spelled), free(r.symbol), free(r.heap);
    pcre2_match_data_free(r.match);
    if (bad) return free(r.id), -1;
    *ids = r.id ? r.id : must_alloc(1, sizeof *r.id);
    return (int64_t)r.n;
}

// GPT-2's byte alphabet: a printable byte of Latin-1 spells itself, the others are U+0100 upwards.
static void make_alphabet(tokenizer *t) {
    memset(t->unspell, -1, sizeof t->unspell);
    for (int b = 0, next = 256; b < 256; b++) {
        int c = (b > 32 && b < 127) || (b > 160 && b != 173) ? b : next++;
        t->spelling[b][utf8proc_encode_char(c, (uint8_t *)t->spelling[b])] = 0;
        t->unspell[c] = (int16_t)b;
    }
}

static int read_file(tokenizer *t, char err[ERR]) {
    json_t *added = json_object_get(t->json, "added_tokens"),
           *j = json_object_get(t->json, "model");
    if (json_is_object(json_object_get(t->json, "truncation")) ||
        json_is_object(json_object_get(t->json, "padding")))
        return fail(err, "truncation, padding: not supported, expected null");
    if (read_model(t, added, err) || read_merges(t, json_object_get(j, "merges"), err) ||
        read_stage(t, NORMALIZER, err) || read_stage(t, PRE_TOKENIZER, err) ||
        read_added(t, added, err) || read_stage(t, POST_PROCESSOR, err) ||
        read_stage(t, DECODER, err))
        return -1;
    json_object_del(j, "merges");
    int does = t->does[DECODER], bytes = t->does[PRE_TOKENIZER] & BYTES;
    if (bytes ? does != UNSPELL : (does | STRIP) != (UNSPACE | FALLBACK | FUSE | STRIP))
        return fail(err,
                    "decoder: neither ByteLevel for ByteLevel nor Replace, ByteFallback, Fuse");
    make_alphabet(t);
    return 0;
}

tokenizer *token_open(const char *dir, char err[ERR]) {
    tokenizer *t = must_alloc(1, sizeof *t);
    char path[4096], why[ERR];
    json_error_t e;
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    t->json = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    if (t->json && !read_file(t, why)) return t;
    if (t->json)
        fail(err, "%.150s: %.350s", path, why);
    else
        e.line < 0 ? fail(err, "%.150s: %s", path, e.text)
                   : fail(err, "%.150s: line %d: %s", path, e.line, e.text);
    token_close(t);
    return NULL;
}

void token_close(tokenizer *t) {
    if (!t) return;
    for (int i = 0; i < t->n_split; i++) pcre2_code_free(t->split[i]);
    for (int i = 0; i < t->n_added; i++) free((char *)t->added[i].text.s);
    free(t->token), free(t->merge), free(t->added);
    json_decref(t->json);
    free(t);
}

int32_t token_count(const tokenizer *t) { return t->count; }

int32_t token_id(const tokenizer *t, const char *text) {
    int32_t id = find(t, (struct text){text, strlen(text)});
    for (int i = 0; id < 0 && i < t->n_added; i++)
        if (!strcmp(t->token[t->added[i].id].text.s, text)) id = t->added[i].id;
    return id;
}

// A byte may become U+FFFD, three bytes; three bytes may be held; the piece itself stands behind.
size_t token_room(const tokenizer *t) { return 4 * t->longest + 16; }

// The bytes that a token stands for. A byte-level token with a character outside the alphabet
// stands for itself.
static size_t piece(const tokenizer *t, const struct text x, char *out) {
    unsigned byte, c;
    size_t n = 0, wide;
    char end;
    int unspell = t->does[DECODER] == UNSPELL;
    if (!unspell && x.n == 6 && sscanf(x.s, "<0x%2x%c", &byte, &end) == 2 && end == '>')
        return out[0] = (char)byte, 1;
    for (size_t i = 0; i < x.n; i += wide) {
        c = (uint8_t)x.s[i];
        wide = unspell ? 1 + (c > 0x7F) : strncmp(x.s + i, "▁", 3) ? 1 : 3;
        if (unspell && wide == 2) c = c > 0xC5 ? 0x1FF : (c & 31) << 6 | ((uint8_t)x.s[i + 1] & 63);
        if (unspell && t->unspell[c] < 0) return memcpy(out, x.s, x.n), x.n;
        out[n++] = (char)(unspell ? t->unspell[c] : wide == 3 ? ' ' : (int)c);
    }
    return n;
}

size_t token_bytes(const tokenizer *t, int32_t id, char *out, size_t cap) {
    must(cap >= token_room(t) && id >= 0 && id < t->count);
    return piece(t, t->token[id].text, out);
}

// Held bytes that nothing will complete: U+FFFD once, or for each byte of byte fallback.
static size_t give_up(const tokenizer *t, token_stream *s, char *out) {
    size_t n = t->does[DECODER] == UNSPELL ? s->held > 0 : s->held;
    for (size_t i = 0; i < n; i++) memcpy(out + 3 * i, "\xEF\xBF\xBD", 3);
    s->held = 0;
    return 3 * n;
}

size_t token_decode(const tokenizer *t, token_stream *s, int32_t id, int skip_special, char *out,
                    size_t cap) {
    must(cap >= token_room(t) && id < t->count);
    const struct token *k = id < 0 ? NULL : &t->token[id];
    char *p = out + cap - t->longest;
    size_t n = 0, m = 0;
    int skip = k && skip_special && k->special;
    if (k && !skip) m = piece(t, k->text, p);
    int is_byte = m == 1 && k->text.n == 6; // no other token of 6 bytes stands for one
    if (!k || (!skip && t->does[DECODER] & FALLBACK && !is_byte)) n = give_up(t, s, out);
    for (size_t i = 0; i < m; i++) {
        s->byte[s->held++] = (uint8_t)p[i];
        size_t need = utf8((struct text){(char *)s->byte, s->held});
        if (need == s->held) memcpy(out + n, s->byte, need), n += need, s->held = 0;
        if (need) continue;
        if (s->held > 1) s->held--, i--; // this byte begins anew
        n += give_up(t, s, out + n);
    }
    if (n && !s->begun && t->does[DECODER] & STRIP && *out == ' ')
        memmove(out, out + 1, --n), s->begun = 1;
    s->begun |= n > 0;
    out[n] = 0;
    return n;
}

// The templates: the mark of the family, the beginning, then what opens a message of the system,
// the user, the assistant, then what closes it.
static const char *const chat[][8] = {
    [CHAT_ML] = {"<|im_start|>", "", "<|im_start|>system\n", "<|im_start|>user\n",
                 "<|im_start|>assistant\n", "<|im_end|>\n", "<|im_end|>\n", "<|im_end|>\n"},
    [CHAT_LLAMA3] = {"<|start_header_id|>", "<|begin_of_text|>",
                     "<|start_header_id|>system<|end_header_id|>\n\n",
                     "<|start_header_id|>user<|end_header_id|>\n\n",
                     "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>",
                     "<|eot_id|>", "<|eot_id|>"},
    [CHAT_GEMMA] = {"<start_of_turn>", "<bos>", "<start_of_turn>user\n", "<start_of_turn>user\n",
                    "<start_of_turn>model\n", "\n\n", "<end_of_turn>\n", "<end_of_turn>\n"},
    [CHAT_LLAMA2] = {"<s>", "", "<s>[INST] <<SYS>>\n", "<s>[INST] ", " ", "\n<</SYS>>\n\n",
                     " [/INST]", " </s>"},
};

int token_family(const tokenizer *t) {
    int f = CHAT_ML;
    while (f <= CHAT_LLAMA2 && token_id(t, chat[f][0]) < 0) f++;
    return f > CHAT_LLAMA2 ? CHAT_NONE : f;
}

// The text of a message as the templates take it: Qwen3 leaves out what an assistant thought, the
// others trim, except that Llama 2 leaves the end of its system text alone.
static struct text trim(int f, int who, int left, const char *s) {
    static const char space[] = " \t\n\v\f\r";
    const char *p;
    while (f == CHAT_ML && who == 2 && (p = strstr(s, "</think>"))) s = p + 8 + strspn(p + 8, "\n");
    int whole = f == CHAT_ML || (f != CHAT_LLAMA3 && who == 0);
    if (!whole && left) s += strspn(s, space);
    size_t n = strlen(s);
    while (!whole && n && strchr(space, s[n - 1])) n--;
    return (struct text){s, n};
}

int token_chat(const tokenizer *t, const char *const roles[], const char *const contents[], int n,
               char **text, char err[ERR]) {
    static const char *const role[] = {"system", "user", "assistant"};
    int f = token_family(t), system = n > 0 && !strcmp(roles[0], role[0]);
    size_t size;
    *text = NULL;
    if (f == CHAT_NONE) return fail(err, "chat: the tokenizer is of no known chat family");
    for (int i = system; i < n; i++)
        if (strcmp(roles[i], role[1 + (i - system) % 2]))
            return fail(err, "chat: message %d is not the %s's", i, role[1 + (i - system) % 2]);
    if ((n - system) % 2 == 0) return fail(err, "chat: the last message is not the user's");
    FILE *o = open_memstream(text, &size);
    must(o);
    fputs(chat[f][1], o);
    for (int i = 0; i < n; i++) {
        int who = i < system ? 0 : 1 + (i - system) % 2,
            joined = system && i == 1 && f > CHAT_LLAMA3;
        struct text x = trim(f, who, f != CHAT_LLAMA2 || !joined, contents[i]);
        if (!joined) fputs(chat[f][2 + who], o); // the system's text has opened it
        fwrite(x.s, 1, x.n, o);
        fputs(chat[f][5 + who], o);
    }
    if (f != CHAT_LLAMA2) fputs(chat[f][4], o);
    must(!fclose(o));
    return 0;
}
