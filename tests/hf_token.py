#!/usr/bin/env python3
"""src/token.c against the `tokenizers` package and against jinja2, on generated and real text.

usage: tests/hf_token.py [--full] [library.so]

--full: 12,000 texts a tokenizer instead of 2,000, and 6 MB of real text instead of 0.6 MB.

Without a library it compiles one with cc into a temporary folder. One line per check; exit 1 if
one fails. Tokenizers: Qwen3 and babyllama from ../shared/data when they are there, and a Llama 3
and a Gemma style one that are trained here on generated text.
"""
import ctypes
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import unicodedata

try:
    import tokenizers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError as error:
    print(f"not run: hf_token: {error}")
    sys.exit(0)

DATA = os.environ.get("ASSAY_DATA", "../shared/data")
QUICK = "--full" not in sys.argv
os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
TMP = tempfile.TemporaryDirectory()
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SCRIPTS = {
    "Latin": [(0x41, 0x24F)], "Greek": [(0x370, 0x3FF), (0x1F00, 0x1FFF)], "Cyrillic": [(0x400, 0x52F)],
    "Armenian": [(0x531, 0x58F)], "Hebrew": [(0x591, 0x5F4)], "Arabic": [(0x600, 0x6FF), (0xFB50, 0xFDFF)],
    "Syriac": [(0x700, 0x74F)], "Devanagari": [(0x900, 0x97F)], "Bengali": [(0x980, 0x9FF)],
    "Tamil": [(0xB80, 0xBFF)], "Telugu": [(0xC00, 0xC7F)], "Sinhala": [(0xD80, 0xDFF)],
    "Thai": [(0xE00, 0xE5B)], "Lao": [(0xE80, 0xEDF)], "Tibetan": [(0xF00, 0xFDA)],
    "Myanmar": [(0x1000, 0x109F)], "Georgian": [(0x10A0, 0x10FF)], "Ethiopic": [(0x1200, 0x139F)],
    "Khmer": [(0x1780, 0x17F9)], "Mongolian": [(0x1800, 0x18AA)], "Kana": [(0x3041, 0x30FF)],
    "Han": [(0x4E00, 0x9FFF), (0x20000, 0x20400)], "Hangul": [(0xAC00, 0xD7A3), (0x1100, 0x11FF)],
    "Vietnamese": [(0x1EA0, 0x1EF9), (0x300, 0x323)], "Gothic": [(0x10330, 0x1034A)],
}
EMOJI = ["😀", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "1️⃣", "❤️‍🔥", "🧑🏿‍🚀", "☺️", "©™"]
ODD = ["\u0000", "\u0001", "\u001b[0m", "\u007f", "\u0085", "\u00a0", "\u180e", "\u200b", "\u200d", "\u2028", "\u2029",
       "\u202e", "\u3000", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\\ud800", "\\udfff\\ud83d", "\ue000", "\u00ad", "▁", "▁▁"]
SPACE = [" ", "  ", "\n", "\r\n", "\t", "\n\n\n", " \n ", "   ", "\v", "\f", "\r"]
ASCII = ["the", "don't", "I'LL", "we'Ve", "x'ſ", "K'", "HELLO", "foo_bar", "3.14159", "12345678", "²³½Ⅷ", "a=b+c;", "</div>",
         "http://x.y/z?q=1", "...", "!!!\n", "--", "'", "''s", "\"quoted\"", "e\u0301", "n\u0303", "A\u030a\u0323", "\u1112\u1161\u11ab",
         "\u0344", "\u0958", "\u212b", "\u0f73", "\u2f800", "<|im_end", "<s", "[INST]", "<0x41>", "<|eot_id|"]
failed = passed = 0


def check(ok, what):
    global failed, passed
    print(("ok " if ok else "FAIL ") + "hf_token: " + what, flush=True)
    passed, failed = passed + bool(ok), failed + (not ok)


class Stream(ctypes.Structure):
    _fields_ = [("byte", ctypes.c_uint8 * 4), ("held", ctypes.c_uint8), ("begun", ctypes.c_uint8)]


def library():
    given = [a for a in sys.argv[1:] if not a.startswith("--")]
    path = given[0] if given else os.path.join(TMP.name, "token.so")
    if not given:
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O2", "-march=x86-64-v3", "-D_GNU_SOURCE", "-Wall", "-Wextra",
                        "-Isrc", "-fPIC", "-shared", "src/token.c", "-o", path, "-ljansson", "-lpcre2-8", "-lutf8proc"], check=True)
    lib = ctypes.CDLL(os.path.abspath(path))
    p, i32, i64, z, c = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_size_t, ctypes.c_char_p
    for name, result, args in [("open", p, [c, c]), ("close", None, [p]), ("count", i32, [p]), ("id", i32, [p, c]), ("room", z, [p]),
                               ("encode", i64, [p, c, z, ctypes.c_int, p, c]), ("family", ctypes.c_int, [p]),
                               ("decode", z, [p, p, i32, ctypes.c_int, p, z]), ("chat", ctypes.c_int, [p, p, p, ctypes.c_int, p, c])]:
        getattr(lib, "token_" + name).restype = result
        getattr(lib, "token_" + name).argtypes = args
    return lib


