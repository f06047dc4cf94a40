#!/bin/sh
# schedules.sh - the kernels, emulated (tests/emu), against ref.c: serving and learning by turns in
# one launch, under 20 schedules of threads, blocks and copies, on grids of 1 to 5 blocks; twice with
# every access to shared and device memory watched for races; and some tokens at the 0.6B shape.
cd "$(dirname "$0")/.." || exit 1
if [ "$(uname -m)" != x86_64 ] || ! command -v g++ >/dev/null; then
    echo "not run: schedules: the emulator needs g++ on x86-64" && exit 0
fi
out=build/schedules
rm -rf $out && mkdir -p $out || exit 1
for flavour in emu emu-race; do
    make --no-print-directory CONFIG=$flavour build/$flavour/mixed >$out/make.$flavour 2>&1 ||
        { echo "FAIL schedules: make CONFIG=$flavour" && tail -n 5 $out/make.$flavour && exit 1; }
done
export OMP_NUM_THREADS=1

# one SEED: its lines go to a file of its own.
cat >$out/one.sh <<'END2'
seed=$1
[ $((seed / 2 % 2)) = 0 ] || export EMU_SHARED=101376 # the 99 KiB of smaller cards: passes of 8 tokens
EMU_SEED=$seed EMU_SMS=$((seed % 5 + 1)) build/emu/mixed $((seed % 2)) >build/schedules/$seed 2>&1
echo "status $?" >>build/schedules/$seed
END2
seq 1 20 | xargs -P "$(nproc)" -n 1 sh $out/one.sh
failed=0
for seed in $(seq 1 20); do
    if [ "$(tail -n 1 $out/$seed)" = "status 0" ]; then
        echo "ok schedules: seed $seed, $((seed % 5 + 1)) blocks: $(sed -n 's/^ok mixed: //p' $out/$seed | head -n 1)"
    else
        echo "FAIL schedules: seed $seed: $(grep -v '^ok' $out/$seed | head -n 1)"
        failed=1
    fi
done
if [ "$(cat $out/[0-9]* | grep -o 'qwen3 tq4.*' | sort -u | wc -l)" = 1 ] &&
    [ "$(cat $out/[0-9]* | grep -o 'llama tq4.*' | sort -u | wc -l)" = 1 ]; then
    echo "ok schedules: 20 schedules end on one hash for each model"
else
    echo "FAIL schedules: the schedules end on different hashes" && failed=1
fi
for seed in 0 3; do
    if EMU_SEED=$seed EMU_SMS=2 build/emu-race/mixed $((seed % 2)) >$out/race 2>&1; then
        echo "ok schedules: no race, seed $seed"
    else
        echo "FAIL schedules: races: $(grep -v '^ok' $out/race | head -n 1)" && failed=1
    fi
done
if EMU_SMS=4 EMU_MEMORY=3000000000 build/emu/mixed qwen3-0.6b >$out/large 2>&1; then
    head -n 1 $out/large | sed 's/^ok mixed/ok schedules/'
else
    echo "FAIL schedules: $(grep -v '^ok' $out/large | head -n 1)" && failed=1
fi
exit $failed
