"""A headless Chromium, driven over its DevTools pipe (file descriptors 3 and 4, one JSON message per NUL)."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from tests.databases import PATIENCE

_CUT_OFF = "net::ERR_NETWORK_CHANGED"


class Browser:
    """One page. `said` holds what its console said, `requested` every URL that it asked for."""

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", program, *options],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._unread = b""
        self._last = 0
        self._session: str | None = None
        self.said: list[str] = []
        self.requested: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "Audits"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)
        self._process.terminate()
        self._process.wait(PATIENCE)
        os.close(self._read)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            arrived = os.read(self._read, 1 << 16)
            assert arrived, f"the browser ended with {self._process.wait(10)}"
            self._unread += arrived
        message, _, self._unread = self._unread.partition(b"\0")
        received: dict[str, Any] = json.loads(message)
        self._note(received.get("method", ""), received.get("params", {}))
        return received

    def _note(self, event: str, about: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requested.append(about["request"]["url"])
        elif event == "Audits.issueAdded" and about["issue"]["code"] == "ContentSecurityPolicyIssue":
            self.said.append(json.dumps(about["issue"]["details"]))
        elif event in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.said.append(json.dumps(about))

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        os.write(
            self._write, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while (received := self._receive()).get("id") != self._last:
            pass
        assert "error" not in received, received
        result: dict[str, Any] = received["result"]
        return result

    def open(self, url: str, until: str = "true", seconds: float = PATIENCE) -> None:
        """Go there, and wait until an expression is true.

        Chromium gives up what it is loading when a network of the machine comes or goes, and other tests make some:
        then once more.
        """
        deadline = time.monotonic() + seconds
        while True:
            cut_off = self._call("Page.navigate", url=url).get("errorText") == _CUT_OFF
            while not (cut_off := cut_off or any(_CUT_OFF in line for line in self.said)) and not self.evaluate(until):
                assert time.monotonic() < deadline, f"not within {seconds} s: {until}\n{self.said}"
                time.sleep(0.1)
            if not cut_off:
                return
            self.said = [line for line in self.said if _CUT_OFF not in line]

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, script: str, seconds: float = PATIENCE) -> Any:
        """Evaluate until the value is true, and return it."""
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(script)):
            assert time.monotonic() < deadline, f"not within {seconds} s: {script}\n{self.said}"
            time.sleep(0.1)
        return value

    def resize(self, width: int, height: int) -> None:
        """Give the page a window of so many pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True)

    def click(self, selector: str) -> None:
        """Click the first element that matches, once it is there."""
        self.wait_for(f"!!document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.wait_for(f"!!document.querySelector({json.dumps(selector)})")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self._call("Input.insertText", text=text)
