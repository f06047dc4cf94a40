#!/bin/sh
# emu.sh - the emulator that runs the kernels on a CPU: its own kernels give the right results under
# many schedules, without races; and it notices each line that tests/emu/selftest.cu can leave out.
cd "$(dirname "$0")/.." || exit 1
if ! command -v g++ >/dev/null; then
    echo "not run: emu: g++ is not installed" && exit 0
fi
b=build/emu-test
mkdir -p $b
failed=0
arch=""
[ "$(uname -m)" != x86_64 ] || arch=-march=x86-64-v3
flags="-std=c++17 -DASSAY_EMU -g -O2 $arch -ffp-contract=off -fno-fast-math -Wall -Wextra -Werror -Itests/emu"
export EMU_MEMORY=67108864
say() { # say STATUS TEXT
    if [ "$1" = 0 ]; then echo "ok emu: $2"; else
        echo "FAIL emu: $2"
        failed=1
    fi
}
self_test() { # self_test NAME RUN-TIME FLAGS...
    name=$1
    runtime=$2
    shift 2
    g++ $flags "$@" -x c++ -c -o $b/$name.o tests/emu/selftest.cu &&
        g++ -o $b/$name $b/$name.o $b/$runtime.o
}
g++ $flags -c -o $b/emu.o tests/emu/emu.cpp &&
    g++ $flags -DEMU_UCONTEXT -c -o $b/plain.o tests/emu/emu.cpp &&
    self_test normal emu && self_test race emu -fsanitize=thread && self_test ucontext plain ||
    { echo "FAIL emu: it does not compile" && exit 1; }

runs() { # runs PROGRAM SEEDS CHECKS...: 0 when all pass with every seed
    program=$1
    seeds=$2
    shift 2
    for seed in $(seq 0 "$seeds"); do
        if ! EMU_SEED=$seed $b/$program "$@" >$b/out 2>&1; then
            echo "EMU_SEED=$seed:" && cat $b/out
            return 1
        fi
    done
}
runs normal 40
say $? "bytes, host, reduce, mma, ring, turns and serve, 41 schedules"
runs race 12
say $? "the same in the race build, 13 schedules"
runs ucontext 2
say $? "the same with the portable switch of stacks"

start=$(date +%s%N)
$b/normal speed >/dev/null
status=$?
ms=$((($(date +%s%N) - start) / 1000000))
[ $status = 0 ] && [ $ms -lt 1000 ]
say $? "1,000 grid barriers of 3 blocks of 128 threads in $ms ms"

# caught MUTANT RUN STATUS PATTERN CHECK WHAT: with some seed of 0..5 the program ends with STATUS
# and says PATTERN; with no seed does it end well in the race build.
caught() {
    rm -f $b/mutant
    [ "$2" = race ] && sanitize=-fsanitize=thread || sanitize=""
    self_test mutant emu $sanitize -DMUTANT="$1"
    hits=0
    for seed in 0 1 2 3 4 5; do
        EMU_SEED=$seed timeout 60 $b/mutant "$5" >$b/out 2>&1
        status=$?
        if [ $status = "$3" ] && grep -q "$4" $b/out; then
            hits=$((hits + 1))
        elif [ $status = 0 ] && [ "$2" = race ]; then
            echo "EMU_SEED=$seed passes"
        fi
    done
    [ $hits -gt 0 ]
    say $? "$6: $2 build, $hits of 6 schedules"
}
caught 1 race 4 'race: shared.*write by block' reduce "a missing __syncthreads"
caught 2 race 4 'race: shared.*copies of block' ring "a missing __syncwarp before a refill"
caught 3 race 4 'race: shared.*write by the copies.*then read' ring "a read before copies_landed"
caught 4 normal 3 'divergence: block .* at __syncthreads' reduce "a divergent __syncthreads"
caught 5 normal 3 'deadlock: .*block 0: .*load_acquire.*block 1: 128 threads ended' turns \
    "a grid barrier that one block skips"
caught 6 race 4 'missing proxy fence: global' ring "a missing copies_fence after a change in place"
caught 7 normal 3 'misuse: .*copies_start.*multiples of 16' ring "a copy to an odd address"
caught 8 normal 3 'divergence: .*__shfl_xor_sync' reduce "a shuffle that one lane skips"
caught 9 normal 3 'out of bounds: .*shared memory of block' reduce "a write behind shared memory"
caught 10 normal 3 'misuse: .*no copies_fence' ring "a missing copies_fence after copies_open"
caught 11 race 4 'race: global.*turns' turns "a word read from another block without a barrier"
caught 12 normal 3 'divergence: .*has returned' reduce "a thread that returns before a barrier"
caught 14 normal 3 'deadlock: .*128 threads polling at load_acquire' serve \
    "a wait without end while the host polls"
export EMU_STRICT=1
runs race 1
say $? "with fences before copies over ordinary stores, 2 schedules"
caught 13 race 4 'missing proxy fence: shared' ring "a copy over ordinary stores without a fence"
unset EMU_STRICT

# What a missing barrier does to results, without the race check: they differ between schedules.
self_test mutant emu -DMUTANT=1
for seed in 0 1 2 3 4 5; do EMU_SEED=$seed $b/mutant reduce; done >$b/out
[ "$(grep '^FAIL' $b/out | sort -u | wc -l)" -gt 1 ]
say $? "a missing __syncthreads gives different results under different schedules"
# Bounded spins end when virtual time is let go: the deadlock of mutant 5 becomes threads that left.
self_test mutant emu -DMUTANT=5
EMU_TIMEOUT=1 timeout 60 $b/mutant turns >$b/out 2>&1
[ $? = 1 ] && grep -q '^FAIL turns: .*, [1-9][0-9]* gave up' $b/out
say $? "EMU_TIMEOUT lets bounded spins end"
exit $failed
