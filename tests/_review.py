"""Answers of an evaluation, judged again by SymPy (tests/task.py).

usage: _review.py ANSWERS [N]    ANSWERS: of `assay eval MODEL --task hamilton --answers FILE`

Takes N (default 500) sampled answers that the program found wholly right and as many others, spread
evenly over the file, and compares every quality with the independent judge's. Then some of the right
ones in full, to be read by a person.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import task  # noqa: E402

READ = 50


def spread(lines, n):
    n = min(n, len(lines))
    return [lines[i * len(lines) // n] for i in range(n)]


def main():
    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    lines = [json.loads(x) for x in open(sys.argv[1], encoding="utf-8")]
    lines = [x for x in lines if x["sample"] >= 0]
    every = set(task.HAMILTON)
    right = spread([x for x in lines if set(x["passed"]) == every], wanted)
    wrong = spread([x for x in lines if set(x["passed"]) != every], wanted)
    differ = 0
    for x in right + wrong:
        formed, have = task.judge(x["question"], x["answer"])
        if formed != x["formed"] or have != set(x["passed"]):
            differ += 1
            print("DIFFERS", json.dumps(x), formed, sorted(have ^ set(x["passed"])))
    print("%d answers found right and %d others, judged again: %d differ" % (len(right), len(wrong), differ))
    for question, answer in spread(sorted({(x["question"], x["answer"]) for x in right}), READ):
        print("\n%s\n%s" % (question.replace("\nderive", ""), answer))
    return differ > 0


if __name__ == "__main__":
    sys.exit(main())
