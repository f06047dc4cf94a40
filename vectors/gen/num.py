#!/usr/bin/env python3
"""Makes vectors/num.txt: python3 vectors/gen/num.py > vectors/num.txt

Independent of src/: every binary32 operation is an exact rational that is rounded once, by
Fraction arithmetic; the functions are evaluated from the coefficients and the order of operations
that chapter 1 prints, and each value is also checked against mpmath to the error bound stated there.
"""
import math
import random
import struct
from fractions import Fraction as Q

import mpmath

mpmath.mp.prec = 300


# ---- binary32 as bit patterns; finite values as exact rationals

def bits_of(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def hexf(text):
    """The bits of a hexadecimal float literal, which must be exact in binary32."""
    u = bits_of(float.fromhex(text))
    assert struct.unpack("<f", struct.pack("<I", u))[0] == float.fromhex(text)
    return u


def is_nan(u):
    return u & 0x7FFFFFFF > 0x7F800000


def value(u):
    """The exact value of a finite binary32."""
    e, m = u >> 23 & 255, u & 0x7FFFFF
    assert e < 255
    v = Q(m) * Q(2) ** -149 if e == 0 else Q(m | 0x800000) * Q(2) ** (e - 150)
    return -v if u >> 31 else v


def floor_log2(v):
    """floor(log2(v)) of a positive rational."""
    e = v.numerator.bit_length() - v.denominator.bit_length()
    return e if v >= Q(2) ** e else e - 1


def half_even(v):
    n = v.numerator // v.denominator
    r = v - n
    return n + (1 if r > Q(1, 2) or (r == Q(1, 2) and n & 1) else 0)


def rounded(v, zero_sign=0):
    """The binary32 nearest to a rational, ties to even; an exact zero gets zero_sign."""
    if v == 0:
        return zero_sign << 31
    sign, a = (1 if v < 0 else 0) << 31, abs(v)
    e = max(floor_log2(a), -126)
    n = half_even(a / Q(2) ** (e - 23))
    if n == 1 << 24:
        n, e = n >> 1, e + 1
    if e > 127:
        return sign | 0x7F800000
    return sign | (n if n < 1 << 23 else (e + 127) << 23 | n - (1 << 23))


def fma(a, b, c):
    """a * b + c with one rounding, finite arguments."""
    v = value(a) * value(b) + value(c)
    product_sign = (a ^ b) >> 31
    both = product_sign & (c >> 31) if value(a) * value(b) == 0 and value(c) == 0 else 0
    return rounded(v, both)


ONE = 0x3F800000


def add(a, b):
    return fma(a, ONE, b)


def neg(a):
    return a ^ 0x80000000


def mul(a, b):
    return rounded(value(a) * value(b), (a ^ b) >> 31)


def div(a, b):
    return rounded(value(a) / value(b), (a ^ b) >> 31)


def sqrt(a):
    """By integer square root: two guard bits below the half and a sticky bit."""
    v = value(a)
    if v == 0:
        return a
    e = floor_log2(v) // 2 - 26
    n = v / Q(4) ** e
    r = math.isqrt(n.numerator // n.denominator)
    sticky = Q(r) * r != n
    return rounded((Q(r) + (Q(1, 2) if sticky else 0)) * Q(2) ** e)


# ---- the functions of chapter 1, step by step

def horner(coefficients, x):
    p = hexf(coefficients[0])
    for c in coefficients[1:]:
        p = fma(p, x, hexf(c))
    return p


def num_exp(x):
    if is_nan(x):
        return x
    if x in (0x7F800000, 0xFF800000) or value(x) > 89 or value(x) < -104:
        x = bits_of(89.0) if x >> 31 == 0 else bits_of(-104.0)
    n = half_even(value(mul(x, hexf("0x1.715476p+0"))))
    nf = rounded(Q(n))
    r = fma(nf, hexf("-0x1.62e4p-1"), x)
    r = fma(nf, hexf("-0x1.7f7d1cp-20"), r)
    p = horner(["0x1.6b675p-10", "0x1.122f1cp-7", "0x1.55568ep-5", "0x1.5554a4p-3", "0x1p-1",
                "0x1p+0", "0x1p+0"], r)
    h = n // 2 if n >= 0 else -(-n // 2)
    p = mul(p, rounded(Q(2) ** (n - h)))
    if p == 0x7F800000:
        return p
    return mul(p, rounded(Q(2) ** h))


def num_log(x):
    if is_nan(x) or (x >> 31 and x != 0x80000000):
        return 0x7FC00000
    if x in (0, 0x80000000):
        return 0xFF800000
    if x == 0x7F800000:
        return x
    v, k = value(x), 0
    while v < Q(2, 3) or v >= Q(4, 3):
        v, k = (v * 2, k - 1) if v < 1 else (v / 2, k + 1)
    # the two-thirds of the program is the binary32 above 2/3; no binary32 lies between
    f = rounded(v - 1)
    p = horner(["-0x1.06cddep-3", "0x1.1ec5e2p-3", "-0x1.f3a7e4p-4", "0x1.1ec0fep-3",
                "-0x1.559802p-3", "0x1.99d1c4p-3", "-0x1.ffff14p-3", "0x1.555502p-2", "-0x1p-1"], f)
    return fma(rounded(Q(k)), hexf("0x1.62e43p-1"), fma(p, mul(f, f), f))


def num_sigmoid(x):
    if is_nan(x):
        return x
    below = x >> 31 and x != 0x80000000
    e = num_exp(x if below else neg(x))
    return div(e if below else ONE, add(ONE, e))


def num_tanh(x):
    if is_nan(x):
        return x
    a, sign = x & 0x7FFFFFFF, x & 0x80000000
    if a != 0x7F800000 and value(a) < Q(9, 16):
        z = mul(a, a)
        p = horner(["0x1.09f0cep-6", "-0x1.ae9b68p-5", "0x1.10c64p-3", "-0x1.555422p-2"], z)
        return fma(mul(a, z), p, a) | sign
    e = num_exp(0xFF800000 if a == 0x7F800000 else mul(bits_of(-2.0), a))
    return add(ONE, neg(div(mul(bits_of(2.0), e), add(ONE, e)))) | sign


BOUND = {"exp": "0.91", "log": "0.94", "sigmoid": "2.41", "tanh": "1.50"}
TRUE = {"exp": mpmath.exp, "log": mpmath.log, "tanh": mpmath.tanh,
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x))}
FUNCTION = {"exp": num_exp, "log": num_log, "sigmoid": num_sigmoid, "tanh": num_tanh}


