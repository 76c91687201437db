"""The input of a desired state: the records of one validation, and the context of its environment."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Final

from gpuenv import __version__
from gpuenv.api.bounded_cache import bounded_cache
from gpuenv.api.spec.digest import digest
from gpuenv.api.spec.environment import EnvironmentSpec
from gpuenv.assess.policies.floors import check_name, peer_key
from gpuenv.knowledge import Knowledge
from gpuenv.plan.objects.environment_memory import environment_memory, expectations_changed
from gpuenv.plan.settings import Settings
from gpuenv.plan.snapshot import (
    EnvironmentRecord,
    NodeRecord,
    PodRecord,
    Refusal,
    Rejection,
    ReportRecord,
    Result,
)

MIN_PEERS: Final = 3
"""A benchmark is compared with peers only if at least this many nodes with the same GPU product have run it."""
_STEP: Final = math.log(1.02)
"""Medians of peers are rounded to steps of two percent; this is the logarithm of one step.

Without rounding, each new benchmark result would cause a new assessment of the whole fleet.
"""


@dataclass(frozen=True, slots=True)
class Context:
    """What all validations of one environment have in common: spec, settings, tables and the medians of peers.

    ``peers`` holds the median of a benchmark over all nodes with the same GPU product, by
    :func:`gpuenv.assess.policies.floors.peer_key`. The environment's status is left out, because no desired state
    depends on it: when only the status changes, the contexts are equal and no desired state has to be computed anew.
    """

    name: str
    uid: str
    generation: int
    spec: EnvironmentSpec
    inputs_hash: str
    expectations_hash: str
    revalidate: str
    settings: Settings
    tables: "Tables"
    peers: Mapping[str, float]
    not_allowed: str = ""
    """Why the administrator's limits do not allow the environment, which then has no probe pods; "" if they do."""
    accepted_change: int = 0
    """The number of the last mass change that was accepted (:mod:`gpuenv.plan.objects.environment_memory`)."""
    expectations_changed: bool = False
    """Whether somebody has changed the expectations, and not all nodes show yet what follows from it."""

    @property
    def peer_floors(self) -> frozenset[str]:
        """The names of the checks that compare a node's benchmark with the same benchmark on other nodes."""
        return frozenset(
            check_name(floor) for floor in self.spec.floors if floor.min_percent_of_peers is not None
        )

    def assessment_key(self, result: Result) -> str:
        """Return a digest of everything that the verdict depends on, apart from the facts that the result stores.

        A result that was stored with another key is assessed again. A changed key alone does not cause a write of the
        node report.
        """
        if not self.peers:
            return _digest(self.expectations_hash, self.tables.key)
        keys = (peer_key(benchmark, dtype, product) for benchmark, dtype, product, _ in result.figures)
        peers = [f"{key}={self.peers[key]:g}" for key in keys if key in self.peers]
        return _digest(self.expectations_hash, self.tables.key, *peers)


@bounded_cache(max_bytes=4 << 20)
def _digest(*parts: str) -> str:
    """Return the digest of the texts. It is cached, because most validations of an environment have equal texts."""
    return digest(list(parts))


@dataclass(frozen=True, slots=True)
class Validation:
    """One environment on one node, with the records that concern it.

    ``report`` is the node report, None before the first one. ``pods`` are the probe pods of the validation.
    ``rejection`` is the refusal of its last probe pod by the API server, None without one. ``stuck`` is a probe pod on
    the node, of any environment, that was deleted but does not end. ``assessed`` is what an earlier plan assessed with
    the same facts about the node, so that this plan need not assess it again. ``refusal`` is the API server's lasting
    refusal to store the report, None without one.
    """

    context: Context
    node: NodeRecord
    report: ReportRecord | None = None
    pods: tuple[PodRecord, ...] = ()
    rejection: Rejection | None = None
    stuck: PodRecord | None = None
    assessed: "Assessed | None" = None
    refusal: Refusal | None = None

    def is_current(self, inputs_hash: str, fingerprint: str) -> bool:
        """Return whether these digests are those of the current inputs and of the node in its current state."""
        return inputs_hash == self.context.inputs_hash and same_node(fingerprint, self.node.fingerprint)


