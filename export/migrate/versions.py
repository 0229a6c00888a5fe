"""Archives that become a version at once: a handler of ours brings contract and networks, a user's own is wrapped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from export import triton_config
from export.migrate.archive import OUR_CONTRACT, Archive
from export.publication import MODEL_PY
from export.sources.kind import WORDS, Kind, kind_of
from export.sources.location import Located
from export.sources.torchscript_file import load_torchscript
from export.triton_config import BACKENDS, NetworkTensors
from export.whole import Recording
from handlers.archived import ANSWER, FOLDER, SETTINGS
from handlers.fields import plain
from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from slipway.contract import ARCHIVE, HANDLERS, Contract, Network, Preprocess
from slipway.errors import ArchiveInvalid, ImageError, MigrationRefused
from slipway.repository import Publication
from slipway.spec import ModelSpec
from slipway.spec.formats import NETWORK_FILES, FormatName
from slipway.spec.serving import ServingSpec

_ARCHIVED_PY = (
    'from handlers.archived_triton import ArchivedModel as TritonPythonModel\n\n__all__ = ["TritonPythonModel"]\n'
)
#: As serving/torchserve/archive.py writes it.
_NETWORKS = "networks.json"
#: Names that the serving processes import themselves: a module of the archive would be hidden by them.
_TAKEN = ("handlers", "slipway", "serving", "export")
#: What a network's file must hold, by its suffix; OpenVINO's IR is XML and no zip archive.
_KINDS: dict[str, Kind] = {".onnx": "onnx", ".pt": "torchscript", ".xml": "weights"}


@dataclass(frozen=True)
class Golden:
    """What a version is asked before it serves: the encoded input with its suffix, and the record that is expected."""

    content: bytes
    suffix: str
    record: Mapping[str, Any]


class Ours:
    """An archive that ``serving.torchserve.archive`` made of a published version; nothing in it is run but networks."""

    def __init__(self, archive: Archive) -> None:
        """Raises ArchiveInvalid, ContractInvalid for an edited contract, NetworkUnreadable, and MigrationRefused for a
        contract or file that would bring code of the archive's choice to run."""
        self._archive = archive
        self.contract = Contract.read(archive.folder / OUR_CONTRACT)
        for contract in (self.contract, *(item.contract for item in self.contract.attributes)):
            _check_handler(archive, contract)
        self._files = self._network_files()
        self._networks = Recording(open_networks(self._files, self.contract))
        self.pipeline = Pipeline(self.contract, self._networks)
        self.golden = self._golden()

    def answer(self, encoded: bytes) -> dict[str, Any] | ImageError:
        """The JSON-ready record of one image."""
        (found,) = self.pipeline.run([encoded])
        return found if isinstance(found, ImageError) else plain(self.pipeline.task.fields, found.record())

    def publication(self, folder: Path, report: Mapping[str, Any]) -> Publication:
        """The version with the archive's contract and networks; ``folder``: for the small files that it needs."""
        contract = self.contract
        spec = _spec(self._archive, contract, contract.network.max_batch_size)
        public = _Public(contract, spec, self.golden, report, MODEL_PY, folder)
        for name, network in contract.networks().items():
            public.add_network(name, network, self._files[name], self._networks)
        return public.publication(self._archive)

    def _network_files(self) -> dict[str, Path]:
        shown, folder = self._archive.shown, self._archive.folder
        try:
            named = json.loads((folder / _NETWORKS).read_text(encoding="utf-8"))
            found = {name: folder / str(named[name]) for name in self.contract.networks()}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise ArchiveInvalid(f"{shown}: {_NETWORKS} is not valid", observed=repr(problem)) from problem
        for name, network in self.contract.networks().items():
            path = found[name]
            if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
                raise ArchiveInvalid(f"{shown}: the file of network {name} is missing", observed=named[name])
            _check_network(shown, network, path)
        return found

    def _golden(self) -> Golden:
        shown, folder = self._archive.shown, self._archive.folder / "golden"
        try:
            (path,) = folder.glob("input.*")
            values = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
            record = values["record"]
            if not isinstance(record, dict):
                raise TypeError("the record is no object")
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise ArchiveInvalid(f"{shown}: it has no golden prediction", observed=repr(problem)) from problem
        return Golden(path.read_bytes(), path.suffix, record)


