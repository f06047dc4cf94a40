// test_rng.c - the random words against vectors/rng.txt, and that a stream can be cut anywhere.
// Run in the repository's root: test_rng [VECTORS].
#include "rng.h"
#include "assay.h"

static int passed, failed;

static void check(int ok, const char *what, const char *found) {
    if (ok)
        passed++;
    else
        failed++;
    printf("%s rng: %s%s%s\n", ok ? "ok" : "FAIL", what, ok ? "" : ": ", ok ? "" : found);
}

static void print_words(char *out, const uint32_t *w, int n) {
    strcpy(out, n ? "" : "none");
    for (int i = 0; i < n; i++) sprintf(out + 9 * i, "%08x%s", w[i], i == n - 1 ? "" : " ");
}

// Writes what the program makes of a case.
static void run(const char *op, const char *arguments, char out[256]) {
    uint32_t u[6] = {0}, w[24];
    int n = sscanf(arguments, "%x %x %x %x %x %x", &u[0], &u[1], &u[2], &u[3], &u[4], &u[5]);
    if (!strcmp(op, "philox") && n == 6) {
        print_words(out, rng_philox(u, u + 2).v, 4);
    } else if (!strcmp(op, "words") && n == 5 && u[4] <= 6) {
        rng_words(u[0], u[1], u[2], u[3], w, (int64_t)u[4]);
        print_words(out, w, (int)u[4] * 4);
    } else if (!strcmp(op, "uniform") && n == 1) {
        float x = rng_uniform(u[0]);
        memcpy(w, &x, sizeof x);
        print_words(out, w, 1);
    } else {
        strcpy(out, "no such operation");
    }
}

static void vectors(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) check(0, path, "cannot be opened; run this in the repository's root");
    char line[512], id[32], reason[128], flags[64], arguments[128], expected[256], out[256],
        what[200];
    while (f && fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        must(sscanf(line, "%31s | %127[^|]| %63[^|]| %127[^|]| %255[^\n]", id, reason, flags,
                    arguments, expected) == 5);
        char op[32];
        sscanf(id, "%31[^.]", op);
        reason[strlen(reason) - 1] = 0; // the blank before the bar
        run(op, arguments, out);
        snprintf(what, sizeof what, "%s: %s", id, reason);
        check(!strcmp(out, expected), what, out);
    }
    if (f) fclose(f);
}

// 100 blocks at once are the same as in pieces of 1, 2, 3...; nothing is written beyond.
static void cuts(void) {
    enum { BLOCKS = 100 };
    uint32_t whole[4 * BLOCKS], pieces[4 * BLOCKS + 1];
    rng_words(1, 2, 3, 1000, whole, BLOCKS);
    for (int64_t b = 0, n = 1; b < BLOCKS; b += n, n++) {
        if (n > BLOCKS - b) n = BLOCKS - b;
        pieces[4 * (b + n)] = 0x5eed5eed;
        rng_words(1, 2, 3, 1000 + (uint32_t)b, pieces + 4 * b, n);
        must(pieces[4 * (b + n)] == 0x5eed5eed);
    }
    check(!memcmp(whole, pieces, sizeof whole), "a stream in pieces is the stream", "it differs");
}

// A gross look, not a test of randomness: every bit of 2^18 words is set about half of the time.
// 5 standard deviations of a fair coin are 1,280 of 131,072.
static void balance(void) {
    enum { BLOCKS = 1 << 16 };
    uint32_t *w = must_alloc(4 * BLOCKS, sizeof *w);
    int worst = 0;
    rng_words(42, 0, 0, 0, w, BLOCKS);
    for (int bit = 0; bit < 32; bit++) {
        int ones = 0;
        for (int i = 0; i < 4 * BLOCKS; i++) ones += w[i] >> bit & 1;
        int off = abs(ones - 2 * BLOCKS);
        worst = off > worst ? off : worst;
    }
    free(w);
    char found[64];
    snprintf(found, sizeof found, "a bit is %d from half", worst);
    check(worst < 1280, "every bit is balanced", found);
}

int main(int argc, char **argv) {
    vectors(argc > 1 ? argv[1] : "vectors/rng.txt");
    cuts();
    balance();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
