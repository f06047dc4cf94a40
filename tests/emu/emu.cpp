// emu.cpp - runs CUDA kernels as fibers in one thread; emu.h says what it models and what it does
// not. In order: state, scheduler, barriers, collectives, races, words that order memory, copies,
// the host's side.
#include <algorithm>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_map>
#include <unordered_set>
#include <vector>
#include "emu.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {
enum { STACK = 252 << 10, PAGE = 4096, STRIDE = 256 << 10, BLOCKS = 1024, SHARED_MOST = 232448 };
enum { BARS = 64 };          // barriers of a block that have clocks of their own
enum { IDLE_ROUNDS = 1000 }; // so many turns of all polls without a change are a deadlock
const size_t SHARED_ALL = (size_t)STRIDE * BLOCKS, ARENA = (size_t)32 << 30;

enum state { READY, AT_BARRIER, AT_COLLECTIVE, POLLING, ENDED };
enum { POLL_DEVICE = 1, POLL_SYSTEM = 2, POLL_COPIES = 4 };
enum { RANDOM_THREADS, RANDOM_WARPS, BLOCK_AHEAD, WARP_AHEAD, BLOCK_STARVED, KINDS, ROUND_ROBIN };
enum { LATE, SOMETIME, AT_ONCE }; // when copies land

struct clocks { // how far each id (a thread, or a barrier's copies) is known
    int users;
    uint32_t at[];
};
struct site {
    const char *kind, *file;
    int line;
};
struct fiber {
    void *sp;
    int id, block, warp, thread; // id and warp: of the grid; thread: of the block
    state where;
    site waits;                     // at a barrier or collective; or the last poll
    int polls, turns, polled_bar;   // POLL_ of this turn; polls since spin_pause; index in bars
    clocks *base, *fence, *pending; // known; known at __threadfence; of relaxed atomics, before one
    uint32_t clock;
    std::vector<uint32_t> fences; // clocks at each copies_fence, ascending
};
struct warp_state {                              // masks have one bit for each lane
    uint32_t ready, waiting, at_barrier, living; // waiting: at the collective `at`
    int returned, generation;
    site at;
    uint64_t brought[2][32], more[2][32]; // by the collective before and this one
    uint32_t row[32];                     // each lane's clock at the last collective
};
struct bar_state { // an mbarrier with one arrival
    uint64_t *at;
    uint32_t phase; // how many are complete
    int arrivals;   // 1: not yet
    int64_t bytes;  // expected and not landed
    int opener, fenced, flying, polled;
    uint32_t tick;       // phases since the launch: never set back
    clocks *next, *done; // what completion will publish, and has published
};
struct block_state {
    unsigned char *shared;
    int arrived, alive, returned, exited;
    site at;
    std::vector<bar_state> bars;
};
struct cell;
struct copy {
    unsigned char *to;
    const unsigned char *from;
    uint32_t bytes;
    int block, bar;
    std::vector<unsigned char> data; // if read at issue
};
struct allocation {
    unsigned char *at;
    size_t bytes, span;
    int device;
};

struct {
    void (*kernel)(void *);
    void *argument, *host_sp;
    cudaStream_t stream;
    fiber *now; // 0: the host
    std::vector<fiber> fibers;
    std::vector<warp_state> warps;
    std::vector<block_state> blocks;
    std::vector<copy> copies;
    std::vector<void *> stacks;
    size_t shared;
    int alive, ready, polling, cursor, idle, waits_for_host, rests;
    uint64_t changes, changes_seen, budget, time;
    // the schedule
    uint64_t seed, random;
    int kind, favourite, landing, at_issue, garbage, timeout, strict;
    int most_rests;
    // memory
    unsigned char *arena, *top;
    std::vector<allocation> allocations;
    size_t used, most;
    int sms;
    std::unordered_map<const void *, int> shared_limits;
    cudaError_t last;
    // races
    int racing, ids;
    size_t most_races;
    std::unordered_set<uint64_t> races;
    cell *words, *bytes;
    std::unordered_map<const void *, clocks *> released;
    clocks *to_host, *from_host;
} g;