def to_mp(v):
    return mpmath.mpf(v.numerator) / mpmath.mpf(v.denominator)


def check_bound(name, x, y):
    """Stops when y is further from the true value than the chapter says."""
    if is_nan(x) or x & 0x7F800000 == 0x7F800000 or y & 0x7F800000 == 0x7F800000:
        return
    t = TRUE[name](to_mp(value(x)))
    e = max(int(mpmath.floor(mpmath.log(abs(t), 2))) if t else -149, -126)
    error = abs(to_mp(value(y)) - t) / mpmath.mpf(2) ** (e - 23)
    assert error < mpmath.mpf(BOUND[name]), (name, hex(x), hex(y), error)


# ---- conversions: the nearest value of a table, ties to the even code

def small_value(h, exponent_bits, mantissa_bits):
    """Exact value of the positive finite code h; the code of infinity counts as the next power."""
    bias, m = (1 << exponent_bits - 1) - 1, h & (1 << mantissa_bits) - 1
    e = h >> mantissa_bits
    if e == 0:
        return Q(m) * Q(2) ** (1 - bias - mantissa_bits)
    return Q(m + (1 << mantissa_bits)) * Q(2) ** (e - bias - mantissa_bits)


def narrow(u, exponent_bits, mantissa_bits):
    """Binary search for the nearest code of |u|, with u's sign above it."""
    top = ((1 << exponent_bits) - 1) << mantissa_bits
    sign = u >> 31 << 15
    if is_nan(u):
        return None
    a = u & 0x7FFFFFFF
    if a == 0x7F800000:
        return sign | top
    v, lo, hi = value(a), 0, top
    if v >= small_value(top, exponent_bits, mantissa_bits):
        return sign | top
    while hi - lo > 1:
        mid = (lo + hi) // 2
        lo, hi = (mid, hi) if small_value(mid, exponent_bits, mantissa_bits) <= v else (lo, mid)
    down = v - small_value(lo, exponent_bits, mantissa_bits)
    up = small_value(hi, exponent_bits, mantissa_bits) - v
    return sign | (lo if down < up or (down == up and lo % 2 == 0) else hi)


