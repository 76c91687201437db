"""GPUs of other vendors than NVIDIA, recognised by their names. Nothing is known of them but who makes them."""

import re
from typing import Final

from gpuenv.assess.sources.text.lazy_pattern import LazyPattern

AMD: Final = "AMD"
APPLE: Final = "Apple"
INTEL: Final = "Intel"
_NAMES: Final = (
    (
        AMD,
        LazyPattern(
            r"\b(?:amd|radeon|instinct|firepro|gfx\d{3,4}|rx[ -]?\d{3,4}|mi\d{2,3}[ax]?)\b", re.IGNORECASE
        ),
    ),
    (APPLE, LazyPattern(r"\b(?:apple|m\d (?:pro|max|ultra))\b", re.IGNORECASE)),
    (INTEL, LazyPattern(r"\b(?:intel|arc[ -][ab]\d{2,3}|iris xe|data center gpu max)\b", re.IGNORECASE)),
)


def vendor_of(product: str | None) -> str | None:
    """Return the vendor of a GPU of AMD, Apple or Intel, or None if the name shows none of them or names NVIDIA."""
    if not product or "nvidia" in product.lower():
        return None
    return next((vendor for vendor, name in _NAMES if name.search(product)), None)
