#!/bin/sh
# objects.sh - what the compilers made keeps the rules of arithmetic: no object asks for a function
# of the mathematical library, and no start-up code sets flush-to-zero.
cd "$(dirname "$0")/.." || exit 1
failed=0
libm=$(gcc -print-file-name=libm.so.6)
mkdir -p build
# A symbol that libm defines, or one of the float helpers gcc would call for it.
nm -D --defined-only "$libm" | sed 's/.* //; s/@.*//' | grep -v '^_' | sort -u >build/libm.txt
[ "$(wc -l <build/libm.txt)" -gt 300 ] && grep -qx expf build/libm.txt ||
    { echo "FAIL objects: the list of libm's functions is wrong" && exit 1; }
asked() { nm -u "$@" | sed -n 's/^ *U //p' | sed 's/@.*//' | sort -u | comm -12 - build/libm.txt; }

printf 'float expf(float);\nfloat f(float x) { return expf(x); }\n' |
    gcc -x c -c -o build/wrong.o - && [ "$(asked build/wrong.o)" = expf ] &&
    echo "ok objects: an object that calls expf is noticed" ||
    { echo "FAIL objects: an object that calls expf is not noticed" && failed=1; }

for config in gcc clang; do
    set -- build/$config/*.o
    [ -e "$1" ] || continue
    found=$(asked "$@")
    if [ -z "$found" ]; then
        echo "ok objects: $config: $# objects ask libm for nothing"
    else
        echo "FAIL objects: $config: an object asks libm for" $found
        failed=1
    fi
done
if [ -e build/assay ]; then
    if readelf -d build/assay | grep -q 'NEEDED.*libm\.so'; then
        echo "FAIL objects: build/assay is linked to libm" && failed=1
    elif nm build/assay | grep -q set_fast_math; then
        echo "FAIL objects: build/assay sets flush-to-zero at start" && failed=1
    else
        echo "ok objects: build/assay is not linked to libm and sets no flush-to-zero"
    fi
fi
exit $failed
