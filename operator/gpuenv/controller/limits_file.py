"""Reads the file of ``gpuenv operator --limits``."""

from pathlib import Path

from gpuenv.api.fields import FieldError
from gpuenv.api.limits import limits_parser
from gpuenv.api.limits.limits import Limits
from gpuenv.files import FileError, texts, yaml_data


class LimitsError(ValueError):
    """The limits file is invalid. The message is one line that names the file, the field and the problem."""


def read(path: Path) -> Limits:
    """Return the limits in the file at ``path``. Raises LimitsError if it cannot be read or is invalid."""
    try:
        content = yaml_data.parse(texts.read_file(path))
        if content is None:
            raise FieldError("is empty; write {} for the defaults")
        return limits_parser.parse(content)
    except (FieldError, FileError) as error:
        raise LimitsError(f"{path}: {error}") from error
