#!/usr/bin/env python3
# python3 vectors/gen/tensor.py > vectors/tensor.txt
# python3 vectors/gen/tensor.py --corpus DIR      (the same files as seeds for tests/fuzz_tensor.c)
#
# Golden and hostile safetensors files. Nothing here knows the C code: files are put together with
# json and struct from the format description. Where the safetensors package is installed, each
# single file is also shown to it, and its verdict must be the one that the flags claim.
#
# A line is  id | reason | flags | recipe | expected.
# flags     official=accept/reject/none: what the safetensors package says (none: not asked)
#           write: our writer must give these very bytes; truncate: every shorter prefix is an error
# recipe    tokens parted by spaces: nN = N as 8 bytes little-endian; jTEXT = these bytes, \xHH for
#           those outside ! to ~ and for backslash and |; pN:TEXT = TEXT N times; @NAME = from here
#           on in this file of a folder
# expected  "ok" and NAME:TYPE:AxB:HEXBYTES of each tensor, sorted by name, text escaped as above;
#           or "err" and a part of the error line
import json
import struct
import sys

SIZE = dict(F32=4, F16=2, BF16=2, I8=1, U8=1, F64=8, I64=8, U64=8, I32=4, U32=4, I16=2, U16=2,
            BOOL=1, F8_E4M3=1, F8_E5M2=1)
LIMIT = 1 << 25  # our longest header; the format allows 100,000,000
cases = []


def esc(b):
    b = b if isinstance(b, bytes) else b.encode()
    return "".join(chr(c) if 33 <= c <= 126 and chr(c) not in "\\|" else "\\x%02x" % c for c in b)


def unesc(s):
    out, i = bytearray(), 0
    while i < len(s):
        if s[i] == "\\":
            out.append(int(s[i + 2:i + 4], 16))
            i += 4
        else:
            out.append(ord(s[i]))
            i += 1
    return bytes(out)


def build(recipe):
    """The recipe's files: {name: bytes}; a single file has the name ''."""
    files, name = {"": bytearray()}, ""
    for tok in recipe.split():
        if tok[0] == "@":
            name = tok[1:]
            files[name] = bytearray()
        elif tok[0] == "n":
            files[name] += struct.pack("<Q", int(tok[1:]))
        elif tok[0] == "p":
            n, text = tok[1:].split(":", 1)
            files[name] += unesc(text) * int(n)
        else:
            files[name] += unesc(tok[1:])
    if len(files) > 1:
        del files[""]
    return {k: bytes(v) for k, v in files.items()}


def case(id, reason, recipe, expected, official="reject", flags=""):
    cases.append((id, reason, (flags + " official=" + official).strip(), recipe, expected))


def parts(header, data=b"", n=None):
    """Recipe of one file. header: bytes, text or something for json."""
    if not isinstance(header, (bytes, str)):
        header = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    header = header if isinstance(header, bytes) else header.encode()
    s = "n%d" % (len(header) if n is None else n)
    return s + (" j" + esc(header) if header else "") + (" j" + esc(data) if data else "")


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def layout(tensors, meta=None, pad=8):
    """tensors: [(name, dtype, shape, data)] in file order -> header with padding, data."""
    head, at = {}, 0
    if meta is not None:
        head["__metadata__"] = meta
    for name, dtype, shape, data in tensors:
        head[name] = entry(dtype, shape, at, at + len(data))
        at += len(data)
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % pad), b"".join(t[3] for t in tensors)


def listing(tensors):
    ts = sorted(tensors, key=lambda t: t[0].encode())
    return " ".join(["ok"] + ["%s:%s:%s:%s" % (esc(n), t, "x".join(map(str, s)), d.hex())
                              for n, t, s, d in ts])


def good(id, reason, tensors, meta=None, pad=8, flags="", official="accept"):
    case(id, reason, parts(*layout(tensors, meta, pad)), listing(tensors), official, flags)


def bytes_of(n, first=1):
    return bytes((first + 37 * i) % 256 for i in range(n))


