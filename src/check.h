// check.h - decides whether expressions are equal: exactly, by their values at random points modulo
// random primes.
//
// An expression is a quotient of polynomials with rational coefficients in its variables and in the
// sines and cosines of its arguments, which obey sin^2 + cos^2 = 1 and their parities, nothing else. A
// true identity always holds; a false one holds at a point with a probability below 2^-41, with sines
// of k arguments below (1 + k^2) 2^-41; there are two points, each modulo a prime of its own; primes and points are drawn by the seed. Nothing swells,
// nothing waits, and the answer is a function of texts and seed (chapter 16).
#ifndef CHECK_H
#define CHECK_H
#include "assay.h"

enum {
    CHECK_BYTES = 512, // of a text
    CHECK_NODES = 256, // of an expression
    CHECK_DEPTH = 32,  // of brackets and signs
    CHECK_DIGITS = 9,  // of a number
    CHECK_POWER = 16,  // largest exponent
    CHECK_DEGREE = 4096,
    CHECK_NAMES = 52
};

typedef struct {
    uint8_t op;
    uint8_t name;  // of the scope
    int16_t a, b;  // operands: nodes before this one; a: a slope's variable
    int32_t value; // of a number; an exponent; order of a slope
} check_node;

typedef struct {
    int nodes;         // the last one is the whole; 0: not an expression
    int degree, below; // bounds: of its numerator, of its denominator
    int size;          // nodes with those of all that it refers to
    int slopes;        // it has slopes in it
    check_node node[CHECK_NODES];
} check_expr;

// What names stand for. A name is letters, longest match first, so "qp" is q*p where both are known.
typedef struct {
    const char *name;
    const check_expr *is; // NULL: a variable. nodes 0: what was no expression; nothing holds of it
} check_name;

typedef struct {
    check_name of[CHECK_NAMES];
    int n;
} check_scope;

// Reads an expression in the variables of a scope (its other names are not known here). -1, nodes 0:
// not an expression, err says where and why.
int check_read(check_expr *e, const char *text, size_t n, const check_scope *s, char err[ERR]);
// The same with all names of the scope, and slopes: T_p is the derivative of T by p, T_pp the
// second; T itself has no slopes in it. Names that stand for expressions must have been read in a
// scope that begins with the same names. -2: an expression, but what it names makes it too large.
int check_read_bound(check_expr *e, const char *text, size_t n, const check_scope *s,
                     char err[ERR]);
// 1: equal wherever both are defined; 0: not; -1: one of them has no value at any point tried (a
// division by zero), or is no expression.
int check_equal(const check_expr *a, const check_expr *b, const check_scope *s,
                const uint32_t seed[2]);
// 1 when all conditions of a text such as "T_q = 0, p*T_p = 2*T, T != 0" hold; 0: not all do, or
// one has no value, or is too large with what its names stand for. The conditions are the program's
// own: a text that cannot be read stops it.
int check_holds(const char *conditions, const check_scope *s, const uint32_t seed[2]);
#endif
