"""The whole program under faults: kill -9 while it serves and learns, full and read-only disks, damaged
journals and snapshots, hostile journals, two processes on one journal, jumps of the clock, signals.
Nothing that a client was told is lost, and what goes on ends on the bits of the run without faults.
ASSAY names the program (default build/assay). Arguments: only the checks of these names; --all: every
byte of a snapshot's header."""

import glob
import hashlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import convert  # noqa: E402
from _faults import ASSAY, Clients, World, answers, begun, of_kind, records, refused, replay, work_folder  # noqa: E402
from convert import assay  # noqa: E402

REPORT = convert.Report("faults")
check = REPORT.check
STEPS, FEW = 120, 12
SEED = int(os.environ.get("SEED", "1"))


def line(what, run, *words):
    wrong = refused(run, *words)
    check(not wrong, "%s: one line, exit 1" % what, wrong)


# ---- kill -9 ----------------------------------------------------------------------------------------
def kills(world, name, rounds, streams, longest, feedback=False, env=()):
    """Starts, kills, goes on. Returns (clients, the final run)."""
    draw = random.Random("%s %d" % (name, SEED))
    journal = world.path("killed-" + name)
    options = ("--feedback",) if feedback else ()
    clients = Clients(world, draw.random(), feedback)
    for n in range(rounds):
        if begun(journal):
            p = world.resume(journal, env=env)
        else:
            p = world.serve(journal, *options, env=env)
        if draw.random() < 0.25:  # while it starts
            time.sleep(draw.uniform(0, 0.15))
            p.kill()
        elif p.ready():
            clients.start(p, streams)
            time.sleep(draw.uniform(0, longest))
            p.kill()
            clients.stop()
        code, _, _, err = p.ended()
        if code != -signal.SIGKILL:
            clients.wrong.append("round %d: exit %d: %s" % (n, code, err[-300:]))
    if not begun(journal):  # killed at its birth each time
        world.serve(journal, *options, "--until-learned").ended()
    return clients, world.finish(journal)


def killed(world):
    clients, end = kills(world, "plain", 12, 4, 0.7)
    journal = world.path("killed-plain")
    all_records = records(journal)
    check(not clients.wrong, "kills: every process ran until it was killed", clients.wrong[:3])
    check(clients.requests > 0, "kills: clients were served", clients.requests)
    lost = clients.lost(all_records)
    check(not lost, "kills: every token that a client saw is in the journal, in order", lost[:2])
    check(len(of_kind(all_records, "resume")) > 4, "kills: it went on often")
    check(end[:3] == (0, STEPS, world.digest), "kills: the weights of the run that nobody killed", end)
    digest, err = replay(journal, "--backend", "ref")
    check(digest == world.digest, "kills: another backend replays to the same weights", err)
    check(" and %d updates made" % STEPS in err, "kills: and makes each update again", err)
    names = [r["name"] for r in of_kind(all_records, "snapshot")]
    there = sorted(glob.glob(journal + ".v*"))
    check([x.rsplit(".", 1)[1] for x in there] == names[-2:], "kills: two snapshots stay", there)
    digest, err = replay(journal, "--from", names[-2])
    check(digest == world.digest and "only read" in err, "kills: replay from a snapshot", err)


def killed_feedback(world):
    """And with a slow disk: what is not written yet must not have been seen."""
    slow = preloaded(world, DISK, SLOW="60")
    if slow is None:
        REPORT.not_run("a slow disk: a library cannot be put before this program's")
    clients, end = kills(world, "feedback", 6, 4, 0.7, feedback=True, env=slow or ())
    journal = world.path("killed-feedback")
    all_records = records(journal)
    check(not clients.wrong, "kills with feedback: every process ran until it was killed", clients.wrong[:3])
    given = of_kind(all_records, "feedback")
    lost = clients.lost(all_records)
    check(not lost, "kills with feedback: every token and every accepted sample is in the journal", lost[:2])
    check(end[:2] == (0, STEPS) and (end[2] == world.digest) == (not given), "kills with feedback: learned to the end", end)
    digest, err = replay(journal, "--backend", "ref")
    check(digest == end[2], "kills with feedback: another backend replays to the same weights", err)


