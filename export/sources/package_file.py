"""A file inside an installed Python package, ``package:name/path``, found without importing (running) the package."""

from __future__ import annotations

import difflib
import importlib.machinery
import importlib.metadata
import sys
from pathlib import Path, PurePosixPath

from slipway.errors import SourceInvalid

#: Files that can be models; only these are proposed when a path is wrong.
_MODELS = {".onnx", ".pt", ".pt2", ".pth", ".safetensors", ".bin", ".ckpt"}


def from_package(location: str) -> Path:
    """The file of ``package:name/path/inside``.

    ``name``: of the import package or of its distribution (``pip list``); the path starts inside the import package,
    or is one that the distribution's RECORD lists. Raises SourceInvalid for an unknown package, a path that leaves it,
    and a file that it does not have, with the nearest that it has.
    """
    name, _, inside = location.removeprefix("package:").partition("/")
    path = PurePosixPath(inside)
    if not name or not inside or path.is_absolute() or ".." in path.parts:
        raise SourceInvalid(
            "a file of a package has the wrong form",
            observed=location,
            expected="package: its name, file: a relative path inside it",
        )
    recorded = _recorded(name)
    folders = _folders(name)
    if not recorded and not folders:
        raise SourceInvalid(
            f"the package {name!r} is not installed here",
            expected=f"an installed package{_near(name, _installed())}",
            fix=f"install {name} beside Slipway, or correct source.package",
        )
    candidates = [*(folder / path for folder in folders), *(file for file in recorded if file.match(str(path)))]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise SourceInvalid(
        f"the package {name!r} has no file {inside!r}",
        expected=f"one of its files{_near(inside, _model_files(folders, recorded), always=True)}",
    )


def _folders(name: str) -> list[Path]:
    """Directories of a top-level import package. PathFinder imports nothing; a dotted name would import its parents."""
    if "." in name or not name.isidentifier():
        return []
    spec = importlib.machinery.PathFinder.find_spec(name, sys.path)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _recorded(name: str) -> list[Path]:
    """Every file of the distribution by its RECORD."""
    try:
        files = importlib.metadata.distribution(name).files or []
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return []
    return [Path(str(file.locate())) for file in files]


def _installed() -> list[str]:
    return sorted({str(item.metadata["Name"]) for item in importlib.metadata.distributions()})


def _model_files(folders: list[Path], recorded: list[Path]) -> list[str]:
    found = {path.relative_to(folder).as_posix() for folder in folders for path in folder.rglob("*") if _is_model(path)}
    return sorted(found or {path.name for path in recorded if _is_model(path)})


def _is_model(path: Path) -> bool:
    return path.suffix in _MODELS


def _near(word: str, known: list[str], *, always: bool = False) -> str:
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5) or (known[:3] if always else [])
    return f", for example {', '.join(near)}" if near else ""
