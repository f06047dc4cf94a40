"""Dense logits of the program against an independent float64 forward pass in numpy, and that
against transformers where it is installed. ASSAY names the program (default build/assay).

For every position: max |difference| / max |logit| at most 1e-4, and the cosine at least 1 - 1e-8.
The oracle that makes the vectors of tq4 and ref must pass its self-test and the same comparison,
and with its TQ4 weights come as near to float64 as 8-bit activations allow."""

import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.append(os.path.join(ROOT, "vectors", "gen"))

import hf  # noqa: E402
import oracle  # noqa: E402
import ref  # noqa: E402

ASSAY = os.path.join(ROOT, os.environ.get("ASSAY", "build/assay"))
BABY = os.path.join(ROOT, "..", "shared", "data", "babyllama")
COUNTS = {"ok": 0, "FAIL": 0}


def check(ok, what):
    COUNTS["ok" if ok else "FAIL"] += 1
    print("%s dense: %s" % ("ok" if ok else "FAIL", what), flush=True)


def not_run(what):
    print("not run: dense: " + what, flush=True)


# ---- the float64 forward pass, as the papers write it --------------------------------------------
def rms(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def frequencies(c, hd):
    """theta^(-2i/hd), or these scaled for longer texts by the rule llama3 (Llama 3.1)."""
    par = dict(c.get("rope_scaling") or {}, **(c.get("rope_parameters") or {}))
    theta = par.get("rope_theta", c.get("rope_theta", 10000.0))
    f = theta ** (-np.arange(0, hd, 2) / hd)
    if par.get("rope_type", "default") == "default":
        return f
    wave = 2 * np.pi / f
    low, high = par["low_freq_factor"], par["high_freq_factor"]
    orig = par["original_max_position_embeddings"]
    blend = np.clip((orig / wave - low) / (high - low), 0, 1)  # 0: long waves, scaled; 1: short
    return (1 - blend) * f / par["factor"] + blend * f


def forward(c, W, tokens):
    """Logits [T, vocab] in float64 of one sequence from position 0."""
    T, eps = len(tokens), c["rms_norm_eps"]
    nh, nkv = c["num_attention_heads"], c.get("num_key_value_heads", c["num_attention_heads"])
    hd = c.get("head_dim") or c["hidden_size"] // nh
    W = {k.removeprefix("model."): v.astype(np.float64) for k, v in W.items()}
    turn = np.exp(1j * np.outer(np.arange(T), frequencies(c, hd)))[:, None]

    def rope(x):  # pairs (i, i + hd/2) as complex numbers
        z = (x[..., : hd // 2] + 1j * x[..., hd // 2 :]) * turn
        return np.concatenate([z.real, z.imag], -1)

    x = W["embed_tokens.weight"][tokens]
    for l in range(c["num_hidden_layers"]):
        at = "layers.%d." % l
        proj = lambda name, y: y @ W[at + name + "_proj.weight"].T
        y = rms(x, W[at + "input_layernorm.weight"], eps)
        q = proj("self_attn.q", y).reshape(T, nh, hd)
        k = proj("self_attn.k", y).reshape(T, nkv, hd)
        v = proj("self_attn.v", y).reshape(T, nkv, hd)
        if at + "self_attn.q_norm.weight" in W:
            q = rms(q, W[at + "self_attn.q_norm.weight"], eps)
            k = rms(k, W[at + "self_attn.k_norm.weight"], eps)
        q, k = rope(q), rope(k)
        k, v = (np.repeat(z, nh // nkv, 1) for z in (k, v))
        s = np.einsum("thd,shd->hts", q, k) / np.sqrt(hd)
        s[:, np.triu(np.ones((T, T), bool), 1)] = -np.inf
        s = np.exp(s - s.max(-1, keepdims=True))
        o = np.einsum("hts,shd->thd", s / s.sum(-1, keepdims=True), v)
        x = x + proj("self_attn.o", o.reshape(T, nh * hd))
        y = rms(x, W[at + "post_attention_layernorm.weight"], eps)
        g, u = proj("mlp.gate", y), proj("mlp.up", y)
        x = x + proj("mlp.down", g / (1 + np.exp(-g)) * u)
    return rms(x, W["norm.weight"], eps) @ W.get("lm_head.weight", W["embed_tokens.weight"]).T


# ---- comparisons ---------------------------------------------------------------------------------
def distance(got, want):
    """(largest relative difference over positions, smallest cosine, mean cosine)."""
    got = got.astype(np.float64)
    rel = np.abs(got - want).max(-1) / np.abs(want).max(-1)
    cos = (got * want).sum(-1) / np.sqrt((got**2).sum(-1) * (want**2).sum(-1))
    return rel.max(), cos.min(), cos.mean()


def compare(what, got, want):
    if got.shape != want.shape or not np.isfinite(got).all():
        return check(False, "%s: shape %s, expected %s, all finite" % (what, got.shape, want.shape))
    rel, cos, _ = distance(got, want)
    check(
        rel <= 1e-4 and cos >= 1 - 1e-8,
        "%s: relative difference %.1e, 1 - cosine %.1e over %d "
        "positions" % (what, rel, 1 - cos, len(want)),
    )


def program(folder, tokens, vocab, work):
    out = os.path.join(work, "logits")
    run = subprocess.run(
        [ASSAY, "logits", folder, "--tokens", ",".join(map(str, tokens)), out],
        capture_output=True,
        text=True,
    )
    if run.returncode:
        print(run.stderr.strip())
        return np.zeros((0, vocab))
    return np.fromfile(out, "<f4").astype(np.float64).reshape(-1, vocab)


def transformers_model():
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError:
        return None
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()

    def run(folder, tokens):
        m = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double()
        with torch.no_grad():
            return m(torch.tensor([tokens])).logits[0].numpy()

    return run


def folder_case(name, folder, tokens, work, hugging):
    config, W = hf.read_hf(folder)
    want = forward(config, W, tokens)
    if hugging:
        compare(name + ": float64 numpy and transformers", hugging(folder, tokens), want)
    if os.path.exists(ASSAY):
        compare(
            name + ": the program and float64 numpy",
            program(folder, tokens, want.shape[1], work),
            want,
        )
    else:
        not_run("%s: there is no %s" % (name, os.environ.get("ASSAY", "build/assay")))
    return want


def controls(folder, tokens, want):
    """The comparison must see small faults: each of these changes the model a little."""
    config, W = hf.read_hf(folder)
    kv = "model.layers.0.self_attn.k_norm.weight"
    faults = {
        "rope theta 5% larger": (dict(config, rope_theta=config["rope_theta"] * 1.05), W),
        "epsilon 1e-3": (dict(config, rms_norm_eps=1e-3), W),
        "one weight of k_norm 1% larger": (
            config,
            dict(W, **{kv: W[kv] * np.where(np.arange(len(W[kv])) == 3, 1.01, 1)}),
        ),
    }
    for name, (c, w) in faults.items():
        rel, _, _ = distance(forward(c, w, tokens), want)
        check(rel > 1e-4, "control: %s shows, %.1e" % (name, rel))


def oracle_weights(c):
    """The weights of the oracle's random model as a Hugging Face folder would name them."""
    seed, tq4, H = c["seed"], c["kind"] == "tq4", c["hidden"]
    names = {
        "self_attn.q_proj": (1, c["heads"] * c["head_dim"], H),
        "self_attn.k_proj": (2, c["kv"] * c["head_dim"], H),
        "self_attn.v_proj": (3, c["kv"] * c["head_dim"], H),
        "self_attn.o_proj": (4, H, c["heads"] * c["head_dim"]),
        "mlp.gate_proj": (6, c["inter"], H),
        "mlp.up_proj": (7, c["inter"], H),
        "mlp.down_proj": (8, H, c["inter"]),
    }
    norms = {"input_layernorm": (0, H), "post_attention_layernorm": (5, H)}
    if c["family"] == "qwen3":
        norms.update(
            {"self_attn.q_norm": (9, c["head_dim"]), "self_attn.k_norm": (10, c["head_dim"])}
        )

    def plain(M, cols):  # row * H (s c): the rotation moved from the activations to the weights
        W = M["W"].astype(np.float64)
        G = oracle.group_of(W.shape[1])
        hadamard = np.array([[(-1.0) ** bin(i & j).count("1") for j in range(G)] for i in range(G)])
        W = (W.reshape(len(W), -1, G) @ hadamard).reshape(W.shape)
        return (W * M["row"].astype(np.float64)[:, None])[:, :cols]

    def table(ident, embed):
        if tq4:
            return plain(oracle.i8_matrix(seed, ident, c["vocab"], H, embed), H)
        return oracle.dense_matrix(seed, ident, c["vocab"], H, embed)

    W = {"embed_tokens.weight": table(0, True), "norm.weight": oracle.norm_weights(seed, 2, H)}
    if not c["tied"]:
        W["lm_head.weight"] = table(1, False)
    for l in range(c["layers"]):
        at = 16 + 16 * l
        for name, (i, rows, cols) in names.items():
            W["layers.%d.%s.weight" % (l, name)] = (
                plain(oracle.tq4_matrix(seed, at + i, rows, cols), cols)
                if tq4
                else oracle.dense_matrix(seed, at + i, rows, cols)
            )
        for name, (i, n) in norms.items():
            W["layers.%d.%s.weight" % (l, name)] = oracle.norm_weights(seed, at + i, n)
    return W


def oracle_cases():
    for i, (name, _, _, shape, T, _) in enumerate(ref.SHAPES):
        for kind in ("f32", "tq4"):
            c = dict(shape, kind=kind, seed=70 + i)
            tokens = [(7 * j * j + 3 * j + c["seed"]) % c["vocab"] for j in range(T)]
            config = dict(
                hidden_size=c["hidden"],
                num_hidden_layers=c["layers"],
                rope_theta=c["theta"],
                num_attention_heads=c["heads"],
                num_key_value_heads=c["kv"],
                head_dim=c["head_dim"],
                rms_norm_eps=c["eps"],
            )
            if c["scaling"]:
                keys = (
                    "factor",
                    "low_freq_factor",
                    "high_freq_factor",
                    "original_max_position_embeddings",
                )
                config["rope_scaling"] = dict(zip(keys, c["scaling"]), rope_type="llama3")
            *_, (_, _, (got,)) = oracle.Model(**c).phases(tokens)
            want = forward(config, oracle_weights(c), tokens)
            if kind == "f32" and c.get("cache") == "bf16":  # keys and values of 8 bits
                _, _, cos = distance(got, want)
                check(cos > 0.9999, "the oracle on %s: dense and float64 numpy, mean cosine %.6f" % (name, cos))
            elif kind == "f32":
                compare("the oracle on %s: dense and float64 numpy" % name, got, want)
            else:
                _, _, cos = distance(got, want)
                check(
                    cos > 0.997,
                    "the oracle on %s: TQ4 and float64 numpy, mean cosine %.5f" % (name, cos),
                )


def main():
    COUNTS["ok"], COUNTS["FAIL"] = oracle.self_test()
    oracle_cases()
    hugging = transformers_model()
    if not hugging:
        not_run("float64 numpy and transformers: transformers and torch are not installed")
    with tempfile.TemporaryDirectory() as work:
        if os.path.isdir(BABY):
            rng = np.random.default_rng(3)
            folder_case("babyllama", BABY, [1] + rng.integers(3, 105, 199).tolist(), work, hugging)
        else:
            not_run("babyllama: no ../shared/data/babyllama")
        scaled = dict(rope_theta=500000.0, rope_scaling=hf.LLAMA3_ROPE)
        cases = (
            ("qwen3 tied F32", hf.qwen3(), "F32", 1, 40),
            (
                "qwen3 untied BF16 in 3 files",
                hf.qwen3(tie_word_embeddings=False, head_dim=16),
                "BF16",
                3,
                40,
            ),
            (
                "qwen3 F16, columns not a multiple of 32",
                hf.qwen3(
                    hidden_size=40,
                    intermediate_size=56,
                    num_attention_heads=5,
                    num_key_value_heads=1,
                    head_dim=24,
                ),
                "F16",
                1,
                40,
            ),
            ("llama untied F32", hf.llama(), "F32", 1, 40),
            (
                "llama3 rope scaling, tied, BF16, 300 tokens",
                hf.llama(tie_word_embeddings=True, **scaled),
                "BF16",
                1,
                300,
            ),
            (
                "llama3 rope scaling in rope_parameters, F32 in 2 files",
                new_style(hf.llama(**scaled)),
                "F32",
                2,
                70,
            ),
        )
        for i, (name, config, dtype, shards, T) in enumerate(cases):
            folder = os.path.join(work, "model%d" % i)
            hf.write_hf(folder, config, 50 + i, dtype, shards)
            tokens = np.random.default_rng(i).integers(0, config["vocab_size"], T).tolist()
            want = folder_case(name, folder, tokens, work, hugging)
            if i == 0:
                controls(folder, tokens, want)
    print("%d passed, %d failed" % (COUNTS["ok"], COUNTS["FAIL"]))
    return 1 if COUNTS["FAIL"] else 0


def new_style(config):
    """The same config as writers of 2025 and later spell it."""
    c = dict(config)
    c["rope_parameters"] = dict(c.pop("rope_scaling"), rope_theta=c.pop("rope_theta"))
    return c


if __name__ == "__main__":
    sys.exit(main())
