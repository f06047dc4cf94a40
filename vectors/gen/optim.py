"""Golden vectors of the optimiser: python3 vectors/gen/optim.py > vectors/optim.txt

AdamW of chapter 11 on numpy binary32, one operation each, on oracle's fma; the sum of squares is
Python's own integer and the rate's cosine comes from mpmath."""

import hashlib
import math
from fractions import Fraction

import mpmath
import numpy as np

import oracle
from oracle import F32, I64, U32, bits, fma

HEAD = """\
# python3 vectors/gen/optim.py > vectors/optim.txt
# Steps of the optimiser on arrays of their own, for optim: a line "case", a line for each step and
# one for each array after the last step.
#   case ID | reason | flags | adamw sizes=R1,R2,NORM,DENSE seed= run= grads= count= rate= ratio=
#        beta1= beta2= eps= decay= clip= warmup= steps= r1= r2= norm= dense=
#    step T RATE NORM                     bits of the rate and of the norm of the mean gradient
#    part WHAT N SHA256 VALUE FRACTION M V
# sizes: parameters of each kind, 0: none. r1, r2, norm, dense: where they begin, in the forms that
# the head of tq4.txt explains. run: steps that are done, of `steps` that the rate is planned for.
# grads A,B: in step t integer k of kind i (0 .. 3 in the order of sizes) is
# floor((int32)w(2k) * 2^(w(2k+1) mod A) / 2^B), w the words of stream 16 + t of id i under seed;
# A = 0: all are 0. The other numbers are decimal. SHA-256 is over little-endian values: int8 or
# binary32, then the int16 fractions (r1, r2), then bf16 of m, then binary32 of v. The four words
# that follow are the first of each: decimal (r1, r2) or bits; fraction - where there is none."""

UNIT = F32(2.0**-36)
KINDS = ("r1", "r2", "norm", "dense")
START = ("model:%d,0", "model:%d,1", "model:%d,2,1", "unit:%d,3,0,0")
DEFAULT = dict(
    sizes=(40, 16, 7, 33),
    seed=1,
    run=3,
    grads=(8, 4),
    count=12,
    rate=0.001,
    ratio=0.3,
    beta1=0.9,
    beta2=0.95,
    eps=1e-12,
    decay=0.1,
    clip=0,
    warmup=0,
    steps=0,
)


def rate_of(c, t):
    warmup, rate, falling = c["warmup"], F32(c["rate"]), c["steps"] - c["warmup"]
    if t <= warmup:
        return rate * (F32(t) / F32(warmup))
    if falling <= 0:
        return rate
    mpmath.mp.dps = 50
    angle = (t - warmup) * (math.pi / falling)  # binary64, as the program's table has it
    cos, off = mpmath.cos(mpmath.mpf(angle)), mpmath.mpf(4) * 10**-15
    made = {rate_at(rate, oracle.mp_round32(cos + d, 0)[0]) for d in (-off, 0, off)}
    assert len(made) == 1, "the cosine is too near a tie: choose other steps"
    return made.pop()


def rate_at(rate, cos):
    return rate * F32(fma(F32(0.45), F32(1) + cos, F32(0.1)))


