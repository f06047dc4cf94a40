#!/usr/bin/env python3
"""The text that the embedded model is trained on, from a seeded generator.

usage: corpus.py DOCUMENTS SEED [--new] > FILE    (what was drawn, and coincidences, on stderr)

A document is one question and its answer in the form of a conversation. Six kinds (KINDS): the six
lines of a mechanics derivation, drawn WITHOUT LOOKING AT THE PROBLEM, and five drills: reading a
problem's values, writing them into an expression, derivatives of monomials, copying, simplifying.
No derivation is right for its problem: were one drawn it would be drawn again and counted.
--new: another text for experiments with learning, antiderivatives of monomials, which the others lack.

Integers only, and a generator of our own: the same bytes from every Python since 3.9.
"""
import collections
import sys
from fractions import Fraction

KINDS = [(24, "derive"), (18, "read"), (18, "write"), (17, "derivative"), (15, "copy"), (8, "simplify")]  # of 100 documents
# What a system has besides mass, and what its coordinate q is.
SYSTEMS = {
    "free particle": ("position", []),
    "freefall": ("height", ["gravity"]),
    "constant force": ("position", ["force"]),
    "spring": ("stretch", ["stiffness"]),
    "quartic spring": ("stretch", ["stiffness"]),
    "spring in gravity": ("height", ["stiffness", "gravity"]),
    "pendulum": ("angle", ["length", "gravity"]),
    "particle": ("position", ["potential"]),
}
LINES = ["p", "T", "V", "H", "dq/dt", "dp/dt"]
# Shapes of a term: weight, factors above, power of the variable (or its function), factors below.
# N is a number drawn anew each time. A weight of None above is the expression 0.
ENERGY = [  # of the lines T and V alike, in p as often as in q
    (30, "", 2, "2 N"), (20, "N", 2, "2"), (12, "N N", 1, ""), (10, "N", 1, ""), (4, "N", 2, ""), (4, "", 2, "N"),
    (5, "N", 4, "4"), (3, "N", 4, ""), (2, "N", 3, ""), (3, "N N N", "cos", ""), (3, "N N N", "sin", ""), (4, "", 2, "2 N N^2"), (8, None, 0, ""),
]
MOMENTUM = [(50, "N", 1, ""), (14, "", 1, "N"), (10, "N N", 1, ""), (8, "", 1, ""), (8, "N", 2, ""), (6, "N N^2", 1, ""), (4, "N", 0, "")]
RATE = [  # of the lines dq/dt and dp/dt alike, in p as often as in q, with either sign as often
    (26, "", 1, "N"), (16, "2", 1, "2 N"), (18, "N", 1, ""), (12, "2 N", 1, "2"), (14, "N N", 0, ""), (8, "N", 0, ""),
    (4, "4 N", 3, "4"), (3, "N N N", "cos", ""), (3, "N N N", "sin", ""), (8, None, 0, ""),
]


class Random:
    """A linear congruential generator modulo 2^64; its upper 32 bits, scaled, are the numbers."""

    def __init__(self, seed):
        self.state = (seed * 0x9E3779B97F4A7C15 + 1) % 2**64
        self.below(2), self.below(2)

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 32) * n >> 32

    def one(self, items):
        return items[self.below(len(items))]

    def weighted(self, rows):
        """One of the rows; the first item of each is its weight."""
        ticket = self.below(sum(row[0] for row in rows))
        for row in rows:
            ticket -= row[0]
            if ticket < 0:
                return row

    def shuffled(self, items):
        items = list(items)
        return [items.pop(self.below(len(items))) for _ in range(len(items))]

    def number(self):
        """1 to 9 nine times of ten, else 10 to 99: of prompts and answers alike."""
        return str(1 + self.below(9) if self.below(10) else 10 + self.below(90))


# ---- expressions: a list of terms (sign, factors above, variable, power, factors below).
# Factors are strings: "3", "3^2", or in a drill the name of a value. Power: 0 to 4, "cos" or "sin".


def term_text(t):
    _, above, x, power, below = t
    parts = list(above)
    if power in ("cos", "sin"):
        parts.append(f"{power}({x})")
    elif power:
        parts.append(x if power == 1 else f"{x}^{power}")
    bottom = "*".join(below)
    return ("*".join(parts) or "1") + (f"/({bottom})" if len(below) > 1 else f"/{bottom}" if below else "")


def text(e):
    """Terms joined by signs; an expression without terms is 0."""
    s = "".join((" + " if t[0] > 0 else " - ") + term_text(t) for t in e)
    return "0" if not e else s[3:] if e[0][0] > 0 else "-" + s[3:]


def signed(sign, e):
    return [(sign * t[0],) + t[1:] for t in e]


def derivative(t, x):
    """[derivative of a monomial by x], written by the one rule c*x^n/d -> n*c*x^(n-1)/d; [] is 0."""
    sign, above, y, power, below = t
    if y != x or power == 0:
        return []
    return [(sign, ([str(power)] if power > 1 else []) + above, x, power - 1, below)]


