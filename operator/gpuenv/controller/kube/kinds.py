"""The four kinds the operator watches, and where the API server keeps them."""

from dataclasses import dataclass
from typing import Final, Literal

from gpuenv.api import names

KindName = Literal["environments", "nodes", "pods", "reports"]
KINDS: Final[tuple[KindName, ...]] = ("environments", "nodes", "pods", "reports")

ENVIRONMENTS: Final = f"/apis/{names.API_VERSION}/{names.ENVIRONMENT_PLURAL}"
REPORTS: Final = f"/apis/{names.API_VERSION}/{names.REPORT_PLURAL}"
NODES: Final = "/api/v1/nodes"
EVENTS: Final = "/api/v1/namespaces/default/events"
"""Events about cluster-scoped objects live in ``default``; elsewhere the API server refuses them."""
PROBE_SELECTOR: Final = f"{names.LABEL_COMPONENT}={names.COMPONENT_PROBE}"


@dataclass(frozen=True, slots=True)
class Scope:
    """What this operator looks at.

    ``node_selector`` is a label selector of the server's own syntax ("" for all).
    """

    probe_namespace: str
    node_selector: str = ""

    @property
    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.probe_namespace}/pods"

    def path(self, kind: KindName) -> str:
        """Path of the collection."""
        return {"environments": ENVIRONMENTS, "nodes": NODES, "pods": self.pods, "reports": REPORTS}[kind]

    def item(self, kind: KindName, name: str) -> str:
        """Path of one object."""
        return f"{self.path(kind)}/{name}"

    def selector(self, kind: KindName) -> str:
        """Label selector that lists and watches of ``kind`` carry; "" for none."""
        return {"nodes": self.node_selector, "pods": PROBE_SELECTOR}.get(kind, "")
