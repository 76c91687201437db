"""Reads texts that a user pasted or saved: a probe report, the output of collect_env, an error."""

from collections.abc import Iterator
from dataclasses import replace

from gpuenv.assess.facts import Facts, Source
from gpuenv.cli.inputs.files import STANDARD_INPUT, log_or_file, read_log, read_text
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.shared.errors import BadInput
from gpuenv.knowledge import Knowledge


def read_pasted(given: Given, knowledge: Knowledge) -> Iterator[Facts]:
    """Yield the facts in each text that an option names, the most reliable text first.

    Raises BadInput if a text cannot be read, or if the text of ``--report`` is no probe report.
    """
    if [given.collect_env, given.error, given.report].count(STANDARD_INPUT) > 1:
        raise BadInput("only one file can be standard input (-)")
    if given.report:
        from gpuenv.cli.inputs.saved_reports import parse_report  # noqa: PLC0415 - only for --report

        yield parse_report(read_text(given.report, "--report"), given.report)
    if not given.collect_env and not given.error:
        return
    # Imported only if needed: compiling the regular expressions of these modules takes 10 ms.
    from gpuenv.assess.sources.collect_env import read_collect_env  # noqa: PLC0415 - see above
    from gpuenv.assess.sources.error_text import read_error_text  # noqa: PLC0415 - see above

    # People paste the output of collect_env and a traceback together, so each text is read as both.
    if given.collect_env:
        text = read_log(given.collect_env, "--collect-env")
        yield read_collect_env(text)
        yield replace(read_error_text(text, knowledge, given=False), source=Source.COLLECT_ENV)
    if given.error:
        text = log_or_file(given.error, "--error")
        yield read_error_text(text, knowledge)
        yield replace(read_collect_env(text), source=Source.ERROR_TEXT)
