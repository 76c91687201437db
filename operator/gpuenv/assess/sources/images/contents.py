"""Reads facts about a container image from its configuration and its files, without running anything.

:func:`gpuenv.assess.sources.images.installed.is_wanted` says which files of an image matter. All texts come from the
image, so none of them is trusted to be short, complete or honest.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gpuenv.api.foreign_text import one_line
from gpuenv.assess.facts import (
    ContainerFacts,
    DriverFacts,
    Facts,
    Failure,
    Libcuda,
    LibcudaOrigin,
    Origin,
    Provenance,
    Source,
    TorchFacts,
)
from gpuenv.assess.policies.architecture import cudnn_number
from gpuenv.assess.sources.images import installed
from gpuenv.assess.sources.images.installed import FoundFile, InstalledTorch
from gpuenv.knowledge.versions import parse_version

STUB_ERROR: Final = 34
"""``cudaErrorStubLibrary``: the error of a program that loads the toolkit's stub instead of the driver's libcuda."""

KNOWN_PLATFORMS: Final = ("linux/amd64", "linux/arm64")
"""The platforms that are read, the preferred one first."""

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_REQUIREMENT: Final = re.compile(r"cuda>=(\d{1,2}\.\d{1,2})", re.ASCII)
_ENV_PREFIXES: Final = (
    "CUDA_VISIBLE",
    "CUDA_DEVICE_ORDER",
    "CUDA_LAUNCH",
    "CUDA_MODULE",
    "PYTORCH_",
    "TORCH_",
)
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
"""What Go's strconv.ParseBool takes for true."""
_LEGACY: Final = re.compile(r"(\d{1,2}\.\d{1,2})(?![\d])", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9]{1,20}")
_MAX_PLATFORMS: Final = 16
_MAX_REQUIREMENTS: Final = 16
_MAX_ENV: Final = 64
_MAX_NOTE: Final = 300


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """What was read from an image: the wanted files by their path (without a leading slash), and its configuration.

    ``config`` is the image's configuration as JSON data, or None for a plain directory. ``platforms`` are the platforms
    for which the image exists, and ``read`` the one that was read, as ``linux/amd64``.
    """

    files: Mapping[str, FoundFile]
    config: Mapping[str, Any] | None = None
    platforms: tuple[str, ...] = ()
    read: str = ""


@dataclass(frozen=True, slots=True)
class ReadImage:
    """The facts about an image that was read, and sentences about it for people."""

    facts: Facts
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Findings:
    """Facts and their origins while they are collected."""

    values: dict[str, str] = field(default_factory=dict)
    provenance: list[Provenance] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    def add(self, name: str, value: str | None, where: str) -> None:
        """Record a value that was read from ``where``, unless it is not known or another place has said it."""
        if value and name not in self.values:
            self.values[name] = value
            self.provenance.append(Provenance(name, Origin.READ, one_line(where, _MAX_NOTE)))


def read_contents(image: ImageFiles) -> ReadImage:
    """Return what the configuration and the files of an image say."""
    env = _environment(image.config)
    found = _Findings()
    torch = installed.torch_of(image.files, env.get("PATH", ""), found.conflicts)
    if torch is not None:
        found.add("pytorch", torch.version, torch.where)
        found.add("cuda", torch.cuda, torch.where)
        found.add("python", torch.python, torch.where)
        for name, package in (("cudnn", "nvidia-cudnn"), ("nccl", "nvidia-nccl")):
            version, where = installed.package_of(image.files, torch.packages, package)
            found.add(name, version, where)
    elif not found.conflicts:
        found.add("pytorch", _version(env.get("PYTORCH_VERSION")), "PYTORCH_VERSION")
        found.add("cuda", _version(env.get("CUDA_VERSION")), "CUDA_VERSION")
    for variable in ("NV_CUDNN_VERSION", "CUDNN_VERSION"):
        found.add("cudnn", _version(env.get(variable)), variable)
    found.add("python", _version(env.get("PYTHON_VERSION")), "PYTHON_VERSION")
    stub = installed.stub_on_path(image.files, env.get("LD_LIBRARY_PATH", ""))
    compat = installed.compat_on_path(image.files, env.get("LD_LIBRARY_PATH", ""))
    values = found.values
    return ReadImage(
        Facts(
            source=Source.IMAGE,
            torch=TorchFacts(
                version=values.get("pytorch"),
                git_version=torch.git_version if torch else None,
                channel=torch.channel if torch else None,
                cuda=values.get("cuda"),
                cpu_build=torch.is_cpu_build if torch else None,
                cudnn=cudnn_number(parse_version(values.get("cudnn"))),
                nccl=values.get("nccl"),
            ),
            container=ContainerFacts(
                python=values.get("python"),
                machine=_machine(image),
                env={name: value for name, value in env.items() if name.startswith(_ENV_PREFIXES)},
                image_platforms=_platforms(image),
                requirements=_requirements(env),
            ),
            driver=DriverFacts(libcuda=Libcuda(one_line(compat, _MAX_NOTE), LibcudaOrigin.COMPAT))
            if compat
            else DriverFacts(),
            errors=(Failure("cuda", STUB_ERROR, "cudaErrorStubLibrary", f"LD_LIBRARY_PATH finds {stub}"),)
            if stub
            else (),
            conflicts=tuple(found.conflicts),
            provenance=tuple(found.provenance),
        ),
        tuple(one_line(note, _MAX_NOTE) for note in _notes(image, env, torch, found.conflicts)),
    )


