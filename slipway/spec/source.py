"""``source``: where the trained model comes from.

Either a builder (``factory``, ``torchvision``, ``timm``) and the weights for it, or one file that is a whole network
(ONNX, TorchScript, torch.export). A file is named by one key; every key takes the same locations: a path, a ``file:``
or ``http(s):`` URL, ``models:/name@alias`` or ``models:/name/3`` of an MLflow registry, ``package:name/path``.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from slipway.spec.base import Section

#: Keys that build a module, and keys that name a file; at most one of each may be set.
BUILDERS = ("factory", "torchvision", "timm")
NETWORKS = ("onnx", "torchscript", "torch_export")
FILES = ("checkpoint", "weights", *NETWORKS, "mlflow", "package")
#: What says where a file lies, and nothing of what is in it: no part of a model's identity.
PLACES = (*FILES, "file", "artifact", "tracking_uri", "allow_pickle", "sha256")

_LOCATION = "path, file: or http(s): URL, models:/name@alias, package:name/path"


class SourceSpec(Section):
    """Where the trained model comes from: a builder and its weights, or a file that is a whole network."""

    factory: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$", description="package.module:function")
    torchvision: str | None = Field(default=None, description="name of a torchvision classification builder")
    timm: str | None = Field(default=None, description="name of a timm architecture, without the tag of its weights")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the builder")
    checkpoint: str | None = Field(default=None, description=f"state_dict for the builder: {_LOCATION}")
    weights: str | None = Field(
        default=None, description="published weights: torchvision's enum name (IMAGENET1K_V2) or timm's tag (a1_in1k)"
    )
    onnx: str | None = Field(default=None, description=f"ONNX file: {_LOCATION}")
    torchscript: str | None = Field(default=None, description=f"TorchScript file: {_LOCATION}")
    torch_export: str | None = Field(default=None, description=f"torch.export program (.pt2): {_LOCATION}")
    mlflow: str | None = Field(
        default=None,
        pattern=r"^models:/",
        description="models:/name@alias or models:/name/3: ONNX, TorchScript, torch.export, or weights for the builder",
    )
    tracking_uri: str | None = Field(default=None, description="of the MLflow registry; MLFLOW_TRACKING_URI unless set")
    artifact: str | None = Field(default=None, description="file of the MLflow version, where it has several")
    allow_pickle: bool = Field(
        default=False, description="unpickle an MLflow pytorch module: runs whatever code its writer put there"
    )
    package: str | None = Field(default=None, description="installed Python package that holds `file`")
    file: str | None = Field(default=None, description="path inside `package`; .onnx, .pt, .pt2, else a checkpoint")
    output: str | None = Field(default=None, description="which output of an ONNX file holds the logits")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="of the file, wherever it lies")

    @property
    def builder(self) -> str | None:
        """Which key builds the module, None where the file is a whole network."""
        return next((key for key in BUILDERS if getattr(self, key) is not None), None)

    @property
    def file_key(self) -> str | None:
        """Which key names the file, None for a factory that brings its own weights."""
        return next((key for key in FILES if getattr(self, key) is not None), None)

    @property
    def location(self) -> str | None:
        """Where the file lies; None when there is none, or only the name of published weights."""
        if self.package is not None:
            return f"package:{self.package}/{self.file}"
        key = self.file_key
        return None if key in (None, "weights") else str(getattr(self, str(key)))

    def with_file(self, location: str) -> SourceSpec:
        """A copy that takes its file from another location; a network file stays of its kind."""
        places: dict[str, Any] = dict.fromkeys(PLACES)
        key = self.file_key if self.file_key in NETWORKS else "checkpoint"
        kept = {"allow_pickle": False, "tracking_uri": self.tracking_uri}
        if self.builder is None and key == "checkpoint":
            key = next((name for name, suffix in _SUFFIXES.items() if location.endswith(suffix)), "torchscript")
        return self.model_copy(update={**places, **kept, str(key): location})

    def without_place(self) -> SourceSpec:
        """A copy without everything that says where the file lies; its content is identified by a digest."""
        return self.model_copy(update={**dict.fromkeys(PLACES), "allow_pickle": False})

    @model_validator(mode="after")
    def _one_of_each(self) -> SourceSpec:
        builders = [key for key in BUILDERS if getattr(self, key) is not None]
        files = [key for key in FILES if getattr(self, key) is not None]
        if len(builders) > 1:
            raise ValueError(f"give one of {', '.join(builders)}: each of them builds the module")
        if len(files) > 1:
            raise ValueError(f"give one of {', '.join(files)}: each of them names the file")
        if not builders and (not files or files[0] in ("checkpoint", "weights")):
            raise ValueError(
                "give exactly one of factory, torchvision and timm"
                + (f": {files[0]} needs a builder" if files else ", or a file: onnx, torchscript, mlflow, package")
            )
        if builders and files and files[0] in NETWORKS:
            raise ValueError(f"{files[0]} is a whole network: remove {builders[0]}, or name weights as checkpoint")
        return self

    @model_validator(mode="after")
    def _keys_that_belong_together(self) -> SourceSpec:
        if (self.package is None) != (self.file is None):
            raise ValueError("package and file belong together: the file's path inside the package")
        if self.weights is not None and self.builder == "factory":
            raise ValueError("weights are published for torchvision and timm; give a factory's as checkpoint")
        if self.output is not None and self.builder is not None:
            raise ValueError("output chooses among the outputs of an ONNX file; a builder returns one tensor")
        registry = (self.location or "").startswith("models:/")
        for key in ("tracking_uri", "artifact", "allow_pickle"):
            if getattr(self, key) and not registry:
                raise ValueError(f"{key} is for an MLflow version, and no models:/ location is given")
        if self.arguments and self.builder is None:
            raise ValueError("arguments are for a builder, and there is none")
        return self


_SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "torchscript": ".pt"}
