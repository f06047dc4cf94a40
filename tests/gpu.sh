#!/bin/sh
# gpu.sh [built] - what `make gpu` runs on a machine with a GPU, in less than ten minutes; every step
# has its own limit, and what does not fit is "not run". The report (log.txt, steps.txt and the
# receipt) is in $OUT or build/gpu-report, and the receipt in vectors/receipts/ too. "built": the
# programs are there already (sh tests/gpu.sh carry makes them where there may be no GPU, with the
# libraries that they need). BACKEND=emu ASSAY=build/emu/assay tries the script without a GPU.
# gpu.sh cases PROGRAM BACKEND FOLDER - trains and decodes a small model, for this and receipts.sh:
# prints "train SHA256" of the weights after 100 steps, "greedy SHA256" and "sampled SHA256" of the
# text of 1,000 tokens, a sequence alone.
cd "$(dirname "$0")/.." || exit 1
backend=${BACKEND:-gpu}
program=${ASSAY:-build/gpu/assay}
work=build/gpu-report
[ -d build/gpu/lib ] && export LD_LIBRARY_PATH="$PWD/build/gpu/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONDONTWRITEBYTECODE=1

# ---- the steps. Status 77: it cannot be done here, the last line says why.

# A copy of the embedded model in $1/model without ids that end a text, quantised, and a text for it.
small_model() {
    mkdir -p "$1/dense" && cp vectors/tiny/model.safetensors vectors/tiny/tokenizer*.json "$1/dense/" &&
        grep -v eos_token_id vectors/tiny/config.json >"$1/dense/config.json" &&
        python3 vectors/tiny/corpus.py 2000 5 >"$1/text.txt" 2>/dev/null &&
        rm -rf "$1/model" && "$program" quantize "$1/dense" "$1/model" --rung codebook 2>/dev/null
}

