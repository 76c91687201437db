"""The functions of torch's C extension that the probe calls."""

from torch._emulated import SETTINGS


def _cuda_getArchFlags():
    return SETTINGS["arch_flags"] if SETTINGS["cuda"] else None


def _nccl_version():
    return tuple(SETTINGS["nccl"])


class _cudart:
    """The CUDA runtime's error texts that tests need."""

    _TEXTS = {
        2: "out of memory",
        209: "no kernel image is available for execution on the device",
        214: "uncorrectable ECC error encountered",
        222: "the provided PTX was compiled with an unsupported toolchain.",
        700: "an illegal memory access was encountered",
        719: "unspecified launch failure",
    }
    cudaError = int

    @classmethod
    def cudaGetErrorString(cls, code):
        return cls._TEXTS.get(code, "unrecognized error code")
