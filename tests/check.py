#!/usr/bin/env python3
"""src/check.c against exact algebra (vectors/gen/algebra.py), SymPy and GiNaC, on random pairs.

usage: tests/check.py [PAIRS]          1,000 unless told; the chapter's figures are of 10,000

All pairs are rewritten by rules of algebra, half then changed in one place; a quarter are slopes.
SymPy and GiNaC run in processes of their own, limited in time and memory. Where they disagree with
the program, a rule of chapter 16 must say why. Needs build/gcc/test_check; ginsh if there is one.
"""
import collections
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
os.chdir(ROOT)
sys.path.insert(0, "vectors/gen")
from algebra import Field, near, plain, same, slope, some, write  # noqa: E402

PROGRAM = "build/gcc/test_check"
LIMIT_S, LIMIT_BYTES = 2, 2 << 30
failed = passed = 0


def check(ok, what):
    global failed, passed
    print(("ok " if ok else "FAIL ") + "check: " + what, flush=True)
    passed, failed = passed + bool(ok), failed + (not ok)


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))


# ---- SymPy, in a process that answers line by line

def sympy_verdict(a, b, by):
    """equal, different or novalue; numbers to 50 digits decide what expanding leaves open."""
    import sympy
    names = {"Rational": sympy.Rational, "sin": sympy.sin, "cos": sympy.cos,
             "q": sympy.Symbol("q"), "p": sympy.Symbol("p")}
    try:
        x, y = eval(a, names), eval(b, names)
    except ZeroDivisionError:
        return "novalue"
    bad = (sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.AccumBounds)
    if x.has(*bad) or y.has(*bad):
        return "novalue"
    for v in by:
        x = sympy.diff(x, names[v])
    n, d = sympy.fraction(sympy.together(x - y))
    if d.has(*bad) or n.has(*bad) or sympy.expand(d) == 0:
        return "novalue"
    if sympy.expand(n) == 0:
        return "equal"
    if not (n.has(sympy.sin) or n.has(sympy.cos)):
        return "different"
    for k in (1, 2):
        at = {names["q"]: sympy.Rational(271, 997) * k, names["p"]: sympy.Rational(577, 991) + k}
        u, v = x.subs(at).evalf(60), y.subs(at).evalf(60)
        if u.has(*bad) or v.has(*bad):
            return "novalue"
        if abs(u - v) > sympy.Float("1e-40") * (1 + abs(u)):
            return "different"
    return "equal"


def worker():
    def late(*_):
        raise TimeoutError
    signal.signal(signal.SIGVTALRM, late)  # SIGPROF ends the process: one operation took too long
    for line in sys.stdin:
        a, b, by = line.rstrip("\n").split("\t")
        start = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
        signal.setitimer(signal.ITIMER_PROF, 2 * LIMIT_S)
        try:
            verdict = sympy_verdict(a, b, by)
        except TimeoutError:
            verdict = "late"
        except (MemoryError, RecursionError):
            verdict = "full"
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print("%s\t%.6f" % (verdict, time.process_time() - start), flush=True)


