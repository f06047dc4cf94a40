"""Training: the same bytes for any threads, backend and microbatch and after kills; batches, losses
and first weights by independent Python; what learns and what does not; refused input; full disks.
ASSAY names the program (default build/assay)."""

import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

import numpy as np

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import convert  # noqa: E402
import dense  # noqa: E402
import hf  # noqa: E402
from convert import ASSAY, ENV, assay, listing, read_raw, small  # noqa: E402

REPORT = convert.Report("train")
check = REPORT.check
BABY = dense.BABY
FILES = {"config.json", "model.safetensors", "state.safetensors", "tokenizer.json",
         "train.json", "train.svg"}  # fmt: skip
SHORT = ("--steps", 6, "--every", 2, "--batch", 8, "--ctx", 24, "--lr", 0.01)


def text(seed, words, rule=0):
    """Sentences with something to learn: words that follow each other by a rule."""
    draw = random.Random(seed)
    subject, verb = ("fox", "dog", "cat", "owl", "hen"), ("sees", "hears", "likes", "fears")
    out = []
    for _ in range(words // 5):
        i = draw.randrange(5)
        out.append("the %s %s the %s.\n" % (subject[i], verb[(i + rule) % 4], subject[(i + 2 + rule) % 5]))
    return "".join(out)


def train(folder, out, *options, texts, held=True, **kw):
    files = ["--text", texts[0]] + (["--held", texts[1]] if held else [])
    return assay("train", folder, *files, "--out", out, *options, **kw)


def refused(what, run, *words, exit_code=1):
    """One error line after the progress lines, nothing on stdout."""
    code, out, err = run
    lines = [x for x in err.splitlines() if not x.startswith("train ")]
    wrong = code != exit_code or out or len(lines) != 1 or not lines[0].startswith("assay: ")
    wrong = wrong or [w for w in words if str(w) not in lines[0]]
    check(not wrong, "%s: exit %d, one line" % (what, exit_code), (code, out, err[-300:]))


def final(run):
    """(before, after, digest) of the line on stdout."""
    line = r"(held-out|batch) loss ([\d.]+) before, ([\d.]+) after; weights SHA-256 ([0-9a-f]{64})\n"
    m = re.fullmatch(line, run[1].decode())
    return (float(m[2]), float(m[3]), m[4]) if run[0] == 0 and m else (0, 0, run[2][-300:])


def data_digest(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        data = f.read()
    return hashlib.sha256(data[8 + struct.unpack("<Q", data[:8])[0] :]).hexdigest()


def report(folder):
    with open(os.path.join(folder, "train.json")) as f:
        return json.load(f)


def write(work, name, data):
    path = os.path.join(work, name)
    with open(path, "w") as f:
        f.write(data)
    return path


def torn(path):
    """What is wrong with a safetensors file: spans with gaps, or another length; "": nothing."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    spans = [t["data_offsets"] for k, t in json.loads(data[8 : 8 + n]).items() if k[0] != "_"]
    ends = [0] + [b for _, b in sorted(spans)]
    gaps = [a for (a, _), b in zip(sorted(spans), ends) if a != b]
    return "" if not gaps and 8 + n + ends[-1] == len(data) else "%s: not whole" % path


def tensors(folder):
    return read_raw(os.path.join(folder, "model.safetensors"))[0]


def ids(folder, path):
    with open(path, "rb") as f:
        return [int(x) for x in assay("tokenize", folder, stdin=f.read())[1].split()]


# ---- the same bits -------------------------------------------------------------------------------
VARIANTS = {
    "2 threads": ["--jobs", 2],
    "3 threads, ref": ["--jobs", 3, "--backend", "ref"],
    "microbatch 1": ["--micro", 1],
    "microbatch 3": ["--micro", 3],
    "microbatch 8, ref": ["--micro", 8, "--backend", "ref"],
}


def check_same_bits(name, folder, what, texts, work):
    out = os.path.join(work, "same-" + name)
    run = train(folder, out, *SHORT, "--what", what, "--jobs", 1, "--micro", 4, texts=texts)
    base, line = listing(out) if run[0] == 0 else {}, final(run)
    if not check(set(base) == FILES, name + ": the folder that is written", (sorted(base), line)):
        return
    for variant, options in VARIANTS.items():
        other = os.path.join(work, "other")
        shutil.rmtree(other, ignore_errors=True)
        run = train(folder, other, *SHORT, "--what", what, *options, texts=texts)
        got = listing(other) if run[0] == 0 else {}
        differ = [n for n in FILES if got.get(n) != base[n]]
        good = not differ and final(run) == line
        check(good, "%s: %s: all files byte for byte" % (name, variant), (differ, run[2][-200:]))
    said = report(out)
    check(
        line[2] == said["sha256"] == data_digest(out),
        name + ": the SHA-256 is that of the data of model.safetensors",
        (line, said["sha256"]),
    )
    held = said["held_out"]
    check(
        len(said["loss"]) == 6 and len(held) == 4 and abs(held[0] - line[0]) < 1e-6
        and abs(held[-1] - line[1]) < 1e-6,
        name + ": train.json has a loss for each step and four held-out ones",
        said,
    )  # fmt: skip
    for n in ("config.json", "tokenizer.json"):
        check(base[n] == listing(folder)[n], "%s: %s is the model's" % (name, n))
    root = xml.etree.ElementTree.parse(os.path.join(out, "train.svg")).getroot()
    paths = [p.get("d") for p in root.iter("{http://www.w3.org/2000/svg}path")]
    points = [re.findall(r"[ML]([\d.]+) ([\d.]+)", p) for p in paths if p.count(" ") > 1]
    inside = all(60 <= float(x) <= 740 and 40 <= float(y) <= 340 for p in points for x, y in p)
    check([len(p) for p in points] == [6, 4] and inside, name + ": train.svg has both curves", paths)
    logits = convert.logits(out, [5, 1, 7], config_of(out)["vocab_size"], work)
    check(logits is not None and np.isfinite(logits).all(), name + ": the result is a model")


def config_of(folder):
    with open(os.path.join(folder, "config.json")) as f:
        return json.load(f)


# ---- what learns ---------------------------------------------------------------------------------
def check_what(folder, texts, work):
    """Which tensors change, by what is asked for."""
    before = tensors(folder)
    parts = {"codes": r"layers.*codes$", "scale": r"layers.*scale$", "codebook": r"codebook$",
             "row": r"layers.*row$", "norms": r"norm\.weight$", "embedding": r"embed"}  # fmt: skip
    learns = {"r1": {"scale"}, "r2": {"codebook"}, "r1r2": {"scale", "codebook"},
              "r1r2+norms": {"scale", "codebook", "norms"}}  # fmt: skip
    for what, expected in learns.items():
        out = os.path.join(work, "what-" + what)
        run = train(folder, out, *SHORT, "--what", what, texts=texts)
        after = tensors(out) if run[0] == 0 else {}
        if not check(after.keys() == before.keys(), what + ": the same tensors", run[2][-200:]):
            continue
        changed = {n for n in before if before[n][2].tobytes() != after[n][2].tobytes()}
        for part, names in parts.items():
            all_of = {n for n in before if re.search(names, n)}
            moved = changed & all_of
            good = all_of and (moved if part in expected else not moved)
            check(good, "%s: %s %s" % (what, part, "learn" if part in expected else "stay"), moved)
        fixed = [
            int(np.abs(before[n][2].astype(int)).argmax()) for n in before if "codebook" in n
        ]
        kept = [
            before[n][2][k] == after[n][2][k]
            for n, k in zip([n for n in before if "codebook" in n], fixed)
        ]
        check(all(kept), what + ": the level of 127 stays", kept)
    default = os.path.join(work, "what-default")
    train(folder, default, *SHORT, texts=texts)
    check(
        listing(default) == listing(os.path.join(work, "what-r1r2")), "of a TQ4 model r1r2 learns"
    )


def check_falls(folder, texts, work):
    """From random weights to a text that is nearly known; then the same through TQ4."""
    out = os.path.join(work, "learned")
    options = ("--steps", 60, "--batch", 16, "--ctx", 24, "--every", 60, "--lr", 0.01)
    first, last, _ = final(train(folder, out, *options, "--init", 1, texts=texts))
    check(
        5.5 < first < 6.5 and last < 1.5,
        "from random weights the held-out loss falls from %.2f to %.2f" % (first, last),
    )
    quantised, again = os.path.join(work, "learned-q"), os.path.join(work, "learned-r1r2")
    assay("quantize", out, quantised, "--rung", "rotate")
    changed = [write(work, name, text(i, 3000, 1)) for i, name in enumerate(("new", "new-held"))]
    first, last, _ = final(train(quantised, again, *options, texts=changed))
    check(
        0 < last < first / 2,
        "R1 and R2 alone: the held-out loss of another text falls from %.3f to %.3f"
        % (first, last),
    )


def word(seed, ident, block, stream):
    """The four words of a Philox block, by the oracle of the vectors."""
    return [int(v) for v in dense.oracle.philox((seed, ident), (block, 0, stream, 0))]


def check_options(folder, texts, work):
    """Each option that is said to matter changes the weights; each of the others does not."""
    base = {"--steps": 4, "--every": 2, "--batch": 3, "--ctx": 16, "--lr": 0.01, "--warmup": 2,
            "--clip": 1, "--decay": 0.1, "--seed": 1}  # fmt: skip
    changes = {"--steps": 5, "--batch": 4, "--ctx": 17, "--lr": 0.011, "--warmup": 1,
               "--clip": 0.5, "--decay": 0.2, "--seed": 2}  # fmt: skip
    out = os.path.join(work, "options")
    flat = lambda options: sum(options.items(), ())
    same = final(train(folder, out, *flat(base), texts=texts))[2]
    got = {
        name: final(train(folder, out, *flat(dict(base, **{name: value})), texts=texts))[2]
        for name, value in changes.items()
    }
    check(len(set(got.values()) | {same}) == 1 + len(changes), "options change the weights", got)
    for options in (["--every", 3], ["--micro", 1], ["--jobs", 1]):
        got = final(train(folder, out, *flat(base), *options, texts=texts))[2]
        check(got == same, "%s does not" % options[0], got)
    last = final(train(folder, out, *flat(base), texts=texts, held=False))
    check(last[2] == same and report(out)["held_out"] == [], "nor does held-out text", last)


# ---- independent Python --------------------------------------------------------------------------
def window_loss(config, weights, tokens, start, ctx):
    z = dense.forward(config, weights, tokens[start : start + ctx])
    z = z - z.max(-1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return -logp[np.arange(ctx), tokens[start + 1 : start + ctx + 1]].mean()


def check_losses(folder, texts, work):
    """Two batches and the held-out windows, found and measured in float64; the rate is so small
    that the first step leaves the weights nearly as they are."""
    out = os.path.join(work, "losses")
    config, weights = hf.read_hf(folder)
    ctx, batch, seed = 24, 8, 7
    run = train(folder, out, "--steps", 2, "--batch", batch, "--ctx", ctx, "--seed", seed,
                "--lr", 1e-9, texts=texts)  # fmt: skip
    if not check(run[0] == 0, "two steps", run[2][-200:]):
        return
    said, n, m = report(out), ids(folder, texts[0]), ids(folder, texts[1])
    for step in (0, 1):
        places = [
            word(seed, 0x74726169, b, step)[0] * (len(n) - ctx) >> 32 for b in range(batch)
        ]
        want = np.mean([window_loss(config, weights, n, p, ctx) for p in places])
        got = said["loss"][step]
        check(
            abs(got - want) < 1e-4,
            "batch %d: windows at random words, loss %.5f, float64 %.5f" % (step, got, want),
        )
    count = min(64, -(-(len(m) - ctx) // ctx))
    places = [i * (len(m) - ctx) // count for i in range(count)]
    want = np.mean([window_loss(config, weights, m, p, ctx) for p in places])
    check(
        abs(said["held_out"][0] - want) < 1e-4,
        "%d held-out windows: loss %.5f, float64 %.5f" % (count, said["held_out"][0], want),
    )


def check_init(folder, texts, work):
    """The random weights: a step at the smallest rate moves them by less than 1.1e-9."""
    out = os.path.join(work, "init")
    run = train(folder, out, "--steps", 1, "--warmup", 1, "--lr", 1e-9, "--decay", 0, "--batch", 1,
                "--ctx", 8, "--init", 5, texts=texts)  # fmt: skip
    if not check(run[0] == 0, "--init: one step", run[2][-200:]):
        return
    got, c = tensors(out), config_of(folder)
    slots = {"model.embed_tokens.weight": 0}
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
             "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")  # fmt: skip
    for layer in range(c["num_hidden_layers"]):
        for i, name in enumerate(names):
            slots["model.layers.%d.%s.weight" % (layer, name)] = 3 + 11 * layer + i
    worst, spread = 0, []
    for name, slot in slots.items():
        x = got[name][2]
        adds = "o_proj" in name or "down_proj" in name
        deviation = 0.02 / np.sqrt(2 * c["num_hidden_layers"]) if adds else 0.02
        spread.append(x.std() / deviation)
        for i in (0, 1, 77, x.size - 1):
            want = (sum(w >> 9 for w in word(5, slot, i, 0)) - 2**24 + 2) * deviation * 3**0.5 / 2**23
            worst = max(worst, abs(x.reshape(-1)[i] - want))
    check(worst < 6e-9, "--init: weights by the recipe, difference %.1e" % worst)
    check(0.97 < min(spread) < max(spread) < 1.03, "--init: their deviation", spread)
    norms = [t[2] for n, t in got.items() if "norm" in n]
    check(all(abs(x - 1).max() < 2e-7 for x in norms) and len(norms) == 1 + 4 * c["num_hidden_layers"],
          "--init: %d norms of 1" % len(norms))  # fmt: skip


# ---- kills and resumption ------------------------------------------------------------------------
def check_kill(name, folder, what, texts, work, kills):
    """Killed at random moments, resumed until it ends: the files of a run that was left alone."""
    whole, out = os.path.join(work, "whole-" + name), os.path.join(work, "killed-" + name)
    options = ["--steps", 40, "--every", 3, "--batch", 4, "--ctx", 16, "--lr", 0.01, "--what", what]
    start = time.time()
    run = train(folder, whole, *options, texts=texts)
    held = report(whole)["held_out"] if run[0] == 0 else []  # at 0, 3, ..., 39 and 40
    if not check(len(held) == 15 and min(held) > 0, name + ": a run without a kill", (held, run)):
        return
    step_time, draw = (time.time() - start) / 40, random.Random(time.time_ns())
    begun, killed, broken = [], 0, []
    command = [ASSAY, "train", folder, "--text", texts[0], "--held", texts[1], "--out", out,
               "--resume", *map(str, options)]  # fmt: skip
    for turn in range(kills):  # the first one not before a checkpoint, then anywhere
        lines = draw.randrange(6 if turn == 0 else 1, 12)
        p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENV)
        said = [p.stderr.readline().decode() for _ in range(lines)]
        time.sleep(draw.uniform(0, 2) * step_time)
        p.send_signal(signal.SIGKILL)
        p.communicate()
        killed += p.returncode == -signal.SIGKILL
        if p.returncode not in (0, -signal.SIGKILL):
            broken.append(said)
        begun += map(int, re.findall(r"^train (\d+)/", said[0]))
        broken += filter(None, [torn(os.path.join(out, "state.safetensors"))])
    run = train(folder, out, *options, "--resume", texts=texts)
    check(
        killed and not broken and max(begun) > 1,
        "%s: killed %d times, begun at steps %s" % (name, killed, begun),
        broken,
    )
    left = set(os.listdir(out)) - FILES
    differ = [n for n in FILES if listing(out).get(n) != listing(whole)[n]]
    check(run[0] == 0 and not differ and not left - {"state.safetensors.part"},
          name + ": then it ends on the same bytes", (differ, left, run[2][-200:]))  # fmt: skip
    again = train(folder, out, *options, "--resume", texts=texts)
    check(final(again) == final(run) and listing(out)["train.json"] == listing(whole)["train.json"],
          name + ": to resume what has ended says the same", again[2][-200:])  # fmt: skip


def check_resume(folder, model, texts, work):
    """A state goes on only with the options, texts and model that it was made with."""
    out, other = os.path.join(work, "mismatch"), os.path.join(work, "mismatch-model")
    assay("quantize", model, other, "--rung", "codebook")
    base = {"--steps": 6, "--every": 2, "--batch": 4, "--ctx": 16, "--lr": 0.01, "--warmup": 1,
            "--clip": 1, "--decay": 0, "--seed": 1, "--what": "r1r2"}  # fmt: skip
    call = lambda folder=folder, texts=texts, held=True, **k: train(
        folder, out, *sum(dict(base, **{"--" + n: v for n, v in k.items()}).items(), ()),
        "--resume", texts=texts, held=held)  # fmt: skip
    run = call()
    check(run[0] == 0, "--resume without a state begins", run[2][-200:])
    before = listing(out)
    changes = dict(steps=7, every=3, batch=5, ctx=17, lr=0.011, warmup=2, clip=2, decay=0.1, seed=2,
                   what="r1")  # fmt: skip
    for name, value in changes.items():
        was = str(base["--" + name])
        refused("resumed with another --" + name, call(**{name: value}), "state.safetensors",
                "made with " + name, was)  # fmt: skip
    refused("resumed with another text", call(texts=[texts[1], texts[1]]), "made with text")
    refused("resumed with another held-out text", call(texts=[texts[0]] * 2), "made with held")
    refused("resumed without a held-out text", call(held=False), "made with held")
    refused("resumed with another model", call(other), "made with model")
    numbers = os.path.join(work, "mismatch-numbers")
    shutil.copytree(folder, numbers)
    with open(os.path.join(numbers, "config.json")) as f:
        config = json.load(f)
    with open(os.path.join(numbers, "config.json"), "w") as f:
        json.dump(dict(config, rms_norm_eps=1e-3), f)
    refused("resumed with other numbers in config.json", call(numbers), "state.safetensors", "config.json")
    check(listing(out) == before, "nothing was changed")
    path = os.path.join(out, "state.safetensors")
    with open(path, "rb") as f:
        state = f.read()
    n = struct.unpack("<Q", state[:8])[0]
    header = json.loads(state[8 : 8 + n])

    def changed(edit):
        h = json.loads(json.dumps(header))
        edit(h)
        raw = json.dumps(h).encode()
        raw += b" " * (-len(raw) % 8)
        return struct.pack("<Q", len(raw)) + raw + state[8 + n :]

    model = "model.layers.0.mlp.up_proj.weight"
    broken = {
        "cut": (state[:-1], "state.safetensors"),
        "empty": (b"", "state.safetensors"),
        "no safetensors": (b"x" * 1000, "state.safetensors"),
        "without options": (changed(lambda h: h["__metadata__"].pop("options")), "made with"),
        "with options that are no JSON": (changed(lambda h: h["__metadata__"].update(options="{")), "made with"),
        "without a step": (changed(lambda h: h["__metadata__"].pop("step")), "step 0", "1 to 6"),
        "of step 7 of 6": (changed(lambda h: h["__metadata__"].update(step="7")), "step 7", "1 to 6"),
        "of another step": (changed(lambda h: h["__metadata__"].update(step="3")), "loss", "12 bytes"),
        "without a tensor": (changed(lambda h: h.update({"x": h.pop(model + ".scale.m")})), model + ".scale.m"),
        "with another type": (changed(lambda h: h[model + ".scale"].update(dtype="U8")), model + ".scale", "I8"),
    }  # fmt: skip
    for what, (data, *words) in broken.items():
        with open(path, "wb") as f:
            f.write(data)
        refused("a state " + what, call(), *words)
    with open(path, "wb") as f:
        f.write(state)
    check(call()[0] == 0 and listing(out) == before, "the state put back, it goes on")


# ---- refused -------------------------------------------------------------------------------------
def check_refused(dense_model, quantised, texts, work):
    out = os.path.join(work, "refused")
    tiny, empty = write(work, "tiny.txt", "the fox"), write(work, "empty.txt", "")
    go = lambda folder, *options, texts=texts, **k: train(folder, out, *options, texts=texts, **k)
    refused("--what all, TQ4", go(quantised, "--what", "all"), "--what all", "dense", quantised)
    for what in ("r1", "r2", "r1r2", "r1r2+norms"):
        refused("--what %s, dense" % what, go(dense_model, "--what", what), what, "TQ4")
    refused("--micro over --batch", go(quantised, "--batch", 4, "--micro", 5), "--micro 5", "4")
    refused("--ctx over the context", go(quantised, "--ctx", 65), "--ctx 65", "64")
    refused("--warmup over --steps", go(quantised, "--steps", 9, "--warmup", 10), "10", "9")
    for short in (tiny, empty):  # an empty held-out text is not none
        refused("a text that is too short", go(quantised, texts=[short, texts[1]]), "--text", "--ctx")
        refused("a held-out text too short", go(quantised, texts=[texts[0], short]), "--held", "--ctx")
    gone = os.path.join(work, "gone")
    refused("a text that is not there", go(quantised, texts=[gone, texts[1]]), gone)
    refused("held-out text that is not there", go(quantised, texts=[texts[0], gone]), gone)
    refused("a model that is not there", go(gone), gone)
    refused("no weights, no --init", go(bare(dense_model, work)), "model.safetensors")
    check(not os.path.exists(out), "no folder was made")
    before = listing(quantised)
    for how in (quantised, quantised + "/.", os.path.join(work, "link")):
        if how.endswith("link"):
            os.symlink(quantised, how)
        refused("--out is the model", train(quantised, how, texts=texts), "the model itself")
    check(listing(quantised) == before, "the model is untouched")
    refused("--out in no folder", train(quantised, work + "/a/b", texts=texts), work + "/a/b")
    low = os.path.join(work, "low")
    small(low, "qwen3", 3, num_hidden_layers=1, vocab_size=70)
    refused("a token that the model lacks", go(low), "70", texts[0])
    for missing in (["--text", texts[0]], ["--out", out]):
        run = assay("train", quantised, *missing)
        refused("only %s" % missing[0], run, "--text FILE", "--out DIR", exit_code=2)
    refused("--what x", go(quantised, "--what", "x"), "--what x", "r1r2+norms", exit_code=2)


def bare(folder, work):
    to = os.path.join(work, "bare")
    shutil.copytree(folder, to)
    os.remove(os.path.join(to, "model.safetensors"))
    return to


def check_numbers(folder, texts, work):
    """Values that are not finite, or gradients too large to count: named, and nothing is written."""
    bad, out = os.path.join(work, "numbers"), os.path.join(work, "numbers-out")
    options = ("--steps", 4, "--every", 2, "--batch", 2, "--ctx", 8)
    good = tensors(folder)
    for name, value, *words in (
        ("model.layers.1.self_attn.v_proj.weight", np.nan, "layer 1", "QKV", "finite"),
        ("model.layers.0.mlp.down_proj.weight", np.inf, "layer 0", "DOWN", "finite"),
        ("model.norm.weight", 1e12, "HEAD"),
    ):
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(folder, bad)
        values = {n: t[2].copy() for n, t in good.items()}
        values[name].reshape(-1)[:40] = value
        hf.write_safetensors(
            os.path.join(bad, "model.safetensors"),
            {n: ("F32", x.shape, hf.encode(x, "F32")) for n, x in values.items()},
        )
        for held in (False, True):
            shutil.rmtree(out, ignore_errors=True)
            run = train(bad, out, *options, texts=texts, held=held)
            refused("%g in %s" % (value, name), run, *words, *([] if held else ["step 1"]))
            check(not os.listdir(out), "and nothing is written", os.listdir(out))


def check_later(work):
    """A run that fails at a later step leaves the state of its last checkpoint."""
    folder, out = os.path.join(work, "later"), os.path.join(work, "later-out")
    config, values = small(folder, "llama", 2, num_hidden_layers=1)
    path = write(work, "later.txt", text(0, 250) + "the quick fox sees.\n" + text(1, 250))
    known = set(ids(folder, write(work, "known.txt", text(2, 500))))
    rare = [i for i in ids(folder, path) if i not in known and i > 2]
    values = {n: np.array(x) for n, x in values.items()}
    values["model.embed_tokens.weight"][rare] = np.nan
    hf.write_safetensors(
        os.path.join(folder, "model.safetensors"),
        {n: ("F32", x.shape, hf.encode(x, "F32")) for n, x in values.items()},
    )
    options = ("--steps", 400, "--every", 1, "--batch", 1, "--ctx", 8)
    run = train(folder, out, *options, texts=[path], held=False)
    refused("a value that is not finite, met later", run, "step", "EMBED", "finite")
    failed = int(re.search(r"step (\d+)", run[2].splitlines()[-1])[1])
    with open(os.path.join(out, "state.safetensors"), "rb") as f:
        kept = re.search(rb'"step":"(\d+)"', f.read(300))
    check(
        failed > 1 and os.listdir(out) == ["state.safetensors"] and int(kept[1]) == failed - 1,
        "step %d fails: the state of step %d stays, and nothing else" % (failed, failed - 1),
        (os.listdir(out), kept),
    )


# ---- full disks ----------------------------------------------------------------------------------
def check_full_disk(folder, texts, work):
    """Wherever the disk ends, what was there stays whole, and with room again it goes on."""
    whole, out = os.path.join(work, "disk-whole"), os.path.join(work, "disk-limit")
    options = ("--steps", 6, "--every", 2, "--batch", 4, "--ctx", 16, "--lr", 0.01)
    train(folder, whole, *options, texts=texts)
    want = {n: os.path.getsize(os.path.join(whole, n)) for n in FILES}

    def limit(n):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))

    for n in (100, want["train.svg"] - 1, want["state.safetensors"] - 100, want["tokenizer.json"] - 1):
        shutil.rmtree(out, ignore_errors=True)
        run = train(folder, out, *options, texts=texts, preexec_fn=limit(n), restore_signals=False)
        refused("files of at most %d bytes" % n, run, out)
        left = os.listdir(out)
        broken = [x for x in left if x.endswith(".part") or os.path.getsize(os.path.join(out, x)) > n]
        check(not broken, "no part of a file is left", left)
        run = train(folder, out, *options, "--resume", texts=texts)
        check(run[0] == 0 and listing(out) == listing(whole), "with room again it ends as ever")
    disk = os.path.join(work, "disk")
    os.makedirs(disk)
    size = (want["state.safetensors"] * 3 // 2) // 1024  # one state fits, a second beside it does not
    mount = ["mount", "-t", "tmpfs", "-o", "size=%dk" % size, "assay-test", disk]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        return REPORT.not_run("a full disk: a tmpfs cannot be mounted here")
    try:
        refused("a disk that holds one state", train(folder, disk, *options, texts=texts), disk)
        check(os.listdir(disk) == ["state.safetensors"] and not torn(disk + "/state.safetensors"),
              "the older state stays whole", os.listdir(disk))  # fmt: skip
    finally:
        subprocess.run(["umount", disk], check=True)


# ---- a real model --------------------------------------------------------------------------------
def check_babyllama(texts, work):
    if not os.path.isdir(BABY):
        return REPORT.not_run(BABY + " is missing")
    quantised, out = os.path.join(work, "baby-q"), os.path.join(work, "baby")
    assay("quantize", BABY, quantised, "--rung", "codebook")
    options = ("--steps", 20, "--batch", 8, "--ctx", 32, "--every", 20, "--lr", 0.003)
    run = train(quantised, out, *options, texts=texts)
    first, last, _ = final(run)
    check(0 < last < first - 0.2, "babyllama, R1 and R2: %.3f to %.3f" % (first, last), run[2][-200:])
    a, b = tensors(quantised), tensors(out)
    same = [n for n in a if n.endswith("codes") and a[n][2].tobytes() == b[n][2].tobytes()]
    check(len(same) == 36, "babyllama: no code changed", len(same))


def main():
    if not os.path.exists(ASSAY):
        REPORT.not_run("there is no %s" % os.environ.get("ASSAY", "build/assay"))
        return 0
    with tempfile.TemporaryDirectory() as work:
        texts = [write(work, n, text(i, 6000 - 4500 * i)) for i, n in enumerate(("text", "held"))]
        qwen, llama, quantised = (os.path.join(work, n) for n in ("qwen", "llama", "quantised"))
        small(qwen, "qwen3", 1, num_hidden_layers=2)
        small(llama, "llama", 2, "BF16", 3, num_hidden_layers=1, hidden_size=40,
              intermediate_size=56, num_attention_heads=5, num_key_value_heads=1, head_dim=24)  # fmt: skip
        assay("quantize", qwen, quantised, "--rung", "rotate")
        odd = os.path.join(work, "odd")
        assay("quantize", llama, odd, "--rung", "rotate")
        step = REPORT.step
        step(check_same_bits, "TQ4", quantised, "r1r2", texts, work)
        step(check_same_bits, "TQ4 and norms, Llama", odd, "r1r2+norms", texts, work)
        step(check_same_bits, "dense", qwen, "all", texts, work)
        step(check_same_bits, "dense, BF16, Llama", llama, "all", texts, work)
        step(check_what, quantised, texts, work)
        step(check_options, qwen, texts, work)
        step(check_losses, qwen, texts, work)
        step(check_init, bare(qwen, work), texts, work)
        step(check_falls, os.path.join(work, "bare"), texts, work)
        step(check_kill, "TQ4", quantised, "r1r2", texts, work, 5)
        step(check_kill, "dense", qwen, "all", texts, work, 3)
        step(check_resume, quantised, qwen, texts, work)
        shutil.rmtree(os.path.join(work, "bare"))
        step(check_refused, qwen, quantised, texts, work)
        step(check_numbers, qwen, texts, work)
        step(check_later, work)
        step(check_full_disk, quantised, texts, work)
        step(check_babyllama, texts, work)
    return REPORT.end()


if __name__ == "__main__":
    sys.exit(main())