def widen(h, exponent_bits, mantissa_bits):
    top = ((1 << exponent_bits) - 1) << mantissa_bits
    sign, a = h >> 15 << 31, h & 0x7FFF
    if a >= top:
        return sign | 0x7F800000 | (a - top) << 23 - mantissa_bits
    return sign | rounded(small_value(a, exponent_bits, mantissa_bits))


# ---- ordered sums

def element(i, seed):
    """The test arrays: element i, in -8..8 with a spread of sizes, exact in binary32."""
    w = ((i + 1) * 2654435761 + seed * 40503) % (1 << 32)
    w = (w ^ w >> 15) * 2246822519 % (1 << 32)
    return rounded(Q((w >> 8) - (1 << 23)) * Q(2) ** (-23 + (w & 7) - 4))


def lane_dot(a, b):
    acc = [0] * 32
    for i, (x, y) in enumerate(zip(a, b)):
        acc[i % 32] = fma(x, y, acc[i % 32])
    for m in (16, 8, 4, 2, 1):
        acc = [add(acc[l], acc[l ^ m]) for l in range(32)]
    return acc[0]


def seq_dot(a, b):
    total = 0
    for s in range(0, len(a), 1024):
        part = 0
        for x, y in zip(a[s:s + 1024], b[s:s + 1024]):
            part = fma(x, y, part)
        total = add(total, part)
    return total


# ---- doubles: Python floats are IEEE binary64, and math.sqrt is correctly rounded

def num_pow(base, e):
    y, digits, b = 1.0, abs(e), base
    while digits > 0:
        while digits >= 1:
            y *= b
            digits -= 1
        b = math.sqrt(b)
        digits *= 2
    y = 1 / y if e < 0 else y
    t = mpmath.power(mpmath.mpf(base), mpmath.mpf(e))
    assert abs(mpmath.mpf(y) - t) < t * mpmath.mpf("5e-15")
    return y


def rope(inv_freq, position):
    """Correctly rounded cos and sin of the rounded product: the program's error is too small to see."""
    angle = mpmath.mpf(float(position) * inv_freq)
    out = []
    for f in (mpmath.cos, mpmath.sin):
        man, exp = mpmath.frexp(f(angle))
        out.append(rounded(Q(int(mpmath.ldexp(man, 200))) * Q(2) ** (exp - 200)))
    return out


# ---- the cases

LINES = []
COUNT = {}


def case(op, reason, flags, arguments, results):
    COUNT[op] = COUNT.get(op, 0) + 1
    LINES.append("%s.%d | %s | %s | %s | %s" % (op, COUNT[op], reason, flags or "-",
                                                " ".join(arguments), " ".join(results)))


def h8(u):
    return "%08x" % u


def h16(d):
    return struct.pack(">d", d).hex()


