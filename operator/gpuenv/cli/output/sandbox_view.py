"""The output of ``gpuenv sandbox``: a live view of environments and nodes, and commands to try next."""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gpuenv.api.foreign_text import one_line
from gpuenv.api.names import node_label
from gpuenv.api.objects import NodeVerdict
from gpuenv.assess.model import Verdict
from gpuenv.cli.output.fleet import fleet_data
from gpuenv.cli.output.text import VERDICT_COLOURS
from gpuenv.cli.shared import forms
from gpuenv.cli.shared.forms import Form
from gpuenv_sandbox.control_plane.cluster import ControlPlane
from gpuenv_sandbox.observer import Observer
from gpuenv_sandbox.programs.progress import say
from gpuenv_sandbox.scenario.model import SimulatedNode
from gpuenv_sandbox.session import OPERATOR_PROCESS, Session

Object = dict[str, Any]

MAX_ROWS: Final = 40
"""Maximum number of rows in the view. Of a larger fleet, the nodes with the worst verdicts are shown."""
FILE_WIDTH: Final = 200
"""Width in characters of a view that is not written to a terminal. It is so large that nothing is cut off."""
LOG_SECONDS: Final = 10.0
"""Seconds between two lines about the progress if standard output is no terminal."""


class ProgressView:
    """Shows the progress of a sandbox: as a live view on a terminal, else as lines on standard error."""

    def __init__(
        self,
        session: Session,
        cluster: ControlPlane,
        nodes: Sequence[SimulatedNode],
        kubeconfig: Path,
        form: str,
    ) -> None:
        """Create a view of a session. ``form`` is the output format."""
        self._session, self._cluster, self._nodes = session, cluster, nodes
        self._kubeconfig, self._form = kubeconfig, form
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=FILE_WIDTH)
        self._live: Live | None = None
        self._logged_at = 0.0

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show a live view as long as this context lasts, if the format is ``table`` and the output is a terminal."""
        if self._form == Form.TABLE and self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=4, transient=True) as self._live:
                yield
            self._live = None
        else:
            yield

    def show(self, observer: Observer) -> None:
        """Update the live view. If there is none, print a line about the progress every :data:`LOG_SECONDS`."""
        if self._live is not None:
            self._live.update(self._table(observer))
        elif self._session.elapsed - self._logged_at >= LOG_SECONDS:
            self._logged_at = self._session.elapsed
            answered = sum(1 for row in observer.summaries() if row.verdict)
            waits = one_line("; ".join(observer.unsettled()))
            say(f"{self._logged_at:4.0f} s  {answered} of {len(self._nodes)} nodes answered; {waits}")

    def result(self, observer: Observer) -> None:
        """Print the environments and the verdicts of all nodes on standard output, in the chosen format."""
        if self._form in forms.DATA:
            click.echo(
                forms.DATA[self._form](fleet_data(observer.environments.values(), observer.summaries()))
            )
        else:
            self._console.print(self._table(observer))

    def commands(self, observer: Observer) -> None:
        """Print commands with which the user can explore the cluster from another terminal."""
        log = self._cluster.log(OPERATOR_PROCESS)
        words = commands(self._cluster.kubectl, self._kubeconfig, observer.summaries(), log)
        say(f"\nThe cluster stays until Ctrl-C. In another terminal:\n{words}")

    def _table(self, observer: Observer) -> RenderableType:
        found = [observer.environments[name] for name in sorted(observer.environments)]
        return table(
            found,
            observer.summaries(),
            self._nodes,
            elapsed=self._session.elapsed,
            probing=observer.probing(),
        )


def table(
    environments: Iterable[Object],
    rows: Sequence[NodeVerdict],
    nodes: Sequence[SimulatedNode],
    *,
    elapsed: float,
    probing: Collection[tuple[str, str]] = (),
) -> RenderableType:
    """Return the view: a summary of each environment, then a line for each node.

    ``elapsed`` is the age of the sandbox in seconds. ``probing`` contains a pair for each running probe pod: the names
    of its environment and its node.
    """
    found = list(environments)
    heads = [_summary(environment, elapsed) for environment in found]
    return Group(*heads, _node_table(found, rows, nodes, probing))


def _summary(environment: Object, elapsed: float) -> Text:
    """Return the lines about an environment: its name, its image, how many nodes have each verdict, and ``elapsed``.

    The lines also say on how many nodes a probe runs, and how many nodes wait for one.
    """
    status = environment.get("status") or {}
    counts = status.get("summary") or {}
    line = Text()
    line.append(one_line(environment["metadata"]["name"]), style="bold")
    line.append(f"  {one_line(str((environment.get('spec') or {}).get('image', '')))}\n")
    for verdict, colour in VERDICT_COLOURS.items():
        count = counts.get(verdict.lower()) or 0
        if count:
            line.append(f"{count} {verdict}  ", style=colour)
    activity = [f"{counts[name]} {name}" for name in ("running", "waiting") if counts.get(name)]
    line.append(", ".join([*activity, f"{elapsed:.0f} s"]), style="dim")
    return line


def _node_table(
    environments: Sequence[Object],
    rows: Sequence[NodeVerdict],
    nodes: Sequence[SimulatedNode],
    probing: Collection[tuple[str, str]],
) -> Table:
    answered = {(found.environment, found.node): found for found in rows}
    every = [
        answered.get((name, node.name), NodeVerdict(name, node.name))
        for name in sorted(environment["metadata"]["name"] for environment in environments)
        for node in nodes
    ]
    by_name = {node.name: node for node in nodes}
    shown = every if len(every) <= MAX_ROWS else sorted(every, key=_worst_first)[:MAX_ROWS]
    several = len(environments) > 1
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in [*(["ENVIRONMENT"] if several else []), "NODE", "GPU", "DRIVER", "VERDICT", "REASON"]:
        # On a narrow terminal, the GPU column is shortened, and never the verdict.
        grid.add_column(title, no_wrap=title != "GPU")
    for found in shown:
        node = by_name[found.node]
        product = one_line(node.product.removeprefix("NVIDIA "))
        gpus = f"{node.gpus} x {product}" if node.gpus > 1 else product
        activity = "probing" if (found.environment, found.node) in probing else "..."
        verdict = Text(found.verdict or activity, style=VERDICT_COLOURS.get(found.verdict, "dim"))
        gpu = Text(gpus, no_wrap=True, overflow="ellipsis")
        # As `Text`: of a plain string, rich would take [brackets] for styles and links.
        names = [found.environment, found.node] if several else [found.node]
        cells = [*map(_cell, names), gpu, _cell(node.driver), verdict, _cell(found.reason)]
        grid.add_row(*cells)
    if len(shown) < len(every):
        rest = Counter(found.verdict or "no answer yet" for found in every)
        rest.subtract(found.verdict or "no answer yet" for found in shown)
        words = ", ".join(f"{count} {verdict}" for verdict, count in sorted(rest.items()) if count)
        grid.add_row(f"and {len(every) - len(shown)} more", words)
    return grid


def _cell(text: str) -> Text:
    return Text(one_line(text))


def _worst_first(row: NodeVerdict) -> float:
    """Return the sort key by which rows with the worst verdict come first.

    A row without a verdict comes directly before Compatible.
    """
    return -Verdict(row.verdict).severity if row.verdict else -Verdict.COMPATIBLE.severity - 0.5


def commands(kubectl: Path, kubeconfig: Path, rows: Sequence[NodeVerdict], log: Path) -> str:
    """Return commands to try in another terminal, one on each line.

    Some name the environment and the node of the first row with the verdict Incompatible, or else of the first row.
    ``log`` is the path of the operator's log.
    """
    row = next((found for found in rows if found.verdict == Verdict.INCOMPATIBLE), rows[0] if rows else None)
    environment, node = (row.environment, row.node) if row else ("ENVIRONMENT", "NODE")
    lines = [
        f"export KUBECONFIG={kubeconfig}",
        f"alias kubectl={kubectl}",
        "kubectl get genv",
        "kubectl get gnr -o wide",
        f"kubectl describe gnr {environment}.{node}",
        f"kubectl get nodes -L {node_label(environment)}",
        f"kubectl get genv {environment} -o jsonpath='{{.status.placement}}'",
        f"kubectl annotate gnr {environment}.{node} gpuenv.dev/revalidate=again --overwrite",
        f"kubectl wait --for=jsonpath='{{.status.observedRevalidate}}'=again gnr/{environment}.{node} --timeout=30m",
        f"tail -f {log}",
    ]
    return "\n".join(f"  {line}" for line in lines)
