"""A server for the tests: started on a free port, asked over raw sockets, stopped."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

ASSAY = os.environ.get("ASSAY", "build/assay")
MODEL = "vectors/tiny"
ROOT = "build/serve-test"
for name in list(os.environ):  # a proxy would stand between the tests and the server
    if name.lower().endswith("_proxy"):
        del os.environ[name]


class Report:
    def __init__(self, name):
        self.name, self.failed = name, 0

    def check(self, ok, what, detail=""):
        if ok:
            print("ok %s: %s" % (self.name, what), flush=True)
        else:
            self.failed += 1
            print("FAIL %s: %s: %s" % (self.name, what, str(detail)[:600]), flush=True)
        return ok


class Server:
    """with Server("--feedback") as s: ... ; s.code, s.out and s.err when it has ended."""

    def __init__(self, *options, model=MODEL, journal=None):
        os.makedirs(ROOT, exist_ok=True)
        self.journal = journal or "%s/journal-%d-%d" % (ROOT, os.getpid(), time.monotonic_ns())
        self.errors = open(self.journal + ".err", "w+")
        self.process = subprocess.Popen(
            [ASSAY, "serve", model, "--port", "0", "--journal", self.journal, "--jobs", "1", *map(str, options)],
            stdout=subprocess.PIPE, stderr=self.errors, text=True)  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r"http://(\S+):(\d+)", self.stderr())
            if found:
                self.host, self.port = found.group(1), int(found.group(2))
                self.url = "http://%s:%d" % (self.host, self.port)
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError("the server did not start: " + self.err)

    def stderr(self):
        with open(self.errors.name) as f:
            return f.read()

    def stop(self, how=signal.SIGTERM, wait=60):
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.out = self.process.communicate(timeout=wait)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.out = self.process.communicate()[0]
        self.code, self.err = self.process.returncode, self.stderr()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.errors.close()
        for name in os.listdir(ROOT):
            if name.startswith(os.path.basename(self.journal)):
                os.remove(os.path.join(ROOT, name))

    def connect(self, timeout=60):
        return socket.create_connection((self.host, self.port), timeout)

    def raw(self, data, timeout=60):
        """What comes back until the server closes or nothing more is to come."""
        with self.connect(timeout) as s:
            s.sendall(data)
            got = b""
            while True:
                try:
                    piece = s.recv(65536)
                except (ConnectionError, TimeoutError):
                    break
                if not piece:
                    break
                got += piece
                head, mark, body = got.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                if mark and length and len(body) >= int(length.group(1)):
                    break
        return got

    def ask(self, path, body=None, method=None, headers=None, timeout=120):
        """Status, headers and the JSON (or the text) of one request."""
        c = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        c.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        if r.headers.get("Content-Type") == "application/json":
            return r.status, r.headers, json.loads(text) if text else None
        return r.status, r.headers, text

    def metric(self, name, headers=None):
        text = self.ask("/metrics", headers=headers)[2]
        found = re.search(r"^assay_%s (\S+)$" % re.escape(name), text, re.M)
        return float(found.group(1)) if found else None

    def until(self, name, value, seconds=60):
        """Waits for a metric to have a value; what it was at last."""
        end = time.monotonic() + seconds
        while True:
            now = self.metric(name)
            if now == value or time.monotonic() > end:
                return now
            time.sleep(0.02)


def clean():
    shutil.rmtree(ROOT, ignore_errors=True)
