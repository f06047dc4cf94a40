"""gpu_live.py PROGRAM BACKEND MODEL TEXT FOLDER - serves eight clients and learns in one launch, then the
processor replays the journal: the weights must be the same. Prints figures and both digests."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request

for name in list(os.environ):  # a proxy would stand between the clients and the server
    if name.lower().endswith("_proxy"):
        del os.environ[name]
program, backend, model, text, folder = sys.argv[1:]
CLIENTS = 8
journal, errors = folder + "/live.journal", folder + "/live.err"
words = ["--learn", text, "--steps", "20", "--batch", "4", "--micro", "2", "--ctx", "64", "--lr", "4e-3", "--snapshot",
         "10", "--slots", "8", "--context", "128", "--until-learned", "--port", "0"]  # fmt: skip
if backend == "emu":
    words[3], words[5], words[7], words[9] = "2", "1", "1", "16"
made, failed = [], []


def client(url, k):
    body = {"prompt": "user derive: ", "max_tokens": 60, "temperature": 0.8, "seed": k, "stream": False}
    while True:
        try:
            r = urllib.request.Request(url, json.dumps(body).encode())
            made.append(json.load(urllib.request.urlopen(r, timeout=300))["usage"]["completion_tokens"])
        except (OSError, ValueError) as e:
            return failed.append(e)  # the server has learned all and ends


def digest(text):
    found = re.search(r"SHA-256 (\w{64})", text)
    return found and found.group(1)


begun = time.monotonic()
with open(errors, "w") as f:
    server = subprocess.Popen([program, "serve", model, "--backend", backend, "--journal", journal, *words],
                              stdout=subprocess.PIPE, stderr=f, text=True)  # fmt: skip
port = None
while not port and server.poll() is None:
    port = re.search(r"http://127.0.0.1:(\d+)", open(errors).read())
    time.sleep(0.05)
if port:
    url = "http://127.0.0.1:%s/v1/completions" % port.group(1)
    for k in range(CLIENTS):
        threading.Thread(target=client, args=(url, k), daemon=True).start()
served = digest(server.communicate()[0])
took = time.monotonic() - begun
again = subprocess.run([program, "replay", journal, "--backend", "simd"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)  # fmt: skip
print(open(errors).read().strip())
print("%d answers of %d tokens in %.1f s, start and end included" % (len(made), sum(made), took))
print("served and learned by %s: %s" % (backend, served))
print(again.stdout.strip())
sys.exit(not (server.returncode == 0 and made and served and served == digest(again.stdout)))
