"""Golden vectors of expressions: python3 vectors/gen/check.py > vectors/check.txt

Verdicts are by construction, by exact algebra (algebra.py), or, for what is made for one seed, by
drawing the primes and points of chapter 16 here.
"""
import random

from algebra import Field, near, num, same, slope, some, write

HEAD = """\
# python3 vectors/gen/check.py > vectors/check.txt
# id | reason | flags | seed | scope | left | right | verdict
# scope: names in their order, variables alone, others NAME:=EXPRESSION. \\\\xHH in a text is a byte.
# verdict: equal, different, novalue; left@N or right@N: refused at byte N, left or right: as a
# whole. Flags: seed, the verdict belongs to this seed alone; limit, at or just beyond one."""


def philox(key, ctr):
    k, x = list(key), list(ctr)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [b >> 32 ^ x[1] ^ k[0], b & 0xFFFFFFFF, a >> 32 ^ x[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) % 2 ** 32, (k[1] + 0xBB67AE85) % 2 ** 32]
    return x


def drawn(seed, point, which, kind, limit):
    x = philox(seed, [which % 2 ** 32, which >> 32, point, 0x63686B00 + kind])
    return (x[0] * 2 ** 32 + x[1]) * limit >> 64


def is_prime(n):
    """Miller and Rabin to the first thirteen primes: proved far beyond 2^64 (Sorenson, Webster)."""
    d, twos = n - 1, 0
    while d % 2 == 0:
        d, twos = d // 2, twos + 1
    for a in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41):
        powers = [pow(a, d << k, n) for k in range(twos)]
        if powers[0] != 1 and n - 1 not in powers:
            return False
    return True


def prime(seed, point):
    i = 0
    while True:
        p = 2 ** 60 | drawn(seed, point, i, 0, 2 ** 60) | 1
        if is_prime(p):
            return p
        i += 1


def coordinate(seed, point, variable, p):
    return drawn(seed, point, variable, 1, p) * pow(2 ** 64, -1, p) % p


def long(x):
    """A whole number of any length in the grammar, nine digits at a time."""
    text = ""
    parts = []
    while x:
        x, low = divmod(x, 10 ** 9)
        parts.append(low)
    for k, low in enumerate(reversed(parts)):
        text = "(%s*10^9+%d)" % (text, low) if k else str(low)
    return text


def verdict(a, b):
    try:
        return "equal" if Field().equal(a, b) else "different"
    except ZeroDivisionError:
        return "novalue"


count = {}


def case(kind, reason, left, right, want, flags="-", seed=(1, 2), scope="q;p"):
    count[kind] = count.get(kind, 0) + 1
    assert "|" not in left + right and len(left.encode()) <= 512 or want.startswith("left")
    print("%s.%d | %s | %s | %d,%d | %s | %s | %s | %s" %
          (kind, count[kind], reason, flags, *seed, scope, left, right, want))


