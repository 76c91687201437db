"""What people see: a table of environments and nodes, and the commands to look further."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpuenv.api.names import node_label
from gpuenv_sandbox.observe import Row
from gpuenv_sandbox.scenario.scenario import SimulatedNode

Object = dict[str, Any]

MAX_ROWS: Final = 40
"""Nodes shown of a large fleet, the worst first."""
STYLES: Final = {"Compatible": "green", "Degraded": "yellow", "Incompatible": "red", "Unknown": "magenta"}
WORST_FIRST: Final = ("Incompatible", "Unknown", "Degraded", "", "Compatible")


def table(
    environments: Iterable[Object],
    rows: Sequence[Row],
    nodes: Sequence[SimulatedNode],
    *,
    elapsed: float,
    probing: Collection[tuple[str, str]] = (),
) -> RenderableType:
    """Environment summaries, then a line a node; ``probing`` names environment and node of running probes."""
    found = list(environments)
    heads = [summary(environment, elapsed) for environment in found]
    return Group(*heads, _node_table(found, rows, nodes, probing))


def summary(environment: Object, elapsed: float) -> Text:
    """Name and image; verdicts so far, what is going on and for how long."""
    status = environment.get("status") or {}
    counts = status.get("summary") or {}
    line = Text()
    line.append(environment["metadata"]["name"], style="bold")
    line.append(f"  {(environment.get('spec') or {}).get('image', '')}\n")
    for verdict, style in STYLES.items():
        count = counts.get(verdict.lower()) or 0
        if count:
            line.append(f"{count} {verdict}  ", style=style)
    activity = [f"{counts[name]} {name}" for name in ("running", "waiting") if counts.get(name)]
    line.append(", ".join([*activity, f"{elapsed:.0f} s"]), style="dim")
    return line


def _node_table(
    environments: Sequence[Object],
    rows: Sequence[Row],
    nodes: Sequence[SimulatedNode],
    probing: Collection[tuple[str, str]],
) -> Table:
    answered = {(found.environment, found.node): found for found in rows}
    every = [
        answered.get((name, node.name), Row(name, node.name, "", "", ""))
        for name in sorted(environment["metadata"]["name"] for environment in environments)
        for node in nodes
    ]
    by_name = {node.name: node for node in nodes}
    shown = every
    if len(every) > MAX_ROWS:
        shown = sorted(every, key=lambda found: WORST_FIRST.index(found.verdict))[:MAX_ROWS]
    several = len(environments) > 1
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in [*(["ENVIRONMENT"] if several else []), "NODE", "GPU", "DRIVER", "VERDICT", "REASON"]:
        # On a narrow terminal the product gives way, never what was decided.
        grid.add_column(title, no_wrap=title != "GPU")
    for found in shown:
        node = by_name[found.node]
        product = node.product.removeprefix("NVIDIA ")
        gpus = f"{node.gpus} x {product}" if node.gpus > 1 else product
        activity = "probing" if (found.environment, found.node) in probing else "..."
        verdict = Text(found.verdict or activity, style=STYLES.get(found.verdict, "dim"))
        gpu = Text(gpus, no_wrap=True, overflow="ellipsis")
        cells: list[str | Text] = [found.node, gpu, node.driver, verdict, found.reason]
        grid.add_row(*([found.environment] if several else []), *cells)
    if len(shown) < len(every):
        rest = Counter(found.verdict or "no answer yet" for found in every)
        rest.subtract(found.verdict or "no answer yet" for found in shown)
        words = ", ".join(f"{count} {verdict}" for verdict, count in sorted(rest.items()) if count)
        grid.add_row(f"and {len(every) - len(shown)} more", words)
    return grid


def as_json(environments: Iterable[Object], rows: Iterable[Row]) -> Object:
    """What ``-o json`` prints."""
    return {
        "environments": [
            {"name": found["metadata"]["name"], **(found.get("status") or {})} for found in environments
        ],
        "nodes": [
            {
                "environment": found.environment,
                "node": found.node,
                "verdict": found.verdict,
                "reason": found.reason,
                "message": found.message,
            }
            for found in rows
        ],
    }


def commands(kubectl: Path, kubeconfig: Path, rows: Sequence[Row], log: Path) -> str:
    """What to type in another terminal."""
    row = next((found for found in rows if found.verdict == "Incompatible"), rows[0] if rows else None)
    environment, node = (row.environment, row.node) if row else ("ENVIRONMENT", "NODE")
    lines = [
        f"export KUBECONFIG={kubeconfig}",
        f"alias kubectl={kubectl}",
        "kubectl get genv",
        "kubectl get gnr -o wide",
        f"kubectl describe gnr {environment}.{node}",
        f"kubectl get nodes -L {node_label(environment)}",
        f"kubectl get genv {environment} -o jsonpath='{{.status.scheduling}}'",
        f"kubectl annotate gnr {environment}.{node} gpuenv.dev/revalidate=again --overwrite",
        f"kubectl wait --for=condition=Ready genv/{environment}",
        f"tail -f {log}",
    ]
    return "\n".join(f"  {line}" for line in lines)
