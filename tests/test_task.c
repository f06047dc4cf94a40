// test_task.c - problems, the reading of answers, and what each wrong answer loses.
//
// usage: test_task [--pipe]
// --pipe answers lines of standard input, for tests/task.py:
//     problem TASK SKILL SEED NUMBER HELD          the question and its bindings as one line of JSON
//     judge TASK SKILL SEED NUMBER HELD HEX        formed, passed, spans of the answer in HEX
#include "rng.h"
#include "task.h"

static int passed, failed;

static void check(int ok, const char *what, const char *found) {
    if (ok)
        passed++;
    else
        failed++;
    printf("%s task: ", ok ? "ok" : "FAIL");
    for (; *what; what++)
        printf(*what >= 32 && *what < 127 ? "%c" : *what == '\n' ? " / " : "?", *what);
    printf("%s%s\n", ok ? "" : ": ", ok ? "" : found);
}

static const uint32_t points[2] = {7, 9};
static const uint32_t ALL_PASSED = (1 << 23) - 1; // the qualities of the task hamilton

enum { FREE, FALL, FORCE, SPRING, SIMPLE, BOTH, POTENTIAL, PENDULUM, QUARTIC };

// The bit of a quality of the task hamilton.
static uint32_t bit(const char *name) {
    int i = 0;
    while (strcmp(hamilton.quality[i].name, name)) i++;
    return 1u << i;
}

// Names of the qualities, or of the skills, of a set.
static void names(uint32_t set, char out[512]) {
    *out = 0;
    for (int i = 0; i < hamilton.qualities; i++)
        if (set >> i & 1)
            sprintf(out + strlen(out), "%s%s", *out ? ", " : "", hamilton.quality[i].name);
}

static void skill_names(uint32_t set, char out[256]) {
    *out = 0;
    for (int i = 0; i < hamilton.skills; i++)
        if (set >> i & 1)
            sprintf(out + strlen(out), "%s%s", *out ? ", " : "", hamilton.skill[i].name);
}

// ---- problems

// The sum of the numbers that the rules of held-out problems count.
static int sum_of(const task *t, const char *question) {
    int sum = 0;
    for (const char *c = question; *c; c++) {
        if (*c < '0' || *c > '9') continue;
        char before = c[-1], *end;
        int number = (int)strtol(c, &end, 10);
        if (t == &slopes || (before != '^' && before != '/')) sum += number;
        c = end - 1;
    }
    return sum;
}

static void generator(const task *t) {
    enum { EACH = 10000 };
    char what[128], found[320];
    for (int skill = 0; skill < t->skills; skill++) {
        int wrong = 0, same = 0;
        task_problem a, b;
        *found = 0;
        for (uint32_t i = 0; i < 2 * EACH && !wrong; i++) {
            uint32_t seed = 1 + i % 3, number = i / 2;
            int held = (int)i % 2;
            t->problem(skill, seed, number, held, &a);
            t->problem(skill, seed, number, held, &b);
            wrong |= memcmp(&a, &b, sizeof a) != 0;
            wrong |= (sum_of(t, a.question) % 5 == 0) != held;
            if (t == &hamilton) {
                const char *name = skill == SIMPLE ? "particle" : t->skill[skill].name;
                size_t n = strlen(name), all = strlen(a.question);
                wrong |= strncmp(a.question, name, n) != 0 || a.question[n] != ',';
                wrong |= strcmp(a.question + all - 7, "\nderive") != 0;
                wrong |= (strstr(a.question, "potential") != NULL) !=
                         (skill == SIMPLE || skill == POTENTIAL);
                wrong |= (strchr(a.question, '+') != NULL) != (skill == POTENTIAL);
            } else
                wrong |= strncmp(a.question, "d/d", 3) != 0;
            t->problem(skill, seed + 3, number, held, &b);
            same += !strcmp(a.question, b.question);
            if (wrong) snprintf(found, sizeof found, "%u: %s", number, a.question);
        }
        snprintf(what, sizeof what, "%s, %s: %d problems and as many that are kept: form, rule",
                 t->name, t->skill[skill].name, EACH);
        check(!wrong, what, found);
        snprintf(what, sizeof what, "%s, %s: another seed gives other problems", t->name,
                 t->skill[skill].name);
        snprintf(found, sizeof found, "%d of %d are the same", same, 2 * EACH);
        check(same < EACH, what, found); // a free particle has few
    }
}

// How often what occurs in the springs that are practised.
static void law(void) {
    enum { ALL = 20000 };
    int large = 0, mass_first = 0, of[10] = {0};
    char found[128];
    for (uint32_t i = 0; i < ALL; i++) {
        task_problem p;
        hamilton.problem(SPRING, 2, i, 0, &p);
        int mass = atoi(strstr(p.question, "mass = ") + 7);
        large += mass > 9;
        if (mass < 10) of[mass]++;
        mass_first += strstr(p.question, "mass") < strstr(p.question, "stiffness");
    }
    int least = of[1], most = of[1];
    for (int i = 2; i < 10; i++) {
        if (of[i] < least) least = of[i];
        if (of[i] > most) most = of[i];
    }
    // Five deviations of a count of 2,000 are 212.
    snprintf(found, sizeof found, "%d large, %d to %d of a digit, %d with the mass first", large,
             least, most, mass_first);
    check(abs(large - ALL / 10) < 300 && least > 1700 && most < 2300 &&
              abs(mass_first - ALL / 2) < 400,
          "numbers are 1 to 9 nine times of ten, values in any order", found);

    // A single term's powers are as common as one another; above 1 every other has its divisor.
    int power[5] = {0}, divided = 0;
    for (uint32_t i = 0; i < ALL; i++) {
        task_problem p;
        hamilton.problem(SIMPLE, 2, i, 0, &p);
        const char *term = strstr(p.question, "potential = "), *at = strchr(term, '^');
        int n = at && at < term + strcspn(term, ",\n") ? at[1] - '0' : 1;
        power[n < 1 || n > 4 ? 0 : n]++;
        divided += n > 1 && at[2] == '/' && at[3] == at[1];
    }
    int even = 1;
    for (int n = 1; n <= 4; n++) even &= abs(power[n] - ALL / 4) < 306; // five deviations
    snprintf(found, sizeof found, "%d %d %d %d, %d divided", power[1], power[2], power[3], power[4],
             divided);
    check(even && abs(divided - ALL * 3 / 8) < 342, "a single term has powers 1 to 4", found);
}

// What rests on what, whose tokens have it, and its worth: the reasons are in chapter 34.
static void rests(void) {
    static const struct {
        const char *name, *of, *rests;
        float worth;
    } is[] = {
        {"p structure", "p", "", 1},
        {"p truth", "p", "p structure", 1},
        {"T structure", "T", "", 1},
        {"T truth", "T", "T structure", 1},
        {"V structure", "V", "", .3f},
        {"V truth", "V", "", 2},
        {"H structure", "H", "", 1},
        {"H truth", "H", "T truth, V truth, H structure", 1},
        {"dq/dt structure", "dq/dt", "", 1},
        {"dq/dt truth", "dq/dt", "T truth, dq/dt structure", 1},
        {"dp/dt structure", "dp/dt", "", 1},
        {"dp/dt truth", "dp/dt", "V truth, dp/dt structure", 1},
        {"V form", "V", "", 1},
        {"V half", "V", "", 1},
        {"p form", "p", "", 1},
        {"T form", "T", "", 1},
        {"dp/dt form", "dp/dt", "", 1},
        {"dp/dt half", "dp/dt", "", 1},
        {"V first", "V", "", 1},
        {"p first", "p", "", 1},
        {"T first", "T", "", 1},
        {"V gravity", "V", "", 1},
        {"V mass", "V", "", 1},
    };
    enum { ALL = sizeof is / sizeof *is };
    check(hamilton.qualities == ALL, "there are 23 qualities", "");
    for (int i = 0; i < hamilton.qualities && i < ALL; i++) {
        const task_quality *q = &hamilton.quality[i];
        char on[512], what[640], found[640];
        names(q->rests, on);
        snprintf(found, sizeof found, "%s of %s, worth %g, rests on: %s", q->name,
                 hamilton.section[q->section].label, (double)q->worth, on);
        snprintf(what, sizeof what, "%s of %s, worth %g, rests on: %s", is[i].name, is[i].of,
                 (double)is[i].worth, is[i].rests);
        check(!strcmp(found, what), what, found);
        check(q->truth == (strstr(q->name, "truth") != NULL), "it is a truth, or is not", q->name);
    }
}

