// test_token.c - vectors/token.txt, files that must be refused, chat templates, long runs.
//
// Run from the root of the repository. One line per check; exit 1 if one fails.
#include "token.h"
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int passed, failed;

static void check(int ok, const char *name, const char *why) {
    printf("%s token: %s%s%s\n", ok ? "ok" : "FAIL", name, ok || !*why ? "" : ": ", ok ? "" : why);
    if (ok)
        passed++;
    else
        failed++;
}

static size_t unhex(const char *s, char *out) {
    size_t n = 0;
    unsigned byte;
    for (; sscanf(s, "%2x", &byte) == 1 && s[0] != ',' && s[0] != '-'; s += 2)
        out[n++] = (char)byte;
    return n;
}

static void test_encode(const tokenizer *t, int special, const char *input, const char *want,
                        const char *id) {
    static char text[1 << 16], got[1 << 16];
    char err[ERR] = "";
    int32_t *ids;
    size_t n = unhex(input, text), at = 0;
    int64_t count = token_encode(t, text, n, special, &ids, err);
    if (count < 0) return check(0, id, err);
    got[0] = 0;
    for (int64_t i = 0; i < count; i++)
        at += (size_t)sprintf(got + at, "%s%d", i ? "," : "", ids[i]);
    if (!count) strcpy(got, "-");
    free(ids);
    check(!strcmp(got, want), id, got);
}

static void test_decode(const tokenizer *t, int skip, const char *input, const char *want,
                        const char *id) {
    char got[4096] = "", *q = got;
    size_t room = token_room(t);
    char *out = must_alloc(room, 1);
    token_stream s = {0};
    for (const char *p = input; q == got || q[-1] == ','; p += strcspn(p, ","), p += *p == ',') {
        size_t n = token_decode(t, &s, *p ? atoi(p) : -1, skip, out, room);
        for (size_t i = 0; i < n; i++) q += sprintf(q, "%02x", (uint8_t)out[i]);
        q += sprintf(q, "%s%s", n ? "" : "-", *p ? "," : "");
    }
    free(out);
    check(!strcmp(got, want), id, got);
}

static void test_vectors(tokenizer *bytes, tokenizer *spm) {
    static char line[1 << 17], input[1 << 16], want[1 << 16];
    char id[64], folder[16], what[16], err[ERR];
    int flag, lines = 0;
    FILE *f = fopen("vectors/token.txt", "r");
    if (!f) return check(0, "vectors/token.txt", "cannot be read");
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        lines++;
        if (sscanf(line, "%63s | %*[^|]| %*[^|]| %15s %15s", id, folder, what) != 3)
            check(0, "line", line);
        const tokenizer *t = !strcmp(folder, "spm") ? spm : bytes;
        if (!strcmp(what, "refuse")) {
            int32_t *ids;
            char expected[64];
            int ok = sscanf(line, "%*[^|]| %*[^|]| %*[^|]| %*s %*s %s | %s", input, want) == 2;
            size_t n = unhex(input, want + 64);
            snprintf(expected, sizeof expected, "byte %d ", atoi(want));
            ok = ok && token_encode(t, want + 64, n, 0, &ids, err) == -1 && !ids &&
                 strstr(err, expected);
            check(ok, id, err);
            continue;
        }
        if (sscanf(line, "%*[^|]| %*[^|]| %*[^|]| %*s %*s %d %s | %s", &flag, input, want) != 3)
            check(0, id, "not parsed");
        else if (!strcmp(what, "encode"))
            test_encode(t, flag, input, want, id);
        else
            test_decode(t, flag, input, want, id);
    }
    fclose(f);
    check(lines > 90, "vectors/token.txt has its cases", "too few");
}

static const char good[] =
    "{\"truncation\":null,\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"single_word\":false,"
    "\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}],"
    "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\s+|\\\\S\"},\"behavior\":\"Isolated\","
    "\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
    "\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"dropout\":null,"
    "\"unk_token\":null,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[[\"a\",\"b\"]]}}";

