#!/bin/sh
# mirror.sh - every module of book/budgets.txt whose sources exist keeps its budget and has its
# chapter (which prints its files), its vectors with their generator, and its line in
# proofs/claims.txt. Prints the table.
cd "$(dirname "$0")/.." || exit 1
if ! command -v cloc >/dev/null; then
    echo "not run: mirror: cloc is not installed" && exit 0
fi
mkdir -p build
counts=build/lines.txt # "FILE LINES", code without blank lines and comments
cloc --quiet --csv --by-file --skip-uniqueness src kernels 2>/dev/null |
    awk -F, '$2 ~ /^(\.\/)?(src|kernels)\// { sub(/^\.\//, "", $2); print $2, $5 }' |
    grep -E '\.(c|h|cu|cuh|html) ' | sort >$counts

problems=""
modules=0
wrong() {
    problems="$problems
FAIL mirror: $*"
}
lines_of() { # the sum over files
    for f in "$@"; do
        grep -q "^$f " $counts || echo "$f was not counted" >&2
        grep "^$f " $counts
    done | awk '{ sum += $2 } END { print sum + 0 }'
}
printed() { # printed CHAPTER,.. FILES: the chapters print each of them
    text=$(echo "$1" | sed 's|[^,]*|book/&.md|g; s|,| |g')
    shift
    ls $text >/dev/null || return 1
    for f in "$@"; do grep -qF "<<$f: " $text || return 1; done
}
proof_of() { # yes, none (a reason stands in claims.txt), or no
    awk -F '|' -v name="$1" '
        !/^#/ && NF >= 3 { gsub(/[ \t]/, "", $1); gsub(/[ \t]/, "", $2)
            if ($1 == name) answer = $2 != "none" || answer == "yes" ? "yes" : "none" }
        END { print answer ? answer : "no" }' proofs/claims.txt
}

printf '%-8s %6s %6s  %-7s  %-7s  %s\n' module budget lines chapter vectors proof
covered=" "
grep -v '^#' book/budgets.txt >build/budgets.txt
while IFS=' |' read -r name budget chapter vectors; do
    if [ "$name" = kernels ]; then
        files=$(ls kernels/*.cu kernels/*.cuh kernels/*.h 2>/dev/null)
    elif [ "$name" = total ]; then
        files=$(cut -d ' ' -f 1 $counts)
    else
        files=$(ls "src/$name.h" "src/$name.c" "src/$name.html" 2>/dev/null)
    fi
    if [ -z "$files" ]; then
        printf '%-8s %6d %6s  reserved\n' "$name" "$budget" -
        continue
    fi
    lines=$(lines_of $files)
    [ "$lines" -le "$budget" ] || wrong "$name has $lines lines, its budget is $budget"
    if [ "$name" = total ]; then
        printf '%-8s %6d %6d\n' "$name" "$budget" "$lines"
        continue
    fi
    modules=$((modules + 1))
    covered="$covered$(echo $files) "
    c=yes
    printed "$chapter" $files || { c=no && wrong "$chapter does not print $name"; }
    v=none
    if [ "$vectors" = yes ]; then
        v=yes
        [ -s "vectors/$name.txt" ] && [ -s "vectors/gen/$name.py" ] ||
            { v=no && wrong "vectors/$name.txt or vectors/gen/$name.py is missing"; }
    fi
    p=$(proof_of "$name")
    [ "$p" != no ] || wrong "$name has no line in proofs/claims.txt"
    printf '%-8s %6d %6d  %-7s  %-7s  %s\n' "$name" "$budget" "$lines" $c $v "$p"
done <build/budgets.txt

for f in src/*.[ch] kernels/*.cu kernels/*.cuh kernels/*.h; do
    [ -e "$f" ] || continue
    case $covered in *" $f "*) ;; *) wrong "$f belongs to no row of book/budgets.txt" ;; esac
    grep -q "^$f " $counts || wrong "cloc did not count $f"
done
[ -z "$problems" ] || { echo "$problems" | sed 1d && exit 1; }
echo "ok mirror: $modules modules keep their budgets and have chapter, vectors and proof"
