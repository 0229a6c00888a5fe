"""OpenVINO IR that is computed in bf16: the same files as ``openvino``, with another precision hint.

Only processors with bf16 instructions compute it so; elsewhere OpenVINO takes f32 and says nothing, and gates that
pass there would have judged another model. So it is exported only where it can be judged.
"""

from __future__ import annotations

from export.formats.base import Precision
from export.formats.openvino import OpenVino


class OpenVinoBf16(OpenVino):
    """See the module's text."""

    name = "openvino-bf16"
    summary = "bf16 on CPUs with AVX512-BF16 or AMX, by OpenVINO"
    precision: Precision = "bf16"
    hint = "bf16"

    def available(self) -> str | None:
        """As :meth:`Format.available`; imports openvino, which alone knows what this processor can do."""
        if (reason := super().available()) is not None:
            return reason
        capabilities = cpu_capabilities()
        if "BF16" in capabilities:
            return None
        return (
            f"this processor has no bf16 instructions (OpenVINO reports {', '.join(capabilities)}): it would be "
            "computed in f32 and the gates would prove nothing; export it on a machine with AVX512-BF16 or AMX"
        )


def cpu_capabilities() -> list[str]:
    """What OpenVINO's CPU plugin can compute in here, for example ``FP32``, ``INT8``, ``BF16``."""
    from handlers.networks.openvino import import_openvino

    return [str(item) for item in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")]
