"""The GPUs of a machine that a program sees: CUDA_VISIBLE_DEVICES hides the others, which no policy judges.

https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables
"""

from gpuenv.assess.facts import Facts, Gpu, Source
from gpuenv.knowledge.model import Knowledge

_VISIBLE, _ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


def visible_gpus(facts: Facts, knowledge: Knowledge) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves, as far as that is known. A probe reports no others.

    nvidia-smi lists by bus, CUDA counts the fastest first unless CUDA_DEVICE_ORDER says otherwise: of different GPUs
    only "0", the fastest, can be told. Where nothing would be left, the variable is about other GPUs than these.
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
    """Return the numbers in a list of GPU numbers, or None if an entry is something else, such as a UUID."""
    parts = [part.strip() for part in value.split(",")] if value else []
    good = all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts)
    return {int(part) for part in parts} if parts and good else None


def _newest(gpus: tuple[Gpu, ...], knowledge: Knowledge) -> tuple[Gpu, ...]:
    """Return the GPUs of the newest generation, one of which is the fastest; all if a generation is not known."""
    models = [knowledge.model(gpu.product) for gpu in gpus]
    known = [
        gpu.compute_capability or (model.cc if model else None)
        for gpu, model in zip(gpus, models, strict=True)
    ]
    if any(capability is None for capability in known):
        return gpus
    newest = max(capability for capability in known if capability is not None)
    return tuple(gpu for gpu, capability in zip(gpus, known, strict=True) if capability == newest)
