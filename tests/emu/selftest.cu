// selftest.cu - kernels for emu.cpp itself, compiled like the real ones. Each argument names a
// check to run (none: all but speed); it prints one line "ok NAME" or "FAIL NAME". With -DMUTANT=n
// one line that a kernel needs is missing, and the emulator must say so.
//
//   1 __syncthreads between a write and its readers    2 __syncwarp before a ring slot is refilled
//   3 copies_landed before the copy is read            4 __syncthreads that half of a block skips
//   5 a grid barrier that one block skips              6 copies_fence after a change of the source
//   7 a target of a copy that is not at 16 bytes       8 a shuffle that one lane skips
//   9 a write past the end of shared memory           10 copies_fence after copies_open
//  11 the barrier behind what another block reads     12 a thread that returns before a barrier
//  13 copies_fence between stores to shared memory and a copy over them (EMU_STRICT)
//  14 the word that all threads wait for (while the host polls)
#include "../../kernels/device.cuh"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef MUTANT
#define MUTANT 0
#endif
enum { THREADS = 128, SLOTS = 3, SLOT = 512, ROUNDS = 10, ROW = ROUNDS * SLOT, MOST_BLOCKS = 4 };

struct job {
    uint32_t arrived, turn;  // grid barrier: arrivals since the launch
    uint32_t *post, *answer; // mapped words: the host's generation, the device's
    const uint32_t *work;    // mapped: what the host posts
    uint32_t *result;        // mapped
    uint32_t barriers;       // how many to run
    uint32_t out[MOST_BLOCKS * THREADS];
    int32_t mma[4 * 32 * 4];       // of each warp, [4][32 lanes][4]
    uint32_t fragment[4 * 32 * 3]; // [4][32][a0, a1, b]
    unsigned long long sum;
    int least, most;
    uint64_t patience; // ns
    uint32_t late;     // threads that gave up
    alignas(16) unsigned char rows[MOST_BLOCKS * ROW];
};

DEV void grid_barrier(job *j, uint32_t turn) {
    __syncthreads();
    if (threadIdx.x == 0) {
        uint64_t end = nanoseconds() + j->patience;
        add_release(&j->arrived, 1);
        while (load_acquire(&j->arrived) < turn * gridDim.x) {
            if (nanoseconds() > end) {
                atomicAdd(&j->late, 1u);
                thread_exit();
            }
            spin_pause();
        }
    }
    __syncthreads();
}

DEV uint32_t warp_sum(uint32_t x) {
    for (int m = 16; m > 0; m /= 2) x += __shfl_xor_sync(0xffffffffu, x, m);
    return x;
}

// How many of a lane's shuffles are wrong; each type that a kernel may move.
DEV uint32_t wrong_shuffles(void) {
    const int lane = (int)threadIdx.x % 32;
    const int64_t wide = -((int64_t)lane << 40) - 1;
    uint32_t wrong = __shfl_xor_sync(0xffffffffu, -lane, 5) != -(lane ^ 5);
    wrong += __shfl_xor_sync(0xffffffffu, (float)lane + 0.5f, 31) != (float)(lane ^ 31) + 0.5f;
    wrong += __shfl_sync(0xffffffffu, wide, lane + 1) != -((int64_t)((lane + 1) % 32) << 40) - 1;
    wrong += __shfl_sync(0xffffffffu, (uint64_t)wide, 9) != (uint64_t)(-(9ll << 40) - 1);
    wrong += __any_sync(0xffffffffu, lane == 13) != 1 || __any_sync(0xffffffffu, lane == 32) != 0;
    wrong += __all_sync(0xffffffffu, lane != 13) != 0;
    return wrong;
}