[[noreturn]] __attribute__((format(printf, 2, 3))) void stop(int status, const char *format, ...) {
    va_list list;
    va_start(list, format);
    fflush(stdout);
    fprintf(stderr, "emu: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    _exit(status);
}
uint32_t draw(uint32_t n) { // 0 .. n - 1
    g.random ^= g.random << 13, g.random ^= g.random >> 7, g.random ^= g.random << 17;
    return (uint32_t)((g.random >> 32) * n >> 32);
}
struct name {
    char text[80];
};
name who(int id) {
    name n;
    int threads = (int)g.fibers.size(), t = (int)blockDim.x;
    if (id < threads) {
        snprintf(n.text, sizeof n.text, "block %d warp %d lane %d", id / t, id % t / 32, id % 32);
    } else {
        snprintf(n.text, sizeof n.text, "the copies of block %d, barrier %d", (id - threads) / BARS,
                 (id - threads) % BARS);
    }
    return n;
}
const char *base_name(const char *file) {
    const char *slash = file ? strrchr(file, '/') : 0;
    return slash ? slash + 1 : file ? file : "?";
}
bool same(const site &a, const site &b) {
    return a.line == b.line && (a.kind == b.kind || !strcmp(a.kind, b.kind)) &&
           (a.file == b.file || !strcmp(a.file, b.file));
}
[[noreturn]] void misuse(const fiber *f, const char *text) { // f->waits is where it stands
    stop(3, "misuse: %s, at %s (%s:%d): %s", who(f->id).text, f->waits.kind,
         base_name(f->waits.file), f->waits.line, text);
}
const site &site_of(const fiber *f) {
    return f->where == AT_COLLECTIVE ? g.warps[f->warp].at
           : f->where == AT_BARRIER  ? g.blocks[f->block].at
                                     : f->waits;
}
[[noreturn]] void diverged(const fiber *f, const site &here, const fiber *o) {
    const site &there = o->where == ENDED ? here : site_of(o);
    stop(3, "divergence: %s is at %s (%s:%d), %s %s %s (%s:%d)", who(f->id).text, here.kind,
         base_name(here.file), here.line, who(o->id).text,
         o->where == ENDED ? "has returned before" : "waits at", there.kind, base_name(there.file),
         there.line);
}

// ---- switching stacks

void fiber_start(void);
#if defined(__x86_64__) && !defined(EMU_UCONTEXT)
extern "C" void emu_switch(void **save, void *load);
asm(".text\n.globl emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
    ".size emu_switch,.-emu_switch\n");
void *new_context(unsigned char *stack) { // rsp is 8 below a multiple of 16 where a function starts
    void **sp = (void **)(stack + STACK) - 2;
    *sp = (void *)fiber_start;
    return sp - 6;
}
#else
}
#include <ucontext.h>
namespace {
void emu_switch(void **save, void *load) {
    if (!*save) *save = calloc(1, sizeof(ucontext_t));
    swapcontext((ucontext_t *)*save, (ucontext_t *)load);
}
void *new_context(unsigned char *stack) {
    ucontext_t *u = (ucontext_t *)calloc(1, sizeof *u);
    getcontext(u);
    u->uc_stack.ss_sp = stack;
    u->uc_stack.ss_size = STACK;
    makecontext(u, fiber_start, 0);
    return u;
}
#endif

// ---- the scheduler

void land(size_t index);
void host_sees(void);

void make_ready(fiber *f) {
    if (f->where == POLLING) g.polling--;
    f->where = READY;
    g.warps[f->warp].ready |= 1u << (f->thread & 31);
    g.ready++;
}
[[noreturn]] void deadlock(const char *why) { // and where each block's threads are
    static const char *const at[] = {"ready", "waiting at", "waiting at", "polling at", "ended"};
    char text[4000];
    int n = snprintf(text, sizeof text, "deadlock: %s", why), most = (int)sizeof text - 200;
    const int threads = (int)blockDim.x;
    for (int i = 0; i < (int)g.fibers.size() && n < most; i++) { // each first one of its kind
        const fiber *f = &g.fibers[i], *block = f - f->thread;
        int alike = 0, before = 0;
        for (int t = 0; t < threads; t++) {
            if (block[t].where != f->where) continue;
            if (f->where == ENDED || site_of(&block[t]).line == site_of(f).line) {
                alike++;
                before += t < f->thread;
            }
        }
        if (f->thread == 0) n += snprintf(text + n, 40, "; block %d:", f->block);
        if (before) continue;
        if (alike > 1)
            n += snprintf(text + n, 40, " %d threads", alike);
        else
            n += snprintf(text + n, 40, " thread %d", f->thread);
        n += snprintf(text + n, 20, " %s", at[f->where]);
        const site &where = site_of(f);
        if (f->where == ENDED || !where.file) continue;
        n += snprintf(text + n, 100, " %s (%s:%d)", where.kind, base_name(where.file), where.line);
    }
    stop(3, "%s", text);
}
// Copies that polls wait for land, at most one for each barrier; by some schedules not all of them.
// 0: there is none.
int land_polled(void) {
    int landed = 0;
    for (const fiber &f : g.fibers) {
        if (f.where == POLLING && f.polls & POLL_COPIES)
            g.blocks[f.block].bars[f.polled_bar].polled = 1;
    }
    for (size_t i = 0; i < g.copies.size();) {
        int *polled = &g.blocks[g.copies[i].block].bars[g.copies[i].bar].polled;
        if (*polled && (g.kind == ROUND_ROBIN || draw(2) || i + 1 == g.copies.size())) {
            *polled = 0;
            land(i);
            landed = 1;
        } else {
            i++;
        }
    }
    for (block_state &b : g.blocks) {
        for (bar_state &x : b.bars) {
            landed |= x.polled && x.flying;
            x.polled = 0;
        }
    }
    return landed;
}
// Nothing is ready: lets every poll take another turn. 0: the host must act first.
int poll_again(void) {
    int mailbox = 0;
    g.time += 1000;
    g.idle = g.changes == g.changes_seen ? g.idle + 1 : 0;
    g.changes_seen = g.changes;
    if (g.idle && land_polled()) g.idle = 0;
    for (const fiber &f : g.fibers) mailbox |= f.where == POLLING && f.polls == POLL_SYSTEM;
    if (!g.polling) deadlock("no thread can go on");
    if (g.idle > 2 && mailbox && g.timeout < 2) {
        g.waits_for_host = 1;
        return 0;
    }
    if (g.idle > 2 && g.timeout) g.time += 10000000000;
    if (g.idle > (g.timeout ? 100 : 1) * IDLE_ROUNDS)
        deadlock("all polls see the same again and again");
    for (fiber &f : g.fibers) {
        if (f.where == POLLING) make_ready(&f);
    }
    return 1;
}
int favoured(int warp) {
    int per = (int)blockDim.x / 32;
    return g.kind == WARP_AHEAD ? warp == g.favourite % (int)g.warps.size()
                                : warp / per == g.favourite % (int)g.blocks.size();
}
int pick_warp(void) {
    int n = (int)g.warps.size(), other = -1;
    if (g.kind == RANDOM_THREADS || (g.kind != ROUND_ROBIN && !g.warps[g.cursor].ready)) {
        g.cursor = (int)draw((uint32_t)n);
    }
    for (int i = 0; i < n; i++) {
        int w = g.cursor + i < n ? g.cursor + i : g.cursor + i - n;
        if (!g.warps[w].ready) continue;
        if (g.kind < BLOCK_AHEAD || g.kind == ROUND_ROBIN) return w;
        if (favoured(w) == (g.kind != BLOCK_STARVED)) return w;
        if (other < 0) other = w;
    }
    return other;
}
fiber *take_lane(warp_state *w, int lane) {
    w->ready &= ~(1u << lane);
    g.ready--;
    return &g.fibers[(size_t)(w - g.warps.data()) * 32 + lane];
}
fiber *pick(void) { // who runs next; 0: the host
    for (;;) {
        if (!g.alive) return 0;
        if (g.landing == SOMETIME && !g.copies.empty() && draw(16) == 0) {
            land(draw((uint32_t)g.copies.size()));
        }
        if (g.ready == 0) {
            if (!poll_again()) return 0;
            continue;
        }
        if (g.budget-- == 0) return 0;
        g.cursor = pick_warp();
        warp_state *w = &g.warps[g.cursor];
        uint32_t turn = g.kind == ROUND_ROBIN ? 0 : draw(32), mask = w->ready;
        mask = turn ? mask >> turn | mask << (32 - turn) : mask;
        return take_lane(w, (int)(((uint32_t)__builtin_ctz(mask) + turn) & 31));
    }
}
void leave(void) { // gives the thread of execution to another fiber, or to the host
    fiber *from = g.now, *to;
    warp_state *w = &g.warps[g.cursor];
    if (g.kind == ROUND_ROBIN && w->ready && g.budget > 1) { // as pick() would
        g.budget--;
        to = take_lane(w, __builtin_ctz(w->ready));
    } else if (!(to = pick())) {
        g.budget = 0;
        host_sees();
    }
    if (to == from) return;
    g.now = to;
    if (to) threadIdx.x = (unsigned)to->thread, blockIdx.x = (unsigned)to->block;
    emu_switch(from ? &from->sp : &g.host_sp, to ? to->sp : g.host_sp);
}
void maybe_yield(void) {
    if (g.kind != ROUND_ROBIN && draw(8) == 0) make_ready(g.now), leave();
}

// ---- barriers and collectives

void join_block(int block);
void join_warp(int warp);

void wake(warp_state *w, uint32_t *lanes) { // each sets its own `where` when it runs again
    w->ready |= *lanes;
    g.ready += __builtin_popcount(*lanes);
    *lanes = 0;
}
void wake_warp(int warp) {
    warp_state *w = &g.warps[warp];
    join_warp(warp);
    for (int l = 0; l < 32 && ~w->living; l++) {
        if (!(w->living >> l & 1)) w->brought[w->generation & 1][l] = 0xa5a5a5a5a5a5a5a5u;
    }
    wake(w, &w->waiting);
    w->generation++;
}
void wake_block(int block) {
    const int per = (int)blockDim.x / 32;
    join_block(block);
    for (int i = block * per; i < (block + 1) * per; i++) wake(&g.warps[i], &g.warps[i].at_barrier);
    g.blocks[block].arrived = 0;
}
const fiber *lane_of(int warp, uint32_t mask) {
    return &g.fibers[(size_t)warp * 32 + (size_t)__builtin_ctz(mask)];
}
const fiber *someone(int block, state where) { // of the block, who waits there or has ended
    const fiber *f = &g.fibers[(size_t)block * blockDim.x];
    for (unsigned t = 0; t < blockDim.x; t++) {
        const warp_state *w = &g.warps[f[t].warp];
        if (f[t].where == where && (where == ENDED || w->at_barrier >> t % 32 & 1)) return &f[t];
    }
    return f;
}
[[noreturn]] void wrong_collective(const fiber *f, unsigned mask, const site &here) {
    const warp_state *w = &g.warps[f->warp];
    if (w->waiting && !same(w->at, here)) diverged(f, here, lane_of(f->warp, w->waiting));
    if (w->at_barrier) diverged(f, here, lane_of(f->warp, w->at_barrier));
    if (w->returned) diverged(f, here, lane_of(f->warp, ~w->living));
    stop(3, "misuse: %s, at %s (%s:%d): the mask is %08x, not the whole warp", who(f->id).text,
         here.kind, base_name(here.file), here.line, mask);
}
// Returns when all lanes that live are here.
inline void collective(unsigned mask, const site &here) {
    fiber *f = g.now;
    warp_state *w = &g.warps[f->warp];
    if (mask != 0xffffffffu || w->at_barrier || w->returned || (w->waiting && !same(w->at, here))) {
        wrong_collective(f, mask, here);
    }
    if (!w->waiting) w->at = here;
    f->where = AT_COLLECTIVE;
    w->waiting |= 1u << (f->thread & 31);
    if (w->waiting == w->living) wake_warp(f->warp);
    leave();
    f->where = READY;
}
void end_thread(int returned) {
    fiber *f = g.now;
    warp_state *w = &g.warps[f->warp];
    block_state *b = &g.blocks[f->block];
    f->where = ENDED;
    w->living &= ~(1u << (f->thread & 31));
    g.alive--, b->alive--;
    g.changes++;
    if (returned) {
        w->returned = b->returned = 1;
        const fiber *o = w->waiting   ? lane_of(f->warp, w->waiting)
                         : b->arrived ? someone(f->block, AT_BARRIER)
                                      : 0;
        if (o) diverged(o, site_of(o), f);
    } else {
        b->exited = 1;
        if (w->waiting && w->waiting == w->living) wake_warp(f->warp);
        if (b->arrived && b->arrived == b->alive) wake_block(f->block);
    }
    for (size_t i = g.copies.size(); !b->alive && i-- > 0;) {
        if (g.copies[i].block != f->block) continue;
        if (!b->exited) misuse(f, "the block ends while copies into it are under way");
        g.copies.erase(g.copies.begin() + (long)i);
    }
    leave();
}
void fiber_start(void) {
    g.kernel(g.argument);
    end_thread(1);
}

// ---- races

enum { READ = 0, WRITE = 1, ATOMIC = 2, SLOTS = 6, ATOMIC_ID = 0x8000 };
struct cell { // of a word or a byte: 0 is its last write, 1.. are reads since; clock 0: none
    struct {
        uint32_t clock, pc;
    } a[SLOTS];
    uint16_t id[SLOTS]; // with ATOMIC_ID
    uint32_t split;     // of a word: its bytes have cells in use
};
extern "C" char __executable_start;

clocks *new_clocks(const clocks *like) {
    size_t bytes = sizeof(clocks) + (size_t)g.ids * sizeof(uint32_t);
    clocks *c = (clocks *)(like ? malloc(bytes) : calloc(1, bytes));
    if (!c) stop(3, "out of memory");
    if (like) memcpy(c, like, bytes);
    c->users = 1;
    return c;
}
void drop(clocks *c) {
    if (c && --c->users == 0) free(c);
}
__attribute__((optimize("O3"))) void join(clocks *a, const clocks *b) {
    for (int i = 0; i < g.ids; i++) a->at[i] = a->at[i] > b->at[i] ? a->at[i] : b->at[i];
}
__attribute__((optimize("O3"))) int within(const clocks *a, const clocks *b) {
    uint32_t more = 0;
    for (int i = 0; i < g.ids; i++) more |= a->at[i] > b->at[i];
    return !more;
}
// What f knows of id: through its base, and of its own warp through the last collective.
uint32_t known(const fiber *f, int id) {
    uint32_t k = f->base->at[id];
    if (id >> 5 == f->warp) k = std::max(k, g.warps[f->warp].row[id & 31]);
    return id == f->id ? f->clock : k;
}
void acquire(fiber *f, const clocks *c) {
    if (!c || within(c, f->base)) return;
    clocks *b = new_clocks(f->base);
    join(b, c);
    drop(f->base);
    f->base = b;
}
void release(fiber *f, clocks **c) { // the caller advances f's clock
    if (!*c) *c = new_clocks(0);
    join(*c, f->base);
    for (int i = f->warp * 32; i < f->warp * 32 + 32; i++) {
        (*c)->at[i] = std::max((*c)->at[i], known(f, i));
    }
}
// One base for fibers first .. first + n - 1; 0: they share one already.
clocks *joined(int first, int n) {
    clocks *all = 0, *last = g.fibers[first].base;
    for (int i = first; i < first + n; i++) {
        clocks *b = g.fibers[i].base;
        if (b == last || g.fibers[i].where == ENDED) continue;
        if (!all) all = new_clocks(last);
        join(all, last = b);
    }
    return all;
}
void take(fiber *f, clocks *base) {
    base->users++;
    drop(f->base);
    f->base = base;
}
void join_warp(int warp) {
    if (!g.racing) return;
    clocks *all = joined(warp * 32, 32);
    for (int l = 0; l < 32; l++) {
        fiber *f = &g.fibers[(size_t)warp * 32 + l];
        if (f->where == ENDED) continue;
        if (all) take(f, all);
        g.warps[warp].row[l] = f->clock++;
    }
    drop(all);
}
void join_block(int block) {
    if (!g.racing) return;
    int n = (int)blockDim.x, first = block * n;
    clocks *all = joined(first, n);
    if (!all) all = new_clocks(g.fibers[first].base);
    for (int i = first; i < first + n; i++) {
        if (g.fibers[i].where != ENDED) all->at[i] = g.fibers[i].clock++;
    }
    for (int i = first; i < first + n; i++) {
        if (g.fibers[i].where != ENDED) take(&g.fibers[i], all);
    }
    drop(all);
}
void host_sees(void) { // control returns to the host: what was released to it may come back
    if (!g.to_host) return;
    if (!g.from_host) g.from_host = new_clocks(0);
    join(g.from_host, g.to_host);
}

// "function at file:line" of a return address, by addr2line, then where it was inlined.
void symbol(uint32_t pc, char *text, size_t size) {
    char exe[400], command[600], line[400];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    snprintf(text, size, "at +0x%x", pc);
    snprintf(command, sizeof command,
             "addr2line -Cfips -e '%s' 0x%x 2>/dev/null | sed 's/ (discriminator [0-9]*)//'", exe,
             pc - 1);
    FILE *p = n > 0 ? popen(command, "r") : 0;
    size_t used = 0;
    while (p && fgets(line, sizeof line, p)) {
        line[strcspn(line, "\n")] = 0;
        const char *t = strstr(line, "(inlined by) ");
        t = t ? t + 13 : line;
        const char *open = strchr(t, '('), *at = strstr(t, " at "); // without the parameters
        char short_line[400];
        if (open && at && open < at) {
            snprintf(short_line, sizeof short_line, "%.*s%s", (int)(open - t), t, at);
            t = short_line;
        }
        if (used + strlen(t) + 8 > size) break;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? " in " : "", t);
    }
    if (p) pclose(p);
}
void place(const unsigned char *p, char *text, size_t size) {
    if (p < g.arena + SHARED_ALL) {
        long b = (p - g.arena) / STRIDE;
        long at = b < (long)g.blocks.size() ? p - g.blocks[b].shared : 0;
        snprintf(text, size, "shared memory of block %ld, offset %ld", b, at);
        return;
    }
    snprintf(text, size, "no allocation");
    for (size_t i = 0; i < g.allocations.size(); i++) {
        const allocation *a = &g.allocations[i];
        long at = p - a->at;
        if (at > -2 * PAGE && at < (long)a->bytes + PAGE) {
            snprintf(text, size, "global memory, allocation %zu (%zu bytes), offset %ld", i,
                     a->bytes, at);
        }
    }
}
// A pair of lines of code is told once; after EMU_RACES pairs, or at the end, the program stops.
void race(const cell *c, int k, int id, int kind, uint32_t pc, const unsigned char *p) {
    char where[200], one[400], two[400];
    static const char *const names[] = {"read", "write", "atomic read", "atomic"};
    if (!g.races.insert((uint64_t)c->a[k].pc << 32 | pc).second) return;
    place(p, where, sizeof where);
    symbol(c->a[k].pc, one, sizeof one);
    symbol(pc, two, sizeof two);
    fflush(stdout);
    fprintf(stderr, "emu: race: %s: %s by %s [%s], then %s by %s [%s]\n", where,
            names[(k == 0) | (c->id[k] & ATOMIC_ID ? ATOMIC : 0)], who(c->id[k] & ~ATOMIC_ID).text,
            one, names[kind], who(id).text, two);
    if (g.races.size() >= g.most_races) _exit(4);
    if (g.races.size() == 1) atexit([] { fflush(0), _exit(4); });
}
// What runs is f (for its copies: id is theirs), at clock.
void check(const cell *c, const fiber *f, int id, uint32_t clock, int kind, uint32_t pc,
           const unsigned char *p) {
    for (int k = 0; k < (kind & WRITE ? SLOTS : 1); k++) {
        int other = c->id[k] & ~ATOMIC_ID;
        if (!c->a[k].clock || other == f->id || (c->id[k] & ATOMIC_ID && kind & ATOMIC)) continue;
        if (other == id && c->a[k].clock == clock) continue;
        if (c->a[k].clock > known(f, other)) race(c, k, id, kind, pc, p);
    }
}
void record(cell *c, const fiber *f, int id, uint32_t clock, int kind, uint32_t pc) {
    int k = 0;
    if (kind & WRITE) {
        for (int i = 1; i < SLOTS; i++) c->a[i].clock = 0;
    } else { // a slot that is its own, free, or ordered before this read; else any
        int best = 0;
        for (int i = 1; i < SLOTS; i++) {
            int other = c->id[i] & ~ATOMIC_ID;
            if (c->a[i].clock && other == id) best = k = i;
            if (k == i) break;
            if (!best && (!c->a[i].clock || c->a[i].clock <= known(f, other))) best = i;
        }
        k = best ? best : 1 + (int)((id * 7 + clock + pc) % (SLOTS - 1));
    }
    c->a[k].clock = clock;
    c->a[k].pc = pc;
    c->id[k] = (uint16_t)(id | (kind & ATOMIC ? ATOMIC_ID : 0));
}
void touch_by(const fiber *f, int id, uint32_t clock, const void *at, size_t n, int kind,
              void *ra) {
    const unsigned char *p = (const unsigned char *)at;
    uint32_t pc = (uint32_t)((char *)ra - &__executable_start);
    size_t from = (size_t)(p - g.arena);
    if (from < SHARED_ALL && ((int)(from / STRIDE) != f->block || p < g.blocks[f->block].shared)) {
        char where[200], here[400];
        place(p, where, sizeof where);
        symbol(pc, here, sizeof here);
        stop(3, "out of bounds: %s [%s]: %s", who(f->id).text, here, where);
    }
    while (n > 0) {
        size_t offset = (size_t)(p - g.arena);
        cell *w = &g.words[offset / 4], *b = &g.bytes[offset];
        check(w, f, id, clock, kind, pc, p);
        if (offset % 4 || n < 4) {
            check(b, f, id, clock, kind, pc, p);
            record(b, f, id, clock, kind, pc);
            w->split = 1;
            p++, n--;
            continue;
        }
        for (int i = 0; w->split && i < 4; i++) {
            check(&b[i], f, id, clock, kind, pc, p + i);
            if (kind & WRITE) memset(&b[i], 0, sizeof b[i]);
        }
        if (kind & WRITE) w->split = 0;
        record(w, f, id, clock, kind, pc);
        p += 4, n -= 4;
    }
}
inline void touch(const void *p, size_t n, int kind, void *ra) {
    if (!g.now || (size_t)((const unsigned char *)p - g.arena) >= ARENA) return;
    touch_by(g.now, g.now->id, g.now->clock, p, n, kind, ra);
}
inline void touch_if_racing(const void *p, size_t n, int kind, void *ra) {
    if (g.racing) touch(p, n, kind, ra);
}
// Each ordinary store to [at, at + n) that f copies has a copies_fence of its thread behind it.
void check_fences(const fiber *f, const unsigned char *at, uint32_t n, void *ra) {
    for (const unsigned char *p = at; p < at + n; p++) {
        size_t offset = (size_t)(p - g.arena);
        const cell *w = &g.words[offset / 4];
        for (const cell *c : {w, w->split ? &g.bytes[offset] : w}) {
            int id = c->id[0] & ~ATOMIC_ID;
            if (!c->a[0].clock || id >= (int)g.fibers.size()) continue;
            const std::vector<uint32_t> &v = g.fibers[id].fences;
            auto after = id == f->id ? v.end() : std::lower_bound(v.begin(), v.end(), known(f, id));
            if (after != v.begin() && after[-1] >= c->a[0].clock) continue;
            char where[200], one[400], two[400];
            place(p, where, sizeof where);
            symbol(c->a[0].pc, one, sizeof one);
            symbol((uint32_t)((char *)ra - &__executable_start), two, sizeof two);
            stop(4, "missing proxy fence: %s: write by %s [%s], then copied by %s [%s]", where,
                 who(id).text, one, who(f->id).text, two);
        }
        if (!w->split) p += 3;
    }
}
} // namespace

