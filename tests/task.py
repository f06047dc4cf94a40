"""An independent judge of answers to the tasks, with SymPy, and the program's judge against it.

usage: tests/task.py [ANSWERS]   (TASK: the driver, build/gcc/test_task)

judge(question, answer) can be imported. It knows a problem from its question alone: the right lines
are those of vectors/tiny/corpus.py, a slope is SymPy's, and what structure means was written from the
words of the issue, not from src/hamilton.c. Compared are: the questions' form, the numbers that are kept
for measuring, what a problem binds, whether an answer is formed, its spans, and every quality.
"""

import collections
import functools
import json
import os
import re
import subprocess
import sys

import sympy as sp

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "vectors/tiny"))
import corpus  # noqa: E402

DRIVER = os.path.join(ROOT, os.environ.get("TASK", "build/gcc/test_task"))
q, p, v = sp.symbols("q p v")
LABELS = ["p", "T", "V", "H", "dq/dt", "dp/dt"]
HAMILTON = [f"{name} {grade}" for name in LABELS for grade in ("structure", "truth")] + ["V form", "V half", "p form", "T form", "dp/dt form", "dp/dt half", "V first", "p first", "T first", "V gravity", "V mass"]
SLOPES = ["structure", "truth"]
SKILLS = {
    "hamilton": [
        "free particle", "freefall", "constant force", "spring", "simple particle", "spring in gravity", "particle", "pendulum", "quartic spring",
    ],
    "slopes": ["monomial", "sum"],
}
TERMS = {"simple particle": 1, "particle": 2}  # of a potential that is told
POWERS = {"free particle": set(), "freefall": {1}, "constant force": {1}, "spring": {2}, "quartic spring": {4}, "spring in gravity": {1, 2}}
DIGITS = set(range(2, 10))
PRODUCTS = {a * b for a in DIGITS for b in DIGITS} - set(range(10))  # of two digits, and no digit
PRODUCTS_OF_3 = PRODUCTS | {a * b for a in DIGITS for b in PRODUCTS}
SQUARES = {a * b**2 for a in DIGITS for b in DIGITS} - set(range(82))  # that are no product of two
MULTIPLY = "·"


class NoExpression(Exception):
    pass


class NoValue(Exception):
    pass


# ---- expressions: text to SymPy


class Parser:
    """sum: product {+- product}; product: sign {*/ or nothing, sign}; sign: - sign | power."""

    def __init__(self, text, names):
        self.tokens = re.findall(r"\d+(?:\.\d+)?|sin|cos|[a-zA-Z]|[-+*/^()]|²|·|[^\s]", text)
        self.names = names
        if re.search(r"[^ -~²·]", text) or len(text.encode()) > 512:
            raise NoExpression

    def peek(self):
        return self.tokens[0] if self.tokens else ""

    def next(self):
        return self.tokens.pop(0) if self.tokens else ""

    def deeper(self, depth):
        if depth == 32:
            raise NoExpression
        return depth + 1

    def whole(self):
        e = self.sum(0)
        if self.tokens:
            raise NoExpression
        return e

    def sum(self, depth):
        e = self.product(depth)
        while self.peek() in ("+", "-"):
            e = e + self.product(depth) if self.next() == "+" else e - self.product(depth)
        return e

    def product(self, depth):
        e, divided = self.sign(depth), False
        while True:
            t = self.peek()
            if t in ("*", MULTIPLY, "/"):
                self.next()
                b, divided = self.sign(depth), t == "/"
                if divided:
                    if is_zero(b):
                        raise NoValue
                    e = e / b
                else:
                    e = e * b
            elif t and (t[0].isalpha() or t == "("):
                if divided:  # p/2q: nobody knows what is meant
                    raise NoExpression
                e = e * self.power(depth)
            else:
                return e

    def sign(self, depth):
        if self.peek() == "-":
            self.next()
            return -self.sign(self.deeper(depth))
        return self.power(depth)

    def power(self, depth):
        e = self.base(depth)
        if self.peek() == "²":
            self.next()
            return e**2
        if self.peek() == "^":
            self.next()
            n = self.next()
            if not n.isdigit() or not 1 <= int(n) <= 16 or self.peek() in ("^", "²"):
                raise NoExpression
            return e ** int(n)
        return e

    def base(self, depth):
        t = self.next()
        if t in ("sin", "cos") and self.peek() == "(":
            return (sp.sin if t == "sin" else sp.cos)(sp.cancel(self.base(depth)))
        if t == "(":
            e = self.sum(self.deeper(depth))
            if self.next() != ")":
                raise NoExpression
            return e
        if t in self.names:
            return self.names[t]
        if re.fullmatch(r"\d+(\.\d+)?", t) and len(t.replace(".", "")) <= 9:
            return sp.Rational(t)
        raise NoExpression


