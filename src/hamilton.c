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
    const char *mass;  // is 0 when the mass is a factor of what gravity does to V, or that is right
    const char *gravity; // is 0 when gravity is
    const char *first;   // is 0 when what should be learned of V first is there
    const char *bend;    // is 0 when dp/dt has the right powers of q and no others
    const char *force;   // is not 0 when dp/dt has all of them
    const char *slope;   // is 0 when one of its two terms is right by the answer's own H
} form;

#define FROM2(x) x "2)*" x "3)*" x "4)*" x "5)*" x "6)*" x "7)*" x "8)*" x "9)"
#define DIGITS(x) x "1)*" FROM2(x)
// Numbers above 9 that are products of two digits.
#define PRODUCT(x)                                                                                 \
    x "10)*" x "12)*" x "14)*" x "15)*" x "16)*" x "18)*" x "20)*" x "21)*" x "24)*" x "25)*" x    \
      "27)*" x "28)*" x "30)*" x "32)*" x "35)*" x "36)*" x "40)*" x "42)*" x "45)*" x "48)*" x    \
      "49)*" x "54)*" x "56)*" x "63)*" x "64)*" x "72)*" x "81)"
// Those that are products of three digits only.
#define MEDIUM(x)                                                                                  \
    x "50)*" x "60)*" x "70)*" x "75)*" x "80)*" x "84)*" x "90)*" x "96)*" x "98)*" x "100)*" x   \
      "105)*" x "108)*" x "112)*" x "120)*" x "125)*" x "126)*" x "128)*" x "135)*" x "140)*" x    \
      "144)*" x "147)*" x "150)*" x "160)*" x "162)*" x "168)*" x "175)*" x "180)*" x "189)*" x    \
      "192)*" x "196)*" x "200)*" x "210)"
#define LARGE(x)                                                                                   \
    x "216)*" x "224)*" x "225)*" x "240)*" x "243)*" x "245)*" x "252)*" x "256)*" x "270)*" x    \
      "280)*" x "288)*" x "294)*" x "315)*" x "320)*" x "324)*" x "336)*" x "343)*" x "360)*" x    \
      "378)*" x "384)*" x "392)*" x "405)*" x "432)*" x "441)*" x "448)*" x "486)*" x "504)*" x    \
      "512)*" x "567)*" x "576)*" x "648)*" x "729)"
// Numbers above 81, the largest product of two digits, that are a digit times the square of one.
#define SQUARE(x)                                                                                  \
    x "96)*" x "98)*" x "100)*" x "108)*" x "112)*" x "125)*" x "128)*" x "144)*" x "147)*" x      \
      "150)*" x "162)*" x "175)*" x "180)*" x "192)*" x "196)*" x "200)*" x "216)*" x "225)*" x    \
      "243)*" x "245)*" x "252)*" x "256)*" x "288)*" x "294)*" x "320)*" x "324)*" x "343)*" x    \
      "384)*" x "392)*" x "405)*" x "441)*" x "448)*" x "486)*" x "512)*" x "567)*" x "576)*" x    \
      "648)*" x "729)"
#define POWER .shape = "q*V_q - I*V", .whole = "V"
static const form none = {.shape = "V", .whole = "1"};
static const form one = {POWER};
static const form product = {POWER, .near = "D*" PRODUCT("(V-q*"), .mass = "D*" FROM2("(V/(M*q)-"),
                             .gravity = "D*" FROM2("(V/(G*q)-")};
static const form pulled = {
    POWER, .near = "D*" DIGITS("(V+q*"),
    .first = "D*" DIGITS("(V+q*") "*" DIGITS("(V+q^2/2*") "*" DIGITS("(V+q^2/2/")};
static const form bent = {POWER, .near = "D*" DIGITS("(V-q^2/2*")};
#define TWO                                                                                        \
    .shape = "q^2*V_qq + (1 - I - J)*q*V_q + I*J*V", .whole = "(q*V_q - I*V)*(q*V_q - J*V)",       \
    .sum = "V_q*(V_qq + V)*(q*V_q - V)*(q*V_q - 2*V)*(q*V_q - 3*V)*(q*V_q - 4*V)",                 \
    .half = "((q*D_q - I*D)*(q*D_q - J*D))^2 + V_p^2 + V_v^2",                                     \
    .bend = "q^2*dp_qq + (3 - I - J)*q*dp_q + (I - 1)*(J - 1)*dp",                                 \
    .force = "(q*dp_q - (I - 1)*dp)*(q*dp_q - (J - 1)*dp)",                                        \
    .slope = "(q*(dp_q + H_qq) - (I - 1)*(dp + H_q))*(q*(dp_q + H_qq) - (J - 1)*(dp + H_q))"
static const form two = {TWO, .first = "(rise - M*G)*" PRODUCT("(rise-"),
                         .mass = "(rise - M*G)*" FROM2("(rise/M-"),
                         .gravity = "(rise - M*G)*" FROM2("(rise/G-")};
#define ABOVE(k) "(q^2*V_qq - (2*I + " k " - 1)*q*V_q + I*(I + " k ")*V)"
static const form told = {TWO, .first = ABOVE("1") "*" ABOVE("2") "*" ABOVE("3")};
static const form cosine = {.shape = "V_q*cos(q) + V*sin(q)",
                            .whole = "V",
                            .near = "minus*sags*small*medium*large*little*middle*great",
                            .half = "D*" PRODUCT("(crest/L+"),
                            .mass = "D*" PRODUCT("(crest/M+"),
                            .gravity = "D*" PRODUCT("(crest/G+"),
                            .first = "(V_qq + V)*(V_pp + V)",
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
    {"particle", "position", {"potential"}, "M", "P", &told, {0}},
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
#define T_FORM (1u << 15)
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
    {"dp/dt form", DP, 0, "slide_p = 0, slide_v = 0, bend = 0, force != 0", 0, 1},
    {"dp/dt half", DP, 0, "slide_p = 0, slide_v = 0, bend = 0, force != 0, slope = 0", 0, 1},
    {"V first", V, 0, "first = 0, begun != 0", 0, 1},
    {"p first", P, 0, "leans = 0, turned != 0", 0, 1},
    {"T first", T, 0, "sways = 0, spun != 0", 0, 1},
    {"V gravity", V, 0, "gravity = 0", 0, 1},
    {"V mass", V, 0, "mass = 0", 0, 1},
};

