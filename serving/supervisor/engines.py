"""Which model servers there are, by the name that ``SLIPWAY_ENGINE`` gives; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable

from serving.json_log import ComponentLog
from serving.supervisor.engine import Engine
from slipway.settings import Settings


def open_engine(settings: Settings, log: ComponentLog) -> Engine:
    """The engine of the settings, configured and not started. Raises EnvironmentUnfit when it cannot run here."""
    return _ENGINES[settings.engine](settings, log)


def _triton(settings: Settings, log: ComponentLog) -> Engine:
    from serving.supervisor.triton_engine import TritonEngine

    return TritonEngine(settings, log)


def _torchserve(settings: Settings, log: ComponentLog) -> Engine:
    from serving.supervisor.torchserve_engine import TorchServeEngine

    return TorchServeEngine(settings, log)


_ENGINES: dict[str, Callable[[Settings, ComponentLog], Engine]] = {"triton": _triton, "torchserve": _torchserve}
