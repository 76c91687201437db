"""Merges facts from several sources about one machine. If two sources differ, the one given first counts."""

from dataclasses import fields, replace
from typing import Any, TypeVar

from gpuenv.assess.facts import ContainerFacts, DriverFacts, Facts, Gpu, NodeFacts, Source, TorchFacts
from gpuenv.assess.gpu_health import NO_HEALTH
from gpuenv.knowledge.versions import at_least, parse_version

Part = TypeVar("Part", ContainerFacts, DriverFacts, NodeFacts, TorchFacts)

Versioned = TypeVar("Versioned", DriverFacts, TorchFacts)


def merge(sources: list[Facts]) -> Facts:
    """Return the facts of all sources as one value. If two sources differ, the one that is first in the list counts.

    The field ``conflicts`` of the returned facts describes the values in which the sources differ.
    """
    merged = sources[0]
    conflicts: list[str] = list(merged.conflicts)
    for later in sources[1:]:
        conflicts += _conflicts(merged, later)
        merged = replace(
            merged,
            source=later.source
            if merged.source in (Source.FLAGS, Source.ERROR_TEXT) and later.source != Source.ERROR_TEXT
            else merged.source,
            container=_fill(merged.container, later.container),
            driver=_fill_same(merged.driver, later.driver),
            torch=_fill_same(merged.torch, later.torch),
            node=replace(_fill(merged.node, later.node), signs=_union(merged.node.signs, later.node.signs)),
            gpus=_gpus(merged, later),
            errors=merged.errors + later.errors,
            unrecognised=merged.unrecognised + later.unrecognised,
            steps=merged.steps or later.steps,
            stages=merged.stages | later.stages,
            provenance=merged.provenance + later.provenance,
        )
    return replace(merged, conflicts=tuple(conflicts))


def _union(first: tuple[str, ...], later: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(first + later))


def _fill(first: Part, later: Part) -> Part:
    """Return ``first``, with values from ``later`` in the fields that ``first`` does not know."""
    missing: dict[str, Any] = {
        field.name: getattr(later, field.name)
        for field in fields(first)
        if getattr(first, field.name) in (None, (), {}) and getattr(later, field.name) not in (None, (), {})
    }
    return replace(first, **missing) if missing else first


def _fill_same(first: Versioned, later: Versioned) -> Versioned:
    """Return ``first``, completed from ``later`` as in :func:`_fill`. If their versions differ, return it unchanged.

    Values of another version of the driver or of PyTorch do not belong to ``first``.
    """
    return first if _differ(first.version, later.version) else _fill(first, later)


def _gpus(first: Facts, later: Facts) -> tuple[Gpu, ...]:
    """Return the GPUs of ``first``, or those of ``later`` if ``first`` has none.

    What ``first`` does not know of a GPU is taken from the same GPU in ``later``, and its compute capability from any
    GPU of the same product.
    """
    if not first.gpus:
        return later.gpus
    told = {gpu.product: gpu.compute_capability for gpu in later.gpus if gpu.compute_capability}
    same = {(gpu.index, gpu.product): gpu for gpu in later.gpus}
    return tuple(
        replace(
            gpu,
            compute_capability=gpu.compute_capability or told.get(gpu.product),
            memory_mib=gpu.memory_mib or other.memory_mib,
            mig=gpu.mig or other.mig,
            health=other.health if gpu.health == NO_HEALTH else gpu.health,
        )
        for gpu in first.gpus
        for other in (same.get((gpu.index, gpu.product), Gpu()),)
    )


def _conflicts(first: Facts, later: Facts) -> list[str]:
    pairs = (
        ("PyTorch", first.torch.version, later.torch.version),
        ("CUDA of the build", first.torch.cuda, later.torch.cuda),
        ("driver", first.driver.version, later.driver.version),
    )
    found = [
        f"{name}: {one} ({first.source}) or {two} ({later.source})"
        for name, one, two in pairs
        if _differ(one, two)
    ]
    products = (
        {gpu.product for gpu in first.gpus if gpu.product},
        {gpu.product for gpu in later.gpus if gpu.product},
    )
    alike = any(one in two or two in one for one in products[0] for two in products[1])
    if all(products) and not alike:
        names = [", ".join(sorted(names)) for names in products]
        found.append(f"GPU: {names[0]} ({first.source}) or {names[1]} ({later.source})")
    return found


def _differ(one: str | None, two: str | None) -> bool:
    versions = parse_version(one), parse_version(two)
    if versions[0] is None or versions[1] is None:
        return False
    return not (at_least(versions[0], versions[1]) and at_least(versions[1], versions[0]))
