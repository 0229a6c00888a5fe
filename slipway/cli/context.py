"""What commands work on, imported when they run: pydantic alone would take half of what `slipway --help` may take."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slipway.repository import Repository
    from slipway.settings import Settings
    from slipway.spec import ModelSpec


def load_settings(engine: str | None = None) -> Settings:
    """The settings of this machine; raises SettingsInvalid. ``engine``: what a command's option names goes before."""
    from slipway.settings import Settings

    return Settings.load() if engine is None else Settings.load({**os.environ, "SLIPWAY_ENGINE": engine})


def open_repository(settings: Settings | None = None) -> Repository:
    """The repository that the settings name."""
    from slipway.repository import Repository

    return Repository((settings or load_settings()).repository)


def load_spec(model: str, settings: Settings) -> ModelSpec:
    """The specification of a model; raises SpecNotFound or SpecInvalid."""
    from slipway.spec import load_model_spec

    return load_model_spec(model, settings)
