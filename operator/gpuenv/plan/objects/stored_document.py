"""Functions for the probe document in a node report's status: compress it, and read single values from it."""

import math
import zlib
from collections.abc import Mapping
from typing import Any, Final

from gpuenv.api import json_text
from gpuenv.api.tolerant import integer, mapping, mappings, number, text
from gpuenv.assess.sources.probe.probe_document import BENCHMARKS, FACTS, GPUS, KEYS, Document, gpu_index

MAX_FIGURES: Final = 128
"""How many figures of a node are compared with those of other nodes. The probe measures about 15 for each product."""
_PLATFORMS: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def pick(status: Mapping[str, Any]) -> Document:
    """Return the probe document that a node report's status contains; empty if it contains none."""
    return {key: status[key] for key in KEYS if status.get(key)}


def pack(document: Document) -> bytes:
    """Return the document compressed, because 50,000 of them must fit in memory. Equal documents give equal bytes."""
    if not document:
        return b""
    return zlib.compress(json_text.encode(document))


def unpack(packed: bytes) -> Document:
    """Return the document that :func:`pack` compressed; an empty one for empty bytes."""
    document: Document = json_text.decode(zlib.decompress(packed)) if packed else {}
    return document


def figures(document: Mapping[str, Any]) -> tuple[tuple[str, str, str, float], ...]:
    """Return (benchmark, data type, GPU product, median) of each figure.

    If a node has several GPUs of one product, the lowest of their medians is returned. Of more than ``MAX_FIGURES``, the
    first are returned: they stay in memory for each node, and images can make up names of benchmarks.
    """
    products = {
        gpu_index(gpu, place): text(gpu.get("product"))
        for place, gpu in enumerate(mappings(document.get(GPUS)))
    }
    lowest: dict[tuple[str, str, str], float] = {}
    for row in mappings(document.get(BENCHMARKS)):
        median, index = number(row.get("median")), integer(row.get("gpu"))
        if median is not None and median > 0 and index is not None:
            key = (text(row.get("benchmark")), text(row.get("dtype")), products.get(index, ""))
            if key in lowest or len(lowest) < MAX_FIGURES:
                lowest[key] = min(median, lowest.get(key, math.inf))
    return tuple((*key, median) for key, median in sorted(lowest.items()))


def platform(document: Mapping[str, Any]) -> str:
    """Return the image's platform in the form that registries use (``linux/amd64``), or "" if it is not known."""
    machine = text(mapping(document, FACTS, "container").get("machine"))
    return f"linux/{_PLATFORMS.get(machine, machine)}" if machine else ""
