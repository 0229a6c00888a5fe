"""Checkpoints by path and URL: cached, checked, and never half there."""

import hashlib
import os
from pathlib import Path

import pytest

from export.sources.download import shown
from export.sources.fetch import fetch
from slipway.errors import DownloadFailed, SourceInvalid
from tests.export.weights_server import serving

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several reads
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(CONTENT)
    with serving(folder) as running:
        yield running


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def get(location: str, cache: Path, **options) -> Path:
    return fetch(location, cache.parent, cache, **options)


@pytest.mark.parametrize("way", ["", "moved/", "chunked/"])
def test_download_is_whole(server, cache, way):
    path = get(f"{server.url}/{way}weights.bin", cache, sha256=DIGEST.upper())
    assert path.read_bytes() == CONTENT
    assert path.name.endswith("-weights.bin")
    assert [item for item in cache.iterdir() if item.suffix == ".part"] == []


def test_declared_content_is_not_fetched_twice(server, cache):
    first = get(f"{server.url}/weights.bin", cache, sha256=DIGEST)
    assert get(f"{server.url}/weights.bin", cache, sha256=DIGEST) == first
    assert server.requests == ["/weights.bin"]
    first.write_bytes(b"damaged on disk")
    assert get(f"{server.url}/weights.bin", cache, sha256=DIGEST).read_bytes() == CONTENT


def test_undeclared_content_is_fetched_again_only_when_it_changed(server, cache, tmp_path):
    first = get(f"{server.url}/weights.bin", cache)
    stamp = first.stat().st_mtime_ns
    assert get(f"{server.url}/weights.bin", cache).stat().st_mtime_ns == stamp, "304: the cached file is used"
    newer = tmp_path / "www" / "weights.bin"
    newer.write_bytes(b"second training")
    os.utime(newer, (newer.stat().st_atime, newer.stat().st_mtime + 10))  # HTTP dates count whole seconds
    assert get(f"{server.url}/weights.bin", cache).read_bytes() == b"second training"
    assert len(server.requests) == 3


def test_damaged_cache_is_not_asked_about(server, cache):
    get(f"{server.url}/weights.bin", cache).write_bytes(b"damaged on disk")
    assert get(f"{server.url}/weights.bin", cache).read_bytes() == CONTENT


def refused(location: str, cache: Path, **options) -> str:
    with pytest.raises(DownloadFailed) as caught:
        get(location, cache, **options)
    assert not cache.exists() or list(cache.iterdir()) == [], "nothing is left of a failed download"
    return str(caught.value)


def test_wrong_sha256(server, cache):
    message = refused(f"{server.url}/weights.bin", cache, sha256="0" * 64)
    assert DIGEST in message
    assert "0" * 64 in message


def test_not_found(server, cache):
    assert "HTTP 404" in refused(f"{server.url}/absent.bin", cache)


def test_truncated_transfer(server, cache):
    message = refused(f"{server.url}/truncated/weights.bin", cache)
    assert f"ended after {len(CONTENT) // 2} bytes" in message
    assert f"{len(CONTENT)} bytes" in message


def test_failed_refresh_keeps_the_cached_file(server, cache):
    good = get(f"{server.url}/weights.bin", cache, sha256=DIGEST)
    with pytest.raises(DownloadFailed):
        get(f"{server.url}/truncated/weights.bin", cache)
    assert good.read_bytes() == CONTENT


def test_declared_and_endless_sizes_are_limited(server, cache):
    assert "at most 1000 bytes" in refused(f"{server.url}/weights.bin", cache, max_bytes=1000)
    assert "at most 9000000 bytes" in refused(f"{server.url}/endless/weights.bin", cache, max_bytes=9_000_000)


def test_stalled_transfer(server, cache):
    assert "timed out" in refused(f"{server.url}/stalled/weights.bin", cache, timeout=0.2)


def test_no_server(cache):
    with serving(cache.parent) as server:
        url = server.url
    assert "refused" in refused(f"{url}/weights.bin", cache)


def test_secrets_of_a_url_are_not_shown(server, cache):
    address = server.url.removeprefix("http://")
    message = refused(f"http://{address}/absent.bin?X-Amz-Signature=hunter2", cache)
    assert "hunter2" not in message
    assert shown("https://user:hunter2@host:81/a/b.pt?token=x#y") == "https://host:81/a/b.pt"


def test_paths_and_file_urls(tmp_path, cache):
    path = tmp_path / "my weights.bin"
    path.write_bytes(CONTENT)
    for location in ("my weights.bin", str(path), path.as_uri()):
        assert get(location, cache, sha256=DIGEST) == path
    with pytest.raises(DownloadFailed, match="sha256"):
        get("my weights.bin", cache, sha256="0" * 64)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("absent.safetensors", "there is no checkpoint file"),
        ("s3://bucket/key.pt", "presigned https"),
        ("file://other-machine/key.pt", "another machine"),
    ],
)
def test_locations_that_cannot_be_used(cache, location, words):
    with pytest.raises(SourceInvalid, match=words):
        get(location, cache)