class Ours:
    def __init__(self, lib, folder):
        self.lib, self.err = lib, ctypes.create_string_buffer(512)
        begin = time.process_time()
        self.t = lib.token_open(folder.encode(), self.err)
        self.seconds = time.process_time() - begin
        if not self.t:
            raise ValueError(self.err.value.decode())
        self.room = lib.token_room(self.t)
        self.out = ctypes.create_string_buffer(self.room)

    def encode(self, text, special=0):
        ids = ctypes.POINTER(ctypes.c_int32)()
        n = self.lib.token_encode(self.t, text, len(text), special, ctypes.byref(ids), self.err)
        if n < 0:
            raise ValueError(self.err.value.decode())
        out = ids[:n]
        FREE(ctypes.cast(ids, ctypes.c_void_p))
        return out

    def parts(self, ids, skip):
        """What each id adds, then the flush."""
        s = Stream()
        out = []
        for i in list(ids) + [-1]:
            n = self.lib.token_decode(self.t, ctypes.byref(s), i, skip, self.out, self.room)
            out.append(self.out.raw[:n])
        return out

    def decode(self, ids, skip=0):
        return b"".join(self.parts(ids, skip)).decode()  # raises when it is not UTF-8

    def chat(self, messages):
        n, text = len(messages), ctypes.c_char_p()
        roles = (ctypes.c_char_p * n)(*[m["role"].encode() for m in messages])
        contents = (ctypes.c_char_p * n)(*[m["content"].encode() for m in messages])
        if self.lib.token_chat(self.t, roles, contents, n, ctypes.byref(text), self.err):
            return None
        out = text.value.decode()
        FREE(ctypes.cast(text, ctypes.c_void_p))
        return out


FREE = ctypes.CDLL(None).free
FREE.argtypes = [ctypes.c_void_p]


def newer(c):
    """Marks that the package's tables for form C, which are older than Python's, do not order."""
    nfc = normalizers.NFC().normalize_str
    return any(nfc(s) != unicodedata.normalize("NFC", s) for m in "\u0334\u0301\u0316\u093c" for s in ("x" + c + m, "x" + m + c))


NEWER = {chr(c) for c in range(0x110000) if unicodedata.combining(chr(c)) and newer(chr(c))}


def usable(c):
    return unicodedata.category(c) not in ("Cn", "Cs") and c not in NEWER


def letters(ranges):
    return [chr(c) for a, b in ranges for c in range(a, b + 1) if usable(chr(c))]


ALPHABET = {k: letters(v) for k, v in SCRIPTS.items()}


