"""``gpuenv sandbox``: a real control plane, simulated GPU nodes and the operator, on this machine."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NoReturn

import click
from rich.console import Console, RenderableType
from rich.live import Live

from gpuenv.controller.kube.client import ApiError
from gpuenv_sandbox import display
from gpuenv_sandbox.control_plane.components import LOOPBACK
from gpuenv_sandbox.control_plane.control_plane import ControlPlane, ControlPlaneError
from gpuenv_sandbox.control_plane.processes import ProcessError
from gpuenv_sandbox.observe import Observer
from gpuenv_sandbox.programs.catalogue import BinaryError
from gpuenv_sandbox.programs.progress import say
from gpuenv_sandbox.scenario import environments, scenario
from gpuenv_sandbox.scenario.fields import ScenarioError
from gpuenv_sandbox.scenario.scenario import Scenario
from gpuenv_sandbox.session import OPERATOR_PROCESS, SandboxError, Session

Output = Literal["table", "json"]

FILE_WIDTH: Final = 200
"""A table in a file is never cut."""
LOG_SECONDS: Final = 10.0
"""How often progress is told where nobody looks at a terminal."""
STAY_SECONDS: Final = 1.0
INTERRUPTED: Final = 128 + signal.SIGINT


@click.command("sandbox")
@click.option(
    "--scenario", "scenario_file", type=click.Path(path_type=Path), default=scenario.DEFAULT, metavar="FILE",
    help="Which nodes there are and what is broken (docs/scenario.md). Default: a dozen nodes of all kinds.",
)  # fmt: skip
@click.option(
    "--environment", "environment_files", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
    help="GPUEnvironments to apply (repeatable). Default: the scenario's, else examples/pytorch-2.9.yaml.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="End when all is settled (exit code 0), or not in time (1).")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=300, show_default=True, metavar="SECONDS",
    help="How long it may take until all is settled, from the first node on.",
)  # fmt: skip
@click.option(
    "--kubeconfig-out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Write the administrator's kubeconfig there; removed at the end.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(
    *,
    scenario_file: Path,
    environment_files: tuple[Path, ...],
    once: bool,
    timeout: float,
    kubeconfig_out: Path | None,
    output: Output,
) -> None:
    """Start a real Kubernetes control plane with simulated GPU nodes and watch gpuenv judge them.

    Needs no root and no Docker, and leaves nothing behind.
    """
    try:
        loaded = scenario.load(scenario_file)
        paths = environment_files or loaded.environments or (environments.EXAMPLE,)
        chosen = environments.load(paths, dict(loaded.timeouts))
        if kubeconfig_out is not None and kubeconfig_out.exists():
            raise ScenarioError(f"{kubeconfig_out}: exists already; give --kubeconfig-out another path")
    except ScenarioError as error:
        _fail(str(error), 2)
    _reach_loopback()
    # Until the event loop takes over: unwind as for Ctrl-C, also when the terminal is closed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_signalled)
    try:
        say("starting etcd, kube-apiserver, kube-controller-manager and kube-scheduler on loopback")
        began = time.monotonic()
        with ControlPlane() as cluster, _written(cluster.admin_kubeconfig, kubeconfig_out) as kubeconfig:
            say(f"control plane ready in {time.monotonic() - began:.1f} s")
            session = Session(cluster, loaded, say)
            session.install()
            view = _View(session, cluster, loaded, kubeconfig, output)
            code = asyncio.run(_main(session, chosen, view, timeout, once))
    except (BinaryError, ControlPlaneError, ProcessError, SandboxError, ApiError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


class _View:
    """Where the sandbox's words go: a live table on a terminal, lines on stderr elsewhere."""

    def __init__(
        self, session: Session, cluster: ControlPlane, loaded: Scenario, kubeconfig: Path, output: Output
    ) -> None:
        self._session, self._cluster, self._scenario = session, cluster, loaded
        self._kubeconfig, self._output = kubeconfig, output
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=FILE_WIDTH)
        self._live: Live | None = None
        self._told = 0.0

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Within it, the table is redrawn on a terminal."""
        if self._output == "table" and self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=4, transient=True) as self._live:
                yield
            self._live = None
        else:
            yield

    def show(self, observer: Observer) -> None:
        """How it stands."""
        if self._live is not None:
            self._live.update(self._table(observer))
        elif self._session.elapsed - self._told >= LOG_SECONDS:
            self._told = self._session.elapsed
            answered = sum(1 for row in observer.rows() if row.verdict)
            waits = "; ".join(observer.unsettled())
            say(f"{self._told:4.0f} s  {answered} of {len(self._scenario.nodes)} nodes answered; {waits}")

    def result(self, observer: Observer) -> None:
        """The final word, on stdout."""
        found = list(observer.environments.values())
        if self._output == "json":
            click.echo(json.dumps(display.as_json(found, observer.rows()), indent=1))
        else:
            self._console.print(self._table(observer))

    def commands(self, observer: Observer) -> None:
        """What to do next."""
        log = self._cluster.log(OPERATOR_PROCESS)
        words = display.commands(self._cluster.kubectl, self._kubeconfig, observer.rows(), log)
        say(f"\nThe cluster stays until Ctrl-C. In another terminal:\n{words}")

    def _table(self, observer: Observer) -> RenderableType:
        found = [observer.environments[name] for name in sorted(observer.environments)]
        return display.table(
            found,
            observer.rows(),
            self._scenario.nodes,
            elapsed=self._session.elapsed,
            probing=observer.probing(),
        )


async def _main(
    session: Session,
    chosen: list[environments.Object],
    view: _View,
    limit: float,
    once: bool,
) -> int:
    """Runs the session; its exit code."""
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
                why = "; ".join(observer.unsettled()) or "there is no environment"
                say(f"not settled after {limit:.0f} s: {why}")
            if not once:
                view.commands(observer)
            while not once:
                session.check()
                await asyncio.sleep(STAY_SECONDS)
    except asyncio.CancelledError:
        if not ended:
            raise
        if not settled:
            return ended[0]
    return 0 if settled else 1


def _end_on_signals() -> list[int]:
    """From now on Ctrl-C and its like cancel the calling task; returns where the exit code will stand."""
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
    """The kubeconfig's path for people: the copy, where one was asked for; it goes with the cluster."""
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
    """For this process and its children: a proxy for the outside world cannot reach our API server."""
    for name in ("no_proxy", "NO_PROXY"):
        known = os.environ.get(name, "")
        if known != "*":
            os.environ[name] = f"{known},{LOOPBACK}".lstrip(",")


def _exit_signalled(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def _fail(words: str, code: int) -> NoReturn:
    click.echo(f"gpuenv sandbox: {words}", err=True)
    sys.exit(code)
