"""The settings that the operator gives to Kopf."""

from collections.abc import Iterator
from typing import Final

import kopf

from gpuenv.api import names
from gpuenv.controller.kube.client import WATCH_SILENCE_SECONDS
from gpuenv.controller.kube.kinds import PROBE_SELECTOR, Scope
from gpuenv.controller.watch.storages import NoDiffBase, NoProgress


class _EndlessPauses:
    """An endless series of pauses, in seconds, between Kopf's retries of one request.

    Kopf gives up after the last pause (``request`` in kopf/_cogs/clients/api.py), so with a finite series a long outage
    would end its watches. Kopf iterates over this object again for each request. A generator would be used up by the
    first one.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0, 4.0)
        while True:
            yield 5.0


KOPF_FINALIZER: Final = f"{names.GROUP}/kopf"
"""The finalizer that Kopf treats as its own. No object ever has it.

Kopf removes its finalizer from every object for which no handler needs one (``process_resource_causes`` in
kopf/_core/reactor/processing.py), and ``on.event`` handlers need none. If this were gpuenv's own finalizer, Kopf would
remove it from environments that are still to be cleaned up. If it were Kopf's default, Kopf would remove the finalizers
of other operators that are built with Kopf.
"""


def kopf_settings(scope: Scope) -> kopf.OperatorSettings:
    """Return settings with which Kopf delivers watch events and does nothing else."""
    settings = kopf.OperatorSettings()
    # Kopf's peering is no leader election, and a foreign ClusterKopfPeering named `default` would pause gpuenv.
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.finalizer = KOPF_FINALIZER
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDiffBase()
    # Kopf ends its process with SIGKILL ten minutes after one of its tasks has failed. Ours starts its watches again.
    settings.process.ultimate_exiting_timeout = None
    # A watch can die silently (https://github.com/nolar/kopf/issues/1276), so each lasts five minutes at most, and is
    # opened anew when not even a bookmark has come. The API server sends one every minute.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.inactivity_timeout = WATCH_SILENCE_SECONDS
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.watching.label_selectors["v1", "pods"] = PROBE_SELECTOR
    if scope.node_selector:
        settings.watching.label_selectors["v1", "nodes"] = scope.node_selector
    settings.networking.error_backoffs = _EndlessPauses()
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 30
    # With a limit, Kopf would handle at most `limit / idle_timeout` objects a second.
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 0.5
    return settings
