"""What an unpacked archive says about itself: manifest, model-config.yaml and the names of its classes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from export.migrate.unpack import MANIFEST
from slipway.errors import ArchiveInvalid, MigrationRefused

STOCK = ("image_classifier", "object_detector", "image_segmenter")
#: TorchServe's other handlers: none of them answers images as they come from clients.
_OTHER_STOCK = (
    *("base_handler", "vision_handler", "text_handler", "text_classifier", "densenet_handler"),
    *("dali_image_classifier", "dali_handler", "vllm_handler", "trt_llm_handler"),
)
#: As serving/torchserve/archive.py names it, and what lies beside it.
OUR_HANDLER = "slipway_handler.py"
OUR_CONTRACT = "contract.json"
MAPPING = "index_to_name.json"
#: Text files of an archive are small; larger ones are no manifest.
_MOST_TEXT = 16 << 20

Kind = Literal["stock", "ours", "own"]


@dataclass(frozen=True)
class Archive:
    """``folder``: unpacked. ``shown``: the archive's file name. ``handler``: as the manifest names it.
    ``serialized`` and ``model_file``: names inside the folder. ``config``: of model-config.yaml. ``mapping``: class
    number -> name, as index_to_name.json has it, None without one."""

    folder: Path
    shown: str
    name: str
    version: str
    handler: str
    serialized: str | None = None
    model_file: str | None = None
    requirements: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    mapping: Mapping[int, str] | None = None

    @property
    def kind(self) -> Kind:
        """Whose handler it has: TorchServe's, ours, or the user's own."""
        if self.handler == OUR_HANDLER and (self.folder / OUR_CONTRACT).is_file():
            return "ours"
        # TorchServe looks into the archive first: a module there of a stock name is the user's (ts/model_loader.py)
        hidden = self.module.is_file() or self.module.with_suffix("").is_dir()
        return "own" if hidden or self.handler not in STOCK else "stock"

    @property
    def runs_code(self) -> bool:
        """Whether answering runs Python that the archive brings."""
        return self.kind == "own" or self.model_file is not None

    @property
    def module(self) -> Path:
        """Where the handler's module would lie."""
        return self.folder / f"{self.handler.partition(':')[0].removesuffix('.py')}.py"

    @property
    def batch_size(self) -> int:
        """``batchSize``: 1 unless it is set."""
        return _whole(self, "batchSize", 1, 1, 1024)

    @property
    def delay_microseconds(self) -> int:
        """``maxBatchDelay`` (milliseconds there) where requests are batched at all, else 0."""
        return 1000 * _whole(self, "maxBatchDelay", 0, 0, 60_000) if self.batch_size > 1 else 0

    @property
    def workers(self) -> int | None:
        """``minWorkers``, else ``maxWorkers``; None where neither is set."""
        named = next((key for key in ("minWorkers", "maxWorkers") if key in self.config), None)
        return None if named is None else max(1, _whole(self, named, 1, 0, 64))


def read_archive(folder: Path, shown: str) -> Archive:
    """Reads the text files of an unpacked archive; nothing is imported, loaded or unpickled.

    Raises ArchiveInvalid for what is malformed or missing, MigrationRefused for handlers that have no images."""
    manifest = _json(folder, str(MANIFEST), shown)
    model = manifest.get("model")
    if not isinstance(model, dict):
        raise ArchiveInvalid(f"{shown}: the manifest has no model", observed=sorted(manifest), expected='{"model": {}}')
    if str(manifest.get("runtime", "python")).upper() == "LSP":
        raise MigrationRefused(f"{shown}: its handler is C++", observed="runtime LSP", expected="runtime python")
    archive = Archive(
        folder=folder,
        shown=shown,
        name=_text(model, "modelName", shown),
        version=_text({"modelVersion": "1.0", **model}, "modelVersion", shown),
        handler=_text(model, "handler", shown),
        serialized=_file(folder, model, "serializedFile", shown),
        model_file=_file(folder, model, "modelFile", shown),
        requirements=_file(folder, model, "requirementsFile", shown),
        config=_config(folder, _file(folder, model, "configFile", shown), shown),
        mapping=_mapping(folder, shown),
    )
    _check_handler(archive)
    return archive


