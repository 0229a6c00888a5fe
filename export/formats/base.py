"""The interface of an export format, and what an export leaves behind."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from export.formats.noise import captured, tail
from slipway.errors import ExportFailed, SlipwayError
from slipway.spec.int8 import Int8Spec
from slipway.spec.tensorrt import TensorrtSpec

if TYPE_CHECKING:
    import torch

    from handlers.pipeline import RunNetwork

INPUT_NAME = "pixels"
OUTPUT_NAME = "logits"


#: What the weights and activations of an artefact are computed in; gates hold each to its own thresholds.
Precision = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True)
class ExportOptions:
    """``max_batch_size``: largest batch that the artefact must take. ``opset``: of ONNX; 18 is the newest that the
    dynamo exporter writes without a conversion pass, and every runtime since ONNX Runtime 1.14 reads it.
    ``log_dir``: where each format's exporter log goes. ``shared_dir``: where one run's formats keep what several are
    made from (the fp32 ONNX file). ``calibration``: uint8[n, H, W, 3], real images through the contract, for INT8.
    ``keep_float``: names of the nodes of ``base_onnx`` that stay in fp32 when precision is reduced. ``int8``: how the
    ONNX INT8 formats choose their ranges. ``tensorrt``: how plans are built. ``free_sides``: axes of
    ``pixels`` (1 is its height, 2 its width) that may have any size, not that of the example."""

    max_batch_size: int
    log_dir: Path
    opset: int = 18
    shared_dir: Path | None = None
    calibration: NDArray[np.uint8] | None = None
    keep_float: tuple[str, ...] = ()
    int8: Int8Spec = field(default_factory=Int8Spec)
    tensorrt: TensorrtSpec = field(default_factory=TensorrtSpec)
    free_sides: tuple[int, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """One export. ``path``: the file that its runtime is given; ``companions``: files that must lie beside it (weights
    of an OpenVINO model). ``seconds``: time of the export. ``details``: what the format has to say about itself."""

    format: str
    path: Path
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    companions: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of it, the main one first."""
        return (self.path, *self.companions)

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(path.stat().st_size for path in self.files)


class Format(Protocol):
    """One export format. Importing its file costs no import of torch or onnx: they are imported when used."""

    name: str
    file_name: str
    precision: Precision
    #: What it is for, in a line for `slipway doctor`.
    summary: str

    def available(self) -> str | None:
        """None when the format can be exported and run here, else what is missing and how to get it."""

    def export(self, module: torch.nn.Module, example: torch.Tensor, out_dir: Path, options: ExportOptions) -> Artifact:
        """Writes ``out_dir/file_name``. ``module``: wrapped, see export.wrap; ``example``: uint8[2, H, W, 3].

        Raises ExportFailed with the exporter's own reason and the place of its log."""

    def session(self, artifact: Artifact, threads: int = 0) -> RunNetwork:
        """Opens the artefact with the code that serves it. ``threads``: 0 leaves the runtime its own choice.

        Raises ExportFailed when it cannot be opened."""


class FileFormat(ABC):
    """A Format that writes one file from the torch module and is opened by the code that serves it."""

    name: str
    file_name: str
    precision: Precision = "fp32"
    summary: str
    #: Names of the files that :meth:`write` leaves beside ``file_name``.
    companions: tuple[str, ...] = ()
    #: Python packages that exporting and running need.
    packages: tuple[str, ...]

    def available(self) -> str | None:
        """As :meth:`Format.available`; imports nothing."""
        from export.formats.requirements import missing

        return missing(*self.packages)

    def export(self, module: torch.nn.Module, example: torch.Tensor, out_dir: Path, options: ExportOptions) -> Artifact:
        """As :meth:`Format.export`, by :meth:`write`."""
        path = out_dir / self.file_name
        try:
            made = run_exporter(self.name, path, options, lambda: self.write(module, example, path, options))
        except ExportFailed as problem:
            from export.formats.specialised import name_the_line

            raise name_the_line(problem, module, example, options.log_dir) from problem.__cause__
        return replace(made, companions=tuple(out_dir / name for name in self.companions))

    def session(self, artifact: Artifact, threads: int = 0) -> RunNetwork:
        """As :meth:`Format.session`."""
        return open_artifact(artifact, threads)

    @abstractmethod
    def write(
        self, module: torch.nn.Module, example: torch.Tensor, path: Path, options: ExportOptions
    ) -> dict[str, Any]:
        """Writes ``path`` and returns what the format has to say of it; may raise anything."""


def run_exporter(name: str, path: Path, options: ExportOptions, write: Callable[[], dict[str, Any]]) -> Artifact:
    """Runs ``write`` with its noise sent to ``<log_dir>/export-<name>.log``; what it raises becomes ExportFailed."""
    log = options.log_dir / f"export-{name}.log"
    begin = time.perf_counter()
    try:
        with captured(log):
            details = write()
    except SlipwayError:
        raise
    except Exception as problem:  # exporters raise whatever their graph passes raise: all of it is the finding
        raise ExportFailed(
            f"{name}: the exporter failed: {root_cause(problem)}",
            observed=tail(log),
            fix=f"see {log}; drop {name} from formats if the model cannot be expressed in it",
        ) from problem
    return Artifact(name, path, time.perf_counter() - begin, details)


def root_cause(problem: BaseException) -> str:
    """Type and first telling line of the innermost exception: torch wraps the true one several times."""
    seen = {id(problem)}
    while (inner := problem.__cause__ or problem.__context__) is not None and id(inner) not in seen:
        problem = inner
        seen.add(id(problem))
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return f"{type(problem).__name__}: {lines[0][:400]}" if lines else type(problem).__name__


def open_artifact(artifact: Artifact, threads: int) -> RunNetwork:
    """Opens an artefact with the code that the fused placement serves it with, so that gates judge that very path."""
    from handlers.networks import open_network

    try:
        return open_network(artifact.path, output=OUTPUT_NAME, threads=threads)
    except Exception as problem:  # each runtime has its own exceptions for a file that it cannot read
        raise ExportFailed(
            f"{artifact.format}: {artifact.path.name} cannot be opened: {root_cause(problem)}",
            observed=f"a file of {artifact.bytes} bytes" if artifact.path.is_file() else "no file",
            expected="an artefact that its runtime loads",
        ) from problem
