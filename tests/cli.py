"""The commands on small folders: exit codes, one line of error that names file and expectation,
and that what is printed is right. ASSAY names the program (default build/assay).

`tests/cli.sh` holds the cases that need no folder made, this file those that do."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import numpy as np

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import convert  # noqa: E402
import hf  # noqa: E402
from convert import ASSAY, ENV, ROOT, assay, error_line, small  # noqa: E402

REPORT = convert.Report("cli")
check = REPORT.check
K = "model.layers.0.self_attn.k_proj.weight"
COMMANDS = (
    "inspect",
    "tokenize",
    "quantize",
    "logits",
    "generate",
    "ladder",
    "train",
    "eval",
    "journal",
    "serve",
    "resume",
    "replay",
    "verify",
    "bench",
    "sizes",
)


def refused(what, run, *words):
    wrong = error_line(run, *words)
    check(not wrong, what + ": exit 1, one line", wrong)


def copy(folder, work, name, **changes):
    """A copy of the folder with other numbers in config.json."""
    to = os.path.join(work, name)
    shutil.copytree(folder, to)
    if changes:
        with open(os.path.join(to, "config.json")) as f:
            config = json.load(f)
        with open(os.path.join(to, "config.json"), "w") as f:
            json.dump(dict(config, **changes), f)
    return to


def write(folder, name, data):
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def rewrite(folder, edit):
    """Writes the folder's tensors again after edit(tensors) changed them."""
    path = os.path.join(folder, "model.safetensors")
    tensors = {n: np.array(x) for n, x in hf.read_safetensors(path).items()}
    edit(tensors)
    hf.write_safetensors(
        path, {n: ("F32", x.shape, hf.encode(x, "F32")) for n, x in tensors.items()}
    )


# ---- wrong usage -------------------------------------------------------------------------------
def check_usage():
    code, out, err = assay("--help")
    listed = re.findall(r"^  (\w+) ", out.decode(), re.M)
    check(code == 0 and not err and sorted(listed) == sorted(COMMANDS), "--help lists them", listed)
    for c in COMMANDS:
        code, out, err = assay(c, "--help")
        good = code == 0 and not err and out.decode().startswith("usage: assay %s " % c)
        check(good, c + " --help: exit 0, usage on stdout", (code, err))
        code, out, _ = assay(c, "a", "b", "--help", "--frob")
        check(code == 0 and out, c + ": --help wins over what else is wrong", code)
    arguments = {"inspect": 1, "tokenize": 1, "quantize": 2, "logits": 2, "generate": 1, "ladder": 1,
                 "train": 1, "eval": 1, "verify": 0, "bench": 0, "sizes": 0}  # fmt: skip
    needed = {"generate": ["-p", "x"], "logits": ["--tokens", "1"]}
    wrong = [[], ["frob"], [""], ["Inspect"], ["--frob"]]
    for c, n in arguments.items():
        more = needed.get(c, [])
        wrong += [
            [c, *["x"] * (n + 1), *more],
            [c, *["x"] * n, *more, "--frob"],
            [c, *["x"] * n, "-x"],
        ]
        if n:
            wrong.append([c, *["x"] * (n - 1), *more])
    wrong.append(["generate", "x"])
    for option in ("--rung", "--calib", "--jobs"):
        wrong.append(["quantize", "x", "y", option])
    ranges = {"-n": "0 -1 1.5 x nan 1e9", "--temp": "-1 nan inf 101 x", "--top-k": "-1 1.5 x",
              "--top-p": "-0.1 1.1 nan", "--seed": "-1 4294967296 0.5", "--context": "1 x",
              "--jobs": "0 -2 2.5 1025 x", "--backend": "cuda REF"}  # fmt: skip
    for option, values in ranges.items():
        for v in values.split() + [""]:
            wrong.append(["generate", "x", "-p", "y", option, v])
        wrong.append(["generate", "x", "-p", "y", option])
    ranges = {"--steps": "0 -1 1.5 x 1e9", "--warmup": "-1 0.5 x", "--every": "0 x", "--batch": "0 4097",
              "--micro": "0 4097", "--ctx": "0 1.5 2e6", "--init": "-1 4294967296 x", "--seed": "-1",
              "--lr": "0 -1 nan 1.1 x", "--clip": "-1 nan x", "--decay": "-1 1.1 nan",
              "--backend": "cuda", "--jobs": "0"}  # fmt: skip
    for option, values in ranges.items():
        for v in values.split() + [""]:
            wrong.append(["train", "x", "--text", "y", "--out", "z", option, v])
        wrong.append(["train", "x", "--text", "y", "--out", "z", option])
    bad = []
    for args in wrong:
        code, out, err = assay(*args)
        if code != 2 or out or not err.startswith("assay: ") or "\nusage: assay" not in err:
            bad.append((args, code, out, err[:60]))
    check(
        not bad,
        "%d wrong calls: exit 2, reason and usage on stderr, stdout empty" % len(wrong),
        bad[:4],
    )
    for c in COMMANDS:  # a command's usage line tells the options that it takes
        _, out, _ = assay(c, "--help")
        taken = [
            o
            for o in (
                "-p",
                "-n",
                "--chat",
                "--temp",
                "--top-k",
                "--top-p",
                "--seed",
                "--context",
                "--backend",
                "--jobs",
                "--rung",
                "--calib",
                "--text",
                "--json",
                "--svg",
                "--shape",
                "--vectors",
                "--tokens",
                "--decode",
                "--held",
                "--what",
                "--out",
                "--steps",
                "--warmup",
                "--every",
                "--batch",
                "--micro",
                "--ctx",
                "--init",
                "--lr",
                "--clip",
                "--decay",
                "--resume",
            )
            if "no such option" not in assay(c, o)[2]
        ]
        hidden = [o for o in taken if not re.search(r"(^|[\s\[])%s\b" % re.escape(o), out.decode())]
        check(not hidden, c + " --help names every option it takes", hidden)


