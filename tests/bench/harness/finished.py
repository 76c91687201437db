"""A fleet of which everything has been validated: its environments and, for each, a model of a node report."""

from typing import Any

from tests.support.world import World

Object = dict[str, Any]

NODE = "n0"
"""The node of the models."""


def finished(environments: int, now: float) -> World:
    """Return a world with one node and so many environments, in which each has validated the node at ``now``."""
    world = World()
    world.now = now
    for index in range(environments):
        world.environment(f"pt-{index}", image=f"pytorch/pytorch:2.9.{index}")
    world.node(NODE)
    for _ in range(environments):
        world.settle()
        for pod in list(world.cache.pods.values()):
            world.finish(environment=pod.environment, node=pod.node)
    world.settle()
    return world


def copied_report(model: Object, node: str, uid: str, fingerprint: str) -> Object:
    """Return the node report that a validation of another node gives, if it finds the same as on the model's node.

    ``uid`` and ``fingerprint`` are those of the other node.
    """
    environment = model["spec"]["environmentName"]
    internal = model["status"]["internal"] | {"nodeFingerprint": fingerprint}
    return {
        **model,
        "metadata": {
            **model["metadata"],
            "name": f"{environment}.{node}",
            "uid": f"{model['metadata']['uid']}-{node}",
        },
        "spec": {**model["spec"], "nodeName": node, "nodeUID": uid},
        "status": model["status"] | {"internal": internal},
    }
