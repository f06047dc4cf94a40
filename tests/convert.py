"""Quantising small folders: the same bytes for any number of threads, what the written files hold
by an independent reader, their logits, sizes, refused input, full disks, a kill, and memory.
ASSAY names the program (default build/assay)."""

import glob
import hashlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

import numpy as np

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import hf  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
ASSAY = os.path.join(ROOT, os.environ.get("ASSAY", "build/assay"))
TOKENIZERS = os.path.join(ROOT, "vectors", "token")
RUNGS = ("rotate", "codebook", "feedback", "retarget")
JOBS = (1, 2, 3, 7)
CALIB = "".join(
    "Line %d: the quick brown fox jumps over %d lazy dogs.\n" % (i, i * i) for i in range(12)
)
# Threads that wait must not spin: there are more of them here than processors.
ENV = dict(os.environ, OMP_WAIT_POLICY="passive")


class Report:
    def __init__(self, name):
        self.name, self.passed, self.failed = name, 0, 0

    def check(self, ok, what, found=""):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        line = "%s %s: %s" % ("ok" if ok else "FAIL", self.name, what)
        print(line + (": %s" % (found,) if not ok and found != "" else ""), flush=True)
        return bool(ok)

    def not_run(self, what):
        print("not run: %s: %s" % (self.name, what), flush=True)

    def step(self, function, *args):
        """A check that breaks off is a failure, and the others still run."""
        try:
            function(*args)
        except Exception as e:
            traceback.print_exc(file=sys.stdout)
            self.check(False, "%s ran to its end" % function.__name__, repr(e))

    def end(self):
        print("%d passed, %d failed" % (self.passed, self.failed))
        return 1 if self.failed else 0


REPORT = Report("convert")
check = REPORT.check


def assay(*args, stdin=b"", **kw):
    """(exit code, stdout, stderr) of the program; a signal is a negative code."""
    run = subprocess.run(
        [ASSAY, *map(str, args)], input=stdin, capture_output=True, env=ENV, timeout=300, **kw
    )
    return run.returncode, run.stdout, run.stderr.decode(errors="replace")


def error_line(run, *words, exit_code=1):
    """What is wrong with a refusal: exit 1, one line `assay: ` on stderr that holds the words."""
    code, _, err = run
    lines = [x for x in err.splitlines() if not x.startswith("quantize ")]  # progress
    if code != exit_code:
        return "exit code %d, %s" % (code, lines[-1:])
    if len(lines) != 1 or not lines[0].startswith("assay: ") or not err.endswith("\n"):
        return "expected one line `assay: ...`, found %r" % err[-300:]
    missing = [w for w in words if w not in lines[0]]
    return "%r does not say %s" % (lines[0], missing) if missing else ""


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def listing(folder):
    return {n: digest(os.path.join(folder, n)) for n in sorted(os.listdir(folder))}


# ---- an independent reader ---------------------------------------------------------------------
def read_raw(path):
    """({name: (dtype, shape, array)}, metadata, what breaks the format or "")."""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + n])
    meta = header.pop("__metadata__", None)
    types = {"F32": "<f4", "I8": "i1", "U8": "u1"}
    wrong, end, out = "" if n % 8 == 0 else "the header is no multiple of 8", 0, {}
    for name, t in sorted(header.items(), key=lambda x: x[1]["data_offsets"]):
        a, b = t["data_offsets"]
        x = np.frombuffer(data[8 + n + a : 8 + n + b], types[t["dtype"]])
        out[name] = (t["dtype"], tuple(t["shape"]), x.reshape(t["shape"]))
        wrong = wrong or ("" if a == end else "a gap before " + name)
        end = b
    return out, meta, wrong or ("" if 8 + n + end == len(data) else "bytes behind the data")


def pad(cols):
    return (cols + 31) // 32 * 32


def group(cols):
    return next(g for g in (128, 64, 32) if pad(cols) % g == 0)


