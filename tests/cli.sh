#!/bin/sh
# cli.sh - the command line: exit code 0, 1 or 2, what goes to stdout and stderr, refused options.
# With ../shared/data/babyllama also the messages that need a model.
cd "$(dirname "$0")/.." || exit 1
assay=${ASSAY:-build/assay}
model=../shared/data/babyllama
dir=build/cli
rm -rf $dir && mkdir -p $dir || exit 1
failed=0
passed=0
ok() { passed=$((passed + 1)) && echo "ok cli: $1"; }
no() { failed=$((failed + 1)) && echo "FAIL cli: $1: $(head -n 1 $dir/err)"; }

# want CODE TEXT ARGUMENTS...: the exit code, and TEXT in the first line of stderr.
want() {
    code=$1 text=$2
    shift 2
    "$assay" "$@" >$dir/out 2>$dir/err </dev/null
    got=$?
    if [ $got != "$code" ]; then
        no "assay $*: exit code $got, expected $code"
    elif [ "$code" = 0 ] && [ -s $dir/err ]; then
        no "assay $*: stderr is not empty"
    elif [ "$code" != 0 ] && ! head -n 1 $dir/err | grep -qF -- "$text"; then
        no "assay $*: expected \"$text\" on stderr"
    elif [ "$code" != 0 ] && [ -s $dir/out ]; then
        no "assay $*: stdout is not empty"
    elif [ "$code" = 1 ] && [ "$(wc -l <$dir/err)" != 1 ]; then
        no "assay $*: more than one line on stderr"
    else
        ok "assay $*: $code"
    fi
}

want 2 "a command is missing"
want 2 "no such command: frob" frob
want 0 "" --help
for c in $("$assay" --help | awk 'NR > 1 { print $1 }'); do
    want 0 "" "$c" --help
    grep -q "^usage: assay $c " $dir/out || no "assay $c --help says nothing about $c"
done
want 2 "an argument is missing" inspect
want 2 "one argument too many: b" inspect a b
want 2 "no such option here: --temp" inspect a --temp 1
want 2 "no such option here: -x" sizes -x
want 2 "out of range: -n" generate a -p b -n 0
want 2 "out of range: -n" generate a -p b -n 1.5
want 2 "out of range: -n" generate a -p b -n
want 2 "out of range: --temp" generate a -p b --temp nan
want 2 "out of range: --top-p" generate a -p b --top-p 1.01
want 2 "out of range: --seed" generate a -p b --seed 4294967296
want 2 "-p TEXT is missing" generate a
want 2 "expected ref or simd: gpu" quantize a b --backend gpu
want 2 "expected ref, simd or gpu: cuda" generate a -p b --backend cuda
want 1 "built without CUDA (make gpu-build)" generate a -p b --backend gpu
want 1 "nowhere" inspect $dir/nowhere
want 1 "config.json" generate $dir/nowhere -p b
want 2 "expected --tokens" logits a b
want 2 "expected tiny, 0.6b" bench --shape 99b
want 0 "" sizes
if grep -q '^qwen3-1.7b  *2818572288  *795020352 ' $dir/out; then
    ok "sizes of 1.7b are those computed by hand"
else
    no "sizes of 1.7b"
fi
if [ -e /dev/full ]; then
    "$assay" sizes >/dev/full 2>$dir/err
    if [ $? = 1 ]; then ok "a full disk under stdout: 1"; else no "a full disk under stdout"; fi
fi

if [ -d $model ]; then
    want 0 "" inspect $model
    want 1 "--tokens: byte 2" logits $model --tokens 1,x $dir/logits
    want 1 "--tokens: byte 2" logits $model --tokens 1,99999999 $dir/logits
    want 2 "--rung block" quantize $model $dir/q --rung block
    want 1 "fewer than --context 4" generate $model -p "one two three four five" --context 4
    want 0 "" logits $model --tokens 1,2,3 $dir/logits
    want 0 "" logits $model --tokens 1,2,3 --backend ref $dir/logits-ref
    cmp $dir/logits $dir/logits-ref && ok "logits: both backends" || no "logits: backends differ"
    story() { "$assay" generate $model --temp 1.5 "$@" 2>$dir/err; }
    story -p "Once" -n 60 >$dir/a
    story -p "Once" -n 60 --jobs 1 --backend ref >$dir/b
    cmp $dir/a $dir/b && ok "generate repeats itself" || no "generate: two runs differ"
    story -p "Once" -n 60 --seed 2 >$dir/b
    cmp -s $dir/a $dir/b && no "generate: another seed, the same text" || ok "generate: seeds"
    # The prompt lengthened by the first 20 characters goes on as before: draws are by position.
    begin=$(head -c 20 $dir/a)
    printf '%s' "$begin" >$dir/b
    story -p "Once$begin" -n 40 >>$dir/b
    cmp $dir/a $dir/b && ok "generate goes on" || no "generate: a longer prompt, another text"
else
    echo "not run: cli: $model is missing"
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