// What code compiled with -fsanitize=thread calls.
#define HERE __builtin_return_address(0)
extern "C" {
void __tsan_init(void) { g.racing = 1; }
void __tsan_func_entry(void *) {}
void __tsan_func_exit(void) {}
void __tsan_read_range(void *p, size_t n) { touch(p, n, READ, HERE); }
void __tsan_write_range(void *p, size_t n) { touch(p, n, WRITE, HERE); }
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
void *__tsan_memcpy(void *to, const void *from, size_t n) {
    touch(from, n, READ, HERE), touch(to, n, WRITE, HERE);
    return memcpy(to, from, n);
}
void *__tsan_memmove(void *to, const void *from, size_t n) {
    touch(from, n, READ, HERE), touch(to, n, WRITE, HERE);
    return memmove(to, from, n);
}
void *__tsan_memset(void *p, int byte, size_t n) {
    touch(p, n, WRITE, HERE);
    return memset(p, byte, n);
}
#define SIZED(n)                                                                                   \
    void __tsan_read##n(void *p) { touch(p, n, READ, HERE); }                                      \
    void __tsan_write##n(void *p) { touch(p, n, WRITE, HERE); }                                    \
    void __tsan_unaligned_read##n(void *p) { touch(p, n, READ, HERE); }                            \
    void __tsan_unaligned_write##n(void *p) { touch(p, n, WRITE, HERE); }
SIZED(1)
SIZED(2)
SIZED(4)
SIZED(8)
SIZED(16)
#define FETCH(bits, name)                                                                          \
    uint##bits##_t __tsan_atomic##bits##_fetch_##name(volatile void *p, uint##bits##_t x, int) {   \
        return __atomic_fetch_##name((volatile uint##bits##_t *)p, x, __ATOMIC_SEQ_CST);           \
    }
