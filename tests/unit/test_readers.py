"""Readers of error texts together: what they report, which rule it gets, and how its sentences are filled."""

import re
from typing import Any

import pytest
from tests.support.world import KNOWLEDGE

from gpuenv.assess.engine import assess
from gpuenv.assess.facts import Facts, Failure, Source
from gpuenv.assess.sources import readers
from gpuenv.assess.sources.error_text import read_error_text
from gpuenv.assess.sources.rules.failure_rules import classify
from gpuenv.assess.sources.text.lazy_pattern import LazyPattern
from gpuenv.knowledge import KnowledgeError
from gpuenv.knowledge.files import yaml_tables
from gpuenv.knowledge.load import build
from gpuenv.knowledge.model import Knowledge
from gpuenv.knowledge.place_holders import MAX_VALUE, WORDS, fill, unknown_names


def tables(**texts: str) -> Knowledge:
    """Return the tables with one more rule, which only a reader recognises."""
    content: dict[str, Any] = yaml_tables()
    row = {
        "name": "of-a-test", "layer": "python", "reason": "ImportFailed", "status": "Fail", "source": "https://example.org",
        "meaning": "{module} needs {library}", "cure": "Install the build of {module} for this CUDA.",
    }  # fmt: skip
    content["errors"]["errors"].append(row | texts)
    return build(content)


def failing(*details: tuple[str, str], message: str = "the telling words") -> Failure:
    return Failure("python", name="of-a-test", message=message, details=details)


def test_details_of_a_failure_fill_the_sentences_of_its_rule() -> None:
    rule = classify(failing(("module", "sgl_kernel"), ("library", "libnvrtc.so.12")), tables())
    assert rule is not None
    assert rule.meaning == "sgl_kernel needs libnvrtc.so.12"
    assert rule.remedies[0].message == "Install the build of sgl_kernel for this CUDA."
    assert dict(rule.details) == {"module": "sgl_kernel", "library": "libnvrtc.so.12"}


def test_a_sentence_reads_well_without_details_and_shows_no_brace() -> None:
    rule = classify(failing(), tables())
    assert rule is not None
    assert rule.meaning == "the extension needs a library"
    assert all(fill(f"It needs {{{name}}}.") == f"It needs {words}." for name, words in WORDS.items())
    for rule in KNOWLEDGE.errors:
        assert "{" not in fill(rule.meaning + rule.cure), rule.name


def test_values_are_short_printable_and_never_filled_again() -> None:
    value = "{library}\x1b[31m\n" + "x" * 500
    rule = classify(failing(("module", value), ("nonsense", "x"), ("library", "")), tables())
    assert rule is not None
    shown, _, needs = rule.meaning.partition(" needs ")
    assert shown.startswith("{library} xxx")
    assert len(shown) == MAX_VALUE
    assert needs == "a library"
    assert [name for name, _ in rule.details] == ["module"]


@pytest.mark.parametrize("sentence", ["{nothing} is known", "{module is open", "module} is closed", "{}"])
def test_a_table_with_an_unknown_place_holder_is_refused(sentence: str) -> None:
    assert unknown_names(sentence)
    with pytest.raises(KnowledgeError, match="is not a place-holder"):
        tables(meaning=sentence)
    with pytest.raises(KnowledgeError, match="is not a place-holder"):
        tables(cure=sentence)


def test_what_a_reader_explains_no_pattern_explains_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "RuntimeError: CUDA error: something new"
    known = tables()

    def reader(text: str, knowledge: Knowledge) -> Facts:
        assert knowledge is known
        found = (failing(("module", "flash_attn"), message=words),) if words in text else ()
        return Facts(source=Source.ERROR_TEXT, errors=found)

    text = f"Traceback (most recent call last):\n{words}\nsomething else: CUDA error: out of memory"
    monkeypatch.setattr(readers, "READERS", (reader,))
    errors = read_error_text(text, known).errors
    assert [error.name for error in errors] == ["of-a-test", "oom"]
    found = assess(read_error_text(words, known), None, (), known)
    assert (found.verdict, found.reason) == ("Incompatible", "ImportFailed")
    assert found.message.startswith("flash_attn needs")


def test_an_error_of_the_probe_is_read_by_the_same_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    def reader(text: str, knowledge: Knowledge) -> Facts:
        found = (failing(("module", "flash_attn")),) if "of a new kind" in text else ()
        return Facts(source=Source.ERROR_TEXT, errors=found)

    monkeypatch.setattr(readers, "READERS", (reader,))
    rule = classify(Failure("python", name="ImportError", message="an error of a new kind"), tables())
    assert rule is not None
    assert rule.meaning == "flash_attn needs a library"


def test_few_errors_are_returned_from_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def reader(text: str, knowledge: Knowledge) -> Facts:
        many = tuple(failing(message=f"{number}") for number in range(1000))
        return Facts(source=Source.ERROR_TEXT, errors=many + many)

    monkeypatch.setattr(readers, "READERS", (reader, reader))
    assert len(readers.read_facts("x", KNOWLEDGE).errors) == readers.MAX_ERRORS
    assert len(readers.read_failures("x", KNOWLEDGE)) == readers.MAX_ERRORS


def test_a_pattern_of_a_reader_is_compiled_when_it_is_first_used() -> None:
    pattern = LazyPattern("b(c)", re.IGNORECASE)
    found = pattern.search("abC abc", 3)
    assert found is not None
    assert (found.span(), found[1]) == ((5, 7), "c")
    assert [match.start() for match in pattern.finditer("bc bc bc", 1)] == [3, 6]
    assert pattern.match("abc", 1) is not None
    assert pattern.match("abc") is None
    invalid = LazyPattern("(")
    with pytest.raises(re.error):
        invalid.search("")
