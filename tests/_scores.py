"""All qualities right, greedy, for each system of an evaluation. usage: _scores.py EVAL.json [ANSWERS]

With the file of `--answers`: of different problems (draws repeat some), and of those among them with a
number above 9."""

import json
import re
import sys

result = json.load(open(sys.argv[1], encoding="utf-8"))
print(", ".join("%s %.0f%%" % (name, 100 * s["greedy"]["all"]["share"]) for name, s in result["skills"].items()))
answers = [json.loads(x) for x in open(sys.argv[2], encoding="utf-8")] if sys.argv[2:] else []
for name in result["skills"] if answers else ():
    right = {x["question"]: len(x["passed"]) == len(result["greedy"]) - 1
             for x in answers if x["sample"] < 0 and x["skill"] == name}  # fmt: skip
    large = [ok for question, ok in right.items() if any(int(n) > 9 for n in re.findall(r"\d+", question))]
    print("%-16s %5d different, %5.1f%% right; %4d with a number above 9, %5.1f%%" % (
        name, len(right), 100 * sum(right.values()) / len(right), len(large), 100 * sum(large) / max(len(large), 1)))  # fmt: skip