#define ATOMICS(bits)                                                                              \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile void *p, int) {                       \
        return __atomic_load_n((const volatile uint##bits##_t *)p, __ATOMIC_SEQ_CST);              \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile void *p, uint##bits##_t x, int) {                    \
        __atomic_store_n((volatile uint##bits##_t *)p, x, __ATOMIC_SEQ_CST);                       \
    }                                                                                              \
    uint##bits##_t __tsan_atomic##bits##_exchange(volatile void *p, uint##bits##_t x, int) {       \
        return __atomic_exchange_n((volatile uint##bits##_t *)p, x, __ATOMIC_SEQ_CST);             \
    }                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile void *p, void *old,                 \
                                                      uint##bits##_t x, int, int) {                \
        return __atomic_compare_exchange_n((volatile uint##bits##_t *)p, (uint##bits##_t *)old, x, \
                                           0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                 \
    }                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile void *p, void *old, uint##bits##_t x, \
                                                    int, int) {                                    \
        return __tsan_atomic##bits##_compare_exchange_strong(p, old, x, 0, 0);                     \
    }                                                                                              \
    FETCH(bits, add) FETCH(bits, sub) FETCH(bits, and) FETCH(bits, or) FETCH(bits, xor)
ATOMICS(8) ATOMICS(16) ATOMICS(32) ATOMICS(64) void __tsan_atomic_thread_fence(int) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) {}
}

// ---- barriers and collectives that kernels call

void __syncthreads(const char *file, int line) {
    fiber *f = g.now;
    block_state *b = &g.blocks[f->block];
    warp_state *w = &g.warps[f->warp];
    const site here = {"__syncthreads", file, line};
    if (b->arrived && !same(b->at, here)) diverged(f, here, someone(f->block, AT_BARRIER));
    if (b->returned) diverged(f, here, someone(f->block, ENDED));
    if (w->waiting) diverged(f, here, lane_of(f->warp, w->waiting));
    b->at = here;
    f->where = AT_BARRIER;
    w->at_barrier |= 1u << (f->thread & 31);
    if (++b->arrived == b->alive) wake_block(f->block);
    leave();
    f->where = READY;
}
void __syncwarp(unsigned mask, const char *file, int line) {
    collective(mask, {"__syncwarp", file, line});
}
const uint64_t *emu_exchange(uint64_t mine, unsigned mask, const char *kind, const char *file,
                             int line) {
    warp_state *w = &g.warps[g.now->warp];
    uint64_t *all = w->brought[w->generation & 1];
    all[emu_lane()] = mine;
    collective(mask, {kind, file, line});
    return all;
}
unsigned __ballot_sync(unsigned mask, int x, const char *file, int line) {
    const uint64_t *all = emu_exchange(x != 0, mask, "a vote", file, line);
    unsigned bits = 0;
    for (int l = 0; l < 32; l++) bits |= (all[l] == 1 ? 1u : 0u) << l; // a lane that left: neither
    return bits;
}
void mma_s8(int32_t c[4], uint32_t a0, uint32_t a1, uint32_t b, const char *file, int line) {
    warp_state *w = &g.warps[g.now->warp];
    uint64_t *bs = w->more[w->generation & 1];
    const unsigned lane = emu_lane(), row = lane / 4 * 4, column = lane % 4 * 8;
    bs[lane] = b;
    const uint64_t *as = emu_exchange((uint64_t)a1 << 32 | a0, 0xffffffffu, "mma_s8", file, line);
    for (unsigned i = 0; i < 4; i++) { // rows of a: lanes row + k; columns of b: lanes column + k
        for (unsigned k = 0; k < 4; k++) {
            c[i] = __dp4a((int)(as[row + k] >> (i < 2 ? 0 : 32)), (int)bs[column + i % 2 * 4 + k],
                          c[i]);
        }
    }
}

// ---- words that order memory, and time

static void count_poll(int kind, const site &here) {
    fiber *f = g.now;
    f->polls |= kind;
    f->waits = here;
    if (++f->turns > 1000000) misuse(f, "polls again and again without spin_pause");
}
static uint32_t load(const uint32_t *p, int kind, const site &here, void *ra) {
    maybe_yield();
    count_poll(kind, here);
    if (g.racing) {
        auto r = g.released.find(p);
        if (r != g.released.end()) acquire(g.now, r->second);
        if (kind == POLL_SYSTEM) acquire(g.now, g.from_host);
        touch(p, 4, READ | ATOMIC, ra);
    }
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
uint32_t load_acquire(const uint32_t *p, const char *file, int line) {
    return load(p, POLL_DEVICE, {"load_acquire", file, line}, HERE);
}
uint32_t load_acquire_system(const uint32_t *p, const char *file, int line) {
    return load(p, POLL_SYSTEM, {"load_acquire_system", file, line}, HERE);
}
uint32_t add_release(uint32_t *p, uint32_t x) {
    maybe_yield();
    g.changes++;
    if (g.racing) {
        acquire(g.now, g.released[p]);
        touch(p, 4, WRITE | ATOMIC, HERE);
        release(g.now, &g.released[p]);
        g.now->clock++;
    }
    return __atomic_fetch_add(p, x, __ATOMIC_ACQ_REL);
}
void store_release_system(uint32_t *p, uint32_t x) {
    maybe_yield();
    g.changes++;
    if (g.racing) {
        touch(p, 4, WRITE | ATOMIC, HERE);
        release(g.now, &g.released[p]);
        release(g.now, &g.to_host);
        g.now->clock++;
    }
    __atomic_store_n(p, x, __ATOMIC_RELEASE);
}
// A relaxed atomic publishes what came before the last __threadfence; what it saw becomes known at
// the next one.
static void relaxed(void *p, size_t n, void *ra) {
    fiber *f = g.now;
    maybe_yield();
    g.changes++;
    if (!g.racing) return;
    touch(p, n, WRITE | ATOMIC, ra);
    auto r = g.released.find(p);
    if (r != g.released.end()) {
        if (!f->pending) f->pending = new_clocks(0);
        join(f->pending, r->second);
    }
    if (!f->fence) return;
    clocks **c = &g.released[p];
    if (!*c) *c = new_clocks(0);
    join(*c, f->fence);
}
void __threadfence(void) {
    fiber *f = g.now;
    if (!g.racing) return;
    acquire(f, f->pending);
    drop(f->pending);
    drop(f->fence);
    f->pending = f->fence = 0;
    release(f, &f->fence);
    f->clock++;
}
unsigned long long atomicAdd(unsigned long long *p, unsigned long long x) {
    relaxed(p, 8, HERE);
    return __atomic_fetch_add(p, x, __ATOMIC_RELAXED);
}
unsigned atomicAdd(unsigned *p, unsigned x) {
    relaxed(p, 4, HERE);
    return __atomic_fetch_add(p, x, __ATOMIC_RELAXED);
}
int atomicMin(int *p, int x) {
    relaxed(p, 4, HERE);
    int old = *p;
    if (x < old) *p = x;
    return old;
}
int atomicMax(int *p, int x) {
    relaxed(p, 4, HERE);
    int old = *p;
    if (x > old) *p = x;
    return old;
}
uint64_t nanoseconds(void) { return g.time; }
void spin_pause(void) {
    fiber *f = g.now;
    f->where = POLLING;
    g.polling++;
    f->turns = 0;
    leave();
    f->polls = 0;
}
void thread_exit(void) { end_thread(0); }

// ---- copies

unsigned char *shared_memory(void) { return g.blocks[g.now->block].shared; }
static int find_bar(uint64_t *at, const site &here) {
    g.now->waits = here;
    std::vector<bar_state> &bars = g.blocks[g.now->block].bars;
    for (size_t i = 0; i < bars.size(); i++) {
        if (bars[i].at == at) return (int)i;
    }
    misuse(g.now, "a barrier that copies_open has not made");
}
static int in_shared(const void *p, size_t n) {
    const unsigned char *s = shared_memory(), *at = (const unsigned char *)p;
    return at >= s && n <= g.shared && at <= s + g.shared - n;
}
void copies_open(uint64_t *at, const char *file, int line) {
    fiber *f = g.now;
    f->waits = {"copies_open", file, line};
    std::vector<bar_state> &bars = g.blocks[f->block].bars;
    if (!in_shared(at, 8) || (uintptr_t)at % 8) misuse(f, "not in shared memory");
    touch_if_racing(at, 8, WRITE, HERE);
    *at = 0xa5a5a5a5a5a5a5a5u; // nobody may read it
    size_t i = 0;
    while (i < bars.size() && bars[i].at != at) i++;
    if (i == bars.size()) bars.push_back(bar_state()), bars[i].at = at;
    if (bars[i].flying) misuse(f, "a barrier whose copies are under way");
    bars[i].phase = 0, bars[i].arrivals = 1, bars[i].bytes = 0;
    bars[i].opener = f->id, bars[i].fenced = 0;
}
void copies_fence(void) {
    fiber *f = g.now;
    for (bar_state &b : g.blocks[f->block].bars) b.fenced |= b.opener == f->id;
    if (g.racing) f->fences.push_back(f->clock++);
}
static void complete(bar_state *b) {
    if (b->arrivals || b->bytes) return;
    b->phase++, b->tick++;
    b->arrivals = 1;
    g.changes++;
    if (!g.racing || !b->next) return;
    if (!b->done) b->done = new_clocks(0);
    join(b->done, b->next);
}
void copies_expect(uint64_t *at, uint32_t bytes, const char *file, int line) {
    fiber *f = g.now;
    maybe_yield();
    bar_state *b = &g.blocks[f->block].bars[find_bar(at, {"copies_expect", file, line})];
    if (!b->fenced) misuse(f, "no copies_fence after copies_open");
    if (!b->arrivals) misuse(f, "again, before the barrier's phase is complete");
    if (bytes >= 1 << 20) misuse(f, "2^20 bytes or more");
    touch_if_racing(at, 8, WRITE | ATOMIC, HERE);
    if (g.racing) release(f, &b->next), f->clock++;
    g.changes++;
    b->arrivals = 0;
    b->bytes += bytes;
    if (b->bytes < 0) misuse(f, "more bytes have landed than copies_expect says");
    complete(b);
}
static const allocation *holds(const void *p, size_t n) {
    const unsigned char *at = (const unsigned char *)p;
    for (const allocation &a : g.allocations) {
        if (at >= a.at && n <= a.bytes && at <= a.at + a.bytes - n) return &a;
    }
    return 0;
}
namespace {
void land(size_t index) {
    copy c = g.copies[index];
    g.copies.erase(g.copies.begin() + (long)index);
    bar_state *b = &g.blocks[c.block].bars[c.bar];
    memcpy(c.to, g.at_issue ? c.data.data() : c.from, c.bytes);
    b->flying--;
    b->bytes -= c.bytes;
    if (!b->arrivals && b->bytes < 0) {
        stop(3, "misuse: block %d: more bytes have landed than copies_expect says", c.block);
    }
    g.changes++;
    complete(b);
}
} // namespace
void copies_start(void *to, const void *from, uint32_t bytes, uint64_t *at, const char *file,
                  int line) {
    fiber *f = g.now;
    maybe_yield();
    int bar = find_bar(at, {"copies_start", file, line});
    bar_state *b = &g.blocks[f->block].bars[bar];
    const unsigned char *source = (const unsigned char *)from;
    if (((uintptr_t)to | (uintptr_t)from | bytes) % 16) {
        misuse(f, "target, source and bytes are not all multiples of 16");
    }
    if (!b->fenced) misuse(f, "no copies_fence after copies_open");
    if (!in_shared(to, bytes)) misuse(f, "the target is outside of shared memory");
    if (!holds(from, bytes)) misuse(f, "the source is outside of an allocation");
    touch_if_racing(at, 8, WRITE | ATOMIC, HERE);
    if (g.racing) {
        int id = (int)g.fibers.size() + f->block * BARS + bar % BARS;
        check_fences(f, source, bytes, HERE);
        if (g.strict) check_fences(f, (unsigned char *)to, bytes, HERE);
        touch_by(f, id, b->tick + 1, from, bytes, READ, HERE);
        touch_by(f, id, b->tick + 1, to, bytes, WRITE, HERE);
        if (!b->next) b->next = new_clocks(0);
        b->next->at[id] = std::max(b->next->at[id], b->tick + 1);
    }
    g.changes++;
    b->flying++;
    g.copies.push_back({(unsigned char *)to, source, bytes, f->block, bar, {}});
    if (g.at_issue) g.copies.back().data.assign(source, source + bytes);
    if (g.garbage) memset(to, 0xa5, bytes);
    if (g.landing == AT_ONCE) land(g.copies.size() - 1);
}
int copies_landed(uint64_t *at, uint32_t parity, const char *file, int line) {
    maybe_yield();
    fiber *f = g.now;
    int bar = find_bar(at, {"copies_landed", file, line});
    const bar_state *b = &g.blocks[f->block].bars[bar];
    if (parity > 1) misuse(f, "the parity is 0 or 1");
    touch_if_racing(at, 8, READ | ATOMIC, HERE);
    count_poll(POLL_COPIES, f->waits);
    f->polled_bar = bar;
    if (!((b->phase ^ parity) & 1)) return 0;
    if (g.racing) acquire(f, b->done);
    return 1;
}

// ---- the host's side

struct emu_stream {
    int unused;
};
static uint64_t number(const char *name, uint64_t otherwise) {
    const char *s = getenv(name);
    return s && *s ? strtoull(s, 0, 10) : otherwise;
}
static void on_fault(int, siginfo_t *info, void *) {
    char where[200];
    place((const unsigned char *)info->si_addr, where, sizeof where);
    if (!g.now) stop(3, "out of bounds: the host, at %p: %s", info->si_addr, where);
    stop(3, "out of bounds: %s, at %p: %s", who(g.now->id).text, info->si_addr, where);
}
static void start_emulator(void) { // once
    if (g.arena) return;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    g.arena = (unsigned char *)mmap(0, ARENA, PROT_NONE, flags, -1, 0);
    if (g.arena == MAP_FAILED) stop(3, "no address space");
    g.top = g.arena + SHARED_ALL + PAGE;
    if (g.racing) { // a cell for each word and for each byte; pages come as they are touched
        size_t size = (ARENA / 4 + ARENA) * sizeof(cell);
        g.words = (cell *)mmap(0, size, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (g.words == MAP_FAILED) stop(3, "no address space for the race check");
        g.bytes = g.words + ARENA / 4;
    }
    g.most = number("EMU_MEMORY", (uint64_t)4 << 30);
    g.sms = (int)number("EMU_SMS", 4);
    g.timeout = (int)number("EMU_TIMEOUT", 0);
    g.strict = (int)number("EMU_STRICT", 0);
    g.most_races = number("EMU_RACES", 1);
    g.most_rests = (int)number("EMU_IDLE", 0) * 10 + 1000;
    g.seed = number("EMU_SEED", 0);
    g.random = g.seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    for (int i = 0; i < 8; i++) draw(2);
    g.kind = g.seed ? (int)((g.seed - 1) % KINDS) : ROUND_ROBIN;
    g.favourite = g.seed ? (int)draw(1024) : 0;
    g.landing = g.seed ? (int)draw(3) : LATE;
    g.at_issue = g.seed ? (int)draw(2) : 0;
    g.garbage = g.seed ? draw(4) != 0 : 1;
    static unsigned char stack[64 << 10];
    stack_t alternate = {stack, 0, sizeof stack};
    struct sigaction action = {};
    sigaltstack(&alternate, 0);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGBUS, &action, 0);
}
static cudaError_t say(cudaError_t e) { return e ? g.last = e : e; }
static void run_to_end(const char *what) { // as a call on the kernel's stream would wait
    while (g.alive) {
        g.budget = UINT64_MAX;
        g.idle = g.waits_for_host = 0;
        leave();
        if (g.waits_for_host) {
            char why[200];
            snprintf(why, sizeof why, "the host is in %s, the kernel waits for the host", what);
            deadlock(why);
        }
    }
}
void emu_host_wait(void) {
    uint64_t before = g.changes;
    if (!g.alive) return;
    g.budget = 20000;
    if (g.waits_for_host) g.idle = g.waits_for_host = 0; // else nothing that the host does helps
    leave();
    g.rests = g.waits_for_host && g.changes == before ? g.rests + 1 : 0;
    if (g.rests > g.most_rests && g.most_rests > 1000) deadlock("the kernel waits for the host");
    if (g.rests > 1000) usleep(100);
}

cudaError_t emu_allocate(void **p, size_t bytes, int device) {
    start_emulator();
    size_t room = (bytes + 255) / 256 * 256, span = (room + PAGE - 1) / PAGE * PAGE;
    if (!bytes) return *p = 0, cudaSuccess;
    if (g.top + span + 2 * PAGE > g.arena + ARENA || span < bytes ||
        (device && (bytes > g.most || g.used > g.most - bytes))) {
        return say(cudaErrorMemoryAllocation);
    }
    if (mprotect(g.top, span, PROT_READ | PROT_WRITE)) return say(cudaErrorMemoryAllocation);
    *p = g.top + span - room; // so that its end is the guard page's start, or nearly
    memset(*p, 0xa5, std::min(bytes, (size_t)64 << 20));
    g.allocations.push_back({(unsigned char *)*p, bytes, span, device});
    g.top += span + PAGE;
    if (device) g.used += bytes;
    return cudaSuccess;
}
static cudaError_t release_memory(void *p, int device) {
    if (!p) return cudaSuccess;
    run_to_end(device ? "cudaFree" : "cudaFreeHost");
    for (allocation &a : g.allocations) {
        if (a.at != p || !a.span || a.device != device) continue;
        unsigned char *page = (unsigned char *)((uintptr_t)p / PAGE * PAGE);
        madvise(page, a.span, MADV_DONTNEED);
        mprotect(page, a.span, PROT_NONE);
        if (device) g.used -= a.bytes;
        a.span = a.bytes = 0;
        return cudaSuccess;
    }
    return say(cudaErrorInvalidValue);
}
cudaError_t cudaFree(void *p) { return release_memory(p, 1); }
cudaError_t cudaFreeHost(void *p) { return release_memory(p, 0); }

cudaError_t emu_shared_limit(const void *kernel, cudaFuncAttribute a, int bytes) {
    if (a != cudaFuncAttributeMaxDynamicSharedMemorySize || bytes > SHARED_MOST) {
        return say(cudaErrorInvalidValue);
    }
    g.shared_limits[kernel] = bytes;
    return cudaSuccess;
}
cudaError_t emu_occupancy(int *blocks, int threads, size_t shared) {
    *blocks = threads >= 32 && threads <= 1024 && shared <= SHARED_MOST ? 1 : 0;
    return cudaSuccess;
}
static void new_block(int b) {
    unsigned char *start = g.arena + (size_t)b * STRIDE, *end = start + STRIDE - PAGE;
    size_t room = (g.shared + 127) / 128 * 128, span = (room + PAGE - 1) / PAGE * PAGE;
    mprotect(start, STRIDE, PROT_NONE);
    if (span && mprotect(end - span, span, PROT_READ | PROT_WRITE)) stop(3, "out of memory");
    memset(end - span, 0xa5, span);
    g.blocks[b].shared = end - room;
    g.blocks[b].alive = (int)blockDim.x;
}
static void new_fiber(int id) {
    fiber *f = &g.fibers[id];
    if ((size_t)id >= g.stacks.size()) {
        void *s = mmap(0, STACK + 2 * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (s == MAP_FAILED || mprotect(s, PAGE, PROT_NONE)) stop(3, "no memory for stacks");
        g.stacks.push_back(s);
    }
    // the tops lie on different cache sets: threads of a warp touch theirs in turn
    f->sp = new_context((unsigned char *)g.stacks[id] + 2 * PAGE - id % 32 * 128);
    f->id = id;
    f->block = id / (int)blockDim.x;
    f->thread = id % (int)blockDim.x;
    f->warp = id / 32;
    f->clock = 1;
    if (g.racing) f->base = new_clocks(0);
    make_ready(f);
}
cudaError_t emu_launch(const void *kernel, dim3 grid, dim3 block, void **args, size_t shared,
                       cudaStream_t s) {
    start_emulator();
    run_to_end("cudaLaunchCooperativeKernel");
    size_t limit = g.shared_limits.count(kernel) ? (size_t)g.shared_limits[kernel] : 48 << 10;
    if (!block.x || block.x % 32 || block.x > 1024 || block.y * block.z * grid.y * grid.z != 1 ||
        !grid.x || grid.x > BLOCKS || grid.x * block.x + grid.x * BARS >= ATOMIC_ID ||
        shared > std::max(limit, (size_t)48 << 10)) {
        return say(cudaErrorInvalidValue);
    }
    if (grid.x > (unsigned)g.sms) return say(cudaErrorCooperativeLaunchTooLarge);
    blockDim = block, gridDim = grid;
    for (fiber &f : g.fibers) drop(f.base), drop(f.fence), drop(f.pending);
    for (block_state &b : g.blocks) {
        for (bar_state &x : b.bars) drop(x.next), drop(x.done);
    }
    for (auto &r : g.released) drop(r.second);
    g.released.clear();
    drop(g.to_host), drop(g.from_host);
    g.to_host = g.from_host = 0;
    g.ids = (int)((grid.x * block.x + grid.x * BARS + 7) / 8 * 8);
    if (g.racing) madvise(g.words, (ARENA / 4 + ARENA) * sizeof(cell), MADV_DONTNEED);
    g.kernel = (void (*)(void *))kernel;
    g.argument = *(void **)args[0];
    g.stream = s;
    g.shared = shared;
    g.copies.clear();
    g.fibers.assign((size_t)grid.x * block.x, fiber());
    g.warps.assign(g.fibers.size() / 32, warp_state());
    g.blocks.assign(grid.x, block_state());
    g.alive = (int)g.fibers.size();
    g.ready = g.polling = g.cursor = 0;
    for (warp_state &w : g.warps) w.living = 0xffffffffu;
    for (int b = 0; b < (int)grid.x; b++) new_block(b);
    for (int i = 0; i < g.alive; i++) new_fiber(i);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind, cudaStream_t s) {
    if (g.alive && s == g.stream) run_to_end("cudaMemcpyAsync");
    memmove(to, from, n);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *p, int byte, size_t n, cudaStream_t s) {
    if (g.alive && s == g.stream) run_to_end("cudaMemsetAsync");
    memset(p, byte, n);
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind kind) {
    return cudaMemcpyAsync(to, from, n, kind, 0);
}
cudaError_t cudaMemset(void *p, int byte, size_t n) { return cudaMemsetAsync(p, byte, n, 0); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    *s = new emu_stream();
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    if (g.alive && s == g.stream) run_to_end("cudaStreamSynchronize");
    return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t s) {
    return g.alive && s == g.stream ? cudaErrorNotReady : cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    cudaStreamSynchronize(s);
    delete s;
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
    run_to_end("cudaDeviceSynchronize");
    return cudaSuccess;
}
cudaError_t cudaGetLastError(void) {
    cudaError_t e = g.last;
    g.last = cudaSuccess;
    return e;
}
const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorCooperativeLaunchTooLarge: return "too many blocks in cooperative launch";
    }
    return "unknown error";
}
cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return say(device ? cudaErrorInvalidDevice : cudaSuccess); }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
    start_emulator();
    if (device) return say(cudaErrorInvalidDevice);
    *p = cudaDeviceProp();
    snprintf(p->name, sizeof p->name, "emulator");
    p->multiProcessorCount = g.sms;
    p->major = 9, p->cooperativeLaunch = 1;
    p->sharedMemPerBlockOptin = (size_t)number("EMU_SHARED", SHARED_MOST);
    p->totalGlobalMem = g.most;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version) { return *version = 0, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = 0, cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    start_emulator();
    *total = g.most;
    *free_bytes = g.most - g.used;
    return cudaSuccess;
}
