"""A task, practised: the same weights for any threads, backend and microbatch, after kills, beside
clients, and when the journal is executed again; a changed token or reward is named."""

import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from _serve import ASSAY, ROOT, Report, Server  # noqa: E402
from replay import records, written  # noqa: E402

REPORT = Report("practice")
check = REPORT.check
ROLLOUT, REWARD = 11, 12
OPTIONS = ["--steps", 4, "--batch", 16, "--group", 8, "--ctx", 112, "--warmup", 1, "--lr", 0.01, "--seed", 3]


def run(*words, env=None, check_code=True):
    words = [ASSAY, *map(str, words)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    found = re.search(r"SHA-256 (\w{64})", done.stdout)
    if check_code and done.returncode:
        print("    %s: %s" % (" ".join(words), done.stderr.strip()[-300:]))
    return done.returncode, found and found.group(1), done.stderr


def train(model, out, *options, check_code=True):
    words = ["train", model, "--task", "hamilton", "--out", out, "--snapshot", 2, *OPTIONS, *options]
    return run(*words, check_code=check_code)


def same_bits(model, at):
    code, sha, said = train(model, at + "/a", "--jobs", 1)
    steps = re.findall(r"^step (\d)/4 ", said, re.M)
    check(code == 0 and sha and steps == ["1", "2", "3", "4"], "a run ends with its digest and a line for each step", said)
    for name, options in (("two threads", ["--jobs", 2]), ("the plain interpreter", ["--backend", "ref"]),
                          ("one answer in a pass", ["--micro", 1]), ("five in a pass", ["--micro", 5])):  # fmt: skip
        got = train(model, at + "/b", "--jobs", 1, *options)
        os.remove(at + "/b.journal")
        check(got[1] == sha, "the same weights: " + name, (got[1], sha))
    other = train(model, at + "/b", "--jobs", 1, "--seed", 4)[1]
    check(other and other != sha, "another seed, other weights")
    return sha


def killed(model, at, sha):
    """SIGKILL at random moments; what is resumed ends on the bits of the run that was left alone."""
    draw, kills, code = random.Random(7), 0, None
    words = [ASSAY, "train", model, "--task", "hamilton", "--out", at + "/k/", "--snapshot", 2, "--jobs", 1, *OPTIONS, "--resume"]
    open(at + "/k.journal", "wb").close()  # of a process that was killed before its first record
    for turn in range(60):
        p = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = p.communicate(timeout=draw.uniform(0.05, 1.2) if turn < 59 and kills < 8 else None)
            code = p.returncode
            break
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.communicate()
            kills += 1
    found = re.search(r"SHA-256 (\w{64})", out)
    check(code == 0 and kills >= 3 and found and found.group(1) == sha, "the same weights after %d kills" % kills, err)


def stopped(model, at, sha):
    """SIGTERM: an end in good order, without a model that could be taken for the whole run's."""
    words = [ASSAY, "train", model, "--task", "hamilton", "--out", at + "/t", "--snapshot", 2, "--jobs", 1, *OPTIONS]
    p = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = p.stderr.readline()  # a step is done
    p.send_signal(signal.SIGTERM)
    err = p.communicate()[1]
    check(said.startswith("step 1/4 ") and p.returncode == 1 and "of 4: --resume goes on" in err and
          not os.listdir(at + "/t"), "SIGTERM: an error, and nothing in the folder", (said, p.returncode, err))  # fmt: skip
    for words, what in ((["--lr", 0.02], "lr 0.01"), (["--steps", 5], "steps 4"), (["--method", "credit"], '"qgre"'),
                        (["--kl", 0.1], "kl 0.05"), (["--seed", 4], "seed 3"), (["--what", "r1"], '"r1r2"')):  # fmt: skip
        code, _, err = train(model, at + "/t", "--jobs", 1, "--resume", *words, check_code=False)
        check(code == 1 and "begun with" in err and what in err and err.count("\n") == 1, "not resumed: another " + what, err)
    err = train(model, at + "/t", "--jobs", 1, "--resume", "--what", "all", check_code=False)[2]
    check("%s: --what all: expected a dense model" % model in err, "not resumed: what the model cannot learn", err)
    code, got, err = train(model, at + "/t", "--jobs", 1, "--resume")
    check(code == 0 and got == sha, "and the same weights when it goes on", err)


def replayed(model, at, sha):
    for name, options in (("by simd", []), ("by the plain interpreter", ["--backend", "ref"]),
                          ("from a snapshot", ["--from", "v00000002"])):  # fmt: skip
        code, got, said = run("replay", at + "/a.journal", "--jobs", 1, *options)
        check(code == 0 and got == sha, "executed again " + name, said)
    code, got, said = run("replay", at + "/k.journal", "--jobs", 1)
    check(code == 0 and got == sha, "a journal with kills, executed again", said)
    all_records = records(open(at + "/a.journal", "rb").read())
    for kind, offset, what in ((ROLLOUT, 20, "a token"), (REWARD, -8, "what was passed"), (REWARD, 24, "what is mastered")):
        places = [i for i, r in enumerate(all_records) if r[0] == kind]
        i = places[len(places) // 2]
        data = bytearray(all_records[i][1])
        at_byte = offset if offset > 0 else len(data) + offset
        data[at_byte] ^= 1
        with open(at + "/bent.journal", "wb") as f:
            f.write(written(all_records[:i] + [(kind, bytes(data))] + all_records[i + 1 :]))
        code, _, said = run("replay", at + "/bent.journal", "--jobs", 1, check_code=False)
        check(code == 1 and "record %d:" % (i + 1) in said, "changed: %s: the record is named" % what, said)
    rewards = [r[1] for r in all_records if r[0] == REWARD]
    counts = [struct.unpack_from("<ii", r, 16) for r in rewards]
    check(len(rewards) == 4 and all(c[1] == 48 for c in counts), "a reward for each answer of each step", counts)


def beside_clients(model, at, sha):
    """The same task while clients are served: their tokens change nothing."""
    journal = at + "/served.journal"
    options = ["--learn", "hamilton", "--snapshot", 2, "--context", 128, "--grace", 1, *OPTIONS]
    answers, stop = [], time.monotonic() + 60
    with Server(*options, model=model, journal=journal) as s:
        def ask(k):
            while time.monotonic() < stop:
                body = {"prompt": "spring, stretch q", "max_tokens": 20, "seed": k}
                got = s.ask("/v1/completions", body)
                answers.append(got[2])
                if s.metric("learn_step") >= 4:
                    return
        threads = [threading.Thread(target=ask, args=(k,)) for k in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        reward = s.metric("learn_reward")
        s.stop()
        found = re.search(r"SHA-256 (\w{64})", s.out)
        check(found and found.group(1) == sha and s.code == 0, "the same weights beside clients", (s.out, s.err[-300:]))
        check(len(answers) > 3 and 0 < reward < 1, "clients were answered, the reward is shown", (len(answers), reward))
        code, got, said = run("replay", journal, "--jobs", 1)
        check(code == 0 and got == sha, "serving and practice, executed again", said)


def full_windows(at):
    """Skills with more answers than a window, so that what is rare is worth more; and two skills at a time."""
    words = ["train", "vectors/tiny", "--task", "slopes", "--steps", 4, "--batch", 64, "--group", 32, "--ctx", 96,
             "--warmup", 0, "--lr", 0.001, "--seed", 3, "--what", "all", "--snapshot", 2]  # fmt: skip
    code, sha, said = run(*words, "--out", at + "/f", "--jobs", 1)
    answers = {}
    for r in records(open(at + "/f.journal", "rb").read()):
        if r[0] == REWARD:
            skills, flat = struct.unpack_from("<ii", r[1], 16)
            for word in struct.unpack_from("<%di" % flat, r[1], 24 + 4 * skills)[::3]:
                answers[word & 255] = answers.get(word & 255, 0) + 1
    full = len(answers) == 2 and sum(answers.values()) == 256 and min(answers.values()) > 64
    check(code == 0 and sha and full, "two skills fill their windows", (answers, said))
    got = run(*words, "--out", at + "/g", "--jobs", 2)[1]
    check(got == sha, "the same weights with full windows: two threads", (got, sha))
    for name, options in (("whole", []), ("from a snapshot", ["--from", "v00000002"])):
        code, got, said = run("replay", at + "/f.journal", "--jobs", 1, *options)
        check(code == 0 and got == sha, "full windows, executed again " + name, said)


def refused(model, at):
    for words, code, what in ((["--task", "no"], 2, "no such task"), (["--method", "grpo"], 2, "expected qgre"),
                              (["--batch", 12], 1, "multiple of --group"), (["--ctx", 8], 1, "expected at most --ctx"),
                              (["--text", "x"], 2, "--text: no use with --task"), (["--group", 0], 2, "--group"),
                              (["--stop", 2], 2, "--stop: no use with --task"),
                              (["--what", "all"], 1, "expected a dense model")):  # fmt: skip
        got = run("train", model, "--task", "hamilton", "--out", at + "/r", *OPTIONS, *words, check_code=False)
        check(got[0] == code and what in got[2] and (code == 2 or got[2].count("\n") == 1), "refused: " + what, got)
        if os.path.exists(at + "/r.journal"):
            os.remove(at + "/r.journal")
    for out, what in ((model, "is the model itself"), (model + "/config.json", "expected a folder"), ("", "the name of a folder")):
        for words in (["train", model, "--task", "hamilton", *OPTIONS], ["replay", at + "/a.journal", "--jobs", 1],
                      ["resume", at + "/a.journal", "--port", 0, "--until-learned"],
                      ["serve", model, "--learn", "hamilton", *OPTIONS, "--journal", at + "/r.journal", "--port", 0,
                       "--until-learned"]):  # fmt: skip
            got = run(*words, "--out", out, check_code=False)
            check(got[0] == 1 and what in got[2] and got[2].count("\n") == 1 and
                  not os.path.exists(at + "/r.journal"), "refused before any work: %s --out" % words[0], got)  # fmt: skip


def main():
    os.makedirs(ROOT, exist_ok=True)
    at = tempfile.mkdtemp(dir=ROOT)
    model = at + "/tiny"
    run("quantize", "vectors/tiny", model)
    sha = same_bits(model, at)
    killed(model, at, sha)
    stopped(model, at, sha)
    replayed(model, at, sha)
    beside_clients(model, at, sha)
    refused(model, at)
    full_windows(at)
    ends = [run("train", "vectors/tiny", "--task", "slopes", "--method", "uniform", "--out", at + "/s%d" % jobs, "--steps", 2,
                "--batch", 8, "--group", 1, "--ctx", 96, "--kl", 0, "--what", "all", "--jobs", jobs,
                "--backend", backend)[1] for jobs, backend in ((1, "simd"), (2, "ref"))]  # fmt: skip
    check(ends[0] and ends[0] == ends[1], "another task, a dense model, groups of one, no leash: one SHA-256", ends)
    shutil.rmtree(at)
    return REPORT.failed > 0


if __name__ == "__main__":
    sys.exit(main())
