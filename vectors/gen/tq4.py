"""Golden vectors of tq4: python3 vectors/gen/tq4.py > vectors/tq4.txt

Every expected value is computed one number at a time in exact rationals (oracle.exact_*) and, where
the shape allows, a second time by the vectorised oracle; the two must agree."""

import hashlib

import numpy as np

import oracle
from oracle import F32, Fraction, bits, f32, frac, from_bits, group_of, padded

HEAD = """\
# python3 vectors/gen/tq4.py > vectors/tq4.txt
# Cases of tq4, one per line: id | reason | flags | inputs | expected. Fields are split by " | ",
# words by one blank, items of a list by a comma. Flags: tie, edge, zero, tiny, subnormal, huge,
# pad, long, negative, reject; - for none.
#   quant  cols= pad= G= rot= x=FLOATS                    E= e=LIST m=LIST q=LIST or q=sha256:HEX
#   linear kind= rows= cols= pad= G= rot= codes=BYTES scale=BYTES book=BYTES row=FLOATS x=FLOATS
#                                                         y=FLOATS
#   embed  rows= cols= pad= G= token= codes=BYTES scale=BYTES row=FLOATS          y=FLOATS
#   wht    n= x=FLOATS                                    y=FLOATS
# FLOATS: f:HEX,HEX.. (binary32 bits) | fill:HEX (every element) | imp:STEP,HEX (HEX at 0, STEP,
#   2 STEP .., else +0) | unit:SEED,ID,STREAM,SHIFT (((w >> 8) - 2^23) * 2^(SHIFT - 23) of the words
#   w of Philox stream (SEED, ID, STREAM)) | model:SEED,ID,K (row scales of random models at 2^-K).
# BYTES: b:HEXDIGITS (the stored bytes; int8 in two's complement, two 4-bit codes a byte, the even
#   column in the low half) | fill:HH | model:SEED,ID (codes, scales or codebook of random models).
# q=sha256: of the pad bytes of q as int8. Expected "error": the quantiser reports a non-finite
# value, or an output is not finite. kind: tq4, i8 (then book=-)."""


class Floats:
    """A list of binary32 values and the text that stands for it in the file."""

    def __init__(self, values, text=None):
        self.v = f32(values)
        self.text = text or "f:" + ",".join(bits(self.v))


def fill(n, value):
    return Floats(np.full(n, F32(value)), "fill:" + bits(value)[0])


def impulses(n, step, value):
    v = np.zeros(n, F32)
    v[::step] = value
    return Floats(v, "imp:%d,%s" % (step, bits(value)[0]))


def unit(n, seed, ident, stream, shift):
    return Floats(
        oracle.unit(seed, ident, stream, n, shift),
        "unit:%d,%d,%d,%d" % (seed, ident, stream, shift),
    )


class Bytes:
    def __init__(self, values, text=None):
        self.v = np.asarray(values).astype(np.int64).astype(np.uint8)
        self.text = text or "b:" + self.v.tobytes().hex()


def fill_bytes(n, value):
    return Bytes(np.full(n, value), "fill:%02x" % (value & 255))


def line(ident, reason, flags, inputs, expected):
    text = " | ".join((ident, reason, flags, inputs, expected))
    assert len(text.split(" | ")) == 5 and len(text) < 65536
    print(text)


