#!/usr/bin/env python3
"""vectors/token.txt and the two small tokenizers vectors/token/*/tokenizer.json that it is about.

The tokenizers are trained here, in plain Python, on text from a seeded generator. What they make of
a text comes from the `tokenizers` package.
"""
import os
import sys
import sysconfig

if __name__ != "__main__":  # Python's library has a module of this name: scripts beside this one need that
    with open(os.path.join(sysconfig.get_path("stdlib"), "token.py")) as library:
        exec(library.read())

import hashlib
import itertools
import json

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "..", "token")
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+")


def words(n, state=12345):
    """n words of a made-up language, from a linear congruential generator."""
    parts = "ka to ri mé na lo shi el an ter 中文 ба ён λό ους é the ing  er".split(" ")
    for _ in range(n):
        word = ""
        for _ in range(1 + (state >> 20) % 3):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            word += parts[(state >> 33) % len(parts)]
        yield word


def train(symbols_of, corpus, vocab, size):
    """Byte-pair encoding: merges the most frequent pair, of equals the one that sorts first."""
    merges = []
    counts = {}
    for word in corpus:
        key = tuple(symbols_of(word))
        counts[key] = counts.get(key, 0) + 1
    for s in sorted({c for w in counts for c in w} - set(vocab)):
        vocab[s] = len(vocab)
    while len(vocab) < size:
        pairs = {}
        for w, n in counts.items():
            for p in zip(w, w[1:]):
                pairs[p] = pairs.get(p, 0) + n
        a, b = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append([a, b])
        vocab.setdefault(a + b, len(vocab))
        merged = {}
        for w, n in counts.items():
            out = []
            for s in w:
                if out and out[-1] == a and s == b:
                    out[-1] = a + b
                else:
                    out.append(s)
            merged[tuple(out)] = merged.get(tuple(out), 0) + n
        counts = merged
    return merges


def added(content, i, special=True, normalized=False):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": normalized, "special": special}