@dataclass(frozen=True, slots=True)
class Assessed:
    """A result, and the ``assessment_key`` of everything else that its verdict follows from."""

    result: Result
    key: str


def same_node(one: str, other: str) -> bool:
    """Return whether two fingerprints belong to the same node in the same state.

    A fingerprint is ``machine.driver``: a digest of the node's uid and boot id, a dot, and a digest of the driver
    version. The second digest is missing if no node label names the driver. Drivers are compared only if both
    fingerprints have it: some tools write labels late or never, and a missing label does not mean a changed driver.
    """
    return one == other or (same_machine(one, other) and not driver_changed(one, other))


def same_machine(one: str, other: str) -> bool:
    """Return whether two fingerprints belong to the same node, not rebooted in between, whatever its driver."""
    return one.partition(".")[0] == other.partition(".")[0]


def driver_changed(one: str, other: str) -> bool:
    """Return whether two fingerprints include different drivers. A fingerprint without a driver differs from none."""
    driver, other_driver = one.partition(".")[2], other.partition(".")[2]
    return bool(driver and other_driver) and driver != other_driver


def knows_more(new: str, old: str) -> bool:
    """Return whether fingerprint ``new`` includes the driver and ``old``, of the same node, does not."""
    return new != old and new.partition(".")[2] != "" and old.partition(".")[2] == ""


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The knowledge tables, with a key that changes whenever they may lead to other assessments.

    The key is a digest of the tables' content and of the version of gpuenv, whose code interprets them.
    """

    knowledge: Knowledge
    key: str


def make_tables(knowledge: Knowledge) -> Tables:
    """Return the knowledge tables with their key: the same object each time, as long as ``knowledge`` is the same."""
    return _tables(__version__, knowledge)


@lru_cache(
    maxsize=4
)  # Computing the digest takes 25 ms, and contexts are equal only if their tables are one object.
def _tables(version: str, knowledge: Knowledge) -> Tables:
    return Tables(knowledge, digest([version, knowledge]))


def make_context(
    environment: EnvironmentRecord,
    settings: Settings,
    tables: Tables,
    reports: Iterable[ReportRecord],
    *,
    not_allowed: str = "",
    known: Context | None = None,
) -> Context:
    """Return the context of an environment. Its specification must be valid, that is, ``spec`` must not be None.

    ``not_allowed`` says why the administrator's limits do not allow the environment; it is "" if they do. ``known`` is an
    earlier context of the environment that was made from the same reports; None if there is none.
    """
    spec = environment.spec
    assert spec is not None, "an environment that cannot be understood is not judged"
    if known is not None and known.spec is spec and known.inputs_hash == environment.inputs_hash:
        peers = known.peers
    elif any(floor.min_percent_of_peers is not None for floor in spec.floors):
        peers = _peers(environment.inputs_hash, reports)
    else:
        peers = {}
    memory = environment_memory(environment.status)
    return Context(
        name=environment.name,
        uid=environment.uid,
        generation=environment.generation,
        spec=spec,
        inputs_hash=environment.inputs_hash,
        expectations_hash=environment.expectations_hash,
        revalidate=environment.revalidate,
        settings=settings,
        tables=tables,
        peers=peers,
        not_allowed=not_allowed,
        accepted_change=memory.accepted_change,
        expectations_changed=expectations_changed(environment, memory),
    )


def _peers(inputs_hash: str, reports: Iterable[ReportRecord]) -> dict[str, float]:
    """Return the rounded median of each benchmark over all nodes with the same GPU product, by ``peer_key``.

    Only results with this inputs hash count, and a benchmark needs results of at least ``MIN_PEERS`` nodes.
    """
    figures: dict[str, list[float]] = {}
    for report in reports:
        if report.result is not None and report.result.inputs_hash == inputs_hash:
            for benchmark, dtype, product, figure in report.result.figures:
                figures.setdefault(peer_key(benchmark, dtype, product), []).append(figure)
    return {key: _stepped(median(found)) for key, found in sorted(figures.items()) if len(found) >= MIN_PEERS}


def _stepped(value: float) -> float:
    return float(f"{math.exp(round(math.log(value) / _STEP) * _STEP):.4g}")
