"""A cache of function results that is bounded by the bytes of its texts, not by the number of its entries.

The arguments of many small functions are texts that an image wrote. With :func:`functools.lru_cache`, a few thousand
long texts would hold hundreds of megabytes.
"""

from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ENTRY_BYTES: Final = 200
"""What an entry costs besides its texts: its places in a dictionary, tuples and numbers."""
_MISSING: Final = object()
_COLLECTIONS: Final = (tuple, frozenset)


class BoundedCache:
    """Results by key, of which the older ones are forgotten once the texts of the newer ones fill half of ``max_bytes``.

    Only keys are counted: results either share the texts of their key, or are rows of a table.
    There are two generations of entries. When the younger one is full, it becomes the older one, and what was the older
    one is dropped. An entry of the older generation that is used moves to the younger one. Any two threads may use the
    cache at once: at worst, a result is computed twice or counted twice.
    """

    def __init__(self, max_bytes: int) -> None:
        """Start empty. All texts together never hold more than ``max_bytes`` bytes."""
        self._half = max_bytes // 2
        self._young: dict[Hashable, Any] = {}
        self._old: dict[Hashable, Any] = {}
        self._young_bytes = 0
        self._old_bytes = 0

    @property
    def held_bytes(self) -> int:
        """How many bytes all entries hold, approximately."""
        return self._young_bytes + self._old_bytes

    def get(self, key: Hashable) -> Any:
        """Return the result that is stored under ``key``, or a special object (see :func:`is_missing`)."""
        found = self._young.get(key, _MISSING)
        if found is _MISSING:
            found = self._old.get(key, _MISSING)
            if found is not _MISSING:
                self.put(key, found)
        return found

    def put(self, key: Hashable, result: Any) -> None:
        """Store a result. One that alone would fill half of the cache is not stored."""
        size = ENTRY_BYTES + texts_bytes(key)
        if size > self._half:
            return
        if self._young_bytes + size > self._half:
            self._old, self._young = self._young, {}
            self._old_bytes, self._young_bytes = self._young_bytes, 0
        self._young[key] = result
        self._young_bytes += size

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}
        self._young_bytes = self._old_bytes = 0


def is_missing(result: object) -> bool:
    """Return whether :meth:`BoundedCache.get` has found nothing."""
    return result is _MISSING


def texts_bytes(value: object) -> int:
    """Return how many bytes the texts in a value hold: a text, a tuple, or an object with texts in its fields.

    Objects that are compared by identity, such as tables, are shared and count nothing.
    """
    if isinstance(value, str):
        return len(value) if value.isascii() else 4 * len(value)
    if isinstance(value, _COLLECTIONS):
        return sum(8 + texts_bytes(item) for item in value)
    kind: Any = type(value)  # mypy does not know that classes are hashable
    names = _counted_fields(kind)
    return 64 + sum(texts_bytes(getattr(value, name)) for name in names) if names else 0


@cache
def _counted_fields(kind: Any) -> tuple[str, ...]:
    """Return the names of a class's fields, or () if it is no dataclass or its objects are compared by identity."""
    if not is_dataclass(kind) or kind.__hash__ is object.__hash__:
        return ()
    return tuple(field.name for field in fields(kind))


def bounded_cache(max_bytes: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that keeps the results of a function, within ``max_bytes`` bytes of texts.

    The function's arguments must be hashable and positional. Its cache is its attribute ``cache``.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        cache = BoundedCache(max_bytes)

        @wraps(function)
        def cached(*args: P.args, **kwargs: P.kwargs) -> T:
            assert not kwargs, "a cached function is called with positional arguments only"
            result = cache.get(args)
            if result is _MISSING:
                result = function(*args, **kwargs)
                cache.put(args, result)
            found: T = result
            return found

        cached.cache = cache  # type: ignore[attr-defined]  # for tests
        return cached

    return decorate
