"""Expressions of chapter 16 in exact algebra, for vectors/gen/check.py and tests/check.py.

An expression is a tuple: ("n", Fraction), ("v", name), ("-", a), ("sin", a), ("cos", a),
("^", a, k) or (op, a, b) with op one of + - * /, where ("-", a, b) is a difference.

    Field()              .value(e): numerator and denominator, .equal(a, b), or ZeroDivisionError
    slope(e, x)          the derivative
    write(e, r)          a text in the program's grammar, one of many; plain(e, power): another's
    some(r, ...), same(r, e), near(r, e): random expressions, equal ones and nearly equal ones

A polynomial is a dict from monomials (sorted tuples of (symbol, exponent)) to Fractions. Sines and
cosines are symbols ("s", k), ("c", k) of the k-th distinct argument, with c^2 replaced by 1 - s^2:
the quotient field of Q[x.., s.., c..] / (s^2 + c^2 - 1, ..), where equality is decided by algebra.
"""
from fractions import Fraction

ONE = {(): Fraction(1)}


def add(a, b, k=1):
    out = dict(a)
    for m, x in b.items():
        out[m] = out.get(m, 0) + k * x
        if not out[m]:
            del out[m]
    return out


def mul(a, b):
    out = {}
    for m, x in a.items():
        for n, y in b.items():
            e = dict(m)
            for s, k in n:
                e[s] = e.get(s, 0) + k
            key = tuple(sorted(e.items(), key=str))
            out[key] = out.get(key, 0) + x * y
    return reduce({m: x for m, x in out.items() if x})


def reduce(a):
    """c^2 = 1 - s^2 until no cosine has an exponent above 1."""
    for m, x in a.items():
        for s, k in m:
            if s[0] == "c" and len(s) == 2 and k > 1:
                rest = {m: x}
                others = add(a, rest, -1)
                e = dict(m)
                e[s] -= 2
                low = tuple(sorted(((t, j) for t, j in e.items() if j), key=str))
                sine = {((("s", s[1]), 2),): Fraction(1)}
                return reduce(add(others, mul({low: x}, add(ONE, sine, -1))))
    return a


class Field:
    def __init__(self):
        self.angles = []  # (numerator, denominator)

    def angle(self, n, d):
        """The number of an argument up to its sign, and the sign; 0 has none."""
        for k, (an, ad) in enumerate(self.angles):
            for sign in (1, -1):
                if not add(mul(n, ad), mul(an, d), -sign):
                    return k, sign
        self.angles.append((n, d))
        return len(self.angles) - 1, 1

    def value(self, e):
        op = e[0]
        if op == "n":
            return ({(): e[1]} if e[1] else {}), ONE
        if op == "v":
            return {((e[1], 1),): Fraction(1)}, ONE
        n, d = self.value(e[1])
        if op == "-" and len(e) == 2:
            return add({}, n, -1), d
        if op == "^":
            nn, dd = ONE, ONE
            for _ in range(e[2]):
                nn, dd = mul(nn, n), mul(dd, d)
            return nn, dd
        if op in ("sin", "cos"):
            if not n:
                return ({} if op == "sin" else ONE), ONE
            k, sign = self.angle(n, d)
            return {(((op[0], k), 1),): Fraction(sign if op == "sin" else 1)}, ONE
        m, f = self.value(e[2])
        if op == "*":
            return mul(n, m), mul(d, f)
        if op == "/":
            if not m:
                raise ZeroDivisionError
            return mul(n, f), mul(d, m)
        return add(mul(n, f), mul(m, d), 1 if op == "+" else -1), mul(d, f)

    def equal(self, a, b):
        (n, d), (m, f) = self.value(a), self.value(b)
        return not add(mul(n, f), mul(m, d), -1)


def num(k):
    return ("n", Fraction(k))


def slope(e, x):
    op = e[0]
    if op == "n":
        return num(0)
    if op == "v":
        return num(int(e[1] == x))
    a = slope(e[1], x)
    if op == "-" and len(e) == 2:
        return ("-", a)
    if op == "^":
        return ("*", ("*", num(e[2]), ("^", e[1], e[2] - 1)), a) if e[2] > 1 else a
    if op == "sin":
        return ("*", ("cos", e[1]), a)
    if op == "cos":
        return ("-", ("*", ("sin", e[1]), a))
    b = slope(e[2], x)
    if op == "*":
        return ("+", ("*", a, e[2]), ("*", e[1], b))
    if op == "/":
        return ("/", ("-", ("*", a, e[2]), ("*", e[1], b)), ("^", e[2], 2))
    return (op, a, b)


def decimal(x):
    """Decimal digits of a number >= 0, or None when they do not end within nine digits."""
    for places in range(9):
        if (x * 10 ** places).denominator == 1:
            digits = "%0*d" % (places + 1, int(x * 10 ** places))
            return digits[:len(digits) - places] + ("." + digits[-places:] if places else "") \
                if len(digits) <= 9 else None
    return None


