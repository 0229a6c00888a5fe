"""One published version -> one ``.mar`` archive that holds everything it needs, for this TorchServe and for any other.

torch-model-archiver is used as a library for what it defines: names and the manifest. Its copying is not: it stages
every archive of a model in the same folder of /tmp, and writes times and directory order into the file (0.12), while
here the same version gives the same bytes. Inside:

```
MAR-INF/MANIFEST.json    name, version, handler          contract.json, networks.json, golden/
model-config.yaml        workers, batches, timeouts      networks/<name>/...    every network's artefact
slipway_handler.py       one class                       handlers/, slipway/    the code that answers
```
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import slipway
from serving.torchserve.model_config import ModelConfig
from slipway.contract import ARCHIVE, ONLY, Contract
from slipway.errors import VersionLoadFailed
from slipway.files import sync_directory, sync_file
from slipway.manifest import FILE_NAME
from slipway.repository import Repository

HANDLER = "slipway_handler.py"
CONFIG = "model-config.yaml"
_ROOT = Path(slipway.__file__).resolve().parent.parent
#: What runs inside a worker, by its path from the project's root.
_CODE = ("handlers/**/*.py", "slipway/__init__.py", "slipway/contract.py", "slipway/errors/*.py")
_NOT_NEEDED = ("handlers/triton.py", "handlers/bls.py")
#: Files that a worker's process opens itself, see handlers.networks.
_OPENED = (".onnx", ".xml", ".pt", ".pt2")
_TIME = (1980, 1, 1, 0, 0, 0)
_HANDLER_TEXT = '''"""The handler of this archive. TorchServe takes exactly one class from this module."""

from handlers.torchserve import TorchServeModel


class Handler(TorchServeModel):
    """Answers the images of one model version."""
'''

Content = bytes | Path


@dataclass(frozen=True)
class Archives:
    """The archives of a repository's versions, in ``store``, each made once. ``formats``: model -> the format whose
    artefact is packed, where it is not to be the served one (contracts with one network only)."""

    repository: Repository
    store: Path
    cores: int
    response_timeout: int = 120
    startup_timeout: int = 120
    formats: Mapping[str, str] | None = None

    def path(self, model: str, version: int) -> Path:
        """``<store>/<model>-<version>.mar``."""
        return self.store / f"{model}-{version}.mar"

    def ensure(self, model: str, version: int) -> Path:
        """The archive, made when it is absent or was made of something else. Raises VersionLoadFailed for a network
        that does not run in a process (a TensorRT plan), and what the repository raises."""
        path = self.path(model, version)
        content = self._content(model, version)
        digest = _digest(content, self.repository.version_dir(model, version) / FILE_NAME)
        if _made_of(path) != digest:
            self.store.mkdir(parents=True, exist_ok=True)
            _write(path, content, digest)
        return path

    def discard(self, model: str, version: int) -> None:
        """Removes the archive; TorchServe has unpacked it and does not read it again."""
        self.path(model, version).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes archives of versions that the repository does not have, and what was being written in a crash."""
        names = self.repository.models()
        kept = {self.path(model, version) for model in names for version in self.repository.versions(model)}
        for path in [*self.store.glob("*.mar"), *self.store.glob(".*.mar.*")]:
            if path not in kept:
                path.unlink(missing_ok=True)

    def workers(self, model: str) -> int:
        """Worker processes of one version, from the model's config.pbtxt. Raises RepositoryDamaged."""
        return self._config(model).workers

    def _config(self, model: str) -> ModelConfig:
        path = self.repository.path / model / "config.pbtxt"
        return ModelConfig.of(path, self.cores, self.response_timeout, self.startup_timeout)

    def _content(self, model: str, version: int) -> dict[str, Content]:
        folder = self.repository.version_dir(model, version)
        contract = self.repository.contract(model, version)
        if contract.task == ARCHIVE:
            raise VersionLoadFailed(
                f"{model} version {version} is a user's own handler, migrated for Triton",
                expected="ENGINE=triton, or TorchServe with the archive that it was migrated from",
            )
        found: dict[str, Content] = {
            "MAR-INF/MANIFEST.json": _manifest(model, version, self.store),
            CONFIG: self._config(model).to_yaml(),
            HANDLER: _HANDLER_TEXT.encode(),
            "contract.json": folder / "contract.json",
        }
        found |= {f"golden/{path.name}": path for path in (folder / "golden").iterdir() if path.is_file()}
        return found | self._networks(folder, contract) | _code()

    def _networks(self, folder: Path, contract: Contract) -> dict[str, Content]:
        """The artefacts' files and ``networks.json``; one that several names share is packed once."""
        packed: dict[str, Content] = {}
        named: dict[str, str] = {}
        for name, network in contract.networks().items():
            file, format_name = folder.parent.parent / network.model / folder.name / network.file, network.format
            wanted = (self.formats or {}).get(contract.model)
            if wanted is not None and name == ONLY:
                file, format_name = _other_format(folder, contract, wanted), wanted
            _refuse_foreign(contract, name, file, format_name)
            place = f"networks/{file.parent.parent.name}" if wanted is None else f"networks/{format_name}"
            packed |= {f"{place}/{path.relative_to(file.parent).as_posix()}": path for path in _files(file.parent)}
            named[name] = f"{place}/{file.name}"
        return packed | {"networks.json": (json.dumps(named, indent=2, sort_keys=True) + "\n").encode()}


