"""Encoded images in, results out: the one path that Triton, TorchServe, the export gates and benchmarks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from handlers.calls import Networks, RunNetwork, only
from handlers.picture import Picture
from handlers.task import Answer, load_task
from handlers.trace import traced
from slipway.contract import Contract
from slipway.errors import ImageError, RequestInvalid

__all__ = ["Answer", "Pipeline", "RunNetwork"]


class Pipeline:
    """Decode, prepare, networks, results, for the images of any number of requests at once."""

    def __init__(self, contract: Contract, networks: Networks | RunNetwork) -> None:
        """``networks``: those that the contract names, or the one function of a contract with one network.

        Raises ContractInvalid when the contract names no handler or cannot be carried out.
        """
        self.contract = contract
        self.task = load_task(contract)
        self._networks = traced(only(networks, contract) if callable(networks) else networks)

    def run(self, images: Sequence[bytes], parameters: Mapping[str, Any] | Sequence[Any] | None = None) -> list[Answer]:
        """One answer per image, in order. A bad image is an ImageError in the list and costs the others nothing.

        ``parameters``: of a request, for all images (None for the contract's defaults), or what ``task.options`` made
        of them, one entry per image. Raises NetworkFailed, and RequestInvalid for parameters that cannot be met.
        """
        options = self._options(parameters, len(images))
        answers: list[Answer | None] = [None] * len(images)
        pictures: list[Picture] = []
        rows: list[int] = []
        for index, encoded in enumerate(images):
            try:
                pictures.append(Picture.of(encoded, self.contract.preprocess))
                rows.append(index)
            except ImageError as error:
                answers[index] = error
        if pictures:
            found = self.task.run(pictures, [options[row] for row in rows], self._networks)
            for row, answer in zip(rows, found, strict=True):
                answers[row] = answer
        return cast("list[Answer]", answers)

    def _options(self, parameters: Mapping[str, Any] | Sequence[Any] | None, images: int) -> Sequence[Any]:
        if parameters is None or isinstance(parameters, Mapping):
            return [self.task.options(parameters or {})] * images
        if len(parameters) != images:
            raise RequestInvalid("one set of options per image is needed", observed=len(parameters), expected=images)
        return parameters
