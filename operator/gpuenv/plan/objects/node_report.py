"""Convert a GPUNodeReport between JSON and its record. A record that is written and read back is equal to itself."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from gpuenv.api import names
from gpuenv.api.remedies import Remedies, Remedy, read_remedies, remedies_data
from gpuenv.api.tolerant import integer, mapping, mappings, text
from gpuenv.assess.model import Check, Status, Verdict
from gpuenv.plan.demand import Demand
from gpuenv.plan.objects import stored_document
from gpuenv.plan.objects.times import read_time, show_time
from gpuenv.plan.snapshot import Attempt, ReportRecord, Result

Json = dict[str, Any]

MAX_CHECKS: Final = 64
MAX_MESSAGE: Final = 1000
MAX_REMEDIES: Final = 8
_MAX_PARAMETERS: Final = 16
_MAX_NAME: Final = 256
_STATUSES: Final = frozenset(status.value for status in Status)
VALIDATED: Final = "Validated"
OBSERVED_ENVIRONMENT: Final = "observedEnvironmentRevalidate"
"""Key in ``status.internal``: a digest of the environment's revalidate annotation that the last run took into account."""
OWES_ANSWER: Final = "owesAnswer"
"""Key in ``status.internal``: whether a run that a revalidate annotation asked for has led to no result so far."""


@lru_cache(maxsize=1 << 16)
def _check(  # noqa: PLR0917 - the fields of a Check, in its order
    name: str, status: Status, reason: str = "", message: str = "", remedies: Remedies = (), source: str = ""
) -> Check:
    """Return a check with these fields, the same object for equal arguments: a large fleet has millions of checks."""
    return Check(name, status, reason, message, remedies, source)


