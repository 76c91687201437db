"""The GPUs of a machine that a program can see. Policies do not judge GPUs that CUDA_VISIBLE_DEVICES hides.

https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables
"""

from gpuenv.assess.facts import Facts, Gpu, Source
from gpuenv.knowledge.model import Knowledge

_VISIBLE, _ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


def visible_gpus(facts: Facts, knowledge: Knowledge) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES does not hide. Return all if that cannot be determined.

    A probe reports only visible GPUs, so that all of them are returned. nvidia-smi numbers GPUs in the order of the PCI
    bus, but in CUDA the fastest GPU has the number 0, unless CUDA_DEVICE_ORDER is ``PCI_BUS_ID``. If the GPUs are of
    different models, it is therefore known only which of them can have the number 0. If the variable names none of the
    GPUs, it was set for other GPUs than these, and is ignored.
    """
    gpus = facts.gpus
    numbers = _numbers(facts.container.env.get(_VISIBLE))
    if facts.source == Source.PROBE or numbers is None or len(gpus) < 2:
        return gpus
    alike = len({gpu.product for gpu in gpus}) == 1
    if alike or facts.container.env.get(_ORDER) == "PCI_BUS_ID":
        return tuple(gpu for gpu in gpus if gpu.index in numbers) or gpus
    return _newest(gpus, knowledge) if numbers == {0} else gpus


def _numbers(value: str | None) -> set[int] | None:
    """Return the GPU numbers in the value of CUDA_VISIBLE_DEVICES.

    Return None if the variable is not set or empty, or if an entry is no number, such as a UUID.
    """
    parts = [part.strip() for part in value.split(",")] if value else []
    good = all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts)
    return {int(part) for part in parts} if parts and good else None


def _newest(gpus: tuple[Gpu, ...], knowledge: Knowledge) -> tuple[Gpu, ...]:
    """Return the GPUs with the highest compute capability. CUDA's fastest GPU is assumed to be one of them.

    If the compute capability of any GPU is not known, return all GPUs.
    """
    models = [knowledge.model(gpu.product) for gpu in gpus]
    known = [
        gpu.compute_capability or (model.cc if model else None)
        for gpu, model in zip(gpus, models, strict=True)
    ]
    if any(capability is None for capability in known):
        return gpus
    newest = max(capability for capability in known if capability is not None)
    return tuple(gpu for gpu, capability in zip(gpus, known, strict=True) if capability == newest)
