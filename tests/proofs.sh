#!/bin/sh
# proofs.sh - runs each file of proofs/claims.txt through its prover: .g Gappa, .v Coq; .c is a
# program that tries all small cases. A proof
# whose prover is not installed is "not run". A file that is not listed, or a listed file that does
# not exist, fails; so does a Coq file that leaves something unproved.
cd "$(dirname "$0")/.." || exit 1
failed=0
no() {
    echo "FAIL proofs: $*"
    failed=1
}
listed=$(awk -F '|' '!/^#/ && NF >= 3 { gsub(/[ \t]/, "", $2); if ($2 != "none") print $2 }' \
    proofs/claims.txt)
for f in proofs/*; do
    case $f in proofs/claims.txt) continue ;; esac
    echo "$listed" | grep -qx "$f" || no "$f is not in proofs/claims.txt"
done
out=build/proofs
rm -rf $out && mkdir -p $out || exit 1
for f in $listed; do
    name=$(basename "$f")
    log=$out/$name.log
    if [ ! -e "$f" ]; then
        no "proofs/claims.txt names $f, which does not exist"
        continue
    fi
    case $f in
    *.g) tool=gappa ;;
    *.v) tool=coqc ;;
    *.c) tool=gcc ;;
    *) no "$f: no prover is known for this kind of file" && continue ;;
    esac
    if ! command -v $tool >/dev/null; then
        echo "not run: proofs: $f: $tool is not installed"
        continue
    fi
    if [ $tool = gappa ]; then
        timeout 300 gappa "$f" >"$log" 2>&1 && ! grep -qi 'error\|failed\|no proof' "$log"
    elif [ $tool = gcc ]; then
        # shellcheck disable=SC2046
        gcc -std=c11 -D_GNU_SOURCE -O2 -Isrc "$f" -o "$out/$name.run" \
            $(pkg-config --cflags --libs jansson libpcre2-8 libutf8proc) >"$log" 2>&1 &&
            timeout 300 "$out/$name.run" >>"$log" 2>&1
    else
        cp "$f" $out/
        ! grep -nE 'Admitted|admit|Axiom|Parameter|Conjecture|Abort' "$f" >"$log" &&
            (cd $out && timeout 300 coqc -q "$name") >>"$log" 2>&1
    fi && echo "ok proofs: $f: $tool" || { no "$f: $tool: see $log" && tail -n 5 "$log"; }
done
[ -n "$listed" ] || echo "not run: proofs: none is claimed yet"
exit $failed