# ---- bad input ---------------------------------------------------------------------------------
def check_folders(good, work):
    missing, empty = os.path.join(work, "missing"), os.path.join(work, "empty")
    os.makedirs(empty)
    out = os.path.join(work, "out")
    calls = {
        "inspect": lambda d: assay("inspect", d),
        "tokenize": lambda d: assay("tokenize", d),
        "quantize": lambda d: assay("quantize", d, out),
        "logits": lambda d: assay("logits", d, "--tokens", "1", out),
        "generate": lambda d: assay("generate", d, "-p", "x"),
        "ladder": lambda d: assay("ladder", d),
        "train": lambda d: assay("train", d, "--text", work, "--out", out),
    }
    for name, call in calls.items():
        refused("a folder that is not there: " + name, call(missing), missing)
        refused("an empty folder: " + name, call(empty), empty)
    check(not os.path.exists(out), "nothing was written")
    os.makedirs(work + "/taken.part")
    refused("a name that is taken for writing", assay("logits", good, "--tokens", "1", work + "/taken"), "Is a directory")
    check(os.path.isdir(work + "/taken.part"), "which is left as it was")
    os.rmdir(work + "/taken.part")
    half = copy(good, work, "half")
    write(half, "generation_config.json", b'{"eos_token_id": ')
    refused("half a generation_config.json", assay("logits", half, "--tokens", "1", out), "generation_config.json", "line 1")
    run = assay("tokenize", missing)
    check("tokenizer.json: unable to open" in run[2] and "line" not in run[2], "no line of a file that is not there", run[2])
    configs = {
        "an architecture": (dict(architectures=["GPT2LMHeadModel"]), "GPT2LMHeadModel", "Qwen3ForCausalLM"),
        "no architecture": (dict(architectures=None), "architectures", "Qwen3ForCausalLM"),
        "a rope type": (dict(rope_scaling=dict(rope_type="yarn", factor=4.0)), "yarn", "llama3"),
        "an older spelling of a rope type": (dict(rope_scaling=dict(type="linear", factor=4.0)), "linear", "llama3"),
        "a rope type in rope_parameters": (dict(rope_parameters=dict(rope_type="dynamic")), "dynamic", "llama3"),
        "a rope type that is no text": (dict(rope_scaling=dict(rope_type=3)), "rope_scaling", "llama3"),
        "rope scaling that is no object": (dict(rope_scaling="yarn"), "rope_scaling", "expected"),
        "llama3 without its factor": (dict(rope_scaling=dict(rope_type="llama3")), "factor", "positive"),
        "a size as text": (dict(hidden_size="64"), "hidden_size", "integer"),
        "no vocabulary": (dict(vocab_size=None), "vocab_size", "integer"),
        "a negative size": (dict(intermediate_size=-1), "intermediate_size", "-1"),
        "heads that do not divide": (dict(num_key_value_heads=3), "num_key_value_heads", "divisor"),
        "an odd head": (dict(head_dim=3), "head_dim", "even"),
        "no epsilon": (dict(rms_norm_eps=0), "rms_norm_eps", "positive"),
        "another activation": (dict(hidden_act="gelu"), "gelu", "silu"),
        "biases": (dict(attention_bias=True), "attention_bias", "false"),
        "a foreign quantisation": (dict(quantization_config=dict(bits=4)), "quantization_config", "expected"),
        "an untied head that is missing": (dict(tie_word_embeddings=False), "lm_head.weight", "missing"),
        "another hidden size": (dict(hidden_size=128), "expected"),
        "an architecture with control characters": (dict(architectures=["a\nb\x1b[2J"]), "expected"),
    }  # fmt: skip
    for i, (what, (change, *words)) in enumerate(configs.items()):
        folder = copy(good, work, "config%d" % i, **change)
        refused("config.json with " + what, calls["logits"](folder), *words)
    texts = dict(nothing=b"", brace=b"{", words=b"hello", array=b"[]", byte=b"\xff", deep=b"[" * 100000,
                 twice=b'{"a": 1, "a": 2}')  # fmt: skip
    for what, text in texts.items():
        folder = copy(good, work, "json-" + what)
        write(folder, "config.json", text)
        refused("config.json that is not JSON: " + what, calls["logits"](folder), "config.json")
    weights = {
        "missing": (lambda t: t.pop(K), K, "missing"),
        "of another shape": (lambda t: t.update({K: t[K][:, :-1]}), K, "63", "64"),
        "of other dimensions": (lambda t: t.update({K: t[K].reshape(-1)}), K, "expected"),
    }
    for what, (edit, *words) in weights.items():
        folder = copy(good, work, "weight-" + what.replace(" ", "-"))
        rewrite(folder, edit)
        refused("a tensor " + what, calls["logits"](folder), *words)
        refused("inspect on a tensor " + what, calls["inspect"](folder), *words)
    # What stands where, and the words that say so: a norm is seen when the folder is opened.
    numbers = (
        ("model.embed_tokens.weight", 0, "phase EMBED"),
        ("model.embed_tokens.weight", 300 * 64, "phase HEAD"),  # a row that only the head reads
        (K.replace(".0.", ".1."), 0, "layer 1, phase QKV"),
        ("model.layers.0.mlp.down_proj.weight", 0, "layer 0, phase DOWN"),
        ("model.layers.1.mlp.up_proj.weight", 0, "layer 1, phase GATEUP"),
        ("model.layers.1.self_attn.q_norm.weight", 0, "model.layers.1.self_attn.q_norm.weight"),
        ("model.norm.weight", 0, "model.norm.weight"),
    )
    for name, first, words in numbers:
        for value in (np.nan, np.inf):
            folder = copy(good, work, "not-finite")
            rewrite(folder, lambda t: t[name].reshape(-1).__setitem__(slice(first, None), value))
            for backend in ("ref", "simd"):
                run = assay("logits", folder, "--tokens", "1,2", out, "--backend", backend)
                refused("%s at %d of %s, %s" % (value, first, name, backend), run, words, "finite")
            shutil.rmtree(folder)
        check("layer -1" not in run[2], "no layer -1 in the message: " + words, run[2].strip())
    with open(os.path.join(good, "model.safetensors"), "rb") as f:
        data = f.read()
    folder = copy(good, work, "truncated")
    for n in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        write(folder, "model.safetensors", data[:n])
        for c in ("inspect", "logits"):
            refused("%s, weights cut to %d bytes" % (c, n), calls[c](folder), "model.safetensors")
    write(folder, "model.safetensors", data + b"x")
    refused("weights with a byte behind them", calls["inspect"](folder), "model.safetensors")