def known():
    """By construction."""
    for reason, a, b in (
            ("the same", "q", "q"), ("a product commutes", "q*p", "p*q"),
            ("juxtaposition is a product", "2qp", "2*q*p"), ("middle dot", "2·q·p", "2*q*p"),
            ("superscript", "q²+p²", "q^2+p^2"), ("blanks and tabs", " q +\tp ", "p+q"),
            ("a minus is weaker than a power", "-q^2", "-(q^2)"), ("two signs", "--q", "q"),
            ("a sign behind an operator", "2*-q-3/-p", "3/p-2q"),
            ("from left to right", "q/p/2", "q/(2p)"), ("from left to right", "q-p-1", "q-(p+1)"),
            ("a product behind a quotient", "q/2*p", "(q*p)/2"),
            ("a number's power before juxtaposition", "2^3q", "8q"), ("a power before it", "q^2p", "q*q*p"),
            ("brackets side by side", "(q+p)(q-p)", "q^2-p^2"), ("a name and a bracket", "q(p+1)", "qp+q"),
            ("decimals are exact", "0.1+0.2", "0.3"), ("a decimal as a quotient", "0.125q", "q/8"),
            ("9 digits with decimals", "1.00000001", "100000001/100000000"),
            ("zeros in front", "007q", "7q"), ("a common factor", "(q^2-p^2)/(q-p)", "q+p"),
            ("0/0 at one place only", "q/q", "1"), ("zero times", "0q", "0"), ("nothing is zero", "0", "0"),
            ("binomial", "(q+p)^3", "q^3+3q^2p+3qp^2+p^3"), ("a sum of quotients", "1/q+1/p", "(q+p)/(qp)"),
            ("a nested quotient", "1/(1/q+1/p)", "qp/(q+p)"), ("thirds", "p^2/(2*3)", "p²/6"),
            ("largest exponent", "q^16", "(q^8)^2"), ("powers of powers with brackets", "(q^2)^3", "q^6"),
            ("degree 4096", "((q^16)^16)^16", "((q^8)^16)^16*((q^8)^16)^16"),
            ("Pythagoras", "sin(q)^2+cos(q)^2", "1"), ("the sine is odd", "sin(-q)", "-sin(q)"),
            ("the cosine is even", "cos(q-p)", "cos(p-q)"), ("the sine of zero", "sin(q-q)", "0"),
            ("the cosine of zero", "cos(0)", "1"), ("Pythagoras of a number", "sin(2)²+cos(1+1)²", "1"),
            ("equal arguments", "sin((q+p)^2)", "sin(q²+2qp+p²)"), ("a sine in a sine", "sin(sin(q+q))", "sin(sin(2q))"),
            ("arguments with quotients", "cos(1/q+1/p)", "cos((p+q)/(p*q))"),
            ("tangents", "sin(q)/cos(q)+cos(q)/sin(q)", "1/(sin(q)cos(q))"),
            ("functions side by side", "2sin(q)cos(q)", "2cos(q)*sin(q)"),
            ("blanks before a bracket", "sin (q)", "sin( q )")):
        case("equal", reason, a, b, "equal")
    for reason, a, b in (
            ("two variables", "q", "p"), ("a sign", "q-p", "p-q"), ("a minus is weaker than a power", "-q^2", "(-q)^2"),
            ("an exponent", "q^15", "q^16"), ("a factor", "p^2/2", "p^2"), ("a small number", "q+0.00000001", "q"),
            ("a large number", "999999999q", "999999998q"), ("zero", "q-q", "1"), ("not by chance", "(q-1)(q-2)(q-3)", "0"),
            ("equal at 0 and 1", "q^2", "q"), ("Fermat's little theorem does not help", "((q^16)^16)^16", "q"),
            ("sine and cosine", "sin(q)", "cos(q)"), ("another argument", "sin(q)", "sin(p)"),
            ("a sign of the sine", "sin(-q)", "sin(q)"), ("a sign of the cosine", "cos(-q)", "-cos(q)"),
            ("a number in an argument", "cos(2q)", "2cos(q)"), ("Pythagoras with two arguments", "sin(q)^2+cos(p)^2", "1"),
            ("small angles", "sin(q)", "q"), ("a period is no number", "sin(q+6.2831853)", "sin(q)"),
            ("no double angles: true, and not recognised", "cos(2q)", "1-2sin(q)^2"),
            ("no sums of angles: true, and not recognised", "sin(q+p)", "sin(q)cos(p)+cos(q)sin(p)")):
        case("different", reason, a, b, "different")
    for reason, a in (("0 in a denominator", "1/0"), ("a difference of equals", "1/(q-q)"), ("hidden", "1/((q+p)^2-q²-2qp-p²)"),
                      ("0/0", "0/0"), ("Pythagoras", "q/(1-sin(q)^2-cos(q)^2)"), ("in an argument", "sin(1/(p-p))"),
                      ("times zero", "0*(1/0)"), ("0.0", "1/0.0")):
        case("novalue", reason, a, "1", "novalue")
        case("novalue", "and on the right: " + reason, "q", a, "novalue")
        case("novalue", "nor is it itself: " + reason, a, a, "novalue")


