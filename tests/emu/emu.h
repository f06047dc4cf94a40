// emu.h - the CUDA that the kernels use, on a CPU: the same .cu text, compiled by g++ for emu.cpp.
//
// One fiber for each CUDA thread, all in one OS thread: a run is a function of its input and of
// EMU_SEED. It tests results, schedules, barriers, fences and bounds. It does NOT model weak memory
// ordering inside the hardware, SASS, the compiler nvcc, or time.
//
//   normal: g++ -x c++ -std=c++17 -DASSAY_EMU -g -O2 -march=x86-64-v3 -ffp-contract=off
//           -fno-fast-math -Wno-unknown-pragmas -c kernels/NAME.cu; tests/emu/emu.cpp alike; link.
//           A kernel has one parameter, a pointer.
//   races:  add -fsanitize=thread to the .cu files only, and link WITHOUT it: emu.cpp is the
//           run-time that the instrumented code calls, and checks happens-before.
//
// Environment: EMU_SEED=n     0: round robin, else a schedule of random and of skewed kind
//              EMU_TIMEOUT=1  virtual time jumps when only polls are left (bounded spins end);
//                             2: also while the kernel waits for the host. 0: such is a deadlock
//              EMU_IDLE=n     stop when the host has polled for n ms and the kernel waits for it
//              EMU_STRICT=1   races: a copy over ordinary stores to shared memory needs a
//                             copies_fence behind them too, as PTX has it
//              EMU_RACES=n    stop after n races of different lines of code (1)
//              EMU_MEMORY=n   bytes of device memory (4 GiB);  EMU_SMS=n  multiprocessors (4)
//              EMU_SHARED=n   bytes of shared memory that a block may have (227 KiB)
// Ends the program with one line on stderr: status 3 for divergence, deadlock, misuse or an access
// out of bounds, 4 for a race.
//
// Shapes: a block is 1..32 whole warps; collectives take the mask 0xffffffff. A collective or
// __syncthreads is known by its line in the source: lanes or threads that meet there from two lines
// have diverged. thread_exit() leaves all barriers, as on hardware; a return while others wait is
// divergence. Copies land as late as they may (when a thread polls for them and nothing else can
// run), at random, or at once; the source is read at issue or at landing; the target holds 0xA5
// in between: all by EMU_SEED. A thread that waits calls spin_pause() in every turn.
//
// Races: edges are __syncthreads, __syncwarp and collectives (whole warps), add_release and
// load_acquire, the system words (through the host), mbarrier phases, launch; __threadfence gives
// relaxed atomics theirs. Atomics do not race with each other. Checked are shared memory and all
// memory of cudaMalloc and cudaHostAlloc, accesses of the copies too, and that ordinary stores to
// what a copy reads have a copies_fence of their thread behind them; what the host does is not (one
// OS thread alone may call in here). A word keeps its last write and five last reads, so a race may
// show under some schedules only. Code that races is named by addr2line: compile with -g.
#ifndef EMU_H
#define EMU_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define DEV static __forceinline__
#define PHASE static __attribute__((noinline))
#define __noinline__ __attribute__((noinline)) // as in CUDA: include C++ headers before this file

// ---- vector types and indices

#define EMU_VECTOR2(name, type)                                                                    \
    struct alignas(2 * sizeof(type)) name {                                                        \
        type x, y;                                                                                 \
    };                                                                                             \
    static inline name make_##name(type x, type y) { return {x, y}; }
#define EMU_VECTOR4(name, type, size)                                                              \
    struct alignas(size) name {                                                                    \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }
EMU_VECTOR2(int2, int)
EMU_VECTOR2(uint2, unsigned)
EMU_VECTOR2(float2, float)
EMU_VECTOR2(longlong2, long long)
EMU_VECTOR2(ulonglong2, unsigned long long)
EMU_VECTOR4(char4, signed char, 4)
EMU_VECTOR4(uchar4, unsigned char, 4)
EMU_VECTOR4(int4, int, 16)
EMU_VECTOR4(uint4, unsigned, 16)
EMU_VECTOR4(float4, float, 16)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim; // of the fiber that runs

// ---- barriers and collectives; where a call stands is part of it

#define EMU_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
void __syncthreads(EMU_SITE);
void __syncwarp(unsigned mask = 0xffffffffu, EMU_SITE);
// A collective of kind: waits for the warp, then gives what each lane brought, [32].
const uint64_t *emu_exchange(uint64_t mine, unsigned mask, const char *kind, const char *file,
                             int line);
static inline unsigned emu_lane(void) { return threadIdx.x & 31; }