cases() { # cases PROGRAM BACKEND FOLDER
    program=$1 by=$2 out=$3
    small_model "$out" || return 1
    $program train "$out/model" --what r1r2+norms --text "$out/text.txt" --out "$out/trained-$by" \
        --steps 100 --warmup 10 --batch 8 --micro 4 --ctx 64 --seed 3 --lr 1e-3 --backend "$by" \
        >"$out/train-$by.txt" 2>"$out/train-$by.err" || { cat "$out/train-$by.err" && return 1; }
    $program generate "$out/model" -p 'd/dx' -n 1000 --temp 0 --context 1100 --backend "$by" \
        >"$out/greedy-$by.txt" &&
        $program generate "$out/model" -p 'd/dx' -n 1000 --temp 0.8 --top-k 40 --top-p 0.95 --seed 9 \
            --context 1100 --backend "$by" >"$out/sampled-$by.txt" || return 1
    sed -n 's/.*weights SHA-256 /train /p' "$out/train-$by.txt"
    for k in greedy sampled; do echo "$k $(sha256sum <"$out/$k-$by.txt" | cut -d ' ' -f 1)"; done
}
carry() { # programs for a machine that may lack libraries: name build/gpu and build/gpu-w* to it
    make --no-print-directory gpu-build || return 1
    for w in 12 16; do
        make --no-print-directory CONFIG=gpu B=build/gpu-w$w MEGA_WARPS=$w build || return 1
    done
    mkdir -p build/gpu/lib
    for l in $(ldd build/gpu/assay | grep -oE '/[^ ]*\.so[^ ]*' |
        grep -vE '/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|cuda))\.so'); do
        cp -L "$l" build/gpu/lib/
    done
    git rev-parse HEAD >build/gpu/commit
    git status --porcelain | grep -q . && echo changed >>build/gpu/commit
    { nvcc --version || /usr/local/cuda/bin/nvcc --version; } 2>/dev/null | tail -n 1 >build/gpu/compilers
    gcc --version | head -n 1 >>build/gpu/compilers
    return 0
}
build() {
    rm -f build/gpu/assay # an old one would be taken for this commit's
    command -v nvcc || ls /usr/local/cuda/bin/nvcc || { echo "nvcc is not installed" && return 77; }
    sh .ci/deps build && make --no-print-directory -j "$(nproc)" gpu-build && rm -f build/gpu/commit &&
        rm -f build/gpu/compilers && [ -x build/gpu/assay ]
}
sanitize() { # sanitize TOOL: prefill, attention over a cache and decoding
    tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    [ -n "$tool" ] || { echo "compute-sanitizer is not installed" && return 77; }
    small=$work/cases
    [ -e $small/model ] || small_model $small || return 1
    [ ! -e $work/hangs ] || { echo "compute-sanitizer did not end before" && return 77; }
    echo "a tool began that has not ended" >$work/hangs
    $tool --tool "$1" --error-exitcode 9 --report-api-errors no $program generate $small/model -p 'd/dx' -n 3 --temp 0.8 \
        --top-k 5 --backend $backend >$work/$1.out 2>&1
    status=$?
    rm $work/hangs
    grep -q 'ERROR SUMMARY: [1-9]' $work/$1.out && cat $work/$1.out && return 1
    cat $work/$1.out
    # A tool that cannot open the device says nothing of the program.
    [ $status != 0 ] && grep -qiE 'device not supported|unable to|internal error' $work/$1.out &&
        { echo "compute-sanitizer does not work on this device" && return 77; }
    return $status
}
peer() {
    unset LD_LIBRARY_PATH
    python3 -c 'import torch' 2>/dev/null || { echo "torch is not installed" && return 77; }
    python3 tests/gpu_peer.py --shape "$1"
}
facts() {
    [ "$backend" = gpu ] || { echo "emulated, no device" && return; }
    clocks=clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,$clocks,power.limit \
        --format=csv,noheader
    nvidia-smi | grep -oE 'CUDA( UMD)? Version: [0-9.]*' || true
}
variant() { # variant WARPS: another block size gives the same bits; its speed
    [ -x build/gpu-w"$1"/assay ] || { echo "build/gpu-w$1 is not built (gpu.sh carry)" && return 77; }
    build/gpu-w"$1"/assay verify --backend gpu >$work/variant.out 2>&1 ||
        { tail -n 3 $work/variant.out && return 1; }
    tail -n 1 $work/variant.out && build/gpu-w"$1"/assay bench --backend gpu --shape 1.7b
}
live() { # serving and learning at once, and its replay by the processor
    [ -e $work/cases/model ] || small_model $work/cases || return 1
    python3 tests/gpu_live.py $program $backend $work/cases/model $work/cases/text.txt $work
}
practice() { # a task practised by the device and by the processor, which executes the journal too
    "$program" quantize vectors/tiny $work/practised 2>/dev/null || return 1
    for by in "$backend" simd; do
        rm -f $work/by-"$by".*
        "$program" train $work/practised --task hamilton --what r1r2 --steps 3 --batch 16 --group 8 \
            --ctx 112 --warmup 1 --lr 0.01 --seed 3 --slots 12 --backend "$by" --out $work/by-"$by" \
            >$work/by-"$by".txt || return 1
    done
    "$program" replay $work/by-"$backend".journal --backend simd >$work/by-replay.txt || return 1
    cat $work/by-*.txt
    [ "$(grep -oh 'SHA-256 [0-9a-f]*' $work/by-*.txt | sort -u | wc -l)" = 1 ]
}
case $1 in
cases | carry | build | sanitize | peer | facts | variant | live | practice)
    "$@"
    exit $?
    ;;
esac

# ---- all of them

if [ "$backend" = gpu ] && ! nvidia-smi -L 2>/dev/null | grep -q GPU; then
    echo "not run: gpu: no device" && exit 0
fi
report=${OUT:-build/gpu-report}
keep=
[ "$backend" = gpu ] && keep=vectors/receipts
rm -rf $work && mkdir -p $work "$report" || exit 1
: >"$report/log.txt"
begun=$(date +%s)
budget=${BUDGET:-570} # seconds
failed=0
self="sh tests/gpu.sh"

# Ends what a step has left behind: a program that still held the device would disturb the next one.
end_group() {
    kill -s KILL -- "-$group" 2>/dev/null
    n=0
    while kill -s 0 -- "-$group" 2>/dev/null && [ $n -lt 50 ]; do
        sleep 0.2
        n=$((n + 1))
    done
}
trap 'end_group; exit 1' INT TERM

