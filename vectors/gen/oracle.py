"""The oracle: Assay's forward pass once more, in Python, from the book's statement of it.

It shares no code with src/. Integers are numpy int64 (bounds asserted) or Python's own; binary32
operations are numpy float32, one IEEE operation each; the fused multiply-add, which numpy lacks, is
built from binary64 with rounding to odd and checked against exact rationals; rotary angles come
from mpmath with 50 digits.

    fma, lane_dot, rmsnorm, wht, quantise, linear_int, embed_int     the operations
    num_exp, num_log, num_sigmoid                                     the polynomials of num.h
    words, tq4_matrix, i8_matrix, dense_matrix, norm_weights          random models
    rope_table, Model                                                 the whole forward pass
    round32, exact_*                                                  the same in exact rationals

`python3 vectors/gen/oracle.py` runs the self-test and prints one line per check.
"""

import hashlib
import math
import sys
from fractions import Fraction

import mpmath
import numpy as np

F32, F64, I64, U32, U64 = np.float32, np.float64, np.int64, np.uint32, np.uint64
LANES, KEYS, BLOCK, GROUP_MAX = 32, 256, 16, 128
ZERO = 2.0**-100  # a group whose largest magnitude is below this is quantised to zeros


class NonFinite(Exception):
    """A float left the finite numbers: the program must report an error, never go on."""


def f32(x):
    return np.asarray(x, F32)


def bits(x):
    """The binary32 values of x as a list of 8-digit hexadecimal words."""
    return ["%08x" % b for b in f32(x).ravel().view(U32)]


def from_bits(words):
    return np.array([int(w, 16) for w in words], U32).view(F32)


def finite(x):
    if not np.isfinite(x).all():
        raise NonFinite
    return x


# ---- exact rationals -----------------------------------------------------------------------------
def round32(x):
    """The binary32 nearest to the rational x, ties to even, as a Fraction; None: it overflows."""
    x = Fraction(x)
    if x == 0:
        return Fraction(0)
    e = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if abs(x) < Fraction(2) ** e:
        e -= 1
    ulp = Fraction(2) ** (max(e, -126) - 23)
    y = round(x / ulp) * ulp  # round() of a Fraction is half to even
    return None if abs(y) >= 2**128 else y


def to32(x):
    """A Fraction that is a binary32 value, as np.float32."""
    y = F32(float(x))
    assert Fraction(float(y)) == x
    return y


# ---- binary32 operations -------------------------------------------------------------------------
def fma(a, b, c):
    """fma(a, b, c) of binary32, rounded once, elementwise with broadcasting.

    The product of two 24-bit significands has 48 bits and an exponent of at least -298: exact in
    binary64. The binary64 sum s and its error e (Knuth's TwoSum) are together exact; when e is not
    0 and the last bit of s is even, the other neighbour of the exact sum is the odd one. A sum
    rounded to odd at 53 >= 24 + 2 bits rounds to binary32 as the exact sum does (Boldo, Melquiond
    2008).
    """
    p = np.multiply(a, b, dtype=F64)
    c = np.asarray(c, F64)
    s = p + c
    t = s - p
    e = (p - (s - t)) + (c - t)
    finite(s)
    w = s.view(I64)
    up = (e > 0) == (s > 0)
    step = np.where((e != 0) & ((w & 1) == 0), np.where(up, 1, -1), 0)
    return (w + step).view(F64).astype(F32)


def lane_dot(a, b):
    """The ordered dot product over the last axis: 32 lanes, ascending fma, butterfly 16 .. 1."""
    a, b = np.broadcast_arrays(f32(a), f32(b))
    n = a.shape[-1]
    acc = np.zeros(a.shape[:-1] + (LANES,), F32)
    for i in range(0, n, LANES):
        k = min(LANES, n - i)  # the tail leaves the other lanes alone: fma(0, 0, -0) would be +0
        acc[..., :k] = fma(a[..., i : i + k], b[..., i : i + k], acc[..., :k])
    return butterfly(acc)


def lane_sum(a):
    a = f32(a)
    n = a.shape[-1]
    acc = np.zeros(a.shape[:-1] + (LANES,), F32)
    for i in range(0, n, LANES):
        k = min(LANES, n - i)
        acc[..., :k] = acc[..., :k] + a[..., i : i + k]
    return butterfly(acc)


def butterfly(acc):
    for m in (16, 8, 4, 2, 1):
        acc = acc[..., :m] + acc[..., m : 2 * m]
    return acc[..., 0]