VARIABLES = {"q": q, "p": p, "v": v}


@functools.lru_cache(100000)
def read(text, names="qpv"):
    """A SymPy expression, or the exception that says why there is none."""
    try:
        return Parser(text, {n: VARIABLES[n] for n in names}).whole()
    except (NoExpression, NoValue) as reason:
        return reason


@functools.lru_cache(100000)
def is_zero(e):
    """Exactly: a rational function of the variables and of sines and cosines, sin^2 = 1 - cos^2."""
    if e.is_Number:
        return e == 0
    arguments = sorted({f.args[0] for f in e.atoms(sp.sin, sp.cos)}, key=str)
    symbols = [sp.symbols(f"s{i} c{i}") for i in range(len(arguments))]
    e = e.subs([(f(a), x) for a, pair in zip(arguments, symbols) for f, x in zip((sp.sin, sp.cos), pair)])
    above, below = (sp.expand(part) for part in sp.fraction(sp.together(e)))
    for s, c in symbols:
        above, below = (sp.expand(sp.rem(part, s**2 + c**2 - 1, s)) for part in (above, below))
    if below == 0:
        raise NoValue
    return above == 0


def depends(e, x):
    return not is_zero(sp.diff(e, x))


def only(e, x):
    return not any(depends(e, y) for y in (q, p, v) if y != x)


def coefficient(e, of):
    """The number c in e = c*of; None: e is no multiple."""
    c = e / of
    return None if any(depends(c, y) for y in (q, p, v)) else sp.simplify(c)


def powers(e, x):
    """The powers of a polynomial in x; None: it is none."""
    e = sp.cancel(e)
    return {n for (n,), c in sp.Poly(e, x).terms() if c} if e.is_polynomial(x) else None


# ---- a problem, from its question alone


@functools.lru_cache(10000)
def understood(question):
    """(system, is it held out, [right expressions], powers of a potential that is told, values)"""
    first, last = question.split("\n")
    assert last == "derive"
    system, coordinate, *told = first.split(", ")
    values = dict(item.split(" = ") for item in told)
    given = []
    for term in values.get("potential", "").split(" + ") if "potential" in values else []:
        c, n, below = re.fullmatch(r"(\d+)\*q(?:\^(\d))?(?:/(\d))?", term).groups()
        given.append((1, [c], "q", int(n or 1), [below] if below else []))
        assert below in (None, n)
    assert corpus.problem_text(system, values) + "\nderive" == question
    assert set(values) == {"mass"} | set(corpus.SYSTEMS[system][1])
    held = corpus.held_out(values, given)
    right = [read(corpus.text(e)) for e in corpus.truth(system, values, given)]
    return system, held, right, {t[3] for t in given}, {name: int(x) for name, x in values.items() if name != "potential"}


# ---- judgement


def formed(answer, labels):
    """{label: text}, or None; an answer is bytes."""
    lines = answer.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    found = {}
    for line in lines:
        if b"\r" in line:
            return None
        if labels == [""]:
            label, text = "", line
        else:
            label, mark, text = line.partition(b" = ")
            label = label.decode("latin-1")
            if not mark:
                return None
        if label not in labels or label in found:
            return None
        found[label] = text
    return found if len(found) == len(labels) else None


def expressions(found, names):
    def one(text):
        try:
            return read(text.decode(), names)
        except UnicodeDecodeError:
            return NoExpression()

    return {label: one(text) for label, text in found.items()}


def holds(condition, *named):
    """Of what has no value, nothing holds."""
    if any(isinstance(e, Exception) for e in named):
        return False
    try:
        return bool(condition(*named))
    except NoValue:
        return False


