"""The embedded model: what it can do before reinforcement learning, and what it cannot.

usage: tests/embedded.py   (ASSAY: the program, build/assay)

Greedy answers to drills of a seed that the training text does not have, and sampled derivations. The
program gives the same bits everywhere, so the counts are compared exactly.
"""

import collections
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ASSAY = os.path.join(ROOT, os.environ.get("ASSAY", "build/assay"))
MODEL = os.path.join(ROOT, "vectors/tiny")
LABELS = ("p = ", "T = ", "V = ", "H = ", "dq/dt = ", "dp/dt = ")
EACH = 25  # documents of a kind
EXPECTED = {
    "copy": (25, 25),
    "derivative": (24, 25),
    "derive": (25, 25),
    "list": (23, 23),
    "read": (24, 25),
    "simplify": (9, 25),
    "write": (19, 25),
}


def kind_of(question):
    last = question.rsplit("\n", 1)[-1]
    return {"d/dq": "derivative", "d/dp": "derivative"}.get(last.split(":")[0], last.split(":")[0])


def documents():
    command = [sys.executable, os.path.join(MODEL, "corpus.py"), "400", "9"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    form = r"<\|im_start\|>user\n(.*)<\|im_end\|>\n<\|im_start\|>assistant\n(.*)<\|im_end\|>$"
    for d in filter(None, text.split("<|endoftext|>")):
        yield re.match(form, d, re.S).groups()


def answer(question, temperature):
    command = [ASSAY, "generate", MODEL, "--chat", "-p", question, "-n", "150", "--temp", temperature]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip("\n")


def main():
    if not os.path.exists(os.path.join(MODEL, "model.safetensors")):
        print("not run: embedded: there is no model.safetensors (make tiny)")
        return 0
    asked, right = collections.Counter(), collections.Counter()
    for question, wanted in documents():
        kind = kind_of(question)
        if asked[kind] == EACH:
            continue
        asked[kind] += 1
        if kind == "derive":  # six lines in their order, whatever they say
            lines = answer(question, "1").split("\n")
            right[kind] += len(lines) == 6 and all(map(str.startswith, lines, LABELS))
        else:
            right[kind] += answer(question, "0") == wanted
    failed = 0
    for kind in sorted(asked):
        have = right[kind], asked[kind]
        failed += have != EXPECTED.get(kind)
        word = "ok" if have == EXPECTED.get(kind) else "FAIL"
        print("%s embedded: %s: %d of %d" % (word, kind, *have), "" if word == "ok" else EXPECTED)
    print("%d passed, %d failed" % (len(asked) - failed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
