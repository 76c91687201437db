"""JSON patches that change an object only if it is still as the operator knows it.

A write can arrive late: after a write of the operator that holds the Lease now, or when another object has taken the name.
Then it must not replace a newer verdict with an older one. The API server refuses it instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpuenv.controller.cache import Version

Operations = list[dict[str, Any]]


def in_version(version: Version) -> Operations:
    """Return the operations that refuse a patch of an object in any other version: with 409 Conflict.

    The status 422, which a failed ``test`` would have, also means that the API server refuses the content.
    """
    if not version.number:
        return [same_uid(version.uid)]
    return [{"op": "add", "path": "/metadata/resourceVersion", "value": str(version.number)}]


def same_uid(uid: str) -> dict[str, Any]:
    """Return the operation that refuses a patch of another object of the same name: with 422 Invalid."""
    return {"op": "test", "path": "/metadata/uid", "value": uid}


def replace_status(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operation that replaces a whole status. A merge patch would leave keys of the earlier one behind."""
    return {"op": "add", "path": "/status", "value": status}


@dataclass(frozen=True, slots=True)
class LabelChange:
    """A change of labels from the values ``old`` to the values ``new``, by key. None stands for a label's absence."""

    old: Mapping[str, str | None]
    new: Mapping[str, str | None]

    def operations(self) -> Operations:
        """Return the operations that make the change if the labels are still as in ``old``; otherwise 422 Invalid.

        The object must have labels. Its resource version would be no good precondition for one label, because a node
        changes whenever its kubelet reports a new state.
        """
        operations: Operations = []
        for key, value in self.new.items():
            path = f"/metadata/labels/{key.replace('~', '~0').replace('/', '~1')}"
            operations.append({"op": "test", "path": path, "value": self.old.get(key)})
            if value is not None:
                operations.append({"op": "add", "path": path, "value": value})
            elif self.old.get(key) is not None:
                operations.append({"op": "remove", "path": path})
        return operations

    def is_open(self, raw: Mapping[str, Any]) -> bool:
        """Return whether the labels of an object are still as before the change."""
        return self._of(raw) == dict(self.old)

    def is_done(self, raw: Mapping[str, Any]) -> bool:
        """Return whether the labels of an object are as after the change."""
        return self._of(raw) == dict(self.new)

    def _of(self, raw: Mapping[str, Any]) -> dict[str, str | None]:
        labels = raw["metadata"].get("labels") or {}
        return {key: labels.get(key) for key in self.new}
