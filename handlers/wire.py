"""The wire form of a request to a public image model, apart from any engine: checks, parameters, string tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slipway.errors import ImageError, RequestInvalid

IMAGE_INPUT = "image"
ERRORS_OUTPUT = "errors"
REQUEST_ID_HEADER = "x-request-id"


def images_of(tensor: npt.NDArray[Any] | None, max_images: int) -> list[bytes]:
    """The encoded images of input ``image``: object[N, 1] of bytes, 1 <= N <= ``max_images``. Raises RequestInvalid."""
    expected = f"BYTES [N, 1], N in 1..{max_images}"
    fix = "send the encoded images as one BYTES column"
    if tensor is None:
        raise RequestInvalid(f"input {IMAGE_INPUT!r} is missing", expected=expected, fix=fix)
    if tensor.ndim != 2 or tensor.shape[1] != 1 or not 1 <= tensor.shape[0] <= max_images:
        raise RequestInvalid(
            f"input {IMAGE_INPUT!r} has the wrong shape", observed=list(tensor.shape), expected=expected, fix=fix
        )
    images: list[bytes] = tensor[:, 0].tolist()
    for image in images:
        if not isinstance(image, bytes):
            raise RequestInvalid(
                f"input {IMAGE_INPUT!r} has the wrong type", observed=type(image).__name__, expected=expected, fix=fix
            )
    return images


def parameters_of(text: str | None) -> Mapping[str, Any]:
    """Request parameters from the JSON text in which Triton hands them over (empty when there are none)."""
    values = json.loads(text) if text else {}
    return values if isinstance(values, dict) else {}


def request_id_of(parameters: Mapping[str, Any]) -> str | None:
    """Header ``x-request-id`` as the server forwards it, whatever its case; None when absent."""
    return header_of(parameters, REQUEST_ID_HEADER)


def header_of(parameters: Mapping[str, Any], name: str) -> str | None:
    """A header as the server forwards it, ``name`` in small letters; None when absent.

    Triton puts headers among a request's parameters, over those of the same name. The edge writes small letters, so
    what is written otherwise may be a client's parameter and counts only where there is nothing else.
    """
    if name in parameters:
        return str(parameters[name])
    return next((str(value) for other, value in parameters.items() if other.lower() == name), None)


def errors_column(answers: Sequence[object]) -> npt.NDArray[Any]:
    """Output ``errors``: object[N, 1] of str, empty for a good image, else ``CODE: text``."""
    column = np.full((len(answers), 1), "", object)
    for row, answer in enumerate(answers):
        if isinstance(answer, ImageError):
            column[row, 0] = str(answer)
    return column
