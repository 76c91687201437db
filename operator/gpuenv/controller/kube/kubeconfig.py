"""Reads kubeconfig files and merges several of them into one, by the rules of kubectl.

https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/ has these rules. The function of
the ``kubernetes`` package that merges files takes the last ``current-context`` instead of the first one, so that
a command would act on another cluster than kubectl.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from gpuenv.files import FileError, texts, yaml_data

LISTS: Final = {"clusters": "cluster", "contexts": "context", "users": "user"}
"""Maps each list of a kubeconfig to the field that holds the content of an item, beside its ``name``."""
PATHS: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""Fields of clusters and users that are paths. A relative path starts at the directory of its kubeconfig."""

MAX_BYTES: Final = 10_000_000
"""Size of a kubeconfig in bytes. Each cluster in it takes some kilobytes for its certificates."""

Json = dict[str, Any]


class KubeconfigError(Exception):
    """No usable credentials were found. The message says in one line where the client looked for them."""


def read_merged(paths: Iterable[Path]) -> Json | None:
    """Return the content of several kubeconfig files as one kubeconfig, or None if none of the files exists.

    If two files define the same cluster, context or user, the first one counts. The same is true of ``current-context``.
    All paths in the result are absolute. Raises KubeconfigError if a file cannot be read or is no kubeconfig.
    """
    found = [content for path in paths if (content := _read(path)) is not None]
    if not found:
        return None
    merged: Json = {"current-context": "", **{name: [] for name in LISTS}}
    for content in found:
        merged["current-context"] = merged["current-context"] or content.get("current-context") or ""
        for name in LISTS:
            known = {item["name"] for item in merged[name]}
            merged[name] += [item for item in content.get(name) or [] if item["name"] not in known]
    return merged


def is_empty(config: Json) -> bool:
    """Return whether a kubeconfig names no cluster, context or user."""
    return not any(config[name] for name in LISTS)


def _read(path: Path) -> Json | None:
    """Return the content of a file, with all paths made absolute, or None if there is no such file."""
    try:
        with texts.open_file(path) as file:
            content = yaml_data.parse(texts.read(file, MAX_BYTES), lenient=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path} {texts.cannot_be_read(error)}") from error
    except FileError as error:
        raise KubeconfigError(f"kubeconfig {path} {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise KubeconfigError(f"{path} is no kubeconfig: it holds no fields such as clusters and contexts")
    for name, field in LISTS.items():
        for item in _items(content.get(name), name, path):
            _make_absolute(item.get(field), path.absolute().parent)
    return content


def _items(found: object, name: str, path: Path) -> list[Json]:
    items = found or []
    if not isinstance(items, list) or not all(
        isinstance(item, dict) and _is_name(item.get("name")) for item in items
    ):
        raise KubeconfigError(f"{path} is no kubeconfig: {name} has to be a list of items with a name")
    return items


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _make_absolute(entry: object, directory: Path) -> None:
    """Make the paths in a cluster or a user absolute.

    The command of an exec plug-in is a path only if it contains a slash. Otherwise it is searched for on PATH.
    """
    if not isinstance(entry, dict):
        return
    for field in PATHS:
        if isinstance(entry.get(field), str) and entry[field]:
            entry[field] = str(directory / entry[field])
    plugin = entry.get("exec")
    if isinstance(plugin, dict) and os.sep in str(plugin.get("command", "")):
        plugin["command"] = str(directory / plugin["command"])