def refused():
    rows = (
        ("empty", "", 0), ("blanks", "  ", 2), ("an operator alone", "+", 0), ("no right operand", "q+", 2),
        ("a sign plus", "+q", 0), ("a sign plus inside", "q*+p", 2), ("two operands", "2 3", 2), ("a number behind a name", "q2", 1),
        ("a number behind a bracket", "(q)2", 3), ("an open bracket", "(q", 2), ("a closed bracket", "q)", 1), ("no content", "()", 1),
        ("other brackets", "[q]", 0), ("other brackets", "{q}", 0), ("an equation", "q=q", 1), ("0=0", "0=0", 1), ("two lines", "q\\x0aq", 1),
        ("a carriage return", "q\\x0d", 1), ("a NUL", "q\\x00", 1), ("a NUL in front", "\\x00q", 0), ("a vertical tab", "q\\x0b", 1),
        ("a no-break space", "q\\xc2\\xa0", 1), ("superscript 3", "q\\xc2\\xb3", 1), ("half of a superscript 2", "q\\xc2", 1), ("a lone continuation", "q\\xb2", 1),
        ("unicode minus", "q\\xe2\\x88\\x92p", 1), ("unicode times", "q\\xc3\\x97p", 1), ("a byte 255", "\\xff", 0), ("python's power", "q**2", 2),
        ("a bar", "q\\x7c", 1), ("an unknown name", "x", 0), ("an unknown name behind a known one", "qx", 1), ("capital letters", "Q", 0), ("an underscore", "q_p", 1),
        ("a slope of a variable", "p_q", 1), ("a name of many letters", "exp(q)", 0), ("tan", "tan(q)", 0), ("sin without brackets", "sin q", 4), ("cos without brackets", "cosq", 3),
        ("a power of sin", "sin^2(q)", 3), ("sin alone", "sin", 3), ("sin of two", "sin(q,p)", 5), ("pi", "pi", 1), ("a comma", "1,5", 1),
        ("a point alone", ".", 0), ("no digit in front", ".5", 0), ("no digit behind", "5.", 2), ("two points", "1.2.3", 3), ("a unit", "1e5", 1),
        ("ambiguous: a half of q or 1/(2q)", "1/2q", 3), ("ambiguous with a bracket", "1/2(q)", 3), ("ambiguous with blanks", "p^2 / 2 q", 8), ("ambiguous with a sign", "1/-2q", 4),
        ("ambiguous with a power", "1/q^2p", 5), ("ambiguous with a function", "1/2sin(q)", 3), ("ambiguous behind a later product", "1*2/3q", 5),
        ("a tower", "q^2^2", 4), ("a tower of numbers", "9^9^9", 4), ("a tower of a superscript", "q²^2", 4), ("a tower with one", "q^2²", 5), ("a negative exponent", "q^-1", 2),
        ("an exponent in brackets", "q^(2)", 2), ("a name as exponent", "q^p", 2), ("no exponent", "q^", 2), ("exponent 0", "q^0", 3), ("a decimal exponent", "q^2.5", 3), ("a sign as exponent", "2^-q", 2),
        ("a factorial", "q!", 1), ("a comparison", "q<p", 1), ("a percent", "5%", 1), ("a root", "sqrt(q)", 0), ("TeX", "\\x5cfrac{p}{2}", 0))
    for reason, text, at in rows:
        case("refused", reason, text, "q", "left@%d" % at)
    case("refused", "on the right", "q", "q+", "right@2")
    for reason, good, bad, at in (
            ("exponents to 16", "q^16", "q^17", 4), ("9 digits", "123456789", "1234567890", 9),
            ("9 digits, zeros too", "000000001", "0000000001", 9), ("9 digits with decimals", "12345.6789", "12345.67890", 10),
            ("digits of an exponent", "q^000000002", "q^0000000002", 11),
            ("degree 4096", "((q^16)^16)^16", "((q^16)^16)^16q", 15), ("of numbers too", "((9^16)^16)^16", "(((9^9)^9)^9)^9", 15),
            ("a degree of 4096 below", "1/(((q^16)^16)^5)", "1/(((q^16)^16)^6)", 17),
            ("32 brackets", "(" * 32 + "q" + ")" * 32, "(" * 33 + "q" + ")" * 33, 33),
            ("32 signs", "-" * 32 + "q", "-" * 33 + "q", 33),
            ("256 nodes", "-" + "q" * 128, "--" + "q" * 128, 130),
            ("512 bytes", "q" + " " * 511, "q" + " " * 512, None)):
        case("limit", reason, good, "0", "different", "limit")
        case("limit", "beyond " + reason, bad, "0", "left" if at is None else "left@%d" % at, "limit")


