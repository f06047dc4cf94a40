"""The exact gradients of vectors/gen/grad.py against float64 central differences of an independent
model: the forward pass and the losses as the papers write them, in plain numpy.

A TQ4 layer differentiates straight through the rounding of its input: here the rounding error
(q sigma - H x) of the unchanged model is a constant that is added to H x. Every array that learns
is checked by single elements, the largest among them, and by changes of all its elements at once.
An element's error is given in units of the array's largest gradient, that of a change of all
elements by +-h in units of the array's norm."""

import functools
import importlib.util
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small

import numpy as np  # noqa: E402

GEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors", "gen")
sys.path.append(GEN)

import oracle  # noqa: E402

spec = importlib.util.spec_from_file_location("gradients", os.path.join(GEN, "grad.py"))
gradients = importlib.util.module_from_spec(spec)  # "import grad" would find this file
spec.loader.exec_module(gradients)

COUNTS = {"ok": 0, "FAIL": 0}
LAYER = "model.layers.%d."
BOUND = 1e-5  # binary32 leaves up to 2e-6


def check(ok, what):
    COUNTS["ok" if ok else "FAIL"] += 1
    print("%s grad: %s" % ("ok" if ok else "FAIL", what), flush=True)


# ---- the model -----------------------------------------------------------------------------------
@functools.cache
def hadamard(n):
    return np.array([[(-1.0) ** bin(i & j).count("1") for j in range(n)] for i in range(n)])


def rotated(x):
    """Groups of columns times the Hadamard matrix, columns padded with zeros."""
    x = np.pad(x, [(0, 0), (0, -x.shape[1] % 32)])
    g = next(g for g in (128, 64, 32) if x.shape[1] % g == 0)
    return (x.reshape(len(x), -1, g) @ hadamard(g)).reshape(x.shape)


