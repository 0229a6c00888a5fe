"""Bodies of requests: raw images, JSON with base64, and everything that is neither."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from handlers.fields import Field
from handlers.json_request import answer_records, read_body, to_json
from slipway.errors import ImageCorrupt, ImageEmpty, ImageTooManyBytes, RequestInvalid, RequestMalformed
from tests.handlers.pictures import read

COFFEE = read("coffee.png")
TEXT = base64.b64encode(COFFEE).decode()


def body(content: object, content_type: str = "", max_images: int = 4, max_bytes: int = 1 << 20):
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_body(encoded, content_type, max_images, max_bytes)


def test_a_raw_image_is_itself() -> None:
    found = body(COFFEE, "image/png")
    assert (found.images, found.parameters, found.several) == ([COFFEE], {}, False)


def test_json_is_known_by_type_and_by_its_first_character() -> None:
    for content_type in ("application/json", "Application/JSON; charset=utf-8", "", "application/octet-stream"):
        found = body({"images": [TEXT, TEXT], "parameters": {"top_k": 2}}, content_type)
        assert found.images == [COFFEE, COFFEE] and found.parameters == {"top_k": 2} and found.several
    assert body({"image": TEXT}).images == [COFFEE] and not body({"image": TEXT}).several
    assert read_body({"image": TEXT}, "application/json", 4, 1 << 20).images == [COFFEE], "decoded by the server"


def test_one_bad_text_costs_the_others_nothing() -> None:
    found = body({"images": [TEXT, "%%%", 7, None, "é", TEXT[:-1], ""]}, max_images=7)
    kinds = [type(image) for image in found.images]
    assert kinds == [bytes, ImageCorrupt, ImageCorrupt, ImageCorrupt, ImageCorrupt, ImageCorrupt, bytes]


def test_a_large_text_is_refused_before_it_is_decoded() -> None:
    assert isinstance(body({"image": TEXT}, max_bytes=len(COFFEE) - 3).images[0], ImageTooManyBytes)
    assert body({"image": TEXT}, max_bytes=len(COFFEE)).images == [COFFEE]


@pytest.mark.parametrize(
    "text", [b"{", b'{"images": [', b"{'image': 1}", b'{"a": "\xff"}', b"{" * 100_000, b'{"x": NaN']
)
def test_what_is_not_json_is_malformed(text: bytes) -> None:
    with pytest.raises(RequestMalformed):
        body(text)


@pytest.mark.parametrize("text", [b"[1]", b'"text"', b"7", b"null", b"", b"[" * 100_000, COFFEE])
def test_json_that_is_no_object_is_malformed(text: bytes) -> None:
    with pytest.raises(RequestMalformed):
        body(text, "application/json")


@pytest.mark.parametrize("value", [[1], 7, None, 1.5])
def test_what_a_server_decoded_is_checked_too(value: object) -> None:
    with pytest.raises(RequestMalformed):
        read_body(value, "application/json", 4, 1 << 20)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"images": []},
        {"images": [TEXT] * 5},
        {"images": "text"},
        {"images": {"0": TEXT}},
        {"image": TEXT, "images": [TEXT]},
        {"image": TEXT, "parameters": [1]},
        {"image": TEXT, "parameters": None},
        {"image": TEXT, "top_k": 3},
        {"inputs": []},
    ],
)
def test_another_form_is_invalid(values: object) -> None:
    with pytest.raises(RequestInvalid):
        body(values)


class Found:
    def record(self) -> dict:
        return {"labels": ["é", "b"], "scores": np.array([0.75, 0.25], np.float32), "age": np.float32(np.nan)}


def test_answers_are_json_with_errors_in_their_place() -> None:
    fields = (Field("labels", "string", each=True), Field("scores", "float32", each=True), Field("age", "float32"))
    text = to_json(answer_records(fields, [Found(), ImageEmpty("the image has no bytes")]))
    good, bad = json.loads(text)
    assert good == {"labels": ["é", "b"], "scores": [0.75, 0.25], "age": None}, "NaN is no JSON"
    assert bad["code"] == "IMAGE_EMPTY" and bad["error"].startswith("IMAGE_EMPTY: ")


def test_what_utf8_cannot_hold_does_not_fail_the_answer() -> None:
    assert json.loads(to_json({"label": "\ud800"})) == {"label": "?"}
