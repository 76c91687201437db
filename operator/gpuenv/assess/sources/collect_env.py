"""Reads facts from a pasted environment: the output of ``collect_env``, ``nvidia-smi``, pip, conda or Python.

The module understands ``collect_env`` of PyTorch since 1.8 and of vLLM. A label, such as ``Nvidia driver version``, may
be anywhere in the text: after a log prefix, in a quote or table, or in a dump on a single line. The value after a label
ends at the next label or at the end of the line. The functions never raise an exception, and every step takes time
linear in the length of the text.
https://github.com/pytorch/pytorch/blob/main/torch/utils/collect_env.py,
https://github.com/vllm-project/vllm/blob/main/vllm/collect_env.py
"""

import re
from dataclasses import replace
from itertools import islice

from gpuenv.assess.facts import (
    ContainerFacts,
    DriverFacts,
    Facts,
    Failure,
    Gpu,
    Source,
    TorchFacts,
)
from gpuenv.assess.sources.nvidia_smi import MAX_GPUS, SmiOutput, numbered, read_nvidia_smi
from gpuenv.assess.sources.probe.python_answers import Answers, read_prompt
from gpuenv.assess.sources.readers.resolvers import wanted_versions
from gpuenv.assess.sources.text.advice_words import is_advice
from gpuenv.assess.sources.text.cleaned_text import clean
from gpuenv.knowledge.versions import api_number, parse_version

MAX_VERSION = 64
"""The largest number of characters of a version."""
MAX_LABELS = 4_000
"""The search stops after this number of labels. The output of ``collect_env`` has about thirty."""

_LABELS = {
    "torch": ("PyTorch version (GPU?)", "PyTorch version", "Torch version"),
    "debug": ("Is debug build",),
    "cuda": ("CUDA used to build PyTorch",),
    "rocm": ("ROCM used to build PyTorch",),
    "xpu": ("XPU used to build PyTorch",),
    "os": ("OS",),
    "gcc": ("GCC version",),
    "clang": ("Clang version",),
    "cmake": ("CMake version",),
    "libc": ("Libc version",),
    "python": ("Python version",),
    "platform": ("Python platform",),
    "available": ("Is CUDA available",),
    "nvcc": ("CUDA runtime version", "CUDA_MODULE_LOADING set to"),
    "gpus": ("GPU models and configuration",),
    "driver": ("Nvidia driver version",),
    "cudnn": ("cuDNN version",),
    "end": (
        "Is XPU available", "HIP runtime version", "MIOpen runtime version", "Is XNNPACK available",
        "Caching allocator config", "CPU", "Versions of relevant libraries", "vLLM Version", "vLLM Build Flags",
        "ROCM Version", "Neuron SDK Version", "GPU Topology", "Architecture",
    ),
}  # fmt: skip
_BY_LABEL = {label.lower(): key for key, labels in _LABELS.items() for label in labels}
_LABEL = re.compile(
    # The first letter alone rules out most positions in the text, such as spaces. The search is four times as fast.
    f"(?=[{''.join(sorted({label[0] for label in _BY_LABEL}))}])"
    + r"(?<![\w])("
    + "|".join(re.escape(label) for label in sorted(_BY_LABEL, key=len, reverse=True))
    + r")(?: {0,40}[:：]|(?= \d+\.\d+\.\d))",
    re.IGNORECASE,
)
_NOTHING = frozenset({"", "could not collect", "n/a", "none", "no cuda", "unknown"})

_PIP = re.compile(
    r"(?:(\[(?:pip3?|conda)\] ?)|^[ |]{0,8})"
    r"(torch|pytorch|nvidia-cudnn-cu\d\d|nvidia-nccl-cu\d\d)(?:==| {1,40})(\d[\w.+!-]{0,40})"
    r"(?(1)|(?= *$| {2,}| (?:py|cuda|cpu|pypi|h[0-9a-f]{7}|\|)))",
    re.MULTILINE,
)
"""Matches a package in a list of installed ones: a line of ``pip list``, ``pip freeze`` or ``conda list``, or of ``collect_env``.

A requirement in a sentence (``Because torch==2.8.0 has no wheels``) is what somebody wants, and does not match.
"""
_CONDA_BUILD = re.compile(r"\bpy\d\.\d{1,2}_cuda(\d{1,2}\.\d{1,2})[\d.]{0,8}_cudnn")
_CONDA_FORGE = re.compile(
    r"^[^\n]{0,20}?\b(?:pytorch|libtorch|pytorch-gpu) {1,40}\d[\w.]{0,20} {1,40}[\w.]{2,60} {1,40}conda-forge",
    re.MULTILINE,
)
_CONDA_CPU = re.compile(
    r"^[^\n]{0,20}?\b(?:pytorch|libtorch) {1,40}\d[\w.]{0,20} {1,40}(?:py\d\.\d{1,2}_cpu_|cpu_)", re.MULTILINE
)
"""Matches conda's name of a build without CUDA: ``py3.11_cpu_0``, or conda-forge's ``cpu_generic_py311_…``."""
_ARCHS = re.compile(r"\[ {0,4}['\"](?:sm|compute)_\d{2,3}[^\]\n]{0,200}\]")
_FLAG = re.compile(r"(?:sm|compute)_\d{2,3}[af]?\b")
_ENV = re.compile(
    r"\b((?:CUDA|NVIDIA)_(?:VISIBLE_DEVICES|DEVICE_ORDER|LAUNCH_BLOCKING|DRIVER_CAPABILITIES|REQUIRE_CUDA|DISABLE_REQUIRE))"
    r"(?:=| {0,2}: {1,2})[\"']?([^\s;\"']{0,80})"
)
_MACHINE = re.compile(r"\b(x86_64|aarch64|arm64|amd64|ppc64le)\b", re.IGNORECASE)
_TRUTH = re.compile(r"\s{0,4}(true|false|yes|no)\b", re.IGNORECASE)
_GPU_HINT = re.compile(r"\((true|false)\)", re.IGNORECASE)