def arithmetic(rng):
    cases = [
        ("plain", "", "3fc00000", "40000000", "3f800000"),
        ("exact product just above a tie: two roundings would go down", "tie", "3f800001", "3f800001",
         "33800000"),
        ("tie to even, down", "tie", "3f800000", "3f800000", "33800000"),
        ("tie to even, up", "tie", "3f800001", "3f800000", "33800000"),
        ("product cancels the addend exactly: +0", "signed-zero", "3f800000", "3f800000", "bf800000"),
        ("(-0)*1 + -0 = -0", "signed-zero", "80000000", "3f800000", "80000000"),
        ("(-0)*1 + 0 = +0", "signed-zero", "80000000", "3f800000", "00000000"),
        ("cancellation shows the product's low half", "", "3f800001", "3f7fffff", "bf800000"),
        ("product below the least subnormal, addend 0", "subnormal", "00800000", "33800000", "00000000"),
        ("half of the least subnormal: tie to zero", "subnormal tie", "00000001", "3f000000", "00000000"),
        ("three halves of the least subnormal: tie to 2", "subnormal tie", "00000003", "3f000000",
         "00000000"),
        ("subnormal addend", "subnormal", "1f800001", "1f800001", "00000001"),
        ("largest finite", "overflow-edge", "7f7fffff", "3f800000", "00000000"),
        ("just below the rounding to infinity", "overflow-edge", "7f7fffff", "3f800000", "72ffffff"),
        ("tie above the largest finite: infinity", "overflow-edge tie", "7f7fffff", "3f800000",
         "73000000"),
        ("product overflows, addend brings it back", "overflow-edge", "7f000000", "40000000", "ff000000"),
    ]
    for reason, flags, a, b, c in cases:
        v = [int(t, 16) for t in (a, b, c)]
        case("fma", reason, flags, [a, b, c], [h8(fma(*v))])
    for _ in range(40):
        a = rng.getrandbits(32) & 0x807FFFFF | rng.randint(96, 158) << 23
        b = rng.getrandbits(32) & 0x807FFFFF | rng.randint(96, 158) << 23
        e = min(254, max(0, (a >> 23 & 255) + (b >> 23 & 255) - 127 + rng.randint(-26, 26)))
        c = rng.getrandbits(32) & 0x807FFFFF | e << 23
        case("fma", "random, addend near the product", "", [h8(a), h8(b), h8(c)], [h8(fma(a, b, c))])
    for reason, flags, a in (("exact", "", 0x40800000), ("irrational", "", 0x40000000),
                             ("least subnormal", "subnormal", 1), ("subnormal", "subnormal", 0x7FFFFF),
                             ("largest", "overflow-edge", 0x7F7FFFFF), ("-0", "signed-zero", 0x80000000)):
        case("sqrt", reason, flags, [h8(a)], [h8(sqrt(a))])
    for reason, flags, a, b in (("third", "", ONE, 0x40400000), ("subnormal quotient", "subnormal", 0x00800000,
                                0x40400000), ("tie in the subnormals", "subnormal tie", 3, 0x40000000),
                                ("-0 / 1", "signed-zero", 0x80000000, ONE)):
        case("div", reason, flags, [h8(a), h8(b)], [h8(div(a, b))])
    for reason, flags, x in (("half", "tie", "3f000000"), ("1.5", "tie", "3fc00000"), ("2.5", "tie", "40200000"),
                             ("-0.5 is -0", "tie signed-zero", "bf000000"), ("just below 0.5", "", "3effffff"),
                             ("2^23 - 0.5", "tie", "4affffff"), ("2^23 + 1", "", "4b000001")):
        v = value(int(x, 16))
        case("rint", reason, flags, [x], [h8(rounded(Q(half_even(v)), 1 if v < 0 else 0))])


