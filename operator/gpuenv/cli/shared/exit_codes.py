"""The exit codes of all commands. Scripts rely on them, so the meaning of a code never changes."""

from collections.abc import Iterable
from typing import Final

from gpuenv.assess.model import Verdict

OK: Final = 0
FAILED: Final = 1
"""The command began its work, but could not finish it. Commands with a verdict use 1 for Incompatible instead."""
USAGE: Final = 2
"""The input of the command is invalid, a request to the cluster failed, or an object does not exist."""
INTERRUPTED: Final = 130
"""Ctrl-C ended the command: 128 plus 2, the number of SIGINT, as in shells."""

OF_VERDICT: Final = {
    Verdict.COMPATIBLE: OK,
    Verdict.INCOMPATIBLE: 1,
    Verdict.DEGRADED: 3,
    Verdict.UNKNOWN: 4,
}
"""Maps each verdict to the exit code of a command that ends with this verdict."""
_MEANINGS: Final = {**{code: verdict.value for verdict, code in OF_VERDICT.items()}, USAGE: "wrong usage"}
HELP: Final = "Exit code: " + ", ".join(f"{code} {meaning}" for code, meaning in sorted(_MEANINGS.items()))
"""The last line of the help text of a command whose exit code depends on a verdict."""


def of_worst(verdicts: Iterable[Verdict]) -> int:
    """Return the exit code of the worst verdict, or the exit code of Unknown if there is no verdict."""
    return OF_VERDICT[max(verdicts, key=lambda verdict: verdict.severity, default=Verdict.UNKNOWN)]
