"""A wrong kernel result counts only when a second process repeats it."""

from __future__ import annotations

from typing import Any

from gpuenv_probe import failures


def step_key(row: dict[str, Any]) -> str:
    """The key of the step that a row of ``steps`` came from."""
    return f"{row['name']} {row.get('dtype', '')}".strip()


def unconfirmed(first: dict[str, Any], why: str) -> dict[str, Any]:
    """The row of a wrong result that no second run has confirmed: what could not run is never a fail."""
    words = f"{first.get('detail', '')}; seen once, {why}"
    return {**first, "status": "Unconfirmed", "detail": failures.shorten(words)}


def confirmed(first: dict[str, Any], second: list[dict[str, Any]]) -> dict[str, Any]:
    """The row to report once a fresh worker was to repeat a wrong result: it did, it did not, or it could not."""
    again = second[0] if second else {}
    if again.get("status") == "Wrong":
        return {**first, "detail": failures.shorten(f"{first.get('detail', '')}; again in a fresh process")}
    if again.get("status") == "Pass":
        words = f"wrong once ({first.get('detail', '')}), right in a fresh process"
        return {**again, "detail": failures.shorten(words)}
    if again.get("status") in ("Fail", "Crashed", "TimedOut"):
        return {**first, **again}
    return unconfirmed(first, "and a fresh process did not come to it")
