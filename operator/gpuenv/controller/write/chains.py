"""From a plan's actions to chains: what belongs together stays in the plan's order, and nobody waits for long.

All actions about one (environment, node) form a chain. Chains are taken up environment by environment in turn,
so that a large change of one does not keep the others waiting, and within an environment those first on which
GPUs depend: pods to start and pods that have ended.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from gpuenv.api import names
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
"""What may be refused without harm to what follows it in its chain."""
RESULTS: Final = (WriteReport, *NODE_WRITES)
"""What has to be in place before an environment may be called ready."""


@dataclass(frozen=True, slots=True)
class Work:
    """A plan, sorted. ``news``: Events about environments. ``statuses``: each with the Events that go with it."""

    news: list[PostEvent]
    chains: deque[Chain]
    statuses: list[Chain]


def sort(actions: Sequence[Action], pods: Mapping[str, PodRecord]) -> Work:
    """Chains in the order in which they are to be taken up."""
    reports = {one.name: (one.environment, one.node) for one in actions if isinstance(one, WriteReport)}
    news: list[PostEvent] = []
    chains: dict[ValidationKey, list[Action]] = {}
    statuses: dict[ValidationKey, list[Action]] = {}
    for action in actions:
        key = _key(action, pods, reports)
        if key in statuses or isinstance(action, WriteStatus):
            statuses.setdefault(key, []).append(action)
        elif isinstance(action, PostEvent) and action.kind == names.ENVIRONMENT_KIND:
            news.append(action)
        else:
            chains.setdefault(key, []).append(action)
    return Work(news, deque(_in_turn(chains.items())), list(statuses.items()))


def _in_turn(chains: Iterable[Chain]) -> Iterable[Chain]:
    groups: dict[str, list[Chain]] = {}
    for chain in chains:
        (environment, _), _ = chain
        groups.setdefault(environment, []).append(chain)
    for found in groups.values():
        found.sort(key=_without_pods)
    return (chain for row in zip_longest(*groups.values()) for chain in row if chain is not None)


def _without_pods(chain: Chain) -> bool:
    return not any(isinstance(action, CreatePod | DeletePod) for action in chain[1])


def _key(
    action: Action, pods: Mapping[str, PodRecord], reports: Mapping[str, ValidationKey]
) -> ValidationKey:
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
        case PostEvent(kind=names.ENVIRONMENT_KIND, name=name):
            return name, ""
        case PostEvent(name=name):
            return reports.get(name, ("", name))
        case (
            AddFinalizer(environment=environment)
            | Cleanup(environment=environment)
            | OrphanedEnvironment(environment=environment)
            | WriteStatus(environment=environment)
        ):
            return environment, ""


def title(action: Action) -> str:
    """One action in a line of the log."""
    what = [getattr(action, name, None) for name in ("environment", "node", "name")]
    return " ".join([type(action).__name__, *(str(one) for one in what if one)])