def judge_hamilton(question, answer):
    system, _, right, given, values = understood(question)
    found = formed(answer, LABELS)
    if found is None:
        return False, set()
    e = expressions(found, "qpv")
    P, T, V, H, dq, dp = (e[label] for label in LABELS)

    def potential(V):
        if not only(V, q):
            return False
        if system == "pendulum":
            return not is_zero(V) and not depends(V / sp.cos(q), q)
        return powers(V, q) == (given or POWERS[system])

    m, g, l = (values.get(name, 0) for name in ("mass", "gravity", "length"))
    terms = given or POWERS.get(system, set())

    def number(V):
        """What V has in front of the form that its system has."""
        return coefficient(V, {"freefall": q, "constant force": -q, "spring": q**2 / 2, "pendulum": -sp.cos(q)}[system])

    def mixed(V):
        """No single power of q, nor a sine or cosine."""
        return not any(is_zero(q * sp.diff(V, q) - i * V) for i in range(5)) and not is_zero(sp.diff(V, q, 2) + V)

    def rare(V):
        """V has the form that is rare: with a number that is right or one of few, or as a sum of different powers."""
        if len(terms) == 2:
            return only(V, q) and mixed(V)
        if system == "pendulum":
            return only(V, q) and (is_zero(V - right[2]) or negative(V))
        return number(V) in {number(right[2])} | {"freefall": PRODUCTS}.get(system, DIGITS | {1})

    def negative(V):
        """A digit or a product with a minus sign in front of q, q^2/2 (no product), cos q or sin q (no digit)."""
        ones = DIGITS | {1}
        return any(coefficient(V, -of) in numbers for of, numbers in ((q, ones | PRODUCTS), (q**2 / 2, ones), (sp.cos(q), PRODUCTS_OF_3), (sp.sin(q), PRODUCTS_OF_3)))

    def half(V):
        """Both terms are there and one at least is right; or a pendulum's length is; elsewhere what is rare is there."""
        if len(terms) == 2:
            wrong = sp.expand(V - right[2])
            return potential(V) and (is_zero(wrong) or len(powers(wrong, q)) == 1)
        return rare(V) and (not swings or number(V) in {m * g * l} | {k * l for k in PRODUCTS})

    def factor(V, value):
        """In what gravity does to V this value is a factor, beside a digit, or a pendulum's beside a product; or it is right."""
        found = coefficient(2 * V / q - sp.diff(V, q), sp.Integer(1)) if len(terms) == 2 else number(V)
        return found in {m * g * (l if swings else 1)} | {k * value for k in (PRODUCTS if swings else DIGITS)}

    def first(V):
        """A sine or cosine at all; of two terms the lower power, or a product, and another there; a negative V."""
        if system == "pendulum":
            return not is_zero(V) and any(is_zero(sp.diff(V, x, 2) + V) for x in (q, p))
        wrong = V - right[2]
        if system == "constant force":
            ones = DIGITS | {1}
            return is_zero(wrong) or coefficient(V, -q) in ones or coefficient(V, -(q**2) / 2) in ones | {sp.Rational(1, n) for n in ones}
        if system == "spring in gravity":
            return mixed(V) and coefficient(2 * V / q - sp.diff(V, q), sp.Integer(1)) in {m * g} | PRODUCTS
        low = min(given)
        found = {n for n in range(8) if not is_zero(sp.diff(V, q, n).subs(q, 0))} if sp.cancel(V).is_polynomial(q) else set()
        return mixed(V) and any(found == {low, low + n} for n in (1, 2, 3))

    def inertia(I):
        """The squared length is right, or all; nothing that needs no reading."""
        paid = {m * l**2} | ({k * l**2 for k in DIGITS} if m * l**2 > 9 else set())
        return coefficient(I, sp.Integer(1)) in (paid if m == l or m * l**2 < 10 else paid - {l**3} - DIGITS - {1})

    def turned(T):
        """The inertia that T has: the squared length is right, or all; or of other systems a digit."""
        return not is_zero(T) and (inertia(p**2 / (2 * T)) if swings else coefficient(p**2 / (2 * T), sp.Integer(1)) in {m, 1} | DIGITS)

    def square(I):
        """As inertia, or a digit times any other's square."""
        cheap = {l**3} if m != l else set()
        return inertia(I) or (m * l**2 > 9 and coefficient(I, sp.Integer(1)) in SQUARES - cheap)

    def halfway(dp, H):
        """One of the two terms of dp/dt at least is minus the slope of the answer's own H."""
        wrong = dp + sp.diff(H, q)
        return bent(dp) and any(is_zero(q * sp.diff(wrong, q) - (n - 1) * wrong) for n in terms)

    def bent(dp):
        """dp/dt has what is left of each term's power, or the sine. What its coefficients are is not asked."""
        if system == "pendulum":
            return only(dp, q) and not is_zero(dp) and not depends(dp / sp.sin(q), q)
        return only(dp, q) and powers(dp, q) == {n - 1 for n in terms}

    moves = system != "free particle"
    asks_form = len(terms) == 2 or system in ("freefall", "constant force", "spring", "pendulum")
    swings = system == "pendulum"
    structure = [
        holds(lambda P: only(P, v) and not is_zero(P) and is_zero(P - v * sp.diff(P, v)), P),
        holds(lambda T: only(T, p) and not is_zero(T) and is_zero(p * sp.diff(T, p) - 2 * T), T),
        holds(potential, V),
        holds(lambda H, T, V: is_zero(H - T - V) and not is_zero(H), H, T, V),
        holds(lambda dq, H: is_zero(dq - sp.diff(H, p)) and not is_zero(dq), dq, H),
        holds(lambda dp, H: is_zero(dp + sp.diff(H, q)) and not (moves and is_zero(dp)), dp, H),
    ]
    truth = [holds(lambda e: is_zero(e - r), e[label]) for label, r in zip(LABELS, right)]
    bits = [b for pair in zip(structure, truth) for b in pair]
    bits += [not asks_form or holds(rare, V), not asks_form or holds(half, V)]
    bits += [not swings or holds(lambda P: inertia(P / v), P), holds(turned, T)]
    bits += [not (swings or len(terms) == 2) or holds(bent, dp)]
    bits += [holds(halfway, dp, H) if len(terms) == 2 else not swings or holds(bent, dp)]
    bits += [not (swings or len(terms) == 2 or system == "constant force") or holds(first, V)]
    bits += [not swings or holds(lambda P: square(P / v), P), not swings or holds(lambda T: not is_zero(T) and square(p**2 / (2 * T)), T)]
    falls = system in ("freefall", "spring in gravity", "pendulum")
    bits += [not falls or holds(lambda V: factor(V, x), V) for x in (g, m)]
    return True, {name for name, bit in zip(HAMILTON, bits) if bit}


