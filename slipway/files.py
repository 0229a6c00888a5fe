"""Files that are either wholly there or not there: atomic writes, removal, fsync of directories, sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

_CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    """Replaces ``path`` in one step: a reader, or a crash, sees the old content or the new, never a part.

    The temporary file lies in the same directory (rename does not cross file systems) and is synced before the
    rename, the directory after it.
    """
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def remove_whatever(path: Path) -> None:
    """Removes what lies at the place of a file, if anything: also a folder that got there by mistake."""
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        # unlink(2) of a folder fails with either, by the system
        if not path.is_dir():
            raise
        shutil.rmtree(path)


def sync_file(path: Path) -> None:
    """Flushes a closed file's content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


#: A directory is synced the same way; the name says what is meant at the place of use.
sync_directory = sync_file
