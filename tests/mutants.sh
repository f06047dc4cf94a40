#!/bin/sh
# mutants.sh - faults put into copies of the kernels, one at a time, and the emulator notices each:
# by different bits, by a race, by a deadlock, or by a fence that is missing. Nothing is learned from
# a check that cannot fail; these are the failures that schedules.sh is there for.
cd "$(dirname "$0")/.." || exit 1
if [ "$(uname -m)" != x86_64 ] || ! command -v g++ >/dev/null; then
    echo "not run: mutants: the emulator needs g++ on x86-64" && exit 0
fi
out=build/mutants
rm -rf $out && mkdir -p $out || exit 1
make --no-print-directory CONFIG=emu build/emu/mixed >$out/make 2>&1 ||
    { echo "FAIL mutants: make CONFIG=emu" && exit 1; }
export OMP_NUM_THREADS=1

# mutant NAME FLAVOUR FILE SED WANTED: compiles the kernel with FILE changed by SED, and runs it on
# some schedules until WANTED (a pattern of the last lines) shows.
cat >$out/one.sh <<'END2'
name=$1 flavour=$2 file=$3 change=$4 wanted=$5
dir=build/mutants/$name
mkdir -p $dir && cp kernels/*.cu kernels/*.cuh kernels/*.h $dir
sed -i "$change" $dir/$file
if cmp -s $dir/$file kernels/$file; then
    echo "FAIL mutants: $name: the change finds nothing to change"
    exit
fi
race=$([ $flavour = race ] && echo -fsanitize=thread)
objects=$(ls src/*.c | grep -v /main.c | sed 's|src/\(.*\)\.c|build/emu/\1.o|')
if ! g++ -x c++ -std=c++17 -DASSAY_EMU -DMEGA_WARPS=4 -g -O1 -march=x86-64-v3 -ffp-contract=off \
    -fno-fast-math -fopenmp -w $race -Isrc -I$dir -Itests/emu -c $dir/mega.cu -o $dir/mega.o \
    2>$dir/log || ! g++ -fopenmp -pthread -o $dir/mixed build/emu/mixed.o $objects \
    build/emu/kernels/host.o build/emu/kernels/emu.o $dir/mega.o \
    $(pkg-config --libs jansson libpcre2-8 libutf8proc libsodium libmicrohttpd) \
    $(pkg-config --libs ompi-c 2>/dev/null) 2>>$dir/log; then
    echo "FAIL mutants: $name: does not compile: $(grep -m 1 error $dir/log)"
    exit
fi
[ $flavour != late ] || export EMU_TIMEOUT=1 # spins that wait give up, as they would on a device
for seed in 0 1 2 3 4 5; do
    EMU_SEED=$seed EMU_SMS=3 timeout 100 $dir/mixed $((seed % 2)) >$dir/run 2>&1 && continue
    if grep -q "$wanted" $dir/run; then
        echo "ok mutants: $name: seed $seed: $(grep -m 1 "$wanted" $dir/run | cut -c 1-150)"
    else
        echo "FAIL mutants: $name: noticed, but not as '$wanted': $(tail -n 1 $dir/run)"
    fi
    exit
done
echo "FAIL mutants: $name: not noticed"
END2

# The changes, a line each: NAME FLAVOUR FILE | SED | WANTED
cat >$out/list <<'END2'
sum-order plain grid.cuh|/lane_fold/,/^}/s/int d = 16; d > 0; d \/= 2/int d = 1; d < 32; d *= 2/|FAIL mixed
lost-partial-sum plain linear.cuh|s/return split + (int64_t)w \* 16 \* tokens;/return split;/|FAIL mixed
no-grid-barrier race forward.cuh|/quantise_many(m, r, &p->w/,/linear_many/s/grid_sync(m);//|race
no-block-barrier race quant.cuh|s/^        if (norm) __syncthreads();//|race
no-warp-barrier race linear.cuh|/^DEV void fetch/,/^}/s/^    __syncwarp();//|race
read-too-early plain linear.cuh|s/while (!copies_landed(/while (0 \&\& !copies_landed(/|FAIL\|emu:
no-proxy-fence race update.cuh|s/copies_fence();//|fence
lost-arrival late grid.cuh|s/add_release(m->arrive, 1);/if (blockIdx.x != 1 \|\| state()->barriers != 40) &/|waited too long
one-block-skips plain update.cuh|0,/grid_sync(m);/s//if (blockIdx.x != 1) grid_sync(m);/|emu:\|FAIL mixed
one-way-for-all plain sample.cuh|s/r->how\[t\]/r->how[0]/|FAIL mixed
embeds-each-slice plain mirror.cuh|s/if (i == 0) run_phases/run_phases/|FAIL mixed
stale-key plain forward.cuh|s/fresh = single \&\& last ? n - 1 : -1/fresh = -1/|FAIL mixed\|race
no-page-table plain forward.cuh|s/r->page\[seq \* r->chunks + chunk\]/(seq * r->chunks + chunk)/|FAIL mixed
key-not-rounded plain forward.cuh|s/as_cached(r, own\[d\])/own[d]/|FAIL mixed
value-not-rounded plain forward.cuh|s/as_cached(r, r->v\[key_at + d\])/r->v[key_at + d]/|FAIL mixed
END2
sed 's/\\|/@OR@/g' $out/list | while IFS='|' read -r head change wanted; do
    set -- $head
    for word in "$1" "$2" "$3" "$change" "$wanted"; do
        printf '%s\0' "$(printf %s "$word" | sed 's/@OR@/\\|/g')"
    done
done | xargs -0 -P "$(nproc)" -n 5 sh $out/one.sh >$out/result
sort $out/result
! grep -q '^FAIL' $out/result && [ "$(grep -c '^ok' $out/result)" = "$(wc -l <$out/list)" ]