def check_tokens(good, vocab, work):
    out = os.path.join(work, "no-logits")
    for text in (
        "",
        ",",
        "1,",
        ",1",
        "1,,2",
        "x",
        "1 2",
        "-1",
        "1,%d" % vocab,
        "9" * 30,
        "0x1",
        "1,2x",
        "1.0",
    ):
        refused(
            "--tokens %r" % text,
            assay("logits", good, "--tokens", text, out),
            "--tokens",
            str(vocab - 1),
        )
    check(not os.path.exists(out), "and no file is written")
    refused(
        "OUT in no folder", assay("logits", good, "--tokens", "1", work + "/a/b"), work + "/a/b"
    )
    if os.path.exists("/dev/full"):
        refused(
            "OUT on a full disk", assay("logits", good, "--tokens", "1", "/dev/full"), "/dev/full"
        )


def check_tokenizer(good, spm, work):
    bare = copy(good, work, "bare")
    os.remove(os.path.join(bare, "tokenizer.json"))
    refused("generate without tokenizer.json", assay("generate", bare, "-p", "x"), "tokenizer.json")
    refused(
        "tokenize without tokenizer.json", assay("tokenize", bare, stdin=b"x"), "tokenizer.json"
    )
    refused(
        "a text for calibration without tokenizer.json",
        assay("quantize", bare, bare + "-out", "--calib", bare + "/config.json"),
        "tokenizer.json",
    )
    code, _, err = assay("quantize", bare, bare + "-out", "--rung", "rotate")
    check(
        code == 0 and sorted(os.listdir(bare + "-out")) == ["config.json", "model.safetensors"],
        "quantize without tokenizer.json does without",
        err[-200:],
    )
    for what, bad in (
        ("a byte", b"\xff"),
        ("a cut character", b"ab\xc3"),
        ("a surrogate", b"\xed\xa0\x80"),
    ):
        refused("tokenize, not UTF-8: " + what, assay("tokenize", good, stdin=bad), "UTF-8")
        refused("a prompt that is not UTF-8: " + what, prompt(good, bad), "UTF-8")
    refused("an empty prompt", prompt(good, b""), "prompt")
    texts = (
        "Hello, world!",
        " two  spaces and\n\n\tlines\r\n",
        "0123456789" * 50,
        "\x00\x01\x7f",
        "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e \U0001f600\u200d\U0001f680",
    )
    for name, folder in (("byte-level", good), ("SentencePiece", spm)):
        for i, text in enumerate(texts[: 5 if folder is good else 4]):  # spm lacks some bytes
            code, ids, err = assay("tokenize", folder, stdin=text.encode())
            ok = code == 0 and re.fullmatch(rb"\d+( \d+)*\n", ids)
            back = assay("tokenize", folder, "--decode", stdin=ids)
            # The byte-level tokenizer folds to NFC, which these texts are; the other puts <s> and a
            # space before the text.
            got = back[1].decode(errors="replace").removeprefix("<s> ")
            check(
                ok and back[0] == 0 and got == text,
                "%s, text %d: there and back" % (name, i),
                (text, got, err),
            )
    check(assay("tokenize", good)[:2] == (0, b"\n"), "no text, no ids")
    check(assay("tokenize", good, "--decode", stdin=b" \n ")[:2] == (0, b""), "no ids, no text")
    for bad in (b"1 x", b"1,2", b"1 -1", b"1 99999", b"1 " + b"9" * 40, b"1 2.5", b"1\x002"):
        refused(
            "tokenize --decode of %r" % bad[:12],
            assay("tokenize", good, "--decode", stdin=bad),
            "stdin",
            "expected",
        )