def _check_handler(archive: Archive, contract: Contract) -> None:
    """The handler is imported by its name, so it must be the one of its task; raises MigrationRefused."""
    if (expected := HANDLERS.get(contract.task)) is None or contract.handler != expected:
        raise MigrationRefused(
            f"{archive.shown}: its contract names another handler than that of its task",
            observed=f"{contract.task}: {contract.handler}",
            expected=expected or f"a task of {', '.join(HANDLERS)}",
            fix="export the model from its specification",
        )


def _check_network(shown: str, network: Network, path: Path) -> None:
    """Whether ``path`` is of the format that the contract serves. What opens a file is chosen by its suffix, and a
    torch.export program is unpickled when it is opened: its suffix is none of a served format. Raises MigrationRefused,
    and SourceInvalid for TorchScript that reaches files."""
    if network.format not in BACKENDS or network.format not in NETWORK_FILES:
        raise MigrationRefused(
            f"{shown}: no stock backend serves {network.format}", expected=", ".join(sorted(BACKENDS))
        )
    expected = NETWORK_FILES[network.format]
    if not path.name == network.file == expected:
        raise MigrationRefused(
            f"{shown}: it packs another format than its contract serves",
            observed=path.name if network.file == expected else f"{path.name}, {network.file} in the contract",
            expected=f"{expected} for {network.format}",
            fix="archive the served format, or export the model from its specification",
        )
    kind = _KINDS.get(path.suffix)
    if kind is None:
        raise MigrationRefused(
            f"{shown}: {network.format} does not run in a process of its own",
            observed=path.name,
            expected=", ".join(_KINDS),
            fix="export the model from its specification",
        )
    if (found := kind_of(path)) != kind:
        raise MigrationRefused(
            f"{shown}: {path.name} is not what its name says", observed=WORDS[found], expected=network.format
        )
    if kind == "torchscript":
        load_torchscript(Located(path, path.name))


class Wrapped:
    """A user's own handler, which the python backend calls as TorchServe would."""

    def __init__(self, archive: Archive, model: str, folder: Path) -> None:
        """Lays the version's files out in ``folder``. Raises MigrationRefused for modules that could not be found."""
        names = {item.name.removesuffix(".py") for item in archive.folder.iterdir()}
        if taken := sorted(names & set(_TAKEN)):
            raise MigrationRefused(
                f"{archive.shown}: a module has the name of one that serves it", observed=", ".join(taken)
            )
        self._archive, self.folder = archive, folder
        shutil.copytree(archive.folder, folder / FOLDER, ignore=shutil.ignore_patterns("__pycache__"))
        settings = {"batch_size": archive.batch_size, "config": archive.config}
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2, default=str) + "\n", encoding="utf-8")
        network = Network(
            model, "archive", f"{FOLDER}/MAR-INF/MANIFEST.json", "", "", max_batch_size=max(8, archive.batch_size)
        )
        self.contract = Contract(
            model=model,
            task=ARCHIVE,
            preprocess=Preprocess(0, 0),
            network=network,
            labels=(),
            handler="handlers.archived:Archived",
        )

    def publication(self, folder: Path, report: Mapping[str, Any], sample: Path, answer: bytes) -> Publication:
        """The version; ``sample`` and its ``answer`` are what it must give before it serves."""
        golden = Golden(sample.read_bytes(), sample.suffix or ".bin", plain((ANSWER,), {ANSWER.name: answer}))
        spec = _spec(self._archive, self.contract, self.contract.network.max_batch_size)
        public = _Public(self.contract, spec, golden, report, _ARCHIVED_PY, folder)
        public.add_files(self.folder)
        return public.publication(self._archive)


