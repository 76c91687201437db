"""Finds the GPU that a person means: ``4090`` is an RTX 4090, and ``rtx 6000`` may be one of several."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from gpuenv.assess.facts import Gpu
from gpuenv.knowledge import Knowledge
from gpuenv.knowledge.model import ComputeCapability, GpuModel
from gpuenv.knowledge.product_names import model_words

_BRANDS: Final = frozenset({"NVIDIA", "GEFORCE", "TESLA", "GPU", "GRAPHICS", "CARD"})
"""Words that people add to a name or leave out of it. No model in the tables is told from another by them."""
_SERIES: Final = frozenset({"RTX", "GTX", "GT"})
"""Words that people leave out before the number of a model."""
_FEWEST_DIGITS: Final = 4
"""A number with fewer digits, such as ``100``, does not name a model without a word before it."""
MOST_SIMILAR: Final = 4
_LOOK_UPS: Final = 64
"""How many different names are compared with all names in the tables. A list of nodes may hold thousands."""
_LONGEST: Final = 60


@dataclass(slots=True)
class GpuNames:
    """Makes GPUs from the names that people write. Each name is looked up once."""

    knowledge: Knowledge
    _found: dict[str, Gpu] = field(default_factory=dict)
    _by_word: dict[str, list[tuple[list[str], GpuModel]]] = field(default_factory=dict)
    _compared: int = 0

    def gpu(self, text: str, index: int = 0, capability: ComputeCapability | None = None) -> Gpu:
        """Return the GPU with a name.

        If the tables lack the name, but it can only be short for one model, the GPU has the name of this model, and
        ``typed`` is the name as it was written. If it can be several models, or is like the names of some, these are in
        ``similar``. With a compute capability, the name is taken as it is.
        """
        if capability is not None:
            return Gpu(index=index, product=text, compute_capability=capability)
        if text not in self._found:
            self._found[text] = self._named(text)
        return replace(self._found[text], index=index)

    def _named(self, text: str) -> Gpu:
        if self.knowledge.model(text) is not None or len(text) > _LONGEST:
            return Gpu(product=text)
        words = tuple(word for word in model_words(text) if word not in _BRANDS)
        candidates = list(self._containing(words))
        model = _meant(words, candidates)
        if model is not None:
            return Gpu(product=_full_name(model, self.knowledge), typed=text)
        numbers = (word for word in words if any(map(str.isdigit, word)))  # without a misspelled brand
        names = (
            [one.name for one in candidates] or self._like(" ".join(words)) or self._like(" ".join(numbers))
        )
        return Gpu(product=text, similar=tuple(names[:MOST_SIMILAR]))

    def _containing(self, words: tuple[str, ...]) -> Iterator[GpuModel]:
        """Yield the models whose names contain the words in this order; the shortest names first."""
        if not self._by_word:
            for name, model in self.knowledge.models.items():
                for word in name.split():
                    self._by_word.setdefault(word, []).append((name.split(), model))
        named = self._by_word.get(words[-1], []) if words else []
        found = [model for name, model in named if _contains(name, words)]
        yield from sorted(found, key=lambda model: (len(model.name.split()), model.name))

    def _like(self, name: str) -> list[str]:
        """Return names in the tables that differ by a few characters, the most similar first."""
        self._compared += 1
        if not name or self._compared > _LOOK_UPS:
            return []
        from difflib import get_close_matches  # noqa: PLC0415 - only for names that are not known

        found = get_close_matches(name, self.knowledge.models, n=MOST_SIMILAR, cutoff=0.7)
        return [self.knowledge.models[one].name for one in found]


def _contains(name: list[str], words: tuple[str, ...]) -> bool:
    rest = iter(name)
    return all(word in rest for word in words)


def _meant(words: tuple[str, ...], candidates: list[GpuModel]) -> GpuModel | None:
    """Return the only model that words can be short for, or None.

    Only the word of the series may be left out. Longer names of other models of the same generation do not count:
    ``4090`` is no RTX 4090 D.
    """
    if not candidates or len({model.cc for model in candidates}) > 1:
        return None
    if not any(sum(char.isdigit() for char in word) >= _FEWEST_DIGITS for word in words):
        return None
    short = [model for model in candidates if set(model_words(model.name)) - set(words) <= _SERIES]
    return short[0] if len(short) == 1 else None


def _full_name(model: GpuModel, knowledge: Knowledge) -> str:
    """Return the product name of a model, as nvidia-smi prints it, if the tables have exactly one, else its own name."""
    names = [name for name in knowledge.peaks if knowledge.model(name) is model]
    return names[0] if len(names) == 1 else model.name
