"""The table of chapter 37, from the runs under a folder.

usage: _showcase.py FOLDER [FIRST LAST]

With two steps: of each journal METHOD-WHAT-SEED.journal, finished or not, the answers of these steps
that had all qualities, by system, the mean over the trained systems, and the digest of the last
step's weights. Otherwise, for each run: held-out answers with all qualities, greedy and sampled, over
the trained systems, with Wilson's interval; by system; and the step and the tokens drawn until each quality was first
mastered in one system, and in how many it is mastered at the end.
"""

import json
import os
import subprocess
import sys

ASSAY = os.environ.get("ASSAY", "build/assay")


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


def practised(path, first, last, every):
    """{skill: share of its answers in these steps that had all qualities}, digest; None: not so far."""
    tried, digest, step = {}, None, 0
    for line in subprocess.run([ASSAY, "journal", path, "--json"], stdout=subprocess.PIPE, text=True).stdout.splitlines():
        r = json.loads(line)
        if r.get("kind") == "reward":
            now = r["answers"]
            skills = [(now[i] & 255, now[i + 1]) for i in range(0, len(now), 3)]
        if r.get("kind") == "update":
            step = r["step"]
            digest = r["digest"] if step == last else digest
            for skill, has in skills if first <= step <= last else ():
                tried.setdefault(skill, []).append(has)
    if step < last:
        return None
    return {k: sum(h == every for h in v) / len(v) for k, v in tried.items()}, digest


def compare(folder, first, last):
    known = json.load(open("vectors/hamilton/eval.json"))  # names of qualities and skills, in order
    every = (1 << len(known["greedy"]) - 1) - 1  # "all" is none of them
    names = sorted(n for n in os.listdir(folder) if n.endswith(".journal"))
    runs = {n: practised(folder + "/" + n, first, last, every) for n in names}
    count = max([max(r[0]) + 1 for r in runs.values() if r], default=0)
    if not count:
        sys.exit("no journal in %s has step %d" % (folder, last))
    print("| run | mean | " + " | ".join(list(known["skills"])[:count]) + " | digest |")
    print("|---" * (3 + count) + "|")
    for n, r in runs.items():
        if r:
            each = " | ".join("%.0f" % (100 * r[0][k]) if k in r[0] else "-" for k in range(count))
            mean = sum(r[0].get(k, 0) for k in range(count)) / count
            print("| %s | %.1f | %s | %s |" % (n[: -len(".journal")], 100 * mean, each, r[1][:16]))


def main():
    folder = sys.argv[1]
    if len(sys.argv) == 4:
        return compare(folder, int(sys.argv[2]), int(sys.argv[3]))
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
