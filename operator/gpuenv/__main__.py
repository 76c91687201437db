"""The start of the ``gpuenv`` command, also as ``python -m gpuenv``.

The operator ends with exit code 0 after SIGTERM and SIGINT. Its imports take a second, and it holds nothing yet then, so
the first thing that is done here is to say what these signals do. Nothing is imported before that.
"""

import gc
import os
import signal
import sys
from typing import Any, Final

_OBJECTS: Final = 100_000
"""How many new objects a command may have before Python looks for garbage.

Imports and tables make 40,000, none of which is garbage. To look through them takes 3 of the 100 ms of
``gpuenv explain``.
"""


def _end(*_: Any) -> None:
    os._exit(0)


def run() -> None:
    """Run the command line and exit."""
    if sys.argv[1:2] == ["operator"]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
    else:
        gc.set_threshold(_OBJECTS)
    from gpuenv.cli import main  # noqa: PLC0415 - see above

    main(prog_name="gpuenv")


if __name__ == "__main__":
    run()