// In which order what is learned. All but the free particle begin at once, with V, the hints and the
// structure of p and H; the rest waits for the forms of three V.
static void tree(void) {
    static const char rest[] =
        "p truth, T structure, T truth, H truth, dq/dt structure, dq/dt truth, dp/dt structure, "
        "dp/dt truth";
    static const char form[] = ", T form";
    static const char three[] = "freefall, constant force, spring in gravity";
    static const char *const name[] = {
        "free particle",     "freefall", "constant force", "spring",         "simple particle",
        "spring in gravity", "particle", "pendulum",       "quartic spring",
    };
    enum { ALL = sizeof name / sizeof *name };
    check(hamilton.skills == ALL, "there are 9 skills", "");
    for (int i = 0; i < hamilton.skills && i < ALL; i++) {
        const task_skill *s = &hamilton.skill[i];
        int waits = i != FREE && i != QUARTIC;
        char after[256], behind[256], late[512], due[512], what[64], found[2560];
        char all[512];
        snprintf(all, sizeof all, "%s%s", waits ? rest : "", waits && i != PENDULUM ? form : "");
        skill_names(s->after, after);
        skill_names(s->behind, behind);
        names(s->late, late);
        names(s->due, due);
        snprintf(found, sizeof found, "%s: after %s; due %s; late %s; behind %s", s->name, after,
                 due, late, behind);
        snprintf(what, sizeof what, "%s: what comes before it, and what is late", name[i]);
        check(!strcmp(s->name, name[i]) && s->trained == (i != QUARTIC) &&
                  !strcmp(after, i == FREE ? three : "") && !strcmp(late, all) &&
                  !strcmp(behind, waits ? three : "") &&
                  !strcmp(due, i == FALL || i == FORCE || i == BOTH ? "V form" : ""),
              what, found);
    }
}

// The first problems of seed 1: who changes the draw changes every journal of a run.
static void fixed_problems(void) {
    static const struct {
        const task *t;
        int skill, held;
        const char *question;
    } is[] = {
        {&hamilton, FREE, 0, "free particle, position q, mass = 3\nderive"},
        {&hamilton, FREE, 1, "free particle, position q, mass = 5\nderive"},
        {&hamilton, FALL, 0, "freefall, height q, gravity = 4, mass = 8\nderive"},
        {&hamilton, FALL, 1, "freefall, height q, gravity = 81, mass = 89\nderive"},
        {&hamilton, FORCE, 0, "constant force, position q, mass = 9, force = 94\nderive"},
        {&hamilton, FORCE, 1, "constant force, position q, force = 4, mass = 1\nderive"},
        {&hamilton, SPRING, 0, "spring, stretch q, mass = 1, stiffness = 3\nderive"},
        {&hamilton, SPRING, 1, "spring, stretch q, mass = 1, stiffness = 39\nderive"},
        {&hamilton, SIMPLE, 0, "particle, position q, mass = 6, potential = 2*q^3\nderive"},
        {&hamilton, SIMPLE, 1, "particle, position q, mass = 4, potential = 1*q^3/3\nderive"},
        {&hamilton, BOTH, 0,
         "spring in gravity, height q, mass = 3, gravity = 7, stiffness = 1\nderive"},
        {&hamilton, BOTH, 1,
         "spring in gravity, height q, mass = 5, gravity = 19, stiffness = 6\nderive"},
        {&hamilton, POTENTIAL, 0,
         "particle, position q, potential = 76*q^2 + 9*q^4/4, mass = 3\nderive"},
        {&hamilton, POTENTIAL, 1,
         "particle, position q, potential = 2*q^2/2 + 8*q^3/3, mass = 5\nderive"},
        {&hamilton, PENDULUM, 0, "pendulum, angle q, mass = 8, length = 9, gravity = 6\nderive"},
        {&hamilton, PENDULUM, 1, "pendulum, angle q, gravity = 2, mass = 3, length = 5\nderive"},
        {&hamilton, QUARTIC, 0, "quartic spring, stretch q, stiffness = 3, mass = 5\nderive"},
        {&hamilton, QUARTIC, 1, "quartic spring, stretch q, stiffness = 5, mass = 40\nderive"},
        {&slopes, 0, 0, "d/dp: -3*q/(2*4)"},
        {&slopes, 0, 1, "d/dp: 6*p^2/2"},
        {&slopes, 1, 0, "d/dp: 4*33*p^2 - 9*3*p^3"},
        {&slopes, 1, 1, "d/dp: 8*7*p^2/2 + 2*p^4"},
    };
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        task_problem p;
        is[i].t->problem(is[i].skill, 1, 0, is[i].held, &p);
        check(!strcmp(p.question, is[i].question), is[i].question, p.question);
    }
}

static void tables(const task *t) {
    char what[96];
    int wrong = t->sections > SECTIONS || t->qualities > QUALITIES || t->skills > SKILLS;
    for (int i = 0; i < t->qualities; i++) {
        const task_quality *q = &t->quality[i];
        wrong |= q->rests >> i != 0 || q->section < 0 || q->section >= t->sections;
        for (int j = 0; j < i; j++) wrong |= !strcmp(q->name, t->quality[j].name);
        wrong |= q->truth && !q->rests && strcmp(q->name, "V truth");
    }
    for (int i = 0; i < t->skills; i++)
        for (int j = 0; j < t->skills; j++) {
            const task_skill *s = &t->skill[i], *first = &t->skill[j];
            wrong |= ((s->after | s->behind) >> j & 1) && !first->trained;
            // What is waited for does not wait itself.
            wrong |= (s->behind >> j & 1) && (first->after || (first->due & first->late));
            wrong |= !s->late != !s->behind || ((s->behind >> j & 1) && !first->due);
        }
    uint32_t open = 0; // all skills open one after the other, whatever their order in the table
    for (int round = 0; round < t->skills; round++)
        for (int i = 0; i < t->skills; i++) open |= (uint32_t) !(t->skill[i].after & ~open) << i;
    wrong |= open != (1u << t->skills) - 1;
    snprintf(what, sizeof what, "%s: what rests on, and what comes after, is known before",
             t->name);
    check(!wrong && task_named(t->name) == t, what, "");
}

// ---- answers

// The problem of a skill that asks this question, with what it binds.
static task_problem asked(const task *t, int skill, const char *question) {
    task_problem p;
    for (uint32_t i = 0; i < 1000000; i++) {
        t->problem(skill, 1, i, i & 1, &p);
        if (!strcmp(p.question, question)) return p;
    }
    check(0, question, "never drawn");
    exit(1);
}

static task_verdict judged(const task *t, const task_problem *p, const char *answer) {
    task_verdict v;
    task_judge(t, p, answer, strlen(answer), points, &v);
    return v;
}

// What a verdict lacks: names of the qualities, or "not formed".
static void lost(const task *t, const task_verdict *v, char out[512]) {
    *out = 0;
    if (!v->formed) strcpy(out, v->passed ? "not formed, yet passed" : "not formed");
    for (int i = 0; i < t->qualities && v->formed; i++)
        if (!(v->passed >> i & 1))
            sprintf(out + strlen(out), "%s%s", *out ? ", " : "", t->quality[i].name);
}

static const char *const label[] = {"p", "T", "V", "H", "dq/dt", "dp/dt"};

// `lines` is "|"-separated: "T = 0" in place of that label's line of the right answer; "*" and more
// is the whole answer.
static void compose(char out[4096], const char *const right[6], const char *lines) {
    *out = 0;
    if (*lines == '*') {
        strcpy(out, lines + 1);
        return;
    }
    for (int i = 0; i < 6; i++) {
        char key[16];
        int n = sprintf(key, "%s = ", label[i]);
        const char *at = lines;
        while (at && strncmp(at, key, (size_t)n)) at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL;
        if (at)
            sprintf(out + strlen(out), "%.*s\n", (int)strcspn(at, "|"), at);
        else
            sprintf(out + strlen(out), "%s%s\n", key, right[i]);
    }
}

typedef struct {
    const char *lines, *loses;
} variant;

static void variants(const task_problem *p, const char *const right[6], const variant *of, int n) {
    char answer[4096], what[5120], found[512];
    for (int i = 0; i < n; i++) {
        compose(answer, right, of[i].lines);
        task_verdict v = judged(&hamilton, p, answer);
        lost(&hamilton, &v, found);
        snprintf(what, sizeof what, "%.*s / %s / loses %s", (int)strcspn(p->question, ","),
                 p->question, of[i].lines, *of[i].loses ? of[i].loses : "nothing");
        check(!strcmp(found, of[i].loses), what, found);
    }
}

#define EQUATIONS "dq/dt structure, dq/dt truth, dp/dt structure, dp/dt truth"
#define NOTHING                                                                                    \
    "p structure, p truth, T structure, T truth, V structure, V truth, H structure, H "            \
    "truth, " EQUATIONS

