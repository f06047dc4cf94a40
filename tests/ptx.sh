#!/bin/sh
# ptx.sh [write] - what the CUDA compiler makes of kernels/mega.cu, for each kind of processor in
# `targets`, with no such processor at hand: the PTX keeps the rules of arithmetic and has the
# instructions that the kernel is built on; the functions that do the work of decoding do not spill
# (those that call them, and most of learning, keep some bytes); stack, spills and registers are
# those of tests/resources.txt, which "write" writes anew. Where nvdisasm is found ($NVDISASM,
# PATH, the venv), the same is asked of the processor's own instructions, and the length of the
# innermost loop is printed: a count of instructions, not a measurement.
cd "$(dirname "$0")/.." || exit 1
targets="90a 100a 120a"
flags="-std=c++17 -O3 -fmad=false -ftz=false -prec-div=true -prec-sqrt=true -Isrc"
failed=0
ok() { echo "ok ptx: $*"; }
no() {
    echo "FAIL ptx: $*"
    failed=1
}
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
if [ -z "$nvcc" ]; then
    echo "not run: ptx: nvcc is not installed" && exit 0
elif [ ! -e kernels/mega.cu ]; then
    echo "not run: ptx: there is no kernels/mega.cu" && exit 0
fi
nvdisasm=${NVDISASM:-$(command -v nvdisasm ||
    ls /usr/local/cuda/bin/nvdisasm \
        build/venv/lib/python3*/site-packages/triton/backends/nvidia/bin/nvdisasm 2>/dev/null |
    head -n 1)}
version=$($nvcc --version | sed -n 's/^Cuda compilation tools, //p')
out=build/ptx
rm -rf $out && mkdir -p $out/bad || exit 1
export PYTHONDONTWRITEBYTECODE=1
read_() { python3 tests/_ptx.py "$@"; } # what it finds wrong, or nothing
# ptx FOLDER SOURCE PTX: PTX alone, for the first target.
ptx() { $nvcc $flags -I"$1" -arch=sm_90a -ptx "$2" -o "$3" 2>$out/nvcc.log; }

# ---- each check notices what it is for

cat >$out/bad/rules.cu <<'END'
__global__ void add(float *a) { asm("add.f32 %0, %0, %0;" : "+f"(a[0])); }
__global__ void fused(float *a) { asm("mad.rn.f32 %0, %0, %0, %0;" : "+f"(a[0])); }
__global__ void approx(float *a) { a[0] = __expf(a[0]); }
__global__ void flushed(float *a) { asm("mul.rn.ftz.f32 %0, %0, %0;" : "+f"(a[0])); }
__global__ void atomic(float *a) { atomicAdd(a, 1.0f); }
__shared__ float s[2];
__global__ void block(float *a) { a[0] = atomicAdd(s, a[1]); }
__global__ void up(float *a) { a[0] = __fadd_ru(a[0], a[1]); }
__global__ void down(float *a, int *b) { a[0] = __int2float_rd(b[0]); }
__global__ void wide(double *a) { a[0] = a[0] + a[1]; }
__global__ void select(float *a) { a[0] = fmaxf(a[0], a[1]); }
__global__ void stale(float *a) { a[0] = __ldg(a + 1); }
__global__ void still(float *__restrict__ a, const float *__restrict__ b) { a[0] = b[threadIdx.x]; }
END
names="add fused approx flushed atomic block up down wide select stale still"
missed=""
ptx kernels $out/bad/rules.cu $out/bad/rules.ptx || no "a bad example: $(head -n 1 $out/nvcc.log)"
for k in $names; do
    awk -v name="$k" '/\.entry/ { on = $0 ~ "[0-9]" name "P" } on' $out/bad/rules.ptx \
        >$out/bad/one.ptx
    [ -s $out/bad/one.ptx ] && [ -n "$(read_ rules $out/bad/one.ptx)" ] || missed="$missed $k"
