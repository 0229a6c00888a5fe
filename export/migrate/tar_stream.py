"""A tar file as a stream that refuses large headers before they are read.

tarfile (3.11) reads an extended header, whose size the archive declares, in one piece (``_proc_pax``,
``_proc_gnulong``), and keeps what it says for every member. The stream therefore counts whatever is read outside of
members' contents.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from slipway.errors import ArchiveInvalid

#: Bytes of headers before one member, and of all members together. A long name needs 2 KiB.
_MOST, _MOST_TOGETHER = 1 << 20, 32 << 20


class TarStream:
    """What ``tarfile.open(fileobj=...)`` needs of a file: ``read``, ``seek`` and ``tell``."""

    def __init__(self, plain: IO[bytes], shown: str) -> None:
        """``plain``: decompressed. ``shown``: the archive's name, for errors."""
        self._plain, self._shown = plain, shown
        self._before, self._together = 0, 0
        self._in_content = False

    @contextmanager
    def content(self) -> Iterator[None]:
        """While a member's content is read, which has its own limits."""
        self._in_content = True
        try:
            yield
        finally:
            self._in_content = False

    def next_member(self) -> None:
        """The headers so far belong to a member that is known; those of the next count afresh."""
        self._before = 0

    def read(self, size: int = -1) -> bytes:
        """As of a file. Raises ArchiveInvalid for headers that are too large, before they are read."""
        if not self._in_content:
            self._before += size
            self._together += size
            if size < 0 or self._before > _MOST or self._together > _MOST_TOGETHER:
                raise ArchiveInvalid(
                    f"{self._shown} has too large headers",
                    observed=f"{max(size, self._before)} bytes before a member, {self._together} in all",
                    expected=f"at most {_MOST} before a member, {_MOST_TOGETHER} in all",
                    fix="make the archive again with torch-model-archiver, from files that you know",
                )
        return self._plain.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """As of a file."""
        return self._plain.seek(position, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._plain.tell()
