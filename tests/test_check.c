// test_check.c - expressions: vectors/check.txt, limits, what strangers may send, seeds and time.
// Run in the repository's root: test_check [VECTORS], or test_check --pipe, which answers lines
// "SCOPE | LEFT | RIGHT" with one word each.
#include "check.h"
#include <time.h>

static int passed, failed;

static void check(int ok, const char *what, const char *found) {
    if (ok)
        passed++;
    else
        failed++;
    printf("%s check: %s%s%s\n", ok ? "ok" : "FAIL", what, ok ? "" : ": ", ok ? "" : found);
}

// Names, and what they stand for.
typedef struct {
    check_scope s;
    char name[CHECK_NAMES][16];
    check_expr is[CHECK_NAMES];
} names;

// "q;p;T:=p^2/2": the names in their order. A text that is no expression stands for none.
static void read_names(names *s, const char *text) {
    char err[ERR];
    s->s.n = 0;
    for (size_t n; *text; text += n + (text[n] != 0)) {
        n = strcspn(text, ";");
        size_t k = strcspn(text, ":;");
        int i = s->s.n;
        must(i < CHECK_NAMES && k < sizeof s->name[i]);
        memcpy(s->name[i], text, k);
        s->name[i][k] = 0;
        if (k < n) check_read_bound(&s->is[i], text + k + 2, n - k - 2, &s->s, err);
        s->s.of[i] = (check_name){s->name[i], k < n ? &s->is[i] : NULL};
        s->s.n++;
    }
}

// One word: equal, different, novalue; LEFT@N or RIGHT@N, which is refused at byte N (without
// @N: as a whole).
static void decide(const names *s, const char *const text[2], const size_t n[2],
                   const uint32_t seed[2], char out[64]) {
    static check_expr e[2];
    char err[ERR];
    for (int i = 0; i < 2; i++) {
        if (!check_read_bound(&e[i], text[i], n[i], &s->s, err)) continue;
        const char *at = strstr(err, "byte "), *side = i ? "right" : "left";
        must(!e[i].nodes);
        if (at && n[i] <= CHECK_BYTES)
            snprintf(out, 64, "%s@%ld", side, strtol(at + 5, NULL, 10));
        else
            snprintf(out, 64, "%s", side);
        return;
    }
    int is = check_equal(&e[0], &e[1], &s->s, seed);
    must(is == check_equal(&e[1], &e[0], &s->s, seed));
    strcpy(out, is == 1 ? "equal" : is == 0 ? "different" : "novalue");
}

// Replaces \xHH by its byte, in place; returns how many bytes there are.
static size_t unescape(char *s) {
    char *to = s;
    unsigned u;
    for (char *c = s; *c; to++)
        if (c[0] == '\\') {
            must(sscanf(c + 1, "x%2x", &u) == 1);
            *to = (char)u;
            c += 4;
        } else
            *to = *c++;
    *to = 0;
    return (size_t)(to - s);
}

// Cuts a line at " | " into at most k fields; returns how many.
static int cut(char *line, char **field, int k) {
    int n = 0;
    line[strcspn(line, "\n")] = 0;
    for (char *c = line; c && n < k; n++) {
        field[n] = c;
        c = strstr(c, " | ");
        if (c) *c = 0, c += 3;
    }
    return n;
}

static void run_pipe(void) {
    static char line[1 << 16];
    static names s;
    while (fgets(line, sizeof line, stdin)) {
        char *f[3], out[64];
        const uint32_t seed[2] = {1, 2};
        must(cut(line, f, 3) == 3);
        read_names(&s, f[0]);
        size_t n[2] = {unescape(f[1]), unescape(f[2])};
        decide(&s, (const char *const[2]){f[1], f[2]}, n, seed, out);
        puts(out);
        fflush(stdout);
    }
}

// id | reason | flags | seed | scope | left | right | verdict. What is not made for one seed has
// the same verdict under a hundred others.
static void vectors(const char *path) {
    static char line[1 << 16];
    static names s;
    FILE *f = fopen(path, "r");
    if (!f) check(0, path, "cannot be opened; run this in the repository's root");
    while (f && fgets(line, sizeof line, f)) {
        char *x[8], out[64], what[512];
        unsigned a, b;
        if (line[0] == '#') continue;
        must(cut(line, x, 8) == 8 && sscanf(x[3], "%u,%u", &a, &b) == 2);
        uint32_t seed[2] = {a, b};
        size_t n[2] = {unescape(x[5]), unescape(x[6])};
        const char *const text[2] = {x[5], x[6]};
        read_names(&s, x[4]);
        decide(&s, text, n, seed, out);
        for (uint32_t k = 0; k < 100 && !strstr(x[2], "seed") && !strcmp(out, x[7]); k++)
            decide(&s, text, n, (const uint32_t[2]){k, k * k + 7}, out);
        snprintf(what, sizeof what, "%.80s: %.200s", x[0], x[1]);
        check(!strcmp(out, x[7]), what, out);
    }
    if (f) fclose(f);
}

