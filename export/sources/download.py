"""Downloads one file over HTTP into a cache: streamed to a temporary file, checked, and only then put in its place."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from export.sources.secrets import shown, without_secrets
from slipway.errors import DownloadFailed
from slipway.files import sha256_file, sync_directory, write_atomically

_CHUNK = 1 << 20
#: Answer header that identifies a version of the file -> request header that asks whether it is still that version.
_VALIDATORS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}


class _Body(Protocol):
    def read(self, amount: int, /) -> bytes: ...


class _Headers(Protocol):
    def get(self, name: str, /) -> str | None: ...


@dataclass(frozen=True)
class Download:
    """One file to fetch. ``sha256``: hex, of the whole file, or None; ``timeout``: seconds without a byte."""

    url: str
    cache_dir: Path
    sha256: str | None
    max_bytes: int
    timeout: float

    def run(self) -> Path:
        """The cached file; raises DownloadFailed and then leaves the cache as it was.

        Two processes may download the same URL at once: each writes its own temporary file, the last rename wins.
        """
        target = self._target()
        if self.sha256 is not None and target.is_file() and sha256_file(target) == self.sha256.lower():
            return target
        try:
            request = self._request(_ask_whether_changed(target))
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310 - http and https only
                self._store(answer, answer.headers, target)
        except urllib.error.HTTPError as problem:
            if problem.code == http.client.NOT_MODIFIED:
                return target
            raise self._failed(f"HTTP {problem.code} {problem.reason}") from problem
        except urllib.error.URLError as problem:
            raise self._failed(problem.reason) from problem
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise self._failed(f"{type(problem).__name__}: {problem}") from problem
        return target

    def _request(self, conditions: Mapping[str, str]) -> urllib.request.Request:
        """The GET request; ``user:password@`` becomes a header, because urllib takes it for part of the host."""
        parts = urlsplit(self.url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        headers = {"User-Agent": "slipway", "Accept-Encoding": "identity", **conditions}
        request = urllib.request.Request(bare, headers=headers)  # noqa: S310 - only http and https come here
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            # unredirected: a redirect may lead to another machine, which must not get the password
            request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        return request

    def _target(self) -> Path:
        """One cache entry per declared content, else per URL; the readable end keeps the suffix."""
        key = self.sha256.lower() if self.sha256 is not None else hashlib.sha256(self.url.encode()).hexdigest()
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(urlsplit(self.url).path).name)[-80:]
        return self.cache_dir / f"{key[:16]}-{readable or 'checkpoint'}"

    def _store(self, body: _Body, headers: _Headers, target: Path) -> None:
        """Streams to a temporary file beside ``target`` and renames it once length and sha256 are right."""
        length = int(headers.get("Content-Length") or -1)
        self._check_size(length)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        temporary = Path(name)
        try:
            received, digest = self._copy(body, handle)
            self._check_whole(received, length, digest)
            temporary.chmod(0o644)
            _validators_file(target).unlink(missing_ok=True)  # never the new file with the old one's validators
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(target.parent)
        _keep_validators(target, headers, digest)

    def _copy(self, body: _Body, handle: int) -> tuple[int, str]:
        """Number of bytes written and their sha256; stops as soon as there are more than ``max_bytes``."""
        digest, received = hashlib.sha256(), 0
        with os.fdopen(handle, "wb") as stream:
            while chunk := body.read(_CHUNK):
                received += len(chunk)
                self._check_size(received)
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        return received, digest.hexdigest()

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise self._failed(f"{size} bytes or more", expected=f"at most {self.max_bytes} bytes")

    def _check_whole(self, received: int, length: int, digest: str) -> None:
        # http.client returns short reads as a normal end when the connection closes early: compare
        if length >= 0 and received != length:
            raise self._failed(f"the transfer ended after {received} bytes", expected=f"{length} bytes")
        if self.sha256 is not None and digest != self.sha256.lower():
            raise sha256_differs(self.url, digest, self.sha256)

    def _failed(self, observed: object, expected: object = None) -> DownloadFailed:
        return DownloadFailed(
            f"{shown(self.url)} could not be downloaded",
            observed=without_secrets(str(observed), self.url),
            expected=expected or f"the file, without a pause of {self.timeout:g} s",
            fix="check the URL and the network (HTTPS_PROXY is honoured), or give a local path",
        )


def sha256_differs(location: str, observed: str, expected: str) -> DownloadFailed:
    """The error for a file that is not the declared one."""
    return DownloadFailed(
        f"{shown(location)} is not the declared file",
        observed=f"sha256 {observed}",
        expected=f"sha256 {expected.lower()}",
        fix="find out why the file changed before you change source.sha256",
    )


def _validators_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.validators.json")


def _keep_validators(target: Path, headers: _Headers, digest: str) -> None:
    kept = {asked: value for given, asked in _VALIDATORS.items() if (value := headers.get(given))}
    if kept:
        write_atomically(_validators_file(target), json.dumps({"sha256": digest, "headers": kept}))


def _ask_whether_changed(target: Path) -> Mapping[str, str]:
    """Conditional request headers (RFC 9110, 13.1), but only while the cached file is the one they were given for."""
    try:
        kept = json.loads(_validators_file(target).read_text(encoding="utf-8"))
        if sha256_file(target) == kept["sha256"]:
            return {str(name): str(value) for name, value in kept["headers"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # nothing cached, or not by this code: download it
    return {}
