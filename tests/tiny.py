#!/usr/bin/env python3
"""The embedded model's inputs, vectors/tiny: tokenizer, configuration and the text it learns from.

usage: tests/tiny.py [--report]   (ASSAY: the program, build/assay)

What the text claims is checked by reading it back: every expression is parsed here into a polynomial
in p, q, v and their cosines and sines with exact rational coefficients, by nothing of the generator's.
--report prints what the book's table of base rates says.
"""
import collections
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from fractions import Fraction

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
FOLDER = "vectors/tiny"
sys.path.insert(0, FOLDER)
sys.dont_write_bytecode = True
import corpus  # noqa: E402
import tokenizer  # noqa: E402

ASSAY = os.environ.get("ASSAY", "build/assay")
SAMPLE = 60000 if "--report" in sys.argv else 12000  # derivations that are read back
TEXT_SHA = "6be91f40ebda6601a0d679be28b8a2a5e60c248ef540b378c3b2fb2b1ce70261"  # of 1,000 documents of seed 1
NEW_SHA = "6c4a86817d03f152c1cfc447ba81c0070535a66ceda77266b7df7785ec9546f1"  # of 1,000 documents of seed 3 with --new
ONE = {(): Fraction(1)}
failed = passed = 0


def check(ok, what, found=""):
    global failed, passed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(f"ok tiny: {what}" if ok else f"FAIL tiny: {what}: {found}", flush=True)


# ---- expressions: {((atom, power), ...): coefficient}, atoms p, q, v and cos(.), sin(.) of them


def plus(a, b, sign=1):
    out = collections.defaultdict(Fraction, a)
    for key, c in b.items():
        out[key] += sign * c
    return {key: c for key, c in out.items() if c}


def times(a, b):
    out = collections.defaultdict(Fraction)
    for (ka, ca), (kb, cb) in itertools.product(a.items(), b.items()):
        powers = dict(ka)
        for atom, n in kb:
            powers[atom] = powers.get(atom, 0) + n
        out[tuple(sorted(powers.items()))] += ca * cb
    return {key: c for key, c in out.items() if c}


def power(a, n):
    out = ONE
    for _ in range(n):
        out = times(out, a)
    return out


def slope(a, x):
    """Derivative by x: for each factor of each term, its own derivative times the others."""
    out = {}
    for key, c in a.items():
        for i, (atom, n) in enumerate(key):
            if atom.strip("cosin()") != x:
                continue
            own = {"c": (f"sin({x})", -1), "s": (f"cos({x})", 1)}.get(atom[0], (None, 1))
            rest = {key[:i] + ((atom, n - 1),) * (n > 1) + key[i + 1:]: c * n * own[1]}
            out = plus(out, times(rest, {((own[0], 1),): 1}) if own[0] else rest)
    return out


class Parser:
    """sum: [-] product {+|- product}; product: power {*|/ power}; power: atom [^ digits]; atom: digits, letter, function, (sum)."""

    def __init__(self, text):
        self.tokens = re.findall(r"\d+|cos|sin|[a-z]+|\S", text) + [""]

    def take(self, *wanted):
        if self.tokens[0] in wanted:
            return self.tokens.pop(0)
        return None

    def sum(self):
        a = plus({}, self.product(), -1) if self.take("-") else self.product()
        while sign := self.take("+", "-"):
            a = plus(a, self.product(), 1 if sign == "+" else -1)
        return a

    def product(self):
        a = self.power()
        while sign := self.take("*", "/"):
            b = self.power()
            a = times(a, b if sign == "*" else {(): 1 / b[()]} if list(b) == [()] else None)
        return a

    def power(self):
        a = self.atom()
        return power(a, int(self.tokens.pop(0))) if self.take("^") else a

    def atom(self):
        token = self.tokens.pop(0)
        if token.isdigit():
            return {(): Fraction(int(token))} if int(token) else {}
        if token in ("cos", "sin"):
            token += "".join(self.tokens[:3])
            assert re.fullmatch(r"(cos|sin)\([pqv]\)", token), token
            del self.tokens[:3]
        elif token == "(":
            a = self.sum()
            assert self.take(")")
            return a
        assert token in ("p", "q", "v") or "(" in token, token
        return {((token, 1),): Fraction(1)}


