"""A real Chromium, driven through its own debugging pipe: no further package is needed.

The protocol is Chrome's DevTools protocol: JSON messages that end in a NUL byte, on file descriptors 3 (to the browser) and
4 (from it).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120.0  # seconds for one answer; a loaded machine is slow
PHONE, DESK = (390, 844), (1200, 900)


def found() -> str | None:
    """Return the path of a browser, or `None`."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a headless browser; `faults` collects everything that its console and its security policy complain of."""

    def __init__(self, process: subprocess.Popen[bytes], to: int, back: int) -> None:
        self._process, self._to, self._back = process, to, back
        self._buffer, self._last = b"", 0
        self.faults: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.requests: list[str] = []

    def open(self, path: Path) -> None:
        """Load a file and wait until it is there."""
        self.faults, self.requests = [], []
        self.call("Page.navigate", url=path.resolve().as_uri())
        end = monotonic() + PATIENCE
        while self.value("document.readyState") != "complete":
            assert monotonic() < end, "the page did not load"

    def look(self, *, size: tuple[int, int] = DESK, dark: bool = False, media: str = "screen") -> None:
        """Show the page as a phone or a desk does, light or dark, on a screen or in print."""
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def value(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, named as the page sees it: `ArrowRight`, `Tab`, `Enter`."""
        codes = {"ArrowRight": 39, "ArrowLeft": 37, "Tab": 9, "Enter": 13}
        more = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], **more)

    def accessible(self) -> list[dict[str, Any]]:
        """Return what a screen reader is told: the nodes of the accessibility tree that are not ignored."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [node for node in nodes if not node["ignored"]]

    def picture(self, *, whole: bool = True) -> bytes:
        """Return a PNG of the page."""
        return base64.b64decode(
            self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png", **self._clip(whole))["data"]
        )

    def pdf(self) -> bytes:
        """Return the page as it is printed, A4."""
        return base64.b64decode(self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call the page's part of the protocol."""
        return self._call(method, self._session, **parameters)

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {**size, "scale": 1}}

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], PATIENCE)
            assert ready, "the browser does not answer"
            part = os.read(self._back, 1 << 20)
            assert part, f"the browser ended with code {self._process.poll()}"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.faults.append(str(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.faults.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.faults.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


@contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """Start the browser with an empty profile, and end it."""
    program = found()
    assert program is not None
    # The browser expects exactly descriptors 3 and 4; high ones can be put there without overwriting each other.
    (read_by, to), (back, written_by) = _high(os.pipe()), _high(os.pipe())
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-extensions",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
    ]
    process = subprocess.Popen(
        [program, *options],
        pass_fds=(3, 4),
        preexec_fn=lambda: (os.dup2(read_by, 3), os.dup2(written_by, 4)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_by)
    os.close(written_by)
    try:
        browser = Browser(process, to, back)
        yield browser
        browser._call("Browser.close")
    finally:
        os.close(to)
        os.close(back)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _high(pipe: tuple[int, int]) -> tuple[int, int]:
    one, two = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pipe)
    for end in pipe:
        os.close(end)
    return one, two


def main() -> None:
    """Take README's picture: `python -m tests.browser plan/report.html examples/report.png`."""
    page, target = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as profile, started(Path(profile)) as browser:
        browser.look(size=(1000, 1330))
        browser.open(page)
        target.write_bytes(browser.picture(whole=False))


if __name__ == "__main__":
    main()