done
[ -z "$missed" ] && ok "each of $(echo $names | wc -w) bad kernels is noticed" ||
    no "not noticed:$missed"

# mutant NAME FILE SED WHAT RESULT: the kernel with FILE changed gives PTX of which WHAT says RESULT.
mutant() {
    rm -rf $out/mutant && cp -R kernels $out/mutant && sed -i "$3" $out/mutant/"$2" || return
    if cmp -s kernels/"$2" $out/mutant/"$2"; then
        no "the kernel with $1: $2 does not change"
    elif ! ptx $out/mutant $out/mutant/mega.cu $out/mutant/mega.ptx; then
        no "the kernel with $1 does not compile: $(grep error $out/nvcc.log | head -n 1)"
    elif [ -n "$(read_ $4 $out/mutant/mega.ptx | grep "$5")" ]; then
        ok "the kernel with $1 is noticed"
    else
        no "the kernel with $1 is not noticed"
    fi
}
mutant "another dp4a" linear.cuh '1i #define __dp4a(a, b, c) ((a) * (b) + (c))' "need ptx" dp4a
mutant __expf forward.cuh 's/num_exp(/__expf(/' rules approx
mutant __ldg grid.cuh 's/x\[k\] = a\[at\], y/x[k] = __ldg(a + at), y/' rules '\.nc'

cat >$out/bad/spill.cu <<'END'
extern "C" __global__ void phase_attend(float *a) {
    float x[64];
    for (int i = 0; i < 64; i++) x[i] = a[i * 1024 + threadIdx.x];
    __syncthreads();
#pragma unroll 1
    for (int turn = 0; turn < 64; turn++)
        for (int i = 0; i < 64; i++) x[i] = x[i] * x[63 - i] + a[turn];
    for (int i = 0; i < 64; i++) a[i * 1024 + threadIdx.x] = x[i];
}
END
$nvcc $flags -arch=sm_90a -maxrregcount=24 -Xptxas -v -cubin $out/bad/spill.cu -o $out/bad/spill.cubin \
    2>$out/bad/spill.log
read_ spills $out/bad/spill.log | grep '^phase_attend: [1-9][0-9]* bytes of spill' >/dev/null &&
    read_ spills $out/bad/spill.log | grep '^run_phases: there is no' >/dev/null &&
    ok "a kernel that spills, and one without its functions, is noticed" ||
    no "a kernel that spills is not noticed"

if [ -n "$nvdisasm" ]; then
    sed -n '/approx/p; /atomic(/p; /wide/p; /stale/p' $out/bad/rules.cu >$out/bad/sass.cu
    $nvcc $flags -arch=sm_90a -cubin $out/bad/sass.cu -o $out/bad/sass.cubin 2>$out/nvcc.log
    $nvdisasm -c $out/bad/sass.cubin >$out/bad/sass.dis 2>/dev/null
    $nvdisasm -c $out/bad/spill.cubin >$out/bad/spill.dis 2>/dev/null
    n=$(read_ sass $out/bad/sass.dis | grep -oE 'MUFU.EX2|RED|DADD|CONSTANT' | sort -u | wc -l)
    [ "$n" -ge 4 ] && read_ local $out/bad/spill.dis | grep '^phase_attend [1-9]' >/dev/null &&
        read_ hot $out/bad/spill.dis | grep '^phase_attend: .*LDL' >/dev/null &&
        [ "$(read_ need sass $out/bad/sass.dis | wc -l)" = 4 ] &&
        ok "the same in the processor's instructions: ex2, a float atomic, doubles, stale reads, spills" ||
        no "bad instructions of the processor are not noticed ($n of 4)"
fi

# ---- the kernel

for t in $targets; do
    mkdir -p $out/$t
    $nvcc $flags -Ikernels -gencode arch=compute_$t,code=sm_$t -Xptxas -v -cubin kernels/mega.cu \
        -keep -keep-dir $out/$t -o $out/$t.cubin 2>$out/$t.log && mv $out/$t/mega.ptx $out/$t.ptx &
