"""From a specification to a builder's job: optimisation profile, limits, options."""

from __future__ import annotations

from export.formats.base import INPUT_NAME, OUTPUT_NAME
from export.tensorrt.runner.job import Job
from slipway.errors import SpecInvalid
from slipway.spec.tensorrt import TensorrtSpec

Shape = tuple[int, ...]
#: Names inside a job's folder.
GRAPH, JOB, PLANS = "model.onnx", "job.json", "plan"


def profile_shapes(spec: TensorrtSpec, largest: int, height: int, width: int) -> tuple[Shape, Shape, Shape]:
    """min, opt and max of the input ``[N, H, W, 3]``. ``largest``: serving.max_batch_size.

    Raises SpecInvalid for a profile that ends below it: a server takes such a configuration, and every full batch
    then fails at request time (triton-inference-server/server#4384 and many more)."""
    high = spec.profile.max or largest
    best = spec.profile.opt or min(largest, high)
    if high < largest:
        raise SpecInvalid(
            "tensorrt.profile.max is smaller than the largest batch that is served",
            observed=high,
            expected=f"at least serving.max_batch_size, {largest}",
            fix="raise tensorrt.profile.max, or leave it out",
        )
    if not spec.profile.min <= best <= high:
        raise SpecInvalid("tensorrt.profile: min <= opt <= max does not hold", observed=[spec.profile.min, best, high])
    return (spec.profile.min, height, width, 3), (best, height, width, 3), (high, height, width, 3)


def make_job(
    name: str, precision: str, spec: TensorrtSpec, largest: int, size: tuple[int, int], timing_cache: str
) -> Job:
    """The job of one format. ``size``: height and width. ``timing_cache``: relative to the job's folder."""
    return Job(
        format=name,
        onnx=GRAPH,
        precision=precision,
        input=INPUT_NAME,
        output=OUTPUT_NAME,
        shapes=profile_shapes(spec, largest, *size),
        plan_dir=PLANS,
        timing_cache=timing_cache,
        workspace_bytes=spec.workspace_mb << 20,
        tf32=spec.tf32,
        version_compatible=spec.version_compatible,
        hardware_compatible=spec.hardware_compatible,
        optimization_level=spec.optimization_level,
    )
