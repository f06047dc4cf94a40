#!/bin/sh
# fuzz.sh SECONDS - shares the time among build/fuzz/fuzz_* (a second each at least); the seeds of fuzz_NAME are the files
# of tests/corpus/NAME, what it finds is kept in build/fuzz/found/NAME. A crash fails.
cd "$(dirname "$0")/.." || exit 1
set -- "${1:-60}" build/fuzz/fuzz_*
seconds=$1
shift
targets=""
for t in "$@"; do case $t in *.d | *'*') ;; *) targets="$targets $t" ;; esac; done
set -- $targets
[ $# -gt 0 ] || { echo "not run: fuzz: there is no tests/fuzz_*.c" && exit 0; }
failed=0
for t in "$@"; do
    name=$(basename "$t")
    name=${name#fuzz_}
    found=build/fuzz/found/$name
    seeds=tests/corpus/$name
    mkdir -p "$found"
    [ -d "$seeds" ] || seeds=""
    if "$t" -max_total_time=$(((seconds + $# - 1) / $#)) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$found/../$name-" "$found" $seeds >"$found.log" 2>&1; then
        echo "ok fuzz: $name: $(sed -n 's/stat::number_of_executed_units: *//p' "$found.log") runs"
    else
        echo "FAIL fuzz: $name: see $found.log"
        tail -n 15 "$found.log"
        failed=$((failed + 1))
    fi
done
echo "$(($# - failed)) passed, $failed failed"
[ $failed = 0 ]