# step NAME SECONDS COMMAND...: runs it for so long at most and writes down how it ended.
step() {
    name=$1 limit=$2 whole=$2
    shift 2
    left=$((begun + budget - $(date +%s)))
    [ $limit -lt $left ] || limit=$left
    start=$(date +%s)
    status=skipped
    if [ $limit -ge 5 ]; then
        timeout -k 5 $limit "$@" >$work/$name.log 2>&1 </dev/null &
        group=$! # timeout leads a group of its own
        wait $group
        status=$?
        end_group
    fi
    # What checks a device's bits and had all of its time has failed: a kernel that hangs looks like this.
    case "$backend $name $status" in
    "gpu "[svmclpt]*" 124" | "gpu "[svmclpt]*" 137")
        case $name in cases-simd | memcheck | synccheck | peer*) ;; *) [ $limit -lt $whole ] || status=hung ;; esac
        ;;
    esac
    took=$(($(date +%s) - start))
    case $status in
    0) echo "ok gpu: $name, $took s" ;;
    skipped) echo "not run: gpu: $name: no time left" ;;
    77) echo "not run: gpu: $name: $(tail -n 1 $work/$name.log)" ;;
    124 | 137) echo "not run: gpu: $name: not done in $limit s" ;;
    hung) failed=1 && echo "FAIL gpu: $name: not done in $limit s" ;;
    *)
        echo "FAIL gpu: $name: ended with status $status: $(grep -v '^ok' $work/$name.log | tail -n 1)"
        failed=1
        ;;
    esac
    echo "$name $status $took $*" >>$work/steps.txt
    { echo "== $name: $*" && cat $work/$name.log 2>/dev/null; } >>"$report/log.txt"
    [ "$report" = $work ] || cp $work/steps.txt "$report/"
    python3 tests/gpu_receipt.py write $work "$report" $keep || failed=1
    return 0
}
# same: the device's hashes are those of the CPU, each by its name.
same() {
    for k in train greedy sampled; do
        a=$(sed -n "s/^$k //p" $work/cases.log 2>/dev/null)
        b=$(sed -n "s/^$k //p" $work/cases-simd.log 2>/dev/null)
        if [ -z "$a" ] || [ -z "$b" ]; then
            echo "not run: gpu: $k: nothing to compare"
        elif [ "$a" = "$b" ]; then
            echo "ok gpu: $k: the SHA-256 is that of the processor"
        else
            echo "FAIL gpu: $k: the SHA-256 is $a, on the processor $b"
            failed=1
        fi
    done
}

step facts 20 $self facts
[ "$1" = built ] || [ "$backend" != gpu ] || step build 240 $self build
[ -x "$program" ] || { echo "FAIL gpu: there is no $program" && exit 1; }
[ "$backend" != gpu ] || step smoke 60 $program bench --backend $backend --shape tiny
step verify 90 $program verify --backend $backend
[ "$backend" != gpu ] || step mixed 60 build/gpu/mixed
[ "$backend" != gpu ] || step mixed-8b 90 build/gpu/mixed qwen3-8b
step cases 60 $self cases $program $backend $work/cases
step cases-simd 60 $self cases $program simd $work/cases
same
step live 60 $self live
step practice 60 $self practice
step bench-serve 60 $program bench --backend $backend --serve --shape 1.7b
step bench-1.7b 90 $program bench --backend $backend --shape 1.7b
step peer-1.7b 90 $self peer 1.7b
step bench-8b 120 $program bench --backend $backend --shape 8b
step bench-14b 150 $program bench --backend $backend --shape 14b
step tiny 60 env ASSAY=$program BACKEND=$backend sh vectors/tiny/make.sh 50
step warps-12 90 $self variant 12
step warps-16 90 $self variant 16
step peer-8b 120 $self peer 8b
step memcheck 45 $self sanitize memcheck
step synccheck 45 $self sanitize synccheck
step racecheck 45 $self sanitize racecheck
exit $failed
