"""Reads texts that a user pasted or saved: a probe report, the output of collect_env, an error."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gpuenv.assess.facts import Facts, Source
from gpuenv.cli.inputs.files import STANDARD_INPUT, log_or_file, read_log, read_text
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a report, each None if there is none. ``report_path`` names the file of a probe report in messages."""

    report: str | None = None
    collect_env: str | None = None
    error: str | None = None
    report_path: str = ""


def read_texts(given: Given) -> Texts:
    """Return the texts that options name. Raises BadInput if one cannot be read."""
    if [given.collect_env, given.error, given.report].count(STANDARD_INPUT) > 1:
        raise BadInput("only one file can be standard input (-)")
    return Texts(
        report=read_text(given.report, "--report") if given.report else None,
        collect_env=read_log(given.collect_env, "--collect-env") if given.collect_env else None,
        error=log_or_file(given.error, "--error") if given.error else None,
        report_path=given.report or "",
    )


def facts_in(texts: Texts, knowledge: Knowledge) -> Iterator[Facts]:
    """Yield the facts in each text, the most reliable text first. Raises BadInput if ``report`` is no probe report."""
    if texts.report is not None:
        from gpuenv.cli.inputs.saved_reports import parse_report  # noqa: PLC0415 - only for --report

        yield parse_report(texts.report, texts.report_path)
    if texts.collect_env is None and texts.error is None:
        return
    # Imported only if needed: compiling the regular expressions of these modules takes 10 ms.
    from gpuenv.assess.sources.collect_env import read_collect_env  # noqa: PLC0415 - see above
    from gpuenv.assess.sources.error_text import read_error_text  # noqa: PLC0415 - see above

    # People paste the output of collect_env and a traceback together, so each text is read as both.
    if texts.collect_env is not None:
        yield read_collect_env(texts.collect_env)
        yield replace(read_error_text(texts.collect_env, knowledge, given=False), source=Source.COLLECT_ENV)
    if texts.error is not None:
        yield read_error_text(texts.error, knowledge)
        yield replace(read_collect_env(texts.error), source=Source.ERROR_TEXT)
