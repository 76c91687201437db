"""The rounds of a soak test: which faults come together, and how often. A seed and a number make a round."""

from dataclasses import dataclass
from random import Random

from tests.soak.faults import control_plane, machines, objects, processes
from tests.soak.faults.catalogue import FAULTS
from tests.soak.log import Planned, Round

REGISTERED = (control_plane, machines, objects, processes)
"""The modules whose import registers the faults."""


@dataclass(frozen=True)
class Theme:
    """A kind of round: its length, and the average seconds between two faults of each name."""

    name: str
    seconds: float
    gaps: dict[str, float]


MACHINES = {"machine.break": 4.0, "machine.unclear": 15.0, "machine.driver": 8.0}
HANDS = {"pod.delete": 5.0, "pod.evict": 8.0, "pod.preempt": 9.0, "report.delete": 9.0, "label.edit": 7.0}
LIFE = MACHINES | {"node.replace": 15.0, "node.rename": 15.0}

THEMES = (
    Theme("kills", 30, MACHINES | HANDS | {"operator.kill": 2.5}),
    Theme("fast kills", 30, MACHINES | {"operator.kill": 1.5}),
    Theme(
        "outages",
        25,
        MACHINES | {"outage.cut-off": 8, "outage.no-answer": 9, "outage.api-server-stands-still": 9},
    ),
    Theme(
        "kills in outages",
        25,
        LIFE | {"operator.kill": 3, "outage.cut-off": 8, "outage.etcd-stands-still": 9},
    ),
    Theme("control plane", 25, MACHINES | {"outage.restart-api-server": 14, "outage.restart-scheduler": 12}),
    Theme("stops", 30, LIFE | HANDS | {"operator.stop": 9, "operator.kill": 12, "operator.end": 12}),
)


def make_round(seed: int, number: int, themes: tuple[Theme, ...] = THEMES) -> Round:
    """Return a round of a soak test. All themes come once before one comes again, in an order that the seed decides."""
    cycle, place = divmod(number, len(themes))
    order = Random(f"{seed}/{cycle}").sample(themes, len(themes))
    theme, random = order[place], Random(f"{seed}/round {number}")
    faults = []
    for name, gap in sorted(theme.gaps.items()):
        at = random.uniform(0, gap)
        while at < theme.seconds:
            faults.append(Planned(round(at, 2), name, FAULTS[name].draw(random)))
            at += random.uniform(0.5 * gap, 1.5 * gap)
    return Round(number, theme.name, tuple(sorted(faults, key=lambda one: (one.at, one.fault))))
