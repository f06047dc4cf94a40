// hamilton.c - the task of deriving Hamiltonian mechanics: from a system in words to its momentum,
// energies and equations of motion, in six lines. No example is shown and no rule is told.
//
// q is the coordinate, p the momentum, v the velocity. The form of the questions and the law of
// their numbers are those of vectors/tiny/corpus.py, which shows no right derivation.
#include "task.h"

// What can be asked of an answer without knowing how strong anything is, or as a step on the way. In
// these texts a capital stands for the value whose name begins with it, M for the mass; I and J are
// powers of q, D is what V is more than it should be. NULL: nothing is asked.
typedef struct {
    const char *shape; // is 0 when V has the right powers of q and no others
    const char *whole; // is not 0 when V has all of them
    const char *near;  // is 0 when V is right or has the form that is hard to come by
    const char *sum;   // is not 0 when that form, a sum of different powers, is there
    const char *half;  // is 0 when a part of what V consists of is right
    const char *bend;  // is 0 when dp/dt has the right powers of q and no others
    const char *force; // is not 0 when dp/dt has all of them
} form;

#define FROM2(x) x "2)*" x "3)*" x "4)*" x "5)*" x "6)*" x "7)*" x "8)*" x "9)"
#define SQUARES(x) x "4)*" x "9)*" x "16)*" x "25)*" x "36)*" x "49)*" x "64)*" x "81)"
#define DIGITS(x) x "1)*" FROM2(x)
// Numbers above 9 that are products of two digits.
#define PRODUCT(x)                                                                                 \
    x "10)*" x "12)*" x "14)*" x "15)*" x "16)*" x "18)*" x "20)*" x "21)*" x "24)*" x "25)*" x    \
      "27)*" x "28)*" x "30)*" x "32)*" x "35)*" x "36)*" x "40)*" x "42)*" x "45)*" x "48)*" x    \
      "49)*" x "54)*" x "56)*" x "63)*" x "64)*" x "72)*" x "81)"
#define POWER .shape = "q*V_q - I*V", .whole = "V"
static const form none = {.shape = "V", .whole = "1"};
static const form one = {POWER};
static const form product = {POWER, .near = "D*" PRODUCT("(V-q*"),
                             .half = "D*" FROM2("(V/(M*q)-") "*" FROM2("(V/(G*q)-")};
static const form pulled = {POWER, .near = "D*" DIGITS("(V+q*")};
static const form bent = {POWER, .near = "D*" DIGITS("(V-q^2/2*")};
static const form two = {.shape = "q^2*V_qq + (1 - I - J)*q*V_q + I*J*V",
                         .whole = "(q*V_q - I*V)*(q*V_q - J*V)",
                         .sum =
                             "V_q*(V_qq + V)*(q*V_q - V)*(q*V_q - 2*V)*(q*V_q - 3*V)*(q*V_q - 4*V)",
                         .half = "((q*D_q - I*D)*(q*D_q - J*D))^2 + V_p^2 + V_v^2",
                         .bend = "q^2*dp_qq + (3 - I - J)*q*dp_q + (I - 1)*(J - 1)*dp",
                         .force = "(q*dp_q - (I - 1)*dp)*(q*dp_q - (J - 1)*dp)"};
static const form cosine = {
    .shape = "V_q*cos(q) + V*sin(q)",
    .whole = "V",
    .near = "D*" PRODUCT("(crest+"),
    .half = "D*" FROM2("(crest/(M*G)+") "*" FROM2("(crest/(M*L)+") "*" FROM2("(crest/(G*L)+"),
    .bend = "dp_q*sin(q) - dp*cos(q)",
    .force = "dp"};

typedef struct {
    const char *name, *q; // as the question has it; what the coordinate is
    const char *value[3]; // what a problem tells besides the mass
    const char *inertia, *U;
    const form *potential;
    uint32_t power[2];
} mechanics;

// The potential P of a particle is drawn with the problem: one term or two.
static const mechanics systems[] = {
    {"free particle", "position", {0}, "M", "0", &none, {0}},
    {"freefall", "height", {"gravity"}, "M", "M*G*q", &product, {1}},
    {"constant force", "position", {"force"}, "M", "-F*q", &pulled, {1}},
    {"spring", "stretch", {"stiffness"}, "M", "S*q^2/2", &bent, {2}},
    {"particle", "position", {"potential"}, "M", "P", &one, {0}},
    {"spring in gravity", "height", {"stiffness", "gravity"}, "M", "S*q^2/2 + M*G*q", &two, {1, 2}},
    {"particle", "position", {"potential"}, "M", "P", &two, {0}},
    {"pendulum", "angle", {"length", "gravity"}, "M*L^2", "-M*G*L*cos(q)", &cosine, {0}},
    {"quartic spring", "stretch", {"stiffness"}, "M", "S*q^4/4", &one, {4}},
};

