"""_ptx.py - reads what the CUDA compiler made, for ptx.sh and numeric_audit.sh.

    rules FILE.ptx               lines that break a rule of arithmetic or of reading memory
    need ptx|sass FILE           the instructions that must be there and are not
    table FILE.log               function, stack, spill stores, spill loads, registers: of ptxas -v
    spills FILE.log              functions that decode and spill, or are not there
    sass FILE.dis                instructions that break a rule
    local FILE.dis               function, loads and stores of local memory
    hot FILE.dis                 those of phases that decode, and of the loop of matrix products
    weights FILE.dis             instructions for each weight in the loop of linear_few

.log is what nvcc says with -Xptxas -v, .dis what nvdisasm -c prints. Nothing is printed where nothing
is wrong.
"""
import heapq
import re
import sys

# Functions that run for every token. Those that do the work may not spill. ptxas deals the registers
# out to a kernel with all that it calls, so those that call others (or learning calls with) may keep
# some values in local memory across a call; tests/resources.txt says how many.
WORK = """linear_few linear_many phase_attend phase_embed quantise_many run_phases
    sample_rows""".split()
CALLS = ["megakernel"]
# No access to local memory in these; in those of LOOP not in the loop with the products, since they
# are handed a struct in it.
HOT = "linear_few linear_many phase_attend phase_embed quantise_many".split()
LOOP = {"linear_few": r"IDP\.4A", "linear_many": r"IMMA"}
# An instruction that must be there; in PTX, in SASS.
NEED = {
    "ptx": [
        r"dp4a\.s32\.s32", r"mma\.sync\.aligned\.m16n8k16\.row\.col\.s32\.s8\.s8\.s32",
        r"cp\.async\.bulk\.shared::cluster\.global", r"mbarrier\.try_wait", r"prmt\.b32",
        r"fence\.proxy\.async", r"ld\.acquire\.sys", r"st\.release\.sys"
    ],
    "sass": [r"IDP\.4A", r"IMMA\.16816\.S8\.S8", r"UBLKCP", r"PRMT"],
}
FLOATS = r"\.(f32|f64|f16|bf16|tf32)(x2)?\b"
# An instruction that may not be there, and what is right about some that look alike.
RULES = [
    (r"(?<![a-z])(add|sub|mul|mad|fma|div|rcp|sqrt)(\.[a-z]+)*" + FLOATS,
     r"(add|sub|mul|fma|div|rcp|sqrt)\.rn\.f32(x2)?\b"),
    (r"\.approx|\.ftz", None),
    (r"(?<![a-z])(atom|red|reduce|cp\.reduce)\.[a-z0-9_.:]*" + FLOATS, None),
    (r"(?<![a-z])(min|max)(\.[a-zA-Z]+)*" + FLOATS, None),
    (r"(?<![a-z])(wg)?mma\.[a-z0-9_.:]*" + FLOATS, None),
    (r"(?<![a-z])cvt\.(rz|rm|rp)\.", None),
    (r"(?<![a-z])ld\.[a-z0-9_.:]*global[a-zA-Z0-9_.:]*\.nc|(?<![a-z])ldu\.|(?<![a-z])tex\.", None),
]
# Of the processor's own instructions. Reciprocals and reciprocal roots begin the correctly rounded
# division and root; what flushes stands in those sequences and in divisions of integers only, so
# nothing is said of it. That a product and a sum were not contracted cannot be seen here: FFMA is
# also what fma is meant to be. The .rn on each operation of the PTX is what forbids it.
SASS_RULES = [r"MUFU\.(EX2|LG2|SIN|COS|TANH)", r"\b(RED|ATOM[GS]?)\S*\.(F32|F16|BF16|F64)",
              r"\bLDG\S*\.CONSTANT", r"\bD(ADD|MUL|FMA)\b", r"\bH(ADD|MUL|FMA)2", r"\bHMMA"]


def lines(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read().splitlines()


def plain(name):
    """The name in the source of a function of a translation unit's own."""
    name = name.split("$")[-1]
    m = re.match(r"_ZN\d+_INTERNAL_[0-9a-f]{8}_\d+_\w*?_[0-9a-f]{8}\d+([a-z_0-9]+)E", name)
    m = m or re.match(r"_ZL?\d+([a-z_][a-z_0-9]*)", name)
    return m[1] if m else name


def rules(path):
    for n, line in enumerate(lines(path), 1):
        line = line.split("//")[0]
        if line.lstrip().startswith("."):
            continue  # a directive
        for wrong, right in RULES:
            if any(not (right and re.match(right, m[0])) for m in re.finditer(wrong, line)):
                print(f"{n}: {line.strip()}")
                break


def need(kind, path):
    text = "\n".join(lines(path))
    for wanted in NEED[kind]:
        if not re.search(wanted, text):
            print(wanted.replace("\\", ""))


def resources(path):
    found, name, entry = {}, "", ""
    for line in lines(path):
        if m := re.search(r"Compiling entry function '(\S+)'", line):
            entry = plain(m[1])
        if m := re.search(r"Function properties for (\S+)", line):
            name = plain(m[1])
        m = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill", line)
        if m:
            found[name] = [m[1], m[2], m[3], "-"]
        if m := re.search(r"Used (\d+) registers", line):
            found[entry][3] = m[1]  # of the kernel with all that it calls
    return found


def table(path):
    for name, row in sorted(resources(path).items()):
        print(name, *row)


def spills(path):
    found = resources(path)
    for name in WORK + CALLS:
        if name not in found:
            print(f"{name}: there is no such function")
        elif name in WORK and found[name][1:3] != ["0", "0"]:
            print(f"{name}: {found[name][1]} bytes of spill stores, {found[name][2]} of loads")


def disassembled(path):
    """Of each function its instructions, and where its labels stand in them."""
    found, ins, label = {}, None, None
    for line in lines(path):
        if m := re.match(r"(\.L_x_\d+):", line):
            if label is not None:
                label[m[1]] = len(ins)
        elif m := re.match(r"([A-Za-z_$][\w$]*):$", line):
            ins, label = found.setdefault(plain(m[1]), ([], {}))
        elif ins is not None and (m := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line)):
            ins.append(m[1])
    return found


