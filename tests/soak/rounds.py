"""The rounds of a soak test: which faults come together, and how often. A seed and a number make a round."""

from dataclasses import dataclass
from random import Random

from tests.soak.faults import (
    answers,
    clocks,
    control_plane,
    installation,
    leases,
    machines,
    objects,
    processes,
    watches,
)
from tests.soak.faults.catalogue import FAULTS
from tests.soak.log import Planned, Round

REGISTERED = (answers, clocks, control_plane, installation, leases, machines, objects, processes, watches)
"""The modules whose import registers the faults."""


@dataclass(frozen=True)
class Theme:
    """A kind of round: its length, and the average seconds between two faults of each name."""

    name: str
    seconds: float
    gaps: dict[str, float]


MACHINES = {"machine.break": 4.0, "machine.unclear": 15.0, "machine.driver": 8.0}
HANDS = {"pod.delete": 5.0, "pod.evict": 8.0, "pod.preempt": 9.0, "report.delete": 9.0, "label.edit": 7.0}
SPECS = {
    "environment.image": 14.0,
    "environment.expect": 12.0,
    "environment.concurrency": 9.0,
    "environment.selector": 25.0,
}
ANSWERS = {
    "answer.to-reads": 9.0,
    "answer.to-writes": 7.0,
    "answer.to-watches": 9.0,
    "answer.lost": 8.0,
    "answer.cut": 8.0,
}
WATCHES = {
    "watch.drop": 9.0,
    "watch.double": 8.0,
    "watch.delay": 9.0,
    "watch.reorder": 9.0,
    "watch.tear": 8.0,
    "watch.expired": 9.0,
}
CLOCKS = {"clock.jump": 9.0, "clock.drift": 12.0}
LIFE = MACHINES | {"node.replace": 15.0, "node.rename": 15.0}

OUTAGES = {"outage.cut-off": 4.0, "outage.no-answer": 6.0, "outage.api-server-stands-still": 6.0}

THEMES = (
    Theme("kills", 30, MACHINES | HANDS | {"operator.kill": 1.5}),
    Theme("kill storm", 90, MACHINES | {"operator.kill": 0.9}),
    Theme("outages", 30, MACHINES | OUTAGES),
    Theme(
        "kills in outages",
        30,
        LIFE | {"operator.kill": 2, "outage.cut-off": 4, "outage.etcd-stands-still": 6},
    ),
    Theme("control plane", 30, MACHINES | {"outage.restart-api-server": 14, "outage.restart-scheduler": 12}),
    Theme("etcd", 25, MACHINES | {"outage.restart-etcd": 9, "outage.etcd-stands-still": 7}),
    Theme("stops", 30, LIFE | HANDS | {"operator.stop": 9, "operator.kill": 8, "operator.end": 12}),
    Theme("answers", 30, MACHINES | ANSWERS | {"answer.to-all": 10}),
    Theme("answers and kills", 30, LIFE | ANSWERS | {"operator.kill": 2}),
    Theme("watches", 30, LIFE | WATCHES),
    Theme("silence", 30, MACHINES | HANDS | {"watch.silence": 14}),
    Theme("clocks", 30, MACHINES | HANDS | CLOCKS),
    Theme("clocks and kills", 30, MACHINES | CLOCKS | {"operator.kill": 2}),
    Theme("specs", 30, SPECS | {"operator.kill": 3, "environment.status": 12, "environment.again": 25}),
    Theme(
        "hands", 30, MACHINES | HANDS | {"report.edit": 8, "installation.config-maps": 12, "node.cordon": 10}
    ),
    Theme("installation", 30, {"installation.namespace": 22, "installation.kind": 25, "operator.kill": 9}),
    Theme("two operators", 20, MACHINES | HANDS | {"lease.partition": 40}),
    Theme("long stop", 20, MACHINES | HANDS | {"operator.stop-long": 40}),
    Theme("upgrades", 30, MACHINES | {"operator.upgrade": 6, "outage.cut-off": 5}),
)


def make_round(seed: int, number: int, themes: tuple[Theme, ...] = THEMES) -> Round:
    """Return a round of a soak test. All themes come once before one comes again, in an order that the seed decides."""
    cycle, place = divmod(number, len(themes))
    order = Random(f"{seed}/{cycle}").sample(themes, len(themes))
    theme, random = order[place], Random(f"{seed}/round {number}")
    faults = []
    for name, gap in sorted(theme.gaps.items()):
        at = random.uniform(0, min(gap, theme.seconds))  # each fault of the theme comes at least once
        while at < theme.seconds:
            faults.append(Planned(round(at, 2), name, FAULTS[name].draw(random)))
            at += random.uniform(0.5 * gap, 1.5 * gap)
    return Round(number, theme.name, tuple(sorted(faults, key=lambda one: (one.at, one.fault))))
