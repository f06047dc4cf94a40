"""A task, practised by a model with Qwen3's own tokenizer (random weights, the real vocabulary): its
template, ids that no text has, waves of answers, the device emulated; and a tokenizer that cannot spell a problem."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import hf  # noqa: E402
from _serve import ASSAY, ROOT, Report  # noqa: E402

REPORT = Report("real")
check = REPORT.check
DATA = os.environ.get("ASSAY_DATA", "../shared/data")
OPTIONS = ["--steps", 1, "--batch", 4, "--group", 4, "--warmup", 1, "--lr", 0.01, "--jobs", 1]


def run(*words, program=ASSAY):
    done = subprocess.run([program, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = re.search(r"SHA-256 (\w{64})", done.stdout)
    return done.returncode, found and found.group(1), done.stdout, done.stderr


def practise(model, out, *words, program=ASSAY):
    return run("train", model, "--task", "hamilton", "--out", out, *OPTIONS, *words, program=program)


def answers(journal):
    """The tokens of each answer, by its number."""
    out = {}
    for line in run("journal", journal, "--json")[2].splitlines():
        r = json.loads(line)
        for number, token in r["tokens"] if r.get("kind") == "rollout" else ():
            out.setdefault(number, []).append(token)
    return out


def qwen3(at):
    tokenizer = DATA + "/qwen3-tokenizer/tokenizer.json"
    if not os.path.exists(tokenizer):
        return print("not run: real: no " + tokenizer)
    dense, model = at + "/dense", at + "/qwen3"
    config = hf.qwen3(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1,
                      num_key_value_heads=1, vocab_size=151936, bos_token_id=151643, eos_token_id=151645)  # fmt: skip
    hf.write_hf(dense, config, 7, "BF16")
    shutil.copy(tokenizer, dense)
    check(run("quantize", dense, model)[0] == 0, "a folder with Qwen3's tokenizer is quantised")
    code, sha, _, said = practise(model, at + "/a", "--ctx", 80)
    check(code == 0 and sha and "step 1/1" in said, "it practises: ids of the whole head are drawn", said)
    code, again, _, said = practise(model, at + "/b", "--ctx", 80, "--slots", 1)
    drawn = [answers("%s/%s.journal" % (at, name)) for name in "ab"]
    check(code == 0 and again == sha and len(drawn[0]) == 4 and drawn[0] == drawn[1],
          "one answer after the other: the same answers and weights", (again, sha, drawn, said))  # fmt: skip
    for name in "ab":
        code, again, _, said = run("replay", "%s/%s.journal" % (at, name), "--jobs", 1)
        check(code == 0 and again == sha, "executed again", said)
    code, _, out, said = run("eval", model, "--task", "hamilton", "--problems", 1, "--samples", 1, "--ctx", 64,
                             "--jobs", 1, "--json", "-")  # fmt: skip
    check(code == 0 and isinstance(json.loads(out or "0"), dict), "it is evaluated", (out[-100:], said))
    code, _, _, said = practise(model, at + "/c", "--ctx", 8)
    check(code == 1 and "expected at most --ctx 8" in said and said.count("\n") == 1, "a prompt that does not fit", said)


def emulated(at):
    """Two runs and the model as it began are attached to the device at once."""
    program = "build/emu/assay"
    made = subprocess.run(["make", "emu"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if made.returncode or not os.path.exists(program):
        return print("not run: real: %s is not built (make emu)" % program)
    model = at + "/tiny"
    run("quantize", "vectors/tiny", model)
    whole = ["--ctx", 96, "--steps", 3, "--warmup", 3, "--kl", 1]
    shas = [practise(model, "%s/s%d" % (at, i), *whole, *words)[1]
            for i, words in enumerate(([], ["--slots", 1], ["--slots", 3], ["--kl", 0]))]  # fmt: skip
    check(shas[0] == shas[1] == shas[2] and shas[0], "in waves of 1 and 3: the same weights", shas)
    opened = json.loads(run("journal", at + "/s0.journal", "--json")[2].splitlines()[0])
    begins = opened["value"]["sha256"]
    check(len({shas[0], shas[3], begins}) == 3, "other weights than at first, and than without the leash", (shas, begins))
    sha = shas[0]
    for name, words, want in ((" in waves", [*whole, "--slots", 3], sha),
                              (" without the leash", ["--ctx", 96, "--kl", 0], None)):  # fmt: skip
        code, got, _, said = practise(model, at + "/e", "--backend", "emu", *words, program=program)
        os.remove(at + "/e.journal")
        want = want or practise(model, at + "/k", *words)[1]
        check(code == 0 and got == want != begins, "the emulated device ends on the same weights" + name, (got, want, said))
    code, got, _, said = run("replay", at + "/s0.journal", "--backend", "emu", "--jobs", 1, program=program)
    check(code == 0 and got == sha, "and executes the journal again", said)


def without_chat(at):
    model = DATA + "/babyllama"
    if not os.path.exists(model):
        return print("not run: real: no " + model)
    for words in (["train", model, "--out", at + "/n", *OPTIONS, "--ctx", 96], ["eval", model]):
        code, _, _, said = run(*words, "--task", "hamilton")
        check(code == 1 and "no tokens for a problem of hamilton" in said and said.count("\n") == 1, words[0] + ": a tokenizer without a sign of equality", (code, said))


def main():
    os.makedirs(ROOT, exist_ok=True)
    at = tempfile.mkdtemp(dir=ROOT)
    without_chat(at)
    qwen3(at)
    emulated(at)
    shutil.rmtree(at)
    return REPORT.failed > 0


if __name__ == "__main__":
    sys.exit(main())