def read_collect_env(text: str) -> Facts:
    """Return the facts in a pasted environment. Every fact that the text does not contain is None."""
    text = clean(text)
    fields = _fields(text)
    packages = {name.lower(): version for _, name, version in reversed(_PIP.findall(text))}
    asked = read_prompt(text)
    torch = _torch(text, fields, packages, asked)
    smi = read_nvidia_smi(text)
    gpus = _gpus(fields, smi) or _asked(asked) or _jetson(fields, torch)
    return Facts(
        source=Source.COLLECT_ENV,
        container=_container(text, fields),
        driver=_driver(fields, torch, gpus, smi, asked),
        gpus=gpus,
        torch=torch,
    )


def _fields(text: str) -> dict[str, str]:
    """Return the values of the labels in the text, such as ``Nvidia driver version``.

    The keys of the result are those of :data:`_LABELS`, such as ``driver``; the values are the texts after the labels.
    Of several values of one label, the first that is not a placeholder such as ``N/A`` counts. If all are placeholders,
    the first one counts.
    """
    found: dict[str, str] = {}
    labels = list(islice(_LABEL.finditer(text), MAX_LABELS))
    for number, match in enumerate(labels):
        key = _BY_LABEL[match[1].lower()]
        stop = labels[number + 1].start() if number + 1 < len(labels) else len(text)
        value = text[match.end() : min(stop, match.end() + 20_000)]
        if key != "gpus":
            value = value.split("\n", 1)[0]
        value = value.strip(" |>\n#,;'\"")
        if key not in found or (_is_nothing(found[key]) and not _is_nothing(value)):
            found[key] = value
    return found


def _is_nothing(value: str | None) -> bool:
    return value is None or value.strip().lower() in _NOTHING


def _known(fields: dict[str, str], key: str) -> str | None:
    value = fields.get(key)
    return None if _is_nothing(value) else value


def _torch(text: str, fields: dict[str, str], packages: dict[str, str], asked: Answers) -> TorchFacts:
    told = _known(fields, "torch")
    version = told.split()[0].strip("(),") if told else None
    if version is not None and (len(version) > MAX_VERSION or parse_version(version) is None):
        version = None
    listed = asked.version or packages.get("torch") or packages.get("pytorch")
    version = version or (listed if listed not in wanted_versions(text) else None)
    without_torch = fields.get("torch", "").strip().lower() == "n/a"
    cuda = parse_version(_known(fields, "cuda"))
    conda = _CONDA_BUILD.search(text)
    if cuda is None and conda:
        cuda = parse_version(conda[1])
    cuda = cuda or parse_version(asked.cuda)
    known_cpu = _cpu_build(fields, cuda is not None, text)
    archs = _ARCHS.search(text)
    hint = _GPU_HINT.search(told) if told else None
    available = _TRUTH.match(fields.get("available", "")) or hint
    cudnn = next((value for name, value in packages.items() if name.startswith("nvidia-cudnn")), None)
    nccl = next((value for name, value in packages.items() if name.startswith("nvidia-nccl")), None)
    return TorchFacts(
        version=None if without_torch else version,
        channel="conda-forge" if _CONDA_FORGE.search(text) else None,
        cuda=".".join(str(part) for part in cuda[:2]) if cuda else None,
        cpu_build=asked.cpu_build if known_cpu is None else known_cpu,
        cudnn=_cudnn_number(cudnn),
        nccl=nccl,
        arch_flags=tuple(_FLAG.findall(archs[0])) if archs else None,
        available=available[1].lower() in ("true", "yes") if available else asked.available,
        missing=True if without_torch and "torch" not in packages and "pytorch" not in packages else None,
        import_error=(
            Failure(
                "python", name="ImportError", message="collect_env could not import torch, which is installed"
            )
            if without_torch and ("torch" in packages or "pytorch" in packages)
            else None
        ),
    )


