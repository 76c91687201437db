"""One validation with everything that its desired state follows from."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Final

from gpuenv import __version__
from gpuenv.api import check_names
from gpuenv.api.digest import digest
from gpuenv.api.environment import EnvironmentSpec
from gpuenv.assess.policies.floors import peer_key
from gpuenv.knowledge import Knowledge
from gpuenv.plan.model import (
    Attempt,
    EnvironmentRecord,
    NodeRecord,
    PodRecord,
    ReportRecord,
    Result,
    Settings,
)

MIN_PEERS: Final = 3
"""A figure is compared with its peers only where at least this many nodes of one product have one."""
_STEP: Final = math.log(1.02)
"""Medians are rounded to steps of two percent. Otherwise each new figure would have the whole fleet assessed again."""


@dataclass(frozen=True, slots=True)
class Context:
    """What all validations of one environment have in common: spec, settings, tables, and the figures of peers.

    Equal contexts lead to equal desired states. The environment's status is no part of it.
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

    @property
    def peer_floors(self) -> frozenset[str]:
        """The names of the checks that compare a figure with peers."""
        floors = [floor for floor in self.spec.floors if floor.min_percent_of_peers is not None]
        return frozenset(check_names.FLOOR.of(floor.kernel, floor.dtype) for floor in floors)

    def assessment_key(self, result: Result) -> str:
        """Return the digest of everything besides the stored facts that the verdict follows from.

        A result whose key differs is assessed again. The key alone is no reason to write a report.
        """
        keys = (peer_key(kernel, dtype, product) for kernel, dtype, product, _ in result.figures)
        peers = [f"{key}={self.peers[key]:g}" for key in keys if key in self.peers]
        return _digest(self.expectations_hash, self.tables.key, *peers)


@lru_cache(maxsize=1 << 12)
def _digest(*parts: str) -> str:
    """Return the digest of some texts. Most nodes share theirs, and the first plan needs one for each validation."""
    return digest(list(parts))


@dataclass(frozen=True, slots=True)
class Validation:
    """One environment on one node, with all records about both.

    ``stuck`` is a probe pod on the node, of any environment, that was deleted and does not end. ``assessed`` is a
    result that was assessed under this context, with the same facts about the node, and came out as it is: assessing
    it again would only cost time.
    """

    context: Context
    node: NodeRecord
    report: ReportRecord | None = None
    pods: tuple[PodRecord, ...] = ()
    rejection: Attempt | None = None
    stuck: PodRecord | None = None
    assessed: Result | None = None

    def is_current(self, inputs_hash: str, fingerprint: str) -> bool:
        """Return whether a finding with these two digests is about the present image and the present node."""
        return inputs_hash == self.context.inputs_hash and same_node(fingerprint, self.node.fingerprint)


def same_node(one: str, other: str) -> bool:
    """Return whether two fingerprints are of the same node in the same state, as far as both are known.

    The part after the dot is the driver's. It is empty where no node label names the driver: labels are written late or
    not at all by some tools, and a missing label does not mean that the driver changed.
    """
    (machine, _, driver), (other_machine, _, other_driver) = one.partition("."), other.partition(".")
    return machine == other_machine and (driver == other_driver or not driver or not other_driver)


def knows_more(new: str, old: str) -> bool:
    """Return whether ``new`` includes the driver and ``old``, of the same node, does not."""
    return new != old and new.partition(".")[2] != "" and old.partition(".")[2] == ""


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The knowledge, with a key that differs where an assessment may come out differently.

    The key covers what the tables say, and the version of gpuenv that reads them.
    """

    knowledge: Knowledge
    key: str


def make_tables(knowledge: Knowledge) -> Tables:
    """Return the knowledge with its key."""
    return Tables(knowledge, _tables_key(__version__, knowledge))


@lru_cache(maxsize=4)  # takes 25 ms
def _tables_key(version: str, knowledge: Knowledge) -> str:
    """Return the digest of the content of the tables and of the version of gpuenv that reads them."""
    return digest([version, knowledge])


def make_context(
    environment: EnvironmentRecord, settings: Settings, tables: Tables, reports: Iterable[ReportRecord]
) -> Context:
    """Return the context of an environment whose specification is understood."""
    spec = environment.spec
    assert spec is not None, "an environment that cannot be understood is not judged"
    compared = any(floor.min_percent_of_peers is not None for floor in spec.floors)
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
        peers=_peers(environment.inputs_hash, reports) if compared else {},
    )


def _peers(inputs_hash: str, reports: Iterable[ReportRecord]) -> dict[str, float]:
    """Return the median of each figure over all nodes with the same product that ran the same inputs."""
    figures: dict[str, list[float]] = {}
    for report in reports:
        if report.result is not None and report.result.inputs_hash == inputs_hash:
            for kernel, dtype, product, figure in report.result.figures:
                figures.setdefault(peer_key(kernel, dtype, product), []).append(figure)
    return {key: _stepped(median(found)) for key, found in sorted(figures.items()) if len(found) >= MIN_PEERS}


def _stepped(value: float) -> float:
    return float(f"{math.exp(round(math.log(value) / _STEP) * _STEP):.4g}")