def prompt(folder, text, *options):
    run = subprocess.run(
        [
            ASSAY.encode(),
            b"generate",
            folder.encode(),
            b"-p",
            text,
            *[str(o).encode() for o in options],
        ],
        capture_output=True,
        env=ENV,
        timeout=60,
    )
    return run.returncode, run.stdout, run.stderr.decode(errors="replace")


def check_stdout(good):
    if not os.path.exists("/dev/full"):
        return REPORT.not_run("there is no /dev/full")
    for args in (
        ["--help"],
        ["sizes"],
        ["sizes", "--help"],
        ["inspect", good],
        ["tokenize", good],
        ["generate", good, "-p", "x", "-n", "3"],
        ["verify", "--vectors", ROOT + "/vectors"],
    ):
        for closed in (False, True):
            with open("/dev/full", "wb") as full:
                run = subprocess.run(
                    ["sh", "-c", 'exec "$@" >&-', "sh", ASSAY, *args] if closed else [ASSAY, *args],
                    input=b"some text",
                    stdout=full,
                    stderr=subprocess.PIPE,
                    env=ENV,
                )
            err = run.stderr.decode()
            last = err.splitlines()[-1:]
            what = "stdout %s: %s" % (
                "closed" if closed else "full",
                " ".join(args).replace(good, "DIR")[:24],
            )
            check(
                run.returncode == 1 and last and last[0].startswith("assay: stdout: "),
                what,
                (run.returncode, last),
            )
            check("Success" not in err, what + ": the reason is one", last)


