"""Records of images from a reply's output tensors, where only the reply is known and not the model's contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.fields import COUNT, Field, unpack
from handlers.wire import ERRORS_OUTPUT

Tensors = Mapping[str, "npt.NDArray[Any]"]
#: Fields of the whole image by the last part of their names, with the axes of one; all others are of found items.
_WHOLE = {"embedding": 1, "mask": 0, "rle": 0, "size": 1}
_BYTES = ("mask",)


def records(tensors: Tensors) -> list[dict[str, Any]]:
    """One JSON-ready record per image of the reply. ``tensors``: its outputs but ``errors``, batch first."""
    width = _width(tensors)
    return unpack([_field(name, tensor, width) for name, tensor in tensors.items()], tensors)


def error_texts(tensors: Tensors, images: int) -> list[str]:
    """``CODE: text`` of each image that failed, empty for the others."""
    column = tensors.get(ERRORS_OUTPUT)
    if column is None:
        return [""] * images
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in column[:, 0]]


def _field(name: str, tensor: npt.NDArray[Any], width: int) -> Field:
    if name == COUNT.name:
        return COUNT
    base, shape = name.rsplit(".", 1)[-1], tensor.shape[1:]
    dtype: Any = "bytes" if base in _BYTES else {"f": "float32", "i": "int32"}.get(tensor.dtype.kind, "string")
    if base not in _WHOLE:
        return Field(name, dtype, shape[1:], each=True)
    axes = _WHOLE[base]
    # of an attribute of items: one more axis, which a field without axes of its own cannot show but by its length
    each = "." in name and (len(shape) > max(1, axes) or (axes == 0 and shape[0] == width and width != 1))
    return Field(name, dtype, shape[1:] if each else shape if axes else (), each)


def _width(tensors: Tensors) -> int:
    """How many items the reply has room for."""
    own = [item.shape[1] for name, item in tensors.items() if "." not in name and name not in (*_WHOLE, COUNT.name)]
    return own[0] if own else 0


def column(images: list[bytes]) -> npt.NDArray[np.object_]:
    """The input tensor: object[N, 1]."""
    made = np.empty((len(images), 1), dtype=object)
    made[:, 0] = images
    return made
