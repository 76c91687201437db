"""``gpuenv sandbox``: runs a real control plane, simulated GPU nodes and the operator on this machine."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import click

from gpuenv.api.foreign_text import one_line
from gpuenv.cli.output.sandbox_view import ProgressView
from gpuenv.cli.shared import durations, exit_codes, forms, options
from gpuenv.cli.shared.errors import BadInput, CommandError
from gpuenv.cli.shared.forms import Form
from gpuenv.controller.kube.errors import ApiError
from gpuenv_sandbox.control_plane.cluster import ControlPlane, ControlPlaneError
from gpuenv_sandbox.control_plane.command_lines import LOOPBACK
from gpuenv_sandbox.control_plane.supervised import ProcessError
from gpuenv_sandbox.programs.catalogue import BinaryError
from gpuenv_sandbox.programs.progress import say
from gpuenv_sandbox.scenario.environments import EXAMPLE, Object, read_environments
from gpuenv_sandbox.scenario.read import DEFAULT, read_scenario
from gpuenv_sandbox.scenario.yaml_files import ScenarioError
from gpuenv_sandbox.session import SandboxError, Session

CHECK_SECONDS: Final = 1.0
"""Seconds between two tests whether all processes of the sandbox still run, while it waits for Ctrl-C."""


@click.command("sandbox")
@click.option(
    "--scenario", "scenario_file", type=click.Path(path_type=Path), default=DEFAULT, metavar="FILE",
    help="Which nodes there are and what is broken (docs/scenario.md). Default: a dozen nodes of all kinds.",
)  # fmt: skip
@click.option(
    "--environment", "environment_files", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
    help="GPUEnvironments to apply (repeatable). Default: the scenario's, else examples/pytorch-2.9.yaml.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="End when all is settled (exit code 0), or not in time (1).")
@options.timeout("5m", least=1, text="How long it may take, from the first node on, until all is settled")
@click.option(
    "--kubeconfig-out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write the administrator's kubeconfig there; removed at the end.",
)  # fmt: skip
@forms.option(Form.TABLE, Form.JSON, Form.YAML)
def command(
    *,
    scenario_file: Path,
    environment_files: tuple[Path, ...],
    once: bool,
    timeout: float,
    kubeconfig_out: Path | None,
    form: str,
) -> int:
    """Start a real Kubernetes control plane with simulated GPU nodes and watch gpuenv judge them.

    Needs no root and no Docker. When it ends, only the programs in gpuenv's cache stay.
    """
    try:
        loaded = read_scenario(scenario_file)
        paths = environment_files or loaded.environments or (EXAMPLE,)
        chosen = read_environments(paths, dict(loaded.timeouts))
        if kubeconfig_out is not None and kubeconfig_out.exists():
            raise ScenarioError(f"{kubeconfig_out}: exists already; give --kubeconfig-out another path")
    except ScenarioError as error:
        raise BadInput(str(error)) from error
    _reach_loopback()
    # Until the event loop has its own handlers, these signals raise an exception, as Ctrl-C does, so that the sandbox
    # is cleaned up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_signalled)
    try:
        say("starting etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback")
        began = time.monotonic()
        with ControlPlane() as cluster, _written(cluster.admin_kubeconfig, kubeconfig_out) as kubeconfig:
            say(f"control plane ready in {time.monotonic() - began:.1f} s")
            session = Session(cluster, loaded, say)
            session.install()
            view = ProgressView(session, cluster, loaded.nodes, kubeconfig, form)
            return asyncio.run(_run(session, chosen, view, timeout, once))
    except (BinaryError, ControlPlaneError, ProcessError, SandboxError, ApiError) as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


async def _run(
    session: Session,
    chosen: list[Object],
    view: ProgressView,
    limit: float,
    once: bool,
) -> int:
    """Run a sandbox with the environments ``chosen``, and return the exit code of the command.

    Wait until all nodes have their verdicts, but at most ``limit`` seconds, and print the verdicts. If ``once`` is
    True, end the sandbox then, else keep it running until Ctrl-C. The exit code is FAILED if a verdict is still missing
    after ``limit`` seconds, and 128 plus the number of the signal if a signal ended the wait.
    """
    ended = _end_on_signals()
    settled = False
    try:
        async with session.run(chosen) as observer:
            with view.live():
                settled = await session.settle(observer, limit, lambda: view.show(observer))
            view.result(observer)
            if settled:
                say(f"settled after {session.elapsed:.0f} s")
            else:
                why = one_line("; ".join(observer.unsettled())) or "there is no environment"
                say(f"not settled after {durations.show(limit)}: {why}")
            if not once:
                view.commands(observer)
            while not once:
                session.check()
                await asyncio.sleep(CHECK_SECONDS)
    except asyncio.CancelledError:
        if not ended:
            raise
        if not settled:
            return ended[0]
    return exit_codes.OK if settled else exit_codes.FAILED


def _end_on_signals() -> list[int]:
    """Make SIGINT, SIGTERM and SIGHUP cancel the calling task.

    Return a list, empty at first, to which each signal appends an exit code: 128 plus the number of the signal.
    """
    task, loop, codes = asyncio.current_task(), asyncio.get_running_loop(), list[int]()
    assert task is not None

    def end(number: int) -> None:
        codes.append(128 + number)
        if len(codes) == 1:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    return codes


@contextlib.contextmanager
def _written(kubeconfig: Path, copy: Path | None) -> Iterator[Path]:
    """Copy the kubeconfig to the path ``copy``, and remove the copy when this context ends.

    Yield the path that messages to the user name: that of the copy, or of the original if ``copy`` is None.
    """
    if copy is None:
        yield kubeconfig
        return
    try:
        shutil.copy(kubeconfig, copy)
    except OSError as error:
        raise SandboxError(f"{copy}: cannot be written ({error.strerror}); give another path") from error
    try:
        yield copy.resolve()
    finally:
        copy.unlink(missing_ok=True)


def _reach_loopback() -> None:
    """Set ``no_proxy`` so that this process and its children use no proxy for the API server on loopback."""
    for name in ("no_proxy", "NO_PROXY"):
        known = os.environ.get(name, "")
        if known != "*":
            os.environ[name] = f"{known},{LOOPBACK}".lstrip(",")


def _exit_signalled(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)