# ---- results -----------------------------------------------------------------------------------
def check_inspect(good, config, sharded, sharded_config):
    for folder, c, files, dtype in ((good, config, 1, "F32"), (sharded, sharded_config, 3, "BF16")):
        code, out, err = assay("inspect", folder)
        lines = out.decode().splitlines()
        shapes = hf.shapes(c)
        want = sorted(
            "%s %s [%s] %d bytes"
            % (n, dtype, ", ".join(map(str, s)), int(np.prod(s)) * (4 if dtype == "F32" else 2))
            for n, s in shapes.items()
        )
        got = [re.sub(r" +", " ", x) for x in lines[: len(want)]]
        check(
            code == 0 and sorted(got) == want and not err,
            "inspect, %d files: every tensor" % files,
            (code, err),
        )
        total = sum(int(x.split()[-2]) for x in want)
        start = "%d tensors, %d bytes, %d files" % (len(want), total, files)
        check(
            lines[len(want)].startswith(start),
            "inspect, %d files: their sum" % files,
            lines[len(want)],
        )
        check(
            "%d layers" % c["num_hidden_layers"] in lines[-1], "inspect: it is a model", lines[-1]
        )
    one = assay("inspect", os.path.join(good, "model.safetensors"))
    check(
        one[0] == 0
        and one[1].splitlines()[: len(hf.shapes(config))]
        == assay("inspect", good)[1].splitlines()[:-2],
        "inspect on one file says the same of its tensors",
        one[2],
    )
    part = assay("inspect", os.path.join(sharded, "model-00002-of-00003.safetensors"))
    check(
        part[0] == 0 and part[1].count(b" bytes\n") == len(hf.shapes(sharded_config)) // 3,
        "inspect on one of three files",
        part[2],
    )


def check_logits(good, vocab, work):
    out = os.path.join(work, "out")
    tokens = [5, 1, 7, 7, 30, 2, 11]
    whole = convert.logits(good, tokens, vocab, work)
    check(whole is not None, "logits: 4 x tokens x vocabulary bytes")
    differ = []
    for n in range(1, len(tokens)):
        begin = convert.logits(good, tokens[:n], vocab, work)
        if begin is None or begin.tobytes() != whole[:n].tobytes():
            differ.append(n)
    check(not differ, "logits: a beginning of the text has the same bits alone", differ)
    last = whole[-1]
    changed = convert.logits(good, [6] + tokens[1:], vocab, work)
    check(
        (changed[-1] != last).any() and (changed[0] != whole[0]).any(),
        "logits: the first token matters to all",
    )
    write(work, "out", b"older")
    refused("logits that fail", assay("logits", good, "--tokens", "x", out), "--tokens")
    with open(out, "rb") as f:
        check(f.read() == b"older", "and leave the older file")
    # The first token drawn at temperature 0 is the largest logit of the prompt's last row.
    ids = assay("tokenize", good, stdin=b"fox")[1].split()
    top = convert.logits(good, [int(i) for i in ids], vocab, work)[-1].argmax()
    text = assay("tokenize", good, "--decode", stdin=str(top).encode())[1]
    got = prompt(good, b"fox", "--temp", 0, "-n", 1)
    check(
        got[1] in (text + b"\n", b"\n"),
        "generate at temperature 0 takes the largest logit",
        (text, got),
    )


