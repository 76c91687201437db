r"""Reads what programs print while they start: vLLM, SGLang, TGI, ComfyUI, WebUI, Ray, xformers and bitsandbytes.

They name the versions that are installed (``you have 2.8.0+cpu``), or say in words of their own that no GPU can be used.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure, Gpu, Source, TorchFacts
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.model import Knowledge

MAX_PLACES: Final = 32
MAX_GPUS: Final = 64
_VERSION: Final = r"(\d{1,2}\.\d{1,3}[\w.+-]{0,40})"

_XFORMERS: Final = LazyPattern(
    rf"xFormers was built for:?\s{{1,20}}PyTorch {_VERSION} with CUDA (\d{{3,5}}|None) \(you have {_VERSION}\)"
)
_COMFYUI: Final = LazyPattern(rf"^(?:\[[^\]\n]{{1,40}}\] )?[Pp]ytorch version: {_VERSION}", re.MULTILINE)
_COMFYUI_DEVICE: Final = LazyPattern(
    r"^(?:\[[^\]\n]{1,40}\] )?(?:Device|- Name): cuda:(\d{1,2}) ([^\n:]{3,80}?) : (?:cudaMallocAsync|native)",
    re.MULTILINE,
)
_DEEPSPEED: Final = LazyPattern(rf"^torch version \.{{3,40}} {_VERSION}", re.MULTILINE)
_DEEPSPEED_CUDA: Final = LazyPattern(r"^torch cuda version \.{3,40} (\d{1,2}\.\d)", re.MULTILINE)
_TORCHCODEC: Final = LazyPattern(rf"The PyTorch version \({_VERSION}\) is not compatible with")
_BITSANDBYTES: Final = LazyPattern(
    r"(?:Required library version not found: |Configured CUDA binary not found at [^\s'\"]{0,200}?"
    r"|CUDA binary at (?:PosixPath|WindowsPath)\(['\"][^'\"\n]{0,200}?)"
    r"(lib(?:s?)bitsandbytes_(?:cuda|rocm)[\w.]{1,30}\.(?:so|dll))"
)
_FAILING: Final = (
    (
        "cpu-build",
        LazyPattern(
            r"\bversion\.cuda\b[^\n]{0,80}?(?:\n[ ^~]{0,160}){0,2}\n?"
            r"(?:AttributeError: 'NoneType' object|TypeError: [^\n]{0,80}NoneType)[^\n]{0,60}"
        ),
    ),
    ("no-platform", LazyPattern(r"No platform detected, vLLM is running on UnspecifiedPlatform")),
    (
        "no-platform",
        LazyPattern(r"CUDA platform is not available because: NVML Shared Library Not Found", re.IGNORECASE),
    ),
    (
        "no-platform",
        LazyPattern(r"Exception happens when checking CUDA platform: NVML Shared Library Not Found"),
    ),
    ("torch-cannot-use-gpu", LazyPattern(r"Torch is not able to use GPU")),
    ("torch-cannot-use-gpu", LazyPattern(r"No accelerator \((?:CUDA|cuda)[^)\n]{0,60}\) is available")),
    (
        "torch-cannot-use-gpu",
        LazyPattern(r"Could not import Flash Attention enabled models: CUDA is not available"),
    ),
    ("torch-cannot-use-gpu", LazyPattern(r"GPU is required to (?:run|quantize|use)[^\n]{0,80}")),
    ("ray-without-gpu", LazyPattern(r"Current node has no GPU available")),
    ("ray-without-gpu", LazyPattern(r"Ray does not allocate any GPUs on the driver node")),
    (
        "ray-without-gpu",
        LazyPattern(
            r"Resources required for each replica: [^\n]{0,200}?['\"]GPU['\"][^\n]{0,200}?total resources available: \{\}"
        ),
    ),
    ("ray-without-gpu", LazyPattern(r"No available node types can fulfill resource request[^\n]{0,20}'GPU'")),
    (
        "ray-without-gpu",
        LazyPattern(
            r"The number of required (?:[\w ]{0,20})?GPUs exceeds the total number of available (?:[\w ]{0,20})?GPUs"
        ),
    ),
    ("bitsandbytes-without-cuda", LazyPattern(r"bitsandbytes was compiled without GPU support")),
    (
        "bitsandbytes-without-cuda",
        LazyPattern(r"CUDA Setup failed despite (?:CUDA|GPU) being available[^\n]{0,120}"),
    ),
    ("bitsandbytes-without-cuda", LazyPattern(r"CUDA SETUP: CUDA detection failed[^\n]{0,60}")),
    (
        "warp-driver-entry",
        LazyPattern(
            r"(?:CUDA error: )?Failed to get driver entry point '\w{2,60}' \(CUDA error (?!34\))\d{1,3}\)"
        ),
    ),
    (
        "warp-driver-entry",
        LazyPattern(r"(?:CUDA error: )?Function cu\w{2,60}: a suitable driver entry point was not found"),
    ),
    (
        "warp-driver-entry",
        LazyPattern(r"Warp CUDA error 36: API call is not supported in the installed CUDA driver"),
    ),
    (
        "flash-attention-missing",
        LazyPattern(r"FlashAttention\d? has been toggled on, but it cannot be used[^\n]{0,120}not installed"),
    ),
)
"""Pairs of a rule of errors.yaml and words that mean it."""
_FIRST_WORDS: Final = (
    "xFormers", "ytorch version:", ": cuda:", "torch version ..", "PyTorch version (", "bitsandbytes", "platform",
    "Torch is not able", "No accelerator", "Flash", "GPU is required", "no GPU available", "Ray does not",
    "No available node", "number of required", "Resources required", "NoneType",
    "CUDA Setup failed", "driver entry point", "CUDA SETUP: CUDA detection",
)  # fmt: skip


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the versions, GPUs and failures in what programs printed while they started."""
    del knowledge
    if not any(words in text for words in _FIRST_WORDS):
        return NO_FACTS
    xformers, cuda = _XFORMERS.search(text), _DEEPSPEED_CUDA.search(text)
    found = (pattern.search(text) for pattern in (_COMFYUI, _DEEPSPEED, _TORCHCODEC))
    version = xformers[3] if xformers else next((match[1] for match in found if match), None)
    devices = {int(match[1]): match[2].strip() for match in islice(_COMFYUI_DEVICE.finditer(text), MAX_GPUS)}
    return Facts(
        source=Source.ERROR_TEXT,
        gpus=tuple(Gpu(index=index, product=name) for index, name in sorted(devices.items())),
        torch=TorchFacts(version=version, cuda=cuda[1] if cuda else None),
        errors=tuple(dict.fromkeys(_failures(text, xformers))),
    )


def _failures(text: str, xformers: re.Match[str] | None) -> Iterator[Failure]:
    if xformers and not xformers[3].endswith("+cpu"):
        wanted = f"PyTorch {xformers[1]}" if xformers[3] != xformers[1] else f"CUDA {xformers[2]}"
        pairs = (("module", "xformers"), ("requirement", wanted), ("version", xformers[3]))
        yield Failure(
            "python", name="xformers-of-another-torch", message=_first_line(xformers[0]), details=pairs
        )
    libraries = dict.fromkeys(match[1] for match in islice(_BITSANDBYTES.finditer(text), MAX_PLACES))
    for library in list(libraries)[:1]:
        details = (("module", "bitsandbytes"), ("library", library))
        yield Failure("python", name="module-library-missing", message=library, details=details)
    for name, pattern in _FAILING:
        match = pattern.search(text)
        if match:
            yield Failure("python", name=name, message=match[0])


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