def value(text):
    parser = Parser(text)
    a = parser.sum()
    assert parser.tokens == [""], text
    return a


# ---- problems, read from their text, and what is right for them

RIGHT = {  # V and dp/dt; p, T and dq/dt are the same for all but the pendulum
    "free particle": ("0", "0", ()),
    "freefall": ("{mass}*{gravity}*q", "-{mass}*{gravity}", (1,)),
    "constant force": ("-{force}*q", "{force}", (1,)),
    "spring": ("{stiffness}*q^2/2", "-{stiffness}*q", (2,)),
    "quartic spring": ("{stiffness}*q^4/4", "-{stiffness}*q^3", (4,)),
    "spring in gravity": ("{stiffness}*q^2/2 + {mass}*{gravity}*q", "-{stiffness}*q - {mass}*{gravity}", (1, 2)),
    "pendulum": ("-{mass}*{gravity}*{length}*cos(q)", "-{mass}*{gravity}*{length}*sin(q)", ("cos(q)",)),
    "particle": ("{potential}", None, None),
}
INERTIA = {"pendulum": "{mass}*{length}^2"}


def read_problem(line):
    system, coordinate, *pairs = line.split(", ")
    assert coordinate.endswith(" q")
    return system, dict(pair.split(" = ") for pair in pairs)


def right(system, values):
    m = INERTIA.get(system, "{mass}").format(**values)
    potential, force, _ = RIGHT[system]
    v = value(potential.format(**values))
    t = value(f"p^2/(2*{m})")
    out = [value(f"{m}*v"), t, v, plus(t, v), value(f"p/({m})"), plus({}, slope(v, "q"), -1)]
    assert force is None or out[5] == value(force.format(**values))
    return out


def degrees(a):
    """The powers of q of a potential (or cos(q)); None if it holds anything else."""
    out = set()
    for key in a:
        atoms = dict(key)
        if len(atoms) > 1 or not set(atoms) <= {"q", "cos(q)"} or atoms.get("cos(q)", 1) > 1:
            return None
        out.add("cos(q)" if "cos(q)" in atoms else atoms.get("q", 0))
    return out


def structure(lines, truth):
    """The six qualities that can be judged without the right answer's numbers."""
    p, t, v, h, dq, dp = lines
    alone = lambda a, x: bool(a) and {atom for key in a for atom, _ in key} <= {x}
    return [
        alone(p, "v") and times(value("v"), slope(p, "v")) == p,
        alone(t, "p") and times(value("p"), slope(t, "p")) == plus(t, t),
        degrees(v) == degrees(truth[2]),
        h == plus(t, v),
        dq == slope(h, "p"),
        dp == plus({}, slope(h, "q"), -1),
    ]


def split(document):
    found = re.fullmatch(r"<\|im_start\|>user\n(.*)<\|im_end\|>\n<\|im_start\|>assistant\n(.*)<\|im_end\|><\|endoftext\|>", document, re.S)
    return found.group(1), found.group(2)


def read_answer(reply):
    lines = [line.split(" = ", 1) for line in reply.split("\n")]
    assert [name for name, _ in lines] == ["p", "T", "V", "H", "dq/dt", "dp/dt"], reply
    return [value(e) for _, e in lines]


def numbers_of(values):
    """The numbers of a problem; of a potential, its coefficients."""
    out = [int(v) for name, v in values.items() if name != "potential"]
    return out + [int(term.split("*")[0]) for term in values.get("potential", "").split(" + ") if term]


# ---- checks


def run(*args, text=""):
    return subprocess.run(args, input=text.encode(), capture_output=True).stdout


