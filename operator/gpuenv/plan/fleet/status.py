"""Compute the whole status of an environment from its totals. No other module writes a part of it."""

from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.environment import Expectations
from gpuenv.api.remedies import remedies_data
from gpuenv.api.tolerant import text
from gpuenv.assess.model import Verdict
from gpuenv.plan.demand import MAX_TOKEN
from gpuenv.plan.fleet.conditions import conditions
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.snapshot import EnvironmentRecord

Json = dict[str, Any]
MAX_DIGESTS: Final = 64


def environment_status(
    environment: EnvironmentRecord, totals: Totals | None, now: float, refusal: str = ""
) -> Json:
    """Return the status that the environment should have at ``now``, in epoch seconds.

    ``totals`` is None if the specification is invalid; the counts in the status then stay as they are. ``refusal`` is
    the API server's error message about a result that it refused to store, "" if it refused none.
    """
    judged = {
        "observedGeneration": environment.generation,
        "conditions": conditions(environment, totals, refusal, now),
    }
    if totals is None:
        return environment.status | judged
    fields = judged | {
        "effective": _effective(totals.context.spec.expect),
        "summary": _summary(totals),
        "image": _image(totals),
        "problems": _problems(totals),
        "scheduling": _scheduling(totals),
        "observedRevalidate": _observed(environment, totals),
    }
    return {key: value for key, value in fields.items() if value not in ("", {}, [])}


def _summary(totals: Totals) -> Json:
    counts = {verdict.value.lower(): totals.verdicts.get(verdict, 0) for verdict in Verdict}
    summary: Json = {
        "selected": totals.selected,
        **counts,
        "running": totals.running,
        "waiting": totals.waiting,
        "text": f"{totals.verdicts.get(Verdict.COMPATIBLE, 0)}/{totals.selected}",
    }
    if totals.problems:
        worst = totals.problems[0]
        summary["problem"] = f"{worst.reason} on {worst.count} node{'s' if worst.count > 1 else ''}"
    return summary


def _image(totals: Totals) -> Json:
    nodes: dict[tuple[str, str], int] = {}
    for (digest, platform, _), count in totals.contents:
        nodes[digest, platform] = nodes.get((digest, platform), 0) + count
    found = sorted(nodes.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_DIGESTS]
    digests = [
        {"digest": digest, "platform": platform, "nodes": count} for (digest, platform), count in found
    ]
    return {"requested": totals.context.spec.image} | ({"digests": digests} if digests else {})


def _problems(totals: Totals) -> list[Json]:
    return [
        {
            "reason": problem.reason or problem.verdict.value,
            "verdict": problem.verdict.value,
            "nodeCount": problem.count,
            "nodes": list(problem.nodes),
            "message": problem.message,
            "remedies": remedies_data(problem.remedies),
        }
        for problem in totals.problems
    ]


def _scheduling(totals: Totals) -> Json:
    """Return snippets for pod specifications that select nodes by gpuenv's label; {} if the label is disabled."""
    if not totals.context.spec.node_label:
        return {}
    label = names.node_label(totals.context.name)
    avoid = {"key": label, "operator": "NotIn", "values": [Verdict.INCOMPATIBLE.value]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [avoid]}]}
    return {
        "require": {"nodeSelector": {label: Verdict.COMPATIBLE.value}},
        "avoid": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}},
    }


def _observed(environment: EnvironmentRecord, totals: Totals) -> str:
    """Return the revalidate annotation of the environment that all its nodes have taken into account.

    That is the present value once every node report takes it into account, and until then the previous value. A node
    on which no run can start is not waited for. When a run can start there again, the value is taken back until that
    run has ended, so that nobody takes the node's earlier verdict for an answer.
    """
    token, before = environment.revalidate[:MAX_TOKEN], text(environment.status.get("observedRevalidate"))
    if not token or not totals.asked:
        return token
    return "" if before == token else before


def _effective(expect: Expectations) -> Json:
    """Return the expectations with their defaults filled in, under the field names of the specification."""
    low, high = expect.min_compute_capability, expect.max_compute_capability
    capability = {"min": low and f"{low[0]}.{low[1]}", "max": high and f"{high[0]}.{high[1]}"}
    gpus = {"products": list(expect.products), "minMemoryBytes": expect.min_memory_bytes}
    fields: Json = {
        "pytorch": expect.pytorch,
        "cuda": expect.cuda,
        "cudnn": expect.cudnn,
        "nccl": expect.nccl,
        "python": expect.python,
        "driver": expect.driver,
        "driverRule": expect.driver_rule,
        "computeCapability": {key: value for key, value in capability.items() if value},
        "gpus": {key: value for key, value in gpus.items() if value},
        "imports": list(expect.imports),
        "compile": expect.compile,
    }
    return {key: value for key, value in fields.items() if value not in (None, {}, [])}