def _other_format(folder: Path, contract: Contract, wanted: str) -> Path:
    """The artefact of another format of the same version; raises VersionLoadFailed."""
    places = (folder.parent.parent / f"{contract.model}.{wanted}" / folder.name, folder / "artifacts" / wanted)
    found = [path for place in places if place.is_dir() for path in _files(place) if path.suffix in _OPENED]
    if contract.parts or len(found) != 1:
        raise VersionLoadFailed(
            f"{contract.model} version {folder.name} cannot be packed as {wanted}",
            observed=[path.name for path in found] if not contract.parts else "a model of several networks",
            expected=f"one file of {', '.join(_OPENED)}",
        )
    return found[0]


def _refuse_foreign(contract: Contract, name: str, file: Path, format_name: str) -> None:
    if file.suffix not in _OPENED or format_name.startswith("aot"):
        raise VersionLoadFailed(
            f"{contract.model}: network {name} cannot run in a TorchServe worker",
            observed=f"{format_name}, {file.name}",
            expected=f"a file that opens in process: {', '.join(_OPENED)}",
            fix="set `serve` of the specification to onnx, torchscript, torch-export or openvino, and export again",
        )
    if not file.is_file():
        raise VersionLoadFailed(f"{contract.model}: the file of network {name} is missing", observed=file)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _code() -> dict[str, Content]:
    paths = (path for pattern in _CODE for path in _ROOT.glob(pattern))
    names = {path.relative_to(_ROOT).as_posix(): path for path in paths}
    return {name: path for name, path in names.items() if name not in _NOT_NEEDED}


def _manifest(model: str, version: int, store: Path) -> bytes:
    """The archiver's own manifest, without the time of day, which would make every archive different."""
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_packaging_utils import ModelExportUtils

    store.mkdir(parents=True, exist_ok=True)
    ModelExportUtils.validate_inputs(model, str(store))
    config = ModelArchiverConfig(
        model_name=model, handler=HANDLER, version=str(version), config_file=CONFIG, export_path=str(store)
    )
    values = json.loads(ModelExportUtils.generate_manifest_json(config))
    values["createdOn"] = "01/01/1980 00:00:00"
    return (json.dumps(values, indent=2) + "\n").encode()


def _digest(content: Mapping[str, Content], manifest: Path) -> str:
    """Of small files their bytes; what lies in the repository is known by the version's manifest."""
    digest = hashlib.sha256(manifest.read_bytes())
    for name, item in sorted(content.items()):
        ours = isinstance(item, bytes) or item.suffix == ".py"
        inside = item if isinstance(item, bytes) else item.read_bytes() if ours else b""
        digest.update(name.encode() + b"\0" + hashlib.sha256(inside).digest())
    return digest.hexdigest()


def _made_of(path: Path) -> str | None:
    """The digest that an archive carries as its comment."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment.decode("ascii", "replace")
    except (OSError, zipfile.BadZipFile):
        return None


def _write(path: Path, content: Mapping[str, Content], digest: str) -> None:
    """Sorted, stored without compression (weights hardly shrink), with fixed times; renamed into place when whole."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for inside, source in _entries(content):
                with archive.open(inside, "w", force_zip64=inside.file_size >= 1 << 31) as entry:
                    _copy(source, entry)
            archive.comment = digest.encode("ascii")
        sync_file(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _entries(content: Mapping[str, Content]) -> Iterator[tuple[zipfile.ZipInfo, Content]]:
    for name, source in sorted(content.items()):
        info = zipfile.ZipInfo(name, _TIME)
        info.external_attr = 0o644 << 16
        info.file_size = len(source) if isinstance(source, bytes) else source.stat().st_size
        yield info, source


def _copy(source: Content, entry: IO[bytes]) -> None:
    if isinstance(source, bytes):
        entry.write(source)
        return
    with source.open("rb") as stream:
        shutil.copyfileobj(stream, entry, 1 << 20)
