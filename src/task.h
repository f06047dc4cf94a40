// task.h - what is practised: problems, what an answer consists of, what is judged of it, and in
// which order it is learned. A task is a table; adding one is one file.
#ifndef TASK_H
#define TASK_H
#include "check.h"

enum { SECTIONS = 8, QUALITIES = 24, SKILLS = 16, BOUND = 40 };

// A line of the answer, "label = expression" with one blank on each side of the sign.
typedef struct {
    const char
        *label;       // as it stands in the answer: "dq/dt"; "": the whole answer is one expression
    const char *name; // in conditions: "dq"
} task_section;

// Something that an answer has or has not. Structure can be checked without the right answer.
typedef struct {
    const char *name;
    int section;       // whose tokens it is credited to
    int truth;         // 1: equal to the right answer; 0: structure, or a part of it
    const char *holds; // conditions (check.h) over sections and what the problem binds
    uint32_t rests;    // bits of the qualities that must be mastered before this one counts
    float worth;       // of having it
} task_quality;

typedef struct {
    const char *name;
    uint32_t after;  // bits of the skills that come before
    uint32_t due;    // bits of the qualities that others wait for; 0: all
    int trained;     // 0: it is only measured
    uint32_t late;   // bits of qualities that count here only when these skills
    uint32_t behind; // have mastered what is due
} task_skill;

typedef struct {
    char question[256]; // what the user says
    int bound;
    struct {
        char name[16], text[512]; // a name of conditions and the expression that it stands for
    } bind[BOUND];
} task_problem;

typedef struct {
    const char *name;
    const char *const *variable; // NULL-terminated: all that answers may contain
    int sections, qualities, skills;
    const task_section *section;
    const task_quality *quality;
    const task_skill *skill;
    long window;               // the last so many answers to a skill decide
    float mastery, regression; // mean of the window from which on, and below which no more
    // Problem `number` of a skill; held 1: one that is kept for measuring, else never such a one.
    void (*problem)(int skill, uint32_t seed, uint32_t number, int held, task_problem *p);
} task;

typedef struct {
    int formed;      // one line for each section and nothing else
    uint32_t passed; // bits of qualities; 0 unless formed
    uint32_t stands; // bits of what its lines have, up to the first that is none: for credit
    uint32_t there;  // bits of these lines' sections
    size_t read;     // bytes of these lines, without the line end before one that is none
    struct {
        size_t from, to; // bytes of the answer: behind "label = ", up to and with its line end
    } span[SECTIONS];
} task_verdict;

// For the files of tasks: random numbers as a function of seed, skill and number of a problem, and
// texts that must fit.
typedef struct {
    uint32_t seed, skill, number, drawn; // drawn: how many so far
} task_stream;
uint32_t task_below(task_stream *r, uint32_t n); // 0 .. n - 1
uint32_t task_number(task_stream *r);            // 1 .. 9 nine times of ten, else 10 .. 99
__attribute__((format(printf, 3, 4))) void task_add(char *text, size_t size, const char *format,
                                                    ...);
__attribute__((format(printf, 3, 4))) void task_bind(task_problem *p, const char *name,
                                                     const char *format, ...);

extern const task hamilton, slopes;
const task *task_named(const char *name); // NULL: there is none
// Judges an answer of n bytes: not trusted, any bytes. seed: of the points where it is checked.
void task_judge(const task *t, const task_problem *p, const char *answer, size_t n,
                const uint32_t seed[2], task_verdict *v);
#endif
