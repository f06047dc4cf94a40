#!/bin/sh
# showcase.sh - the runs of chapter 37, one after the other: METHODS x WHATS x SEEDS, each practised,
# evaluated on held-out problems and kept under build/showcase; what is there is not made again.
# JOBS=N threads. Then a table (tests/_showcase.py). The program keeps the last two snapshots of a run;
# here all stay, in build/showcase/steps, for tests/_heldout.py.
[ $# = 0 ] || { echo "usage: showcase.sh, with SEEDS, METHODS, WHATS, STEPS, JOBS in the environment" >&2; exit 2; }
cd "$(dirname "$0")/.." || exit 1
program=${ASSAY:-build/assay}
out=build/showcase
mkdir -p $out/steps || exit 1
[ -e $out/tq4/model.safetensors ] || $program quantize vectors/tiny $out/tq4 >/dev/null || exit 1
for seed in ${SEEDS:-1 2 3}; do
    for what in ${WHATS:-r1r2 all}; do
        for method in ${METHODS:-qgre credit uniform}; do
            run=$out/$method-$what-$seed
            [ -e "$run.json" ] && continue
            model=$out/tq4 rate=0.015 clip=0.02
            [ $what = all ] && model=vectors/tiny rate=6e-4 clip=1
            while sleep 20; do ln "$run".journal.v???????? $out/steps/ 2>/dev/null; done &
            keeper=$!
            trap 'kill $keeper 2>/dev/null' EXIT
            $program train $model --task hamilton --method $method --what $what --out "$run" \
                --steps "${STEPS:-1200}" --warmup 10 --lr $rate --clip $clip --batch 128 --group 16 --seed "$seed" \
                ${JOBS:+--jobs $JOBS} --resume 2>>"$run.log" || exit 1
            kill $keeper
            ln "$run".journal.v???????? $out/steps/ 2>/dev/null
            $program eval "$run" --task hamilton --problems 50 --samples 4 --json "$run.json" \
                ${JOBS:+--jobs $JOBS} || exit 1
        done
    done
done
python3 tests/_showcase.py $out
