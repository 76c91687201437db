"""The emulated GPUs: torch.cuda as far as the probe uses it."""

import contextlib
import warnings

from torch import _emulated

_GPUS = _emulated.SETTINGS["gpus"]


def is_available():
    for text in _emulated.SETTINGS["warnings"]:
        warnings.warn(text, UserWarning, stacklevel=2)
    return bool(_GPUS) and not _emulated.SETTINGS["init_error"] and bool(_emulated.SETTINGS["cuda"])


def init():
    if not _emulated.SETTINGS["cuda"]:
        raise AssertionError("Torch not compiled with CUDA enabled")
    _emulated.enter("init")
    if _emulated.SETTINGS["init_error"]:
        raise RuntimeError(_emulated.SETTINGS["init_error"])
    if not _GPUS:
        raise RuntimeError("No CUDA GPUs are available")


def device_count():
    return len(_GPUS)


def get_device_capability(index=0):
    return tuple(_GPUS[index]["capability"])


def get_device_name(index=0):
    return _GPUS[index]["name"]


def mem_get_info(index=0):
    return _GPUS[index]["free_mib"] << 20, _GPUS[index]["memory_mib"] << 20


def set_device(index):
    if not 0 <= int(index) < len(_GPUS):
        raise RuntimeError("CUDA error: invalid device ordinal")


def synchronize():
    _emulated.check_alive()


class nccl:
    @staticmethod
    def version():
        return tuple(_emulated.SETTINGS["nccl"])


class Stream:
    def wait_stream(self, other):
        return None


class Event:
    def __init__(self, enable_timing=False):
        return None

    def record(self, stream=None):
        return None

    def synchronize(self):
        return None

    def elapsed_time(self, end):
        return _emulated.SETTINGS["elapsed_ms"]


def current_stream():
    return Stream()


@contextlib.contextmanager
def stream(_stream):
    yield
