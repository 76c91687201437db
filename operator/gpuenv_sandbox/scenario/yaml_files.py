"""Reads the YAML files of scenarios and environments that a user gives to the sandbox."""

from pathlib import Path
from typing import Any

import yaml


class ScenarioError(ValueError):
    """A scenario file or a file with environments cannot be read, or its content is not valid.

    The message is one line that names the file and says what is wrong and how to fix it.
    """


def documents(path: Path) -> list[Any]:
    """Return the YAML documents in the file ``path``, except empty ones.

    Raises ScenarioError if the file cannot be read, is not valid YAML or contains no document.
    """
    try:
        found = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScenarioError(f"{path}: cannot be read ({reason}); give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: is no text in UTF-8; give the path of a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ScenarioError(f"{where}: is no valid YAML ({problem}); correct that line") from None
    if not found:
        raise ScenarioError(f"{path}: is empty; see docs/scenario.md for what belongs into it")
    return found
