"""The words of a GPU's product name, which people, labels and programs spell differently."""

import re

LONGEST_PRODUCT = 200
"""Number of characters of a product name that are read. The longest real one has 60."""
_JOINED = ("RTX", "GTX", "GT")
"""Words of product names that some spellings join to the number after them, as in ``RTX4090``."""
_BETWEEN_WORDS = re.compile(r"[\W_]+")
_AMPERE = "RTXA"
"""Beginning of a word that joins ``RTX`` and ``A6000``, as in ``RTXA6000-48Q``, the name of a virtual GPU."""


def model_words(product: str) -> tuple[str, ...]:
    """Return the words of a product name in upper case, independent of its spelling.

    ``RTX4090`` and ``RTX 4090`` are the same two words, and so are ``1080Ti`` and ``1080 Ti``. Dashes separate words.
    """
    words: list[str] = []
    for word in _BETWEEN_WORDS.sub(" ", product[:LONGEST_PRODUCT].upper()).split():
        if word.isalpha():
            words.append(word)
            continue
        if word.startswith(_AMPERE) and word[len(_AMPERE) :].isdigit():
            words += ["RTX", word[3:]]
            continue
        head = next(
            (head for head in _JOINED if word.startswith(head) and word[len(head) :][:1].isdigit()), ""
        )
        rest = word[len(head) :]
        words += [head] if head else []
        if rest[:1].isdigit() and rest.endswith("TI"):
            words += [rest[:-2], "TI"]
        else:
            words.append(rest)
    return tuple(words)
