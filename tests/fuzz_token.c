// fuzz_token.c - any bytes as a text, as ids and as a tokenizer.json. Run from the repository root.
//
// The first byte chooses: even, the file; odd, text and ids for the two tokenizers of the vectors. A
// text that encodes must decode to UTF-8 that encodes again.
#include "token.h"
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void decode_all(const tokenizer *t, const int32_t *ids, int64_t n) {
    char err[ERR];
    size_t room = token_room(t), size = 0;
    char *out = must_alloc((size_t)(n + 1) * 16 + 2 * room, 1);
    token_stream s = {0};
    int32_t *again;
    for (int64_t i = 0; i <= n; i++) {
        size_t k = token_decode(t, &s, i < n ? ids[i] : -1, 0, out + size, room);
        must(k < room && out[size + k] == 0);
        if (size + k < (size_t)n * 16) size += k;
    }
    must(token_encode(t, out, size, 0, &again, err) >= 0);
    free(again), free(out);
}

static void fuzz_text(const tokenizer *t, const uint8_t *data, size_t n) {
    char err[ERR] = "";
    int32_t *ids, count = token_count(t);
    int64_t m = token_encode(t, (const char *)data, n, 1, &ids, err);
    must(m >= 0 ? ids != NULL : !ids && err[0]);
    if (m >= 0) decode_all(t, ids, m);
    free(ids);
    ids = must_alloc(n, sizeof *ids);
    for (size_t i = 0; i + 1 < n; i += 2) ids[i / 2] = (data[i] << 8 | data[i + 1]) % count;
    decode_all(t, ids, (int64_t)(n / 2));
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static tokenizer *bytes, *spm;
    static char dir[] = "/tmp/fuzz_token.XXXXXX", path[64], err[ERR];
    if (!bytes) {
        must(mkdtemp(dir));
        snprintf(path, sizeof path, "%s/tokenizer.json", dir);
        bytes = token_open("vectors/token/bytes", err);
        spm = token_open("vectors/token/spm", err);
        must(bytes && spm);
    }
    if (!n) return 0;
    if (data[0] % 2) {
        fuzz_text(data[0] & 2 ? bytes : spm, data + 1, n - 1);
        return 0;
    }
    FILE *f = fopen(path, "w");
    must(f && fwrite(data + 1, 1, n - 1, f) == n - 1 && !fclose(f));
    err[0] = 0;
    tokenizer *t = token_open(dir, err);
    must(t ? token_count(t) > 0 : err[0] != 0);
    if (t) fuzz_text(t, data + 1, n - 1);
    token_close(t);
    return 0;
}
