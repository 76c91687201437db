"""``gpuenv wait``: waits until every selected node has a current verdict. The worst verdict sets the exit code."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from gpuenv.api import names, reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.api.objects import condition, held_back, is_genuine
from gpuenv.assess.model import Verdict
from gpuenv.cli.shared import cluster, completeness, durations, exit_codes, options
from gpuenv.cli.shared.cluster import Object
from gpuenv.cli.shared.completeness import Missing, NodeAnswer
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import NODES, REPORTS
from gpuenv.controller.kube.requests import METADATA_LIST
from gpuenv.plan.objects import records
from gpuenv.plan.run.clocks import is_over
from gpuenv.plan.validation.selection import label_selector
from gpuenv.plan.validation.shown_verdict import obstacle

POLL_SECONDS: Final = 2.0
PAUSE_FACTOR: Final = 10
"""The pause between two looks lasts at least this many times as long as a look, so that large fleets cost little."""
NODES_NAMED: Final = 5
"""Maximum number of nodes that a message names."""


@click.command("wait")
@click.argument("environment")
@options.timeout("30m", text="How long to wait")
@options.cluster
def command(*, environment: str, timeout: float, kubeconfig: str | None, context: str | None) -> int:
    """Wait until every node that ENVIRONMENT selects has its answer.

    An answer has to be about the present specification, and newer than any `gpuenv revalidate`. On a node where the
    run that was asked for could not start, or gave no answer, the verdict counts as Unknown.

    Exit codes: 0 all compatible, 1 some incompatible (or the specification makes no sense), 3 some degraded,
    4 some unknown, or not all answered in time; 2 the cluster cannot be asked.
    """
    look = cluster.ask(kubeconfig, context, lambda kube: _wait(kube, environment, timeout))
    if _is_refused(look.environment):
        why = condition(look.environment, "Accepted").get("message")
        click.echo(one_line(f"{environment}: {why}"), err=True)
        return exit_codes.OF_VERDICT[Verdict.INCOMPATIBLE]
    if look.missing:
        limit = durations.show(timeout)
        click.echo(one_line(f"{environment}: no complete answer after {limit}: {look.missing}"), err=True)
        return exit_codes.OF_VERDICT[Verdict.UNKNOWN]
    older = f"; no new answer from {look.older}" if look.older else ""
    result = completeness.result(look.environment, look.answers)
    click.echo(one_line(f"{environment}: {result}{older}"))
    if held := held_back(look.environment):
        click.echo(one_line(f"{environment}: {held}"), err=True)
    return exit_codes.of_worst(completeness.verdicts(look.environment, look.answers))


def _is_refused(environment: Object) -> bool:
    return bool(condition(environment, "Accepted").get("status") == "False")


@dataclass(frozen=True, slots=True)
class _Look:
    """What the cluster says at one time.

    ``missing`` says in words what is still missing, "" if nothing is. ``older`` names nodes whose verdict is older than
    what was asked, and says why there is no newer one.
    """

    environment: Object
    answers: Sequence[NodeAnswer] = ()
    missing: str = ""
    older: str = ""


async def _wait(kube: Kube, name: str, seconds: float) -> _Look:
    """Look at the environment until nothing is missing, its specification is refused, or ``seconds`` have passed."""
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        began = time.monotonic()
        try:
            look = await _look(kube, name)
        except ApiError as error:
            # 410: the list of reports changed too much between two of its pages.
            if not (error.transient or error.status == 410) or time.monotonic() > deadline:
                raise
            look = _Look({"metadata": {}}, missing=str(error))
        now = time.monotonic()
        if not look.missing or _is_refused(look.environment) or now > deadline:
            return look
        if look.missing not in {said, completeness.NOT_SEEN, completeness.BEHIND}:
            said = look.missing
            click.echo(one_line(f"{name}: {said}"), err=True)
        pause = max(POLL_SECONDS, PAUSE_FACTOR * (now - began))
        await asyncio.sleep(min(pause, max(0.0, deadline - now) + 0.01))


async def _look(kube: Kube, name: str) -> _Look:
    """Read the environment and then, if its status is complete, its node reports. The order is essential.

    :mod:`gpuenv.cli.shared.completeness` explains it.
    """
    environment = await cluster.environment(kube, name)
    missing = completeness.unready(environment)
    if missing is not None:
        return _Look(environment, missing=await _unready_words(kube, environment, missing))
    answers = await _answers(kube, environment)
    missing = completeness.missing(environment, answers)
    if missing is not None:
        return _Look(environment, missing=await _words(kube, environment, answers, missing))
    older = [one for one in answers if completeness.is_older(environment, one)]
    whys = {one.node: await _why_older(kube, environment, one) for one in older[:NODES_NAMED]}
    free = [one.node for one in older if whys.get(one.node) == ""]
    if free:
        # A run can start there since a moment ago. The operator will start it and take back what the status says.
        return _Look(environment, missing=f"{completeness.ASKED}: {_named(free, {})}")
    return _Look(environment, answers, older=_named([one.node for one in older], whys))


async def _answers(kube: Kube, environment: Object) -> list[NodeAnswer]:
    """Return what the reports of the selected nodes say, in the order of the nodes' names.

    A node that is no longer selected keeps its report for a few minutes.
    """
    selector = {"labelSelector": f"{names.LABEL_ENVIRONMENT}={environment['metadata']['name']}"}
    pages = kube.pages(REPORTS, selector)
    reports = [item async for page in pages for item in page["items"] if is_genuine(item)]
    found = [completeness.node_answer(item) for item in reports]
    if len(found) > completeness.selected(environment):
        nodes = await _selected_nodes(kube, environment)
        found = [one for one in found if nodes is None or one.node in nodes]
    return sorted(found, key=lambda one: one.node)


async def _selected_nodes(kube: Kube, environment: Object) -> set[str] | None:
    """Return the names of the nodes that match the environment's selector, or None if they may not be listed."""
    spec = records.environment_record(environment).spec
    if spec is None:
        return None
    selector = label_selector(spec.selector)
    query = {"labelSelector": selector} if selector else {}
    try:
        pages = kube.pages(NODES, query, accept=METADATA_LIST)
        return {str(item["metadata"]["name"]) async for page in pages for item in page["items"]}
    except ApiError as error:
        if error.status != 403:
            raise
        return None