def check_generate(folder, name):
    made = lambda run: int(re.search(r"then (\d+) tokens", run[2]).group(1)) if run[0] == 0 else -1
    base = prompt(folder, b"the quick", "-n", 24, "--temp", 1.5)
    check(base[0] == 0 and made(base) == 24, name + ": 24 tokens when asked for 24", base[2])
    others = {
        "again": [],
        "ref": ["--backend", "ref"],
        "simd, 1 thread": ["--jobs", 1],
        "ref, 3 threads": ["--backend", "ref", "--jobs", 3],
        "seed 1 is the default": ["--seed", 1],
    }
    for what, options in others.items():
        run = prompt(folder, b"the quick", "-n", 24, "--temp", 1.5, *options)
        check(run[0] == 0 and run[1] == base[1], "%s: the same text: %s" % (name, what), run[2])
    run = prompt(folder, b"the quick", "-n", 24, "--temp", 1.5, "--seed", 2)
    check(run[0] == 0 and run[1] != base[1], name + ": another seed, another text")
    run = prompt(folder, b"the quick", "-n", 7, "--temp", 1.5)
    check(
        made(run) == 7 and base[1].startswith(run[1].rstrip(b"\n\xef\xbf\xbd")),
        name + ": fewer tokens, the same begin",
        run,
    )
    cold = [
        prompt(folder, b"the quick", "-n", 12, *o)[1]
        for o in (
            ["--temp", 0],
            ["--temp", 0, "--seed", 9],
            ["--temp", 3, "--top-k", 1],
            ["--temp", 3, "--top-p", 0],
        )
    ]
    check(
        len(set(cold)) == 1 and len(cold[0]) > 1,
        name + ": temperature 0 draws nothing, nor top-k 1, top-p 0",
        cold,
    )
    run = prompt(folder, b"the quick", "-n", 24, "--context", 16)
    ids = len(assay("tokenize", folder, stdin=b"the quick")[1].split())
    check(made(run) == 16 - ids, name + ": prompt and answer end at --context", (made(run), ids))
    refused(
        name + ": a prompt as long as --context",
        prompt(folder, b"the quick", "--context", ids),
        "--context",
    )
    refused(
        name + ": a file for a folder",
        assay("generate", folder + "/config.json", "-p", "x"),
        "config.json",
    )


def check_vocabulary(work):
    """Models have more rows than their tokenizer has ids (Qwen3: 151,936 and 151,669)."""
    wide = os.path.join(work, "wide")
    small(wide, "llama", 7, num_hidden_layers=1, vocab_size=4000)
    run = prompt(wide, b"the quick", "-n", 40, "--temp", 5)
    check(
        run[0] == 0,
        "generate with a vocabulary larger than the tokenizer's",
        (run[0], run[2][-200:]),
    )
    narrow = os.path.join(work, "narrow")
    small(narrow, "qwen3", 7, num_hidden_layers=1, vocab_size=40)
    refused(
        "a prompt with an id that the model lacks",
        prompt(narrow, b"the quick"),
        "tokenizer.json",
        "40",
    )


def check_verify(work):
    source = os.path.join(ROOT, "vectors")
    vectors = os.path.join(work, "vectors")
    os.makedirs(vectors)
    small_files = {}
    for name in sorted(os.listdir(source)):
        if name.endswith(".txt"):
            shutil.copyfile(os.path.join(source, name), os.path.join(vectors, name))
            small_files[name] = os.path.getsize(os.path.join(source, name))
    code, out, err = assay("verify", "--vectors", vectors)
    check(
        code == 0 and re.search(rb"^\d+ passed, 0 failed\n\Z", out, re.M),
        "verify on the golden vectors",
        err[-200:],
    )
    for name in ("num", "rng", "tq4", "model", "ref", "grad", "optim"):
        path = os.path.join(vectors, name + ".txt")
        with open(path) as f:
            lines = f.readlines()
        i = max(k for k, x in enumerate(lines) if not x.startswith("#") and x.strip())
        line = lines[i].rstrip("\n")
        last = "0" if line[-1] != "0" else "1"
        with open(path, "w") as f:
            f.writelines(lines[:i] + [line[:-1] + last + "\n"] + lines[i + 1 :])
        code, out, err = assay("verify", "--vectors", vectors)
        case = next(
            x
            for x in reversed(lines[: i + 1])
            if not x.startswith(("#", "phase ", " ")) and x.strip()
        )
        ident = case.split("|")[0].strip()
        said = out.decode() + err
        check(
            code == 1 and re.search(r"\b1 failed\n", out.decode()),
            name + ".txt with one digit changed: exit 1",
            (code, err),
        )
        check(
            ident in said and name in said, name + ".txt: the case is named", (ident, said[-200:])
        )
        check(
            len([x for x in err.splitlines() if x.startswith("assay: ")]) == 1,
            name + ".txt: one error line",
            err[-300:],
        )
        with open(path, "w") as f:
            f.writelines(lines[:i] + ["nonsense\n"])
        refused(
            name + ".txt with a malformed line",
            assay("verify", "--vectors", vectors),
            path,
            "line %d" % (i + 1),
        )
        os.remove(path)
        refused(name + ".txt missing", assay("verify", "--vectors", vectors), path)
        with open(path, "w") as f:
            f.writelines(lines)


