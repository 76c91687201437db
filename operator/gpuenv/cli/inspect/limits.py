"""Limits on what is read from an image, and the budget that keeps count while one image is read."""

import time
from collections.abc import Callable
from typing import Final

MAX_DOCUMENT: Final = 4 * 1024 * 1024
"""Size of a manifest, an index or a configuration in bytes. Registries store manifests up to this size
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests)."""
MAX_COMPRESSED: Final = 64 * 1024**3
"""Compressed bytes of all layers of an image. The largest images in the table have 20 GB."""
MAX_UNCOMPRESSED: Final = 256 * 1024**3
"""Uncompressed bytes of all layers of an image."""
MAX_RATIO: Final = 100
"""Uncompressed bytes for each compressed byte of a layer. Programs and libraries have 2 to 5."""
RATIO_ALLOWANCE: Final = 64 * 1024**2
"""Uncompressed bytes of a layer that do not count for its ratio: files of zeros are small, and legitimate."""
MAX_ENTRIES: Final = 3_000_000
"""Files, directories and links in all layers of an image."""
MAX_PATH: Final = 4096
"""Characters of a path, as Linux allows."""
MAX_DEPTH: Final = 256
"""Directories within each other."""
MAX_HEADER: Final = 64 * 1024
"""Bytes of the headers of one entry: a long path, and extended attributes."""
MAX_FILE: Final = 256 * 1024
"""Bytes of a file whose content is read. ``torch/version.py`` has less than 1 kB, METADATA of a package up to 100 kB."""
MAX_KEPT: Final = 20_000
"""Wanted files of an image. A large one has some hundreds."""
MAX_LAYERS: Final = 1000
"""Layers of an image. Docker allows 127."""
MAX_SECONDS: Final = 1800.0
"""Time for one image."""
CHUNK: Final = 256 * 1024
"""Bytes that are read at once."""


class ImageError(ValueError):
    """An image cannot be read, or exceeds a limit. The message is one line: what is wrong, and what to do instead."""


class Budget:
    """Counts what was read of one image, and raises ImageError when it is too much.

    ``clock`` returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + MAX_SECONDS
        self._compressed = 0
        self._uncompressed = 0
        self._entries = 0
        self._kept = 0

    def compressed(self, count: int) -> None:
        """Count bytes of a layer as they are stored."""
        self._compressed += count
        self._require(
            self._compressed <= MAX_COMPRESSED, f"its layers have more than {MAX_COMPRESSED >> 30} GiB"
        )
        self.in_time()

    def uncompressed(self, count: int) -> None:
        """Count bytes of a layer after decompression."""
        self._uncompressed += count
        self._require(
            self._uncompressed <= MAX_UNCOMPRESSED,
            f"its layers have more than {MAX_UNCOMPRESSED >> 30} GiB after decompression",
        )
        self.in_time()

    def entry(self) -> None:
        """Count a file, a directory or a link."""
        self._entries += 1
        self._require(self._entries <= MAX_ENTRIES, f"it has more than {MAX_ENTRIES:,} files")
        if self._entries % 1024 == 0:
            self.in_time()

    def kept(self) -> None:
        """Count a wanted file."""
        self._kept += 1
        self._require(self._kept <= MAX_KEPT, f"it has more than {MAX_KEPT:,} files of PyTorch and CUDA")

    def in_time(self) -> None:
        """Raise ImageError if reading has taken too long."""
        self._require(
            self._clock() <= self._end, f"reading it takes longer than {MAX_SECONDS / 60:g} minutes"
        )

    @staticmethod
    def _require(fine: bool, problem: str) -> None:
        if not fine:
            raise ImageError(f"{problem}, which is more than gpuenv reads; give --torch and --cuda instead")
