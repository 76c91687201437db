"""What people see of objects with hostile texts in them, on a terminal and in Markdown."""

import asyncio
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Any, Final
from unittest import mock

from click.testing import CliRunner
from tests.support.fake_kube import FakeKube

from gpuenv.cli import main
from gpuenv.cli.shared import cluster
from gpuenv.controller.kube.kinds import ENVIRONMENTS, REPORTS

Raw = dict[str, Any]
_FORMS: Final = (
    ("status",),
    ("status", "pt"),
    ("status", "pt", "-o", "wide"),
    ("status", "pt", "-o", "json"),
    ("report", "pt", "--verbose"),
    ("report", "pt", "-o", "yaml"),
)


def is_shown_safely(text: str) -> bool:
    """Return whether a text is one line of printable characters, none of which changes how its neighbours look."""
    return text.isprintable() and not any(
        unicodedata.category(char) in ("Cf", "Cs", "Co", "Cn") for char in text
    )


def commands_show(environment: Raw, report: Raw) -> None:
    """Check that every command shows the two objects without a fault, and on printable lines."""
    kube = FakeKube()
    kube.add(ENVIRONMENTS, environment)
    kube.add(REPORTS, report)

    def ask(kubeconfig: str | None, context: str | None, question: Callable[[Any], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await question(kube)

        return asyncio.run(run())

    with mock.patch.object(cluster, "ask", ask):
        for arguments in _FORMS:
            check_command(*arguments)


def check_command(*arguments: str, text: str | bytes | None = None, codes: tuple[int, ...] = (0,)) -> None:
    """Run a command, and check its exit code and that everything it prints is printable.

    Any exception but the one that carries the exit code counts as a fault of the command.
    """
    result = CliRunner().invoke(main, list(arguments), input=text, prog_name="gpuenv")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(
            f"gpuenv {' '.join(arguments)[:200]}: {result.exception!r}"
        ) from result.exception
    assert result.exit_code in codes, (arguments, result.exit_code, result.output[-500:])
    if result.exit_code == 2:
        assert len(result.stderr.strip().splitlines()) <= 4, result.stderr[:2000]
    for line in (result.stdout + result.stderr).split("\n"):
        assert is_shown_safely(line), (arguments[:3], line[:300])
