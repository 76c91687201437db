"""What a change of the tables changes: the samples whose verdict or leading reason differs with other tables."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import DriverFacts, Facts, Gpu, Source, TorchFacts
from gpuenv.assess.model import Assessment
from gpuenv.knowledge.build_name import cuda_label
from gpuenv.knowledge.model import ComputeCapability, Knowledge
from gpuenv.knowledge.versions import Version, show

Judge = Callable[[Knowledge], Assessment]
"""Returns the assessment of a sample with a set of tables. The tables may also be needed to read its facts."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Something that is judged with two sets of tables, and the name by which people recognise it."""

    name: str
    judge: Judge


@dataclass(frozen=True, slots=True)
class Change:
    """A sample that has another verdict or another leading reason with the new tables."""

    name: str
    before: Assessment
    after: Assessment


def combinations(before: Knowledge, after: Knowledge) -> list[Sample]:
    """Return each build of PyTorch in either set of tables, on each GPU architecture, with drivers around its limits.

    The drivers are the least one for the build's CUDA, the newest of the branch before that, and the newest branch.
    """
    both = (before, after)
    builds = sorted(
        {(row.torch, build.cuda) for one in both for row in one.torch.values() for build in row.builds}
    )
    capabilities = sorted({cc for one in both for cc in one.architectures})
    names = {cc: name for one in both for cc, name in _models(one).items()}
    newest = f"{max(row.branch for one in both for row in one.branches)}.10"
    found = []
    for torch, cuda in builds:
        drivers = dict.fromkeys([*_limits(both, cuda), newest])
        for cc in capabilities:
            for driver in drivers:
                gpu = names.get(cc, f"a GPU of capability {show(cc)}")
                name = f"PyTorch {show(torch)} for CUDA {show(cuda)}, {gpu}, driver {driver}"
                facts = _facts(torch, cuda, cc, names.get(cc), driver)
                found.append(Sample(name, partial(judged, facts)))
    return found


def changes(samples: Iterable[Sample], before: Knowledge, after: Knowledge) -> Iterator[Change]:
    """Yield the samples whose verdict or leading reason is another with the tables ``after``."""
    for sample in samples:
        old, new = sample.judge(before), sample.judge(after)
        if (old.verdict, old.reason) != (new.verdict, new.reason):
            yield Change(sample.name, old, new)


def judged(facts: Facts, tables: Knowledge) -> Assessment:
    """Return the assessment of facts, without cures."""
    return assess(facts, None, (), tables, cures=False)


def _models(tables: Knowledge) -> dict[ComputeCapability, str]:
    """Return the name of one GPU model of each compute capability: the first one in the tables."""
    found: dict[ComputeCapability, str] = {}
    for row in tables.models.values():
        found.setdefault(row.cc, row.name)
    return found


def _limits(both: Iterable[Knowledge], cuda: Version) -> Iterator[str]:
    """Yield the least driver for a CUDA version, and one of the branch before it, in each set of tables."""
    for tables in both:
        toolkit = tables.toolkit(cuda)
        if toolkit is not None:
            yield toolkit.first_release
            yield from [f"{row.branch}.10" for row in tables.branches if row.branch < toolkit.min_driver[0]][
                :1
            ]


def _facts(torch: Version, cuda: Version, cc: ComputeCapability, product: str | None, driver: str) -> Facts:
    version = f"{show(torch)}.0+{cuda_label(cuda)}"
    return Facts(
        source=Source.FLAGS,
        torch=TorchFacts(version=version, cuda=show(cuda)),
        driver=DriverFacts(version=driver),
        gpus=(Gpu(product=product, compute_capability=cc),),
    )
