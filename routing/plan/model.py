"""RoutePlan: what is declared about one model's traffic; a canary that walks its steps, a shadow, and their rules."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from routing.plan.share import Share, show_share
from routing.verdict.rules import Rules
from slipway.spec.base import Section

#: Steps of a canary that follows its verdict and names none.
DEFAULT_STEPS = (0.01, 0.05, 0.25, 0.5, 1.0)
#: Where a unit comes from: what the edge can read of a request.
_UNIT = re.compile(r"(header|cookie):[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER = re.compile(r"[A-Za-z0-9_-]+")
#: Requests have these without naming a version by them: every one would name a version that there is not.
_TAKEN = re.compile(
    r"host|te|trailer|via|from|date|range|if-.*|origin|referer|forwarded|user-agent|cookie|authorization|upgrade.*|expect"
    r"|connection|keep-alive|proxy-.*|transfer-encoding|content-.*|accept.*|cache-control|pragma|grpc-.*|sec-.*"
    r"|x-request-id|x-forwarded-.*|x-real-ip|x-amzn-.*|x-b3-.*|x-envoy-.*|x-slipway-.*|slipway-.*|traceparent|tracestate"
    r"|baggage|inference-header-content-length|triton-.*"
)


def _spelled_out(value: object) -> object:
    """A step may be written as its share alone."""
    return value if isinstance(value, (dict, Section)) else {"share": value}


class Step(Section):
    """One step of a canary."""

    share: Share = Field(description="of all units: 10% or 0.1")
    bake: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="seconds that it lasts at least; else the plan's `bake`"
    )


class ShadowPlan(Section):
    """Copies to a version that nobody sees."""

    version: int = Field(ge=1, description="a published version")
    share: Share = Field(default=1.0, description="of all requests")
    concurrency: int = Field(default=2, ge=1, le=64, description="copies in flight at most; what exceeds it is dropped")


class LayerPlan(Section):
    """Experiments of one layer exclude each other: each takes its own part of the units."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="shared by those that exclude each other")
    start: Share = Field(default=0.0, description="first unit of the part")
    stop: Share = Field(default=1.0, description="end of the part")

    @model_validator(mode="after")
    def _not_empty(self) -> LayerPlan:
        if self.stop <= self.start:
            raise ValueError(f"stop ({show_share(self.stop)}) has to be above start ({show_share(self.start)})")
        return self


class RoutePlan(Section):
    """The traffic of one model."""

    canary: int | None = Field(default=None, ge=1, description="the version that is tried")
    share: Share | None = Field(default=None, description="of the canary: where it begins, or stays without `steps`")
    steps: tuple[Annotated[Step, BeforeValidator(_spelled_out)], ...] = Field(
        default=(), description="shares of the canary, ascending, each alone or with its own `bake`"
    )
    bake: float = Field(default=300.0, ge=0, allow_inf_nan=False, description="seconds that a step lasts at least")
    auto: bool = Field(default=False, description="follow the verdict: next step, promotion, abort")
    shadow: ShadowPlan | None = Field(default=None, description="copies to a version that nobody sees")
    units: tuple[str, ...] = Field(
        default=("header:x-unit-id",),
        description="`header:NAME` or `cookie:NAME`, the first there is; else the request id",
    )
    override: str = Field(default="x-model-version", description="header that names a version and always wins")
    allow: dict[str, int] = Field(default_factory=dict, description="unit -> version; left out of the analysis")
    layer: LayerPlan | None = Field(default=None, description="experiments that exclude each other")
    record: Share = Field(default=1.0, description="of the requests: their predictions are kept")
    compare: Share = Field(default=0.05, description="of the canary's requests: asked of the stable version too")
    compare_concurrency: int = Field(default=2, ge=1, le=64, description="such copies in flight at most")
    keep_images: bool = Field(default=False, description="keep images of recorded requests, for the report")
    fallback: bool = Field(default=True, description="ask the stable version when the canary fails")
    try_timeout: float = Field(
        default=10.0, ge=0.1, le=3600, description="seconds after which a canary that has not answered has failed"
    )
    rules: Rules = Field(default_factory=Rules, description="what promotes, what aborts")

    @field_validator("units")
    @classmethod
    def _readable(cls, units: tuple[str, ...]) -> tuple[str, ...]:
        for unit in units:
            if not _UNIT.fullmatch(unit):
                raise ValueError(f"{unit!r}: write header:NAME or cookie:NAME")
        # the edge knows headers in lower case; cookies are told apart by it (RFC 6265, 5.4)
        return tuple(unit.lower() if unit.startswith("header:") else unit for unit in units)

    @field_validator("override")
    @classmethod
    def _header(cls, name: str) -> str:
        if not _HEADER.fullmatch(name):
            raise ValueError("not the name of a header")
        if _TAKEN.fullmatch(name.lower()):
            raise ValueError("requests have this header for something else; choose one of your own, as x-model-version")
        return name.lower()

    @model_validator(mode="after")
    def _consistent(self) -> RoutePlan:
        if self.canary is None and self.shadow is None:
            raise ValueError("names neither a canary nor a shadow")
        if self.canary is None and (self.steps or self.share is not None or self.auto):
            raise ValueError("share, steps and auto need a canary")
        if self.canary is not None and self.shadow is not None and self.canary == self.shadow.version:
            raise ValueError("canary and shadow are the same version; a canary is compared by `compare`")
        if self.canary is not None and self.share is None and not self.steps and not self.auto:
            raise ValueError("canary: say how much it gets, by share or by steps")
        shares = [step.share for step in self.steps]
        if shares != sorted(set(shares)):
            raise ValueError(f"steps have to ascend: {', '.join(map(show_share, shares))}")
        if self.auto and self.walk[0].share == 0:
            raise ValueError("a step of 0% has no traffic, and auto would wait in it for ever")
        if self.auto and self.walk[0].share == 1:
            raise ValueError("a walk of 100% alone has no stable traffic to compare with, and auto would wait for ever")
        return self

    @property
    def walk(self) -> tuple[Step, ...]:
        """The steps as they are walked, every one with its bake; empty without a canary.

        A share beside steps is where the walk begins: steps that are not above it are left out.
        """
        if self.canary is None:
            return ()
        steps = self.steps
        if not steps and self.share is None:
            steps = tuple(Step(share=share) for share in DEFAULT_STEPS)
        if self.share is not None:
            begin = next((step for step in steps if step.share == self.share), Step(share=self.share))
            steps = (begin, *(step for step in steps if step.share > self.share))
        return tuple(step if step.bake is not None else Step(share=step.share, bake=self.bake) for step in steps)

    @property
    def versions(self) -> tuple[int, ...]:
        """Every version that the plan names, each once."""
        named = [self.canary, self.shadow.version if self.shadow else None, *self.allow.values()]
        return tuple(dict.fromkeys(version for version in named if version is not None))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values of what differs from the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Routes(Section):
    """``config/routes.yaml``."""

    models: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")], RoutePlan] = Field(
        default_factory=dict, description="plans by public model"
    )