enum { FREE, FALL, FORCE, SPRING, SIMPLE, BOTH, POTENTIAL, PENDULUM, QUARTIC };

static const task_section sections[] = {{"p", "P"}, {"T", "T"},      {"V", "V"},
                                        {"H", "H"}, {"dq/dt", "dq"}, {"dp/dt", "dp"}};
enum { P, T, V, H, DQ, DP };

// A quality's bit: structure of a section, truth of it.
#define S(section) (1u << 2 * (section))
#define R(section) (2u << 2 * (section))
#define V_FORM (1u << 12)
static const task_quality qualities[] = {
    {"p structure", P, 0, "P_q = 0, P_p = 0, v*P_v = P, P != 0", 0, 1},
    {"p truth", P, 1, "P = inertia*v", S(P), 1},
    {"T structure", T, 0, "T_q = 0, T_v = 0, p*T_p = 2*T, T != 0", 0, 1},
    {"T truth", T, 1, "T = p^2/(2*inertia)", S(T), 1},
    {"V structure", V, 0, "V_p = 0, V_v = 0, shape = 0, whole != 0", 0, 0.3f},
    {"V truth", V, 1, "V = U", 0, 2},
    {"H structure", H, 0, "H = T + V, H != 0", 0, 1},
    {"H truth", H, 1, "H = p^2/(2*inertia) + U", S(H) | R(T) | R(V), 1},
    {"dq/dt structure", DQ, 0, "dq = H_p, dq != 0", 0, 1},
    {"dq/dt truth", DQ, 1, "dq = p/inertia", S(DQ) | R(T), 1},
    {"dp/dt structure", DP, 0, "dp = -H_q, pull != 0", 0, 1},
    {"dp/dt truth", DP, 1, "dp = -U_q", S(DP) | R(V), 1},
    {"V form", V, 0, "alone_p = 0, alone_v = 0, near = 0, sum != 0", 0, 1},
    {"V half", V, 0, "half = 0, near = 0, alone_p = 0, both != 0", 0, 1},
    {"p form", P, 0, "turns = 0, turned != 0", 0, 1},
    {"T form", T, 0, "spins = 0, spun != 0", 0, 1},
    {"dp/dt form", DP, 0, "bend = 0, force != 0", 0, 1},
};

// Potentials come first: forms that are not alive before T is learned are gone after it. That nothing
// pulls a free particle is learned behind what pulls others.
#define FIRST (1 << FALL | 1 << FORCE | 1 << BOTH)
#define LATE ((V_FORM - 1) & ~(S(P) | S(V) | R(V))) // all but these structures and truths
#define LEARNED .trained = 1, .late = LATE, .behind = FIRST, .due = V_FORM
static const task_skill skills[] = {
    [FREE] = {.name = "free particle", .after = FIRST, .needs = V_FORM, .trained = 1},
    [FALL] = {.name = "freefall", LEARNED},
    [FORCE] = {.name = "constant force", LEARNED},
    [SPRING] = {.name = "spring", LEARNED},
    [SIMPLE] = {.name = "simple particle", LEARNED},
    [BOTH] = {.name = "spring in gravity", LEARNED},
    [POTENTIAL] = {.name = "particle", LEARNED},
    [PENDULUM] = {.name = "pendulum", LEARNED},
    [QUARTIC] = {.name = "quartic spring", .trained = 0}, // never practised
};

enum { VALUE = 32 };
typedef char values['Z' + 1][VALUE]; // what a capital stands for; "": itself

// A potential of one or two powers of q from 1 to 4, each with a coefficient; returns their sum.
static uint32_t draw_potential(task_stream *r, int terms, values is, uint32_t power[2]) {
    uint32_t sum = 0;
    power[0] = 1 + task_below(r, terms == 2 ? 3 : 4);
    if (terms == 2) power[1] = power[0] + 1 + task_below(r, 4 - power[0]);
    for (int i = 0; i < terms; i++) {
        uint32_t coefficient = task_number(r);
        task_add(is['P'], VALUE, "%s%u*q", i ? " + " : "", coefficient);
        if (power[i] > 1) task_add(is['P'], VALUE, "^%u", power[i]);
        if (power[i] > 1 && task_below(r, 2)) task_add(is['P'], VALUE, "/%u", power[i]);
        sum += coefficient;
    }
    return sum;
}

