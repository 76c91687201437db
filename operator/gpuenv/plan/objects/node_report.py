"""Convert a GPUNodeReport between JSON and its record. A fitted record that is written and read back stays the same."""

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from gpuenv.api import names, reasons
from gpuenv.api.bounded_cache import BoundedCache, bounded_cache, is_missing
from gpuenv.api.remedies import Remedies, read_remedies, remedies_data
from gpuenv.api.schema import statuses
from gpuenv.api.schema.fit import fit
from gpuenv.api.tolerant import EMPTY, integer, mapping, mappings, text, texts
from gpuenv.assess.model import Check, Status, Verdict
from gpuenv.plan.demand import Demand
from gpuenv.plan.objects import stored_document
from gpuenv.plan.objects.times import read_time, show_time
from gpuenv.plan.snapshot import Attempt, Departure, ReportRecord, Result

Json = dict[str, Any]
T = TypeVar("T", bound=Hashable)

MAX_CHECKS_BYTES: Final = 32 * 1024
"""Maximum size of the checks of a status as JSON."""
_STATUSES: Final = frozenset(status.value for status in Status)
VALIDATED: Final = "Validated"
OBSERVED_ENVIRONMENT: Final = "observedEnvironmentRevalidate"
"""Key in ``status.internal``: a digest of the environment's revalidate annotation that the last run took into account."""
OWES_ANSWER: Final = "owesAnswer"
LEFT_SINCE: Final = "leftSince"
"""Key in ``status.internal``: whether a run that a revalidate annotation asked for has led to no result so far."""
DEPARTURE: Final = "departure"
"""Key in ``status.internal``: when and why the node stopped being Compatible, unless somebody wanted the change."""
COMPATIBLE: Final = "Compatible"
MEASURED: Final = "Measured"
"""Value of ``basis``: a probe ran the image on the node."""
_SHARED: Final = BoundedCache(max_bytes=8 << 20)
"""The values that the records of several reports share."""


@bounded_cache(max_bytes=32 << 20)
def _check(  # noqa: PLR0917 - the fields of a Check, in its order
    name: str, status: Status, reason: str = "", message: str = "", remedies: Remedies = (), source: str = ""
) -> Check:
    """Return a check with these fields, the same object for equal arguments: a large fleet has millions of checks."""
    return Check(name, status, reason, message, remedies, source)