def accepted():
    two = [("b", "F32", [2, 3], struct.pack("<6f", 1, -2, .5, 0, 3e38, 1e-45)), ("a", "U8", [3], b"\1\2\3")]
    good("plain", "two tensors, file order is not name order", two, {"format": "pt"}, flags="write truncate")
    good("no-metadata", "metadata is optional", two)
    good("unpadded", "header of any length: data at an odd place", two, pad=1)
    good("odd-place", "F32 behind three bytes: must be copied to be aligned",
         [("a", "U8", [3], b"\1\2\3"), ("b", "F32", [1], struct.pack("<f", 1.5)), ("c", "BF16", [1], b"\x80\x3f")],
         {}, flags="write")
    good("none", "no tensor at all", [], {}, flags="write")
    case("none-bare", "no tensor, no metadata", parts("{}"), "ok", "accept")
    good("scalar", "no dimension: one element", [("s", "F16", [], b"\0\x3c")], {}, flags="write")
    good("zero", "a dimension of zero", [("a", "F32", [4, 0], b""), ("b", "I8", [2], b"\xff\x80")], {}, flags="write")
    good("zero-same-place", "three empty tensors and one that is not, at one place",
         [("d", "F32", [0], b""), ("a", "U8", [0], b""), ("c", "I8", [0, 3], b""), ("b", "U8", [2], b"\1\2")], {})
    good("every-type", "each dtype with its size", [(k, k, [2], bytes_of(2 * v)) for k, v in SIZE.items()], {}, flags="write")
    good("eight-dims", "as many dimensions as there may be", [("a", "U8", [1, 2, 1, 1, 3, 1, 1, 1], bytes_of(6))], {}, flags="write")
    good("names", "UTF-8, blank, quote, empty name",
         [("é 日本 😀", "U8", [1], b"\1"), ('q"\\/', "U8", [1], b"\2"), ("", "U8", [1], b"\3")], {"k": "ü\n"}, flags="write")
    good("control-name", "an escaped control character in a name", [("a\x1b[2J\n", "U8", [1], b"\1")], {}, flags="")
    good("prefix-names", "names that are prefixes of one another", [(n, "U8", [1], n.encode()[:1]) for n in ("ab", "a", "abc", "b", "aB")], {}, flags="write")
    case("unordered", "header order is not place order, and an empty tensor shares a place",
         parts({"b": entry("U8", [2], 1, 3), "c": entry("U8", [0], 1, 1), "a": entry("U8", [1], 0, 1), "d": entry("U8", [0], 3, 3)}, b"\1\2\3"),
         "ok a:U8:1:01 b:U8:2:0203 c:U8:0: d:U8:0:", "accept")
    case("blank-inside", "blanks anywhere in the JSON",
         parts('{ "a" :\t{ "shape" : [ 2 ] , "dtype" : "U8" , "data_offsets" : [ 0 , 2 ] } } \n ', b"\1\2"), "ok a:U8:2:0102", "accept")
    case("escaped-name", "\\u escapes in names", parts('{"\\u00e9":%s}' % json.dumps(entry("U8", [1], 0, 1)), b"\1"),
         "ok \\xc3\\xa9:U8:1:01", "accept")
    case("minus-zero", "-0 is the integer 0", parts('{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}'), "ok a:U8:0:", "none")
    n = 300
    many = [("t%d" % i, "U8", [1], bytes([i % 256])) for i in range(n)]
    good("many", "%d tensors" % n, many, {})


