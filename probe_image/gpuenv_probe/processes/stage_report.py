"""The probe report of one stage: it grows step by step and is published after each step."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from gpuenv_probe import codec
from gpuenv_probe.options import Options
from gpuenv_probe.step import Partial

_ROW_KEYS = {
    "steps": ("name", "gpu", "dtype"),
    "commands": ("name",),
    "benchmarks": ("kernel", "gpu", "dtype"),
}
"""The fields that identify a row in each of these lists of the report.

A new row replaces an old row that has the same values in these fields.
"""


class StageReport:
    """The probe report of one stage, published as termination message, file and log after every change.

    ``earlier`` holds the reports of the stages before this one, for the output file. ``control`` collects the values
    that steps return for the parent process and that are not part of the report.
    """

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
        """Record that a step begins, so that the report names it if the whole container is killed now."""
        self.activity = activity
        self.report["ended"] = f"during {activity}"
        self.publish()
        if self.options.json:
            _print_json(event="start", stage=self.name, activity=activity)

    def add(self, partial: Partial) -> None:
        """Merge a partial report, which a step returned, into the report, and publish the report."""
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
        """Record that the stage has ended: completely if ``why`` is None, otherwise early, for the reason ``why``."""
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
        """Write the termination message and the output file with everything that is known so far."""
        if self.options.termination_log:
            overwrite(self.options.termination_log, codec.encode(self.report))
        if self.options.out:
            reports = {**self.earlier, self.name: codec.normalise(self.report)}
            overwrite(self.options.out, json.dumps(reports, indent=1) + "\n")


def merge(report: dict[str, Any], partial: dict[str, Any]) -> None:
    """Merge a partial report into ``report``, which is changed in place.

    Rows are added to the lists in ``_ROW_KEYS``, and items to other lists. GPUs are merged by index, and objects field
    by field. Other values are replaced. Failures are also replaced as a whole, because a mixture of two failures would
    describe neither.
    """
    for name, value in partial.items():
        known = report.get(name)
        if name in _ROW_KEYS:
            for row in value:
                _put_row(report.setdefault(name, []), row, _ROW_KEYS[name])
        elif name == "gpus":
            _merge_gpus(report.setdefault(name, []), value)
        elif isinstance(value, list) and isinstance(known, list):
            known.extend(item for item in value if item not in known)
        elif isinstance(value, dict) and isinstance(known, dict) and "layer" not in value:
            merge(known, value)
        else:
            report[name] = value


def _put_row(table: list[dict[str, Any]], row: dict[str, Any], key: tuple[str, ...]) -> None:
    """Append ``row`` to ``table``, or replace the row that has the same values in the fields ``key``."""
    identity = [row.get(name) for name in key]
    for number, known in enumerate(table):
        if [known.get(name) for name in key] == identity:
            table[number] = row
            return
    table.append(row)


def _merge_gpus(gpus: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    """Merge each row of ``more`` into the row of ``gpus`` with the same index, or append it to ``gpus``."""
    by_index = {gpu["index"]: gpu for gpu in gpus}
    for gpu in more:
        if gpu["index"] in by_index:
            merge(by_index[gpu["index"]], gpu)
        else:
            gpus.append(gpu)


def describe(partial: Partial) -> list[str]:
    """Return one line of text per result in a partial report, for people who read the pod's log."""
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
    """Replace the content of a file in such a way that it contains a complete report at every moment.

    The usual rename is impossible, because the termination log is a bind mount. The text is therefore written over the
    old text, and the file is cut to length afterwards. In between, the codec ignores the rest of the old report behind
    the end of the new one.
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
