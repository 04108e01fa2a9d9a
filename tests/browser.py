"""A real browser for tests: Chromium, spoken to through a pipe, as its DevTools do. No driver, no port, no library."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workshop import page

# Elements whose text stands on its ground with less contrast than the 4.5 that the Web Content Accessibility Guidelines
# ask for: how much, and where.
LOW_CONTRAST = """(() => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number)
    const light = colour => channels(colour).slice(0, 3).map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
    const background = element => {
        const colour = getComputedStyle(element).backgroundColor
        return channels(colour)[3] === 0 ? background(element.parentElement) : colour
    }
    return [...document.querySelectorAll('body *')]
        .filter(element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
        .map(element => {
            const [a, b] = [getComputedStyle(element).color, background(element)].map(light).sort((a, b) => a - b)
            return [(b + 0.05) / (a + 0.05), element.outerHTML.slice(0, 100)]
        }).filter(([ratio]) => ratio < 4.5)
})()"""


class Browser:
    """One tab of a running Chromium."""

    def __init__(self, commands: int, answers: int) -> None:
        """Attach to a new tab through the two ends of the pipe."""
        self._commands, self._answers = commands, answers
        self._rest, self._number = b"", 0
        self._session: dict[str, str] = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, "the browser has gone"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def open(self, address: str, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Show a page in a window of a size, by day or by night, and wait until it is loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)
        complete = "document.readyState === 'complete'"
        self.evaluate(f"new Promise(done => {complete} ? done() : addEventListener('load', () => done()))")

    def evaluate(self, script: str) -> Any:
        """Run JavaScript in the page and return what it returns, awaited."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")


@contextmanager
def running(program: str, profile: Path) -> Iterator[Browser]:
    """Start a browser and end it again."""
    # Chromium reads commands from descriptor 3 and writes answers to descriptor 4. Not every sh knows numbers above 9.
    read_command, command = os.pipe()
    answer, write_answer = os.pipe()
    process = subprocess.Popen(
        [
            *("bash", "-c", f'exec "$@" 3<&{read_command} 4>&{write_answer}', "bash", program),
            *(*page.browser_options(profile), "--remote-debugging-pipe", "about:blank"),
        ],
        pass_fds=(read_command, write_answer),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_command)
    os.close(write_answer)
    try:
        yield Browser(command, answer)
    finally:
        os.close(command)
        os.close(answer)
        process.terminate()
        process.wait(timeout=20)
