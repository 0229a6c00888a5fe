"""What a backend needs of a model's configuration, and the check that the model's own tensors agree with it.

Without this check a wrong config.pbtxt loads, reports READY, and fails at the first request (measured with 2.51).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: Triton data type -> numpy data type. BF16 is absent because numpy has no such type.
NUMPY_TYPES: dict[str, Any] = {
    "TYPE_BOOL": np.bool_,
    "TYPE_UINT8": np.uint8,
    "TYPE_UINT16": np.uint16,
    "TYPE_UINT32": np.uint32,
    "TYPE_UINT64": np.uint64,
    "TYPE_INT8": np.int8,
    "TYPE_INT16": np.int16,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
    "TYPE_STRING": np.object_,
}


class ModelRefused(Exception):
    """The model and its configuration do not fit; the text says where."""


@dataclass(frozen=True)
class Tensor:
    """One input or output as config.pbtxt declares it; ``dims`` with the batch dimension, -1 where any size goes."""

    name: str
    data_type: str
    dims: tuple[int, ...]

    @property
    def numpy_type(self) -> Any:
        """The numpy type; raises ModelRefused for one that numpy does not have."""
        if self.data_type not in NUMPY_TYPES:
            raise ModelRefused(f"{self.name}: data type {self.data_type} is not supported by the embedded server")
        return NUMPY_TYPES[self.data_type]


@dataclass(frozen=True)
class Config:
    """The parts of a model's configuration that a backend reads."""

    name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Config:
        """From the JSON text that Triton hands to ``initialize``."""
        values = json.loads(text)
        batch = int(values.get("max_batch_size", 0))
        return cls(
            name=values["name"],
            max_batch_size=batch,
            inputs=tuple(_tensor(item, batch) for item in values.get("input", [])),
            outputs=tuple(_tensor(item, batch) for item in values.get("output", [])),
            parameters={key: item["string_value"] for key, item in values.get("parameters", {}).items()},
        )

    def integer(self, name: str, default: int) -> int:
        """An integer parameter, 0 or more; raises ModelRefused."""
        text = self.parameters.get(name, str(default))
        if not text.isdecimal():
            raise ModelRefused(f"{self.name}: parameter {name} is {text!r}, not a whole number")
        return int(text)


def _tensor(item: Mapping[str, Any], batch: int) -> Tensor:
    # reshape{} is what the model itself sees; dims is what clients see.
    dims = item.get("reshape", {}).get("shape", item["dims"])
    leading = (-1,) if batch > 0 else ()
    return Tensor(item["name"], item["data_type"], leading + tuple(int(size) for size in dims))


def check_tensors(kind: str, declared: Sequence[Tensor], own: Mapping[str, Tensor]) -> None:
    """Every declared tensor must be the model's own, in name, data type and dimensions.

    A -1 on either side fits any size; inputs must be complete, outputs may be a part. Raises ModelRefused.
    """
    if kind == "input" and {item.name for item in declared} != set(own):
        raise ModelRefused(
            f"config.pbtxt declares inputs {sorted(i.name for i in declared)}, the model has {sorted(own)}"
        )
    for item in declared:
        if item.name not in own:
            raise ModelRefused(f"config.pbtxt declares {kind} {item.name}, the model has {sorted(own)}")
        model = own[item.name]
        if item.data_type != model.data_type:
            raise ModelRefused(f"{kind} {item.name}: config.pbtxt says {item.data_type}, the model {model.data_type}")
        if not dims_fit(item.dims, model.dims):
            raise ModelRefused(
                f"{kind} {item.name}: config.pbtxt says {list(item.dims)} with its batch, the model {list(model.dims)}"
            )


def dims_fit(left: Sequence[int], right: Sequence[int]) -> bool:
    """Same rank, and equal wherever both name a size."""
    return len(left) == len(right) and all(a == b or -1 in (a, b) for a, b in zip(left, right, strict=True))


def check_array(item: Tensor, array: npt.NDArray[Any]) -> None:
    """Raises ValueError when an array is not what config.pbtxt declares."""
    if not dims_fit(item.dims, array.shape):
        raise ValueError(f"{item.name} has shape {list(array.shape)}, expected {list(item.dims)}")


def model_file(argv_file: Path = Path("/proc/self/cmdline")) -> Path:
    """The model file that Triton resolved, version included (``.../<model>/<version>/model.onnx``).

    ``initialize`` is told the model's directory and not the file, but the stub is started with the file as its first
    argument (python_backend 24.10; ``sys.argv`` is empty in the embedded interpreter).
    """
    return Path(argv_file.read_bytes().split(b"\0")[1].decode())