// How long a text with `open` k times, then `middle`, then `close` k times may be: it is read for
// each k below the returned one, and for none of ten from there on.
static int longest(const names *s, const char *open, const char *middle, const char *close) {
    static char text[1 << 14];
    static check_expr e;
    char err[ERR];
    int first = -1;
    for (int k = 0; k < 700; k++) {
        text[0] = 0;
        for (int i = 0; i < k; i++) strcat(text, open);
        strcat(text, middle);
        for (int i = 0; i < k; i++) strcat(text, close);
        int bad = check_read(&e, text, strlen(text), &s->s, err);
        must(bad ? !e.nodes && err[0] : e.nodes > 0);
        if (bad && first < 0) first = k;
        if (!bad && first >= 0) return -1;
    }
    return first;
}

static void limits(const names *s) {
    static const struct {
        const char *open, *middle, *close, *what;
        int first;
    } c[] = {
        {"(", "q", ")", "32 brackets", 33},
        {"-", "q", "", "32 signs", 33},
        {"(-", "q", ")", "16 brackets with 16 signs", 17},
        {"sin(", "q", ")", "sines: each doubles the degree", 11},
        {"q+", "q", "", "128 summands are 255 nodes", 128},
        {"q", "q", "", "and so are 128 factors", 128},
        {" ", "q", "", "512 bytes", 512},
        {"", "q", " ", "512 bytes, blanks behind", 512},
        {"1", "7", "", "9 digits", 9},
        {"", "1.0", "0", "9 digits with decimals", 8},
        {"(", "q", ")^16", "a degree of 4096", 4},
        {"(", "9", ")^16", "numbers have a degree too", 4},
        {"(", "9", ")^1", "an exponent of 1", 33},
        {"1/(1+", "q", ")", "quotients: each trebles the degree", 8},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        char found[32];
        int k = longest(s, c[i].open, c[i].middle, c[i].close);
        snprintf(found, sizeof found, "%d", k);
        check(k == c[i].first, c[i].what, found);
    }
}

// Every byte alone, behind and between: only blanks, digits, names and signs belong there.
static void bytes(const names *s) {
    static check_expr e;
    char err[ERR], found[64] = "";
    for (int c = 0; c < 256; c++) {
        const char text[3][3] = {{(char)c}, {'q', (char)c}, {'q', (char)c, 'p'}};
        const char *may[3] = {"0123456789qp", " \tqp", " \tqp*/+-"};
        for (int i = 0; i < 3; i++) {
            int read = !check_read(&e, text[i], (size_t)i + 1, &s->s, err);
            if (read != (c && strchr(may[i], c))) snprintf(found, sizeof found, "%d: %02x", i, c);
        }
    }
    check(!found[0], "each byte alone, behind a name and between two", found);
}

// Of this processor, whoever else is waiting for it.
static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void megabytes(const names *s) {
    static check_expr e;
    const char *of[] = {"(", "-", "9", "q+", "q^2", "sin(", " ", "1/", "\xc2\xb2", "\xff", "_q"};
    size_t n = 1000000, bad = 0;
    char *text = must_alloc(n + 8, 1), err[ERR];
    double start = seconds();
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        for (size_t k = 0; k < n; k += strlen(of[i])) strcpy(text + k, of[i]);
        for (size_t k = n; k; k /= 3) {
            err[0] = 0;
            int is = check_read(&e, text, k, &s->s, err);
            bad += k > CHECK_BYTES && (!is || e.nodes || !err[0]);
        }
    }
    check(!bad, "a million bytes are refused", "one was not");
    check(seconds() - start < 1, "and at once", "it took more than a second");
    free(text);
}

static void conditions(void) {
    static names s;
    static const struct {
        const char *names, *text;
        int holds;
    } c[] = {
        {"q;p;T:=p^2/6", "T_q = 0, p*T_p = 2*T, T != 0", 1},
        {"q;p;T:=p^2/6", "T_p = p/3", 1},
        {"q;p;T:=p^2/6", "T_p=p/3,T_pp=1/3,T_qq=0", 1},
        {"q;p;T:=p^2/6+q-q", "T_q = 0, p*T_p = 2*T, T != 0", 1},
        {"q;p;T:=0", "T_q = 0, p*T_p = 2*T", 1},
        {"q;p;T:=0", "T_q = 0, p*T_p = 2*T, T != 0", 0},
        {"q;p;T:=p^2/6+1", "p*T_p = 2*T", 0},
        {"q;p;T:=p^2/6", "T != 0, T_q != 0", 0},
        {"q;p;T:=p^2/6", "T_q = 0, T = 0", 0},
        {"q;p;T:=p^2/6", "T = 0, T_q = 0", 0},
        {"q;p;T:=1/(q-q)", "T = T", 0},
        {"q;p;T:=1/(q-q)", "T != 0", 0},
        {"q;p;T:=1/(q-q)", "T_q = 0", 0},
        {"q;p;T:=?", "T = T", 0},
        {"q;p;T:=?", "T != 0", 0},
        {"q;p;T:=?", "T_q = 0", 0},
        {"q;p;T:=(((9^9)^9)^9)^9", "T = T", 0},
        {"q;p;T:=(((9^9)^9)^9)^9", "T != 0", 0},
        {"q;p;T:=((q^16)^16)^16", "T = T", 1},
        {"q;p;T:=((q^16)^16)^16", "q*T = T*q", 0}, // no answer is worth a degree of 4097
        {"q;p;T:=p^2/6;V:=cos(2q);H:=T+V;dq:=p/3;dp:=2sin(2q)", "dq = H_p, dp = -H_q, H = T+V", 1},
        {"q;p;T:=p^2/6;V:=cos(2q);H:=T+V;dq:=p/3;dp:=-2sin(2q)", "dq = H_p, dp = -H_q", 0},
        {"q;p;V:=cos(2q)", "V_qq = -4*V, V_q != 0, V_p = 0", 1},
        {"q;p;V:=sin(1/q)", "V_q = -cos(1/q)/q^2", 1},
        {"q;p;V:=sin(1/q)", "V_qq = 2cos(1/q)/q^3 - sin(1/q)/q^4", 1},
        {"q;p;V:=1/(q+p)^3", "V_qq = 12/(p+q)^5, V_p = V_q", 1},
        {"q;p;V:=q/cos(qp)", "V_p = q^2 sin(q p)/cos(p q)^2", 1},
    };
    const uint32_t seed[2] = {5, 6};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        char what[256];
        read_names(&s, c[i].names);
        snprintf(what, sizeof what, "%s: %s%s", c[i].names, c[i].text,
                 c[i].holds ? "" : " does not hold");
        check(check_holds(c[i].text, &s.s, seed) == c[i].holds, what, "it says the opposite");
    }
}

