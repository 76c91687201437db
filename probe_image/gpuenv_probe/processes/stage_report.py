"""One stage's report while it grows."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from gpuenv_probe import codec
from gpuenv_probe.options import Options
from gpuenv_probe.step import Partial

_KEYS = {"steps": ("name", "gpu", "dtype"), "commands": ("name",), "benchmarks": ("kernel", "gpu", "dtype")}
"""What tells the rows of a table apart: a row that comes again takes the place of the first."""


class StageReport:
    """One stage's report as it grows, and everybody who wants to see it."""

    def __init__(self, name: str, options: Options, earlier: dict[str, Any]) -> None:
        self.name = name
        self.options = options
        self.earlier = earlier
        self.report: dict[str, Any] = {
            "schema": codec.SCHEMA,
            "stage": name,
            "run": options.run,
            "complete": False,
            "ended": "starting",
        }
        self.control: dict[str, Any] = {}
        self.activity = ""

    def start(self, activity: str) -> None:
        """A step begins: should everything be killed now, the report says during what."""
        self.activity = activity
        self.report["ended"] = f"during {activity}"
        self.publish()
        if self.options.json:
            _print_json(event="start", stage=self.name, activity=activity)

    def add(self, partial: Partial) -> None:
        """A step has ended: its piece goes into the report."""
        partial = dict(partial)
        self.control.update(partial.pop("control", {}))
        merge(self.report, partial)
        self.publish()
        if self.options.json:
            _print_json(event="partial", stage=self.name, partial=partial)
        else:
            for line in describe(partial):
                print(line, flush=True)

    def end(self, why: str | None) -> None:
        """The stage is over: complete when ``why`` is None."""
        self.report["complete"] = why is None
        self.report.pop("ended", None)
        if why is not None:
            self.report["ended"] = why
        self.publish()
        if self.options.json:
            _print_json(event="report", stage=self.name, report=codec.normalise(self.report))
        elif why is not None:
            print(f"{self.name}: ended early: {why}", flush=True)

    def publish(self) -> None:
        """Writes the termination message and the output file, whatever is known so far."""
        if self.options.termination_log:
            overwrite(self.options.termination_log, codec.encode(self.report))
        if self.options.out:
            reports = {**self.earlier, self.name: codec.normalise(self.report)}
            overwrite(self.options.out, json.dumps(reports, indent=1) + "\n")


def merge(report: dict[str, Any], partial: dict[str, Any]) -> None:
    """Adds a piece to ``report``: tables and lists grow, GPUs are matched by index, objects merge.

    The rest replaces, failures too: half of one and half of another would be no failure of anybody's.
    """
    for name, value in partial.items():
        known = report.get(name)
        if name in _KEYS:
            for row in value:
                _put(report.setdefault(name, []), row, _KEYS[name])
        elif name == "gpus":
            _merge_gpus(report.setdefault(name, []), value)
        elif isinstance(value, list) and isinstance(known, list):
            known.extend(item for item in value if item not in known)
        elif isinstance(value, dict) and isinstance(known, dict) and "layer" not in value:
            merge(known, value)
        else:
            report[name] = value


def _put(table: list[dict[str, Any]], row: dict[str, Any], key: tuple[str, ...]) -> None:
    place = [row.get(name) for name in key]
    for number, known in enumerate(table):
        if [known.get(name) for name in key] == place:
            table[number] = row
            return
    table.append(row)


def _merge_gpus(gpus: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    by_index = {gpu["index"]: gpu for gpu in gpus}
    for gpu in more:
        if gpu["index"] in by_index:
            merge(by_index[gpu["index"]], gpu)
        else:
            gpus.append(gpu)


def describe(partial: Partial) -> list[str]:
    """One line a finding, for people who read the pod's log."""
    lines = []
    for step in partial.get("steps", ()):
        what = " ".join(str(step[name]) for name in ("name", "dtype") if step.get(name))
        why = (step.get("error") or {}).get("message", "") or step.get("detail", "")
        lines.append(f"GPU {step.get('gpu', 0)}: {what}: {step['status']} {why}".rstrip())
    for row in partial.get("benchmarks", ()):
        figure = f"{row['median']} {row['unit']}" if row.get("median") is not None else row.get("detail", "")
        lines.append(f"GPU {row.get('gpu', 0)}: {row['kernel']} {row.get('dtype', '')}: {figure}")
    names = [name for name in ("container", "driver", "torch", "commands", "gpus") if partial.get(name)]
    return lines + [f"{name}: {json.dumps(partial[name])}" for name in names]


def overwrite(path: str, text: str) -> None:
    """Puts ``text`` in place of the file's content without ever leaving it empty.

    The termination log is a mount of its own: it cannot be replaced by a rename. Written first and cut to
    length after, it holds a whole report at every moment (the codec ignores what follows a report's end).
    """
    data = text.encode("utf-8")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        print(f"gpuenv-probe: cannot write {path}: {error.strerror}", file=sys.stderr)
        return
    try:
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
    except OSError as error:
        print(f"gpuenv-probe: cannot write {path}: {error.strerror}", file=sys.stderr)
    finally:
        os.close(descriptor)


def _print_json(**event: Any) -> None:
    print(json.dumps(event), flush=True)
