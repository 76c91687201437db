"""Compute the whole status of an environment from its totals. No other module writes a part of it."""

from typing import Any, Final

from gpuenv.api import names, reasons
from gpuenv.api.foreign_text import one_line
from gpuenv.api.remedies import Action, Remedy, remedies_data
from gpuenv.api.schema import statuses
from gpuenv.api.schema.fit import fit
from gpuenv.api.tolerant import mapping, mappings, text
from gpuenv.assess.model import Verdict
from gpuenv.plan.demand import MAX_TOKEN
from gpuenv.plan.fleet.budget import GPU_SECONDS, usage_json
from gpuenv.plan.fleet.conditions import NO_NODES, conditions
from gpuenv.plan.fleet.mass_change import remembered
from gpuenv.plan.fleet.totals import Totals
from gpuenv.plan.objects.environment_memory import environment_memory, memory_data, settled_expectations
from gpuenv.plan.objects.times import is_ahead, read_time, show_time
from gpuenv.plan.snapshot import EnvironmentRecord, Refusal

Json = dict[str, Any]
RETRY_SECONDS: Final = 3600.0
"""Time after the refusal of a status until the whole status is written again. Its cause may be gone by then."""
REFUSED: Final = "refused"
"""Key in ``status.internal``: when the API server refused the whole status, and its answer."""
_DETAILS: Final = frozenset({"image", "problems", "placement"})
"""The fields without which a status is written after a refusal. The rest is conditions, counts and digests."""


def environment_status(
    environment: EnvironmentRecord,
    totals: Totals | None,
    now: float,
    refusal: Refusal | None = None,
    *,
    own: Refusal | None = None,
    skew: float = 0.0,
) -> Json:
    """Return the status that the environment should have at ``now``, in epoch seconds, fitted to the schema.

    ``totals`` is None if the specification is invalid; the counts in the status then stay as they are. ``refusal`` is
    the API server's refusal to store a result, None if it refused none. ``own`` is its refusal of this very status. After
    one, the status consists of conditions and counts for a while. ``skew`` is by how much the operator's clock is ahead.
    """
    status, refused = _status(environment, totals, now, refusal, skew), _refused(environment, own, now)
    if refused is not None and status != environment.status:
        status = {name: field for name, field in status.items() if name not in _DETAILS}
        shortened = f"problems, digests and placement are left out, because the API server refused them: {refused['message']}"
        status["conditions"] = conditions(environment, totals, refusal, now, shortened=shortened, skew=skew)
        status["internal"] = {**mapping(status, "internal"), REFUSED: refused}
    # A stored status fits.
    return status if status == environment.status else dict(fit(statuses.ENVIRONMENT, status))


def _refused(environment: EnvironmentRecord, own: Refusal | None, now: float) -> Json | None:
    """Return when the API server refused the whole status and what it answered; None if it did not lately."""
    if own is not None and own.of_content:
        return {"time": show_time(now), "message": one_line(own.message)}
    known = mapping(environment.status, "internal", REFUSED)
    at, message = read_time(known.get("time")), text(known.get("message"))
    if at is None or is_ahead(at, now) or now >= at + RETRY_SECONDS:
        return None
    return {"time": show_time(at), "message": message}


def _status(
    environment: EnvironmentRecord, totals: Totals | None, now: float, refusal: Refusal | None, skew: float
) -> Json:
    judged: Json = {
        "observedGeneration": environment.generation,
        "conditions": conditions(environment, totals, refusal, now, skew=skew),
    }
    if totals is None:
        refused = _whole_problem(reasons.SpecInvalid, environment.spec_error)
        known = [one for one in mappings(environment.status.get("problems")) if "verdict" in one]
        memory = mapping(environment.status, "internal").items()
        fields = environment.status | judged | {"problems": [refused, *known]}
        fields["internal"] = {name: value for name, value in memory if name != REFUSED}
        return {name: field for name, field in fields.items() if field != {}}
    fields = judged | {
        "summary": _summary(totals),
        "image": _image(totals),
        "problems": _problems(totals),
        "placement": _placement(totals),
        "massChange": _mass_change(totals),
        "observedRevalidate": _observed(environment, totals),
        "internal": _internal(environment, totals),
    }
    return {key: value for key, value in fields.items() if value not in ("", {}, [])}


