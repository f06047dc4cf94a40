// gpu.h - the device as a backend: one persistent launch that runs tapes, mirrors and steps.
#ifndef GPU_H
#define GPU_H
#ifdef __cplusplus
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define restrict __restrict__
extern "C" {
#endif
#include "backend.h"

// Opens the first device and takes its memory. -1: there is none that can run the kernel; the line
// says why. The kernel is launched once, with the first command, and runs until b->close().
int gpu_open(backend *b, char err[ERR]);
#ifdef __cplusplus
}
#undef restrict
#endif
#endif
