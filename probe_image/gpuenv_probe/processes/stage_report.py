"""The probe report of one stage: it grows step by step and is written to the termination log after each step."""

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
    "benchmarks": ("benchmark", "gpu", "dtype"),
}
"""The lists of a probe report in which a new row may replace an old one, with the fields that identify a row.

A new row replaces an old row that has the same values in these fields.
"""


class StageReport:
    """The probe report of one stage, which is published after every change.

    To publish it means to write it to the termination log and to the output file, if the options name them. ``earlier``
    holds the probe reports of earlier stages by stage name; the output file contains them too. ``control`` collects the
    ``control`` values of all partial reports, which are for the parent process and not part of the report.
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
        """Record that the step ``activity`` begins, and publish the report.

        The report then names the step even if the container is killed during it.
        """
        self.activity = activity
        self.report["ended"] = f"during {activity}"
        self.publish()
        if self.options.json:
            _print_json(event="start", stage=self.name, activity=activity)

    def add(self, partial: Partial) -> None:
        """Merge a partial report, which a step returned, into the probe report, and publish the probe report.

        The partial report is also printed, so that it appears in the pod's log.
        """
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
        """Record that the stage has ended, and publish the report.

        The report is complete if ``why`` is None; otherwise the stage has ended early, for the reason ``why``.
        """
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
        """Write the report as it is now to the termination log and the output file, if the options name them."""
        if self.options.termination_log:
            overwrite(self.options.termination_log, codec.encode(self.report))
        if self.options.out:
            reports = {**self.earlier, self.name: codec.normalise(self.report)}
            overwrite(self.options.out, json.dumps(reports, indent=1) + "\n")


def merge(report: dict[str, Any], partial: dict[str, Any]) -> None:
    """Merge a partial report into ``report``, which is changed in place.

    In the lists that ``_ROW_KEYS`` names, new rows are appended or replace old ones. The rows of GPUs are merged by
    index. Other lists get the items that they lack, and objects are merged field by field. Any other value replaces the
    old one. A failure also replaces the old one as a whole, because a mixture of two failures would describe neither.
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


def _put_row(rows: list[dict[str, Any]], row: dict[str, Any], key: tuple[str, ...]) -> None:
    """Append ``row`` to ``rows``, or put it in the place of the row with the same values in the fields ``key``."""
    identity = [row.get(name) for name in key]
    for number, known in enumerate(rows):
        if [known.get(name) for name in key] == identity:
            rows[number] = row
            return
    rows.append(row)


def _merge_gpus(gpus: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    """Merge each row of ``more`` into the row of ``gpus`` with the same index, or append it if there is none."""
    by_index = {gpu["index"]: gpu for gpu in gpus}
    for gpu in more:
        if gpu["index"] in by_index:
            merge(by_index[gpu["index"]], gpu)
        else:
            gpus.append(gpu)


def describe(partial: Partial) -> list[str]:
    """Return a partial report as lines of text for people who read the pod's log.

    Each kernel step, each benchmark figure and each other part, such as the facts about the driver, is one line.
    """
    lines = []
    for step in partial.get("steps", ()):
        what = " ".join(str(step[name]) for name in ("name", "dtype") if step.get(name))
        why = (step.get("error") or {}).get("message", "") or step.get("detail", "")
        lines.append(f"GPU {step.get('gpu', 0)}: {what}: {step['status']} {why}".rstrip())
    for row in partial.get("benchmarks", ()):
        measured = f"{row.get('median')} {row['unit']}"
        figure = measured if row.get("median") is not None else f"not measured: {row.get('detail', '')}"
        name = f"{row['benchmark']} {row.get('dtype', '')}".rstrip()
        lines.append(f"GPU {row.get('gpu', 0)}: {name}: {figure}")
    names = [name for name in ("container", "driver", "torch", "commands", "gpus") if partial.get(name)]
    return lines + [f"{name}: {json.dumps(partial[name])}" for name in names]


def overwrite(path: str, text: str) -> None:
    """Replace the content of a file by ``text``, so that an encoded report in the file is complete at every moment.

    The usual rename is impossible, because the termination log is a bind mount. The new text is therefore written over
    the old one, and the file is cut to length afterwards. In between, the new report may be followed by the rest of a
    longer old one, which ``codec.decode`` ignores. A file that cannot be written is reported on stderr.
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