def functions(rng):
    edges = {
        "exp": [("42b17217", "largest finite result", "overflow-edge"), ("42b17218", "first infinity",
                "overflow-edge"), ("42b20000", "clamp", "clamp"), ("42b20001", "above the clamp", "clamp"),
                ("c2cff1b4", "last result above 0", "subnormal"), ("c2cff1b5", "first +0", "subnormal"),
                ("c2d00000", "clamp", "clamp"), ("c2d00001", "below the clamp", "clamp"),
                ("c2aeac4f", "last normal result", ""), ("c2aeac50", "first subnormal result", "subnormal"),
                ("c2c80000", "deep subnormal", "subnormal"), ("40a664c0", "worst above 0", "worst"),
                ("c219b220", "worst below 0", "worst"), ("3eb17218", "n turns from 0 to 1", "tie"),
                ("3eb17217", "n still 0", ""), ("beb17218", "n turns from 0 to -1", "tie")],
        "log": [("00000001", "least subnormal", "subnormal"), ("007fffff", "largest subnormal", "subnormal"),
                ("00800000", "least normal", ""), ("7f7fffff", "largest finite", "overflow-edge"),
                ("3f2aaaaa", "below 2/3: k = -1", "clamp"), ("3f2aaaab", "from 2/3: k = 0", "clamp"),
                ("3faaaaaa", "below 4/3: k = 0", "clamp"), ("3faaaaab", "from 4/3: k = 1", "clamp"),
                ("3f7fffff", "just below 1", ""), ("3f800001", "just above 1", ""), ("bf800000", "NaN below 0", ""),
                ("80000001", "NaN below 0", "subnormal"), ("3f22ba71", "near the worst", "worst")],
        "sigmoid": [("c2b00000", "e^x, no overflow", ""), ("c2d00000", "+0", "clamp"), ("c2c80000",
                    "subnormal result", "subnormal"), ("41880000", "last below 1", ""), ("418aa123", "near 1", ""),
                    ("42b17218", "1, although e^x would overflow", "overflow-edge"),
                    ("c085088d", "worst below 0", "worst"), ("40fb7ea8", "worst above 0", "worst")],
        "tanh": [("3f0fffff", "last of the polynomial", "clamp"), ("3f100000", "first of the exponential", "clamp"),
                 ("bf100000", "odd", "clamp"), ("41102cb3", "near 1", ""), ("41200000", "1", ""),
                 ("7f7fffff", "1 at the largest finite: the square overflows unused", "overflow-edge"),
                 ("3f10b422", "worst", "worst"), ("39800000", "x itself, nearly", "")],
    }
    shared = [("00000000", "+0", "signed-zero"), ("80000000", "-0", "signed-zero"), ("00000001", "least subnormal",
              "subnormal"), ("80000001", "minus least subnormal", "subnormal"), ("3f800000", "1", ""),
              ("bf800000", "-1", ""), ("7f800000", "infinity", "overflow-edge"), ("ff800000", "-infinity", ""),
              ("7fc00000", "NaN stays a NaN", "nan"), ("33000000", "2^-25", ""), ("7f7fffff", "largest", "clamp"),
              ("ff7fffff", "least", "clamp")]
    # Arguments where the last bit of one coefficient, or one rounding more, changes the result.
    guards = {"exp": "42118f98 40c79b49 4180a9b1 41c4d305 3fe8698e 3fecc79f 40208f5b",
              "log": "54a7078b 33a948b6 3ea6d707 4028efbb 49acb096 439ff61c 00800000",
              "tanh": "3f00aa2d 3efbe7d4 3ee07d3e 3e6fb9f6", "sigmoid": ""}
    spread = {"exp": (-104, 89), "log": None, "sigmoid": (-104, 20), "tanh": (-10, 10)}
    for name, f in FUNCTION.items():
        inputs = [(int(x, 16), r, g) for x, r, g in edges[name] + shared]
        inputs += [(int(x, 16), "decides the last bit of a coefficient", "guard") for x in guards[name].split()]
        for _ in range(60):
            u = rng.getrandbits(31) if spread[name] is None else bits_of(rng.uniform(*spread[name]))
            inputs.append((u % 0x7F800000 if spread[name] is None else u, "random", ""))
        for x, reason, flags in inputs:
            y = f(x)
            check_bound(name, x, y)
            case(name, reason, flags, [h8(x)], ["nan" if is_nan(y) else h8(y)])


