"""Platforms (places where programs with GPUs run, such as GKE or Windows), and what helps on each of them.

The order of the rows in platforms.yaml counts: a machine can be several platforms at once, such as Kubernetes and a
virtual machine, and the one that comes first gives the cure, because it is more specific.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gpuenv.api.remedies import Action, Remedy
from gpuenv.knowledge.files import KnowledgeError

DEFAULT: Final = "default"
"""Key of the cure for every platform that is not named."""
_ACTIONS: Final = {str(action): action for action in Action}
_RENAMED: Final = {"stray-libcuda": "driver-mismatch"}
"""Maps old names of cures, which tables of users may have, to the new ones."""


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform: its ``name`` in options and facts, and its ``title`` in sentences.

    ``signs`` are words, in lower case, by which a pasted text shows that it comes from this platform. ``implies`` names a
    more general platform that holds wherever this one does, such as ``kubernetes`` for ``gke``, or is "".

    The cures of single errors in errors.yaml are written for Linux. ``replaces`` True means that they do not fit this
    platform, so that the cure of their reason replaces them, unless they contain one of ``words``.

    ``unless`` names platforms whose texts have the same signs: if one of them holds, the signs of this one do not count.
    """

    name: str
    title: str
    signs: tuple[str, ...]
    implies: str
    replaces: bool
    words: tuple[str, ...]
    source: str
    unless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlatformCure:
    """What helps on one platform. ``action`` None means the action of the reason or of the error that it cures."""

    cure: str
    action: Action | None
    source: str

    def remedy(self, action: Action | None) -> Remedy | None:
        """Return the cure as a remedy. Its action is ``action``, unless it has one of its own; without any, return None."""
        chosen = self.action or action
        return Remedy(chosen, self.cure) if chosen is not None else None


Cures = Mapping[str, Mapping[str, PlatformCure]]
"""Maps the name of a cure, and then the name of a platform, to the cure there.

The name of a cure is that of an error rule, that of a reason, or a name that rows of reasons contain, such as
``expose-gpu``.
"""


def first_cure(cures: Cures, name: str, platforms: Iterable[str]) -> PlatformCure | None:
    """Return the cure with this name on the first of the platforms that has one, or None. The default does not count."""
    rows = cures.get(name)
    return next((rows[one] for one in platforms if one in rows), None) if rows else None


def modern(table: Any, own: Mapping[str, Any]) -> Any:
    """Return a user's platforms.yaml in today's form. Tables of older versions have plain texts as cures, and no platforms.

    ``own`` is the package's table, whose platforms then count.
    """
    if not isinstance(table, dict) or not isinstance(table.get("cures"), dict):
        return table
    cures = {
        _RENAMED.get(name, name): {
            platform: {"cure": text} if isinstance(text, str) else text for platform, text in rows.items()
        }
        if isinstance(rows, dict)
        else rows
        for name, rows in table["cures"].items()
    }
    return {"platforms": own["platforms"], **table, "cures": cures}


def read_platforms(table: Mapping[str, Any]) -> tuple[Platform, ...]:
    """Return the rows of platforms.yaml in their order. Raises :class:`KnowledgeError` if one is invalid."""
    rows = tuple(_named("platforms", _platforms(table)))
    names = {row.name for row in rows}
    for row in rows:
        if row.implies and row.implies not in names:
            raise KnowledgeError(f"platforms.yaml: {row.name}: {row.implies!r} is no platform of the table")
        unknown = sorted(set(row.unless) - names)
        if unknown:
            raise KnowledgeError(f"platforms.yaml: {row.name}: {unknown[0]!r} is no platform of the table")
    return rows


def read_cures(table: Mapping[str, Any], platforms: Iterable[Platform]) -> Cures:
    """Return the cures of platforms.yaml. Raises :class:`KnowledgeError` if one is invalid."""
    known = {DEFAULT, *(platform.name for platform in platforms)}
    cures = table.get("cures")
    if not isinstance(cures, Mapping):
        raise KnowledgeError("platforms.yaml: needs a mapping named cures")
    return {name: dict(_of_platforms(name, rows, known)) for name, rows in cures.items()}


def _of_platforms(name: str, rows: Mapping[str, Any], known: set[str]) -> Iterator[tuple[str, PlatformCure]]:
    """Yield the cures of one name by platform. A key of the file may name several platforms, with commas between them."""
    named = [(platform.strip(), row) for key, row in rows.items() for platform in key.split(",")]
    for platform, row in named:
        where = f"platforms.yaml: cure {name} of {platform}"
        if platform not in known:
            raise KnowledgeError(
                f"{where}: {platform!r} is no platform; write one of {', '.join(sorted(known))}"
            )
        if not row.get("cure"):
            raise KnowledgeError(f"{where}: has no cure")
        action = row.get("action")
        if action is not None and action not in _ACTIONS:
            raise KnowledgeError(f"{where}: action {action!r} is not an action of gpuenv.api.remedies")
        yield platform, PlatformCure(row["cure"], _ACTIONS.get(action), row.get("source", ""))


def _platforms(table: Mapping[str, Any]) -> Iterator[Platform]:
    for number, row in enumerate(table.get("platforms") or (), 1):
        missing = [key for key in ("name", "title", "source") if not row.get(key)]
        if missing:
            raise KnowledgeError(f"platforms.yaml: row {number} of platforms: has no {missing[0]}")
        yield Platform(
            name=row["name"],
            title=row["title"],
            signs=tuple(str(sign).lower() for sign in row.get("signs", ())),
            implies=row.get("implies", ""),
            replaces=bool(row.get("replaces")),
            words=tuple(str(word).lower() for word in row.get("words", ())),
            source=row["source"],
            unless=tuple(row.get("unless", ())),
        )


def _named(what: str, rows: Iterable[Platform]) -> Iterator[Platform]:
    seen: set[str] = set()
    for row in rows:
        if row.name in seen or row.name == DEFAULT:
            raise KnowledgeError(f"platforms.yaml: {what}: {row.name!r} has two rows")
        seen.add(row.name)
        yield row
