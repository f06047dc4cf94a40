"""gpu_receipt.py - what a device computed, as a file, and that file against what processors compute.

    write WORK REPORT [RECEIPTS]   the steps of gpu.sh in WORK to REPORT/receipt.json, and to
                                   RECEIPTS/NAME-OF-DEVICE.json
    check RECEIPT [CASES]          prints ok and FAIL lines: its hashes are those of vectors/; CASES:
                                   a file that `gpu.sh cases` printed on a processor

A receipt holds what was measured and nothing else: a step that did not run is in `not_run`. verify
compares every hash that the device computes with the golden vectors, so `phases` and `gradients`
are written only when each of those cases passed on the device.
"""
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys

NAMES = ("train", "greedy", "sampled")
METHOD = {
    "verify": "assay verify: each case computed on the device, compared bit for bit",
    "phases, gradients": "the hashes of vectors/, written down when verify found every one of them",
    "cases": "tests/gpu.sh cases: 100 steps of training a small TQ4 model, SHA-256 of the weights; "
             "1,000 tokens at batch 1, SHA-256 of the text",
    "bench": "assay bench: random weights; tokens/s is the median of 5 runs of 64 steps by the "
             "host's clock, the first run left out; the copy is measured in the same run",
    "peer": "tests/gpu_peer.py: says in its output what it ran",
    "variant": "verify and bench of a program compiled for another number of warps",
}


