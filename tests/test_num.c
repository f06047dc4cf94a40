// test_num.c - the arithmetic against vectors/num.txt and vectors/exhaustive.txt, and the check of
// the float environment. Run in the repository's root: test_num [VECTORS].
#include "num.h"
#include "assay.h"
#include <sodium.h>
#include <sys/wait.h>
#include <unistd.h>

static int passed, failed;

static void check(int ok, const char *what, const char *found) {
    if (ok)
        passed++;
    else
        failed++;
    printf("%s num: %s%s%s\n", ok ? "ok" : "FAIL", what, ok ? "" : ": ", ok ? "" : found);
}

// Element i of a test array, as vectors/num.txt says.
static float element(int64_t i, uint32_t seed) {
    uint32_t w = (uint32_t)(i + 1) * 2654435761u + seed * 40503u;
    w = (w ^ w >> 15) * 2246822519u;
    int32_t m = (int32_t)(w >> 8) - (1 << 23);
    return (float)m * num_float((100 + (w & 7)) << 23); // 100 - 127 = -27
}

static float sum(float (*dot)(const float *, const float *, int64_t), const char *arguments) {
    long n = 0;
    unsigned s = 0, t = 0;
    must(sscanf(arguments, "%ld %u %u", &n, &s, &t) == 3);
    // Not one element more than n, so that a sanitizer sees a read beyond.
    float *a = must_alloc((size_t)n, sizeof *a), *b = must_alloc((size_t)n, sizeof *b);
    for (long i = 0; i < n; i++) {
        a[i] = element(i, s);
        b[i] = element(i, t);
    }
    float r = dot(a, b, n);
    free(a);
    free(b);
    return r;
}

static double as_double(uint64_t u) {
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}

static void print_float(char out[40], float x) {
    if (x != x)
        snprintf(out, 40, "nan");
    else
        snprintf(out, 40, "%08x", num_bits(x));
}

static void print_half(char out[40], uint16_t h, int infinity) {
    if ((h & 0x7fff) > infinity)
        snprintf(out, 40, "nan");
    else
        snprintf(out, 40, "%04x", h);
}

// Writes what the program makes of a case; 0 when op is not known.
static int run(const char *op, const char *arguments, char out[40]) {
    unsigned u[3] = {0};
    sscanf(arguments, "%x %x %x", &u[0], &u[1], &u[2]);
    float a = num_float(u[0]), b = num_float(u[1]), c = num_float(u[2]);
    unsigned long long p = 0, q = 0;
    if (!strcmp(op, "fma"))
        print_float(out, num_fma(a, b, c));
    else if (!strcmp(op, "sqrt"))
        print_float(out, num_sqrt(a));
    else if (!strcmp(op, "div"))
        print_float(out, num_div(a, b));
    else if (!strcmp(op, "rint"))
        print_float(out, num_rint(a));
    else if (!strcmp(op, "exp"))
        print_float(out, num_exp(a));
    else if (!strcmp(op, "log"))
        print_float(out, num_log(a));
    else if (!strcmp(op, "sigmoid"))
        print_float(out, num_sigmoid(a));
    else if (!strcmp(op, "tanh"))
        print_float(out, num_tanh(a));
    else if (!strcmp(op, "to_bf16"))
        print_half(out, num_to_bf16(a), 0x7f80);
    else if (!strcmp(op, "to_f16"))
        print_half(out, num_to_f16(a), 0x7c00);
    else if (!strcmp(op, "from_bf16"))
        print_float(out, num_from_bf16((uint16_t)u[0]));
    else if (!strcmp(op, "from_f16"))
        print_float(out, num_from_f16((uint16_t)u[0]));
    else if (!strcmp(op, "lane_dot"))
        print_float(out, sum(num_lane_dot, arguments));
    else if (!strcmp(op, "seq_dot"))
        print_float(out, sum(num_seq_dot, arguments));
    else if (!strcmp(op, "pow") && sscanf(arguments, "%llx %llx", &p, &q) == 2) {
        double y = num_pow(as_double(p), as_double(q));
        memcpy(&p, &y, sizeof p);
        snprintf(out, 40, "%016llx", p);
    } else if (!strcmp(op, "rope") && sscanf(arguments, "%llx %llu", &p, &q) == 2) {
        float cos, sin;
        num_rope_table(as_double(p), (int64_t)q, &cos, &sin);
        snprintf(out, 40, "%08x %08x", num_bits(cos), num_bits(sin));
    } else {
        return 0;
    }
    return 1;
}