static void spring(void) {
    static const char *const right[6] = {"9*v", "p^2/(2*9)", "4*q^2/2", "p^2/(2*9) + 4*q^2/2",
                                         "p/9", "-4*q"};
    static const variant of[] = {
        // Any notation.
        {"", ""},
        {"p = 9v|T = p\xc2\xb2/18|V = 2q\xc2\xb2|H = (p^2 + 36q^2)/18|dq/dt = 2p/18", ""},
        {"p = v*(10 - 1)|T = 0.5*p*p/9|V = 4\xc2\xb7q^2/2|H = 2*q^2 + p^2/18|dp/dt = -(4*q)", ""},
        {"V = (q + p)^2*2 - 2*p^2 - 4*p*q|dq/dt = p^2/(9*p)", ""},
        {"*dp/dt = -4*q\np = 9*v\nH = p^2/18+2*q^2\nV = 2*q^2\nT = p^2/18\ndq/dt = p/9", ""},
        // Structure without truth, and truth without structure.
        {"p = 4*v", "p truth"},
        {"T = p^2/2", "T truth, H structure"},
        {"T = p^2/2|H = p^2/2 + 2*q^2", "T truth, H truth, dq/dt structure"},
        {"T = p^2/2|H = p^2/2 + 2*q^2|dq/dt = p", "T truth, H truth, dq/dt truth"},
        {"V = -4*q^2/2", "V truth, H structure, V form, V half"},
        {"V = -4*q^2/2|H = p^2/18 - 4*q^2/2|dp/dt = 4*q",
         "V truth, H truth, dp/dt truth, V form, V half"},
        {"H = p^2/18", "H structure, H truth, dp/dt structure"},
        {"H = p^2/18|dp/dt = 0", "H structure, H truth, dp/dt structure, dp/dt truth"},
        {"V = 0|H = p^2/18|dp/dt = 0",
         "V structure, V truth, H truth, dp/dt structure, dp/dt truth, V form, V half"},
        {"V = 4*q^2", "V truth, H structure"},
        {"V = 9*q^2/2", "V truth, H structure"},
        {"V = q^2/(2*4)", "V truth, H structure, V form, V half"},
        {"V = 10*q^2/2", "V truth, H structure, V form, V half"},
        // One thing wrong.
        {"dq/dt = -4*q|dp/dt = p/9", EQUATIONS},
        {"dp/dt = 4*q", "dp/dt structure, dp/dt truth"},
        {"dq/dt = -p/9", "dq/dt structure, dq/dt truth"},
        {"dq/dt = v", "dq/dt structure, dq/dt truth"},
        {"p = 9*q", "p structure, p truth"},
        {"p = 9", "p structure, p truth"},
        {"p = 9*v + 1", "p structure, p truth"},
        {"p = 9*v*q", "p structure, p truth"},
        {"p = 9*v*p", "p structure, p truth"},
        {"p = 9*v^2", "p structure, p truth"},
        {"p = 0*v", "p structure, p truth"},
        {"p = p", "p structure, p truth"},
        {"T = 9*v^2/2", "T structure, T truth, H structure, T form"},
        {"T = p*v/2", "T structure, T truth, H structure, T form"},
        {"T = p^2/18 + 1", "T structure, T truth, H structure, T form"},
        {"T = p^2*q/18", "T structure, T truth, H structure, T form"},
        {"T = p^2*v/18", "T structure, T truth, H structure, T form"},
        {"T = p^3/18", "T structure, T truth, H structure, T form"},
        {"T = 0", "T structure, T truth, H structure, T form"},
        {"V = 4*x^2/2", "V structure, V truth, H structure, V form, V half"},
        {"V = 4*Q^2/2", "V structure, V truth, H structure, V form, V half"},
        {"V = 4*p^2/2", "V structure, V truth, H structure, V form, V half"},
        {"V = 2*q^2 + 3", "V structure, V truth, H structure, V form, V half"},
        {"V = 2*q^2 + q", "V structure, V truth, H structure, V form, V half"},
        {"V = 4*q^3/2", "V structure, V truth, H structure, V form, V half"},
        {"V = 2*q^2*v", "V structure, V truth, H structure, V form, V half"},
        {"V = 2*q^2*p", "V structure, V truth, H structure, V form, V half"},
        {"V = 0", "V structure, V truth, H structure, V form, V half"},
        {"V = 4*q^3/2|H = p^2/18 + 4*q^3/2|dp/dt = -6*q^2",
         "V structure, V truth, H truth, dp/dt truth, V form, V half"},
        {"H = p^2/18 - 4*q^2/2", "H structure, H truth, dp/dt structure"},
        {"V = -p^2/18|H = 0|dq/dt = 0|dp/dt = 0",
         "V structure, V truth, H structure, H truth, " EQUATIONS ", V form, V half"},
        {"H = 2*q^2|dq/dt = 0", "H structure, H truth, dq/dt structure, dq/dt truth"},
        {"H = T + V", "H structure, H truth, dq/dt structure, dp/dt structure"},
        {"dq/dt = H_p", "dq/dt structure, dq/dt truth"},
        {"dp/dt = -U_q", "dp/dt structure, dp/dt truth"},
        {"p = inertia*v", "p structure, p truth"},
        // Nothing said.
        {"p = 0|T = 0|V = 0|H = 0|dq/dt = 0|dp/dt = 0", NOTHING ", V form, V half, T form"},
        {"p = |T = |V = |H = |dq/dt = |dp/dt = ", NOTHING ", V form, V half, T form"},
        {"p = mass|T = stiffness|V = spring|H = stretch q|dq/dt = 9|dp/dt = 4",
         NOTHING ", V form, V half, T form"},
        {"p = p|T = T|V = V|H = H|dq/dt = dq/dt|dp/dt = dp/dt", NOTHING ", V form, V half, T form"},
        {"T = ", "T structure, T truth, H structure, T form"},
        // Values that are none.
        {"T = p^2/(2*0)", "T structure, T truth, H structure, T form"},
        {"T = p^2/(p - p)", "T structure, T truth, H structure, T form"},
        {"H = 1/0", "H structure, H truth, dq/dt structure, dp/dt structure"},
        {"T = 1/0|V = 1/0|H = 1/0|dq/dt = 1/0|dp/dt = 1/0",
         "T structure, T truth, V structure, V truth, H structure, H truth, " EQUATIONS
         ", V form, V half, T form"},
        {"V = 2*q^2 + 0/0", "V structure, V truth, H structure, V form, V half"},
        {"T = p^99", "T structure, T truth, H structure, T form"},
        {"T = p^2^2", "T structure, T truth, H structure, T form"},
        {"T = 9^9^9", "T structure, T truth, H structure, T form"},
        {"T = ((((p^16)^16)^16)^16)", "T structure, T truth, H structure, T form"},
        {"T = p^2/(2*99999999999999999999)", "T structure, T truth, H structure, T form"},
        {"T = p^2/(2*9), p^2/(2*4)", "T structure, T truth, H structure, T form"},
        {"T = p^2/18 or p^2/2", "T structure, T truth, H structure, T form"},
        {"T = p^2/18;", "T structure, T truth, H structure, T form"},
        {"T = $p^2/18$", "T structure, T truth, H structure, T form"},
        {"V = 4*q\xc3\xb2/2", "V structure, V truth, H structure, V form, V half"},
        {"V = 4*q\xff^2/2", "V structure, V truth, H structure, V form, V half"},
        // No answer in six lines.
        {"T = 9*v^2/2 = p^2/(2*9)", "T structure, T truth, H structure, T form"},
        {"p = mass = 9", "p structure, p truth"},
        {"T = p^2/18\nT = p^2/2", "not formed"},
        {"T = p^2/18\nT = p^2/18", "not formed"},
        {"T = p^2/18\n", "not formed"},
        {"T = p^2/18\r", "not formed"},
        {"T = p^2/18\nso", "not formed"},
        {"dp/dt = -4*q\nThat is all.", "not formed"},
        {"p = 9*v\nL = 0", "not formed"},
        {"*", "not formed"},
        {"*\n", "not formed"},
        {"*p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9", "not formed"},
        {"*p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q", ""},
        {"*p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q\n\n",
         "not formed"},
        {"*\np = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q",
         "not formed"},
        {"*P = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q",
         "not formed"},
        {"*p = 9*v\nt = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q",
         "not formed"},
        {"*p=9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q",
         "not formed"},
        {"*p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt =p/9\ndp/dt = -4*q",
         "not formed"},
        {"*p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt: p/9\ndp/dt = -4*q",
         "not formed"},
        {"* p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q",
         "not formed"},
        {"*p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt =", "not formed"},
        {"*p = 9*v T = p^2/18 V = 2*q^2 H = p^2/18 + 2*q^2 dq/dt = p/9 dp/dt = -4*q", "not formed"},
    };
    task_problem p = asked(&hamilton, SPRING, "spring, stretch q, mass = 9, stiffness = 4\nderive");
    variants(&p, right, of, sizeof of / sizeof *of);
}

#define NO_V "V structure, V truth, H structure, V form, V half"
#define NO_FORCE "dp/dt structure, dp/dt truth, dp/dt form, dp/dt half"

