"""The HTTP door: the official openai client, refused requests, limits, clients that are slow, vanish or
speak nonsense, and an end in the middle of a stream. ASSAY names the program (default build/assay)."""

import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import convert  # noqa: E402
from _serve import ASSAY, MODEL, ROOT, Report, Server, clean  # noqa: E402

REPORT = Report("serve")
check = REPORT.check
PROMPT = "user derive: "
CHAT = [{"role": "user", "content": "derive: free particle"}]


def client(s, key="none"):
    import openai

    return openai.OpenAI(base_url=s.url + "/v1", api_key=key, max_retries=0, timeout=120)


def text_of(chunks):
    return "".join(c.choices[0].text for c in chunks if c.choices)


def bit_logits(ids):
    """Log-probabilities at every position in float64, from the logits that `assay logits` gives."""
    out = ROOT + "/logits"
    subprocess.run([ASSAY, "logits", MODEL, "--tokens", ",".join(map(str, ids)), out], check=True)
    z = np.fromfile(out, "<f4").reshape(len(ids), -1).astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def tokenize(text):
    run = subprocess.run([ASSAY, "tokenize", MODEL], input=text.encode(), stdout=subprocess.PIPE)
    return [int(x) for x in run.stdout.split()]


def openai_checks(s):
    import openai

    c = client(s)
    names = [m.id for m in c.models.list()]
    check(names == ["tiny"] and c.models.retrieve("tiny").id == "tiny", "openai: models", names)
    try:
        c.models.retrieve("other")
        check(False, "openai: a model that is not there")
    except openai.NotFoundError:
        check(True, "openai: a model that is not there")

    a = c.completions.create(model="tiny", prompt=PROMPT, seed=5, max_tokens=40)
    b = c.completions.create(model="tiny", prompt=PROMPT, seed=5, max_tokens=40)
    other = c.completions.create(model="tiny", prompt=PROMPT, seed=6, max_tokens=40)
    check(a.choices[0].text == b.choices[0].text != other.choices[0].text and a.id != b.id,
          "openai: the same seed gives the same text, another one another")  # fmt: skip
    ids = tokenize(PROMPT)
    by_ids = c.completions.create(model="tiny", prompt=ids, seed=5, max_tokens=40)
    check(by_ids.choices[0].text == a.choices[0].text, "openai: a prompt of ids")
    u = a.usage
    check(u.prompt_tokens == len(ids) and 0 < u.completion_tokens <= 40
          and u.total_tokens == u.prompt_tokens + u.completion_tokens, "openai: usage", u)  # fmt: skip
    check(a.choices[0].finish_reason == ("length" if u.completion_tokens == 40 else "stop"),
          "openai: why it ended", a)  # fmt: skip
    check(a.system_fingerprint == "v0" and a.choices[0].assay["version_last"] == 0
          and b.choices[0].assay["request"] > a.choices[0].assay["request"],
          "openai: weight version and number of the request", a)  # fmt: skip
    short = c.completions.create(model="tiny", prompt=PROMPT)
    check(short.usage.completion_tokens <= 16, "openai: 16 tokens when nothing is said")

    chunks = list(c.completions.create(model="tiny", prompt=PROMPT, seed=5, max_tokens=40, stream=True,
                                       stream_options={"include_usage": True}))  # fmt: skip
    check(text_of(chunks) == a.choices[0].text and chunks[-1].usage == u and not chunks[-1].choices, "openai: a stream says the same, then its usage")  # fmt: skip
    three = c.completions.create(model="tiny", prompt=PROMPT, seed=5, max_tokens=40, n=3)
    texts = [x.text for x in three.choices]
    check(texts[0] == a.choices[0].text and len(set(texts)) == 3
          and [x.index for x in three.choices] == [0, 1, 2]
          and three.usage.completion_tokens > u.completion_tokens, "openai: n choices", texts)  # fmt: skip
    mixed = {0: "", 1: "", 2: ""}
    for k in c.completions.create(model="tiny", prompt=PROMPT, seed=5, max_tokens=40, n=3, stream=True):
        mixed[k.choices[0].index] += k.choices[0].text
    check([mixed[i] for i in range(3)] == texts, "openai: n choices in one stream", mixed)
    stop_checks(c, a.choices[0].text)
    logprob_checks(c)
    chat_checks(c)


