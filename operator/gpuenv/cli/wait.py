"""``gpuenv wait``: until every selected node has its answer; the exit code is the worst one."""

import asyncio
import sys
import time
from typing import Final

import click

from gpuenv.api import names
from gpuenv.assess.model import Verdict
from gpuenv.cli import cluster
from gpuenv.cli.cluster import EXIT_CODES, Object
from gpuenv.controller.kube import ApiError, Kube

POLL_SECONDS: Final = 2.0


@click.command("wait")
@click.argument("environment")
@click.option("--timeout", default=1800.0, show_default=True, type=click.FloatRange(min=0), metavar="SECONDS")
@cluster.kubeconfig_option
def command(*, environment: str, timeout: float, kubeconfig: str | None) -> None:
    """Wait until every node that ENVIRONMENT selects has its answer for the present specification.

    Exit codes: 0 all compatible, 1 some incompatible (or the specification makes no sense), 3 some degraded,
    4 some unknown, or not all answered in time; 2 the cluster cannot be asked.
    """
    found = cluster.ask(kubeconfig, lambda kube: _wait(kube, environment, timeout))
    ready = cluster.condition(found, "Ready")
    if cluster.condition(found, "Accepted").get("status") == "False":
        click.echo(f"{environment}: {cluster.condition(found, 'Accepted').get('message')}", err=True)
        sys.exit(EXIT_CODES[Verdict.INCOMPATIBLE])
    if not _answered(found):
        why = ready.get("message") or "the operator has not looked at it yet; is it running?"
        click.echo(f"{environment}: not ready after {timeout:g} s: {why}", err=True)
        sys.exit(EXIT_CODES[Verdict.UNKNOWN])
    summary = (found.get("status") or {}).get("summary") or {}
    click.echo(f"{environment}: {summary.get('text')} compatible" + _worst(summary))
    sys.exit(
        EXIT_CODES[
            next((one for one in cluster.WORST_FIRST if summary.get(one.value.lower())), Verdict.UNKNOWN)
        ]
    )


def _answered(environment: Object) -> bool:
    """Whether all answers are there, also those that a person has asked for since."""
    asked = (environment["metadata"].get("annotations") or {}).get(names.ANNOTATION_REVALIDATE, "")
    seen = (environment.get("status") or {}).get("observedRevalidate", "")
    return cluster.condition(environment, "Ready").get("status") == "True" and asked in ("", seen)


def _worst(summary: Object) -> str:
    return f"; {summary['problem']}" if summary.get("problem") else ""


async def _wait(kube: Kube, name: str, seconds: float) -> Object:
    """The environment, once it is ready, refused, or out of time."""
    deadline = time.monotonic() + seconds
    told = ""
    while True:
        try:
            found = await cluster.environment(kube, name)
        except ApiError as error:
            if not error.transient or time.monotonic() > deadline:
                raise
            found = {"metadata": {}}
        ready = cluster.condition(found, "Ready")
        refused = cluster.condition(found, "Accepted").get("status") == "False"
        if refused or _answered(found) or time.monotonic() > deadline:
            return found
        if ready.get("message", "") not in ("", told):
            told = ready["message"]
            click.echo(f"{name}: {told}", err=True)
        await asyncio.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic()) + 0.01))
