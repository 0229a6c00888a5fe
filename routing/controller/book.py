"""What the controller needs of the store of exposures and outcomes."""

from __future__ import annotations

from typing import Protocol

from routing.observations import Observations
from routing.rollout.state import RolloutState
from routing.verdict.judge import Verdict


class Book(Protocol):
    """Every method raises StoreUnavailable when the database does not answer; the next call tries again."""

    def collect(self) -> None:
        """Reads what the edge and the handlers have written since, and compares new pairs of answers."""

    def observe(self, state: RolloutState) -> Observations:
        """Everything that was seen of a rollout."""

    def keep_verdict(self, state: RolloutState, verdict: Verdict, now: float) -> None:
        """Adds one verdict to the record."""

    def take_feedback(self, body: str) -> dict[str, int]:
        """Labels and outcomes, a JSON object or JSON lines; what was counted. Raises FeedbackInvalid."""

    def tidy(self) -> None:
        """Removes what is older than the retention rule says."""

    def close(self) -> None:
        """Lets go of connections; raises nothing."""