def conversions(rng):
    bf = [("3f808000", "tie to even, down", "tie"), ("3f818000", "tie to even, up", "tie"), ("3f808001",
          "above the tie", ""), ("7f7f7fff", "last finite", "overflow-edge"), ("7f7f8000", "to infinity",
          "overflow-edge tie"), ("00008000", "tie to +0", "subnormal tie"), ("80008001", "least subnormal",
          "subnormal"), ("80000000", "-0", "signed-zero"), ("ff800000", "-infinity", ""),
          ("7f800001", "a NaN with low bits only stays a NaN", "nan")]
    f16 = [("3f801000", "tie to even, down", "tie"), ("3f803000", "tie to even, up", "tie"), ("477fe000",
           "65504", "overflow-edge"), ("477fefff", "last finite", "overflow-edge"), ("477ff000", "65520 to infinity",
           "overflow-edge tie"), ("38800000", "2^-14, least normal", ""), ("387fffff", "rounds up to 2^-14",
           "subnormal"), ("387fe000", "tie at the top of the subnormals", "subnormal tie"),
           ("33000000", "2^-25: tie to +0", "subnormal tie"), ("33000001", "least subnormal", "subnormal"),
           ("33c00000", "1.5 of the least: tie to 2", "subnormal tie"), ("80000000", "-0", "signed-zero"),
           ("00000001", "far below: +0", "subnormal"), ("ff800000", "-infinity", ""), ("ffc12345", "NaN", "nan"),
           ("7f7fffff", "to infinity", "overflow-edge")]
    for op, table, shape in (("to_bf16", bf, (8, 7)), ("to_f16", f16, (5, 10))):
        inputs = [(int(x, 16), r, g) for x, r, g in table]
        inputs += [(rng.getrandbits(32) & 0x807FFFFF | rng.randint(98, 144) << 23, "random", "") for _ in range(24)]
        for u, reason, flags in inputs:
            y = narrow(u, *shape)
            case(op, reason, flags, [h8(u)], ["nan" if y is None else "%04x" % y])
    for op, codes, shape in (("from_bf16", (0, 0x8000, 1, 0x7F, 0x80, 0x3F80, 0xBF81, 0x7F7F, 0x7F80, 0xFF80), (8, 7)),
                             ("from_f16", (0, 0x8000, 1, 0x83FF, 0x400, 0x3C00, 0xBC01, 0x7BFF, 0x7C00, 0xFC00, 0x3555,
                                           0x7C01, 0xFE00), (5, 10))):
        for h in codes:
            y = widen(h, *shape)
            case(op, "code", "subnormal" if 0 < h & 0x7FFF < 1 << shape[1] else "", ["%04x" % h],
                 ["nan" if is_nan(y) else h8(y)])


def sums():
    lengths = ((0, "empty"), (1, "one"), (31, "no full lane row"), (32, "one row"), (33, "one row and one"),
                      (64, "rows"), (100, "tail"), (1023, "one short of a segment"), (1024, "one segment"),
                      (1025, "a segment and one"), (2048, "two segments"), (3000, "longest"))
    for op, dot in (("lane_dot", lane_dot), ("seq_dot", seq_dot)):
        for n, reason in lengths:
            a, b = [element(i, 1) for i in range(n)], [element(i, 2) for i in range(n)]
            case(op, reason, "", [str(n), "1", "2"], [h8(dot(a, b))])


def doubles(rng):
    for base, e in ((10000.0, 0.0), (10000.0, -0.5), (1e6, -2 / 128), (1e6, -126 / 128), (5e5, -62 / 64),
                    (1e4, -46 / 48), (1e6, -78 / 80), (2.0, 3.0), (0.5, -1.75), (1.0, 0.3)):
        case("pow", "rotary base and exponent", "", [h16(base), h16(e)], [h16(num_pow(base, e))])
    inputs = [(1.0, 0), (1.0, 1), (1.0, 2), (1.0, 3), (1.0, 1 << 20), (1.0, 355), (1.0, 710), (1.0, 573204),
              (0.5, 11), (1e-7, 1), (num_pow(1e6, -2 / 128), 40959)]
    inputs += [(num_pow(1e6, -rng.randint(0, 63) / 64), rng.randint(0, 1 << 20)) for _ in range(40)]
    # The nearest double to a multiple of pi/2: what is left of it is beyond its own last bit.
    inputs += [(float(k * mpmath.pi / 2), 1) for k in (1, 2, 3, 4, 5, 226, 667543)]
    for inv, position in inputs:
        case("rope", "angle %.6g" % (inv * position), "", [h16(inv), str(position)], [h8(u) for u in rope(inv, position)])


def main():
    rng = random.Random(1)
    arithmetic(rng)
    functions(rng)
    conversions(rng)
    sums()
    doubles(rng)
    print("# made by: python3 vectors/gen/num.py > vectors/num.txt")
    print("# id | reason | flags | arguments | results; floats and doubles as the hex digits of their bits")
    print("# lane_dot, seq_dot: n, seed of a, seed of b; element i of a seed: w = (i+1)*2654435761 + seed*40503,")
    print("# w = (w ^ w>>15) * 2246822519 (mod 2^32), value = ((w>>8) - 2^23) * 2^(-27 + (w&7))")
    print("# rope: inv_freq, position; results cos, sin")
    print("\n".join(LINES))


main()
