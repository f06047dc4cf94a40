#!/bin/sh
# hamilton.sh - the model of chapter 37: the first lines of its recipe end on their SHA-256 (a run of 4
# steps; `make hamilton` is the whole one), and its evaluation is what vectors/hamilton/eval.json says,
# byte for byte.
cd "$(dirname "$0")/.." || exit 1
program=${ASSAY:-build/assay}
sh vectors/hamilton/make.sh 4 || exit 1
made=build/hamilton/eval.json
if $program eval vectors/hamilton --task hamilton --problems 50 --samples 4 --json $made >/dev/null &&
    cmp $made vectors/hamilton/eval.json; then
    echo "ok hamilton: $(python3 tests/_scores.py $made)"
else
    echo "FAIL hamilton: the evaluation is another"
    exit 1
fi
