"""What a task's answers consist of, declared once: Triton's tensors, TorchServe's JSON, and what clients read.

An answer about one image is a *record*: values by field name. Fields with ``each`` hold one entry per found item
(label, box, face, line). In tensors these are padded to the same number of items for all images of a request, with NaN,
0 or empty text; a task whose number of items says something has ``COUNT`` among its fields, which is filled in here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Record = Mapping[str, Any]
Tensors = Mapping[str, "npt.NDArray[Any]"]

_FILL: dict[str, Any] = {"float32": np.nan, "int32": 0, "string": "", "bytes": b""}


@dataclass(frozen=True)
class Field:
    """``shape``: of one entry, -1 where it varies. ``each``: one entry per found item. ``bytes`` are base64 in JSON."""

    name: str
    dtype: Literal["float32", "int32", "string", "bytes"]
    shape: tuple[int, ...] = ()
    each: bool = False

    @property
    def dims(self) -> list[int]:
        """Shape of its tensor without the batch: ``[-1, ...]`` for ``each``, at least one axis otherwise."""
        return [-1, *self.shape] if self.each else list(self.shape or (1,))

    def prefixed(self, name: str, each: bool = False) -> Field:
        """The same as a field of an attribute: ``<name>.<field>``; ``each``: of an attribute of found items."""
        shape = (*((-1,) if self.each else ()), *self.shape) if each else self.shape
        return replace(self, name=f"{name}.{self.name}", shape=shape, each=each or self.each)


#: How many items of an image are real: int32[N, 1].
COUNT = Field("count", "int32")


def pack(fields: Sequence[Field], records: Sequence[Record | None], width: int) -> dict[str, npt.NDArray[Any]]:
    """Records of one request as its output tensors, rows of None being images that failed.

    ``width``: to how many items fields with ``each`` are padded. Padding and failed rows are NaN, 0 or empty.
    """
    counted = [None if record is None else _counted(fields, record) for record in records]
    return {field.name: _column(field, counted, width) for field in fields}


def unpack(fields: Sequence[Field], tensors: Tensors) -> list[dict[str, Any]]:
    """Tensors of one reply as JSON-ready records, one per image; the inverse of :func:`pack`.

    A tensor that the reply does not have is left out. Text arrives as bytes or str. Without ``COUNT``, items end at the
    first whose float32 fields are NaN.
    """
    there = [field for field in fields if field.name in tensors]
    images = len(tensors[there[0].name]) if there else 0
    counts = [_count(there, tensors, row) for row in range(images)]
    return [
        {
            field.name: _plain(
                field, tensors[field.name][row][: counts[row]] if field.each else tensors[field.name][row]
            )
            for field in there
        }
        for row in range(images)
    ]


def plain(fields: Sequence[Field], record: Record) -> dict[str, Any]:
    """A record as JSON-ready values: what :func:`unpack` gives for the same answer."""
    counted = _counted(fields, record)
    return {field.name: _plain(field, _array(field, counted[field.name])) for field in fields if field.name in counted}


def _counted(fields: Sequence[Field], record: Record) -> Record:
    if COUNT not in fields:
        return record
    first = next((field for field in fields if field.each and field.name in record), None)
    return {**record, COUNT.name: 0 if first is None else len(record[first.name])}


def _count(fields: Sequence[Field], tensors: Tensors, row: int) -> int | None:
    if COUNT in fields:
        return int(tensors[COUNT.name][row, 0])
    for field in fields:
        if field.each and field.dtype == "float32":
            values = tensors[field.name][row]
            empty = np.isnan(values.reshape(len(values), -1)).all(axis=1)
            return int(np.argmax(empty)) if empty.any() else len(empty)
    return None


def _column(field: Field, records: Sequence[Record | None], width: int) -> npt.NDArray[Any]:
    there = [record is not None and field.name in record for record in records]
    arrays = [_array(field, record[field.name]) for record in records if record is not None and field.name in record]
    shapes = [array.shape for array in arrays] or [(0, *field.shape) if field.each else tuple(field.dims)]
    own = tuple(max(0, *sizes) for sizes in zip(*shapes, strict=True))
    full = np.full((len(records), *((width, *own[1:]) if field.each else own)), _FILL[field.dtype], _numpy(field))
    for row, array in zip(np.flatnonzero(there).tolist(), arrays, strict=True):
        place = (row, *(slice(0, size) for size in array.shape))
        full[place] = array
    return full


def _array(field: Field, value: Any) -> npt.NDArray[Any]:
    """The value with the item axis first where there is one, and at least one axis."""
    array = np.array(value, _numpy(field), ndmin=1)
    if field.each and not len(array):
        return array.reshape(0, *(max(0, size) for size in field.shape))
    return array


def _numpy(field: Field) -> Any:
    return {"float32": np.float32, "int32": np.int32}.get(field.dtype, object)


def _plain(field: Field, array: npt.NDArray[Any]) -> Any:
    if field.each and field.shape:
        return [_told(field, _unpadded(field, entry).tolist()) for entry in array]
    values = _told(field, _unpadded(field, array).tolist())
    return values if field.each or field.shape else values[0]


def _unpadded(field: Field, entry: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One entry without what :func:`pack` has added to its first axis where that varies; whole numbers are kept."""
    if field.shape[:1] != (-1,) or field.dtype == "int32" or not entry.size:
        return entry
    rows = entry.reshape(len(entry), -1)
    added = np.isnan(rows) if field.dtype == "float32" else (rows == "") | (rows == b"")
    real = np.flatnonzero(~added.all(axis=1))
    return entry[: real[-1] + 1 if len(real) else 0]


def _told(field: Field, values: Any) -> Any:
    if isinstance(values, list):
        return [_told(field, item) for item in values]
    if not isinstance(values, bytes):
        return values
    return base64.b64encode(values).decode("ascii") if field.dtype == "bytes" else values.decode("utf-8", "replace")
