// practice.h - what is said of a task while it is practised, and drawn of it afterwards.
#ifndef PRACTICE_H
#define PRACTICE_H
#include "engine.h"

// What the answers of a step had.
typedef struct {
    int64_t step, answers, tokens;
    int64_t passed[QUALITIES + 1]; // answers that have each quality; [qualities]: all of them
    uint32_t skills;               // tried, as bits
    uint32_t mastered[SKILLS];     // bits of qualities, after this step
} practice_step;

// The payload of a J_REWARD. -1: it is not of this task.
int practice_read(practice_step *s, const task *t, const uint8_t *data, uint32_t size);
// The engine is about to go on.
void practice_begin(const engine_options *o, engine_state s);
// live_options.said: gathers a step's rewards and prints its line to stderr with its update.
void practice_say(journal_kind kind, const uint8_t *data, uint32_t size, const engine_state *s);
// All steps of a journal, as OUT/train.svg and OUT/train.json.
int practice_plot(const char *path, const char *out, char err[ERR]);
#endif
