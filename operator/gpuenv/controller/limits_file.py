"""Reads the file of ``gpuenv operator --limits``."""

from pathlib import Path
from typing import Any

import yaml

from gpuenv.api.fields import FieldError
from gpuenv.api.limits import limits_parser
from gpuenv.api.limits.limits import Limits


class LimitsError(ValueError):
    """The limits file is invalid. The message is one line that names the file, the field and the problem."""


class _Loader(yaml.SafeLoader):
    """A YAML loader that refuses a key that occurs twice in a mapping. YAML itself keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise FieldError(f"{key}: is there twice; remove one")
        return super().construct_mapping(node, deep)


def read(path: Path) -> Limits:
    """Return the limits in the file at ``path``. Raises LimitsError if it cannot be read or is invalid."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader
        if content is None:
            raise FieldError("is empty; write {} for the defaults")
        return limits_parser.parse(content)
    except OSError as error:
        raise LimitsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise LimitsError(f"{path}: is no UTF-8 text") from error
    except yaml.YAMLError as error:
        raise LimitsError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
    except FieldError as error:
        raise LimitsError(f"{path}: {error}") from error
