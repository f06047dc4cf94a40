#!/bin/sh
# tiny.sh - the recipe of the embedded model, its first steps: the weights have the SHA-256 that
# vectors/tiny/digests.txt says, by vector instructions and by the plain interpreter. The whole
# recipe is `make tiny`.
cd "$(dirname "$0")/.." || exit 1
sh vectors/tiny/make.sh 50
BACKEND=ref JOBS=1 sh vectors/tiny/make.sh 4