def _environment(config: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the environment variables of a configuration. What is no variable is left out."""
    inner = config.get("config") if config else None
    lines = inner.get("Env") if isinstance(inner, dict) else None
    pairs = [line.partition("=") for line in lines or () if isinstance(line, str)]
    return {
        name: value[:4096] for name, equals, value in pairs[-_MAX_ENV * 8 :] if equals and len(name) < 128
    }


def _platforms(image: ImageFiles) -> tuple[str, ...]:
    """Return the platforms for which the image exists. For the one that was read, its configuration says it."""
    config = image.config or {}
    names = [config.get(key) for key in ("os", "architecture")]
    is_named = all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)
    own = "/".join(map(str, names)) if is_named else image.read
    others = (one for one in image.platforms if one != image.read and "unknown" not in one)
    return tuple(dict.fromkeys(filter(None, (own, *others))))[:_MAX_PLATFORMS]


def _requirements(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the image requires of driver and GPU, as NVIDIA's container toolkit reads it from the variables.

    An image that names its CUDA_VERSION and has no NVIDIA_REQUIRE_CUDA requires a driver with this CUDA.
    https://github.com/NVIDIA/nvidia-container-toolkit/blob/main/internal/config/image/cuda_image.go
    """
    if env.get("NVIDIA_DISABLE_REQUIRE", "") in _TRUE:
        return ()
    found = [
        value
        for name, value in env.items()
        if name.startswith("NVIDIA_REQUIRE_")
        and not name.startswith("NVIDIA_REQUIRE_JETPACK")
        and value.strip()
    ]
    legacy = _LEGACY.match(env.get("CUDA_VERSION", "")) if not env.get("NVIDIA_REQUIRE_CUDA") else None
    return (*found[:_MAX_REQUIREMENTS], *([f"cuda>={legacy[1]}"] if legacy else []))


def _machine(image: ImageFiles) -> str | None:
    """Return the architecture of the CPUs on which the image runs. It is not known if there are several."""
    architecture = image.config.get("architecture") if image.config else None
    several = sum(platform in KNOWN_PLATFORMS for platform in image.platforms) > 1
    return _MACHINES.get(architecture) if isinstance(architecture, str) and not several else None


def _version(text: str | None) -> str | None:
    """Return the version in an environment variable, without the revision of a Debian package (``9.8.0.87-1``)."""
    version = text.partition("-")[0].strip() if text else ""
    return installed.valid_version(version)


def _notes(
    image: ImageFiles, env: Mapping[str, str], torch: InstalledTorch | None, conflicts: Sequence[str]
) -> Iterator[str]:
    others = [platform for platform in image.platforms if platform != image.read]
    if others:
        yield f"Read for {image.read}; the image exists for {', '.join(others[:8])} too."
    if image.config is None:
        yield "A directory has no configuration: environment variables of the image are not known."
    if conflicts:
        yield "It has copies of PyTorch that differ, so that PyTorch is not known."
    elif torch is None:
        yield "No torch/version.py was found in its site-packages."
    elif torch.refused:
        yield f"{torch.where} has no version: {torch.refused} is none, so that PyTorch is not known."
    requirement = _REQUIREMENT.search(" ".join(_requirements(env)))
    if requirement:
        yield (
            f"NVIDIA_REQUIRE_CUDA asks for CUDA {requirement[1]}: NVIDIA's container toolkit does not start the image on an "
            "older driver, except on those that it lists; NVIDIA_DISABLE_REQUIRE=1 switches that off."
        )
    for driver, path in installed.compat_drivers(image.files):
        yield f"It brings the cuda-compat libraries of driver {driver} ({path}), which work on data-centre GPUs only."
    for path in installed.stray_libcudas(image.files):
        yield f"It contains a driver library, {path}, which can hide the one of the node (DriverMismatch)."
    yield from _start(image.config)


def _start(config: Mapping[str, Any] | None) -> Iterator[str]:
    inner = config.get("config") if config else None
    if not isinstance(inner, dict):
        return
    user = inner.get("User")
    words = [word for word in inner.get("Entrypoint") or inner.get("Cmd") or () if isinstance(word, str)]
    who = user if isinstance(user, str) and user else "root"
    yield f"It runs as {who}" + (f" and starts {' '.join(words[:8])}." if words else ".")