def text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def said(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20,
                              check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def vector_files():
    return {n: sha256(f"vectors/{n}") for n in sorted(os.listdir("vectors")) if n.endswith(".txt")}


def hashes(path, kinds):
    """Of each case of a file of vectors its lines that hold a SHA-256, without other words."""
    found, case = {}, None
    for line in text(path).splitlines():
        if line.startswith("case "):
            case = line.split()[1]
        elif case and line.split()[:1] and line.split()[0] in kinds:
            words = line.split()
            at = next((i for i, w in enumerate(words) if re.fullmatch("[0-9a-f]{64}", w)), None)
            if at:
                found.setdefault(case, []).append(" ".join(words[1:at + 1]))
    return found


def families(log):
    """file: [cases that passed, failed, not run], as verify counts them."""
    count = {}
    for line in log.splitlines():
        m = re.match(r"(ok |FAIL|not run on \w+:) +(\w+) .*: (\d+) cases$", line)
        if m:
            row = count.setdefault(m[2], {"passed": 0, "failed": 0, "not_run": 0})
            kind = {"o": "passed", "F": "failed", "n": "not_run"}[m[1][0]]
            row[kind] += int(m[3])
    return count


def all_ran(count, name):
    return name in count and count[name]["passed"] and not count[name]["failed"] + count[name]["not_run"]


def pairs(log):
    return dict(m.groups() for m in re.finditer(r"^(\w+) ([0-9a-f]{64})$", log, re.M))


def steps(work):
    for line in text(f"{work}/steps.txt").splitlines():
        name, status, seconds, command = line.split(" ", 3)
        yield name, status, int(seconds), command


def commit():
    kept = text("build/gpu/commit").split()
    if kept:
        return kept[0], "changed" in kept
    git = ("git", "-c", "safe.directory=*")  # the checkout may be another user's
    return said(*git, "rev-parse", "HEAD"), bool(said(*git, "status", "--porcelain"))


def receipt(work):
    head, changed = commit()
    nvcc = said("nvcc", "--version") or said("/usr/local/cuda/bin/nvcc", "--version")
    built = text("build/gpu/compilers").splitlines()  # where another machine made the programs
    if len(built) != 2:
        built = [(nvcc.splitlines() or [""])[-1], (said("gcc", "--version").splitlines() or [""])[0]]
    facts = text(f"{work}/facts.log").splitlines()
    row = [x.strip() for x in facts[0].split(",")] if facts else [""]
    names = ("name driver compute_capability memory sm_clock sm_clock_max memory_clock "
             "memory_clock_max power_limit").split()
    r = {"made_by": "sh tests/gpu.sh", "commit": head, "changed_since_commit": changed,
         "device": dict(zip(names, row)),
         "cuda_of_driver": next((f.split(": ")[1] for f in facts if re.match("CUDA.* Version", f)), ""),
         "compiler": built[0], "host_compiler": built[1],
         "vectors": vector_files(), "method": METHOD, "figures": {}, "not_run": {}, "failed": []}
    for name, status, seconds, command in steps(work):
        log = text(f"{work}/{name}.log")
        if status not in ("0", "skipped", "77", "124", "137"):
            r["failed"].append(name)
        elif status != "0":
            r["not_run"][name] = {"skipped": "no time left", "77": log.strip().split("\n")[-1]}.get(
                status, f"not done in {seconds} s")
        if name == "verify" and status in ("0", "1"):
            r["verify"] = families(log)
            if all_ran(r["verify"], "ref"):
                r["phases"] = hashes("vectors/ref.txt", ("phase",))
            if all_ran(r["verify"], "grad"):
                r["gradients"] = hashes("vectors/grad.txt", ("loss", "part"))
        elif name in ("cases", "cases-simd") and status == "0":
            r["cases" if name == "cases" else "cases_of_processor"] = pairs(log)
        elif name == "tiny" and status == "0":
            r["tiny_50_steps"] = log.split("is ")[-1].strip()
        elif name in ("memcheck", "racecheck", "synccheck") and status == "0":
            r.setdefault("sanitizer", {})[name] = log.strip().split("\n")[-1]
        elif re.match("bench|peer|warps", name) and status == "0":
            r["figures"][name] = {"command": command, "seconds": seconds,
                                  "output": log.strip().split("\n")}
    return r


def write(work, report, receipts=""):
    r = receipt(work)
    paths = [f"{report}/receipt.json"]
    if receipts and r["device"].get("name"):
        os.makedirs(receipts, exist_ok=True)
        name = re.sub("[^a-z0-9]+", "-", r["device"]["name"].lower()).strip("-")
        paths.append(f"{receipts}/{name}.json")
    for path in paths:
        with open(path, "w", encoding="utf-8") as f:
            json.dump(r, f, indent=1)
            f.write("\n")


# ---- against what processors compute

def differences(r, cases):
    """Lines that say what is wrong with a receipt, and how many hashes were compared."""
    wrong, compared = [], 0

    def same(what, mine, theirs):
        nonlocal compared
        compared += 1
        if mine != theirs:
            wrong.append(f"{what}: {str(mine)[:72]}, here {str(theirs)[:72]}")

    for key in ("made_by", "commit", "device", "vectors", "not_run", "failed", "figures"):
        if key not in r:
            return [f"{key} is missing"], 0
    if not r["device"].get("name") or not re.fullmatch("[0-9a-f]{40}", r["commit"]):
        wrong.append("it does not name its device and commit")
    if r["failed"]:
        wrong.append("steps failed: " + " ".join(r["failed"]))
    here = vector_files()
    for name in ("num.txt", "tq4.txt", "ref.txt", "grad.txt", "optim.txt"):
        same(name, r["vectors"].get(name), here.get(name))
    for key, name, kinds in (("phases", "ref", ("phase",)), ("gradients", "grad", ("loss", "part"))):
        if key not in r:
            continue
        mine, want = r[key], hashes(f"vectors/{name}.txt", kinds)
        same(f"{key}: cases", sorted(mine), sorted(want))
        for case in want:
            for a, b in itertools.zip_longest(mine.get(case, []), want[case]):
                same(f"{key} of {case}", a, b)
    for k in NAMES if "cases" in r else ():
        same(f"{k} of its own processor", r["cases"].get(k), r.get("cases_of_processor", {}).get(k))
        if cases:
            same(f"{k} of this processor", r["cases"].get(k), cases.get(k))
    for name, row in r.get("verify", {}).items():
        if row["failed"]:
            wrong.append(f"verify: {row['failed']} cases of {name} failed")
    if not {"phases", "cases"} & set(r):
        wrong.append("it holds no hash that the device computed")
    return wrong, compared


def check(path, cases=""):
    try:
        with open(path, encoding="utf-8") as f:
            r = json.load(f)
        wrong, compared = differences(r, pairs(text(cases)) if cases else {})
    except (ValueError, TypeError, AttributeError, KeyError, OSError) as e:
        wrong, compared = [f"not a receipt: {type(e).__name__}: {e}"], 0
    for line in wrong:
        print(f"FAIL receipts: {path}: {line}")
    if not wrong:
        state = " and changes" if r.get("changed_since_commit") else ""
        print(f"ok receipts: {path}: {compared} hashes are those of this processor; made at "
              f"{r['commit'][:12]}{state}; not run there: {' '.join(r['not_run']) or 'nothing'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit({"write": write, "check": check}[sys.argv[1]](*sys.argv[2:]))
