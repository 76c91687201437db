"""``gpuenv knowledge``: prints the tables from which verdicts follow, or compares others with those of the package."""

from typing import Any, Final

import click

from gpuenv.cli.inputs.tables import read_tables
from gpuenv.cli.output import text
from gpuenv.cli.output.knowledge_tables import TABLES, records, words
from gpuenv.cli.shared import exit_codes, forms, options
from gpuenv.cli.shared.errors import BadInput
from gpuenv.cli.shared.forms import Form

CHECK: Final = "check"
CHANGED: Final = 1
"""Exit code of ``check`` if an answer changes."""


@click.command(epilog="Exit code of check: 0 no answer changes, 1 some do; else 0; 2 wrong usage.")
@click.argument("table", type=click.Choice([*TABLES, CHECK]), required=False)
@options.tables_directory
@click.option(
    "--cases",
    multiple=True,
    metavar="FILE",
    help="Further cases for check: kubectl get gpunodereports -o yaml, or a list of pasted reports; may be repeated.",
)
@forms.option(Form.TABLE, Form.JSON, Form.YAML)
def command(*, table: str | None, directory: str | None, cases: tuple[str, ...], form: str) -> int:
    """Print the tables that verdicts follow from; every row names its source.

    Without TABLE: all of them. The files behind them lie in gpuenv/knowledge/*.yaml; --knowledge DIR takes edited ones.

    check compares the tables in DIR with those of gpuenv, and says which answers they change: for each build of
    PyTorch on each GPU generation with drivers around its limits, and for the cases in files.
    """
    if table == CHECK:
        return _check(directory, cases, form)
    if cases:
        raise BadInput("--cases: goes with gpuenv knowledge check")
    tables = read_tables(directory)
    chosen = {name: list(TABLES[name](tables)) for name in ([table] if table else TABLES)}
    if form in forms.DATA:
        click.echo(forms.DATA[form]({name: records(rows) for name, rows in chosen.items()}))
    else:
        for name, rows in chosen.items():
            header, *body = ([words(cell) for cell in row] for row in rows)
            click.echo(f"# {name}\n{text.table([title.upper() for title in header], body)}\n")
    return exit_codes.OK


def _check(directory: str | None, cases: tuple[str, ...], form: str) -> int:
    """Compare the tables in ``directory`` with the package's, print what differs, and return the exit code."""
    from gpuenv.cli.inputs.stored_cases import read_cases  # noqa: PLC0415 - only for check
    from gpuenv.cli.output import table_change  # noqa: PLC0415 - only for check

    if directory is None:
        raise BadInput(
            "gpuenv knowledge check compares tables of your own: give their directory, --knowledge DIR"
        )
    before, after = read_tables(None), read_tables(directory)
    found: dict[str, Any] = table_change.compared(
        before, after, [one for path in cases for one in read_cases(path)]
    )
    if form in forms.DATA:
        click.echo(forms.DATA[form](found))
    else:
        click.echo("\n".join(table_change.lines(found)))
    return CHANGED if found["changes"] else exit_codes.OK
