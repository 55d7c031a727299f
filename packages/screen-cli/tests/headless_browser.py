"""A headless Chromium for tests, steered over a pipe (Chrome DevTools protocol): nothing to install but the browser."""

from __future__ import annotations

import base64
import fcntl
import importlib.util
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome; the variable CHROMIUM names another."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


def find_axe() -> Path | None:
    """Path of the script of axe, which finds what keeps people out of a page; from the package axe-core-python."""
    found = importlib.util.find_spec("axe_core_python")
    return Path(found.origin).with_name("axe.min.js") if found is not None and found.origin else None


class Browser:
    """One page in a headless browser.

    Parameters
    ----------
    executable : str
    width, height : int
        Of the window, CSS pixels.
    """

    def __init__(self, executable: str, width: int = 1280, height: int = 900) -> None:
        self._profile = tempfile.mkdtemp(prefix="browser-")
        to_browser, self._out = _high_pipe()
        self._in, from_browser = _high_pipe()

        def connect() -> None:  # in the child: the protocol wants descriptors 3 and 4
            os.dup2(to_browser, 3)
            os.dup2(from_browser, 4)

        flags = ("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        more = (f"--user-data-dir={self._profile}", f"--window-size={width},{height}", "--no-first-run", "about:blank")
        self._process = subprocess.Popen(
            [executable, *flags, *more],
            preexec_fn=connect,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.messages: list[str] = []  # errors and exceptions of the page
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[still])
        self.resize(width, height)

    def close(self) -> None:
        """End the browser and forget its profile."""
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- what a reader does ------------------------------------------------------------------------

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """Set the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def open(self, path: Path, fragment: str = "") -> float:
        """Open a file and wait until the page says it is ready; return the seconds that took."""
        start = time.perf_counter()
        self.call("Page.navigate", url=path.resolve().as_uri() + fragment)
        self.wait_for("document.documentElement.dataset.ready === 'yes' || !document.getElementById('problem').hidden")
        return time.perf_counter() - start

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript (promises are awaited) and return its JSON value."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["exception"].get("description", str(result)))
        return result["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 60.0) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.run(condition):
                    return
            except RuntimeError:
                pass  # the page is still loading
            time.sleep(0.03)
        raise TimeoutError(f"not true within {seconds} s: {condition}; the page said: {self.messages}")

    def accessibility_errors(self) -> list[list[str]]:
        """Rule and element of everything on the page that axe finds fault with."""
        script = find_axe()
        if script is None:
            raise RuntimeError("axe is not there: pip install axe-core-python")
        self.run(script.read_text(encoding="utf-8"))
        return self.run(
            "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.flatMap("
            "one => one.nodes.map(node => [one.id, node.html.slice(0, 120)])))"
        )

    def click(self, selector: str) -> None:
        """Click the middle of the first element that fits, as a mouse does."""
        x, y = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        )
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Send one mouse event."""
        pressed = kind != "mouseMoved"
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="left" if pressed else "none",
            clickCount=int(pressed),
        )

    def type(self, text: str) -> None:
        """Type into the element that has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release a key such as Tab, Enter, ArrowRight."""
        codes = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "ArrowLeft": 37, "Escape": 27}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=codes[key], **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=codes[key])

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page, as PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def print(self, path: Path) -> None:
        """Print to PDF."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))

    # -- the protocol --------------------------------------------------------------------------------

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the page."""
        return self._call(method, session=self._session, **parameters)

    def _call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _read(self, seconds: float = 90.0) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], seconds)
            chunk = os.read(self._in, 1 << 20) if ready else b""
            if not chunk:
                raise TimeoutError("the browser ended or does not answer")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what went wrong in the page, and every address it asked for."""
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.messages.append(parameters["exceptionDetails"].get("exception", {}).get("description", "exception"))
        if event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.messages.append(str(parameters["args"]))
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


def _high_pipe() -> tuple[int, int]:
    """Make a pipe whose ends are numbered above 10, so that they do not collide with 3 and 4."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high  # type: ignore[return-value]
