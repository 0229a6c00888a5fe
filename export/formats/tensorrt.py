"""TensorRT plans in fp32 (TF32 on request), fp16, bf16 and INT8, from typed ONNX graphs; see export/tensorrt.

The builder runs in a process of its own and on a GPU alone. Where there is none, a bundle carries graphs, images and
a script to a machine that has one: ``slipway export MODEL --plan-bundle DIR``.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.formats.base import INPUT_NAME, OUTPUT_NAME, Artifact, ExportOptions, FileFormat, root_cause
from export.tensorrt.plans import FILE_NAME, choose_plan, describe_plans, write_plans
from export.tensorrt.typed import PRECISIONS
from slipway.errors import ExportFailed

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from handlers.pipeline import RunNetwork


class TensorRt(FileFormat):
    """See the module's text. ``plans.json`` is its main file, the plans are companions."""

    file_name = FILE_NAME
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def __init__(self, name: str, summary: str) -> None:
        self.name = name
        self.summary = summary
        self.precision = PRECISIONS[name]

    def available(self) -> str | None:
        """As :meth:`Format.available`; asks driver and TensorRT in a process of its own, once."""
        from export.tensorrt.availability import unavailable

        return super().available() or unavailable(self.precision)

    def export(self, module: torch.nn.Module, example: torch.Tensor, out_dir: Path, options: ExportOptions) -> Artifact:
        """As :meth:`Format.export`; one plan, for this machine's GPU."""
        made = super().export(module, example, out_dir, options)
        plans = tuple(out_dir / entry["file"] for entry in made.details["plans"].values())
        return replace(made, companions=plans)

    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Makes the typed graph, builds it apart, and keeps plan, log and timing cache."""
        from export.tensorrt.profiles import GRAPH, JOB, make_job
        from export.tensorrt.runner.build import LOG, build_apart
        from export.tensorrt.runner.errors import BuildFailed
        from export.tensorrt.typed import typed_graph

        spec = options.tensorrt
        height, width = int(example.shape[1]), int(example.shape[2])
        cache = options.log_dir.resolve() / "tensorrt-timing.cache"
        with tempfile.TemporaryDirectory(prefix="slipway-plan-") as name:
            folder = Path(name)
            model = typed_graph(self.name, module, example, options)
            (folder / GRAPH).write_bytes(model.SerializeToString())
            job = make_job(self.name, self.precision, spec, options.max_batch_size, (height, width), str(cache))
            (folder / JOB).write_text(job.to_json(), encoding="utf-8")
            try:
                built = build_apart(folder / JOB)
            except BuildFailed as problem:
                raise ExportFailed(
                    str(problem),
                    observed=problem.log or None,
                    fix=f"see {options.log_dir / f'build-{self.name}.log'}; drop {self.name} from formats",
                ) from problem
            finally:
                log = folder / job.plan_dir / LOG
                if log.is_file():
                    shutil.copyfile(log, options.log_dir / f"build-{self.name}.log")
            plan = folder / str(built["plan"])
            shutil.copyfile(plan, path.parent / plan.name)
        entry = {**built, "file": plan.name}
        values = describe_plans(self.name, self.precision, job, {str(built["compute_capability"]): entry}, path.parent)
        write_plans(path, values)
        return values

    def session(self, artifact: Artifact, threads: int = 0) -> RunNetwork:
        """Opens the plan for this machine's first GPU; raises ExportFailed."""
        from export.tensorrt.availability import machine
        from export.tensorrt.runner.engines import TensorRtEngine
        from export.tensorrt.runner.errors import RunnerError
        from slipway.errors import NetworkFailed

        if (reason := self.available()) is not None:
            raise ExportFailed(f"{self.name}: plans cannot run here", observed=reason)
        plan = choose_plan(artifact.path, str(machine()["devices"][0]["compute_capability"]))
        try:
            engine = TensorRtEngine(plan, INPUT_NAME, OUTPUT_NAME)
        except RunnerError as problem:
            raise ExportFailed(f"{self.name}: {plan.name} cannot be opened: {root_cause(problem)}") from problem

        def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            try:
                return engine.run(pixels)
            except RunnerError as problem:
                raise NetworkFailed(f"the plan {plan.name} failed", observed=str(problem)) from problem

        return run


TENSORRT = TensorRt("tensorrt", "TensorRT plan in fp32, or TF32 where the specification says so; NVIDIA GPUs")
TENSORRT_FP16 = TensorRt("tensorrt-fp16", "TensorRT plan in fp16; NVIDIA GPUs")
TENSORRT_BF16 = TensorRt("tensorrt-bf16", "TensorRT plan in bf16; NVIDIA GPUs, TensorRT 10 or newer")
TENSORRT_INT8 = TensorRt("tensorrt-int8", "TensorRT plan in INT8 with explicit Q/DQ; NVIDIA GPUs")
FORMATS = (TENSORRT, TENSORRT_FP16, TENSORRT_BF16, TENSORRT_INT8)
