"""A journal of serving and learning at the same time, executed again: by each backend, from a
snapshot, and after somebody has changed a result and made the chain right again."""

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from _serve import ASSAY, ROOT, Report, Server, clean  # noqa: E402

REPORT = Report("replay")
check = REPORT.check
MAGIC = b"assay journal 1\n"
KIND = {"request": 3, "tokens": 6, "update": 7, "snapshot": 8}


def records(data):
    """Kind and payload of each record."""
    at, out = len(MAGIC), []
    while at < len(data):
        size, kind = struct.unpack_from("<II", data, at)
        out.append((kind, data[at + 12 : at + 12 + size]))
        at += 12 + size + 32
    return out


def written(all_records):
    """A file of these records with a chain that holds."""
    out, chain = bytearray(MAGIC), hashlib.sha256(MAGIC).digest()
    for kind, payload in all_records:
        head = struct.pack("<II", len(payload), kind)
        check4 = hashlib.sha256(chain + head).digest()[:4]
        chain = hashlib.sha256(chain + head + payload).digest()
        out += head + check4 + payload + chain
    return bytes(out)


def replay(*words, program=ASSAY):
    run = subprocess.run([program, "replay", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = re.search(r"same weights: SHA-256 (\w{64})", run.stdout)
    return run.returncode, found and found.group(1), run.stderr.strip()


def make_journal(model, text):
    """Three clients at once while it learns; the journal, and the digest that the server said."""
    options = ["--learn", text, "--steps", 6, "--batch", 2, "--ctx", 24, "--micro", 1, "--lr", 0.01, "--snapshot", 2,
               "--slots", 2, "--context", 96, "--slice", 8, "--share", 90, "--feedback", "--sign", ROOT + "/key"]  # fmt: skip
    journal = ROOT + "/kept"
    seen = []

    def one(s, k):
        body = {"prompt": "user derive: spring " * (k + 1), "max_tokens": 40, "temperature": 0.9 * (k % 2), "seed": k}
        seen.append(s.ask("/v1/completions", body))

    with Server(*options, model=model, journal=journal) as s:
        answer = s.ask("/v1/completions", {"prompt": "user derive: ", "max_tokens": 2})[2]
        said = s.ask("/v1/feedback", {"id": answer["id"], "answer": "T = p^2/2"})
        threads = [threading.Thread(target=one, args=(s, k)) for k in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        s.until("weight_version", 6, 300)
        s.stop()
        kept = open(journal, "rb").read()
        for name in os.listdir(ROOT):
            if name.startswith("kept.v"):
                shutil.copy(os.path.join(ROOT, name), os.path.join(ROOT, "again" + name[4:]))
    with open(ROOT + "/again", "wb") as f:
        f.write(kept)
    check(all(x[0] == 200 for x in seen) and said[0] == 200, "three clients and a sample are answered", (seen, said))
    versions = {(x[2]["choices"][0]["assay"]["version_first"], x[2]["choices"][0]["assay"]["version_last"]) for x in seen}
    check(any(b > a for a, b in versions), "weights change under a text that is being written", versions)
    digest = re.search(r"SHA-256 (\w{64})", s.out)
    check(s.code == 0 and digest, "the server ends in good order", (s.code, s.err))
    return kept, digest.group(1)


def changed(kept, kind, which, at, what):
    """Another byte in the which-th record of a kind, from byte `at` of its payload; its number."""
    all_records = records(kept)
    number = [i for i, r in enumerate(all_records) if r[0] == KIND[kind]][which]
    payload = bytearray(all_records[number][1])
    payload[at] ^= what
    all_records[number] = (KIND[kind], bytes(payload))
    with open(ROOT + "/forged", "wb") as f:
        f.write(written(all_records))
    return number + 1


def forged(kept):
    check(written(records(kept)) == kept, "an independent writer makes the same file")
    for kind, which, at, what, name in (
        ("tokens", 5, 20, 1, "a token"), ("tokens", 9, 8, 1, "the version of a step"),
        ("update", 2, 24, 1, "a loss"), ("update", 3, 36, 1, "a norm"), ("update", 1, 40, 128, "a digest"),
        ("snapshot", 0, 16, 1, "the digest of a snapshot"), ("request", 1, 36, 1, "a seed"),
        ("request", 0, 0, 1, "the turn of a request")):  # fmt: skip
        number = changed(kept, kind, which, at, what)
        code, digest, err = replay(ROOT + "/forged")
        found = re.search(r"record (\d+)", err)
        # a changed input shows in the first result that it changes
        right = found and (int(found.group(1)) >= number if kind == "request" else int(found.group(1)) == number)
        check(code == 1 and not digest and right and err.count("\n") == 0, name + " that was changed is named", (number, err))


def main():
    clean()
    os.makedirs(ROOT)
    model, text = ROOT + "/tq4", ROOT + "/new.txt"
    subprocess.run([ASSAY, "quantize", "vectors/tiny", model], check=True, stderr=subprocess.DEVNULL)
    made = subprocess.run([sys.executable, "vectors/tiny/corpus.py", "200", "3", "--new"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)  # fmt: skip
    with open(text, "wb") as f:
        f.write(made.stdout)
    subprocess.run([ASSAY, "journal", "--keygen", ROOT + "/key"], check=True)
    kept, digest = make_journal(model, text)
    signed = subprocess.run([ASSAY, "journal", ROOT + "/again", "--key", ROOT + "/key.pub"], stdout=subprocess.DEVNULL)
    check(signed.returncode == 0, "the server signed its journal when it ended")
    for words in (["--backend", "simd"], ["--backend", "ref"], ["--jobs", "1"], ["--from", "v00000002"],
                  ["--from", "v00000004", "--backend", "ref"], ["--from", "v00000006"]):  # fmt: skip
        if "--from" in words and not os.path.exists(ROOT + "/again." + words[1]):
            continue  # two snapshots stay
        code, got, err = replay(ROOT + "/again", *words)
        check(code == 0 and got == digest, "replay " + " ".join(words) + ": the same weights", (code, got, err))
    check(os.path.exists(ROOT + "/again.v00000006"), "the last snapshots stay")
    emulated = "build/emu/assay"
    made = subprocess.run(["make", "emu"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if made.returncode == 0 and os.path.exists(emulated):
        code, got, err = replay(ROOT + "/again", "--backend", "emu", program=emulated)
        check(code == 0 and got == digest, "replay by the emulated kernels: the same weights", (code, got, err))
    else:
        print("not run: replay: %s is not built (make emu)" % emulated)
    forged(kept)
    lines = subprocess.run([ASSAY, "journal", ROOT + "/again", "--json"], stdout=subprocess.PIPE, check=True).stdout
    kinds = [json.loads(x).get("kind") for x in lines.splitlines()][:-1]
    check(kinds[0] == "open" and kinds[-2:] == ["stop", "signature"] and kinds.count("update") == 6, "the journal as lines of JSON", kinds)
    clean()
    return REPORT.failed > 0


if __name__ == "__main__":
    sys.exit(main())
