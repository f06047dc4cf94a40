"""The table of chapter 37, from the runs under a folder.

usage: _showcase.py FOLDER [FIRST LAST]

With two steps: of each journal METHOD-WHAT-SEED.journal, finished or not, the answers of these steps
that had all qualities, by system, the mean over the trained systems, and the journal's digest of the
last step (not the SHA-256 of the weights); the step after which the run first had a score; and the
ratio of these steps with gates and without, and with one reward and with one for each line, the geometric
mean over seeds with Student's interval of 95%.
Otherwise, for each run: held-out answers with all qualities, greedy and sampled, over the trained
systems, with Wilson's interval; by system; of each method the mean over seeds, and of pairs
of methods the mean difference, with Student's interval; and the step and the tokens drawn until each
quality was first mastered in one system, and in how many it is mastered at the end.
"""

import json
import math
import os
import subprocess
import sys

ASSAY = os.environ.get("ASSAY", "build/assay")
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}  # of Student's distribution, by degrees of freedom


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


def practised(path, every, window=64):
    """[(what each skill tried, by its number: of its last 64 answers the share with all qualities)] after
    each step, {step: {skill: [had all]}}, {step: digest}."""
    last, scores, answers, digests, now = {}, [], {}, {}, []
    for line in subprocess.run([ASSAY, "journal", path, "--json"], stdout=subprocess.PIPE, text=True).stdout.splitlines():
        r = json.loads(line)
        if r.get("kind") == "reward":
            now = [(r["answers"][i] & 255, r["answers"][i + 1] == every) for i in range(0, len(r["answers"]), 3)]
        if r.get("kind") == "update":
            digests[r["step"]], of = r["digest"], answers.setdefault(r["step"], {})
            for skill, right in now:
                of.setdefault(skill, []).append(right)
                last[skill] = (last.get(skill, []) + [right])[-window:]
            scores.append({k: sum(v) / len(v) for k, v in last.items()})
    return scores, answers, digests


def compare(folder, first, last):
    known = json.load(open("vectors/hamilton/eval.json"))  # names of qualities and skills, in order
    every = (1 << len(known["greedy"]) - 1) - 1  # "all" is none of them
    count = len(known["skills"]) - 1  # one is never practised
    names = sorted(n[: -len(".journal")] for n in os.listdir(folder) if n.endswith(".journal"))
    runs = {n: practised("%s/%s.journal" % (folder, n), every) for n in names}
    runs = {n: r for n, r in runs.items() if len(r[0]) >= last}
    if not runs:
        sys.exit("no journal in %s has step %d" % (folder, last))
    print("| run | mean | " + " | ".join(list(known["skills"])[:count]) + " | digest |")
    print("|---" * (3 + count) + "|")
    for n, (_, answers, digests) in runs.items():
        tried = [sum((answers[s].get(k, []) for s in range(first, last + 1)), []) for k in range(count)]
        shares = [sum(t) / len(t) if t else None for t in tried]
        each = " | ".join("-" if x is None else "%.0f" % (100 * x) for x in shares)
        print("| %s | %.1f | %s | %s |" % (n, 100 * sum(x or 0 for x in shares) / count, each, digests[last][:16]))
    print("\nsteps to a score (mean over %d systems of the share of right answers among the last 64 of each)" % count)
    marks = (10, 20, 30, 40, 50, 60, 70, 80)
    print("| run | " + " | ".join("%d%%" % m for m in marks) + " | score after step %d |" % last)
    print("|---" * (2 + len(marks)) + "|")
    reached = {}
    for n, (scores, _, _) in runs.items():
        mean = [100 * sum(s.values()) / count for s in scores[:last]]
        when = [next((str(i + 1) for i, x in enumerate(mean) if x >= m), "-") for m in marks]
        print("| %s | %s | %.1f |" % (n, " | ".join(when), mean[last - 1]))
        reached[n] = when
    for what, method, name in ((w, *m) for w in ("r1r2", "all") for m in (("qgre", "gates/without"), ("uniform", "one reward/one for each line"))):
        seeds = [n.split("-")[2] for n in reached if n.startswith("%s-%s-" % (method, what)) and n.replace(method, "credit") in reached]
        pairs = [[reached["%s-%s-%s" % (m, what, seed)] for m in (method, "credit")] for seed in seeds]
        if pairs:
            print("| %s, %s | %s | |" % (name, what, " | ".join(ratio([(a[k], b[k]) for a, b in pairs]) for k in range(len(marks)))))


def spread(values):
    """Mean, and half of Student's interval of 95% (None: of one value)."""
    n, mean = len(values), sum(values) / len(values)
    if n < 2 or n - 1 not in T95:
        return mean, None
    return mean, T95[n - 1] * math.sqrt(sum((x - mean) ** 2 for x in values) / (n - 1) / n)


def over_seeds(scores):
    """Of {run: scores} the mean over seeds of the shares with all, of each method, and of pairs of a seed."""
    print("\n| all: over seeds | seeds | mean | +- |")
    print("|---" * 4 + "|")
    for kind, what in ((k, w) for k in ("greedy", "sampled") for w in ("r1r2", "all")):
        share = {tuple(n.split("-")): 100 * e[kind]["all"]["share"] for n, e in scores.items()}
        of = {m: {k[2]: x for k, x in share.items() if k[:2] == (m, what)} for m in ("qgre", "credit", "uniform")}
        pairs = {"%s - %s" % (a, b): {s: x - of[b][s] for s, x in of[a].items() if s in of[b]}
                 for a, b in (("qgre", "credit"), ("credit", "uniform"), ("qgre", "uniform"))}  # fmt: skip
        for name, values in (*of.items(), *pairs.items()):
            if values:
                mean, half = spread(list(values.values()))
                row = ("%s: %s, %s" % (kind, name, what), " ".join(sorted(values)), mean, "-" if half is None else "%.1f" % half)
                print("| %s | %s | %.1f | %s |" % row)


def ratio(steps):
    """Of pairs of steps, "-" where a score was never reached: the geometric mean of their quotients."""
    logs = [math.log(int(a) / int(b)) for a, b in steps if a != "-" and b != "-"]
    n = len(logs)
    if n < len(steps):
        return "%d of %d never" % (len(steps) - n, len(steps))
    mean, half = spread(logs)
    if half is None:
        return "%.2f" % math.exp(mean)
    return "%.2f (%.2f to %.2f)" % tuple(math.exp(x) for x in (mean, mean - half, mean + half))


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
    over_seeds(scores)
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
