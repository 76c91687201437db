"""Sums the samples of a process by part: which package, or which layer of gpuenv, the CPU time was spent in."""

from collections import Counter
from collections.abc import Mapping, Sequence

Frame = tuple[str, str]
"""The module and the function of a frame of the stack."""
Stack = tuple[Frame, ...]
"""The frames of one sample, the innermost one first."""

PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("json", ("json",)),
    (
        "records",
        ("gpuenv.controller.cache", "gpuenv.plan.objects.records", "gpuenv.plan.objects.stored_document"),
    ),
    ("assess", ("gpuenv.assess",)),
    ("plan", ("gpuenv.plan", "gpuenv_probe")),
    ("write", ("gpuenv.controller.write", "gpuenv.controller.kube")),
    ("rest of gpuenv", ("gpuenv",)),
    ("kopf", ("kopf",)),
    ("aiohttp", ("aiohttp", "multidict", "yarl", "propcache")),
    ("kubernetes", ("kubernetes",)),
    ("asyncio", ("asyncio", "selectors", "ssl")),
)
"""The parts with their packages or modules. For a module that belongs to several parts, the first one counts."""


def part(stack: Stack) -> str:
    """Return the part that a sample belongs to: that of the innermost frame which belongs to any part."""
    for module, _ in stack:
        for name, packages in PARTS:
            if any(module == package or module.startswith(f"{package}.") for package in packages):
                return name
    return "rest"


def shares(samples: Mapping[Stack, int]) -> dict[str, float]:
    """Return each part's share of all samples, the largest share first."""
    counted: Counter[str] = Counter()
    for stack, count in samples.items():
        counted[part(stack)] += count
    total = sum(counted.values()) or 1
    return {name: count / total for name, count in counted.most_common()}


def hottest(samples: Mapping[Stack, int], limit: int) -> Sequence[tuple[str, float]]:
    """Return the functions in whose calls, calls of others included, most samples were taken, with their shares."""
    counted: Counter[Frame] = Counter()
    for stack, count in samples.items():
        for frame in set(stack):
            counted[frame] += count
    total = sum(samples.values()) or 1
    return [(f"{module}.{name}", count / total) for (module, name), count in counted.most_common(limit)]
