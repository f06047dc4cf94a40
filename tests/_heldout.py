"""Held-out scores on the way: what chapter 37 says of steps to the same held-out score.

usage: _heldout.py FOLDER RUN...    RUN: METHOD-WHAT-SEED, whose snapshots `showcase.sh` kept in FOLDER/steps

Of each snapshot: the model that the run began with, its learned values put in place, and the shares of 50
held-out problems of each system, all qualities, greedily and drawn once. Then the
first step with each score, by straight lines between the snapshots.
"""

import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

ASSAY = os.environ.get("ASSAY", "build/assay")
MARKS = (10, 20, 30, 40, 50, 60, 70, 80, 90)


def tensors(data):
    """{name: (type, begin, end)} of a safetensors file."""
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + n])
    return {k: (t["dtype"], *(8 + n + x for x in t["data_offsets"])) for k, t in head.items() if k != "__metadata__"}


def model_at(base, snapshot, to):
    shutil.copytree(base, to, ignore=shutil.ignore_patterns("train*", "*.py", "*.sh", "*.txt"))
    with open(to + "/model.safetensors", "rb") as f:
        model = bytearray(f.read())
    with open(snapshot, "rb") as f:
        values = f.read()
    into, changed = tensors(model), 0
    for name, (kind, a, b) in tensors(values).items():
        if name in into:
            have, c, d = into[name]
            if have != kind or d - c != b - a:
                sys.exit("%s: %s is of another type or size" % (snapshot, name))
            model[c:d], changed = values[a:b], changed + 1
    if not changed:
        sys.exit("%s: nothing of this model" % snapshot)
    with open(to + "/model.safetensors", "wb") as f:
        f.write(model)


def score(folder):
    out = subprocess.run([ASSAY, "eval", folder, "--task", "hamilton", "--problems", "50", "--samples", "1", "--json", "-",
                          *(("--jobs", os.environ["JOBS"]) if "JOBS" in os.environ else ())],
                         stdout=subprocess.PIPE, check=True)  # fmt: skip
    r = json.loads(out.stdout)
    return [100 * r[k]["all"]["share"] for k in ("greedy", "sampled")]


def reached(points, mark):
    """The step at which a line through (step, score) first has the mark; None: never."""
    for (s, x), (t, y) in zip(points, points[1:]):
        if y >= mark:
            return s + (t - s) * max(0, mark - x) / (y - x) if y > x else s
    return None


def main():
    folder, runs = sys.argv[1], sys.argv[2:]
    for run in runs:
        base = "vectors/tiny" if "-all-" in run else folder + "/tq4"
        points = [(0, [0, 0])]
        print("| %s | greedy | sampled |\n|---|---|---|" % run)
        for snapshot in sorted(glob.glob("%s/steps/%s.journal.v????????" % (folder, run))):
            with tempfile.TemporaryDirectory() as at:
                model_at(base, snapshot, at + "/m")
                points.append((int(snapshot[-8:]), score(at + "/m")))
            print("| %d | %.1f | %.1f |" % (points[-1][0], *points[-1][1]), flush=True)
        for i, name in enumerate(("greedy", "sampled")):
            when = [reached([(s, x[i]) for s, x in points], m) for m in MARKS]
            print("%s: %s" % (name, ", ".join("%d%% %s" % (m, "never" if w is None else round(w)) for m, w in zip(MARKS, when))))


if __name__ == "__main__":
    main()
