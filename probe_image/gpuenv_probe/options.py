"""What one run of the probe was asked to do."""

from __future__ import annotations

from typing import NamedTuple

from gpuenv_probe.processes.command_checks import CommandCheck


class Options(NamedTuple):
    """What one run of the probe was asked for; ``deadline`` in seconds a stage."""

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
