#!/bin/sh
# format.sh - clang-format 14 would change nothing. Other versions lay some lines out differently.
cd "$(dirname "$0")/.." || exit 1
if ! command -v clang-format-14 >/dev/null; then
    echo "not run: format: clang-format-14 is not installed" && exit 0
fi
failed=0
for f in src/*.[ch] tests/*.[ch] kernels/*.cu kernels/*.cuh kernels/*.h tests/emu/*; do
    [ -e "$f" ] || continue
    if clang-format-14 -style=file --dry-run --Werror "$f" >/dev/null 2>&1; then
        echo "ok format: $f"
    else
        echo "FAIL format: $f (make format-fix)"
        failed=1
    fi
done
exit $failed
