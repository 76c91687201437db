"""Runs the operator: creates its parts, starts them in order, and stops them within a few seconds."""

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from gpuenv import __version__, knowledge
from gpuenv.api.limits.limits import Limits
from gpuenv.api.names import OPERATOR
from gpuenv.controller import limits_file, logs, probe_files, selfcheck
from gpuenv.controller.bundle import build_zipapp
from gpuenv.controller.cache import Cache
from gpuenv.controller.kube.client import Kube
from gpuenv.controller.kube.errors import ApiError
from gpuenv.controller.kube.kinds import KINDS, KindName
from gpuenv.controller.kube.kubeconfig import KubeconfigError
from gpuenv.controller.kube.server_clock import ServerClock
from gpuenv.controller.lease import Lease, LeaseLostError, new_identity
from gpuenv.controller.limits_file import LimitsError
from gpuenv.controller.monitoring import health, http_server
from gpuenv.controller.monitoring.health import ProcessHealth
from gpuenv.controller.monitoring.metrics import Metrics
from gpuenv.controller.options import Options
from gpuenv.controller.probe_files import ProbeFiles
from gpuenv.controller.reconcile import Planner, Reconciler
from gpuenv.controller.sweep import Sweeper
from gpuenv.controller.tasks import after, cancel, unless
from gpuenv.controller.watch.watch import SilentWatchError, Watch
from gpuenv.controller.write import lanes
from gpuenv.controller.write.events import EventPoster
from gpuenv.controller.write.executor import Executor
from gpuenv.controller.write.removal import Removal
from gpuenv.controller.write.writes import Writes
from gpuenv.knowledge import KnowledgeError
from gpuenv.knowledge.model import Knowledge
from gpuenv.plan import planner
from gpuenv.plan.actions import Plan
from gpuenv.plan.allowance import Allowance
from gpuenv.plan.memo import Memo
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import Snapshot

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A pod has 30 seconds to stop, so these limits for stopping, and that of tasks.cancel, add up to less.
WATCHES_STOP_SECONDS: Final = 6.0
"""How long the operator waits for its watches to end when it stops. Each of them ends earlier by itself."""
RELEASE_SECONDS: Final = 2.0
"""How long the operator tries to release the Lease when it stops."""
READS_IN_FLIGHT: Final = 16
"""How many requests may be in flight beside the actions of plans: lists, Events and the ConfigMap of the probe."""
RETRY_SECONDS: Final = 5.0
"""Pause before the operator, while it starts, repeats a failed request."""
LEASE_WRITES_PER_SECOND: Final = 5.0
"""Rate limit of the client that renews the Lease.

The Lease has its own client, whose limit does not depend on ``--writes-per-second``, because a renewal must not wait
behind the writes of a large plan.
"""

EXIT_STOPPED: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


def main(options: Options) -> int:
    """Run the operator, and return the exit code.

    0: SIGTERM or SIGINT stopped the operator. 1: a part failed, and the process has to be restarted. 2: the operator
    cannot start.
    """
    logs.configure(options.log_format, options.log_level)
    try:
        return asyncio.run(operate(options))
    except (KubeconfigError, KnowledgeError, LimitsError, OSError) as error:
        logger.error("cannot start: %s", error)
        return EXIT_USAGE


async def operate(options: Options) -> int:
    """Run the operator until it is stopped or fails, and return the exit code 0 or 1, as :func:`main` does.

    Raises KubeconfigError without usable credentials, KnowledgeError if the tables cannot be loaded, LimitsError if the
    limits file is invalid, and OSError when a port is in use.
    """
    asyncio.get_running_loop().set_exception_handler(logs.unhandled)
    stop = asyncio.Event()
    _take_signals(stop)
    logger.info("gpuenv %s starts", __version__)
    tables = knowledge.load(options.knowledge)
    limits = limits_file.read(options.limits) if options.limits is not None else Limits()
    server_clock = ServerClock()
    cache = Cache(server_time=lambda: server_clock.time)
    metrics = Metrics(cache)
    metrics.skew = lambda: server_clock.skew
    alive = ProcessHealth()
    async with contextlib.AsyncExitStack() as stack:
        connect = functools.partial(
            Kube.from_environment,
            options.kubeconfig,
            options.context,
            # A kubeconfig that an image or a volume brings into the Deployment's pod must not send the operator elsewhere.
            pod_first=True,
            agent=OPERATOR,
            observe=metrics.request,
        )
        clients: list[Kube] = []
        in_flight = lanes.PLACES + READS_IN_FLIGHT
        for writes_per_second in (options.writes_per_second, LEASE_WRITES_PER_SECOND):
            # This may take long: a kubeconfig file may have a program provide the credentials.
            connecting = connect(writes_per_second=writes_per_second, max_in_flight=in_flight)
            client = await unless(stop, connecting)
            if client is None:
                return EXIT_STOPPED
            client.server_clock = server_clock
            clients.append(await stack.enter_async_context(client))
        kube, own = clients
        addresses = {
            http_server.Server.HEALTH: options.health_probe_bind_address,
            http_server.Server.METRICS: options.metrics_bind_address,
        }
        await stack.enter_async_context(http_server.serve(alive, metrics.text, addresses))
        operator = Operator(
            options,
            kube=kube,
            lease_kube=own,
            cache=cache,
            metrics=metrics,
            alive=alive,
            tables=tables,
            limits=limits,
        )
        return await operator.run(stop)


