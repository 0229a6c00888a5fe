"""Writes a bundle: everything that a GPU machine needs to build, check and time a model's plans, in one folder.

It holds the typed graphs with their jobs, the held-out images as pixels with the trained model's answers, the
thresholds, the torch.export program for the AOTInductor check, and a script that needs Python 3.10 or newer, numpy and
TensorRT (or torch), and nothing of Slipway. ``bundle.json`` has the sha256 of every file, and the identity of the
export that it belongs to; :mod:`export.tensorrt.imported` brings the plans back in under both.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.formats.base import INPUT_NAME, OUTPUT_NAME, ExportOptions, Precision
from export.gates.base import Reference, batch_sizes, finite
from export.gates.measures import STEPS
from export.tensorrt import typed
from export.tensorrt.operators import VERSIONS, unsupported
from export.tensorrt.profiles import GRAPH, JOB, make_job
from export.tensorrt.requests import trace_requests
from export.tensorrt.runner import bundle as layout
from export.tensorrt.thresholds import thresholds
from handlers.preprocess import preprocess
from slipway.errors import ImageError, OutputUnwritable, SamplesInvalid

if TYPE_CHECKING:
    from slipway.spec import ModelSpec

AOT_INDUCTOR = "aot-inductor-cuda"
#: Formats lie one folder down: a folder ``tensorrt`` beside run.py would be taken for the Python package of that name.
_FORMATS = "formats"
_RUNNER = Path(__file__).resolve().parent / "runner"
_SCRIPT = '''"""Builds, checks and times the plans of this folder: `python run.py --help`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from runner.main import main  # noqa: E402

sys.exit(main(HERE, sys.argv[1:]))
'''
Progress = Callable[[str], None]


def write_bundle(
    spec: ModelSpec,
    reference: Reference,
    identity: dict[str, Any],
    options: ExportOptions,
    out_dir: Path,
    progress: Progress = lambda text: None,
) -> Path:
    """Writes the bundle into ``out_dir``, new or empty, and returns it.

    ``identity``: of this export, see export.identity; the plans come back only into the same. ``options``: as for
    every format; ``calibration`` is needed for INT8. The formats are the TensorRT ones of the specification, or all
    of them where it names none, and the AOTInductor check.

    Raises OutputUnwritable, SpecInvalid (profile), ExportFailed (a graph that TensorRT would refuse), SamplesInvalid.
    """
    out_dir = _empty(out_dir)
    names: list[str] = [name for name in spec.formats if name in typed.PRECISIONS]
    names = names or list(typed.PRECISIONS)
    example = torch.from_numpy(np.resize(reference.pixels, (2, *reference.pixels.shape[1:])))
    formats = {}
    for name in names:
        progress(f"typed graph of {name}")
        formats[name] = _add_format(name, spec, reference, example, options, out_dir)
    progress(f"program of {AOT_INDUCTOR}")
    formats[AOT_INDUCTOR] = _add_program(reference, example, options, out_dir)
    progress("held-out images")
    _write_reference(reference, out_dir / layout.REFERENCE)
    shutil.copytree(_RUNNER, out_dir / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    (out_dir / "run.py").write_text(_SCRIPT, encoding="utf-8")
    values = {
        "schema": layout.SCHEMA,
        "model": spec.model,
        "identity": identity,
        "contract_hash": reference.contract.hash,
        "input": INPUT_NAME,
        "output": OUTPUT_NAME,
        "batch_sizes": _batch_sizes(reference),
        "formats": formats,
        "files": {path: layout.sha256(out_dir / path) for path in _files(out_dir)},
    }
    text = json.dumps(finite(values), indent=2, allow_nan=False) + "\n"
    (out_dir / layout.FILE_NAME).write_text(text, encoding="utf-8")
    return out_dir


def held_out_pixels(reference: Reference) -> NDArray[np.uint8]:
    """uint8[n, H, W, 3]: every held-out image through the contract, in order. Raises SamplesInvalid."""
    pictures = []
    for image in reference.held_out.images:
        try:
            pictures.append(preprocess(image.encoded, reference.contract.preprocess))
        except ImageError as problem:
            raise SamplesInvalid(f"held-out image {image.name} cannot be used", observed=str(problem)) from problem
    return np.stack(pictures)


def _add_format(
    name: str, spec: ModelSpec, reference: Reference, example: torch.Tensor, options: ExportOptions, out_dir: Path
) -> dict[str, Any]:
    precision = typed.PRECISIONS[name]
    size = (int(example.shape[1]), int(example.shape[2]))
    job = make_job(name, precision, spec.tensorrt, options.max_batch_size, size, "../../timing.cache")
    model = typed.typed_graph(name, reference.module, example, options)
    folder = out_dir / _FORMATS / name
    folder.mkdir(parents=True)
    (folder / GRAPH).write_bytes(model.SerializeToString())
    (folder / JOB).write_text(job.to_json(), encoding="utf-8")
    # TF32 keeps as many bits of mantissa as fp16, so it is held to the same
    held: Precision = "fp16" if precision == "fp32" and spec.tensorrt.tf32 else precision
    return {
        "kind": "tensorrt",
        "precision": precision,
        "graph": f"{_FORMATS}/{name}/{GRAPH}",
        "job": f"{_FORMATS}/{name}/{JOB}",
        "thresholds": thresholds(reference.gates, held),
        "step": STEPS[held],
        "opset": max(int(entry.version) for entry in model.opset_import),
        "readable_by": [version for version in VERSIONS if not unsupported(model, version)],
        "graph_on_cpu": typed.check_here(model, precision, reference),
    }


def _add_program(reference: Reference, example: torch.Tensor, options: ExportOptions, out_dir: Path) -> dict[str, Any]:
    from export.formats.torch_export import TorchExport

    folder = out_dir / _FORMATS / AOT_INDUCTOR
    folder.mkdir(parents=True)
    made = TorchExport().export(reference.module, example, folder, options)
    return {
        "kind": "aot-inductor",
        "precision": "fp32",
        "graph": f"{_FORMATS}/{AOT_INDUCTOR}/{made.path.name}",
        "torch": str(torch.__version__),
        "thresholds": thresholds(reference.gates, "fp32"),
        "step": STEPS["fp32"],
    }


def _write_reference(reference: Reference, path: Path) -> None:
    pixels = held_out_pixels(reference)
    largest = reference.contract.network.max_batch_size
    parts = [reference.run(pixels[i : i + largest]) for i in range(0, len(pixels), largest)]
    labels = [-1 if image.label is None else image.label for image in reference.held_out.images]
    count = len(reference.held_out.images)
    # the same choice as Reference.pixels
    subset = np.linspace(0, count - 1, min(count, reference.gates.parity.images)).round().astype(np.int64)
    requests = trace_requests(reference, pixels)
    np.savez_compressed(
        path,
        pixels=requests.pixels,
        logits=np.concatenate(parts),
        labels=np.array(labels, dtype=np.int64),
        subset=subset,
        request_sizes=requests.sizes,
        request_images=requests.images,
    )


def _batch_sizes(reference: Reference) -> list[int]:
    return batch_sizes((2, *reference.gates.parity.batch_sizes), reference.contract.network.max_batch_size)


def _empty(out_dir: Path) -> Path:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        there = any(out_dir.iterdir())
    except OSError as problem:
        raise OutputUnwritable(f"the bundle cannot be written to {out_dir}", observed=str(problem)) from problem
    if there:
        raise OutputUnwritable(
            "the folder of the bundle is not empty", observed=out_dir, expected="a new or an empty folder"
        )
    return out_dir


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