def sentence(r, special=()):
    """A few words of one or two scripts with everything that may go wrong between them."""
    out = []
    scripts = r.sample(list(ALPHABET), 2)
    for _ in range(r.randrange(1, 14)):
        kind = r.random()
        if kind < .45:
            out.append("".join(r.choice(ALPHABET[r.choice(scripts)]) for _ in range(r.randrange(1, 9))))
        elif kind < .6:
            out.append(r.choice(ASCII))
        elif kind < .68:
            out.append(r.choice(EMOJI))
        elif kind < .76:
            out.append(r.choice(ODD))
        elif kind < .82:
            base = r.choice(ALPHABET["Latin"])
            out.append(base + "".join(chr(r.choice([0x300, 0x301, 0x323, 0x327, 0x345, 0x31b, 0x338, 0x5b0, 0x93c, 0x3099])) for _ in range(r.randrange(1, 6))))
        elif kind < .86 and special:
            out.append(r.choice(special))
        elif kind < .9:
            out.append("".join(chr(r.randrange(32, 127)) for _ in range(r.randrange(1, 12))))
        elif kind < .93:
            out.append(r.choice(" a\n\tä中0=-") * r.randrange(1, 40))
        else:
            c = r.randrange(0x110000)
            out.append(chr(c) if usable(chr(c)) else "?")
        if r.random() < .5:
            out.append(r.choice(SPACE))
    return "".join(out)


def real_text(limit):
    names = sorted(sum((glob.glob(g) for g in [
        "/usr/share/common-licenses/*", "/usr/share/perl/*/unicore/Name.pl", "/usr/share/perl/*/unicore/NamesList.txt",
        "/usr/lib/python3*/*.py", "/usr/lib/python3*/**/*.py", "/usr/share/i18n/locales/*", "/usr/share/doc/*/changelog*", "/usr/share/doc/*/copyright",
        os.path.dirname(os.__file__) + "/*.py", "/usr/share/zoneinfo/*.tab", "/usr/share/perl5/**/*.pod"]), []))
    random.Random(1).shuffle(names)
    text = []
    size = 0
    for name in names:
        if os.path.isfile(name) and size < limit:
            with open(name, "rb") as f:
                text.append(f.read().decode("utf-8", "replace"))
            size += len(text[-1])
    return "".join(text)


def make_llama3(folder, corpus):
    """Byte level, digits by three, ignore_merges, <|begin_of_text|> in front: Llama 3's file in small."""
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(LLAMA3), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=3000, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    n = t.token_to_id("<|begin_of_text|>")
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B", special_tokens=[("<|begin_of_text|>", n)])])
    j = json.loads(t.to_str())
    size = max(j["model"]["vocab"].values()) + 1  # tokens that no merge makes: only ignore_merges finds them
    return finish(folder, j, [" whole", "zqx", "日本語"], size, byte_level=True)


def finish(folder, j, extra, size, byte_level):
    alphabet = {b: c for b, c in zip(range(256), spell())}
    for k, word in enumerate(extra):
        key = "".join(alphabet[b] for b in word.encode()) if byte_level else word
        if key not in j["model"]["vocab"]:
            j["model"]["vocab"][key] = size
            for a in j["added_tokens"]:
                a["id"] += 1
            for s in (j["post_processor"] or {}).get("processors", []):
                for v in s.get("special_tokens", {}).values():
                    v["ids"] = [v["ids"][0] + 1]
            size += 1
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/tokenizer.json", "w") as f:
        json.dump(j, f, ensure_ascii=False)
    return folder


def spell():
    plain = [b for b in range(256) if 32 < b < 127 or (160 < b and b != 173)]
    rest = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)]


