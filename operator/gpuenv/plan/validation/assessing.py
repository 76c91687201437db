"""From a run's reports to its result. Assessing it again later uses the same function and the same stored facts."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Failure
from gpuenv.assess.model import Assessment, Check, Status, Verdict, decide
from gpuenv.assess.sources.known_errors import classify
from gpuenv.assess.sources.probe_document import Document, join_reports
from gpuenv.assess.sources.probe_facts import facts_from_document
from gpuenv.plan.context import Context, Validation, same_node
from gpuenv.plan.model import PodRecord, Result
from gpuenv.plan.objects import stored_document
from gpuenv.plan.objects.node_report import clip, kept, kept_check
from gpuenv.plan.run.outcome import Ended

_CONFIG_DIGEST: Final = "config@"


@dataclass(frozen=True, slots=True)
class _Judged:
    """An assessment, and the reason that a second run has yet to confirm ("" if none has to be)."""

    assessment: Assessment
    unconfirmed: str


def new_result(
    validation: Validation, pod: PodRecord, ended: Ended, now: float, *, previous: Result | None
) -> Result:
    """Return the result of a run that has just ended. ``previous`` is the result before it, which it may confirm."""
    context = validation.context
    document = join_reports(ended.facts, ended.kernels)
    pod_check = _pod_check(context, ended)
    same = (
        previous is not None
        and previous.inputs_hash == pod.inputs_hash
        and same_node(previous.fingerprint, pod.fingerprint)
    )
    confirmed = (
        _standing(context, previous) | {previous.unconfirmed} if previous is not None and same else set()
    )
    judged = _judge(validation, document, pod_check, confirmed)
    result = Result(
        verdict=judged.assessment.verdict,
        reason=judged.assessment.reason,
        message=clip(judged.assessment.message),
        run_id=pod.run_id,
        inputs_hash=pod.inputs_hash,
        fingerprint=pod.fingerprint,
        validated_at=float(int(now)),
        assessment_key="",
        probe=stored_document.pack(document),
        checks=kept(judged.assessment.checks),
        image_digest=image_digest(pod.image_id),
        platform=stored_document.platform(document),
        unconfirmed=judged.unconfirmed,
        pod_check=pod_check,
        figures=stored_document.figures(document),
        versions=stored_document.versions(document),
    )
    return replace(result, assessment_key=context.assessment_key(result))


def assessed_again(validation: Validation, result: Result) -> Result:
    """Return the result under the context's expectations and tables; itself where nothing but its key would differ.

    The result then keeps its old key. That costs one assessment after each start of the operator, until the next
    run, and saves a write to every report of the cluster when gpuenv is upgraded.
    """
    if result is validation.assessed:
        return result
    context = validation.context
    key = context.assessment_key(result)
    if key == result.assessment_key:
        return result
    document = stored_document.unpack(result.probe)
    judged = _judge(validation, document, result.pod_check, _standing(context, result))
    again = replace(
        result,
        verdict=judged.assessment.verdict,
        reason=judged.assessment.reason,
        message=clip(judged.assessment.message),
        checks=kept(judged.assessment.checks),
        unconfirmed=judged.unconfirmed,
    )
    return result if again == result else replace(again, assessment_key=key)


def runtime_verdict(context: Context, words: str) -> Check | None:
    """Return the check that a container runtime's error leads to, if it is an answer about image and node.

    ``nvidia-container-cli`` refuses an image whose NVIDIA_REQUIRE_CUDA the driver does not meet, for example.
    """
    rule = classify(Failure(layer="runtime", message=words), context.tables.knowledge) if words else None
    if rule is None or rule.status != Status.FAIL.value:
        return None
    return Check(
        check_names.PROBE_POD, Status.FAIL, rule.reason, clip(words), cure(context, rule.reason), rule.source
    )


def cure(context: Context, reason: str) -> str:
    """Return what the tables say to do about a reason."""
    text = context.tables.knowledge.reasons.get(reason)
    return clip(text.cure) if text else ""


def image_digest(image_id: str) -> str:
    """Return the digest in a container's imageID, marked if it is that of the image's configuration.

    A runtime that does not know the digest in the registry names that of the configuration. The two cannot be compared.
    """
    name, at, digest = image_id.rpartition("@")
    if at and name:
        return digest
    return f"{_CONFIG_DIGEST}{digest}" if digest.startswith("sha256:") else ""


def _pod_check(context: Context, ended: Ended) -> Check | None:
    if not ended.reason:
        return None
    found = runtime_verdict(context, ended.runtime_error)
    if found is None:
        found = Check(
            check_names.PROBE_POD, Status.UNKNOWN, ended.reason, ended.message, cure(context, ended.reason)
        )
    return kept_check(found)


def _judge(
    validation: Validation, document: Document, pod_check: Check | None, confirmed: Iterable[str]
) -> _Judged:
    context = validation.context
    checks: list[Check] = [pod_check] if pod_check is not None else []
    if document or not checks:
        facts = facts_from_document(document, validation.node.facts)
        spec, tables = context.spec, context.tables.knowledge
        checks += assess(facts, spec.expect, spec.floors, tables, peers=context.peers).checks
    known = set(confirmed)
    doubted = [
        _doubted(check) if _is_doubtful(context, check) and check.reason not in known else check
        for check in checks
    ]
    assessment = decide(doubted)
    changed = [new.reason for old, new in zip(checks, doubted, strict=True) if old is not new]
    # Where something else fails anyway, a confirmation would change nothing.
    pending = assessment.verdict is not Verdict.INCOMPATIBLE and bool(changed)
    return _Judged(assessment, changed[0] if pending else "")


def _is_doubtful(context: Context, check: Check) -> bool:
    """Return whether one run is not enough for this check: a wrong number, or a figure below what peers reach."""
    if check.status not in (Status.FAIL, Status.WARN):
        return False
    if reasons.behaviour(check.reason).next_run is not reasons.NextRun.CONFIRM:
        return False
    # An absolute floor needs no second run: only the median of the peers may be a fluke of its own.
    return check.reason != reasons.BelowFloor or check.name in context.peer_floors


def _doubted(check: Check) -> Check:
    message = f"{check.message}; seen once, a second run confirms or clears it"
    return replace(check, status=Status.UNKNOWN, message=message)


def _standing(context: Context, result: Result | None) -> set[str]:
    """Return the reasons that a second run has confirmed."""
    checks = result.checks if result is not None else ()
    return {check.reason for check in checks if _is_doubtful(context, check)}
