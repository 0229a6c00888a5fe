"""What the controller last said of itself: whether it runs, answers, or is gone."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from routing.controller import places
from serving import process_id
from slipway.settings import Settings

#: A pass takes half a second, and one that finds its database hanging less than ten.
_OLD_SECONDS = 15.0
_GONE = "no controller runs (`slipway serve` starts it)"


@dataclass(frozen=True)
class Heartbeat:
    """``time``: epoch seconds of the last one; ``ticks``: as of serving.process_id; ``feedback_port``: of loopback."""

    pid: int
    ticks: int | None
    time: float
    feedback_port: int

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return process_id.alive(self.pid, self.ticks)

    def says(self) -> str:
        """In words."""
        if not self.alive:
            return _GONE
        age = time.time() - self.time
        if age > _OLD_SECONDS:
            return f"the controller (process {self.pid}) has not answered for {age:.0f} s"
        return f"the controller (process {self.pid}) runs, and has not finished another look"


def read(settings: Settings) -> Heartbeat | None:
    """The last one; None before the first."""
    try:
        values = json.loads(places.heartbeat(settings).read_text(encoding="utf-8"))
        return Heartbeat(int(values["pid"]), values["ticks"], float(values["heartbeat"]), int(values["feedback_port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def says(settings: Settings) -> str:
    """Whether the controller runs and answers, in words."""
    beat = read(settings)
    return beat.says() if beat is not None else _GONE
