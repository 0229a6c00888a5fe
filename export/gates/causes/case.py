"""One failed candidate beside the trained model: what every hypothesis about the cause asks for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.gates.base import Candidate, Reference, in_batches
from export.gates.measures import Logits, signal_to_noise
from slipway.errors import SlipwayError

if TYPE_CHECKING:
    from export.layers.graph import Frame
    from export.layers.taps import Values

#: A hypothesis explains an fp32 failure when it leaves less than this relative difference, far above rounding.
EXPLAINED = 1e-3
#: dB by which it must better a reduced format, which keeps its own noise: chance does not gain that much.
GAINED_DB = 6.0
#: What is looked at layer by layer.
_LAYER_IMAGES = 8


@dataclass(frozen=True)
class Case:
    """``reference`` and the ``candidate`` that failed. A context: it may leave files until it ends."""

    reference: Reference
    candidate: Candidate

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """uint8[n, H, W, 3], real images."""
        return self.reference.pixels

    @property
    def wanted(self) -> Logits:
        """float32[n, classes]: the trained model's logits of ``pixels``."""
        return self.reference.logits

    @cached_property
    def found(self) -> Logits:
        """float32[n, classes]: the candidate's logits of ``pixels``, one image at a time."""
        return self.one_by_one(self.pixels)

    def one_by_one(self, pixels: NDArray[np.uint8]) -> Logits:
        """The candidate's logits, one image at a time."""
        return np.concatenate([self.candidate.run(pixels[i : i + 1]) for i in range(len(pixels))])

    @cached_property
    def noise_db(self) -> float:
        """Signal over noise of what was found, dB."""
        return signal_to_noise(self.found, self.wanted)

    @property
    def reduced(self) -> bool:
        """Whether the candidate computes in fewer bits than fp32."""
        return self.candidate.precision != "fp32"

    def agrees(self, found: Logits, wanted: Logits) -> bool:
        """Whether logits agree as well as the candidate's precision allows: for fp32 to EXPLAINED of the scale, for
        fewer bits to the limit of the specification."""
        if found.shape != wanted.shape or not (np.isfinite(found).all() and np.isfinite(wanted).all()):
            return False
        precision = self.candidate.precision
        if precision == "fp32":
            scale = float(np.max(np.abs(wanted)))
            return bool(scale > 0 and float(np.max(np.abs(found - wanted))) <= EXPLAINED * scale)
        return signal_to_noise(found, wanted) >= self.reference.gates.parity.reduced(precision).min_sqnr_db

    def explains(self, found: Logits, wanted: Logits) -> bool:
        """Whether logits that a hypothesis leads to agree, and for fewer bits by GAINED_DB more than without it."""
        if not self.agrees(found, wanted):
            return False
        return not self.reduced or signal_to_noise(found, wanted) >= self.noise_db + GAINED_DB

    @cached_property
    def together(self) -> Logits:
        """float32[n, classes]: the candidate's logits of ``pixels`` in the largest batches."""
        return in_batches(self.candidate.run, self.pixels, self.batch)

    @property
    def batch(self) -> int:
        """The largest batch that ``pixels`` fill."""
        return min(self.reference.contract.network.max_batch_size, len(self.pixels))

    @cached_property
    def layer_pixels(self) -> NDArray[np.uint8]:
        """A few of ``pixels``: layers are compared one image at a time."""
        return self.pixels[:_LAYER_IMAGES]

    @cached_property
    def frame(self) -> Frame | None:
        """The layers of the run's fp32 ONNX file, made where there is none yet; None where the trained model cannot be
        written as ONNX."""
        from export.layers.graph import read_frame

        try:
            return read_frame(self._base())
        except SlipwayError:
            return None

    def float_values(self) -> Iterator[Values]:
        """The fp32 values of every layer of the frame, one real image at a time; nothing without a frame."""
        from export.layers.onnx_tap import onnx_tap

        if self.frame is not None:
            tap = onnx_tap("onnx", self.frame.path, self.frame)
            yield from (tap.run(image[None]) for image in self.layer_pixels)

    @cached_property
    def largest(self) -> dict[str, float]:
        """The largest absolute fp32 value of every layer on real images, by tensor."""
        found: dict[str, float] = {}
        for values in self.float_values():
            for name, value in values.items():
                found[name] = max(found.get(name, 0.0), float(np.max(np.abs(value))))
        return found

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="slipway-diagnosis-")

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the ONNX file, if the diagnosis had to make one."""
        if "_folder" in self.__dict__:
            self._folder.cleanup()

    def _base(self) -> Path:
        import torch

        from export.formats.base import ExportOptions
        from export.formats.noise import captured
        from export.formats.onnx import base_onnx

        if self.candidate.base is not None:
            return self.candidate.base()
        folder = Path(self._folder.name)
        example = torch.from_numpy(np.resize(self.pixels, (2, *self.pixels.shape[1:])))
        options = ExportOptions(self.reference.contract.network.max_batch_size, folder, shared_dir=folder)
        with captured(folder / "export.log"):
            return base_onnx(self.reference.module, example, options)