template <class T> static inline T emu_from(const uint64_t *all, unsigned lane) {
    T x;
    memcpy(&x, &all[lane & 31], sizeof x);
    return x;
}
template <class T> static inline uint64_t emu_bits(T x) {
    static_assert(sizeof x <= 8, "a shuffle moves 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &x, sizeof x);
    return bits;
}
template <class T> static inline T __shfl_sync(unsigned mask, T x, int lane, EMU_SITE) {
    return emu_from<T>(emu_exchange(emu_bits(x), mask, "__shfl_sync", file, line), (unsigned)lane);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T x, int m, EMU_SITE) {
    return emu_from<T>(emu_exchange(emu_bits(x), mask, "__shfl_xor_sync", file, line),
                       emu_lane() ^ (unsigned)m);
}
unsigned __ballot_sync(unsigned mask, int x, EMU_SITE);
static inline int __any_sync(unsigned mask, int x, EMU_SITE) {
    return __ballot_sync(mask, x, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int x, EMU_SITE) {
    return __ballot_sync(mask, !x, file, line) == 0;
}
void mma_s8(int32_t c[4], uint32_t a0, uint32_t a1, uint32_t b, EMU_SITE);

// ---- integers and conversions

static inline int __dp4a(int a, int b, int c) {
    unsigned sum = (unsigned)c;
    for (int i = 0; i < 32; i += 8) {
        sum += (unsigned)((int8_t)((unsigned)a >> i) * (int8_t)((unsigned)b >> i));
    }
    return (int)sum;
}
// prmt.b32: nibble i of s names byte i of the result: x (0..3), y (4..7); + 8: its sign, 8 times.
static inline unsigned prmt(unsigned x, unsigned y, unsigned s) {
    uint64_t both = (uint64_t)y << 32 | x;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned nibble = s >> 4 * i, byte = (unsigned)(both >> 8 * (nibble & 7)) & 255;
        if (nibble & 8) byte = byte & 128 ? 255 : 0;
        r |= byte << 8 * i;
    }
    return r;
}
// CUDA's has no sign: nvcc makes it prmt.b32 of the selector & 0x7777.
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
    return prmt(x, y, s & 0x7777);
}
static inline float __ll2float_rn(long long x) { return (float)x; }
static inline float __int2float_rn(int x) { return (float)x; }
static inline long long __mul64hi(long long a, long long b) {
    return (long long)((__int128)a * b >> 64);
}
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
static inline unsigned __float_as_uint(float x) { return (unsigned)emu_bits(x); }
static inline float __uint_as_float(unsigned x) {
    float f;
    memcpy(&f, &x, sizeof f);
    return f;
}
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }

// ---- what device.cuh offers; each has its words there

unsigned char *shared_memory(void);
void copies_open(uint64_t *bar, EMU_SITE);
void copies_fence(void);
void copies_expect(uint64_t *bar, uint32_t bytes, EMU_SITE);
void copies_start(void *to, const void *from, uint32_t bytes, uint64_t *bar, EMU_SITE);
int copies_landed(uint64_t *bar, uint32_t parity, EMU_SITE);
static inline uint32_t shared_address(const void *p) { // in the block's shared memory
    return (uint32_t)((const unsigned char *)p - shared_memory());
}
uint32_t add_release(uint32_t *p, uint32_t x);
uint32_t load_acquire(const uint32_t *p, EMU_SITE);
uint32_t load_acquire_system(const uint32_t *p, EMU_SITE);
void store_release_system(uint32_t *p, uint32_t x);
uint64_t nanoseconds(void);
void spin_pause(void);
void thread_exit(void);

void __threadfence(void);
static inline void __threadfence_system(void) { __threadfence(); }
unsigned long long atomicAdd(unsigned long long *p, unsigned long long x); // the value before
unsigned atomicAdd(unsigned *p, unsigned x);
int atomicMin(int *p, int x);
int atomicMax(int *p, int x);

// ---- the host's side. The kernel advances only inside these calls and emu_host_wait.

void emu_host_wait(void); // runs the kernel for a slice, or until it waits for the host
static inline void host_pause(void) { emu_host_wait(); } // in each turn of a host's polling loop

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidDevice = 101,
    cudaErrorNotReady = 600,
    cudaErrorCooperativeLaunchTooLarge = 720
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum { cudaHostAllocDefault = 0, cudaHostAllocPortable = 1, cudaHostAllocMapped = 2 };
enum { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaDeviceProp {
    char name[256];
    int multiProcessorCount, major, minor, cooperativeLaunch;
    size_t sharedMemPerBlockOptin, totalGlobalMem;
};
typedef struct emu_stream *cudaStream_t;

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError(void);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
enum cudaDeviceAttr { cudaDevAttrKernelExecTimeout };
inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr a, int device) {
    (void)a, (void)device;
    *value = 0;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaFree(void *p);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemset(void *p, int byte, size_t bytes);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s = 0);
cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s = 0);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamQuery(cudaStream_t s);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaDeviceSynchronize(void);

cudaError_t emu_allocate(void **p, size_t bytes, int device);
cudaError_t emu_shared_limit(const void *kernel, cudaFuncAttribute a, int bytes);
cudaError_t emu_occupancy(int *blocks, int threads, size_t shared);
cudaError_t emu_launch(const void *kernel, dim3 grid, dim3 block, void **args, size_t shared,
                       cudaStream_t s);
template <class T> cudaError_t cudaMalloc(T **p, size_t n) {
    return emu_allocate((void **)p, n, 1);
}
template <class T> cudaError_t cudaMallocHost(T **p, size_t n, unsigned = 0) {
    return emu_allocate((void **)p, n, 0);
}
template <class T> cudaError_t cudaHostAlloc(T **p, size_t n, unsigned) {
    return emu_allocate((void **)p, n, 0);
}
template <class T> cudaError_t cudaHostGetDevicePointer(T **p, void *host, unsigned) {
    *p = (T *)host;
    return cudaSuccess;
}
template <class T> cudaError_t cudaFuncSetAttribute(T *kernel, cudaFuncAttribute a, int bytes) {
    return emu_shared_limit((const void *)kernel, a, bytes);
}
template <class T>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, T *, int threads,
                                                          size_t shared) {
    return emu_occupancy(blocks, threads, shared);
}
template <class T>
cudaError_t cudaLaunchCooperativeKernel(T *kernel, dim3 grid, dim3 block, void **args,
                                        size_t shared = 0, cudaStream_t s = 0) {
    return emu_launch((const void *)kernel, grid, block, args, shared, s);
}
#endif
