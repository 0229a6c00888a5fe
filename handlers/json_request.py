"""Requests to a public image model as plain HTTP bodies: one raw image, or JSON with base64 images; and JSON answers.

```
{"images": ["<base64>", ...], "parameters": {"top_k": 3}}     a list of answers, one per image
{"image": "<base64>", "parameters": {...}}                    one answer, as for a raw image
```
An answer is the record of its fields, or ``{"error": "CODE: text", "code": ..., "message": ...}`` for an image that
failed. Nothing here knows an engine.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.fields import Field, plain
from handlers.pipeline import Answer
from slipway.errors import ImageCorrupt, ImageError, ImageTooManyBytes, RequestInvalid, RequestMalformed, SlipwayError

_FORM = 'an image, or JSON {"images": ["<base64>", ...], "parameters": {...}}'


@dataclass(frozen=True)
class Body:
    """``images``: encoded, or what was wrong with their text; ``several``: whether the answer is a list."""

    images: list[bytes | ImageError]
    parameters: Mapping[str, Any]
    several: bool


def read_body(body: Any, content_type: str, max_images: int, max_bytes: int) -> Body:
    """``body``: of a request, or the JSON object that the server made of it; ``max_bytes``: of one encoded image.

    JSON is known by its media type or its first character: no image starts with a brace, and gRPC has no media type.
    Raises RequestMalformed and RequestInvalid.
    """
    if isinstance(body, Mapping):
        return _from_json(body, max_images, max_bytes)
    if not isinstance(body, bytes):
        raise RequestMalformed("the body is no JSON object", observed=type(body).__name__, expected=_FORM)
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == "application/json" or body[:64].lstrip()[:1] == b"{":
        return _from_json(parse_object(body, "the body"), max_images, max_bytes)
    return Body([body], {}, several=False)


def parse_object(text: bytes | str, what: str) -> Mapping[str, Any]:
    """A JSON object. Raises RequestMalformed."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise RequestMalformed(f"{what} is not valid JSON", observed=str(error)[:200], expected=_FORM) from None
    if not isinstance(values, dict):
        raise RequestMalformed(f"{what} is no JSON object", observed=type(values).__name__, expected=_FORM)
    return values


def error_record(error: SlipwayError) -> dict[str, Any]:
    """The error as JSON-ready values."""
    return {"error": str(error), **error.to_dict()}


def answer_records(fields: Sequence[Field], answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """JSON-ready records, one per answer."""
    return [
        error_record(answer) if isinstance(answer, ImageError) else plain(fields, answer.record()) for answer in answers
    ]


def to_json(value: Any) -> bytes:
    """Compact UTF-8; numbers that JSON does not have (NaN of what was not measured) are null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_without_nan(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # a lone surrogate in a label or a parameter that is quoted cannot be written as UTF-8
    return text.encode("utf-8", "replace")


def _from_json(values: Mapping[str, Any], max_images: int, max_bytes: int) -> Body:
    unknown = sorted(values.keys() - {"image", "images", "parameters"})
    if unknown or ("image" in values) == ("images" in values):
        raise RequestInvalid("the JSON body has other keys", observed=_short(sorted(values)), expected=_FORM)
    parameters = values.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestInvalid("parameters are no JSON object", observed=_short(parameters), expected=_FORM)
    several = "images" in values
    texts = values["images"] if several else [values["image"]]
    if not isinstance(texts, list) or not 1 <= len(texts) <= max_images:
        observed = len(texts) if isinstance(texts, list) else type(texts).__name__
        raise RequestInvalid("the number of images is out of range", observed=observed, expected=f"1..{max_images}")
    return Body([_decoded(text, max_bytes) for text in texts], parameters, several)


def _decoded(text: Any, max_bytes: int) -> bytes | ImageError:
    if not isinstance(text, str):
        return ImageCorrupt("the image is not base64 text", observed=type(text).__name__, expected="base64 (RFC 4648)")
    if len(text) // 4 * 3 - 2 > max_bytes:
        return ImageTooManyBytes("the encoded image is too large", observed=len(text) // 4 * 3, expected=max_bytes)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        return ImageCorrupt("the image is not valid base64", observed=str(error)[:100], expected="base64 (RFC 4648)")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    return repr(value)[:100]