def _check_handler(archive: Archive) -> None:
    if archive.kind != "own" or archive.module.is_file():
        return
    if archive.handler in _OTHER_STOCK:
        raise MigrationRefused(
            f"{archive.shown}: TorchServe's {archive.handler} does not answer images",
            observed=archive.handler,
            expected=f"{', '.join(STOCK)}, or a handler in the archive",
            fix="write a specification for its network (docs/spec.md)",
        )
    raise ArchiveInvalid(
        f"{archive.shown}: its handler is unknown",
        observed=f"{archive.handler}, and no {archive.module.name} among {', '.join(_names(archive.folder))}",
        expected=f"a module in the archive, or one of {', '.join(STOCK)}",
        fix="make the archive again with its handler",
    )


def _names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())[:12]


def _text(model: Mapping[str, Any], key: str, shown: str) -> str:
    value = model.get(key)
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:\- ]{1,255}", value):
        raise ArchiveInvalid(
            f"{shown}: model.{key} of the manifest is not valid",
            observed="nothing" if value is None else value,
            expected="a name without folders" if value is not None else "a name; torch-model-archiver always writes it",
        )
    return value


def _file(folder: Path, model: Mapping[str, Any], key: str, shown: str) -> str | None:
    if model.get(key) in (None, ""):
        return None
    name = _text(model, key, shown)
    if not (folder / name).is_file():
        raise ArchiveInvalid(
            f"{shown}: {key} is missing",
            observed=f"no {name} among {', '.join(_names(folder))}",
            expected="every file that the manifest names",
            fix="make the archive again with all its files",
        )
    return name


def _read(path: Path, shown: str) -> str:
    if path.stat().st_size > _MOST_TEXT:
        raise ArchiveInvalid(f"{shown}: {path.name} is too large", observed=path.stat().st_size, expected=_MOST_TEXT)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise ArchiveInvalid(f"{shown}: {path.name} is no text", observed=problem, expected="UTF-8") from problem


def _json(folder: Path, name: str, shown: str) -> dict[str, Any]:
    try:
        values = json.loads(_read(folder / name, shown))
    except (ValueError, RecursionError) as problem:
        raise ArchiveInvalid(
            f"{shown}: {name} is not JSON", observed=str(problem)[:200], expected="a JSON object"
        ) from problem
    if not isinstance(values, dict):
        raise ArchiveInvalid(f"{shown}: {name} is no object", observed=type(values).__name__, expected="a JSON object")
    return values


def _config(folder: Path, name: str | None, shown: str) -> dict[str, Any]:
    if name is None:
        return {}
    try:
        values = yaml.safe_load(_read(folder / name, shown))
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        raise ArchiveInvalid(f"{shown}: {name} is not YAML", observed=str(problem)[:200]) from problem
    if not isinstance(values, dict | None):
        raise ArchiveInvalid(f"{shown}: {name} holds no keys", observed=type(values).__name__, expected="key: value")
    return values or {}


def _mapping(folder: Path, shown: str) -> dict[int, str] | None:
    """As ``load_label_mapping`` of ts/utils/util.py: ``"0": "cat"``, ``"0": ["n02123045", "tabby"]``, or the older
    ``object_type_names``."""
    if not (folder / MAPPING).is_file():
        return None
    values = _json(folder, MAPPING, shown)
    older = values.get("object_type_names")
    if isinstance(older, list):
        values = {str(index): name for index, name in enumerate(older)}
    found: dict[int, str] = {}
    for key, value in values.items():
        name = value[-1] if isinstance(value, list) and value else value
        if not key.isdecimal() or not key.isascii() or not isinstance(name, str) or not name.strip():
            raise ArchiveInvalid(
                f"{shown}: {MAPPING} is not valid",
                observed=f"{key!r}: {str(value)[:80]}",
                expected='"class number": "name", or a list whose last entry is the name',
            )
        found[int(key)] = " ".join(name.split())
    return found


def _whole(archive: Archive, key: str, default: int, least: int, most: int) -> int:
    value = archive.config.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise ArchiveInvalid(
            f"{archive.shown}: {key} of model-config.yaml is not valid",
            observed=value,
            expected=f"a whole number, {least}..{most}",
        )
    return value
