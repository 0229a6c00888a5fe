"""Lays out one version: which file goes where in the repository, and the config.pbtxt of every model directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import triton_config
from export.evidence import summary, to_json
from export.formats.base import Artifact
from export.gates.base import Reference
from export.golden import Golden
from export.triton_config import NetworkTensors
from handlers.preprocess import preprocess
from slipway.contract import Contract
from slipway.repository import Publication
from slipway.spec import ModelSpec

#: The public model's model.py: the handler lives in the ``handlers`` package, never in the repository.
MODEL_PY = 'from handlers.triton import TritonPythonModel\n\n__all__ = ["TritonPythonModel"]\n'


@dataclass(frozen=True)
class Papers:
    """What a version, or a failure, has to say for itself: ``evidence`` (of evidence.json), ``scripts`` (path inside
    the version -> file, see export.reproduce) and the golden prediction, None after a failure."""

    evidence: dict[str, Any]
    scripts: dict[str, Path]
    golden: Golden | None

    def write(self, folder: Path) -> dict[str, Path]:
        """Writes evidence.json and evidence.html, and returns every file by its path inside the version."""
        from export.report.page import render

        page = render(self.evidence, self.golden.image if self.golden else None)
        return {
            "evidence.json": _write(folder / "evidence.json", to_json(self.evidence).encode()),
            "evidence.html": _write(folder / "evidence.html", page.encode()),
            **self.scripts,
        }


@dataclass(frozen=True)
class NetworkFiles:
    """One network of a version in all its formats. ``warm_up``: uint8[H, W, 3] of real pixels that it is asked."""

    tensors: NetworkTensors
    artifacts: Sequence[Artifact]
    warm_up: NDArray[np.uint8]


def of_one(
    spec: ModelSpec, reference: Reference, artifacts: Sequence[Artifact], golden: Golden
) -> tuple[NetworkFiles, ...]:
    """The only network of a model that has one; it is warmed up with the golden image."""
    contract = reference.contract
    tensors = NetworkTensors.of_classifier(spec, contract)
    rows = reference.logits.shape[1:]
    if len(rows) > 1:  # the axis of a list is opened in the artefact, others are as they are
        tensors = replace(tensors, output=rows)
    return (NetworkFiles(tensors, artifacts, preprocess(golden.image, contract.preprocess)),)


def make_publication(
    spec: ModelSpec,
    contract: Contract,
    networks: Sequence[NetworkFiles],
    papers: Papers,
    golden: Golden,
    identity: dict[str, Any],
    folder: Path,
) -> Publication:
    """Writes the small files into ``folder`` and names the place of every file of the version.

    Formats with a stock Triton backend become network models; the others lie under the public model's ``artifacts/``.
    """
    public = spec.model
    files = {public: {**_public_files(golden, folder), **papers.write(folder)}}
    configs = {public: triton_config.public_config(spec, contract)}
    image = _write(folder / "warmup-image", triton_config.serialise_image(golden.image))
    model_files = {public: {f"warmup/{triton_config.PUBLIC_WARMUP}": image}}
    for network in networks:
        name = network.tensors.name
        pixels = _write(folder / f"warmup-pixels-{name}", network.warm_up.tobytes())
        inside = "artifacts" + name.removeprefix(public).replace(".", "/")
        for artifact in network.artifacts:
            if artifact.format not in triton_config.BACKENDS:
                files[public] |= {f"{inside}/{artifact.format}/{path.name}": path for path in artifact.files}
                continue
            model = f"{name}.{artifact.format}"
            files[model] = {path.name: path for path in artifact.files}
            configs[model] = triton_config.network_config(spec, contract, artifact.format, network.tensors)
            model_files[model] = {f"warmup/{triton_config.NETWORK_WARMUP}": pixels}
    return Publication(contract, files, configs, model_files, summary(papers.evidence), identity)


def _public_files(golden: Golden, folder: Path) -> dict[str, Path]:
    return {
        "model.py": _write(folder / "model.py", MODEL_PY.encode()),
        "golden/input.png": _write(folder / "input.png", golden.image),
        "golden/expected.json": _write(folder / "expected.json", golden.expected_json().encode()),
    }


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
