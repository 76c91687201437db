"""Counts the requests of one user at the API server, with an audit log that holds nothing else."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from gpuenv.api.names import OPERATOR, OPERATOR_NAMESPACE

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
OF_A_VALIDATION = frozenset({"pods", "gpunodereports", "gpunodereports/status", "nodes"})
"""The kinds of objects that belong to one node. All others belong to an environment or to the operator itself."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the API server has answered. ``began`` and ``ended`` are seconds since the epoch."""

    verb: str
    resource: str
    code: int
    began: float
    ended: float

    @classmethod
    def read(cls, event: dict[str, Any]) -> Self:
        """Return the request of an event of the audit log."""
        about = event.get("objectRef") or {}
        parts = (about.get("resource", "?"), about.get("subresource"))
        return cls(
            event["verb"],
            "/".join(part for part in parts if part),
            int((event.get("responseStatus") or {}).get("code", 0)),
            datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(),
            datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
        )

    @property
    def kind(self) -> str:
        """The verb and the resource, such as ``create pods``."""
        return f"{self.verb} {self.resource}"


class AuditLog:
    """The audit log of an API server: all answered requests with the operator's service account.

    The API server has to be started with the flags in ``flags``, which name files in the directory ``directory``.
    """

    def __init__(self, directory: Path) -> None:
        self._log = directory / "audit.jsonl"
        policy = directory / "audit-policy.json"
        policy.write_text(json.dumps(_policy()), encoding="utf-8")
        self.flags = [f"--audit-policy-file={policy}", f"--audit-log-path={self._log}"]

    def size(self) -> int:
        """Return the position of the end of the log, from which :meth:`since` reads later."""
        return self._log.stat().st_size

    def since(self, position: int) -> list[Request]:
        """Return all requests that were answered after :meth:`size` returned ``position``."""
        return self.read(position)[0]

    def read(self, position: int) -> tuple[list[Request], int]:
        """Return the requests after ``position``, and the position after them. A line that is not complete is left."""
        with self._log.open("rb") as log:
            log.seek(position)
            whole = log.read().rpartition(b"\n")[0]
        found = [Request.read(json.loads(line)) for line in whole.splitlines()]
        return found, position + len(whole) + bool(whole)


def writes(requests: Iterable[Request]) -> Counter[str]:
    """Return how many writes about validations the requests contain, by verb and resource.

    Writes that the API server has refused count too.
    """
    return Counter(
        request.kind for request in requests if request.verb in WRITES and request.resource in OF_A_VALIDATION
    )


def others(requests: Iterable[Request]) -> Counter[str]:
    """Return how many requests are no writes about a validation, by verb and resource."""
    found = list(requests)
    return Counter(request.kind for request in found) - writes(found)


def seconds(requests: Iterable[Request]) -> float:
    """Return the time from the creation of the first probe pod until the last label was written, in seconds.

    If no label was written, the time is until the last probe pod was deleted.
    """
    found = list(requests)
    began = min(one.began for one in found if one.kind == "create pods")
    labels = [one.ended for one in found if one.kind == "patch nodes"]
    return max(labels or [one.ended for one in found if one.kind == "delete pods"]) - began


def _policy() -> dict[str, Any]:
    operator = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}"
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "users": [operator]}, {"level": "None"}],
    }
