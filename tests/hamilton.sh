#!/bin/sh
# hamilton.sh - the model of chapter 37: its recipe for 4 steps (a warm-up of 4), ends on its SHA-256 (`make
# hamilton` is the whole one), and its evaluation is what vectors/hamilton/eval.json says, byte for byte.
cd "$(dirname "$0")/.." || exit 1
program=${ASSAY:-build/assay}
sh vectors/hamilton/make.sh 4 || exit 1
said=$(SOURCE_DATE_EPOCH=soon $program train build/tq4 --task hamilton --steps 1 --out build/hamilton/none 2>&1)
if [ $? = 1 ] && [ "$said" = "assay: SOURCE_DATE_EPOCH=soon: expected whole seconds since 1970" ] &&
    [ ! -e build/hamilton/none.journal ]; then
    echo "ok hamilton: a date that is none: one line, no journal"
else
    echo "FAIL hamilton: a date that is none: $said"
    exit 1
fi
made=build/hamilton/eval.json
if $program eval vectors/hamilton --task hamilton --problems 50 --samples 4 --json $made >/dev/null &&
    cmp $made vectors/hamilton/eval.json; then
    echo "ok hamilton: $(python3 tests/_scores.py $made)"
else
    echo "FAIL hamilton: the evaluation is another"
    exit 1
fi