def stop_checks(c, whole):
    """Every stop string that the text contains, of one to five characters, cuts it there."""
    draw, wrong = random.Random(1), []
    for _ in range(25):
        at = draw.randrange(len(whole) - 5)
        stops = [whole[at:at + draw.randint(1, 5)], "not in it", "\u20ac"]
        cut = min(whole.find(x) for x in stops if x in whole)
        how = dict(model="tiny", prompt=PROMPT, seed=5, max_tokens=40, stop=stops)
        plain = c.completions.create(**how).choices[0]
        streamed = list(c.completions.create(stream=True, **how))
        # a token may end one stop string and begin before another: the first that is whole ends it
        if plain.text != text_of(streamed) or plain.finish_reason != "stop":
            wrong.append((stops, plain.text))
        if plain.text != whole[:cut] or streamed[-1].choices[0].finish_reason != "stop":
            wrong.append((stops, plain.text, whole[:cut]))
    check(not wrong, "openai: stop strings, streamed or not", wrong)
    almost = whole[3:9] + "\u20ac"  # held back, then shown after all
    kept = c.completions.create(model="tiny", prompt=PROMPT, seed=5, max_tokens=40, stop=almost)
    check(kept.choices[0].text == whole, "openai: the beginning of a stop string is no stop string")


def logprob_checks(c):
    ids = tokenize(PROMPT)
    for seed in range(50):  # until the text tokenizes as it was drawn
        r = c.completions.create(model="tiny", prompt=PROMPT, seed=seed, max_tokens=24, logprobs=5,
                                 temperature=0.7)  # fmt: skip
        l, made = r.choices[0].logprobs, tokenize(r.choices[0].text)
        if len(made) == len(l.tokens) == 24:
            break
    log_p = bit_logits(ids + made)[len(ids) - 1:-1]
    error = max(abs(log_p[i][t] - l.token_logprobs[i]) for i, t in enumerate(made))
    # e^x within an ulp, 301 of them in a lane sum (10 + 5 additions deep), a logarithm within an ulp
    # of at most 6, a difference of at most 32: 17 + 16 units of 2^-24, 2^-22 and 2^-20 are below 4e-6
    check(error < 4e-6, "logprobs: of the drawn tokens, before temperature, within 4e-6", error)
    tops = [sorted(d.values()) for d in l.top_logprobs]
    error = max(np.abs(np.sort(log_p[i])[-5:] - tops[i]).max() for i in range(len(made)))
    check(error < 4e-6, "logprobs: the five likeliest", error)
    text = r.choices[0].text
    check(all(text[o:].startswith(t) for o, t in zip(l.text_offset, l.tokens)), "logprobs: offsets")

    r = c.chat.completions.create(model="tiny", messages=CHAT, seed=5, max_tokens=24, logprobs=True,
                                  top_logprobs=20)  # fmt: skip
    entries = r.choices[0].logprobs.content
    said = b"".join(bytes(e.bytes) for e in entries)
    check(len(entries) == r.usage.completion_tokens and said.startswith(r.choices[0].message.content.encode())
          and all(e.top_logprobs[0].logprob >= e.top_logprobs[19].logprob for e in entries)
          and all(sum(np.exp(t.logprob) for t in e.top_logprobs) <= 1.00001 for e in entries),
          "logprobs: a chat's tokens, their bytes, and 20 falling", r)  # fmt: skip
    streamed = []
    for k in c.chat.completions.create(model="tiny", messages=CHAT, seed=5, max_tokens=24, logprobs=True,
                                       top_logprobs=20, stream=True):  # fmt: skip
        streamed += k.choices[0].logprobs.content if k.choices[0].logprobs else []
    check(streamed == entries, "logprobs: the same ones in a stream")


def chat_checks(c):
    r = c.chat.completions.create(model="tiny", messages=CHAT, seed=7, max_completion_tokens=60)
    template = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n" % CHAT[0]["content"]
    same = c.completions.create(model="tiny", prompt=template, seed=7, max_tokens=60)
    check(r.choices[0].message.content == same.choices[0].text and r.choices[0].message.role == "assistant"
          and r.usage == same.usage, "chat: the template, then the same text", (r, same))  # fmt: skip
    chunks = list(c.chat.completions.create(model="tiny", messages=CHAT, seed=7, max_tokens=60, stream=True))
    said = "".join(k.choices[0].delta.content or "" for k in chunks)
    check(said == r.choices[0].message.content and chunks[0].choices[0].delta.role == "assistant"
          and chunks[-1].choices[0].finish_reason == r.choices[0].finish_reason, "chat: streamed")  # fmt: skip
    parts = [{"type": "text", "text": "derive: "}, {"type": "text", "text": "free particle"}]
    again = c.chat.completions.create(model="tiny", messages=[{"role": "user", "content": parts}], seed=7,
                                      max_tokens=60)  # fmt: skip
    check(again.choices[0].message.content == said, "chat: content in parts")
    whole = c.chat.completions.create(model="tiny", messages=CHAT, temperature=0)
    check(whole.choices[0].finish_reason == "stop" and "<|im_end|>" not in whole.choices[0].message.content
          and whole.usage.total_tokens <= 512, "chat: to its end when no length is asked for", whole)  # fmt: skip