def check_tokenizer():
    from tokenizers import Tokenizer
    with tempfile.TemporaryDirectory() as tmp:
        shutil.copy(f"{FOLDER}/tokenizer.py", tmp)
        run(sys.executable, f"{tmp}/tokenizer.py")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            same = open(f"{FOLDER}/{name}", "rb").read() == open(f"{tmp}/{name}", "rb").read()
            check(same, f"{name} comes out the same when tokenizer.py makes it again")
    t = Tokenizer.from_file(f"{FOLDER}/tokenizer.json")
    config = json.load(open(f"{FOLDER}/config.json"))
    ends = [t.token_to_id("<|im_end|>"), t.token_to_id("<|endoftext|>")]
    facts = [t.get_vocab_size(), ends, ends[1], ends]
    found = [config["vocab_size"], config["eos_token_id"], config["bos_token_id"],
             json.load(open(f"{FOLDER}/generation_config.json"))["eos_token_id"]]
    check(facts == found, "config.json has the tokenizer's size and end tokens", (facts, found))
    h, inter, n = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    rows = n * (2 * config["num_attention_heads"] + 2 * config["num_key_value_heads"])
    size = config["num_hidden_layers"] * (h * (rows + 3 * inter + 2) + 2 * n) + h * (config["vocab_size"] + 1)
    check(size == 1023296, "1,023,296 parameters", size)

    texts = list(corpus.documents(1500, 7)) + list(corpus.documents(200, 7, new=True))
    r = random.Random(5)
    odd = ["".join(chr(b) for b in range(128)), "".join(chr(c) for c in range(128, 0x250)), "e\u0301 ² · ½ 中文 😀", " = = dq/dt dq/dx md/dt", " -  - "]
    odd += ["".join(r.choice(["p", "q", " ", "=", " = ", ",", ": ", "d/dq", "12", "é", "²", "mass", "derive", "\n", "<|im_end|>", "<|im"])
                    for _ in range(r.randrange(40))) for _ in range(300)]
    for what, group in (("the text", texts), ("odd text", odd)):
        whole = "".join(group)
        ids = t.encode(whole, add_special_tokens=False).ids
        ours = run(ASSAY, "tokenize", FOLDER, text=whole).decode()
        check(ours.split() == list(map(str, ids)), f"{len(ids)} ids of {what} are those of the tokenizers package")
        back = run(ASSAY, "tokenize", FOLDER, "--decode", text=ours).decode()
        check(back == t.normalizer.normalize_str(whole), f"decoding gives {what} back")
    one = list("0123456789+-*/^()=,pqvTVH\n ") + [" = ", " + ", " - ", ", ", ": ", "d/dq", "d/dp"] + [n + " = " for n in corpus.LINES]
    check(all(len(t.encode(s).ids) == 1 for s in one), "digits, operators, brackets, variables and labels are one token each")
    words = {w for d in texts[:1500] for w in re.findall(r"\w{2,}", re.sub(r"\d", " ", d)) if w not in ("im_start", "im_end", "endoftext")}
    broken = [w for w in words if len(t.encode(w).ids) > 1 and w not in ("dq", "dp", "dt")]
    check(not broken, f"all {len(words)} words of the text are one token each", broken)
    every = [t.token_to_id(c) for c in tokenizer.spelling()]
    check(every == list(range(256)), "every byte has a token")
    return t


def check_lengths(t):
    length = lambda s: len(t.encode(s, add_special_tokens=False).ids)
    r, count = corpus.Random(11), collections.Counter()
    questions = [corpus.derive(r, count)[0] for _ in range(1000)]
    longest = max(length(corpus.document(q, "").split("<|im_end|><")[0]) for q in questions)
    check(longest <= 60, f"a showcase prompt has at most {longest} tokens with its frame", longest)
    answers = collections.defaultdict(int)
    for _ in range(1000):
        p = corpus.problem(r)
        answer = "\n".join(f"{n} = {corpus.text(e)}" for n, e in zip(corpus.LINES, corpus.truth(*p)))
        answers[p[0]] = max(answers[p[0]], length(answer))
        assert read_answer(answer) == right(p[0], p[1]), answer
    check(True, "the generator's right answers are right by this test's own table")
    check(max(answers.values()) <= 120, f"right answers have at most {max(answers.values())} tokens", answers)
    sizes = collections.defaultdict(list)
    for d in corpus.documents(6000, 12):
        question = split(d)[0]
        kind = re.sub(r":? .*", "", question.split("\n")[-1]).replace("d/dp:", "d/dq:").rstrip(":")
        sizes[kind].append(length(d))
    longest, all_ = max(max(v) for v in sizes.values()), sum(sum(v) for v in sizes.values())
    check(longest <= 255, f"a document has at most {longest} tokens", longest)
    return {**{k: (len(v) / 60, sum(v) / len(v), max(v), 100 * sum(v) / all_) for k, v in sizes.items()}, "answers": dict(answers)}


