"""Decides how wrong kernel results are reported: as Wrong only if a second worker process repeats them."""

from __future__ import annotations

from typing import Any

from gpuenv_probe import failures, statuses


def step_key(row: dict[str, Any]) -> str:
    """Return the key of the step that produced this row of the report's list ``steps``."""
    return f"{row['name']} {row.get('dtype', '')}".strip()


def unconfirmed(first: dict[str, Any], why: str) -> dict[str, Any]:
    """Return the row of a wrong result that no second process has confirmed, for the reason ``why``.

    Such a row must not count as a failure.
    """
    words = f"{first.get('detail', '')}; seen once, {why}"
    return {**first, "status": statuses.UNCONFIRMED, "detail": failures.shorten(words)}


def confirmed(first: dict[str, Any], second: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row to report after a second worker process ran the step of the wrong result ``first`` again.

    ``second`` holds the second worker's rows. It is empty if that worker did not reach the step.
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
