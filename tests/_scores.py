"""All qualities right, greedy, for each system of an evaluation. usage: _scores.py EVAL.json"""

import json
import sys

skills = json.load(open(sys.argv[1], encoding="utf-8"))["skills"]
print(", ".join("%s %.0f%%" % (name, 100 * s["greedy"]["all"]["share"]) for name, s in skills.items()))