// out[thread]: sum over the block of (thread + 1)^2, by shuffles and shared memory.
__global__ void __launch_bounds__(THREADS, 1) reduce(job *j) {
    uint32_t *s = (uint32_t *)shared_memory();
    uint32_t x = (threadIdx.x + 1) * (threadIdx.x + 1);
#if MUTANT == 8
    if (threadIdx.x == 5) { // as if its lane were elsewhere
        __syncwarp();
        x = 0;
    } else
#endif
        x = warp_sum(x);
    if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = x;
#if MUTANT == 4
    if (threadIdx.x < 64)
        __syncthreads();
    else
        __syncwarp();
    if (threadIdx.x >= 64) __syncthreads();
#elif MUTANT == 12
    if (threadIdx.x == 77) return;
    __syncthreads();
#elif MUTANT != 1
    __syncthreads();
#endif
    uint32_t sum = 0;
    for (int w = 0; w < THREADS / 32; w++) sum += s[w];
#if MUTANT == 9
    s[1024 / 4 + threadIdx.x] = sum;
#endif
    j->out[blockIdx.x * THREADS + threadIdx.x] = sum + __ballot_sync(0xffffffffu, sum & 1) +
                                                 (uint32_t)__shfl_sync(0xffffffffu, (int)sum, 7) +
                                                 (uint32_t)__all_sync(0xffffffffu, sum > 1);
    atomicAdd(&j->late, wrong_shuffles());
    atomicAdd(&j->sum, (unsigned long long)threadIdx.x << 32);
    atomicMin(&j->least, -(int)threadIdx.x);
    atomicMax(&j->most, (int)(blockIdx.x * THREADS + threadIdx.x));
}

PHASE void multiply(job *j, unsigned warp, unsigned lane) {
    const uint32_t *f = &j->fragment[(warp * 32 + lane) * 3];
    int32_t c[4] = {1, 2, -3, 1 << 30};
    mma_s8(c, f[0], f[1], f[2]);
    mma_s8(c, f[1], f[0], f[2]);
    for (int i = 0; i < 4; i++) j->mma[(warp * 32 + lane) * 4 + i] = c[i];
}
__global__ void products(job *j) {
    if (blockIdx.x == 0) multiply(j, threadIdx.x / 32, threadIdx.x % 32);
}

// Each warp streams a quarter of its block's row through a ring of its own; then the block changes
// the row in place and streams it again. out[thread] is the sum of all bytes that its lane read.
DEV uint32_t stream_row(job *j, unsigned char *ring, uint64_t *bars, uint32_t *count) {
    const unsigned lane = threadIdx.x % 32, part = SLOT / 4;
    const unsigned char *row = j->rows + blockIdx.x * ROW + threadIdx.x / 32 * (ROW / 4);
    uint32_t sum = 0, n = *count;
    for (int i = 0; i < ROUNDS + SLOTS; i++) {
        if (i >= SLOTS) { // read part i - SLOTS
            uint32_t k = n + (uint32_t)i - SLOTS, slot = k % SLOTS;
#if MUTANT == 3
            if (i != 7)
#endif
                while (!copies_landed(&bars[slot], k / SLOTS & 1)) spin_pause();
            sum += ((const uint32_t *)(ring + slot * part))[lane] * (k + 1);
#if MUTANT != 2
            __syncwarp();
#endif
        }
        if (i < ROUNDS && lane == 0) {
            uint32_t slot = (n + (uint32_t)i) % SLOTS;
            copies_expect(&bars[slot], part);
            copies_start(ring + slot * part + (MUTANT == 7 ? 8 : 0), row + (unsigned)i * part, part,
                         &bars[slot]);
        }
    }
    *count = n + ROUNDS;
    return sum;
}
__global__ void ring(job *j) {
    unsigned char *s = shared_memory();
    const unsigned warp = threadIdx.x / 32;
    uint64_t *bars = (uint64_t *)s + warp * SLOTS;
    unsigned char *mine = s + 128 + warp * (SLOTS * (SLOT / 4));
    uint32_t count = 0;
    for (unsigned i = threadIdx.x % 32; i < SLOTS * (SLOT / 4); i += 32) mine[i] = 0;
    if (MUTANT != 13) copies_fence();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        for (int i = 0; i < SLOTS; i++) copies_open(&bars[i]);
        if (MUTANT != 10) copies_fence();
    }
    __syncwarp();
    uint32_t sum = stream_row(j, mine, bars, &count);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < ROW; i += THREADS) j->rows[blockIdx.x * ROW + i] ^= 0x5a;
    if (MUTANT != 6) copies_fence();
    __syncthreads();
    sum = sum * 31 + stream_row(j, mine, bars, &count);
    j->out[blockIdx.x * THREADS + threadIdx.x] = sum;
}

