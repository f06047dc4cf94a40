// check.c - reads expressions, and compares them by their values at points modulo primes.
#include "check.h"
#include "rng.h"

enum {
    SIZE = 4096, // nodes of an expression and of all that its names stand for
    POINTS = 2,  // where two expressions must agree
    DRAWN = 8,   // points drawn to find so many at which both have a value
};

// What a node is. BOUND: what a name stands for; SLOPE: its derivative of order `value` by the
// variable a.
enum { NUMBER, VARIABLE, BOUND, SLOPE, NEGATE, ADD, SUB, MUL, DIV, POWER, SINE, COSINE };

typedef struct {
    const char *text;
    size_t n, at; // its bytes, and how many are read
    const check_scope *scope;
    int bound;                                   // names of expressions are known
    int depth;                                   // open brackets and signs
    int degree[CHECK_NODES], below[CHECK_NODES]; // of the nodes' numerators and denominators
    int large;                                   // it was refused for its degree
    check_expr *e;
    char *err;
} reader;

static int refuse(const reader *r, const char *why) {
    return fail(r->err, "expression, byte %zu: %s", r->at, why);
}

// The next byte that is no blank; -1 at the end.
static int next(reader *r) {
    while (r->at < r->n && (r->text[r->at] == ' ' || r->text[r->at] == '\t')) r->at++;
    return r->at < r->n ? (unsigned char)r->text[r->at] : -1;
}

static int begins(const reader *r, const char *word) {
    size_t k = strlen(word);
    return r->n - r->at >= k && memcmp(r->text + r->at, word, k) == 0;
}

static int take(reader *r, const char *word) {
    next(r);
    if (!begins(r, word)) return 0;
    r->at += strlen(word);
    return 1;
}

