"""A model as its users see it: encoded images in, answers out, whatever networks lie between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from export.images import HeldOut
from handlers.calls import Call, Networks, Output, RunNetwork, only
from handlers.fields import Record
from handlers.pipeline import Pipeline
from slipway.contract import Contract
from slipway.errors import ImageError, SamplesInvalid
from slipway.spec import GatesSpec

#: At most so many inputs of each network are kept while the trained model answers.
_MOST_INPUTS = 96


@dataclass(frozen=True)
class Whole:
    """``networks``: the trained ones, by the contract's names."""

    contract: Contract
    gates: GatesSpec
    held_out: HeldOut
    networks: Networks

    @cached_property
    def records(self) -> list[Record]:
        """The trained model's answer to every held-out image. Raises SamplesInvalid for an image that has none."""
        return self.answers(self.networks)

    def answers(self, networks: Networks) -> list[Record]:
        """The answer to every held-out image with other networks behind the same contract.

        Raises NetworkFailed, and SamplesInvalid for an image that has none."""
        pipeline = Pipeline(self.contract, networks)
        return [self._one(pipeline, image.name, image.encoded) for image in self.held_out.images]

    def _one(self, pipeline: Pipeline, name: str, encoded: bytes) -> Record:
        (answer,) = pipeline.run([encoded], _everything(self.contract))
        if isinstance(answer, ImageError):
            raise SamplesInvalid(f"held-out image {name} gives no result", observed=str(answer))
        return answer.record()


def whole_of(contract: Contract, gates: GatesSpec, held_out: HeldOut, run: RunNetwork) -> Whole | None:
    """Of a model with one network; None for one that answers with one label per image, which has gates of its own."""
    if contract.classes is not None and not held_out.truth:
        return None
    return Whole(contract, gates, held_out, only(run, contract))


class Recording:
    """Networks that keep what they are asked: the real inputs of every one of them."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self.inputs: dict[str, list[Call]] = {}

    def run(self, calls: Sequence[Call]) -> list[Output]:
        """As handlers.calls.Networks.run."""
        for call in calls:
            kept = self.inputs.setdefault(call.network, [])
            if len(kept) < _MOST_INPUTS:
                kept.append(call)
        return self._networks.run(calls)


def _everything(contract: Contract) -> dict[str, int]:
    """What is asked of a model so that its whole answer can be judged."""
    return {} if contract.classes is None else {"top_k": contract.classes}