// What is put in the place of what, and a word of the error line.
static const struct {
    const char *from, *to, *word;
} hostile[] = {
    {"\"model\"", "\"modell\"", "model"},
    {"\"model\":{", "\"model\":7,\"x\":{", "model"},
    {"\"BPE\"", "\"Unigram\"", "model.type"},
    {"\"BPE\"", "7", "model"},
    {"\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}", "\"vocab\":{}", "model.vocab"},
    {"\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}", "\"vocab\":[]", "model.vocab"},
    {"\"vocab\"", "\"vocap\"", "vocab"},
    {"\"ab\":2", "\"ab\":4", "'ab'"},
    {"\"ab\":2", "\"ab\":-1", "'ab'"},
    {"\"ab\":2", "\"ab\":1", "'ab'"},
    {"\"ab\":2", "\"ab\":3", "'ab'"},
    {"\"ab\":2", "\"ab\":2.5", "'ab'"},
    {"\"ab\":2", "\"ab\":\"2\"", "'ab'"},
    {"\"ab\":2", "\"ab\":99999999999999999999999", "line 1"},
    {"\"ab\":2", "\"ab\":9999999999999999", "'ab'"},
    {"\"ab\":2", "\"ab\":2,\"ab\":2", "duplicate"},
    {"\"ab\":2", "\"abc\":2", "merges[0]"},
    {"[\"a\",\"b\"]", "[\"a\",\"c\"]", "merges[0]"},
    {"[\"a\",\"b\"]", "[\"a\"]", "merges[0]"},
    {"[\"a\",\"b\"]", "[1,2]", "merges[0]"},
    {"[\"a\",\"b\"]", "[\"a\",\"b\"],\"ab\"", "merges[1]"},
    {"[\"a\",\"b\"]", "[\"a\",\"b\"],\"a b \"", "merges[1]"},
    {"[\"a\",\"b\"]", "[\"a\",\"b\"],null", "merges[1]"},
    {"\"merges\":[", "\"merges\":7,\"x\":[", "merges"},
    {"\"dropout\":null", "\"dropout\":0.1", "dropout"},
    {"\"dropout\":null", "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix"},
    {"\"dropout\":null", "\"byte_fallback\":\"yes\"", "model"},
    {"\"unk_token\":null", "\"unk_token\":\"<unk>\"", "unk_token"},
    {"\"truncation\":null", "\"truncation\":{}", "truncation"},
    {"\"id\":3", "\"id\":2", "same id"},
    {"\"id\":3", "\"id\":4", "'<s>'"},
    {"\"id\":3", "\"id\":null", "'<s>'"},
    {"\"id\":3,", "", "added_tokens[0]"},
    {"\"content\":\"<s>\"", "\"content\":\"\"", "added_tokens"},
    {"\"content\":\"<s>\"", "\"content\":5", "added_tokens"},
    {"\"content\":\"<s>\"", "\"content\":\"a\"", "id"},
    {"\"lstrip\":false", "\"lstrip\":true", "lstrip"},
    {"\"NFC\"", "\"NFKC\"", "normalizer"},
    {"{\"type\":\"NFC\"}", "7", "normalizer"},
    {"{\"type\":\"NFC\"}", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}",
     "Lowercase"},
    {"\"Split\"", "\"Metaspace\"", "pre_tokenizer"},
    {"\"Isolated\"", "\"Removed\"", "pre_tokenizer"},
    {"{\"Regex\":\"\\\\s+|\\\\S\"}", "{\"Regex\":7}", "pre_tokenizer"},
    {"\"pattern\":{\"Regex\":\"\\\\s+|\\\\S\"},", "", "pre_tokenizer"},
    {"\\\\s+|", "(", "pattern"},
    {"\\\\s+|", "\\\\w|", "pattern"},
    {"\\\\s+|", "\\\\", "pattern"},
    {"\"add_prefix_space\":false", "\"add_prefix_space\":true", "add_prefix_space"},
    {"\"TemplateProcessing\"", "\"BertProcessing\"", "post_processor"},
    {"{\"id\":\"<s>\",\"type_id\":0}", "{\"id\":\"<t>\"}", "single[0]"},
    {"{\"Sequence\"", "{\"Sequel\"", "single"},
    {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null", "decoder"},
    {"\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":{\"type\":\"WordPiece\"}", "decoder"},
};

static tokenizer *open_text(const char *dir, const char *text, size_t n, char err[ERR]) {
    char path[256];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    FILE *f = fopen(path, "w");
    must(f && fwrite(text, 1, n, f) == n && !fclose(f));
    return token_open(dir, err);
}

static void test_hostile(const char *dir) {
    char err[ERR], text[4096], name[256];
    tokenizer *t = open_text(dir, good, strlen(good), err);
    check(t != NULL, "a small file opens", err);
    token_close(t);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        const char *at = strstr(good, hostile[i].from);
        must(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, hostile[i].to,
                 at + strlen(hostile[i].from));
        err[0] = 0;
        t = open_text(dir, text, strlen(text), err);
        snprintf(name, sizeof name, "refused: %s", hostile[i].to);
        check(!t && strstr(err, hostile[i].word) && !strchr(err, '\n'), name,
              t ? "it opened" : err);
        token_close(t);
    }
    int bad = 0;
    for (size_t n = 0; n < strlen(good); n++) {
        t = open_text(dir, good, n, err);
        bad += t || !strstr(err, "line");
        token_close(t);
    }
    check(!bad, "refused: every truncation", "one opened");
    check(!token_open("vectors/no-such-folder", err) && strstr(err, "no-such-folder"),
          "refused: no such folder", err);
}

