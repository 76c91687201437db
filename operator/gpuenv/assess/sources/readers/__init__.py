"""Readers of error texts: one module for each kind of text, such as the faults of the dynamic loader.

A reader gets a text that is cleaned and free of log prefixes, and returns the facts in it. It reports an error as a
:class:`~gpuenv.assess.facts.Failure` whose ``name`` is that of a rule in errors.yaml: the reader recognises the error,
and the rule says what it means and what helps. ``details`` of the failure fill the place-holders of the rule's sentences.
``message`` are the telling words as they stand in the text: they count as explained, and no pattern of errors.yaml is
searched in them.

Every reader takes time linear in the length of the text, and returns few errors. Most texts are not of its kind, so it
looks for fixed words first. Patterns are best kept as strings, which ``re`` compiles at their first use, so that importing
all readers takes little time.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from gpuenv.assess.facts import NO_FACTS, Facts, Failure
from gpuenv.assess.sources.merged_facts import merge
from gpuenv.assess.sources.readers import (
    collectives,
    installed_packages,
    kernel_log,
    kernel_module,
    platforms,
    resolvers,
    sglang_env,
    smi_fragments,
    startup_texts,
    toolkit_faults,
)
from gpuenv.assess.sources.readers.containers import container_runtime, container_toolkit, device_plugin
from gpuenv.assess.sources.readers.loader import compiled_parts, dll_faults, linked_libraries, loader_faults
from gpuenv.knowledge.model import Knowledge

Reader = Callable[[str, Knowledge], Facts]
"""Returns the facts in a text. It never raises, and returns facts without any value if the text is not of its kind."""

_OF_FACTS: Final[tuple[Reader, ...]] = (sglang_env.read, kernel_module.read, platforms.read)
"""Readers that find facts and no errors."""
READERS: Final[tuple[Reader, ...]] = (
    container_toolkit.read,
    container_runtime.read,
    device_plugin.read,
    kernel_log.read,
    collectives.read,
    smi_fragments.read,
    linked_libraries.read,
    loader_faults.read,
    dll_faults.read,
    compiled_parts.read,
    toolkit_faults.read,
    resolvers.read,
    installed_packages.read,
    startup_texts.read,
    *_OF_FACTS,
)
"""All readers, the one for the narrowest kind of text first. Of facts that contradict each other, its own count."""
MAX_ERRORS: Final = 32
"""Maximum number of errors from one text. Real texts have a handful of different ones."""


def read_facts(text: str, knowledge: Knowledge) -> Facts:
    """Return what all readers find in a text that is cleaned and free of log prefixes."""
    found = merge([NO_FACTS, *_in_turn(text, knowledge, READERS)])
    return replace(found, errors=tuple(dict.fromkeys(found.errors))[:MAX_ERRORS])


def read_failures(text: str, knowledge: Knowledge) -> tuple[Failure, ...]:
    """Return the errors that the readers find in a text, each once."""
    readers = (reader for reader in READERS if reader not in _OF_FACTS)
    found = (error for facts in _in_turn(text, knowledge, readers) for error in facts.errors)
    return tuple(dict.fromkeys(found))[:MAX_ERRORS]


def _in_turn(text: str, knowledge: Knowledge, readers: Iterable[Reader]) -> Iterator[Facts]:
    """Yield what each reader finds. What one has explained, no later one explains again."""
    for reader in readers:
        found = reader(text, knowledge)
        text = without_explained(text, found.errors[:MAX_ERRORS])
        if found is not NO_FACTS:
            yield found


def without_explained(text: str, failures: tuple[Failure, ...]) -> str:
    """Return the text with spaces in place of the words that the readers have explained."""
    for words in dict.fromkeys(failure.message for failure in failures):
        if words:
            text = text.replace(words, " " * len(words))
    return text