def rejected():
    one = {"a": entry("U8", [2], 0, 2)}
    text = json.dumps(one, separators=(",", ":"))
    case("empty-file", "0 bytes", "j", "err expected a file of 8 bytes or more")
    case("seven", "7 bytes", "jabcdefg", "err expected a file of 8 bytes or more")
    case("length-only", "a header length of 0", "n0", "err byte 8: { expected")
    case("past-end", "header longer than the file, by one", parts(text, n=len(text) + 1), "err bytes of JSON; the file has")
    case("huge-length", "header length 2^64-1", parts(text, n=2**64 - 1), "err 18446744073709551615 bytes of JSON")
    case("negative-length", "header length 2^63", parts(text, n=2**63), "err 9223372036854775808 bytes of JSON")
    case("wrap-length", "header length 2^64-8: with 8 it wraps to 0", parts(text, n=2**64 - 8), "err bytes of JSON; the file has")
    case("100MB", "a header of 100 MB and a byte, all there", "n100000001 p100000001:\\x20", "err 100000001 bytes of JSON")
    case("over-limit", "one byte over our limit", "n%d j{} p%d:\\x20" % (LIMIT + 1, LIMIT - 1), "err and 33554432 is the limit", "accept")
    case("at-limit", "as long as our limit", "n%d j{} p%d:\\x20" % (LIMIT, LIMIT - 2), "ok", "accept")
    case("wide", "the most values that the limit allows: time and memory",
         'n%d j{"a":[ p%d:0, j0]}' % (6 + 2 * (LIMIT // 2 - 8) + 3, LIMIT // 2 - 8), "err tensor \"a\"", "none")
    case("keys", "the most tensors that the limit allows, all wrong", 'n%d j{ p1:"":0, j"a":0}' % (1 + 5 + 6), "err tensor \"\"", "none")
    case("deep", "4,000 brackets deep", 'n%d j{"a": p4000:[ p4000:] j}' % (8006), "err maximum parsing depth")
    case("not-json", "text", parts("hello, world"), "err byte 8: { expected")
    case("list", "an array", parts("[]"), "err byte 8: { expected")
    case("number", "a number", parts("12345678"), "err byte 8: { expected")
    case("blank-first", "the format wants { first", parts(" " + text, b"\1\2"), "err byte 8: { expected", "none")
    case("bom", "a byte order mark", parts("\ufeff" + text, b"\1\2"), "err byte 8: { expected")
    case("unfinished", "object not closed", parts(text[:-1], b"\1\2"), "err '}' expected near end of file")
    case("garbage", "something behind the object", parts(text + "x", b"\1\2"), "err end of file expected")
    case("nul-pad", "padding by NUL", parts(text + "\0" * 3, b"\1\2"), "err end of file expected")
    case("single-quotes", "not JSON", parts(text.replace('"', "'"), b"\1\2"), "err string or '}' expected near")
    case("trailing-comma", "not JSON", parts(text[:-1] + ",}", b"\1\2"), "err byte ")
    case("bad-utf8", "a lone 0xff in a name", parts(text.encode().replace(b"a", b"\xff", 1), b"\1\2"), "err unable to decode byte 0xff")
    case("overlong-utf8", "c0 80", parts(text.encode().replace(b'"a"', b'"\xc0\x80"', 1), b"\1\2"), "err unable to decode byte 0xc0")
    case("surrogate-utf8", "ed a0 80", parts(text.encode().replace(b'"a"', b'"\xed\xa0\x80"', 1), b"\1\2"), "err unable to decode byte")
    case("lone-surrogate", "\\ud800", parts(text.replace('"a"', '"\\ud800"', 1), b"\1\2"), "err invalid Unicode")
    case("nul-name", "a name with NUL", parts(text.replace('"a"', '"a\\u0000b"', 1), b"\1\2"), "err NUL byte in object key", "accept")
    case("nul-raw", "a raw NUL in a name", parts(text.replace('"a"', '"a\0b"', 1), b"\1\2"), "err control character 0x0")
    case("control-raw", "a raw newline in a name", parts(text.replace('"a"', '"a\nb"', 1), b"\1\2"), "err ")
    case("dup", "the same name twice", parts(text[:-1] + "," + text[1:], b"\1\2"), "err duplicate object key", "none")
    case("dup-escaped", "the same name twice, once escaped", parts(text[:-1] + "," + text[1:].replace('"a"', '"\\u0061"'), b"\1\2"),
         "err duplicate object key", "none")
    case("dup-field", "dtype twice", parts(text.replace('"dtype":"U8"', '"dtype":"U8","dtype":"I8"'), b"\1\2"), "err duplicate object key")

    def bad(id, reason, what, err, data=b"\1\2", **kw):
        case(id, reason, parts({"a": what}, data), "err " + err, **kw)

    e = entry("U8", [2], 0, 2)
    for k in e:
        bad("no-" + k, "field missing", {f: v for f, v in e.items() if f != k}, "Object item not found: " + k)
    bad("extra", "a field too many", dict(e, stride=[1]), "1 object item(s) left unpacked: stride", official="accept")
    for i, v in enumerate([5, None, "x", [], True]):
        bad("entry-%d" % i, "not an object", v, "Expected object, got")
    for i, v in enumerate([5, None, ["U8"], {}]):
        bad("dtype-%d" % i, "not a string", dict(e, dtype=v), "Expected string, got")
    for v in ["u8", "U8 ", "", "F4", "C64", "U128", "F32x"]:
        bad("dtype-" + (v.strip() or "empty"), "not a dtype of ours", dict(e, dtype=v), "a known dtype and a shape", official="none")
    for i, v in enumerate([None, "2", {"0": 2}, 2]):
        bad("shape-kind-%d" % i, "not a list", dict(e, shape=v), "a known dtype and a shape")
    for i, v in enumerate([[2.0], ["2"], [None], [[2]], [True], [-2], [-1, -2], [2**63 - 1, 2], [2**62, 2, 1], [2**32, 2**32],
                           [2**21, 2**21, 2**21, 2]]):
        bad("shape-%d" % i, "bad shape " + json.dumps(v), dict(e, shape=v), "a known dtype and a shape")
    for i, v in enumerate([[2**62, 4, 0], [0, 2**62, 4]]):
        bad("shape-zero-%d" % i, "no bytes, but a part of the product does not fit", entry("U8", v, 0, 0), "a known dtype and a shape",
            data=b"", official=["reject", "accept"][i])
    bad("nine-dims", "a dimension too many", dict(e, shape=[1] * 8 + [2]), "a known dtype and a shape", official="accept")
    bad("shape-wide", "element size times shape is 2^63", entry("F32", [2**61], 0, 2), "a known dtype and a shape")
    bad("shape-widest", "element size times shape is 2^63 - 4: allowed, but not there", entry("F32", [2**61 - 1], 0, 2), "data_offsets inside the data")
    bad("shape-wrap", "element size times shape wraps to 4 bytes", entry("F32", [2**62 + 1], 0, 4), "a known dtype and a shape", data=b"\1\2\3\4")
    bad("shape-wrap2", "the shape wraps to 4", entry("U8", [2**63 - 1, 2, 2**62 - 1, 2], 0, 4), "a known dtype and a shape", data=b"\1\2\3\4")
    for i, v in enumerate([2, None, "0,2", {"0": 0}]):
        bad("offsets-%d" % i, "data_offsets " + json.dumps(v), dict(e, data_offsets=v), "Expected array, got")
    for i, v in enumerate([[], [0]]):
        bad("offsets-few-%d" % i, "data_offsets " + json.dumps(v), dict(e, data_offsets=v), "out of range")
    bad("offsets-many", "three data_offsets", dict(e, data_offsets=[0, 2, 2]), "1 array item(s) left unpacked")
    for i, v in enumerate([[0.0, 2], [0, "2"], [None, 2]]):
        bad("offsets-kind-%d" % i, "data_offsets " + json.dumps(v), dict(e, data_offsets=v), "Expected integer, got")
    for i, (b, n) in enumerate([(0, 3), (1, 2), (0, 1), (2, 0), (-2, 0), (2, 4), (-1, 1), (2**63 - 1, 2**63 - 1), (-2**63, -2**63 + 2),
                                (2**63 - 1, -2**63), (0, 2**40)]):
        bad("span-%d" % i, "data_offsets %d to %d" % (b, n), entry("U8", [2], b, n),
            "tensor \"a\" (U8, 2 bytes, at %d to %d of 2): data_offsets inside the data" % (b, n))
    case("one-line", "control characters of a name do not reach the terminal", parts({"\x1b[2J\na\x7f": entry("U8", [2], 0, 1)}, b"\1\2"),
         "err tensor \"?[2J?a?\" (U8, 2 bytes")
    for v in ["9223372036854775808", "18446744073709551616", "-9223372036854775809", "1" * 400]:
        case("big-" + v[:6], "an integer beyond int64", parts(text.replace("0,2]", "0,%s]" % v), b"\1\2"), "err too big")
    case("exponent", "2e0 is not an integer", parts(text.replace("[2]", "[2e0]"), b"\1\2"), "err tensor \"a\"")
    case("real-overflow", "1e999", parts(text.replace("[2]", "[1e999]"), b"\1\2"), "err real number overflow")
    case("leading-zero", "02 is not JSON", parts(text.replace("[2]", "[02]"), b"\1\2"), "err byte ")

    def span(id, reason, spans, size, err):
        case(id, reason, parts({n: entry("U8", [b - a], a, b) for n, (a, b) in spans.items()}, bytes_of(size)), "err " + err)

    span("overlap", "b begins inside a", {"a": (0, 4), "b": (3, 6)}, 6, "gap or overlap: tensor \"b\" expected here")
    span("inside", "b lies inside a", {"a": (0, 6), "b": (2, 4)}, 6, "gap or overlap: tensor \"b\" expected here")
    span("same", "b is a", {"a": (0, 4), "b": (0, 4)}, 4, "gap or overlap: tensor")
    span("empty-inside", "an empty tensor inside another", {"a": (0, 4), "b": (2, 2)}, 4, "gap or overlap: tensor \"b\"")
    span("gap", "a byte between a and b is nobody's", {"a": (0, 4), "b": (5, 6)}, 6, "gap or overlap: tensor \"b\"")
    span("gap-first", "the first byte is nobody's", {"a": (1, 4)}, 4, "gap or overlap: tensor \"a\"")
    span("hole-end", "the last byte is nobody's", {"a": (0, 4)}, 5, "gap or overlap: end of the file")
    span("swap", "both lengths right together, not alone: overlap then gap", {"a": (0, 4), "b": (2, 4), "c": (6, 8)}, 8, "gap or overlap")
    case("data-no-tensor", "data, but no tensor", parts("{}", b"\1"), "err gap or overlap: end of the file")
    case("one-short", "the last byte is missing", parts(one, b"\1"), "err tensor \"a\" (U8, 2 bytes, at 0 to 2 of 1)")


def shards():
    def file(tensors):
        return parts(*layout(tensors, {}))

    a, b = [("x", "U8", [2], b"\1\2")], [("y", "F32", [1], struct.pack("<f", 2)), ("z", "I8", [1], b"\xff")]

    def folder(id, reason, index, expected, files=None):
        s = ""
        if index is not None:
            text = index if isinstance(index, str) else json.dumps(index, separators=(",", ":"))
            s = "@model.safetensors.index.json j" + esc(text) + " "
        for name, f in (files or {"a.st": file(a), "b.st": file(b)}).items():
            s += "@%s %s " % (name, f)
        case(id, reason, s.strip(), expected, "none")

    right = {"x": "a.st", "y": "b.st", "z": "b.st"}
    folder("shards", "two shards", {"metadata": {"total_size": 7}, "weight_map": right}, listing(a + b))
    folder("shards-more", "a shard holds more than the index lists", {"weight_map": {"x": "a.st", "y": "b.st"}}, listing(a + b))
    folder("folder", "a folder with one file", None, listing(a), {"model.safetensors": file(a)})
    folder("folder-both", "one file and an index: the file counts", {"weight_map": {"x": "gone.st"}}, listing(a), {"model.safetensors": file(a)})
    folder("shard-missing", "no such shard", {"weight_map": dict(right, w="c.st")}, "err /c.st: No such file or directory")
    folder("shard-wrong", "listed in the wrong shard", {"weight_map": dict(right, z="a.st")}, "err a.st: tensor \"z\" expected here")
    folder("shard-absent", "in no shard", {"weight_map": dict(right, w="a.st")}, "err a.st: tensor \"w\" expected here")
    folder("shard-twice", "a tensor in two shards", {"weight_map": right}, "err tensor \"x\" is in ", {"a.st": file(a), "b.st": file(a + b)})
    folder("shard-broken", "a shard cut short", {"weight_map": right}, "err a.st: expected a file of 8 bytes", {"a.st": "jabc", "b.st": file(b)})
    for i, n in enumerate(["/etc/passwd", "../a.st", "..", ".", "", "sub/a.st", ".hidden", "a.st/"]):
        folder("shard-name-%d" % i, "shard name %s" % (n or "(empty)"), {"weight_map": dict(right, x=n)},
               "err expected a file of 8 bytes or more" if not n else "err weight_map: \"x\": a file beside the index expected")
    for i, v in enumerate([5, None, ["a.st"], {}]):
        folder("shard-value-%d" % i, "shard name is not a string", {"weight_map": dict(right, x=v)}, "err weight_map: \"x\"")
    for i, v in enumerate([5, None, [], {}, "a.st"]):
        folder("map-%d" % i, "weight_map is not an object with tensors", {"weight_map": v}, "err weight_map: an object with tensors expected")
    folder("no-map", "no weight_map in the index", {"metadata": {}}, "err weight_map: an object with tensors expected")
    folder("index-dup", "a name twice in the index", '{"weight_map":{"x":"a.st","x":"b.st"}}', "err duplicate object key")
    folder("index-json", "the index is not JSON", "nonsense", "err index.json: byte 0: { expected")
    folder("index-short", "the index is shorter than 8 bytes", "{}", "err index.json: expected a file of 8 bytes or more")
    folder("index-only", "metadata listed as a tensor", {"weight_map": {"__metadata__": "a.st"}}, listing(a), {"a.st": file(a)})
    folder("empty-folder", "nothing of ours in the folder", None, "err expected a file of 8 bytes or more, or a folder with", {"readme.md": "jhello"})


def official():
    """Shows each single file to the safetensors package."""
    try:
        import safetensors
    except ImportError:
        return "not run: tensor: the safetensors package is not installed"
    asked = 0
    for id, _, flags, recipe, expected in cases:
        want = flags.split("official=")[1]
        if want == "none":
            continue
        try:
            got = sorted((n.encode(), t) for n, t in safetensors.deserialize(build(recipe)[""]))
            verdict = "accept"
        except Exception as e:
            verdict, got = "reject", e
        assert verdict == want, (id, "the safetensors package says", verdict, got)
        if verdict == "accept" and expected.startswith("ok"):
            mine = [e.split(":") for e in expected.split()[1:]]
            theirs = [[esc(n), "x".join(map(str, t["shape"])), bytes(t["data"]).hex()] for n, t in got]
            assert [[m[0], m[2], m[3]] for m in mine] == theirs, (id, theirs)
        asked += 1
    return "ok tensor: the safetensors package agrees on %d of %d files" % (asked, len(cases))


accepted()
rejected()
shards()
assert len({c[0] for c in cases}) == len(cases), "an id twice"
if len(sys.argv) > 2 and sys.argv[1] == "--corpus":
    for id, _, _, recipe, _ in cases:
        for name, data in build(recipe).items():
            if len(data) < 5000:
                with open("%s/%s-%s" % (sys.argv[2], id, name or "file"), "wb") as f:
                    f.write(data)
else:
    print("# python3 vectors/gen/tensor.py > vectors/tensor.txt")
    print("# id | reason | flags | recipe | expected; the generator explains them")
    for c in cases:
        assert not any(" | " in f for f in c)
        print(" | ".join(c))
    print(official(), file=sys.stderr)
