"""Says what is going on: nothing that the workshop runs is silent for more than ten seconds."""

import threading
import time
from types import TracebackType

from rich.console import Console

SECONDS_OF_SILENCE = 8.0


class Progress:
    """On a terminal a line that moves; elsewhere a line for each step, and another one when a step takes long."""

    def __init__(self, console: Console, silence: float = SECONDS_OF_SILENCE) -> None:
        """Say it on a console; begin when entered."""
        self._console, self._silence = console, silence
        self._status = console.status("Starting …") if console.is_terminal else None
        self._what, self._began = "Starting …", time.monotonic()
        self._spoken = threading.Event()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Progress":
        """Begin."""
        if self._status:
            self._status.start()
        self._ticker.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """End."""
        self._over.set()
        self._spoken.set()
        self._ticker.join()
        if self._status:
            self._status.stop()

    def step(self, what: str) -> None:
        """Name the next step."""
        self._began = time.monotonic()
        self.detail(what)
        if not self._status:
            self._console.print(what, markup=False, soft_wrap=True)
            self._spoken.set()

    def detail(self, what: str) -> None:
        """Say how far a step is, where that costs no line."""
        self._what = what
        if self._status:
            self._status.update(what)

    def _tick(self) -> None:
        while not self._over.is_set():
            if self._spoken.wait(self._silence):
                self._spoken.clear()
                continue
            told = f"{self._what} {time.monotonic() - self._began:.0f} s"
            if self._status:
                self._status.update(told)
            else:
                self._console.print(told, markup=False, soft_wrap=True)
