"""Golden vectors of journal: python3 vectors/gen/journal.py > vectors/journal.txt
Seeds of its fuzzer:          python3 vectors/gen/journal.py --corpus DIR

Files put together by hashlib and struct from the statement of chapter 13; signatures by RFC 8032 in Python
integers. tests/journal.py takes its independent reader and writer from here."""

import functools
import hashlib
import json
import os
import struct
import sys

HEAD_LINES = """\
# python3 vectors/gen/journal.py > vectors/journal.txt
# id | reason | flags | the file in hex, - if empty | "ok", records, torn bytes and chain, or "err" and the line behind the path
# write: the writer, given the records and the key of seed 00 01 .. 1f, makes the same bytes"""

MAGIC = b"assay journal 1\n"
KINDS = "open resume request cancel feedback tokens update snapshot stop signature rollout reward".split()
MAX = 1 << 26

# ---- Ed25519 (RFC 8032, 5.1), plainly

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(a, b):
    """On x^2 + y^2 = 1 + d x^2 y^2 the other way round: -x^2 + y^2 = 1 + d x^2 y^2, affine."""
    t = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + t, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P) % P


def times(n, a):
    r = (0, 1)
    while n:
        if n & 1:
            r = add(r, a)
        a, n = add(a, a), n >> 1
    return r


def base():
    y = 4 * pow(5, -1, P) % P
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x if x % 2 == 0 else P - x), y


def point(a):
    return (a[1] | (a[0] & 1) << 255).to_bytes(32, "little")


def number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def secret(seed):
    h = hashlib.sha512(seed).digest()
    return int.from_bytes(h[:32], "little") & (1 << 254) - 8 | 1 << 254, h[32:]


@functools.lru_cache(None)
def public(seed):
    return point(times(secret(seed)[0], base()))


@functools.lru_cache(None)
def sign(seed, text):
    a, prefix = secret(seed)
    r = number(prefix, text) % L
    R = point(times(r, base()))
    s = (r + number(R, public(seed), text) * a) % L
    return R + s.to_bytes(32, "little")


