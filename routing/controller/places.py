"""Files of the controller, all below ``<state_dir>``."""

from __future__ import annotations

from pathlib import Path

from slipway.settings import Settings

#: What the supervisor calls the controller.
NAME = "routing"


def folder(settings: Settings) -> Path:
    """``<state_dir>/routing``, made when it is not there."""
    path = settings.state_dir / "routing"
    path.mkdir(parents=True, exist_ok=True)
    return path


def companion(settings: Settings) -> Path:
    """Names the controller to the supervisor, which starts it and keeps it alive while the file is there."""
    return settings.state_dir / "companions" / f"{NAME}.json"


def heartbeat(settings: Settings) -> Path:
    """``{"pid", "ticks", "feedback_port", "heartbeat", "store"}`` of the controller that runs, or ran last."""
    return settings.state_dir / "routing" / "controller.json"


def settings_file(settings: Settings) -> Path:
    """The settings that the controller is started with."""
    return settings.state_dir / "routing" / "settings.json"


def seen(settings: Settings, model: str) -> Path:
    """What the controller saw of one model's rollout last: observations and verdict."""
    return settings.state_dir / "routing" / "seen" / f"{model}.json"
