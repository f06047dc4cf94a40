// mega.cu - the one launch: it waits for a command in the mailbox, runs it in all blocks, says that
// it is done, and waits again until it is told to stop.
#include "sample.cuh"
#include "mirror.cuh"
#include "update.cuh"

// Block 0 looks at the mailbox and hands a new command on; all blocks have it after the barrier.
// Without one for idle_ns the kernel ends.
DEV void next_command(mega *m, uint32_t generation) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        waiting w = {0, 0};
        int idle = 0;
        while (load_acquire_system(&m->box->asked) != generation && !idle)
            idle = too_long(&w, state()->idle_ns);
        if (idle)
            m->command.op = CMD_STOP;
        else
            m->command = m->box->command;
        state()->word[2] = idle;
    }
    grid_arrive(m);
    grid_wait_for(m, 2 * state()->idle_ns);
    if (threadIdx.x == 0) state()->command = m->command;
    __syncthreads();
    copies_fence(); // the host may have sent bricks
}

// Every step of a CMD_RUN; with steps > 0 each one samples and feeds the next.
DEV void run_command(mega *m) {
    const mega_command c = state()->command;
    mega_run *r = &m->run[c.run];
    run_phases(m, r, c.first, c.last, c.rows, c.head_from, c.single);
    for (int step = 0; step < c.steps; step++) {
        sample_rows(m, r, c.rows, c.head_from, step);
        grid_sync(m);
        if (step + 1 < c.steps) run_phases(m, r, c.first, c.last, c.rows, c.head_from, 1);
    }
}

// After the last barrier of a command: its result, then its generation.
DEV void answer(mega *m, uint32_t generation) {
    if (blockIdx.x != 0 || threadIdx.x != 0) return;
    m->box->failed = *m->failed == 0x7fffffff ? -1 : *m->failed;
    *m->failed = 0x7fffffff;
    __threadfence_system();
    store_release_system(&m->box->done, generation);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) megakernel(mega *m) {
    if (threadIdx.x == 0) {
        block_state zero = {};
        *state() = zero;
        state()->idle_ns = m->box->idle_ns, state()->spin_ns = m->box->spin_ns;
        for (int w = 0; w < WARPS; w++)
            for (int i = 0; i < m->slots; i++) copies_open(&state()->landed[w][i]);
        copies_fence();
    }
    __syncthreads();
    for (uint32_t generation = 1;; generation++) {
        next_command(m, generation);
        int op = state()->command.op;
        if (op == CMD_STOP) break;
        if (op == CMD_RUN) run_command(m);
        if (op == CMD_LEARN) learn_pass(m);
        if (op == CMD_UPDATE) update_step(m);
        if (op == CMD_BARRIERS)
            for (int i = 0; i < state()->command.steps; i++) grid_sync(m);
        grid_sync(m);
        answer(m, generation);
    }
    if (blockIdx.x == 0 && threadIdx.x == 0)
        store_release_system(&m->box->parked, state()->word[2] ? PARK_IDLE : PARK_STOPPED);
}
