"""Golden vectors of whole models: python3 vectors/gen/ref.py > vectors/ref.txt

Small random models, their weights by the recipe of `bench`, run by oracle.Model. Each phase has its
hash, so a backend that differs is caught at the first phase where it does."""

import sys
import time

import numpy as np

import oracle
from oracle import bits, f32

HEAD = """\
# python3 vectors/gen/ref.py > vectors/ref.txt
# Whole models, for ref, simd and tape: one line "case" and then a line for every phase, in order.
#   case ID | reason | flags | family= kind= seed= hidden= inter= layers= heads= kv= head_dim=
#        vocab= tied= theta= eps= rope= T= [cache=bf16]
#   phase LAYER NAME SHA256 HEX HEX          LAYER is - for EMBED and HEAD
# kind tq4: linear layers TQ4, embedding and head I8; f32: everything dense. Weights follow the
# recipe of random models; eps and theta are decimal; rope is default, or
# llama3,FACTOR,LOW,HIGH,ORIGINAL. One prefill of T tokens, positions 0 .. T-1, token i =
# (7 i i + 3 i + seed) mod vocab. SHA-256 is over the little-endian binary32 of what the phase
# makes: EMBED, OUT, DOWN x[T, hidden]; QKV q[T, heads head_dim], k, v[T, kv head_dim] after norm
# and rotation; ATTEND o[T, heads head_dim]; GATEUP g, u[T, inter]; HEAD logits[T, vocab]. The two
# words are the bits of the phase's first two values. cache=bf16: ATTEND finds k and v rounded to
# bf16, to nearest even, its own among them; what QKV makes is not yet rounded."""

SHAPES = (
    (
        "qwen3-tied",
        "head_dim is not hidden / heads; G = 64 and 32; grouped queries",
        "-",
        dict(
            family="qwen3",
            hidden=64,
            inter=96,
            layers=2,
            heads=4,
            kv=2,
            head_dim=32,
            vocab=61,
            tied=1,
            theta=1e6,
            eps=1e-6,
            scaling=None,
        ),
        19,
        19,
    ),
    (
        "qwen3-untied",
        "own head; inter 352 has G = 32; as many key heads as query heads",
        "-",
        dict(
            family="qwen3",
            hidden=128,
            inter=352,
            layers=2,
            heads=4,
            kv=4,
            head_dim=16,
            vocab=97,
            tied=0,
            theta=1e6,
            eps=1e-6,
            scaling=None,
        ),
        19,
        19,
    ),
    (
        "llama-untied",
        "three query heads share a key head",
        "-",
        dict(
            family="llama",
            hidden=96,
            inter=160,
            layers=2,
            heads=6,
            kv=2,
            head_dim=16,
            vocab=51,
            tied=0,
            theta=1e4,
            eps=1e-5,
            scaling=None,
        ),
        19,
        19,
    ),
    (
        "llama3-rope",
        "rotary frequencies scaled by the rule llama3",
        "-",
        dict(
            family="llama",
            hidden=64,
            inter=128,
            layers=2,
            heads=4,
            kv=1,
            head_dim=32,
            vocab=71,
            tied=1,
            theta=5e5,
            eps=1e-5,
            scaling=(8, 1, 4, 8192),
        ),
        19,
        33,
    ),
    (
        "qwen3-long",
        "more than 256 and more than 512 keys: chunks merge; columns padded 48 to 64",
        "pad,long",
        dict(
            family="qwen3",
            hidden=48,
            inter=80,
            layers=1,
            heads=2,
            kv=1,
            head_dim=32,
            vocab=33,
            tied=1,
            theta=1e6,
            eps=1e-6,
            scaling=None,
        ),
        300,
        520,
    ),
    (
        "llama-one",
        "a single token",
        "edge",
        dict(
            family="llama",
            hidden=40,
            inter=56,
            layers=1,
            heads=1,
            kv=1,
            head_dim=24,
            vocab=37,
            tied=0,
            theta=1e4,
            eps=1e-5,
            scaling=None,
        ),
        1,
        1,
    ),
    (
        "qwen3-bf16",
        "keys and values are kept in bf16; two chunks when dense",
        "long",
        dict(
            family="qwen3",
            hidden=64,
            inter=96,
            layers=2,
            heads=4,
            kv=2,
            head_dim=32,
            vocab=61,
            tied=1,
            theta=1e6,
            eps=1e-6,
            scaling=None,
            cache="bf16",
        ),
        262,
        19,
    ),
)


def case(ident, reason, flags, config, T):
    c = dict(config)
    rope = "llama3," + ",".join("%g" % v for v in c["scaling"]) if c["scaling"] else "default"
    keys = "family kind seed hidden inter layers heads kv head_dim vocab tied".split()
    print(
        "case %s | %s | %s | %s theta=%d eps=%g rope=%s T=%d%s"
        % (
            ident,
            reason,
            flags,
            " ".join("%s=%s" % (k, c[k]) for k in keys),
            c["theta"],
            c["eps"],
            rope,
            T,
            " cache=bf16" if "cache" in c else "",
        )
    )
    start = time.time()
    tokens = [(7 * i * i + 3 * i + c["seed"]) % c["vocab"] for i in range(T)]
    for layer, name, out in oracle.Model(**c).phases(tokens):
        first = bits(out[0].ravel()[:2])
        print(
            "phase %s %s %s %s %s" % ("-" if layer < 0 else layer, name, oracle.digest(out), *first)
        )
        if "-v" in sys.argv:
            size = np.sqrt(
                np.mean(np.square(np.concatenate([o.ravel() for o in out]), dtype=float))
            )
            print("%s %s %s rms %.3g" % (ident, layer, name, size), file=sys.stderr)
    print("%s: %.1f s" % (ident, time.time() - start), file=sys.stderr)


if __name__ == "__main__":
    print(HEAD)
    seed = 11
    for name, reason, flags, config, T_f32, T_tq4 in SHAPES:
        for kind, T in (("tq4", T_tq4), ("f32", T_f32)):
            case("%s-%s" % (name, kind), reason, flags, dict(config, kind=kind, seed=seed), T)
            seed += 1
