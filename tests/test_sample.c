// test_sample.c - the sampler against vectors/sample.txt.
// Run in the repository's root: test_sample [VECTORS].
#include "sample.h"
#include "num.h"
#include "rng.h"

static int passed, failed;

static void check(int ok, const char *what, const char *found) {
    if (ok)
        passed++;
    else
        failed++;
    printf("%s sample: %s%s%s\n", ok ? "ok" : "FAIL", what, ok ? "" : ": ", ok ? "" : found);
}

// The logits of a case in a new array; returns how many.
static int64_t read_logits(const char *s, float **z) {
    unsigned seed, n = 1, u;
    int shift;
    if (sscanf(s, "words:%u,%u,%d", &seed, &n, &shift) == 3) {
        uint32_t *w = must_alloc(n + 4, sizeof *w);
        *z = must_alloc(n, sizeof **z);
        rng_words(seed, 0, 0, 0, w, (n + 3) / 4);
        for (unsigned i = 0; i < n; i++)
            (*z)[i] = (float)((int32_t)(w[i] >> 8) - (1 << 23)) *
                      num_float((uint32_t)(127 + shift - 23) << 23);
        free(w);
        return n;
    }
    for (const char *c = s; *c; c++) n += *c == ',';
    *z = must_alloc(n, sizeof **z);
    s += 2; // "f:"
    for (unsigned i = 0; i < n; i++, s += 9) {
        must(sscanf(s, "%8x", &u) == 1);
        (*z)[i] = num_float(u);
    }
    return n;
}

static void vectors(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) check(0, path, "cannot be opened; run this in the repository's root");
    char line[4096], id[32], reason[128], flags[32], logits[1024], want[512];
    while (f && fgets(line, sizeof line, f)) {
        char out[512] = "", what[200];
        unsigned T, p, k, seed, seq, pos;
        int at = 0;
        if (line[0] == '#') continue;
        must(sscanf(line,
                    "%31s | %127[^|]| %31[^|]| T=%x p=%x k=%u seed=%u seq=%u pos=%u z=%1023s | "
                    "%511[^\n]",
                    id, reason, flags, &T, &p, &k, &seed, &seq, &pos, logits, want) == 11);
        float *z;
        int64_t n = read_logits(logits, &z);
        sample_options o = {num_float(T), (int)k, num_float(p), seed, seq};
        reason[strlen(reason) - 1] = 0; // the blank before the bar
        for (const char *w = want; w; w = strchr(w + 1, ' '), pos++)
            at += sprintf(out + at, "%s%d", at ? " " : "", sample_token(z, n, &o, pos));
        snprintf(what, sizeof what, "%s: %s", id, reason);
        check(!strcmp(out, want), what, out);
        free(z);
    }
    if (f) fclose(f);
}

int main(int argc, char **argv) {
    num_require_ieee();
    vectors(argc > 1 ? argv[1] : "vectors/sample.txt");
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