def kept(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks in the form in which a report keeps them: a check that passed without its texts."""
    return tuple(
        _check(check.name, check.status)
        if check.status is Status.PASS
        else _check(
            check.name, check.status, check.reason, check.message, tuple(check.remedies), check.source
        )
        for check in checks
    )


def fitted(record: ReportRecord, *, remedies: Remedies, now: float) -> tuple[Json, ReportRecord]:
    """Return the status that states the record, fitted to the schema, and the record that is read back from it.

    ``remedies`` are those of the shown verdict. ``now`` is in epoch seconds.
    """
    status: Json = fit(statuses.REPORT, status_of(record, remedies=remedies, now=now))
    if "checks" in status:
        status["checks"] = _first_that_fit(status["checks"])
    return status, _with_status(record, status)


def _first_that_fit(checks: list[Json]) -> list[Json]:
    """Return the first checks, as many as have at most :data:`MAX_CHECKS_BYTES` bytes. The worst checks come first."""
    left = MAX_CHECKS_BYTES
    for number, check in enumerate(checks):
        left -= len(json.dumps(check, ensure_ascii=False, separators=(",", ":")).encode()) + 1
        if left < 0:
            return checks[:number]
    return checks


def status_of(record: ReportRecord, *, remedies: Remedies, now: float) -> Json:
    """Return the whole status of a node report as JSON, which need not fit the schema yet. ``now`` is in epoch seconds."""
    status: Json = {
        "verdict": record.verdict.value,
        "reason": record.reason,
        "message": record.message,
        "remedies": remedies_data(remedies),
        "observedRevalidate": record.observed_demand.report,
        "environmentGeneration": record.environment_generation,
        "internal": _internal(record),
        "conditions": _conditions(record, now),
    }
    if record.result is not None:
        status |= _result(record.result, shown=record.current)
    if record.attempt is not None:
        status["lastAttempt"] = _attempt(record.attempt)
    return {key: value for key, value in status.items() if value not in ("", None, {}, [])}


def _conditions(record: ReportRecord, now: float) -> list[Json]:
    """Return the conditions: whether a current measurement exists, and whether the verdict is Compatible."""
    why = record.reason or record.verdict.value
    validated: Json = {"type": VALIDATED, "status": "False", "reason": why, "message": record.message}
    if record.current:
        validated |= {
            "status": "True",
            "reason": reasons.Measured,
            "message": "a probe ran the image on this node",
        }
    compatible = "Unknown" if record.verdict is Verdict.UNKNOWN else str(record.verdict is Verdict.COMPATIBLE)
    return [
        validated
        | {
            "lastTransitionTime": show_time(record.current_since or now),
            "observedGeneration": record.generation,
        },
        {
            "type": COMPATIBLE,
            "status": compatible,
            "reason": why,
            "message": record.message,
            "lastTransitionTime": show_time(record.verdict_since or now),
            "observedGeneration": record.generation,
        },
    ]


def _internal(record: ReportRecord) -> Json:
    """Return the operator's own memory of a validation, which nobody else may rely on."""
    memory: Json = {
        "runs": record.runs,
        OBSERVED_ENVIRONMENT: record.observed_demand.environment,
        OWES_ANSWER: record.owes_answer,
    }
    if record.result is not None:
        result = record.result
        memory |= {
            "runID": result.run_id,
            "inputsHash": result.inputs_hash,
            "nodeFingerprint": result.fingerprint,
            "assessmentKey": result.assessment_key,
            "unconfirmed": result.unconfirmed,
            "podCheck": check_data(result.pod_check) if result.pod_check is not None else None,
        }
    if record.attempt is not None:
        memory["attempt"] = {
            "runID": record.attempt.run_id,
            "inputsHash": record.attempt.inputs_hash,
            "nodeFingerprint": record.attempt.fingerprint,
            "remedies": remedies_data(record.attempt.remedies),
        }
    if record.departure is not None:
        memory[DEPARTURE] = {
            "time": show_time(record.departure.at),
            "cause": record.departure.cause,
            "acceptedChange": record.departure.accepted_change,
        }
    return {key: value for key, value in memory.items() if value not in ("", None, False)}


def _result(result: Result, *, shown: bool) -> Json:
    """Return the fields of the status that a result fills.

    ``shown``: the verdict that the report shows is that of the result. Its message is then not stored a second time.
    """
    status: Json = stored_document.unpack(result.probe)
    last: Json = {"verdict": result.verdict.value, "reason": result.reason}
    if not shown:
        last["message"] = result.message
    return status | {
        "basis": MEASURED,
        "checks": [check_data(check) for check in result.checks],
        "versions": dict(result.versions),
        "image": {"digest": result.image_digest, "platform": result.platform},
        "validationTime": show_time(result.validated_at),
        "lastResult": last,
    }


def check_data(check: Check) -> Json:
    """Return a check as it is stored, without the fields that have no value."""
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
        "time": show_time(attempt.at),
        "count": attempt.count,
        "reason": attempt.reason,
        "message": attempt.message,
    }


def read(raw: Mapping[str, Any]) -> ReportRecord:
    """Return the record of a GPUNodeReport object. Values of a wrong type count as absent."""
    metadata, spec = mapping(raw, "metadata"), mapping(raw, "spec")
    blank = ReportRecord(
        name=text(metadata.get("name")),
        uid=text(metadata.get("uid")),
        environment=_shared(text(spec.get("environmentName"))),
        node=_shared(text(spec.get("nodeName"))),
        node_uid=_shared(text(spec.get("nodeUID"))),
        verdict=Verdict.UNKNOWN,
        reason="",
        message="",
        environment_generation=0,
        generation=integer(metadata.get("generation")) or 1,
        revalidate=text(mapping(metadata, "annotations").get(names.ANNOTATION_REVALIDATE)),
    )
    return _with_status(blank, mapping(raw, "status"))


def _shared(value: T) -> T:
    """Return a value that is equal to ``value``, the same one for many reports.

    The reports of a fleet differ in little. Without this, each of 50,000 would hold a kilobyte that others hold too.
    """
    known = _SHARED.get(value)
    if not is_missing(known):
        found: T = known
        return found
    _SHARED.put(value, value)
    return value


