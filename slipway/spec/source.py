"""``source``: where the trained model comes from."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from slipway.spec.base import Section


class SourceSpec(Section):
    """Where the trained model comes from: exactly one of ``factory`` and ``torchvision`` builds it."""

    factory: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$", description="package.module:function")
    torchvision: str | None = Field(default=None, description="name of a torchvision classification builder")
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the builder")
    checkpoint: str | None = Field(default=None, description="path, file: or http(s): URL of a state_dict")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="of the checkpoint file")

    @model_validator(mode="after")
    def _one_builder(self) -> SourceSpec:
        if (self.factory is None) == (self.torchvision is None):
            raise ValueError("give exactly one of factory and torchvision")
        return self
