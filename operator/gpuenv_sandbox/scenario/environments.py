"""Reads the environments that a sandbox applies, and adds the timeouts of the scenario to them."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gpuenv.api.names import ENVIRONMENT_KIND
from gpuenv.api.spec.environment import CommandCheck
from gpuenv_sandbox.scenario.yaml_files import ScenarioError, documents

_HERE: Final = Path(__file__).parent
_NAME: Final = "pytorch-2.9.yaml"
_IN_WHEEL: Final = _HERE / _NAME
_IN_CHECKOUT: Final = _HERE.parents[2] / "examples" / _NAME

EXAMPLE: Final = _IN_WHEEL if _IN_WHEEL.is_file() else _IN_CHECKOUT
"""The path of the example environment, which is applied if neither scenario nor command line name another.

In a checkout, this is the file in ``examples/``. In a wheel, it is a copy of this file beside this module.
"""

CHECK_SECONDS: Final = CommandCheck("", ()).timeout_seconds
"""The default of a command check's ``timeoutSeconds``: the seconds that its command may take."""

Object = dict[str, Any]


def read_environments(paths: Sequence[Path], timeouts: Mapping[str, int]) -> list[Object]:
    """Return the environments in the files ``paths``, each with ``timeouts`` added by :func:`with_timeouts`.

    The order is that of the files. Raises ScenarioError if a file cannot be read, contains anything but environments,
    or if two environments have the same name.
    """
    found = [document for path in paths for document in _read(path)]
    names = [document["metadata"]["name"] for document in found]
    for name in names:
        if names.count(name) > 1:
            raise ScenarioError(f"two environments are called {name!r}; give each a name of its own")
    return [with_timeouts(document, timeouts) for document in found]


def with_timeouts(environment: Object, timeouts: Mapping[str, int]) -> Object:
    """Return a copy of an environment with ``timeouts`` added to its ``spec.probe.timeouts``.

    ``timeouts`` has the names of fields, such as ``runSeconds``, as keys and seconds as values. Fields that the
    environment already sets are kept. A run must be allowed to take longer than each command check of the environment,
    so a larger ``runSeconds`` is added if a command check may take longer.
    """
    changed = copy.deepcopy(environment)
    spec = changed.get("spec")
    if not timeouts or not isinstance(spec, dict):
        return changed
    probe = spec.setdefault("probe", {})
    own = (probe.get("timeouts") or {}) if isinstance(probe, dict) else None
    if isinstance(own, dict):  # the API server will reject anything else
        filled = {name: max(value, _at_least(name, spec)) for name, value in timeouts.items()}
        probe["timeouts"] = {**filled, **own}
    return changed


def _at_least(timeout: str, spec: Object) -> int:
    if timeout != "runSeconds":
        return 0
    checks = spec.get("checks")
    commands = checks.get("commands") if isinstance(checks, dict) else None
    limits = [
        command.get("timeoutSeconds", CHECK_SECONDS)
        for command in (commands if isinstance(commands, list) else [])
        if isinstance(command, dict)
    ]
    return max((limit + 1 for limit in limits if isinstance(limit, int)), default=0)


def _read(path: Path) -> list[Object]:
    found = documents(path)
    for document in found:
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind != ENVIRONMENT_KIND:
            raise ScenarioError(f"{path}: holds {kind or 'no object'}; only {ENVIRONMENT_KIND} belongs here")
        if not isinstance(document.get("metadata"), dict) or not document["metadata"].get("name"):
            raise ScenarioError(f"{path}: metadata.name is missing; add it")
    return found
