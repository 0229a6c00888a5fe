"""From a format of the bundle to something that runs: built, opened, and with its variants."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .build import build_apart
from .bundle import Bundle
from .engines import AotInductorEngine, Engine, OnnxRuntimeEngine, TensorRtEngine, compile_aot_inductor
from .job import Job

#: Called with a line for a person.
Say = Callable[[str], None]
BUILT = "built"


@dataclass(frozen=True)
class Candidate:
    """One built network. ``built``: what the builder says of it; ``file``: relative to the bundle, None for the graph
    itself; ``variant``: empty for the format as it will be published."""

    format: str
    variant: str
    engine: Engine
    built: dict[str, Any]
    file: str | None

    @property
    def name(self) -> str:
        """``tensorrt-fp16`` or ``tensorrt-fp16 (hardware-compatible)``."""
        return f"{self.format} ({self.variant})" if self.variant else self.format


def make_candidate(
    bundle: Bundle, name: str, engine: str, device: str, variant: str, builtin: bool, say: Say
) -> Candidate:
    """Builds and opens one format. ``engine``: tensorrt or onnxruntime; raises RunnerError."""
    entry, values = bundle.formats[name], bundle.values
    if entry["kind"] == "aot-inductor":
        return _aot_inductor(bundle, name, device)
    if engine == "onnxruntime":
        graph = bundle.folder / entry["graph"]
        opened = OnnxRuntimeEngine(graph, values["input"], values["output"])
        return Candidate(name, variant, opened, {"engine": "onnxruntime", "bytes": graph.stat().st_size}, None)
    job_file = _variant_job(bundle, entry, variant, builtin)
    built = build_apart(job_file, lambda phase, done: say(f"  {phase}: {done:.0%}"))
    plan = str(built.pop("plan"))
    opened_plan = TensorRtEngine(job_file.parent / plan, values["input"], values["output"])
    file = (job_file.parent / plan).relative_to(bundle.folder).as_posix()
    return Candidate(name, variant, opened_plan, {"engine": "tensorrt", **built}, file)


def _variant_job(bundle: Bundle, entry: dict[str, Any], variant: str, builtin: bool) -> Path:
    """The job of a format, written anew beside the graph with what this run asks for; the original stays as it is."""
    original = bundle.folder / entry["job"]
    job = Job.read(original)
    changed = replace(
        job,
        plan_dir=f"{BUILT}/{variant or 'plan'}",
        hardware_compatible=job.hardware_compatible or variant == "hardware-compatible",
        version_compatible=job.version_compatible or variant == "version-compatible",
        builtin_tactics=job.builtin_tactics or builtin,
    )
    target: Path = original.parent / f"{BUILT}-{variant or 'plan'}.json"
    target.write_text(changed.to_json(), encoding="utf-8")
    return target


def _aot_inductor(bundle: Bundle, name: str, device: str) -> Candidate:
    program = bundle.folder / bundle.formats[name]["graph"]
    package = program.parent / BUILT / f"model_{device}.pt2"
    package.parent.mkdir(exist_ok=True)
    built = compile_aot_inductor(program, package, device)
    opened = AotInductorEngine(package, device)
    return Candidate(
        name, "", opened, {"engine": "aot-inductor", **built}, package.relative_to(bundle.folder).as_posix()
    )


def describe(built: dict[str, Any]) -> str:
    """A few words on a build, for a person."""
    return json.dumps({key: value for key, value in built.items() if value is not None})
