"""Unpacks an archive of strangers: every member is checked before a byte of it is written, and nothing is run.

A ``.mar`` is a zip, a ``.tar.gz`` has one folder around everything, and ``no-archive`` is that folder itself
(torch-model-archiver 0.12, ``archiving_options``).
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from export.migrate.tar_stream import TarStream
from slipway.errors import ArchiveInvalid, InputFileUnreadable

MANIFEST = PurePosixPath("MAR-INF/MANIFEST.json")
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
#: What zipfile, tarfile and their decompressors raise for damaged files; ValueError covers names that are no text.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True)
class Limits:
    """``bytes`` and ``files`` of the unpacked archive; ``ratio``: unpacked over packed, beyond ``free_bytes``. Weights
    hardly shrink: 1.1 is usual, a zip bomb has 1,000."""

    bytes: int = 8 << 30
    files: int = 10_000
    ratio: float = 200.0
    free_bytes: int = 64 << 20


@dataclass(frozen=True)
class _Member:
    """One file: its checked place and how its content is opened."""

    path: PurePosixPath
    source: zipfile.ZipInfo | tarfile.TarInfo | Path


def unpack(path: Path, target: Path, limits: Limits | None = None) -> Path:
    """Unpacks into ``target``, which must not exist, and returns the folder that holds ``MAR-INF``.

    Raises InputFileUnreadable for no such file, and ArchiveInvalid: damaged, encrypted, too large, or with members
    that are absolute, leave the folder, stand twice, or are links or devices."""
    limits = limits or Limits()
    target.mkdir(parents=True)
    try:
        if path.is_dir():
            _copy_folder(path, target, limits)
        elif not path.is_file():
            raise InputFileUnreadable(
                "there is no such archive", observed=path, expected="a .mar, a .tar.gz or an unpacked folder"
            )
        elif zipfile.is_zipfile(path):
            _unpack_zip(path, target, limits)
        else:
            _unpack_tar(path, target, limits)
    except _DAMAGED as problem:
        raise ArchiveInvalid(
            f"{path.name} cannot be unpacked",
            observed=f"{type(problem).__name__}: {problem}",
            expected="a whole .mar (zip), .tar.gz, or an unpacked folder",
            fix="make it again with torch-model-archiver",
        ) from problem
    return _root(path, target)


def _unpack_zip(path: Path, target: Path, limits: Limits) -> None:
    budget = _Budget(path, path.stat().st_size, limits)
    with zipfile.ZipFile(path) as archive:
        members = list(_zip_members(path, archive))
        budget.check_count(len(members))
        for member in members:
            with archive.open(member.source) as stream:  # type: ignore[arg-type]
                budget.write(stream, target / member.path)


def _zip_members(path: Path, archive: zipfile.ZipFile) -> Iterator[_Member]:
    seen: set[PurePosixPath] = set()
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(path, info.filename, "a link or a device", "files and folders")
        if info.flag_bits & 0x1:
            raise _refused(path, info.filename, "an encrypted member", "members without a password")
        place = _place(path, info.filename)
        if not info.is_dir():
            yield _Member(_once(path, place, seen), info)


def _unpack_tar(path: Path, target: Path, limits: Limits) -> None:
    with path.open("rb") as packed:
        begins = packed.read(len(_GZIP))
        packed.seek(0)
        if begins == _GZIP:
            with gzip.GzipFile(fileobj=packed) as plain:
                _unpack_plain_tar(path, TarStream(cast("IO[bytes]", plain), path.name), target, limits)
        else:
            _unpack_plain_tar(path, TarStream(packed, path.name), target, limits)


def _unpack_plain_tar(path: Path, stream: TarStream, target: Path, limits: Limits) -> None:
    budget = _Budget(path, path.stat().st_size, limits)
    seen: set[PurePosixPath] = set()
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as archive:
        for count, info in enumerate(archive, 1):
            budget.check_count(count)
            stream.next_member()
            if not (info.isfile() or info.isdir()) or info.issparse():
                observed = "a sparse file" if info.issparse() else "a link or a device"
                raise _refused(path, info.name, observed, "files and folders")
            place = _place(path, info.name)
            content = archive.extractfile(info) if info.isfile() else None
            if content is not None:
                with stream.content():
                    budget.write(content, target / _once(path, place, seen))


def _copy_folder(path: Path, target: Path, limits: Limits) -> None:
    budget, count = _Budget(path, None, limits), 0
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            item = Path(folder) / name
            if item.is_symlink() or not (item.is_file() or item.is_dir()):
                raise _refused(path, str(item.relative_to(path)), "a link or a device", "files and folders")
        for name in files:
            count += 1
            budget.check_count(count)
            with (Path(folder) / name).open("rb") as stream:
                budget.write(stream, target / (Path(folder) / name).relative_to(path))


class _Budget:
    """Counts what is written; sizes that an archive declares are not believed."""

    def __init__(self, path: Path, packed: int | None, limits: Limits) -> None:
        self._path, self._limits, self._written = path, limits, 0
        most = limits.bytes if packed is None else max(limits.free_bytes, packed * limits.ratio)
        self._most = min(limits.bytes, most)

    def check_count(self, count: int) -> None:
        """Raises ArchiveInvalid for more files than are allowed."""
        if count > self._limits.files:
            raise ArchiveInvalid(
                f"{self._path.name} has too many members",
                observed=f"{count} or more",
                expected=f"at most {self._limits.files}",
            )

    def write(self, source: IO[bytes], target: Path) -> None:
        """Copies one member; raises ArchiveInvalid when all of them together become too large."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            while chunk := source.read(_CHUNK):
                self._written += len(chunk)
                if self._written > self._most:
                    raise ArchiveInvalid(
                        f"{self._path.name} unpacks to too many bytes",
                        observed=f"more than {self._written} bytes, at {target.name}",
                        expected=f"at most {int(self._most)}",
                        fix="take it from people whom you trust; real weights hardly shrink when they are packed",
                    )
                stream.write(chunk)