def sass(path):
    found = disassembled(path)
    if "megakernel" not in found and "bad" not in found:
        print("no function that is known")
    for name, (ins, _) in found.items():
        for line in ins:
            if any(re.search(r, line) for r in SASS_RULES):
                print(f"{name}: {line}")


def local(path):
    for name, (ins, _) in sorted(disassembled(path).items()):
        if not name.startswith("__"):
            print(name, *(sum(bool(re.search(rf"\b{op}\b", s)) for s in ins)
                          for op in ("LDL", "STL")))


# ---- instructions for each weight

def word(line):
    """The instruction without its predicate."""
    return line.split()[1] if line.startswith("@") else line.split()[0]


def successors(ins, label):
    meet, edges = {}, []  # BSSY says where the BSYNC of its register goes on
    for line in ins:
        if m := re.search(r"BSSY\S* (B\d+), `\((\S+)\)", line):
            meet.setdefault(m[1], set()).add(label.get(m[2], len(ins)))
    for i, line in enumerate(ins):
        op, target, after = word(line), re.search(r"`\((\.L_x_\d+)\)", line), [i + 1]
        maybe = line.startswith("@") or re.search(r"BRA\S* !?U?P\d", line) or "BRA.DIV" in line
        if op.startswith("BRA"):
            after = [label[target[1]]] if target and target[1] in label else []
            after += [i + 1] if maybe else []
        elif op.startswith("BSYNC") and not maybe:
            to = meet.get(re.search(r"B\d+", line)[0], {i + 1})
            after = [i + 1] if i + 1 in to else sorted(to)
        elif op.startswith(("EXIT", "RET", "BRX", "JMP")) and not maybe:
            after = []
        edges.append([x for x in after if x < len(ins)])
    return edges


def blocks(ins, edges):
    """first instruction: (instructions, IDP.4A, PRMT, where it goes on)"""
    start = {0}
    for i, after in enumerate(edges):
        if after != [i + 1]:
            start.update(after, [i + 1])
    start = sorted(x for x in start if x < len(ins))
    found = {}
    for a, b in zip(start, start[1:] + [len(ins)]):
        ops = [word(s) for s in ins[a:b]]
        found[a] = (b - a, sum(o.startswith("IDP.4A") for o in ops), ops.count("PRMT"),
                    edges[b - 1])
    return found


def shortest_turn(block, head, dots, perms):
    """Fewest instructions from head to head with so many IDP.4A and at least so many PRMT."""
    queue, best = [(0, head, 0, 0)], {}
    while queue:
        n, at, d, p = heapq.heappop(queue)
        if n and at == head:
            if (d, p) == (dots, perms):
                return n
            continue
        size, more_d, more_p, after = block[at]
        for to in after if d + more_d <= dots else []:
            key = (to, d + more_d, min(perms, p + more_p))
            if n + size < best.get(key, 1 << 30):
                best[key] = n + size
                heapq.heappush(queue, (n + size, *key))
    return None


def hot(path):
    found = disassembled(path)
    for name in HOT:
        ins, label = found.get(name, ([], {}))
        touch = [bool(re.search(r"\b(LDL|STL)\b", s)) for s in ins]
        first, last = 0, len(ins)
        if name in LOOP:  # its innermost loop with all products
            last, first = min(((i + 1, t) for i, t in turns(ins, label, LOOP[name])),
                              key=lambda x: x[0] - x[1], default=(0, 0))
            if last == 0:
                print(f"{name}: no loop has products")
        for line in (s for s, t in zip(ins[first:last], touch[first:last]) if t):
            print(f"{name}: {line}")


def turns(ins, label, op):
    """Jumps back (from, to) around all instructions of this kind."""
    at = [i for i, s in enumerate(ins) if re.match(op, word(s))]
    return [(i, t) for i, after in enumerate(successors(ins, label)) for t in after
            if at and t <= at[0] and at[-1] <= i]


def weights(path):
    ins, label = disassembled(path).get("linear_few", ([], {}))
    around = turns(ins, label, r"IDP\.4A")
    if not around:
        return print("linear_few has no loop with IDP.4A")
    size, head = min((i - t + 1, t) for i, t in around)
    print(f"static: the innermost loop with IDP.4A has {size} instructions in all its branches")
    # The loop is written for FEW = 4 tokens. An IDP.4A takes 4 weights, which levels4() has made
    # of their codes by 3 PRMT.
    each = sum(word(s).startswith("IDP.4A") for s in ins) // 4
    block = blocks(ins, successors(ins, label))
    for tokens in (1, 2, 4):
        n = shortest_turn(block, head, each * tokens, 3 * each)
        if n:
            print(f"static: TQ4, {tokens} tokens: a lane's {4 * each} weights take at least {n} "
                  f"instructions, {n / each / 4:.2f} a weight")


def main():
    run = {f.__name__: f for f in (rules, need, table, spills, sass, local, hot, weights)}
    run[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
