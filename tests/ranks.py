"""Training on many processes: the same bytes for 1 to 4 ranks as for a plain run; ranks that are
killed, that differ, that fail; full disks; the program built without MPI.
ASSAY names the program (default build/assay)."""

import glob
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import convert  # noqa: E402
import hf  # noqa: E402
from convert import ASSAY, ENV, ROOT, assay, listing, small  # noqa: E402
from train import FILES, ids, text, torn, write  # noqa: E402

REPORT = convert.Report("ranks")
check = REPORT.check
# In a container one process may not be allowed to read another's memory: copy twice instead.
MPI_ENV = dict(ENV, OMPI_MCA_btl_vader_single_copy_mechanism="none")
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--timeout", "280"]
SHORT = ("--steps", 5, "--every", 2, "--batch", 7, "--micro", 2, "--ctx", 24, "--lr", 0.01)


def command(counts, *args):
    """counts: ranks of each list of arguments, which is one for all or as many."""
    args = args if len(args) == len(counts) else args * len(counts)
    out = list(MPIRUN)
    for n, a in zip(counts, args):
        out += [":"] * (len(out) > len(MPIRUN)) + ["-n", str(n), ASSAY, *map(str, a)]
    return out


def mpirun(counts, *args, **kw):
    run = subprocess.run(command(counts, *args), capture_output=True, env=MPI_ENV, timeout=300, **kw)
    return run.returncode, run.stdout.decode(), run.stderr.decode(errors="replace")


def arguments(folder, texts, out, *options):
    held = ("--held", texts[1]) if texts[1:] else ()
    return ("train", folder, "--text", texts[0], *held, "--out", out, "--jobs", 1, *options)


def refused(what, run, *words, code=1):
    """One line of ours among mpirun's, nothing on stdout."""
    lines = [x for x in run[2].splitlines() if x.startswith("assay: ")]
    good = run[0] == code and not run[1] and len(lines) == 1 and all(str(w) in lines[0] for w in words)
    return check(good, "%s: exit %d, one line" % (what, code), (run[0], run[1], run[2][-900:]))


# ---- the same bits -------------------------------------------------------------------------------
def check_same_bits(name, folder, what, texts, work):
    out, other = os.path.join(work, "plain-" + name), os.path.join(work, "ranks")
    for batch, micro in ((7, 2), (3, 3)):  # of 3 samples the fourth rank gets none
        options = SHORT + ("--batch", batch, "--micro", micro, "--what", what)
        run = assay(*arguments(folder, texts, out, *options))
        if not check(run[0] == 0, "%s: a plain run" % name, run[2][-300:]):
            return
        base, said = listing(out), run[1].decode()
        for n in (1, 2, 3, 4):
            shutil.rmtree(other, ignore_errors=True)
            got = mpirun([n], arguments(folder, texts, other, *options))
            have = listing(other) if got[0] == 0 else {}
            same = set(have) == FILES and all(have[f] == base[f] for f in FILES) and got[1] == said
            steps = re.findall(r"^train (\d)/5", got[2], re.M)
            check(same, "%s: batch %d, %d ranks: all files byte for byte" % (name, batch, n), got)
            check(steps == list("012345"), "one rank of %d says each step once" % n, got[2])
    options = SHORT + ("--what", what)
    parts = [arguments(folder, texts, other, *options, *more)
             for more in ((), ("--backend", "ref"), ("--micro", 1, "--jobs", 2))]  # fmt: skip
    run = assay(*arguments(folder, texts, out, *options))
    got = mpirun([1, 2, 1], *parts)
    check(got[0] == 0 and got[1] == run[1].decode() and listing(other) == listing(out),
          name + ": ranks with other backends, microbatches and threads: the same", got)  # fmt: skip


