"""What the tests of the whole program under faults share: a small model and a text, processes that
serve, clients that stream, and the journal by the program's own export."""

import http.client
import json
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

import convert  # noqa: E402
from convert import ASSAY, ENV, ROOT, assay  # noqa: E402
from train import final, text  # noqa: E402

for _name in list(os.environ):  # a proxy would stand between the tests and the server
    if _name.lower().endswith("_proxy"):
        del os.environ[_name]

LIMIT = 240  # seconds after which something hangs, on a loaded machine too
LEARN = ("--batch", 4, "--micro", 2, "--ctx", 24, "--lr", 0.01)


class World:
    """A folder with a TQ4 model of 2 layers, or another one, and a text to learn."""

    def __init__(self, work, steps, model=None, jobs=1, snapshot=5):
        self.work, self.jobs, self.snapshot = work, jobs, snapshot
        self.model, self.text = os.path.join(work, "tq4"), os.path.join(work, "text.txt")
        if not model:
            model = os.path.join(work, "dense")
            convert.small(model, "qwen3", max_position_embeddings=512, num_hidden_layers=2)
        assert assay("quantize", model, self.model, "--jobs", jobs)[0] == 0
        with open(self.text, "w") as f:
            f.write(text(5, 3000))
        self.options = ("--steps", steps, *LEARN)
        self.bytes = token_bytes(self.model)

    def train(self, *options, **kw):
        """The weights' digest after training without any fault."""
        out, files = os.path.join(self.work, "trained"), ("--text", self.text, "--jobs", self.jobs)
        return final(program("train", self.model, *files, "--out", out, *self.options, *options, **kw))[2]

    def path(self, name):
        return os.path.join(self.work, name)

    def serve(self, journal, *options, learn=True, **kw):
        learning = ("--learn", self.text, *self.options) if learn else ()
        args = ("serve", self.model, "--journal", journal, *learning, "--snapshot", self.snapshot)
        return Process(*args, *options, "--port", 0, "--jobs", self.jobs, **kw)

    def resume(self, journal, *options, **kw):
        return Process("resume", journal, *options, "--port", 0, "--jobs", self.jobs, **kw)

    def finish(self, journal, *options, **kw):
        """Learns to the end: (exit code, version, digest, stderr)."""
        p = self.resume(journal, "--until-learned", *options, **kw)
        return p.ended()


def token_bytes(folder):
    """Bytes of each id, by the tokenizer's own file (byte-level BPE)."""
    with open(os.path.join(folder, "tokenizer.json")) as f:
        all_of_it = json.load(f)
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    back = {chr(b): b for b in plain}
    back.update({chr(256 + i): b for i, b in enumerate(other)})
    out = {i: bytes(back[c] for c in s) for s, i in all_of_it["model"]["vocab"].items()}
    out.update({t["id"]: t["content"].encode() for t in all_of_it.get("added_tokens", ())})
    return out


class Process:
    """`assay serve` or `assay resume`, its stderr in a file."""

    def __init__(self, *args, env=(), **kw):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [ASSAY, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self.errors, env=dict(ENV, **dict(env)), **kw)  # fmt: skip
        self.port = 0

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def ready(self):
        """Waits until it listens; false when it has ended."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and not self.port:
            dead = self.process.poll() is not None
            found = re.search(r"http://[^ ]+:(\d+), journal", self.stderr())
            if found:
                self.port = int(found[1])
            elif dead:
                return False
            else:
                time.sleep(0.01)
        return self.port > 0

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)

    def ended(self):
        """(exit code, version, digest, stderr), the first below 0 for a signal."""
        try:
            out = self.process.communicate(timeout=LIMIT)[0].decode()
        except subprocess.TimeoutExpired:
            self.process.kill()
            out = self.process.communicate()[0].decode() + "(it hung)"
        found = re.fullmatch(r"version (\d+), weights SHA-256 ([0-9a-f]{64})\n", out)
        err = self.stderr()
        self.errors.close()
        version, digest = (int(found[1]), found[2]) if found else (-1, out)
        return self.process.returncode, version, digest, err

    def ask(self, path, body=None, timeout=LIMIT):
        """(status, JSON or text)"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            c.request("GET" if body is None else "POST", path, body and json.dumps(body))
            r = c.getresponse()
            data = r.read().decode()
            return r.status, json.loads(data) if "json" in r.headers["Content-Type"] else data
        finally:
            c.close()


def refused(run, *words):
    """'' or what is wrong with a refusal: exit 1, one line `assay: ` that holds the words, last on
    stderr; a server may have said before where it listens."""
    code, _, out, err = run if len(run) == 4 else (run[0], 0, run[1].decode(), run[2])
    lines = err.splitlines()
    ours = [x for x in lines if x.startswith("assay: ")]
    if code == 1 and not out and len(ours) == 1 and ours == lines[-1:]:
        return "".join("no %r in %r " % (w, ours[0]) for w in map(str, words) if w not in ours[0])
    return "exit %d, %r, %r" % (code, out[-200:], err[-600:])


# ---- the journal ----------------------------------------------------------------------------------
def records(path):
    """The records as `assay journal --json` gives them."""
    code, out, err = program("journal", path, "--json")
    assert code == 0, err
    return [r for r in map(json.loads, out.splitlines()) if "kind" in r]


