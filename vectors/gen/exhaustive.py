#!/usr/bin/env python3
"""Makes vectors/exhaustive.txt: python3 vectors/gen/exhaustive.py > vectors/exhaustive.txt

The digests of every 4,099th binary32 are computed here, independently of src/: numpy's binary32
operations, and an fma that rounds a sum of binary64 numbers to odd before it rounds to binary32.
The digests of all 2^32 are NOT independent: they are what `make exhaustive` printed when the
functions were frozen, after it had compared each value with a binary64 function of libm, and they
stand here as constants. The strided digest ties the two: it is a subset of the same values.
"""
import hashlib

import numpy as np

STRIDE = 4099
ALL = {  # printed by tests/exhaustive_num.c
    "exp": "32c81c8279a6a15e6e53b5bb48093fcd4da389a4750947f54bcde9293815036d",
    "log": "836fe54a21f0b4cf8a011f5c53807e82323153eb60b5d3128935e62b718cbc3a",
    "sigmoid": "85d8b42ead3cd70c374d135468315c3cd4a6be3922502609f41d7145dc49879b",
    "tanh": "8a5eec928a70e7d8b7899c98f369c2dd52f1c596db8d985e02500a096b2d944c",
}
f4 = np.float32


def fma(a, b, c):
    """a * b + c in binary32 with one rounding.

    The product of two binary32 is exact in binary64. The sum s is rounded to nearest, and `error`
    (Knuth) is exactly what that rounding lost. When something was lost and s is even, the odd
    neighbour on the side of the error takes its place: rounding to odd. 53 >= 24 + 2 bits then
    make the second rounding, to binary32, the right one (Boldo, Melquiond 2008).
    """
    p, c = np.broadcast_arrays(a.astype(np.float64) * np.float64(b), np.float64(c))
    s = p + c
    back = s - p
    error = (p - (s - back)) + (c - back)
    bits = s.view(np.int64).copy()
    fix = np.isfinite(s) & (error != 0) & (bits & 1 == 0)
    bits += np.where(fix, np.where((error > 0) == (s > 0), 1, -1), 0)
    return bits.view(np.float64).astype(f4)


def h(text):
    x = f4(float.fromhex(text))
    assert float(x) == float.fromhex(text)
    return x


def horner(x, coefficients):
    p = np.full_like(x, h(coefficients[0]))
    for c in coefficients[1:]:
        p = fma(p, x, h(c))
    return p


def num_exp(x):
    nan = np.isnan(x)
    x = np.clip(np.where(nan, f4(0), x), f4(-104), f4(89))
    n = np.rint(x * h("0x1.715476p+0"))
    r = fma(n, h("-0x1.62e4p-1"), x)
    r = fma(n, h("-0x1.7f7d1cp-20"), r)
    p = horner(r, ["0x1.6b675p-10", "0x1.122f1cp-7", "0x1.55568ep-5", "0x1.5554a4p-3", "0x1p-1",
                   "0x1p+0", "0x1p+0"])
    half = np.trunc(n / f4(2))
    p = p * np.exp2((n - half).astype(np.float64)).astype(f4)
    p = p * np.exp2(half.astype(np.float64)).astype(f4)
    return np.where(nan, f4(np.nan), p)


def num_log(x):
    m, k = np.frexp(np.where(np.isfinite(x) & (x > 0), x, f4(1)).astype(np.float64))  # m in [.5, 1)
    low = m < 2 / 3
    m, k = np.where(low, 2 * m, m), np.where(low, k - 1, k)
    f = (m - 1).astype(f4)
    p = horner(f, ["-0x1.06cddep-3", "0x1.1ec5e2p-3", "-0x1.f3a7e4p-4", "0x1.1ec0fep-3",
                   "-0x1.559802p-3", "0x1.99d1c4p-3", "-0x1.ffff14p-3", "0x1.555502p-2", "-0x1p-1"])
    y = fma(k.astype(f4), h("0x1.62e43p-1"), fma(p, f * f, f))
    y = np.where(x == 0, f4(-np.inf), np.where(x == f4(np.inf), x, y))
    return np.where((x < 0) | np.isnan(x), f4(np.nan), y)


def num_sigmoid(x):
    e = num_exp(-np.abs(x))
    return np.where(x < 0, e, f4(1)) / (f4(1) + e)


def num_tanh(x):
    a = np.abs(x)
    z = a * a
    small = a < f4(0.5625)
    z = np.where(small, z, f4(0))
    p = horner(z, ["0x1.09f0cep-6", "-0x1.ae9b68p-5", "0x1.10c64p-3", "-0x1.555422p-2"])
    near = fma(np.where(small, a, f4(0)) * z, p, np.where(small, a, f4(0)))
    e = num_exp(f4(-2) * a)
    far = f4(1) - (f4(2) * e) / (f4(1) + e)
    return np.copysign(np.where(small, near, far), x)


def digest(function):
    x = np.arange(0, 1 << 32, STRIDE, dtype=np.uint64).astype(np.uint32).view(f4)
    with np.errstate(all="ignore"):
        y = function(x)
    assert y.dtype == f4
    bits = np.where(np.isnan(y), np.uint32(0x7FC00000), y.view(np.uint32))
    return hashlib.sha256(bits.astype("<u4").tobytes()).hexdigest()


print("# made by: python3 vectors/gen/exhaustive.py > vectors/exhaustive.txt")
print("# function | which of the 2^32 arguments, in the order of their bits | SHA-256 | where from")
print("# The results are little-endian binary32, each NaN written as 7fc00000. `all`: the SHA-256 of the 256")
print("# SHA-256 of 2^24 results each.")
for name, function in (("exp", num_exp), ("log", num_log), ("sigmoid", num_sigmoid), ("tanh", num_tanh)):
    print("%s | every %dth | %s | computed by the generator" % (name, STRIDE, digest(function)))
    print("%s | all | %s | frozen output of tests/exhaustive_num.c" % (name, ALL[name]))
