// slopes.c - a second task, to show what one takes: derivatives of polynomials. "d/dq: 3*q^2/2" is
// answered by one expression without a label.
#include "task.h"

static const task_section sections[] = {{"", "E"}};

static const task_quality qualities[] = {
    {"structure", 0, 0, "other = 0, shape = 0, whole != 0", 0, 1},
    {"truth", 0, 1, "E = slope", 1, 1},
};

enum { MONOMIAL, SUM };
static const task_skill skills[] = {
    [MONOMIAL] = {.name = "monomial", .trained = 1},
    [SUM] = {.name = "sum", .after = 1 << MONOMIAL, .trained = 1},
};

// Adds a term to the question: numbers, x^power, numbers below; returns the sum of all its numbers.
static uint32_t term(task_stream *r, char x, uint32_t power, int first, char *text, size_t size) {
    static const char *const below[] = {"", "", "/2", "/N", "/(2*N)"};
    uint32_t sum = power > 1 ? power : 0, minus = !task_below(r, 4);
    task_add(text, size, "%s", first ? minus ? "-" : "" : minus ? " - " : " + ");
    for (uint32_t n, i = task_below(r, 3); i > 0; i--)
        sum += n = task_number(r), task_add(text, size, "%u*", n);
    task_add(text, size, "%c", x);
    if (power > 1) task_add(text, size, "^%u", power);
    for (const char *c = below[task_below(r, 5)]; *c; c++) {
        uint32_t n = *c == 'N' ? task_number(r) : 2;
        if (*c == 'N' || *c == '2')
            sum += n, task_add(text, size, "%u", n);
        else
            task_add(text, size, "%c", *c);
    }
    return sum;
}

// One term or two, of one power each; one problem of five asks for the slope by the other variable.
// Those whose numbers, exponents included, add up to a multiple of 5 are kept for measuring.
static void problem(int skill, uint32_t seed, uint32_t number, int held, task_problem *p) {
    task_stream r = {seed, (uint32_t)skill, number, 0};
    uint32_t a, b, sum;
    char of, x;
    do {
        *p = (task_problem){.bound = 0};
        of = "qp"[task_below(&r, 2)], x = task_below(&r, 5) ? of : of == 'q' ? 'p' : 'q';
        a = task_below(&r, 4), b = (a + 1 + task_below(&r, 3)) % 4; // powers of the slope
        task_add(p->question, sizeof p->question, "d/d%c: ", x);
        sum = term(&r, of, a + 1, 1, p->question, sizeof p->question);
        if (skill == SUM) sum += term(&r, of, b + 1, 0, p->question, sizeof p->question);
    } while ((sum % 5 == 0) != held);
    task_bind(p, "U", "%s", p->question + strlen("d/dq: "));
    task_bind(p, "x", "%c", x);
    task_bind(p, "slope", "U_%c", x);
    task_bind(p, "other", "E_%c", x == 'q' ? 'p' : 'q');
    task_bind(p, "first", "E_%c", x);
    task_bind(p, "second", "E_%c%c", x, x);
    if (of != x)
        task_bind(p, "shape", "E"), task_bind(p, "whole", "1");
    else if (skill == MONOMIAL)
        task_bind(p, "shape", "x*first - %u*E", a), task_bind(p, "whole", "E");
    else
        task_bind(p, "shape", "x^2*second - %u*x*first + %u*E", a + b - 1, a * b),
            task_bind(p, "whole", "(x*first - %u*E)*(x*first - %u*E)", a, b);
}

static const char *const variables[] = {"q", "p", NULL};

const task slopes = {
    .name = "slopes",
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
