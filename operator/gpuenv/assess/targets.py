"""The targets of a build: which GPU generations its code was made for, by the tables where the build itself was not asked."""

import re

from gpuenv.assess.facts import Facts
from gpuenv.knowledge.model import Knowledge, TorchBuild, TorchRelease
from gpuenv.knowledge.versions import Version

_LOCAL_CUDA = re.compile(r"cu(\d{2})(\d{1,2})\b")


def local_cuda(torch_version: str | None) -> Version | None:
    """The CUDA version in a local version label: ``2.9.1+cu128`` is 12.8, ``1.8.0+cu111`` is 11.1."""
    found = _LOCAL_CUDA.search((torch_version or "").partition("+")[2].lower())
    if found is None:
        return None
    return int(found[1]), int(found[2])


def is_released_version(version: str | None) -> bool:
    """Whether a version names a release of the PyTorch project, not a nightly, source or vendor build."""
    head, _, local = (version or "").partition("+")
    plain = bool(head) and all(char.isdigit() or char == "." for char in head)
    return plain and (not local or local.startswith("cu")) and "." not in local


def build_targets(
    facts: Facts,
    knowledge: Knowledge,
    torch: Version | None,
    runtime: Version | None,
    build: TorchBuild | None,
) -> tuple[tuple[str, ...] | None, str]:
    """The targets and whence: ``observed``, of the ``released`` build, or ``assumed`` from the nearest one; None: not known."""
    if facts.torch.arch_flags:
        return facts.torch.arch_flags, "observed"
    if torch is None or runtime is None or facts.source == "probe":
        return None, ""
    if facts.torch.channel is not None:
        listed = knowledge.channels.get((facts.torch.channel, runtime[:2]))
        return (listed.archs, "released") if listed else (None, "")
    arm = is_arm(facts, knowledge)
    if build is not None and is_released_version(facts.torch.version):
        return _of(build, arm, "released")
    local = (facts.torch.version or "").partition("+")[2].lower()
    if local and not local.startswith("cu"):
        # NVIDIA's containers (2.9.0a0+145a3a7bda.nv25.10) are in the tables; a source build's targets are its own.
        vendor = knowledge.vendor_build(facts.torch.version, runtime, is_embedded(facts, knowledge))
        return (vendor.archs, "released") if vendor else (None, "")
    nearest = _nearest_build(knowledge, torch, runtime)
    return _of(nearest, arm, "assumed") if nearest else (None, "")


def _of(build: TorchBuild, arm: bool, source: str) -> tuple[tuple[str, ...] | None, str]:
    """Wheels for Arm have targets of their own; those of x86_64 say nothing about them."""
    if not arm:
        return build.archs, source
    return (build.aarch64, source) if build.aarch64 else (None, "")


def is_arm(facts: Facts, knowledge: Knowledge) -> bool:
    """Whether the image runs on an Arm processor: told, or because the GPU is found beside those only."""
    if facts.container.machine is not None:
        return facts.container.machine in ("aarch64", "arm64")
    models = [knowledge.model(gpu.product) for gpu in facts.gpus]
    return any(model is not None and model.arm for model in models)


def is_embedded(facts: Facts, knowledge: Knowledge) -> bool:
    """Whether a GPU here is that of a Jetson module, for which builds are made apart."""
    models = [knowledge.model(gpu.product) for gpu in facts.gpus]
    rows = [knowledge.architectures.get(model.cc) for model in models if model is not None]
    return any(row is not None and row.embedded for row in rows)


def _nearest_build(knowledge: Knowledge, torch: Version, runtime: Version) -> TorchBuild | None:
    """The build nearest to what was never released by the project (conda-forge, nightlies, newer than the tables).

    The same CUDA version in the nearest release, else the nearest CUDA version of the same major one; a newer CUDA major
    version than the tables know takes the newest build.
    """

    def distance(release: TorchRelease, build: TorchBuild) -> tuple[bool, int, int]:
        steps = (release.torch[0] - torch[0]) * 100 + release.torch[1] - torch[1]
        return build.cuda != runtime[:2], abs(steps), abs(build.cuda[1] - runtime[1])

    builds = [
        (distance(release, build), build) for release in knowledge.torch.values() for build in release.builds
    ]
    same_major = [found for found in builds if found[1].cuda[0] == runtime[0]]
    if same_major:
        return min(same_major, key=lambda found: found[0])[1]
    newest = max((build for _, build in builds), key=lambda build: build.cuda)
    return newest if runtime[0] > newest.cuda[0] else None
