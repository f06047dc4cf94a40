#!/bin/sh
# numeric_audit.sh [OBJECT...] - what the compilers made of the arithmetic. The given objects (all of
# build/gcc and build/clang when none is given) ask libm for nothing. With nvcc: the PTX of num.h has
# only rounded float operations: no add/sub/mul.f32 without .rn, nothing approximate or flushed, no
# float atomics (ptx.sh asks the same of the kernels). Also: the constants of proofs/num.g are those
# of num.h.
cd "$(dirname "$0")/.." || exit 1
failed=0
ok() { echo "ok numeric_audit: $*"; }
no() {
    echo "FAIL numeric_audit: $*"
    failed=1
}
out=build/numeric_audit
rm -rf $out && mkdir -p $out || exit 1

# Undefined symbols of the objects that libm defines.
nm -D --defined-only "$(gcc -print-file-name=libm.so.6)" | sed 's/.* //; s/@.*//' | grep -v '^_' |
    sort -u >$out/libm.txt
asked() { nm -u "$@" | sed -n 's/^ *U //p' | sed 's/@.*//' | sort -u | comm -12 - $out/libm.txt; }
cat >$out/bad.c <<'END'
float f(float x) { return __builtin_fmaf(x, x, __builtin_expf(x)); }
END
# Without FMA in the target the compiler calls fmaf: num.h must not be compiled like that.
target=$(uname -m | grep -qx x86_64 && echo -march=x86-64)
gcc -O2 $target -c $out/bad.c -o $out/bad.o
if [ "$(asked $out/bad.o | tr '\n' ' ')" = "expf fmaf " ] || [ "$(asked $out/bad.o)" = expf ]; then
    ok "an object that calls expf or fmaf is noticed"
else
    no "an object that calls expf is not noticed"
fi
[ $# -gt 0 ] || set -- build/gcc/*.o build/clang/*.o
for o in "$@"; do [ -e "$o" ] && objects="$objects $o"; done
if [ -z "$objects" ]; then
    echo "not run: numeric_audit: objects: there are none (make)"
elif found=$(asked $objects) && [ -z "$found" ]; then
    ok "$(echo $objects | wc -w) objects ask libm for nothing"
else
    no "an object asks libm for" $found
fi

missing=""
for c in $(sed -n '/^INVERSE/,/^z = /p' proofs/num.g | grep -o '0x[0-9a-f.]*p[-+][0-9]*' | sort -u); do
    grep -qF -- "${c}f" src/num.h || missing="$missing $c"
done
[ -z "$missing" ] && ok "num.h has the constants of proofs/num.g" ||
    no "num.h lacks constants of proofs/num.g:$missing"

# The PTX.
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
if [ -z "$nvcc" ]; then
    echo "not run: numeric_audit: PTX: nvcc is not installed"
    exit $failed
fi
flags="-fmad=false -ftz=false -prec-div=true -prec-sqrt=true"
ptx() { $nvcc $flags -arch=sm_90a -Isrc -Ikernels -ptx "$1" -o "$2" 2>$out/nvcc.log; }
broken() { PYTHONDONTWRITEBYTECODE=1 python3 tests/_ptx.py rules "$1"; } # lines that break a rule

# 1. A bad kernel is noticed, each rule by its own line.
cat >$out/bad.cu <<'END'
__global__ void add(float *a) { asm("add.f32 %0, %0, %0;" : "+f"(a[0])); }
__global__ void fused(float *a) { asm("mad.rn.f32 %0, %0, %0, %0;" : "+f"(a[0])); }
__global__ void approx(float *a) { a[0] = __expf(a[0]); }
__global__ void flushed(float *a) { asm("mul.rn.ftz.f32 %0, %0, %0;" : "+f"(a[0])); }
__global__ void atomic(float *a) { atomicAdd(a, 1.0f); }
__global__ void up(float *a) { a[0] = __fadd_ru(a[0], a[1]); }
__global__ void wide(double *a) { a[0] = a[0] + a[1]; }
__global__ void select(float *a) { a[0] = fmaxf(a[0], a[1]); }
END
if ! ptx $out/bad.cu $out/bad.ptx; then
    no "nvcc does not compile the bad example; see $out/nvcc.log"
else
    missed=""
    for k in add fused approx flushed atomic up wide select; do
        awk -v name="$k" '/\.entry/ { on = $0 ~ "[0-9]" name "P" } on' $out/bad.ptx >$out/one.ptx
        [ -s $out/one.ptx ] && [ -n "$(broken $out/one.ptx)" ] || missed="$missed $k"
    done
    [ -z "$missed" ] && ok "each of 8 bad kernels is noticed" || no "not noticed:$missed"
fi
# Without -fmad=false the same source gives operations that may be fused: the flag is needed.
printf '__global__ void f(float *a) { a[0] = a[0] * a[1] + a[2]; }\n' >$out/plain.cu
$nvcc -arch=sm_90a -ptx $out/plain.cu -o $out/plain.ptx 2>$out/nvcc.log
[ -n "$(broken $out/plain.ptx)" ] || grep -q 'fma\.rn' $out/plain.ptx &&
    ok "without -fmad=false the compiler does what the rules forbid" ||
    no "the flags make no difference: the check says nothing"

# 2. num.h, every function of it.
cat >$out/num.cu <<'END'
#include "num.h"
__global__ void all(float *a, uint16_t *h) {
    a[0] = num_exp(a[0]);
    a[1] = num_log(a[1]);
    a[2] = num_sigmoid(a[2]);
    a[3] = num_tanh(a[3]);
    a[4] = num_from_bf16(h[0]);
    a[5] = num_from_f16(h[1]);
    h[2] = num_to_bf16(a[6]);
    h[3] = num_to_f16(a[7]);
    a[8] = num_sub(num_div(num_mul(a[8], a[9]), a[10]), a[11]);
    a[12] = num_rint(num_sqrt(num_fma(a[12], a[13], num_add(a[14], a[15]))));
}
END
if ! ptx $out/num.cu $out/one.ptx; then
    no "nvcc does not compile num.h: $(head -n 1 $out/nvcc.log)"
elif [ -n "$(broken $out/one.ptx)" ]; then
    no "PTX of num.h: $(broken $out/one.ptx | head -n 1)"
else
    ok "PTX of num.h: $(grep -cE '\.rn\.f32' $out/one.ptx) operations, each rounded to nearest even"
fi
exit $failed