static void systems(void) {
    static const struct {
        int skill;
        const char *question, *right[6];
        variant of[100]; // the last one empty
    } is[] = {
        {FREE,
         "free particle, position q, mass = 3\nderive",
         {"3*v", "p^2/6", "0", "p^2/6", "p/3", "0"},
         {{"", ""},
          {"V = q - q|dp/dt = 0*q", ""},
          {"V = 3", "V structure, V truth, H structure"},
          {"V = p", "V structure, V truth, H structure"},
          {"V = ", "V structure, V truth, H structure"},
          {"H = p^2/6 + q|dp/dt = -1", "H structure, H truth, dp/dt truth"},
          {"p = 0|T = 0|V = 0|H = 0|dq/dt = 0|dp/dt = 0",
           "p structure, p truth, T structure, T truth, H structure, H truth, dq/dt structure, "
           "dq/dt truth, T form"},
          {"dp/dt = 1", "dp/dt structure, dp/dt truth"}}},
        {FALL,
         "freefall, height q, mass = 5, gravity = 9\nderive",
         {"5*v", "p^2/10", "45*q", "p^2/10 + 45*q", "p/5", "-45"},
         {{"", ""},
          {"V = 5*9q|dp/dt = -(5)(9)", ""},
          {"V = 9*q", "V truth, H structure, V form, V half, V gravity, V mass"},
          {"V = 5*7*q", "V truth, H structure, V gravity"},
          {"V = 2*9*q", "V truth, H structure, V mass"},
          {"V = 4*7*q", "V truth, H structure, V gravity, V mass"},
          {"V = 5*10*q", "V truth, H structure, V form, V half, V gravity, V mass"},
          {"V = 35/2*q", "V truth, H structure, V form, V half, V gravity, V mass"},
          {"V = -45*q|H = p^2/10 - 45*q|dp/dt = 45",
           "V truth, H truth, dp/dt truth, V form, V half, V gravity, V mass"},
          {"V = 45*q^2", NO_V ", V gravity, V mass"},
          {"V = 35*p", NO_V ", V gravity, V mass"},
          {"V = 45", NO_V ", V gravity, V mass"},
          {"p = 2*v|T = p^2/4|H = p^2/4 + 45*q|dq/dt = p/2",
           "p truth, T truth, H truth, dq/dt truth"},
          {"dp/dt = -45*q", "dp/dt structure, dp/dt truth"}}},
        {FORCE,
         "constant force, position q, force = 7, mass = 1\nderive",
         {"v", "p^2/2", "-7*q", "p^2/2 - 7*q", "p", "7"},
         {{"", ""},
          {"V = 7*q|H = p^2/2 + 7*q|dp/dt = -7",
           "V truth, H truth, dp/dt truth, V form, V half, V first"},
          {"V = -1*q|H = p^2/2 - q|dp/dt = 1", "V truth, H truth, dp/dt truth"},
          {"V = -7/2*q", "V truth, H structure, V form, V half, V first"},
          {"V = -7*v", NO_V ", V first"},
          {"H = p^2/2 + 7*q", "H structure, H truth, dp/dt structure"},
          {"dp/dt = -7", "dp/dt structure, dp/dt truth"},
          {"dq/dt = 1", "dq/dt structure, dq/dt truth"},
          {"p = 1", "p structure, p truth"}}},
        {FORCE,
         "constant force, position q, mass = 1, force = 12\nderive",
         {"v", "p^2/2", "-12*q", "p^2/2 - 12*q", "p", "12"},
         {{"", ""}, {"V = -11*q", "V truth, H structure, V form, V half, V first"}}},
        {FALL,
         "freefall, height q, mass = 2, gravity = 11\nderive",
         {"2*v", "p^2/4", "22*q", "p^2/4 + 22*q", "p/2", "-22"},
         {{"", ""},
          {"V = 11*q", "V truth, H structure, V form, V half, V gravity, V mass"},
          {"V = 2*3*q", "V truth, H structure, V form, V half, V gravity"},
          {"V = 2*11*2*q", "V truth, H structure, V form, V half, V mass"},
          {"V = 3*11*q", "V truth, H structure, V form, V half, V mass"},
          {"V = 3*11*p", NO_V ", V gravity, V mass"},
          {"V = 3*11*q^2", NO_V ", V gravity, V mass"}}},
        // What is right here is no told value times a digit from 2 to 9.
        {FALL,
         "freefall, height q, mass = 1, gravity = 12\nderive",
         {"v", "p^2/2", "12*q", "p^2/2 + 12*q", "p", "-12"},
         {{"", ""}, {"V = 14*q", "V truth, H structure, V gravity, V mass"}}},
        {SIMPLE,
         "particle, position q, mass = 3, potential = 9*q^3\nderive",
         {"3*v", "p^2/6", "9*q^3", "p^2/6 + 9*q^3", "p/3", "-27*q^2"},
         {{"", ""},
          {"V = -9*q^3|H = p^2/6 - 9*q^3|dp/dt = 27*q^2", "V truth, H truth, dp/dt truth"},
          {"V = 9*q^2", "V structure, V truth, H structure"},
          {"V = 9*q^3 + q", "V structure, V truth, H structure"},
          {"V = p", "V structure, V truth, H structure"},
          {"V = 9*v^3", "V structure, V truth, H structure"},
          {"V = 0", "V structure, V truth, H structure"},
          {"V = x", "V structure, V truth, H structure"},
          {"p = 4*v", "p truth"},
          {"dp/dt = 27*q^2", "dp/dt structure, dp/dt truth"},
          {"dp/dt = 0", "dp/dt structure, dp/dt truth"}}},
        {SIMPLE,
         "particle, position q, potential = 4*q^2/2, mass = 7\nderive",
         {"7*v", "p^2/14", "2*q^2", "p^2/14 + 2*q^2", "p/7", "-4*q"},
         {{"", ""}, {"V = 4*q^2", "V truth, H structure"}}},
        {SIMPLE,
         "particle, position q, mass = 2, potential = 5*q\nderive",
         {"2*v", "p^2/4", "5*q", "p^2/4 + 5*q", "p/2", "-5"},
         {{"", ""}, {"V = -5*q", "V truth, H structure"}}},
        {SIMPLE,
         "particle, position q, mass = 6, potential = 8*q^4/4\nderive",
         {"6*v", "p^2/12", "2*q^4", "p^2/12 + 2*q^4", "p/6", "-8*q^3"},
         {{"", ""}, {"V = 2*q^3", "V structure, V truth, H structure"}}},
        {BOTH,
         "spring in gravity, height q, mass = 6, gravity = 7, stiffness = 4\nderive",
         {"6*v", "p^2/12", "2*q^2 + 42*q", "p^2/12 + 2*q^2 + 42*q", "p/6", "-4*q - 42"},
         {{"", ""},
          {"V = 2*q^2|H = p^2/12 + 2*q^2|dp/dt = -4*q",
           "V structure, V truth, H truth, dp/dt truth, V form, V half, dp/dt form, dp/dt half, V "
           "first, V gravity, V mass"},
          {"V = 42*q", NO_V ", V first"},
          // A single power above 4 is a sum to V form.
          {"V = 7*q^5", "V structure, V truth, H structure, V half, V first, V gravity, V mass"},
          {"V = q^2 - q", "V truth, H structure, V half, V first, V gravity, V mass"},
          {"V = 2*q^2 + 5*q", "V truth, H structure, V first, V gravity, V mass"},
          {"V = 3*q^2 + 42*q", "V truth, H structure"},
          {"V = 2*q^2 - 42*q", "V truth, H structure, V first, V gravity, V mass"},
          {"V = 3*7*q + q^2", "V truth, H structure, V half, V mass"},
          {"V = 5*q^2 + 2*6*q", "V truth, H structure, V half, V gravity"},
          {"V = 6*7*q + q^2", "V truth, H structure"},
          {"V = 6*7*q + q^3",
           "V structure, V truth, H structure, V half, V first, V gravity, V mass"},
          {"V = 6*7*p + q^2", NO_V ", V first, V gravity, V mass"},
          {"V = 2*q^2 + 42*q + 1",
           "V structure, V truth, H structure, V half, V first, V gravity, V mass"},
          {"V = 2*q^2 + 42*q + q^3",
           "V structure, V truth, H structure, V half, V first, V gravity, V mass"},
          {"V = 2*q^2 + 2*q^2", NO_V ", V first, V gravity, V mass"},
          {"V = 2*q^2 + p", NO_V ", V first, V gravity, V mass"},
          {"V = 2*q^2 + 42*q + p", NO_V ", V first, V gravity, V mass"},
          {"V = 2*q^2 + 42*q + v", NO_V ", V first, V gravity, V mass"},
          {"V = 2*q^2 + p*q", NO_V ", V first, V gravity, V mass"},
          {"V = v*q + q^2", NO_V ", V first, V gravity, V mass"},
          {"V = 2*q^2 + v*q", NO_V ", V first, V gravity, V mass"},
          {"V = 42*cos(q)", NO_V ", V first, V gravity, V mass"},
          {"V = 42", NO_V ", V first, V gravity, V mass"},
          {"V = 1/0", NO_V ", V first, V gravity, V mass"},
          {"p = 7*v", "p truth"},
          {"dp/dt = -4*q", NO_FORCE},
          {"dp/dt = -42", NO_FORCE},
          {"dp/dt = -4*q - 42*q^2", NO_FORCE},
          {"dp/dt = -4*q - 42 - q^2", NO_FORCE},
          {"dp/dt = q + 7", "dp/dt structure, dp/dt truth, dp/dt half"},
          {"dp/dt = -4*q + 42", "dp/dt structure, dp/dt truth"},
          {"dp/dt = 4*q - 42", "dp/dt structure, dp/dt truth"},
          {"dp/dt = -5*q - 41", "dp/dt structure, dp/dt truth, dp/dt half"},
          {"H = p^2/12 + 3*q^2 + 9*q|dp/dt = -6*q - 8",
           "H structure, H truth, dp/dt structure, dp/dt truth"},
          {"H = p^2/12 + 3*q^2 + 9*q|dp/dt = -4*q - 42",
           "H structure, H truth, dp/dt structure, dp/dt half"},
          {"H = p^2/12 + 2*q^2 + 42*q + p*q|dp/dt = -4*q - 42",
           "H structure, H truth, dq/dt structure, dp/dt structure"},
          {"H = p^2/12 + 2*q^2 + 42*q + v*q^2|dp/dt = q - 42",
           "H structure, H truth, dp/dt structure, dp/dt truth"},
          {"H = |dp/dt = -4*q - 42",
           "H structure, H truth, dq/dt structure, dp/dt structure, dp/dt half"},
          {"dp/dt = -4*q - p", NO_FORCE},
          {"dp/dt = -4*q - 42*v", NO_FORCE},
          {"dp/dt = -4*p - 42", NO_FORCE},
          {"dp/dt = 0", NO_FORCE},
          {"dp/dt = 1/0", NO_FORCE},
          {"dp/dt = ", NO_FORCE}}},
        {BOTH, // a product that is none of two digits
         "spring in gravity, height q, mass = 5, gravity = 19, stiffness = 6\nderive",
         {"5*v", "p^2/10", "3*q^2 + 95*q", "p^2/10 + 3*q^2 + 95*q", "p/5", "-6*q - 95"},
         {{"", ""}, {"V = 3*q^2 + 94*q", "V truth, H structure, V first, V gravity, V mass"}}},
        {POTENTIAL,
         "particle, position q, mass = 3, potential = 9*q^3 + 2*q^4/4\nderive",
         {"3*v", "p^2/6", "9*q^3 + 2*q^4/4", "p^2/6 + 9*q^3 + 2*q^4/4", "p/3", "-27*q^2 - 2*q^3"},
         {{"", ""},
          {"V = q^3*(9 + q/2)|dp/dt = -q^2*(27 + 2*q)", ""},
          {"V = 9*q^4 + 2*q^3/4", "V truth, H structure, V half"},
          {"V = q^5", "V structure, V truth, H structure, V half"},
          {"V = 9*q^3 + q^4", "V truth, H structure"},
          {"V = 7*q^3 + q^4/2", "V truth, H structure"},
          {"V = 9*q^3/3 + 2*q^4/4", "V truth, H structure"},
          {"V = 9*q^3", NO_V ", V first"},
          {"V = 2*q^4/4", NO_V ", V first"},
          {"V = 9*q^3 + p", NO_V ", V first"},
          {"V = 9*q^3 + v*q^4", NO_V},
          {"V = 9*q^3 + 2*q^4/4 + q", "V structure, V truth, H structure, V half, V first"},
          {"V = 9*q^3 + q", "V structure, V truth, H structure, V half, V first"},
          {"V = 5*q^3 + q^5", "V structure, V truth, H structure, V half"},
          {"V = 5*q^3 + q^6", "V structure, V truth, H structure, V half"},
          {"V = 5*q^3 + q^7", "V structure, V truth, H structure, V half, V first"},
          {"V = q^3 + 5", "V structure, V truth, H structure, V half, V first"},
          {"V = q^3/q + q^4", "V structure, V truth, H structure, V half, V first"},
          {"V = q^4 + q^5", "V structure, V truth, H structure, V half, V first"},
          {"dp/dt = 27*q^2 + 2*q^3", "dp/dt structure, dp/dt truth, dp/dt half"},
          {"dp/dt = q^2 - q^3", "dp/dt structure, dp/dt truth, dp/dt half"},
          {"dp/dt = -9*q^3 - 2*q^4/4", NO_FORCE},
          {"dp/dt = -27*q^2", NO_FORCE},
          {"dp/dt = -2*q^3", NO_FORCE}}},
        // The inertia of this pendulum is a digit.
        {PENDULUM,
         "pendulum, angle q, length = 3, mass = 1, gravity = 7\nderive",
         {"9*v", "p^2/18", "-21*cos(q)", "p^2/18 - 21*cos(q)", "p/9", "-21*sin(q)"},
         {{"", ""},
          {"V = 21*cos(q)|H = p^2/18 + 21*cos(q)|dp/dt = 21*sin(q)",
           "V truth, H truth, dp/dt truth, V form, V half, V gravity, V mass"},
          {"V = 21*(1 - cos(q))", NO_V ", V first, V gravity, V mass"},
          {"V = cos(q)/2 + sin(q)", NO_V ", V gravity, V mass"},
          {"V = 3*sin(p)", NO_V ", V gravity, V mass"},
          {"V = cos(q) + cos(p)", NO_V ", V first, V gravity, V mass"},
          {"V = cos(2*q)", NO_V ", V first, V gravity, V mass"},
          {"V = 0", NO_V ", V first, V gravity, V mass"},
          {"V = -21*sin(q)", "V structure, V truth, H structure, V half, V gravity, V mass"},
          {"p = 1*v", "p truth, p form, p first"},
          {"p = 4*v", "p truth, p form, p first"},
          {"T = p^2/8", "T truth, H structure, T form, T first"},
          {"T = p^2/2", "T truth, H structure, T form, T first"},
          {"dp/dt = -21*q", NO_FORCE}}},
        {PENDULUM,
         "pendulum, angle q, mass = 4, length = 3, gravity = 5\nderive",
         {"36*v", "p^2/72", "-60*cos(q)", "p^2/72 - 60*cos(q)", "p/36", "-60*sin(q)"},
         {{"", ""},
          {"p = 4*3^2*v|T = p^2/(2*4*3^2)|V = -4*5*3*cos(q)", ""},
          {"V = -2*2*5*3*1*cos(q)", "V form, V half"}, // too long for the product of its hints
          {"p = 5*3^2*v", "p truth"},
          {"p = 4*5^2*v", "p truth, p form"},
          {"p = 3*3^2*v", "p truth, p form, p first"},
          {"p = 4*4^2*v", "p truth, p form, p first"},
          {"p = 10*3^2*v", "p truth, p form, p first"},
          {"p = 4*10^2*v", "p truth, p form, p first"},
          {"p = 4*3*v", "p truth, p form, p first"},
          {"p = 8*9*v", "p truth"},
          {"p = 9*9*v", "p truth"},
          {"p = 2*7^2*v", "p truth, p form"},
          {"p = 95*v", "p truth, p form, p first"},
          {"p = 9*9^2*v", "p truth, p form"},
          {"p = 3*9*8*v", "p truth, p form"},
          {"p = 2*7*7*q", "p structure, p truth, p form, p first"},
          {"p = 4*v", "p truth, p form, p first"},
          {"p = 9*v", "p truth, p form, p first"},
          {"p = -36*v", "p truth, p form, p first"},
          {"p = 36*v^2", "p structure, p truth, p form, p first"},
          {"p = 36*q", "p structure, p truth, p form, p first"},
          {"p = 36*v + 1", "p structure, p truth, p form, p first"},
          {"p = 0", "p structure, p truth, p form, p first"},
          {"p = ", "p structure, p truth, p form, p first"},
          {"T = p^2/(2*5*3^2)", "T truth, H structure"},
          {"T = p^2/(2*4*5^2)", "T truth, H structure, T form"},
          {"T = p^2/(2*3*3^2)", "T truth, H structure, T form, T first"},
          {"T = (p^16)^16",
           "T structure, T truth, H structure, T form, T first"}, // too large when bound
          {"T = p^2/(2*4*4^2)", "T truth, H structure, T form, T first"},
          {"T = p^2/(2*4)", "T truth, H structure, T form, T first"},
          {"T = p^2/(2*5*4^2)", "T truth, H structure, T form, T first"},
          {"T = p^2/(2*2*5^2)", "T truth, H structure, T form, T first"},
          {"T = p^2/(2*4*2^2)", "T truth, H structure, T form, T first"},
          {"T = p^2/(8*9)", ""},
          {"T = p^2/(2*8*9)", "T truth, H structure"},
          {"T = p^2/(8*6^2)", "T truth, H structure, T form"},
          {"T = p^2/(2*96)", "T truth, H structure, T form"},
          {"T = p^2/(2*95)", "T truth, H structure, T form, T first"},
          {"T = p^2/(8*8)", "T truth, H structure, T form, T first"},
          {"T = p^2/(2*10*5^2)", "T truth, H structure, T form, T first"},
          {"T = p^2/(2*9)", "T truth, H structure, T form, T first"},
          {"T = p^2/(2*3*3)", "T truth, H structure, T form, T first"},
          {"T = p^2/(2*9*9^2) + q", "T structure, T truth, H structure, T form, T first"},
          {"T = q^2/(2*9*9^2)", "T structure, T truth, H structure, T form, T first"},
          {"T = p^2/(5*3^2)", "T truth, H structure, T form, T first"},
          {"T = 36*v^2/2", "T structure, T truth, H structure, T form, T first"},
          {"T = p^2/72 + q", "T structure, T truth, H structure, T form, T first"},
          {"T = 0", "T structure, T truth, H structure, T form, T first"},
          {"T = t", "T structure, T truth, H structure, T form, T first"},
          {"V = -2*4*5*cos(q)", "V truth, H structure, V half, V gravity"},
          {"V = -2*7*5*cos(q)", "V truth, H structure, V half, V mass"},
          {"V = -2*7*4*cos(q)", "V truth, H structure, V half, V gravity"},
          {"V = -2*7*5*cos(q) + p", NO_V ", V first, V gravity, V mass"},
          {"V = -2*4*3*cos(q)", "V truth, H structure, V half, V gravity, V mass"},
          {"V = -2*5*3*cos(q)", "V truth, H structure, V gravity, V mass"},
          {"V = -4*5*cos(q)", "V truth, H structure, V half, V gravity, V mass"},
          {"V = -12*cos(q)", "V truth, H structure, V half, V gravity, V mass"},
          {"V = 24*cos(q)", "V truth, H structure, V form, V half, V gravity, V mass"},
          {"V = 60*cos(q)", "V truth, H structure, V form, V half, V gravity, V mass"},
          {"V = -4*5*5*cos(q)", "V truth, H structure, V half"},
          {"V = -9*9*3*cos(q)", "V truth, H structure, V gravity, V mass"},
          {"V = -9*9*9*cos(q)", "V truth, H structure, V half, V gravity, V mass"},
          {"V = -11*4*3*cos(q)", "V truth, H structure, V form, V half, V gravity, V mass"},
          {"V = -5*cos(q)", "V truth, H structure, V form, V half, V gravity, V mass"},
          {"V = -4*5*3*sin(q)", "V structure, V truth, H structure, V half, V gravity, V mass"},
          {"V = -8*7*5*sin(q)", "V structure, V truth, H structure, V half, V gravity, V mass"},
          {"V = -9*9*9*sin(q)", "V structure, V truth, H structure, V half, V gravity, V mass"},
          {"V = 4*5*3*sin(q)", NO_V ", V gravity, V mass"},
          {"V = -4*5*3*sin(p)", NO_V ", V gravity, V mass"},
          {"V = -7*5*q", "V structure, V truth, H structure, V half, V first, V gravity, V mass"},
          {"V = 7*5*q", NO_V ", V first, V gravity, V mass"},
          {"V = -7*q", "V structure, V truth, H structure, V half, V first, V gravity, V mass"},
          {"V = -7*q^2/2", "V structure, V truth, H structure, V half, V first, V gravity, V mass"},
          {"V = -7*q^2", NO_V ", V first, V gravity, V mass"},
          {"V = -35*q^2/2", NO_V ", V first, V gravity, V mass"},
          {"V = 7*q^2/2", NO_V ", V first, V gravity, V mass"},
          {"V = -7*q^2/2 - q", NO_V ", V first, V gravity, V mass"},
          {"V = -7*q^3", NO_V ", V first, V gravity, V mass"},
          {"V = -7*5*p", NO_V ", V first, V gravity, V mass"},
          {"V = -7*5*q*v", NO_V ", V first, V gravity, V mass"},
          {"V = -60*cos(q) + p", NO_V ", V first, V gravity, V mass"},
          {"V = -60*cos(q)*v", NO_V ", V gravity, V mass"},
          {"V = -60*cos(p)", NO_V ", V gravity, V mass"},
          {"V = -60*q", NO_V ", V first, V gravity, V mass"},
          {"dp/dt = -7*sin(q)", "dp/dt structure, dp/dt truth"},
          {"dp/dt = 60*sin(q)", "dp/dt structure, dp/dt truth"},
          {"dp/dt = cos(q)", NO_FORCE},
          {"dp/dt = -60*cos(q)", NO_FORCE},
          {"dp/dt = -60*sin(q) + 1", NO_FORCE},
          {"dp/dt = -60*sin(q)*q", NO_FORCE},
          {"dp/dt = -60*sin(2*q)", NO_FORCE},
          {"dp/dt = -60", NO_FORCE},
          {"dp/dt = -60*sin(q)*p", NO_FORCE},
          {"dp/dt = 0", NO_FORCE}}},
        {PENDULUM,
         "pendulum, angle q, mass = 4, gravity = 5, length = 4\nderive",
         {"64*v", "p^2/128", "-80*cos(q)", "p^2/128 - 80*cos(q)", "p/64", "-80*sin(q)"},
         {{"", ""},
          {"p = 4*4^2*v", ""},
          {"p = 5*4^2*v", "p truth"},
          {"p = 5*v", "p truth, p form, p first"}}},
        {PENDULUM,
         "pendulum, angle q, mass = 1, gravity = 1, length = 1\nderive",
         {"v", "p^2/2", "-cos(q)", "p^2/2 - cos(q)", "p", "-sin(q)"},
         {{"", ""}, {"V = -2*cos(q)", "V truth, H structure, V form, V half, V gravity, V mass"}}},
        {QUARTIC,
         "quartic spring, stretch q, stiffness = 5, mass = 8\nderive",
         {"8*v", "p^2/16", "5*q^4/4", "p^2/16 + 5*q^4/4", "p/8", "-5*q^3"},
         {{"", ""},
          {"V = 5*q^2/2", "V structure, V truth, H structure"},
          {"V = q^4|H = p^2/16 + q^4|dp/dt = -4*q^3", "V truth, H truth, dp/dt truth"},
          {"dp/dt = -5*q^4", "dp/dt structure, dp/dt truth"},
          {"p = 8*v*1", ""},
          {"p = -8*v", "p truth"}}},
    };
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        task_problem p = asked(&hamilton, is[i].skill, is[i].question);
        int n = 0;
        while (is[i].of[n].lines) n++;
        variants(&p, is[i].right, is[i].of, n);
    }
}

