"""Finds a file wherever a specification says it lies: path, URL, MLflow registry or installed package.

Imports no torch: an unchanged model is recognised by its file's digest before torch is imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from export.sources.download import Download, sha256_differs
from export.sources.mlflow_registry import from_registry
from export.sources.package_file import from_package
from export.sources.secrets import shown
from slipway.errors import SourceInvalid
from slipway.files import sha256_file

if TYPE_CHECKING:
    from slipway.spec import SourceSpec

#: Larger files are refused: 8 GiB is far above any vision model, and far below a disk filled by a wrong URL.
MAX_BYTES = 8 << 30
#: Seconds without a single byte from the server.
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Located:
    """A file on this machine. ``shown``: where it came from, for messages and evidence, without secrets.
    ``folder``: what else belongs to it (an MLflow version), None for a single file."""

    path: Path
    shown: str
    folder: Path | None = None


def locate(
    location: str,
    root: Path,
    cache_dir: Path,
    *,
    sha256: str | None = None,
    tracking_uri: str | None = None,
    artifact: str | None = None,
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT_SECONDS,
) -> Located:
    """The local file behind ``location``; relative paths start at ``root``.

    A download is kept in ``cache_dir``. With ``sha256`` a kept file of these bytes is used without asking the server;
    without it the server is asked whether the file has changed. ``timeout``: seconds without a byte.
    ``tracking_uri`` and ``artifact`` are for ``models:/`` locations.

    Raises SourceInvalid for what does not exist and for a scheme that is not supported, DownloadFailed for what goes
    wrong on the way, and for a file, local or not, whose sha256 is not the declared one.
    """
    if urlsplit(location).scheme in ("http", "https"):
        return Located(Download(location, cache_dir, sha256, max_bytes, timeout).run(), shown(location))
    if location.startswith("models:/"):
        version = from_registry(location, tracking_uri, root, cache_dir)
        found = Located(version.file(artifact), version.shown, version.folder)
    elif location.startswith("package:"):
        found = Located(from_package(location), location)
    else:
        found = Located(_local_path(location, root), shown(location))
    if sha256 is not None and (observed := sha256_file(found.path)) != sha256.lower():
        raise sha256_differs(location, observed, sha256)
    return found


def locate_source(source: SourceSpec, root: Path, cache_dir: Path) -> Located | None:
    """The file of a source; None when it names none, or only the name of published weights."""
    if source.location is None:
        return None
    return locate(
        source.location,
        root,
        cache_dir,
        sha256=source.sha256,
        tracking_uri=source.tracking_uri,
        artifact=source.artifact,
    )


def _local_path(location: str, root: Path) -> Path:
    path = _as_path(location, root)
    if not path.is_file():
        raise SourceInvalid(
            "there is no file where the source points",
            observed=f"{path}{', a directory' if path.is_dir() else ''}",
            expected="a file",
            fix="put it there, or name another path or URL; the samples' weights are made by 'slipway samples'",
        )
    return path


def _as_path(location: str, root: Path) -> Path:
    url = urlsplit(location)
    if url.scheme == "file":
        if url.netloc not in ("", "localhost"):
            raise SourceInvalid("a file: URL names another machine", observed=shown(location), expected="file:///path")
        return Path(url2pathname(url.path))
    if re.match(r"[a-z][a-z0-9+.-]+://", location):
        raise SourceInvalid(
            "the source has a scheme that is not supported",
            observed=shown(location),
            expected="a path, a file:, http: or https: URL, models:/name@alias or package:name/path",
            fix="for s3://, gs:// and the like give a presigned https: URL, or copy the file here first",
        )
    return root / Path(location).expanduser()
