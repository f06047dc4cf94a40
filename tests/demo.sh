#!/bin/sh
# demo.sh [DIR] - what `make demo` shows: a dense model quantised, its ladder, text generated from
# it before and after; and, with the embedded model, the small model learning new text in its
# scales and codebooks alone.
cd "$(dirname "$0")/.." || exit 1
dir=${1:-vectors/tiny}
if [ ! -e "$dir/config.json" ]; then
    echo "There is no $dir/config.json: make demo MODEL=DIR, where DIR is a Hugging Face folder of a"
    echo "Qwen3 or Llama model (config.json, tokenizer.json, model.safetensors)."
    exit 1
fi
out=build/demo
rm -rf $out && mkdir -p $out || exit 1
# the SHA-256 of all codes of a model
codes() {
    python3 - "$1/model.safetensors" <<'END'
import hashlib, json, struct, sys
data = open(sys.argv[1], "rb").read()
start = 8 + struct.unpack("<Q", data[:8])[0]
head, sha = json.loads(data[8:start]), hashlib.sha256()
for name in sorted(head):
    if name.endswith(".codes"):
        first, last = head[name]["data_offsets"]
        sha.update(data[start + first : start + last])
print("codes:", sha.hexdigest())
END
}
set -ex
build/assay inspect "$dir" | tail -n 3
if [ "$(du -Lsk "$dir" | cut -f 1)" -lt 65536 ]; then
    build/assay quantize "$dir" $out/tq4 --calib self
    build/assay ladder "$dir" --distil 0
else # a calibration text and the ladder take hours for a large model
    build/assay quantize "$dir" $out/tq4
fi
if [ -n "$1" ]; then
    build/assay generate "$dir" -p "Once upon a time" -n 200
    build/assay generate $out/tq4 -p "Once upon a time" -n 200
    exit
fi
problem='spring, stretch q, mass = 3, stiffness = 8
derive'
build/assay generate "$dir" --chat -p "$problem" -n 100
build/assay generate $out/tq4 --chat -p "$problem" -n 100
# What it has never seen: antiderivatives. Scales and codebooks learn, the codes stay.
python3 vectors/tiny/corpus.py 20000 3 --new >$out/new.txt
python3 vectors/tiny/corpus.py 500 4 --new >$out/held.txt
build/assay train $out/tq4 --what r1r2 --text $out/new.txt --held $out/held.txt --steps 60 --lr 3e-3 --out $out/learnt
codes $out/tq4
codes $out/learnt
build/assay generate $out/tq4 --chat -p "integral of 3*q^2 by q" -n 40 --temp 0
build/assay generate $out/learnt --chat -p "integral of 3*q^2 by q" -n 40 --temp 0
