"""Encoded images in, results out: the one path that Triton, TorchServe, the export gates and benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from handlers.classification import ClassificationResult
from handlers.preprocess import Preprocessor
from slipway.contract import Contract
from slipway.errors import ContractInvalid, ImageError, NetworkFailed, RequestInvalid

#: ``uint8[N, H, W, 3]`` -> the network's raw output, ``float32[N, ...]``. Raises NetworkFailed.
RunNetwork = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
#: What one image gets: its result, or what is wrong with it.
Answer = ClassificationResult | ImageError


class Task(Protocol):
    """What a contract's ``handler`` must offer; built once per model with the contract."""

    def top_k(self, wanted: int | None) -> int:
        """The number of results per image; raises RequestInvalid."""

    def results(self, outputs: npt.NDArray[np.floating], top_k: Sequence[int]) -> list[ClassificationResult]:
        """One result per row of ``outputs``; raises NetworkFailed."""

    def pack(self, results: Sequence[ClassificationResult | None], top_k: int) -> Mapping[str, npt.NDArray[Any]]:
        """The results of one request as named output tensors, rows of None being failed images."""


class Pipeline:
    """Decode, resize, network, result, for the images of any number of requests at once."""

    def __init__(self, contract: Contract, run_network: RunNetwork) -> None:
        """Raises ContractInvalid when the contract names no handler or cannot be carried out."""
        self.contract = contract
        self.task = load_task(contract)
        self._preprocess = Preprocessor(contract.preprocess)
        self._run_network = run_network

    def run(self, images: Sequence[bytes], top_k: Sequence[int] | int | None = None) -> list[Answer]:
        """One answer per image, in order. A bad image is an ImageError in the list and costs the others nothing.

        ``top_k``: for all images, per image, or None for the contract's default. The network is called with as many
        good images at once as ``network.max_batch_size`` allows. Raises NetworkFailed, and RequestInvalid for a top_k
        that cannot be met.
        """
        wanted = self._top_ks(top_k, len(images))
        answers: list[Answer | None] = [None] * len(images)
        size = self.contract.preprocess
        limit = min(self.contract.network.max_batch_size, len(images))
        batch, rows = np.empty((limit, size.height, size.width, 3), np.uint8), list[int]()
        for index, encoded in enumerate(images):
            try:
                batch[len(rows)] = self._preprocess(encoded)
            except ImageError as error:
                answers[index] = error
                continue
            rows.append(index)
            if len(rows) == limit:
                self._infer(batch, rows, wanted, answers)
                rows = []
        if rows:
            self._infer(batch[: len(rows)], rows, wanted, answers)
        return cast("list[Answer]", answers)

    def _infer(
        self, batch: npt.NDArray[np.uint8], rows: list[int], top_k: Sequence[int], answers: list[Answer | None]
    ) -> None:
        outputs = self._run_network(batch)
        if len(outputs) != len(rows):
            raise NetworkFailed("the network's batch differs", observed=len(outputs), expected=len(rows))
        for row, result in zip(rows, self.task.results(outputs, [top_k[row] for row in rows]), strict=True):
            answers[row] = result

    def _top_ks(self, top_k: Sequence[int] | int | None, images: int) -> list[int]:
        if top_k is None or isinstance(top_k, int):
            return [self.task.top_k(top_k)] * images
        if len(top_k) != images:
            raise RequestInvalid("one top_k per image is needed", observed=len(top_k), expected=images)
        return [self.task.top_k(wanted) for wanted in top_k]


def load_task(contract: Contract) -> Task:
    """The handler that the contract names as ``module:Class``. Raises ContractInvalid when there is none."""
    module, _, name = contract.handler.partition(":")
    try:
        handler: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ContractInvalid(
            f"{contract.model}: the handler cannot be loaded: {error}",
            observed=contract.handler,
            expected="package.module:Class",
            fix="install the handler's package in the serving environment, or correct the name",
        ) from error
    return cast("Task", handler(contract))
