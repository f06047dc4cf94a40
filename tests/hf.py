"""Small Hugging Face folders with random weights, written and read in plain Python, for the tests.

    llama(**changes), qwen3(**changes)          a config.json as a dict
    shapes(config)                              {tensor name: shape} that such a model has
    write_hf(dir, config, seed, dtype, shards)  the folder; returns {name: float32 array} as stored
    write_safetensors(path, tensors)            {name: (dtype, shape, bytes)}
    read_hf(dir)                                ({config}, {name: float32 array}), sharded or not

dtype is F32, F16 or BF16. Run as a program it checks its own writer and reader.
"""

import json
import os
import struct
import sys
import tempfile

import numpy as np


def llama(**changes):
    c = dict(
        architectures=["LlamaForCausalLM"],
        model_type="llama",
        hidden_size=96,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=83,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=False,
        hidden_act="silu",
        attention_bias=False,
        mlp_bias=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    return dict(c, **changes)


def qwen3(**changes):
    c = dict(
        architectures=["Qwen3ForCausalLM"],
        model_type="qwen3",
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        vocab_size=101,
        max_position_embeddings=4096,
        rms_norm_eps=1e-6,
        rope_theta=1000000.0,
        tie_word_embeddings=True,
        hidden_act="silu",
        attention_bias=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    return dict(c, **changes)


LLAMA3_ROPE = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)


def shapes(c):
    H, F, hd = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q, kv, V = c["num_attention_heads"] * hd, c["num_key_value_heads"] * hd, c["vocab_size"]
    out = {"model.embed_tokens.weight": (V, H), "model.norm.weight": (H,)}
    if not c["tie_word_embeddings"]:
        out["lm_head.weight"] = (V, H)
    for l in range(c["num_hidden_layers"]):
        at = "model.layers.%d." % l
        out.update(
            {
                at + "input_layernorm.weight": (H,),
                at + "post_attention_layernorm.weight": (H,),
                at + "self_attn.q_proj.weight": (q, H),
                at + "self_attn.k_proj.weight": (kv, H),
                at + "self_attn.v_proj.weight": (kv, H),
                at + "self_attn.o_proj.weight": (H, q),
                at + "mlp.gate_proj.weight": (F, H),
                at + "mlp.up_proj.weight": (F, H),
                at + "mlp.down_proj.weight": (H, F),
            }
        )
        if c["model_type"] == "qwen3":
            out.update(
                {at + "self_attn.q_norm.weight": (hd,), at + "self_attn.k_norm.weight": (hd,)}
            )
    return out


def encode(x, dtype):
    """The little-endian bytes of float32 values in the dtype, rounded to nearest even."""
    x = np.ascontiguousarray(x, "<f4")
    if dtype == "F32":
        return x.tobytes()
    if dtype == "F16":
        return x.astype("<f2").tobytes()
    u = x.view("<u4").astype(np.uint64)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype("<u2").tobytes()


def decode(raw, dtype, shape):
    if dtype == "F32":
        x = np.frombuffer(raw, "<f4")
    elif dtype == "F16":
        x = np.frombuffer(raw, "<f2").astype(np.float32)
    elif dtype == "BF16":
        x = (np.frombuffer(raw, "<u2").astype("<u4") << np.uint32(16)).view("<f4")
    else:
        raise ValueError("dtype " + dtype)
    return x.reshape(shape)


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, raw in tensors.values():
            f.write(raw)


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        out[name] = decode(data[8 + n + a : 8 + n + b], t["dtype"], t["shape"])
    return out


def write_hf(folder, config, seed, dtype="F32", shards=1):
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(seed)
    stored, raws = {}, {}
    for name, shape in shapes(config).items():
        if len(shape) == 1:
            x = 1 + 0.25 * rng.standard_normal(shape)
        elif "embed" in name:
            x = 0.5 * rng.standard_normal(shape)
        else:
            x = rng.standard_normal(shape) / np.sqrt(shape[1])
        raws[name] = (dtype, shape, encode(x.astype(np.float32), dtype))
        stored[name] = decode(raws[name][2], dtype, shape)
    names = list(raws)
    torch_name = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(dict(config, torch_dtype=torch_name), f, indent=1)
    if shards == 1:
        write_safetensors(os.path.join(folder, "model.safetensors"), raws)
        return stored
    where = {}
    for s in range(shards):
        part = names[s::shards]  # neighbours in different files
        file = "model-%05d-of-%05d.safetensors" % (s + 1, shards)
        write_safetensors(os.path.join(folder, file), {n: raws[n] for n in part})
        where.update({n: file for n in part})
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump(
            {
                "metadata": {"total_size": sum(len(r[2]) for r in raws.values())},
                "weight_map": where,
            },
            f,
        )
    return stored


def read_hf(folder):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    index = os.path.join(folder, "model.safetensors.index.json")
    files = ["model.safetensors"]
    if os.path.exists(index):
        with open(index) as f:
            files = sorted(set(json.load(f)["weight_map"].values()))
    tensors = {}
    for name in files:
        tensors.update(read_safetensors(os.path.join(folder, name)))
    return config, tensors


def self_test():
    failed = 0
    with tempfile.TemporaryDirectory() as d:
        for dtype, shards in (("F32", 1), ("F16", 1), ("BF16", 3)):
            folder = os.path.join(d, dtype)
            stored = write_hf(folder, qwen3(), 1, dtype, shards)
            config, back = read_hf(folder)
            ok = (
                back.keys() == stored.keys()
                and config["head_dim"] == 32
                and all(
                    back[n].shape == stored[n].shape and (back[n] == stored[n]).all() for n in back
                )
            )
            try:
                from safetensors import safe_open

                name = "model.safetensors" if shards == 1 else "model-00001-of-00003.safetensors"
                with safe_open(os.path.join(folder, name), "np") as f:
                    for n in f.keys():
                        ok = ok and tuple(f.get_slice(n).get_shape()) == stored[n].shape
                        if dtype != "BF16":
                            ok = ok and (f.get_tensor(n) == stored[n]).all()
            except ImportError:
                print("not run: hf: reading with the safetensors package: it is not installed")
            print(
                "%s hf: a folder in %s in %d files comes back"
                % ("ok" if ok else "FAIL", dtype, shards)
            )
            failed += not ok
    x = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -0.0], np.float32)
    want = [0x3F80, 0x3F82, 0x3F81, 0x8000]  # a tie down, a tie up, past the tie, the sign of zero
    ok = np.frombuffer(encode(x, "BF16"), "<u2").tolist() == want
    print("%s hf: bf16 rounds to nearest even" % ("ok" if ok else "FAIL"))
    failed += not ok
    print("%d passed, %d failed" % (4 - failed, failed))
    return failed


if __name__ == "__main__":
    sys.exit(1 if self_test() else 0)