def write(e, r):
    """A text of the program's grammar: signs left out, blanks and brackets added by chance."""
    def gap():
        return r.choice(["", "", "", " ", "  ", "\t"]) if r else ""

    def go(e, level):  # 0 a sum, 1 a product, 2 a factor, 3 what has a power, 4 an atom
        op, mine = e[0], 4
        if op == "n":
            x = abs(e[1])
            text = decimal(x)
            if text is None or (r and x.denominator > 1 and r.random() < .6):
                mine, text = 1, "%d/%d" % (x.numerator, x.denominator)
            if e[1] < 0:
                mine, text = min(mine, 2), "-" + text
        elif op == "v":
            text = e[1]
        elif op in ("sin", "cos"):
            text = op + gap() + "(" + go(e[1], 0) + ")"
        elif op == "^":
            mine = 3
            text = go(e[1], 4) + ("²" if r and e[2] == 2 and r.random() < .3 else
                                  gap() + "^" + gap() + str(e[2]))
        elif op == "-" and len(e) == 2:
            mine, text = 2, "-" + gap() + go(e[1], 2)
        elif op in "+-":
            mine, text = 0, go(e[1], 0) + gap() + op + gap() + go(e[2], 1)
        else:
            mine, left, right = 1, go(e[1], 1), go(e[2], 2)
            sign = gap() + ("/" if op == "/" else r.choice("*·") if r else "*") + gap()
            if op == "*" and r and r.random() < .5 and right[0] not in "-0123456789" and \
                    not divides(left):
                sign = gap()
            text = left + sign + right
        if mine < level or (r and r.random() < .05):
            text = "(" + gap() + text + gap() + ")"
        return text

    return gap() + go(e, 0) + gap()


def divides(text):
    """Whether the last sign outside of brackets is a division."""
    depth = 0
    for c in reversed(text):
        depth += (c == ")") - (c == "(")
        if depth == 0 and c in "*·/":
            return c == "/"
    return False


def plain(e, power="**"):
    """The same with all brackets and signs; numbers as quotients."""
    op = e[0]
    if op == "n":
        return "(%d/%d)" % (e[1].numerator, e[1].denominator) if power == "^" else \
            "Rational(%d,%d)" % (e[1].numerator, e[1].denominator)
    if op == "v":
        return e[1]
    a = plain(e[1], power)
    if op in ("sin", "cos"):
        return "%s(%s)" % (op, a)
    if op == "^":
        return "(%s)%s%d" % (a, power, e[2])
    if op == "-" and len(e) == 2:
        return "(-%s)" % a
    return "(%s%s%s)" % (a, op, plain(e[2], power))


def some(r, depth, variables="qp", turns=True):
    if depth == 0 or r.random() < .15:
        if r.random() < .45:
            return ("n", Fraction(r.randint(0, 9), r.choice([1, 1, 1, 1, 2, 3, 4, 5, 10])))
        return ("v", r.choice(variables))
    op = r.choice("++--**/^~" + ("sc" if turns else ""))
    a = some(r, depth - 1, variables, turns)
    if op == "^":
        return ("^", a, r.choice([1, 2, 2, 2, 3]))
    if op == "~":
        return ("-", a)
    if op in "sc":
        return ("sin" if op == "s" else "cos", some(r, min(depth - 1, 1), variables, False))
    return (op, a, some(r, depth - 1, variables, turns))


def paths(e, at=()):
    yield at
    for i, x in enumerate(e[1:], 1):
        if isinstance(x, tuple):
            yield from paths(x, at + (i,))


def replace(e, at, change):
    if not at:
        return change(e)
    return e[:at[0]] + (replace(e[at[0]], at[1:], change),) + e[at[0] + 1:]


def same(r, e):
    """An equal expression: one of its parts rewritten by a rule of algebra."""
    def change(x):
        op, two = x[0], len(x) == 3
        rules = [("-", ("-", x)), ("*", num(1), x), ("+", x, num(0)), ("/", ("*", x, num(3)), num(3)),
                 ("+", ("*", x, ("^", ("sin", ("v", "q")), 2)), ("*", ("^", ("cos", ("v", "q")), 2), x))]
        if op in "+*":
            rules += [(op, x[2], x[1])] * 6
            if x[1][0] == op:
                rules += [(op, x[1][1], (op, x[1][2], x[2]))] * 4
        if op == "*" and x[2][0] in "+-" and len(x[2]) == 3:
            rules += [(x[2][0], ("*", x[1], x[2][1]), ("*", x[1], x[2][2]))] * 6
        if op == "-" and two:
            rules += [("-", ("-", x[2], x[1])), ("+", x[1], ("-", x[2])), ("+", ("-", x[2]), x[1])] * 3
        if op == "^" and x[2] > 1:
            rules += [("*", x[1], ("^", x[1], x[2] - 1)), ("*", ("^", x[1], x[2] - 1), x[1])] * 4
        if op == "/":
            rules += [("*", x[1], ("/", num(1), x[2])), ("-", ("/", x[1], ("-", x[2])))] * 3
        if op in ("sin", "cos"):
            turned = (op, ("-", x[1]))
            rules += [("-", turned) if op == "sin" else turned, (op, ("*", num(1), x[1]))] * 4
        if op == "n" and x[1].denominator > 1:
            rules += [("/", num(x[1].numerator), num(x[1].denominator))] * 4
        return r.choice(rules)

    return replace(e, r.choice(list(paths(e))), change)


def near(r, e):
    """An expression in which one sign, number, name, exponent or function is another."""
    def change(x):
        op = x[0]
        if op == "n":
            return ("n", x[1] + r.choice([1, Fraction(1, 2), Fraction(1, 10 ** 6)]))
        if op == "v":
            return r.choice([("v", "p" if x[1] == "q" else "q"), ("*", num(2), x), ("-", x)])
        if op == "^":
            return ("^", x[1], x[2] + 1)
        if op in ("sin", "cos"):
            return r.choice([("cos" if op == "sin" else "sin", x[1]), (op, ("*", num(2), x[1]))])
        if len(x) == 2:
            return x[1]
        return r.choice([({"+": "-", "-": "+", "*": "/", "/": "*"}[op], x[1], x[2]), x[1],
                         (op, x[2], x[1])])

    return replace(e, r.choice(list(paths(e))), change)
