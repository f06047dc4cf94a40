"""Golden vectors of sample: python3 vectors/gen/sample.py > vectors/sample.txt

Tokens from logits by the statement of chapter 18. Weights are checked against mpmath; cuts and draws
are Python integers."""

import itertools

import mpmath
import numpy as np

from oracle import F32, bits, f32, num_exp, philox, words

HEAD = """\
# python3 vectors/gen/sample.py > vectors/sample.txt
# id | reason | flags | T= p= k= seed= seq= pos= z=LOGITS | the tokens at pos, pos + 1, ...
# T and p are binary32 bits. LOGITS: f:BITS,BITS,... or words:S,N,X, element i of N being
# (floor(w_i / 2^8) - 2^23) 2^(X - 23), w the words of stream 0 of id 0 under seed S."""


def weights(z, T):
    """floor(2^32 exp((z - max) / T)), each operation rounded to binary32."""
    with np.errstate(over="ignore"):
        x = (z - z.max()) / F32(T)
    e = num_exp(x)
    for a, b in zip(x[:16], e[:16]):  # the polynomial is an exponential
        assert abs(mpmath.exp(mpmath.mpf(float(max(a, F32(-200))))) - float(b)) <= 2**-23 * float(
            b
        ) + 2**-149
    return [int(float(v) * 2**32) for v in e]


def sums(W):
    return itertools.accumulate(w for _, w in W)


def token(z, T, p, k, seed, seq, pos):
    if T == 0:
        return min(i for i in range(len(z)) if z[i] == z.max())
    W = list(enumerate(weights(z, T)))
    if k > 0 or p < 1:
        W.sort(key=lambda c: (-c[1], c[0]))
        if k > 0:
            W = W[:k]
        if p < 1:
            enough = sum(w for _, w in W) * int(float(p) * 65536) // 65536
            W = W[: next(n for n, s in enumerate(sums(W), 1) if s >= enough)]
    r = [int(v) for v in philox((seed, 0x73616D70), (pos, 0, seq, 0))]
    d = ((r[1] << 32 | r[0]) * sum(w for _, w in W)) >> 64
    return next(i for (i, _), s in zip(W, sums(W)) if s > d)


def case(ident, reason, flags, z, T=1, p=1, k=0, seed=1, seq=0, pos=0, count=24):
    if isinstance(z, tuple):
        text = "words:%d,%d,%d" % z
        w = words(z[0], 0, 0, z[1])
        z = f32(((w >> 8).astype(np.int64) - 2**23) * 2.0 ** (z[2] - 23))
    else:
        z = f32(z)
        text = "f:" + ",".join(bits(z))
    T, p = F32(T), F32(p)
    out = [token(z, T, p, k, seed, seq, pos + i) for i in range(count)]
    options = "T=%s p=%s k=%d seed=%d seq=%d pos=%d" % (*bits(T), *bits(p), k, seed, seq, pos)
    print(ident, reason, flags, options + " z=" + text, " ".join(map(str, out)), sep=" | ")


print(HEAD)
TIE = [1, 3, 2, 3, 3, -1]
case("greedy", "temperature 0: the largest", "-", (5, 50, 2), T=0, count=1)
case("greedy-tie", "three equal largest: the lowest id", "tie", TIE, T=0, count=1)
case("greedy-zeros", "-0 and +0 are equal", "tie", [-1, -0.0, 0.0], T=0, count=1)
case("one", "a vocabulary of one", "edge", [-7], count=3)
case("plain", "no cut: in order of ids", "-", (1, 40, 1))
case("seed", "another seed", "-", (1, 40, 1), seed=4294967295)
case("seq", "another sequence", "-", (1, 40, 1), seq=3)
case("pos", "positions above 2^16", "-", (1, 40, 1), pos=70000)
case("cold", "temperature below 1", "-", (1, 40, 1), T=0.3)
case("hot", "temperature 100: nearly uniform", "-", (1, 40, 1), T=100)
case("coldest", "the least temperature: quotients are -inf or 0", "edge", TIE, T=2.0**-149)
case("far", "a token 2^-33 as likely is never drawn", "edge", [0, -23, -23, -23], count=40)
case("near", "weights of some units of 2^-32", "edge", [0, -20, -21, -22], k=4, count=8)
case("huge", "the difference of logits overflows", "edge", [3e38, -3e38, 3e38])
case("high", "only differences count: the largest is 80", "edge", [80, 79, 78, 79])
case("low", "the same at -80", "edge", [-80, -81, -82, -81])
case("k1", "top-k 1 is the largest, whatever the temperature", "-", (1, 40, 1), k=1, T=5, count=4)
case("k-tie", "top-k 2 of three equal ones: the lower ids", "tie", TIE, k=2)
case("k-all", "top-k of all: in order of weight, other tokens than no cut", "-", (1, 40, 1), k=40)
case("k-more", "top-k beyond the vocabulary", "edge", (1, 40, 1), k=1000)
case("p0", "top-p 0 keeps one", "edge", (1, 40, 1), p=0, T=3, count=4)
case("p-half", "top-p reached exactly by the first of two equal weights", "tie", [2, 2], p=0.5)
case("p-above", "just above a half: both", "edge", [2, 2], p=0.5 + 2**-16)
case("p-below-unit", "what lies below 2^-16 of p is dropped", "edge", [2, 2], p=0.5 + 2**-17)
case("p-tie", "equal weights at the edge: the lower ids", "tie", [0, 1, 0, 1, 0], p=0.7, count=40)
case("k-p", "top-p of what top-k has left", "-", (1, 40, 1), k=10, p=0.8, T=2)
case("large", "a vocabulary of 5,000", "long", (9, 5000, 3), count=12)
case("large-p", "the same with top-p", "long", (9, 5000, 3), p=0.95, count=12)
MANY = "200,000 near the best: the total times 2^16 exceeds 64 bits"
case("many", MANY, "long", (9, 200000, -3), p=0.9, count=6)
