"""What a task handler offers, and the base of those that call one network once per image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from handlers.calls import ONLY, Call, Networks
from handlers.fields import Field, Record
from handlers.picture import Picture
from handlers.preprocess import Prepared, Preprocessor
from handlers.stages import stage
from slipway.contract import Contract
from slipway.errors import ContractInvalid, ImageError, NetworkFailed


class Result(Protocol):
    """What a task says about one image."""

    def record(self) -> Record:
        """Values by field name; of fields with ``each``, the items come first, all equally many."""


#: What one image gets: its result, or what is wrong with it.
Answer = Result | ImageError


class Task(Protocol):
    """What a contract's ``handler`` must offer; built once per model with the contract."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """What its records consist of."""

    def options(self, parameters: Mapping[str, Any]) -> Any:
        """The checked parameters of one request; values may arrive as text. Raises RequestInvalid."""

    def width(self, options: Any) -> int:
        """How many items a request's tensors have room for."""

    def run(self, pictures: Sequence[Picture], options: Sequence[Any], networks: Networks) -> list[Answer]:
        """One answer per picture, in order; ``options``: one entry per picture. Raises NetworkFailed."""


class SingleNetwork(ABC):
    """Prepares every picture, calls the network with all good ones together, and concludes a result from each row."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._preprocess = Preprocessor(contract.preprocess)

    @abstractmethod
    def results(
        self, outputs: npt.NDArray[np.float32], prepared: Sequence[Prepared], options: Sequence[Any]
    ) -> list[Any]:
        """One result per row. ``outputs``: float32[N, ...]; ``prepared``: where each picture went in its input.
        Raises NetworkFailed for outputs that the contract does not know."""

    def prepare(self, picture: Picture) -> Prepared:
        """The network's input of one picture. Raises an ImageError."""
        return self._preprocess.prepared(picture)

    def run(self, pictures: Sequence[Picture], options: Sequence[Any], networks: Networks) -> list[Answer]:
        """As :meth:`Task.run`, in batches of the network's size, so that memory does not grow with the request."""
        answers: list[Answer | None] = [None] * len(pictures)
        good: list[tuple[int, Prepared]] = []
        for index, picture in enumerate(pictures):
            try:
                good.append((index, self.prepare(picture)))
            except ImageError as error:
                answers[index] = error
            if len(good) == self.contract.network.max_batch_size or (good and index == len(pictures) - 1):
                self._conclude(good, options, networks, answers)
                good = []
        return cast("list[Answer]", answers)

    def _conclude(
        self, good: Sequence[tuple[int, Prepared]], options: Sequence[Any], networks: Networks, answers: list[Any]
    ) -> None:
        rows = [index for index, _ in good]
        prepared = [item for _, item in good]
        with stage("network"):
            outputs = networks.run([Call(ONLY, np.stack([item.pixels for item in prepared]))])[0]
        with stage("results"):
            found = self.results(outputs, prepared, [options[row] for row in rows])
        for row, result in zip(rows, found, strict=True):
            answers[row] = result


def finite(outputs: npt.NDArray[Any], expected: str, fits: bool) -> npt.NDArray[np.float32]:
    """The outputs as float32. Raises NetworkFailed where they do not fit (``expected`` says what would) or are not
    finite."""
    if not fits or not np.issubdtype(outputs.dtype, np.floating):
        raise NetworkFailed(
            "the network's output does not fit its contract",
            observed=f"{outputs.dtype}{list(outputs.shape)}",
            expected=expected,
            fix="export the model again with its own list of labels and settings",
        )
    if not np.isfinite(outputs).all():
        problem = NetworkFailed(
            "the network returned NaN or infinite values",
            observed=f"{np.count_nonzero(~np.isfinite(outputs))} of {outputs.size} values",
            expected="finite values",
            fix="check the export's parity evidence; half precision may overflow",
        )
        problem.not_finite = True
        raise problem
    return outputs.astype(np.float32, copy=False)


def load_task(contract: Contract) -> Task:
    """The handler that the contract names as ``module:Class``, with the contract's attributes around it.

    Raises ContractInvalid when there is none."""
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
    task = cast("Task", handler(contract))
    if not contract.attributes:
        return task
    from handlers.attributes import WithAttributes

    return WithAttributes(task, contract)
