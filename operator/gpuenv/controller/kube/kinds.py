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
"""Path of Events about cluster-scoped objects. The API server accepts these only in the namespace ``default``."""
PROBE_SELECTOR: Final = f"{names.LABEL_COMPONENT}={names.COMPONENT_PROBE}"


@dataclass(frozen=True, slots=True)
class Scope:
    """The namespace of the probe pods and the selector of the nodes that this operator works with.

    ``node_selector`` is a label selector in the syntax of the API server; "" selects all nodes.
    """

    probe_namespace: str
    node_selector: str = ""

    @property
    def pods(self) -> str:
        """The API path of the pods in the probe namespace."""
        return f"/api/v1/namespaces/{self.probe_namespace}/pods"

    def path(self, kind: KindName) -> str:
        """Return the API path under which the objects of a kind are listed."""
        return {"environments": ENVIRONMENTS, "nodes": NODES, "pods": self.pods, "reports": REPORTS}[kind]

    def item(self, kind: KindName, name: str) -> str:
        """Return the API path of the object with this kind and name."""
        return f"{self.path(kind)}/{name}"

    def selector(self, kind: KindName) -> str:
        """Return the label selector for listing and watching objects of a kind; "" selects all of them."""
        return {"nodes": self.node_selector, "pods": PROBE_SELECTOR}.get(kind, "")
