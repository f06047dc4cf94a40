"""The table of chapter 37, from the runs under a folder.

usage: _showcase.py FOLDER

For each run: held-out answers with all qualities, greedy and sampled, over the trained systems, with
Wilson's interval; by system; and the step and the tokens drawn until each quality was first
mastered in one system, and in how many it is mastered at the end.
"""

import json
import os
import sys


def first_mastered(run):
    """{quality: (step, tokens drawn until then, systems at the end)}; None: never."""
    out, tokens = {}, 0
    for s in run["steps"]:
        tokens += s["tokens"]
        for k, name in enumerate(run["qualities"]):
            if name not in out and any(m >> k & 1 for m in s["mastered"]):
                out[name] = (s["step"], tokens)
    last = run["steps"][-1]["mastered"]
    return {n: (*out[n], sum(m >> k & 1 for m in last)) if n in out else None for k, n in enumerate(run["qualities"])}


def percent(x):
    return "%.0f (%.0f to %.0f)" % (100 * x["share"], 100 * x["low"], 100 * x["high"])


def main():
    folder = sys.argv[1]
    names = sorted(n[:-5] for n in os.listdir(folder) if n.endswith(".json"))
    scores = {n: json.load(open("%s/%s.json" % (folder, n))) for n in names}
    runs = {n: json.load(open("%s/%s/train.json" % (folder, n))) for n in names}
    if not names:
        sys.exit("no runs in " + folder)
    systems = list(scores[names[0]]["skills"])
    print("| run | steps | tokens drawn | greedy, all | sampled, all | " + " | ".join(systems) + " |")
    print("|---" * (5 + len(systems)) + "|")
    for n in names:
        e, r = scores[n], runs[n]
        each = ["%.0f" % (100 * e["skills"][s]["greedy"]["all"]["share"]) for s in systems]
        print("| %s | %d | %d | %s | %s | %s |" % (n, len(r["steps"]), sum(s["tokens"] for s in r["steps"]),
              percent(e["greedy"]["all"]), percent(e["sampled"]["all"]), " | ".join(each)))  # fmt: skip
    qualities = runs[names[0]]["qualities"]
    print("\n| greedy, trained systems | " + " | ".join(names) + " |")
    print("|---" * (1 + len(names)) + "|")
    for q in qualities:
        print("| %s | %s |" % (q, " | ".join("%.0f" % (100 * scores[n]["greedy"][q]["share"]) for n in names)))
    print("\n| first mastered: step, thousand tokens, systems at the end | " + " | ".join(names) + " |")
    print("|---" * (1 + len(names)) + "|")
    for q in qualities:
        got = [first_mastered(runs[n])[q] for n in names]
        print("| %s | %s |" % (q, " | ".join("%d, %d, %d" % (g[0], g[1] // 1000, g[2]) if g else "never" for g in got)))


if __name__ == "__main__":
    main()