def of_kind(all_records, kind):
    return [r for r in all_records if r["kind"] == kind]


def answers(all_records):
    """{request: ids}, in order."""
    out = {r["id"]: [] for r in of_kind(all_records, "request")}
    for r in of_kind(all_records, "tokens"):
        for request, token in r["tokens"]:
            out[request].append(token)
    return out


def begun(path):
    """Whether the journal has its first record."""
    if not os.path.exists(path):
        return False
    with open(path, "rb") as f:
        head = f.read(28)
    return len(head) == 28 and os.path.getsize(path) >= 60 + struct.unpack("<I", head[16:20])[0]


def program(*args, timeout=LIMIT):
    """As assay(), with a time limit."""
    run = subprocess.run([ASSAY, *map(str, args)], capture_output=True, env=ENV, timeout=timeout)
    return run.returncode, run.stdout, run.stderr.decode()


def replay(path, *options, jobs=1, timeout=LIMIT):
    """(digest or '', stderr)"""
    code, out, err = program("replay", path, "--jobs", jobs, *options, timeout=timeout)
    found = re.fullmatch(r"version \d+, same weights: SHA-256 ([0-9a-f]{64})\n", out.decode())
    return found[1] if code == 0 and found else "", err


# ---- clients --------------------------------------------------------------------------------------
class Clients:
    """Threads that stream, each one request after the other, until a process is gone or stop();
    what they have seen stands in `seen`: {request: [bytes of a token]}."""

    def __init__(self, world, seed, feedback=False):
        self.world, self.seed, self.feedback = world, seed, feedback
        self.seen, self.given, self.ends, self.wrong = {}, [], [], []
        self.requests = self.rounds = self.busy = 0

    def start(self, process, count):
        self.process, self.stopped, self.rounds = process, False, self.rounds + 1
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(count)]
        for t in self.threads:
            t.start()

    def stop(self):
        self.stopped = True
        for t in self.threads:
            t.join(LIMIT)

    def run(self, number):
        draw = random.Random("%s %d %d" % (self.seed, self.rounds, number))
        while not self.stopped:
            try:
                self.stream(draw)
            except (OSError, http.client.HTTPException, ValueError):
                if self.process.process.poll() is not None:
                    return  # killed; what was read until then counts
                time.sleep(0.01)

    def stream(self, draw):
        body = {"prompt": [draw.randrange(3, 250) for _ in range(draw.randint(1, 60))],
                "max_tokens": draw.randint(1, 60), "temperature": draw.choice((0, 0.7, 1.5)),
                "top_p": draw.choice((1, 0.9)), "seed": draw.randrange(1 << 32), "logprobs": 0,
                "stream": True}  # fmt: skip
        c = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=LIMIT)
        try:
            c.request("POST", "/v1/completions", json.dumps(body))
            r = c.getresponse()
            if r.status != 200:
                self.busy += r.status == 429
                if r.status not in (429, 503):
                    self.wrong.append((r.status, r.read()))
                return time.sleep(0.02)
            answer = self.read(r)
        finally:
            c.close()
        if self.feedback and answer:
            self.rate(answer, draw)

    def read(self, r):
        """Keeps every token as it comes; the answer's id when it ended as it should."""
        mine, name = None, None
        while True:
            line = r.readline()
            if not line.endswith(b"\n"):
                return None
            if not line.startswith(b"data: {"):
                if b"[DONE]" in line:
                    return name
                continue
            event = json.loads(line[6:])
            if "error" in event:
                self.ends.append(event["error"]["message"])
                return None
            choice, name = event["choices"][0], event["id"]
            if mine is None:
                self.requests += 1
                mine = self.seen.setdefault(choice["assay"]["request"], [])
                if mine:
                    self.wrong.append("request %d comes twice" % choice["assay"]["request"])
            for t in (choice["logprobs"] or {}).get("tokens", ()):
                mine.append(unescape(t))
            if choice["finish_reason"]:
                self.ends.append(choice["finish_reason"])

    def rate(self, answer, draw):
        body = {"id": answer, "rating": draw.choice((0.25, 0.5, 1))}
        if draw.random() < 0.6:
            body["answer"] = "answer %d" % draw.randrange(1 << 40)
        status, said = self.process.ask("/v1/feedback", body)
        if status == 200 and said.get("accepted") and "answer" in body:
            self.given.append(body["answer"])  # named by its text

    def lost(self, all_records):
        """What a client has seen and the journal does not have."""
        have, out = answers(all_records), []
        for request, tokens in self.seen.items():
            ids = have.get(request, [])
            mine = [self.world.bytes.get(i) for i in ids[:len(tokens)]]
            if mine != tokens:
                out.append((request, tokens, mine))
        texts = [b"".join(self.world.bytes[i] for i in r["answer"]) for r in of_kind(all_records, "feedback")]
        out += [x for x in self.given if not any(t.startswith(x.encode()) for t in texts)]
        return out


def unescape(t):
    """A token's bytes as the interface writes them."""
    if not t.startswith("bytes:\\x"):
        return t.encode()
    return bytes(int(x, 16) for x in t[6:].split("\\x")[1:])


def work_folder(name):
    path = os.path.join(ROOT, "build", "%s-%d" % (name, os.getpid()))
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path
