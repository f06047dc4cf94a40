#!/usr/bin/env python3
"""vectors/tiny/tokenizer.json and tokenizer_config.json of the embedded model, beside this script.

The vocabulary is the 256 bytes, the words below, and three special tokens. A word is what PATTERN
cuts: it is one token when it stands here, else its bytes are (`ignore_merges`; there are no merges).
So a digit, an operator, a bracket, a letter that stands alone and the label of a line are one token each.
"""
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
PATTERN = r"(?:[pTVH]|d[pq]/dt) = | [=+-] |[,:] |d/d[pq]|\p{L}+|\p{N}|[^\p{L}\p{N}]"
WORDS = """
system user assistant derive read list write copy simplify
mass gravity force stiffness length potential free particle freefall constant spring quartic in pendulum
position height stretch angle cos sin d/dq d/dp
""".split() + ["p = ", "T = ", "V = ", "H = ", "dq/dt = ", "dp/dt = ", " = ", " + ", " - ", ", ", ": "]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def spelling():
    """The character that a byte-level file writes for each byte: itself if it is printable, else the next from U+0100."""
    plain = [b for b in range(256) if 32 < b < 127 or (160 < b and b != 173)]
    rest = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)]


def main():
    spelled = spelling()
    vocab = [spelled[b] for b in range(256)] + ["".join(spelled[b] for b in w.encode()) for w in WORDS]
    special = [{"id": len(vocab) + i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for i, s in enumerate(SPECIAL)]
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, step]}, "post_processor": step, "decoder": step,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": {s: i for i, s in enumerate(vocab)}, "merges": []}}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>",
              "pad_token": "<|endoftext|>", "model_max_length": 512, "clean_up_tokenization_spaces": False, "chat_template": CHAT}
    for name, content in (("tokenizer", tokenizer), ("tokenizer_config", config)):
        with open(os.path.join(HERE, name + ".json"), "w", encoding="ascii", newline="\n") as f:
            f.write(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
