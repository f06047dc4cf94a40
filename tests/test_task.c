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
                size_t n = strlen(t->skill[skill].name), all = strlen(a.question);
                wrong |= strncmp(a.question, t->skill[skill].name, n) != 0 || a.question[n] != ',';
                wrong |= strcmp(a.question + all - 7, "\nderive") != 0;
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
        hamilton.problem(3, 2, i, 0, &p);
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
}

// What rests on what: the reasons are in chapter 34.
static void rests(void) {
    static const char *const of[] = {
        "",
        "p structure",
        "",
        "T structure",
        "T truth",
        "T truth",
        "T structure",
        "T truth, V truth, H structure",
        "H structure",
        "T truth, dq/dt structure",
        "H structure",
        "V truth, dp/dt structure",
        "",
        "T truth",
    };
    for (int i = 0; i < hamilton.qualities; i++) {
        char is[256] = "", what[320];
        for (int j = 0; j < hamilton.qualities; j++)
            if (hamilton.quality[i].rests >> j & 1)
                sprintf(is + strlen(is), "%s%s", *is ? ", " : "", hamilton.quality[j].name);
        snprintf(what, sizeof what, "%s rests on: %s", hamilton.quality[i].name, of[i]);
        check(!strcmp(is, of[i]), what, is);
    }
}

