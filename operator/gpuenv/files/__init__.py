"""Reads files that others wrote, within limits: texts, JSON and YAML.

No file makes a reader take more memory or time than its size explains. There are no aliases that multiply, no endless
files, and no numbers with thousands of digits.
"""

from typing import Final

MAX_BYTES: Final = 1_000_000
"""Size of a file in bytes, unless its reader allows more. A ConfigMap cannot be larger either."""
MAX_DEPTH: Final = 100
"""How many lists and mappings may lie in each other."""
MAX_VALUES: Final = 2_000_000
"""How many values one file may hold: texts, numbers, lists and mappings."""
MAX_NUMBER: Final = 40
"""Characters of one number. The largest 64-bit integer has 19 digits, and no float needs more than 24 characters."""


class FileError(ValueError):
    """A file cannot be read, or its content is no data of the wanted form.

    The message is one line that says what is wrong, after the name of the file, which the caller adds.
    """


TOO_DEEP: Final = f"has more than {MAX_DEPTH} lists and mappings in each other; make it flatter"
TOO_MANY: Final = f"holds more than {MAX_VALUES:,} values; give a smaller file"


def long_number(text: str) -> str:
    """Return the message about a number that is too long."""
    return f"has a number of {len(text)} characters ({text[:12]}...); write it in quotes if it is a text"


def endless_number(text: str) -> str:
    """Return the message about a number that is not finite, such as NaN or 1e400."""
    return f"has the number {text}, which is not finite; leave it out"
