"""Converts the content of the table files to typed tables, and rejects an invalid row."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from gpuenv.api.reasons import ROWS, Reason, known
from gpuenv.api.remedies import Action
from gpuenv.knowledge.files import TABLES, KnowledgeError, packaged_tables, read_yaml
from gpuenv.knowledge.image_rows import ImageNames, contents_row, image_row
from gpuenv.knowledge.model import (
    Architecture,
    Branch,
    ChannelBuild,
    ErrorRule,
    GpuModel,
    Harmless,
    Knowledge,
    Peak,
    ReasonText,
    Toolkit,
    TorchBuild,
    TorchRelease,
    VendorBuild,
)
from gpuenv.knowledge.place_holders import WORDS, unknown_names
from gpuenv.knowledge.platforms import modern, read_cures, read_platforms
from gpuenv.knowledge.product_names import model_words
from gpuenv.knowledge.shape import require_shape
from gpuenv.knowledge.versions import Version, at_least, parse_version

REASONS = "reasons"
"""Name of an optional user-supplied table with other texts for reasons.

The package has no such file: its own texts are in :mod:`gpuenv.api.reasons`.
"""

T = TypeVar("T")
STATUSES = frozenset({"Fail", "Unknown", "Warn", "Note"})
FALLBACKS = frozenset({"", "line", "text"})
_ACTIONS = {str(action): action for action in Action}


def load(directory: Path | None = None) -> Knowledge:
    """Return the typed tables. Files in ``directory`` replace the package's files of the same name.

    Raises :class:`KnowledgeError` if a table in ``directory`` cannot be read or is invalid.
    """
    if directory is None:
        return _packaged()
    if not directory.is_dir():
        raise KnowledgeError(f"{directory}: not a directory; it should hold tables such as torch.yaml")
    tables = packaged_tables()
    names = (*TABLES, REASONS)
    found = {name: path for name in names if (path := directory / f"{name}.yaml").is_file()}
    if not found:
        raise KnowledgeError(f"{directory}: holds none of {', '.join(name + '.yaml' for name in names)}")
    for name, path in found.items():
        given = read_yaml(path)
        if name == "platforms":
            given = modern(given, tables[name])
        if name in tables:
            require_shape(given, tables[name], f"{name}.yaml")
        tables[name] = given
    return build(tables)


@lru_cache(maxsize=1)
def _packaged() -> Knowledge:
    return build(packaged_tables())


def build(tables: Mapping[str, Any]) -> Knowledge:
    """Return typed tables. ``tables`` maps the name of each table to the content of its file.

    Raises :class:`KnowledgeError` if a row is invalid. The message names the table, the row and the problem.
    """
    toolkits = _rows(tables, "cuda", "toolkits", _toolkit)
    branches = _rows(tables, "cuda", "branches", _branch)
    architectures = _rows(tables, "architectures", "architectures", _architecture)
    releases = _rows(tables, "torch", "releases", _release)
    vendors = _rows(tables, "torch", "vendors", _vendor)
    channels = _more_rows(tables, "torch", "channels", _channel)
    models = [model for group in _rows(tables, "gpus", "models", _models) for model in group]
    peaks = _rows(tables, "gpus", "peaks", _peak)
    errors = _rows(tables, "errors", "errors", _error)
    harmless = _more_rows(tables, "errors", "harmless", _harmless)
    platforms = read_platforms(tables["platforms"])
    by_code: dict[tuple[str, int], ErrorRule] = {}
    for rule in errors:
        for code in rule.codes:
            by_code.setdefault((rule.layer, code), rule)
        for xid in rule.xids:
            by_code.setdefault(("xid", xid), rule)
    return Knowledge(
        toolkits={row.cuda: row for row in toolkits},
        branches=tuple(sorted(branches, key=lambda row: row.branch, reverse=True)),
        architectures={row.cc: row for row in architectures},
        # The order decides between two releases that are equally near to a version. It must not depend on the file.
        torch={row.torch: row for row in sorted(releases, key=lambda row: row.torch)},
        vendors=tuple(sorted(vendors, key=lambda row: row.since, reverse=True)),
        channels={(row.channel, row.cuda): row for row in channels},
        models={" ".join(model_words(model.name)): model for model in models},
        peaks={name: peak for peak in peaks for name in peak.names},
        errors=tuple(errors),
        harmless=tuple(harmless),
        platforms=platforms,
        cures=read_cures(tables["platforms"], platforms),
        reasons=_reasons(tables.get(REASONS)),
        errors_by_code=by_code,
        errors_by_name={rule.name: rule for rule in errors},
        images=_images(tables),
    )


def _images(tables: Mapping[str, Any]) -> ImageNames:
    """Return the table of images. Raises :class:`KnowledgeError` if a row is invalid."""
    rows = _rows(tables, "images", "images", image_row)
    contents = _rows(tables, "images", "contents", contents_row)
    return ImageNames(
        tuple(rows),
        {key: content for keys, content in contents for key in keys},
    )


def _rows(tables: Mapping[str, Any], table: str, key: str, make: Callable[[Mapping[str, Any]], T]) -> list[T]:
    rows = tables[table].get(key) if isinstance(tables.get(table), Mapping) else None
    if not isinstance(rows, list) or not rows:
        raise KnowledgeError(f"{table}.yaml: needs a list named {key}")
    made = []
    for number, row in enumerate(rows, 1):
        try:
            if not row.get("source"):
                raise KnowledgeError("has no source")
            made.append(make(row))
        except (KnowledgeError, KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
            raise KnowledgeError(f"{table}.yaml: row {number} of {key}: {what}") from None
    return made


def _more_rows(
    tables: Mapping[str, Any], table: str, key: str, make: Callable[[Mapping[str, Any]], T]
) -> list[T]:
    """Return the rows of the list ``key`` in a table, converted by ``make``, or [] if the table has no such list.

    User-supplied tables that were written for an older gpuenv may lack the list. Raises :class:`KnowledgeError` if the
    list is empty or a row is invalid.
    """
    known = isinstance(tables.get(table), Mapping) and key in tables[table]
    return _rows(tables, table, key, make) if known else []


def _reasons(table: Any) -> dict[str, ReasonText]:
    """Return the texts about every reason: those in the user-supplied ``table``, else the package's own.

    ``table`` is None if the user supplied no such table. It cannot change the behaviour of a reason. Raises
    :class:`KnowledgeError` if the table is invalid.
    """
    words = {code: ReasonText(row.cause, row.action, row.cure, row.source) for code, row in ROWS.items()}
    if table is None:
        return words
    rows = table.get("reasons") if isinstance(table, Mapping) else None
    if not isinstance(rows, Mapping) or not rows:
        raise KnowledgeError("reasons.yaml: needs a mapping named reasons")
    columns = tuple(field.name for field in fields(ReasonText))
    for code, row in rows.items():
        if code not in words:
            raise KnowledgeError(f"reasons.yaml: {code!r} is not a reason of gpuenv")
        if not isinstance(row, Mapping) or not set(row) <= set(columns):
            raise KnowledgeError(f"reasons.yaml: {code}: only {', '.join(columns)} can be replaced")
        if not all(isinstance(text, str) and text for text in row.values()):
            raise KnowledgeError(f"reasons.yaml: {code}: {', '.join(columns)} must be texts")
        try:
            action = _action(row["action"]) if "action" in row else words[code].action
        except KnowledgeError as error:
            raise KnowledgeError(f"reasons.yaml: {code}: {error}") from None
        words[code] = replace(words[code], **{**row, "action": action})
    return words


def _action(name: str) -> Action:
    """Return the action with this name. Raises :class:`KnowledgeError` if there is none."""
    if name not in _ACTIONS:
        raise KnowledgeError(f"action {name!r} is not an action of gpuenv.api.remedies")
    return _ACTIONS[name]


def _version(value: Any) -> Version:
    version = parse_version(value) if isinstance(value, str) else None
    if version is None:
        raise KnowledgeError(f"{value!r} is not a version in quotes")
    return version


def _maybe(value: Any) -> Version | None:
    return None if value is None else _version(value)


def _cc(value: Any) -> tuple[int, int]:
    version = _version(value)
    if len(version) != 2:
        raise KnowledgeError(f"{value!r} is not a compute capability such as '8.0'")
    return version[0], version[1]


def _toolkit(row: Mapping[str, Any]) -> Toolkit:
    minimum, first = row["min_driver"], row["first_release"]
    linux = Toolkit(
        cuda=_version(row["cuda"]),
        toolkit_driver=_maybe(row["toolkit_driver"]),
        toolkit_driver_text=row["toolkit_driver"] or "",
        min_driver=_version(minimum),
        min_driver_text=minimum,
        # A table of a user may raise the minimum alone. No older driver is then offered as a cure.
        first_release=first if at_least(_version(first), _version(minimum)) else minimum,
        verified=bool(row["verified"]),
        source=row["source"],
    )
    other = row.get("windows")
    if other is None:
        return linux
    windows = replace(
        linux,
        toolkit_driver=_maybe(other["toolkit_driver"]),
        toolkit_driver_text=other["toolkit_driver"] or "",
        min_driver=_version(other["min_driver"]),
        min_driver_text=other["min_driver"],
        first_release=other["min_driver"],
        source=other["source"],
    )
    return replace(linux, windows=windows)


def _branch(row: Mapping[str, Any]) -> Branch:
    return Branch(
        branch=int(row["branch"]),
        cuda=_version(row["cuda"]),
        source=row["source"],
        supported_until=row.get("supported_until", ""),
    )


def _architecture(row: Mapping[str, Any]) -> Architecture:
    return Architecture(
        cc=_cc(row["cc"]),
        name=row["name"],
        first_cuda=_maybe(row["first_cuda"]),
        last_cuda=_maybe(row["last_cuda"]),
        first_driver=row["first_driver"],
        dropped_from_driver=row["dropped_from_driver"],
        dropped_from_cudnn=_maybe(row["dropped_from_cudnn"]),
        embedded=bool(row["embedded"]),
        neighbours_from_cuda=_maybe(row.get("neighbours_from_cuda")),
        features=row["features"] or "",
        source=row["source"],
    )


def _release(row: Mapping[str, Any]) -> TorchRelease:
    oldest, newest = row["python"]
    return TorchRelease(
        torch=_version(row["torch"]),
        released=row["released"],
        python=(_version(oldest), _version(newest)),
        default_cuda=_version(row["default_cuda"]),
        source=row["source"],
        builds=tuple(
            TorchBuild(
                cuda=_version(build["cuda"]),
                cudnn=build["cudnn"],
                nccl=build.get("nccl"),
                archs=tuple(build["archs"]),
                aarch64=tuple(build.get("aarch64", ())),
                windows=build.get("windows", True),
                verified=bool(build["verified"]),
                source=build["source"],
            )
            for build in row["builds"]
        ),
        all_builds=row.get("all_builds", ""),
        patches=tuple(int(patch) for patch in row.get("patches", ())),
    )


def _vendor(row: Mapping[str, Any]) -> VendorBuild:
    return VendorBuild(
        mark=row["mark"],
        since=_version(row["since"]),
        archs=tuple(row["archs"]),
        source=row["source"],
        embedded=bool(row.get("embedded")),
        cuda=_maybe(row.get("cuda")),
        compat=tuple(_version(driver) for driver in row.get("compat", ())),
        unmarked=tuple(_version(torch) for torch in row.get("unmarked", ())),
    )


def _channel(row: Mapping[str, Any]) -> ChannelBuild:
    return ChannelBuild(
        channel=row["channel"], cuda=_version(row["cuda"]), archs=tuple(row["archs"]), source=row["source"]
    )


def _models(row: Mapping[str, Any]) -> list[GpuModel]:
    cc = _cc(row["cc"])
    return [
        GpuModel(
            name=name, cc=cc, datacenter=row["datacenter"], arm=bool(row.get("arm")), source=row["source"]
        )
        for name in row["names"]
    ]


def _peak(row: Mapping[str, Any]) -> Peak:
    return Peak(
        names=tuple(row["names"]),
        tflops={dtype: float(value) for dtype, value in row["tflops"].items() if value is not None},
        memory_gbps=row["memory_gbps"],
        tdp_w=row["tdp_w"],
        confidence=row["confidence"],
        source=row["source"],
    )


def _error(row: Mapping[str, Any]) -> ErrorRule:
    if row["status"] not in STATUSES:
        raise KnowledgeError(f"status {row['status']!r} is none of {', '.join(sorted(STATUSES))}")
    if row.get("fallback", "") not in FALLBACKS:
        raise KnowledgeError(f"fallback {row['fallback']!r} is neither line nor text")
    reason = known(row["reason"])
    if reason is None:
        raise KnowledgeError(f"reason {row['reason']!r} is not a reason of gpuenv.api.reasons")
    unknown = unknown_names(row["meaning"] + row.get("cure", ""))
    if unknown:
        raise KnowledgeError(f"{unknown[0]!r} is not a place-holder; write one of {', '.join(sorted(WORDS))}")
    return ErrorRule(
        name=row["name"],
        layer=row["layer"],
        codes=tuple(int(code) for code in row.get("codes", ())),
        text=tuple(tuple(part.strip().lower() for part in text.split("…")) for text in row.get("text", ())),
        reason=reason,
        status=row["status"],
        meaning=row["meaning"],
        cure=row.get("cure", ""),
        action=_action_of_rule(row, reason),
        source=row["source"],
        xids=tuple(int(xid) for xid in row.get("xids", ())),
        unless=tuple(word.lower() for word in row.get("unless", ())),
        fallback=row.get("fallback", ""),
    )


def _action_of_rule(row: Mapping[str, Any], reason: Reason) -> Action | None:
    """Return the action of the rule's own cure: that of its reason, unless the row names another one.

    Return None if the rule has no cure of its own.
    """
    if not row.get("cure"):
        if "action" in row:
            raise KnowledgeError("has an action, but no cure")
        return None
    action = _action(row["action"]) if "action" in row else ROWS[reason].action
    if action is None:
        raise KnowledgeError("has a cure, but no action")
    return action


def _harmless(row: Mapping[str, Any]) -> Harmless:
    return Harmless(text=tuple(text.lower() for text in row["text"]), source=row["source"])