def killed_at_once(world):
    """In the moment in which a client has its answer, or its sample is accepted; with a slow disk."""
    env = preloaded(world, DISK, SLOW="100")
    if env is None:
        return REPORT.not_run("kills at once: a library cannot be put before this program's")
    journal, others, lost = world.path("at-once"), Clients(world, 10), []
    for n in range(6):
        more = ("--feedback", "--steps", 1 << 20)
        p = world.resume(journal, env=env) if n else world.serve(journal, *more, env=env)
        p.ready()
        others.start(p, 2)
        said = p.ask("/v1/completions", {"prompt": [5, 6 + n], "max_tokens": 5, "seed": n})[1]
        request, name = said["choices"][0]["assay"]["request"], "sample %d" % n
        if n % 2:
            p.ask("/v1/feedback", {"id": said["id"], "answer": name})
        p.kill()
        others.stop()
        p.ended()
        have = records(journal)
        texts = [b"".join(world.bytes[i] for i in r["answer"]) for r in of_kind(have, "feedback")]
        if len(answers(have).get(request, ())) != said["usage"]["completion_tokens"]:
            lost.append((n, said))
        if n % 2 and not any(t.startswith(name.encode()) for t in texts):
            lost.append((n, name))
    lost += others.lost(have)
    check(not lost, "killed at once: what was answered is in the journal", lost)


# ---- disks ------------------------------------------------------------------------------------------
def file_limit(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def goes_on(world, what, journal, clients=None):
    if clients:
        lost = clients.lost(records(journal))
        check(not lost, "%s: nothing that a client saw is lost" % what, lost[:2])
    end = world.finish(journal)
    check(end[:3] == (0, STEPS, world.digest), "%s: with room it ends on the same weights" % what, end)


def full_file(world):
    """The journal cannot grow, while clients stream; then a snapshot cannot be written."""
    journal, clients = world.path("full"), Clients(world, 3)
    p = world.serve(journal, "--snapshot", 1000, preexec_fn=file_limit(20000))
    check(p.ready(), "full disk: it serves")
    clients.start(p, 6)
    run = p.ended()
    clients.stop()
    line("full disk: the journal", run, journal, "File too large")
    check(clients.requests and not clients.wrong, "full disk: clients were served", clients.wrong)
    run = world.resume(journal, "--until-learned", preexec_fn=file_limit(20000)).ended()
    line("full disk: going on without room", run, journal, "File too large")
    goes_on(world, "full disk", journal, clients)

    journal = world.path("snapshot")
    run = world.serve(journal, "--until-learned", preexec_fn=file_limit(40000)).ended()
    line("full disk: a snapshot", run, journal + ".v00000005", "File too large")
    check(not glob.glob(journal + ".*"), "full disk: no part of a snapshot stays", glob.glob(journal + ".*"))
    goes_on(world, "full disk, at a snapshot", journal)

    journal = world.path("in-the-way")
    os.mkdir(journal + ".v00000005")
    run = world.serve(journal, "--until-learned").ended()
    line("a folder where a snapshot goes", run, journal + ".v00000005")
    os.rmdir(journal + ".v00000005")
    goes_on(world, "a folder where a snapshot goes", journal)


def failing_disk(world):
    """A sync that fails: what was written may be lost, so nobody may see it, and nothing goes on."""
    env = preloaded(world, DISK, FAIL="30")
    if env is None:
        return REPORT.not_run("a failing disk: a library cannot be put before this program's")
    journal, clients = world.path("failing"), Clients(world, 9)
    p = world.serve(journal, env=env)
    check(p.ready(), "failing disk: it serves")
    clients.start(p, 6)
    run = p.ended()
    clients.stop()
    line("failing disk", run, journal, "Input/output error")
    goes_on(world, "failing disk", journal, clients)
    journal = world.path("failing-answer")
    p = world.serve(journal, learn=False, env=dict(env, FAIL="4"))
    check(p.ready(), "failing disk: it serves again")
    codes, body = [200], {"prompt": [5], "max_tokens": 1}
    while codes[-1] == 200 and len(codes) < 9:
        codes.append(p.ask("/v1/completions", body)[0])
    line("failing disk: no answer that is not on it", p.ended(), journal, "Input/output error")
    check(codes[-1] == 500, "and who waits is told", codes)


def mount(folder, options):
    os.makedirs(folder, exist_ok=True)
    run = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True)
    return run.returncode == 0


