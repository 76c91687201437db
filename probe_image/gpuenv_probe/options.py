"""The options of one run of the probe."""

from __future__ import annotations

from typing import NamedTuple

from gpuenv_probe.processes.command_checks import CommandCheck


class Options(NamedTuple):
    """The options of one run of the probe.

    ``run`` is the id that the operator gave the run. ``termination_log`` is the file for the encoded report.
    ``deadline`` is the seconds that each stage may take, or None for the default. ``profile`` is the benchmark profile.
    ``sharing`` is how the GPUs are shared between pods, such as ``time-slicing``, or "" if they are not. ``imports``
    are the modules of ``expect.imports``. ``out`` is a file for the complete reports as JSON. ``json`` is true to print
    JSON lines instead of text.
    """

    stages: tuple[str, ...]
    run: str = ""
    termination_log: str | None = None
    deadline: float | None = None
    device: str = "cuda"
    profile: str = "Off"
    sharing: str = ""
    compile: bool = False
    imports: list[str] = []  # noqa: RUF012 - never changed in place
    checks: list[CommandCheck] = []  # noqa: RUF012 - never changed in place
    out: str | None = None
    json: bool = False
