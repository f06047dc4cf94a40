"""assay eval: counts, shares and intervals by independent formulas; the same bytes for any threads
and backend; what is shown; refused input. The curves of practice against the journal's own export.
ASSAY names the program (default build/assay)."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from decimal import Decimal, getcontext
from fractions import Fraction

sys.path.append(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "vectors", "gen"))  # its journal

import convert  # noqa: E402
import dense  # noqa: E402
import journal as J  # noqa: E402
import task  # noqa: E402
from convert import ASSAY, ENV, ROOT, assay, error_line  # noqa: E402

REPORT = convert.Report("eval")
check = REPORT.check
TINY = os.path.join(ROOT, "vectors", "tiny")
HAMILTON = ["%s %s" % (s, g) for s in ("p", "T", "V", "H", "dq/dt", "dp/dt") for g in ("structure", "truth")] + ["V form", "V half", "p form", "T form", "dp/dt form", "dp/dt half", "V first", "p first", "T first", "V gravity", "V mass"]
getcontext().prec = 40


def scores(folder, task, *options, problems=3, samples=2):
    """What --json - prints."""
    code, out, err = assay(
        "eval", folder, "--task", task, "--problems", problems, "--samples", samples, "--json", "-", *options
    )
    return json.loads(out) if code == 0 else {"error": err}


# ---- intervals -----------------------------------------------------------------------------------
def wilson(share, n):
    """The p at which a mean of `share` over n trials is z standard deviations away: two roots."""
    z2, share, n = Decimal("1.959963984540054") ** 2, Decimal(share), Decimal(n)
    a, b, c = 1 + z2 / n, 2 * share + z2 / n, share * share
    root = (b * b - 4 * a * c).sqrt()
    return max((b - root) / (2 * a), Decimal(0)), min((b + root) / (2 * a), Decimal(1))


def wrong_entry(x, n, problems):
    if x["n"] != n or not 0 <= x["passed"] <= n:
        return "n %s" % x
    share = Decimal(x["passed"]) / n if n else Decimal(0)
    low, high = wilson(share, problems) if n else (0, 1)
    for key, value in (("share", share), ("low", low), ("high", high)):
        if abs(Decimal(x[key]) - Decimal(value)) > Decimal("3e-7"):
            return "%s %s, expected %s" % (key, x, value)
    return ""


def check_counts(folder, task, problems, samples):
    s = scores(folder, task, problems=problems, samples=samples)
    wrong = [k for k in ("task", "model", "sha256", "problems", "samples", "seed") if k not in s]
    if wrong:
        return check(False, "%s: the keys of the JSON" % task, s)
    wrong = [] if len(s["skills"]) > 1 else ["skills"]
    trained = [x for x in s["skills"].values() if x["trained"]]
    for kind, each in (("greedy", 1), ("sampled", samples)):
        for x in s["skills"].values():
            wrong += [wrong_entry(q, problems * each, problems) for q in x[kind].values()]
            wrong += ["all"] * (x[kind]["all"]["passed"] > min(q["passed"] for q in x[kind].values()))
            wrong += ["different"] * (not 1 <= x["different"] <= problems)
        for quality, q in s[kind].items():
            wrong.append(wrong_entry(q, len(trained) * problems * each, len(trained) * problems))
            wrong += ["sum of " + quality] * (q["passed"] != sum(x[kind][quality]["passed"] for x in trained))
    wrong = [x for x in wrong if x]
    check(not wrong, "%s: counts, shares, Wilson's intervals and sums over %d skills" % (task, len(trained)), wrong[:3])
    some = sum(q["passed"] for kind in ("greedy", "sampled") for q in s[kind].values())
    check(some > 0, "%s: something was passed, so something was counted" % task)
    return s


def check_table(folder, task, s):
    """The table says what the JSON says."""
    out = assay("eval", folder, "--task", task, "--problems", s["problems"], "--samples", s["samples"])[1].decode()
    rows, wrong = {}, []
    for line in out.splitlines():
        m = re.match(r"(.{16})((?: +\d+/\d+)+)$", line)
        if m:
            rows[m[1].strip()] = [tuple(map(int, x.split("/"))) for x in m[2].split()]
    for quality in s["greedy"]:
        all_of = list(s["skills"].values()) + [s]
        for have, x in zip(rows.get(quality, []), all_of):
            wrong += [(quality, have)] * any(
                abs(100 * x[k][quality]["share"] - have[i]) > 0.5001 for i, k in enumerate(("greedy", "sampled"))
            )
        wrong += [quality] * (len(rows.get(quality, [])) != len(all_of))
    g = s["greedy"]["all"]
    line = "greedy %.1f%% (%.1f to %.1f) of %d" % (100 * g["share"], 100 * g["low"], 100 * g["high"], g["n"])
    check(not wrong and line in out, "%s: the table is the JSON, rounded" % task, (wrong[:3], out[-400:]))


def check_same_bytes(folder):
    def run(*options):
        return assay("eval", folder, "--task", "hamilton", "--problems", 2, "--samples", 1, "--json", "-", *options)

    base = run("--jobs", 1)
    other = [run("--jobs", 2), run("--backend", "ref")]
    check(base[0] == 0 and all(x == base for x in other), "the same bytes with 2 threads, and by ref", [base, *other])
    other = {**json.loads(run("--seed", 2)[1]), "seed": 1}
    check(other != json.loads(base[1]), "another seed asks and draws something else")
    with tempfile.TemporaryDirectory() as at:
        texts = []
        for k, options in enumerate(((), ("--jobs", 2), ("--backend", "ref"), ("--seed", 2))):
            run("--answers", "%s/%d" % (at, k), *options)
            with open("%s/%d" % (at, k), encoding="utf-8") as f:
                texts.append([json.loads(x) for x in f])
    check(texts[0] == texts[1] == texts[2] != texts[3] and len(texts[0]) == 2 * 2 * len(json.loads(base[1])["skills"]),
          "and the same answers; those of another seed are others", [len(x) for x in texts])  # fmt: skip
    differ = [x for x in texts[0] if task.judge(x["question"], x["answer"]) != (x["formed"], set(x["passed"]))]
    check(not differ and len({x["question"] for x in texts[0]}) > 8, "--answers: what each passes, by another judge", differ[:1])
    a, b = (scores(folder, "slopes", problems=2, samples=k)["skills"] for k in (0, 3))
    c = scores(folder, "slopes", "--temp", 0, problems=2, samples=1)["skills"]
    same = all(a[k]["greedy"] == b[k]["greedy"] for k in a)
    check(same, "greedy answers do not depend on the samples beside them")
    check(all(x["greedy"] == x["sampled"] for x in c.values()), "at temperature 0 a sample is the greedy answer")


# ---- what is shown -------------------------------------------------------------------------------
def shown(folder, task, n, *options, samples=0):
    run = assay("eval", folder, "--task", task, "--problems", 1, "--samples", samples, "--show", n, *options)
    head, _, rest = run[1].decode("latin-1").partition("What tokens earn")
    return [p.split("\n  passes ") for p in rest.split("\nproblem ")[1:]] if run[0] == 0 else []


def value(text, names):
    """An answer's expression at rational places, or None: it is no polynomial."""
    if not re.fullmatch(r"[0-9qpv+\-*/^() ]+", text) or len(text) > 200:
        return None
    try:
        tree = re.sub(r"\^ ?(\d+)", lambda m: "**%d" % min(int(m[1]), 16), text)
        return eval(re.sub(r"(\d+)(?!\d)", r"Fraction(\1)", tree).replace("**Fraction", "**int"), {**names, "Fraction": Fraction, "int": int})
    except (SyntaxError, ZeroDivisionError, TypeError):
        return None


