"""What a canary must show, and what ends it at once: declared with the plan, judged by routing.verdict.judge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from slipway.spec.base import Section


class Latency(Section):
    """A quantile of the canary's latency against the stable version's."""

    quantile: float = Field(default=0.99, gt=0, lt=1, description="which one, 0.99 is p99")
    margin: float = Field(default=0.5, ge=0, description="how much longer it may be; 0.5 is half as long again")


class Outcome(Section):
    """A business outcome that comes by feedback, as yes or no."""

    margin: float = Field(default=0.02, ge=0, le=1, description="how much worse the canary may be, absolute")
    better: Literal["higher", "lower"] = Field(default="higher", description="which direction is good")
    required: bool = Field(default=True, description="no promotion before it is shown")


class Guardrails(Section):
    """What ends a rollout at once, without waiting for the comparison."""

    error_rate_max: float = Field(default=0.05, gt=0, le=1, description="of the canary, shown with confidence")
    not_finite_max: int = Field(default=0, ge=0, description="answers with NaN or infinite numbers")
    p99_max_ms: float | None = Field(default=None, gt=0, description="the canary's p99, shown with confidence")
    drift: bool = Field(default=True, description="what the drift hook reports ends the rollout")


class Rules(Section):
    """``alpha`` is the probability that a version that is no worse is aborted by the comparisons, however often one
    looks; it is divided equally among them. A promotion needs every comparison at ``alpha`` by itself.

    Requests are taken to be independent. Where few units send most of them, and units differ (cameras with their own
    accuracy), the promise does not hold."""

    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="false aborts of a version that is no worse, if its requests are independent: many units, few each",
    )
    min_requests: int = Field(default=200, ge=1, description="of the canary, in each step")
    min_seconds: float = Field(default=60.0, ge=0, description="of each step")
    error_margin: float = Field(default=0.01, ge=0, le=1, description="how many more requests may fail, absolute")
    accuracy_margin: float = Field(default=0.02, ge=0, le=1, description="how much less accurate it may be, absolute")
    accuracy_required: bool = Field(default=False, description="no promotion before labels have shown it")
    agreement_min: float | None = Field(default=None, gt=0, le=1, description="share of paired answers that must agree")
    latency: Latency | None = Field(default_factory=Latency, description="null: latency is not compared")
    outcomes: dict[str, Outcome] = Field(default_factory=dict, description="by name, as feedback names them")
    guardrails: Guardrails = Field(default_factory=Guardrails)
    ratio_alpha: float = Field(default=0.001, gt=0, lt=0.5, description="false alarms of the sample-ratio check")
