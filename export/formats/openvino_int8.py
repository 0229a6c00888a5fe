"""OpenVINO IR in INT8, by NNCF's post-training quantization on real images.

Settings, each against NNCF's default (SQNR against fp32 on a processor without VNNI); ``int8`` of the specification
changes the first two:

- Weights use half of the INT8 range (``reduce_range``, NNCF's ``OverflowFix.ENABLE``). Processors without VNNI add two
  products in 16 bits, which saturates: 7 dB instead of 32 on digits. The default mends the first layer alone (31 dB;
  MobileNetV3 25 instead of 31). The file travels, so it is made for the weakest processor; it costs no time.
- Activation ranges are the extremes over all images (``minmax``), not the mean of each image's: 36 instead of 32 dB on
  digits, 28 instead of 12 on ResNet-18.
- Symmetric activations (preset ``performance``): asymmetric ones gain nothing on these networks.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from export.formats.base import ExportOptions, Precision
from export.formats.openvino import OpenVino, read_onnx
from slipway.errors import ExportFailed
from slipway.spec.int8 import Int8Spec


class OpenVinoInt8(OpenVino):
    """See the module's text. What is not quantized is computed in f32, on every processor."""

    name = "openvino-int8"
    summary = "INT8 on any CPU, by OpenVINO: the fastest there as a rule"
    precision: Precision = "int8"
    packages = (*OpenVino.packages, "nncf")

    def convert(self, source: Path, options: ExportOptions) -> tuple[Any, dict[str, Any]]:
        """As :meth:`OpenVino.convert`; raises ExportFailed without calibration images or when nothing is quantized."""
        images = options.calibration
        if images is None or not len(images):
            raise ExportFailed(
                f"{self.name}: there are no images to measure ranges on",
                expected="calibration images",
                fix="set calibration.images in the specification",
            )
        nncf, model = import_nncf(), read_onnx(source)
        kept = ignored(model, options.keep_float)
        with contextlib.redirect_stdout(io.StringIO()):  # a progress bar that has no switch
            quantized = nncf.quantize(
                model,
                nncf.Dataset(images, lambda image: image[None]),
                subset_size=len(images),
                target_device=nncf.TargetDevice.CPU,
                preset=nncf.QuantizationPreset.PERFORMANCE,
                ignored_scope=nncf.IgnoredScope(names=kept),
                advanced_parameters=_advanced(nncf, options.int8),
            )
        layers = sum(operation.get_type_name() == "FakeQuantize" for operation in quantized.get_ops())
        if not layers:
            raise ExportFailed(f"{self.name}: nothing of the model was quantized", observed=f"kept in fp32: {kept}")
        return quantized, {
            "nncf": version("nncf"),
            "calibration_images": len(images),
            "quantizers": layers,
            "reduce_range": options.int8.reduce_range,
            "method": options.int8.method,
            "kept_in_fp32": list(options.keep_float),
        }


def import_nncf() -> Any:
    """The nncf package without its telemetry, its log going where all logs go.

    ``NNCF_CI`` is NNCF's own switch (nncf/telemetry/wrapper.py, 3.4), read while it is imported; openvino's, which it
    shares, has been thrown before.
    """
    from handlers.networks.openvino import import_openvino

    import_openvino()
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    try:
        nncf = importlib.import_module("nncf")
    finally:
        if before is None:
            del os.environ["NNCF_CI"]
        else:
            os.environ["NNCF_CI"] = before
    logger = logging.getLogger("nncf")
    logger.handlers.clear()
    logger.propagate = True
    return nncf


def ignored(model: Any, names: Iterable[str]) -> list[str]:
    """Names of the operations of ``model`` (openvino.Model) that ONNX nodes of these names have become.

    A convolution with a bias becomes two: the addition takes the node's name, and the convolution, which alone is
    quantized, is called ``<name>/WithoutBiases``. Raises ExportFailed for a name that has left no trace.
    """
    operations = [operation.get_friendly_name() for operation in model.get_ops()]
    found = {name: [item for item in operations if item == name or item.startswith(f"{name}/")] for name in names}
    lost = [name for name, own in found.items() if not own]
    if lost:
        raise ExportFailed(
            "openvino-int8: nodes that are to stay in fp32 are not in the model",
            observed=", ".join(lost),
            expected="names of nodes of the ONNX file",
        )
    return [item for own in found.values() for item in own]


def _advanced(nncf: Any, int8: Int8Spec) -> Any:
    return nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE if int8.reduce_range else nncf.OverflowFix.DISABLE,
        activations_range_estimator_params=_ranges(int8),
    )


def _ranges(int8: Int8Spec) -> Any:
    """NNCF's RangeEstimatorParameters: of each image its extremes or quantiles, of those the extremes."""
    of = importlib.import_module("nncf.quantization.range_estimator")
    kind, outliers = of.StatisticsType, (100 - int8.percentile) / 100
    low, high = (kind.MIN, kind.MAX) if int8.method == "minmax" else (kind.QUANTILE, kind.QUANTILE)
    return of.RangeEstimatorParameters(
        min=of.StatisticsCollectorParameters(low, of.AggregatorType.MIN, quantile_outlier_prob=outliers),
        max=of.StatisticsCollectorParameters(high, of.AggregatorType.MAX, quantile_outlier_prob=outliers),
    )