def check_pieces(work):
    """Sums of more elements than go into one call: 416 x 5,120 of the embedding, 2^20 a call."""
    folder, out, other = (os.path.join(work, "wide" + n) for n in ("", "-plain", "-ranks"))
    small(folder, "llama", 2, num_hidden_layers=1, hidden_size=5120, intermediate_size=32,
          num_attention_heads=1, num_key_value_heads=1, head_dim=32)  # fmt: skip
    path = write(work, "wide.txt", text(3, 300))
    options = ("--steps", 2, "--every", 2, "--batch", 2, "--ctx", 8)
    run = assay(*arguments(folder, [path], out, *options))
    got = mpirun([2], arguments(folder, [path], other, *options))
    check(run[0] == got[0] == 0 and listing(out) == listing(other), "sums in three pieces: the same", (run, got))
    for f in (folder, out, other):
        shutil.rmtree(f)


# ---- ranks that die ------------------------------------------------------------------------------
def ranks_of(p):
    """{rank: pid} of the processes that mpirun p started."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as f:
                env = dict(x.split(b"=", 1) for x in f.read().split(b"\0") if b"=" in x)
            with open(os.path.join(os.path.dirname(path), "stat")) as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if parent == p.pid and b"OMPI_COMM_WORLD_RANK" in env:
            found[int(env[b"OMPI_COMM_WORLD_RANK"])] = int(path.split("/")[2])
    return found


def begin(counts, *args, lines):
    """The started run and its first lines of progress; fewer when it has ended."""
    p = subprocess.Popen(command(counts, *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=MPI_ENV, text=True)  # fmt: skip
    return p, [p.stderr.readline() for _ in range(lines)]


def gone(pids):
    """They end soon: no rank is left behind."""
    for _ in range(600):
        if not [p for p in pids if os.path.exists("/proc/%d" % p)]:
            return True
        time.sleep(0.05)
    return False


def check_killed(folder, texts, work):
    whole, out = os.path.join(work, "whole"), os.path.join(work, "killed")
    options = ("--steps", 200, "--every", 3, "--batch", 8, "--micro", 2, "--ctx", 24, "--resume")
    run = assay(*arguments(folder, texts, whole, *options))
    state, begun = os.path.join(out, "state.safetensors"), []
    for n, victim in ((3, 1), (2, 0), (4, 3)):
        p, said = begin([n], arguments(folder, texts, out, *options), lines=8)
        pids = ranks_of(p)
        if not check(len(pids) == n, "%d ranks run" % n, (pids, said)):
            p.kill()
            return
        begun += map(int, re.findall(r"^train (\d+)/", said[0]))
        os.kill(pids[victim], signal.SIGKILL)
        stdout, err = p.communicate(timeout=100)
        line = re.search(r"rank %d .*signal 9" % victim, err)
        check(p.returncode not in (0, None) and not stdout and line,
              "rank %d of %d is killed: exit %d, a line that names it" % (victim, n, p.returncode), err)  # fmt: skip
        check(gone(pids.values()), "and no rank is left")
        check(os.path.exists(state) and not torn(state), "the state stays whole", os.listdir(out))
    check(begun[0] == 0 and 6 < begun[1] < begun[2], "resumed at steps %s" % begun[1:], begun)
    shutil.copytree(out, out + "-2")
    for ranks, folder_out in ((0, out), (2, out + "-2")):
        args = arguments(folder, texts, folder_out, *options)
        got = mpirun([ranks], args) if ranks else assay(*args)
        files = listing(folder_out)
        differ = [f for f in FILES if files.get(f) != listing(whole)[f]]
        check(run[0] == 0 and got[0] == 0 and not differ,
              "resumed %s: the bytes of the run that was left alone" % ("on 2 ranks" if ranks else "without ranks"),
              (differ, got[2][-300:]))  # fmt: skip


# ---- ranks that differ ---------------------------------------------------------------------------
def check_differ(folder, other_model, texts, work):
    out = os.path.join(work, "differ")
    base = arguments(folder, texts, out, *SHORT)
    others = {
        "text": (1, arguments(folder, [texts[1], texts[1]], out, *SHORT)),
        "held": (2, arguments(folder, texts[:1], out, *SHORT)),
        "model": (1, arguments(other_model, texts, out, *SHORT)),
        "batch": (1, base + ("--batch", 8)),
        "lr": (3, base + ("--lr", 0.02)),
        "stop": (1, base + ("--stop", 3)),
    }
    for what, (rank, args) in others.items():
        run = mpirun([rank, 1], base, args)
        refused("another %s on rank %d" % (what, rank), run, "rank %d: %s " % (rank, what), "rank 0 has")
    check(os.listdir(out) == [], "and nothing is written", os.listdir(out))
    missing = os.path.join(work, "missing")
    refused("rank 2 without the model", mpirun([2, 1], base, ("train", missing) + base[2:]),
            "rank 2: " + missing)  # fmt: skip
    refused("wrong usage of all", mpirun([2], ("train", folder)), "--text FILE", code=2)
    run = mpirun([1, 1], base + ("--out", work + "/no/such"), base)
    refused("an output folder that rank 0 cannot make", run, "assay: " + work + "/no/such")


def check_diverge(folder, texts, work):
    """A weight of one rank changes under the run: seen at the next checkpoint, not carried on."""
    out, copy = os.path.join(work, "diverge"), os.path.join(work, "copy")
    shutil.copytree(folder, copy)
    options = ("--steps", 1000, "--every", 10, "--batch", 2, "--ctx", 8, "--what", "r1")
    args = [arguments(f, texts[:1], out, *options) for f in (folder, copy)]
    p, said = begin([1, 1], *args, lines=5)
    with open(os.path.join(copy, "model.safetensors"), "r+b") as f:  # mapped, so the run sees it
        n = struct.unpack("<Q", f.read(8))[0]
        at = json.loads(f.read(n))["model.layers.1.mlp.down_proj.weight.codes"]["data_offsets"][0]
        f.seek(8 + n + at)
        code = f.read(1)[0]
        f.seek(8 + n + at)
        f.write(bytes([code ^ 1]))
    try:
        stdout, err = p.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        p.kill()
        stdout, err = p.communicate()
    line = r"^assay: rank 1: weights after step (\d+): ([0-9a-f]{64}): rank 0 has ([0-9a-f]{64})"
    m = re.search(line, err, re.M)
    check(p.returncode == 1 and not stdout and m and m[2] != m[3] and int(m[1]) % 10 == 0,
          "a bit of rank 1's weights changes: named at step %s" % (m and m[1]), (p.returncode, err[-600:]))  # fmt: skip


# ---- ranks that fail -----------------------------------------------------------------------------
def check_numbers(work):
    """A value that is not finite in the share of one rank stops all with its line."""
    folder, out = os.path.join(work, "numbers"), os.path.join(work, "numbers-out")
    _, values = small(folder, "llama", 2, num_hidden_layers=1)
    path = write(work, "rare.txt", text(0, 250) + "the quick fox sees.\n" + text(1, 250))
    known = set(ids(folder, write(work, "known.txt", text(2, 500))))
    rare = [i for i in ids(folder, path) if i not in known and i > 2]
    values = {n: np.array(x) for n, x in values.items()}
    values["model.embed_tokens.weight"][rare] = np.nan
    hf.write_safetensors(os.path.join(folder, "model.safetensors"),
                         {n: ("F32", x.shape, hf.encode(x, "F32")) for n, x in values.items()})  # fmt: skip
    met = set()
    for seed in range(1, 7):
        shutil.rmtree(out, ignore_errors=True)
        args = arguments(folder, [path], out, "--steps", 400, "--every", 1, "--batch", 4, "--micro", 1,
                         "--ctx", 8, "--seed", seed)  # fmt: skip
        plain = assay(*args)[2].splitlines()[-1]
        shutil.rmtree(out)
        run = mpirun([4], args)
        line = [x for x in run[2].splitlines() if x.startswith("assay: ")]
        who = re.search(r": rank (\d): ", line[0]) if line else None
        met.add(int(who[1]) if who else 0)
        good = len(line) == 1 and re.sub(r": rank \d: ", ": ", line[0]) == plain and "EMBED" in plain
        check(run[0] == 1 and not run[1] and good, "seed %d: %s" % (seed, line), (plain, run[2][-600:]))
        left = os.listdir(out)
        check(set(left) <= {"state.safetensors"} and not any(torn(os.path.join(out, f)) for f in left),
              "the folder is as the last checkpoint left it", left)  # fmt: skip
    check(len(met) > 1, "it was met by ranks %s" % sorted(met))


def check_full_disk(folder, texts, work):
    whole, out = os.path.join(work, "disk-whole"), os.path.join(work, "disk")
    args = arguments(folder, texts, out, *SHORT)
    assay(*arguments(folder, texts, whole, *SHORT))
    # The limit is one rank's; by tcp, since shared memory is a file too.
    size = os.path.getsize(os.path.join(whole, "state.safetensors"))
    script = write(work, "limited.py", "import os, resource, sys\n"
                   "if os.environ['OMPI_COMM_WORLD_RANK'] == sys.argv[1]:\n"
                   "    resource.setrlimit(resource.RLIMIT_FSIZE, (%d, %d))\n"
                   "os.execv(sys.argv[2], sys.argv[2:])\n" % (size - 100, size - 100))  # fmt: skip
    limited = lambda rank: [*MPIRUN, "--mca", "btl", "self,tcp", "-n", "3", sys.executable, script, str(rank), ASSAY,
                            *map(str, args)]  # fmt: skip
    for rank in (0, 2):
        run = subprocess.run(limited(rank), capture_output=True, env=MPI_ENV, timeout=300)
        run = run.returncode, run.stdout.decode(), run.stderr.decode()
        if rank == 0:
            refused("rank 0 cannot write the state", run, out)
            check(os.listdir(out) == [], "no part of a file is left", os.listdir(out))
        else:
            check(run[0] == 0 and listing(out) == listing(whole), "the others write nothing", run)


# ---- threads, and without MPI --------------------------------------------------------------------
def check_threads(folder, texts, work):
    """Two ranks on a machine share its cores."""
    seen = []
    for jobs in ((), ("--jobs", max(1, os.sysconf("SC_NPROCESSORS_ONLN") // 2)), ("--jobs", 40)):
        args = arguments(folder, texts[:1], os.path.join(work, "threads"), "--steps", 4000, "--every", 4000)
        args = tuple(a for i, a in enumerate(args) if i not in range(args.index("--jobs"), args.index("--jobs") + 2))
        p, _ = begin([2], args + jobs, lines=2)
        pids = ranks_of(p).values()
        seen.append({len(os.listdir("/proc/%d/task" % pid)) for pid in pids})
        p.kill() if jobs else p.terminate()
        p.communicate()
        check(gone(pids), "mpirun is %s: no rank is left" % ("killed" if jobs else "told to end"))
    check(seen[0] == seen[1] != seen[2] and len(seen[0]) == 1,
          "without --jobs each of two ranks has half of the cores", seen)  # fmt: skip


def check_device(folder, texts, work):
    """The sums of a device are not brought home: refused."""
    emu = os.path.join(ROOT, "build", "emu", "assay")
    source = os.path.join(ROOT, "src", "train.c")
    if not os.path.exists(emu) or os.path.getmtime(emu) < os.path.getmtime(source):
        return REPORT.not_run("a device: build/emu/assay is missing or older than the sources (make emu)")
    out = os.path.join(work, "device")
    args = arguments(folder, texts[:1], out, *SHORT, "--backend", "emu")
    run = subprocess.run([*MPIRUN, "-n", "2", emu, *map(str, args)], capture_output=True, env=MPI_ENV)
    run = run.returncode, run.stdout.decode(), run.stderr.decode()
    refused("two ranks on a device", run, "--backend emu", "expected one rank")
    check(not os.path.exists(out), "and no folder is made")


def check_without(folder, texts, work):
    """Without MPI the program trains alone, and many of it end at once."""
    stems = lambda *p: {os.path.basename(f)[:-2] for f in glob.glob(os.path.join(ROOT, *p))}
    names = stems("build", "gcc", "*.o") & stems("src", "*.c")
    if not names >= {"main", "ranks", "train"}:
        return REPORT.not_run("without MPI: there are no objects in build/gcc")
    base = "build/no-mpi"
    parts = ["build/gcc/%s.o" % n for n in sorted(names - {"ranks"})] + [base + "/ranks.o"]
    made = subprocess.run(["make", "-B", "MPI=no", "CONFIG=gcc", "B=" + base, base + "/ranks.o"],
                          capture_output=True, text=True, cwd=ROOT)  # fmt: skip
    packages = ["pkg-config", "--libs", "jansson", "libpcre2-8", "libutf8proc", "libsodium",
                "libmicrohttpd"]
    libs = subprocess.run(packages, capture_output=True, text=True).stdout.split()
    linked = subprocess.run(["gcc", "-fopenmp", "-o", base + "/assay", *parts, *libs],
                            capture_output=True, text=True, cwd=ROOT)  # fmt: skip
    if not check(made.returncode == linked.returncode == 0 and "ASSAY_MPI" not in made.stdout,
                 "make MPI=no", made.stderr + linked.stderr):  # fmt: skip
        return
    out = os.path.join(work, "without")
    args = [os.path.join(ROOT, base, "assay"), *map(str, arguments(folder, texts, out, *SHORT))]
    run = lambda *before: subprocess.run([*before, *args], capture_output=True, env=MPI_ENV, text=True)
    alone, one = run(), run(*MPIRUN, "-n", "1")
    check(alone.returncode == one.returncode == 0 and alone.stdout == one.stdout,
          "without MPI: a plain run, and one rank", (alone, one))  # fmt: skip
    before, many = listing(out), run(*MPIRUN, "-n", "3")
    lines = {x for x in many.stderr.splitlines() if x.startswith("assay: ")}
    check(many.returncode == 1 and len(lines) == 1 and "3 ranks: this program was built without MPI" in lines.pop(),
          "without MPI: three ranks end with a line that says so", many)  # fmt: skip
    check(listing(out) == before, "and touch nothing")


def main():
    if not os.path.exists(ASSAY):
        REPORT.not_run("there is no %s" % os.environ.get("ASSAY", "build/assay"))
        return 0
    if not shutil.which("mpirun"):
        REPORT.not_run("mpirun is not installed")
        return 0
    with tempfile.TemporaryDirectory(dir=os.path.join(ROOT, "build")) as work:
        texts = [write(work, n, text(i, 6000 - 4500 * i)) for i, n in enumerate(("text", "held"))]
        dense, quantised, other = (os.path.join(work, n) for n in ("dense", "quantised", "other"))
        small(dense, "qwen3", 1, num_hidden_layers=2)
        assay("quantize", dense, quantised, "--rung", "rotate")
        assay("quantize", dense, other, "--rung", "codebook")
        step = REPORT.step
        if "built without MPI" in mpirun([2], ("train", quantised))[2]:
            REPORT.not_run("the program was built without MPI (libopenmpi-dev)")
        else:
            step(check_same_bits, "TQ4", quantised, "r1r2+norms", texts, work)
            step(check_same_bits, "dense", dense, "all", texts, work)
            step(check_pieces, work)
            step(check_killed, quantised, texts, work)
            step(check_differ, quantised, other, texts, work)
            step(check_diverge, quantised, texts, work)
            step(check_numbers, work)
            step(check_full_disk, quantised, texts, work)
            step(check_threads, quantised, texts, work)
            step(check_device, quantised, texts, work)
        step(check_without, quantised, texts, work)
    return REPORT.end()


if __name__ == "__main__":
    sys.exit(main())
