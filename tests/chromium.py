"""A real browser for tests: Chromium without a window, spoken to by its DevTools protocol through two pipes, so that nothing but it is needed."""

import base64
import json
import os
import shutil
import subprocess
import time

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE_SEC = 60


class Chromium:
    """One page of one browser.

    log: what its console said, errors that scripts threw, and what the browser itself complained of; requests: addresses it asked for
    """

    def __init__(self, program, folder):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        words = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={folder}"]
        words += ["--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
        shell = ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", *words, "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(shell, pass_fds=(to_browser, from_browser), stdin=quiet, stdout=quiet, stderr=quiet)
        os.close(to_browser)
        os.close(from_browser)
        os.set_blocking(self._read, False)
        self._number, self._session, self._rest, self._events = 0, None, b"", []
        self.log, self.requests = [], []
        target = next(one for one in self._ask("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")

    def open(self, path, width, dark=False):
        """Show a file in a window `width` wide."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.log, self.requests, self._events = [], [], []
        self._ask("Page.navigate", url=path.resolve().as_uri())
        self._wait(lambda: "Page.loadEventFired" in self._events)

    def value(self, expression):
        """The value of a JavaScript expression in the page."""
        found = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self):
        """-> bytes of a PNG of the whole page"""
        return base64.b64decode(self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def close(self):
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": self._session} if self._session else {})
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._write, data) :]
        answers = []
        self._wait(lambda: answers, answers, self._number)
        assert "error" not in answers[0], answers[0]
        return answers[0]["result"]

    def _wait(self, is_there, answers=None, number=None):
        """Read what the browser says until is_there()."""
        end = time.monotonic() + PATIENCE_SEC
        while not is_there():
            assert time.monotonic() < end and self._process.poll() is None, "the browser does not answer"
            try:
                data = os.read(self._read, 1 << 20)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            *messages, self._rest = (self._rest + data).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    if message["id"] == number:
                        answers.append(message)
                else:
                    self._note(message["method"], message["params"])

    def _note(self, event, params):
        self._events.append(event)
        if event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.log.append(params)
        if event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    found = Chromium(program, tmp_path_factory.mktemp("browser"))
    yield found
    found.close()
