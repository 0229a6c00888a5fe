"""Which file of an MLflow version is the model: by its MLmodel flavours, else by the files that lie there."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slipway.errors import SourceInvalid

#: What can be a model, in a version that declares no flavour of it.
_SUFFIXES = (".onnx", ".safetensors", ".pt", ".pt2", ".pth", ".ckpt", ".bin")
#: Files of the pytorch flavour, inside its data directory: mlflow/pytorch/__init__.py.
_PYTORCH = ("model.pt2", "model.pth")


@dataclass(frozen=True)
class Version:
    """The files of one version. ``shown``: its address with the number behind an alias, for people."""

    folder: Path
    shown: str

    def file(self, artifact: str | None = None) -> Path:
        """The model's file: ``artifact``, that of the onnx or pytorch flavour, or the only one that can be a model.

        Raises SourceInvalid, with the files that are there, when none or several could be meant.
        """
        if artifact is not None:
            return self._named(artifact)
        if (declared := self._of_flavour()) is not None:
            return declared
        files = [name for name in self._files() if name.endswith(_SUFFIXES)]
        if len(files) == 1:
            return self.folder / files[0]
        raise SourceInvalid(
            f"{self.shown}: {'several files' if files else 'no file'} could be the model",
            observed=f"flavours {', '.join(sorted(self._flavours())) or 'none'}; files {', '.join(self._files()[:9])}",
            expected="the onnx or pytorch flavour, or one file " + ", ".join(_SUFFIXES),
            fix="name it in source.artifact" if files else "log the model as ONNX or TorchScript, or its state_dict",
        )

    def _named(self, artifact: str) -> Path:
        if artifact in self._files():
            return self.folder / artifact
        near = difflib.get_close_matches(artifact, self._files(), n=3, cutoff=0.4) or self._files()[:5]
        raise SourceInvalid(
            f"{self.shown} has no file {artifact!r}", expected=f"one of its files, for example {', '.join(near)}"
        )

    def _of_flavour(self) -> Path | None:
        flavours = self._flavours()
        candidates = [f"{flavours['onnx'].get('data', 'model.onnx')}"] if "onnx" in flavours else []
        if "pytorch" in flavours:
            data = flavours["pytorch"].get("model_data", "data")
            candidates += [f"{data}/{name}" for name in _PYTORCH]
        return next((self.folder / name for name in candidates if name in self._files()), None)

    def _flavours(self) -> dict[str, dict[str, Any]]:
        path = self.folder / "MLmodel"
        if not path.is_file():
            return {}
        try:
            flavours = yaml.safe_load(path.read_text(encoding="utf-8"))["flavors"]
            return {str(name): dict(values) for name, values in flavours.items()}
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError) as problem:
            raise SourceInvalid(
                f"{self.shown}: its MLmodel file cannot be read", observed=f"{type(problem).__name__}: {problem}"
            ) from problem

    def _files(self) -> list[str]:
        """Regular files by their path inside the version; links could lead out of it and are left out."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        return sorted(path.relative_to(self.folder).as_posix() for path in found if not path.name.startswith("."))