def full_disk(world):
    folder = world.path("disk")
    if not mount(folder, "size=256k"):
        return REPORT.not_run("a full disk: no tmpfs can be mounted here")
    try:
        journal, clients = os.path.join(folder, "journal"), Clients(world, 4)
        p = world.serve(journal)
        check(p.ready(), "small disk: it serves")
        clients.start(p, 6)
        run = p.ended()
        clients.stop()
        line("small disk", run, journal, "No space left")
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        goes_on(world, "small disk", journal, clients)
        before = records(journal)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        line("read-only disk: serve", world.serve(os.path.join(folder, "new")).ended(), "Read-only")
        line("read-only disk: resume", world.resume(journal).ended(), journal, "Read-only")
        digest, err = replay(journal)
        check(digest == world.digest and records(journal) == before, "read-only disk: replay reads only", err)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def no_rights(world):
    """A folder that may not be written: by a user without rights, or by anyone who is not root."""
    folder = world.path("locked")
    os.makedirs(folder)
    os.chmod(folder, 0o555)
    drop = (lambda: os.setuid(65534)) if os.getuid() == 0 else None
    see = subprocess.run([ASSAY, "sizes"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         preexec_fn=drop)  # fmt: skip
    if see.returncode:
        return REPORT.not_run("a read-only folder: another user cannot start the program")
    run = world.serve(os.path.join(folder, "journal"), preexec_fn=drop).ended()
    line("read-only folder", run, folder, "Permission denied")
    os.chmod(folder, 0o755)


# ---- damage -----------------------------------------------------------------------------------------
def small_run(world):
    """A short run with requests and a kill in it: its journal, the digest of its weights."""
    journal, clients = world.path("small"), Clients(world, 5)
    p = world.serve(journal, "--steps", FEW)
    p.ready()
    clients.start(p, 2)
    while len(records(journal)) < 40 and p.process.poll() is None:
        time.sleep(0.05)
    p.kill()
    clients.stop()
    p.ended()
    end = world.finish(journal)
    check(end[:3] == (0, FEW, world.train("--steps", FEW)), "a small run", end)
    return journal, end[2]


def copy_run(journal, folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name in glob.glob(journal + "*"):
        shutil.copy(name, folder)
    return os.path.join(folder, os.path.basename(journal))


def truncated(world, journal, digest):
    """Cut behind each record, and at places within, a journal goes on to the same weights."""
    with open(journal, "rb") as f:
        data = f.read()
    begins = [r["at"] for r in records(journal)]
    draw = random.Random(SEED)
    cuts = sorted(draw.sample(begins[1:], min(60, len(begins) - 1))) + [len(data) - 1] + [draw.randrange(begins[1], len(data)) for _ in range(12)]
    wrong = []
    for cut in cuts:
        mine = copy_run(journal, world.path("cut"))
        os.truncate(mine, cut)
        end = world.finish(mine)
        if end[:3] != (0, FEW, digest):
            wrong.append((cut, end))
    check(not wrong, "cut at %d places, a journal goes on to the same weights" % len(cuts), wrong[:2])
    for cut in (0, 7, 16, 20, begins[1] - 1):
        mine = copy_run(journal, world.path("cut"))
        os.truncate(mine, cut)
        line("cut at byte %d: resume" % cut, world.finish(mine), mine, "no record")
        line("cut at byte %d: replay" % cut, assay("replay", mine), mine, "no record")
    p = world.serve(mine, "--steps", FEW, "--until-learned")
    check(p.ended()[:3] == (0, FEW, digest), "a journal that was torn at its birth is begun again")
    before = open(mine, "rb").read()
    line("serve on a journal that has begun", world.serve(mine).ended(), mine, "exists")
    check(open(mine, "rb").read() == before, "and it is untouched")


def flipped_journal(world, journal):
    with open(journal, "rb") as f:
        data = bytearray(f.read())
    draw, wrong = random.Random(SEED + 1), []
    mine = copy_run(journal, world.path("flip"))
    for _ in range(25):
        at = draw.randrange(len(data))
        data[at] ^= 1 << (bit := draw.randrange(8))
        with open(mine, "wb") as f:
            f.write(data)
        data[at] ^= 1 << bit
        for command in ("resume", "replay"):
            said = refused(assay(command, mine), mine, "byte ")
            if said:
                wrong.append((at, bit, command, said))
    check(not wrong, "a flipped bit of a journal: resume and replay say where", wrong[:2])


def flipped_snapshot(world, journal, digest, every=61):
    """One bit of a byte of the newest snapshot: replay from it says so, resume takes another."""
    mine = copy_run(journal, world.path("flip"))
    name = "v%08d" % FEW
    with open(mine + "." + name, "rb") as f:
        data = bytearray(f.read())
    head = 8 + struct.unpack("<Q", data[:8])[0]
    draw, wrong = random.Random(SEED + 2), []
    format_at = data.index(b"assay-state")  # which no tensor's bytes depend on
    places = [*range(0, head, every), format_at, format_at - 11, *range(head, len(data), (len(data) - head) // 40), len(data) - 1]
    for n, at in enumerate(places):
        data[at] ^= 1 << (bit := draw.randrange(8))
        with open(mine + "." + name, "wb") as f:
            f.write(data)
        data[at] ^= 1 << bit
        said = refused(assay("replay", mine, "--from", name, "--jobs", 1), mine + "." + name)
        if said:
            wrong.append((at, bit, said))
        if n % 20 == 0:  # goes on by the one before, says so, and ends on the same bits
            again = copy_run(mine, world.path("again"))
            end = world.finish(again)
            if end[:3] != (0, FEW, digest) or end[3].count("assay: ") != 1 or name not in end[3]:
                wrong.append((at, bit, "resume", end))
    check(not wrong, "%d flipped bits of a snapshot are named" % len(places), wrong[:2])
    for size in (0, 7, 8, head, len(data) - 1):
        for snapshot in glob.glob(mine + ".v*"):
            os.truncate(snapshot, min(size, os.path.getsize(snapshot)))
        again = copy_run(mine, world.path("again"))
        end = world.finish(again)
        good = end[:3] == (0, FEW, digest) and end[3].count("computed again") == 2
        check(good, "both snapshots cut at %d: it begins again, to the same bits" % size, end)
    for snapshot in glob.glob(mine + ".v*"):
        os.remove(snapshot)
    end = world.finish(mine)
    check(end[:3] == (0, FEW, digest) and "assay: " not in end[3], "without any snapshot too", end)


def other_snapshot(world, journal):
    """A sound snapshot, but of another place or another journal."""
    mine = copy_run(journal, world.path("flip"))
    old, new = sorted(glob.glob(mine + ".v*"))
    shutil.copy(old, new)
    line("a snapshot in another's place", assay("replay", mine, "--from", new.rsplit(".", 1)[1]), new)
    line("no such snapshot", assay("replay", mine, "--from", "v00000003"), "v00000003")


# ---- who may go on, and with what -------------------------------------------------------------------
def two_servers(world):
    journal = world.path("two")
    p = world.serve(journal)
    p.ready()
    line("a second resume", world.resume(journal).ended(), journal, "another process has it open")
    line("a second serve", world.serve(journal).ended(), journal, "exists")
    check(p.ask("/health")[0] == 200, "the first goes on")
    p.kill(signal.SIGTERM)
    check(p.ended()[0] == 0, "and ends in good order")


SLOW_LOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>
static int slow(const char *name, int fd, int cmd, void *p) {
    int (*real)(int, int, ...) = dlsym(RTLD_NEXT, name);
    if (cmd == F_OFD_SETLK) sleep(2);
    return real(fd, cmd, p);
}
#define LIKE(name) int name(int fd, int cmd, ...) { \\
    va_list a; va_start(a, cmd); void *p = va_arg(a, void *); va_end(a); return slow(#name, fd, cmd, p); }
LIKE(fcntl)
LIKE(fcntl64)
"""


def late_lock(world):
    """One that goes on opens the journal while another still writes to it, and locks it when that
    one is dead: what was written in between stays."""
    env, journal, clients = preloaded(world, SLOW_LOCK), world.path("late"), Clients(world, 11)
    if env is None:
        return REPORT.not_run("a late lock: a library cannot be put before this program's")
    p = world.serve(journal, learn=False)
    p.ready()
    next_one = world.resume(journal, env=env)
    mine = "/proc/%d/fd" % next_one.process.pid
    until = time.monotonic() + 20
    while time.monotonic() < until and not any(os.path.realpath(os.path.join(mine, n)) == os.path.realpath(journal)
                                               for n in os.listdir(mine)):  # fmt: skip
        time.sleep(0.01)
    time.sleep(0.2)
    clients.start(p, 3)
    wait_for_tokens(clients)
    p.kill()
    clients.stop()
    p.ended()
    check(next_one.ready(), "a late lock: it goes on", next_one.stderr()[-300:])
    next_one.kill(signal.SIGTERM)
    check(next_one.ended()[0] == 0, "a late lock: and ends in good order")
    gone = world.path("gone")
    shutil.copy(journal, gone)
    late = world.resume(gone, env=env)
    time.sleep(0.7)
    os.remove(gone)
    line("a late lock of a journal that was taken away", late.ended(), gone, "No such file")
    lost = clients.lost(records(journal))
    check(clients.requests > 0 and not lost, "a late lock: every token that a client saw is in the journal", lost[:2])


def others(world, journal):
    """Other models, other texts, and files that are no journal of a run."""
    model, other = world.path("other"), world.path("other.txt")
    shutil.copytree(world.model, model)
    with open(os.path.join(model, "model.safetensors"), "r+b") as f:
        f.seek(-1, 2)
        byte = f.read(1)[0]
        f.seek(-1, 2)
        f.write(bytes([byte ^ 1]))
    with open(other, "w") as f:
        f.write("the dog sees the hen.\n" * 100)
    numbers = world.path("numbers")
    shutil.copytree(world.model, numbers)
    with open(os.path.join(numbers, "config.json")) as f:
        config = json.load(f)
    with open(os.path.join(numbers, "config.json"), "w") as f:
        json.dump(dict(config, rope_theta=2 * config["rope_theta"]), f)
    mine = copy_run(journal, world.path("copy"))
    for command in ("resume", "replay"):
        def run(*args, file=mine):
            return assay(command, file, "--jobs", 1, *args)

        line(command + " with another model", run("--model", model), model, "weights")
        line(command + " with other numbers", run("--model", numbers), numbers + "/config.json", "other numbers")
        line(command + " with another text", run("--learn", other), other, "another text")
        line(command + " without a model", run("--model", world.path("none")), "none")
        line(command + " without a text", run("--learn", world.path("none")), "none")
        line(command + " of a folder", run(file=world.work), world.work, "journal")
        line(command + " of nothing", run(file=world.path("none")), "none", "No such file")
        line(command + " of a text", run(file=other), other, "byte 0", "journal")
        line(command + " of a device", run(file="/dev/null"), "/dev/null", "journal")
    line("serve on a folder", world.serve(world.work).ended(), world.work)
    line("serve on a text", world.serve(other).ended(), other, "journal")
    with open(other) as f:
        check(f.read(8) == "the dog ", "which is untouched")


# ---- hostile journals -------------------------------------------------------------------------------
MAGIC = b"assay journal 1\n"
OPEN, RESUME, REQUEST, CANCEL, FEEDBACK, TOKENS, UPDATE, SNAPSHOT, STOP = range(1, 10)


def write_journal(path, payloads):
    """A journal whose chain holds, of pairs (kind, payload)."""
    data, chain = MAGIC, hashlib.sha256(MAGIC).digest()
    for kind, payload in payloads:
        head = struct.pack("<II", len(payload), kind)
        data += head + hashlib.sha256(chain + head).digest()[:4]
        chain = hashlib.sha256(chain + head + payload).digest()
        data += payload + chain
    with open(path, "wb") as f:
        f.write(data)


def request(turn=0, id=1, temperature=1.0, top_k=0, top_p=1.0, top=-1, most=4, ids=(5, 6), n=None):
    return REQUEST, struct.pack("<QQQfifIIiii", turn, id, 0, temperature, top_k, top_p, 1, 0, top, most,
                                len(ids) if n is None else n) + struct.pack("<%di" % len(ids), *ids)


def sample(turn=0, weight=1.0, ids=(5, 6), answer=(7,)):
    both = (*ids, *answer)
    return FEEDBACK, struct.pack("<QQfii%di" % len(both), turn, 9, weight, len(ids), len(answer), *both)


def tokens(turn, version, *pairs):
    flat = [x for p in pairs for x in p]
    return TOKENS, struct.pack("<QQ", turn, version) + struct.pack("<" + "Ii" * len(pairs), *flat)


def text_record(kind, **values):
    return kind, json.dumps(values).encode()


def hostile(world, journal):
    """Journals whose chain holds and whose records are absurd: one line, exit 1, no crash."""
    first = records(journal)[0]["value"]
    first["feedback"] = True
    nan, big = float("nan"), 1 << 62

    def began(_drop=None, _learn=None, **changes):
        value = dict(first, **changes)
        if _learn:
            value["learn"] = dict(value["learn"], **_learn)
        value.pop(_drop, None)
        return text_record(OPEN, **value)

    def snapshot(name, turn=0):
        return SNAPSHOT, struct.pack("<QQ32s", turn, 1, b"") + name

    update = UPDATE, struct.pack("<QQQqIf32s", 0, 1, 1, 1, 0, nan, b"")
    cases = {"options are no JSON": [(OPEN, b"{")], "options are a list": [(OPEN, b"[1, 2]")],
             "options are deep": [(OPEN, b"[" * 100000)], "options are empty": [(OPEN, b"")],
             "no beginning": [request()], "begins with its end": [text_record(STOP, turn=0)],
             "begins twice": [began(), began()], "begins again at turn 0": [began(), (OPEN, bytes(8))], "another format": [began(format="assay-journal 2")],
             "a text as model": [began(model=world.text)], "no such model": [began(model="/none\n\033[31m")],
             "learns without a text": [began(learn=None)], "a list as learning": [began(learn=[1])],
             "a number as text": [began(_learn={"text": 5})], "no such text": [began(_learn={"text": "/none"})],
             "a text that is a folder": [began(_learn={"text": world.work})],
             "a short text": [began(_learn={"text": world.path("short.txt")})],
             "an unknown what": [began(_learn={"what": "everything"})],
             "what a TQ4 model cannot learn": [began(_learn={"what": "all"})]}  # fmt: skip
    cases["other numbers in config.json"] = [began(config="00")]
    for name in ("sha256", "config", "known", "slots", "context", "pages", "slice", "snapshot", "cache", "learn"):
        cases["options without " + name] = [began(_drop=name)]
    for name in ("known", "slots", "context", "pages", "slice", "share", "floor", "snapshot"):
        for value in (-1, 1 << 20, (1 << 28) + 1, big, "5", 0.5, None):
            if (name, value) not in (("context", 1 << 20), ("pages", 1 << 20), ("snapshot", 1 << 20)):
                cases["%s %r" % (name, value)] = [began(**{name: value})]
    for name in ("steps", "warmup", "batch", "micro", "ctx"):
        for value in (-1, (1 << 24) + 1, big, "5"):
            cases["%s %r" % (name, value)] = [began(_learn={name: value})]
    for name, value in (("lr", 0.0), ("lr", 1e300), ("lr", "x"), ("clip", -1.0), ("decay", 1e300),
                        ("ctx", 1 << 20), ("micro", 4096)):  # fmt: skip
        cases["%s %r" % (name, value)] = [began(_learn={name: value})]
    bad = {"an id below 0": request(ids=(5, -1)), "an id above all": request(ids=(5, 416)),
           "no prompt": request(ids=()), "fewer ids than it says": request(n=9),
           "2^31 tokens": request(most=(1 << 31) - 1), "-1 tokens": request(most=-1),
           "a cold temperature": request(temperature=-1.0), "no temperature": request(temperature=nan),
           "top_p 2": request(top_p=2.0), "top_p no number": request(top_p=nan),
           "top_k -1": request(top_k=-1), "21 log-probabilities": request(top=21),
           "a far turn": request(turn=big), "a sample's id": sample(ids=(416,)),
           "a sample without an answer": sample(answer=()), "a sample of no weight": sample(weight=0.0),
           "a sample of what weight": sample(weight=nan), "a sample in 2^62 turns": sample(turn=big),
           "tokens of nobody": tokens(0, 0, (1, 5)), "tokens in 2^62 turns": tokens(big, 0, (1, 5)),
           "an update at once": update, "a snapshot at once": snapshot(b"v00000001"),
           "an end in 2^62 turns": text_record(STOP, turn=big, model=""),
           "an end of other weights": text_record(STOP, turn=0, model="00"),
           "an end without turn": text_record(STOP, model=""), "an end that is no JSON": (STOP, b"\xff"),
           "going on before the start": text_record(RESUME, turn=-1),
           "going on in 2^62 turns": text_record(RESUME, turn=big),
           "going on at no turn": text_record(RESUME, turn="0")}  # fmt: skip
    cases.update({what: [began(), record] for what, record in bad.items()})
    asked = [began(learn=None, feedback=False), request()]
    after = {"a token below 0": tokens(0, 0, (1, -1)), "a token above all": tokens(0, 0, (1, 416)),
             "another's token": tokens(0, 0, (2, 5)), "two tokens": tokens(0, 0, (1, 5), (1, 5)),
             "no tokens": tokens(0, 0), "another version": tokens(0, 1, (1, 5)),
             "a sample where none is taken": sample()}  # fmt: skip
    cases.update({what: asked + [record] for what, record in after.items()})
    cases["a turn that has passed"] = [began(), request(turn=2), request(turn=1)]
    cases["a request in nobody's turn"] = asked[:1] + [request(turn=7)]
    with open(world.path("short.txt"), "w") as f:
        f.write("the")
    hostile_runs(world, cases)


def hostile_runs(world, cases):
    path, wrong = world.path("hostile"), []
    begins = "%.200s: record" % path
    for what, payloads in cases.items():
        write_journal(path, payloads)
        for command in ("replay", "resume"):
            options = ("--jobs", 1) if command == "replay" else ("--jobs", 1, "--port", 0, "--until-learned")
            before = open(path, "rb").read()
            run = assay(command, path, *options)
            said = refused(run, begins)
            if said or open(path, "rb").read() != before:
                wrong.append((what, command, said))
    check(not wrong, "%d hostile journals are refused, each in one line" % len(cases), wrong[:6])


# ---- a library before the program's -----------------------------------------------------------------
DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    if (getenv("SLOW")) usleep(1000 * (unsigned)atoi(getenv("SLOW")));
    return real(fd, p, n, at);
}
int fdatasync(int fd) { // fails from the nth time on
    static int count;
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    if (!getenv("FAIL") || count++ < atoi(getenv("FAIL"))) return real(fd);
    errno = EIO;
    return -1;
}
"""
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static long jump(void) { // seconds: forth and back, another one each time
    static long n;
    static const long far[] = {0, 3600, -7200, 100000000, -86400, 1, -1000000000};
    return far[__atomic_add_fetch(&n, 1, __ATOMIC_RELAXED) % 7];
}
int clock_gettime(clockid_t id, struct timespec *t) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int bad = real(id, t);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += jump();
    return bad;
}
time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec s;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &s);
    t->tv_sec = s.tv_sec, t->tv_usec = s.tv_nsec / 1000;
    return 0;
}
"""


def preloaded(world, source, **env):
    """The environment in which functions of this source stand before libc's; None: it cannot be."""
    base = world.path("before-%s" % hashlib.sha256(source.encode()).hexdigest()[:8])
    with open(base + ".c", "w") as f:
        f.write(source)
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", base + ".so", base + ".c", "-ldl"]
    if "san/" in ASSAY or not shutil.which("gcc") or subprocess.run(command).returncode:
        return None
    return dict(env, LD_PRELOAD=base + ".so")


def draw_texts(p, count):
    """Answers to requests of which each has its seed."""
    out = []
    for i in range(count):
        body = {"prompt": [7 + i, 20, 30], "max_tokens": 30, "seed": i, "temperature": 1}
        status, said = p.ask("/v1/completions", body)
        out.append((status, said["choices"][0]["text"]))
    return out


def clock(world):
    env, texts = preloaded(world, CLOCK), []
    if env is None:
        return REPORT.not_run("jumps of the clock: a library cannot be put before this program's")
    for n, how in enumerate(({}, env)):
        p = world.serve(world.path("clock-%d" % n), learn=False, env=how)
        p.ready()
        texts.append(draw_texts(p, 6))
        p.kill(signal.SIGTERM)
        p.ended()
    times = [r["time"] for r in of_kind(records(world.path("clock-1")), "request")]
    check(max(times) - min(times) > 1e10, "the clock jumps", times)
    check(texts[0] == texts[1] and texts[0][0][0] == 200, "and tokens are the same", texts)
    journal, clients = world.path("clock-2"), Clients(world, 7)
    p = world.serve(journal, env=env)
    p.ready()
    clients.start(p, 3)
    time.sleep(1)
    p.kill(signal.SIGTERM)
    clients.stop()
    check(p.ended()[0] == 0, "jumps of the clock: SIGTERM ends it")
    lost = clients.lost(records(journal))
    check(not lost and not clients.wrong, "jumps of the clock: nothing is lost", lost or clients.wrong)
    p, idle = world.resume(journal, env=env), socket.socket()
    p.ready()
    asked = len(of_kind(records(journal), "request"))
    idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    idle.connect(("127.0.0.1", p.port))
    body = {"messages": [{"role": "user", "content": "the"}], "max_tokens": 450, "stream": True, "n": 8,
            "logprobs": True, "top_logprobs": 20}  # fmt: skip; more than a socket's buffers hold
    data = json.dumps(body)
    idle.sendall(("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (
        len(data), data)).encode())  # fmt: skip
    until = time.monotonic() + 60
    while len(of_kind(records(journal), "request")) == asked and time.monotonic() < until:
        time.sleep(0.05)
    while "assay_requests_running 0\n" not in p.ask("/metrics")[1] and time.monotonic() < until:
        time.sleep(0.05)
    p.kill(signal.SIGTERM)
    code, _, _, err = p.ended()
    idle.close()
    check(code == 0, "jumps of the clock: a client that does not read holds no end up", (code, err))
    end = world.finish(journal, env=env)
    check(end[:3] == (0, STEPS, world.digest), "jumps of the clock: the same weights", end)


# ---- signals ----------------------------------------------------------------------------------------
def wait_for_tokens(clients, count=20):
    end = time.monotonic() + 120
    while sum(map(len, list(clients.seen.values()))) < count and time.monotonic() < end:
        time.sleep(0.01)


def signals(world):
    journal, clients = world.path("signals"), Clients(world, 6)
    p = world.serve(journal)
    for what, numbers in (("SIGTERM", [signal.SIGTERM]), ("SIGINT", [signal.SIGINT]),
                          ("SIGTERM twice", [signal.SIGTERM] * 2)):  # fmt: skip
        p.ready()
        clients.start(p, 4)
        wait_for_tokens(clients, 20 + sum(map(len, clients.seen.values())))
        for n in numbers:
            p.kill(n)
        clients.stop()
        code, version, digest, err = p.ended()
        last = records(journal)[-1]
        check(code == 0 and "assay: " not in err, "%s amid streams: exit 0" % what, (code, err))
        check(last["kind"] == "stop" and last["value"]["model"] == digest and last["value"]["version"] == version,
              "%s: the journal's last record names the weights" % what, last)  # fmt: skip
        check(not clients.wrong, "%s: every answer is whole" % what, clients.wrong)
        p = world.resume(journal)
    p.ready()
    p.kill(signal.SIGTERM)
    p.ended()
    lost = clients.lost(records(journal))
    check(not lost, "signals: nothing is lost", lost[:2])
    goes_on(world, "signals", journal)


def impatient(world):
    """--grace 0: what runs is cut, its client is told, and the journal has its cancellation."""
    journal, ends, clients = world.path("impatient"), [], Clients(world, 8)
    p = world.serve(journal, "--grace", 0)
    p.ready()

    def long_stream():
        body = {"prompt": [1, 2], "max_tokens": 500, "stream": True, "logprobs": 0, "seed": 1}
        c = http.client.HTTPConnection("127.0.0.1", p.port, timeout=240)
        c.request("POST", "/v1/completions", json.dumps(body))
        clients.read(c.getresponse())
        ends.append(clients.ends)

    t = threading.Thread(target=long_stream)
    t.start()
    end = time.monotonic() + 120
    while not (os.path.exists(journal) and of_kind(records(journal), "tokens")) and time.monotonic() < end:
        time.sleep(0.01)
    p.kill(signal.SIGTERM)
    t.join(240)
    code = p.ended()[0]
    all_records = records(journal)
    made = sum(len(r["tokens"]) for r in of_kind(all_records, "tokens"))
    cut = of_kind(all_records, "cancel")
    check(code == 0 and (made == 500 or (ends[0] == ["the server is stopping"] and len(cut) == 1)),
          "without grace a stream is cut, and told so", (code, made, ends, cut))  # fmt: skip
    lost = clients.lost(all_records)
    check(not lost, "and nothing of it is lost", lost)


def main():
    world = World(work_folder("faults"), STEPS)
    world.digest = world.train()
    only = [x for x in sys.argv[1:] if x != "--all"]

    def step(function, *args):
        if not only or function.__name__ in only:
            start = time.monotonic()
            REPORT.step(function, *args)
            print("%s: %.1f s" % (function.__name__, time.monotonic() - start), flush=True)

    for function in (killed, killed_feedback, killed_at_once, full_file, full_disk, failing_disk, no_rights, two_servers, late_lock, clock, signals,
                     impatient):  # fmt: skip
        step(function, world)
    journal, digest = small_run(world)
    step(truncated, world, journal, digest)
    step(flipped_journal, world, journal)
    step(flipped_snapshot, world, journal, digest, 1 if "--all" in sys.argv else 61)
    step(other_snapshot, world, journal)
    step(others, world, journal)
    step(hostile, world, journal)
    shutil.rmtree(world.work)
    return REPORT.end()


if __name__ == "__main__":
    sys.exit(main())