// ---- numbers and powers that are paid, by trying them all

// The value that a question tells; 0: none of this name.
static long told(const task_problem *p, const char *name) {
    char key[32];
    int n = snprintf(key, sizeof key, ", %s = ", name);
    const char *at = strstr(p->question, key);
    return at ? atol(at + n) : 0;
}

// The first problem of a skill with this mass and this value.
static task_problem with(int skill, long mass, const char *name, long value) {
    task_problem p;
    for (uint32_t i = 0; i < 1000000; i++) {
        hamilton.problem(skill, 1, i, i & 1, &p);
        if (told(&p, "mass") == mass && told(&p, name) == value) return p;
    }
    check(0, name, "never drawn");
    exit(1);
}

static int times_digit(long n, long x) { return n % x == 0 && n / x >= 2 && n / x <= 9; }

static int is_product(long n) {
    int is = 0;
    for (long a = 2; a <= 9 && n > 9; a++) is |= times_digit(n, a);
    return is;
}

static int is_product_of_3(long n) {
    int is = is_product(n);
    for (long a = 2; a <= 9; a++) is |= n % a == 0 && is_product(n / a);
    return is;
}

// n is paid as the pendulum's inertia by p form and T form.
static int turns(long n, long m, long l) {
    if (n == m * l * l) return 1;
    if (m * l * l < 10 || !times_digit(n, l * l)) return 0;
    return m == l || (n > 9 && n != l * l * l);
}