def check_shown(folder):
    problems = shown(folder, "hamilton", 18, "--seed", 3)
    wrong, brackets, truths = [], 0, 0
    for p in problems:
        m = re.search(r"mass = (\d+)", p[0])
        if "potential" not in p[0]:
            wrong += [p[0]] * (sum(map(int, re.findall(r" = (\d+)", p[0]))) % 5 != 0)  # those that are kept
        passed = [int(re.search(r"(\d+) of 23", a)[1]) for a in p[1:]]
        wrong += [passed] * (passed != sorted(passed, reverse=True))  # best, middle, worst
        for answer in p[1:]:
            passes, text = answer.split("\n", 1)
            text = re.sub(r"\[([+-]\d+\.\d\d)\]", "", text.replace("<end>", ""))
            brackets += answer.count("[")
            line = re.search(r"^    T = (.*)$", text, re.M)
            if not line or "length" in p[0]:  # a pendulum's inertia is another
                continue
            names = {"q": Fraction(3, 7), "p": Fraction(11, 5), "v": Fraction(2, 9)}
            have = value(line[1], names)
            if have is not None:
                right = have == names["p"] ** 2 / (2 * int(m[1]))
                truths += right
                wrong += [answer] * (right != ("T truth" in passes))
    check(len(problems) == 18 and brackets > 40, "each skill's problem is shown, with advantages", brackets)
    what = "problems are held-out ones; T is found true where it is, by rational arithmetic (%d times)" % truths
    check(not wrong and truths > 0, what, wrong[:2])
    said = shown(folder, "slopes", 1, "--seed", 1)
    question = said[0][0].split("\n", 1)[1].strip()
    code, out, _ = assay("generate", folder, "--chat", "-p", question, "--temp", 1, "--seed", 1, "-n", 100)
    same = [a for a in said[0][1:] if a.split("\n", 1)[1].strip().split("<end>")[0] == out.decode().strip()]
    check(code == 0 and same, "an answer is what `assay generate` says with its seed", (out, said[0]))
    uniform = shown(folder, "hamilton", 1, "--method", "uniform")
    check(uniform and uniform != shown(folder, "hamilton", 1), "another method credits differently")


