"""``optimise``: steps that make the trained module smaller or better before it is exported."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from slipway.spec.base import Section
from slipway.spec.source import SourceSpec

#: A Python callable of the user's: ``package.module:function``, installed or below the project's root.
FUNCTION = r"^[\w.]+:\w+$"


class PruneStep(Section):
    """Structured pruning: whole channels go, least important first, and what is left is trained on."""

    ratio: float = Field(gt=0, lt=1, description="share of every layer's channels that goes")
    importance: Literal["magnitude", "taylor", "lamp"] = "magnitude"
    across_layers: bool = Field(default=False, description="the ratio holds for the network, not for each layer")
    round_to: int = Field(
        default=1, ge=1, description="channels that stay are a multiple, rounded down; kernels like 8"
    )
    keep: tuple[str, ...] = Field(default=(), description="module paths that keep their outputs; the last layer always")
    steps: int = Field(default=1, ge=1, le=20, description="prune and fine-tune in so many steps")
    loss: str | None = Field(
        default=None,
        pattern=FUNCTION,
        description="gets the module, returns the loss on training images; taylor ranks channels by its gradients",
    )
    fine_tune: str | None = Field(
        default=None, pattern=FUNCTION, description="gets the pruned module and `arguments`, returns it trained"
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of fine_tune")

    @model_validator(mode="after")
    def _taylor_needs_gradients(self) -> PruneStep:
        if (self.importance == "taylor") != (self.loss is not None):
            raise ValueError("importance: taylor and loss belong together: it ranks channels by the loss's gradients")
        return self


class DistilStep(Section):
    """Knowledge distillation: a student learns from the answers of a teacher."""

    function: str = Field(
        pattern=FUNCTION, description="gets student, teacher and `arguments`, returns the student trained"
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of function")
    student: SourceSpec | None = Field(default=None, description="the module of the step before unless set")
    teacher: SourceSpec | None = Field(default=None, description="the trained model of `source` unless set")

    @model_validator(mode="after")
    def _two_models(self) -> DistilStep:
        if self.student is not None and self.student.location is not None and self.student == self.teacher:
            raise ValueError("student and teacher are the same model")
        return self


class OptimiseStep(Section):
    """One step: exactly one of ``prune`` and ``distil``."""

    prune: PruneStep | None = None
    distil: DistilStep | None = None
    seed: int = Field(default=0, ge=0, description="torch's random state when the step begins")

    @model_validator(mode="after")
    def _one(self) -> OptimiseStep:
        if (self.prune is None) == (self.distil is None):
            raise ValueError("give exactly one of prune and distil in each step")
        return self

    @property
    def functions(self) -> tuple[str, ...]:
        """The user's callables that it runs: their code decides the outcome."""
        named: list[str | None] = []
        if self.prune is not None:
            named += [self.prune.loss, self.prune.fine_tune]
        if self.distil is not None:
            sources = [item for item in (self.distil.student, self.distil.teacher) if item is not None]
            named += [self.distil.function, *(source.factory for source in sources)]
        return tuple(name for name in named if name is not None)
