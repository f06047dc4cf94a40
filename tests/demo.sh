#!/bin/sh
# demo.sh [DIR] - what `make demo` shows: a dense model folder quantised, its ladder, and text
# generated from it before and after.
cd "$(dirname "$0")/.." || exit 1
dir=${1:-../shared/data/babyllama}
if [ ! -e "$dir/config.json" ]; then
    echo "make demo needs a model: make demo MODEL=DIR, where DIR is a Hugging Face folder of a"
    echo "Qwen3 or Llama model (config.json, tokenizer.json, model.safetensors)."
    [ -z "$1" ] || echo "There is no $dir/config.json."
    exit 1
fi
out=build/demo
rm -rf $out && mkdir -p $out || exit 1
set -ex
build/assay inspect "$dir" | tail -n 3
if [ "$(du -Lsk "$dir" | cut -f 1)" -lt 65536 ]; then
    build/assay quantize "$dir" $out/tq4 --calib self
    build/assay ladder "$dir"
else # a calibration text and the ladder take hours for a large model
    build/assay quantize "$dir" $out/tq4
fi
build/assay generate "$dir" -p "Once upon a time" -n 200
build/assay generate $out/tq4 -p "Once upon a time" -n 200
