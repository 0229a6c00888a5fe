"""What a serving benchmark is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmarks.images import ImageSet
from slipway.errors import BenchmarkFailed

#: The pipeline without a server; through the edge over gRPC and HTTP; gRPC straight to Triton, without the edge; gRPC
#: through an Envoy that does nothing but pass it on.
ARMS = ("raw", "grpc", "http", "triton-grpc", "envoy-grpc")


@dataclass(frozen=True)
class Options:
    """``seconds``: measured time of each arm over all its ``rounds``; ``concurrency``: closed-loop clients; ``batch``:
    images per request, and per call of the raw pipeline; ``images``: see benchmarks.images; ``out``: results folder.
    Raises BenchmarkFailed for values that cannot be measured."""

    model: str = "resnet18"
    seconds: float = 20.0
    concurrency: int = 8
    batch: int = 1
    rounds: int = 3
    images: ImageSet = "mixed"
    arms: tuple[str, ...] = ("raw", "grpc", "http")
    out: Path = Path("benchmarks/results")

    def __post_init__(self) -> None:
        checks = [
            (set(self.arms) <= set(ARMS) and "raw" in self.arms, "arms", self.arms, f"raw and others of {ARMS}"),
            (self.seconds > 0, "seconds", self.seconds, "> 0"),
            (self.concurrency >= 1, "concurrency", self.concurrency, ">= 1"),
            (self.batch >= 1, "batch", self.batch, ">= 1"),
            (self.rounds >= 1, "rounds", self.rounds, ">= 1"),
            (self.images in get_args(ImageSet), "images", self.images, " or ".join(get_args(ImageSet))),
        ]
        for good, name, observed, expected in checks:
            if not good:
                raise BenchmarkFailed(f"{name} cannot be measured", observed=observed, expected=expected)

    @property
    def round_seconds(self) -> float:
        """Measured seconds of one round of one arm."""
        return self.seconds / self.rounds
