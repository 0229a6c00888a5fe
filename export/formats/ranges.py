"""The values that the tensors of the fp32 network take on real images: for INT8 scales, and for what fp16 cannot hold.

By onnxruntime's calibrators, once for a network, images and method: formats of one run, and exports that are made anew
with some nodes in fp32, find the ranges in ``shared_dir``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.formats.base import INPUT_NAME
from slipway.errors import SamplesInvalid
from slipway.spec.int8 import Int8Spec

#: Fewer images than this show too little of what a layer can give: ranges would cut off what is served later.
FEWEST_IMAGES = 8
#: Images at a time. The percentile calibrator keeps every value of every tensor of a call: 25 MB for an image through
#: ResNet-18. ``CalibMaxIntermediateOutputs`` is no way out: it drops what it collected (onnxruntime 1.31).
_BATCH = 4


def calibration_images(format_name: str, pixels: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """The images again; raises SamplesInvalid when there are none or too few."""
    found = 0 if pixels is None else len(pixels)
    if pixels is None or found < FEWEST_IMAGES:
        raise SamplesInvalid(
            f"{format_name}: {'no' if not found else 'too few'} real images to measure ranges on",
            observed=f"{found} calibration images",
            expected=f"{FEWEST_IMAGES} at least, some dozens to be safe",
            fix="set calibration.images to a directory of real images, and calibration.count",
        )
    return pixels


def measured_ranges(base: Path, pixels: NDArray[np.uint8], how: Int8Spec, folder: Path) -> Path:
    """The ranges of all float tensors of ``base`` as onnxruntime's calibration cache, a JSON file in ``folder``.

    ``pixels``: uint8[n, H, W, 3]. The file is named after everything that it depends on, and found again by that.
    """
    settings = f"{how.method}-{how.percentile}" if how.method == "percentile" else how.method
    digest = hashlib.sha256(f"{settings} {pixels.shape}".encode())
    digest.update(base.read_bytes())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    path = folder / f"ranges-{how.method}-{digest.hexdigest()[:16]}.json"
    if not path.is_file():
        from onnxruntime.quantization.calibrate import save_tensors_data

        save_tensors_data(_measure(base, pixels, how), path)
    return path


def largest_values(cache: Path) -> dict[str, float]:
    """The largest absolute value of every tensor in a cache of :func:`measured_ranges`; infinite where one was."""
    from onnxruntime.quantization.calibrate import load_tensors_data

    found = {}
    for name, data in load_tensors_data(cache).items():
        values = np.abs(np.array([np.asarray(side, dtype=np.float64).max() for side in data.range_value]))
        found[name] = float(values.max()) if np.isfinite(values).all() else float("inf")
    return found


def method(how: Int8Spec) -> Any:
    """``onnxruntime.quantization.CalibrationMethod`` of a specification."""
    from onnxruntime.quantization import CalibrationMethod

    return {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}[how.method]


def _measure(base: Path, pixels: NDArray[np.uint8], how: Int8Spec) -> Any:
    from onnxruntime.quantization.calibrate import create_calibrator

    # Its own default for percentiles, symmetric, would give half of the range to values that a ReLU never has.
    settings = {"percentile": how.percentile, "symmetric": False} if how.method == "percentile" else {}
    with tempfile.TemporaryDirectory(prefix="ranges-", dir=base.parent) as folder, _silent():
        own = Path(folder) / base.name  # the calibrator writes beside its model
        own.write_bytes(base.read_bytes())
        calibrator = create_calibrator(
            own,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=method(how),
            extra_options=settings,
        )
        for begin in range(0, len(pixels), _BATCH):
            calibrator.collect_data(_Images(pixels[begin : begin + _BATCH]))
        return calibrator.compute_data()


class _Images:
    """onnxruntime's CalibrationDataReader, which asks for ``get_next`` alone: images one by one, then None.

    One by one, because its histograms stack the outputs of all calls, which must be of one shape.
    """

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._images: Iterator[NDArray[np.uint8]] = iter(pixels[:, None])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next image as uint8[1, H, W, 3], by the input's name."""
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: image}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The histogram calibrators print."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
