"""One line a log entry, whatever is logged: text for people, JSON for machines."""

import asyncio
import json
import logging
import sys
import traceback
from typing import Any, Final

from gpuenv.controller.settings import LogFormat
from gpuenv.plan.objects.times import show_time

LEVELS: Final = ("debug", "info", "warning", "error")
FRAMES: Final = 6
"""Frames of an exception that are kept: the innermost ones."""


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00Z INFO gpuenv.controller.lease: holding lease ...``."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{show_time(record.created)} {record.levelname} {record.name}: {_flat(record.getMessage())}"
        return f"{line} | {_exception(record)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line:

    ``time``, ``level``, ``logger``, ``message``, and ``exception`` where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": show_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _flat(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = _exception(record)
        return json.dumps(entry, ensure_ascii=False)


class Retries(logging.Filter):
    """Kopf calls each failed attempt an error, though it tries again: that is a warning."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("kopf.") and "will retry" in record.getMessage():
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def configure(log_format: LogFormat, level: str) -> None:
    """Replaces all handlers of the root logger by one on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(Retries())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Kopf says at `info` that each handler succeeded, which here means: a cache took an event.
    if level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)
        logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The event loop's exception handler: what a forgotten task raised must not vanish."""
    error = context.get("exception")
    logging.getLogger("asyncio").error("%s", context.get("message"), exc_info=error)


def _flat(text: str) -> str:
    return " ".join(text.split("\n"))


def _exception(record: logging.LogRecord) -> str:
    assert record.exc_info is not None
    kind, error, trace = record.exc_info
    frames = traceback.extract_tb(trace)[-FRAMES:]
    where = " > ".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    name = kind.__name__ if kind is not None else "exception"
    return f"{name}: {_flat(str(error))} (at {where})"