// What an answer consists of does not include the names of its sections.
static void strictness(const names *s) {
    static names more;
    static check_expr e;
    char err[ERR];
    read_names(&more, "q;p;T:=p^2;qp:=q");
    check(check_read(&e, "T", 1, &more.s, err) < 0 && check_read(&e, "T_p", 3, &more.s, err) < 0,
          "an answer cannot name another section", "it can");
    check(!check_read(&e, "qp", 2, &more.s, err) && e.nodes == 3, "nor hide a product", "it can");
    check(!check_read_bound(&e, "qp", 2, &more.s, err) && e.nodes == 1, "the longest name", "not");
    check(check_read(&e, "q^17", 4, &s->s, err) < 0 && strstr(err, "byte 4"), "where and why", err);
}

// Under no seed does a constant vanish that is a multiple of well-known primes, and answers stay
// the same.
static void seeds(const names *s) {
    static const char *const pair[][3] = {
        {"(2305843*10^3+9)*10^9+213693951", "0", "different"}, // 2^61 - 1
        {"((2305843*10^3+9)*10^9+213693951)q", "0", "different"},
        {"((2305843*10^3+9)*10^9+213693951)*((2305843*10^3+9)*10^9+213693921)q+p", "p",
         "different"},
        {"(p^16)^16-p^16", "0", "different"},
        {"p/3+q", "(p+3q)/3", "equal"},
        {"sin(q)^2", "1-cos(q)²", "equal"},
        {"1/(p-p)", "q", "novalue"},
    };
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        const size_t n[2] = {strlen(pair[i][0]), strlen(pair[i][1])};
        char out[64], what[128], bad[64] = "";
        for (uint32_t k = 0; k < 2000; k++) {
            decide(s, pair[i], n, (const uint32_t[2]){k * 2654435761u, k}, out);
            if (strcmp(out, pair[i][2]) != 0) memcpy(bad, out, sizeof bad);
        }
        snprintf(what, sizeof what, "%s = %s: %s under 2000 seeds", pair[i][0], pair[i][1],
                 pair[i][2]);
        check(!bad[0], what, bad);
    }
}

static void times(const names *s) {
    static const char *const pair[][2] = {{"p^2/(2*3)+5q^2/2", "(p^2+15q^2)/6"},
                                          {"p^2/2/3-4cos(2q)", "p²/6-(2+2)cos(-2q)"},
                                          {"q+1", "q"},
                                          {"1/(q-q)", "q"}};
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        check_expr a, b;
        char err[ERR];
        int n = 5000;
        double start = seconds(), middle;
        for (int k = 0; k < n; k++)
            must(!check_read(&a, pair[i][0], strlen(pair[i][0]), &s->s, err) &&
                 !check_read(&b, pair[i][1], strlen(pair[i][1]), &s->s, err));
        middle = seconds();
        for (int k = 0; k < n; k++) check_equal(&a, &b, &s->s, (const uint32_t[2]){(uint32_t)k, 1});
        printf("%s = %s: read %.2f us, compared %.2f us\n", pair[i][0], pair[i][1],
               (middle - start) / n * 1e6, (seconds() - middle) / n * 1e6);
    }
}

int main(int argc, char **argv) {
    static names s;
    if (argc > 1 && !strcmp(argv[1], "--pipe")) {
        run_pipe();
        return 0;
    }
    read_names(&s, "q;p");
    vectors(argc > 1 ? argv[1] : "vectors/check.txt");
    limits(&s);
    bytes(&s);
    megabytes(&s);
    conditions();
    strictness(&s);
    seeds(&s);
    times(&s);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
