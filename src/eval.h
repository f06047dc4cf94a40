// eval.h - how often a model's answers to held-out problems are right.
//
// The model answers as it would answer clients: the engine, without learning. What is counted is a
// function of weights, seed and options, the same on any machine and backend (chapter 35).
#ifndef EVAL_H
#define EVAL_H
#include "backend.h"
#include "qgre.h"

typedef struct {
    const char *dir; // the model's folder
    const backend *by;
    const task *task;
    qgre_method method;     // by which shown answers are credited
    long problems, samples; // of each skill; of each problem, besides the greedy answer
    long show;              // so many problems are printed with what their tokens earned
    long ctx;               // tokens of prompt and answer, less one; 0: as practice chooses
    double temperature;     // of the samples
    uint32_t seed;
    const char *answers; // a file: every answer as a line of JSON; NULL: none
    const char *json;    // a file; "-": stdout, which then has nothing else; NULL: none
} eval_options;

// Wilson's interval: with 95% confidence a probability of which n trials had `passed` in the mean.
void eval_wilson(double passed, double n, double *low, double *high);
int eval_run(const eval_options *o, char err[ERR]);
#endif