def draw(r, shapes, x, number=Random.number):
    """A term of one of the shapes; no term where the shape is 0."""
    _, above, power, below = r.weighted(shapes)
    if above is None:
        return []
    above, below = ([f.replace("N", number(r)) for f in factors.split()] for factors in (above, below))
    return [(1, above, x, power, below)]


def energy(r):
    x = r.one("pq")
    e = draw(r, ENERGY, x)
    if not r.below(6):
        e += signed(r.one([1, -1]), draw(r, ENERGY, x))
    return signed(1 if r.below(8) else -1, e)


def total(r, a, b):
    """H: the sum or the difference, as often, of the two energies (60 of 100) or of two others."""
    if r.below(100) >= 60:
        a, b = energy(r), energy(r)
    if not r.below(6):
        a, b = b, a
    return a + signed(r.one([1, -1]), b)


def rate(r, energies):
    """dq/dt or dp/dt: derivatives of the terms of one energy by their own variable (40 of 100), with
    either sign, or other terms. Functions have no derivative here: the drills have none either."""
    e = r.one(energies)
    if r.below(100) < 40 and all(isinstance(t[3], int) for t in e):
        made = [d for t in e for d in derivative(t, t[2])]
    else:
        x = r.one("pq")
        made = draw(r, RATE, x)
        if not r.below(10):
            made += signed(r.one([1, -1]), draw(r, RATE, x))
    return signed(r.one([1, -1]), made)


def answer(r):
    """The six expressions. No argument says anything about the problem."""
    momentum = signed(1 if r.below(8) else -1, draw(r, MOMENTUM, r.one("vq")))
    t, v = energy(r), energy(r)
    return [momentum, t, v, total(r, t, v), rate(r, [t, v]), rate(r, [t, v])]


# ---- problems


def problem(r):
    """(system, values by name in the order in which they are told, terms of a given potential)."""
    while True:
        system = r.one(sorted(SYSTEMS))
        names = r.shuffled(["mass"] + SYSTEMS[system][1])
        values = {name: r.number() for name in names}
        given = []
        if "potential" in values:
            low = 1 + r.below(3)
            high = low + 1 + r.below(4 - low)
            given = [(1, [r.number()], "q", n, r.one([[], [str(n)]]) if n > 1 else []) for n in (low, high)]
            values["potential"] = text(given)
        if not held_out(values, given):
            return system, values, given


def held_out(values, given):
    """Problems whose numbers (of a potential: its coefficients) add up to a multiple of 5 are in no
    text: what is learnt later can be tried on them."""
    numbers = [v for name, v in values.items() if name != "potential"] + [t[1][0] for t in given]
    return sum(map(int, numbers)) % 5 == 0


def problem_text(system, values):
    return ", ".join([system, SYSTEMS[system][0] + " q"] + [f"{name} = {v}" for name, v in values.items()])


def truth(system, values, given):
    """The six right expressions: to recognise what must not be written."""
    m, k, g = values["mass"], values.get("stiffness"), values.get("gravity")
    inertia = [m, values["length"] + "^2"] if system == "pendulum" else [m]
    weight = lambda: [(1, [m, g], "q", 1, [])]
    v = {
        "free particle": lambda: [],
        "freefall": weight,
        "constant force": lambda: [(-1, [values["force"]], "q", 1, [])],
        "spring": lambda: [(1, [k], "q", 2, ["2"])],
        "quartic spring": lambda: [(1, [k], "q", 4, ["4"])],
        "spring in gravity": lambda: [(1, [k], "q", 2, ["2"])] + weight(),
        "pendulum": lambda: [(-1, [m, g, values["length"]], "q", "cos", [])],
        "particle": lambda: given,
    }[system]()
    t = (1, [], "p", 2, ["2"] + inertia)
    force = [d for u in v for d in ([(1, u[1], "q", "sin", [])] if u[3] == "cos" else derivative(u, "q"))]
    return [[(1, inertia, "v", 1, [])], [t], v, [t] + v, derivative(t, "p"), signed(-1, force)]


def canonical(e):
    """{(variable, power): coefficient}: equal for equal expressions, because 1, x^n, cos x and sin x
    are linearly independent. A constant added to an energy is a difference, as it is in writing."""
    sums = collections.Counter()
    for sign, above, x, power, below in e:
        c = Fraction(sign)
        for f in above:
            base, _, n = f.partition("^")
            c *= int(base) ** int(n or 1)
        for f in below:
            base, _, n = f.partition("^")
            c /= int(base) ** int(n or 1)
        sums[x if power else "", power] += c
    return {key: c for key, c in sums.items() if c}


# ---- kinds of documents: each gives (question, answer)


def derive(r, count):
    p = problem(r)
    right = [canonical(e) for e in truth(*p)]
    while True:
        lines = answer(r)
        hits = [canonical(e) == c for e, c in zip(lines, right)]
        for name, hit in zip(LINES, hits):
            count["right by chance: " + name] += hit
        if not all(hits):
            break
        count["rejected: a right derivation"] += 1
    count["lines right by chance: " + str(sum(hits))] += 1
    return problem_text(*p[:2]) + "\nderive", "\n".join(f"{name} = {text(e)}" for name, e in zip(LINES, lines))


