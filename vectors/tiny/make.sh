#!/bin/sh
# make.sh [STEPS] - trains the embedded model from random weights and compares the SHA-256 of its
# values with the one in digests.txt: whole (the default; then the folder gets the weights), or
# its first 50 steps. BACKEND=ref and JOBS=N choose how; neither changes a bit.
cd "$(dirname "$0")/../.." || exit 1
stop=${1:-0}
program=${ASSAY:-build/assay}
out=build/tiny
mkdir -p $out || exit 1
python3 vectors/tiny/corpus.py 100000 1 >$out/train.txt 2>$out/counts.txt || exit 1
python3 vectors/tiny/corpus.py 2000 2 >$out/held.txt 2>/dev/null || exit 1
held="--held $out/held.txt"
[ "$stop" = 0 ] || held=
$program train vectors/tiny --init 1 --what all --text $out/train.txt $held --out $out/model-$stop \
    --steps 3200 --stop "$stop" --warmup 200 --batch 8 --ctx 160 --every 400 --seed 1 \
    --lr 2e-3 --decay 0.1 --clip 1 --backend "${BACKEND:-simd}" ${JOBS:+--jobs $JOBS} >$out/last.txt || exit 1
cat $out/last.txt
made=$(sed 's/.* //' $out/last.txt)
wanted=$(sed -n "s/^$stop //p" vectors/tiny/digests.txt)
if [ "$made" = "$wanted" ]; then
    echo "ok tiny: stopped at $stop (0: at the end): the SHA-256 is $made"
else
    echo "FAIL tiny: stopped at $stop (0: at the end): SHA-256 $made, expected $wanted"
    exit 1
fi
[ "$stop" != 0 ] || cp $out/model-0/model.safetensors $out/model-0/train.json $out/model-0/train.svg vectors/tiny/
