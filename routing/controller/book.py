"""What the controller needs of the store of exposures and outcomes."""

from __future__ import annotations

from typing import Protocol

from routing.observations import ArmSeen, Observations
from routing.rollout.state import RolloutState
from routing.verdict.judge import Verdict


class Server(Protocol):
    """Something that serves until it is stopped."""

    @property
    def port(self) -> int:
        """Of 127.0.0.1."""

    def stop(self) -> None:
        """Returns when the port is free."""


class Book(Protocol):
    """Every method raises StoreUnavailable when the database does not answer; the next call tries again.

    ``compare``, ``observe`` and ``tidy`` may take long: another thread calls them, while the others are called too.
    """

    def collect(self) -> None:
        """Reads what the edge and the handlers have written since."""

    def glance(self, state: RolloutState, version: int) -> ArmSeen:
        """What guardrails look at of one version, in milliseconds: labels and outcomes are left out."""

    def compare(self, state: RolloutState) -> None:
        """Compares the new pairs of answers of a rollout's versions, and keeps the worst."""

    def observe(self, state: RolloutState) -> Observations:
        """Everything that was seen of a rollout."""

    def keep_verdict(self, state: RolloutState, verdict: Verdict, now: float) -> None:
        """Adds one verdict to the record."""

    def serve_feedback(self, port: int) -> Server:
        """Takes labels, outcomes and reports of drift on loopback: at ``port``, or another where that is taken or 0."""

    def tidy(self) -> None:
        """Removes what is older than the retention rule says."""

    def close(self) -> None:
        """Lets go of connections; raises nothing."""