done
wait
{
    echo "# sh tests/ptx.sh write"
    echo "# ptxas $version"
    echo "# TARGET ptxas FUNCTION: bytes of stack, of spill stores, of spill loads; registers of the kernel"
    echo "# TARGET sass FUNCTION: instructions that load from and store to local memory"
} >$out/resources.txt
for t in $targets; do
    if [ ! -s $out/$t.cubin ]; then
        no "sm_$t: kernels/mega.cu does not compile: $(grep error $out/$t.log | head -n 1)"
        continue
    fi
    wrong=$(read_ rules $out/$t.ptx)
    [ -z "$wrong" ] &&
        ok "sm_$t: $(grep -cE '\.rn\.f32' $out/$t.ptx) float operations, each rounded to nearest even" ||
        no "sm_$t: $(echo "$wrong" | wc -l) instructions break a rule, first $(echo "$wrong" | head -n 1)"
    wrong=$(read_ need ptx $out/$t.ptx | tr '\n' ' ')
    [ -z "$wrong" ] && ok "sm_$t: has the instructions it is built on" || no "sm_$t: lacks $wrong"
    wrong=$(read_ spills $out/$t.log)
    [ -z "$wrong" ] && ok "sm_$t: the phases that decode do not spill" ||
        no "sm_$t: $(echo "$wrong" | tr '\n' ';')"
    read_ table $out/$t.log | sed "s/^/sm_$t ptxas /" >>$out/resources.txt
    [ -n "$nvdisasm" ] || continue
    $nvdisasm -c $out/$t.cubin >$out/$t.dis 2>$out/nvdisasm.log
    wrong=$(
        read_ need sass $out/$t.dis
        read_ sass $out/$t.dis
    )
    [ -z "$wrong" ] && ok "sm_$t: SASS has IDP.4A, IMMA, UBLKCP, PRMT, and nothing approximate" ||
        no "sm_$t: SASS: $(echo "$wrong" | head -n 3 | tr '\n' ';')"
    wrong=$(read_ hot $out/$t.dis)
    [ -z "$wrong" ] &&
        ok "sm_$t: no local memory in the phases that decode, nor in the loop of matrix products" ||
        no "sm_$t: local memory: $(echo "$wrong" | head -n 3 | tr '\n' ';')"
    read_ local $out/$t.dis | sed "s/^/sm_$t sass /" >>$out/resources.txt
    read_ weights $out/$t.dis | sed "s/^/    sm_$t: /"
done
[ -n "$nvdisasm" ] || echo "not run: ptx: SASS: nvdisasm is not installed"

# ---- the table

if [ "$1" = write ]; then
    [ -n "$nvdisasm" ] || { no "write: the table needs nvdisasm (NVDISASM=FILE)" && exit 1; }
    cp $out/resources.txt tests/resources.txt
elif [ ! -e tests/resources.txt ]; then
    no "there is no tests/resources.txt (sh tests/ptx.sh write)"
elif [ "$(sed -n 2p tests/resources.txt)" != "# ptxas $version" ]; then
    echo "not run: ptx: resources (another ptxas: $version)"
else
    # Without nvdisasm its rows are left out on both sides.
    if [ -n "$nvdisasm" ]; then
        cp tests/resources.txt $out/kept.txt
    else
        grep -v '^sm_[0-9a]* sass ' tests/resources.txt >$out/kept.txt
    fi
    sed 's/ 0 0 0/ 0 8 0/' $out/resources.txt | cmp -s - $out/kept.txt &&
        no "a table with other numbers counts as the same"
    if diff $out/kept.txt $out/resources.txt >$out/diff; then
        ok "tests/resources.txt is what ptxas says: $(grep -c ' ptxas ' $out/kept.txt) rows"
    else
        no "tests/resources.txt is out of date (sh tests/ptx.sh write):" \
            $(grep '^[<>]' $out/diff | head -n 2 | tr '\n' ' ')
    fi
fi
exit $failed
