// practice.h - what is said of a task while it is practised: a line for every step.
#ifndef PRACTICE_H
#define PRACTICE_H
#include "engine.h"

// The engine is about to go on.
void practice_begin(const engine_options *o, engine_state s);
// live_options.said: gathers a step's rewards and prints its line to stderr with its update.
void practice_say(journal_kind kind, const uint8_t *data, uint32_t size, const engine_state *s);
#endif
