#!/bin/sh
# make.sh [STEPS] - quantises the embedded model, lets it practise the task hamilton with seed 1 (R1
# and R2), and compares the SHA-256 of its weights and the head of its journal with digests.txt: of
# 1200 steps (the default; then the folder gets the model) or of 4. The head is that before the last
# record, which tells when the run ended. BACKEND=ref and JOBS=N choose how; neither changes a bit of
# the weights (the journal's first record names the backend).
cd "$(dirname "$0")/../.." || exit 1
steps=${1:-1200}
program=${ASSAY:-build/assay}
here=vectors/hamilton
run=build/hamilton/$steps
mkdir -p build/hamilton || exit 1
rm -rf "$run" "$run".journal*
SOURCE_DATE_EPOCH=$(sed -n 's/^date //p' $here/digests.txt)
export SOURCE_DATE_EPOCH
failed() { # the run's last words
    tail -n 1 "$run.log"
    echo "FAIL hamilton: the recipe could not be run"
    exit 1
}
$program quantize vectors/tiny build/tq4 >/dev/null 2>"$run.log" || failed
warmup=10
[ "$steps" -gt 10 ] || warmup=$steps
$program train build/tq4 --task hamilton --method qgre --what r1r2 --out "$run" --steps "$steps" \
    --warmup $warmup --lr 0.015 --clip 0.02 --batch 128 --group 16 --seed 1 --backend "${BACKEND:-simd}" \
    ${JOBS:+--jobs $JOBS} >"$run.txt" 2>"$run.log" || failed
cat "$run.txt"
bad=0
compare() { # what, made
    wanted=$(sed -n "s/^$steps $1 //p" $here/digests.txt)
    if [ "$2" = "$wanted" ]; then
        echo "ok hamilton: $steps steps: $1 $2"
    else
        echo "FAIL hamilton: $steps steps: $1 $2, expected $wanted"
        bad=1
    fi
}
journal_head() { # of a journal
    last=$($program journal "$1" | awk '{at = $2} $3 == "stop" {print at; exit}')
    dd if="$1" bs=1 skip=$((last - 32)) count=32 2>/dev/null | od -An -v -tx1 | tr -d ' \n'
}
compare weights "$(sed 's/.* //' "$run.txt")"
[ "${BACKEND:-simd}" != simd ] || compare journal "$(journal_head "$run.journal")"
[ $bad = 0 ] && [ "$steps" = 1200 ] && cp "$run"/* $here/
exit $bad
