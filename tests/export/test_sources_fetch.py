"""Files by path and URL: cached, checked, and never half there."""

import hashlib
import os
from pathlib import Path

import pytest

from export.sources.location import locate
from export.sources.secrets import shown, without_secrets
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
    return locate(location, cache.parent, cache, **options).path


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
    # a space makes http.client quote the whole path and query in its error
    assert "hunter2" not in refused(f"http://{address}/ab sent.bin?token=hunter2", cache)
    assert "hunter2" not in refused(f"http://user:hunter2@{address}/absent.bin", cache)


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("https://user:hunter2@host:81/a/b.pt?token=x#y", "https://host:81/a/b.pt"),
        ("s3://key:hunter2@bucket/a?b", "s3://bucket/a"),
        ("postgresql+psycopg2://me:hunter2@host/db", "postgresql+psycopg2://host/db"),
        ("models:/digits@champion", "models:/digits@champion"),
        ("package:onnx/a.onnx", "package:onnx/a.onnx"),
        ("a#b?c.pt", "a#b?c.pt"),
    ],
)
def test_what_is_shown_of_a_location(location, seen):
    assert shown(location) == seen


def test_library_messages_lose_the_secrets_of_a_location():
    url = "http://me:hun%21ter2@host/api?key=s3cret&page=1"
    told = without_secrets(f"GET {url} failed; 'me:hun!ter2' at host refused; s3cret is wrong", url)
    assert told == "GET http://host/api failed; '***' at host refused; *** is wrong"


def test_user_and_password_of_a_url_become_a_header_for_that_machine_alone(cache, tmp_path):
    with serving(tmp_path) as elsewhere, serving(tmp_path) as server:
        (tmp_path / "weights.bin").write_bytes(CONTENT)
        server.password, server.elsewhere = "user:pass word", elsewhere.url
        address = server.url.removeprefix("http://")
        get(f"http://user:pass%20word@{address}/weights.bin", cache, sha256=DIGEST)
        message = refused(f"http://user:wrong@{address}/weights.bin", cache / "other")
        assert "HTTP 401" in message
        assert "wrong" not in message
        get(f"http://user:pass%20word@{address}/elsewhere/weights.bin", cache / "third", sha256=DIGEST)
        assert elsewhere.authorizations == [None], "a redirect's target gets no password"


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
        ("absent.safetensors", "there is no file where the source points"),
        (".", "a directory"),
        ("s3://bucket/key.pt", "presigned https"),
        ("file://other-machine/key.pt", "another machine"),
    ],
)
def test_locations_that_cannot_be_used(cache, location, words):
    with pytest.raises(SourceInvalid, match=words):
        get(location, cache)