def judge_slopes(question, answer):
    x = VARIABLES[question[3]]
    right = sp.diff(read(question[6:]), x)
    found = formed(answer, [""])
    if found is None:
        return False, set()
    E = expressions(found, "qp")[""]
    structure = holds(lambda E: only(E, x) and powers(E, x) == powers(right, x), E)
    truth = holds(lambda E: is_zero(E - right), E)
    return True, {name for name, bit in zip(SLOPES, (structure, truth)) if bit}


def judge(question, answer):
    """(formed, the names of the qualities that the answer has); answer: text or bytes."""
    answer = answer.encode() if isinstance(answer, str) else answer
    return (judge_slopes if question.startswith("d/d") else judge_hamilton)(question, answer)


# ---- the program's judge


class Driver:
    def __init__(self):
        self.process = subprocess.Popen([DRIVER, "--pipe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def problem(self, task, skill, seed, number, held):
        return json.loads(self.ask(f"problem {task} {skill} {seed} {number} {held}"))

    def judge(self, task, skill, seed, number, held, answer):
        names = HAMILTON if task == "hamilton" else SLOPES
        is_formed, passed, *spans = self.ask(f"judge {task} {skill} {seed} {number} {held} {answer.hex()}").split()
        have = {name for i, name in enumerate(names) if int(passed) >> i & 1}
        return is_formed == "1", have, [tuple(map(int, s.split("-"))) for s in spans]


# ---- answers


def written(r, e):
    """A right expression in a notation that a model might choose."""
    s = [sp.sstr, lambda e: sp.sstr(sp.expand(e)), lambda e: sp.sstr(sp.factor(e)), lambda e: sp.sstr(sp.together(e))][r.below(4)](e)
    s = s.replace("**", "^")
    if r.below(4) == 0:
        s = s.replace("*", " * ")
    if r.below(6) == 0:
        s = s.replace("*", "·").replace("^2", "²")
    if r.below(6) == 0:
        s = f"({s})"
    return s


def other(r, right):
    """A near miss of one of six right expressions."""
    lines = list(right)
    i = r.below(6)
    e = lines[i]
    lines[i] = [
        -e, 2 * e, e + 1, e + q, e * q, e / 3, e.subs(q, p), e.subs(p, v), e.subs(p, q), sp.Integer(0), lines[r.below(6)], e * (q + 1) / (q + 1), e + p - p, e * p / q,
        sp.diff(e, q), sp.diff(e, p), e + sp.cos(q),
    ][r.below(17)]
    if r.below(3) == 0:  # consistently wrong
        lines[3] = lines[1] + lines[2]
        lines[4], lines[5] = sp.diff(lines[3], p), -sp.diff(lines[3], q)
    return lines


def on_the_way(r, question, right):
    """Right expressions, in place of one to three of which stands what is paid on the way to them, or nearly that."""
    system, _, _, _, values = understood(question)
    lines = list(right)
    m, g, l = (values.get(name, 1 + r.below(9)) for name in ("mass", "gravity", "length"))
    a, b, k = 1 + r.below(9), 1 + r.below(9), 1 + r.below(10)
    I = r.one([l * l, l * k, l * l**2, m * m**2, k, k * l**2, m * k**2, m * l, m, l**2, -m * l**2, m * l**2 + 1, a * b, a * b * k, a * b**2, a * b**2])
    number = r.one([a * b, -a * b, m * k, g * k, m * g * k, m * l * k, g * l * k, -m * g * l, m * g * l, k, -k, 10 * k, 3 * a + b, a * b * k, l * a * b])
    x = [q**n for n in range(1, 5)]
    for _ in range(1 + r.below(3)):
        i = r.one([0, 1, 2, 2, 5, 5])
        terms = sp.Add.make_args(sp.expand(right[i]))
        if i == 0:
            lines[0] = I * v
        elif i == 1:
            lines[1] = p**2 / (2 * I) if r.below(4) else p**2 / I
        elif i == 2 and system == "pendulum":
            lines[2] = r.one([number, -abs(number), -abs(number)]) * r.one([sp.cos(q), sp.cos(q), sp.cos(q), sp.sin(q), sp.sin(p), sp.cos(q) * v, q, q**2 / 2])
        elif i == 2 and len(terms) < 2:
            lines[2] = number * r.one([q, q, q**2 / 2, q**2 / (2 * k * number), q**2 / (2 * number**2), r.one(x), sp.diff(right[2], q) * q / 2])
        elif len(terms) == 2:
            lines[i] = r.one([
                terms[0], terms[1], terms[0] + k * terms[1], terms[1] - k * terms[0], a * terms[0] - b * terms[1], right[i] + k * r.one(x),
                terms[0] + k * r.one(x), right[i] + k, a * r.one(x) + b * r.one(x), right[i] * q, right[i] / q, right[i] + r.one([p, v]) * q,
            ])
        else:
            lines[i] = r.one([-1, 1, k]) * r.one([sp.sin(q), sp.sin(q), sp.cos(q), sp.Integer(1), q, sp.Integer(0), right[i] * q])
    return lines


def answers(r, question, right, n):
    """Noise of the corpus, right answers, near misses, parts of what is right, mixtures of these, and changed characters."""
    for _ in range(n):
        kind = r.below(14)
        noise = [corpus.text(e) for e in corpus.answer(r)]
        if kind < 3:
            lines = noise
        else:
            lines = [written(r, e) for e in (right if kind == 3 else other(r, right) if kind < 10 else on_the_way(r, question, right))]
        if kind in (8, 9):
            lines = [r.one([a, b]) for a, b in zip(lines, noise)]
        lines = [f"{label} = {text}" for label, text in zip(LABELS, lines)]
        if r.below(5) == 0:
            lines = r.shuffled(lines)
        text = "\n".join(lines) + "\n" * r.below(2)
        if kind == 7:
            text = changed(r, text)
        yield text.encode()


def changed(r, text):
    for _ in range(1 + r.below(2)):
        i = r.below(len(text))
        text = text[:i] + [r.one("qpvTVH=+-*/^() \n0129"), ""][r.below(4) == 0] + text[i + r.below(2):]
    return text


def slope_answers(r, question, right, n):
    for _ in range(n):
        e = [right, right, -right, right * 2, right + 1, right * q, sp.Integer(0), right.subs(q, p), right + q**2, sp.diff(right, q)][r.below(10)]
        text = written(r, e) + "\n" * r.below(2)
        yield (changed(r, text) if r.below(5) == 0 else text).encode()


# ---- the comparison

failed = 0


def check(ok, what, found=""):
    global failed
    failed += not ok
    print(f"{'ok' if ok else 'FAIL'} task: {what}" + (f": {found}" if found and not ok else ""))


def problems(driver, each):
    """What the program asks is what the corpus could ask, and kept for measuring by the corpus's rule."""
    for skill, name in enumerate(SKILLS["hamilton"]):
        wrong, seen = "", set()
        for i in range(each):
            b = driver.problem("hamilton", skill, i % 7, i, i % 2)
            system, held, right, given, _ = understood(b["question"])
            seen |= given
            same = [is_zero(read(b["inertia"]) * v - right[0]), is_zero(read(b["U"]) - right[2])]
            if system != name.replace("simple ", "") or len(given) != TERMS.get(name, 0) or held != i % 2 or not all(same):
                wrong = b["question"]
        check(not wrong, f"{name}: {each} problems: form, rule, what is bound", wrong)
        if name in TERMS:
            check(seen == {1, 2, 3, 4}, f"{name}: powers 1 to 4", seen)
    for skill, name in enumerate(SKILLS["slopes"]):
        wrong = ""
        for i in range(each):
            b = driver.problem("slopes", skill, i % 7, i, i % 2)
            total = sum(map(int, re.findall(r"\d+", b["question"])))
            term = r"(\d+\*){0,2}[qp](\^[234])?(/\d+|/\(2\*\d+\))?"
            good = re.fullmatch(rf"d/d[qp]: -?{term}" + rf"( [+-] {term})" * (skill > 0), b["question"])
            if not good or (total % 5 == 0) != i % 2:
                wrong = b["question"]
        check(not wrong, f"slopes, {name}: {each} problems: form, rule", wrong)


def spans_right(answer, spans, labels):
    """A span is the line behind its label, with the line end."""
    text = b"\n" + answer
    for label, (start, stop) in zip(labels, spans):
        prefix = f"\n{label} = ".encode() if label else b"\n"
        begin = text.index(prefix) + len(prefix) - 1
        end = answer.find(b"\n", begin)
        if (start, stop) != (begin, len(answer) if end < 0 else end + 1):
            return False
    return True


def compare(driver, task, skill, each, made):
    r = corpus.Random(skill + 1)
    wrong, count = [], collections.Counter()
    for i in range(each):
        at = (task, skill, 5, i, i % 2)
        question = driver.problem(*at)["question"]
        right = understood(question)[2] if task == "hamilton" else sp.diff(read(question[6:]), VARIABLES[question[3]])
        for answer in made(r, question, right, 4):
            have_formed, have, spans = driver.judge(*at, answer)
            want_formed, want = judge(question, answer)
            count["answers"] += 1
            count["formed"] += want_formed
            count["right"] += len(want) == len(HAMILTON if task == "hamilton" else SLOPES)
            if (have_formed, have) != (want_formed, want):
                wrong.append((question, answer, have_formed, sorted(have ^ want)))
            elif have_formed and not spans_right(answer, spans, LABELS if task == "hamilton" else [""]):
                wrong.append((question, answer, "spans", spans))
    name = SKILLS[task][skill]
    for w in wrong[:5]:
        print("    ", *w)
    check(not wrong, f"{name}: {count['answers']} answers, {count['formed']} formed, {count['right']} right: every quality as SymPy has it",
          f"{len(wrong)} differ")
    return count["answers"]


def main():
    if not os.path.exists(DRIVER):
        print(f"not run: task: there is no {DRIVER}")
        return 0
    each = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
    driver = Driver()
    problems(driver, 1000)
    total = 0
    for skill in range(len(SKILLS["hamilton"])):
        total += compare(driver, "hamilton", skill, each // 32, answers)
    for skill in range(2):
        total += compare(driver, "slopes", skill, each // 64, slope_answers)
    print(f"note task: {total} answers were judged twice")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
