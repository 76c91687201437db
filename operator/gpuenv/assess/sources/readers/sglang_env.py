"""Reads the dump that ``python -m sglang.check_env`` prints, which names several GPUs on one line.

https://github.com/sgl-project/sglang/blob/main/python/sglang/check_env.py
"""

import re
from dataclasses import replace
from itertools import islice
from typing import Final

from gpuenv.assess.facts import NO_FACTS, ContainerFacts, DriverFacts, Facts, Gpu, Source, TorchFacts
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge.model import Knowledge

MAX_LINES: Final = 64
MAX_GPUS: Final = 64
_PYTHON: Final = LazyPattern(r"^Python: (\d\.\d{1,2}\.\d{1,3})", re.MULTILINE)
_AVAILABLE: Final = LazyPattern(r"^CUDA available: (True|False)", re.MULTILINE)
_GPUS: Final = LazyPattern(r"^GPU (\d{1,3}(?:,\d{1,3}){0,63}): ([^\n]{3,90})", re.MULTILINE)
_CAPABILITY: Final = LazyPattern(
    r"^GPU (\d{1,3}(?:,\d{1,3}){0,63}) Compute Capability: (\d{1,2})\.(\d)", re.MULTILINE
)
_DRIVER: Final = LazyPattern(r"^CUDA Driver Version: (\d{3}\.[\d.]{2,12})", re.MULTILINE)
_TORCH: Final = LazyPattern(r"^PyTorch: (\d[\w.+-]{2,40})", re.MULTILINE)


def read(text: str, knowledge: Knowledge) -> Facts:
    """Return the facts in a dump of SGLang. A line that the dump does not have is not known."""
    del knowledge
    available = _AVAILABLE.search(text) if "CUDA available: " in text else None
    if available is None:
        return NO_FACTS
    python, driver, torch = _PYTHON.search(text), _DRIVER.search(text), _TORCH.search(text)
    return Facts(
        source=Source.ERROR_TEXT,
        container=ContainerFacts(python=python[1] if python else None),
        driver=DriverFacts(version=driver[1] if driver else None),
        gpus=_gpus(text),
        torch=TorchFacts(version=torch[1] if torch else None, available=available[1] == "True"),
    )


def _gpus(text: str) -> tuple[Gpu, ...]:
    found: dict[int, Gpu] = {}
    for match in islice(_GPUS.finditer(text), MAX_LINES):
        for number in match[1].split(","):
            found.setdefault(int(number), Gpu(index=int(number), product=match[2].strip()))
    for match in islice(_CAPABILITY.finditer(text), MAX_LINES):
        for number in map(int, match[1].split(",")):
            if number in found:
                found[number] = replace(found[number], compute_capability=(int(match[2]), int(match[3])))
    return tuple(gpu for _, gpu in sorted(found.items())[:MAX_GPUS])