def _internal(environment: EnvironmentRecord, totals: Totals) -> Json:
    """Return the operator's own memory of the environment, which nobody else may rely on."""
    used = usage_json(totals.usage) if totals.usage is not None else {}
    settled = not totals.outdated and not totals.worsening
    known = environment_memory(environment.status)
    expectations = settled_expectations(environment, known, settled=settled)
    memory = memory_data(remembered(totals.mass_change, expectations))
    return memory | ({GPU_SECONDS: used} if used else {})


def _mass_change(totals: Totals) -> Json:
    """Return the mass change because of which labels are held back; {} if none stands."""
    change = totals.mass_change
    if not change.id:
        return {}
    return {
        "id": change.id,
        "nodeCount": len(change.held),
        "nodes": list(change.held),
        "message": change.message,
    }


def _summary(totals: Totals) -> Json:
    counts = {verdict.value.lower(): totals.verdicts.get(verdict, 0) for verdict in Verdict}
    return {
        "selected": totals.selected,
        **counts,
        "running": totals.running,
        "waiting": totals.waiting,
    }


def _image(totals: Totals) -> Json:
    nodes: dict[tuple[str, str], int] = {}
    for (digest, platform, _), count in totals.contents:
        nodes[digest, platform] = nodes.get((digest, platform), 0) + count
    found = sorted(nodes.items(), key=lambda entry: (-entry[1], entry[0]))
    digests = [
        {"digest": digest, "platform": platform, "nodeCount": count} for (digest, platform), count in found
    ]
    return {"requested": totals.context.spec.image} | ({"digests": digests} if digests else {})


def _problems(totals: Totals) -> list[Json]:
    """Return the problems, the worst first.

    An environment that is not allowed has this as its first problem. Other problems of the whole environment, which name
    no nodes, come before nodes whose verdict is Unknown, because they often explain these.
    """
    problems = [
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
    whole = []
    if totals.selected == 0:
        whole.append(_whole_problem(reasons.NoMatchingNodes, NO_NODES))
    if totals.context.spec.suspend:
        whole.append(_whole_problem(reasons.Suspended, "no probe starts while spec.suspend is true"))
    elif totals.spent:
        whole.append(_whole_problem(reasons.BudgetSpent, totals.spent))
    forbidden = totals.context.not_allowed
    first = [_whole_problem(reasons.NotAllowed, forbidden)] if forbidden else []
    known = sum(problem.verdict is not Verdict.UNKNOWN for problem in totals.problems)
    return first + problems[:known] + whole + problems[known:]


def _whole_problem(reason: reasons.Reason, message: str) -> Json:
    """Return a problem of the environment itself, which somebody solves by changing the environment."""
    remedies = remedies_data((Remedy(Action.CHANGE_ENVIRONMENT, reasons.ROWS[reason].cure),))
    return {"reason": reason, "message": message, "remedies": remedies}


def _placement(totals: Totals) -> Json:
    """Return snippets for pod specifications that select nodes by gpuenv's label; {} if the label is disabled."""
    if totals.context.spec.node_label == "None":
        return {}
    label = names.node_label(totals.context.name)
    return {
        "require": {"nodeSelector": {label: Verdict.COMPATIBLE.value}},
        "tolerant": _node_affinity(label, "In", Verdict.COMPATIBLE, Verdict.DEGRADED),
        "avoid": _node_affinity(label, "NotIn", Verdict.INCOMPATIBLE),
    }


def _node_affinity(label: str, operator: str, *verdicts: Verdict) -> Json:
    expression = {"key": label, "operator": operator, "values": [verdict.value for verdict in verdicts]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


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
