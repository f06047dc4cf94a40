"""Serving and learning for a long time, with kills: soak.py SECONDS STREAMS KILLS [MODEL] (make soak).
Prints figures; then another backend (BACKEND, default ref) replays the journal. MODEL: a dense folder,
which is quantised; none: a small one with random weights. ASSAY names the program."""

import os
import random
import shutil
import signal
import sys
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import convert  # noqa: E402
from _faults import Clients, World, begun, of_kind, records, replay, work_folder  # noqa: E402

REPORT = convert.Report("soak")
check = REPORT.check


def run(world, journal, seconds, streams, kills):
    """Streams while learning, killed so many times. Returns (clients, seconds that processes ran)."""
    draw, clients, work = random.Random(seconds), Clients(world, 1), 0
    end = time.monotonic() + seconds
    for left in range(kills, -1, -1):
        start = time.monotonic()
        until = start + max(end - start, 0) / (left + 1) * (draw.uniform(0.5, 1.5) if left else 1)
        queue = ("--queue", streams)
        p = world.resume(journal, *queue) if begun(journal) else world.serve(journal, "--slots", streams, *queue)
        if left and draw.random() < 0.1:  # while it starts
            time.sleep(draw.uniform(0, 0.2))
        elif p.ready():
            clients.start(p, streams)
            while time.monotonic() < until and p.process.poll() is None:
                time.sleep(min(0.2, max(until - time.monotonic(), 0.001)))
        p.kill(signal.SIGKILL if left else signal.SIGTERM)
        if clients.rounds:
            clients.stop()
        code, _, _, err = p.ended()
        work += time.monotonic() - start
        check(code == (-signal.SIGKILL if left else 0), "process %d ran to its end" % (kills - left), err[-300:])
    return clients, work


def figures(journal, clients, all_records, seconds):
    count = {k: len(of_kind(all_records, k)) for k in ("request", "cancel", "tokens", "update", "resume")}
    made = sum(len(r["tokens"]) for r in of_kind(all_records, "tokens"))
    seen, size = sum(map(len, clients.seen.values())), os.path.getsize(journal)
    versions = {r["version"] for r in of_kind(all_records, "tokens")}
    lost = clients.lost(all_records)
    print("soak: %.0f s, %d requests, %d streams seen by clients, %d told to come again" % (
        seconds, count["request"], clients.requests, clients.busy))
    print("soak: %d tokens made, %d seen, %d requests with a loss" % (made, seen, len(lost)))
    print("soak: %d weight versions, of which %d made tokens; %d times gone on after a kill" % (
        count["update"], len(versions), count["resume"]))
    print("soak: journal of %d records, %d bytes: %.1f bytes a token" % (
        len(all_records), size, size / max(made, 1)), flush=True)
    check(not lost, "nothing that a client saw is lost", lost[:2])
    check(not clients.wrong, "every answer was as it should be", clients.wrong[:3])
    check(clients.requests and len(versions) > 1, "tokens of more than one version were served", versions)


def main():
    if len(sys.argv) < 4:
        sys.exit("usage: soak.py SECONDS STREAMS KILLS [MODEL]")
    seconds, streams, kills = map(int, sys.argv[1:4])
    world = World(work_folder("soak"), 1 << 24, "".join(sys.argv[4:5]), os.cpu_count(), 50)
    journal = world.path("journal")
    clients, work = run(world, journal, seconds, streams, kills)
    all_records = records(journal)
    figures(journal, clients, all_records, work)
    stop = all_records[-1]
    for backend in ("simd", os.environ.get("BACKEND", "ref")):
        digest, err = replay(journal, "--backend", backend, jobs=world.jobs, timeout=None)
        print("soak: replay by %s: %s; the run: %.1f s" % (backend, err.strip(), work), flush=True)
        check(digest and stop["kind"] == "stop" and stop["value"]["model"] == digest,
              "%s replays to the same weights: %s" % (backend, digest), (digest, stop))  # fmt: skip
    alone = world.train("--stop", stop["value"]["version"], timeout=None)
    check(alone == digest, "and training alone, without clients and kills, ends on them", alone)
    shutil.rmtree(world.work)
    return REPORT.end()


if __name__ == "__main__":
    sys.exit(main())