def _cpu_build(fields: dict[str, str], has_cuda: bool, text: str) -> bool | None:
    if has_cuda:
        return False
    if _CONDA_CPU.search(text):
        return True
    if fields.get("cuda", "").strip().lower() == "none":
        return True
    other = _known(fields, "rocm") or _known(fields, "xpu")
    return True if (other and parse_version(other)) or _without_cuda_version(fields) else None


def _without_cuda_version(fields: dict[str, str]) -> bool:
    """Return whether torch imports, says that no GPU can be used, and has no CUDA version.

    The dump prints ``Could not collect`` for a ``torch.version.cuda`` that is None. A torch that does not import makes it
    ``N/A``.
    """
    version = fields.get("torch", "")
    return (
        fields.get("cuda", "").strip().lower() == "could not collect"
        and parse_version(version) is not None
        and "+cu" not in version
        and fields.get("available", "").strip().lower() in ("false", "no")
    )


def _cudnn_number(version: str | None) -> int | None:
    parts = parse_version(version)
    if parts is None or len(parts) < 2:
        return None
    major, minor, patch = parts[0], parts[1], parts[2] if len(parts) > 2 else 0
    return major * 10000 + minor * 100 + patch if major >= 9 else major * 1000 + minor * 100 + patch


def _gpus(fields: dict[str, str], smi: SmiOutput) -> tuple[Gpu, ...]:
    """Return the GPUs that the dump lists, with what ``nvidia-smi`` adds, or else those of ``nvidia-smi``."""
    models = _known(fields, "gpus") or ""
    found = numbered(models)
    if not found and models:
        name = models.split("\n", 1)[0].strip(" -")
        found = {0: name} if 2 < len(name) < 100 and not _is_nothing(name) else {}
    if not found:
        return smi.gpus
    known = {gpu.index: gpu for gpu in smi.gpus if gpu.product}
    return tuple(
        replace(known.get(index, Gpu()), index=index, product=name)
        for index, name in sorted(found.items())[:MAX_GPUS]
    )


def _asked(asked: Answers) -> tuple[Gpu, ...]:
    known = asked.product or asked.capability
    return (Gpu(product=asked.product, compute_capability=asked.capability),) if known else ()


def _jetson(fields: dict[str, str], torch: TorchFacts) -> tuple[Gpu, ...]:
    """Return the GPU of a Jetson on which CUDA works, recognised by ``tegra`` in the name of its kernel.

    JetPack 5 has no nvidia-smi that would name the GPU. The GPU is assumed to be an Orin, because builds for CUDA 11.4
    and 12 run on Orin; those for 11.4 also run on Xavier. Return an empty tuple for other machines and other CUDA
    versions.
    """
    on_jetson = "tegra" in fields.get("platform", "").lower() and torch.available is True
    cuda = parse_version(torch.cuda)
    return (Gpu(product="Orin (by its Tegra kernel)"),) if on_jetson and cuda and cuda[0] in (11, 12) else ()


def _driver(
    fields: dict[str, str], torch: TorchFacts, gpus: tuple[Gpu, ...], smi: SmiOutput, asked: Answers
) -> DriverFacts:
    told = (_known(fields, "driver") or "").split()
    version = told[0] if told and parse_version(told[0]) else (smi.driver or asked.driver)
    cuda = parse_version(smi.cuda)
    return DriverFacts(
        version=version,
        # nvidia-smi prints NVML's version on the machine where it ran, which may be another one than the container's.
        nvml_cuda_version=api_number(cuda) if cuda else None,
        absent=True if version is None and not gpus and _says_absent(fields, torch) else None,
    )


def _says_absent(fields: dict[str, str], torch: TorchFacts) -> bool:
    """Return whether the text says that there is no driver.

    The value of the driver or of the GPUs is then ``No CUDA``, or both are ``Could not collect`` and CUDA is not
    available.
    """
    values = [fields.get(key, "").strip().lower() for key in ("driver", "gpus")]
    if "no cuda" in values:
        return True
    return torch.available is False and values == ["could not collect", "could not collect"]


def _container(text: str, fields: dict[str, str]) -> ContainerFacts:
    python = parse_version(_known(fields, "python"))
    machine = _MACHINE.search(f"{fields.get('os', '')} {fields.get('platform', '')}")
    return ContainerFacts(
        python=".".join(str(part) for part in python) if python else None,
        glibc=_known(fields, "libc"),
        machine=machine[1].lower() if machine else None,
        env={found[1]: found[2] for found in _ENV.finditer(text) if not is_advice(text, found.start())},
    )