def check_text():
    for arguments, sha in (("1000 1", TEXT_SHA), ("1000 3 --new", NEW_SHA)):
        made = run(sys.executable, f"{FOLDER}/corpus.py", *arguments.split())
        check(hashlib.sha256(made).hexdigest() == sha, f"corpus.py {arguments} writes the bytes it always wrote",
              hashlib.sha256(made).hexdigest())
    a, b = (set(corpus.documents(500, seed)) for seed in (1, 2))
    shared = [d for d in a & b if "derive" in d or "write" in d]
    check(not shared, "two seeds share no problem with its answer", shared[:2])


def check_derivations():
    """Every derivation read back: none right, lines right as often as chance has it, nothing favoured."""
    r, count, hits = corpus.Random(21), collections.Counter(), collections.Counter()
    examples = []
    for _ in range(SAMPLE):
        question, reply = corpus.derive(r, count)
        problem, request = question.split("\n")
        assert request == "derive"
        system, values = read_problem(problem)
        examples.append((system, values, read_answer(reply), right(system, values)))
    names = corpus.LINES
    rows = collections.defaultdict(lambda: [0] * 13)
    whole = other = 0
    others = collections.Counter()
    by_system = {}
    for system, values, lines, truth in examples:
        true = [a == b for a, b in zip(lines, truth)]
        whole += all(true)
        hits.update(name for name, ok in zip(names, true) if ok)
        # the same answer judged by the last problem of this system before it, to which it cannot have looked
        if system in by_system:
            others.update(name for name, a, b in zip(names, lines, by_system[system]) if a == b)
        by_system[system] = truth
        easy = all(n < 10 for n in numbers_of(values))
        judged = structure(lines, truth) + true
        for key in ["all problems"] + [system] * easy:
            row = rows[key]
            row[0] += 1
            for i, ok in enumerate(judged):
                row[1 + i] += ok
    check(whole == 0 and count["rejected: a right derivation"] == 0, f"none of {SAMPLE} derivations is right for its problem, none was rejected", whole)
    check(all(count["right by chance: " + n] == hits[n] for n in names), "the generator counts the same coincidences as this test", (count, hits))
    rates = {n: 100 * hits[n] / SAMPLE for n in names}
    told = ", ".join(f"{n} {rates[n]:.2f}" for n in names)
    check(all(0.5 <= rates[n] <= 4 for n in names if n != "H") and rates["H"] < 0.3, f"lines right by chance, in percent: {told}", told)
    three = sum(v for k, v in count.items() if re.fullmatch(r"lines right by chance: [4-6]", k))
    check(three <= SAMPLE // 2000, f"{three} derivations have four lines or more right", three)
    far = [n for n in names if abs(hits[n] - others[n]) > 5 * (hits[n] + others[n] + 1) ** 0.5]
    check(not far, "answers are right for another problem of the system as often as for their own", (far, hits, others))

    # No right derivation has ever come up, so one is put in the generator's way.
    r, count, real = corpus.Random(22), collections.Counter(), (corpus.problem, corpus.answer)
    p = corpus.problem(r)
    drawn = iter([corpus.truth(*p), corpus.truth(*p), corpus.answer(r)])
    corpus.problem, corpus.answer = lambda r: p, lambda r: next(drawn)
    reply = corpus.derive(r, count)[1]
    corpus.problem, corpus.answer = real
    check(count["rejected: a right derivation"] == 2 and read_answer(reply) != right(p[0], p[1]),
          "a right derivation is drawn again and counted", (count, reply))

    # What says which way is right must be as frequent as its opposite.
    pairs = collections.Counter()
    for _, _, (_, t, v, h, dq, dp), _ in examples:
        for x, (a, b) in itertools.product("pq", ((dq, "dq"), (dp, "dp"))):
            for sign in (1, -1):
                d = plus({}, slope(h, x), sign)
                pairs[b, x, sign] += bool(d) and a == d
        if t and v:  # without one of them the sum is a difference too
            pairs["H", 1] += h == plus(t, v)
            pairs["H", -1] += h in (plus(t, v, -1), plus(v, t, -1))
        for e, name in ((t, "T"), (v, "V")):
            for x in "pq":
                pairs[name, x] += {atom for key in e for atom, _ in key} == {x}
    close = lambda keys: max(pairs[k] for k in keys) - min(pairs[k] for k in keys) <= 5 * (pairs[keys[0]] + pairs[keys[1]]) ** 0.5
    rate_keys = [(line, x, sign) for line in ("dq", "dp") for x in "pq" for sign in (1, -1)]
    check(close(rate_keys), "dq/dt and dp/dt are each derivative of H, by p or q, with + or -, equally often", pairs)
    check(close([("H", 1), ("H", -1)]), "H is the sum of its T and V as often as a difference", pairs)
    check(close([(e, x) for e in "TV" for x in "pq"]), "T and V depend on p and on q equally often", pairs)
    return rows, pairs


def check_drills():
    """Every drill's answer, and that none hands over a line of its problem's derivation."""
    kinds, wrong, leaks, held = collections.Counter(), [], 0, 0
    for d in itertools.chain(corpus.documents(8000, 31), corpus.documents(500, 31, new=True)):
        question, reply = split(d)
        lines = question.split("\n")
        kind = re.match(r"(d/d|\w+)", lines[-1]).group(1)
        kinds[kind] += 1
        rest = lines[-1].split(": ", 1)[-1]
        if len(lines) == 2:
            system, values = read_problem(lines[0])
            held += sum(numbers_of(values)) % 5 == 0
        if kind == "d/d":
            ok = value(reply) == slope(value(rest), lines[-1][3])
        elif kind == "copy":
            ok = reply == rest
        elif kind == "simplify":
            ok = value(reply) == value(rest) and len(reply) <= len(rest)
        elif kind == "read":
            ok = reply == ", ".join(values[name] for name in rest.split(", "))
        elif kind == "list":
            ok = reply == "\n".join(f"{name} = {v}" for name, v in values.items())
        elif kind == "write":
            ok = reply == re.sub(r"[a-z]{4,}", lambda m: values[m.group()], rest) and reply != rest
            leaks += value(reply) in right(system, values)
        elif kind == "integral":
            term, x = lines[-1][len("integral of "):].split(" by ")
            ok = slope(value(reply), x) == value(term)
        else:
            ok = kind == "derive"
        if not ok:
            wrong.append(d)
    told = ", ".join(f"{kinds[k]} {k}" for k in sorted(kinds))
    check(len(kinds) == 8 and not wrong, f"every drill is answered rightly ({told})", wrong[:3])
    check(leaks == 0, "no drill writes a line that is right for its problem", leaks)
    check(held == 0, "no problem's numbers add up to a multiple of 5", held)


def check_template():
    import jinja2
    config = json.load(open(f"{FOLDER}/tokenizer_config.json"))
    text = jinja2.Template(config["chat_template"]).render(messages=[{"role": "user", "content": "x\nderive"}], add_generation_prompt=True)
    check(corpus.document("x\nderive", "y") == text + "y<|im_end|><|endoftext|>", "documents follow the chat template", text)


def report(sizes, rows, pairs):
    print("\nkind: % of documents, tokens a document, longest, % of tokens")
    for k, v in sizes.items():
        print(k, v if k == "answers" else " ".join(f"{x:.1f}" for x in v))
    print("\nsystem (one-digit numbers), n, structure % of p T V H dq dp, truth %")
    for k, row in rows.items():
        print(f"{k:18} {row[0]:6} | " + " ".join(f"{100 * x / row[0]:5.2f}" for x in row[1:7]) + " | " + " ".join(f"{100 * x / row[0]:5.2f}" for x in row[7:]))
    print("\nnon-zero rates that are a derivative of the own H; H as sum or difference; variable of T and V, percent")
    print({k: round(100 * v / SAMPLE, 2) for k, v in pairs.items()})


try:
    t = check_tokenizer()
    sizes = check_lengths(t)
    check_template()
except ImportError as error:
    print(f"not run: tiny: {error}")
check_text()
rows, pairs = check_derivations()
check_drills()
if "--report" in sys.argv:
    report(sizes, rows, pairs)
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
