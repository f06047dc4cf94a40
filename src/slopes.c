// slopes.c - a second task, to show what one takes: derivatives of polynomials. "d/dq: 3*q^2/2" is
// answered by one expression without a label.
#include "task.h"

static const task_section sections[] = {{"", "E"}};

static const task_quality qualities[] = {
    {"structure", 0, 0, "other = 0, shape = 0, whole != 0", 0},
    {"truth", 0, 1, "E = slope", 1},
};

enum { MONOMIAL, SUM, MIXED };
static const task_skill skills[] = {
    [MONOMIAL] = {"monomial", 0, 1},   // of the variable, one of five of the other
    [SUM] = {"sum", 1 << MONOMIAL, 1}, // two powers of the variable
    [MIXED] = {"mixed", 1 << SUM, 1},  // a power of each
};

// Adds a term to a question: numbers, x^power, numbers below; returns the sum of all its numbers.
static uint32_t term(task_stream *r, char x, uint32_t power, int first, char *text, size_t size) {
    static const char *const below[] = {"", "2", "N", "2N", "NN"};
    static const uint8_t above_of[20] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 1,
                                         1, 1, 1, 1, 1, 2, 2, 2, 2, 3};
    static const uint8_t below_of[20] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
                                         1, 1, 2, 2, 2, 3, 3, 3, 3, 4};
    uint32_t sum = power > 1 ? power : 0, minus = !task_below(r, 4), n;
    task_add(text, size, "%s", first ? minus ? "-" : "" : minus ? " - " : " + ");
    for (int i = above_of[task_below(r, 20)]; i > 0; i--) {
        sum += n = task_number(r);
        task_add(text, size, "%u*", n);
    }
    task_add(text, size, power > 1 ? "%c^%u" : "%c", x, power);
    const char *b = below[below_of[task_below(r, 20)]];
    task_add(text, size, "%s", !*b ? "" : b[1] ? "/(" : "/");
    for (const char *c = b; *c; c++) {
        sum += n = *c == 'N' ? task_number(r) : 2;
        task_add(text, size, "%s%u", c > b ? "*" : "", n);
    }
    task_add(text, size, "%s", *b && b[1] ? ")" : "");
    return sum;
}

// What makes the slope's shape: powers a and b of x and no others, both of them; a = b: one power.
static void bind_shape(task_problem *p, char x, uint32_t a, uint32_t b) {
    enum { SIZE = sizeof p->bind[0].text };
    char shape[SIZE] = "", whole[SIZE] = "";
    if (a == b) {
        task_add(shape, SIZE, "%c*E_%c - %u*E", x, x, a);
        task_add(whole, SIZE, "E");
    } else {
        task_add(shape, SIZE, "%c^2*E_%c%c - %u*%c*E_%c + %u*E", x, x, x, a + b - 1, x, x, a * b);
        task_add(whole, SIZE, "(%c*E_%c - %u*E)*(%c*E_%c - %u*E)", x, x, a, x, x, b);
    }
    task_bind(p, "shape", shape);
    task_bind(p, "whole", whole);
}

// Problems whose numbers, exponents included, add up to a multiple of 5 are kept for measuring.
static void problem(int skill, uint32_t seed, uint32_t number, int held, task_problem *p) {
    enum { SIZE = sizeof p->bind[0].text };
    task_stream r = {seed, (uint32_t)skill, number, 0};
    char U[SIZE], x, of[2];
    uint32_t power[2], sum;
    do {
        x = "qp"[task_below(&r, 2)];
        char y = x == 'q' ? 'p' : 'q';
        power[0] = 1 + task_below(&r, 4);
        power[1] = skill == SUM ? 1 + (power[0] + task_below(&r, 3)) % 4 : 1 + task_below(&r, 4);
        of[0] = skill == MIXED && task_below(&r, 2) ? y : x;
        if (skill == MONOMIAL && !task_below(&r, 5)) of[0] = y;
        of[1] = skill == SUM || of[0] == y ? x : y;
        U[0] = 0;
        sum = term(&r, of[0], power[0], 1, U, SIZE);
        if (skill != MONOMIAL) sum += term(&r, of[1], power[1], 0, U, SIZE);
    } while ((sum % 5 == 0) != held);
    *p = (task_problem){.bound = 0};
    task_add(p->question, sizeof p->question, "d/d%c: %s", x, U);
    task_bind(p, "U", U);
    task_bind(p, "slope", x == 'q' ? "U_q" : "U_p");
    task_bind(p, "other", x == 'q' ? "E_p" : "E_q");
    uint32_t a = of[0] == x ? power[0] : power[1], b = skill == SUM ? power[1] : a;
    if (skill == MONOMIAL && of[0] != x)
        task_bind(p, "shape", "E"), task_bind(p, "whole", "1");
    else
        bind_shape(p, x, a - 1, b - 1);
}

static const char *const variables[] = {"q", "p", NULL};

const task slopes = {
    .name = "slopes",
    .about = "derivatives of polynomials: one expression",
    .variable = variables,
    .sections = sizeof sections / sizeof *sections,
    .qualities = sizeof qualities / sizeof *qualities,
    .skills = sizeof skills / sizeof *skills,
    .section = sections,
    .quality = qualities,
    .skill = skills,
    .window = 64,
    .mastery = .8f,
    .regression = .65f,
    .problem = problem,
};
