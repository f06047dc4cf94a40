#!/bin/sh
# run.sh CONFIG c|all - builds and runs tests: tests/test_*.c and, with "all", tests/*.py and
# tests/*.sh too. A test prints lines that begin with "ok ", "FAIL " or "not run"; a test that
# prints none of them, or that ends with an error and no FAIL line, is a failure itself. The whole
# output of each is kept in build/CONFIG/log/. The last line is "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
config=$1
kind=$2
log=build/$config/log
passed=0
failed=0
mkdir -p "$log"
case $config in
gcc) export ASSAY=build/assay ;;
*) export ASSAY="build/$config/assay" ;;
esac
export PYTHON="${PYTHON:-build/venv/bin/python}" PYTHONDONTWRITEBYTECODE=1

# tally NAME COMMAND...: runs one test, shows what did not pass and adds up its lines.
tally() {
    name=$1
    shift
    start=$(date +%s)
    "$@" >"$log/$name" 2>&1 </dev/null
    status=$?
    p=$(grep -c '^ok ' "$log/$name")
    f=$(grep -c '^FAIL ' "$log/$name")
    n=$(grep -c '^not run' "$log/$name")
    grep -E '^(FAIL |not run)' "$log/$name"
    if [ $status -ne 0 ] && [ "$f" = 0 ]; then
        echo "FAIL $name: ended with status $status; its last lines:"
        tail -n 5 "$log/$name" | sed 's/^/    /'
        f=1
    elif [ $((p + f + n)) = 0 ]; then
        echo "FAIL $name: printed no check"
        f=1
    fi
    echo "$name: $p passed, $f failed, $(($(date +%s) - start)) s"
    passed=$((passed + p))
    failed=$((failed + f))
}

# -k: a module that does not compile costs its own tests, not everyone's answer.
if ! make -k -j "$(nproc)" --no-print-directory CONFIG="$config" programs >"$log/make" 2>&1; then
    grep -E 'error:|undefined reference|\*\*\*' "$log/make" | head -n 20
    echo "FAIL build: see $log/make"
    failed=$((failed + 1))
fi
for t in tests/test_*.c; do
    [ -e "$t" ] || continue
    name=$(basename "$t" .c)
    tally "$name" "build/$config/$name"
done
if [ "$kind" = all ]; then
    for t in tests/*.py; do
        case $t in tests/_* | tests/gpu_* | tests/soak.py) continue ;; esac # what has a target, or others use
        [ -e "$t" ] && tally "$(basename "$t")" "$PYTHON" "$t"
    done
    for t in tests/*.sh; do
        case $(basename "$t") in # what has a target of its own
        run.sh | demo.sh | fuzz.sh | gpu.sh | knowledge.sh | showcase.sh | verify_emu.sh) continue ;;
        esac
        tally "$(basename "$t")" sh "$t"
    done
fi
[ $((passed + failed)) -gt 0 ] || { echo "FAIL run: no test was found" && failed=1; }
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
