"""Facts about the names of shared libraries: which CUDA they belong to, and which package brings them."""

import re
from typing import Final

from gpuenv.assess.sources.text.lazy_pattern import LazyPattern

_OF_CUDA_MAJOR: Final = LazyPattern(
    r"(?:lib)?(?:cudart|nvrtc|cublas|cublasLt|nvJitLink|cupti|npp[a-z]{1,4})(?:\.so\.|64_)(\d{2})",
    re.IGNORECASE,
)
"""Matches a library whose number is the major version of its CUDA, such as ``libcudart.so.12`` or ``cublas64_12.dll``.

Others, such as cuFFT and cuSOLVER, have numbers of their own.
"""
_OF_CUDA: Final = LazyPattern(
    r"(?:lib)?(?:cudart|nvrtc|cublas|cufft|curand|cusparse|cusolver|nvjitlink|cupti|npp|nccl|cudnn|cudss|cufile|nvshmem"
    r"|nvtoolsext|nvtx|cutensor|nvjpeg|cuinj|cufftw)",
    re.IGNORECASE,
)
_OF_TORCH_ALONE: Final = LazyPattern(
    r"lib(?:cusparselt|cudss|nvshmem|cufile|cupti|nccl|mpi_cxx|mpi|mkl|openblas|gomp)", re.IGNORECASE
)
"""Matches a library that hardly anything but torch loads: if it is missing, torch does not import."""
_PACKAGES: Final = {
    "libGL": "libgl1",
    "libEGL": "libegl1",
    "libglib-": "libglib2.0-0",
    "libgthread-": "libglib2.0-0",
    "libSM": "libsm6",
    "libXext": "libxext6",
    "libXrender": "libxrender1",
    "libgomp": "libgomp1",
    "libnuma": "libnuma1",
    "libibverbs": "libibverbs1",
    "librdmacm": "librdmacm1",
    "libmpi": "openmpi",
    "libsndfile": "libsndfile1",
    "libsox": "sox and libsox-dev",
    "libav": "ffmpeg",
    "libsw": "ffmpeg",
    "libstdc++": "libstdc++6",
    "libpython": "libpython3-dev",
    "libtbb": "libtbb12",
    "libjpeg": "libjpeg-turbo8",
    "libpng": "libpng16-16",
    "libcrypt": "libcrypt1",
    "libssl": "libssl3",
    "libaio": "libaio1",
}
"""Maps the beginning of a library's name to the package that brings it, in the names of Debian and Ubuntu."""

_MAJOR_WITHOUT_SUFFIX: Final = 13
"""From this CUDA on, the wheels on PyPI have no CUDA version in their names. https://pypi.org/project/nvidia-cublas/"""
_NVIDIA: Final = {
    "nccl": "nvidia-nccl",
    "cublas": "nvidia-cublas",
    "cudnn": "nvidia-cudnn",
    "nvjitlink": "nvidia-nvjitlink",
    "cusparselt": "nvidia-cusparselt",
    "cusparse": "nvidia-cusparse",
    "cusolver": "nvidia-cusolver",
    "cufft": "nvidia-cufft",
    "curand": "nvidia-curand",
    "nvrtc": "nvidia-cuda-nvrtc",
    "cupti": "nvidia-cuda-cupti",
    "cudart": "nvidia-cuda-runtime",
    "cuda": "nvidia-cuda-runtime",
    "nvshmem": "nvidia-nvshmem",
    "cufile": "nvidia-cufile",
    "nvtx": "nvidia-nvtx",
    "ijit": "mkl",
    "mkl": "mkl",
}
"""Maps the beginning of the name of a library, or of its symbols, to its package. :func:`wheel_of` adds the CUDA."""


def cuda_major(library: str) -> int | None:
    """Return the major version of the CUDA that a library belongs to, or None if its name does not say it."""
    found = _OF_CUDA_MAJOR.match(_base(library))
    return int(found[1]) if found else None


def is_of_cuda(library: str) -> bool:
    """Return whether a library comes with CUDA, or is another one of NVIDIA's that depend on CUDA's version."""
    return bool(_OF_CUDA.match(_base(library)))


def is_of_torch_alone(library: str) -> bool:
    """Return whether hardly any program but torch loads the library."""
    return bool(_OF_TORCH_ALONE.match(_base(library)))


def package_of(library: str) -> str:
    """Return the system package that brings a library, or "" if it is not known."""
    base = _base(library)
    return next((package for start, package in _PACKAGES.items() if base.startswith(start)), "")


def nvidia_package(name: str) -> str:
    """Return the package on PyPI that brings a library of NVIDIA's, by the name of the library or of its symbol."""
    lowered = _base(name).lower().removeprefix("lib")
    return next((package for start, package in _NVIDIA.items() if lowered.startswith(start)), "")


def wheel_of(library: str) -> str:
    """Return the wheel of NVIDIA's that brings a library for its CUDA, such as nvidia-cublas-cu12, or ""."""
    package, major = nvidia_package(library), cuda_major(library)
    if not package or major is None:
        return package
    return f"{package}-cu{major}" if major < _MAJOR_WITHOUT_SUFFIX else package


def _base(library: str) -> str:
    return re.split(r"[/\\]", library)[-1]
