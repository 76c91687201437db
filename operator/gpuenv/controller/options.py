"""The values of all flags of ``gpuenv operator``, as one object.

The defaults are defined here, except for flags that the planner or the client uses. Their defaults are in the planner's
``Settings`` and beside the client.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gpuenv.api import names
from gpuenv.controller.kube.kinds import Scope
from gpuenv.controller.kube.ratelimit import WRITES_PER_SECOND
from gpuenv.controller.monitoring.bind_address import BindAddress
from gpuenv.plan.settings import Settings, UserNamespaces

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
_PLANNER: Final = Settings()
_METRICS: Final = BindAddress("", 8080)
_HEALTH: Final = BindAddress("", 8081)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of ``gpuenv operator``, with their defaults. An address that is None switches its server off."""

    kubeconfig: str | None = None
    context: str | None = None
    probe_namespace: str = _PLANNER.probe_namespace
    lease_namespace: str = names.OPERATOR_NAMESPACE
    lease_name: str = names.OPERATOR
    max_probes: int = _PLANNER.max_probes
    node_label_selector: str = ""
    log_format: LogFormat = "text"
    log_level: LogLevel = "info"
    metrics_bind_address: BindAddress | None = _METRICS
    health_probe_bind_address: BindAddress | None = _HEALTH
    writes_per_second: float = WRITES_PER_SECOND
    sweep_seconds: float = 600.0
    retry_seconds: float = _PLANNER.retry_seconds
    stuck_seconds: float = _PLANNER.stuck_seconds
    user_namespaces: UserNamespaces = _PLANNER.user_namespaces
    mass_change_percent: int = _PLANNER.mass_change_percent
    mass_change_min_nodes: int = _PLANNER.mass_change_min_nodes
    mass_change_window_seconds: float = _PLANNER.mass_change_window_seconds
    knowledge: Path | None = None
    limits: Path | None = None

    @property
    def scope(self) -> Scope:
        """The node selector and the namespace of the probe pods, as an object that derives API paths from them."""
        return Scope(self.probe_namespace, self.node_label_selector)
