"""Shows the user the progress of a slow action, such as a download, in one line on stderr."""

import sys
import threading
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console

TERMINAL_SECONDS: Final = 0.5
LOG_SECONDS: Final = 15.0


def say(text: str) -> None:
    """Print one line on stderr for the waiting user."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the user waits for this line


class Progress:
    """A line on stderr that shows the progress of an action while this context manager is active.

    On a terminal, the line is overwritten in place; in a log, it is repeated every 15 s. ``what`` describes the action.
    ``usual`` is its usual duration as text, or "" if that is not known.
    """

    def __init__(self, what: str, usual: str = "") -> None:
        self._what: Final = what
        self._usual: Final = f", usually {usual}" if usual else ""
        self._detail = ""
        self._console: Final = Console(stderr=True, highlight=False, soft_wrap=True)
        self._terminal: Final = self._console.is_terminal
        self._done = threading.Event()
        self._started = 0.0
        self._thread = threading.Thread(target=self._repeat, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if not self._terminal:
            self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._detail = "done" if error is None else "failed"
        self._write(last=True)

    def update(self, detail: str) -> None:
        self._detail = detail

    def _repeat(self) -> None:
        while not self._done.wait(TERMINAL_SECONDS if self._terminal else LOG_SECONDS):
            self._write()

    def _write(self, *, last: bool = False) -> None:
        seconds = int(time.monotonic() - self._started)
        clock = f"{seconds // 60}:{seconds % 60:02d}"
        detail = f": {self._detail}" if self._detail else ""
        text = f"{self._what}{detail} ({clock}{'' if last else self._usual})"
        if self._terminal:
            width = self._console.width - 1
            sys.stderr.write(f"\r\x1b[2K{text[:width]}" + ("\n" if last else ""))
            sys.stderr.flush()
        else:
            say(text)