def byte_level():
    """Like Qwen's: form C, its pattern, the byte alphabet."""
    plain = [b for b in range(256) if 32 < b < 127 or (160 < b and b != 173)]
    rest = iter(range(256, 512))
    spelling = [chr(b) if b in plain else chr(next(rest)) for b in range(256)]
    vocab = {c: i for i, c in enumerate(sorted(spelling))}
    corpus = [(" " if i else "") + w for i, w in enumerate(words(4000))] + ["   ", "\n\n", "''", "==", " \u180e", "\u3000\u3000"] * 40
    merges = train(lambda w: [spelling[b] for b in w.encode()], corpus, vocab, 400)
    special = [added(s, len(vocab) + i, s[1] == "|") for i, s in
               enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|im"])]
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": QWEN}, "behavior": "Isolated", "invert": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
            "normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, step]},
            "post_processor": step, "decoder": step,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                      "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocab, "merges": merges}}


def sentencepiece():
    """Like Llama 2's: a space is "▁", one stands in front, unknown characters are bytes. It lacks the
    bytes from F0 on, so that characters above U+FFFF are <unk>, one for several in a row."""
    vocab = {s: i for i, s in enumerate(["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(0xF0)])}
    corpus = ["▁" + w for w in words(3000) if "中" not in w] + ["▁▁▁▁"] * 40
    merges = train(list, corpus, vocab, 400)
    frame = {"type": "TemplateProcessing", "pair": [],
             "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    steps = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
             {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added("<unk>", 0), added("<s>", 1), added("</s>", 2), added("two words", len(vocab), False, True)],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": None, "post_processor": frame, "decoder": {"type": "Sequence", "decoders": steps},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
                      "vocab": vocab, "merges": [" ".join(m) for m in merges]}}


TEXTS = [  # reason, flags, text
    ("empty", "-", ""), ("one byte", "-", "a"), ("words", "-", "the kato riterlo"), ("a space in front", "space", " the"),
    ("runs of spaces before a word", "space", "a     the   "), ("line ends and spaces", "space", "a \n \r\n\n  b\n"),
    ("tab, no-break space, next line", "space", "a\t\u00a0\u0085b"), ("U+180E is no white space", "space", "a \u180e b\u180e  \u180e"), ("a wide space is", "space", "a\u3000\u3000b\u3000\u3000\u3000c"),
    ("contractions, both cases", "pattern", "the'll KA'RE ''s x'ſ"), ("digits one by one", "pattern", "2024 x12²Ⅷ٣"),
    ("punctuation takes line ends", "pattern", "a==\n\n''\r\nb"), ("punctuation before letters", "pattern", "(the .ter _na"),
    ("combining acute composes", "nfc", "me\u0301 shi"), ("marks out of order", "nfc", "a\u0301\u0323 e\u0327\u0301"),
    ("singleton and excluded compositions", "nfc", "\u212b \u0958 \u0344 \u2126"), ("jamo compose", "nfc", "\u1112\u1161\u11ab"),
    ("mark after a line end", "nfc", "a\n\u0301b"), ("composed already", "nfc", "é ё中文"), ("marks alone", "nfc", "\u0323\u0301\u0323"),
    ("other scripts", "bytes", "עברית हिन्दी ไทย"), ("joined emoji", "bytes", "👨\u200d👩\u200d👧 🇩🇪 𐍈𐍉"), ("control characters", "bytes", "a\x00\x01\x1b\x7fb"),
    ("last code points", "bytes", "\uffff\U0010ffff\ufffd"), ("an escaped lone surrogate is text", "-", "\\ud800"),
    ("special tokens", "added", "<|im_start|>the<|im_end|>"), ("longest added token first", "added", "<|im_start|<|im_start|>"),
    ("special tokens side by side", "added", "<s></s><s>ka"), ("added token among spaces", "added", "the <think> ka </think>\n"),
    ("an added token of normalised text", "added", "ka two words two words"), ("at the start of a piece", "added", "two words<s>two words"),
    ("half a special token", "added", "<|im_en|> <s </"), ("text that looks like a byte token", "added", "<0x41><0x0A>"),
    ("text that looks like the space", "space", "▁the ▁▁ a"), ("mark across an added token", "nfc added", "e<think>\u0301"),
    ("a long word", "long", "kator" * 40), ("a long run", "long", "a" * 100), ("many spaces", "long space", " " * 70 + "the"),
]
PIECES = {  # ids by token text: reason, tokens
    "bytes": [("a character in three tokens", "ä ¸ Ń"), ("cut short, then text", "ä ¸ a"), ("cut short at the end", "ð Ł"),
              ("a lone continuation byte", "Ń a"), ("never in UTF-8", "ÿ À a"), ("overlong", "à Ģ Ģ"), ("a surrogate", "í ł Ģ"),
              ("a new character begins inside one", "ä ä ¸ Ń"), ("a special token inside a character", "ä <|im_end|> ¸ Ń")],
    "spm": [("bytes of a character", "<0xE4> <0xB8> <0xAD> ▁ k"), ("cut short, then text", "<0xE4> <0xB8> k"), ("cut short at the end", "<0xE2> <0x82>"),
            ("first space is taken", "▁ ▁ k"), ("first space from a byte", "<0x20> k"), ("no space in front", "k ▁ k"),
            ("never in UTF-8", "<0xC0> <0xC1>"), ("a special token in front", "<s> ▁ k"), ("added token", "two words|▁ k")],
}


def hexed(b):
    return b.hex() or "-"


def main():
    from tokenizers import Tokenizer
    lines = ["# made by: python3 vectors/gen/token.py > vectors/token.txt",
             "# id | reason | flags | folder under vectors/token, what is done, input | expected",
             "# encode SPECIAL TEXT | ids: SPECIAL 1 adds the beginning-of-text token; TEXT in hex; - is nothing",
             "# decode SKIP IDS | pieces in hex, one per id and one for the end: SKIP 1 leaves special tokens out",
             "# refuse TEXT | byte at which it stops being UTF-8"]
    for name, made in (("bytes", byte_level()), ("spm", sentencepiece())):
        path = os.path.join(FOLDER, name, "tokenizer.json")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        text = json.dumps(made, ensure_ascii=True, separators=(",", ":")).replace('},"', '},\n"') + "\n"
        with open(path, "w") as f:
            f.write(text)
        lines.append(f"# {name}/tokenizer.json has the SHA-256 {hashlib.sha256(text.encode()).hexdigest()}")
        t = Tokenizer.from_file(path)
        for i, (reason, flags, s) in enumerate(TEXTS):
            ids = t.encode(s, add_special_tokens=i % 2 == 1).ids
            lines.append(f"{name}.e{i} | {reason} | {flags} | {name} encode {i % 2} {hexed(s.encode())} | {','.join(map(str, ids)) or '-'}")
        for i, (reason, tokens) in enumerate(PIECES[name]):
            tokens = tokens.split("|") if "two words" in tokens else tokens.split(" ")
            tokens = [u for s in tokens for u in (s.split(" ") if s[0] == "▁" else [s])]
            ids = [t.token_to_id(s) for s in tokens]
            whole = t.decode(ids, skip_special_tokens=i % 2 == 1)
            pieces = stream(t, ids, i % 2 == 1)
            assert "".join(pieces) == whole, (name, reason, pieces, whole)
            lines.append(f"{name}.d{i} | {reason} | stream | {name} decode {i % 2} {','.join(map(str, ids))} | "
                         + ",".join(hexed(p.encode()) for p in pieces))
    for i, (reason, b) in enumerate([("no such byte", b"ab\xff"), ("cut short", b"a\xe2\x82"), ("a surrogate", b"x\xed\xa0\x80"), ("overlong", b"\xc0\x80"),
                                     ("overlong in three", b"ab\xe0\x9f\xbf"), ("above U+10FFFF", b"\xf4\x90\x80\x80"), ("continuation alone", b"\x80")]):
        try:
            b.decode()
        except UnicodeDecodeError as error:
            lines.append(f"utf8.r{i} | {reason} | reject | bytes refuse {b.hex()} | {error.start}")
    print("\n".join(lines))


def stream(t, ids, skip):
    """What each id adds to the text, and the end. A U+FFFD at the end of the text is shown as soon as
    no continuation bytes can turn it into something else; every other character at once."""
    spelled = [t.token_to_id(s) for s in ("<0x80>", "<0x90>", "<0xA0>", "<0xBF>")]
    if None in spelled:
        spelled = [t.token_to_id(s) for s in "ĢĲł¿"]  # the same four bytes in the byte alphabet
    more = [list(c) for k in (1, 2, 3) for c in itertools.product(spelled, repeat=k)]
    decode = lambda x: t.decode(x, skip_special_tokens=skip)
    pieces, shown = [], 0
    for n in range(1, len(ids) + 1):
        now = decode(ids[:n])
        firm = len(now.rstrip("\ufffd"))
        while firm < len(now) and all(decode(ids[:n] + c)[:firm + 1] == now[:firm + 1] for c in more):
            firm += 1
        pieces.append(now[shown:firm])
        shown = firm
    pieces.append(decode(ids)[shown:])
    return pieces


if __name__ == "__main__":
    main()