def quant(ident, reason, flags, x, rot=True):
    n = len(x.v)
    pad = padded(n)
    inputs = "quant cols=%d pad=%d G=%d rot=%d x=%s" % (n, pad, group_of(pad), rot, x.text)
    if not np.isfinite(x.v).all():
        return line(ident, reason, flags, inputs, "error")
    try:
        q, m, e, E = oracle.exact_quantise([frac(v) for v in x.v], rot)
    except oracle.NonFinite:
        return line(ident, reason, flags, inputs, "error")
    assert max(map(abs, q)) <= 127
    if "tie" in flags:
        z = oracle.exact_wht([frac(v) for v in x.v]) if rot else [frac(v) for v in x.v]
        z = [v / (m[0] * Fraction(2) ** e[0]) for v in z]
        assert {v % 2 for v in z} >= {Fraction(1, 2), Fraction(3, 2)}  # down and up
    fq, fm, fe, fE = oracle.quantise(x.v[None], rot)
    assert fq.ravel().tolist() == q and (fm[0].tolist(), fe[0].tolist(), int(fE[0])) == (m, e, E)
    short = ",".join(map(str, q))
    if pad > 512:
        short = "sha256:" + hashlib.sha256(np.array(q, np.int8).tobytes()).hexdigest()
    join = lambda v: ",".join(map(str, v))
    line(ident, reason, flags, inputs, "E=%d e=%s m=%s q=%s" % (E, join(e), join(m), short))


def levels_of(kind, codes, book):
    """The stored bytes of codes as levels: c[code] or the 8-bit code itself."""
    if kind == "i8":
        return codes.v.astype(np.int8).astype(int)
    u = codes.v.astype(int)
    return book.v.astype(np.int8).astype(int)[np.stack([u & 15, u >> 4], 1).ravel()]


