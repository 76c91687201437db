"""Decides how a wrong kernel result is reported: as Wrong only if it is wrong in a second worker process too."""

from __future__ import annotations

from typing import Any

from gpuenv_probe import failures, statuses


def step_key(row: dict[str, Any]) -> str:
    """Return the key of the step that produced ``row``, a row of the list ``steps`` in the probe report."""
    return f"{row['name']} {row.get('dtype', '')}".strip()


def unconfirmed(first: dict[str, Any], why: str) -> dict[str, Any]:
    """Return ``first``, the row of a wrong result, with the status Unconfirmed and the reason ``why``.

    The reason says why no second worker process has confirmed the result. An unconfirmed result is no failure.
    """
    words = f"{first.get('detail', '')}; seen once, {why}"
    return {**first, "status": statuses.UNCONFIRMED, "detail": failures.shorten(words)}


def confirmed(first: dict[str, Any], second: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row to report after a second worker process ran the step of the wrong result ``first`` again.

    The row has the status Wrong if the second result is wrong too, Pass if it is right, the status of the second worker
    if the step failed there, and else Unconfirmed. ``second`` holds the second worker's rows. It is empty if that
    worker did not reach the step.
    """
    again = second[0] if second else {}
    if again.get("status") == statuses.WRONG:
        return {**first, "detail": failures.shorten(f"{first.get('detail', '')}; again in a fresh process")}
    if again.get("status") == statuses.PASS:
        words = f"wrong once ({first.get('detail', '')}), right in a fresh process"
        return {**again, "detail": failures.shorten(words)}
    if again.get("status") in (statuses.FAIL, statuses.CRASHED, statuses.TIMED_OUT):
        return {**first, **again}
    return unconfirmed(first, "and a fresh process did not come to it")
