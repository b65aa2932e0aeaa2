"""A real chromium, driven by its own protocol over a pair of pipes: no library, no port, no network.

Keys and pointer go the way a person's do; console, requests and the accessibility tree are read back.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 90.0  # seconds for one answer of a busy machine
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), " ": (32, " "), "ArrowDown": (40, "")}
DRAWN = """new Promise((done) => {
  const undrawn = ".chart:not(.drawn, details:not([open]) *)";
  const wait = () => document.querySelector(undrawn) ? setTimeout(wait, 50) : done(true);
  wait();
})"""


class Page:
    """One tab. console: what was logged or thrown. requested: every URL asked for."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.console: list[str] = []
        self.requested: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of one command. Raises RuntimeError with the browser's own words."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._last:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def open(self, path: Path) -> None:
        """Load a file, and wait until every chart that is not folded away is drawn."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.evaluate("new Promise((done) => document.readyState === 'complete' ? done() : (onload = done))")
        self.drawn()

    def drawn(self) -> None:
        """Wait until every chart that is not folded away is drawn."""
        self.evaluate(DRAWN)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", "exception"))
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """One key, down and up."""
        code, text = KEYS[key] if key in KEYS else (ord(key.upper()), key)
        about = {"key": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def write(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def emulate(
        self,
        *,
        scheme: str = "light",
        width: int = 1280,
        height: int = 900,
        motion: str = "",
        media: str = "",
    ) -> None:
        """Colour scheme, viewport in CSS pixels, reduced motion and print; charts are waited for."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.drawn()

    def screenshot(self, *, scale: float = 1.0, height: int | None = None) -> bytes:
        """A PNG from the top of the page: of the viewport, or of the first `height` pixels."""
        size = self.evaluate("[innerWidth, innerHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": height or size[1], "scale": scale}
        found = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            read = os.read(self._answers, 1 << 20)
            if not read:
                raise RuntimeError("the browser has ended")
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, message: dict[str, Any]) -> None:
        kind, about = message.get("method"), message.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.requested.append(about["request"]["url"])
        elif kind == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(one.get("value", one)) for one in about["args"]))
        elif kind == "Runtime.exceptionThrown":
            self.console.append(str(about["exceptionDetails"]))
        elif kind == "Log.entryAdded":
            self.console.append(about["entry"]["text"])


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A tab of a fresh browser, which ends with the block. profile: an empty folder."""
    commands_read, commands = os.pipe()
    answers, answers_write = os.pipe()
    # bash, since dash reads file descriptors of one digit only
    line = f'exec "$@" 3<&{commands_read} 4>&{answers_write}'
    process = subprocess.Popen(
        ["bash", "-c", line, "bash", str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(commands_read, answers_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_read)
    os.close(answers_write)
    try:
        yield Page(commands, answers)
    finally:
        process.kill()
        process.wait()
        os.close(commands)
        os.close(answers)
