"""Finds a checkpoint on this machine: a path, a ``file:`` URL, or an ``http(s):`` URL that is downloaded once."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from export.sources.download import Download, sha256_differs, shown
from slipway.errors import SourceInvalid
from slipway.files import sha256_file

#: Larger files are refused: 8 GiB is far above any vision model, and far below a disk filled by a wrong URL.
MAX_BYTES = 8 << 30
#: Seconds without a single byte from the server.
TIMEOUT_SECONDS = 30.0


def fetch(
    location: str,
    root: Path,
    cache_dir: Path,
    *,
    sha256: str | None = None,
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT_SECONDS,
) -> Path:
    """The local file behind ``location``; relative paths start at ``root``.

    A download is kept in ``cache_dir``. With ``sha256`` a kept file of these bytes is used without asking the server;
    without it the server is asked whether the file has changed. ``timeout``: seconds without a byte.

    Raises SourceInvalid for a path that is no file and for a scheme that is not supported, DownloadFailed for what
    goes wrong on the way, and for a file, local or not, whose sha256 is not the declared one.
    """
    if urlsplit(location).scheme in ("http", "https"):
        return Download(location, cache_dir, sha256, max_bytes, timeout).run()
    path = _local_path(location, root)
    if not path.is_file():
        raise SourceInvalid(
            "there is no checkpoint file where source.checkpoint points",
            observed=path,
            expected="a file",
            fix="put it there, or name another path or URL; the samples' weights are made by 'slipway samples'",
        )
    if sha256 is not None and (observed := sha256_file(path)) != sha256.lower():
        raise sha256_differs(location, observed, sha256)
    return path


def _local_path(location: str, root: Path) -> Path:
    url = urlsplit(location)
    if url.scheme == "file":
        if url.netloc not in ("", "localhost"):
            raise SourceInvalid("a file: URL names another machine", observed=location, expected="file:///path")
        return Path(url2pathname(url.path))
    if re.match(r"[a-z][a-z0-9+.-]+://", location):
        raise SourceInvalid(
            "source.checkpoint has a scheme that is not supported",
            observed=shown(location),
            expected="a path, or a file:, http: or https: URL",
            fix="for s3://, gs:// and the like give a presigned https: URL, or copy the file here first",
        )
    return root / Path(location).expanduser()
