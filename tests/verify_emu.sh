#!/bin/sh
# verify_emu.sh - all golden vectors through the kernels, emulated, on blocks with the 227 KiB of
# shared memory that an H200 has and with the 99 KiB of smaller cards, at the same time. Minutes.
cd "$(dirname "$0")/.." || exit 1
if [ "$(uname -m)" != x86_64 ] || ! command -v g++ >/dev/null; then
    echo "not run: verify_emu: the emulator needs g++ on x86-64" && exit 0
fi
out=build/verify_emu
rm -rf $out && mkdir -p $out || exit 1
make --no-print-directory CONFIG=emu build >$out/make 2>&1 ||
    { echo "FAIL verify_emu: make emu" && tail -n 5 $out/make && exit 1; }
cat >$out/one.sh <<'END2'
EMU_SHARED=$(($1 * 1024)) OMP_NUM_THREADS=1 build/emu/assay verify --backend emu >build/verify_emu/$1 2>&1
echo "status $?" >>build/verify_emu/$1
END2
printf '%s\n' 227 99 | xargs -P 2 -n 1 sh $out/one.sh
failed=0
for kib in 227 99; do
    n=$(sed -n 's/^\([0-9]*\) passed, 0 failed$/\1/p' $out/$kib)
    if [ "$(tail -n 1 $out/$kib)" = "status 0" ] && [ "${n:-0}" -gt 0 ]; then
        echo "ok verify_emu: $kib KiB of shared memory: $n cases"
        grep '^not run' $out/$kib | sed "s/^not run/not run: verify_emu/" | sort -u | head -n 1
    else
        echo "FAIL verify_emu: $kib KiB: $(grep -m 1 -E 'FAIL|assay:|emu:' $out/$kib)" && failed=1
    fi
done
exit $failed
