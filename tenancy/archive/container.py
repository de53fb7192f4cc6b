"""The file: a ZIP that is sealed with a check sum of all its bytes, written once and read with suspicion.

The check sum finds what was damaged; it proves nothing of where an archive comes from. So no name in a file is ever
used as a path, nothing is unpacked to disk or held whole in memory, and sizes are compared with what was promised.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from tenancy.archive.manifest import (
    MANIFEST_MEMBER,
    NOT_OURS,
    ArchiveRefused,
    Content,
    Manifest,
    header_of,
    read_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 20
_SEAL = b"sha256="
_DIGEST_CHARACTERS = 64
_COMMENT_BYTES = len(_SEAL) + _DIGEST_CHARACTERS
# APPNOTE.TXT 4.3.14 to 4.3.16: the end of a ZIP, and before it the two records of one that is large.
_END = struct.Struct("<4s4H2LH")
_LARGE_END_LOCATOR = struct.Struct("<4sLQL")
_LARGE_END = struct.Struct("<4sQ2H2L4Q")
_ENCRYPTED = 0x1

_MOST_MANIFEST_BYTES = 4 << 20
_MOST_DIRECTORY_BYTES = 1 << 20
#: Deflate reaches 1032:1 on rows that nobody writes; the rows of a workspace, some 10:1.
_MOST_EXPANSION = 200
_ALWAYS_ALLOWED_BYTES = 1 << 30


class Progress(Protocol):
    """Who is told how far a piece of work is: what is done now, how much of how much."""

    def __call__(self, step: str, done: int, total: int, /) -> None:
        """Take note."""


def silent(_step: str, _done: int, _total: int, /) -> None:
    """Take no note of any progress."""


class Tally:
    """Counts rows on their way: lines, bytes, and their SHA-256, the header line included."""

    def __init__(self, columns: tuple[str, ...], write: Callable[[bytes], object] = len) -> None:
        self._columns = columns
        self._write = write
        self._hash = hashlib.sha256()
        self._rows = -1
        self.size = 0
        self.add(header_of(columns))

    def add(self, chunk: bytes) -> None:
        """Count *chunk* and pass it on."""
        self._hash.update(chunk)
        self._rows += chunk.count(b"\n")
        self.size += len(chunk)
        self._write(chunk)

    def content(self) -> Content:
        """Return what went by."""
        return Content(columns=self._columns, rows=self._rows, size=self.size, sha256=self._hash.hexdigest())


class ArchiveWriter:
    """Writes an archive to *file*, which must be empty and can be read too."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        self._zip.comment = _SEAL + b"0" * _DIGEST_CHARACTERS

    @contextmanager
    def member(self, name: str) -> Iterator[Callable[[bytes], object]]:
        """Write one file of the archive, by what is yielded."""
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        # Its size is not known beforehand, so there must be room for a large one.
        with self._zip.open(entry, "w", force_zip64=True) as member:
            yield member.write

    def close(self) -> None:
        """Let go of the file, be it finished or not."""
        self._zip.close()

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest and seal the archive."""
        with self.member(MANIFEST_MEMBER) as write:
            write(manifest.to_json())
        self.close()
        size = self._file.seek(0, os.SEEK_END)
        digest = _digest(self._file, size - _DIGEST_CHARACTERS, silent)
        self._file.seek(size - _DIGEST_CHARACTERS)
        self._file.write(digest)
        self._file.flush()


class Archive:
    """A file whose seal, structure and manifest have been found good."""

    def __init__(self, file: IO[bytes], *, size: int, most_bytes: int | None) -> None:
        #: The size of the file.
        self.file_size = size
        with _refusing():
            self._zip = zipfile.ZipFile(file)
            self._entries = {entry.filename: entry for entry in self._zip.infolist()}
            self.manifest = self._read_manifest()
            self._check_entries(most_bytes)

    def check(self, progress: Progress = silent) -> None:
        """Unpack everything and compare it with the manifest; raise ArchiveRefused."""
        total = self.manifest.size
        done = 0
        for name, content in self.manifest.members():
            tally = Tally(content.columns)
            tabs = 0
            last = content.header
            for chunk in self.rows(name, content):
                tally.add(chunk)
                tabs += chunk.count(b"\t")
                last = chunk
                progress("Checking the archive", done + tally.size, total)
            done += tally.size
            if not content.is_same(tally.content()):
                raise ArchiveRefused(f"{_DAMAGED} {name} is not what the manifest says.")
            if not last.endswith(b"\n") or tabs != content.rows * (len(content.columns) - 1):
                raise ArchiveRefused(f"{_DAMAGED} {name} does not have the columns that it names in every row.")

    def rows(self, name: str, content: Content) -> Iterator[bytes]:
        """Yield the rows of a member in chunks, without its header line."""
        with _refusing(), self._zip.open(self._entries[name]) as member:
            if member.read(len(content.header)) != content.header:
                raise ArchiveRefused(f"{_DAMAGED} {name} has other columns than the manifest says.")
            while chunk := member.read(CHUNK):
                yield chunk

    def _read_manifest(self) -> Manifest:
        entry = self._entries.get(MANIFEST_MEMBER)
        if entry is None:
            raise ArchiveRefused(f"{NOT_OURS} it has no {MANIFEST_MEMBER}.")
        if entry.file_size > _MOST_MANIFEST_BYTES:
            raise ArchiveRefused(f"{NOT_OURS} its manifest is too large.")
        _check_entry(entry)
        with self._zip.open(entry) as member:
            return read_manifest(member.read(_MOST_MANIFEST_BYTES))

    def _check_entries(self, most_bytes: int | None) -> None:
        expected = dict(self.manifest.members())
        names = [entry.filename for entry in self._zip.infolist()]
        if sorted(names) != sorted([*expected, MANIFEST_MEMBER]):
            raise ArchiveRefused("The archive does not hold exactly the files that its manifest names.")
        for name, content in expected.items():
            _check_entry(self._entries[name])
            if self._entries[name].file_size != content.size:
                raise ArchiveRefused(f"{_DAMAGED} {name} is not as large as the manifest says.")
        # Else members could overlap, and expand the same bytes many times.
        if sum(entry.compress_size for entry in self._entries.values()) > self.file_size:
            raise ArchiveRefused(f"{_DAMAGED} its files are larger than itself.")
        most = max(_ALWAYS_ALLOWED_BYTES, _MOST_EXPANSION * self.file_size) if most_bytes is None else most_bytes
        if self.manifest.size > most:
            raise ArchiveRefused(
                f"The archive would unpack to {self.manifest.size:,} bytes, and {most:,} are allowed. "
                "If you trust it, allow more with --max-gigabytes."
            )


@contextmanager
def open_archive(
    file: Path | IO[bytes], *, most_bytes: int | None = None, progress: Progress = silent
) -> Iterator[Archive]:
    """Open an archive whose seal, structure and manifest are good; raise ArchiveRefused for any other file.

    Its rows may unpack to *most_bytes*; by default to 200 times its size, or 1 GiB.
    """
    if isinstance(file, Path):
        with file.open("rb") as opened, open_archive(opened, most_bytes=most_bytes, progress=progress) as archive:
            yield archive
        return
    size = file.seek(0, os.SEEK_END)
    _check_seal(file, size, progress)
    yield Archive(file, size=size, most_bytes=most_bytes)


def _check_seal(file: IO[bytes], size: int, progress: Progress) -> None:
    before = _LARGE_END.size + _LARGE_END_LOCATOR.size
    tail_bytes = before + _END.size + _COMMENT_BYTES
    file.seek(max(0, size - tail_bytes))
    tail = file.read(tail_bytes).rjust(tail_bytes, b"\0")
    end = tail[before:-_COMMENT_BYTES]
    seal = tail[-_COMMENT_BYTES:]
    signature, *_, directory_bytes, _offset, comment_bytes = _END.unpack(end)
    if signature != b"PK\5\6" or comment_bytes != _COMMENT_BYTES or not seal.startswith(_SEAL):
        raise ArchiveRefused(f"{NOT_OURS} it does not end as one does. Was it cut off?")
    if _digest(file, size - _DIGEST_CHARACTERS, progress) != seal[len(_SEAL) :]:
        raise ArchiveRefused(f"{_DAMAGED} its check sum is not that of its content.")
    # What is read whole into memory, before anything else in it can be judged.
    locator, _, place, _ = _LARGE_END_LOCATOR.unpack(tail[_LARGE_END.size : before])
    if locator == b"PK\6\7":
        signature, *_, directory_bytes, _offset = _LARGE_END.unpack(tail[: _LARGE_END.size])
        if signature != b"PK\6\6" or place != size - tail_bytes:
            raise ArchiveRefused(f"{NOT_OURS} it does not end as one does.")
    if directory_bytes > _MOST_DIRECTORY_BYTES:
        raise ArchiveRefused(f"{NOT_OURS} it names too many files.")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    if entry.compress_type != zipfile.ZIP_DEFLATED or entry.flag_bits & _ENCRYPTED:
        raise ArchiveRefused(f"{NOT_OURS} its files are packed in another way.")


def _digest(file: IO[bytes], size: int, progress: Progress) -> bytes:
    """Return the SHA-256 of the first *size* bytes, in hexadecimal digits."""
    found = hashlib.sha256()
    file.seek(0)
    done = 0
    while done < size and (chunk := file.read(min(CHUNK, size - done))):
        found.update(chunk)
        done += len(chunk)
        progress("Reading the archive", done, size)
    return found.hexdigest().encode()


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise ArchiveRefused for whatever zipfile raises over a file that is none, or that is meant to confuse it."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OverflowError,
    ) as error:
        raise ArchiveRefused(f"{_DAMAGED} it cannot be unpacked ({type(error).__name__}).") from error


_DAMAGED = "The archive is damaged:"
