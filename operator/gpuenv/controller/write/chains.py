"""The order in which a plan's actions are carried out: what belongs together in turn, everything else side by side.

All actions about one validation form a chain, in the plan's order. Environments take turns, so that a large change of
one does not keep the others waiting. Within an environment its status comes first, because a claim that is no longer
true must be withdrawn before anything else; then come the chains on which GPUs depend: pods to start and to delete.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Final

from gpuenv.plan.model import (
    Action,
    AddFinalizer,
    Cleanup,
    CreatePod,
    DeletePod,
    LeaveNode,
    OrphanedEnvironment,
    PodRecord,
    PostEvent,
    SetLabel,
    SetNodeCondition,
    ValidationKey,
    WriteReport,
    WriteStatus,
)

Chain = tuple[ValidationKey, list[Action]]

NODE_WRITES: Final = (SetLabel, SetNodeCondition)
"""Actions that may be refused without stopping the rest of their chain."""


def chains(actions: Sequence[Action], pods: Mapping[str, PodRecord]) -> deque[Chain]:
    """Return the chains in the order in which they are to be started. Events belong to none."""
    found: dict[ValidationKey, list[Action]] = {}
    for action in actions:
        if not isinstance(action, PostEvent):
            found.setdefault(_key(action, pods), []).append(action)
    return deque(_in_turn(found.items()))


def _in_turn(chains: Iterable[Chain]) -> Iterable[Chain]:
    groups: dict[str, list[Chain]] = {}
    for chain in chains:
        (environment, _), _ = chain
        groups.setdefault(environment, []).append(chain)
    for found in groups.values():
        found.sort(key=_rank)
    return (chain for row in zip_longest(*groups.values()) for chain in row if chain is not None)


def _rank(chain: Chain) -> int:
    _, actions = chain
    if isinstance(actions[0], WriteStatus):
        return 0
    return 1 if any(isinstance(action, CreatePod | DeletePod) for action in actions) else 2


def _key(action: Action, pods: Mapping[str, PodRecord]) -> ValidationKey:
    match action:
        case (
            CreatePod(environment=environment, node=node)
            | WriteReport(environment=environment, node=node)
            | SetLabel(environment=environment, node=node)
            | SetNodeCondition(environment=environment, node=node)
            | LeaveNode(environment=environment, node=node)
        ):
            return environment, node
        case DeletePod(name=name):
            pod = pods.get(name)
            return (pod.environment, pod.node) if pod is not None else ("", name)
        case (
            AddFinalizer(environment=environment)
            | Cleanup(environment=environment)
            | OrphanedEnvironment(environment=environment)
            | WriteStatus(environment=environment)
        ):
            return environment, ""
    raise TypeError(f"no such action: {action!r}")


def title(action: Action) -> str:
    """Return one action as a line of the log."""
    what = [getattr(action, name, None) for name in ("environment", "node", "name")]
    return " ".join([type(action).__name__, *(str(one) for one in what if one)])
