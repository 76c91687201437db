"""The tables from which verdicts follow, as rows of words: what ``gpuenv knowledge`` prints."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from gpuenv.api.reasons import ROWS
from gpuenv.api.remedies import Action
from gpuenv.knowledge import Knowledge
from gpuenv.knowledge.place_holders import fill
from gpuenv.knowledge.versions import show

Row = tuple[str | tuple[str, ...], ...]
"""The cells of a row. A cell with several values is a tuple."""


def _drivers(tables: Knowledge) -> Iterator[Row]:
    yield ("cuda", "least driver", "toolkit's own driver", "source")
    for row in tables.toolkits.values():
        yield show(row.cuda), row.min_driver_text, row.toolkit_driver_text or "not known", row.source


def _branches(tables: Knowledge) -> Iterator[Row]:
    yield ("branch", "cuda", "supported until", "source")
    for row in tables.branches:
        yield f"R{row.branch}", show(row.cuda), row.supported_until, row.source


def _architectures(tables: Knowledge) -> Iterator[Row]:
    yield ("capability", "name", "toolkits", "drivers", "features", "source")
    for row in tables.architectures.values():
        toolkits = f"{show(row.first_cuda)} - {show(row.last_cuda) if row.last_cuda else 'now'}"
        last = f"before R{row.dropped_from_driver}" if row.dropped_from_driver else "now"
        first = f"R{row.first_driver}" if row.first_driver else "any"
        yield show(row.cc), row.name, toolkits, f"{first} - {last}", row.features, row.source


def _torch(tables: Knowledge) -> Iterator[Row]:
    yield ("pytorch", "cuda", "cudnn", "python", "targets", "source")
    for release in tables.torch.values():
        pythons = f"{show(release.python[0])} - {show(release.python[1])}"
        for build in release.builds:
            default = " (PyPI)" if build.cuda == release.default_cuda else ""
            cuda = f"{show(build.cuda)}{default}"
            yield (
                show(release.torch),
                cuda,
                build.cudnn or "not known",
                pythons,
                " ".join(build.archs) + (f"; aarch64: {' '.join(build.aarch64)}" if build.aarch64 else ""),
                build.source,
            )
    for vendor in tables.vendors:
        jetson = " (Jetson)" if vendor.embedded else ""
        name = f"{vendor.mark}{show(vendor.since)}+{jetson}"
        yield name, show(vendor.cuda) if vendor.cuda else "", "", "", " ".join(vendor.archs), vendor.source
    for channel in tables.channels.values():
        yield channel.channel, show(channel.cuda), "", "", " ".join(channel.archs), channel.source


def _gpus(tables: Knowledge) -> Iterator[Row]:
    yield ("model", "capability", "cuda-compat", "source")
    compat = {True: "yes", False: "no", None: "some"}
    for row in tables.models.values():
        yield row.name, show(row.cc), compat[row.datacenter], row.source


def _peaks(tables: Knowledge) -> Iterator[Row]:
    yield ("product", "dense TFLOPS", "GB/s", "W", "confidence", "source")
    for name, row in tables.peaks.items():
        flops = " ".join(f"{dtype}={value:g}" for dtype, value in row.tflops.items())
        yield name, flops, str(row.memory_gbps), str(row.tdp_w), row.confidence, row.source


def _images(tables: Knowledge) -> Iterator[Row]:
    yield ("images", "tags", "torch", "cuda", "python", "source")
    for row in tables.images.rows:
        yield " ".join(row.names), " ".join(row.tags), "", "", "", row.source
    for (series, release), found in tables.images.contents.items():
        yield (
            f"{series} {release}",
            "",
            found.torch or "",
            found.cuda or "",
            found.python or "",
            found.source,
        )


def _errors(tables: Knowledge) -> Iterator[Row]:
    yield ("error", "numbers", "reason", "status", "meaning", "source")
    for row in tables.errors:
        numbers = " ".join(
            [*(f"{row.layer}:{code}" for code in row.codes), *(f"xid:{xid}" for xid in row.xids)]
        )
        yield row.name, numbers, row.reason, row.status, fill(row.meaning), row.source
    for harmless in tables.harmless:
        yield "harmless", "", "", "", "; ".join(harmless.text), harmless.source


def _reasons(tables: Knowledge) -> Iterator[Row]:
    yield ("reason", "cause", "action", "cure", "source")
    for code, row in tables.reasons.items():
        yield code, row.cause, row.action or "", row.cure, row.source


def _remedies(tables: Knowledge) -> Iterator[Row]:
    yield ("action", "meaning", "parameters", "reasons", "errors")
    for action in sorted(Action):
        errors = tuple(rule.name for rule in tables.errors if rule.action is action)
        found = tuple(code for code in tables.reasons if action in ROWS[code].actions)
        yield str(action), action.description, action.parameters, found, errors


def _platforms(tables: Knowledge) -> Iterator[Row]:
    yield ("platform", "meaning", "implies", "source")
    for row in tables.platforms:
        yield row.name, row.title, row.implies, row.source


def _cures(tables: Knowledge) -> Iterator[Row]:
    yield ("error or reason", "platform", "action", "cure", "source")
    for name, rows in tables.cures.items():
        for platform, row in rows.items():
            yield name, platform, row.action or "", row.cure, row.source


TABLES: Final[dict[str, Callable[[Knowledge], Iterator[Row]]]] = {
    "drivers": _drivers,
    "branches": _branches,
    "architectures": _architectures,
    "torch": _torch,
    "gpus": _gpus,
    "peaks": _peaks,
    "images": _images,
    "errors": _errors,
    "reasons": _reasons,
    "remedies": _remedies,
    "platforms": _platforms,
    "cures": _cures,
}
"""Maps the name of each printed table to the function that yields its rows. The first row is the heading."""


def words(cell: str | tuple[str, ...]) -> str:
    return cell if isinstance(cell, str) else ", ".join(cell)


def records(rows: list[Row]) -> list[dict[str, Any]]:
    """Return rows as JSON data, by the names in the heading. A cell with several values is a list."""
    header = [words(cell) for cell in rows[0]]
    return [
        dict(zip(header, (cell if isinstance(cell, str) else list(cell) for cell in row), strict=True))
        for row in rows[1:]
    ]
