"""A cache that holds many short texts or few long ones, but never more bytes than it may."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gpuenv.api.bounded_cache import ENTRY_BYTES, BoundedCache, bounded_cache, is_missing, texts_bytes


@pytest.fixture
def called() -> Iterator[list[str]]:
    yield []


def test_a_result_is_computed_once(called: list[str]) -> None:
    @bounded_cache(max_bytes=10_000)
    def upper(text: str) -> str:
        called.append(text)
        return text.upper()

    assert [upper("a"), upper("a"), upper("b")] == ["A", "A", "B"]
    assert called == ["a", "b"]


@pytest.mark.parametrize("length", [1, 100, 900, 5_000], ids=lambda length: f"texts of {length}")
def test_all_entries_together_hold_no_more_than_the_limit(length: int) -> None:
    cache = BoundedCache(10_000)
    for number in range(1000):
        cache.put(f"{number:04}" + "x" * length, number)
        assert cache.held_bytes <= 10_000
    assert is_missing(cache.get("0000" + "x" * length))
    known = not is_missing(cache.get("0999" + "x" * length))
    assert known == (length + ENTRY_BYTES <= 5_000), "one that would push out all others is not kept"


def test_what_is_used_stays() -> None:
    cache = BoundedCache(20 * ENTRY_BYTES)
    cache.put("used", 1)
    for number in range(100):
        cache.put(f"{number}", number)
        assert cache.get("used") == 1
    assert is_missing(cache.get("0"))


def test_none_is_a_result(called: list[str]) -> None:
    @bounded_cache(max_bytes=10_000)
    def nothing(text: str) -> None:
        called.append(text)

    nothing("a")
    nothing("a")
    assert called == ["a"]


def test_texts_are_counted_wherever_they_are() -> None:
    @dataclass(frozen=True)
    class Named:
        name: str
        others: tuple[str, ...] = ()

    @dataclass(frozen=True, eq=False)
    class Table:
        name: str

    assert texts_bytes("x" * 100) == 100
    assert texts_bytes("é" * 100) == 400
    assert texts_bytes(("x" * 100, Named("y" * 50, ("z" * 70,)))) > 220
    assert texts_bytes(Table("x" * 100)) == 0, "a table is shared, and compared by identity"
    assert texts_bytes((1, None, True)) == 24
