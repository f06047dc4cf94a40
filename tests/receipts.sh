#!/bin/sh
# receipts.sh - what devices computed (vectors/receipts/*.json, made by gpu.sh) is what this
# processor computes: the hashes of vectors/, of each phase and gradient, of a training run and of
# decoded text. A made-up receipt first, right and then wrong in one place after the other.
cd "$(dirname "$0")/.." || exit 1
program=${ASSAY:-build/assay}
out=build/receipts
rm -rf $out && mkdir -p $out/run $out/report || exit 1
export PYTHONDONTWRITEBYTECODE=1
failed=0
no() {
    echo "FAIL receipts: $*"
    failed=1
}
check() { python3 tests/gpu_receipt.py check "$@"; }

# What gpu.sh leaves behind, made up: hashes of a device that computes as it should.
echo "Made-up device, 1.0, 9.0" >$out/run/facts.log
{
    echo "ok  ref family=qwen3: $(grep -c '^case' vectors/ref.txt) cases"
    echo "ok  grad loss=text: $(grep -c '^case' vectors/grad.txt) cases"
    echo "not run on gpu: num exp: 5 cases"
} >$out/run/verify.log
for k in train greedy sampled; do echo "$k $(echo $k | sha256sum | cut -d ' ' -f 1)"; done |
    tee $out/run/cases.log >$out/run/cases-simd.log
{
    echo "facts 0 1 true"
    echo "verify 0 1 true"
    echo "cases 0 1 true"
    echo "cases-simd 0 1 true"
    echo "bench-14b 124 90 true"
} >$out/run/steps.txt
python3 tests/gpu_receipt.py write $out/run $out/report $out/report || no "none can be written"
r=$out/report/made-up-device.json
# Outside a repository there is no commit to name.
sed -i 's/"commit": ""/"commit": "0000000000000000000000000000000000000000"/' $r
if check $r $out/run/cases.log >$out/said && grep -q '^ok .*not run there: bench-14b$' $out/said; then
    echo "ok receipts: a made-up receipt is right: $(grep -oE '[0-9]+ hashes' $out/said)"
else
    no "a made-up receipt: $(head -n 1 $out/said)"
fi
phase=$(grep -m 1 '^phase 0 ATTEND' vectors/ref.txt | cut -d ' ' -f 4)
part=$(grep -m 1 '^ part' vectors/grad.txt | grep -oE '[0-9a-f]{64}')
other=$(echo other | sha256sum | cut -d ' ' -f 1)
wrong() { # wrong WHAT SED: the receipt changed so is refused
    sed "$2" $r >$out/wrong.json
    cmp -s $r $out/wrong.json && no "$1: the receipt does not change"
    if check $out/wrong.json $out/run/cases.log >$out/said || ! grep -q ^FAIL $out/said; then
        no "$1 is not noticed"
    else
        echo "ok receipts: $1 is noticed"
    fi
}
wrong "a wrong hash of a phase" "s/$phase/$other/"
wrong "a wrong hash of a gradient" "s/$part/$other/"
wrong "a missing phase" "/$phase/d"
wrong "a wrong training digest" "s/$(sed -n 's/^train //p' $out/run/cases.log)/$other/"
wrong "another file of vectors" "s/$(sha256sum <vectors/ref.txt | cut -d ' ' -f 1)/$other/"
wrong "a failed step" 's/"failed": \[\]/"failed": ["verify"]/'
wrong "a receipt cut short" '20,$d'

set -- vectors/receipts/*.json
if [ ! -e "$1" ]; then
    echo "not run: receipts: no device has been recorded"
elif [ ! -x "$program" ]; then
    echo "not run: receipts: there is no $program"
elif ! sh tests/gpu.sh cases "$program" simd $out/cases >$out/cases.txt; then
    no "$program does not train and decode: $(tail -n 1 $out/cases.txt)"
else
    for r in "$@"; do check "$r" $out/cases.txt || failed=1; done
fi
exit $failed