// Potentials come first: forms that are not alive before T is learned are gone after it. That nothing
// pulls a free particle is learned behind what pulls others.
#define FIRST (1 << FALL | 1 << FORCE | 1 << BOTH)
// All structures and truths but these.
#define LATE ((V_FORM - 1) & ~(S(P) | S(V) | R(V) | S(H)))
#define LEARNED .trained = 1, .late = LATE | T_FORM, .behind = FIRST
static const task_skill skills[] = {
    [FREE] = {.name = "free particle", .after = FIRST, .trained = 1},
    [FALL] = {.name = "freefall", LEARNED, .due = V_FORM},
    [FORCE] = {.name = "constant force", LEARNED, .due = V_FORM},
    [SPRING] = {.name = "spring", LEARNED},
    [SIMPLE] = {.name = "simple particle", LEARNED},
    [BOTH] = {.name = "spring in gravity", LEARNED, .due = V_FORM},
    [POTENTIAL] = {.name = "particle", LEARNED},
    // The form of its T is rare, and must not wait.
    [PENDULUM] = {.name = "pendulum", .trained = 1, .late = LATE, .behind = FIRST},
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
    char filled[sizeof p->bind[0].text];
    size_t n = 0;
    for (; *text; text++) {
        int stands = *text >= 'A' && *text <= 'Z' && is[(int)*text][0];
        size_t size = stands ? strlen(is[(int)*text]) : 1;
        must(n + size < sizeof filled);
        memcpy(filled + n, stands ? is[(int)*text] : text, size);
        n += size;
    }
    filled[n] = 0;
    task_bind(p, name, "%s", filled);
}

// The inertia by p and by T is right; or by T a digit; or where it is M L^2, L^2 is right, times a
// digit from 2 to 9 (p first, T first: any square). Not L^3, nor a single digit, unless that is right.
static void bind_inertia(task_problem *p, int squared, values is) {
    long m = strtol(is['M'], NULL, 10), l = strtol(is['L'], NULL, 10);
    int digit = m * l * l < 10, any = !squared || digit;
    task_bind(p, "mp", "P/v"); // P is p's line here
    bind(p, "mT", "p^2/(2*T)", is);
    bind(p, "nearp", digit ? "1" : FROM2("(mp/L^2-"), is);
    bind(p, "nearT", !squared ? DIGITS("(mT-") : digit ? "1" : FROM2("(mT/L^2-"), is);
    bind(p, "turns", squared ? "(mp - inertia)*nearp" : "0", is);
    bind(p, "spins", "(mT - inertia)*nearT", is);
    bind(p, "turned", any ? "1" : m == l ? DIGITS("(mp-") : "(mp - L^3)*" DIGITS("(mp-"), is);
    bind(p, "spun", any ? "1" : m == l ? DIGITS("(mT-") : "(mT - L^3)*" DIGITS("(mT-"), is);
    bind(p, "sways", !squared ? "0" : digit ? "spins" : "spins*" SQUARE("(mT-"), is);
    bind(p, "leans", any ? "turns" : "turns*" SQUARE("(mp-"), is);
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
    bind(p, "rise", "2*V/q - V_q", is); // a of a*q + b*q^2
    if (f == &cosine) {
        bind(p, "crest", "V/cos(q)", is); // c of c*cos(q)
        bind(p, "small", PRODUCT("(crest+"), is);
        bind(p, "medium", MEDIUM("(crest+"), is);
        bind(p, "large", LARGE("(crest+"), is);
        bind(p, "minus", "D*" PRODUCT("(V+q*") "*" DIGITS("(V+q*"), is);
        bind(p, "sags", DIGITS("(V+q^2/2*"), is);
        bind(p, "swell", "V/sin(q)", is); // c of c*sin(q)
        bind(p, "little", PRODUCT("(swell+"), is);
        bind(p, "middle", MEDIUM("(swell+"), is);
        bind(p, "great", LARGE("(swell+"), is);
    }
    // Where nothing is asked, 0 is 0 and 1 is not.
    bind(p, "alone", f->near || f->sum ? "V" : "0", is);
    bind(p, "near", f->near ? f->near : "0", is);
    bind(p, "sum", f->sum ? f->sum : f->near ? "V" : "1", is);
    bind(p, "half", f->half ? f->half : "0", is);
    bind(p, "mass", f->mass ? f->mass : "0", is);
    bind(p, "gravity", f->gravity ? f->gravity : "0", is);
    bind(p, "both", f->half ? f->whole : "1", is);
    bind(p, "first", f->first ? f->first : "0", is);
    bind(p, "begun", !f->first ? "1" : f->sum ? f->sum : "V", is);
    bind(p, "slide", f->force ? "dp" : "0", is);
    bind(p, "bend", f->bend ? f->bend : "0", is);
    bind(p, "slope", f->slope ? f->slope : "0", is);
    bind(p, "force", f->force ? f->force : "1", is);
    bind_inertia(p, strlen(s->inertia) > 1, is);
    bind(p, "pull", f == &none ? "1" : "dp", is);
}

static const char *const variables[] = {"q", "p", "v", NULL};

const task hamilton = {
    .name = "hamilton",
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
