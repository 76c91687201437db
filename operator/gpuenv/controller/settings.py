"""The operator's flags as one value, and Kopf's settings in one function."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import kopf

from gpuenv.api import names
from gpuenv.controller.kube.kinds import PROBE_SELECTOR, Scope
from gpuenv.manifests.permissions import OPERATOR, OPERATOR_NAMESPACE, PROBE_NAMESPACE

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True)
class Options:
    """What ``gpuenv operator`` can be told. Ports: 0 means off."""

    kubeconfig: str | None = None
    probe_namespace: str = PROBE_NAMESPACE
    lease_namespace: str = OPERATOR_NAMESPACE
    lease_name: str = OPERATOR
    max_probes: int = 50
    node_selector: str = ""
    log_format: LogFormat = "text"
    log_level: str = "info"
    metrics_port: int = 8080
    health_port: int = 8081
    writes_per_second: float = 20.0
    sweep_seconds: float = 600.0
    retry_seconds: float = 60.0
    stuck_seconds: float = 120.0
    knowledge: Path | None = None

    @property
    def scope(self) -> Scope:
        return Scope(self.probe_namespace, self.node_selector)


class _Backoffs:
    """Pauses between Kopf's retries, for ever: an outage must not end its watches, however long it lasts."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0, 4.0)
        while True:
            yield 5.0


KOPF_FINALIZER: Final = f"{names.GROUP}/kopf"
"""Nobody sets it.

It must not be our own: Kopf removes *its* finalizer from objects without handlers that need one.
"""


def kopf_settings(scope: Scope) -> kopf.OperatorSettings:
    """Kopf as a source of events and nothing else."""
    settings = kopf.OperatorSettings()
    # Peering is no leader election, and a foreign ClusterKopfPeering named `default` would pause us.
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.finalizer = KOPF_FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP, v1=False)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP, v1=False)
    # Watches that died silently: https://github.com/nolar/kopf/issues/1276.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.watching.label_selectors["v1", "pods"] = PROBE_SELECTOR
    if scope.node_selector:
        settings.watching.label_selectors["v1", "nodes"] = scope.node_selector
    settings.networking.error_backoffs = _Backoffs()
    settings.networking.connect_timeout = 10
    # A limit would cap the throughput at limit / idle_timeout objects a second.
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 0.5
    return settings
