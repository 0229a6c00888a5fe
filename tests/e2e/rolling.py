"""A rollout that a test begins as `slipway route` does, and what it asks of it."""

from __future__ import annotations

import io

from PIL import Image

from routing.controller.companion import ensure_controller
from routing.plan.model import RoutePlan
from routing.rollout import control as rollouts
from routing.rollout.state import RolloutState
from tests.e2e.served import Served

RULES = {"min_requests": 30, "min_seconds": 0.5, "error_margin": 0.2, "latency": None}


def state_of(served: Served) -> RolloutState:
    return rollouts.current(served.settings, "colour")


def plan(canary: int, **values: object) -> RoutePlan:
    steps = values.pop("steps", ("10%", "50%", "100%"))
    return RoutePlan(canary=canary, steps=steps, bake=0.5, auto=True, rules=RULES, **values)


def begin(served: Served, wanted: RoutePlan) -> RolloutState:
    """As `slipway route` does it."""
    state = rollouts.start(served.settings, "colour", wanted)
    ensure_controller(served.settings)
    return state


def bright() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (64, 64), (250, 240, 230)).save(made, "PNG")
    return made.getvalue()


def ended(served: Served) -> bool:
    return not state_of(served).active