// Each block writes a word a turn and reads its neighbour's of the same turn.
__global__ void turns(job *j) {
    uint32_t sum = 0, turn = 0;
    for (uint32_t i = 0; i < j->barriers; i++) {
#if MUTANT == 11
        if (threadIdx.x == 0) j->out[blockIdx.x] = i * 3 + blockIdx.x;
        __syncthreads();
        (void)turn;
#else
        if (threadIdx.x == 0) j->out[blockIdx.x] = i * 3 + blockIdx.x;
        if (MUTANT != 5 || blockIdx.x != 1 || i != 3) grid_barrier(j, ++turn);
#endif
        sum += j->out[(blockIdx.x + 1) % gridDim.x];
#if MUTANT != 11
        grid_barrier(j, ++turn);
#endif
    }
    j->out[blockIdx.x * THREADS + threadIdx.x] = sum;
}

// Until work is 0: block 0 takes it from the mailbox, each thread of the grid adds work * id.
__global__ void serve(job *j) {
    uint32_t turn = 0, seen = 0;
    for (;;) {
        if (blockIdx.x == 0 && threadIdx.x == 0) {
            while (load_acquire_system(j->post) == seen) spin_pause();
            j->turn = *(const volatile uint32_t *)j->work;
        }
        seen++;
        grid_barrier(j, ++turn);
        uint32_t work = j->turn;
        if (work == 0) return;
        uint32_t sum = warp_sum(work * (blockIdx.x * THREADS + threadIdx.x));
        if (threadIdx.x % 32 == 0) atomicAdd(&j->sum, (unsigned long long)sum);
        while (MUTANT == 14 && load_acquire(&j->arrived) != 0) spin_pause();
        grid_barrier(j, ++turn);
        if (blockIdx.x == 0 && threadIdx.x == 0) {
            *j->result = (uint32_t)j->sum;
            store_release_system(j->answer, seen);
        }
    }
}

// ---- the host

static void require(cudaError_t e, const char *what) {
    if (e == cudaSuccess) return;
    printf("FAIL %s: %s\n", what, cudaGetErrorString(e));
    exit(1);
}
static uint32_t random_word(void) {
    static uint64_t x = 88172645463325252u;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return (uint32_t)(x >> 16);
}
static job *device_job, *host;
static cudaStream_t stream, other;
static const unsigned blocks = 3;

template <class T> static void launch(T *kernel, size_t shared) {
    void *args[] = {&device_job};
    require(cudaMemcpyAsync(device_job, host, sizeof *host, cudaMemcpyHostToDevice, other), "copy");
    require(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 65536),
            "attr");
    require(cudaLaunchCooperativeKernel(kernel, dim3(blocks), dim3(THREADS), args, shared, stream),
            "launch");
}
static void finish(void) {
    require(cudaStreamSynchronize(stream), "synchronize");
    require(cudaMemcpy(host, device_job, sizeof *host, cudaMemcpyDeviceToHost), "copy back");
}
static int failures;
static void say(const char *name, int good) {
    uint32_t digest = 0; // of wrong results, to tell one from another
    for (uint32_t x : host->out) digest = digest * 31 + x;
    if (good)
        printf("ok %s\n", name);
    else
        printf("FAIL %s: digest %08x, %u gave up\n", name, digest, host->late);
    failures += !good;
}

