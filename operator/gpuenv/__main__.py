"""The start of the ``gpuenv`` command, also as ``python -m gpuenv``.

The operator ends with exit code 0 after SIGTERM and SIGINT. Its imports take a second, and it holds nothing yet then, so
the first thing that is done here is to say what these signals do. Nothing is imported before that.
"""

import os
import signal
import sys
from typing import Any


def _end(*_: Any) -> None:
    os._exit(0)


def run() -> None:
    """Run the command line and exit."""
    if sys.argv[1:2] == ["operator"]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
    from gpuenv.cli import main  # noqa: PLC0415 - see above

    main(prog_name="gpuenv")


if __name__ == "__main__":
    run()