// The good file with one replacement makes these ids of the text.
static void test_variant(const char *dir, const char *from, const char *to, const char *text,
                         const char *want) {
    char json[4096], got[256] = "", err[ERR] = "", *q = got;
    const char *at = strstr(good, from);
    must(at);
    snprintf(json, sizeof json, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    tokenizer *t = open_text(dir, json, strlen(json), err);
    int32_t *ids = NULL;
    int64_t n = t ? token_encode(t, text, strlen(text), 0, &ids, err) : -1;
    for (int64_t i = 0; i < n; i++) q += sprintf(q, "%d ", ids[i]);
    check(n >= 0 && !strcmp(got, want), to, n < 0 ? err : got);
    free(ids);
    token_close(t);
}

static void test_variants(const char *dir) {
    test_variant(dir, "\"BPE\"", "\"BPE\"", "ab<s>b",
                 "0 1 3 1 "); // its pattern cuts single letters
    test_variant(dir, "\\\\s+|\\\\S", "\\\\s+", "ab a", "2 0 ");
    test_variant(dir, "\\\\s+|\\\\S", "b", "abab", "0 1 0 1 ");
    test_variant(dir, "\\\\s+|\\\\S\"},", "(a)b\"},", "aabb", "0 2 1 ");
    test_variant(dir, "{\"type\":\"NFC\"}", "null", "b", "1 ");
    test_variant(dir, "\\\\s+|\\\\S\"},\"behavior\":\"Isolated\",\"invert\":false},",
                 "x\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"Digits\","
                 "\"individual_digits\":true},",
                 "abb", "2 1 ");
    test_variant(dir, "\"merges\":[[\"a\",\"b\"]]", "\"merges\":[\"a b\"]", "b", "1 ");
    test_variant(dir,
                 "\\\\s+|\\\\S\"},\"behavior\":\"Isolated\",\"invert\":false},"
                 "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}",
                 "x\"},\"behavior\":\"Isolated\",\"invert\":false},"
                 "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
                 "ab'a ab", "2 0 2 ");
}

static void test_ignore_merges(const char *dir) {
    char err[ERR], json[4096];
    for (int ignore = 0; ignore < 2; ignore++) {
        snprintf(
            json, sizeof json,
            "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
            "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":"
            "\"BPE\",\"ignore_merges\":%s,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}}",
            ignore ? "true" : "false");
        tokenizer *t = open_text(dir, json, strlen(json), err);
        int32_t *ids = NULL;
        int64_t n = t ? token_encode(t, "ab", 2, 0, &ids, err) : -1;
        check(ignore ? n == 1 && ids[0] == 2 : n == 2 && ids[0] == 0, "ignore_merges", err);
        free(ids);
        token_close(t);
    }
}

// b c, a b, bc d, a bc: the key of a b is in the queue when b has gone into bc. Taken for a bc, it
// would come before bc d.
static void test_stale(const char *dir) {
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
        "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":"
        "1,"
        "\"c\":2,\"d\":3,\"bc\":4,\"ab\":5,\"bcd\":6,\"abc\":7},"
        "\"merges\":[\"b c\",\"a b\",\"bc d\",\"a bc\"]}}";
    char err[ERR] = "";
    tokenizer *t = open_text(dir, json, strlen(json), err);
    int32_t *ids = NULL;
    int64_t n = t ? token_encode(t, "abcd", 4, 0, &ids, err) : -1;
    check(n == 2 && ids[0] == 0 && ids[1] == 6, "a queued pair that has changed does not merge",
          err);
    free(ids);
    token_close(t);
}

static void test_chat_of(const char *dir, const char *special, int family, int system,
                         const char *want) {
    static const char *const roles[] = {"system", "user", "assistant", "user"};
    static const char *const contents[] = {"S ", " a\n", "<think>\nx\n</think>\n\nb ", "c"};
    char text[4096], err[ERR] = "", *got = NULL;
    const char *at = strstr(good, "\"<s>\"");
    const char *frame = strstr(good, "\"post_processor\""), *after = strstr(good, "\"decoder\"");
    snprintf(text, sizeof text, "%.*s\"%s\"%.*s%s", (int)(at - good), good, special,
             (int)(frame - at - 5), at + 5, after);
    tokenizer *t = open_text(dir, text, strlen(text), err);
    int ok = t && token_family(t) == family && token_id(t, special) == 3;
    int n = system ? 4 : 3;
    ok = ok && !token_chat(t, roles + !system, contents + !system, n, &got, err) &&
         !strcmp(got, want);
    check(ok, special, got ? got : err);
    free(got);
    static const char *const wrong[] = {"user", "user"}, *const other[] = {"tool"};
    ok = t && token_chat(t, wrong, contents, 2, &got, err) && !got && strstr(err, "chat");
    ok = ok && token_chat(t, other, contents, 1, &got, err) &&
         token_chat(t, roles, contents, 1, &got, err);
    check(ok && token_chat(t, roles + 1, contents, 2, &got, err), "chat: wrong roles are refused",
          err);
    token_close(t);
}

static void test_chat(const char *dir) {
    test_chat_of(dir, "<|im_start|>", CHAT_ML, 1,
                 "<|im_start|>system\nS <|im_end|>\n<|im_start|>user\n a\n<|im_end|>\n"
                 "<|im_start|>assistant\nb <|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
                 "<|im_start|>assistant\n");
    test_chat_of(
        dir, "<|start_header_id|>", CHAT_LLAMA3, 1,
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n<think>\nx\n</think>\n\nb<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nc<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n");
    test_chat_of(dir, "<s>", CHAT_LLAMA2, 1,
                 "<s>[INST] <<SYS>>\nS \n<</SYS>>\n\n a [/INST] <think>\nx\n</think>\n\nb </s>"
                 "<s>[INST] c [/INST]");
    test_chat_of(
        dir, "<start_of_turn>", CHAT_GEMMA, 1,
        "<bos><start_of_turn>user\nS \n\na<end_of_turn>\n<start_of_turn>model\n<think>\nx\n"
        "</think>\n\nb<end_of_turn>\n<start_of_turn>user\nc<end_of_turn>\n"
        "<start_of_turn>model\n");
    test_chat_of(dir, "<start_of_turn>", CHAT_GEMMA, 0,
                 "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\n<think>\nx\n"
                 "</think>\n\nb<end_of_turn>\n<start_of_turn>user\nc<end_of_turn>\n"
                 "<start_of_turn>model\n");
}

// 40 times as long may take at most 200 times as long: n log n passes, n squared (1,600) does not.
static void test_long(const tokenizer *t, const char *unit, const char *name) {
    enum { SHORT = 20000, TIMES = 40 };
    size_t k = strlen(unit);
    char *text = must_alloc(k * SHORT * TIMES, 1), err[ERR], why[64];
    double seconds[2];
    for (size_t i = 0; i < (size_t)SHORT * TIMES; i++) memcpy(text + i * k, unit, k);
    for (int i = 0; i < 2; i++) {
        int32_t *ids;
        clock_t begin = clock();
        for (int again = 0; again < (i ? 1 : 4); again++) {
            must(token_encode(t, text, k * SHORT * (size_t)(i ? TIMES : 1), 0, &ids, err) > 0);
            free(ids);
        }
        seconds[i] = (double)(clock() - begin) / CLOCKS_PER_SEC / (i ? 1 : 4);
    }
    snprintf(why, sizeof why, "%.4f s, %.4f s", seconds[0], seconds[1]);
    check(seconds[1] < 200 * (seconds[0] + 1e-4), name, why);
    free(text);
}

static void test_small_things(const tokenizer *bytes, const tokenizer *spm) {
    check(token_count(bytes) == 406 && token_count(spm) == 401, "count", "");
    check(token_id(bytes, "<|im_end|>") == 402 && token_id(bytes, "no such token") == -1, "id", "");
    int same = 1;
    for (int32_t i = 0; i < 100; i++) {
        char err[ERR];
        int32_t *a, *b = NULL, n;
        n = (int32_t)token_encode(bytes, "the kato", 8, 0, &a, err);
        same = same && n == token_encode(bytes, "the kato", 8, 1, &b, err) &&
               !memcmp(a, b, 4 * (size_t)n);
        free(a), free(b);
    }
    check(same, "the same text gives the same ids, a hundred times", "");
}

int main(void) {
    char err[ERR] = "", dir[] = "/tmp/test_token.XXXXXX", path[64];
    tokenizer *bytes = token_open("vectors/token/bytes", err);
    tokenizer *spm = bytes ? token_open("vectors/token/spm", err) : NULL;
    check(bytes && spm, "the two small tokenizers open", err);
    must(mkdtemp(dir));
    if (bytes && spm) {
        test_vectors(bytes, spm);
        test_small_things(bytes, spm);
        test_long(bytes, "a", "a long run of letters");
        test_long(bytes, " ", "a long run of spaces");
        test_long(bytes, "\xCC\xA3\xCC\x81", "a long run of combining marks");
        test_long(bytes, "ab ", "a long text of words");
        test_long(spm, "to a", "a long text without words");
    }
    test_hostile(dir);
    test_variants(dir);
    test_ignore_merges(dir);
    test_stale(dir);
    test_chat(dir);
    token_close(bytes);
    token_close(spm);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    unlink(path);
    rmdir(dir);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