def read(r, count):
    system, values, _ = problem(r)
    if r.below(5) < 2:
        return problem_text(system, values) + "\nlist", "\n".join(f"{name} = {v}" for name, v in values.items())
    names = r.shuffled(values)[:1 + r.below(len(values))]
    return problem_text(system, values) + "\nread: " + ", ".join(names), ", ".join(values[name] for name in names)


def write(r, count):
    """Names in an expression replaced by the problem's values; never an expression that is right for
    any of the six lines of that problem."""
    system, values, given = p = problem(r)
    names = [name for name in values if name != "potential"]
    right = [canonical(e) for e in truth(*p)]
    while True:
        x = r.one("pqv")
        shapes = r.one([ENERGY, MOMENTUM, RATE])
        pick = lambda r: r.one(names) if r.below(3) else r.number()
        asked = draw(r, shapes, x, pick)
        if not r.below(3):
            asked += signed(r.one([1, -1]), draw(r, shapes, x, pick))
        asked = signed(1 if r.below(4) else -1, asked)
        told = [(s, *(fill(f, values) if isinstance(f, list) else f for f in rest)) for s, *rest in asked]
        if asked == told:  # no name in it
            continue
        if canonical(told) not in right:
            break
        count["rejected: writes a right line"] += 1
    return problem_text(system, values) + "\nwrite: " + text(asked), text(told)


def fill(factors, values):
    out = []
    for f in factors:
        name, mark, n = f.partition("^")
        out.append(values.get(name, name) + mark + n)
    return out


def monomial(r, x):
    above = [r.number() for _ in range(r.weighted([(30, 0), (45, 1), (20, 2), (5, 3)])[1])]
    below = r.weighted([(40, []), (20, ["2"]), (15, [r.number()]), (20, ["2", r.number()]), (5, [r.number(), r.number()])])[1]
    return (1 if r.below(4) else -1, above, x, r.weighted([(25, 1), (45, 2), (15, 3), (15, 4)])[1], below)


def derivative_drill(r, count):
    x = r.one("pq")
    t = monomial(r, x if r.below(5) else "pq".replace(x, ""))
    return f"d/d{x}: {text([t])}", text(derivative(t, x))


def several(r):
    return [monomial(r, r.one("pqv")) for _ in range(1 + r.below(3))]


def copy(r, count):
    e = text(several(r))
    return "copy: " + e, e


def simplify(r, count):
    a, b, n, x = 1 + r.below(9), 1 + r.below(9), 1 + r.below(2), r.one("pqv")
    y = term_text((1, [], x, n, []))
    times = lambda c, s: s if c == 1 else "-" + s if c == -1 else f"{c}*{s}"
    ratio = Fraction(a, b)
    quotient = times(ratio.numerator, y) + (f"/{ratio.denominator}" if ratio.denominator > 1 else "")
    product = times(a * b, y)
    sum_, difference = times(a + b, y), times(a - b, y) if a != b else "0"
    return r.one([
        (f"simplify: {a}*{b}*{y}", product), (f"simplify: {a}*{y}*{b}", product),
        (f"simplify: {a}*{y}/{b}", quotient), (f"simplify: {y}*{x}", f"{x}^{n + 1}"),
        (f"simplify: ({a}*{x})^2", times(a * a, x + "^2")), (f"simplify: -(-{a}*{y})", times(a, y)),
        (f"simplify: -({a}*{y} - {b})", f"-{times(a, y)} + {b}"),
        (f"simplify: {a}*{y} + {b}*{y}", sum_), (f"simplify: {a}*{y} - {b}*{y}", difference),
    ])


def antiderivative(r, count):
    """--new: c*x^n/d -> c*x^(n+1)/((n+1)*d)."""
    x = r.one("pq")
    t = monomial(r, x)
    sign, above, _, n, below = t
    return f"integral of {text([t])} by {x}", text([(sign, above, x, n + 1, [str(n + 1)] + below)])


MAKE = {"derive": derive, "read": read, "write": write, "derivative": derivative_drill, "copy": copy, "simplify": simplify,
        "new": antiderivative}


def document(question, reply):
    """As the chat template has it, closed by the token that separates documents."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{reply}<|im_end|><|endoftext|>"


def documents(n, seed, new=False, count=None):
    r = Random(seed)
    count = collections.Counter() if count is None else count
    for _ in range(n):
        kind = "new" if new else r.weighted(KINDS)[1]
        count["documents: " + kind] += 1
        yield document(*MAKE[kind](r, count))


def main():
    arguments = [a for a in sys.argv[1:] if a != "--new"]
    if len(arguments) != 2 or not all(a.isdigit() for a in arguments):
        sys.exit(__doc__)
    count = collections.Counter({"rejected: a right derivation": 0, "rejected: writes a right line": 0})
    for d in documents(int(arguments[0]), int(arguments[1]), "--new" in sys.argv, count):
        sys.stdout.buffer.write(d.encode())
    for name in sorted(count):
        print(f"{name}: {count[name]}", file=sys.stderr)


if __name__ == "__main__":
    main()