static int is_letter(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Adds a node, whose place it returns.
static int node(reader *r, check_node x, int degree, int below) {
    check_expr *e = r->e;
    if (e->nodes == CHECK_NODES) return refuse(r, "more than 256 nodes");
    e->size += x.op == BOUND || x.op == SLOPE ? r->scope->of[x.name].is->size : 1;
    if (degree > CHECK_DEGREE || below > CHECK_DEGREE || e->size > SIZE) {
        r->large = 1;
        return refuse(r, "the degree is above 4096");
    }
    r->degree[e->nodes] = degree;
    r->below[e->nodes] = below;
    e->node[e->nodes] = x;
    return e->nodes++;
}

// a and b joined. The degrees are those of all three numbers of a series over one denominator.
static int join(reader *r, int op, int a, int b) {
    if (a < 0 || b < 0) return -1;
    int an = r->degree[a], ad = r->below[a], bn = r->degree[b], bd = r->below[b];
    int degree = an + bn, below = ad + bd;
    check_node x = {.op = (uint8_t)op, .a = (int16_t)a, .b = (int16_t)b};
    if (op == ADD || op == SUB) degree = an + bd > bn + ad ? an + bd : bn + ad;
    if (op == DIV) degree = an + bd + 2 * bn, below = ad + 3 * bn;
    return node(r, x, degree, below);
}

// Reads digits into *v behind the `had` digits there, and returns how many it then has.
static int digits(reader *r, int had, int32_t *v) {
    int k = had;
    for (; r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++, k++) {
        if (k == CHECK_DIGITS) return refuse(r, "more than 9 digits");
        *v = 10 * *v + r->text[r->at] - '0';
    }
    return k > had ? k : refuse(r, "expected a digit");
}

// A decimal is a quotient: 0.25 is 25 / 100.
static int number(reader *r) {
    check_node x = {.op = NUMBER}, ten = {.op = NUMBER, .value = 1};
    int whole = digits(r, 0, &x.value), all = whole;
    if (whole > 0 && begins(r, ".")) r->at++, all = digits(r, whole, &x.value);
    if (all < 0) return -1;
    int a = node(r, x, 1, 0);
    if (all == whole || a < 0) return a;
    for (; whole < all; whole++) ten.value *= 10;
    return join(r, DIV, a, node(r, ten, 1, 0));
}

// Takes the longest name that comes next; -1: none is known.
static int known(reader *r, int bound) {
    int best = -1;
    size_t longest = 0;
    for (int i = 0; i < r->scope->n; i++) {
        const check_name *x = &r->scope->of[i];
        if ((x->is && !bound) || strlen(x->name) <= longest || !begins(r, x->name)) continue;
        best = i;
        longest = strlen(x->name);
    }
    r->at += longest;
    return best;
}

static int name(reader *r) {
    int of = known(r, r->bound);
    if (of < 0) return refuse(r, "this name is not known");
    check_node x = {.op = VARIABLE, .name = (uint8_t)of};
    const check_expr *is = r->scope->of[of].is;
    if (!is) return node(r, x, 1, 0);
    x.op = BOUND;
    if (begins(r, "_")) {
        r->at++;
        int by = known(r, 0);
        if (by < 0) return refuse(r, "expected a variable");
        x.op = SLOPE, x.a = (int16_t)by, x.value = 1;
        if (begins(r, r->scope->of[by].name)) r->at += strlen(r->scope->of[by].name), x.value = 2;
        if (r->at < r->n && is_letter(r->text[r->at]))
            return refuse(r, "a slope is by one variable, once or twice");
        if (is->slopes) return refuse(r, "a slope of slopes");
    }
    r->e->slopes |= x.op == SLOPE || is->slopes;
    return node(r, x, is->degree, is->below);
}

static int sum(reader *r);

static int bracket(reader *r) {
    if (!take(r, "(")) return refuse(r, "expected (");
    if (r->depth++ == CHECK_DEPTH) return refuse(r, "deeper than 32");
    int a = sum(r);
    if (a >= 0 && !take(r, ")")) return refuse(r, "expected ) or an operator");
    r->depth--;
    return a;
}

static int circular(reader *r, int op) {
    int a = bracket(r);
    if (a < 0) return -1;
    int n = r->degree[a], d = r->below[a];
    check_node x = {.op = (uint8_t)op, .a = (int16_t)a};
    return node(r, x, 2 + 2 * (n > d ? n : d), 2 + 2 * d);
}

static int atom(reader *r) {
    int c = next(r);
    if (c >= '0' && c <= '9') return number(r);
    if (c == '(') return bracket(r);
    if (take(r, "sin")) return circular(r, SINE);
    if (take(r, "cos")) return circular(r, COSINE);
    if (is_letter(c)) return name(r);
    return refuse(r, "expected a number, a name or (");
}

static int power(reader *r) {
    int a = atom(r);
    int32_t e = 0;
    if (a < 0) return -1;
    if (take(r, "²"))
        e = 2;
    else if (take(r, "^")) {
        next(r);
        if (digits(r, 0, &e) < 0) return -1;
        if (e < 1 || e > CHECK_POWER) return refuse(r, "an exponent is 1 to 16");
    } else
        return a;
    if (take(r, "^") || take(r, "²")) return refuse(r, "a power of a power needs brackets");
    check_node x = {.op = POWER, .a = (int16_t)a, .value = e};
    return node(r, x, e * r->degree[a], e * r->below[a]);
}

static int factor(reader *r) {
    if (!take(r, "-")) return power(r);
    if (r->depth++ == CHECK_DEPTH) return refuse(r, "deeper than 32");
    int a = factor(r);
    r->depth--;
    if (a < 0) return -1;
    return node(r, (check_node){.op = NEGATE, .a = (int16_t)a}, r->degree[a], r->below[a]);
}

static int product(reader *r) {
    int a = factor(r), divided = 0;
    while (a >= 0) {
        int c = next(r);
        if (take(r, "*") || take(r, "·")) {
            a = join(r, MUL, a, factor(r));
            divided = 0;
        } else if (take(r, "/")) {
            a = join(r, DIV, a, factor(r));
            divided = 1;
        } else if (c == '(' || is_letter(c)) {
            if (divided) return refuse(r, "behind a division a product needs its sign");
            a = join(r, MUL, a, power(r));
        } else
            break;
    }
    return a;
}

static int sum(reader *r) {
    int a = product(r);
    while (a >= 0) {
        if (take(r, "+"))
            a = join(r, ADD, a, product(r));
        else if (take(r, "-"))
            a = join(r, SUB, a, product(r));
        else
            break;
    }
    return a;
}

// -2: an expression, but too large.
static int read_all(check_expr *e, const char *text, size_t n, const check_scope *s, int bound,
                    char err[ERR]) {
    reader r = {.text = text, .n = n, .scope = s, .bound = bound, .e = e, .err = err};
    e->nodes = e->degree = e->below = e->size = e->slopes = 0;
    if (n > CHECK_BYTES) return fail(err, "expression: %zu bytes, at most %d", n, CHECK_BYTES);
    int a = sum(&r);
    if (a >= 0 && next(&r) >= 0) a = refuse(&r, "expected an operator or the end");
    if (a < 0) {
        e->nodes = e->size = e->slopes = 0;
        return r.large ? -2 : -1;
    }
    e->degree = r.degree[a];
    e->below = r.below[a];
    return 0;
}

int check_read(check_expr *e, const char *text, size_t n, const check_scope *s, char err[ERR]) {
    return read_all(e, text, n, s, 0, err) ? -1 : 0;
}

int check_read_bound(check_expr *e, const char *text, size_t n, const check_scope *s,
                     char err[ERR]) {
    return read_all(e, text, n, s, 1, err);
}

// Residues x of a prime p stand as 2^64 x mod p (Montgomery).
typedef struct {
    uint64_t p;           // 2^60 to 2^61
    uint64_t inverse;     // -1/p mod 2^64
    uint64_t one, square; // 2^64 and 2^128 mod p
} field;

// a b / 2^64 mod p.
static uint64_t times(const field *f, uint64_t a, uint64_t b) {
    unsigned __int128 x = (unsigned __int128)a * b; // below 2^122
    uint64_t m = (uint64_t)x * f->inverse;          // x + m p is a multiple of 2^64, below 2^126
    uint64_t y = (uint64_t)((x + (unsigned __int128)m * f->p) >> 64); // below 2 p
    return y < f->p ? y : y - f->p;
}

static uint64_t plus(const field *f, uint64_t a, uint64_t b) {
    return a + b < f->p ? a + b : a + b - f->p;
}

static uint64_t minus(const field *f, uint64_t a, uint64_t b) {
    return a < b ? a + f->p - b : a - b;
}

static uint64_t raise(const field *f, uint64_t a, uint64_t e) {
    uint64_t x = f->one;
    for (; e; e >>= 1, a = times(f, a, a))
        if (e & 1) x = times(f, x, a);
    return x;
}

// Sets up the field of an odd p; 0: p is no prime. Strong probable primes to the first nine primes
// are primes below 2^61 (Jiang, Deng 2014).
static int prime_field(field *f, uint64_t p) {
    static const uint64_t base[] = {2, 3, 5, 7, 11, 13, 17, 19, 23};
    for (int i = 0; i < 9; i++)
        if (p % base[i] == 0) return 0;
    uint64_t inverse = p; // 1/p mod 2^3; each step doubles the bits
    for (int k = 0; k < 5; k++) inverse *= 2 - p * inverse;
    *f = (field){.p = p, .inverse = -inverse, .one = -p % p};
    f->square = (uint64_t)((unsigned __int128)f->one * f->one % p);
    int twos = __builtin_ctzll(p - 1);
    for (int i = 0; i < 9; i++) {
        uint64_t x = raise(f, times(f, base[i], f->square), p >> twos);
        if (x == f->one) continue;
        for (int k = 1; k < twos && x != p - f->one; k++) x = times(f, x, x);
        if (x != p - f->one) return 0;
    }
    return 1;
}

// A point: a prime, and for each variable and each angle a residue.
typedef struct {
    field f;
    const check_scope *scope;
    const uint32_t *seed;
    uint32_t number;
} point;

enum { PRIME = 0x63686b00, COORDINATE, CIRCLE }; // "chk": no other stream ends so

// A number below the limit, each with a probability of at most 1 / limit + 2^-64.
static uint64_t drawn(const point *at, uint64_t which, uint32_t kind, uint64_t limit) {
    const uint32_t ctr[4] = {(uint32_t)which, (uint32_t)(which >> 32), at->number, kind};
    rng_block x = rng_philox(at->seed, ctr);
    return (uint64_t)((unsigned __int128)((uint64_t)x.v[0] << 32 | x.v[1]) * limit >> 64);
}

static void draw(point *at) {
    for (uint64_t i = 0;; i++)
        if (prime_field(&at->f, 1ull << 60 | drawn(at, i, PRIME, 1ull << 60) | 1)) return;
}

// A value and its first and second derivative by a variable.
typedef struct {
    uint64_t v[3];
} series;

static series series_minus(const field *f, const series *a, const series *b) {
    return (series){
        {minus(f, a->v[0], b->v[0]), minus(f, a->v[1], b->v[1]), minus(f, a->v[2], b->v[2])}};
}

static series series_times(const field *f, const series *a, const series *b) {
    uint64_t m = times(f, a->v[1], b->v[1]);
    return (series){
        {times(f, a->v[0], b->v[0]),
         plus(f, times(f, a->v[0], b->v[1]), times(f, a->v[1], b->v[0])),
         plus(f, plus(f, m, m), plus(f, times(f, a->v[0], b->v[2]), times(f, a->v[2], b->v[0])))}};
}

// a / b; -1: b is 0.
static int series_over(const field *f, const series *a, const series *b, series *out) {
    if (!b->v[0]) return -1;
    uint64_t i = raise(f, b->v[0], f->p - 2), one = times(f, b->v[1], i);
    uint64_t two = minus(f, times(f, plus(f, one, one), one), times(f, b->v[2], i));
    series x = {{i, minus(f, 0, times(f, one, i)), times(f, two, i)}};
    *out = series_times(f, a, &x);
    return 0;
}

// The sine or cosine of u: a point of the unit circle, which |u| names.
static int turn(const point *at, int op, const series *u, series *out) {
    const field *f = &at->f;
    uint64_t x = u->v[0], other = minus(f, 0, x), angle = x < other ? x : other;
    uint64_t t = angle ? drawn(at, angle, CIRCLE, f->p) : 0, t2 = times(f, t, t);
    uint64_t below = plus(f, f->one, t2), i = raise(f, below, f->p - 2);
    uint64_t c = times(f, minus(f, f->one, t2), i), s = times(f, plus(f, t, t), i);
    if (!below) return -1;
    if (x > other) s = minus(f, 0, s);
    uint64_t value = op == SINE ? s : c, slope = op == SINE ? c : minus(f, 0, s);
    *out =
        (series){{value, times(f, slope, u->v[1]),
                  minus(f, times(f, slope, u->v[2]), times(f, value, times(f, u->v[1], u->v[1])))}};
    return 0;
}

// The expression's series in the direction of a variable (-1: of none); -1: it has no value here.
static int evaluate(const point *at, const check_expr *e, int by, series *out) {
    series v[CHECK_NODES];
    const field *f = &at->f;
    if (!e->nodes) return -1;
    for (int i = 0; i < e->nodes; i++) {
        const check_node *x = &e->node[i];
        const series *a = &v[x->a], *b = &v[x->b];
        series y = {{0}};
        int bad = 0;
        switch (x->op) {
        case NUMBER: y.v[0] = times(f, (uint64_t)x->value, f->square); break;
        case VARIABLE:
            y.v[0] = drawn(at, x->name, COORDINATE, f->p);
            y.v[1] = x->name == by ? f->one : 0;
            break;
        case BOUND: bad = evaluate(at, at->scope->of[x->name].is, by, &y); break;
        case SLOPE:
            bad = evaluate(at, at->scope->of[x->name].is, x->a, &y);
            y = (series){{y.v[x->value]}};
            break;
        case NEGATE: y = series_minus(f, &y, a); break;
        case ADD:
            for (int k = 0; k < 3; k++) y.v[k] = plus(f, a->v[k], b->v[k]);
            break;
        case SUB: y = series_minus(f, a, b); break;
        case MUL: y = series_times(f, a, b); break;
        case DIV: bad = series_over(f, a, b, &y); break;
        case POWER:
            y = *a;
            for (int k = 1; k < x->value; k++) y = series_times(f, &y, a);
            break;
        default: bad = turn(at, x->op, a, &y);
        }
        if (bad) return -1;
        v[i] = y;
    }
    *out = v[e->nodes - 1];
    return 0;
}

int check_equal(const check_expr *a, const check_expr *b, const check_scope *s,
                const uint32_t seed[2]) {
    if (!a->nodes || !b->nodes) return -1;
    int agreed = 0;
    for (uint32_t i = 0; i < DRAWN && agreed < POINTS; i++) {
        point at = {.scope = s, .seed = seed, .number = i};
        series x, y;
        draw(&at);
        if (evaluate(&at, a, -1, &x) || evaluate(&at, b, -1, &y)) continue;
        if (x.v[0] != y.v[0]) return 0;
        agreed++;
    }
    return agreed == POINTS ? 1 : -1;
}

int check_holds(const char *conditions, const check_scope *s, const uint32_t seed[2]) {
    for (const char *from = conditions;; from++) {
        size_t n = strcspn(from, ","), left = strcspn(from, "=");
        must(left > 0 && left < n);
        int differ = from[left - 1] == '!';
        check_expr a, b;
        char err[ERR];
        must(read_all(&a, from, left - (size_t)differ, s, 1, err) != -1);
        must(read_all(&b, from + left + 1, n - left - 1, s, 1, err) != -1);
        if (check_equal(&a, &b, s, seed) != !differ) return 0;
        from += n;
        if (!*from) return 1;
    }
}