def dense_linear(W, x):
    """y[t, r] = lane_dot(W[r], x[t]); a few tokens at a time, so that temporaries stay in cache."""
    step = max(1, 60000 // (W.shape[0] * LANES))
    parts = [lane_dot(W[None], x[t : t + step, None, :]) for t in range(0, len(x), step)]
    return np.concatenate(parts)


def rmsnorm(x, w, eps):
    """(x * r) * w over the last axis, r = 1 / sqrt(sum of squares / n + eps)."""
    ss = lane_dot(x, x)
    r = F32(1) / np.sqrt(ss / F32(x.shape[-1]) + F32(eps))
    return (x * r[..., None]) * w


def wht(x):
    """Unnormalised Walsh-Hadamard transform of the last axis (a power of two), steps 1, 2, 4 ..."""
    x, n, h = x.copy(), x.shape[-1], 1
    while h < n:
        v = x.reshape(x.shape[:-1] + (n // (2 * h), 2, h))
        a, b = v[..., 0, :].copy(), v[..., 1, :].copy()
        v[..., 0, :], v[..., 1, :] = a + b, a - b
        h *= 2
    return x


def padded(cols):
    return -(-cols // 32) * 32


def group_of(pad):
    g = GROUP_MAX
    while pad % g:
        g //= 2
    return g


def pad_rows(x):
    out = np.zeros(x.shape[:-1] + (padded(x.shape[-1]),), F32)
    out[..., : x.shape[-1]] = x
    return out


# ---- exp, log and sigmoid ------------------------------------------------------------------------
EXP = [
    float.fromhex(v)
    for v in (
        "0x1.6b675p-10",
        "0x1.122f1cp-7",
        "0x1.55568ep-5",
        "0x1.5554a4p-3",
        "0x1p-1",
        "0x1p0",
        "0x1p0",
    )
]
LOG2E, LN2_HIGH, LN2_LOW = (
    F32(float.fromhex(v)) for v in ("0x1.715476p+0", "0x1.62e4p-1", "0x1.7f7d1cp-20")
)


def power(k):
    """2^k as binary32."""
    return np.ldexp(1.0, k).astype(F32)


def num_exp(x):
    """exp by n = rint(x log2 e), a degree-6 polynomial at r = x - n ln 2, and two scalings."""
    x = f32(x)
    x = np.where(x > F32(89), F32(89), x)
    x = np.where(x < F32(-104), F32(-104), x)
    n = np.rint(x * LOG2E)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    p = np.broadcast_to(F32(EXP[0]), x.shape)
    for c in EXP[1:]:
        p = fma(p, r, F32(c))
    k = n.astype(I64)
    h = np.where(k < 0, -(-k // 2), k // 2)  # k / 2 towards zero
    with np.errstate(over="ignore"):
        return (p * power(k - h)) * power(h)


def num_sigmoid(x):
    """1 / (1 + exp(-x)) with the exponential never above 1."""
    e = num_exp(np.where(x < 0, x, -x))
    return np.where(x < 0, e, F32(1)) / (F32(1) + e)


LOG = [
    float.fromhex(v)
    for v in (
        "-0x1.06cddep-3",
        "0x1.1ec5e2p-3",
        "-0x1.f3a7e4p-4",
        "0x1.1ec0fep-3",
        "-0x1.559802p-3",
        "0x1.99d1c4p-3",
        "-0x1.ffff14p-3",
        "0x1.555502p-2",
        "-0x1p-1",
    )
]
LN2 = F32(float.fromhex("0x1.62e43p-1"))


def num_log(x):
    """log of normal x > 0: x = 2^k (1 + f) with 1 + f in [2/3, 4/3), a degree-8 polynomial at f."""
    m, k = np.frexp(f32(x))  # m in [1/2, 1)
    low = m < F32(2 / 3)  # 2 m is below 4/3
    f = np.where(low, m + m, m) - F32(1)
    k = np.where(low, k - 1, k).astype(F32)
    p = np.broadcast_to(F32(LOG[0]), f.shape)
    for c in LOG[1:]:
        p = fma(p, f, F32(c))
    return fma(k, LN2, fma(p, f * f, f))


# ---- TQ4 -----------------------------------------------------------------------------------------
def quantise(x, rot=True):
    """x[T, cols] -> (q[T, ng, G], m[T, ng], e[T, ng], E[T]), all int64."""
    finite(x)
    x = pad_rows(f32(x))
    G = group_of(x.shape[-1])
    x = x.reshape(len(x), -1, G)
    with np.errstate(over="ignore", invalid="ignore"):
        x = finite(wht(x) if rot else x)
    a = np.abs(x).max(-1)
    zero = a < F32(ZERO)
    f, ex = np.frexp(np.where(zero, F32(1), a))
    A, k = (f.astype(F64) * 2**24).astype(I64), ex.astype(I64) - 24
    low = A <= 127 * 255 * 512
    e = np.where(low, k + 9, k + 10)
    m = np.where(low, -(-A // (127 * 512)), np.maximum(128, -(-A // (127 * 1024))))
    E = np.where(zero, -(10**6), e).max(-1)
    E = np.where(zero.all(-1), 0, E)
    raised = zero | (e < E[:, None] - 16)
    e = np.where(raised, E[:, None] - 16, e)
    m = np.where(raised, 128, m)
    assert ((m >= 128) & (m <= 255)).all()
    sigma = np.ldexp(m.astype(F64), e).astype(F32)
    q = np.rint(x / sigma[..., None]).astype(I64)
    q[zero] = 0
    assert np.abs(q).max() <= 127
    return q, m, e, E


def linear_int(M, x, rot=True):
    """TQ4 or I8 linear: one integer for each output, rounded, times row, times a power of two."""
    q, m, e, E = quantise(x, rot)
    T, ng, G = q.shape
    W = M["W"].reshape(-1, ng, G)  # s * c[code], |.| <= 127 * 127
    Y = np.zeros((T, len(W)), I64)
    for g in range(ng):
        I = q[:, g] @ W[:, g].T
        assert np.abs(I).max() < 2**31
        Y += (m[:, g, None] * I) << (e[:, g] - E + 16)[:, None]  # below 2^61 for 65536 columns
    P = np.ldexp(1.0, E - 16).astype(F32)
    with np.errstate(over="ignore"):
        return finite((Y.astype(F32) * M["row"]) * P[:, None])


def embed_int(M, tokens, cols):
    v = M["W"][tokens].astype(F32)
    z = wht(v.reshape(len(v), -1, group_of(v.shape[-1]))).reshape(v.shape)
    return finite((z * M["row"][tokens][:, None])[:, :cols])


# The same once more, one value at a time in exact rationals, for the vectors of tq4.txt.
def exact_wht(x):
    x, h = list(x), 1
    while h < len(x):
        for i in range(len(x)):
            if not i & h:
                a, b = x[i], x[i + h]
                x[i], x[i + h] = round32(a + b), round32(a - b)
                if x[i] is None or x[i + h] is None:
                    raise NonFinite
        h *= 2
    return x


def exact_quantise(x, rot=True):
    """One row of Fractions -> (q, m, e, E): sigma found by trial, not by the formula for m."""
    pad = padded(len(x))
    G = group_of(pad)
    x = list(x) + [Fraction(0)] * (pad - len(x))
    groups = [x[i : i + G] for i in range(0, pad, G)]
    if rot:
        groups = [exact_wht(g) for g in groups]
    top = [max(abs(v) for v in g) for g in groups]
    sig = []
    for a in top:
        if a < Fraction(2) ** -100:
            sig.append(None)
            continue
        e = math.floor(math.log2(a / 127)) - 9  # well below; then the first (m, e) with 127 s >= a
        while 127 * 255 * Fraction(2) ** e < a:
            e += 1
        sig.append((max(128, -(-a // (127 * Fraction(2) ** e))), e))
    used = [s[1] for s in sig if s]
    E = max(used) if used else 0
    q, m, e = [], [], []
    for g, s in zip(groups, sig):
        mm, ee = s if s and s[1] >= E - 16 else (128, E - 16)
        m.append(int(mm))
        e.append(ee)
        q += [0] * G if s is None else [round(round32(v / (mm * Fraction(2) ** ee))) for v in g]
    return q, m, e, E


def exact_linear(W, row, x, rot=True):
    """W: rows of s * c[code] as Python ints; row, x: Fractions. None for a y that overflows."""
    q, m, e, E = exact_quantise(x, rot)
    G = group_of(len(q))
    ys, Ys = [], []
    for w, r in zip(W, row):
        Y = 0
        for g in range(len(m)):
            I = sum(w[i] * q[i] for i in range(g * G, g * G + G))
            assert abs(I) < 2**31
            Y += (m[g] * I) << (e[g] - E + 16)
        assert abs(Y) < 2**63
        z = round32(round32(Y) * r)
        ys.append(None if z is None else round32(z * Fraction(2) ** (E - 16)))
        Ys.append(Y)
    return ys, Ys


# ---- random models -------------------------------------------------------------------------------
def philox(key, ctr):
    """Philox4x32-10 (Salmon et al. 2011) on arrays of uint64 that hold 32-bit words."""
    k0, k1 = int(key[0]), int(key[1])
    c = [np.asarray(v, U64) for v in ctr]
    mask, sh = U64(0xFFFFFFFF), U64(32)
    for _ in range(10):
        p0, p1 = c[0] * U64(0xD2511F53), c[2] * U64(0xCD9E8D57)
        c = [(p1 >> sh) ^ c[1] ^ U64(k0), p1 & mask, (p0 >> sh) ^ c[3] ^ U64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def words(seed, ident, stream, n):
    """The first n 32-bit words of the stream: key (seed, ident), counter (block, 0, stream, 0)."""
    block = np.arange(-(-n // 4), dtype=U64)
    z = np.zeros_like(block)
    out = philox((seed, ident), (block, z, z + U64(stream), z))
    return np.stack(out, 1).ravel()[:n].astype(U32)


def octets(seed, ident, stream, n):
    """The first n bytes of the stream as int8."""
    return words(seed, ident, stream, -(-n // 4)).astype("<u4").view(np.int8)[:n].copy()


def log2_floor(n):
    return n.bit_length() - 1


def random_rows(seed, ident, rows, k):
    w = words(seed, ident, 3, rows) >> U32(9)
    return (np.ldexp(1.0, -k) * (1 + w * 2.0**-23)).astype(F32)


def random_scales(seed, ident, rows, pad):
    s = octets(seed, ident, 1, rows * pad // BLOCK)
    s[s == -128] = -127
    s[s == 0] = 1
    return s.reshape(rows, -1)


def random_book(seed, ident):
    c = octets(seed, ident, 2, 16)
    c[c == -128] = -127
    c[15] = 127
    return c


def nibbles(packed):
    """Codes of packed bytes: column 2j in the low nibble, 2j + 1 in the high one."""
    u = packed.view(np.uint8)
    return np.stack([u & 15, u >> 4], -1).reshape(u.shape[:-1] + (-1,))


def expand(scale, level):
    return np.repeat(scale.astype(I64), BLOCK, 1) * level.astype(I64)


def tq4_matrix(seed, ident, rows, cols):
    pad = padded(cols)
    code = nibbles(octets(seed, ident, 0, rows * pad // 2).reshape(rows, -1))
    scale, book = random_scales(seed, ident, rows, pad), random_book(seed, ident)
    k = 12 + log2_floor(pad * group_of(pad)) // 2
    row = random_rows(seed, ident, rows, k)
    return {"W": expand(scale, book[code]), "row": row, "scale": scale, "book": book, "code": code}


def i8_matrix(seed, ident, rows, cols, embed):
    pad = padded(cols)
    code = octets(seed, ident, 0, rows * pad).reshape(rows, -1)
    code[code == -128] = -127
    W = expand(random_scales(seed, ident, rows, pad), code)
    k = 12 + log2_floor(group_of(pad) if embed else pad * group_of(pad)) // 2
    return {"W": W, "row": random_rows(seed, ident, rows, k)}


def unit(seed, ident, stream, n, shift):
    """n floats in [-1, 1) times 2^shift: 24 bits each, exact."""
    w = (words(seed, ident, stream, n) >> U32(8)).astype(I64) - 2**23
    return np.ldexp(w.astype(F64), shift - 23).astype(F32)


def dense_matrix(seed, ident, rows, cols, embed=False):
    shift = 0 if embed else -(log2_floor(cols) // 2)
    return unit(seed, ident, 0, rows * cols, shift).reshape(rows, cols)


def norm_weights(seed, ident, n):
    w = words(seed, ident, 0, n) >> U32(8)
    return F32(0.5) + w.astype(F32) * F32(2.0**-24)  # the addition rounds when the sum is above 1


# ---- rotary tables -------------------------------------------------------------------------------
def inv_freq(theta, hd, scaling=None):
    """hd/2 frequencies as mpf; scaling = (factor, low, high, original length) of type llama3."""
    mpmath.mp.dps = 50
    out = []
    for i in range(hd // 2):
        f = mpmath.power(mpmath.mpf(theta), mpmath.mpf(-2 * i) / hd)
        if scaling:
            factor, low, high, orig = (mpmath.mpf(v) for v in scaling)
            wave = 2 * mpmath.pi / f
            if wave > orig / low:
                f = f / factor
            elif wave >= orig / high:
                s = (orig / wave - low) / (high - low)
                f = (1 - s) * f / factor + s * f
        out.append(f)
    return out


def mp_round32(v, slack):
    """(binary32 of the mpf v, whether every value within slack of v rounds the same)."""

    def one(z):
        s, man, ex, _ = z._mpf_
        return round32((-1) ** s * Fraction(int(man)) * Fraction(2) ** int(ex))

    y = one(v)
    return to32(y), one(v - slack) == y == one(v + slack)


def rope_row(freq, pos):
    """(cos, sure, sin, sure) of each frequency at one position. Sure: a double computation rounds
    to the same binary32 when its angle and its result are off by 4e-15 of themselves (frequency 1
    and its angles are exact)."""
    rows, part = [], mpmath.mpf(4) * 10**-15
    for f in freq:
        angle = f * pos
        c, s = mpmath.cos(angle), mpmath.sin(angle)
        off = 0 if f == 1 else part * angle
        rows.append(
            mp_round32(c, part * abs(c) + off * abs(s))
            + mp_round32(s, part * abs(s) + off * abs(c))
        )
    return rows


def rope_table(theta, hd, T, scaling=None):
    """cos, sin [T, hd/2]; refuses a table with a value too near a tie to be sure of."""
    freq = inv_freq(theta, hd, scaling)
    cos, sin = np.zeros((T, hd // 2), F32), np.zeros((T, hd // 2), F32)
    for t in range(T):
        for i, (c, c_safe, s, s_safe) in enumerate(rope_row(freq, t)):
            assert c_safe and s_safe, "near a tie: choose another theta"
            cos[t, i], sin[t, i] = c, s
    return cos, sin


def rope(x, cos, sin):
    """x[T, heads, hd]: the pair (i, i + hd/2) turned by the angle of its position."""
    h = x.shape[-1] // 2
    a, b, c, s = x[..., :h], x[..., h:], cos[:, None], sin[:, None]
    return np.concatenate([fma(a, c, -(b * s)), fma(b, c, a * s)], -1)


# ---- the forward pass ----------------------------------------------------------------------------
def bf16(x):
    """x rounded to 8 significant bits (fewer below 2^-126), ties to even."""
    step = np.ldexp(1.0, np.maximum(np.frexp(x)[1], -125) - 8)
    with np.errstate(over="ignore"):
        return finite((np.rint(x / step) * step).astype(F32))


def attention(q, k, v, kv_of):
    """q[T, nh, hd], k, v[T, nkv, hd], positions 0 .. T-1 -> o[T, nh, hd]."""
    M, L, O = softmax_parts(q, k, v, kv_of)
    return O / L[..., None]


def softmax_parts(q, k, v, kv_of):
    """The largest score and the sum of exponentials [T, nh], and o before its division by it."""
    T, nh, hd = q.shape
    scale = F32(1) / np.sqrt(F32(hd))
    pos = np.arange(T)
    M = L = O = None
    for c in range(0, T, KEYS):
        rows = pos >= c  # queries that see any key of this chunk
        n = min(KEYS, T - c)
        kc, vc = k[c : c + n][:, kv_of], v[c : c + n][:, kv_of]
        qs, see = q[rows], pos[rows][:, None] >= c + np.arange(n)
        s = np.zeros((len(qs), n, nh), F32)
        for t in range(len(qs)):
            j = int(see[t].sum())
            s[t, :j] = lane_dot(qs[t][None], kc[:j]) * scale
        m = np.where(see[:, :, None], s, F32(-np.inf)).max(1)
        p = num_exp(np.where(see[:, :, None], s, m[:, None]) - m[:, None])
        l, o = np.zeros((len(qs), nh), F32), np.zeros((len(qs), nh, hd), F32)
        for j in range(n):
            on = see[:, j]
            l[on] = l[on] + p[on, j]
            o[on] = fma(p[on, j][..., None], vc[j][None], o[on])
        if c == 0:
            M, L, O = m, l, o
            continue
        top = np.where(m > M[rows], m, M[rows])
        al, be = num_exp(M[rows] - top), num_exp(m - top)
        L[rows] = fma(L[rows], al, l * be)
        O[rows] = fma(O[rows], al[..., None], o * be[..., None])
        M[rows] = top
    return M, L, O


class Model:
    """A random model by the recipe of `bench`. config: family, kind (tq4, f32), seed, hidden,
    inter, layers, heads, kv, head_dim, vocab, tied, theta, eps, scaling (None or four numbers);
    cache="bf16": keys and values are kept so."""

    def __init__(self, **config):
        self.c = config

    def linear(self, ident, rows, cols, x):
        if self.c["kind"] == "f32":
            return finite(dense_linear(dense_matrix(self.c["seed"], ident, rows, cols), x))
        return linear_int(tq4_matrix(self.c["seed"], ident, rows, cols), x)

    def embed(self, tokens):
        c = self.c
        if c["kind"] == "f32":
            return dense_matrix(c["seed"], 0, c["vocab"], c["hidden"], True)[tokens]
        return embed_int(
            i8_matrix(c["seed"], 0, c["vocab"], c["hidden"], True), tokens, c["hidden"]
        )

    def head(self, x):
        c, ident = self.c, 0 if self.c["tied"] else 1
        if c["kind"] == "f32":
            return finite(
                dense_linear(dense_matrix(c["seed"], ident, c["vocab"], c["hidden"], c["tied"]), x)
            )
        return linear_int(i8_matrix(c["seed"], ident, c["vocab"], c["hidden"], c["tied"]), x)

    def norm(self, ident, x):
        return rmsnorm(x, norm_weights(self.c["seed"], ident, x.shape[-1]), self.c["eps"])

    def kept(self, x):
        """Keys or values as attention finds them."""
        return bf16(x) if self.c.get("cache") == "bf16" else x

    def phases(self, tokens):
        """Yields (layer or -1, phase name, list of output arrays) for one prefill of the tokens."""
        c, T, tokens = self.c, len(tokens), np.asarray(tokens)
        H, inter, nh, nkv, hd = (c[k] for k in ("hidden", "inter", "heads", "kv", "head_dim"))
        cos, sin = rope_table(c["theta"], hd, T, c["scaling"])
        kv_of = np.arange(nh) // (nh // nkv)
        x = self.embed(tokens)
        yield -1, "EMBED", [x]
        for l in range(c["layers"]):
            at = 16 + 16 * l
            n = self.norm(at, x)
            q = self.linear(at + 1, nh * hd, H, n).reshape(T, nh, hd)
            k = self.linear(at + 2, nkv * hd, H, n).reshape(T, nkv, hd)
            v = self.linear(at + 3, nkv * hd, H, n).reshape(T, nkv, hd)
            if c["family"] == "qwen3":
                q, k = self.norm(at + 9, q), self.norm(at + 10, k)
            q, k = rope(q, cos, sin), rope(k, cos, sin)
            yield l, "QKV", [q, k, v]
            o = attention(q, self.kept(k), self.kept(v), kv_of).reshape(T, nh * hd)
            yield l, "ATTEND", [o]
            x = x + self.linear(at + 4, H, nh * hd, o)
            yield l, "OUT", [x]
            n = self.norm(at + 5, x)
            g, u = self.linear(at + 6, inter, H, n), self.linear(at + 7, inter, H, n)
            yield l, "GATEUP", [g, u]
            h = (g * num_sigmoid(g)) * u
            x = x + self.linear(at + 8, H, inter, h)
            yield l, "DOWN", [x]
        yield -1, "HEAD", [self.head(self.norm(2, x))]


def digest(arrays):
    h = hashlib.sha256()
    for a in arrays:
        h.update(np.ascontiguousarray(finite(a), "<f4").tobytes())
    return h.hexdigest()


# ---- self-test -----------------------------------------------------------------------------------
def self_test():
    """Prints a line per check; returns [passed, failed]."""
    rng, counts = np.random.default_rng(1), [0, 0]

    def check(ok, what):
        counts[0 if ok else 1] += 1
        print("%s oracle: %s" % ("ok" if ok else "FAIL", what), flush=True)

    # fma: random significands over all exponents, near-cancellations, ties, subnormal results
    n = 40000
    w = rng.integers(0, 2**32, (3, n), dtype=np.uint32)
    a, b, c = (from_any(v) for v in w)
    a2 = f32(rng.standard_normal(n))
    b2 = f32(rng.standard_normal(n))
    c2 = f32(-(a2.astype(F64) * b2)) + f32(rng.integers(-2, 3, n) * 2.0**-30)
    a3 = f32(np.ldexp(rng.integers(1, 2**12, n) * 2 + 1, rng.integers(-100, -60, n)))
    b3 = f32(np.ldexp(rng.integers(1, 2**12, n) * 2 + 1, rng.integers(-95, -60, n)))
    c3 = f32(np.ldexp(rng.integers(-(2**23), 2**23, n), -149))
    j = rng.integers(0, 200, n) * 2.0**-23
    a4, b4 = f32(1 + j), f32((1 - j) * 2.0**-24)  # a tie less j^2: binary64 sees a tie
    c4 = f32(1 + rng.integers(0, 2**23, n) * 2.0**-23)
    edge = from_bits(
        "00000000 80000000 00000001 80000001 007fffff 00800000 3f800000 bf800000 "
        "3f7fffff 33800000 33800001 4b800000 1f800000 9f800001 20000000".split()
    )
    ge = np.array(np.meshgrid(edge, edge, edge)).reshape(3, -1)
    A, B, C = (
        np.concatenate(v) for v in zip((a, b, c), (a2, b2, c2), (a3, b3, c3), (a4, b4, c4), ge)
    )
    with np.errstate(over="ignore"):
        got = fma(A, B, C)
        naive = (A * B) + C
        twice = (A.astype(F64) * B + C).astype(F32)
    bad = differs = doubly = subnormal = 0
    for x, y, z, r, s, d in zip(*(v.tolist() for v in (A, B, C, got, naive, twice))):
        want = round32(Fraction(x) * Fraction(y) + Fraction(z))
        if want is None:
            bad += math.isfinite(r)
            continue
        bad += not math.isfinite(r) or Fraction(r) != want
        subnormal += 0 < abs(r) < 2.0**-126
        differs += not math.isfinite(s) or s != r
        doubly += d != r
    zeros = [
        ("80000000", "3f800000", "80000000", "80000000"),  # -0 * 1 + -0 = -0
        ("80000000", "3f800000", "00000000", "00000000"),
        ("3f800000", "3f800000", "bf800000", "00000000"),
        ("80000001", "00000001", "00000000", "80000000"),  # below half the smallest: -0
        ("80000001", "00000001", "80000000", "80000000"),
    ]
    zok = all(
        bits(fma(from_bits([p]), from_bits([q]), from_bits([r]))) == [s] for p, q, r, s in zeros
    )
    check(
        bad == 0 and zok,
        "fma equals the exact rational rounded once on %d cases (%d subnormal; "
        "mul then add differs on %d, plain binary64 on %d)" % (len(A), subnormal, differs, doubly),
    )
    check(
        subnormal > 1000 and differs > 1000 and doubly > 1000,
        "the fma cases tell the wrong ways apart",
    )

    # bf16: the nearer of the two neighbours in 16 bits, the even one of two as near
    x = from_any(rng.integers(0, 2**32, 4000, dtype=np.uint32))
    x[:2000] = ((x[:2000].view(U32) & U32(0xFFFF0000)) | U32(0x8000)).view(F32)  # ties
    x[::5] = (x[::5].view(U32) & U32(0x80FFFFFF)).view(F32)  # 2^-126 and below
    ok = True
    for v, y in zip(x, bf16(x)):
        low = int(bits(v)[0][:4], 16)
        pair = [Fraction(float(from_bits(["%04x0000" % w])[0])) for w in (low, low + 1)]
        far = [abs(p - frac(v)) for p in pair]
        ok &= frac(y) == (pair[low % 2] if far[0] == far[1] else pair[far[1] < far[0]])
    check(ok, "bf16 takes the nearer neighbour, or the even one")

    # lane dot against a scalar loop
    ok = True
    for n in (1, 16, 31, 32, 33, 96, 100):
        x, y = f32(rng.standard_normal(n)), f32(rng.standard_normal(n))
        acc = [Fraction(0)] * LANES
        for i in range(n):
            acc[i % 32] = round32(frac(x[i]) * frac(y[i]) + acc[i % 32])
        for m in (16, 8, 4, 2, 1):
            acc = [round32(acc[i] + acc[i ^ m]) for i in range(LANES)]
        ok &= acc[0] == frac(lane_dot(x, y)) and all(v == acc[0] for v in acc)
    check(ok, "lane_dot equals a scalar loop in rationals, and all lanes agree")

    # Walsh-Hadamard: H H = G I on small integers
    x = f32(rng.integers(-50, 50, (5, 128)))
    check((wht(wht(x)) == 128 * x).all(), "H (H x) = 128 x")

    # quantiser and linear layer: numpy against exact rationals
    ok = True
    for cols, rot in ((48, True), (40, True), (352, True), (256, False)):
        x = f32(rng.standard_normal((2, cols)) * np.exp(rng.standard_normal((2, cols))))
        x[1, cols // 2 :] *= F32(2.0**-20)
        M = tq4_matrix(5, 7, 6, cols)
        y, (q, m, e, E) = linear_int(M, x, rot), quantise(x, rot)
        for t in range(2):
            xq, xm, xe, xE = exact_quantise([frac(v) for v in x[t]], rot)
            ok &= q[t].ravel().tolist() == xq and m[t].tolist() == xm
            ok &= e[t].tolist() == xe and int(E[t]) == xE
            ys, _ = exact_linear(
                M["W"].tolist(), [frac(v) for v in M["row"]], [frac(v) for v in x[t]], rot
            )
            ok &= [frac(v) for v in y[t]] == ys
    check(ok, "quantiser and linear layer: numpy equals exact rationals")
    Y = rng.integers(-(2**61), 2**61, 20000) >> rng.integers(0, 60, 20000)
    Y = np.concatenate([Y, (rng.integers(2**23, 2**24, 2000) * 2 + 1) << 7])
    ok = all(frac(f) == round32(int(y)) for y, f in zip(Y, Y.astype(F32)))
    check(ok, "int64 to binary32 rounds to nearest even, ties included")

    # Philox4x32-10: known answers published with Random123
    kat = [
        ((0, 0), (0, 0, 0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 4, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ]
    ok = all(" ".join("%08x" % int(v) for v in philox(k, c)) == w for k, c, w in kat)
    check(ok, "Philox4x32-10 gives the published known answers")

    # exp and sigmoid: within a few units in the last place of mpmath
    mpmath.mp.dps = 40
    x = f32(rng.uniform(-80, 80, 3000))
    worst = 0
    for v, r in zip(x, num_exp(x)):
        z = mpmath.exp(mpmath.mpf(float(v)))
        worst = max(worst, abs((mpmath.mpf(float(r)) - z) / z) * 2**24)
    sig = 0
    for v, r in zip(x, num_sigmoid(x)):
        z = 1 / (1 + mpmath.exp(-mpmath.mpf(float(v))))
        sig = max(sig, abs((mpmath.mpf(float(r)) - z) / z) * 2**24)
    check(
        worst < 4 and sig < 8,
        "exp within %.2f, sigmoid within %.2f of 2^-24 relative" % (worst, sig),
    )
    x = f32(np.exp(np.concatenate([rng.uniform(-80, 80, 2000), rng.uniform(-0.5, 0.5, 1000)])))
    worst = 0
    for v, r in zip(x, num_log(x)):
        z = mpmath.log(mpmath.mpf(float(v)))
        worst = max(worst, abs((mpmath.mpf(float(r)) - z) / z) * 2**24)
    check(worst < 4, "log within %.2f of 2^-24 relative" % worst)

    # attention: more than one chunk, against float64 softmax
    q, k, v = (f32(rng.standard_normal((300, h, 16))) for h in (2, 1, 1))
    o = attention(q, k, v, np.array([0, 0]))
    s = np.einsum("thd,sd->ths", q.astype(F64), k[:, 0].astype(F64)) / 4
    s = np.where(np.arange(300)[:, None, None] >= np.arange(300), s, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    want = np.einsum("ths,sd->thd", p / p.sum(-1, keepdims=True), v[:, 0].astype(F64))
    check(
        np.abs(o - want).max() < 2e-6, "attention over 300 keys is within 2e-6 of float64 softmax"
    )
    return counts


def frac(x):
    return Fraction(float(x))


def from_any(w):
    """Random words as floats with exponents kept in a range where products may be subnormal."""
    e = (w >> U32(23)) & U32(255)
    e = np.clip(e, 1, 190)
    return ((w & U32(0x807FFFFF)) | (e << U32(23))).view(F32)


if __name__ == "__main__":
    passed, failed = self_test()
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)