static void check_reduce(void) {
    uint32_t sum = 0;
    int good = 1;
    for (uint32_t t = 1; t <= THREADS; t++) sum += t * t;
    sum = sum + (sum & 1 ? 0xffffffffu : 0) + sum + 1;
    launch(reduce, 1024);
    finish();
    for (unsigned i = 0; i < blocks * THREADS; i++) good &= host->out[i] == sum;
    good &= host->sum == (unsigned long long)blocks * (THREADS * (THREADS - 1) / 2) << 32;
    good &= host->least == 1 - THREADS && host->most == (int)blocks * THREADS - 1;
    say("reduce", good && host->late == 0);
}
static int32_t byte_of(uint32_t word, unsigned i) { return (int8_t)(word >> 8 * i); }
static void check_products(void) {
    int good = 1;
    for (uint32_t &x : host->fragment) x = random_word();
    launch(products, 0);
    finish();
    for (int w = 0; w < 4; w++) {
        const uint32_t(*f)[3] = (const uint32_t(*)[3]) & host->fragment[w * 96];
        int32_t a[16][16], b[16][8];
        for (int i = 0; i < 16; i++) {
            for (int k = 0; k < 16; k++) a[i][k] = byte_of(f[i % 8 * 4 + k / 4][i / 8], k % 4);
            for (int n = 0; n < 8; n++) b[i][n] = byte_of(f[n * 4 + i / 4][2], i % 4);
        }
        for (int l = 0; l < 32; l++) {
            for (int i = 0; i < 4; i++) {
                static const int32_t start[4] = {1, 2, -3, 1 << 30};
                int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
                int32_t c = start[i];
                for (int k = 0; k < 16; k++) c += (a[row][k] + a[(row + 8) % 16][k]) * b[k][column];
                good &= c == host->mma[(w * 32 + l) * 4 + i];
            }
        }
    }
    say("mma", good);
}
static void check_bytes(void) {
    static const uint32_t cases[][5] = {
        // x, y, s, prmt, __byte_perm
        {0x33221100, 0x77665544, 0x3210, 0x33221100, 0x33221100},
        {0x33221100, 0x77665544, 0x7654, 0x77665544, 0x77665544},
        {0x33221100, 0x77665544, 0x0123, 0x00112233, 0x00112233},
        {0x33221100, 0x77665544, 0x5140, 0x55114400, 0x55114400},
        {0x80ff7f00, 0x0181fe80, 0xba98, 0xffff0000, 0x80ff7f00},
        {0x80ff7f00, 0x0181fe80, 0xfedc, 0x00ffffff, 0x0181fe80},
        {0x80ff7f00, 0x0181fe80, 0x8b3c, 0x00ff80ff, 0x00808080},
        {0xdeadbeef, 0x00000000, 0xffff4444, 0x00000000, 0x00000000},
        {0x12345678, 0x9abcdef0, 0x0000, 0x78787878, 0x78787878}};
    int good = 1;
    for (const uint32_t(&c)[5] : cases) {
        good &= prmt(c[0], c[1], c[2]) == c[3] && __byte_perm(c[0], c[1], c[2]) == c[4];
    }
    say("byte_perm", good);
    good = __dp4a((int)0x80ff0102, (int)0x80020304, 5) == 16384 - 2 + 3 + 8 + 5;
    good &= __dp4a((int)0x80808080, (int)0x80808080, 0x7fffffff) == (int)0x8000ffff;
    say("dp4a", good);
    good = __mul64hi(-1, 1) == -1 && __umul64hi(~0ull, ~0ull) == ~0ull - 1;
    say("mul64hi", good && __ll2float_rn((1ll << 40) + (1 << 16)) == 1099511627776.0f);
}
static uint32_t row_sum(const unsigned char *row, unsigned t, uint32_t from) {
    uint32_t sum = 0, word;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        memcpy(&word, row + t / 32 * (ROW / 4) + i * (SLOT / 4) + t % 32 * 4, 4);
        sum += word * (from + i + 1);
    }
    return sum;
}
static void check_ring(void) {
    static unsigned char rows[sizeof host->rows];
    int good = 1;
    for (unsigned char &x : rows) x = (unsigned char)random_word();
    memcpy(host->rows, rows, sizeof rows);
    launch(ring, 128 + 4 * SLOTS * (SLOT / 4));
    finish();
    for (unsigned i = 0; i < blocks * THREADS; i++) {
        unsigned char *row = rows + i / THREADS * ROW;
        uint32_t first = row_sum(row, i % THREADS, 0);
        for (unsigned k = 0; k < ROW; k++) row[k] ^= 0x5a;
        uint32_t sum = first * 31 + row_sum(row, i % THREADS, ROUNDS);
        for (unsigned k = 0; k < ROW; k++) row[k] ^= 0x5a;
        good &= host->out[i] == sum;
    }
    say("ring", good);
}
static void check_turns(const char *name, uint32_t barriers) {
    int good = 1;
    host->arrived = 0;
    host->barriers = barriers;
    launch(turns, 64);
    good &= cudaStreamQuery(stream) == cudaErrorNotReady;
    finish();
    good &= cudaStreamQuery(stream) == cudaSuccess;
    for (unsigned i = 0; i < blocks * THREADS; i++) {
        uint32_t from = (i / THREADS + 1) % blocks, sum = from * barriers;
        good &= host->out[i] == sum + 3 * (barriers * (barriers - 1) / 2);
    }
    say(name, good && host->late == 0);
}
static void check_serve(void) {
    uint32_t *words, expected = 0, n = blocks * THREADS, good = 1;
    require(cudaHostAlloc(&words, 4 * 64, cudaHostAllocMapped), "mapped");
    require(cudaHostGetDevicePointer(&host->post, words, 0), "mapped");
    memset(words, 0, 4 * 64);
    host->answer = host->post + 16;
    host->work = host->post + 32;
    host->result = host->post + 48;
    host->arrived = 0;
    host->sum = 0;
    launch(serve, 64);
    for (uint32_t k = 1; k <= 5; k++) {
        words[32] = k == 5 ? 0 : k * 7;
        __atomic_store_n(&words[0], k, __ATOMIC_RELEASE);
        while (k < 5 && __atomic_load_n(&words[16], __ATOMIC_ACQUIRE) != k) host_pause();
        expected += k * 7 * (n * (n - 1) / 2);
        good &= k == 5 || words[48] == expected;
    }
    finish();
    require(cudaFreeHost(words), "free");
    say("serve", good);
}
static void check_host(void) {
    size_t room, total, again;
    void *p, *q;
    int count = 0, per = 0;
    cudaDeviceProp properties;
    int good = cudaMemGetInfo(&room, &total) == cudaSuccess && room < total;
    good &= cudaMalloc(&p, room + 1) == cudaErrorMemoryAllocation;
    good &= cudaMalloc(&p, room) == cudaSuccess && cudaMalloc(&q, 1) == cudaErrorMemoryAllocation;
    good &= cudaFree(p) == cudaSuccess && cudaMemGetInfo(&again, &total) == 0 && again == room;
    good &= cudaGetDeviceCount(&count) == 0 && count == 1;
    good &= cudaGetDeviceProperties(&properties, 0) == 0 && properties.cooperativeLaunch == 1;
    good &= cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per, reduce, THREADS, 1024) == 0;
    void *args[] = {&device_job};
    unsigned most = (unsigned)(per * properties.multiProcessorCount);
    good &= cudaLaunchCooperativeKernel(reduce, dim3(most + 1), dim3(THREADS), args, 0, stream) ==
            cudaErrorCooperativeLaunchTooLarge;
    say("host", good);
}

int main(int n, char **names) {
    require(cudaMalloc(&device_job, sizeof *device_job), "malloc");
    host = (job *)calloc(1, sizeof *host);
    host->patience = 1000000000;
    require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    require(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), "stream");
    static const char *const all[] = {"",         "bytes", "host",  "reduce",
                                      "products", "ring",  "turns", "serve"};
    const char *const *list = n > 1 ? (const char *const *)names : all;
    for (int i = 1; i < (n > 1 ? n : 8); i++) {
        if (!strcmp(list[i], "bytes")) check_bytes();
        if (!strcmp(list[i], "host")) check_host();
        if (!strcmp(list[i], "reduce")) check_reduce();
        if (!strcmp(list[i], "products")) check_products();
        if (!strcmp(list[i], "ring")) check_ring();
        if (!strcmp(list[i], "turns")) check_turns("turns", 20);
        if (!strcmp(list[i], "speed")) check_turns("speed", 500);
        if (!strcmp(list[i], "serve")) check_serve();
    }
    cudaStreamDestroy(stream);
    cudaStreamDestroy(other);
    require(cudaFree(device_job), "free");
    free(host);
    return failures != 0;
}
