"""The option ``--by``: what a row of a table of answers is about."""

from enum import StrEnum


class By(StrEnum):
    """What a row of the table is about: all nodes of one kind, or one node."""

    KIND = "kind"
    NODE = "node"