// The first problems of seed 1: who changes the draw changes every journal of a run.
static void fixed_problems(void) {
    static const struct {
        const task *t;
        int skill, held;
        const char *question;
    } is[] = {
        {&hamilton, 0, 0, "free particle, position q, mass = 3\nderive"},
        {&hamilton, 0, 1, "free particle, position q, mass = 5\nderive"},
        {&hamilton, 1, 0, "freefall, height q, gravity = 4, mass = 8\nderive"},
        {&hamilton, 1, 1, "freefall, height q, gravity = 81, mass = 89\nderive"},
        {&hamilton, 2, 0, "constant force, position q, mass = 9, force = 94\nderive"},
        {&hamilton, 2, 1, "constant force, position q, force = 4, mass = 1\nderive"},
        {&hamilton, 3, 0, "spring, stretch q, mass = 1, stiffness = 3\nderive"},
        {&hamilton, 3, 1, "spring, stretch q, mass = 1, stiffness = 39\nderive"},
        {&hamilton, 4, 0,
         "spring in gravity, height q, mass = 6, gravity = 7, stiffness = 4\nderive"},
        {&hamilton, 4, 1,
         "spring in gravity, height q, gravity = 5, mass = 9, stiffness = 6\nderive"},
        {&hamilton, 5, 0, "particle, position q, mass = 3, potential = 9*q^3 + 2*q^4/4\nderive"},
        {&hamilton, 5, 1, "particle, position q, potential = 1*q^2 + 6*q^3/3, mass = 3\nderive"},
        {&hamilton, 6, 0, "pendulum, angle q, length = 9, mass = 4, gravity = 6\nderive"},
        {&hamilton, 6, 1, "pendulum, angle q, mass = 55, gravity = 3, length = 77\nderive"},
        {&hamilton, 7, 0, "quartic spring, stretch q, stiffness = 5, mass = 8\nderive"},
        {&hamilton, 7, 1, "quartic spring, stretch q, stiffness = 2, mass = 3\nderive"},
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
        wrong |= q->truth && !q->rests;
    }
    for (int i = 0; i < t->skills; i++)
        for (int j = 0; j < t->skills; j++)
            wrong |= (t->skill[i].after >> j & 1) && !t->skill[j].trained;
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
        {"V = -4*q^2/2", "V truth, H structure, V form"},
        {"V = -4*q^2/2|H = p^2/18 - 4*q^2/2|dp/dt = 4*q", "V truth, H truth, dp/dt truth, V form"},
        {"H = p^2/18", "H structure, H truth, dp/dt structure"},
        {"H = p^2/18|dp/dt = 0", "H structure, H truth, dp/dt structure, dp/dt truth"},
        {"V = 0|H = p^2/18|dp/dt = 0",
         "V structure, V truth, H truth, dp/dt structure, dp/dt truth, V form"},
        {"V = 4*q^2", "V truth, H structure"},
        {"V = 9*q^2/2", "V truth, H structure"},
        {"V = q^2/(2*4)", "V truth, H structure, V form"},
        {"V = 10*q^2/2", "V truth, H structure, V form"},
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
        {"T = 9*v^2/2", "T structure, T truth, H structure"},
        {"T = p*v/2", "T structure, T truth, H structure"},
        {"T = p^2/18 + 1", "T structure, T truth, H structure"},
        {"T = p^2*q/18", "T structure, T truth, H structure"},
        {"T = p^2*v/18", "T structure, T truth, H structure"},
        {"T = p^3/18", "T structure, T truth, H structure"},
        {"T = 0", "T structure, T truth, H structure"},
        {"V = 4*x^2/2", "V structure, V truth, H structure, V form"},
        {"V = 4*Q^2/2", "V structure, V truth, H structure, V form"},
        {"V = 4*p^2/2", "V structure, V truth, H structure, V form"},
        {"V = 2*q^2 + 3", "V structure, V truth, H structure, V form"},
        {"V = 2*q^2 + q", "V structure, V truth, H structure, V form"},
        {"V = 4*q^3/2", "V structure, V truth, H structure, V form"},
        {"V = 2*q^2*v", "V structure, V truth, H structure, V form"},
        {"V = 2*q^2*p", "V structure, V truth, H structure, V form"},
        {"V = 0", "V structure, V truth, H structure, V form"},
        {"V = 4*q^3/2|H = p^2/18 + 4*q^3/2|dp/dt = -6*q^2",
         "V structure, V truth, H truth, dp/dt truth, V form"},
        {"H = p^2/18 - 4*q^2/2", "H structure, H truth, dp/dt structure"},
        {"V = -p^2/18|H = 0|dq/dt = 0|dp/dt = 0",
         "V structure, V truth, H structure, H truth, " EQUATIONS ", V form"},
        {"H = 2*q^2|dq/dt = 0", "H structure, H truth, dq/dt structure, dq/dt truth"},
        {"H = T + V", "H structure, H truth, dq/dt structure, dp/dt structure"},
        {"dq/dt = H_p", "dq/dt structure, dq/dt truth"},
        {"dp/dt = -U_q", "dp/dt structure, dp/dt truth"},
        {"p = inertia*v", "p structure, p truth"},
        // Nothing said.
        {"p = 0|T = 0|V = 0|H = 0|dq/dt = 0|dp/dt = 0", NOTHING ", V form"},
        {"p = |T = |V = |H = |dq/dt = |dp/dt = ", NOTHING ", V form"},
        {"p = mass|T = stiffness|V = spring|H = stretch q|dq/dt = 9|dp/dt = 4", NOTHING ", V form"},
        {"p = p|T = T|V = V|H = H|dq/dt = dq/dt|dp/dt = dp/dt", NOTHING ", V form"},
        {"T = ", "T structure, T truth, H structure"},
        // Values that are none.
        {"T = p^2/(2*0)", "T structure, T truth, H structure"},
        {"T = p^2/(p - p)", "T structure, T truth, H structure"},
        {"H = 1/0", "H structure, H truth, dq/dt structure, dp/dt structure"},
        {"T = 1/0|V = 1/0|H = 1/0|dq/dt = 1/0|dp/dt = 1/0",
         "T structure, T truth, V structure, V truth, H structure, H truth, " EQUATIONS ", V form"},
        {"V = 2*q^2 + 0/0", "V structure, V truth, H structure, V form"},
        {"T = p^99", "T structure, T truth, H structure"},
        {"T = p^2^2", "T structure, T truth, H structure"},
        {"T = 9^9^9", "T structure, T truth, H structure"},
        {"T = ((((p^16)^16)^16)^16)", "T structure, T truth, H structure"},
        {"T = p^2/(2*99999999999999999999)", "T structure, T truth, H structure"},
        {"T = p^2/(2*9), p^2/(2*4)", "T structure, T truth, H structure"},
        {"T = p^2/18 or p^2/2", "T structure, T truth, H structure"},
        {"T = p^2/18;", "T structure, T truth, H structure"},
        {"T = $p^2/18$", "T structure, T truth, H structure"},
        {"V = 4*q\xc3\xb2/2", "V structure, V truth, H structure, V form"},
        {"V = 4*q\xff^2/2", "V structure, V truth, H structure, V form"},
        // No answer in six lines.
        {"T = 9*v^2/2 = p^2/(2*9)", "T structure, T truth, H structure"},
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
    task_problem p = asked(&hamilton, 3, "spring, stretch q, mass = 9, stiffness = 4\nderive");
    variants(&p, right, of, sizeof of / sizeof *of);
}

