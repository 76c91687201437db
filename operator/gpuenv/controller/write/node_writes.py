"""Writes labels and conditions of nodes: only gpuenv's own, and only if they are still as the cache has them."""

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Final

from gpuenv.api import names
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.write.access import Access, StaleError
from gpuenv.controller.write.preconditions import LabelChange, same_uid
from gpuenv.plan.actions import SetLabel, SetNodeCondition
from gpuenv.plan.objects.times import show_time

ATTEMPTS: Final = 3
"""How many times a node's condition is written if others change the node at the same time."""


class NodeWrites(Access):
    """Carries out the actions of a plan that change a node, and removes what gpuenv has put on nodes.

    Each method raises ApiError if the API server refuses a request, and StaleError if the action was planned from an
    outdated state.
    """

    async def set_label(self, action: SetLabel) -> None:
        """Set the label of one environment on a node. A value of None removes the label.

        The patch changes only this label. With server-side apply, each request would have to repeat the labels of all
        other environments, because the API server would remove those that the request does not contain.
        """
        node, key = self.cache.nodes.get(action.node), names.node_label(action.environment)
        if node is None or node.uid != action.node_uid:
            raise StaleError(f"node {action.node} is gone or was replaced")
        old = node.compat.get(action.environment)
        if old != action.value:
            change = LabelChange({key: old}, {key: action.value})
            await self._change_labels(action.node, node.uid, change, bare=not node.labels)

    async def remove_labels(self, node: str, uid: str, labels: Mapping[str, str]) -> None:
        """Remove labels with these keys and values from a node, whether or not the node selector matches it."""
        await self._change_labels(node, uid, LabelChange(labels, dict.fromkeys(labels)))

    async def _change_labels(self, node: str, uid: str, change: LabelChange, *, bare: bool = False) -> None:
        """Change labels of a node. ``bare``: it has no labels at all, so that a JSON patch would fail."""
        path = self.scope.item("nodes", node)
        body = {"metadata": {"uid": uid, "labels": dict(change.new)}}
        operations = [same_uid(uid), *change.operations()]
        patch = self.kube.merge_patch(path, body) if bare else self.kube.json_patch(path, operations)
        await self._patch_node(node, uid, patch, change)

    async def set_condition(self, action: SetNodeCondition) -> None:
        """Set the condition of one environment on a node. A status of None removes the condition.

        A node that is not in the cache is not changed. If others have changed the node meanwhile, but not this
        condition, the request is repeated.
        """
        kind = names.node_label(action.environment)
        before: tuple[str, str] | None = None
        for attempt in range(ATTEMPTS):
            record = self.cache.nodes.get(action.node)
            if record is None:
                return
            if action.status is None:
                await self.remove_conditions(action.node, record.uid, [kind])
                return
            known = record.compat_conditions.get(action.environment, ("", ""))
            if attempt and known != before:
                break
            before = known
            condition = self._condition(kind, action, since_now=known[0] != action.status)
            try:
                await self._patch_conditions(action.node, record.uid, [condition], in_version=True)
            except ApiError as error:
                if error.status != 409:
                    raise
            else:
                return
        raise StaleError(f"node {action.node} changed meanwhile")

    def _condition(self, kind: str, action: SetNodeCondition, *, since_now: bool) -> dict[str, Any]:
        now = show_time(self.clock())
        condition = {
            "type": kind,
            "status": action.status,
            "reason": action.reason,
            "message": action.message,
            "lastHeartbeatTime": now,
        }
        return condition | {"lastTransitionTime": now} if since_now else condition

    async def remove_conditions(self, node: str, uid: str, kinds: Iterable[str]) -> None:
        """Remove conditions of the types ``kinds`` from a node, whether or not the node selector matches it."""
        await self._patch_conditions(node, uid, [{"type": kind, "$patch": "delete"} for kind in kinds])

    async def _patch_conditions(
        self, node: str, uid: str, conditions: list[dict[str, Any]], *, in_version: bool = False
    ) -> None:
        """Change conditions of a node. With ``in_version``, only if the node is as the cache has it."""
        known = self.cache.version("nodes", node)
        metadata = {"uid": uid}
        if in_version and known is not None and known.number:
            metadata["resourceVersion"] = str(known.number)
        body = {"metadata": metadata, "status": {"conditions": conditions}}
        path = self.scope.item("nodes", node) + "/status"
        await self._patch_node(node, uid, self.kube.strategic_patch(path, body))

    async def _patch_node(
        self, name: str, uid: str, patch: Awaitable[Any], labels: LabelChange | None = None
    ) -> None:
        """Send a patch of a node, which changes ``labels`` if that is given."""
        try:
            raw = await patch
        except ApiError as error:
            # 404: the node is gone. 409: it has changed. 422: another node has that name now, a test has failed, or a
            # policy refuses the change.
            raw = await self.found_after(error, "nodes", name, uid)
            if raw is None:
                raise StaleError(f"node {name} is gone or was replaced") from error
            if labels is None or labels.is_open(raw):
                raise
            if not labels.is_done(raw):  # done: by this request, whose answer was lost
                raise StaleError(f"the labels of node {name} changed meanwhile") from error
        # A node outside the operator's node selector must not enter the cache: the planner would include it.
        if name in self.cache.nodes:
            self.cache.put("nodes", raw)
