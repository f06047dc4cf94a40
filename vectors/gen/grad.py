"""Golden vectors of gradients: python3 vectors/gen/grad.py > vectors/grad.txt

The mirrors of chapter 10 on oracle's forward pass, one sample at a time. A gradient is a sum of
integers, so it does not matter that the program takes all samples at once.

    Learner(config, recipe, bits)    .sample(batch): adds to .sums, .loss, .logp
    batch_of(config, r)              tokens, targets, weights, old of a case
"""

import hashlib
import sys
import time

import numpy as np

import oracle
from oracle import BLOCK, F32, I64, bits, f32, finite, fma, lane_dot, lane_sum, num_exp, num_log

HEAD = """\
# python3 vectors/gen/grad.py > vectors/grad.txt
# Gradients of whole models, for grad: a line "case", then a line "loss" and one for each array that
# learns, in the order of slots, R1 before R2; or a line "error" alone.
#   case ID | reason | flags | loss= learn= cut= mask= weight= old= low= high= teacher=
#        family= .. rope= [cache=] as in ref.txt
#    loss INTEGER SHA256 HEX HEX
#    part NAME WHAT N SHA256 INTEGER INTEGER
#    error WORD                            WORD stands in the program's message
# loss: text, match or policy. learn: 1 R1, 2 R2, 4 norms, 8 dense, added. cut: lengths of the
# samples; context is the longest. The rows i are counted through all samples: token i =
# (7 i i + 3 i + seed) mod vocab; target i = (5 i i + 11 i + seed + 1) mod vocab, but -1 when
# mask > 0 and i mod mask = mask - 1; weight A,B,K: weight i = (A + (7 i mod B)) 2^K; old A,B,K:
# old i = -(A + (11 i mod B)) 2^K. low, high: decimal. teacher: the seed of a dense model of the
# same shape, or 0. SHA-256 is over little-endian values: of loss the binary32 of logp of the rows
# with a target, of part the int64 sums; then the first two values follow (of logp their bits)."""

R1, R2, NORMS, DENSE = 1, 2, 4, 8
UNIT = F32(2.0**36)
MATRICES = (  # of a layer in the order of slots: name, ident
    ("self_attn.q_proj", 1),
    ("self_attn.k_proj", 2),
    ("self_attn.v_proj", 3),
    ("self_attn.o_proj", 4),
    ("mlp.gate_proj", 6),
    ("mlp.up_proj", 7),
    ("mlp.down_proj", 8),
)
LAYER_NORMS = (
    ("input_layernorm", 0),
    ("post_attention_layernorm", 5),
    ("self_attn.q_norm", 9),
    ("self_attn.k_norm", 10),
)


class Refused(Exception):
    """The program must report an error that names this phase, or this array."""


def limit_of(samples, each):
    """The largest share of a sum that gets `each` of them a sample."""
    return F32(2.0**62) / F32(samples * each)


def seq_sum(a, b):
    """The sequential sum over the first axis of a * b: segments of 1,024."""
    a, b = np.broadcast_arrays(a, b)
    total = np.zeros(a.shape[1:], F32)
    for first in range(0, len(a), 1024):
        part = np.zeros(a.shape[1:], F32)
        for k in range(first, min(first + 1024, len(a))):
            part = fma(a[k], b[k], part)
        total = total + part
    return total


def blocks(x):
    return x.reshape(x.shape[:-1] + (-1, BLOCK))


def norm_mirror(x, w, eps, dy):
    """(dx, what each row adds to dw as the pair of factors of an fma)."""
    n = F32(x.shape[-1])
    r = F32(1) / np.sqrt(lane_dot(x, x) / n + F32(eps))
    g = dy * w
    c = (lane_dot(g, x) / n) * (r * r)
    return r[..., None] * fma(-x, c[..., None], g), (dy, x * r[..., None])


def rope_mirror(d, cos, sin):
    h = d.shape[-1] // 2
    d1, d2, c, s = d[..., :h], d[..., h:], cos[:, None], sin[:, None]
    return np.concatenate([fma(d1, c, d2 * s), fma(d2, c, -(d1 * s))], -1)