// One line a group of cases (op), which lie together in the file.
static void vectors(const char *path) {
    FILE *f = fopen(path, "r");
    if (!f) {
        check(0, path, "cannot be opened; run this in the repository's root");
        return;
    }
    char line[512], group[32] = "", what[80], first[600] = "";
    int cases = 0;
    for (;;) {
        char id[32] = "", reason[128], flags[64], arguments[128], expected[64], out[40];
        char *got = fgets(line, sizeof line, f);
        if (got && line[0] == '#') continue;
        if (got) {
            int n = sscanf(line, "%31[^.].%*d | %127[^|]| %63[^|]| %127[^|]| %63[^\n]", id, reason,
                           flags, arguments, expected);
            must(n == 5);
        }
        if (strcmp(id, group) != 0) {
            snprintf(what, sizeof what, "%s: %d cases", group, cases);
            if (cases) check(!first[0], what, first);
            memcpy(group, id, sizeof group);
            cases = 0;
            first[0] = 0;
        }
        if (!got) break;
        cases++;
        if (!run(id, arguments, out)) snprintf(out, sizeof out, "no such operation");
        if (strcmp(out, expected) != 0 && !first[0])
            snprintf(first, sizeof first, "%s is %s in: %.400s", id, out, line);
    }
    fclose(f);
}

// Every 4,099th binary32 through a function: SHA-256 of the results' bytes, NaN as 7fc00000.
static void strided(const char *name, float (*f)(float)) {
    static uint32_t out[(1ull << 32) / 4099 + 1];
    size_t n = 0;
    for (uint64_t u = 0; u >> 32 == 0; u += 4099) {
        float y = f(num_float((uint32_t)u));
        must(n < sizeof out / sizeof *out);
        out[n++] = y != y ? 0x7fc00000u : num_bits(y);
    }
    unsigned char hash[crypto_hash_sha256_BYTES];
    char text[2 * sizeof hash + 1], line[512], want[65] = "", id[32], what[80];
    crypto_hash_sha256(hash, (unsigned char *)out, n * sizeof *out);
    sodium_bin2hex(text, sizeof text, hash, sizeof hash);
    FILE *golden = fopen("vectors/exhaustive.txt", "r");
    int found = 0;
    while (!found && golden && fgets(line, sizeof line, golden))
        found = sscanf(line, "%31s | every 4099th | %64s", id, want) == 2 && !strcmp(id, name);
    if (golden) fclose(golden);
    snprintf(what, sizeof what, "%s: digest of %zu values", name, n);
    check(found && !strcmp(text, want), what, text);
}

static float f_exp(float x) { return num_exp(x); }
static float f_log(float x) { return num_log(x); }
static float f_sigmoid(float x) { return num_sigmoid(x); }
static float f_tanh(float x) { return num_tanh(x); }

// Sets bits of the mode register in a child and asks: 0 when it goes on, 1 when it is stopped.
static int stopped(uint64_t bits) {
    fflush(stdout);
    pid_t child = fork();
    must(child >= 0);
    if (!child) {
        must(freopen("/dev/null", "w", stderr) != NULL);
#if defined __x86_64__
        uint32_t mode = 0x1f80 | (uint32_t)bits;
        __asm__ volatile("ldmxcsr %0" ::"m"(mode));
#elif defined __aarch64__
        __asm__ volatile("msr fpcr, %0" ::"r"(bits));
#endif
        num_require_ieee();
        _exit(0);
    }
    int status;
    must(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void environment(void) {
#if defined __x86_64__
    const uint64_t flush = 0x8000, subnormals = 0x0040, round = 1 << 13; // FTZ, DAZ, RC
    check(stopped(0x3f) == 0, "sticky flags do not matter", "it stopped");
    check(stopped(subnormals) == 1, "subnormal inputs taken as zero: it stops", "it went on");
#elif defined __aarch64__
    const uint64_t flush = 1 << 24, round = 1 << 22; // FZ, RMode
#else
    const uint64_t flush = 0, round = 0;
    printf("not run: num: environment: no mode register is known for this machine\n");
    return;
#endif
    check(stopped(0) == 0, "an IEEE environment is accepted", "it stopped");
    check(stopped(flush) == 1, "flush to zero: it stops", "it went on");
    check(stopped(round) == 1 && stopped(2 * round) == 1 && stopped(3 * round) == 1,
          "the three other rounding modes: it stops", "it went on");
}

int main(int argc, char **argv) {
    num_require_ieee();
    vectors(argc > 1 ? argv[1] : "vectors/num.txt");
    strided("exp", f_exp);
    strided("log", f_log);
    strided("sigmoid", f_sigmoid);
    strided("tanh", f_tanh);
    environment();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
