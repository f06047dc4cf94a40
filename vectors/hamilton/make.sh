#!/bin/sh
# make.sh - quantises the embedded model, lets it practise the task hamilton with seed 1 (R1 and R2),
# and compares SHA-256 of weights and head of the journal with digests.txt. BACKEND=ref and JOBS=N
# choose how; neither changes a bit of the weights.
cd "$(dirname "$0")/../.." || exit 1
program=${ASSAY:-build/assay}
out=build/hamilton
mkdir -p $out || exit 1
rm -rf $out/seed1 $out/seed1.journal*
$program quantize vectors/tiny $out/tq4 >/dev/null || exit 1
$program train $out/tq4 --task hamilton --method qgre --what r1r2 --out $out/seed1 --steps 1000 \
    --warmup 10 --lr 0.02 --batch 64 --group 16 --seed 1 --backend "${BACKEND:-simd}" \
    ${JOBS:+--jobs $JOBS} >$out/last.txt || exit 1
cat $out/last.txt
made=$(sed 's/.* //' $out/last.txt)
wanted=$(sed -n "s/^weights //p" vectors/hamilton/digests.txt)
if [ "$made" = "$wanted" ]; then
    echo "ok hamilton: the SHA-256 is $made"
else
    echo "FAIL hamilton: SHA-256 $made, expected $wanted"
    exit 1
fi
