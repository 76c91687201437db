"""``gpuenv wait``: waits until every selected node has a current verdict. The worst verdict sets the exit code."""

import asyncio
import time
from typing import Final

import click

from gpuenv.api import names, reasons
from gpuenv.api.objects import condition
from gpuenv.assess.model import Verdict
from gpuenv.cli.shared import cluster, exit_codes, options
from gpuenv.cli.shared.cluster import Object
from gpuenv.controller.kube.client import ApiError, Kube
from gpuenv.controller.kube.kinds import REPORTS
from gpuenv.plan.demand import MAX_TOKEN, demand
from gpuenv.plan.objects.node_report import observed_demand

POLL_SECONDS: Final = 2.0
NODES_NAMED: Final = 5
"""Maximum number of nodes that a message names."""
NOT_SEEN: Final = "the operator has not looked at it yet; is it running?"


@click.command("wait")
@click.argument("environment")
@click.option("--timeout", default=1800.0, show_default=True, type=click.FloatRange(min=0), metavar="SECONDS")
@options.kubeconfig
def command(*, environment: str, timeout: float, kubeconfig: str | None) -> int:
    """Wait until every node that ENVIRONMENT selects has its answer.

    An answer has to be about the present specification, and newer than any `gpuenv revalidate`.

    Exit codes: 0 all compatible, 1 some incompatible (or the specification makes no sense), 3 some degraded,
    4 some unknown, or not all answered in time; 2 the cluster cannot be asked.
    """
    found, missing = cluster.ask(kubeconfig, lambda kube: _wait(kube, environment, timeout))
    if _is_refused(found):
        click.echo(f"{environment}: {condition(found, 'Accepted').get('message')}", err=True)
        return exit_codes.OF_VERDICT[Verdict.INCOMPATIBLE]
    if missing:
        click.echo(f"{environment}: not ready after {timeout:g} s: {missing}", err=True)
        return exit_codes.OF_VERDICT[Verdict.UNKNOWN]
    summary = (found.get("status") or {}).get("summary") or {}
    problem = f"; {summary['problem']}" if summary.get("problem") else ""
    click.echo(f"{environment}: {summary.get('text')} compatible{problem}")
    return exit_codes.of_worst(one for one in Verdict if summary.get(one.value.lower()))


def _is_refused(environment: Object) -> bool:
    return bool(condition(environment, "Accepted").get("status") == "False")


async def _wait(kube: Kube, name: str, seconds: float) -> tuple[Object, str]:
    """Wait until all nodes of the environment have a current verdict, or its specification is rejected.

    Give up after ``seconds``. Return the environment, and a line that says what is still missing, or "".
    """
    deadline = time.monotonic() + seconds
    said = ""
    asked = _Asked(kube, name)
    while True:
        found: Object = {"metadata": {}}
        try:
            found = await cluster.environment(kube, name)
            missing = _unanswered(found) or await asked.unanswered(found)
        except ApiError as error:
            if not error.transient or time.monotonic() > deadline:
                raise
            missing = str(error)
        if not missing or _is_refused(found) or time.monotonic() > deadline:
            return found, missing
        if missing not in {said, NOT_SEEN}:
            said = missing
            click.echo(f"{name}: {said}", err=True)
        await asyncio.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic()) + 0.01))


def _unanswered(environment: Object) -> str:
    """Return a line about verdicts or requested runs that are missing according to the environment's status, or ""."""
    ready = condition(environment, "Ready")
    if ready.get("status") != "True":
        return str(ready.get("message") or NOT_SEEN)
    asked = _token(environment)[:MAX_TOKEN]
    if asked not in ("", (environment.get("status") or {}).get("observedRevalidate", "")):
        return "a new run on all nodes was asked for and is not answered yet"
    return ""


class _Asked:
    """Finds the node reports of an environment whose revalidate annotation requests a run that has not ended.

    An environment may have thousands of node reports. All are listed once. After that, only those with an outstanding
    request are read again.
    """

    def __init__(self, kube: Kube, name: str) -> None:
        self._kube = kube
        self._selector = {"labelSelector": f"{names.LABEL_ENVIRONMENT}={name}"}
        self._waiting: list[str] | None = None

    async def unanswered(self, environment: Object) -> str:
        """Return one line that names the nodes whose requested runs have not ended, or "" if there are none.

        Return "" also if the environment is suspended, because then no run starts.
        """
        if (environment.get("spec") or {}).get("suspend"):
            return ""
        found = await self._read()
        self._waiting = [report["metadata"]["name"] for report in found]
        nodes = sorted(report["spec"]["nodeName"] for report in found)
        more = f" and {len(nodes) - NODES_NAMED} more" if len(nodes) > NODES_NAMED else ""
        where = ", ".join(nodes[:NODES_NAMED]) + more
        return f"a new run on {where} was asked for and is not answered yet" if nodes else ""

    async def _read(self) -> list[Object]:
        if self._waiting is None:
            pages = self._kube.pages(REPORTS, self._selector)
            return [item async for page in pages for item in page["items"] if _is_asked(item)]
        found = [await self._report(name) for name in self._waiting]
        return [report for report in found if report is not None and _is_asked(report)]

    async def _report(self, name: str) -> Object | None:
        try:
            return dict(await self._kube.get(f"{REPORTS}/{name}"))
        except ApiError as error:
            if error.status != 404:
                raise
            return None


def _is_asked(report: Object) -> bool:
    status = report.get("status") or {}
    return demand("", _token(report)).asks_beyond(observed_demand(status)) and not _is_blocked(status)


def _is_blocked(status: Object) -> bool:
    """Return whether the reason in a node report's status means that no probe can run on the node for now.

    Neither this command nor the condition Ready waits for runs on such a node.
    """
    return reasons.behaviour(status.get("reason", "")).next_run is reasons.NextRun.BLOCKED


def _token(raw: Object) -> str:
    return str((raw["metadata"].get("annotations") or {}).get(names.ANNOTATION_REVALIDATE, ""))