class Operator:
    """Starts the parts of the operator in order, and stops them all when one of them fails.

    The self-check, the Lease and the probe's ConfigMap come first, one after the other. Then lists and sweeps, the
    planner, the poster of Events and Kopf run side by side; the planner makes no plan before the first lists are
    complete.
    """

    def __init__(
        self,
        options: Options,
        *,
        kube: Kube,
        lease_kube: Kube,
        cache: Cache,
        metrics: Metrics,
        alive: ProcessHealth,
        tables: Knowledge,
        limits: Limits,
    ) -> None:
        self._options = options
        self._limits = limits
        self._scope = options.scope
        self._kube = kube
        self._cache = cache
        self._metrics = metrics
        self._alive = alive
        self._tables = tables
        self._identity = new_identity()
        self._files = ProbeFiles(
            kube,
            self._scope,
            probe_files.config_map(build_zipapp(), options.probe_namespace),
            failed=functools.partial(metrics.error, "probe files"),
        )
        self._lease = Lease(
            lease_kube,
            options.lease_namespace,
            options.lease_name,
            self._identity,
            beat=self._beats("lease"),
        )
        kube.permit = lambda: self._lease.seconds_left
        metrics.lease_held = lambda: self._lease.held
        for name in ("permissions", "lease", "probe files", "lists"):
            alive.wait(name, "not there yet")

    async def run(self, stop: asyncio.Event) -> int:
        """Run all parts until ``stop`` is set or one of them fails, and return the exit code."""
        try:
            settings = await unless(stop, self._prepare())
            return await self._operate(settings, stop) if settings is not None else EXIT_STOPPED
        finally:
            await self._release()

    async def _prepare(self) -> Settings:
        """Wait for CRDs, permissions, the Lease and the probe's ConfigMap, and return the planner's settings."""
        await selfcheck.wait(
            self._kube,
            self._options,
            waiting=functools.partial(self._alive.wait, "permissions"),
            meanwhile=self._finish_deletions,
            beat=self._beats("start"),
        )
        self._alive.done("permissions")
        self._alive.stopped("start")
        await self._lease.acquire()
        self._alive.done("lease")
        self._alive.expect("lease", lambda: self._lease.problem)
        openshift = await self._insist("lists", lambda: selfcheck.is_openshift(self._kube))
        await self._insist("probe files", self._files.ensure)
        self._alive.done("probe files")
        self._alive.stopped("start")
        return Settings(
            max_probes=self._options.max_probes,
            probe_namespace=self._options.probe_namespace,
            config_map=self._files.name,
            retry_seconds=self._options.retry_seconds,
            stuck_seconds=self._options.stuck_seconds,
            openshift=openshift,
            user_namespaces=self._options.user_namespaces,
            mass_change_percent=self._options.mass_change_percent,
            mass_change_min_nodes=self._options.mass_change_min_nodes,
            mass_change_window_seconds=self._options.mass_change_window_seconds,
            limits=self._limits,
        )

    async def _finish_deletions(self) -> None:
        """Clean up all environments that are being deleted, unless another operator holds the Lease."""
        if await self._lease.try_once():
            await Removal(Writes(self._kube, Cache(), self._scope)).finish_deletions()

    async def _operate(self, settings: Settings, stop: asyncio.Event) -> int:
        sweeper = Sweeper(
            self._kube,
            self._cache,
            self._scope,
            self._metrics,
            seconds=self._options.sweep_seconds,
            beat=self._beats("sweep", 2 * self._options.sweep_seconds),
            swept=lambda kind, missed: watches[kind].swept(missed=missed),
        )
        watches = {kind: self._watch(kind, sweeper, stop) for kind in KINDS}
        self._metrics.watches = {kind: one.signs.is_open for kind, one in watches.items()}
        poster = EventPoster(self._kube, self._identity, dropped=self._metrics.events_dropped.inc)
        executor = Executor(
            Writes(self._kube, self._cache, self._scope),
            poster,
            self._metrics,
            before_pod=self._files.before_pod,
        )
        reconciler = Reconciler(
            self._cache,
            _planner(self._tables),
            executor,
            settings,
            self._metrics,
            allowed=self._lease.wait_held,
            beat=self._beats("plan"),
        )
        self._alive.expect("plan", lambda: reconciler.problem)
        self._cache.changed = reconciler.wake
        self._cache.learned = lambda kind, version: watches[kind].signs.learned(version)
        listed = asyncio.Event()
        loops = [
            asyncio.create_task(self._lease.keep(), name="lease"),
            asyncio.create_task(self._lists(sweeper, listed), name="sweep"),
            asyncio.create_task(reconciler.run(), name="planner"),
            asyncio.create_task(poster.run(), name="events"),
            asyncio.create_task(self._files.keep(self._cache.pods.values), name="probe files"),
        ]
        streams = [
            asyncio.create_task(after(listed, one.run), name=f"watch of {kind}")
            for kind, one in watches.items()
        ]
        stopping = asyncio.create_task(stop.wait(), name="signal")
        try:
            done, _ = await asyncio.wait({*loops, *streams, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return EXIT_STOPPED if stopping in done else _failed(done)
        finally:
            logger.info("stopping")
            self._alive.wait("operator", "is stopping")
            await cancel([*loops, stopping])
            await executor.stop()
            await self._release()  # nothing is written any more, so another operator may start
            await cancel(streams, WATCHES_STOP_SECONDS)

    def _watch(self, kind: KindName, sweeper: Sweeper, stop: asyncio.Event) -> Watch:
        """Return the watch of one kind of objects. Its state is part of ``/readyz``."""
        watch = Watch(
            kind,
            self._kube,
            self._cache,
            self._options,
            self._identity,
            relisted=sweeper.request,
            started=functools.partial(_take_signals, stop),
            restarted=self._metrics.watch_restarted,
        )
        self._alive.expect(f"watch of {kind}", lambda: watch.signs.problem)
        return watch

    async def _lists(self, sweeper: Sweeper, listed: asyncio.Event) -> None:
        """List all objects once, so that the planner and the watches can start, and then run sweeps until cancelled.

        A watch begins with a list of its own. At the same time as these lists, it would delay the first plan and take
        memory for twice as many objects at once.
        """
        await sweeper.sync()
        listed.set()
        self._alive.done("lists")
        logger.info(
            "knows %d nodes and %d environments", len(self._cache.nodes), len(self._cache.environments)
        )
        await sweeper.run()

    async def _release(self) -> None:
        """Release the Lease, but give up after RELEASE_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._lease.release()

    async def _insist(self, name: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Call ``ask`` again and again until it raises no ApiError, and return its result.

        Meanwhile ``/readyz`` shows the last error under ``name``.
        """
        last = ""
        while True:
            self._beats("start")()
            try:
                return await ask()
            except ApiError as error:
                if str(error) != last:
                    logger.error("%s; waiting", error)
                last = str(error)
                self._alive.wait(name, last)
            await asyncio.sleep(RETRY_SECONDS)

    def _beats(self, name: str, limit: float = 0.0) -> Callable[[], None]:
        """Return the function that the loop ``name`` calls as a sign of life.

        The loop counts as stuck if it does not call the function again within ``limit`` seconds or within
        health.LIMIT_SECONDS, whichever is longer.
        """
        return functools.partial(self._alive.beat, name, max(limit, health.LIMIT_SECONDS))


def _planner(tables: Knowledge) -> Planner:
    """Return a planner that uses these tables. It reuses what it has computed for records that have not changed."""
    memo = Memo()

    def plan(seen: Snapshot, now: float, allowance: Allowance) -> Plan:
        return planner.plan(seen, now, tables, memo, allowance)

    return plan


def _take_signals(stop: asyncio.Event) -> None:
    """Make SIGTERM and SIGINT set ``stop``. This replaces any earlier handlers of these signals."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _failed(done: set[asyncio.Task[Any]]) -> int:
    """Log why the tasks in ``done``, which should never end, have ended. Return the exit code EXIT_FAILED."""
    for task in done:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LeaseLostError | SilentWatchError):
            logger.error("%s; this operator ends", error)
        else:
            logger.error("%s ended unexpectedly; this process ends", task.get_name(), exc_info=error)
    return EXIT_FAILED