# ---- words -----------------------------------------------------------------------------------------------


async def _unready_words(kube: Kube, environment: Object, missing: Missing) -> str:
    """Return in one line what the status says is missing, with the nodes that are probed now.

    Nodes that no probe pod exists for are in the numbers of the status only: to name them, all node reports would have to
    be read again and again, of which a large fleet has thousands.
    """
    probed = (
        await _probed(kube, environment["metadata"]["name"]) if completeness.selected(environment) else []
    )
    return f"{missing.words}; probed now: {_named(probed, {})}" if probed else missing.words


async def _probed(kube: Kube, name: str) -> list[str]:
    """Return the names of the nodes with a probe pod of the environment; [] if the pods may not be listed."""
    path = f"/api/v1/namespaces/{names.PROBE_NAMESPACE}/pods"
    try:
        pages = kube.pages(path, {"labelSelector": f"{names.LABEL_ENVIRONMENT}={name}"})
        pods = [records.pod_record(item) async for page in pages for item in page["items"]]
    except ApiError as error:
        if error.status != 403:
            raise
        return []
    return sorted({pod.node for pod in pods if not is_over(pod)})


async def _words(kube: Kube, environment: Object, answers: Iterable[NodeAnswer], missing: Missing) -> str:
    """Return in one line what is missing, and on which nodes, with the reason where no run can start."""
    if not missing.nodes:
        return missing.words
    shown = missing.nodes[:NODES_NAMED]
    whys = {one.node: await _obstacle(kube, environment, one) for one in answers if one.node in shown}
    return f"{missing.words}: {_named(missing.nodes, whys)}"


def _named(nodes: Sequence[str], whys: Mapping[str, str | None]) -> str:
    """Return the first nodes with the reasons of ``whys``, and how many more there are."""
    shown = [f"{node} ({whys[node]})" if whys.get(node) else node for node in nodes[:NODES_NAMED]]
    more = f" and {len(nodes) - NODES_NAMED} more" if len(nodes) > NODES_NAMED else ""
    return ", ".join(shown) + more


async def _why_older(kube: Kube, environment: Object, answer: NodeAnswer) -> str:
    """Return why the verdict on a node is older than what was asked; "" if a run can start there now."""
    if not completeness.is_unasked(environment, answer):
        return f"{answer.without_result}, the run ended without a result"
    why = await _obstacle(kube, environment, answer)
    return "no run could start there" if why is None else why


async def _obstacle(kube: Kube, environment: Object, answer: NodeAnswer) -> str | None:
    """Return why no run can start on a node; "" if one can, None if the node may not be read."""
    record = records.environment_record(environment)
    if record.spec is None or record.spec.suspend:
        return "spec.suspend is true"
    if reasons.behaviour(answer.reason).next_run is reasons.NextRun.BLOCKED:
        return answer.message
    try:
        node = await kube.get(f"{NODES}/{answer.node}")
    except ApiError as error:
        if error.status not in {403, 404}:
            raise
        return "the node does not exist any more" if error.status == 404 else None
    return obstacle(record.spec, records.node_record(node))
