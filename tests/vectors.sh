#!/bin/sh
# vectors.sh [sums] - the golden vectors: each vectors/NAME.txt says on its first line which command
# makes it, comes out the same when vectors/gen/NAME.py makes it again, and all have the SHA-256 that
# vectors/SHA256SUMS says. The generators run in a folder that holds nothing but a copy of vectors/,
# so that none can lean on the program. "sums" writes SHA256SUMS instead.
cd "$(dirname "$0")/.." || exit 1
if [ "$1" = sums ]; then
    cd vectors && sha256sum *.txt >SHA256SUMS
    exit
fi
PYTHON=${PYTHON:-build/venv/bin/python}
case $PYTHON in /*) ;; */*) PYTHON=$PWD/$PYTHON ;; esac # it runs in another folder
failed=0
no() {
    echo "FAIL vectors: $*"
    failed=1
}
again() { # again NAME: the generator prints the file, or writes it beside itself
    rm -f "build/again/vectors/$1.txt"
    (cd build/again && "$PYTHON" "vectors/gen/$1.py" >"$1.out" 2>"$1.err") || return 1
    [ -e "build/again/vectors/$1.txt" ] || mv "build/again/$1.out" "build/again/vectors/$1.txt"
    cmp "vectors/$1.txt" "build/again/vectors/$1.txt"
}
rm -rf build/again && mkdir -p build/again && cp -R vectors build/again/ || exit 1

for f in vectors/*.txt; do
    [ -e "$f" ] || { echo "not run: vectors: there are none" && exit 0; }
    name=$(basename "$f" .txt)
    if [ ! -e "vectors/gen/$name.py" ]; then
        no "$f has no vectors/gen/$name.py"
    elif ! head -n 1 "$f" | grep -q "gen/$name.py"; then
        no "$f does not say on its first line that vectors/gen/$name.py makes it"
    elif ! command -v "$PYTHON" >/dev/null; then
        echo "not run: vectors: $f again: no $PYTHON"
    elif again "$name"; then
        echo "ok vectors: $f: $(grep -Evc '^(#|phase | )' "$f") cases, the same when made again"
    else
        no "$f: see build/again/$name.err"
    fi
done
if (cd vectors && sha256sum --quiet --check SHA256SUMS) &&
    [ "$(sed 's/.*  //' vectors/SHA256SUMS)" = "$(cd vectors && ls *.txt)" ]; then
    echo "ok vectors: SHA256SUMS names every file and its hash"
else
    no "SHA256SUMS does not agree with the files (make sums, after looking why)"
fi
exit $failed