def attention_mirror(q, k, v, o, do, share):
    """dq, dk, dv of one sample; q, o, do [T, nh, hd], k, v [T, nkv, hd]."""
    T, nh, hd = q.shape
    kv_of = np.arange(nh) // share
    scale = F32(1) / np.sqrt(F32(hd))
    M, L, _ = oracle.softmax_parts(q, k, v, kv_of)
    D = lane_dot(do, o)
    P, S = np.zeros((T, T, nh), F32), np.zeros((T, T, nh), F32)  # [query, key, head]
    for t in range(T):
        j = t + 1
        score = lane_dot(q[t][None], k[:j, kv_of]) * scale
        P[t, :j] = num_exp(score - M[t]) / L[t]
        dp = lane_dot(do[t][None], v[:j, kv_of])
        S[t, :j] = (P[t, :j] * (dp - D[t])) * scale
    dq = np.zeros_like(q)
    for j in range(T):
        dq[j:] = fma(S[j:, j, :, None], k[j, kv_of], dq[j:])
    dk, dv = np.zeros_like(k), np.zeros_like(v)
    for i in range(share):  # heads of a group ascending, all groups at once
        heads = np.arange(i, nh, share)
        for t in range(T):
            dk[: t + 1] = fma(S[t, : t + 1, heads].T[..., None], q[t, heads], dk[: t + 1])
            dv[: t + 1] = fma(P[t, : t + 1, heads].T[..., None], do[t, heads], dv[: t + 1])
    return dq, dk, dv


