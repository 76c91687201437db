"""The output formats of all commands: their names, the option ``--output``, and the two formats for programs."""

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Form(StrEnum):
    """The value of the option ``--output``. Words and meanings are those of kubectl, except for ``markdown``."""

    TABLE = "table"
    WIDE = "wide"
    """The table with more columns."""
    JSON = "json"
    YAML = "yaml"
    NAME = "name"
    """One line ``kind.group/name`` for each object, as other commands of kubectl take it."""
    MARKDOWN = "markdown"


def option(*forms: Form) -> Callable[[Command], Command]:
    """Return the option ``--output`` for a command that has these formats. The first one is the default.

    It passes the chosen format to the command as the parameter ``form``.
    """
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice([form.value for form in forms]),
        default=forms[0].value,
        show_default=True,
    )


def _as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _as_yaml(value: Any) -> str:
    import yaml  # noqa: PLC0415 - takes 50 ms, and only this format needs it

    # Through JSON, so that both formats hold the same, and so that enums become plain strings.
    plain = json.loads(json.dumps(value))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)).rstrip("\n")


DATA: Final[dict[str, Callable[[Any], str]]] = {Form.JSON: _as_json, Form.YAML: _as_yaml}
"""Maps the formats for programs to the functions that write a value in them."""
