"""Downloads official release binaries and compares them with the checksums in the catalogue."""

import hashlib
import tarfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final

from gpuenv_sandbox.programs.catalogue import Component, architecture
from gpuenv_sandbox.programs.progress import Progress

PATIENCE_SECONDS: Final = 8.0
"""Seconds that a release server may take to respond, and later between two pieces of a file.

The limit is for machines behind a firewall, where every download would otherwise wait until it times out.
"""
CHUNK_BYTES: Final = 1 << 20


class Downloader:
    """Downloads official releases of components.

    ``patience`` is the seconds that a server may take to respond. If one server cannot be reached, all later downloads
    fail at once.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience: Final = patience
        self._reachable = True

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
        urls = {
            component.release.format(**names, program=program): program
            for program in (programs if one_file_each else programs[:1])
        }
        known = {url: component.checksums.get(f"{architecture()}/{PurePosixPath(url).name}") for url in urls}
        if unknown := [PurePosixPath(url).name for url, checksum in known.items() if checksum is None]:
            return (
                f"no download of the official release (the catalogue has no checksum of {', '.join(unknown)})"
            )
        try:
            for url, checksum in known.items():
                assert checksum is not None, "only files with a checksum are downloaded"
                target_file = target / (urls[url] if one_file_each else "archive.tar.gz")
                self._download(url, checksum, target_file)
                if not one_file_each:
                    _unpack(target_file, programs, target)
        except (OSError, ValueError, tarfile.TarError, KeyError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            return f"no download of the official release ({reason})"
        return None

    def _download(self, url: str, checksum: str, target: Path) -> None:
        """Download ``url`` into the file ``target``. Raises ValueError if the file has another checksum."""
        with Progress(f"downloading {PurePosixPath(url).name}") as progress, self._answer(url) as answer:
            digest = _save(answer, target, progress)
        if digest != checksum:
            raise ValueError(f"{url} does not have the checksum of the catalogue")

    def _answer(self, url: str) -> IO[bytes]:
        """Return the server's response. Raises OSError if it cannot be reached, or if another one could not be."""
        if not self._reachable:
            raise TimeoutError("release servers could not be reached before")
        try:
            answer: IO[bytes] = urllib.request.urlopen(url, timeout=self._patience)  # noqa: S310 - constant https addresses
        except OSError:
            self._reachable = False  # a firewall that blocks one release server blocks them all
            raise
        return answer


def _save(answer: IO[bytes], target: Path, progress: Progress) -> str:
    """Write what the server sends into the file ``target``, and return its SHA-256 in hexadecimal digits."""
    digest, done = hashlib.sha256(), 0
    with target.open("wb") as file:
        while chunk := answer.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
            done += len(chunk)
            progress.update(f"{done >> 20} MiB")
    return digest.hexdigest()


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
