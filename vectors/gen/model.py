"""Golden vectors of model: python3 vectors/gen/model.py > vectors/model.txt

Rotary tables from mpmath with 50 digits; config.json files with what must be read from them."""

import json

import mpmath

import oracle
from oracle import F32, bits

HEAD = """\
# python3 vectors/gen/model.py > vectors/model.txt
# id | reason | flags | inputs | expected
#   rope theta= head_dim= rope= pos=   cos=LIST sin=LIST   head_dim/2 values, binary32 bits
#     rope: default | llama3,FACTOR,LOW,HIGH,ORIGINAL. A value within reach of a rounding tie for a
#     table computed in binary64 (angle and result off by up to 4e-15 of themselves) stands as - and
#     is not compared.
#   config JSON                        family= hidden= inter= layers= heads= kv= head_dim= vocab=
#                                      tied= qk_norm= theta= eps= rope=   or   error WORD
#     eps is binary32 bits; rope as above. error WORD: refused, and the message contains WORD."""


def line(*fields):
    assert all(" | " not in f for f in fields)
    print(" | ".join(fields))


def rope(ident, reason, flags, theta, hd, scaling, pos):
    text = "llama3," + ",".join("%g" % v for v in scaling) if scaling else "default"
    rows = oracle.rope_row(oracle.inv_freq(theta, hd, scaling), pos)
    show = lambda value, sure: bits(value)[0] if sure else "-"
    line(
        ident,
        reason,
        flags,
        "rope theta=%d head_dim=%d rope=%s pos=%d" % (theta, hd, text, pos),
        "cos=%s sin=%s"
        % (",".join(show(r[0], r[1]) for r in rows), ",".join(show(r[2], r[3]) for r in rows)),
    )


POSITIONS = (0, 1, 2, 17, 255, 256, 355, 1023, 4095, 40959, 131071)


def rope_cases():
    llama31 = (8, 1, 4, 8192)
    llama32 = (32, 1, 4, 8192)
    for name, theta, hd, scaling in (
        ("babyllama", 1e4, 16, None),
        ("llama2", 1e4, 128, None),
        ("qwen3", 1e6, 128, None),
        ("llama31", 5e5, 128, llama31),
        ("llama32", 5e5, 64, llama32),
    ):
        for pos in POSITIONS:
            reason, flags = "table of %s" % name, "-"
            if pos == 0:
                reason, flags = "angle 0: cos 1, sin +0", "edge"
            elif pos == 355:
                reason, flags = "355 is close to 113 pi: sin of frequency 0 loses 15 bits", "edge"
            elif pos > 40000:
                flags = "long"
            rope("r-%s-%d" % (name, pos), reason, flags, theta, hd, scaling, pos)
    # a wave length exactly on either side of the two bounds of llama3, with a small original length
    rope(
        "r-llama3-bands",
        "original length 64: all three bands within 16 frequencies",
        "edge",
        1e4,
        32,
        (4, 1, 4, 64),
        33,
    )
    rope("r-llama3-factor1", "factor 1 changes nothing", "edge", 1e4, 32, (1, 1, 4, 8192), 33)


QWEN = dict(
    architectures=["Qwen3ForCausalLM"],
    model_type="qwen3",
    hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=151936,
    rms_norm_eps=1e-06,
    rope_theta=1000000,
    rope_scaling=None,
    tie_word_embeddings=True,
    hidden_act="silu",
    attention_bias=False,
    max_position_embeddings=40960,
)
LLAMA = dict(
    architectures=["LlamaForCausalLM"],
    model_type="llama",
    hidden_size=128,
    intermediate_size=352,
    num_hidden_layers=5,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=16,
    vocab_size=105,
    rms_norm_eps=1e-05,
    rope_theta=10000.0,
    tie_word_embeddings=True,
    hidden_act="silu",
    max_position_embeddings=256,
)
SCALED = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}


def config(ident, reason, flags, base, change, want):
    c = {k: v for k, v in dict(base, **change).items() if v != "absent"}
    if not isinstance(want, str):
        keys = (
            ("hidden", "hidden_size"),
            ("inter", "intermediate_size"),
            ("layers", "num_hidden_layers"),
            ("heads", "num_attention_heads"),
            ("kv", "num_key_value_heads"),
            ("head_dim", "head_dim"),
            ("vocab", "vocab_size"),
            ("tied", "tie_word_embeddings"),
        )
        family = "qwen3" if base is QWEN else "llama"
        got = dict(
            {a: int(c.get(b, 0)) for a, b in keys},
            theta=c.get("rope_theta", 0),
            eps=bits(F32(c.get("rms_norm_eps", 0)))[0],
            rope="default",
        )
        got.update(want)
        want = "family=%s %s qk_norm=%d theta=%d eps=%s rope=%s" % (
            family,
            " ".join("%s=%d" % (a, got[a]) for a, _ in keys),
            family == "qwen3",
            got["theta"],
            got["eps"],
            got["rope"],
        )
    line(ident, reason, flags, "config " + json.dumps(c), want)