// Draws what a problem tells and writes its question; returns the sum of its numbers.
static uint32_t draw(task_stream *r, int skill, values is, task_problem *p) {
    const char *name[4] = {"mass"};
    uint32_t n = 1, sum = 0, power[2] = {systems[skill].power[0], systems[skill].power[1]};
    for (; systems[skill].value[n - 1]; n++) name[n] = systems[skill].value[n - 1];
    *p = (task_problem){.bound = 0};
    memset(is, 0, sizeof(values));
    task_add(p->question, sizeof p->question, "%s, %s q", systems[skill].name, systems[skill].q);
    while (n > 0) {
        uint32_t i = task_below(r, n), number;
        char *value = is[name[i][0] - 'a' + 'A'];
        if (!strcmp(name[i], "potential"))
            sum += draw_potential(r, skill == SIMPLE ? 1 : 2, is, power);
        else
            sum += number = task_number(r), task_add(value, VALUE, "%u", number);
        task_add(p->question, sizeof p->question, ", %s = %s", name[i], value);
        for (n--; i < n; i++) name[i] = name[i + 1];
    }
    task_add(p->question, sizeof p->question, "\nderive");
    for (int i = 0; i < 2; i++) task_add(is['I' + i], VALUE, "%u", power[i]);
    return sum;
}

static void bind(task_problem *p, const char *name, const char *text, values is) {
    char filled[sizeof p->bind[0].text] = "";
    for (; *text; text++) {
        char letter[2] = {*text, 0};
        int stands = *text >= 'A' && *text <= 'Z' && is[(int)*text][0];
        task_add(filled, sizeof filled, "%s", stands ? is[(int)*text] : letter);
    }
    task_bind(p, name, "%s", filled);
}

// Where the inertia is M L^2: it is right, or one of the two is and the other is a digit from 2 to 9.
// Not one value in both places, nor a single digit, unless that is right.
static void bind_inertia(task_problem *p, int squared, values is) {
    long m = strtol(is['M'], NULL, 10), l = strtol(is['L'], NULL, 10);
    bind(p, "mp", "P/v", is); // the inertia by p, and by T
    bind(p, "mT", "p^2/(2*T)", is);
    bind(p, "turns", squared ? "(mp - inertia)*" FROM2("(mp/L^2-") "*" SQUARES("(mp/M-") : "0", is);
    bind(p, "spins", squared ? "(mT - inertia)*" FROM2("(mT/L^2-") "*" SQUARES("(mT/M-") : "0", is);
    bind(p, "turned",
         !squared || m == l || m * l * l < 10 ? "1" : "(mp - M^3)*(mp - L^3)*" DIGITS("(mp-"), is);
    bind(p, "spun",
         !squared || m == l || m * l * l < 10 ? "1" : "(mT - M^3)*(mT - L^3)*" DIGITS("(mT-"), is);
}

// Problems whose numbers add up to a multiple of 5 are kept for measuring.
static void problem(int skill, uint32_t seed, uint32_t number, int held, task_problem *p) {
    const mechanics *s = &systems[skill];
    task_stream r = {seed, (uint32_t)skill, number, 0};
    values is;
    while ((draw(&r, skill, is, p) % 5 == 0) != held) continue;
    bind(p, "inertia", s->inertia, is);
    bind(p, "U", s->U, is);
    const form *f = s->potential;
    bind(p, "shape", f->shape, is);
    bind(p, "whole", f->whole, is);
    bind(p, "D", "V - U", is);
    // Where nothing is asked, 0 is 0 and 1 is not.
    bind(p, "crest", "V/cos(q)", is);
    bind(p, "alone", f->near || f->sum ? "V" : "0", is);
    bind(p, "near", f->near ? f->near : "0", is);
    bind(p, "sum", f->sum ? f->sum : f->near ? "V" : "1", is);
    bind(p, "half", f->half ? f->half : "0", is);
    bind(p, "both", f->half ? f->whole : "1", is);
    bind(p, "bend", f->bend ? f->bend : "0", is);
    bind(p, "force", f->force ? f->force : "1", is);
    bind_inertia(p, strlen(s->inertia) > 1, is);
    bind(p, "pull", f == &none ? "1" : "dp", is);
}

static const char *const variables[] = {"q", "p", "v", NULL};

const task hamilton = {
    .name = "hamilton",
    .about = "Hamiltonian mechanics from scratch: six lines from a system to its equations",
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