def check_bytes(folder):
    """A model that writes any bytes: at a temperature of 100 all tokens are equally likely."""
    args = ["eval", folder, "--task", "hamilton", "--problems", "1", "--samples", "0", "--show", "2", "--temp", "100"]
    out = assay(*args)[1]
    check(b"\\x" in out and not [c for c in out if c != 10 and not 32 <= c < 127], "no control byte reaches stdout")
    for colour in (True, False):
        master, slave = pty.openpty()
        env = dict(ENV) if colour else dict(ENV, NO_COLOR="1")
        p = subprocess.Popen([ASSAY, *args], stdout=slave, stderr=subprocess.DEVNULL, env=env, stdin=subprocess.DEVNULL)
        os.close(slave)
        text = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
        os.close(master)
        p.wait()
        bare = re.sub(rb"\x1b\[(38;5;231;48;5;\d+|0)m", b"", text)
        wrong = [c for c in bare if c not in (10, 13) and not 32 <= c < 127]
        what = "on a terminal %s" % ("colours only" if colour else "with NO_COLOR plain text")
        check(p.returncode == 0 and not wrong and (b"\x1b[" in text) == colour, what, text[-200:])


# ---- what is refused -----------------------------------------------------------------------------
def check_refused(folder, work):
    run = ("eval", folder, "--task")
    for what, args, words, code in (
        ("no task", ("eval", folder), ["--task"], 2),
        ("an unknown task", (*run, "chess"), ["chess"], 2),
        ("an unknown method", (*run, "slopes", "--method", "best"), ["best"], 2),
        ("--show beside JSON on stdout", (*run, "slopes", "--show", 1, "--json", "-"), ["--show"], 2),
        ("a context too short", (*run, "slopes", "--ctx", 8), ["--ctx"], 1),
        ("a context beyond the model's", (*run, "slopes", "--ctx", 5000), ["512"], 1),
        ("a folder that is not there", ("eval", work + "/none", "--task", "slopes"), ["none"], 1),
        ("a file that cannot be", (*run, "slopes", "--problems", 1, "--json", work + "/no/x"), ["no/x"], 1),
    ):
        line = error_line(assay(*args), *words, exit_code=code)
        check(not line, "%s: exit %d and one line" % (what, code), line)
    for flag, value_ in (("--problems", 0), ("--problems", 1001), ("--samples", 65), ("--temp", "nan"), ("--ctx", 0)):
        check(assay(*run, "slopes", flag, value_)[0] == 2, "%s %s: wrong usage" % (flag, value_))
    for flag in ("--answers", "--json"):
        lost = assay(*run, "slopes", "--problems", 1, "--samples", 0, "--show", 1, flag, work + "/no/x")
        check(lost[0] == 1 and b"trained skills: greedy" in lost[1] and b"What tokens earn" in lost[1],
              "%s that cannot be written costs no score" % flag, lost)  # fmt: skip
    full = assay(*run, "slopes", "--problems", 1, "--samples", 0, "--json", "/dev/full")
    check(not error_line(full, "/dev/full"), "a full disk: one line", full)
    for what, name, change in (
        ("weights cut short", "model.safetensors", lambda d: d[: len(d) // 2]),
        ("a tokenizer cut short", "tokenizer.json", lambda d: d[: len(d) // 2]),
        ("no chat family", "tokenizer.json", lambda d: d.replace(b"<|im_start|>", b"<|im_stirt|>")),
        ("a config of another shape", "config.json", lambda d: d.replace(b'"hidden_size": 128', b'"hidden_size": 64')),
    ):
        bad = os.path.join(work, "bad")
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(folder, bad)
        with open(os.path.join(bad, name), "rb") as f:
            data = f.read()
        with open(os.path.join(bad, name), "wb") as f:
            f.write(change(data))
        result = assay("eval", bad, "--task", "slopes", "--problems", 1, "--json", os.path.join(work, "bad.json"))
        line = error_line(result) or ("a file" if os.path.exists(os.path.join(work, "bad.json")) else "")
        check(change(data) != data and not line, "%s: one line, no file" % what, line)


# ---- curves --------------------------------------------------------------------------------------
def curves(records, qualities):
    """What train.json must say of the steps, from the journal's export."""
    steps, last = [], None
    for r in records:
        if r["kind"] == "reward":
            last = r
        elif r["kind"] == "update" and last:
            a = [last["answers"][i : i + 3] for i in range(0, len(last["answers"]), 3)]
            steps.append(
                {
                    "step": r["step"],
                    "answers": len(a),
                    "tokens": sum(x[2] for x in a),
                    "share": [sum(x[1] >> k & 1 for x in a) / len(a) for k in range(qualities)],
                    "all": sum(x[1] == 2**qualities - 1 for x in a) / len(a),
                    "skills": sorted({x[0] & 255 for x in a}),
                    "mastered": last["mastered"],
                }
            )
            last = None
    return steps


def drawn(folder):
    with open(os.path.join(folder, "train.json")) as f:
        data = json.load(f)
    return data, xml.etree.ElementTree.parse(os.path.join(folder, "train.svg")).getroot()


def same_steps(have, want):
    close = len(have) == len(want)
    for a, b in zip(have, want):
        close = close and all(abs(x - y) < 1e-8 for x, y in zip(a["share"] + [a["all"]], b["share"] + [b["all"]]))
        close = close and {**a, "share": 0, "all": 0} == {**b, "share": 0, "all": 0}
    return close


def export(path):
    return [json.loads(x) for x in assay("journal", path, "--json")[1].decode().splitlines()[:-1]]


def points(path):
    return [tuple(map(float, p.split(" "))) for p in re.split("[ML]", path.get("d"))[1:]]


def check_practice(folder, work):
    out = os.path.join(work, "out")
    code, _, err = assay(
        "train", folder, "--task", "hamilton", "--steps", 3, "--batch", 16, "--group", 8, "--out", out, "--jobs", 1
    )
    if not check(code == 0, "three steps of practice", err[-300:]):
        return
    data, svg = drawn(out)
    want = curves(export(out + ".journal"), len(HAMILTON))
    check(len(want) == 3 and same_steps(data["steps"], want), "train.json is the journal's export", data["steps"])
    check(data["qualities"] == HAMILTON and data["planned"] == 3, "its names and the planned steps")
    lines = [x for x in err.splitlines() if x.startswith("step ")]
    said = all(
        " %s %2.0f" % (q, 100 * s["share"][k]) in lines[i] for i, s in enumerate(want) for k, q in enumerate(HAMILTON)
    )
    check(len(lines) == 3 and said, "the lines of the steps say the same", lines)
    check((svg.get("width"), svg.get("height")) == ("760", "460"), "train.svg is a picture of 760 x 460")
    beside = sorted(float(e.get("y")) for e in svg.iter() if e.tag.endswith("text") and float(e.get("x")) > 580)
    apart = [b - a for a, b in zip(beside, beside[1:])]
    check(len(beside) == len(HAMILTON) + 4 and min(apart) >= 14 and max(beside) < 460, "legend and captions stand below each other", apart)
    check(not [e for e in svg.iter() if "script" in e.tag or "href" in str(e.attrib)], "it has no script and no link")
    means = [sum(s["share"][0] for s in want[: i + 1]) / (i + 1) for i in range(3)]
    curve = [points(e) for e in svg.iter() if e.get("fill") == "none"]
    at = [(130 + 440 * (i + 1) / 3, 300 - 260 * m) for i, m in enumerate(means)]
    near = len(curve) == len(HAMILTON) + 1 and len(curve[0]) == 3
    near = near and all(abs(a - b) < 0.06 for x, y in zip(curve[0], at) for a, b in zip(x, y))
    check(near, "a curve of running means for each quality and for all", (curve[:1], at))


def check_turns(folder, work):
    """Groups of a step go through the skills by turns, from where Philox says."""
    out = os.path.join(work, "turns")
    code, _, err = assay(
        "train", folder, "--task", "hamilton", "--method", "uniform", "--steps", 3, "--batch", 20, "--group", 2,
        "--seed", 7, "--out", out, "--jobs", 1,
    )  # fmt: skip
    if not check(code == 0, "three steps of ten groups", err[-300:]):
        return
    tried = [[x & 255 for x in r["answers"][::6]] for r in export(out + ".journal") if r["kind"] == "reward"]
    first = [int(dense.oracle.philox((7, 0x71677265), (0, 1, step, 0))[0]) * 8 >> 32 for step in range(3)]
    want = [[(f + group) % 8 for group in range(10)] for f in first]  # 8 of the 9 skills are practised
    check(tried == want, "groups take the skills by turns, from where Philox says", (tried, want))
    check(len(set(first)) > 1, "and another step begins with another skill", first)


def open_record(**task):
    learn = {"steps": 60, "task": {"name": "hamilton", "method": "qgre", **task}}
    return json.dumps({"format": "assay-journal 1", "learn": learn}).encode()


def reward(mastered, answers, words=None):
    flat = [w for a in answers for w in a]
    head = J.struct.pack("<QQii", 1, 0, len(mastered), len(flat) if words is None else words)
    return head + J.struct.pack("<%dI" % (len(mastered) + len(flat)), *mastered, *flat)


def update(step):
    return J.struct.pack("<QQQqIf", 1, step, step, 0, 1, 1.0) + bytes(32)


def check_written(work):
    """A journal put together here: gates that open and close, a kill, a skill that comes later."""
    path, out, REWARD = os.path.join(work, "made.journal"), os.path.join(work, "made"), 12
    os.mkdir(out)
    j = J.Journal().add("open", open_record())
    for step in range(1, 51):
        mastered = [0] * 9
        mastered[0] = (1 if step >= 20 else 0) | (2 if 30 <= step < 40 else 0)
        answers = [(256 + (step > 25) * (i % 2), 2**23 - 1 if i < step // 4 else 1, 50 + i) for i in range(16)]
        if step == 7:  # tried, then killed, then tried again
            j.add(REWARD, reward(mastered, [(256, 0, 99)] * 16)).add("resume", b'{"turn":1}')
        j.add(REWARD, reward(mastered, answers)).add("update", update(step))
    with open(path, "wb") as f:
        f.write(j.data)
    run = assay("journal", path, "--out", out)
    data, svg = drawn(out)
    check(run[0] == 0 and same_steps(data["steps"], curves(export(path), len(HAMILTON))), "a killed process' step counts once")
    marks = [e.get("d") for e in svg.iter() if re.fullmatch(r"M[\d.]+ [\d.]+v-?[\d.]+", e.get("d") or "")]
    x = sorted(round((float(m[1:].split(" ")[0]) - 130) * 60 / 440) for m in marks)
    up = [m.split("v")[1][0] != "-" for m in marks]
    check(x == [20, 30, 40] and up == [False, False, True], "marks where gates open, and where one closes", marks)
    steps = data["steps"]
    means = [sum(s["share"][1] for s in steps[max(0, i - 9) : i + 1]) / min(i + 1, 10) for i in range(50)]
    curve = [points(e) for e in svg.iter() if e.get("fill") == "none"][1]
    near = len(curve) == 50 and all(abs(300 - 260 * m - p[1]) < 0.06 for m, p in zip(means, curve))
    check(near, "a curve is the mean of the last ten steps", curve)
    first = sorted(float(e.get("d")[1:].split(" ")[0]) for e in svg.iter() if e.get("stroke-dasharray") == "1 3")
    want = [130 + 440 * s / 60 for s in (1, 26)]
    check(len(first) == 2 and all(abs(a - b) < 0.06 for a, b in zip(first, want)), "lines at a skill's first try", first)
    for what, payload, word in (
        ("of another number of skills", reward([0] * 3, [(256, 1, 5)]), "record 2"),
        ("with bits of no quality", reward([0] * 9, [(256, 1 << 23, 5)]), "record 2"),
        ("of a skill that is none", reward([0] * 9, [(9, 1, 5)]), "record 2"),
        ("without answers", reward([0] * 9, []), "record 2"),
    ):
        with open(path, "wb") as f:
            f.write(J.Journal().add("open", open_record()).add(REWARD, payload).data)
        line = error_line(assay("journal", path, "--out", out), word)
        check(not line, "a record %s: one line" % what, line)
    for what, record in (("of no task", b'{"format":"assay-journal 1"}'), ("of an unknown task", open_record(name="x"))):
        with open(path, "wb") as f:
            f.write(J.Journal().add("open", record).data)
        line = error_line(assay("journal", path, "--out", out), "record 1")
        check(not line, "a journal %s: one line" % what, line)


def main():
    with tempfile.TemporaryDirectory() as work:
        q = os.path.join(work, "q")
        if not check(assay("quantize", TINY, q, "--rung", "rotate")[0] == 0, "the embedded model is quantised"):
            return REPORT.end()
        for task, problems, samples in (("hamilton", 3, 2), ("slopes", 6, 3)):
            s = check_counts(q, task, problems, samples)
            if s:
                REPORT.step(check_table, q, task, s)
        REPORT.step(check_same_bytes, q)
        REPORT.step(check_shown, TINY)
        REPORT.step(check_bytes, q)
        REPORT.step(check_refused, q, work)
        REPORT.step(check_practice, q, work)
        REPORT.step(check_turns, q, work)
        REPORT.step(check_written, work)
    return REPORT.end()


if __name__ == "__main__":
    sys.exit(main())