def rms(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


class Float64:
    """params: (name, what) -> float64 array of what learns; const: name -> what does not."""

    def __init__(self, c):
        self.c, self.params, self.const, seed = c, {}, {}, c["seed"]
        self.made = {}  # name -> weight, until a parameter of it changes
        net = gradients.Learner(c, gradients.RECIPE, 0)
        for name, ident, rows, cols in net.matrices():
            M = net.weights(ident, rows, cols)
            if "dense" in M:
                self.params[name, "dense"] = M["dense"].astype(float)
            else:
                row = M["row"].astype(float)[:, None]
                self.const[name] = (M["W"].astype(float) * row, M.get("code"), row)
            if "code" in M:
                self.params[name, "r1"] = M["scale"].astype(float)
                self.params[name, "r2"] = M["book"].astype(float)
        for name, ident, n in net.norms():
            self.params[name, "norm"] = oracle.norm_weights(seed, ident, n).astype(float)

    def weight(self, name):
        """Of a matrix in the rotated basis, [rows, pad]."""
        if (name, "r1") not in self.params:
            return self.const[name][0]
        if name not in self.made:
            _, code, row = self.const[name]
            scale = np.repeat(self.params[name, "r1"], 16, 1)
            self.made[name] = scale * self.params[name, "r2"][code] * row
        return self.made[name]

    def linear(self, name, x):
        if (name, "dense") in self.params:
            return x @ self.params[name, "dense"].T
        xh = rotated(x)
        if self.rounding is not None:  # the first pass: the exact model's q sigma less H x
            self.errors.append(self.rounding.pop(0) - xh)
            return (xh + self.errors[-1]) @ self.weight(name).T
        return (xh + next(self.frozen)) @ self.weight(name).T

    def norm(self, name, x):
        return rms(x, self.params[name, "norm"], self.c["eps"])

    def logits(self, tokens):
        c, T = self.c, len(tokens)
        nh, nkv, hd = c["heads"], c["kv"], c["head_dim"]
        turn = np.exp(1j * np.outer(np.arange(T), c["theta"] ** (-np.arange(0, hd, 2) / hd)))

        def rope(x):
            z = (x[..., : hd // 2] + 1j * x[..., hd // 2 :]) * turn[:, None]
            return np.concatenate([z.real, z.imag], -1)

        if ("model.embed_tokens", "dense") in self.params:
            x = self.params["model.embed_tokens", "dense"][tokens]
        else:
            x = rotated(self.const["model.embed_tokens"][0][tokens])[:, : c["hidden"]]
        for l in range(c["layers"]):
            at = LAYER % l
            y = self.norm(at + "input_layernorm", x)
            q = self.linear(at + "self_attn.q_proj", y).reshape(T, nh, hd)
            k = self.linear(at + "self_attn.k_proj", y).reshape(T, nkv, hd)
            v = self.linear(at + "self_attn.v_proj", y).reshape(T, nkv, hd)
            if c["family"] == "qwen3":
                q, k = self.norm(at + "self_attn.q_norm", q), self.norm(at + "self_attn.k_norm", k)
            k, v = np.repeat(rope(k), nh // nkv, 1), np.repeat(v, nh // nkv, 1)
            s = np.einsum("thd,shd->hts", rope(q), k) / np.sqrt(hd)
            s[:, np.triu(np.ones((T, T), bool), 1)] = -np.inf
            o = np.einsum("hts,shd->thd", np.exp(log_softmax(s)), v).reshape(T, nh * hd)
            x = x + self.linear(at + "self_attn.o_proj", o)
            y = self.norm(at + "post_attention_layernorm", x)
            g, u = self.linear(at + "mlp.gate_proj", y), self.linear(at + "mlp.up_proj", y)
            x = x + self.linear(at + "mlp.down_proj", g / (1 + np.exp(-g)) * u)
        head = "model.embed_tokens" if c["tied"] else "lm_head"
        return self.linear(head, self.norm("model.norm", x))

    def loss(self, samples, r):
        total = 0.0
        self.frozen = iter(self.errors)
        for b in samples:
            z = self.logits(b["token"])
            for z, y, w, old, z2 in zip(z, b["target"], b["weight"], b["old"], b["teacher"]):
                if y < 0:
                    continue
                logp = log_softmax(z)
                if r["loss"] == "text":
                    total -= w * logp[y]
                elif r["loss"] == "match":
                    logp2 = log_softmax(z2)
                    divergence = (np.exp(logp2) * (logp2 - logp)).sum()
                    total += w * (divergence + ((z - z2) ** 2).mean() / 2)
                else:
                    ratio = np.exp(logp[y] - old)
                    clipped = np.clip(ratio, 1 - r["low"], 1 + r["high"])
                    total -= min(ratio * w, clipped * w)
        return total

    def freeze(self, samples, r):
        """The loss of the unchanged model, whose rounding errors are kept for what follows."""
        self.errors, self.rounding, plain = [], [], oracle.quantise

        def quantise(x, rot=True):
            q, m, e, E = plain(x, rot)
            self.rounding.append((q * (m * 2.0**e)[..., None]).reshape(len(x), -1))
            return q, m, e, E

        oracle.quantise = quantise
        for b in samples:
            list(oracle.Model(**self.c).phases(b["token"]))
        oracle.quantise = plain
        loss = self.loss(samples, r)
        assert not self.rounding
        self.rounding = None
        return loss


# ---- differences ---------------------------------------------------------------------------------
def teacher_of(c, r, tokens):
    """The teacher's logits [T, vocab]."""
    if not r["teacher"]:
        return [None] * len(tokens)
    return Float64(dict(c, kind="f32", seed=r["teacher"])).logits(tokens)


def errors_of(model, samples, r, key, grad, rng):
    """(largest error of single elements, of changes of the whole array)."""
    p = model.params[key]
    base, h = p.copy(), 1e-5 * np.sqrt((p * p).mean())

    def slope(d):
        y = []
        for sign in (1, -1):
            p[...] = base + sign * h * d
            model.made.pop(key[0], None)
            y.append(model.loss(samples, r))
        p[...] = base
        model.made.pop(key[0], None)
        return (y[0] - y[1]) / (2 * h)

    flat = grad.ravel()
    some = np.concatenate([np.argsort(-np.abs(flat))[:2], rng.choice(p.size, 3)])
    one = max(
        abs(slope((np.arange(p.size) == i).reshape(p.shape)) - flat[i]) / np.abs(flat).max()
        for i in some
    )
    every = [rng.choice([-1.0, 1.0], p.shape) for _ in range(2)]
    all_ = max(abs(slope(d) - (d * grad).sum()) / np.linalg.norm(grad) for d in every)
    return one, all_


def compare(name, c, recipe):
    r = dict(gradients.RECIPE, **recipe)
    exact = gradients.gradient(c, r)
    samples = gradients.batch_of(c, r)
    model = Float64(c)
    for b in samples:
        b["teacher"] = teacher_of(c, r, b["token"])
    loss = model.freeze(samples, r)
    off = abs(exact.loss * 2.0**-36 - loss) / abs(loss)
    rng, worst = np.random.default_rng(1), {}
    for key, sums in exact.sums.items():
        worst[key] = errors_of(model, samples, r, key, sums * 2.0**-36, rng)
    one, every = (max(worst, key=lambda k: worst[k][i]) for i in (0, 1))
    check(
        off < 1e-5 and worst and max(worst[one][0], worst[every][1]) < BOUND,
        "%s: %d arrays; loss off by %.0e; elements by %.1e at most (%s %s), whole arrays by %.1e "
        "(%s %s)" % (name, len(worst), off, worst[one][0], *one, worst[every][1], *every),
    )
    return exact, model, samples, r


def controls(exact, model, samples, r):
    """The comparison must see small faults of a gradient."""
    rng, key = np.random.default_rng(2), max(exact.sums, key=lambda k: exact.sums[k].size)
    grad = exact.sums[key] * 2.0**-36
    small = np.unravel_index(np.argsort(np.abs(grad), axis=None)[grad.size // 2], grad.shape)
    for name, fault in (("all larger by 2e-5", 2e-5 * grad), ("a middling one missing", 0 * grad)):
        if not fault.any():
            fault[small] = -grad[small]
        worst = max(errors_of(model, samples, r, key, grad + fault, rng))
        check(worst > BOUND, "control: %s %s, %s: %.1e" % (*key, name, worst))


def main():
    for text, shape, recipe in (
        ("qwen3, text", gradients.QWEN, {}),
        ("llama, text, masked and weighted", gradients.LLAMA, gradients.MIXED),
        ("llama, policy", gradients.LLAMA, gradients.POLICY),
        ("qwen3, match", gradients.UNTIED, dict(gradients.MIXED, loss="match", teacher=5)),
    ):
        for kind, learn in gradients.KINDS:
            c = dict(shape, kind=kind, seed=21)
            last = compare("%s, %s" % (kind, text), c, dict(recipe, learn=learn))
        if recipe == {}:
            controls(*last)
    print("%d passed, %d failed" % (COUNTS["ok"], COUNTS["FAIL"]))
    return 1 if COUNTS["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