class _Public:
    """Collects the files and configurations of one version."""

    def __init__(
        self,
        contract: Contract,
        spec: ModelSpec,
        golden: Golden,
        report: Mapping[str, Any],
        model_py: str,
        folder: Path,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._contract, self._spec, self._folder, self._report, self._golden = contract, spec, folder, report, golden
        model = contract.model
        written = {
            "model.py": model_py.encode(),
            f"golden/input{golden.suffix}": golden.content,
            "golden/expected.json": (
                json.dumps({"record": golden.record}, indent=2, ensure_ascii=False) + "\n"
            ).encode(),
            "evidence.json": (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode(),
        }
        self._files = {model: {inside: self._write(inside, content) for inside, content in written.items()}}
        self._configs = {model: triton_config.public_config(spec, contract)}
        image = self._write("warm-up", triton_config.serialise_image(golden.content))
        self._model_files = {model: {f"warmup/{triton_config.PUBLIC_WARMUP}": image}}

    def add_files(self, folder: Path) -> None:
        """Every file below ``folder``, by its path there."""
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        self._files[self._contract.model] |= {path.relative_to(folder).as_posix(): path for path in paths}

    def add_network(self, name: str, network: Network, file: Path, networks: Recording) -> None:
        """One network's artefact and its configuration, warmed up with what it was asked about the golden image."""
        asked = [call.pixels for call in networks.inputs.get(name, [])]
        pixels = asked[0][:1] if asked else np.zeros((1, *_sides(self._contract, name), 3), np.uint8)
        tensors = _tensors(self._contract, name, network, pixels, networks)
        paths = (path for path in file.parent.rglob("*") if path.is_file())
        self._files[network.model] = {path.relative_to(file.parent).as_posix(): path for path in paths}
        self._configs[network.model] = triton_config.network_config(self._spec, self._contract, network.format, tensors)
        warm_up = self._write(f"warm-up-{network.model}", pixels.tobytes())
        self._model_files[network.model] = {f"warmup/{triton_config.NETWORK_WARMUP}": warm_up}

    def publication(self, archive: Archive) -> Publication:
        """What is to be published."""
        source = {"torchserve": archive.shown, "handler": archive.handler, "version": archive.version}
        evidence = {"migration": {"same": self._report["same"], "samples": len(self._report["rows"])}}
        return Publication(self._contract, self._files, self._configs, self._model_files, evidence, source)

    def _write(self, inside: str, content: bytes) -> Path:
        path = self._folder / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def _spec(archive: Archive, contract: Contract, largest: int) -> ModelSpec:
    """What the configurations need of a specification: there is none of a version that was not exported."""
    serving = ServingSpec(
        instances=archive.workers or "auto",
        max_batch_size=largest,
        queue_delay_microseconds=archive.delay_microseconds,
        networks=None if contract.networks() else (),
    )
    served = contract.network.format if contract.network.format in BACKENDS else "onnx"
    return ModelSpec.model_construct(
        model=contract.model,
        samples="",
        serving=serving,
        serve=cast("FormatName", served),
        formats=(cast("FormatName", served),),
    )


def _sides(contract: Contract, name: str) -> tuple[int, int]:
    height, width = contract.inputs()[name]
    return height or 64, width or 64


def _tensors(
    contract: Contract, name: str, network: Network, pixels: NDArray[np.uint8], networks: Recording
) -> NetworkTensors:
    """Sides and axes that vary are -1: seen by asking the network with two sizes where it takes any."""
    from handlers.calls import Call

    height, width = contract.inputs()[name]
    first = networks.run([Call(name, pixels)])[0].shape[1:]
    output: Sequence[int] = first
    if not height or not width:
        grown = np.repeat(np.repeat(pixels, 2, axis=1), 2, axis=2)
        second = networks.run([Call(name, grown)])[0].shape[1:]
        output = [one if one == other else -1 for one, other in zip(first, second, strict=True)]
    if contract.task == "classification":
        output = [-1]
    stem = network.model.removesuffix(f".{network.format}")
    example = (int(pixels.shape[1]), int(pixels.shape[2]))
    return NetworkTensors(stem, network, (height or -1, width or -1), tuple(output), example)