class Learner:
    """The gradient of a batch. r: the recipe's loss, low, high."""

    def __init__(self, c, r, learn):
        self.c, self.r, self.learn = c, r, learn
        self.model = oracle.Model(**c)
        self.sums, self.loss, self.logp = {}, 0, []
        self.branches = []  # of LOSS_POLICY, so that a case can show which it has
        for name, ident, rows, cols in self.matrices():
            if c["kind"] == "f32":
                self.open(name, "dense", DENSE, (rows, cols))
            elif ident > 1:
                self.open(name, "r1", R1, (rows, oracle.padded(cols) // BLOCK))
                self.open(name, "r2", R2, (16,))
        for name, _, n in self.norms():
            self.open(name, "norm", NORMS, (n,))

    def open(self, name, what, bit, shape):
        if self.learn & bit:
            self.sums[name, what] = np.zeros(shape, I64)

    def matrices(self):
        """(name, ident, rows, cols) in the order of slots."""
        c = self.c
        H, q, kv = c["hidden"], c["heads"] * c["head_dim"], c["kv"] * c["head_dim"]
        yield "model.embed_tokens", 0, c["vocab"], H
        if not c["tied"]:
            yield "lm_head", 1, c["vocab"], H
        rows = (q, kv, kv, H, c["inter"], c["inter"], H)
        cols = (H, H, H, q, H, H, c["inter"])
        for l in range(c["layers"]):
            for (name, i), r, n in zip(MATRICES, rows, cols):
                yield "model.layers.%d.%s" % (l, name), 16 + 16 * l + i, r, n

    def norms(self):
        c = self.c
        yield "model.norm", 2, c["hidden"]
        for l in range(c["layers"]):
            for i, (name, ident) in enumerate(LAYER_NORMS):
                if i < 2 or c["family"] == "qwen3":
                    yield (
                        "model.layers.%d.%s" % (l, name),
                        16 + 16 * l + ident,
                        c["head_dim"] if i > 1 else c["hidden"],
                    )

    def parts(self):
        """The keys of sums in the order of slots, R1 before R2."""
        place = {"model.embed_tokens": (-3, 0), "lm_head": (-2, 0), "model.norm": (-1, 0)}
        order = [m[0] for m in MATRICES] + [n[0] for n in LAYER_NORMS]
        for name, _ in self.sums:
            if name not in place:
                l, rest = name.removeprefix("model.layers.").split(".", 1)
                place[name] = (int(l), order.index(rest))
        return sorted(self.sums, key=lambda k: place[k[0]] + (k[1],))

    # ---- shares
    def fix(self, x, each, name="HEAD"):
        with np.errstate(over="ignore", invalid="ignore"):
            y = f32(x) * UNIT
        limit = limit_of(len(self.r["cut"]), each)
        if not np.isfinite(y).all() or (name == "HEAD" and not (np.abs(y) <= limit).all()):
            raise Refused(name)  # the loss is told, so it is not cut
        return np.rint(np.clip(y, -limit, limit)).astype(I64)

    def add(self, name, what, x, at=...):
        if (name, what) in self.sums:
            embed = name == "model.embed_tokens"  # its sums have two kinds of shares
            each = 1 if not embed else 2 if at is ... else 2 * max(self.r["cut"])
            y = self.fix(x, each, name)
            np.add.at(self.sums[name, what], at, y)

    # ---- pieces
    def weights(self, ident, rows, cols):
        c = self.c
        if c["kind"] == "f32":
            embed = ident == 0
            return {"dense": oracle.dense_matrix(c["seed"], ident, rows, cols, embed)}
        if ident < 2:
            return oracle.i8_matrix(c["seed"], ident, rows, cols, ident == 0)
        return oracle.tq4_matrix(c["seed"], ident, rows, cols)

    def linear(self, name, ident, x, dy):
        """Adds the gradient of y = W x and returns dx."""
        rows, cols = dy.shape[-1], x.shape[-1]
        M = self.weights(ident, rows, cols)
        if "dense" in M:
            if (name, "dense") in self.sums:
                self.add(name, "dense", seq_sum(dy[:, :, None], x[:, None, :]))
            return self.sound(seq_sum(dy.T[:, :, None], M["dense"][:, None, :]))
        z = dy * M["row"]
        dxh = seq_sum(z.T[:, :, None], M["W"].astype(F32)[:, None, :])
        G = oracle.group_of(dxh.shape[-1])
        if (name, "r1") in self.sums or (name, "r2") in self.sums:
            self.tq4_shares(name, M, x, dy)
        dx = oracle.wht(dxh.reshape(len(dxh), -1, G)).reshape(dxh.shape)
        return self.sound(dx[:, :cols])

    def tq4_shares(self, name, M, x, dy):
        q, m, e, E = oracle.quantise(x)
        mult = (m << (e - E[:, None] + 16)).astype(F32) * np.ldexp(1.0, E - 16).astype(F32)[:, None]
        xt = (q.astype(F32) * mult[..., None]).reshape(len(x), -1)
        D = seq_sum(dy[:, :, None], xt[:, None, :])
        level = M["book"][M["code"]].astype(F32)
        v = np.zeros(M["scale"].shape, F32)
        for i in range(BLOCK):
            v = fma(blocks(level)[..., i], blocks(D)[..., i], v)
        self.add(name, "r1", M["row"][:, None] * v)
        acc = np.zeros((len(D), 16), F32)
        every = np.arange(len(D))
        for i in range(D.shape[1]):
            k = M["code"][:, i]
            acc[every, k] = fma(M["scale"][:, i // BLOCK].astype(F32), D[:, i], acc[every, k])
        if (name, "r2") in self.sums:
            for share in self.fix(M["row"][:, None] * acc, len(D), name):
                self.sums[name, "r2"] += share

    def norm(self, name, ident, x, dy):
        w = oracle.norm_weights(self.c["seed"], ident, x.shape[-1])
        dx, (a, b) = norm_mirror(x, w, self.c["eps"], dy)
        if (name, "norm") in self.sums:
            acc = np.zeros(x.shape[-1], F32)
            for s, t in zip(a.reshape(-1, len(acc)), b.reshape(-1, len(acc))):
                acc = fma(s, t, acc)
            self.add(name, "norm", acc)
        return self.sound(dx)

    def sound(self, x):
        if not np.isfinite(x).all():
            raise Refused(self.phase)
        return x

    # ---- the loss
    def log_softmax(self, z):
        """z - max, log of the mass, probabilities, of rows of logits."""
        s = z - z.max(-1, keepdims=True)
        e = num_exp(s)
        mass = lane_sum(e)
        return s, num_log(mass), e / mass[:, None]

    def loss_rows(self, z, b, teacher):
        """dz of one sample's logits."""
        r, on = self.r, b["target"] >= 0
        y, w, dz = b["target"][on], b["weight"][on], np.zeros_like(z)
        if not on.any():
            return dz
        s, log_mass, p = self.log_softmax(z[on])
        every = np.arange(len(y))
        logp = s[every, y] - log_mass
        if r["loss"] == "match":
            s2, log2, p2 = self.log_softmax(teacher[on])
            d = (s2 - log2[:, None]) - (s - log_mass[:, None])
            f, n = z[on] - teacher[on], F32(z.shape[1])
            loss = w * (lane_dot(p2, d) + lane_dot(f, f) / (F32(2) * n))
            dz[on] = w[:, None] * ((p - p2) + f / n)
        else:
            loss, k = w * -logp, w
            if r["loss"] == "policy":
                loss, k = self.policy(logp, b["old"][on], w)
            move = k[:, None] * p
            move[every, y] = k * (p[every, y] - F32(1))
            dz[on] = move
        self.loss += int(self.fix(loss, max(r["cut"])).sum())
        self.logp.append(logp)
        return self.sound(dz)

    def policy(self, logp, old, w):
        high, low = F32(1) + F32(self.r["high"]), F32(1) - F32(self.r["low"])
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = num_exp(logp - old)
            a = ratio * w
            b = np.where(ratio > high, high, np.where(ratio < low, low, ratio)) * w
            self.branches += zip(ratio > high, ratio < low, w > 0, b < a)
            return -np.where(a < b, a, b), np.where(b < a, F32(0), a)

    # ---- one sample
    def sample(self, b, teacher=None):
        c, T = self.c, len(b["token"])
        phase = {}
        for layer, name, out in self.model.phases(b["token"]):
            phase[layer, name] = out
        self.phase = "HEAD"
        (x,) = phase[c["layers"] - 1, "DOWN"]
        w = oracle.norm_weights(c["seed"], 2, c["hidden"])
        n = oracle.rmsnorm(x, w, c["eps"])
        dz = self.loss_rows(phase[-1, "HEAD"][0], b, teacher)
        head = "model.embed_tokens" if c["tied"] else "lm_head"
        dx = self.norm("model.norm", 2, x, self.linear(head, 0 if c["tied"] else 1, n, dz))
        for l in reversed(range(c["layers"])):
            (x_in,) = phase[l - 1, "DOWN"] if l else phase[-1, "EMBED"]
            dx = self.layer(l, {k[1]: v for k, v in phase.items() if k[0] == l}, x_in, dx, T)
        self.phase = "EMBED"
        if ("model.embed_tokens", "dense") in self.sums:
            self.add("model.embed_tokens", "dense", dx, b["token"])

    def layer(self, l, made, x_in, dx, T):
        c, at, pre = self.c, 16 + 16 * l, "model.layers.%d." % l
        nh, nkv, hd = c["heads"], c["kv"], c["head_dim"]
        (x_mid,), (o,), (q, k, v), (g, u) = (
            made[p] for p in ("OUT", "ATTEND", "QKV", "GATEUP")
        )
        with np.errstate(over="ignore", invalid="ignore"):
            self.phase = "DOWN"
            s = oracle.num_sigmoid(g)
            dh = self.linear(pre + "mlp.down_proj", at + 8, (g * s) * u, dx)
            du = self.sound(dh * (g * s))
            dg = self.sound((dh * u) * (s * fma(g, F32(1) - s, F32(1))))
            self.phase = "GATEUP"
            w = oracle.norm_weights(c["seed"], at + 5, c["hidden"])
            n = oracle.rmsnorm(x_mid, w, c["eps"])
            dn = self.linear(pre + "mlp.gate_proj", at + 6, n, dg) + self.linear(
                pre + "mlp.up_proj", at + 7, n, du
            )
            dmid = dx + self.norm(pre + "post_attention_layernorm", at + 5, x_mid, dn)
            self.phase = "OUT"
            do = self.linear(pre + "self_attn.o_proj", at + 4, o, self.sound(dmid))
            self.phase = "ATTEND"
            do, o = do.reshape(T, nh, hd), o.reshape(T, nh, hd)
            k, v = self.model.kept(k), self.model.kept(v)
            dq, dk, dv = attention_mirror(q, k, v, o, do, nh // nkv)
            self.phase = "QKV"
            w = oracle.norm_weights(c["seed"], at, c["hidden"])
            n = oracle.rmsnorm(x_in, w, c["eps"])
            cos, sin = oracle.rope_table(c["theta"], hd, T, c["scaling"])
            dq, dk = rope_mirror(dq, cos, sin), rope_mirror(dk, cos, sin)
            if c["family"] == "qwen3":
                H = c["hidden"]
                raw_q = self.model.linear(at + 1, nh * hd, H, n).reshape(T, nh, hd)
                raw_k = self.model.linear(at + 2, nkv * hd, H, n).reshape(T, nkv, hd)
                dq = self.norm(pre + "self_attn.q_norm", at + 9, raw_q, dq)
                dk = self.norm(pre + "self_attn.k_norm", at + 10, raw_k, dk)
            d = [
                self.linear(pre + "self_attn.%s_proj" % name, at + 1 + i, n, y.reshape(T, -1))
                for i, (name, y) in enumerate((("q", dq), ("k", dk), ("v", dv)))
            ]
            dx = dmid + self.norm(pre + "input_layernorm", at, x_in, (d[0] + d[1]) + d[2])
            return self.sound(dx)


# ---- cases ---------------------------------------------------------------------------------------
def batch_of(c, r):
    """The samples of a case: a list of dicts of arrays."""
    i = np.arange(sum(r["cut"]), dtype=I64)
    target = (5 * i * i + 11 * i + c["seed"] + 1) % c["vocab"]
    if r["mask"]:
        target[i % r["mask"] == r["mask"] - 1] = -1

    def ramp(abk, step):
        a, b, k = abk
        return np.ldexp(a + (step * i) % b, k).astype(F32)

    rows = {
        "token": (7 * i * i + 3 * i + c["seed"]) % c["vocab"],
        "target": target,
        "weight": ramp(r["weight"], 7),
        "old": -ramp(r["old"], 11),
    }
    ends = np.cumsum(r["cut"])
    return [{k: v[e - n : e] for k, v in rows.items()} for n, e in zip(r["cut"], ends)]


RECIPE = dict(
    learn=R1 | R2 | NORMS,
    cut=(5, 4, 3),
    mask=0,
    weight=(1, 1, 0),
    loss="text",
    old=(0, 1, 0),
    low=0.2,
    high=0.28,
    teacher=0,
)


def gradient(c, r):
    """The Learner after the whole batch."""
    r = dict(RECIPE, **r)
    g = Learner(c, r, r["learn"])
    for b in batch_of(c, r):
        teacher = None
        if r["teacher"]:
            t = oracle.Model(**dict(c, kind="f32", seed=r["teacher"]))
            *_, (_, _, (teacher,)) = t.phases(b["token"])
        g.sample(b, teacher)
    return g


def sha(x):
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


def case(ident, reason, flags, c, r, word=None):
    """word: of the message with which the program must refuse."""
    start, r = time.time(), dict(RECIPE, **r)
    words = ["%s=%s" % (k, r[k]) for k in ("loss", "learn", "mask", "low", "high", "teacher")]
    words += ["%s=%s" % (k, ",".join(map(str, r[k]))) for k in ("cut", "weight", "old")]
    keys = "family kind seed hidden inter layers heads kv head_dim vocab tied".split()
    words += ["%s=%s" % (k, c[k]) for k in keys]
    words += ["theta=%d eps=%g rope=default" % (c["theta"], c["eps"])]
    words += ["cache=bf16"] if "cache" in c else []
    print("case %s | %s | %s |" % (ident, reason, flags), *words)
    try:
        g = gradient(c, r)
    except Refused as e:
        assert str(e) == word, e
        print(" error %s" % e)
        return None
    assert word is None
    logp = np.concatenate(g.logp) if g.logp else f32([])
    print(" loss", g.loss, sha(logp.astype("<f4")), *bits(logp[:2]))
    for key in g.parts():
        s = g.sums[key]
        print(" part %s.weight %s %d %s" % (*key, s.size, sha(s.astype("<i8"))), *s.ravel()[:2])
        if "-v" in sys.argv:
            print(ident, *key, "max %.3g" % (np.abs(s).max() * 2.0**-36), file=sys.stderr)
    print("%s: %.1f s" % (ident, time.time() - start), file=sys.stderr)
    return g


QWEN = dict(family="qwen3", hidden=64, inter=96, layers=2, heads=4, kv=2, head_dim=32, vocab=61)
QWEN.update(tied=1, theta=1e6, eps=1e-6, scaling=None)
LLAMA = dict(family="llama", hidden=40, inter=352, layers=2, heads=6, kv=2, head_dim=16, vocab=51)
LLAMA.update(tied=0, theta=1e4, eps=1e-5, scaling=None)


SMALL = dict(QWEN, hidden=48, inter=80, layers=1, heads=2, kv=1, vocab=33)
UNTIED = dict(QWEN, hidden=128, inter=160, heads=4, kv=4, head_dim=16, vocab=97, tied=0)
WIDE = dict(QWEN, hidden=32, inter=1056, layers=1, heads=2, kv=2, head_dim=16, vocab=1100)
DEEP = dict(SMALL, hidden=32, inter=32, heads=1, head_dim=16)
MIXED = dict(cut=(9, 1, 14), mask=5, weight=(1, 9, -2))
POLICY = dict(MIXED, loss="policy", weight=(-9, 20, -3), old=(1, 8, 0), low=0.7, high=3.1)
UNCUT = dict(cut=(5,), loss="policy", old=(5, 1, 0), low=1, high=1e6)  # no ratio is clipped
KINDS = (("tq4", R1 | R2 | NORMS), ("f32", NORMS | DENSE))
ALL_BRANCHES = {(True, False, True, True), (True, False, False, False), (False, True, True, False)}
ALL_BRANCHES |= {(False, True, False, True), (False, False, True, False), (False,) * 4}


def pairs():
    """Each on a TQ4 and on a dense model."""
    seed = 11
    for ident, reason, flags, shape, r in (
        ("qwen3", "tied: a dense head adds to the embedding; grouped heads", "-", QWEN, {}),
        ("llama", "masked rows, weights, one-token sample, columns padded", "pad", LLAMA, MIXED),
        ("wide", "sums over more than 1,024 rows: two segments", "long", WIDE, dict(cut=(3, 2))),
        ("long", "more than 256 keys beside short samples", "long", SMALL, dict(cut=(2, 300, 7))),
        ("longest", "sums over more than 1,024 tokens", "long", DEEP, dict(cut=(1030, 5))),
        ("policy", "clipped and active on both sides, both signs, weight 0", "-", LLAMA, POLICY),
        ("match", "towards a teacher; G = 128", "-", UNTIED, dict(MIXED, loss="match", teacher=5)),
    ):
        for kind, learn in KINDS:
            c, r = dict(shape, kind=kind, seed=seed), dict(r, learn=learn)
            g = case("%s-%s" % (ident, kind), reason, flags, c, r)
            if ident == "policy":
                assert ALL_BRANCHES <= {tuple(map(bool, b)) for b in g.branches}
            seed += 1


def edges():
    """What learns, rows without a loss, ratios and weights beyond what a float holds."""
    shallow = dict(LLAMA, layers=1)
    tq4, dense = dict(shallow, kind="tq4", seed=31), dict(shallow, kind="f32", seed=32)
    for name, bit, c in (("r1", R1, tq4), ("r2", R2, tq4), ("norms", NORMS, dense)):
        case("only-" + name, "nothing else learns", "-", c, dict(learn=bit))
    case("only-dense", "nothing else learns", "-", dense, dict(learn=DENSE))
    nothing = dict(learn=R1 | R2)
    case("nothing", "a dense model has no R1 and R2: loss alone", "edge", dense, nothing)
    case("masked", "no row has a loss", "edge", tq4, dict(mask=1))
    one = dict(cut=(1,), learn=NORMS | DENSE)
    case("one", "one token attends to itself alone: q and k get nothing", "edge", dense, one)
    reason = "150 rows of logits, and no array of the head learns"
    pieces = dict(cut=(150, 7), learn=R1 | R2)
    case("pieces", reason, "long", dict(SMALL, kind="tq4", seed=33), pieces)
    reason, c = "150 rows of logits whose order counts in one array", dict(SMALL, tied=0)
    case("whole", reason, "long", dict(c, kind="f32", seed=34), dict(pieces, learn=DENSE))
    for ident, reason, weight, word in (
        ("far", "every ratio to the old policy is infinite, and clipped", (1, 4, 0), None),
        ("far-down", "the same, weights negative: the loss is infinite", (-4, 4, 0), "HEAD"),
        ("far-zero", "the same, weights 0: infinity times 0", (0, 1, 0), "HEAD"),
    ):
        r = dict(loss="policy", old=(100, 1, 0), weight=weight, learn=R1 | R2)
        case(ident, reason, "rejected" if word else "edge", tq4, r, word)
    case("heavy", "a weight of 2^127", "rejected", tq4, dict(weight=(1, 1, 127)), "HEAD")


def limits():
    """Two neighbouring weights: with the smaller one all shares are below the limit; above it they are cut,
    but a loss is refused."""
    untied = dict(SMALL, tied=0)
    for ident, word, shape, kind, seed, r, a, k in (
        ("loss", "HEAD", dict(LLAMA, layers=1), "tq4", 31, dict(cut=(5,), learn=R1), 123, 14),
        ("embed", None, untied, "f32", 36, dict(UNCUT, learn=DENSE), 98, 13),
        ("tied", None, SMALL, "f32", 49, dict(UNCUT, learn=DENSE), 94, 26),
        ("norm", None, SMALL, "f32", 36, dict(UNCUT, learn=NORMS), 81, 32),
        ("attn-norm", None, SMALL, "tq4", 60, dict(UNCUT, learn=NORMS), 66, 33),
        ("ffn-norm", None, SMALL, "tq4", 47, dict(UNCUT, learn=NORMS), 76, 10),
        ("r2-gate", None, SMALL, "tq4", 52, dict(UNCUT, learn=R2), 89, 58),
        ("r2-up", None, SMALL, "tq4", 36, dict(UNCUT, learn=R2), 87, 15),
        ("r2-out", None, SMALL, "tq4", 65, dict(UNCUT, learn=R2), 126, 48),
    ):
        c = dict(shape, kind=kind, seed=seed)
        case("below-" + ident, "a share just below the limit", "edge", c, dict(r, weight=(a, 1, k)))
        if word:
            case("above-" + ident, "just above", "rejected", c, dict(r, weight=(a + 1, 1, k)), word)
        else:
            case("above-" + ident, "just above: cut", "edge", c, dict(r, weight=(a + 1, 1, k)))


def rounded():
    """Keys and values in bf16; what goes back through the rounding is not changed by it."""
    c, reason = dict(QWEN, kind="tq4", seed=71, cache="bf16"), "keys and values are kept in bf16"
    case("bf16-tq4", reason, "-", c, {})
    c = dict(SMALL, kind="f32", seed=72, cache="bf16")
    case("bf16-f32", reason + "; two chunks", "long", c, dict(cut=(2, 260), learn=NORMS | DENSE))


def main():
    print(HEAD)
    pairs()
    edges()
    limits()
    rounded()


if __name__ == "__main__":
    main()
