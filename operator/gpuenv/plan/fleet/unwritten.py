"""A status that must not say ``Ready`` yet, because labels or reports it speaks of are not in place."""

from typing import Any, Final

from gpuenv.api import reasons
from gpuenv.api.tolerant import mappings, text
from gpuenv.plan.fleet.conditions import COMPATIBLE, MAX_MESSAGE, READY
from gpuenv.plan.objects.times import show_time

Json = dict[str, Any]

_INSTEAD: Final = {READY: "False", COMPATIBLE: "Unknown"}
"""What these conditions say in place of True."""


def held_back(status: Json, before: Json, missing: int, why: str, now: float) -> Json:
    """``status`` while ``missing`` of its results are not written; ``before`` is the environment's status so far.

    Counts and problems stay: they tell what was found. ``why``: in the API server's words, if it said something.
    """
    message = f"{missing} result{' is' if missing == 1 else 's are'} not written yet" + (
        f": {why}" if why else ""
    )
    old = {text(item.get("type")): item for item in mappings(before.get("conditions"))}
    held = status | {
        "conditions": [
            _doubtful(one, old.get(one["type"], {}), message, now)
            if one["type"] in _INSTEAD and one["status"] == "True"
            else one
            for one in status.get("conditions", ())
        ]
    }
    # Who asked for new runs is not answered either.
    observed = text(before.get("observedRevalidate"))
    held.pop("observedRevalidate", None)
    return held | ({"observedRevalidate": observed} if observed else {})


def _doubtful(condition: Json, old: Any, message: str, now: float) -> Json:
    status = _INSTEAD[condition["type"]]
    kept = old.get("lastTransitionTime") if old.get("status") == status else None
    return condition | {
        "status": status,
        "reason": reasons.ValidationRunning,
        "message": message[:MAX_MESSAGE],
        "lastTransitionTime": kept if isinstance(kept, str) else show_time(now),
    }
