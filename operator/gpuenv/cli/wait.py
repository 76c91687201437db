"""``gpuenv wait``: until every selected node has its answer; the exit code is the worst one."""

import asyncio
import sys
import time
from typing import Final

import click

from gpuenv.api import names, reasons
from gpuenv.assess.model import Verdict
from gpuenv.cli import cluster
from gpuenv.cli.cluster import EXIT_CODES, Object
from gpuenv.controller.kube.client import ApiError, Kube
from gpuenv.controller.kube.kinds import REPORTS
from gpuenv.plan.validation import next_run

POLL_SECONDS: Final = 2.0
STATUS_TOKEN_CHARACTERS: Final = 4096
"""So much of a token the status keeps."""
NODES_NAMED: Final = 5
NOT_SEEN: Final = "the operator has not looked at it yet; is it running?"
BLOCKED: Final = frozenset({reasons.HeldOff, reasons.GpuNotAdvertised, reasons.ProbeStuck})
"""Of nodes on which nothing may run: a run that was asked for there is not waited for, as with Ready."""


@click.command("wait")
@click.argument("environment")
@click.option("--timeout", default=1800.0, show_default=True, type=click.FloatRange(min=0), metavar="SECONDS")
@cluster.kubeconfig_option
def command(*, environment: str, timeout: float, kubeconfig: str | None) -> None:
    """Wait until every node that ENVIRONMENT selects has its answer for the present specification, also where
    `gpuenv revalidate` asked for a new one.

    Exit codes: 0 all compatible, 1 some incompatible (or the specification makes no sense), 3 some degraded,
    4 some unknown, or not all answered in time; 2 the cluster cannot be asked.
    """
    found, missing = cluster.ask(kubeconfig, lambda kube: _wait(kube, environment, timeout))
    if _is_refused(found):
        click.echo(f"{environment}: {cluster.condition(found, 'Accepted').get('message')}", err=True)
        sys.exit(EXIT_CODES[Verdict.INCOMPATIBLE])
    if missing:
        click.echo(f"{environment}: not ready after {timeout:g} s: {missing}", err=True)
        sys.exit(EXIT_CODES[Verdict.UNKNOWN])
    summary = (found.get("status") or {}).get("summary") or {}
    click.echo(f"{environment}: {summary.get('text')} compatible" + _worst(summary))
    sys.exit(
        EXIT_CODES[
            next((one for one in cluster.WORST_FIRST if summary.get(one.value.lower())), Verdict.UNKNOWN)
        ]
    )


def _is_refused(environment: Object) -> bool:
    return bool(cluster.condition(environment, "Accepted").get("status") == "False")


def _worst(summary: Object) -> str:
    return f"; {summary['problem']}" if summary.get("problem") else ""


async def _wait(kube: Kube, name: str, seconds: float) -> tuple[Object, str]:
    """The environment once it is answered or refused; out of time, with what is missing."""
    deadline = time.monotonic() + seconds
    told = ""
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
        if missing not in {told, NOT_SEEN}:
            told = missing
            click.echo(f"{name}: {told}", err=True)
        await asyncio.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic()) + 0.01))


def _unanswered(environment: Object) -> str:
    """What is missing by the environment itself, in one line; empty when nothing is."""
    ready = cluster.condition(environment, "Ready")
    if ready.get("status") != "True":
        return str(ready.get("message") or NOT_SEEN)
    asked = _token(environment)[:STATUS_TOKEN_CHARACTERS]
    if asked not in ("", (environment.get("status") or {}).get("observedRevalidate", "")):
        return "a new run on all nodes was asked for and is not answered yet"
    return ""


class _Asked:
    """Reports of one environment of which a new run was asked for. There may be thousands of reports, so they are
    listed once, and then only those are read again.
    """

    def __init__(self, kube: Kube, name: str) -> None:
        self._kube = kube
        self._selector = {"labelSelector": f"{names.LABEL_ENVIRONMENT}={name}"}
        self._waiting: list[str] | None = None

    async def unanswered(self, environment: Object) -> str:
        """What is missing, in one line; empty when nothing is. Nothing will come where nothing may run."""
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
    wanted = next_run.demand("", _token(report))
    return (
        next_run.is_asked(wanted, status.get("observedRevalidate", ""))
        and status.get("reason") not in BLOCKED
    )


def _token(raw: Object) -> str:
    return str((raw["metadata"].get("annotations") or {}).get(names.ANNOTATION_REVALIDATE, ""))
