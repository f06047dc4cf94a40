#!/bin/sh
# book.sh [text] - weaves the chapters, shows that the printed code is the program, and renders
# build/book/index.html and a page per chapter. With "text" it stops before rendering.
cd "$(dirname "$0")/.." || exit 1
out=build/book
rm -rf $out && mkdir -p $out/md $out/joined/src $out/joined/kernels || exit 1

set -- src/*.[ch] src/*.html kernels/*.cu kernels/*.cuh kernels/*.h
sources=""
for f in "$@"; do [ -e "$f" ] && sources="$sources $f"; done

if awk -v out=$out/md -v all="$sources" -f book/weave.awk book/[0-9]*.md; then
    echo "ok book: weave: every line of $(echo $sources | wc -w) files is printed"
else
    echo "FAIL book: weave (see the lines above)" && exit 1
fi

awk -v out=$out/joined -f book/unweave.awk $out/md/*.md
for f in $sources; do
    cmp "$f" "$out/joined/$f" || { echo "FAIL book: unweave: $f" && exit 1; }
done
echo "ok book: unweave: the printed code is the sources, byte for byte"
[ "$1" = text ] && exit 0

if ! command -v pandoc >/dev/null; then
    echo "not run: book: pandoc is not installed" && exit 0
fi

# href FILE: where the page of a chapter lies; title FILE: its heading.
href() { basename "$1" .md | sed 's/$/.html/'; }
title() { sed -n '/^# /{s/^# //p;q;}' "$1"; }
link() { [ -z "$2" ] || printf '<a href="%s">%s</a>\n' "$(href "$2")" "$1 $(title "$2")"; }
page() { # page FROM TO TITLE: links between chapters end in .md in the source, .html here
    sed 's/](\([0-9][0-9]-[a-z0-9]*\)\.md/](\1.html/g' "$1" |
        pandoc --from=markdown --to=html5 --standalone --mathml --fail-if-warnings \
            --highlight-style=monochrome --css=book.css --metadata lang=en \
            --metadata pagetitle="$3" --include-before-body=$out/nav.html \
            --include-after-body=$out/nav.html --output="$2"
}

cp book/book.css $out/book.css
failed=0
list=""
previous=""
set -- $out/md/*.md
while [ $# -gt 0 ]; do
    {
        echo '<nav><a href="index.html">Contents</a>'
        link '&larr;' "$previous"
        link '&rarr;' "$2"
        echo '</nav>'
    } >$out/nav.html
    if page "$1" "$out/$(href "$1")" "$(title "$1")"; then
        list="$list- [$(title "$1")]($(href "$1"))
"
    else
        echo "FAIL book: pandoc: $1"
        failed=1
    fi
    previous=$1
    shift
done

printf '# Assay\n\nThe program, explained and printed in full.\n\n%s' "$list" >$out/index.md
: >$out/nav.html
page $out/index.md $out/index.html "Assay: the book" || failed=1
rm -f $out/nav.html $out/index.md
if grep -l '<script' $out/*.html; then
    echo "FAIL book: these pages hold a script"
    failed=1
fi
[ $failed = 0 ] || exit 1
echo "ok book: $(ls $out/*.html | wc -l) pages without scripts; open $out/index.html"
