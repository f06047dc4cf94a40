#!/usr/bin/env python3
"""Exchanges random files with the safetensors package, and compares the fuzzer's seeds.

tensor.py [TEST_TENSOR]: the program built from tests/test_tensor.c (build/gcc/test_tensor).
"""
import ctypes
import os
import random
import subprocess
import sys
import tempfile

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
program = sys.argv[1] if len(sys.argv) > 1 else "build/gcc/test_tensor"
failed = passed = 0


def check(ok, what, found=""):
    global failed, passed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(("ok tensor: " + what) if ok else "FAIL tensor: %s: %s" % (what, found))


def esc(s):
    return "".join(chr(c) if 33 <= c <= 126 and chr(c) not in "\\|" else "\\x%02x" % c for c in s.encode())


def run(*args):
    return subprocess.run([program, *args], capture_output=True, text=True)


def serialize(package, tensors, meta):
    """From version 0.8 on the package takes addresses instead of bytes."""
    if not hasattr(package, "TensorSpec"):
        return package.serialize(tensors, meta)
    keep = {n: ctypes.create_string_buffer(t["data"], len(t["data"])) for n, t in tensors.items()}
    return package.serialize({n: package.TensorSpec(dtype=t["dtype"], shape=t["shape"], data_len=len(t["data"]),
                                                    data_ptr=ctypes.addressof(keep[n])) for n, t in tensors.items()}, meta)


def exchange(package, seed, folder):
    """Package writes, we list; we copy, package reads: the same tensors, or what differs."""
    r = random.Random(seed)
    types = [("float32", "F32", 4), ("float16", "F16", 2), ("bfloat16", "BF16", 2), ("int8", "I8", 1), ("uint8", "U8", 1),
             ("int64", "I64", 8), ("bool", "BOOL", 1), ("float64", "F64", 8), ("uint16", "U16", 2)]
    tensors, want = {}, {}
    for _ in range(r.randrange(1, 8)):  # for none and metadata the package (0.5.2, 0.8.0) writes no JSON
        name = "".join(r.choice("ab.0é日 \"\\/😀") for _ in range(r.randrange(1, 12)))
        theirs, ours, size = r.choice(types)
        shape = [r.randrange(5) for _ in range(r.randrange(5))]
        n = size
        for d in shape:
            n *= d
        tensors[name] = {"dtype": theirs, "shape": shape, "data": r.randbytes(n)}
        want[name] = ":".join([esc(name), ours, "x".join(map(str, shape)), tensors[name]["data"].hex()])
    meta = {k: "".join(r.choice("xyß\n\"") for _ in range(5)) for k in r.sample("abcdef", r.randrange(4))}
    a, b = os.path.join(folder, "a"), os.path.join(folder, "b")
    with open(a, "wb") as f:
        f.write(serialize(package, tensors, meta))
    text = " ".join(["ok"] + [want[n] for n in sorted(want, key=str.encode)])
    got = run("list", a)
    if got.returncode or got.stdout.rstrip("\n") != text:
        return "seed %d: we read %s%s, expected %s" % (seed, got.stdout[:300], got.stderr[:300], text[:300])
    got = run("copy", a, b)
    if got.returncode or os.path.exists(b + ".part"):
        return "seed %d: we do not write: %s%s" % (seed, got.stdout[:300], got.stderr[:300])
    with open(b, "rb") as f:
        back = dict(package.deserialize(f.read()))
    with open(a, "rb") as f:
        first = dict(package.deserialize(f.read()))
    with package.safe_open(b, "np") as f:
        meta_back = f.metadata()
    return None if (back, meta_back or {}) == (first, meta) else "seed %d: the package reads our file differently" % seed


with tempfile.TemporaryDirectory() as folder:
    try:
        import safetensors

        wrong = [w for w in (exchange(safetensors, s, folder) for s in range(300)) if w]
        check(not wrong, "300 random files from and to the safetensors package", wrong[:1])
    except ImportError:
        print("not run: tensor: exchange with the safetensors package: it is not installed")
    seeds = os.path.join(folder, "seeds")
    os.mkdir(seeds)
    subprocess.run([sys.executable, "vectors/gen/tensor.py", "--corpus", seeds], check=True)
    same = subprocess.run(["diff", "-r", seeds, "tests/corpus/tensor"], capture_output=True, text=True)
    check(same.returncode == 0, "tests/corpus/tensor is what vectors/gen/tensor.py makes", same.stdout[:200])
    real = "../shared/data/babyllama/model.safetensors"
    if os.path.exists(real):
        copy = os.path.join(folder, "copy")
        lists = [run("list", real).stdout, run("copy", real, copy).stdout, run("list", copy).stdout]
        check(lists[0] == lists[2] and lists[0].startswith("ok ") and not lists[1], "a real model, read and written again", lists[1])
    else:
        print("not run: tensor: a real model: %s is not there" % real)
print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
