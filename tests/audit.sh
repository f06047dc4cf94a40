#!/bin/sh
# audit.sh [write] - makes the generated parts of AUDIT.md again and compares; "write" puts them in.
cd "$(dirname "$0")/.." || exit 1
out=build/audit
rm -rf $out && mkdir -p $out || exit 1
if ! command -v cloc >/dev/null; then
    echo "not run: audit: cloc is not installed" && exit 0
fi

# The table of mirror.sh without its columns of yes and no, and without what is only reserved.
sh tests/mirror.sh | awk '
    BEGIN { print "| module | budget | lines |\n|---|---:|---:|" }
    /^module / { body = 1; next }
    /^(FAIL|ok)/ { body = 0 }
    body && $4 != "reserved" { print "| " $1 " | " $2 " | " $3 " |" }' >$out/lines

{
    printf '| vectors | cases | SHA-256 |\n|---|---:|---|\n'
    for f in vectors/*.txt; do
        [ -e "$f" ] || continue
        echo "| $f | $(grep -Evc '^(#|phase | )' "$f") | \`$(sha256sum "$f" | cut -d ' ' -f 1)\` |"
    done
} >$out/vectors

awk -F '[ ]*[|][ ]*' '
    BEGIN { print "| module | checked by | what is shown, or why nothing is |\n|---|---|---|" }
    /^#/ || NF < 3 { next }
    $2 ~ /\.g$/ { tool = "Gappa, `" $2 "`" }
    $2 ~ /\.v$/ { tool = "Coq, `" $2 "`" }
    $2 ~ /\.c$/ { tool = "all small cases, `" $2 "`" }
    $2 == "none" { tool = "-" }
    { print "| " $1 " | " tool " | " $3 " |" }' proofs/claims.txt >$out/proofs

awk -v out=$out '
    /^<!-- end -->$/ { skip = 0 }
    !skip { print }
    /^<!-- generated: [a-z]+ -->$/ {
        part = out "/" $3
        while ((getline text < part) > 0) print text
        skip = 1
    }' AUDIT.md >$out/AUDIT.md

if [ "$1" = write ]; then
    cp $out/AUDIT.md AUDIT.md
elif diff AUDIT.md $out/AUDIT.md; then
    echo "ok audit: the generated parts of AUDIT.md are up to date"
else
    echo "FAIL audit: AUDIT.md is out of date (make audit)"
    exit 1
fi