def check_ladder(folder, work):
    rungs = [
        "dense bf16",
        "int8 everywhere",
        "tensor",
        "row",
        "block",
        "rotate",
        "codebook",
        "feedback",
        "retarget",
        "distil",
    ]
    to = [os.path.join(work, "ladder." + x) for x in ("json", "svg")]
    code, out, err = assay("ladder", folder, "--json", to[0], "--svg", to[1])
    if not check(code == 0 and not err, "ladder ends", err[-200:]):
        return
    with open(to[0]) as f:
        rows = json.load(f)
    check(
        [r["rung"] for r in rows] == rungs,
        "ladder --json: all rungs in order",
        [r["rung"] for r in rows],
    )
    bad = []
    for r in rows:
        for key in ("raw_cosine", "centred_cosine"):
            mean, one, least = r[key]
            if not -1 <= least <= min(one, mean) or max(one, mean) > 1 + 1e-12:
                bad.append((r["rung"], key, r[key]))
        if not min(r["kl"]) >= -1e-6 or not 0 <= r["top1"] <= 1:
            bad.append((r["rung"], r["kl"], r["top1"]))
    check(not bad, "ladder: minimum <= 1st percentile and mean <= 1, KL >= 0, top-1 a share", bad)
    kl = {r["rung"]: r["kl"][0] for r in rows}
    check(
        kl["int8 everywhere"] < kl["distil"] < kl["codebook"]
        and kl["int8 everywhere"] < kl["retarget"] < kl["codebook"] < kl["row"] < kl["tensor"],
        "ladder: higher is nearer",
        kl,
    )
    check(
        len({r["positions"] for r in rows}) == 1 and rows[0]["positions"] == 80 * 8,
        "ladder: 80 texts of 8 positions",
    )
    bits = (
        8
        * rows[-1]["bytes"]
        / sum(
            int(np.prod(s))
            for n, s in hf.shapes(read_config(folder)).items()
            if "layers" in n and len(s) == 2
        )
    )
    check(
        abs(rows[-1]["bits"] - bits) < 1e-9,
        "ladder: bits are bytes over weights",
        (rows[-1]["bits"], bits),
    )
    table = [x for x in out.decode().splitlines() if any(x.startswith(r + " ") for r in rungs)]
    check(
        len(table) == len(rungs) and all("%.5f" % r["kl"][1] in x for r, x in zip(rows, table)),
        "ladder: the table holds the same numbers",
    )
    root = xml.etree.ElementTree.parse(to[1]).getroot()
    texts = [x.text for x in root.iter("{http://www.w3.org/2000/svg}text")]
    bars = [float(x.get("width")) for x in root.iter("{http://www.w3.org/2000/svg}rect")]
    check(
        root.tag.endswith("svg") and set(rungs) <= set(texts),
        "ladder --svg: well-formed, all rungs named",
        texts,
    )
    order = sorted(range(len(rungs)), key=lambda i: rows[i]["kl"][0])
    check(
        len(bars) == len(rungs) and [bars[i] for i in order] == sorted(bars) and min(bars) >= 0,
        "ladder --svg: bars by KL",
        bars,
    )
    check(not [n for n in os.listdir(work) if n.endswith(".part")], "ladder: no .part is left")
    refused(
        "ladder --json in no folder",
        assay("ladder", folder, "--json", work + "/a/b.json"),
        work + "/a/b.json",
    )
    refused(
        "ladder --text that is not there",
        assay("ladder", folder, "--text", work + "/nothing"),
        work + "/nothing",
    )


