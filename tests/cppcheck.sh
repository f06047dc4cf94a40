#!/bin/sh
# cppcheck.sh - static analysis of every C file; any message is a failure.
cd "$(dirname "$0")/.." || exit 1
if ! command -v cppcheck >/dev/null; then
    echo "not run: cppcheck: not installed" && exit 0
fi
set -- src/*.c
[ -e "$1" ] || { echo "not run: cppcheck: no src/*.c" && exit 0; }
mkdir -p build/cppcheck
if cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability \
    --inline-suppr --suppress=missingIncludeSystem --error-exitcode=1 -D_GNU_SOURCE -D__x86_64__ \
    --cppcheck-build-dir=build/cppcheck -j 2 -Isrc "$@" 2>&1; then
    echo "ok cppcheck: $# files"
else
    echo "FAIL cppcheck: see the lines above"
    exit 1
fi
