// task.c - reading an answer's lines, and judging what they say.
#include "task.h"
#include "rng.h"

static const task *const all[] = {&hamilton, &slopes};

const task *task_named(const char *name) {
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i]->name, name)) return all[i];
    return NULL;
}

// One block of Philox for each number: the counter says which, so nothing else is remembered.
uint32_t task_below(task_stream *r, uint32_t n) {
    rng_block b = rng_philox((uint32_t[]){r->seed, 0x7461736b},
                             (uint32_t[]){r->drawn++, r->number, r->skill, 0});
    return (uint32_t)((uint64_t)b.v[0] * n >> 32);
}

uint32_t task_number(task_stream *r) {
    return task_below(r, 10) ? 1 + task_below(r, 9) : 10 + task_below(r, 90);
}

static void add(char *text, size_t size, const char *format, va_list ap) {
    size_t at = strlen(text);
    int n = vsnprintf(text + at, size - at, format, ap);
    must(n >= 0 && (size_t)n < size - at);
}

void task_add(char *text, size_t size, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    add(text, size, format, ap);
    va_end(ap);
}

void task_bind(task_problem *p, const char *name, const char *format, ...) {
    must(p->bound < BOUND);
    task_add(p->bind[p->bound].name, sizeof p->bind[0].name, "%s", name);
    va_list ap;
    va_start(ap, format);
    add(p->bind[p->bound].text, sizeof p->bind[0].text, format, ap);
    va_end(ap);
    p->bound++;
}

// Where the expression of a section begins in a line of n bytes; -1: the line is not of it.
static int64_t behind_label(const task_section *s, const char *line, size_t n) {
    size_t label = strlen(s->label);
    if (!label) return 0;
    if (n < label + 3 || memcmp(line, s->label, label) || memcmp(line + label, " = ", 3)) return -1;
    return (int64_t)label + 3;
}

// Finds the sections' spans, up to the first line that is none or that has come before.
static void find_sections(const task *t, const char *answer, size_t n, task_verdict *v) {
    while (v->read < n) {
        const char *line = answer + v->read, *stop = memchr(line, '\n', n - v->read);
        size_t length = stop ? (size_t)(stop - line) : n - v->read;
        int64_t begin = -1;
        int s = -1;
        while (begin < 0 && ++s < t->sections) begin = behind_label(&t->section[s], line, length);
        if (begin < 0 || v->there >> s & 1 || memchr(line, '\r', length)) {
            v->read -= v->read > 0; // the line end in front led there
            return;
        }
        v->span[s].from = v->read + (size_t)begin;
        v->read += length + (stop != NULL);
        v->span[s].to = v->read;
        v->there |= 1u << s;
    }
}

void task_judge(const task *t, const task_problem *p, const char *answer, size_t n,
                const uint32_t seed[2], task_verdict *v) {
    check_expr is[SECTIONS + BOUND];
    check_scope scope = {.n = 0};
    char err[ERR];
    *v = (task_verdict){0};
    find_sections(t, answer, n, v);
    if (!v->there) return;
    v->formed = v->read == n && v->there == (1u << t->sections) - 1;
    for (; t->variable[scope.n]; scope.n++) scope.of[scope.n].name = t->variable[scope.n];
    for (int i = 0; i < t->sections; i++) {
        size_t from = v->span[i].from, to = v->span[i].to;
        to -= to > from && answer[to - 1] == '\n'; // a section that is missing has no bytes
        check_read(&is[i], answer + from, to - from, &scope, err);
        scope.of[scope.n++] = (check_name){t->section[i].name, &is[i]};
    }
    for (int i = 0; i < p->bound; i++) {
        check_expr *e = &is[t->sections + i];
        must(scope.n < CHECK_NAMES);
        // The program's own text: only what it names can make it too large.
        must(check_read_bound(e, p->bind[i].text, strlen(p->bind[i].text), &scope, err) != -1);
        scope.of[scope.n++] = (check_name){p->bind[i].name, e};
    }
    for (int i = 0; i < t->qualities; i++)
        if (v->there >> t->quality[i].section & 1 && check_holds(t->quality[i].holds, &scope, seed))
            v->stands |= 1u << i;
    v->passed = v->formed ? v->stands : 0;
}
