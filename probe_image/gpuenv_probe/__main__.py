"""Entry point of the probe's zip application.

Python 2.7 and Python 3 before 3.8 must be able to parse this file, so that it can print which version is needed.
"""

import sys


def too_old():  # type: ignore[no-untyped-def] # Python 2.7 has no annotations
    """Report on stderr and in the termination log that this Python is too old, and return exit code 65."""
    import os

    version = ".".join(str(number) for number in sys.version_info[:3])
    line = "gpuenv-probe: this image's Python is " + version + ", the probe needs 3.8 or newer"
    sys.stderr.write(line + "\n")
    try:
        with open(os.environ.get("GPUENV_TERMINATION_LOG", "/dev/termination-log"), "w") as log:
            log.write(line)
    except EnvironmentError:  # noqa: UP024 - in Python 2.7 open raises IOError, which is no OSError there
        return 65
    return 65


if __name__ == "__main__":
    if sys.version_info < (3, 8):  # noqa: UP036 - this is the only check of the version
        sys.exit(too_old())
    from gpuenv_probe.cli import main

    sys.exit(main(sys.argv[1:]))
