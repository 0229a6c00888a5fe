"""What people and attackers put where an image belongs: answered 4xx with a code, the rest of the batch unharmed."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from PIL import Image
from tritonclient.utils import InferenceServerException

from slipway import errors
from tests.e2e.conftest import Product

pytestmark = pytest.mark.e2e
CODES = {cls.code for cls in errors.all_errors()} - {"INTERNAL"}


def png_header(width: int, height: int) -> bytes:
    """A PNG of any size that is only a header and a little data: the decompression bomb's first bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * min(width * 3 + 1, 1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(format_name: str, size: tuple[int, int] = (64, 48)) -> bytes:
    pixels = np.random.default_rng(7).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format_name)
    return stream.getvalue()


def hostile_images() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield from {
        "text": b"hello",
        "one-byte": b"\xff",
        "nul": b"\0" * 1000,
        "html": b"<html><body>404</body></html>",
        "json": b'{"image": "base64"}',
        "pickle": b"\x80\x04\x95\x10\0\0\0",
        "zip": b"PK\x03\x04" + b"\0" * 60,
        "elf": b"\x7fELF" + b"\0" * 60,
        "pdf": b"%PDF-1.7\n%%EOF",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "tiff": b"II*\0\x08\0\0\0" + b"\0" * 20,
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n",
        "psd": b"8BPS\0\1" + b"\0" * 40,
        "ico": b"\0\0\1\0\1\0" + b"\0" * 40,
        "avif": b"\0\0\0 ftypavif" + b"\0" * 40,
        "shell": b"#!/bin/sh\nexit 1\n",
    }.items()
    for width, height in [(20000, 20000), (65535, 65535), (2**31 - 1, 1), (1, 2**31 - 1), (0, 10), (10, 0), (2**31, 1)]:
        yield f"png-{width}x{height}", png_header(width, height)
    chooser = random.Random(7)
    for format_name in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        good = encoded(format_name)
        for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9):
            yield f"{format_name}-cut-{part}", good[: int(len(good) * part)]
        for start in range(4):
            damaged = bytearray(good)
            for _ in range(len(good) // 8):
                damaged[chooser.randrange(2, len(good))] = chooser.randrange(256)
            yield f"{format_name}-noise-{start}", bytes(damaged)
    yield "21-megabytes", encoded("JPEG") + b"\0" * 21_000_000


IMAGES = dict(hostile_images())
#: Noise may leave a picture that decodes: an answer is then right, and no error is asked for.
MUST_FAIL = [name for name in IMAGES if "-noise-" not in name]


class Asker:
    """One request of some images over one transport: labels and errors, or the status and text of the refusal."""

    def __init__(self, product: Product, transport: str) -> None:
        self.module = triton_http if transport == "http" else triton_grpc
        self.client = self.module.InferenceServerClient(product.state.edge[transport])

    def ask(self, images: list[bytes]) -> tuple[list[bytes], list[str]]:
        tensor = self.module.InferInput("image", [len(images), 1], "BYTES")
        column = np.empty((len(images), 1), dtype=object)
        column[:, 0] = images
        tensor.set_data_from_numpy(column)
        answer = self.client.infer("digits", [tensor])
        labels, texts = answer.as_numpy("labels"), answer.as_numpy("errors")
        return [row[0] for row in labels], [row[0].decode() for row in texts]


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_alone_each_is_refused_with_a_code(product: Product, transport: str) -> None:
    asker, triton = Asker(product, transport), product.state.engine["pid"]
    refused = 0
    for name, data in IMAGES.items():
        try:
            labels, _ = asker.ask([data])
        except InferenceServerException as error:
            text = error.message()
            refused += 1
            assert any(code in text for code in CODES), f"{name}: {text}"
            assert "Traceback" not in text and 'File "' not in text, name
            assert error.status() in ("400", "413", "StatusCode.INVALID_ARGUMENT", "StatusCode.RESOURCE_EXHAUSTED"), (
                name
            )
        else:
            assert name not in MUST_FAIL, f"{name} was answered {labels}"
    assert refused >= len(MUST_FAIL) >= 50
    assert product.state.engine["pid"] == triton


def test_in_a_batch_the_others_are_answered(product: Product) -> None:
    asker = Asker(product, "grpc")
    good = [path.read_bytes() for path in product.images[:3]]
    truth = [path.name.split("_")[0].encode() for path in product.images[:3]]
    for name in MUST_FAIL:
        if name == "21-megabytes":
            continue
        labels, texts = asker.ask([good[0], IMAGES[name], *good[1:]])
        assert [labels[0], *labels[2:]] == truth, name
        assert labels[1] == b"" and any(texts[1].startswith(code) for code in CODES), name
        assert [texts[0], *texts[2:]] == ["", "", ""], name


def test_memory_comes_back(product: Product) -> None:
    """Within a tenth of what it was after one warm pass over the same hostile images."""
    asker = Asker(product, "grpc")

    def attack() -> int:
        for data in IMAGES.values():
            with contextlib.suppress(InferenceServerException):
                asker.ask([data])
        return sum(product.tree_memory().values())

    first = attack()
    for _ in range(2):
        last = attack()
    assert last <= first * 1.1, f"{first / 1e6:.0f} MB after one pass, {last / 1e6:.0f} MB after three"


def test_wrong_tensors_have_codes(product: Product) -> None:
    client = triton_grpc.InferenceServerClient(product.state.edge["grpc"])
    image = product.images[0].read_bytes()

    def refused(name: str, shape: list[int], datatype: str, array: np.ndarray, parameters: dict | None = None) -> str:
        tensor = triton_grpc.InferInput(name, shape, datatype)
        tensor.set_data_from_numpy(array)
        with pytest.raises(InferenceServerException) as caught:
            client.infer("digits", [tensor], parameters=parameters)
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT", caught.value
        return caught.value.message()

    one = np.array([[image]], dtype=object)
    assert "REQUEST_INVALID" in refused("picture", [1, 1], "BYTES", one)
    assert "REQUEST_INVALID" in refused("image", [1, 4], "UINT8", np.zeros((1, 4), np.uint8))
    assert "REQUEST_INVALID" in refused("image", [1, 2], "BYTES", np.array([[image, image]], dtype=object))
    assert "REQUEST_INVALID" in refused("image", [9, 1], "BYTES", np.array([[image]] * 9, dtype=object))
    for top_k in (0, -1, 11, "many"):
        assert "REQUEST_INVALID" in refused("image", [1, 1], "BYTES", one, {"top_k": top_k})
    for model, version, code in [("digit", "", "MODEL_NOT_FOUND"), ("digits", "99", "VERSION_NOT_FOUND")]:
        tensor = triton_grpc.InferInput("image", [1, 1], "BYTES")
        tensor.set_data_from_numpy(one)
        with pytest.raises(InferenceServerException, match=code):
            client.infer(model, [tensor], model_version=version)
    client.close()
