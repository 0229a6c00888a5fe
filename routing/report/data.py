"""What a report shows, in plain values: whoever has these can draw one, with or without a database.

Times are seconds since 1970, shares and rates 0..1, latencies milliseconds. None, and NaN, mean: not known (yet).
Texts may be anything that a client has sent; the page escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Versions:
    """Who takes part; ``canary`` and ``shadow`` are None without one."""

    stable: int
    canary: int | None = None
    shadow: int | None = None

    def role(self, version: int | None) -> str:
        """``stable``, ``canary``, ``shadow``, or nothing for a version that takes no part."""
        named = {self.stable: "stable", self.shadow: "shadow", self.canary: "canary"}
        return named.get(version, "") if version is not None else ""


@dataclass(frozen=True)
class StepRow:
    """One step of the plan. ``bake``: seconds that it lasts at least. ``started`` is None while it has not begun."""

    share: float
    bake: float | None = None
    started: float | None = None
    ended: float | None = None


@dataclass(frozen=True)
class ArmRow:
    """One version's part. ``share``: declared, of all units. ``errors`` of ``requests`` failed, and the rate lies in
    ``error_lower..error_upper``; ``correct`` of ``labelled`` answers, ``not_finite`` of ``answers`` recorded. Of a
    shadow, ``requests`` are the copies whose answers were recorded beside the stable version's."""

    version: int
    share: float | None = None
    units: int | None = None
    requests: int = 0
    errors: int = 0
    error_lower: float | None = None
    error_upper: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    labelled: int = 0
    correct: int = 0
    answers: int = 0
    not_finite: int = 0


@dataclass(frozen=True)
class Ruling:
    """A guardrail, or the sample-ratio test: what was found against what is allowed.

    ``decision``: ``pass``, ``hold`` or ``abort``, or whatever word its maker has; ``text``: a sentence.
    """

    name: str
    decision: str
    found: str = ""
    allowed: str = ""
    text: str = ""


@dataclass(frozen=True)
class CheckRow:
    """One metric of a verdict. ``unit``: ``rate``, ``points`` (a difference of rates), ``ms``, ``ratio`` or nothing."""

    metric: str
    decision: str
    text: str = ""
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    trials: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class VerdictView:
    """``decision``: promote, hold or abort. ``reasons``: plain words, the weightiest first."""

    decision: str
    reasons: tuple[str, ...] = ()
    checks: tuple[CheckRow, ...] = ()
    time: float | None = None


@dataclass(frozen=True)
class PastVerdict:
    """A verdict as it was made in 0-based ``step``, or a change of the rollout; ``text``: why."""

    time: float
    step: int
    decision: str
    text: str = ""


@dataclass(frozen=True)
class Traffic:
    """One version's requests from ``start`` on, for ``ReportData.interval`` seconds."""

    start: float
    version: int
    requests: int
    errors: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True)
class Band:
    """An estimate and its confidence sequence as they were at ``time``."""

    time: float
    estimate: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Curve:
    """A metric over time. ``version`` is None for what is of both. ``limit``: what the rules allow.

    ``unit``: as CheckRow's.
    """

    metric: str
    bands: tuple[Band, ...]
    unit: str = "rate"
    version: int | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Answer:
    """One version's recorded answer. ``summary``: as the handlers emit it for the task; None with ``code``: failed."""

    version: int
    summary: Mapping[str, Any] | None
    code: str | None = None


@dataclass(frozen=True)
class Disagreement:
    """Two versions' answers to image ``index`` of one request. ``image``: the encoded file, where images are kept."""

    request_id: str
    task: str
    left: Answer
    right: Answer
    index: int = 0
    time: float | None = None
    distance: float | None = None
    image: bytes | None = None


@dataclass(frozen=True)
class Failure:
    """A request whose assigned version failed. ``answered``: the version that answered after all, None for nobody."""

    request_id: str
    time: float
    version: int
    code: str = ""
    answered: int | None = None


@dataclass(frozen=True)
class Outcome:
    """A business outcome: ``hits`` of ``trials`` requests of ``version`` that an outcome was reported for."""

    name: str
    version: int
    trials: int
    hits: int


@dataclass(frozen=True)
class Place:
    """How to come to the same figures: a command line, or where a file lies, and what it is."""

    what: str
    text: str


@dataclass(frozen=True)
class ReportData:
    """Everything of one rollout. ``step``: 0-based, of ``steps``. ``interval``: seconds of one point of ``traffic``.

    ``problem``: why something is missing, such as a database that does not answer. ``failed``: of the canary;
    ``unanswered``: those of them that nobody answered; ``failures``: the newest of them. ``shadow_failures``: how often
    the shadow failed with which code; ``shadow_copies``: ``sent``, ``waiting``, ``failed`` and ``dropped`` at the edge.
    """

    model: str
    experiment: str
    salt: str
    status: str
    versions: Versions
    started: float | None = None
    ended: float | None = None
    made: float | None = None
    reasons: tuple[str, ...] = ()
    problem: str = ""
    steps: tuple[StepRow, ...] = ()
    step: int = 0
    arms: tuple[ArmRow, ...] = ()
    sample_ratio: Ruling | None = None
    guardrails: tuple[Ruling, ...] = ()
    verdict: VerdictView | None = None
    history: tuple[PastVerdict, ...] = ()
    interval: float = 60.0
    traffic: tuple[Traffic, ...] = ()
    error_rates: tuple[Curve, ...] = ()
    differences: tuple[Curve, ...] = ()
    agreements: tuple[Curve, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    failed: int | None = None
    unanswered: int | None = None
    shadow_failures: Mapping[str, int] = field(default_factory=dict)
    shadow_copies: Mapping[str, int] | None = None
    failures: tuple[Failure, ...] = ()
    reproduce: tuple[Place, ...] = field(default=())