static void systems(void) {
    static const struct {
        int skill;
        const char *question, *right[6];
        variant of[13]; // the last one empty
    } is[] = {
        {0,
         "free particle, position q, mass = 3\nderive",
         {"3*v", "p^2/6", "0", "p^2/6", "p/3", "0"},
         {{"", ""},
          {"V = q - q|dp/dt = 0*q", ""},
          {"V = 3", "V structure, V truth, H structure"},
          {"H = p^2/6 + q|dp/dt = -1", "H structure, H truth, dp/dt truth"},
          {"p = 0|T = 0|V = 0|H = 0|dq/dt = 0|dp/dt = 0",
           "p structure, p truth, T structure, T truth, H structure, H truth, dq/dt structure, "
           "dq/dt truth"},
          {"dp/dt = 1", "dp/dt structure, dp/dt truth"}}},
        {1,
         "freefall, height q, mass = 5, gravity = 9\nderive",
         {"5*v", "p^2/10", "45*q", "p^2/10 + 45*q", "p/5", "-45"},
         {{"", ""},
          {"V = 5*9q|dp/dt = -(5)(9)", ""},
          {"V = 9*q", "V truth, H structure, V form, V half"},
          {"V = 5*7*q", "V truth, H structure"},
          {"V = 2*9*q", "V truth, H structure"},
          {"V = 4*7*q", "V truth, H structure, V half"},
          {"V = 5*10*q", "V truth, H structure, V form, V half"},
          {"V = -45*q|H = p^2/10 - 45*q|dp/dt = 45",
           "V truth, H truth, dp/dt truth, V form, V half"},
          {"V = 45*q^2", "V structure, V truth, H structure, V form, V half"},
          {"dp/dt = -45*q", "dp/dt structure, dp/dt truth"}}},
        {2,
         "constant force, position q, force = 7, mass = 1\nderive",
         {"v", "p^2/2", "-7*q", "p^2/2 - 7*q", "p", "7"},
         {{"", ""},
          {"V = 7*q|H = p^2/2 + 7*q|dp/dt = -7", "V truth, H truth, dp/dt truth, V form"},
          {"V = -1*q|H = p^2/2 - q|dp/dt = 1", "V truth, H truth, dp/dt truth"},
          {"H = p^2/2 + 7*q", "H structure, H truth, dp/dt structure"},
          {"dp/dt = -7", "dp/dt structure, dp/dt truth"},
          {"dq/dt = 1", "dq/dt structure, dq/dt truth"},
          {"p = 1", "p structure, p truth"}}},
        {2,
         "constant force, position q, mass = 1, force = 12\nderive",
         {"v", "p^2/2", "-12*q", "p^2/2 - 12*q", "p", "12"},
         {{"", ""}, {"V = -11*q", "V truth, H structure, V form"}}},
        {1,
         "freefall, height q, mass = 2, gravity = 11\nderive",
         {"2*v", "p^2/4", "22*q", "p^2/4 + 22*q", "p/2", "-22"},
         {{"", ""}, {"V = 11*q", "V truth, H structure, V form, V half"}}},
        {4,
         "spring in gravity, height q, mass = 6, gravity = 7, stiffness = 4\nderive",
         {"6*v", "p^2/12", "2*q^2 + 42*q", "p^2/12 + 2*q^2 + 42*q", "p/6", "-4*q - 42"},
         {{"", ""},
          {"V = 2*q^2|H = p^2/12 + 2*q^2|dp/dt = -4*q",
           "V structure, V truth, H truth, dp/dt truth, V form, V half"},
          {"V = 42*q", "V structure, V truth, H structure, V form, V half"},
          {"V = q^2 - q", "V truth, H structure, V half"},
          {"V = 2*q^2 + 42*q + 1", "V structure, V truth, H structure, V half"},
          {"V = 2*q^2 + 2*q^2", "V structure, V truth, H structure, V form, V half"},
          {"V = 2*q^2 + p", "V structure, V truth, H structure, V form, V half"},
          {"V = 2*q^2 + p*q", "V structure, V truth, H structure, V form, V half"},
          {"V = v*q + q^2", "V structure, V truth, H structure, V form, V half"},
          {"V = 42*cos(q)", "V structure, V truth, H structure, V form, V half"},
          {"V = 42", "V structure, V truth, H structure, V form, V half"},
          {"dp/dt = -4*q", "dp/dt structure, dp/dt truth"}}},
        {5,
         "particle, position q, mass = 3, potential = 9*q^3 + 2*q^4/4\nderive",
         {"3*v", "p^2/6", "9*q^3 + 2*q^4/4", "p^2/6 + 9*q^3 + 2*q^4/4", "p/3", "-27*q^2 - 2*q^3"},
         {{"", ""},
          {"V = q^3*(9 + q/2)|dp/dt = -q^2*(27 + 2*q)", ""},
          {"V = 9*q^4 + 2*q^3/4", "V truth, H structure, V half"},
          {"V = 9*q^3", "V structure, V truth, H structure, V form, V half"},
          {"V = 9*q^3 + 2*q^4/4 + q", "V structure, V truth, H structure, V half"},
          {"dp/dt = 27*q^2 + 2*q^3", "dp/dt structure, dp/dt truth"}}},
        {6,
         "pendulum, angle q, length = 3, mass = 1, gravity = 7\nderive",
         {"9*v", "p^2/18", "-21*cos(q)", "p^2/18 - 21*cos(q)", "p/9", "-21*sin(q)"},
         {{"", ""},
          {"V = 21*cos(q)|H = p^2/18 + 21*cos(q)|dp/dt = 21*sin(q)",
           "V truth, H truth, dp/dt truth"},
          {"V = 21*(1 - cos(q))", "V structure, V truth, H structure"},
          {"V = -21*sin(q)", "V structure, V truth, H structure"},
          {"p = 1*v", "p truth"},
          {"dp/dt = -21*q", "dp/dt structure, dp/dt truth"}}},
        {7,
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
    task_problem p = asked(&hamilton, 3, "spring, stretch q, mass = 9, stiffness = 4\nderive");
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
    enum { ROUNDS = 20000, LONG = 4 << 20 };
    static const char pieces[] = "pqvTVH=+-*/^(). \n\r0129\0\xff\xc2\xb2\xb7sincosd/dt";
    task_problem p = asked(&hamilton, 3, "spring, stretch q, mass = 9, stiffness = 4\nderive");
    task_stream r = {1, 99, 0, 0};
    int wrong = 0, formed = 0, all = 0;
    for (int i = 0; i < ROUNDS; i++) {
        char *text =
            must_alloc(sizeof right + 8, 1); // of its own, so that a sanitizer sees its end
        size_t n = sizeof right - 1;
        memcpy(text, right, n);
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
        task_judge(&hamilton, &p, exact, n, points, &v);
        task_judge(&hamilton, &p, text, n, (uint32_t[]){(uint32_t)i, 3}, &w);
        wrong += v.formed != w.formed || v.passed != w.passed || (!v.formed && v.passed);
        for (int s = 0; s < 6 && v.formed; s++)
            wrong += v.span[s].from > v.span[s].to || v.span[s].to > n || v.span[s].from < 4;
        formed += v.formed;
        all += v.passed == 0x3fff;
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
    check(v.formed && v.passed == 0x33ff && v.span[5].to == LONG, "a line of 4 MiB of brackets",
          "");
    memcpy(text, right, sizeof right - 1);
    text[4] = 0;
    task_judge(&hamilton, &p, text, sizeof right - 1, points, &v);
    check(v.formed && v.passed == 0x3ffc, "NUL in an expression", "");
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
    static const struct {
        const char *answer;
        uint32_t stands, there;
        size_t read;
    } is[] = {
        {"", 0, 0, 0},
        {"p = 9*v", 3, 1, 7},
        {"p = 9*v\nT = p^2", 3 | 4, 3, 15},
        {"dq/dt = p/9\nT = p^2/18\n", 12 | 512, 16 | 2, 23},
        {"p = 9*v\n\nT = p^2/18", 3, 1, 7},
        {"p = 9*v\np = 9*v\nT = p^2/18", 3, 1, 7},
        {"so\np = 9*v", 0, 0, 0},
        {"p = 9*v\nT = p^2/18, V = 2*q^2", 3, 3, 29},
        {"p = 9*v\nT = p^2/18\nV = 2*q^2\nH = p^2/18 + 2*q^2\ndq/dt = p/9\ndp/dt = -4*q\nso",
         (1 << 14) - 1, 63, 72},
    };
    task_problem p = asked(&hamilton, 3, "spring, stretch q, mass = 9, stiffness = 4\nderive");
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
    fixed_problems();
    law();
    generator(&hamilton);
    generator(&slopes);
    spring();
    systems();
    slope_answers();
    spans();
    broken();
    hostile();
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
