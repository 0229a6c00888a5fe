"""One build with the TensorRT API, in the process that calls it: what all versions share; see api8, api10 and api11.

This file may use only names that the bindings of 8.6, 10 and 11 all have; a test compares.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from . import api8, api10, api11
from .errors import BuildFailed
from .job import Job

_BRANCHES: dict[int, ModuleType] = {8: api8, 9: api10, 10: api10, 11: api11}


def branch(version: str) -> ModuleType:
    """The file that knows this version's API; the newest for what is newer. Raises BuildFailed below 8.6."""
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < (8, 6):
        raise BuildFailed(f"TensorRT {version} is too old: 8.6 is the oldest that Slipway builds with")
    return _BRANCHES.get(major, _BRANCHES[max(_BRANCHES)])


def build_plan(trt: Any, job: Job, folder: Path, monitor: Any = None) -> bytes:
    """Parses the job's graph and builds its plan; keeps the timing cache. Raises BuildFailed with TensorRT's words.

    ``trt``: the imported bindings. ``folder``: where the job's paths start.
    """
    api = branch(trt.__version__)
    logger = trt.Logger(trt.Logger.INFO)
    builder = trt.Builder(logger)
    network = builder.create_network(api.network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(folder / job.onnx)):
        errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise BuildFailed(f"TensorRT {trt.__version__} cannot read the graph: {'; '.join(errors)[:1000]}")
    config = builder.create_builder_config()
    api.set_precision(trt, config, job)
    _set_options(trt, config, job)
    _set_profile(builder, config, job)
    cache_file = folder / job.timing_cache
    _set_timing_cache(config, cache_file.read_bytes() if cache_file.is_file() else b"")
    if monitor is not None:
        api.report_progress(trt, config, monitor)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildFailed(f"TensorRT {trt.__version__} made no plan; its log says why")
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    cache_file.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _set_timing_cache(config: Any, content: bytes) -> None:
    """A cache of another GPU or version is refused rather than believed, as its times would choose the wrong kernels:
    then an empty one takes its place."""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _set_options(trt: Any, config: Any, job: Job) -> None:
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_bytes)
    # On by default upstream: fp32 convolutions would then keep 10 bits of mantissa.
    if job.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if job.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if job.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if job.optimization_level is not None:
        config.builder_optimization_level = job.optimization_level


def _set_profile(builder: Any, config: Any, job: Job) -> None:
    profile = builder.create_optimization_profile()
    low, best, high = job.shapes
    profile.set_shape(job.input, low, best, high)
    if config.add_optimization_profile(profile) < 0:
        raise BuildFailed(f"TensorRT refuses the optimisation profile {job.shapes} of input {job.input}")
