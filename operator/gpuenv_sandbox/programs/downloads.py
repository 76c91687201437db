"""Downloads official release binaries and verifies the checksums that are published with them."""

import hashlib
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final

from gpuenv_sandbox.programs.catalogue import Component, architecture
from gpuenv_sandbox.programs.progress import Progress

PATIENCE_SECONDS: Final = 4.0
"""Seconds that one :class:`Downloader` waits for responses of release servers, in all downloads together.

The limit is for machines behind a firewall, where every download would otherwise wait until it times out.
"""
STALL_SECONDS: Final = 10.0
CHUNK_BYTES: Final = 1 << 20


class Downloader:
    """Downloads official releases of components.

    ``patience`` is the seconds to wait for responses of release servers, in all downloads together. If one server
    cannot be reached, all later downloads fail at once.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._left = patience

    def obtain(self, component: Component, programs: Sequence[str], target: Path) -> str | None:
        """Download programs of a component into the directory ``target``.

        Return None if that has succeeded, or the reason why it was not possible.
        """
        names = {
            "version": component.version,
            "number": component.version.removeprefix("v"),
            "arch": architecture(),
        }
        one_file_each = "{program}" in component.release
        try:
            for program in programs if one_file_each else programs[:1]:
                url = component.release.format(**names, program=program)
                checksum = self._checksum(component.checksum.format(**names, program=program), url)
                if one_file_each:
                    _download(url, checksum, target / program)
                else:
                    archive = target / "archive.tar.gz"
                    _download(url, checksum, archive)
                    _unpack(archive, programs, target)
        except (OSError, ValueError, tarfile.TarError, KeyError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            return f"no download of the official release ({reason})"
        return None

    def _checksum(self, url: str, file_url: str) -> str:
        if self._left <= 0:
            raise TimeoutError("release servers could not be reached before")
        started = time.monotonic()
        try:
            with _open(url, self._left) as answer:
                text = answer.read(CHUNK_BYTES).decode("ascii")
        except OSError:
            self._left = 0  # a firewall that blocks one release server blocks them all
            raise
        finally:
            self._left -= time.monotonic() - started
        return find_checksum(text, PurePosixPath(file_url).name)


def find_checksum(text: str, file: str) -> str:
    """Return the SHA-256 of the file named ``file``, read from the text of a checksum file.

    The text is either the checksum alone, or lines that each consist of a checksum and a file name. Raises ValueError
    if the checksum is missing.
    """
    for line in text.splitlines():
        words = line.split()
        if words and len(words[0]) == 64 and (len(words) == 1 or words[1].lstrip("*") == file):
            return words[0].lower()
    raise ValueError(f"no checksum for {file} is published")


def _open(url: str, timeout: float) -> IO[bytes]:
    answer: IO[bytes] = urllib.request.urlopen(url, timeout=timeout)  # noqa: S310 - constant https addresses
    return answer


def _download(url: str, checksum: str, target: Path) -> None:
    digest = hashlib.sha256()
    name = PurePosixPath(url).name
    with (
        Progress(f"downloading {name}") as progress,
        _open(url, STALL_SECONDS) as answer,
        target.open("wb") as file,
    ):
        done = 0
        while chunk := answer.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
            done += len(chunk)
            progress.update(f"{done >> 20} MiB")
    if digest.hexdigest() != checksum:
        raise ValueError(f"{url} does not have its published checksum")


def _unpack(archive: Path, programs: Sequence[str], target: Path) -> None:
    """Extract programs from a tar archive into the directory ``target``, and delete the archive.

    A program may be in any folder of the archive. Raises KeyError if it is in none.
    """
    with tarfile.open(archive) as tar:
        members = {PurePosixPath(member.name).name: member for member in tar if member.isfile()}
        for program in programs:
            source = tar.extractfile(members[program])
            assert source is not None
            with source:
                (target / program).write_bytes(source.read())
    archive.unlink()
