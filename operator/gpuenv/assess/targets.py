"""The targets of a PyTorch build: the GPU generations that it was compiled for (``sm_90``, ``compute_90``).

If the build itself did not report its targets, they are looked up in the tables.
"""

from enum import StrEnum
from functools import lru_cache

from gpuenv.assess.binary_compatibility import parse_flag
from gpuenv.assess.facts import Facts, Source
from gpuenv.knowledge.build_name import BuildName
from gpuenv.knowledge.model import ComputeCapability, Knowledge, TorchBuild, TorchRelease
from gpuenv.knowledge.versions import Version


class ArchSource(StrEnum):
    """The origin of what is known about the targets of a build."""

    OBSERVED = "observed"
    """The build itself reported its targets (``torch.cuda.get_arch_list()``)."""
    RELEASED = "released"
    """The tables list the targets of the released build with this version."""
    ENDS = "ends"
    """A text names only the oldest and the newest target of the build. Between them, nothing is known."""
    ASSUMED = "assumed"
    """The build is not in the tables. Its targets are assumed to be those of the most similar released build."""


def build_targets(
    facts: Facts,
    name: BuildName,
    knowledge: Knowledge,
    runtime: Version | None,
    build: TorchBuild | None,
) -> tuple[tuple[str, ...] | None, ArchSource | None]:
    """Return the targets of a build and the origin of this knowledge. Both are None if the targets are not known.

    ``name`` is the parsed version of PyTorch, and ``runtime`` the CUDA version of the build, or None if it is not
    known. ``build`` is the table row of the build, or None if the tables have no such row.
    """
    if facts.torch.arch_flags:
        return facts.torch.arch_flags, ArchSource.OBSERVED
    ends = facts.torch.arch_ends
    flags, source = _targets_in_tables(facts, name, knowledge, runtime, build)
    if ends is None or (source is ArchSource.RELEASED and flags and _ends(flags) == ends):
        return flags, source
    return ends, ArchSource.ENDS


def _ends(flags: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the oldest and the newest target with native code, or None if there are none."""
    native = [(target[1], flag) for flag in flags if (target := parse_flag(flag)) and target[0] == "sm"]
    return (min(native)[1], max(native)[1]) if native else None


def is_between(ends: tuple[str, ...], capability: ComputeCapability) -> bool:
    """Return whether a GPU is newer than the oldest and older than the newest of two targets."""
    oldest, newest = (parse_flag(flag) for flag in (ends[0], ends[-1]))
    return oldest is not None and newest is not None and oldest[1] < capability < newest[1]


def _targets_in_tables(
    facts: Facts,
    name: BuildName,
    knowledge: Knowledge,
    runtime: Version | None,
    build: TorchBuild | None,
) -> tuple[tuple[str, ...] | None, ArchSource | None]:
    if name.release is None or runtime is None or facts.source == Source.PROBE:
        return None, None
    if facts.torch.channel is not None:
        listed = knowledge.channels.get((facts.torch.channel, runtime[:2]))
        return (listed.archs, ArchSource.RELEASED) if listed else (None, None)
    arm = is_arm(facts, knowledge)
    if build is not None and name.is_release:
        return _wheel_targets(build, arm, ArchSource.RELEASED)
    if name.local and not name.is_cuda_wheel:
        # NVIDIA's containers (2.9.0a0+145a3a7bda.nv25.10) are in the tables. A build from source can have any targets.
        vendor = knowledge.vendor_build(name, runtime, is_embedded(facts, knowledge))
        return (vendor.archs, ArchSource.RELEASED) if vendor else (None, None)
    nearest = _nearest_build(knowledge, name.release, runtime)
    return _wheel_targets(nearest, arm, ArchSource.ASSUMED) if nearest else (None, None)


def _wheel_targets(
    build: TorchBuild, arm: bool, source: ArchSource
) -> tuple[tuple[str, ...] | None, ArchSource | None]:
    """Return the targets of a released build, and ``source``. Both are None if the targets are not known.

    ``arm`` selects the wheel for Arm, whose targets differ from those of the wheel for x86_64.
    """
    if not arm:
        return build.archs, source
    return (build.aarch64, source) if build.aarch64 else (None, None)


@lru_cache(maxsize=256)
def targets_of_every_build(knowledge: Knowledge, runtime: Version, arm: bool) -> tuple[tuple[str, ...], ...]:
    """Return the targets of every released build for one CUDA version, whatever its PyTorch release.

    ``arm`` selects the wheels for Arm. The result is empty if the tables have no such build.
    """
    builds = (build for release in knowledge.torch.values() if (build := release.build(runtime)) is not None)
    found = (build.aarch64 if arm else build.archs for build in builds)
    return tuple(targets for targets in found if targets)


def is_arm(facts: Facts, knowledge: Knowledge) -> bool:
    """Return whether the CPU is an Arm CPU.

    If the facts do not name the CPU, it counts as an Arm CPU if one of the GPUs is of a model that is sold only with
    Arm CPUs.
    """
    if facts.container.machine is not None:
        return facts.container.machine in ("aarch64", "arm64")
    models = [knowledge.model(gpu.product) for gpu in facts.gpus]
    return any(model is not None and model.arm for model in models)


def is_embedded(facts: Facts, knowledge: Knowledge) -> bool:
    """Return whether one of the GPUs is part of a Jetson module. NVIDIA publishes separate builds for these modules."""
    models = [knowledge.model(gpu.product) for gpu in facts.gpus]
    rows = [knowledge.architectures.get(model.cc) for model in models if model is not None]
    return any(row is not None and row.embedded for row in rows)


@lru_cache(maxsize=256)
def _nearest_build(knowledge: Knowledge, torch: Version, runtime: Version) -> TorchBuild | None:
    """Return the released build that is most similar to a build that is not in the tables, such as a nightly.

    That is the build for the same CUDA version in the nearest PyTorch release, else one for the same CUDA major
    version. If the CUDA major version is newer than the tables, it is the newest build. Return None if none applies.
    """

    def distance(release: TorchRelease, build: TorchBuild) -> tuple[bool, int, int]:
        steps = (release.torch[0] - torch[0]) * 100 + release.torch[1] - torch[1]
        return build.cuda != runtime[:2], abs(steps), abs(build.cuda[1] - runtime[1])

    builds = [(release, build) for release in knowledge.torch.values() for build in release.builds]
    same_major = [found for found in builds if found[1].cuda[0] == runtime[0]]
    if same_major:
        return min(same_major, key=lambda found: distance(*found))[1]
    newest = max((build for _, build in builds), key=lambda build: build.cuda)
    return newest if runtime[0] > newest.cuda[0] else None
