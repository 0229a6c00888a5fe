"""What was seen of an experiment so far, in the form in which a verdict is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.edge.copies import Copies


@dataclass(frozen=True)
class Rate:
    """``hits`` of ``trials``; both whole numbers, 0 <= hits <= trials."""

    trials: int = 0
    hits: int = 0


@dataclass(frozen=True)
class Latencies:
    """How often each latency came: as many numbers as there are different ones, however many requests there were.

    ``values``: float64[k], milliseconds, ascending. ``ends``: int64[k], how many requests took ``values`` or less.
    """

    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    ends: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @classmethod
    def of(cls, values: ArrayLike, counts: ArrayLike | None = None) -> Latencies:
        """From values in any order, each ``counts`` times, or once."""
        found = np.asarray(values, dtype=np.float64)
        order = np.argsort(found, kind="stable")
        many = np.ones(len(found), dtype=np.int64) if counts is None else np.asarray(counts, dtype=np.int64)
        return cls(found[order], np.cumsum(many[order]))

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def ranked(self, rank: int) -> float:
        """The value of ``rank``, 1 is the smallest; 1 <= rank <= len."""
        return float(self.values[np.searchsorted(self.ends, rank)])

    def quantile(self, q: float) -> float | None:
        """Between the two nearest values by their ranks, as numpy does; None without any."""
        if not len(self):
            return None
        at = q * (len(self) - 1)
        low, high = self.ranked(int(at) + 1), self.ranked(min(int(at) + 2, len(self)))
        return low + (high - low) * (at - int(at))


@dataclass(frozen=True)
class ArmSeen:
    """One version's requests, assigned by hash only: overrides and allow-listed units are left out.

    ``errors``: requests whose assigned version failed (5xx, gRPC UNKNOWN, INTERNAL, UNAVAILABLE), also when a retry on
    the stable version gave the client a good answer. ``not_finite``: answers with NaN or infinite numbers.
    ``latencies_ms``: of requests that the version itself answered. ``correct``: labels that came by feedback.
    ``outcomes``: business outcomes by name.
    """

    version: int
    errors: Rate = Rate()
    not_finite: Rate = Rate()
    latencies_ms: Latencies = field(default_factory=Latencies)
    correct: Rate = Rate()
    outcomes: dict[str, Rate] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """Distinct units by arm while the weights stayed the same. ``share``: the canary's declared share of both."""

    share: float
    stable_units: int
    canary_units: int


@dataclass(frozen=True)
class Part:
    """Both versions while the weights stayed the same, 0 < share < 1; recorded answers are not told apart by time."""

    stable: ArmSeen
    canary: ArmSeen


@dataclass(frozen=True)
class ShadowSeen:
    """What came of the copies that a shadow got, as far as it was noted: of ``copies`` images that the stable version
    answered it failed as many as ``failures`` says, by code. ``agreement``: of the others that can be compared.

    A copy that was never answered leaves no note: ``edge`` is what the edge counts, None where none runs.
    """

    version: int
    copies: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    agreement: Rate = Rate()
    edge: Copies | None = None

    @property
    def failed(self) -> int:
        """All failures."""
        return sum(self.failures.values())


@dataclass(frozen=True)
class Observations:
    """Everything that a verdict is made of, and what is shown beside it.

    ``parts``: what is compared, the oldest first; None where the weights never changed, and both arms as they are may
    be compared. ``over``: all units see the canary now, so nothing more comes to compare. ``agreement``: paired answers
    of both versions to one image (shadow and copies). ``seconds``: since the first exposure of the current step.
    ``step_requests``: of the canary in the current step. ``unreadable``: metric -> why it cannot be read now.
    ``drift``: what the drift hook says of the canary, None where it says nothing. ``shadow``: not judged, shown.
    """

    stable: ArmSeen
    canary: ArmSeen
    splits: tuple[Split, ...] = ()
    parts: tuple[Part, ...] | None = None
    over: bool = False
    agreement: Rate = Rate()
    seconds: float = 0.0
    step_requests: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    drift: str | None = None
    shadow: ShadowSeen | None = None

    @property
    def compared(self) -> tuple[Part, ...]:
        """The parts, of which there is one when none are told apart."""
        return (Part(self.stable, self.canary),) if self.parts is None else self.parts
