"""What the commands that talk to a cluster share: connecting, one-line errors, conditions, plain tables."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import click

from gpuenv.api import names
from gpuenv.assess.model import Verdict
from gpuenv.cli.output import COLOURS
from gpuenv.controller.kube.client import ApiError, Kube, KubeconfigError
from gpuenv.controller.kube.kinds import ENVIRONMENTS, REPORTS

Object = dict[str, Any]
T = TypeVar("T")

WORST_FIRST: Final = (Verdict.INCOMPATIBLE, Verdict.UNKNOWN, Verdict.DEGRADED, Verdict.COMPATIBLE)
EXIT_CODES: Final = {
    Verdict.COMPATIBLE: 0,
    Verdict.INCOMPATIBLE: 1,
    Verdict.DEGRADED: 3,
    Verdict.UNKNOWN: 4,
}
"""As those of ``gpuenv check`` and ``gpuenv explain``; 2 is wrong usage."""

kubeconfig_option = click.option(
    "--kubeconfig", help="Kubeconfig file. Default: the pod's service account, else $KUBECONFIG."
)
output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)


class ClusterError(click.ClickException):
    """The cluster cannot be asked, or has no answer; one line, exit code 2."""

    exit_code = 2


def ask(kubeconfig: str | None, question: Callable[[Kube], Awaitable[T]]) -> T:
    """Runs ``question`` with a client. Raises ClusterError."""

    async def run() -> T:
        async with await Kube.from_environment(kubeconfig) as kube:
            return await question(kube)

    try:
        return asyncio.run(run())
    except KubeconfigError as error:
        raise ClusterError(str(error)) from error
    except ApiError as error:
        raise ClusterError(_words(error)) from error


def _words(error: ApiError) -> str:
    if _no_such_kind(error):
        return "this cluster has no gpuenv: install the chart, or apply the files of crds/"
    return str(error)


def _no_such_kind(error: ApiError) -> bool:
    """The API server says it in one way when the group is unknown, in another when the kind is."""
    words = ("could not find the requested resource", "404 page not found")
    return error.status == 404 and any(one in error.message for one in words)


async def environment(kube: Kube, name: str) -> Object:
    """One environment. Raises ClusterError when there is none of that name, ApiError."""
    try:
        found: Object = await kube.get(f"{ENVIRONMENTS}/{name}")
    except ApiError as error:
        if error.status != 404 or _no_such_kind(error):
            raise
        raise ClusterError(f"there is no GPUEnvironment {name}; `gpuenv status` lists them") from error
    return found


async def environments(kube: Kube) -> list[Object]:
    """All environments, by name. Raises ApiError."""
    found = [item async for page in kube.pages(ENVIRONMENTS) for item in page["items"]]
    return sorted(found, key=lambda item: str(item["metadata"]["name"]))


async def reports(kube: Kube, *, name: str | None = None, node: str | None = None) -> list[Object]:
    """Reports of an environment, of a node, or of both, worst first. Raises ApiError.

    Selected by label and filtered here, so that servers without selectable fields (before 1.31) do as well.
    """
    labels = {names.LABEL_ENVIRONMENT: name, names.LABEL_NODE: names.shorten(node) if node else None}
    selector = ",".join(f"{key}={value}" for key, value in labels.items() if value)
    params = {"labelSelector": selector} if selector else {}
    found = [item async for page in kube.pages(REPORTS, params) for item in page["items"]]
    wanted = [item for item in found if node is None or item["spec"]["nodeName"] == node]
    return sorted(wanted, key=lambda item: (WORST_FIRST.index(verdict(item)), item["metadata"]["name"]))


def verdict(report: Object) -> Verdict:
    """The verdict of a report; Unknown while it has none."""
    try:
        return Verdict(str((report.get("status") or {}).get("verdict")))
    except ValueError:
        return Verdict.UNKNOWN


def condition(environment: Object, kind: str) -> Object:
    """A condition of an environment, if it is about the present generation; empty otherwise."""
    generation = environment["metadata"].get("generation")
    for found in (environment.get("status") or {}).get("conditions") or []:
        if found["type"] == kind and found.get("observedGeneration", generation) == generation:
            return dict(found)
    return {}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; verdicts in colour. The last column may be of any length."""
    cells = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header) - 1)]
    lines = []
    for row in cells:
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        coloured = [click.style(cell, fg=COLOURS.get(cell.strip())) for cell in padded]
        lines.append("  ".join((*coloured, row[-1])).rstrip())
    return "\n".join(lines)


def as_json(value: Any) -> str:
    """JSON for programs."""
    return json.dumps(value, indent=2, ensure_ascii=False)
