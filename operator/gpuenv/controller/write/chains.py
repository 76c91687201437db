"""The order in which a plan is carried out: chains of dependent actions, with the environments taking turns."""

from collections import deque
from itertools import zip_longest

from gpuenv.plan.actions import ChainAction, CreatePod, DeletePod, LookAtPod, Plan
from gpuenv.plan.snapshot import ValidationKey

Chain = tuple[ValidationKey, tuple[ChainAction, ...]]
"""The key of a validation, and its actions, which are carried out one after the other.

In the key, the node is "" if the action is about the environment itself.
"""


def chains(plan: Plan) -> deque[Chain]:
    """Return the chains of a plan, in the order in which they should be started.

    Environments take turns, so that a large change of one does not keep the others waiting. Within an environment, its
    status is written first, because a status that is no longer true must be corrected before anything else. Then come
    the chains that start or delete pods, because GPUs wait for these.
    """
    groups: dict[str, list[Chain]] = {name: [((name, ""), (one,))] for name, one in plan.environments.items()}
    for chain in sorted(plan.validations.items(), key=_starts_no_pod_and_deletes_none):
        (environment, _), _ = chain
        groups.setdefault(environment, []).append(chain)
    return deque(chain for row in zip_longest(*groups.values()) for chain in row if chain is not None)


def _starts_no_pod_and_deletes_none(chain: Chain) -> bool:
    _, actions = chain
    return not any(isinstance(action, CreatePod | DeletePod | LookAtPod) for action in actions)


def title(action: ChainAction) -> str:
    """Describe an action for the log: its class, and its environment, node and name if it has these."""
    what = [getattr(action, name, None) for name in ("environment", "node", "name")]
    return " ".join([type(action).__name__, *(str(one) for one in what if one)])