# Options that would mean nothing beside the others.
IDLE = (
    (["train", "x", "--text", "y", "--out", "z"], ["--method", "credit"], ("--method", "--task")),
    (["train", "x", "--text", "y", "--out", "z"], ["--snapshot", "5"], ("--snapshot", "--task")),
    (["train", "x", "--task", "hamilton", "--out", "z"], ["--every", "5"], ("--every", "--task")),
    (["serve", "x", "--learn", "README.md"], ["--kl", "1"], ("--kl", "--learn TASK")),
    (["serve", "x"], ["--steps", "5"], ("--steps", "--feedback")),
    (["eval", "x", "--task", "hamilton"], ["--method", "credit"], ("--method", "--show")),
    (["journal", "x", "--out", "y"], ["--key", "z"], ("--key", "--out")),
    (["journal", "x", "--keygen"], ["--cut"], ("--cut", "--keygen")),
    (["quantize", "x", "y"], ["--distil", "5"], ("--distil", "rung distil")),
    (["quantize", "x", "y", "--rung", "rotate"], ["--calib", "self"], ("--calib", "feedback")),
    (["bench"], ["--share", "5"], ("--share", "--serve")),
    (["bench", "--serve"], ["--learn"], ("--learn", "--serve")),
)


def check_values(good, work):
    for what, args, words in (
        ("bench --shape", ["bench", "--shape", "bad"], ("bad", "1.7b, 8b or 14b")),
        (
            "quantize --rung",
            ["quantize", good, work + "/rung", "--rung", "block"],
            ("block", "retarget"),
        ),
        ("logits without --tokens", ["logits", good, work + "/none"], ("--tokens",)),
        ("train without --text", ["train", good, "--out", work + "/none"], ("--text", "--out")),
        *((" ".join(args), [*args, *more], words) for args, more, words in IDLE),
        ("train --what", ["train", good, "--text", "x", "--out", "y", "--what", "r3"], ("r3", "r1r2")),
    ):
        wrong = error_line(assay(*args), *words, exit_code=2)
        check(not wrong, what + ", a wrong value: exit 2, one line", wrong)


def read_config(folder):
    with open(os.path.join(folder, "config.json")) as f:
        return json.load(f)


def main():
    if not os.path.exists(ASSAY):
        REPORT.not_run("there is no %s" % os.environ.get("ASSAY", "build/assay"))
        return 0
    with tempfile.TemporaryDirectory() as work:
        good, spm, tiny = (os.path.join(work, n) for n in ("good", "spm", "tiny"))
        tokens = 406  # the byte-level tokenizer's; a model has as many rows
        config, _ = small(good, "qwen3", 1, num_hidden_layers=2, vocab_size=tokens)
        spm_config, _ = small(spm, "llama", 2, "BF16", 3, num_hidden_layers=1, vocab_size=401)
        small(tiny, "qwen3", 3, num_hidden_layers=1, max_position_embeddings=8, vocab_size=tokens)
        quantised = os.path.join(work, "quantised")
        code, _, err = assay("quantize", good, quantised, "--rung", "rotate")
        check(code == 0, "quantize", err[-200:])
        step = REPORT.step
        step(check_usage)
        step(check_folders, good, work)
        step(check_tokens, good, tokens, work)
        step(check_tokenizer, good, spm, work)
        step(check_stdout, good)
        step(check_inspect, good, config, spm, spm_config)
        step(check_logits, good, tokens, work)
        step(check_generate, good, "generate, dense")
        step(check_generate, quantised, "generate, TQ4")
        step(check_generate, spm, "generate, Llama")
        step(check_vocabulary, work)
        step(check_verify, work)
        step(check_values, good, work)
        step(check_ladder, tiny, work)
    return REPORT.end()


if __name__ == "__main__":
    sys.exit(main())