def config_cases():
    ok = {}
    config("c-qwen3", "Qwen3-0.6B as published", "-", QWEN, {}, ok)
    config("c-llama", "babyllama", "-", LLAMA, {}, ok)
    config(
        "c-llama-defaults",
        "absent: head_dim is hidden / heads, as many key heads as heads, untied, " "theta 10000",
        "-",
        LLAMA,
        dict(
            head_dim="absent",
            num_key_value_heads="absent",
            tie_word_embeddings="absent",
            rope_theta="absent",
        ),
        dict(head_dim=16, kv=8, tied=0, theta=10000),
    )
    config(
        "c-eps-default",
        "rms_norm_eps is absent: 1e-6, as the Hugging Face classes have it",
        "-",
        LLAMA,
        dict(rms_norm_eps="absent"),
        dict(eps=bits(F32(1e-6))[0]),
    )
    config(
        "c-llama31",
        "rope_scaling llama3",
        "-",
        LLAMA,
        dict(rope_scaling=SCALED, rope_theta=500000.0),
        dict(rope="llama3,8,1,4,8192"),
    )
    config(
        "c-scaling-default",
        "rope_scaling with rope_type default changes nothing",
        "-",
        LLAMA,
        dict(rope_scaling={"rope_type": "default"}),
        ok,
    )
    config(
        "c-parameters",
        "rope_parameters, as newer writers have it",
        "-",
        QWEN,
        dict(
            rope_theta="absent",
            rope_scaling="absent",
            rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"},
        ),
        dict(theta=1000000),
    )
    config(
        "c-parameters-llama3",
        "rope_parameters with llama3",
        "-",
        LLAMA,
        dict(rope_theta="absent", rope_parameters=dict(SCALED, rope_theta=500000.0)),
        dict(theta=500000, rope="llama3,8,1,4,8192"),
    )
    config(
        "c-more-heads", "heads * head_dim need not be hidden", "-", QWEN, dict(hidden_size=1000), ok
    )
    refuse = lambda name, reason, base, change, word: config(
        "c-no-" + name, reason, "reject", base, change, "error " + word
    )
    refuse(
        "architecture",
        "an architecture that is not supported",
        LLAMA,
        dict(architectures=["GPT2LMHeadModel"], model_type="gpt2"),
        "GPT2LMHeadModel",
    )
    for key in (
        "hidden_size",
        "num_hidden_layers",
        "vocab_size",
        "intermediate_size",
        "num_attention_heads",
    ):
        refuse(key, key + " is absent", LLAMA, {key: "absent"}, key)
    refuse("negative", "a negative size", LLAMA, dict(intermediate_size=-352), "intermediate_size")
    refuse("zero", "no layers", LLAMA, dict(num_hidden_layers=0), "num_hidden_layers")
    refuse("string", "a size that is a string", LLAMA, dict(hidden_size="128"), "hidden_size")
    refuse(
        "huge",
        "more columns than the integer sum allows",
        LLAMA,
        dict(hidden_size=65537),
        "hidden_size",
    )
    refuse(
        "groups",
        "key heads do not divide heads",
        LLAMA,
        dict(num_key_value_heads=3),
        "num_key_value_heads",
    )
    refuse(
        "odd", "an odd head_dim cannot be rotated in pairs", LLAMA, dict(head_dim=15), "head_dim"
    )
    refuse("act", "another activation", LLAMA, dict(hidden_act="gelu"), "hidden_act")
    refuse("bias", "attention with biases", LLAMA, dict(attention_bias=True), "attention_bias")
    refuse(
        "rope",
        "a rope type that is not supported",
        LLAMA,
        dict(rope_scaling={"rope_type": "yarn", "factor": 4.0}),
        "yarn",
    )
    refuse(
        "rope-part",
        "llama3 without its factor",
        LLAMA,
        dict(rope_scaling={k: v for k, v in SCALED.items() if k != "factor"}),
        "factor",
    )


if __name__ == "__main__":
    mpmath.mp.dps = 50
    print(HEAD)
    rope_cases()
    config_cases()