def bound():
    scope = "q;p;T:=p^2/6;V:=5q^2/2-cos(3q);H:=T+V;N:=q+;C:=1/(p-p);W:=H_p q"
    for reason, a, b, want in (
            ("a name", "T", "p²/6", "equal"), ("names in names", "H", "V+T", "equal"), ("names side by side", "TV", "V*T", "equal"),
            ("a slope", "T_p", "p/3", "equal"), ("a second slope", "T_pp", "1/3", "equal"), ("by another variable", "T_q", "0", "equal"),
            ("a slope of a cosine", "V_q", "5q+3sin(3q)", "equal"), ("its sign", "V_q", "5q-3sin(3q)", "different"),
            ("its second slope", "V_qq", "5+9cos(3q)", "equal"), ("through a name", "H_q", "V_q", "equal"), ("through a name twice", "H_pp", "T_pp", "equal"),
            ("slopes in products", "2T_p p T", "T_p²p²", "equal"), ("its own second slope is not its first", "V_qq", "V_q", "different"),
            ("what is no expression", "N", "N", "novalue"), ("its slope", "N_q", "0", "novalue"), ("what has no value", "C", "C", "novalue"), ("its slope", "C_q", "0", "novalue"),
            ("what has slopes has a value", "W", "q*p/3", "equal"), ("and no slope", "W_q", "0", "left@3"), ("mixed slopes", "H_pq", "0", "left@3"), ("three times", "V_qqq", "0", "left@4"),
            ("no variable", "T_V", "0", "left@2"), ("nothing", "T_", "0", "left@2"), ("a blank", "T _p", "0", "left@2"), ("a letter behind", "T_px", "0", "left@3"), ("a bracket behind", "T_p(q)", "pq/3", "equal")):
        case("bound", reason, a, b, want, scope=scope)
    for reason, scope, a, want in (
            ("the longest name", "q;qp;p", "qp", "different"), ("the longest name comes first", "qp;q;p", "qpq", "different"), ("but not across a blank", "q;qp;p", "q p", "equal")):
        case("names", reason, a, "q*p" if want == "equal" else "q*p" + a[2:], want, scope=scope)
    case("names", "digits in names", "q1 q2", "q2*q1", "equal", scope="q1;q2")
    case("names", "a name is no number", "q12", "q1*2", "left@2", scope="q1;q2")
    doubled = "q;" + ";".join("%s:=%s+%s" % (x, y, y) for x, y in zip("abcdefghijk", "qabcdefghij"))
    case("bound", "4095 nodes through names", "k", "2048q", "equal", "limit", scope=doubled)
    case("bound", "more", "k+q", "2049q", "left@3", "limit", scope=doubled)
    big = "q;T:=((q^16)^16)^16"
    case("bound", "as large as may be", "T", "T", "equal", "limit", scope=big)
    case("bound", "larger", "T*q", "T*q", "left@3", "limit", scope=big)
    case("bound", "what is too large itself", "T", "T", "novalue", "limit", scope="q;T:=((q^16)^16)^16*q")


def seeded():
    """Constants and roots made for the primes and points that one seed draws: so are they drawn."""
    for seed in ((1, 2), (0, 0), (4294967295, 305419896)):
        p = [prime(seed, k) for k in range(2)]
        at = [[coordinate(seed, k, v, p[k]) for k in range(2)] for v in range(2)]
        other = (seed[0] ^ 1, seed[1])
        both = p[0] * p[1]
        case("seed", "a multiple of both primes", long(both) + "q", "0", "equal", "seed", seed)
        case("seed", "under another seed", long(both) + "q", "0", "different", "seed", other)
        case("seed", "under another second word", long(both) + "q", "0", "different", "seed", (seed[0], seed[1] ^ 1))
        case("seed", "a multiple of the first alone", long(p[0]) + "q", "0", "different", "seed", seed)
        case("seed", "a multiple of the second alone", long(p[1]) + "q", "0", "different", "seed", seed)
        for v, name in enumerate("qp"):
            root = (at[v][0] * p[1] * pow(p[1], -1, p[0]) + at[v][1] * p[0] * pow(p[0], -1, p[1])) % both
            case("seed", "both values of %s" % name, name, long(root), "equal", "seed", seed)
            case("seed", "under another seed", name, long(root), "different", "seed", other)
            case("seed", "no value there, but at the points drawn next", "(%s-%s)/(%s-%s)" % ((name, long(root)) * 2), "1", "equal", "seed", seed)
        case("seed", "the first value of q", "q", long(at[0][0]), "different", "seed", seed)


def algebraic():
    """Random pairs, decided by algebra. Both texts must be within the limits."""
    r = random.Random(16)
    want = {"equal": 60, "different": 60, "novalue": 4}
    while any(want.values()):
        e = some(r, r.randint(2, 4))
        other = same(r, same(r, e)) if r.random() < .5 else near(r, same(r, e))
        v = verdict(e, other)
        a, b = write(e, r), write(other, r)
        if want[v] and 3 < len(a) and len(b) < 150 and a.strip() != b.strip():
            want[v] -= 1
            case("random", "drawn", a.replace("\t", "\\x09"), b.replace("\t", "\\x09"), v)
    for k in range(60):
        x = r.choice("qp")
        e = some(r, r.randint(2, 3))
        d = slope(e, x)
        if k % 3 == 2:
            d = slope(d, x)
        d = same(r, d) if k % 2 else near(r, same(r, d))
        try:
            Field().value(e)
            is_it = verdict(d, slope(slope(e, x), x) if k % 3 == 2 else slope(e, x))
        except ZeroDivisionError:
            continue
        left, right = "F_" + x * (1 + (k % 3 == 2)), write(d, r).replace("\t", "\\x09")
        if len(right) < 400 and is_it != "novalue":
            case("slope", "drawn", left, right, is_it, scope="q;p;F:=" + write(e, None))


print(HEAD.replace("\\\\", "\\"))
known()
refused()
bound()
seeded()
algebraic()