def linear(ident, reason, flags, kind, rows, cols, codes, scale, book, row, x, rot=True, want=None):
    """want: a condition on the integers Y and the outputs y that gives the case its point."""
    pad = padded(cols)
    level = levels_of(kind, codes, book).reshape(rows, pad)
    s = np.repeat(scale.v.astype(np.int8).astype(int).reshape(rows, pad // 16), 16, 1)
    ys, Ys = oracle.exact_linear(
        (level * s).tolist(), [frac(v) for v in row.v], [frac(v) for v in x.v], rot
    )
    assert want is None or want(Ys, ys), ident
    inputs = (
        "linear kind=%s rows=%d cols=%d pad=%d G=%d rot=%d codes=%s scale=%s book=%s row=%s x=%s"
        % (
            kind,
            rows,
            cols,
            pad,
            group_of(pad),
            rot,
            codes.text,
            scale.text,
            book.text if kind == "tq4" else "-",
            row.text,
            x.text,
        )
    )
    if None in ys:
        return line(ident, reason, flags, inputs, "error")
    y = f32([oracle.to32(v) for v in ys])
    M = {"W": level * s, "row": row.v}
    # the rationals know no negative zero: a product that underflows keeps its sign in the floats
    fy = oracle.linear_int(M, x.v[None], rot)[0]
    assert (fy == y).all()
    line(ident, reason, flags, inputs, "y=" + Floats(fy).text)


def model_linear(ident, reason, flags, kind, seed, rows, cols, x, rot=True, k=None, want=None):
    """A matrix by the recipe of random models."""
    pad = padded(cols)
    n = rows * pad // (2 if kind == "tq4" else 1)
    codes = oracle.octets(seed, 3, 0, n)
    if kind == "i8":
        codes[codes == -128] = -127
    text = "model:%d,3" % seed
    k = 12 + oracle.log2_floor(pad * group_of(pad)) // 2 if k is None else k
    linear(
        ident,
        reason,
        flags,
        kind,
        rows,
        cols,
        Bytes(codes, text),
        Bytes(oracle.random_scales(seed, 3, rows, pad).ravel(), text),
        Bytes(oracle.random_book(seed, 3), text),
        Floats(oracle.random_rows(seed, 3, rows, k), "model:%d,3,%d" % (seed, k)),
        x,
        rot,
        want,
    )


def embed(ident, reason, flags, rows, cols, token, codes, scale, row):
    pad = padded(cols)
    level = levels_of("i8", codes, None).reshape(rows, pad)[token]
    s = np.repeat(scale.v.astype(np.int8).astype(int).reshape(rows, pad // 16)[token], 16)
    G = group_of(pad)
    v = [Fraction(int(a)) for a in level * s]
    z = sum((oracle.exact_wht(v[g : g + G]) for g in range(0, pad, G)), [])
    y = [oracle.round32(a * frac(row.v[token])) for a in z[:cols]]
    M = {
        "W": (
            levels_of("i8", codes, None).reshape(rows, pad)
            * np.repeat(scale.v.astype(np.int8).astype(int).reshape(rows, -1), 16, 1)
        ),
        "row": row.v,
    }
    fy = oracle.embed_int(M, np.array([token]), cols)[0]
    assert [frac(a) for a in fy] == y
    line(
        ident,
        reason,
        flags,
        "embed rows=%d cols=%d pad=%d G=%d token=%d codes=%s scale=%s row=%s"
        % (rows, cols, pad, G, token, codes.text, scale.text, row.text),
        "y=" + Floats(fy).text,
    )


def wht_cases(rng):
    for n in (32, 64, 128):
        x = f32(rng.standard_normal(n))
        y = oracle.wht(x)
        assert [frac(v) for v in y] == oracle.exact_wht([frac(v) for v in x])
        line(
            "wht-%d" % n,
            "order of the additions shows in the last bits",
            "-",
            "wht n=%d x=%s" % (n, Floats(x).text),
            "y=" + Floats(y).text,
        )
    x = f32(np.where(np.arange(32) == 5, 1, 0))
    line(
        "wht-impulse",
        "column 5 of the Sylvester matrix: the sign is the parity of i and 5",
        "-",
        "wht n=32 x=" + Floats(x).text,
        "y=" + Floats(oracle.wht(x)).text,
    )


def quant_cases(rng):
    normal = lambda n, scale=1.0: f32(rng.standard_normal(n) * scale)
    for n in (32, 64, 128, 96, 256, 640):
        quant("q-gauss-%d" % n, "Gaussian row", "-", Floats(normal(n)))
        quant("q-norot-%d" % n, "Gaussian row, not rotated", "-", Floats(normal(n)), False)
    for n in (1, 31, 33, 40, 48, 352, 1000):
        quant(
            "q-pad-%d" % n,
            "columns padded with zeros before the rotation",
            "pad",
            Floats(normal(n)),
        )
    # ties: with max 127 the quotient is the value itself, and .5 goes to the even integer
    x = np.arange(32) * 2.0 + 1
    x[0] = 127 * 2  # sigma = 2
    quant("q-tie-up", "x / sigma exactly halfway, positive", "tie", Floats(x), False)
    quant("q-tie-down", "x / sigma exactly halfway, negative", "tie,negative", Floats(-x), False)
    y = oracle.wht(f32(np.where(np.arange(32) > 0, np.arange(32) - 15.5, 127)))  # exact
    quant("q-tie-rotated", "halfway after the rotation", "tie", Floats(y))
    # the two branches of m, and their boundary A = 127 * 255 * 512 and one more
    A = 127 * 255 * 512
    for name, a in (
        ("below", A - 1),
        ("at", A),
        ("above", A + 1),
        ("first", 2**23),
        ("last", 2**24 - 1),
        ("m129", 127 * 1024 * 128 + 1),
        ("m130", 127 * 512 * 130),
    ):
        for k in (-20, 0, 7):
            x = np.zeros(32)
            x[3], x[4], x[5] = a * 2.0**k, -a * 2.0 ** (k - 1), a * 2.0 ** (k - 8)
            quant(
                "q-a-%s-%d" % (name, k),
                "largest magnitude is A 2^k, A = %d" % a,
                "edge",
                Floats(x),
                False,
            )
    x = np.zeros(32)
    x[0], x[1] = A, -A
    quant("q-127", "both ends: q = 127 and -127 exactly", "edge", Floats(x), False)
    # zero and tiny groups
    quant("q-zero", "a row of zeros: E = 0, e = -16, m = 128", "zero", Floats(np.zeros(64)))
    quant("q-zero-negative", "a row of negative zeros", "zero,negative", Floats(-np.zeros(32)))
    x = normal(256)
    x[128:] = 0
    quant("q-zero-group", "one group is zero: it takes e = E - 16, m = 128", "zero", Floats(x))
    for name, a in (("below", np.nextafter(F32(2.0**-100), F32(0))), ("at", F32(2.0**-100))):
        quant(
            "q-tiny-" + name, "largest magnitude %s 2^-100" % name, "tiny,edge", impulses(32, 32, a)
        )
        x = impulses(64, 32, a).v
        x = np.concatenate([np.zeros(32, F32), x])  # 96 columns: G = 32, three groups
        x[64] = F32(2.0**-90)
        quant("q-tiny-beside-%s" % name, "beside a group of 2^-90", "tiny,edge", Floats(x))
    for d in (14, 15, 16, 17, 18, 30, 90):
        x = np.zeros(256, F32)
        x[:128], x[128:] = normal(128), normal(128, 2.0**-d)
        quant(
            "q-far-%d" % d,
            "second group about 2^-%d of the first: e is raised to E - 16" % d,
            "edge",
            Floats(x),
        )
    for d in (15, 16, 17):
        x = np.zeros(96, F32)
        x[0], x[1], x[32], x[33] = 127 * 200, 31, 127 * 200 * 2.0**-d, -77.7 * 2.0**-d
        x[64] = 127 * 128 * 2.0**-d
        quant(
            "q-exact-far-%d" % d, "e of two groups is exactly E - %d" % d, "edge", Floats(x), False
        )
    # the ends of the exponent
    big = from_bits(["7f7fffff"])[0]
    quant(
        "q-huge", "the largest finite value, not rotated", "huge,edge", impulses(32, 32, big), False
    )
    quant(
        "q-huge-rotated",
        "the rotation spreads the largest value without overflow",
        "huge,edge",
        impulses(32, 32, big),
    )
    quant(
        "q-huge-cancel",
        "two huge values: half of the rotation cancels, nothing overflows",
        "huge",
        Floats([1.5e38, -1.5e38] + [0] * 30),
    )
    quant(
        "q-huge-tiny",
        "huge and subnormal groups in one row",
        "huge,subnormal",
        Floats([3e38] + [0] * 31 + [1e-45] * 32 + [1e-30] * 32),
        False,
    )
    sub = f32(np.ldexp(rng.integers(-(2**23), 2**23, 64), -149))
    quant("q-subnormal", "only subnormal values: zero row", "subnormal,zero", Floats(sub))
    x = np.concatenate([sub[:31], f32([2.0**-99])])
    quant("q-subnormal-mixed", "subnormals beside 2^-99 go to q = 0", "subnormal,tiny", Floats(x))
    quant("q-philox-4096", "4,096 columns by recipe", "long", unit(4096, 9, 1, 0, 2))
    quant("q-philox-11008", "11,008 columns, G = 128, by recipe", "long", unit(11008, 9, 2, 0, -3))
    # to be rejected
    for name, w in (
        ("nan", "7fc00000"),
        ("inf", "7f800000"),
        ("ninf", "ff800000"),
        ("snan", "7f800001"),
    ):
        v = normal(64)
        v.view(np.uint32)[17] = int(w, 16)
        for rot in (True, False):
            quant(
                "q-reject-%s-%d" % (name, rot), "activation is not finite", "reject", Floats(v), rot
            )
    v = np.zeros(64, F32)
    v[63] = from_bits(["7f800000"])[0]
    quant("q-reject-last", "the last activation is infinite", "reject", Floats(v))
    quant(
        "q-reject-first",
        "40 columns, the first is not a number",
        "reject,pad",
        Floats(np.concatenate([from_bits(["7fc00000"]), normal(39)])),
    )
    quant(
        "q-reject-overflow", "finite values whose rotation overflows", "reject,huge", fill(32, 3e38)
    )
    quant(
        "q-reject-overflow-mid",
        "inf - inf inside the rotation",
        "reject,huge",
        Floats([3e38, 3e38, 3e38, 3e38] + [0] * 28),
    )


def linear_cases(rng):
    normal = lambda n, scale=1.0: f32(rng.standard_normal(n) * scale)
    seed = 100
    for kind in ("tq4", "i8"):
        for cols, rows in (
            (32, 3),
            (64, 4),
            (128, 5),
            (96, 3),
            (40, 3),
            (48, 17),
            (352, 5),
            (640, 2),
        ):
            seed += 1
            model_linear(
                "l-%s-%d" % (kind, cols),
                "random matrix and Gaussian activations",
                "pad" if cols % 32 else "-",
                kind,
                seed,
                rows,
                cols,
                Floats(normal(cols)),
            )
        seed += 1
        model_linear(
            "l-%s-norot" % kind,
            "the same without rotation",
            "-",
            kind,
            seed,
            4,
            256,
            Floats(normal(256)),
            False,
        )
    x = normal(384)
    x[128:256] *= F32(2.0**-9)
    x[256:] *= F32(2.0**-15)
    model_linear(
        "l-shift",
        "groups of unlike magnitude: shifts of 16, about 7 and about 1",
        "-",
        "tq4",
        140,
        6,
        384,
        Floats(x),
    )
    x = normal(384)
    x[128:256] = 0
    x[256:] *= F32(2.0**-40)
    model_linear(
        "l-shift-zero",
        "a zero group and a raised one: shift 0",
        "zero",
        "tq4",
        141,
        4,
        384,
        Floats(x),
    )
    model_linear("l-zero", "all activations zero: y = 0", "zero", "tq4", 142, 4, 64, fill(64, 0.0))
    for cols in (2048, 6144, 11008):
        model_linear(
            "l-long-%d" % cols,
            "long rows by recipe",
            "long",
            "tq4",
            150 + cols,
            3,
            cols,
            unit(cols, 8, cols, 0, 1),
        )
    model_linear(
        "l-long-i8",
        "2,048 columns of 8-bit codes by recipe",
        "long",
        "i8",
        151,
        3,
        2048,
        unit(2048, 8, 5, 0, 0),
    )

    # the largest |I| and |Y|: every level, scale and q at 127, m = 255, all groups at e = E
    top = Bytes([0] * 15 + [127])
    one = Floats([1.0])
    peak = F32(127 * 255)
    for cols in (128, 4096, 65536):
        for sign, s in (("plus", 127), ("minus", -127)):
            limit = 255 * 127**3 * cols << 16
            linear(
                "l-max-%d-%s" % (cols, sign),
                "largest integer of %d columns" % cols,
                "edge,long" if cols > 128 else "edge",
                "tq4",
                1,
                cols,
                fill_bytes(cols // 2, 255),
                fill_bytes(cols // 16, s),
                top,
                one,
                impulses(cols, 128, peak),
                want=lambda Y, y: abs(Y[0]) == limit,
            )
    linear(
        "l-max-i8",
        "largest integer of 65,536 columns of 8-bit codes",
        "edge,long",
        "i8",
        1,
        65536,
        fill_bytes(65536, 127),
        fill_bytes(4096, -127),
        None,
        one,
        impulses(65536, 128, peak),
        want=lambda Y, y: Y[0] < -(2**61) + 2**57,
    )
    linear(
        "l-fill",
        "constant activations: only column 0 of a group is not zero after rotation",
        "-",
        "tq4",
        1,
        256,
        fill_bytes(128, 0x21),
        fill_bytes(16, 3),
        Bytes(range(-8, 8)),
        one,
        fill(256, 0.7),
    )

    # ties of float(Y): one group of 32, q = 127 at column 0 and small integers elsewhere
    found = {}
    while len(found) < 4:
        q = rng.integers(-127, 128, 32)
        q[0] = 127
        m = int(rng.integers(64, 128)) * 2 + 1
        codes = rng.integers(-127, 128, 32)
        s = rng.integers(-127, 128, 2)
        Y = m * int((codes * np.repeat(s, 16) * q).sum()) << 16
        n, z = abs(Y), 0
        while n and n % 2 == 0:
            n //= 2
            z += 1
        if n.bit_length() != 25:  # 25 bits, the last of them set: halfway between two floats
            continue
        key = ("up" if n & 2 else "down", "minus" if Y < 0 else "plus")
        if key in found:
            continue
        found[key] = True
        linear(
            "l-tie-%s-%s" % key,
            "float(Y) is halfway: to even, magnitude %s" % key[0],
            "tie,negative" if Y < 0 else "tie",
            "i8",
            1,
            32,
            Bytes(codes),
            Bytes(s),
            None,
            one,
            Floats(q * float(m)),
            False,
            want=lambda Ys, ys: Ys[0] == Y and oracle.round32(Y) != Y,
        )
    # beside the tie: a second group at shift 0 moves Y off the halfway point
    found = set()
    while len(found) < 2:
        c0, s0, m0 = (
            int(v) for v in (rng.integers(1, 128), rng.integers(1, 128), rng.integers(128, 256))
        )
        c1 = int(rng.choice([-1, 1]))
        big, small = m0 * c0 * s0 * 127 << 16, 128 * c1 * 127
        Y = big + small
        n = big
        while n % 2 == 0:
            n //= 2
        if n.bit_length() != 25 or c1 in found:
            continue
        found.add(c1)
        x = np.zeros(96)
        x[0], x[32] = 127.0 * m0, 127.0 * 128 * 2.0**-16
        codes = np.zeros(96, int)
        codes[0], codes[32] = c0, c1
        linear(
            "l-near-tie-%s" % ("above" if c1 > 0 else "below"),
            "a group 2^-16 smaller moves Y off the halfway point: no rounding before the last",
            "tie",
            "i8",
            1,
            96,
            Bytes(codes),
            Bytes([s0, 1, 1, 1, 1, 1]),
            None,
            one,
            Floats(x),
            False,
            want=lambda Ys, ys: Ys[0] == Y and oracle.round32(Y) != oracle.round32(big - small),
        )

    # Y = tie + 1 and tie - 1 with 55 bits: n groups with I = 128 * 127^3 and m = 128, and two
    # groups 2^-16 smaller whose sigma of 129 and 128 times +-1 differ by 1. Binary64 would see the tie.
    for n, one_off in ((15, 1), (13, -1)):
        cols = 128 * (n + 2)
        tie = n * 127**3 * 128 * 128 << 16
        x = np.full(cols, 127.0 * 128)
        codes = np.full(cols, 127)
        codes[-256:] = 0
        for at, m, c in ((-256, 129, one_off), (-128, 128, -one_off)):
            x[cols + at : cols + at + 128] = 0
            x[cols + at], x[cols + at + 1] = 127 * m * 2.0**-16, m * 2.0**-16  # q = 127 and 1
            codes[at + 1] = c
        scale = np.full(cols // 16, 127)
        scale[-16:] = 1
        linear(
            "l-beside-tie-%s" % ("above" if one_off > 0 else "below"),
            "Y is a tie %+d, of 55 bits: rounding once, not through binary64" % one_off,
            "tie,long",
            "i8",
            1,
            cols,
            Bytes(codes),
            Bytes(scale),
            None,
            one,
            Floats(x),
            False,
            want=lambda Y, y: Y[0] == tie + one_off
            and oracle.round32(Y[0]) != oracle.round32(int(float(Y[0]))),
        )

    # the two roundings after it, and the ends of the exponent
    model_linear(
        "l-order",
        "(float(Y) * row) * P in this order: row * P would be subnormal",
        "subnormal",
        "tq4",
        160,
        24,
        128,
        Floats(normal(128, 2.0**-85)),
        k=70,
        want=lambda Y, y: sum(0 < abs(v) < Fraction(2) ** -126 for v in y) > 12,
    )
    k, row = 60, oracle.random_rows(168, 3, 150, 60)

    def twice(Y, y):
        """Both products round, and for some rows one rounding of both would differ."""
        E = oracle.exact_quantise([frac(v) for v in x.v])[3]
        P = Fraction(2) ** (E - 16)
        once = [oracle.round32(oracle.round32(a) * frac(r) * P) for a, r in zip(Y, row)]
        return sum(a != b for a, b in zip(once, y)) > 3

    x = Floats(np.random.default_rng(168).standard_normal(32) * 2.0**-85)
    model_linear(
        "l-twice",
        "a subnormal y is rounded twice, and that shows",
        "subnormal,tie",
        "tq4",
        168,
        150,
        32,
        x,
        k=k,
        want=twice,
    )
    model_linear(
        "l-p-subnormal",
        "P = 2^(E - 16) is subnormal, y is not",
        "subnormal",
        "tq4",
        161,
        4,
        64,
        Floats(normal(64, 2.0**-97)),
        k=-20,
        want=lambda Y, y: all(abs(v) > Fraction(2) ** -126 for v in y),
    )
    model_linear(
        "l-p-least",
        "the smallest E: one activation of 2^-100",
        "subnormal,tiny",
        "tq4",
        162,
        4,
        32,
        impulses(32, 32, F32(2.0**-100)),
        k=0,
    )
    model_linear(
        "l-underflow",
        "y below the smallest subnormal: zero with the sign of Y",
        "subnormal,tiny",
        "tq4",
        163,
        6,
        32,
        Floats(normal(32, 2.0**-95)),
        k=100,
    )
    for name, e in (("huge", 112), ("huge-most", 122)):
        x = Floats(normal(64, 2.0**e))
        reason = "activations near 2^%d: P is 2^%d" % (e, e - 24)
        model_linear(
            "l-" + name, reason, "huge", "tq4", 164, 4, 64, x, k=45, want=lambda Y, y: None not in y
        )
    linear(
        "l-row-negative",
        "a negative row scale and a zero one",
        "negative",
        "tq4",
        3,
        32,
        Bytes(rng.integers(0, 256, 48)),
        Bytes(rng.integers(-127, 128, 6)),
        Bytes([-127, -90, -60, -41, -30, -20, -11, -3, 4, 12, 21, 32, 44, 61, 88, 127]),
        Floats([-0.01, 0.0, 0.01]),
        Floats(normal(32)),
    )
    # to be rejected
    model_linear(
        "l-reject-overflow",
        "float(Y) * row overflows",
        "reject,huge",
        "tq4",
        165,
        2,
        64,
        Floats(normal(64)),
        k=-110,
    )
    model_linear(
        "l-reject-scale",
        "the product with P overflows",
        "reject,huge",
        "tq4",
        166,
        2,
        64,
        Floats(normal(64, 2.0**115)),
        k=-20,
    )


def embed_cases(rng):
    for cols, rows, token in (
        (32, 3, 2),
        (64, 5, 0),
        (128, 4, 3),
        (48, 3, 1),
        (96, 2, 1),
        (352, 2, 0),
    ):
        pad, seed, text = padded(cols), 200 + cols, "model:%d,3" % (200 + cols)
        codes = oracle.octets(seed, 3, 0, rows * pad)
        codes[codes == -128] = -127
        k = 12 + oracle.log2_floor(group_of(pad)) // 2
        embed(
            "e-%d" % cols,
            "row %d of a random table" % token,
            "pad" if cols % 32 else "-",
            rows,
            cols,
            token,
            Bytes(codes, text),
            Bytes(oracle.random_scales(seed, 3, rows, pad).ravel(), text),
            Floats(oracle.random_rows(seed, 3, rows, k), "model:%d,3,%d" % (seed, k)),
        )
    embed(
        "e-max",
        "every code and scale at the end of its range: 128 * 127 * 127",
        "edge",
        1,
        128,
        0,
        fill_bytes(128, -127),
        fill_bytes(8, -127),
        Floats([0.001]),
    )
    embed(
        "e-subnormal",
        "products below the smallest normal number",
        "subnormal",
        1,
        32,
        0,
        Bytes(rng.integers(-127, 128, 32)),
        Bytes([3, -5]),
        Floats([2.0**-140]),
    )


if __name__ == "__main__":
    print(HEAD)
    generator = np.random.default_rng(20)
    wht_cases(generator)
    quant_cases(generator)
    linear_cases(generator)
    embed_cases(generator)
