"""The drift hook: what whoever watches a version's inputs and answers says of it, the newest report of each model.

``<state_dir>/routing/drift/<model>.json``, replaced by rename: ``{"version": 2, "drift": true, "reason": "...",
"time": 1795000000.0}``. Written by hand or by a program, by `POST /drift` or by `slipway route drift`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from slipway.errors import DriftInvalid
from slipway.files import write_atomically
from slipway.repository import Repository
from slipway.settings import Settings
from slipway.spec.base import Section

_EXPECTED = '{"version": 2, "drift": true, "reason": "...", "time": seconds since 1970}'
#: Clocks of two machines differ; what claims to come from later than that would be newer than every rollout to come.
_AHEAD_SECONDS = 60.0
_LARGEST = 64 << 10


class DriftReport(Section):
    """Whether ``version`` drifts, and in which words; ``time``: seconds since 1970."""

    version: int = Field(ge=1, strict=True)
    drift: bool = Field(strict=True)
    reason: str = Field(default="", max_length=500)
    time: float = Field(ge=0, allow_inf_nan=False, strict=True)

    def of(self, version: int, since: float) -> str | None:
        """Why ``version`` is said to drift, by a report that is newer than ``since``; None where none says so."""
        if self.version != version or not self.drift or self.time <= since:
            return None
        return self.reason or "no reason was given"


def path_of(settings: Settings, model: str) -> Path:
    """Where the newest report about ``model`` lies."""
    return settings.state_dir / "routing" / "drift" / f"{model}.json"


def read(settings: Settings, model: str) -> DriftReport | None:
    """The newest report about ``model``; None without one. Raises DriftInvalid for a file that cannot be understood."""
    path = path_of(settings, model)
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise DriftInvalid(f"{path} cannot be read", observed=problem.strerror) from None
    return _report(_object(content), str(path))


def take(settings: Settings, body: bytes) -> DriftReport:
    """Stores a report: a JSON object as in the file, with its ``model``; without ``time`` it is of now.

    Raises DriftInvalid, ModelNotFound or VersionNotFound.
    """
    values = _object(body)
    model = values.pop("model", None)
    if not isinstance(model, str):
        raise DriftInvalid("a drift report names no model", expected='{"model": "digits", ' + _EXPECTED[1:])
    report = _report({"time": time.time(), **values}, f"the drift report about {model[:80]}")
    Repository(settings.repository).version_dir(model, report.version)
    path = path_of(settings, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, report.model_dump_json())
    return report


def _object(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise DriftInvalid("a drift report is not JSON", observed=str(problem)[:200], expected=_EXPECTED) from None
    if not isinstance(values, dict):
        raise DriftInvalid("a drift report is not an object", observed=type(values).__name__, expected=_EXPECTED)
    return values


def _report(values: dict[str, Any], what: str) -> DriftReport:
    try:
        report = DriftReport.model_validate(values)
    except ValidationError as problem:
        item = problem.errors()[0]
        place = ".".join(map(str, item["loc"]))
        raise DriftInvalid(f"{what}: {place}: {item['msg']}", expected=_EXPECTED) from None
    if report.time > time.time() + _AHEAD_SECONDS:
        raise DriftInvalid(f"{what} comes from the future", observed=report.time, expected="seconds since 1970, of now")
    return report