def _with_status(record: ReportRecord, status: Mapping[str, Any]) -> ReportRecord:
    """Return the record with everything that a status states. The rest comes from metadata and specification."""
    conditions = {text(item.get("type")): item for item in mappings(status.get("conditions"))}
    validated, compatible = conditions.get(VALIDATED, EMPTY), conditions.get(COMPATIBLE, EMPTY)
    internal = mapping(status, "internal")
    return replace(
        record,
        verdict=_verdict(status.get("verdict")),
        reason=_shared(text(status.get("reason"))),
        message=_shared(text(status.get("message"))),
        environment_generation=integer(status.get("environmentGeneration")) or 0,
        result=_read_result(status, internal),
        attempt=_read_attempt(mapping(status, "lastAttempt"), mapping(internal, "attempt")),
        runs=max(0, integer(internal.get("runs")) or 0),
        observed_demand=_shared(observed_demand(status)),
        owes_answer=owes_answer(status),
        current=validated.get("status") == "True",
        current_since=read_time(validated.get("lastTransitionTime")) or 0.0,
        verdict_since=read_time(compatible.get("lastTransitionTime")) or 0.0,
        departure=_read_departure(mapping(internal, DEPARTURE)),
        left_since=read_time(internal.get(LEFT_SINCE)),
    )


def _read_departure(departure: Mapping[str, Any]) -> Departure | None:
    at = read_time(departure.get("time"))
    if at is None:
        return None
    return Departure(at, text(departure.get("cause")), integer(departure.get("acceptedChange")) or 0)


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
    return bool(mapping(status, "internal").get("unconfirmed")) and not mapping(status, "lastAttempt")


def _verdict(value: object) -> Verdict:
    try:
        return Verdict(text(value))
    except ValueError:
        return Verdict.UNKNOWN


def _read_result(status: Mapping[str, Any], internal: Mapping[str, Any]) -> Result | None:
    last, run_id = mapping(status, "lastResult"), text(internal.get("runID"))
    if not last or not run_id:
        return None
    document = stored_document.pick(status)
    image = mapping(status, "image")
    return Result(
        verdict=_verdict(last.get("verdict")),
        reason=_shared(text(last.get("reason"))),
        message=_shared(text((last if "message" in last else status).get("message"))),
        run_id=run_id,
        inputs_hash=_shared(text(internal.get("inputsHash"))),
        fingerprint=_shared(text(internal.get("nodeFingerprint"))),
        validated_at=read_time(status.get("validationTime")) or 0.0,
        assessment_key=_shared(text(internal.get("assessmentKey"))),
        probe=stored_document.pack(document),
        checks=_shared(tuple(_read_checks(status.get("checks")))),
        image_digest=_shared(text(image.get("digest"))),
        platform=_shared(text(image.get("platform"))),
        unconfirmed=text(internal.get("unconfirmed")),
        pod_check=next(iter(_read_checks([mapping(internal, "podCheck")])), None),
        figures=stored_document.figures(document),
        versions=_shared(tuple(sorted(texts(status.get("versions")).items()))),
    )


def _read_checks(value: object) -> Iterable[Check]:
    for item in mappings(value):
        status = text(item.get("status"))
        if status in _STATUSES:
            reason, message, source = (text(item.get(name)) for name in ("reason", "message", "source"))
            remedies = read_remedies(item.get("remedies"))
            yield _check(text(item.get("name")), Status(status), reason, message, remedies, source)


def _read_attempt(attempt: Mapping[str, Any], internal: Mapping[str, Any]) -> Attempt | None:
    run_id, at = text(internal.get("runID")), read_time(attempt.get("time"))
    if not run_id or at is None:
        return None
    return Attempt(
        run_id=run_id,
        reason=text(attempt.get("reason")),
        message=text(attempt.get("message")),
        remedies=read_remedies(internal.get("remedies")),
        at=at,
        inputs_hash=text(internal.get("inputsHash")),
        fingerprint=text(internal.get("nodeFingerprint")),
        count=max(1, integer(attempt.get("count")) or 1),
    )
