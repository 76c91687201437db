"""The output formats of all commands: their names, the option ``--output``, and the two formats for programs."""

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, TypeVar

import click

from gpuenv.api.foreign_text import escaped_json, is_visible

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
    return escaped_json(json.dumps(value, indent=2, ensure_ascii=False))


def _as_yaml(value: Any) -> str:
    import yaml  # noqa: PLC0415 - takes 50 ms, and only this format needs it

    class Dumper(yaml.SafeDumper):
        """Writes each text on one line, so that none can pass for a field."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, '"' if "\n" in value else None)

    Dumper.add_representer(str, text)
    # Through JSON, so that both formats hold the same, and so that enums become plain strings.
    plain = json.loads(json.dumps(value))

    def written(*, unicode: bool) -> str:
        made = yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=unicode, width=sys.maxsize)
        return made.rstrip("\n")

    found = written(unicode=True)
    # PyYAML takes characters that change the order of reading for printable. Without Unicode it escapes them.
    return found if is_visible(found) else written(unicode=False)


DATA: Final[dict[str, Callable[[Any], str]]] = {Form.JSON: _as_json, Form.YAML: _as_yaml}
"""Maps the formats for programs to the functions that write a value in them."""
