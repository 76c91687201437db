"""Reads the YAML files of scenarios and environments that a user gives to the sandbox."""

from pathlib import Path
from typing import Any

from gpuenv.files import FileError, texts, yaml_data


class ScenarioError(ValueError):
    """A scenario file or a file with environments cannot be read, or its content is not valid.

    The message is one line that names the file and says what is wrong and how to fix it.
    """


def documents(path: Path) -> list[Any]:
    """Return the YAML documents in the file ``path``, except empty ones.

    Raises ScenarioError if the file cannot be read, is not valid YAML or contains no document.
    """
    try:
        found = [one for one in yaml_data.parse_all(texts.read_file(path)) if one is not None]
    except FileError as error:
        raise ScenarioError(f"{path}: {error}") from None
    if not found:
        raise ScenarioError(f"{path}: is empty; see docs/scenario.md for what belongs into it")
    return found