class SymPy:
    def __init__(self):
        self.process = None
        self.times = []

    def ask(self, a, b, by=""):
        if not self.process:
            self.process = subprocess.Popen([sys.executable, __file__, "--worker"], text=True, preexec_fn=limit,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write("%s\t%s\t%s\n" % (a, b, by))
        self.process.stdin.flush()
        if select.select([self.process.stdout], [], [], 120)[0]:
            answer = self.process.stdout.readline().split("\t")
            if len(answer) == 2:
                self.times.append(float(answer[1]))
                return answer[0]
        self.close()  # it hangs in one operation, or died
        return "killed"

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None


# ---- GiNaC, one run over all pairs

def circular(e, field):
    """A text for ginsh with each sine and cosine as a quotient in t0, t1, .., one per angle."""
    op = e[0]
    if op in ("sin", "cos"):
        n, d = field.value(e[1])
        if not n:
            return "0" if op == "sin" else "1"
        k, sign = field.angle(n, d)
        return "(%d*2*t%d/(1+t%d^2))" % (sign, k, k) if op == "sin" else "((1-t%d^2)/(1+t%d^2))" % (k, k)
    if op in "nv":
        return plain(e, "^")
    a = circular(e[1], field)
    if op == "^":
        return "(%s)^%d" % (a, e[2])
    return "(-%s)" % a if len(e) == 2 else "(%s%s%s)" % (a, op, circular(e[2], field))


def ginac(questions):
    text = "".join("%s;\n%d;\n" % (q, 10 ** 12 + i) for i, q in enumerate(questions))
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    out = subprocess.run(["ginsh"], input=text, capture_output=True, text=True, preexec_fn=limit, timeout=600)
    took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start
    answers, last = [], None
    for line in out.stdout.splitlines():
        if line.isdigit() and int(line) == 10 ** 12 + len(answers):
            answers.append("novalue" if last is None else "equal" if last == "0" else "different")
            last = None
        else:
            last = line.strip()
    return answers, took


# ---- the pairs

def pairs(n):
    """(left, right, by): expressions; by names the variables by which left is to be differentiated."""
    r = random.Random(2026)
    out = []
    while len(out) < n:
        e, by = some(r, r.randint(2, 4), "qp", r.random() < .4), ""
        target = e
        try:
            if len(out) % 4 == 3:
                by = r.choice(["q", "p", "qq", "pp"])
                for v in by:
                    target = slope(target, v)
            other = same(r, same(r, target)) if r.random() < .5 else near(r, same(r, target))
        except ZeroDivisionError:
            continue
        texts = write(e, r), write(other, r)
        if max(len(text.encode()) for text in texts) < 300:
            out.append((e, other, by) + texts)
    return out


def escaped(text):
    return "".join(c if 32 <= ord(c) < 127 and c != "\\" else "".join("\\x%02x" % b for b in c.encode()) for c in text)


def program(all_pairs):
    lines = []
    for _, _, by, a, b in all_pairs:
        if by:
            lines.append("q;p;F:=%s | F_%s | %s\n" % (a, by, escaped(b)))
        else:
            lines.append("q;p | %s | %s\n" % (escaped(a), escaped(b)))
    start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    out = subprocess.run([PROGRAM, "--pipe"], input="".join(lines), capture_output=True, text=True, check=True)
    return out.stdout.split(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start


def exact(e, other, by):
    """The verdict of algebra, and how many angles there are."""
    field = Field()
    try:
        field.value(e)
        for v in by:
            e = slope(e, v)
        return ("equal" if field.equal(e, other) else "different"), len(field.angles)
    except ZeroDivisionError:
        return "novalue", len(field.angles)


def main():
    if not os.path.exists(PROGRAM):
        print("not run: check: there is no %s" % PROGRAM)
        return 0
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    all_pairs = pairs(n)
    ours, took = program(all_pairs)
    check(len(ours) == n, "%d pairs: %s; %.1f us each with reading and two comparisons" %
          (n, ", ".join("%d %s" % (k, v) for v, k in collections.Counter(ours).most_common()), took / n * 1e6))

    start = time.process_time()
    truth = [exact(e, other, by) for e, other, by, _, _ in all_pairs]
    wrong = [i for i in range(n) if ours[i] != truth[i][0]]
    large = [i for i in wrong if "@" in ours[i]]
    check(len(wrong) == len(large) < n // 20, "exact algebra agrees, but for %d that are refused (%.0f us each)" %
          (len(large), (time.process_time() - start) / n * 1e6))
    for i in [i for i in wrong if i not in large][:5]:
        print("    %s: algebra %s: %r, %r, %s" % (ours[i], truth[i][0], *all_pairs[i][3:], all_pairs[i][2]))

    try:
        import sympy
    except ImportError as error:
        print("not run: check: %s" % error)
    else:
        against_sympy(sympy, all_pairs, ours, truth)
    if shutil.which("ginsh"):
        against_ginac(all_pairs, ours, truth)
    else:
        print("not run: check: there is no ginsh (GiNaC)")
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


def against_sympy(sympy, all_pairs, ours, truth):
    it = SymPy()
    why, bad = collections.Counter(), []
    for i, (e, other, by, _, _) in enumerate(all_pairs):
        theirs = it.ask(plain(e), plain(other), by)
        if theirs == ours[i]:
            why["agree"] += 1
        elif theirs in ("late", "full", "killed"):
            why["SymPy gave up"] += 1
        elif "@" in ours[i]:
            why["refused: too large"] += 1
        elif (ours[i], theirs) == ("different", "equal") and truth[i][1] > 1:
            why["true by sums of angles"] += 1
        elif ours[i] == "novalue" and truth[i][0] == "novalue":
            why["SymPy calculates on behind a division by zero"] += 1
        else:
            bad.append((i, theirs))
    check(not bad, "SymPy %s: %s" % (sympy.__version__, ", ".join("%s: %d" % x for x in why.most_common())))
    for i, theirs in bad[:8]:
        print("    %s, SymPy %s, %d angles: %r, %r, %s" % (ours[i], theirs, truth[i][1], *all_pairs[i][3:], all_pairs[i][2]))
    times = sorted(it.times)
    print("SymPy: mean %.0f us, most %.0f us" % (sum(times) / len(times) * 1e6, times[-1] * 1e6))
    check(it.ask("9**9**9", "0") in ("late", "full", "killed"),
          "9^9^9 stops SymPy within %d s of its processor, and is no expression here" % (2 * LIMIT_S))
    it.close()


def against_ginac(all_pairs, ours, truth):
    asked, questions = [], []
    for i, (e, other, by, _, _) in enumerate(all_pairs):
        if by and truth[i][1]:
            continue  # a slope through t would have to know how t turns
        field = Field()
        try:
            field.value(e), field.value(other)
            left, right = circular(e, field), circular(other, field)
        except ZeroDivisionError:
            continue  # an argument has no value, so that the angle has no number
        for v in by:
            left = "diff(%s,%s)" % (left, v)
        asked.append(i)
        questions.append("normal((%s)-(%s))" % (left, right))
    theirs, took = ginac(questions)
    bad = [(i, t) for i, t in zip(asked, theirs) if t != ours[i] and "@" not in ours[i]]
    check(len(theirs) == len(asked) and not bad, "GiNaC agrees on %d pairs, %.0f us each with reading" %
          (len(asked), took / max(1, len(asked)) * 1e6))
    for i, t in bad[:8]:
        print("    %s, GiNaC %s: %r, %r, %s" % (ours[i], t, *all_pairs[i][3:], all_pairs[i][2]))


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        worker()
    else:
        sys.exit(main())