def expected(config):
    """{tensor name: (dtype, shape)} of the quantised folder, from the shapes of the dense one."""
    out = {}
    for name, shape in hf.shapes(config).items():
        if len(shape) == 1:
            out[name] = ("F32", shape)
            continue
        i8 = "embed" in name or "lm_head" in name
        n, r = pad(shape[1]), shape[0]
        out[name + ".codes"] = ("I8", (r, n)) if i8 else ("U8", (r, n // 2))
        out[name + ".scale"] = ("I8", (r, n // 16))
        out[name + ".row"] = ("F32", (r,))
        if not i8:
            out[name + ".codebook"] = ("I8", (16,))
    return out


def size(rows, cols, i8):
    """Bytes of a quantised matrix as chapter 5 counts them."""
    codes = rows * pad(cols) if i8 else rows * pad(cols) // 2 + 16
    return codes + rows * pad(cols) // 16 + 4 * rows


def plain(tensors, name, cols):
    """The matrix that the file's numbers stand for, in float64: row * H (s c), cut to cols."""
    codes = tensors[name + ".codes"][2]
    if name + ".codebook" in tensors:
        book = tensors[name + ".codebook"][2].astype(np.float64)
        nibbles = np.stack([codes & 15, codes >> 4], -1).reshape(len(codes), -1)
        level = book[nibbles]
    else:
        level = codes.astype(np.float64)
    s = np.repeat(tensors[name + ".scale"][2].astype(np.float64), 16, 1)
    g = group(cols)
    H = np.array([[1.0]])
    while len(H) < g:
        H = np.block([[H, H], [H, -H]])
    W = ((s * level).reshape(len(codes), -1, g) @ H).reshape(len(codes), -1)
    return W[:, :cols] * tensors[name + ".row"][2].astype(np.float64)[:, None]


# ---- folders -----------------------------------------------------------------------------------
def small(folder, family, seed=1, dtype="F32", shards=1, **changes):
    """A folder with a tokenizer; returns (config, dense tensors)."""
    kind = {"qwen3": "bytes", "llama": "spm"}[family]
    base = dict(vocab_size=416, max_position_embeddings=64, eos_token_id=None)
    config = getattr(hf, family)(**dict(base, **changes))
    stored = hf.write_hf(folder, config, seed, dtype, shards)
    shutil.copyfile(
        os.path.join(TOKENIZERS, kind, "tokenizer.json"), os.path.join(folder, "tokenizer.json")
    )
    return config, stored


def logits(folder, tokens, vocab, work, *options):
    out = os.path.join(work, "logits")
    run = assay("logits", folder, "--tokens", ",".join(map(str, tokens)), out, *options)
    if run[0]:
        return None
    x = np.fromfile(out, "<f4")
    os.remove(out)
    return x.reshape(-1, vocab) if x.size == len(tokens) * vocab else None


def centred_cosine(a, b):
    """The mean over positions of the cosine of logits without their mean."""
    a, b = (x.astype(np.float64) - x.mean(-1, keepdims=True) for x in (a, b))
    return ((a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))).mean()


# ---- what is written ---------------------------------------------------------------------------
# Bounds at about 1.5 times the measured distance: relative squared error of the linears, and the
# centred cosine of the logits on the first tokens of the calibration text. (The calibrated rungs
# give up nearness of the weights for nearness of the answers.)
ERROR = {"rotate": 0.011, "codebook": 0.006, "feedback": 0.02, "retarget": 0.05}
COSINE = {"rotate": 0.965, "codebook": 0.978, "feedback": 0.992, "retarget": 0.997}


def check_file(what, rung, config, stored, folder):
    """Names, types, shapes, metadata, bytes and values of the file."""
    tensors, meta, wrong = read_raw(os.path.join(folder, "model.safetensors"))
    check(not wrong, what + ": safetensors without gaps, header a multiple of 8", wrong)
    want = expected(config)
    found = {n: t[:2] for n, t in tensors.items()}
    differ = [n for n in sorted(want.keys() | found.keys()) if want.get(n) != found.get(n)]
    check(not differ, what + ": %d tensors with names, types and shapes" % len(want), differ[:3])
    if differ:
        return
    check(meta == {"format": "assay-tq4", "version": "1"}, what + ": metadata", meta)
    bytes_written = sum(t[2].nbytes for n, t in tensors.items())
    bytes_wanted = 0
    for n, s in hf.shapes(config).items():
        i8 = "embed" in n or "lm_head" in n
        bytes_wanted += 4 * s[0] if len(s) == 1 else size(*s, i8)
    check(
        bytes_written == bytes_wanted,
        what + ": %d bytes of data, as the shapes say" % bytes_wanted,
        bytes_written,
    )
    books = [n for n in tensors if n.endswith(".codebook")]
    largest = [int(np.abs(tensors[n][2].astype(int)).max()) for n in books]
    check(set(largest) == {127}, what + ": max |codebook| is 127", largest)
    norms = [n for n, s in hf.shapes(config).items() if len(s) == 1]
    check(
        all(tensors[n][2].tobytes() == stored[n].astype("<f4").tobytes() for n in norms),
        what + ": %d norms, bit for bit" % len(norms),
    )
    rows = [t[2] for n, t in tensors.items() if n.endswith(".row")]
    check(all(np.isfinite(r).all() for r in rows), what + ": rows are finite")
    worst = {True: 0.0, False: 0.0}
    values = dict(stored)
    for n, s in hf.shapes(config).items():
        if len(s) == 1:
            continue
        values[n] = plain(tensors, n, s[1])
        i8 = n + ".codebook" not in tensors
        W = stored[n].astype(np.float64)
        worst[i8] = max(worst[i8], ((values[n] - W) ** 2).sum() / (W**2).sum())
    check(
        worst[False] < ERROR[rung] and worst[True] < 1e-4,
        what
        + ": read back, the weights are near: linears %.5f, I8 %.1e" % (worst[False], worst[True]),
    )
    return values


def check_logits(what, rung, config, dense, folder, values, work):
    """The logits: near the dense ones, and near float64 on the weights read back."""
    from dense import forward  # the float64 model of tests/dense.py

    vocab = config["vocab_size"]
    with open(os.path.join(work, "calib.txt"), "rb") as f:
        tokens = [int(x) for x in assay("tokenize", dense, stdin=f.read())[1].split()[:48]]
    ours = logits(folder, tokens, vocab, work)
    theirs = logits(dense, tokens, vocab, work)
    if not check(ours is not None and theirs is not None, what + ": logits of both folders"):
        return 0.0
    near = centred_cosine(ours, theirs)
    check(near > COSINE[rung], what + ": centred cosine with the dense logits %.5f" % near)
    exact = forward(config, values, tokens)
    cos = centred_cosine(ours, exact)
    check(cos > 0.9995, what + ": and with float64 on the weights read back %.5f" % cos)
    return near


def check_same_bits(what, folder, vocab, work):
    tokens = np.random.default_rng(6).integers(0, vocab, 17).tolist()
    first, differ = None, []
    for backend in ("ref", "simd"):
        for jobs in JOBS:
            z = logits(folder, tokens, vocab, work, "--backend", backend, "--jobs", jobs)
            first = z if first is None else first
            if z is None or z.tobytes() != first.tobytes():
                differ.append("%s, %d threads" % (backend, jobs))
    check(not differ, what + ": the same bits from ref and simd with 1, 2, 3, 7 threads", differ)


def check_folder(name, config, stored, dense, work):
    calib, near = os.path.join(work, "calib.txt"), {}
    for rung in RUNGS:
        what = "%s, %s" % (name, rung)
        out = [os.path.join(work, "%s-%s-%d" % (name, rung, j)) for j in JOBS]
        files = []
        for folder, jobs in zip(out, JOBS):
            text = ("--calib", calib) if rung in RUNGS[2:] else ()
            run = assay("quantize", dense, folder, "--rung", rung, "--jobs", jobs, *text)
            if run[0]:
                check(False, what + ", %d threads" % jobs, run[2].splitlines()[-1:])
                return
            files.append(listing(folder))
        same = [f == files[0] for f in files]
        check(all(same), what + ": the same bytes with 1, 2, 3 and 7 threads", same)
        side = {n: h for n, h in listing(dense).items() if n in ("config.json", "tokenizer.json")}
        check(
            files[0] == dict(side, **{"model.safetensors": files[0].get("model.safetensors")}),
            what + ": the folder holds the model, its configuration and its tokenizer",
            sorted(files[0]),
        )
        values = check_file(what, rung, config, stored, out[0])
        if values:
            near[rung] = check_logits(what, rung, config, dense, out[0], values, work)
        if rung in ("rotate", "retarget"):
            check_same_bits(what, out[0], config["vocab_size"], work)
    order = [near.get(r, 0.0) for r in RUNGS]
    check(
        order == sorted(order),
        name + ": each rung's logits are nearer than the one's before",
        order,
    )
    check_same_bits(name + ", dense", dense, config["vocab_size"], work)
    all_files = [digest(os.path.join(work, "%s-%s-1/model.safetensors" % (name, r))) for r in RUNGS]
    check(len(set(all_files)) == len(RUNGS), name + ": no two rungs write the same file")


def check_sizes():
    """`assay sizes` against Python's arithmetic on the published shapes."""
    shapes = {  # hidden, inter, layers, heads, kv heads, tied
        "qwen3-0.6b": (1024, 3072, 28, 16, 8, True),
        "qwen3-1.7b": (2048, 6144, 28, 16, 8, True),
        "qwen3-8b": (4096, 12288, 36, 32, 8, False),
        "qwen3-14b": (5120, 17408, 40, 40, 8, False),
    }
    code, out, _ = assay("sizes")
    lines = {x.split()[0]: x.split() for x in out.decode().splitlines()[1:5]}
    check(code == 0 and lines.keys() == shapes.keys(), "sizes lists four shapes", sorted(lines))
    for name, (h, f, layers, heads, kv, tied) in shapes.items():
        c = hf.qwen3(
            hidden_size=h,
            intermediate_size=f,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv,
            head_dim=128,
            vocab_size=151936,
            tie_word_embeddings=tied,
        )
        dense = tq4 = i8 = norms = 0
        for n, s in hf.shapes(c).items():
            if len(s) == 1:
                norms += 4 * s[0]
            elif "embed" in n or "lm_head" in n:
                i8 += size(*s, True)
            else:
                tq4, dense = tq4 + size(*s, False), dense + 2 * s[0] * s[1]
        want = [dense, tq4, i8, tq4 + i8 + norms]
        got = lines.get(name, ["0"] * 7)
        check([int(got[i]) for i in (1, 2, 5, 6)] == want, "sizes of " + name, (got, want))
        if name == "qwen3-1.7b":
            check(tq4 <= 800e6, "linears of qwen3-1.7b are %d bytes, at most 800 MB" % tq4)


# ---- calibration, refusals ---------------------------------------------------------------------
def check_calibration(dense, work):
    out = os.path.join(work, "self")
    tiny = os.path.join(work, "tiny")
    config, _ = small(
        tiny,
        "qwen3",
        3,
        num_hidden_layers=1,
        max_position_embeddings=8,
        hidden_size=32,
        num_attention_heads=1,
        num_key_value_heads=1,
        intermediate_size=32,
    )
    runs = [
        assay("quantize", tiny, out + str(i), "--jobs", i, *a)[0]
        for i, a in (
            (1, ("--calib", "self")),
            (2, ("--rung", "retarget")),
            (3, ("--rung", "codebook")),
            (4, ()),
        )
    ]
    ok = not any(runs)
    files = [digest(out + "%d/model.safetensors" % i) if ok else i for i in (1, 2, 3, 4)]
    check(
        ok and files[0] == files[1], "retarget is the rung with a text; self is its default", runs
    )
    check(ok and files[2] == files[3], "codebook is the rung without a text", runs)
    check(files[0] != files[2], "and the two differ")
    texts = {
        "none": (None, "No such file"),
        "short": (b"a", "expected at least"),
        "bytes": (b"\xff" * 100, "UTF-8"),
    }
    for name, (text, word) in texts.items():
        path = os.path.join(work, "text-" + name)
        if text is not None:
            with open(path, "wb") as f:
                f.write(text)
        wrong = error_line(assay("quantize", dense, out + name, "--calib", path), word)
        check(not wrong, "a calibration text that is refused: " + name, wrong)
        wrong = error_line(assay("quantize", dense, out + name, "--calib", path), path)
        check(not wrong, "its error names the file: " + name, wrong)
        check(not os.path.exists(out + name), "and nothing is written: " + name)
    with open(os.path.join(work, "calib.txt"), "rb") as f:
        text = f.read()
    low = os.path.join(work, "low")
    small(low, "qwen3", 3, num_hidden_layers=1, vocab_size=70)
    wrong = error_line(
        assay("quantize", low, out + "low", "--calib", os.path.join(work, "calib.txt")), "70"
    )
    check(len(text) > 500 and not wrong, "a token that the model does not have", wrong)


def check_refused(dense, quantised, work):
    before = listing(quantised)
    out = os.path.join(work, "twice")
    wrong = error_line(assay("quantize", quantised, out), "already quantised", quantised)
    check(not wrong, "a quantised folder is not quantised again", wrong)
    check(not os.path.exists(out) and listing(quantised) == before, "and nothing is written")
    for how in ("the same name", "through a link", "dot"):
        same = os.path.join(work, "same")
        shutil.rmtree(same, ignore_errors=True)
        shutil.copytree(dense, same)
        before = listing(same)
        to = {"the same name": same, "through a link": same + "-link", "dot": same + "/./"}[how]
        if how == "through a link":
            os.symlink(same, to)
        wrong = error_line(assay("quantize", same, to, "--rung", "rotate"))
        check(not wrong, "output is the input, %s: refused" % how, wrong)
        check(listing(same) == before, "output is the input, %s: nothing is lost" % how)
    for what, to in (("a file", os.path.join(dense, "config.json")), ("no parent", work + "/a/b")):
        wrong = error_line(assay("quantize", dense, to), to)
        check(not wrong, "output is refused: " + what, wrong)
    # Not a number anywhere: an answer would be made up.
    for name, place in (
        ("NaN", "model.layers.0.mlp.down_proj.weight"),
        ("inf", "model.norm.weight"),
        ("NaN", "model.embed_tokens.weight"),
        ("inf", "model.layers.0.self_attn.k_proj.weight"),
    ):
        for rung in ("rotate", "codebook"):
            bad = os.path.join(work, "bad")
            shutil.rmtree(bad, ignore_errors=True)
            shutil.rmtree(bad + "-out", ignore_errors=True)
            config, stored = small(bad, "qwen3", 4, num_hidden_layers=1)
            stored = {n: np.array(x) for n, x in stored.items()}
            stored[place].reshape(-1)[9] = {"NaN": np.nan, "inf": np.inf}[name]
            hf.write_safetensors(
                bad + "/model.safetensors",
                {n: ("F32", x.shape, hf.encode(x, "F32")) for n, x in stored.items()},
            )
            wrong = error_line(assay("quantize", bad, bad + "-out", "--rung", rung), place)
            left = glob.glob(bad + "-out/model.safetensors*")
            check(
                not wrong and not left, "%s in %s, %s: refused" % (name, place, rung), wrong or left
            )


# ---- full disk, kill, memory -------------------------------------------------------------------
def nothing_left(what, run, folder):
    wrong = error_line(run, folder)
    check(not wrong, what + ": exit 1, one line", wrong)
    left = [n for n in os.listdir(folder)] if os.path.isdir(folder) else []
    bad = [n for n in left if n.endswith(".part") or n == "model.safetensors"]
    check(not bad, what + ": neither model.safetensors nor .part is left", bad)


def check_full_disk(dense, work):
    def limit(n):
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))

    # Python ignores SIGXFSZ and lets children inherit that with restore_signals=False.
    for n, what in ((50_000, "the model"), (6_000, "the tokenizer"), (100, "the configuration")):
        out = os.path.join(work, "limit%d" % n)
        run = assay(
            "quantize", dense, out, "--rung", "rotate", preexec_fn=limit(n), restore_signals=False
        )
        nothing_left("a file size limit that %s passes" % what, run, out)
    disk = os.path.join(work, "disk")
    for size_k, what in ((48, "the model"), (12, "the tokenizer")):
        os.makedirs(disk, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=%dk" % size_k, "assay-test", disk]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            REPORT.not_run("a full disk: a tmpfs cannot be mounted here")
            return
        try:
            run = assay("quantize", dense, disk, "--rung", "rotate")
            nothing_left("a disk too small for " + what, run, disk)
        finally:
            subprocess.run(["umount", disk], check=True)


def check_kill(dense, work):
    """Killed while it writes: the name holds what it held before, and a second try is whole."""
    out, ref = os.path.join(work, "killed"), os.path.join(work, "whole")
    old = None
    assay("quantize", dense, ref, "--rung", "codebook")
    for turn in ("nothing", "an older model"):
        p = subprocess.Popen(
            [ASSAY, "quantize", dense, out, "--rung", "codebook"], stderr=subprocess.PIPE, env=ENV
        )
        p.stderr.readline()  # the first matrix is being written, more follow
        os.kill(p.pid, signal.SIGKILL)
        p.wait()
        p.stderr.close()
        name = os.path.join(out, "model.safetensors")
        now = digest(name) if os.path.exists(name) else None
        killed = p.returncode == -signal.SIGKILL and os.path.exists(name + ".part")
        check(killed and now == old, "killed in the middle: the name holds %s" % turn, p.returncode)
        if not old:
            run = assay("quantize", dense, out, "--rung", "rotate")
            check(run[0] == 0 and not os.path.exists(name + ".part"), "after it: a rung that ends")
            old = digest(name)
    run = assay("quantize", dense, out, "--rung", "codebook")
    check(run[0] == 0 and listing(out) == listing(ref), "and the next try writes the whole folder")


def check_memory(work, rung, hidden, inter, layers):
    """Zeros in a file with holes; the bound is two of the largest tensors as floats."""
    config = hf.qwen3(
        hidden_size=hidden,
        intermediate_size=inter,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        vocab_size=64,
    )
    dense, out = os.path.join(work, "large"), os.path.join(work, "large-out")
    os.makedirs(dense, exist_ok=True)
    with open(os.path.join(dense, "config.json"), "w") as f:
        json.dump(config, f)
    header, at = {}, 0
    for n, s in hf.shapes(config).items():
        nbytes = 2 * int(np.prod(s))
        header[n] = {"dtype": "BF16", "shape": s, "data_offsets": [at, at + nbytes]}
        at += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(dense, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)
    start, peak, bound = time.time(), 0, 8 * hidden * inter
    run = [ASSAY, "quantize", dense, out, "--rung", rung, "--jobs", "2"]
    p = subprocess.Popen(run, stderr=subprocess.DEVNULL, env=ENV)
    while p.poll() is None:  # the system's own high-water mark, so a rare look is enough
        with open("/proc/%d/status" % p.pid) as f:
            marks = [int(x.split()[1]) * 1024 for x in f if x.startswith("VmHWM")]
        peak = max([peak] + marks)
        time.sleep(0.01)
    check(
        p.returncode == 0 and 0 < peak < bound,
        "%s, %d x %d, %d layers: peak %.0f MB of memory, two tensors as floats are %.0f MB (%.0f s)"
        % (rung, inter, hidden, layers, peak / 2**20, bound / 2**20, time.time() - start),
    )
    tensors, wrong = {}, "no file"
    if p.returncode == 0:
        tensors, _, wrong = read_raw(os.path.join(out, "model.safetensors"))
    rows = [t[2] for n, t in tensors.items() if n.endswith(".row")]
    check(
        not wrong and all(np.isfinite(r).all() for r in rows),
        rung + ": zeros give finite rows",
        wrong,
    )
    shutil.rmtree(dense)
    shutil.rmtree(out, ignore_errors=True)


def main():
    if not os.path.exists(ASSAY):
        REPORT.not_run("there is no %s" % os.environ.get("ASSAY", "build/assay"))
        return 0
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, "calib.txt"), "w") as f:
            f.write(CALIB)
        qwen, llama = os.path.join(work, "q"), os.path.join(work, "l")
        config, stored = small(qwen, "qwen3", 1, num_hidden_layers=2)
        odd = dict(
            hidden_size=40,
            intermediate_size=56,
            num_attention_heads=5,
            num_key_value_heads=1,
            head_dim=24,
        )
        lconfig, lstored = small(llama, "llama", 2, "BF16", 3, num_hidden_layers=1, **odd)
        step = REPORT.step
        step(check_folder, "qwen3", config, stored, qwen, work)
        step(check_folder, "llama", lconfig, lstored, llama, work)
        step(check_sizes)
        step(check_calibration, qwen, work)
        step(check_refused, qwen, os.path.join(work, "qwen3-rotate-1"), work)
        step(check_full_disk, qwen, work)
        step(check_kill, qwen, work)
        step(check_memory, work, "codebook", 1024, 3072, 2)
        step(check_memory, work, "rotate", 2560, 8704, 2)
    return REPORT.end()


if __name__ == "__main__":
    sys.exit(main())
