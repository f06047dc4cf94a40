// fuzz_check.c - any bytes as two expressions, with a line end between them.
//
// What is read equals itself, whatever brackets are around it; verdicts are symmetric and the same
// under two seeds; slopes obey the rules for products, quotients and sines.
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static check_scope scope = {.of = {{"q", NULL}, {"p", NULL}}, .n = 2};
static const uint32_t seed[2][2] = {{1, 2}, {77, 0}};

static int equal(const check_expr *a, const check_expr *b) {
    int is = check_equal(a, b, &scope, seed[0]);
    must(is == check_equal(b, a, &scope, seed[0]));
    must(is == check_equal(a, b, &scope, seed[1]));
    return is;
}

// -1: it is none.
static int read(check_expr *e, const char *text, size_t n) {
    char err[ERR] = "";
    int is = check_read(e, text, n, &scope, err);
    must(is ? !e->nodes && err[0] : e->nodes > 0 && e->nodes <= CHECK_NODES);
    must(e->degree <= CHECK_DEGREE && e->below <= CHECK_DEGREE);
    return is;
}

// F is the expression; rules hold where it has a value and the degree permits.
static void rules(const check_expr *e) {
    static const char *const made[] = {"F*F", "1/F", "sin(F)", "F^3"};
    static const char *const rule[] = {
        "F_q",     "F_q",
        "G_q",     "2F*F_q",
        "G_qq",    "2F_q^2+2F*F_qq",
        "H_p",     "-F_p/F^2",
        "H_pp",    "2F_p^2/F^3-F_pp/F^2",
        "I_q^2",   "F_q^2*(1-sin(F)^2)",
        "I_q^2*I", "sin(F)*(F_q*cos(F))^2",
        "I_pp",    "cos(F)F_pp-sin(F)F_p^2",
        "J_q",     "3F^2F_q",
        "J_qq",    "6F*F_q^2+3F^2*F_qq",
    };
    static check_expr of[4], a, b;
    char err[ERR];
    check_scope s = scope;
    s.of[s.n++] = (check_name){"F", e};
    for (int i = 0; i < 4; i++) {
        check_read_bound(&of[i], made[i], strlen(made[i]), &s, err);
        s.of[s.n++] = (check_name){(const char *[]){"G", "H", "I", "J"}[i], &of[i]};
    }
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i += 2) {
        check_read_bound(&a, rule[i], strlen(rule[i]), &s, err);
        check_read_bound(&b, rule[i + 1], strlen(rule[i + 1]), &s, err);
        must(check_equal(&a, &b, &s, seed[0]) != 0);
    }
    check_holds("F = F, G = F^2, I = sin(F)", &s, seed[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static check_expr a, b, c;
    const char *text = (const char *)data, *end = n ? memchr(data, '\n', n) : NULL;
    size_t k = end ? (size_t)(end - text) : n;
    char again[CHECK_BYTES + 2];
    if (read(&a, text, k)) return 0;
    again[0] = '(', again[k + 1] = ')';
    memcpy(again + 1, text, k);
    must(equal(&a, &a) != 0);
    if (!read(&c, again, k + 2)) must(equal(&a, &c) != 0 && c.nodes == a.nodes);
    if (end && !read(&b, end + 1, n - k - 1)) equal(&a, &b);
    rules(&a);
    return 0;
}
