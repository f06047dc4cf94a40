// qgre.h - quality-gated reward escalation: what is tried next, what each token of an answer earned,
// and which qualities count.
//
// All of it is a function of seed and answers: choices are drawn by counter, rewards are bits,
// advantages are quotients of small integers (chapter 15).
#ifndef QGRE_H
#define QGRE_H
#include "task.h"
#include "token.h"

enum { WINDOW = 256, GROUP = 256 }; // longest window; most answers to one problem

typedef enum {
    QGRE_GATED,  // each token earns for its own section, harder qualities count later
    QGRE_CREDIT, // each token earns for its own section, all qualities count at once
    QGRE_UNIFORM // each token of a section earns for all qualities; labels earn nothing
} qgre_method;

typedef struct {
    const task *task; // NULL: nothing is practised
    qgre_method method;
    long group;    // answers to one problem, compared with each other; 1: with the running mean
    double kl;     // weight of the divergence from the model as it began
    double review; // probability that a problem is of a skill already mastered
    long slots;    // answers that decode together; 0: as many as lane_together() says
} qgre_options;

// What has been seen of a skill. Bits stand for qualities.
typedef struct {
    uint32_t passed[WINDOW]; // by the last answers, a ring
    int64_t seen;            // answers
    uint32_t mastered;       // qualities, with hysteresis: mastery and regression of the task
    float mean[QUALITIES];   // running, for groups of one
} qgre_skill;

typedef struct {
    qgre_skill skill[SKILLS];
} qgre_state;

typedef struct {
    qgre_options o;
    uint32_t seed;
    const tokenizer *t;
    qgre_state now;
} qgre;

// An answer: ids [n] as they were drawn, the one that ends it included if it came.
typedef struct {
    const int32_t *id;
    int64_t n;
    int ended;
    float *advantage;     // [n]
    task_verdict verdict; // spans in tokens
} qgre_answer;

int qgre_named(const char *method); // -1: there is no such method
const char *qgre_name(qgre_method method);
// The skill and the problem of a group of a step, by the state as it is.
int qgre_problem(const qgre *q, int64_t step, long group, task_problem *p);
// Ids of the prompt that asks for it, in the model's own chat template, in a new array.
int64_t qgre_prompt(const qgre *q, const task_problem *p, int32_t **id, char err[ERR]);
// Judges an answer's text behind its thoughts. section [n]: of each token, -1: of none, SECTIONS: in an
// answer without its form its labels, and where the form breaks; or NULL. seed: of the points where it
// is checked.
void qgre_verdict(const qgre *q, const task_problem *p, const uint32_t seed[2], qgre_answer *a,
                  int8_t *section);
// Fills in verdicts and advantages of a group's answers and notes them in q->now. step, group: of
// qgre_problem().
void qgre_judge(qgre *q, int64_t step, long group, int skill, const task_problem *p,
                qgre_answer *answer, long n);
uint32_t qgre_counts(const qgre *q, int skill); // bits of the qualities that are rewarded now
#endif
