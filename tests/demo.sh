#!/bin/sh
# demo.sh [DIR] - what `make demo` shows: a dense model quantised; then one process that serves it
# over HTTP and improves the same weights meanwhile; then its journal, executed again, by the plain
# code too, which ends on the same weights. With a folder of your own: quantised, and text from it
# before and after.
cd "$(dirname "$0")/.." || exit 1
dir=${1:-vectors/tiny}
if [ ! -e "$dir/config.json" ]; then
    echo "There is no $dir/config.json: make demo MODEL=DIR, where DIR is a Hugging Face folder of a"
    echo "Qwen3 or Llama model (config.json, tokenizer.json, model.safetensors)."
    exit 1
fi
out=build/demo
rm -rf $out && mkdir -p $out || exit 1
if [ -n "$1" ]; then
    set -ex
    build/assay inspect "$dir" | tail -n 3
    build/assay quantize "$dir" $out/tq4
    build/assay generate "$dir" -p "Once upon a time" -n 200
    build/assay generate $out/tq4 -p "Once upon a time" -n 200
    echo "serve it: build/assay serve $out/tq4 --learn FILE"
    exit
fi

# ask CONTENT: one question at the server, as any client of the OpenAI interface would ask it.
ask() {
    python3 - "$port" "$1" <<'END'
import json, sys, urllib.request
body = {"messages": [{"role": "user", "content": sys.argv[2]}], "max_tokens": 48, "temperature": 0}
r = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions",
                           json.dumps(body).encode(), {"Content-Type": "application/json"})
a = json.load(urllib.request.urlopen(r))
c = a["choices"][0]
print(f"  {sys.argv[2]!r}\n    -> {c['message']['content']!r} "
      f"(weight versions {c['assay']['version_first']} to {c['assay']['version_last']})")
END
}
# metric NAME: its value now; - when it is not there yet
metric() {
    python3 - "$port" "$1" <<'END'
import sys, urllib.request
text = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics").read().decode()
print(next((l.split()[1] for l in text.splitlines() if l.split()[0] == sys.argv[2]), "-"))
END
}

set -ex
build/assay inspect "$dir" | tail -n 3
build/assay quantize "$dir" $out/tq4
# What it has never seen: antiderivatives. Scales and codebooks learn them while it serves.
python3 vectors/tiny/corpus.py 20000 3 --new >$out/new.txt
build/assay serve $out/tq4 --learn $out/new.txt --steps 48 --lr 3e-3 --snapshot 21 \
    --journal $out/run.journal --port 0 >$out/serve.out 2>$out/serve.err &
server=$!
{ set +x; } 2>/dev/null
trap 'kill $server 2>/dev/null' EXIT
until port=$(sed -n 's|^serving .*:\([0-9]*\), journal.*|\1|p' $out/serve.err) && [ -n "$port" ]; do
    kill -0 $server || { cat $out/serve.err && exit 1; }
    sleep 0.1
done
echo "one process serves at port $port and learns:"
version=-1
while [ "$version" -lt 48 ]; do
    now=$(metric assay_weight_version)
    [ "$now" -gt "$version" ] || { sleep 0.2 && continue; }
    if [ $((now / 16)) != $((version / 16)) ] || [ "$version" -lt 0 ]; then
        echo "version $now, loss $(metric assay_learn_loss | cut -c 1-6)"
        ask "integral of 3*q^2 by q"
    fi
    version=$now
done
set -x
kill -TERM $server
wait $server
trap - EXIT
cat $out/serve.out
build/assay journal $out/run.journal | tail -n 6 | cut -c 1-100
build/assay replay $out/run.journal
{ set +x; } 2>/dev/null
served=$(sed -n 's/.*SHA-256 //p' $out/serve.out)
again=$(build/assay replay $out/run.journal --from v00000042 --backend ref | sed -n 's/.*SHA-256 //p')
echo "served and learned:                         $served"
echo "replayed from a snapshot by the plain code: $again"
[ "$served" = "$again" ]