def make_gemma(folder, corpus, normalized=False, fallback=True):
    """SentencePiece style with byte fallback: Gemma's file in small; with normalized, Llama 2's."""
    t = Tokenizer(models.BPE(byte_fallback=fallback, fuse_unk=True, unk_token="<unk>"))
    space = normalizers.Replace(" ", "▁")
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if normalized else space
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + ([decoders.Strip(" ", 1, 0)] if normalized else [])
    t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # only while training: words
    special = ["<pad>", "<s>" if normalized else "<eos>", "<bos>", "<unk>"] + [f"<0x{b:02X}>" for b in range(256 if fallback else 100)]
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=2500, show_progress=False, special_tokens=special))
    t.decoder = decoders.Sequence(steps)
    j = json.loads(t.to_str())
    j["pre_tokenizer"] = None if normalized else {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    j["added_tokens"] = [a for a in j["added_tokens"] if not a["content"].startswith("<0x")]
    n = len(j["model"]["vocab"])
    for k, (word, special, norm) in enumerate([("<start_of_turn>", 1, 0), ("<end_of_turn>", 1, 0), ("\n\n", 0, 0), ("\n\n\n", 0, 0), ("▁▁▁▁", 0, 0),
                                               ("two words", 0, 1), ("<b>", 0, 0)]):
        j["added_tokens"].append({"id": n + k, "content": word, "single_word": False, "lstrip": False, "rstrip": False,
                                  "normalized": bool(norm), "special": bool(special)})
    for a in j["added_tokens"]:
        if normalized and a["content"] in ("<s>", "<unk>"):
            a["normalized"] = True
    first = "<s>" if normalized else "<bos>"
    j["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": first, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [], "special_tokens": {first: {"id": first, "ids": [j["model"]["vocab"][first]], "tokens": [first]}}}
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/tokenizer.json", "w") as f:
        json.dump(j, f, ensure_ascii=False)
    return folder


def compare(name, ours, theirs, texts):
    """Encoding and decoding of every text, with and without what the post-processor adds."""
    want = theirs.encode_batch(texts, add_special_tokens=True)
    bad = [s for s, w in zip(texts, want) if ours.encode(s.encode(), 1) != w.ids]
    n = sum(len(w.ids) for w in want)
    check(not bad, f"{name}: {len(texts)} texts, {n} ids encode alike" + (f"; first difference: {ascii(bad[0])[:300]}" if bad else ""))
    odd = normalised_texts(theirs)
    some = [w for w in (want if not QUICK else want[:2000]) if not odd & set(w.ids)]
    bad = [w.ids for w in some for skip in (0, 1) if ours.decode(w.ids, skip) != theirs.decode(w.ids, skip_special_tokens=bool(skip))]
    check(not bad, f"{name}: {len(some)} id sequences decode alike" + (f"; first difference: {bad[0]}" if bad else ""))


def normalised_texts(theirs):
    """Added tokens whose text the package (from 0.22 on) gives back as the normaliser leaves it; we give the file's."""
    return {i for i, t in theirs.get_added_tokens_decoder().items() if theirs.id_to_token(i) != t.content or t.normalized}


def random_ids(name, ours, theirs, r):
    """Any ids in any order. A run of byte-fallback tokens that is not UTF-8: tokenizers gives U+FFFD for
    each byte of the run; a stream has shown its complete characters already, so those stay."""
    everything = sorted(set(range(ours.lib.token_count(ours.t))) - normalised_texts(theirs))
    byte = {theirs.token_to_id(f"<0x{b:02X}>"): b for b in range(256)}
    byte.pop(None, None)
    bad = exact = 0
    for _ in range(500 if QUICK else 3000):
        pool = list(byte) if byte and r.random() < .5 else everything
        ids = [r.choice(pool) for _ in range(r.randrange(1, 12))]
        want = theirs.decode(ids, skip_special_tokens=False)
        got = ours.decode(ids)
        if byte and "\ufffd" in want:
            run, want = bytearray(), ""
            for i in ids + [None]:
                if i in byte:
                    run.append(byte[i])
                    continue
                want += lenient(bytes(run))
                run.clear()
                want += theirs.id_to_token(i).replace("▁", " ") if i is not None else ""
            want = want[1:] if strips(theirs) and want.startswith(" ") else want
        else:
            exact += 1
        bad += got != want
    check(not bad, f"{name}: random ids decode alike ({exact} exactly as tokenizers, the others by the rule for broken byte runs)")


def strips(theirs):
    return "Strip" in theirs.to_str()[:0] or any(d.get("type") == "Strip" for d in json.loads(theirs.to_str())["decoder"].get("decoders", []))


def lenient(run):
    """UTF-8 with U+FFFD for every byte that belongs to no character."""
    out = ""
    while run:
        for k in range(1, 5):
            try:
                out += run[:k].decode()
                run = run[k:]
                break
            except UnicodeDecodeError:
                pass
        else:
            out += "\ufffd"
            run = run[1:]
    return out


def streaming(name, ours, theirs, texts):
    """Every piece is UTF-8 by itself, the pieces join to the text, and nothing waits longer than its character."""
    bad, odd = 0, normalised_texts(theirs)
    for s in texts[:500]:
        ids = [i for i in ours.encode(s.encode()) if i not in odd]
        parts = ours.parts(ids, 0)
        whole = theirs.decode(ids, skip_special_tokens=False)
        try:
            bad += "".join(p.decode() for p in parts) != whole
        except UnicodeDecodeError:
            bad += 1
        bad += parts[-1] != b""  # complete text leaves nothing to flush
    check(not bad, f"{name}: streamed pieces are UTF-8 and join to the whole")


def long_runs(name, ours, theirs):
    begin, slow = time.process_time(), 0
    for s in [" " * 100000, "a" * 100000, "ab" * 50000, "\n" * 100000, " \n" * 50000, "=" * 100000, "1" * 100000, "中" * 50000,
              "👨‍👩‍👧" * 10000, "e" + "\u0301\u0323" * 50000, "\u0f73" * 30000, "<" * 100000, "<s>" * 20000, "x" + " " * 100000 + "y"]:
        t0 = time.process_time()
        got = ours.encode(s.encode())
        slow = max(slow, time.process_time() - t0)
        if got != theirs.encode(s, add_special_tokens=False).ids:
            check(False, f"{name}: long run of {ascii(s[:4])}")
    check(slow < 1, f"{name}: runs of 100,000 characters, slowest {slow:.2f} s")


def all_code_points(name, ours, theirs):
    """Every code point between letters, spaces and itself. PCRE2 and Oniguruma know different versions of
    Unicode: a difference is allowed where Unicode 14 has no character."""
    blocks = []
    for b in range(0, 0x110000, 64):
        cs = [chr(c) for c in range(b, b + 64) if not 0xD800 <= c < 0xE000]
        if cs:
            blocks.append(cs)
    make = lambda c: f"a{c}b {c}{c} e{c} "
    want = theirs.encode_batch(["\n".join(map(make, cs)) for cs in blocks], add_special_tokens=False)
    bad = []
    for cs, w in zip(blocks, want):
        if ours.encode("\n".join(map(make, cs)).encode()) != w.ids:
            bad += [c for c in cs if ours.encode(make(c).encode()) != theirs.encode(make(c), add_special_tokens=False).ids]
    new = [c for c in bad if unicodedata.category(c) == "Cn"]
    known = [c for c in bad if unicodedata.category(c) != "Cn"]
    check(not known, f"{name}: all code points encode alike, but for {len(new)} that Unicode {unicodedata.unidata_version} lacks" +
          (f"; {len(known)} others: " + " ".join(f"U+{ord(c):04X}" for c in known[:40]) if known else ""))


def chat(ours, config):
    try:
        import jinja2
    except ImportError:
        print("not run: hf_token: chat: no jinja2")
        return
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = env.from_string(config)
    r = random.Random(5)
    bad = 0
    for k in range(400):
        m = [{"role": "system", "content": sentence(r).replace("\0", "")}] if r.random() < .5 else []
        for i in range(2 * r.randrange(0, 4) + 1):
            text = sentence(r).replace("\0", "")
            if i % 2 and r.random() < .3:
                text = "<think>\nwell\n</think>\n\n" + text
            m.append({"role": "assistant" if i % 2 else "user", "content": text})
        want = template.render(messages=m, add_generation_prompt=True)
        bad += ours.chat(m) != want
    check(not bad, "qwen3: 400 conversations as its own template writes them")
    check(ours.chat([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]) is None, "qwen3: two user messages in a row are refused")


def main():
    lib = library()
    r = random.Random(2024)
    corpus = [sentence(r).replace("\0", "") for _ in range(3000)] + real_text(400000).replace("\0", "").split("\n\n")
    print(f"   left out of the texts: {len(NEWER)} combining marks that are newer than the package's tables")
    sets = [("llama3-style", make_llama3(TMP.name + "/l3", corpus)), ("gemma-style", make_gemma(TMP.name + "/g", corpus)),
            ("llama2-style", make_gemma(TMP.name + "/l2", corpus, normalized=True)),
            ("no-fallback", make_gemma(TMP.name + "/nf", corpus, normalized=True, fallback=False))]
    for name, folder in [("qwen3", DATA + "/qwen3-tokenizer"), ("babyllama", DATA + "/babyllama")]:
        if os.path.exists(folder + "/tokenizer.json"):
            sets.insert(0, (name, folder))
        else:
            print(f"not run: hf_token: {name}: {folder} is missing")
    text = real_text(600000 if QUICK else 6000000)
    for name, folder in sets:
        ours, theirs = Ours(lib, folder), Tokenizer.from_file(folder + "/tokenizer.json")
        special = [t.content for t in theirs.get_added_tokens_decoder().values()]
        s = random.Random(name)
        texts = [sentence(s, special) for _ in range(2000 if QUICK else 12000)] + ["", " ", "  ", "\n"] + special + [x + " " + x for x in special]
        compare(name, ours, theirs, texts)
        random_ids(name, ours, theirs, s)
        streaming(name, ours, theirs, texts)
        long_runs(name, ours, theirs)
        data = text.encode()
        if name == "qwen3":
            all_code_points(name, ours, theirs)
            check(ours.seconds < 1, f"{name}: opens in {ours.seconds:.2f} s of CPU time")
            config = json.load(open(folder + "/tokenizer_config.json"))
            chat(ours, config["chat_template"])
        begin = time.process_time()
        got = ours.encode(data)
        seconds = time.process_time() - begin
        lines = text.split("\n")
        pieces = ["\n".join(lines[i:i + 200]) for i in range(0, len(lines), 200)]
        want = theirs.encode_batch(pieces, add_special_tokens=False)
        check(all(ours.encode(p.encode()) == w.ids for p, w in zip(pieces, want)), f"{name}: {len(data) / 1e6:.1f} MB of real text encode alike")
        odd = normalised_texts(theirs)
        got = [i for i in got if i not in odd]
        check(ours.decode(got) == theirs.decode(got, skip_special_tokens=False), f"{name}: and decode alike")
        print(f"   {name}: {len(data) / seconds / 1e6:.1f} MB/s (with making a Python list)")
        for broken, at in [(b"ab\xff", 2), (b"\xe2\x82", 0), (b"x\xed\xa0\x80", 1), (b"\xc0\x80", 0), (b"\xf4\x90\x80\x80", 0)]:
            try:
                ours.encode(broken)
                check(False, f"{name}: {broken} is refused")
            except ValueError as error:
                if f"byte {at} " not in str(error):
                    check(False, f"{name}: {broken}: {error}")
        lib.token_close(ours.t)
    print(f"{passed} passed, {failed} failed")
    return failed > 0


sys.exit(main())