// n is paid by p first and T first: a digit stands beside the square of another, at least, and no two
// digits have this product.
static int squares(long n, long m, long l) {
    int digit = m * l * l < 10, square = 0;
    for (long k = 2; k <= 9; k++) square |= n > 81 && times_digit(n, k * k);
    return turns(n, m, l) || (!digit && square && (m == l || n != l * l * l));
}

// The qualities of V that n as its coefficient has.
static uint32_t coefficient(const task_problem *p, int skill, long n) {
    uint32_t form = bit("V form"), half = bit("V half");
    uint32_t mass = bit("V mass"), gravity = bit("V gravity");
    long m = told(p, "mass"), g = told(p, "gravity"), l = told(p, "length");
    if (skill == FORCE || skill == SPRING) {
        long k = skill == FORCE ? -n : n;
        int right = k == told(p, skill == FORCE ? "force" : "stiffness");
        return mass | gravity | (right || (k >= 1 && k <= 9) ? form | half : 0);
    }
    if (skill == PENDULUM) {
        n = -n;
        if (n == m * g * l) return form | half | mass | gravity;
        return (is_product_of_3(n) ? form : 0) | (n % l == 0 && is_product(n / l) ? half : 0) |
               (n % m == 0 && is_product(n / m) ? mass : 0) |
               (n % g == 0 && is_product(n / g) ? gravity : 0);
    }
    if (n == m * g) return form | half | mass | gravity;
    if (skill == FALL && is_product(n)) form |= half;
    if (skill == BOTH ? n == 0 : !is_product(n)) form = 0;
    return form | (times_digit(n, m) ? mass : 0) | (times_digit(n, g) ? gravity : 0);
}

