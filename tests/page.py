"""The page in headless Chromium, driven over its debugging pipe: a conversation, figures, curve and
records; nothing from elsewhere and no markup from text; narrow and dark. CHROMIUM names the browser.
SHOTS names a folder for screenshots (none are kept without it)."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from _serve import Report, Server, clean  # noqa: E402

REPORT = Report("page")
check = REPORT.check
BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium")


class Page:
    """A tab. Messages are JSON, each ended by a NUL, on file descriptors 3 and 4 of the browser."""

    def __init__(self, folder):
        to, mine = os.pipe()
        yours, back = os.pipe()

        def move():  # the browser wants exactly these two
            a, b = os.dup2(to, 20), os.dup2(back, 21)
            os.dup2(a, 3), os.dup2(b, 4)

        self.browser = subprocess.Popen(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--user-data-dir=" + folder, "--remote-debugging-pipe", "about:blank"],
            preexec_fn=move, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)  # fmt: skip
        os.close(to), os.close(back)
        self.out, self.inp, self.rest, self.number, self.events = mine, yours, b"", 0, []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for name in ("Page", "Runtime", "Log", "Network"):
            self.call(name + ".enable")

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            while b"\0" not in self.rest:
                if not select.select([self.inp], [], [], 60)[0]:
                    raise RuntimeError("the browser does not answer " + method)
                piece = os.read(self.inp, 1 << 20)
                if not piece:
                    raise RuntimeError("the browser has ended")
                self.rest += piece
            one, self.rest = self.rest.split(b"\0", 1)
            answer = json.loads(one)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError("%s: %s" % (method, answer["error"]))
                return answer["result"]
            self.events.append(answer)
        raise RuntimeError("no answer to " + method)

    def js(self, expression):
        r = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in r:
            raise RuntimeError(r["exceptionDetails"])
        return r["result"].get("value")

    def until(self, expression, seconds=30):
        end = time.monotonic() + seconds
        while True:
            try:
                if self.js(expression):
                    return True
            except RuntimeError:  # the page is not there yet
                pass
            if time.monotonic() > end:
                return False
            time.sleep(0.1)

    def key(self, name, code, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code,
                      text=text if kind == "keyDown" else "")  # fmt: skip

    def size(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        value = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def shot(self, name):
        if os.environ.get("SHOTS"):
            data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
            with open("%s/%s.png" % (os.environ["SHOTS"], name), "wb") as f:
                f.write(data)

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except (RuntimeError, OSError):
            pass
        try:
            self.browser.wait(10)
        except subprocess.TimeoutExpired:
            self.browser.kill()
            self.browser.wait()


def talk(p, text):
    p.js("document.getElementById('text').focus()")
    p.call("Input.insertText", text=text)
    p.key("Enter", 13, "\r")


ANSWERED = "document.querySelectorAll('#log li.assistant small').length == %d && " \
    "[...document.querySelectorAll('#log li.assistant small')].at(-1).textContent.includes('weights')"  # fmt: skip


def conversation(p, s):
    p.size(1280, 900)
    p.call("Page.navigate", url=s.url + "/")
    check(p.until("document.getElementById('status').textContent == 'live'"), "it finds its server")
    p.js("document.getElementById('most').value = 60")  # two of them fit the context
    talk(p, "derive: free particle, mass 3")
    check(p.until(ANSWERED % 1), "a message is answered", p.js("document.body.innerText"))
    p.until("document.getElementById('send').textContent == 'Send'")
    said = p.js("document.querySelector('#log li.assistant p').textContent")
    talk(p, "<b>bold</b><img src=x onerror=alert(1)>")
    check(p.until(ANSWERED % 2), "a second one too")
    check(p.js("document.querySelectorAll('#log b, #log img').length") == 0 and
          "<b>bold</b>" in p.js("document.getElementById('log').textContent"), "text never becomes markup")  # fmt: skip
    check(p.js("document.querySelectorAll('#log li').length") == 4 and len(said) > 0, "the conversation stands there")
    p.js("[...document.querySelectorAll('li button')].find(b => b.textContent == 'Learn this').click()")
    check(p.until("document.querySelector('#log small').textContent.endsWith('given to learning')") and
          p.js("document.querySelectorAll('#log small button').length") == 2,
          "an answer is given to learning, once")  # fmt: skip
    left_out = "document.getElementById('log').textContent.includes('the oldest messages left out')"
    for _ in range(12):  # until they do not fit the context together
        if p.js(left_out):
            break
        before = p.js("document.querySelectorAll('#log li.assistant').length")
        talk(p, "derive: free particle, mass 3, and then a harmonic oscillator of mass 5, " * 5)
        p.until(ANSWERED % (before + 1))
        p.until("document.getElementById('send').textContent == 'Send'")
    check(p.js("document.querySelectorAll('#log .bad').length") == 0
          and p.js(left_out),
          "a long conversation goes on without its oldest messages", p.js("document.getElementById('log').innerText")[-500:])  # fmt: skip
    p.js("document.getElementById('temperature').value = 2; document.getElementById('most').value = ''")
    for _ in range(8):  # "New" while an answer comes: what it had said belongs to no new conversation
        talk(p, "a long one")
        p.until("document.querySelector('#log li:last-child p')?.textContent.length > 3", 5)
        p.js("window.ran = running != null, document.getElementById('clear').click()")
        p.until("document.getElementById('send').textContent == 'Send'", 10)
        if p.js("window.ran"):
            break
    before = p.js("talk.length")
    p.js("document.getElementById('most').value = 5")
    talk(p, "derive")
    check(p.js("window.ran") and before == 0 and p.until(ANSWERED % 1),
          "a new conversation can begin while an answer comes", p.js("document.getElementById('log').innerText"))  # fmt: skip
    p.until("document.getElementById('send').textContent == 'Send'")
    p.js("document.getElementById('most').value = ''")
    note = "document.querySelector('#log li:last-child small').textContent"
    for _ in range(8):  # an answer may end by itself before the key is pressed
        p.js("document.getElementById('clear').click()")
        talk(p, "a long one")
        p.until("document.getElementById('send').textContent == 'Stop'", 2)
        p.key("Escape", 27)
        p.until("document.getElementById('send').textContent == 'Send'", 10)
        if p.js(note) == "stopped":
            break
    check(p.js(note) == "stopped", "Escape stops an answer", p.js(note))
    check(s.until("requests_running", 0) == 0, "and the engine knows it")


def live_run(p, s):
    figures = "Object.fromEntries([...document.querySelectorAll('dl div')].map(d => " \
        "[d.firstChild.textContent, d.lastChild.textContent]))"  # fmt: skip
    check(p.until("document.querySelectorAll('#loss polyline').length == 1", 60), "the curve of the loss is drawn")
    points = p.js("document.querySelector('#loss polyline').getAttribute('points').split(' ').length")
    check(points >= 2, "with its points", points)
    before = p.js(figures)
    grows = "Number((%s)['weight version']) > %s" % (figures, before["weight version"])
    check(p.until(grows, 60), "the weight version grows before the eyes", before)
    rows = p.js("[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.textContent || c.title))")
    real = {r["number"]: r["chain"] for r in s.ask("/v1/assay/state")[2]["records"]}
    check(len(rows) == 20 and all(len(r[3]) == 12 for r in rows), "20 records with their hashes", rows[:2])
    known = [r for r in rows if int(r[0]) in real]
    check(all(real[int(r[0])].startswith(r[3]) for r in known), "which are those of the journal", known[:2])
    p.shot("wide")
    p.size(1280, 900, dark=True)
    time.sleep(0.3)
    p.shot("dark")
    back = p.js("getComputedStyle(document.body).backgroundColor")
    check(sum(map(int, back[4:-1].split(","))) < 150, "dark when it should be", back)
    p.size(400, 800)
    time.sleep(0.3)
    p.shot("narrow")
    wide = p.js("document.documentElement.scrollWidth")
    check(wide <= 400, "it fits a narrow screen", wide)
    p.js("document.activeElement.blur()")
    seen = set()
    for _ in range(40):
        p.key("Tab", 9)
        seen.add(p.js("document.activeElement.id || document.activeElement.textContent"))
    check({"text", "send", "temperature", "most", "token", "clear", "log", "records"} <= seen,
          "the keyboard reaches everything", seen)  # fmt: skip


def main():
    if not BROWSER:
        print("not run: page: chromium is not installed")
        return 0
    clean()
    os.makedirs("build", exist_ok=True)
    folder = tempfile.mkdtemp(dir="build")
    with Server("--feedback", "--learn", "vectors/tiny/corpus.py", "--batch", 2, "--ctx", 32, "--steps", 100000) as s:
        p = Page(folder)
        try:
            conversation(p, s)
            live_run(p, s)
        finally:
            p.close()
        asked = [e["params"]["request"]["url"] for e in p.events if e.get("method") == "Network.requestWillBeSent"]
        check(asked and all(u.startswith((s.url, "about:")) for u in asked), "it asks nobody else", asked)
        bad = [e["params"] for e in p.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
        # a conversation that does not fit is a 400 before it is asked again without its oldest messages
        bad = [e for e in bad if "favicon" not in json.dumps(e) and "status of 400" not in json.dumps(e)]
        check(not bad, "no error, and nothing that its policy forbids", bad)
    check(s.code == 0, "the server ends well", (s.code, s.err))
    shutil.rmtree(folder, ignore_errors=True)
    clean()
    return REPORT.failed > 0


sys.exit(main())
