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

#: Pixels of the pictures that go through a task together, by their headers: each may stay decoded until all of them
#: are answered, at 4 bytes per pixel. 16 pictures of 1920x1080 are less, two of 20 megapixels are more.
_PIXELS_AT_ONCE = 36_000_000


class _Group:
    """``pictures`` that are answered together, and their ``rows`` among the images."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.pictures: list[Picture] = []
        self._pixels = 0

    def takes(self, picture: Picture) -> bool:
        """Whether there is room; the first one always has."""
        return not self.rows or self._pixels + _pixels(picture) <= _PIXELS_AT_ONCE

    def add(self, row: int, picture: Picture) -> None:
        self.rows.append(row)
        self.pictures.append(picture)
        self._pixels += _pixels(picture)


def _pixels(picture: Picture) -> int:
    return picture.size[0] * picture.size[1]


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
        group = _Group()
        for row, encoded in enumerate(images):
            try:
                picture = Picture.of(encoded, self.contract.preprocess)
            except ImageError as error:
                answers[row] = error
                continue
            if not group.takes(picture):
                self._answer(group, options, answers)
                group = _Group()
            group.add(row, picture)
        self._answer(group, options, answers)
        return cast("list[Answer]", answers)

    def _answer(self, group: _Group, options: Sequence[Any], answers: list[Answer | None]) -> None:
        if group.rows:
            found = self.task.run(group.pictures, [options[row] for row in group.rows], self._networks)
            for row, answer in zip(group.rows, found, strict=True):
                answers[row] = answer

    def _options(self, parameters: Mapping[str, Any] | Sequence[Any] | None, images: int) -> Sequence[Any]:
        if parameters is None or isinstance(parameters, Mapping):
            return [self.task.options(parameters or {})] * images
        if len(parameters) != images:
            raise RequestInvalid("one set of options per image is needed", observed=len(parameters), expected=images)
        return parameters