static void numbers(void) {
    static const struct {
        int skill;
        long mass;
        const char *name;
        long value;
    } is[] = {
        {FALL, 5, "gravity", 9},     {FALL, 3, "gravity", 4},      {FALL, 2, "gravity", 11},
        {FALL, 1, "gravity", 7},     {FORCE, 4, "force", 7},       {FORCE, 4, "force", 12},
        {SPRING, 9, "stiffness", 4}, {SPRING, 3, "stiffness", 10}, {PENDULUM, 4, "length", 3},
        {PENDULUM, 5, "length", 5},  {PENDULUM, 1, "length", 3},   {PENDULUM, 10, "length", 1},
        {PENDULUM, 9, "length", 1},  {PENDULUM, 2, "length", 2},   {PENDULUM, 2, "length", 3},
        {PENDULUM, 1, "length", 4},  {PENDULUM, 3, "length", 2},   {PENDULUM, 11, "length", 1},
        {PENDULUM, 3, "length", 5},  {BOTH, 5, "gravity", 9},      {BOTH, 12, "gravity", 1},
    };
    enum { LEAST = -100, MOST = 200, LEAST_OF_THREE = -750, MOST_OF_THREE = 750 };
    static const char *const form[] = {[FALL] = "q",
                                       [FORCE] = "q",
                                       [SPRING] = "q^2/2",
                                       [PENDULUM] = "cos(q)",
                                       [BOTH] = "q + q^2/999"};
    uint32_t p_form = bit("p form"), t_form = bit("T form");
    uint32_t p_first = bit("p first"), t_first = bit("T first");
    uint32_t all = bit("V form") | bit("V half") | bit("V mass") | bit("V gravity");
    all |= p_form | t_form | p_first | t_first;
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        task_problem p = with(is[i].skill, is[i].mass, is[i].name, is[i].value);
        char answer[256], what[160], found[256] = "";
        long least = is[i].skill == PENDULUM ? LEAST_OF_THREE : LEAST;
        long most = is[i].skill == PENDULUM ? MOST_OF_THREE : MOST;
        for (long n = least; n <= most; n += n < LEAST || n > MOST ? 3 : 1) {
            uint32_t want = coefficient(&p, is[i].skill, n);
            long m = is[i].mass, l = is[i].value;
            int swings = is[i].skill == PENDULUM;
            if (!swings || turns(n, m, l)) want |= p_form;
            if (swings ? turns(n, m, l) : n == m || (n >= 1 && n <= 9)) want |= t_form;
            if (!swings || squares(n, m, l)) want |= p_first | t_first;
            snprintf(answer, sizeof answer,
                     "p = %ld*v\nT = p^2/(2*(%ld))\nV = %ld*%s\nH = p\ndq/dt = 1\ndp/dt = 1", n, n,
                     n, form[is[i].skill]);
            task_verdict v = judged(&hamilton, &p, answer);
            if (!v.formed || (v.passed & all) != want)
                snprintf(found, sizeof found, "%ld: %x, should be %x", n, v.passed & all, want);
        }
        snprintf(what, sizeof what, "%.*s: numbers from %ld to %d in p, T and V",
                 (int)strcspn(p.question, "\n"), p.question, least, MOST);
        check(!*found, what, found);
    }
}

// Sums of all sets of powers from 0 to 4, as V and as dp/dt, for each pair of powers that is told.
static void sums(void) {
    uint32_t structure = bit("V structure"), v_form = bit("V form"), dp_form = bit("dp/dt form");
    uint32_t v_first = bit("V first");
    char what[96], found[256];
    for (int low = 1; low <= 3; low++)
        for (int high = low + 1; high <= 4; high++) {
            task_problem p;
            uint32_t number = 0, right = 1u << low | 1u << high, in = 0;
            for (; in != right && number < 10000; number++) { // by the letters of the question
                hamilton.problem(POTENTIAL, 1, number, 0, &p);
                in = 0;
                for (const char *c = p.question; (c = strstr(c, "*q")); c++)
                    in |= c[2] == '^' ? 1u << (c[3] - '0') : 2;
            }
            snprintf(found, sizeof found, "%s", in == right ? "" : "never drawn");
            for (uint32_t set = 1; set < 32; set++) {
                char sum[128] = "", answer[512];
                for (int n = 0; n <= 4; n++)
                    if (set >> n & 1)
                        sprintf(sum + strlen(sum), "%s%d*q^%d/q", *sum ? " + " : "", 101 + n,
                                n + 1);
                snprintf(answer, sizeof answer,
                         "p = v\nT = p^2\nV = %s\nH = p\ndq/dt = 1\ndp/dt = %s", sum, sum);
                task_verdict v = judged(&hamilton, &p, answer);
                uint32_t want = (set == right ? structure : 0) | (set << 1 == right ? dp_form : 0);
                if (set & (set - 1)) want |= v_form;
                for (int n = low + 1; n <= 4; n++)
                    if (set == (1u << low | 1u << n)) want |= v_first;
                if (!v.formed || (v.passed & (structure | v_form | v_first | dp_form)) != want)
                    snprintf(found, sizeof found, "%s: %x, should be %x", sum, v.passed, want);
            }
            snprintf(what, sizeof what, "powers %d and %d: all sums of powers as V and as dp/dt",
                     low, high);
            check(!*found, what, found);
        }
}

static void slope_answers(void) {
    static const struct {
        int skill;
        const char *question, *answer, *loses;
    } is[] = {
        {0, "d/dq: 4*q^4/2", "4*4*q^3/2", ""},
        {0, "d/dq: 4*q^4/2", "8*q^3\n", ""},
        {0, "d/dq: 4*q^4/2", "q^3", "truth"},
        {0, "d/dq: 4*q^4/2", "8*q^4", "structure, truth"},
        {0, "d/dq: 4*q^4/2", "8*p^3", "structure, truth"},
        {0, "d/dq: 4*q^4/2", "8*p*q^3", "structure, truth"},
        {0, "d/dq: 4*q^4/2", "8*v^3", "structure, truth"},
        {0, "d/dq: 4*q^4/2", "0", "structure, truth"},
        {0, "d/dq: 4*q^4/2", "", "not formed"},
        {0, "d/dq: 4*q^4/2", "\n", "structure, truth"},
        {0, "d/dq: 4*q^4/2", "= 8*q^3", "structure, truth"},
        {0, "d/dq: 4*q^4/2", "E = 8*q^3", "structure, truth"},
        {0, "d/dq: 4*q^4/2", "8*q^3\n8*q^3", "not formed"},
        {0, "d/dq: 4*q^4/2", "8*q^3\n\n", "not formed"},
        {0, "d/dp: 4*q^4/2", "0", ""},
        {0, "d/dp: 4*q^4/2", "8*q^3", "structure, truth"},
        {0, "d/dp: 4*q^4/2", "1/0", "structure, truth"},
        {1, "d/dq: q^2 + 3*q", "2*q + 3", ""},
        {1, "d/dq: q^2 + 3*q", "2*q", "structure, truth"},
        {1, "d/dq: q^2 + 3*q", "3", "structure, truth"},
        {1, "d/dq: q^2 + 3*q", "q - 1", "truth"},
        {1, "d/dp: q^2 + 3*q", "0", ""},
        {1, "d/dp: q^2 + 3*q", "2*q + 3", "structure, truth"},
    };
    char what[256], found[512];
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        task_problem p = asked(&slopes, is[i].skill, is[i].question);
        task_verdict v = judged(&slopes, &p, is[i].answer);
        lost(&slopes, &v, found);
        snprintf(what, sizeof what, "slopes: %s / %s / loses %s", is[i].question, is[i].answer,
                 *is[i].loses ? is[i].loses : "nothing");
        check(!strcmp(found, is[i].loses), what, found);
    }
}

// ---- spans, counted by hand

