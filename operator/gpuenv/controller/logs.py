"""Sets up and formats the log: one line for each entry, as text for people or as JSON for machines."""

import asyncio
import json
import logging
import sys
import traceback
from typing import Any, Final

import aiohttp

from gpuenv.api.foreign_text import escaped_json, one_line
from gpuenv.controller.options import LogFormat
from gpuenv.plan.objects.times import show_time

FRAMES: Final = 6
"""How many stack frames of an exception are logged. They are the innermost ones."""


class TextFormatter(logging.Formatter):
    """Formats an entry as a line such as ``2026-01-31T12:00:00Z INFO gpuenv.controller.lease: holding lease ...``."""

    def format(self, record: logging.LogRecord) -> str:
        line = (
            f"{show_time(record.created)} {record.levelname} {record.name}: {one_line(record.getMessage())}"
        )
        return f"{line} | {_exception(record)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """Formats an entry as a JSON object with ``time``, ``level``, ``logger``, ``message`` and any ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": show_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": one_line(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = _exception(record)
        return escaped_json(json.dumps(entry, ensure_ascii=False))


class KopfFailures(logging.Filter):
    """A filter that turns Kopf's errors into warnings: Kopf repeats what failed, or gpuenv starts its watches again.

    The exceptions of its tasks are left out. gpuenv logs in one line why a watch starts again.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("kopf."):
            message = record.getMessage()
            if " has failed: " in message:
                record.exc_info = None
            if "will retry" in message or " has failed: " in message:
                record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


def configure(log_format: LogFormat, level: str) -> None:
    """Make all loggers write to standard error only, as text or JSON, and only entries of ``level`` or above."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(KopfFailures())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Kopf logs each handled event at `info`, which is every change of every node and pod.
    if level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)
        logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception that no code has caught, for example in a task. The event loop calls this function.

    While the interpreter ends, nothing can be logged any more: it has already taken ``open`` away. A connection that broke
    is no error here: if several of Kopf's inner tasks fail for one reason, such as an API server that goes away, Kopf
    passes on only one of their exceptions and drops the other tasks.
    """
    if sys.is_finalizing():
        return
    error = context.get("exception")
    if isinstance(error, aiohttp.ClientError):
        logging.getLogger("asyncio").info("a request failed beside others: %s", one_line(str(error)))
        return
    logging.getLogger("asyncio").error("%s", context.get("message"), exc_info=error)


def _exception(record: logging.LogRecord) -> str:
    assert record.exc_info is not None
    kind, error, trace = record.exc_info
    frames = traceback.extract_tb(trace)[-FRAMES:]
    where = " > ".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    name = kind.__name__ if kind is not None else "exception"
    return f"{name}: {one_line(str(error))} (at {where})"