BAD = [  # path, body, status, the field that is named
    ("completions", "{", 400, None),
    ("completions", "[]", 400, None),
    ("completions", "", 400, None),
    ("completions", '{"prompt":"a","prompt":"b"}', 400, None),
    ("completions", '{"prompt":"\\u0000"}', 400, None),
    ("completions", b'{"prompt":"\xff"}', 400, None),
    ("completions", "[" * 100000, 400, None),
    ("completions", {}, 400, "prompt"),
    ("completions", {"prompt": ""}, 400, "prompt"),
    ("completions", {"prompt": []}, 400, "prompt"),
    ("completions", {"prompt": [301]}, 400, "prompt"),
    ("completions", {"prompt": [-1]}, 400, "prompt"),
    ("completions", {"prompt": [1.5]}, 400, "prompt"),
    ("completions", {"prompt": {"a": 1}}, 400, "prompt"),
    ("completions", {"prompt": "x " * 600}, 400, "prompt"),
    ("completions", {"prompt": "x" * 10000}, 400, "prompt"),
    ("completions", {"prompt": ["a", "b"]}, 400, "prompt"),
    ("completions", {"prompt": [[1], [2]]}, 400, "prompt"),
    ("completions", {"prompt": [[]]}, 400, "prompt"),
    ("completions", {"prompt": [[[1]]]}, 400, "prompt"),
    ("completions", {"prompt": "x", "max_tokens": 0}, 400, "max_tokens"),
    ("completions", {"prompt": "x", "temperature": 2.1}, 400, "temperature"),
    ("completions", {"prompt": "x", "temperature": "1"}, 400, "temperature"),
    ("completions", {"prompt": "x", "top_p": -0.1}, 400, "top_p"),
    ("completions", {"prompt": "x", "n": 0}, 400, "n"),
    ("completions", {"prompt": "x", "n": 129}, 400, "n"),
    ("completions", {"prompt": "x", "n": 1.5}, 400, "n"),
    ("completions", {"prompt": "x", "n": 2**64}, 400, "n"),
    ("completions", {"prompt": "x", "n": 80, "logprobs": 5, "max_tokens": 137}, 400, "logprobs"),
    ("completions", {"prompt": "x", "n": 2, "best_of": 3}, 400, "best_of"),
    ("completions", {"prompt": "x", "logprobs": 6}, 400, "logprobs"),
    ("completions", {"prompt": "x", "stop": ["a"] * 5}, 400, "stop"),
    ("completions", {"prompt": "x", "stop": [1]}, 400, "stop"),
    ("completions", {"prompt": "x", "stop": "a" * 257}, 400, "stop"),
    ("completions", {"prompt": "x", "stream": 1}, 400, "stream"),
    ("completions", {"prompt": "x", "stream_options": {}}, 400, "stream_options"),
    ("completions", {"prompt": "x", "seed": 1.5}, 400, "seed"),
    ("completions", {"prompt": "x", "echo": True}, 400, "echo"),
    ("completions", {"prompt": "x", "suffix": "y"}, 400, "suffix"),
    ("completions", {"prompt": "x", "logit_bias": {"5": 1}}, 400, "logit_bias"),
    ("completions", {"prompt": "x", "presence_penalty": 0.5}, 400, "presence_penalty"),
    ("completions", {"prompt": "x", "min_p": 0.1}, 400, "min_p"),
    ("completions", {"prompt": "x", "min_tokens": 4}, 400, "min_tokens"),
    ("completions", {"prompt": "x", "ignore_eos": True}, 400, "ignore_eos"),
    ("completions", {"prompt": "x", "chat_template_kwargs": {"a": 1}}, 400, "chat_template_kwargs"),
    ("completions", {"prompt": "x", "repetition_penalty": 0}, 400, "repetition_penalty"),
    ("completions", {"prompt": "x", "model": "other"}, 404, "model"),
    ("chat/completions", {}, 400, "messages"),
    ("chat/completions", {"messages": []}, 400, "messages"),
    ("chat/completions", {"messages": [1]}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "user"}]}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "user", "content": []}]}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "user", "content": None}]}, 400, "messages"),
    ("chat/completions", {"messages": [CHAT[0], {"role": "assistant", "content": None, "tool_calls": [1]}, CHAT[0]]},
     400, "messages"),
    ("chat/completions", {"messages": [{"role": "user", "content": "x" * 10000}]}, 400, "messages"),
    ("chat/completions", {"messages": [{"content": "x"}]}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "robot", "content": "x"}]}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages"),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages"),
    ("chat/completions", {"messages": CHAT, "top_logprobs": 3}, 400, "top_logprobs"),
    ("chat/completions", {"messages": CHAT, "logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
    ("chat/completions", {"messages": CHAT, "tools": [{"type": "function"}]}, 400, "tools"),
    ("chat/completions", {"messages": CHAT, "response_format": {"type": "json_object"}}, 400, "response_format"),
    ("chat/completions", {"messages": CHAT, "max_completion_tokens": 0}, 400, "max_completion_tokens"),
]  # fmt: skip
NEUTRAL = {"tools": [], "min_p": 0, "repetition_penalty": 1, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0, "echo": False,
           "suffix": None, "response_format": {"type": "text"}, "user": "me", "stop": None, "best_of": 1,
           "unheard_of": [1], "metadata": {}}  # fmt: skip


def refused_checks(s):
    wrong = []
    for path, body, status, param in BAD:
        got, _, j = s.ask("/v1/" + path, body, "POST")
        e = (j or {}).get("error", {})
        if got != status or e.get("param") != param or e.get("type") != "invalid_request_error" \
                or not e.get("message") or e.get("code", 0) is not None:  # fmt: skip
            wrong.append((path, str(body)[:80], got, j))
    check(not wrong, "refused: %d bodies, each with its field" % len(BAD), wrong)
    got, _, j = s.ask("/v1/completions", dict(NEUTRAL, prompt="x", max_tokens=2))
    check(got == 200, "fields that ask for nothing are no error", j)
    over = [s.ask("/v1/completions", {"prompt": "x" * n, "max_tokens": 1})[2]["error"]["message"] for n in (8200, 8208)]
    check("tokens" in over[0].split(":")[0] and "8208 bytes" in over[1], "a text far too long is not tokenized", over)
    accept_checks(s)
    check(s.metric("requests_running") == 0 and s.ask("/health")[0] == 200, "refused: nothing is left running")


def accept_checks(s):
    """What other clients send in another form, beside what it means."""
    how = {"max_tokens": 12, "seed": 5}
    said = lambda path, **body: s.ask("/v1/" + path, dict(how, **body))[2]["choices"][0]  # noqa: E731
    text = lambda **body: said("completions", prompt=PROMPT, **body)["text"]  # noqa: E731
    chat = lambda *m: said("chat/completions", messages=[{"role": r, "content": c} for r, c in m])  # noqa: E731
    plain, ids = text(), tokenize(PROMPT)
    wrong = [p for p in ([PROMPT], [ids], [float(x) for x in ids])
             if said("completions", prompt=p)["text"] != plain]  # fmt: skip
    wrong += [x for x in ({"stop": ""}, {"stop": ["", "\u20ac"]}, {"max_tokens": 12.0}, {"seed": 5.0},
                          {"seed": 2**32 + 5}, {"logprobs": None, "seed": 5 + 2**33}) if text(**x) != plain]  # fmt: skip
    check(not wrong, "accepted: lists of one prompt, empty stop strings, seeds of 33 bits", wrong)
    big = [text(seed=x) for x in (2**64 + 2**50, 2**64 + 2**50, -(2**70), 10**300)]
    check(big[0] == big[1] and s.ask("/v1/completions", {"prompt": ids, "seed": 2**63, "n": 2})[0] == 200,
          "accepted: a seed of any size", big)  # fmt: skip
    a, b = [chat((r, "be brief"), ("user", "x"))["message"] for r in ("system", "developer")]
    check(a == b, "accepted: a developer is the system", (a, b))
    a, b = [chat(("user", "x"), ("assistant", c), ("user", "y"))["message"] for c in ("", None)]
    check(a == b, "accepted: an assistant that said nothing", (a, b))
    long = s.ask("/v1/completions", {"prompt": [10] * 510, "max_tokens": 512, "temperature": 0})[2]
    check(1 <= long["usage"]["completion_tokens"] <= 2 and long["usage"]["prompt_tokens"] == 510,
          "accepted: more tokens than are left, of which there are those that are left", long)  # fmt: skip


def plain_checks(s):
    got = [s.ask(p)[0] for p in ("/", "/health", "/metrics", "/v1/models", "/v1/assay/state")]
    check(got == [200] * 5, "paths: all that can be asked with GET", got)
    wrong = []
    for path, method, status, allow in (("/nothing", "GET", 404, None), ("/v1/modelsx", "GET", 404, None),
                                        ("/v1/completions", "GET", 405, "POST"), ("/health", "POST", 405, "GET"),
                                        ("/", "DELETE", 405, "GET"), ("/v1/models", "PUT", 405, "GET"),
                                        ("/health", "HEAD", 200, None)):  # fmt: skip
        code, headers, j = s.ask(path, method=method, body="" if method == "POST" else None)
        if code != status or headers.get("Allow") != allow or (code >= 400 and "error" not in j):
            wrong.append((path, method, code, headers.get("Allow"), j))
    check(not wrong, "paths: 404 and 405 as JSON, with Allow", wrong)
    code, headers, page = s.ask("/")
    check("default-src 'none'" in headers["Content-Security-Policy"] and "http" not in
          re.sub(r"https?://www\.w3\.org\S*", "", page).lower().replace("http \"", ""),
          "page: its policy, and nothing from elsewhere")  # fmt: skip
    text = s.ask("/metrics")[2]
    lines = [x for x in text.splitlines() if not x.startswith("#")]
    good = [x for x in lines if re.fullmatch(r'assay_[a-z_]+(\{[a-z]+="\w+"\})? -?[\d.e+-]+', x)]
    kinds = re.findall(r"^# TYPE (\S+) (counter|gauge)$", text, re.M)
    check(lines == good and len(lines) > 15 and len(kinds) == len(set(kinds)), "metrics: well formed", text)
    tokens = s.metric("tokens_total")
    used = s.ask("/v1/completions", {"prompt": "x", "max_tokens": 7, "seed": 1})[2]["usage"]
    check(s.metric("tokens_total") == tokens + used["completion_tokens"], "metrics: tokens are counted")
    state = s.ask("/v1/assay/state")[2]
    check(len(state["head"]) == 64 and state["records"][-1]["chain"] == state["head"]
          and state["model"] == "tiny", "state: the last record's hash is the journal's head", state)  # fmt: skip


def http_checks(s):
    """What no well-behaved client sends."""
    post = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
    body = json.dumps({"prompt": "x", "max_tokens": 3}).encode()
    status = lambda answer: int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.") else 0  # noqa: E731
    cases = [
        ("no HTTP", b"hello\r\n\r\n", (0, 400)),
        ("a TLS hello", bytes.fromhex("16030100c8010000c40303") + bytes(200), (0, 400)),
        ("only newlines", b"\r\n" * 1000, (0, 400)),
        ("zeros", bytes(5000), (0, 400)),
        ("a negative length", post + b"Content-Length: -5\r\n\r\n", (0, 400, 413)),
        ("a length that is no number", post + b"Content-Length: five\r\n\r\n", (0, 400, 413)),
        ("a length beyond all", post + b"Content-Length: 99999999999999999999\r\n\r\n", (0, 400, 413)),
        ("chunks of nonsense", post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", (0, 400)),
        ("headers of 40 KB", post + b"X: " + b"y" * 40000 + b"\r\n\r\n", (0, 431)),
        ("10,000 headers", post + b"X: y\r\n" * 10000 + b"\r\n", (0, 431)),
        ("a path of 40 KB", b"GET /" + b"x" * 40000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", (0, 414, 431)),
        ("HTTP/9.9", b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", (0, 200, 400, 505)),
        ("a body that is too large", post + b"Content-Length: 1048577\r\n\r\n", (413,)),
        ("a body of just the limit", post + b"Content-Length: 1048576\r\n\r\n" + b" " * 1048576, (400,)),
        ("HTTP/1.0", b"GET /health HTTP/1.0\r\n\r\n", (200,)),
        ("a space in a header", b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", (0, 200, 400)),
        ("chunks", post + b"Transfer-Encoding: chunked\r\n\r\n" +
         b"".join(b"1\r\n%c\r\n" % c for c in body) + b"0\r\n\r\n", (200,)),
        ("Expect", post + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body) + body, (100, 200)),
    ]  # fmt: skip
    wrong = []
    for what, data, statuses in cases:
        answer = s.raw(data, timeout=2)
        if status(answer) not in statuses:
            wrong.append((what, answer[:200]))
    check(not wrong, "HTTP: %d requests, most of them malformed" % len(cases), wrong)
    piece = b"%x\r\n" % 65536 + b" " * 65536 + b"\r\n"
    answer = s.raw(post + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 17 + b"0\r\n\r\n")
    check(status(answer) == 413, "HTTP: chunks beyond the limit", answer[:200])
    with s.connect(10) as x:
        x.sendall(post + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 200:
                x.sendall(piece)
                sent += 1
        except OSError:
            pass
    check(sent < 200, "HTTP: a body without end is cut off", sent)
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with s.connect() as x:
        x.sendall(one * 20)
        got = b""
        while got.count(b'"status"') < 20:
            piece = x.recv(65536)
            if not piece:
                break
            got += piece
    check(got.count(b"HTTP/1.1 200") == 20, "HTTP: 20 requests in one go")
    draw = random.Random(3)
    good = post + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for _ in range(200):
        bad = bytearray(good[: draw.randrange(1, len(good))] if draw.random() < 0.3 else good)
        for _ in range(draw.randrange(1, 6)):
            bad[draw.randrange(len(bad))] = draw.randrange(256)
        with s.connect() as x:
            x.sendall(bad)
            if draw.random() < 0.5:
                select.select([x], [], [], 0.05)
    check(s.ask("/health")[0] == 200 and s.until("requests_running", 0) == 0,
          "HTTP: 200 requests with wrong bytes, cut off or not")  # fmt: skip


def origin_checks(s):
    wrong = []
    port = s.port
    for host, status in (("localhost:%d" % port, 200), ("127.0.0.1:%d" % port, 200), ("LOCALHOST", 200),
                         ("[::1]:%d" % port, 200), ("evil.example", 403), ("localhost.evil.example", 403),
                         ("127.0.0.1.evil.example:%d" % port, 403), ("", 403)):  # fmt: skip
        answer = s.raw(b"GET /v1/models HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
        if int(answer.split(b" ")[1]) != status:
            wrong.append((host, answer[:100]))
    body = {"prompt": "x", "max_tokens": 1}
    for origin, status in ((s.url, 200), ("http://localhost:1", 403), ("http://evil.example", 403),
                           ("null", 403), ("http://%s" % s.host, 403)):  # fmt: skip
        got = s.ask("/v1/completions", body, headers={"Origin": origin})[0]
        if got != status:
            wrong.append((origin, got))
    check(not wrong, "Host and Origin: strangers' pages get 403", wrong)


def token_checks():
    file = ROOT + "/token"
    with open(file, "w") as f:
        f.write("correct-horse\n")
    with Server("--token-file", file) as s:
        wrong = []
        for given, status in ((None, 401), ("Bearer correct-horse", 200), ("bearer correct-horse", 200),
                              ("Bearer correct-hors", 401), ("Bearer correct-horsee", 401), ("Bearer ", 401),
                              ("Basic correct-horse", 401), ("correct-horse", 401)):  # fmt: skip
            headers = {"Authorization": given} if given else {}
            for path, body in (("/v1/models", None), ("/metrics", None), ("/v1/assay/state", None), ("/nothing", None),
                               ("/v1/completions", {"prompt": "x", "max_tokens": 1})):  # fmt: skip
                got, h, _ = s.ask(path, body, headers=headers)
                want = 404 if path == "/nothing" and status == 200 else status
                if got != want or (got == 401) != ("WWW-Authenticate" in h):
                    wrong.append((given, path, got))
        check(not wrong, "token: asked for everywhere", wrong)
        check(s.ask("/health")[0] == 200 and s.ask("/")[0] == 200, "token: but for health and page")
        check(client(s, "correct-horse").models.list().data[0].id == "tiny", "token: the openai client's key")


def full_checks():
    """One slot, two that may wait."""
    with Server("--slots", 1, "--queue", 2) as s:
        x, _ = stream_of(s, dict(LONG, n=3))
        code, headers, j = s.ask("/v1/completions", {"prompt": "x", "max_tokens": 300, "n": 2})
        x.close()
        check(code == 429 and headers["Retry-After"] == "1" and j["error"]["type"] == "rate_limit_error",
              "queue: full is 429 with Retry-After", (code, j))  # fmt: skip
        check(s.until("requests_running", 0) == 0 and s.until("requests_waiting", 0) == 0,
              "queue: what was begun of it is cancelled")  # fmt: skip
        code, _, j = s.ask("/v1/completions", {"prompt": "x", "max_tokens": 30, "n": 3})
        check(code == 200 and len(j["choices"]) == 3, "queue: three find their places", j)


def stream_of(s, body):
    """A socket on which a stream has begun."""
    x = s.connect()
    data = json.dumps(dict(body, stream=True)).encode()
    x.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    got = b""
    while b"data: " not in got:
        got += x.recv(65536)
    return x, got


LONG = {"prompt": [10], "max_tokens": 500, "temperature": 2, "seed": 1, "n": 4}


def vanish_checks(s):
    before = s.metric("requests_total")
    for _ in range(10):
        x, _ = stream_of(s, LONG)
        x.close()
    data = json.dumps(dict(LONG, n=2)).encode()
    for _ in range(10):  # these asked for the whole answer, and hear nothing before it
        with s.connect() as x:
            x.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data))
            x.sendall(data)
            s.until("requests_running", 1, 0.1)
    check(s.until("requests_running", 0) == 0 and s.until("requests_waiting", 0) == 0
          and s.metric("requests_total") > before, "clients that vanish: nothing goes on for them")  # fmt: skip
    began = s.metric("tokens_total")
    time.sleep(0.2)
    check(s.metric("tokens_total") == began, "clients that vanish: no token is made for them")


def slow_checks(s):
    """Streams that nobody reads, then 1,000 half-sent requests, while another client is served."""
    lazy = []
    for i in range(8):
        x = s.connect()
        x.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        data = json.dumps(dict(LONG, n=1, logprobs=5, stream=True)).encode()
        x.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        lazy.append(x)
    body = {"prompt": PROMPT, "max_tokens": 20, "seed": 9}
    text = s.ask("/v1/completions", body)[2]["choices"][0]["text"]
    check(bool(text), "slow: another is served beside eight that read nothing")
    slow = []
    for i in range(1000):
        x = s.connect()
        x.sendall([b"GET /he", b"POST /v1/completions HTTP/1.1\r\nHost: loc",
                   b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
                   b""][i % 4])  # fmt: skip
        slow.append(x)
    same = [s.ask("/v1/completions", body)[2]["choices"][0]["text"] for _ in range(5)]
    check(same == [text] * 5, "slow: another is served beside 1,000 half-sent requests", same)
    for i in range(1, 1000, 4):
        slow[i].sendall(b"alhost\r\nContent-Length: 2\r\n\r\n{}")
    answers = sum(b"400 Bad Request" in slow[i].recv(4096) for i in range(1, 1000, 4))
    check(answers == 250, "slow: those that go on after all are answered", answers)
    for x in slow + lazy:
        x.close()
    check(s.until("requests_running", 0) == 0, "slow: and nothing of them goes on")


def many_checks(s):
    """64 streams at once say what each says alone."""
    alone = {}
    for i in range(8):
        how = {"prompt": PROMPT, "max_tokens": 60, "seed": i}
        alone[i] = s.ask("/v1/completions", how)[2]["choices"][0]["text"]
    wrong = []

    def one(i):
        x, got = stream_of(s, {"prompt": PROMPT, "max_tokens": 60, "seed": i % 8})
        while b"[DONE]" not in got:
            piece = x.recv(65536)
            if not piece:
                break
            got += piece
        x.close()
        text = "".join(json.loads(e)["choices"][0]["text"] for e in re.findall(rb"data: (\{.*)", got))
        if text != alone[i % 8]:
            wrong.append((i, text))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not wrong, "64 streams at once, each as if it were alone", wrong)


def feedback_checks(s):
    c = client(s)
    r = c.chat.completions.create(model="tiny", messages=CHAT, seed=3, max_tokens=20, n=2)
    give = lambda **body: s.ask("/v1/feedback", body)  # noqa: E731
    wrong = []
    for body, status, accepted in (
        ({"id": r.id, "rating": 1}, 200, True),
        ({"id": r.id, "index": 1, "rating": 0.5}, 200, True),
        ({"id": r.id, "answer": "H = p^2/(2*1)"}, 200, True),
        ({"id": r.id, "answer": "x", "rating": -1}, 200, True),
        ({"id": r.id, "rating": 0}, 200, False),
        ({"id": r.id, "rating": -1}, 200, False),
        ({"id": "cmpl-unknown", "rating": 1}, 404, None),
        ({"id": r.id, "index": 2, "rating": 1}, 404, None),
        ({"id": r.id}, 400, None),
        ({"id": r.id, "rating": 1.5}, 400, None),
        ({"id": r.id, "answer": 5}, 400, None),
        ({"id": 5, "rating": 1}, 400, None),
        ({"rating": 1}, 400, None),
        ({"id": r.id, "index": -1, "rating": 1}, 400, None),
    ):
        code, _, j = give(**body)
        if code != status or (j or {}).get("accepted") is not accepted:
            wrong.append((body, code, j))
    check(not wrong, "feedback: what is accepted, learned from nothing, unknown or wrong", wrong)
    check(s.metric("feedback_total") == 4, "feedback: four samples", s.metric("feedback_total"))
    chunks = list(c.completions.create(model="tiny", prompt=PROMPT, max_tokens=5, stream=True))
    check(give(id=chunks[0].id, rating=1)[0] == 200, "feedback: on a stream, as soon as it has ended")
    kinds = [x["kind"] for x in s.ask("/v1/assay/state")[2]["records"]]
    check("feedback" in kinds, "feedback: is in the journal when it is acknowledged", kinds)


def end_checks():
    with Server("--grace", 0) as s:
        streams = [stream_of(s, dict(LONG, seed=i)) for i in range(4)]
        whole = s.connect()
        data = json.dumps(dict(LONG, seed=9)).encode()
        whole.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data))
        whole.sendall(data)
        s.until("requests_waiting", 0, 0.2)
        s.process.send_signal(signal.SIGTERM)
        ends = []
        for x, got in streams + [(whole, b"")]:
            while True:
                piece = x.recv(65536)
                if not piece:
                    break
                got += piece
            ends.append(got)
        s.stop()
    # a stream ends with its last chunk: done, or an error that says why
    fine = [e.endswith(b"\r\n0\r\n\r\n") and (b"[DONE]" in e or b'"error"' in e) for e in ends[:-1]]
    check(all(fine), "SIGTERM: every stream is ended in form", [e[-200:] for e in ends])
    check(ends[-1].split(b" ")[1] in (b"503", b"200"), "SIGTERM: who waits for an answer gets 503", ends[-1][:200])
    check(s.code == 0 and "weights SHA-256" in s.out, "SIGTERM: the program ends well", (s.code, s.out, s.err))
    with Server("--grace", 60) as s:
        x, got = stream_of(s, {"prompt": PROMPT, "max_tokens": 100, "seed": 4})
        s.process.send_signal(signal.SIGTERM)
        while b"[DONE]" not in got:
            piece = x.recv(65536)
            if not piece:
                break
            got += piece
        s.stop()
    check(b"[DONE]" in got and s.code == 0, "SIGTERM: what runs may end within its grace", got[-200:])


def start_checks():
    wrong = []
    with Server() as s:
        for options, word in ((("--host", "0.0.0.0"), "token"), (("--port", s.port), "use"),
                              (("--host", "no.such.host.invalid"), "--host")):  # fmt: skip
            try:
                with Server(*options) as other:
                    wrong.append((options, "started at " + other.url))
            except RuntimeError as e:
                if word not in str(e) or "\nassay: " not in "\n" + str(e).split(": ", 1)[1]:
                    wrong.append((options, str(e)))
        check(s.ask("/health")[0] == 200, "start: one that fails leaves the other alone")
    check(not wrong, "start: no open address without a token, no taken port, no unknown host", wrong)


def copied(name, **config):
    """The embedded model with other numbers in config.json."""
    to = os.path.join(ROOT, name)
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(MODEL, to, ignore=shutil.ignore_patterns("train*", "*.py", "*.sh"))
    with open(to + "/config.json") as f:
        have = json.load(f)
    with open(to + "/config.json", "w") as f:
        json.dump(dict(have, **config), f)
    return to


def other_models():
    """A token that ends a text is none of it, also where the tokenizer calls it a plain one; little
    room in the cache; fewer ids than log-probabilities that are asked for."""
    body = {"messages": CHAT, "temperature": 0, "max_tokens": 200}
    with Server() as s:
        whole = s.ask("/v1/chat/completions", body)[2]["choices"][0]
    plain = copied("plain")
    with open(plain + "/tokenizer.json") as f:
        tokenizer = json.load(f)
    with open(plain + "/tokenizer.json", "w") as f:
        json.dump(dict(tokenizer, added_tokens=[dict(t, special=False) for t in tokenizer["added_tokens"]]), f)
    with Server("--pages", 1, model=plain) as s:
        got = s.ask("/v1/chat/completions", body)[2]["choices"][0]
        check(whole["finish_reason"] == "stop" and got["message"] == whole["message"],
              "end: its token is no text, special or not", (whole, got))  # fmt: skip
        code, _, said = s.ask("/v1/chat/completions", {"messages": CHAT})
        check(code == 200, "one page: a chat gets what fits", said)
        code, _, said = s.ask("/v1/completions", {"prompt": [5] * 300})
        check(code == 400 and "at most 256 fit" in said["error"]["message"], "one page: the limit is named", said)
    endless = copied("endless", eos_token_id=None)
    os.remove(endless + "/generation_config.json")
    with Server(model=endless) as s:
        for extra in (b"", b"\r\n"):
            before, data = s.metric("tokens_total"), json.dumps(dict(LONG, n=16)).encode()
            with s.connect() as x:
                x.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data))
                x.sendall(data)
                s.until("requests_running", 16, 10)
                x.sendall(extra)
                time.sleep(0.1)
            s.until("requests_running", 0)
            made = s.metric("tokens_total") - before
            check(0 < made < 16 * 500, "clients that vanish: their requests end, whatever was behind them", made)
    few = os.path.join(ROOT, "few")
    convert.small(few, "qwen3", vocab_size=4, max_position_embeddings=64, num_hidden_layers=1)
    with Server(model=few) as s:
        code, _, said = s.ask("/v1/completions", {"prompt": [1], "max_tokens": 3, "logprobs": 5})
        tops = said["choices"][0]["logprobs"]["top_logprobs"] if code == 200 else []
        check(len(tops) == 3 and all(len(t) <= 4 for t in tops), "logprobs: of no more ids than there are", said)


def main():
    clean()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with Server() as s:
        openai_checks(s)
        refused_checks(s)
        plain_checks(s)
        http_checks(s)
        origin_checks(s)
        vanish_checks(s)
        many_checks(s)
        slow_checks(s)
    check(s.code == 0, "the server ends well after all this", (s.code, s.err))
    with Server() as s:
        check(s.ask("/v1/feedback", {"id": "x", "rating": 1})[0] == 403, "feedback: 403 unless it is wanted")
    with Server("--feedback") as s:
        feedback_checks(s)
    token_checks()
    full_checks()
    end_checks()
    start_checks()
    other_models()
    clean()
    return REPORT.failed > 0


sys.exit(main())