RFC = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
assert sign(RFC, b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")

# ---- records


class Journal:
    def __init__(self):
        self.data, self.chain, self.records = MAGIC, hashlib.sha256(MAGIC).digest(), 0

    def add(self, kind, payload, size=None, check=None, chain=None):
        """kind: a name or a number. size, check, chain: something else than what is right."""
        kind = KINDS.index(kind) + 1 if isinstance(kind, str) else kind
        head = struct.pack("<II", len(payload) if size is None else size, kind)
        right = hashlib.sha256(self.chain + head).digest()[:4]
        self.chain = hashlib.sha256(self.chain + head + payload).digest()
        self.data += head + (check or right) + payload + (chain or self.chain)
        self.records += 1
        return self

    def sign(self, seed, text=None):
        return self.add("signature", public(seed) + sign(seed, text or self.chain))


def ids(*x):
    return struct.pack("<%di" % len(x), *x)


def request(turn, id, prompt, time=1763740800123, temperature=0.75, k=40, p=0.9, seed=7, stream=1, top=3, most=16, n=None):
    return struct.pack(
        "<QQQfifIIiii", turn, id, time, temperature, k, p, seed, stream, top, most, len(prompt) if n is None else n
    ) + ids(*prompt)


def feedback(turn, id, weight, prompt, answer, n=None, answers=None):
    n, answers = len(prompt) if n is None else n, len(answer) if answers is None else answers
    return struct.pack("<QQfii", turn, id, weight, n, answers) + ids(*prompt, *answer)


def tokens(turn, version, *pairs):
    return struct.pack("<QQ", turn, version) + b"".join(struct.pack("<Ii", *p) for p in pairs)


def update(turn, version, step, loss, targets, norm, digest):
    return struct.pack("<QQQqIf", turn, version, step, loss, targets, norm) + digest


def snapshot(turn, version, digest, name):
    return struct.pack("<QQ", turn, version) + digest + name


def reward(turn, version, mastered, answers, n=None):
    return struct.pack("<QQii", turn, version, len(mastered) if n is None else n, len(answers)) + ids(*mastered, *answers)


SEED = bytes(range(32))
SHA = hashlib.sha256(b"").digest()
BIG = 2**64 - 1


def full():
    """Every kind, and values at the ends of their types."""
    j = Journal()
    j.add("open", b'{"format": 1, "model": "tiny", "steps": [1, 2.5, null, "\xc3\xa9\\n"]}')
    j.add("request", request(0, 1, [3, 1, 4, 1, 5]))
    j.add("request", request(BIG, BIG, [-1, 2**31 - 1], BIG, 0.0, -1, 1.0, 2**32 - 1, 2**32 - 1, -1, -(2**31)))
    j.add("tokens", tokens(1, 0, (1, 17), (2**32 - 1, -1)))
    j.add("tokens", tokens(2, 0))
    j.add("cancel", struct.pack("<QQ", 3, 1))
    j.add("feedback", feedback(3, 2, 0.5, [9, 8], [7, 6, 5]))
    j.add("feedback", feedback(3, 3, 1.0, [], []))
    j.add("update", update(4, 1, 0, 5 * 2**36 + 1, 3, 0.125, SHA))
    j.add("update", update(5, 2, 1, -(2**63), 0, float("inf"), bytes(32)))
    j.add("snapshot", snapshot(6, 2, SHA, b"run.2.safetensors"))
    j.add("snapshot", snapshot(6, 2, SHA, b'"\\\x01\xff\xc3'))
    j.add("resume", b"{}")
    j.add("resume", b"not JSON \xff")
    j.add("resume", b"")
    j.add("rollout", tokens(7, 2, (0, 5), (15, 301)))
    j.add("reward", reward(8, 2, [1, 0, -1], [256, 4095, 40, 1, 0, 2**31 - 1]))
    j.add("reward", reward(BIG, BIG, [], []))
    j.add("stop", b'{"weights": "%s"}' % SHA.hex().encode())
    return j.sign(SEED)


# ---- reading, as the chapter says it


def read(data):
    """(records, torn bytes, chain) or the error line; a record is (number, at, kind, payload, chain)."""
    same = len(os.path.commonprefix([data[:16], MAGIC]))
    if same < min(len(data), 16):
        return 'byte %d: expected a journal, which begins with "assay journal 1"' % same
    chain, records, at = hashlib.sha256(MAGIC).digest(), [], 16
    if len(data) < 16:
        return records, len(data), chain
    while True:
        rest = data[at:]
        if len(rest) < 12:
            return records, len(rest), chain
        size, kind = struct.unpack("<II", rest[:8])
        place = "record %d at byte %d: %%s (kind %d, %d bytes)" % (len(records) + 1, at, kind, size)
        if rest[8:12] != hashlib.sha256(chain + rest[:8]).digest()[:4]:
            if not any(rest):
                return records, len(rest), chain
            return place % "the chain does not hold at its head"
        if not 1 <= kind <= len(KINDS):
            return place % "no such kind"
        if size > MAX:
            return place % "too large"
        if len(rest) < 44 + size:
            return records, len(rest), chain
        payload, before = rest[12 : 12 + size], chain
        chain = hashlib.sha256(before + rest[:8] + payload).digest()
        if rest[12 + size : 44 + size] != chain:
            return place % "the chain does not hold"
        if fields(KINDS[kind - 1], payload) is None:
            return place % "the payload does not fit its kind"
        if kind == 10 and payload[32:] != (sign(SEED, before) if payload[:32] == public(SEED) else None):
            return place % "wrong signature"  # no other key signs anything here
        at += 44 + size
        records.append((len(records) + 1, at - 44 - size, KINDS[kind - 1], payload, chain))


def unpack(names, form, p):
    return dict(zip(names.split(), struct.unpack("<" + form, p[: struct.calcsize("<" + form)])))


def text_of(p, is_json=False):
    def pairs(x):
        if len({k for k, _ in x}) < len(x):
            raise ValueError("a key twice")
        return dict(x)

    try:
        v = json.loads(p.decode(), object_pairs_hook=pairs) if is_json else None
        if isinstance(v, (dict, list)):
            return v
    except ValueError:
        pass
    try:
        return p.decode()
    except UnicodeDecodeError:
        return {"hex": p.hex()}


def fields(kind, p):
    """What the payload says, or None if it does not fit."""
    if kind in ("open", "resume", "stop"):
        return {"value": text_of(p, True)}
    form = dict(
        request=("turn id time temperature top_k top_p seed stream top most n", "QQQfifIIiii"),
        cancel=("turn id", "QQ"),
        feedback=("turn id weight n answers", "QQfii"),
        tokens=("turn version", "QQ"),
        rollout=("turn version", "QQ"),
        reward=("turn version mastered answers", "QQii"),
        update=("turn version step loss targets norm", "QQQqIf"),
        snapshot=("turn version", "QQ"),
        signature=("", ""),
    )[kind]
    if len(p) < struct.calcsize("<" + form[1]):
        return None
    v = unpack(*form, p)
    rest = p[struct.calcsize("<" + form[1]) :]
    if kind == "cancel":
        return v if not rest else None
    if kind in ("request", "feedback"):
        n, answers = v.pop("n"), v.pop("answers", 0)
        if n < 0 or answers < 0 or len(rest) != 4 * (n + answers):
            return None
        words = list(struct.unpack("<%di" % (n + answers), rest))
        v["prompt"] = words[:n]
        if kind == "feedback":
            v["answer"] = words[n:]
        return v
    if kind == "reward":
        n, answers = v["mastered"], v["answers"]
        if n < 0 or answers < 0 or len(rest) != 4 * (n + answers):
            return None
        words = list(struct.unpack("<%di" % (n + answers), rest))
        return dict(v, mastered=words[:n], answers=words[n:])
    if kind in ("tokens", "rollout"):
        return dict(v, tokens=[list(x) for x in struct.iter_unpack("<Ii", rest)]) if len(rest) % 8 == 0 else None
    if kind == "update":
        return dict(v, digest=rest.hex()) if len(rest) == 32 else None
    if kind == "signature":
        return dict(key=rest[:32].hex(), signature=rest[32:].hex()) if len(rest) == 96 else None
    sha, name = rest[:32], rest[32:]
    if not name or name[:1] == b"." or b"/" in name or b"\0" in name:
        return None
    return dict(v, sha256=sha.hex(), name=text_of(name))


# ---- cases

CASES = []


def case(id, reason, data, flags="-"):
    got = read(data)
    want = "err " + got if isinstance(got, str) else "ok %d %d %s" % (len(got[0]), got[1], got[2].hex())
    assert id not in {c[0] for c in CASES}, id
    CASES.append((id, reason, flags, data, want))
    return want


def flip(data, at, bit=0):
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def small():
    return Journal().add("cancel", struct.pack("<QQ", 1, 2)).add("tokens", tokens(1, 0, (2, 5)))


def whole_and_torn():
    case("full", "every kind, and values at the ends of their types", full().data, "write")
    case("empty", "no record", MAGIC, "write")
    case("small", "two records", small().data, "write")
    for n in (0, 1, 15):
        case("birth-%d" % n, "torn at its birth: %d bytes of the magic" % n, MAGIC[:n])
    d = small().data  # the second record: head 76, payload 88, chain 112, end 144
    for n in (77, 87, 88, 100, 111, 112, 143):
        assert case("torn-%d" % n, "cut off at byte %d" % n, d[:n]).startswith("ok 1 %d " % (n - 76))
    for n in (1, 11, 12, 100, 5000):
        assert case("zeros-%d" % n, "zero bytes behind the last record", d + bytes(n)).startswith("ok 2 %d " % n)
    case("zeros-head", "zero bytes and nothing before them", MAGIC + bytes(60))
    case("torn-largest", "a head of the largest size, its payload missing", small().add("stop", b"", MAX).data[:156])
    case("json-any", "text that is no JSON object is kept as it is", Journal().add("open", b"[").add("stop", b'{"a":1,"a":2}').data, "write")


def damaged():
    d = small().data
    for i in range(16):
        case("magic-%d" % i, "a bit of the magic", flip(d, i, i % 8))
    case("other", "another version", b"assay journal 2\n" + d[16:])
    places = dict(size=16, sizetop=19, kind=20, check=24, payload=28, chain=44, chainend=75)
    for name, at in places.items():
        case("first-" + name, "a bit of the first record", flip(d, at, 3))
        case("last-" + name, "a bit of the last record", flip(d, at + 60 + (8 if at > 43 else 0), 3))
    assert case("length", "a flipped length is no torn tail", flip(d, 78, 0)).startswith("err record 2 at byte 76: the chain does not hold at its head")
    case("zero-then-one", "zero bytes with a one behind them", d + bytes(12) + b"\1")
    case("zero-then-far", "zero bytes with a one at the end", d + bytes(4000) + b"\1")
    case("swapped", "two records exchanged", d[:16] + d[76:] + d[16:76])
    case("repeated", "a record twice", d + d[76:])
    case("left-out", "the first record missing", d[:16] + d[76:])
    case("other-journal", "a record of another journal behind", d + Journal().add("cancel", struct.pack("<QQ", 1, 2)).data[16:])
    case("wrong-check", "all right but the check", small().add("stop", b"{}", check=b"abcd").data)
    case("wrong-chain", "all right but the chain", small().add("stop", b"{}", chain=bytes(32)).data)
    for kind in (0, 13, 2**32 - 1):
        case("kind-%d" % kind, "an unknown kind, rightly chained", small().add(kind, b"12").data)
    case("kind-torn", "an unknown kind, cut off", small().add(13, b"12").data[:-30])
    for size in (MAX + 1, 2**32 - 1):
        case("size-%d" % size, "too large, rightly chained", small().add("stop", b"", size).data)
    s = small().sign(SEED)
    case("signature", "signed twice", s.sign(SEED).data, "write")
    case("signature-text", "a signature of something else", small().sign(SEED, SHA).data)
    right = small()
    right = public(SEED) + sign(SEED, right.chain)
    for at in (0, 32, 95):
        case("signature-%d" % at, "a signature with a bit flipped, rightly chained", small().add("signature", flip(right, at, 0)).data)


def misfits():
    good = [
        ("request", request(1, 2, [3, 4])),
        ("cancel", struct.pack("<QQ", 1, 2)),
        ("feedback", feedback(1, 2, 1.0, [3], [4])),
        ("tokens", tokens(1, 2, (3, 4))),
        ("rollout", tokens(1, 2, (3, 4))),
        ("reward", reward(1, 2, [3], [4, 5, 6])),
        ("update", update(1, 2, 3, 4, 5, 6.0, SHA)),
        ("signature", public(SEED) + sign(SEED, small().chain)),
    ]
    for kind, p in good:
        case(kind + "-short", "a byte is missing", small().add(kind, p[:-1]).data)
        case(kind + "-long", "a byte too many", small().add(kind, p + b"\0").data)
        case(kind + "-none", "an empty payload", small().add(kind, b"").data)
    wrong = [
        ("request-more", "n is larger", "request", request(1, 2, [3, 4], n=3)),
        ("request-less", "n is smaller", "request", request(1, 2, [3, 4], n=1)),
        ("request-negative", "n is negative", "request", request(1, 2, [], n=-1)),
        ("request-lowest", "n times 4 is 2^33", "request", request(1, 2, [], n=-(2**31))),
        ("request-2-30", "n times 4 is 2^32", "request", request(1, 2, [], n=2**30)),
        ("feedback-sum", "counts whose sum times 4 is 2^33", "feedback", feedback(1, 2, 1.0, [], [], 2**30, 2**30)),
        ("feedback-negative", "a negative count that makes the sum right", "feedback", feedback(1, 2, 1.0, [3], [], 2, -1)),
        ("reward-more", "more skills than there are", "reward", reward(1, 2, [3], [4], 2)),
        ("reward-negative", "a negative count that makes the sum right", "reward", reward(1, 2, [], [4] * 2, -1)),
        ("name-none", "no name", "snapshot", snapshot(1, 2, SHA, b"")),
        ("name-dot", "a hidden name", "snapshot", snapshot(1, 2, SHA, b"..")),
        ("name-folder", "a name with a folder", "snapshot", snapshot(1, 2, SHA, b"a/b")),
        ("name-zero", "a name with a zero byte", "snapshot", snapshot(1, 2, SHA, b"a\0")),
        ("name-short", "no hash", "snapshot", snapshot(1, 2, SHA[1:], b"")),
    ]
    for id, reason, kind, p in wrong:
        assert "payload does not fit" in case(id, reason, small().add(kind, p).data)


def corpus(folder):
    """Each file whole, and the payloads of the full one as the fuzzer frames them: kind, u16 size, payload."""
    for id, _, _, data, _ in CASES:
        with open(os.path.join(folder, id), "wb") as f:
            f.write(data)
    program = b""
    for _, _, kind, p, _ in read(full().data)[0]:
        one = struct.pack("<BH", KINDS.index(kind) + 1, len(p)) + p
        program += one
        with open(os.path.join(folder, "payload-%s-%d" % (kind, len(p))), "wb") as f:
            f.write(one)
    with open(os.path.join(folder, "payloads"), "wb") as f:
        f.write(program)


if __name__ == "__main__":
    whole_and_torn()
    damaged()
    misfits()
    if sys.argv[1:2] == ["--corpus"]:
        corpus(sys.argv[2])
    else:
        print(HEAD_LINES)
        for id, reason, flags, data, want in CASES:
            print(" | ".join([id, reason, flags, data.hex() or "-", want]))
