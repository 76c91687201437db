"""The options of the probe, as its command line and environment variables give them."""

from __future__ import annotations

from typing import NamedTuple

from gpuenv_probe.processes.command_checks import CommandCheck


class Options(NamedTuple):
    """The options of one execution of the probe.

    ``stages`` are the stages to run, ``facts`` and ``kernels``. ``run`` is the run id that the operator gave this probe
    pod, or "" without an operator. ``termination_log`` is the file to write the encoded probe report to, or None to
    write none. ``deadline`` is the seconds that each stage may take, or None for the stage's default. ``device`` is
    ``cuda``, or ``cpu`` to run the kernels without a GPU. ``profile`` is the benchmark profile: ``None``, ``Quick`` or
    ``Standard``. ``sharing`` is how the GPUs are shared between pods, such as ``time-slicing``, or "" if they are not.
    ``compile`` is true to run the kernel that uses torch.compile. ``imports`` are the modules of ``checks.imports``,
    and ``checks`` the commands of ``spec.checks.commands``. ``out`` is the file to write the complete probe reports to as JSON,
    or None to write none. ``json`` is true to print JSON lines instead of text.
    """

    stages: tuple[str, ...]
    run: str = ""
    termination_log: str | None = None
    deadline: float | None = None
    device: str = "cuda"
    profile: str = "None"
    sharing: str = ""
    compile: bool = False
    imports: list[str] = []  # noqa: RUF012 - never changed in place
    checks: list[CommandCheck] = []  # noqa: RUF012 - never changed in place
    out: str | None = None
    json: bool = False
