#!/bin/sh
# knowledge.sh DIR TEXT HELD [STEPS] - what R1 and R2 can learn of a text that the model has not
# seen: the held-out loss of the dense model DIR and of its TQ4 form before, and after the same steps
# of training R1, R2, both, both with the norms, and all weights of the dense one. `make knowledge`
# runs it on the embedded model; the figures of chapter 22 are its output.
cd "$(dirname "$0")/.." || exit 1
out=build/knowledge
steps=${4:-50}
rm -rf $out && mkdir -p $out || exit 1
build/assay quantize "$1" $out/tq4 --calib self 2>/dev/null || exit 1
learn() { # learn NAME MODEL WHAT RATE
    printf '%-12s rate %-6s ' "$1" "$4"
    build/assay train "$2" --what "$3" --lr "$4" --text "$text" --held "$held" --steps "$steps" \
        --out $out/run 2>/dev/null | sed 's/; weights.*//'
}
text=$2
held=$3
echo "$steps steps of 16 x 128 tokens"
for rate in 1e-3 3e-3; do
    learn "all, dense" "$1" all $rate
    learn "R1 and R2" $out/tq4 r1r2 $rate
done
learn "with norms" $out/tq4 r1r2+norms 3e-3
learn "R1" $out/tq4 r1 3e-3
learn "R2" $out/tq4 r2 3e-3