static void spans(void) {
    static const char answer[] = "p = 9*v\n"        // 0: 4 to 8
                                 "dp/dt = -4*q\n"   // 8: 16 to 21
                                 "T = p^2/18\n"     // 21: 25 to 32
                                 "V = \n"           // 32: 36 to 37
                                 "dq/dt = q\xff\n"  // 37: 45 to 48
                                 "H = p^2/18+2q^2"; // 48: 52 to 63
    static const size_t want[6][2] = {{4, 8}, {25, 32}, {36, 37}, {52, 63}, {45, 48}, {16, 21}};
    char what[64], found[64];
    task_problem p = asked(&hamilton, SPRING, "spring, stretch q, mass = 9, stiffness = 4\nderive");
    for (int end = 0; end < 2; end++) {
        char text[80];
        snprintf(text, sizeof text, "%s%s", answer, end ? "\n" : "");
        task_verdict v = judged(&hamilton, &p, text);
        for (int i = 0; i < 6; i++) {
            size_t to = want[i][1] + (size_t)(end && i == 3);
            snprintf(what, sizeof what, "span of %s%s", label[i], end ? ", with a line end" : "");
            snprintf(found, sizeof found, "%zu to %zu", v.span[i].from, v.span[i].to);
            check(v.formed && v.span[i].from == want[i][0] && v.span[i].to == to, what, found);
        }
    }
    p = asked(&slopes, 0, "d/dq: 4*q^4/2");
    task_verdict v = judged(&slopes, &p, "8*q^3");
    check(v.formed && v.span[0].from == 0 && v.span[0].to == 5, "span of a whole answer", "");
}

// ---- hostile bytes

static void hostile(void) {
    static const char right[] =
        "p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q";
    static const char other[] = "p = 36*v\nT = p^2/72\nV = -60*cos(q)\nH = p^2/72 - 60*cos(q)\n"
                                "dq/dt = p/36\ndp/dt = -60*sin(q)";
    enum { ROUNDS = 20000, LONG = 4 << 20 };
    static const char pieces[] = "pqvTVH=+-*/^(). \n\r0129\0\xff\xc2\xb2\xb7sincosd/dt";
    task_problem p = asked(&hamilton, SPRING, "spring, stretch q, mass = 9, stiffness = 4\nderive");
    task_problem swings =
        asked(&hamilton, PENDULUM, "pendulum, angle q, mass = 4, length = 3, gravity = 5\nderive");
    task_stream r = {1, 99, 0, 0};
    int wrong = 0, formed = 0, all = 0;
    for (int i = 0; i < ROUNDS; i++) {
        char *text = must_alloc(sizeof right + sizeof other,
                                1); // of its own, so that a sanitizer sees its end
        const task_problem *of = i % 2 ? &swings : &p;
        size_t n = i % 2 ? sizeof other - 1 : sizeof right - 1;
        memcpy(text, i % 2 ? other : right, n);
        for (uint32_t k = 1 + task_below(&r, 4); k > 0; k--) {
            size_t at = task_below(&r, (uint32_t)n);
            char c = pieces[task_below(&r, sizeof pieces - 1)];
            uint32_t how = task_below(&r, 8);
            if (how < 5)
                text[at] = c;
            else if (how < 7)
                memmove(text + at + 1, text + at, n++ - at), text[at] = c;
            else
                n = at + 1;
        }
        char *exact = must_alloc(n, 1);
        memcpy(exact, text, n);
        task_verdict v, w;
        task_judge(&hamilton, of, exact, n, points, &v);
        task_judge(&hamilton, of, text, n, (uint32_t[]){(uint32_t)i, 3}, &w);
        wrong += v.formed != w.formed || v.passed != w.passed || (!v.formed && v.passed);
        for (int s = 0; s < 6 && v.formed; s++)
            wrong += v.span[s].from > v.span[s].to || v.span[s].to > n || v.span[s].from < 4;
        formed += v.formed;
        all += v.passed == ALL_PASSED;
        free(text);
        free(exact);
    }
    char found[96];
    snprintf(found, sizeof found, "%d wrong, %d formed, %d all right", wrong, formed, all);
    check(!wrong && formed > ROUNDS / 20 && all > 0 && all < formed / 2,
          "20,000 changed answers: no crash, spans inside, any seed the same", found);
    printf("note task: %s\n", found);

    char *text = must_alloc(LONG, 1);
    task_verdict v;
    for (int i = 0; i < 4; i++) {
        memset(text, "q\0\n="[i], LONG);
        memcpy(text, "V = ", 4);
        task_judge(&hamilton, &p, text, LONG, points, &v);
        check(!v.formed && !v.passed, "4 MiB of one byte", "");
    }
    memset(text, '(', LONG);
    memcpy(text, right, sizeof right - 1);
    memcpy(text + sizeof right - 1 - 4, "((((", 4);
    task_judge(&hamilton, &p, text, LONG, points, &v);
    check(v.formed && v.passed == (ALL_PASSED & ~0xc00u) && v.span[5].to == LONG,
          "a line of 4 MiB of brackets", "");
    memcpy(text, right, sizeof right - 1);
    text[4] = 0;
    task_judge(&hamilton, &p, text, sizeof right - 1, points, &v);
    check(v.formed && v.passed == (ALL_PASSED & ~3u), "NUL in an expression", "");
    task_judge(&hamilton, &p, text, 0, points, &v);
    check(!v.formed && !v.passed, "no bytes", "");
    free(text);
}

// ---- for tests/task.py

static void print_text(const char *s) {
    putchar('"');
    for (; *s; s++) printf(*s == '\n' ? "\\n" : "%c", *s);
    putchar('"');
}

static int serve_pipe(void) {
    static char line[1 << 20], hex[1 << 20];
    static char answer[1 << 19];
    char verb[16], name[16];
    unsigned skill, seed, number, held;
    while (fgets(line, sizeof line, stdin)) {
        *hex = 0;
        int n = sscanf(line, "%15s %15s %u %u %u %u %1048575s", verb, name, &skill, &seed, &number,
                       &held, hex);
        const task *t = n >= 6 ? task_named(name) : NULL;
        if (!t || (int)skill >= t->skills) {
            printf("not understood\n");
            return 1;
        }
        task_problem p;
        t->problem((int)skill, seed, number, (int)held, &p);
        if (!strcmp(verb, "problem")) {
            printf("{\"question\": ");
            print_text(p.question);
            for (int i = 0; i < p.bound; i++) {
                printf(", \"%s\": ", p.bind[i].name);
                print_text(p.bind[i].text);
            }
            printf("}\n");
        } else {
            size_t bytes = strlen(hex) / 2;
            task_verdict v;
            for (size_t i = 0; i < bytes; i++) {
                unsigned c = 0;
                sscanf(hex + 2 * i, "%2x", &c);
                answer[i] = (char)c;
            }
            task_judge(t, &p, answer, bytes, points, &v);
            printf("%d %u", v.formed, v.passed);
            for (int i = 0; i < t->sections; i++) printf(" %zu-%zu", v.span[i].from, v.span[i].to);
            printf("\n");
        }
        fflush(stdout);
    }
    return 0;
}

// What stands in an answer that is not formed, for credit: lines up to the first that is none.
static void broken(void) {
    enum { P_HINTS = 33 << 14, T_FORM = 1 << 15, T_FIRST = 1 << 20 }; // nothing is asked
    static const struct {
        const char *answer;
        uint32_t stands, there;
        size_t read;
    } is[] = {
        {"", 0, 0, 0},
        {"p = 9*v", 3 | P_HINTS, 1, 7},
        {"p = 9*v\nT = p^2", 3 | 4 | P_HINTS | T_FIRST, 3, 15},
        {"dq/dt = p/9\nT = p^2/18\n", 12 | 512 | T_FORM | T_FIRST, 16 | 2, 23},
        {"p = 9*v\n\nT = p^2/18", 3 | P_HINTS, 1, 7},
        {"p = 9*v\np = 9*v\nT = p^2/18", 3 | P_HINTS, 1, 7},
        {"so\np = 9*v", 0, 0, 0},
        {"p = 9*v\nT = p^2/18, V = 2*q^2", 3 | P_HINTS | T_FIRST, 3, 29},
        {"p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q\nso",
         ALL_PASSED, 63, 72},
    };
    task_problem p = asked(&hamilton, SPRING, "spring, stretch q, mass = 9, stiffness = 4\nderive");
    char found[64];
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        task_verdict v = judged(&hamilton, &p, is[i].answer);
        sprintf(found, "%x %x %zu", v.stands, v.there, v.read);
        check(!v.formed && !v.passed && v.stands == is[i].stands && v.there == is[i].there &&
                  v.read == is[i].read,
              is[i].answer, found);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--pipe")) return serve_pipe();
    check(!task_named("none") && !task_named(""), "there is no such task", "");
    tables(&hamilton);
    tables(&slopes);
    rests();
    tree();
    fixed_problems();
    law();
    generator(&hamilton);
    generator(&slopes);
    spring();
    systems();
    numbers();
    sums();
    slope_answers();
    spans();
    broken();
    hostile();
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