def norm_of(sums):
    """The root of the exact sum of squares, in units: 62 leading bits, an even shift."""
    total = sum(int(v) ** 2 for s in sums for v in s)
    shift = max(0, total.bit_length() - 62)
    shift += shift % 2
    top = np.array(total >> shift, I64).astype(F32)
    return np.sqrt(top) * F32(2.0 ** (shift // 2))


def power(b, t):
    y = F32(1)
    while t:
        if t & 1:
            y = y * b
        b, t = b * b, t >> 1
    return y


def bf16(x):
    """The 16 bits of x rounded to nearest even, by the ties of a rational."""
    out = []
    for v in x:
        f = Fraction(float(v))
        e = math.frexp(float(v))[1] - 8 if f else 0
        ulp = Fraction(2) ** max(e, -133)
        y = F32(float(round(f / ulp) * ulp))  # round() of a Fraction is half to even
        out.append(int(np.copysign(y, v).view(U32)) >> 16)
    return np.array(out, np.uint16)


class Array:
    def __init__(self, kind, n, seed):
        self.what, self.n, self.seed, self.ident = KINDS[kind], n, seed, kind
        self.level = kind < 2
        self.p = (
            lambda: oracle.random_scales(seed, 0, 1, n * 16)[0],
            lambda: oracle.random_book(seed, 1),
            lambda: oracle.random_rows(seed, 2, n, 1),
            lambda: oracle.unit(seed, 3, 0, n, 0),
        )[kind]()
        self.frac = np.zeros(n, np.int16)
        self.m, self.v = np.zeros(n, np.uint16), np.zeros(n, F32)
        self.fixed = int(np.argmax(np.abs(self.p.astype(int)))) if kind == 1 else None

    def gradient(self, t, span, down):
        w = oracle.words(self.seed, self.ident, 16 + t, 2 * self.n)
        if span == 0:
            return [0] * self.n
        return [
            (int(a) << int(s) % span) >> down
            for a, s in zip(w[0::2].view(np.int32).tolist(), w[1::2].tolist())
        ]

    def step(self, c, sums, unit, rate, t):
        one, b1, b2 = F32(1), F32(c["beta1"]), F32(c["beta2"])
        cm, cv = one / (one - power(b1, t)), one / (one - power(b2, t))
        g = np.array(sums, I64).astype(F32) * unit
        m = fma(b1, (self.m.astype(U32) << 16).view(F32), (one - b1) * g)
        self.v = fma(b2, self.v, ((one - b2) * g) * g)
        self.m = bf16(m)
        a = (m * cm) / (np.sqrt(self.v * cv) + F32(c["eps"]))
        if not self.level:
            decay = F32(c["decay"] if self.what == "dense" else 0)
            self.p = fma(-rate, fma(decay, self.p, a), self.p)
            return
        own = rate * F32(c["ratio"]) if self.what == "r2" else rate
        p = self.p.astype(F32) + self.frac.astype(F32) * F32(2.0**-16)
        p = np.clip(fma(-(own * F32(127)), a, p), F32(-127), F32(127))
        whole = np.rint(p)
        frac = np.clip(np.rint((p - whole) * F32(65536)), -32768, 32767)
        if self.fixed is not None:
            whole[self.fixed], frac[self.fixed] = self.p[self.fixed], self.frac[self.fixed]
        self.ties = np.abs(p - np.trunc(p)) == 0.5
        self.p, self.frac = whole.astype(np.int8), frac.astype(np.int16)

    def line(self):
        h = hashlib.sha256()
        value = self.p.astype(np.int8 if self.level else "<f4")
        for x in (value, self.frac.astype("<i2"), self.m.astype("<u2"), self.v.astype("<f4")):
            if self.level or x.dtype != np.dtype("<i2"):
                h.update(x.tobytes())
        first = [self.p[0], self.frac[0]] if self.level else [*bits(self.p[:1]), "-"]
        last = ["%04x" % self.m[0], *bits(self.v[:1])]
        print(" part", self.what, self.n, h.hexdigest(), *first, *last)


def case(ident, reason, flags="-", **options):
    c = dict(DEFAULT, **options)
    kinds = [i for i in range(4) if c["sizes"][i]]
    text = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in c.items()}
    text.update((KINDS[i], START[i] % c["seed"]) for i in kinds)
    words = ["%s=%s" % item for item in text.items()]
    print("case %s | %s | %s | adamw" % (ident, reason, flags), *words)
    arrays = [Array(i, c["sizes"][i], c["seed"]) for i in kinds]
    for t in range(1, c["run"] + 1):
        sums = [a.gradient(t, *c["grads"]) for a in arrays]
        inv = F32(1) / F32(c["count"])
        norm = (norm_of(sums) * UNIT) * inv
        clip = F32(c["clip"])
        factor = clip / norm if clip > 0 and norm > clip else F32(1)
        rate = rate_of(c, t)
        print(" step", t, *bits([rate]), *bits([norm]))
        for a, s in zip(arrays, sums):
            a.step(c, s, (UNIT * inv) * factor, rate, t)
    for a in arrays:
        a.line()
    return arrays


def main():
    print(HEAD)
    case("plain", "all kinds, constant rate")
    case("clip", "the norm is above the clip", clip=0.0001, run=4)
    case("clip-off", "the norm is below the clip", clip=1000)
    case("warmup", "the rate rises over five steps, then falls", run=12, warmup=5, steps=12)
    case("cosine", "a cosine of 0 in the middle, the last step a tenth", run=8, steps=8)
    case("rise", "warm-up to the last step", run=4, warmup=4, steps=4)
    case("steps", "beta^t by squaring, for t to 70", run=70, beta1=0.99, beta2=0.999)
    case("large", "more parameters than threads share evenly", sizes=(5003, 0, 0, 4001), run=2)
    case("decay", "no gradient at all: decay of dense arrays alone", "edge", grads=(0, 0), rate=0.1)
    case("epsilon", "a large epsilon", eps=1)
    reason = "levels of -127 and 127: the first stays"
    gauge = case("gauge", reason, "tie", seed=51, rate=0.2, run=2)
    assert gauge[1].p[gauge[1].fixed] == -127 and abs(gauge[1].p[15]) < 127
    clamp = case("clamp", "values run into 127 and -127", "edge", rate=0.2, ratio=1, run=9)
    assert {-127, 127} <= set(clamp[0].p[clamp[0].frac == 0])
    half = dict(beta1=0, beta2=0, eps=1e-30, rate=0.003937008, ratio=1, count=1, run=1)
    ties = case("half", "all move by exactly half a level", "tie", **half)
    assert ties[0].ties.sum() > 30 and {-32768, 32767} <= set(ties[0].frac)
    case("bf16", "means of up to 9 bits: many ties of bf16", "tie", **dict(half, grads=(1, 22)))
    huge = dict(sizes=(70, 0, 0, 9000), grads=(32, 0))
    case("huge", "the sum of squares needs more than 128 bits", "edge", **huge)
    single = dict(sizes=(0, 0, 0, 1), grads=(32, 0), run=30)
    case("single", "norms of one integer of many lengths", "edge", **single)
    case("tiny", "integers -2 to 1", "edge", grads=(1, 30))
    case("under", "squares below the least float", "subnormal", clip=1e-21)


if __name__ == "__main__":
    main()