def kept(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks to store: the first ``MAX_CHECKS``, each shortened by :func:`kept_check`.

    Assessments list the worst checks first.
    """
    return tuple(kept_check(check) for check in list(checks)[:MAX_CHECKS])


def kept_check(check: Check) -> Check:
    """Return a check as it is stored: with shortened texts, or, if it passed, with its name and status only."""
    if check.status is Status.PASS:
        return _check(check.name[:_MAX_NAME], check.status)
    return _check(
        check.name[:_MAX_NAME],
        check.status,
        check.reason,
        clip(check.message),
        clip_remedies(check.remedies),
        check.source[:MAX_MESSAGE],
    )


def clip(message: str) -> str:
    """Return the message, cut to the ``MAX_MESSAGE`` characters that the schema of the CRD allows."""
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def clip_remedies(remedies: Iterable[Remedy]) -> Remedies:
    """Return the first ``MAX_REMEDIES`` remedies, with texts that are as short as the schema of the CRD asks."""
    return tuple(
        Remedy(
            one.action,
            clip(one.message),
            tuple((name, value[:_MAX_NAME]) for name, value in one.parameters[:_MAX_PARAMETERS]),
        )
        for one in list(remedies)[:MAX_REMEDIES]
    )


def status_of(record: ReportRecord, *, remedies: Remedies, now: float) -> Json:
    """Return the whole status of a node report as JSON. ``now`` is in epoch seconds."""
    status: Json = {
        "verdict": record.verdict.value,
        "reason": record.reason,
        "message": record.message,
        "remedies": remedies_data(remedies),
        "observedRevalidate": record.observed_demand.report,
        "internal": _internal(record),
        "answeredGeneration": record.answered_generation,
        "runs": record.runs,
        "conditions": [_condition(record, now)],
    }
    if record.result is not None:
        status |= _result(record.result)
    if record.attempt is not None:
        status["lastAttempt"] = _attempt(record.attempt)
    return {key: value for key, value in status.items() if value not in ("", None, {}, [])}


def _internal(record: ReportRecord) -> Json:
    """Return the operator's own memory of a validation, which nobody else may rely on."""
    memory = {
        OBSERVED_ENVIRONMENT: record.observed_demand.environment,
        OWES_ANSWER: record.owes_answer,
    }
    return {key: value for key, value in memory.items() if value}


def _condition(record: ReportRecord, now: float) -> Json:
    return {
        "type": VALIDATED,
        "status": "True" if record.current else "False",
        "reason": record.reason or record.verdict.value,
        "message": record.message,
        "lastTransitionTime": show_time(record.current_since or now),
        "observedGeneration": record.answered_generation,
    }


def _result(result: Result) -> Json:
    status: Json = stored_document.unpack(result.probe)
    inner: Json = {"verdict": result.verdict.value, "reason": result.reason, "message": result.message}
    if result.unconfirmed:
        inner["unconfirmed"] = result.unconfirmed
    if result.pod_check is not None:
        inner["podCheck"] = _check_json(result.pod_check)
    return status | {
        "checks": [_check_json(check) for check in result.checks],
        "image": {"digest": result.image_digest, "platform": result.platform},
        "inputsHash": result.inputs_hash,
        "nodeFingerprint": result.fingerprint,
        "runID": result.run_id,
        "validatedAt": show_time(result.validated_at),
        "assessmentKey": result.assessment_key,
        "result": inner,
    }


def _check_json(check: Check) -> Json:
    fields = {
        "name": check.name,
        "status": check.status.value,
        "reason": check.reason,
        "message": check.message,
        "remedies": remedies_data(check.remedies),
        "source": check.source,
    }
    return {key: value for key, value in fields.items() if value}


def _attempt(attempt: Attempt) -> Json:
    return {
        "runID": attempt.run_id,
        "reason": attempt.reason,
        "message": attempt.message,
        "remedies": remedies_data(attempt.remedies),
        "at": show_time(attempt.at),
        "inputsHash": attempt.inputs_hash,
        "nodeFingerprint": attempt.fingerprint,
        "count": attempt.count,
    }


def read(raw: Mapping[str, Any]) -> ReportRecord:
    """Return the record of a GPUNodeReport object. Values of a wrong type count as absent."""
    metadata, spec, status = mapping(raw, "metadata"), mapping(raw, "spec"), mapping(raw, "status")
    condition = next(
        (item for item in mappings(status.get("conditions")) if item.get("type") == VALIDATED), {}
    )
    return ReportRecord(
        name=text(metadata.get("name")),
        uid=text(metadata.get("uid")),
        environment=text(spec.get("environment")),
        node=text(spec.get("nodeName")),
        node_uid=text(spec.get("nodeUID")),
        verdict=_verdict(status.get("verdict")),
        reason=text(status.get("reason")),
        message=text(status.get("message")),
        answered_generation=integer(status.get("answeredGeneration")) or 0,
        result=_read_result(status),
        attempt=_read_attempt(mapping(status, "lastAttempt")),
        runs=max(0, integer(status.get("runs")) or 0),
        revalidate=text(mapping(metadata, "annotations").get(names.ANNOTATION_REVALIDATE)),
        observed_demand=observed_demand(status),
        owes_answer=owes_answer(status),
        current=condition.get("status") == "True",
        current_since=read_time(condition.get("lastTransitionTime")) or 0.0,
    )


def observed_demand(status: Mapping[str, Any]) -> Demand:
    """Return the revalidate annotations that the last run took into account, from the status of a node report."""
    return Demand(
        environment=text(mapping(status, "internal").get(OBSERVED_ENVIRONMENT)),
        report=text(status.get("observedRevalidate")),
    )


def owes_answer(status: Mapping[str, Any]) -> bool:
    """Return whether a run that a revalidate annotation asked for has led to no result so far, from a report's status."""
    return mapping(status, "internal").get(OWES_ANSWER) is True


def awaits_confirmation(status: Mapping[str, Any]) -> bool:
    """Return whether the shown verdict is the first of two runs: the second confirms or clears what it found."""
    return bool(mapping(status, "result").get("unconfirmed")) and not mapping(status, "lastAttempt")


def _verdict(value: object) -> Verdict:
    try:
        return Verdict(text(value))
    except ValueError:
        return Verdict.UNKNOWN


def _read_result(status: Mapping[str, Any]) -> Result | None:
    inner, run_id = mapping(status, "result"), text(status.get("runID"))
    if not inner or not run_id:
        return None
    document = stored_document.pick(status)
    image = mapping(status, "image")
    return Result(
        verdict=_verdict(inner.get("verdict")),
        reason=text(inner.get("reason")),
        message=text(inner.get("message")),
        run_id=run_id,
        inputs_hash=text(status.get("inputsHash")),
        fingerprint=text(status.get("nodeFingerprint")),
        validated_at=read_time(status.get("validatedAt")) or 0.0,
        assessment_key=text(status.get("assessmentKey")),
        probe=stored_document.pack(document),
        checks=tuple(_read_checks(status.get("checks"))),
        image_digest=text(image.get("digest")),
        platform=text(image.get("platform")),
        unconfirmed=text(inner.get("unconfirmed")),
        pod_check=next(iter(_read_checks([mapping(inner, "podCheck")])), None),
        figures=stored_document.figures(document),
        versions=stored_document.versions(document),
    )


def _read_checks(value: object) -> Iterable[Check]:
    for item in mappings(value):
        status = text(item.get("status"))
        if status in _STATUSES:
            reason, message, source = (text(item.get(name)) for name in ("reason", "message", "source"))
            remedies = read_remedies(item.get("remedies"))
            yield _check(text(item.get("name")), Status(status), reason, message, remedies, source)


def _read_attempt(attempt: Mapping[str, Any]) -> Attempt | None:
    run_id, at = text(attempt.get("runID")), read_time(attempt.get("at"))
    if not run_id or at is None:
        return None
    return Attempt(
        run_id=run_id,
        reason=text(attempt.get("reason")),
        message=text(attempt.get("message")),
        remedies=read_remedies(attempt.get("remedies")),
        at=at,
        inputs_hash=text(attempt.get("inputsHash")),
        fingerprint=text(attempt.get("nodeFingerprint")),
        count=max(1, integer(attempt.get("count")) or 1),
    )
