"""Makes decisions from bytes, so that any bytes describe one input, and a similar input has similar bytes.

A coverage-guided fuzzer changes single bytes and keeps what leads to new code. A stream of random bytes works as well.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """A source of decisions that reads ``data`` from its start. When it is used up, every decision is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def byte(self) -> int:
        """Return the next byte, or 0 if there is none."""
        if self._position >= len(self._data):
            return 0
        self._position += 1
        return self._data[self._position - 1]

    def below(self, limit: int) -> int:
        """Return a number from 0 to ``limit`` - 1."""
        number, width = 0, max(1, (max(1, limit - 1).bit_length() + 7) // 8)
        for _ in range(width):
            number = number << 8 | self.byte()
        return number % max(1, limit)

    def chance(self, one_in: int) -> bool:
        """Return True in one of ``one_in`` cases, and False once the bytes are used up."""
        return self.below(one_in) == one_in - 1 if one_in > 1 else True

    def one_of(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.below(len(options))]

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        rest, self._position = self._data[self._position :], len(self._data)
        return rest
