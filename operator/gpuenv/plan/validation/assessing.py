"""Turn the probe reports of a run into its result, and assess stored results again after changes.

A stored result is assessed again when the expectations, the tables or the medians of peers have changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gpuenv.api import check_names, reasons
from gpuenv.api.remedies import Remedies
from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, Failure
from gpuenv.assess.model import Assessment, Check, Status, Verdict, decide
from gpuenv.assess.observed_versions import observed_versions
from gpuenv.assess.sources.probe.probe_document import Document, join_reports
from gpuenv.assess.sources.probe.probe_facts import facts_from_document
from gpuenv.assess.sources.rules.failure_rules import classify
from gpuenv.knowledge.model import ErrorRule
from gpuenv.plan.context import Context, Validation, same_node
from gpuenv.plan.objects import stored_document
from gpuenv.plan.objects.node_report import kept
from gpuenv.plan.run.outcome import Ended
from gpuenv.plan.snapshot import PodRecord, Result
from gpuenv.plan.validation.read_only_run import doubts, explained

_CONFIG_DIGEST: Final = "config@"


@dataclass(frozen=True, slots=True)
class _Judged:
    """An assessment, and the reason that a second run must confirm ("" if no confirmation is needed)."""

    assessment: Assessment
    unconfirmed: str


def new_result(
    validation: Validation, pod: PodRecord, ended: Ended, now: float, *, previous: Result | None
) -> Result:
    """Return the result of a run that has just ended. ``previous`` is the result of an earlier run, or None.

    If both runs found the same doubtful reason with the same inputs on the same node, the reason is confirmed.
    """
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
    facts = _facts(validation, document, pod_check)
    judged = _judge(context, facts, pod_check, confirmed)
    result = Result(
        verdict=judged.assessment.verdict,
        reason=judged.assessment.reason,
        message=judged.assessment.message,
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
        versions=tuple(sorted(observed_versions(facts).items())) if document and facts else (),
    )
    return replace(result, assessment_key=context.assessment_key(result))


def is_outdated(validation: Validation, result: Result) -> bool:
    """Return whether the result was assessed with other expectations, tables or peers than the present ones."""
    key, known = validation.context.assessment_key(result), validation.assessed
    if key == result.assessment_key:
        return False
    return known is None or known.result is not result or known.key != key


def assessed_again(validation: Validation, result: Result) -> Result:
    """Return the result, assessed with the present expectations, tables and peers.

    If only its ``assessment_key`` would change, the same object is returned, with its old key. The result is then
    assessed once after each start of the operator, until the next run. In return, an upgrade of gpuenv does not cause a
    write to every node report in the cluster.
    """
    context = validation.context
    document = stored_document.unpack(result.probe)
    facts = _facts(validation, document, result.pod_check)
    judged = _judge(context, facts, result.pod_check, _standing(context, result))
    again = replace(
        result,
        verdict=judged.assessment.verdict,
        reason=judged.assessment.reason,
        message=judged.assessment.message,
        checks=kept(judged.assessment.checks),
        unconfirmed=judged.unconfirmed,
    )
    return result if again == result else replace(again, assessment_key=context.assessment_key(result))


def runtime_verdict(context: Context, words: str) -> Check | None:
    """Return the failed check that follows from a container runtime's error message, or None.

    There is one if the tables know the error as an incompatibility of image and node. For example,
    ``nvidia-container-cli`` refuses to start an image whose NVIDIA_REQUIRE_CUDA the driver does not satisfy.
    """
    rule = _runtime_rule(context, words)
    if rule is None or rule.status != Status.FAIL.value:
        return None
    return Check(
        check_names.PROBE_POD,
        Status.FAIL,
        rule.reason,
        words,
        rule.remedies or remedies_of(context, rule.reason),
        rule.source,
    )


def _runtime_rule(context: Context, words: str) -> ErrorRule | None:
    """Return the rule that the error message of a container runtime matches, or None."""
    return classify(Failure(layer="runtime", message=words), context.tables.knowledge) if words else None


def remedies_of_end(context: Context, ended: Ended) -> Remedies:
    """Return what helps against the end of a pod: the cure of the runtime's error if the tables know it, else of the reason."""
    rule = _runtime_rule(context, ended.runtime_error)
    own = rule.remedies if rule is not None and rule.reason == ended.reason else ()
    return own or remedies_of(context, ended.reason)


def remedies_of(context: Context, reason: str) -> Remedies:
    """Return the remedies of a reason, from the tables; () if they do not contain the reason."""
    text = context.tables.knowledge.reasons.get(reason)
    return text.remedies if text else ()


def image_digest(image_id: str) -> str:
    """Return the digest in a container's ``imageID``: of the image's manifest, or, marked, of its configuration.

    A runtime that does not know the manifest's digest in the registry reports the digest of the configuration instead.
    The two must not be compared with each other, so the latter gets the prefix ``config@``. "" if there is no digest.
    """
    name, at, digest = image_id.rpartition("@")
    if at and name:
        return digest
    return f"{_CONFIG_DIGEST}{digest}" if digest.startswith("sha256:") else ""


def _pod_check(context: Context, ended: Ended) -> Check | None:
    if not ended.reason:
        return None
    ended = explained(ended, context.spec.probe, context.tables.knowledge)
    found = runtime_verdict(context, ended.runtime_error)
    if found is None:
        found = Check(
            check_names.PROBE_POD,
            Status.UNKNOWN,
            ended.reason,
            ended.message,
            remedies_of_end(context, ended),
        )
    return kept((found,))[0]


def _facts(validation: Validation, document: Document, pod_check: Check | None) -> Facts | None:
    """Return the facts to assess, or None if the run reported nothing and the check of its pod says why."""
    if not document and pod_check is not None:
        return None
    return facts_from_document(document, validation.node.facts)


def _judge(
    context: Context, facts: Facts | None, pod_check: Check | None, confirmed: Iterable[str]
) -> _Judged:
    checks: list[Check] = [pod_check] if pod_check is not None else []
    if facts is not None:
        spec, tables = context.spec, context.tables.knowledge
        checks += assess(
            facts, spec.expect, spec.floors, tables, peers=context.peers, tried=spec.checks
        ).checks
        checks += doubts(checks, facts, spec.probe, tables)
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
    """Return whether a check needs a second run that confirms it, because its finding may be a coincidence.

    This is so for wrong numbers computed by kernels, and for benchmarks that are slower than on peers.
    """
    if check.status not in (Status.FAIL, Status.WARN):
        return False
    if reasons.behaviour(check.reason).next_run is not reasons.NextRun.CONFIRM:
        return False
    # Only a comparison with peers needs a second run; an absolute floor does not.
    return check.reason != reasons.BelowFloor or check.name in context.peer_floors


def _doubted(check: Check) -> Check:
    message = f"{check.message}; seen once, a second run confirms or clears it"
    return replace(check, status=Status.UNKNOWN, message=message)


def _standing(context: Context, result: Result | None) -> set[str]:
    """Return the reasons in a result that would need a second run, had not one confirmed them already.

    An unconfirmed check is stored with the status Unknown, so a check that is still Fail or Warn has been confirmed.
    """
    checks = result.checks if result is not None else ()
    return {check.reason for check in checks if _is_doubtful(context, check)}
