"""The four kinds of objects that the operator watches, and their paths on the API server."""

from dataclasses import dataclass
from typing import Final, Literal

from gpuenv.api import names

KindName = Literal["environments", "nodes", "pods", "reports"]
KINDS: Final[tuple[KindName, ...]] = ("environments", "nodes", "pods", "reports")

ENVIRONMENTS: Final = f"/apis/{names.API_VERSION}/{names.ENVIRONMENT_PLURAL}"
REPORTS: Final = f"/apis/{names.API_VERSION}/{names.REPORT_PLURAL}"
NODES: Final = "/api/v1/nodes"
EVENTS: Final = "/api/v1/namespaces/default/events"
"""Events about cluster-scoped objects must be in ``default``; the API server refuses them elsewhere."""
PROBE_SELECTOR: Final = f"{names.LABEL_COMPONENT}={names.COMPONENT_PROBE}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects this operator looks at.

    ``node_selector`` is a label selector as the API server understands it; "" selects all nodes.
    """

    probe_namespace: str
    node_selector: str = ""

    @property
    def pods(self) -> str:
        """The path of all pods in the probe namespace."""
        return f"/api/v1/namespaces/{self.probe_namespace}/pods"

    def path(self, kind: KindName) -> str:
        """Return the path of all objects of a kind."""
        return {"environments": ENVIRONMENTS, "nodes": NODES, "pods": self.pods, "reports": REPORTS}[kind]

    def item(self, kind: KindName, name: str) -> str:
        """Return the path of one object."""
        return f"{self.path(kind)}/{name}"

    def selector(self, kind: KindName) -> str:
        """Return the label selector of lists and watches of a kind; "" for all objects."""
        return {"nodes": self.node_selector, "pods": PROBE_SELECTOR}.get(kind, "")