def _place(path: Path, name: str) -> PurePosixPath:
    """The member's path below the folder; raises ArchiveInvalid for one that leads elsewhere."""
    place = PurePosixPath(name)
    odd = "\\" in name or "\0" in name or (len(name) > 1 and name[1] == ":")
    if not name or place.is_absolute() or ".." in place.parts or odd:
        raise _refused(path, name, "a path out of the archive", "paths below it, without .. and drive letters")
    return place


def _once(path: Path, place: PurePosixPath, seen: set[PurePosixPath]) -> PurePosixPath:
    if place in seen:
        raise _refused(path, str(place), "a member that stands twice", "every member once")
    seen.add(place)
    return place


def _refused(path: Path, member: str, observed: str, expected: str) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"{path.name}: member {member!r} is refused",
        observed=observed,
        expected=expected,
        fix="make the archive again with torch-model-archiver, from files that you know",
    )


def _root(path: Path, target: Path) -> Path:
    """``target``, or the only folder in it, whichever holds the manifest."""
    if (target / MANIFEST).is_file():
        return target
    inside = [item for item in target.iterdir() if item.is_dir()]
    if len(inside) == 1 and len(list(target.iterdir())) == 1 and (inside[0] / MANIFEST).is_file():
        return inside[0]
    raise ArchiveInvalid(
        f"{path.name} is no TorchServe archive",
        observed=f"no {MANIFEST}; members: {', '.join(sorted(item.name for item in target.iterdir())[:8]) or 'none'}",
        expected=f"{MANIFEST}, as torch-model-archiver writes it",
        fix="name the .mar that TorchServe serves",
    )


def remove(folder: Path) -> None:
    """Removes what was unpacked."""
    shutil.rmtree(folder, ignore_errors=True)
