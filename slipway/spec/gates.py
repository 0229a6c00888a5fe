"""``gates``: what an export must hold to be published."""

from __future__ import annotations

from pydantic import Field

from slipway.spec.base import Section
from slipway.spec.gates_parity import ExecutesGate, ParityGate
from slipway.spec.gates_speed import SpeedGate
from slipway.spec.gates_task import PreprocessingGate, TaskGate


class GatesSpec(Section):
    """What an export must hold to be published."""

    executes: ExecutesGate = Field(default_factory=ExecutesGate)
    parity: ParityGate = Field(default_factory=ParityGate)
    task: TaskGate = Field(default_factory=TaskGate)
    preprocessing: PreprocessingGate = Field(default_factory=PreprocessingGate)
    speed: SpeedGate | None = Field(default=None, description="asked of an export only where it is given")
