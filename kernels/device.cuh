// device.cuh - the machine below the kernel: what CUDA C has no name for, one PTX instruction each.
//
// With ASSAY_EMU this file is emu.h: the same names, made of fibers on a CPU. All other kernel
// files are the same text for both, and use of CUDA only what these two files offer: the built-in
// indices, __syncthreads, __syncwarp, __shfl_xor_sync and __shfl_sync over whole warps, __dp4a,
// atomicAdd on uint64, atomicMin on int32, __threadfence_system, uint4. Shared memory is one block,
// shared_memory(); no other __shared__ variable exists.
//
// Memory that this launch writes is never read through the non-coherent path: no __ldg, no
// const __restrict__.
#ifndef DEVICE_CUH
#define DEVICE_CUH
#ifdef ASSAY_EMU
#include "emu.h"
#else
#include <cuda_runtime.h>
#include <stdint.h>

#define DEV static __device__ __forceinline__
#define PHASE static __device__ __noinline__ // a phase keeps its own registers

extern __shared__ __align__(128) unsigned char shared_base[];
DEV unsigned char *shared_memory(void) { return shared_base; }
DEV uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

// ---- bytes and integer dot products

// Byte i is the byte of b:a (8 bytes) that nibble i of s names; bit 3 of a nibble must be 0, and what
// lies above the fourth nibble does not count. (__byte_perm would mask both, an instruction each.)
DEV uint32_t prmt(uint32_t a, uint32_t b, uint32_t s) {
    uint32_t y;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(s));
    return y;
}

// c [16, 8] += a [16, 16] b [16, 8], int8 to int32, wrapping. Lane l has rows l/4 and l/4 + 8 of a,
// columns 4 (l%4) ..+3; column l/4 of b, rows 4 (l%4) ..+3; of c rows l/4 (c[0], c[1]) and l/4 + 8
// (c[2], c[3]), columns 2 (l%4) and + 1.
DEV void mma_s8(int32_t c[4], uint32_t a0, uint32_t a1, uint32_t b) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
}

// ---- asynchronous copies into shared memory, counted by a barrier in shared memory

DEV void copies_open(uint64_t *bar) { // one arrival completes a phase
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(bar)) : "memory");
}
// After copies_open, before the first copy; and after ordinary stores to what a copy will read.
DEV void copies_fence(void) {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
}
// Arrives, and says that the phase is complete when so many bytes have landed as well.
DEV void copies_expect(uint64_t *bar, uint32_t bytes) {
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(bar)),
        "r"(bytes)
        : "memory");
}
// to and from: multiples of 16, bytes too.
DEV void copies_start(void *to, const void *from, uint32_t bytes, uint64_t *bar) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
        "[%3];" ::"r"(shared_address(to)),
        "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(bar))
        : "memory");
}
// 1: the phase of this parity (0, 1, 0, ..) is complete, and what it copied may be read.
DEV int copies_landed(uint64_t *bar, uint32_t parity) {
    uint32_t done;
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
                 "selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(shared_address(bar)), "r"(parity)
                 : "memory");
    return (int)done;
}

// ---- words that order memory: between blocks, and between host and device

DEV uint32_t add_release(uint32_t *p, uint32_t x) { // the value before
    uint32_t y;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;"
                 : "=r"(y)
                 : "l"(__cvta_generic_to_global(p)), "r"(x)
                 : "memory");
    return y;
}
DEV uint32_t load_acquire(const uint32_t *p) {
    uint32_t x;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                 : "=r"(x)
                 : "l"(__cvta_generic_to_global(p))
                 : "memory");
    return x;
}
DEV uint32_t load_acquire_system(const uint32_t *p) {
    uint32_t x;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];"
                 : "=r"(x)
                 : "l"(__cvta_generic_to_global(p))
                 : "memory");
    return x;
}
DEV void store_release_system(uint32_t *p, uint32_t x) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(p)), "r"(x)
                 : "memory");
}

// ---- time

DEV uint64_t nanoseconds(void) {
    uint64_t t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
    return t;
}
DEV void spin_pause(void) { __nanosleep(20); } // once in every turn of a loop that waits
DEV void thread_exit(void) { asm volatile("exit;"); }
#endif
#endif
