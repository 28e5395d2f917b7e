"""A page in headless Chromium, asked by the DevTools protocol over two pipes, which takes no library."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# puts the two ends of the pipes where Chromium looks for them
LAUNCH = """
import os, sys
read, write = (os.dup(os.dup(os.dup(int(n)))) for n in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
SECONDS = 180  # a busy machine draws without a GPU


class Page:
    """One page; `events` holds what the browser told of by itself."""

    def __init__(self, url, profile, size=(1000, 600)):
        out_read, self.write = os.pipe()
        self.read, in_write = os.pipe()
        flags = [
            "--headless=new", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run",
            "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking",
            f"--window-size={size[0]},{size[1]}", "about:blank",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(out_read), str(in_write), CHROMIUM, *flags],
            pass_fds=(out_read, in_write), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(out_read), os.close(in_write)
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        self.go(url)

    def _message(self, until):
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium says nothing")
            self.rest += os.read(self.read, 2**20)
        one, _, self.rest = self.rest.partition(b"\0")
        return json.loads(one)

    def ask(self, method, **params):
        """Call a method of the protocol."""
        self.number += 1
        call = {"id": self.number, "method": method, "params": params}
        if self.session:
            call["sessionId"] = self.session
        os.write(self.write, json.dumps(call).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            said = self._message(until)
            if said.get("id") == self.number:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    def go(self, url):
        """Open a page anew and wait until it is drawn."""
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=url)
        self.wait("document.body && document.body.dataset.ready === 'yes'")
        self.frame()

    def run(self, script):
        """Evaluate a script, a promise awaited."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition):
        """Wait until a condition holds."""
        until = time.monotonic() + SECONDS
        while not self.run(condition):
            assert time.monotonic() < until, condition
            time.sleep(0.05)

    def frame(self):
        """Let what is to be drawn be drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def click(self, x, y):
        """Press and let go of the mouse."""
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def key(self, name, text=""):
        """Press and let go of a key."""
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=name, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=name)

    def shot(self, path):
        """Keep what is to be seen (.png)."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def complaints(self):
        """Errors and warnings of the console, and exceptions."""
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
            if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str(params["args"]))
        return found

    def requests(self):
        """Addresses that were asked for."""
        return [
            e["params"]["request"]["url"]
            for e in self.events
            if e.get("method") == "Network.requestWillBeSent"
        ]

    def close(self):
        """End the browser."""
        self.session = None
        try:
            self.ask("Browser.close")
            self.process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.write), os.close(self.read)
