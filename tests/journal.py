#!/usr/bin/env python3
"""The journal between two programs: what this one writes the independent reader and writer of
vectors/gen/journal.py reads and writes again byte for byte, and the other way round; and `assay journal`.

ASSAY names the program (default build/assay); the writer is the program of tests/test_journal.c."""

import json
import os
import random
import re
import stat
import struct
import subprocess
import sys
import tempfile

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, "vectors/gen")
import journal as J  # noqa: E402

ASSAY = os.environ.get("ASSAY", "build/assay")
WRITER = os.environ.get("TEST_JOURNAL", os.path.join("build", "gcc", "test_journal"))
failed = passed = 0


def check(ok, what, found=""):
    global failed, passed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(("ok journal: " + what) if ok else "FAIL journal: %s: %s" % (what, found))


def assay(*args):
    p = subprocess.run([ASSAY, "journal", *args], capture_output=True, timeout=60)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def save(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def load(path):
    with open(path, "rb") as f:
        return f.read()


def again(records):
    """The same records, put together here."""
    j = J.Journal()
    for _, _, kind, payload, _ in records:
        if kind == "signature":
            j.sign(J.SEED)
        else:
            j.add(kind, payload)
    return j.data


def same_float(text, value):
    """binary32 `value` as the export writes it: nine digits, or the name of what is no number."""
    if isinstance(text, str):
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        name = "inf" if bits << 1 == 0xFF000000 else "nan"
        return text == "-" * (bits >> 31) + name and bits << 1 >= 0xFF000000
    return struct.pack("<f", text) == struct.pack("<f", value)


def export_differs(lines, data):
    """Compares the JSON lines of a whole journal with what is read here."""
    records, torn, chain = J.read(data)
    lines = [json.loads(x, parse_int=lambda t: -0.0 if t == "-0" else int(t)) for x in lines.splitlines()]
    end = records[-1][1] + 44 + len(records[-1][3]) if records else 0
    if lines[-1:] != [dict(records=len(records), bytes=end, torn=torn, chain=chain.hex() if records else "")]:
        return "the last line: %r" % lines[-1:]
    if len(lines) != len(records) + 1:
        return "%d lines" % len(lines)
    for line, (number, at, kind, payload, link) in zip(lines, records):
        want = dict(record=number, at=at, kind=kind, size=len(payload), chain=link.hex(), **J.fields(kind, payload))
        for k, v in want.items():
            same = same_float(line.get(k), v) if type(v) is float else line.get(k) == v
            if not same:
                return "record %d: %s: %r, expected %r" % (number, k, line.get(k), v)
        if set(line) != set(want):
            return "record %d: %s" % (number, sorted(set(line) ^ set(want)))
    return None


def random_journal(r):
    def u64():
        return r.choice([0, 1, 2**63, J.BIG, r.randrange(2**64)])

    def i32(n):
        return [r.choice([0, -1, 2**31 - 1, -(2**31), r.randrange(200000)]) for _ in range(n)]

    def real():
        return struct.unpack("<f", struct.pack("<I", r.choice([0, 1 << 31, 0x7F800000, 0xFFC00000, 1, 0x447A0001, r.randrange(2**32)])))[0]

    texts = [b"{}", b'{"a":[1,"x",{"b":null}]}', b"[]", b"3", b'"s"', b"", b'{"a":1,"a":2}', "é日😀".encode(), b"\xff\xfe", b"\0"]
    j = J.Journal()
    for _ in range(r.randrange(9)):
        kind = r.randrange(1, 11)
        n, m = r.randrange(4), r.randrange(4)
        payload = {
            1: lambda: r.choice(texts),
            2: lambda: r.choice(texts),
            3: lambda: J.request(u64(), u64(), i32(n), u64(), real(), *i32(1), real(), u64() >> 32, u64() >> 32, *i32(2)),
            4: lambda: struct.pack("<QQ", u64(), u64()),
            5: lambda: J.feedback(u64(), u64(), real(), i32(n), i32(m)),
            6: lambda: J.tokens(u64(), u64(), *[(u64() >> 32, i32(1)[0]) for _ in range(n)]),
            7: lambda: J.update(u64(), u64(), u64(), r.choice([-1, 1]) * (u64() >> 1), u64() >> 32, real(), r.randbytes(32)),
            8: lambda: J.snapshot(u64(), u64(), r.randbytes(32), r.choice([b"a", b"state.7", b'"\\\n', b"\xc3", "é".encode()])),
            9: lambda: r.choice(texts),
        }.get(kind)
        if payload:
            j.add(kind, payload())
        else:
            j.sign(J.SEED)
    return j


def exchange(folder):
    path = os.path.join(folder, "sample")
    if not os.path.exists(WRITER):
        print("not run: journal: files of the writer: no %s" % WRITER)
    else:
        subprocess.run([WRITER, "sample", path], check=True)
        got = J.read(load(path))
        check(not isinstance(got, str) and len(got[0]) == 12 and got[1] == 0, "a file of the writer, read here", got)
        check(again(got[0]) == load(path), "a file of the writer, written again here, byte for byte")
        check({x[2] for x in got[0]} == set(J.KINDS), "it has every kind")
    wrong = []
    for seed in range(150):
        r = random.Random(seed)
        data = random_journal(r).data
        if seed % 3 == 0:
            data = data[: r.randrange(len(data) + 1)]
        if seed % 5 == 0 and len(data) > 16:
            data += bytes(r.randrange(30))
        code, out, err = assay(save(path, data), "--json")
        want = J.read(data)
        if isinstance(want, str):  # cut off, with zero bytes behind: no torn tail any more
            if (code, err) != (1, "assay: %s: %s\n" % (path, want)):
                wrong.append((seed, code, err, want))
        elif code or err or export_differs(out, data):
            wrong.append((seed, code, err, out[-200:] if code else export_differs(out, data)))
    check(not wrong, "150 random files of this writer, exported as JSON lines", wrong[:1])
    j = J.full()
    code, out, err = assay(save(path, j.data), "--json")
    check(code == 0 and not export_differs(out, j.data), "every kind as JSON lines", (code, err, export_differs(out, j.data)))
    assert export_differs(out.replace('"top_k":40', '"top_k":41'), j.data), "the comparison sees nothing"


def listing(folder):
    path = os.path.join(folder, "list")
    j = J.full()
    code, out, err = assay(save(path, j.data))
    lines = out.splitlines()
    records = J.read(j.data)[0]
    check(code == 0 and not err and len(lines) == len(records) + 1, "the list", (code, err, out))
    heads = [(int(n), int(at), kind, int(size), chain) for n, at, kind, size, chain in (x.split()[:5] for x in lines[:-1])]
    check(heads == [(n, at, k, len(p), c.hex()[:8]) for n, at, k, p, c in records], "number, offset, kind, size and chain", heads)
    check(lines[-1] == "%d records, %d bytes, 0 torn, chain %s" % (len(records), len(j.data), j.chain.hex()), "its last line", lines[-1])
    said = [re.split(r" [0-9a-f]{8} ", x)[1] for x in lines[:-1]]
    want = {
        1: "id 1, prompt of 5, at most 16 tokens",
        3: "version 0, 2 tokens",
        5: "id 1",
        6: "id 2, prompt of 2, answer of 3 tokens, weight 0.5",
        8: "version 1, loss 1.6667, norm 0.125",
        10: "version 2, run.2.safetensors",
        11: 'version 2, "\\???',
        14: "",
        15: "version 2, 2 tokens",
        16: "version 2, 2 answers, 6.00 qualities each",
        19: "by key " + "".join("%02x" % b for b in reversed(J.public(J.SEED)[:4])),
    }
    check(all(said[i] == w for i, w in want.items()), "what each record says", said)
    check(all(32 <= ord(c) < 127 for c in out.replace("\n", "")), "nothing of a file moves the cursor")
    code, out, err = assay(save(path, j.data + b"torn"))
    check(code == 0 and not err and out.splitlines()[-1].startswith("20 records, %d bytes, 4 torn, " % len(j.data)), "a torn tail is said", out)
    check(load(path) == j.data + b"torn", "listing changes nothing")


def damage(folder):
    path = os.path.join(folder, "damage")
    j = J.full()
    at = J.read(j.data)[0][7][1]
    bad = J.flip(j.data, at + 14, 2)
    line = "%s: record 8 at byte %d: the chain does not hold (kind 5, 28 bytes)" % (path, at)
    for how in ([], ["--json"]):
        code, out, err = assay(save(path, bad), *how)
        check(code == 1 and err == "assay: %s\n" % line and len(out.splitlines()) == 7, "damage: what is before, then the line", (code, out, err))
    check(load(path) == bad, "damage is not cut unasked")
    code, out, err = assay(path, "--cut")
    check(code == 0 and len(out.splitlines()) == 7 and err == "cut behind record 7: %d bytes are lost: %s\n" % (len(bad) - at, line), "--cut", (code, err))
    check(load(path) == j.data[:at], "--cut keeps all in front, and nothing else")
    code, out, err = assay(path, "--cut")
    check(code == 0 and "0 bytes are lost" in err and load(path) == j.data[:at], "--cut of a whole journal cuts nothing", err)
    code, out, err = assay(save(path, j.data + b"torn"), "--cut")
    check(code == 0 and "4 bytes are lost" in err and load(path) == j.data, "--cut of a torn tail", err)
    code, out, err = assay(save(path, b"assay journal 2\n" + j.data[16:]), "--cut")
    check(code == 1 and "byte 14: expected a journal" in err and load(path)[16:] == j.data[16:], "--cut of another file", (code, err))
    code, out, err = assay(os.path.join(folder, "none"), "--cut")
    check(code == 1 and err.count("\n") == 1 and "No such file" in err, "--cut of no file", (code, err))


def keys(folder):
    path, key = os.path.join(folder, "signed"), os.path.join(folder, "key")
    code, out, err = assay("--keygen", key)
    check((code, out, err) == (0, "", "") and stat.S_IMODE(os.stat(key).st_mode) == 0o600, "--keygen: its owner's only", (code, err))
    secret, public = load(key).strip(), load(key + ".pub").strip()
    check(re.fullmatch(b"[0-9a-f]{128}", secret) and secret[64:] == public, "a key is a seed and its public key in hex")
    seed = bytes.fromhex(secret[:64].decode())
    check(J.public(seed).hex().encode() == public, "Ed25519 of RFC 8032")
    code, out, err = assay("--keygen", key)
    check(code == 1 and "File exists" in err and load(key).strip() == secret, "--keygen replaces no key", err)
    os.unlink(key + ".pub")
    code, out, err = assay("--keygen", key)
    check(code == 1 and not os.path.exists(key + ".pub") and load(key).strip() == secret, "nor half of a pair", err)
    save(key + ".pub", public)
    first = J.full()
    pub = save(os.path.join(folder, "other.pub"), J.public(J.SEED).hex().encode() + b"\n")
    code, out, err = assay(save(path, first.data), "--key", pub)
    check(code == 0 and not err, "--key: signed", err)
    code, out, err = assay(path, "--key", key + ".pub")
    check(code == 1 and "signed by another key" in err and err.count("\n") == 1, "--key: by another key", err)
    code, out, err = assay(save(path, J.full().add("stop", b"").data), "--key", pub)
    check(code == 1 and "the last record is no signature" in err, "--key: a record behind the signature", err)
    code, out, err = assay(save(path, J.MAGIC), "--key", pub)
    check(code == 1 and "the last record is no signature" in err, "--key: no record", err)
    j = J.small()
    code, out, err = assay(save(path, j.add("signature", J.public(seed) + J.sign(seed, j.chain)).data), "--key", key + ".pub")
    check(code == 0 and not err, "a signature made here by a new key", err)
    hexes = [b"", public[:-1], public[:-2], public + b"00", public + b"\n\n", public + b" ", b"g" + public[1:], secret]
    for k, text in enumerate(hexes):
        code, out, err = assay(path, "--key", save(os.path.join(folder, "bad.pub"), text))
        check(code == 1 and "bad.pub: expected a key of 64 hex digits" in err and not out, "a key file that is none (%d)" % k, err)


with tempfile.TemporaryDirectory(dir="build") as folder:
    exchange(folder)
    listing(folder)
    damage(folder)
    keys(folder)
    seeds = os.path.join(folder, "seeds")
    os.mkdir(seeds)
    subprocess.run([sys.executable, "vectors/gen/journal.py", "--corpus", seeds], check=True)
    same = subprocess.run(["diff", "-r", seeds, "tests/corpus/journal"], capture_output=True, text=True)
    check(same.returncode == 0, "tests/corpus/journal is what vectors/gen/journal.py makes", same.stdout[:200])
print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
