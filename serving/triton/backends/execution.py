"""Runs Triton's requests through a network: joined into one batch where that is possible, answered one by one.

One failing request never fails another, and no traceback reaches a client.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from handlers.memory import WarmUp
from serving.triton.backends.model_config import Config, check_array

Arrays = dict[str, npt.NDArray[Any]]
#: Feeds by input name and the wanted output names -> outputs by name.
Run = Callable[[Arrays, Sequence[str]], Arrays]


class Executor:
    """``execute`` of a python-based backend. ``pb`` is Triton's ``triton_python_backend_utils``."""

    def __init__(self, config: Config, run: Run, pb: Any) -> None:
        self._config = config
        self._run = run
        self._pb = pb
        self._warm_up = WarmUp()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        feeds: list[Arrays | None] = []
        responses: list[Any] = [None] * len(requests)
        for index, request in enumerate(requests):
            try:
                feeds.append(self._feed(request))
            except Exception as problem:
                feeds.append(None)
                responses[index] = self._error(problem)
        for group in self._groups(feeds):
            self._answer(group, requests, feeds, responses)
        self._warm_up.ran()
        return responses

    def _feed(self, request: Any) -> Arrays:
        feed: Arrays = {}
        for item in self._config.inputs:
            tensor = self._pb.get_input_tensor_by_name(request, item.name)
            if tensor is None:
                raise ValueError(f"input {item.name} is missing")
            array = tensor.as_numpy()
            check_array(item, array)
            feed[item.name] = array
        self._check_batch(feed)
        return feed

    def _check_batch(self, feed: Arrays) -> None:
        # Triton's own check passes batch sizes that overflow its arithmetic (2.51).
        limit = self._config.max_batch_size
        sizes = {len(array) for array in feed.values()} if limit else {1}
        if len(sizes) != 1 or not 1 <= max(sizes) <= max(limit, 1):
            raise ValueError(f"batch sizes {sorted(sizes)}, expected one from 1 to {limit}")

    def _groups(self, feeds: Sequence[Arrays | None]) -> list[list[int]]:
        """Indices that can share a batch: same shapes beside the batch dimension, together within the limit."""
        groups: list[list[int]] = []
        open_groups: dict[tuple[tuple[int, ...], ...], tuple[list[int], int]] = {}
        limit = self._config.max_batch_size or 1
        for index, feed in enumerate(feeds):
            if feed is None:
                continue
            key = tuple(array.shape[1:] for array in feed.values())
            size = _batch(feed) if self._config.max_batch_size else limit
            group, filled = open_groups.get(key, ([], limit))
            if filled + size > limit:
                group, filled = [], 0
                groups.append(group)
            group.append(index)
            open_groups[key] = (group, filled + size)
        return groups

    def _answer(
        self, group: Sequence[int], requests: Sequence[Any], feeds: Sequence[Arrays | None], responses: list[Any]
    ) -> None:
        members = [(index, feed) for index in group if (feed := feeds[index]) is not None]
        wanted = {index: self._wanted(requests[index]) for index in group}
        try:
            joined = _join([feed for _, feed in members])
            outputs = self._run(joined, sorted({name for names in wanted.values() for name in names}))
            self._check_outputs(outputs, sum(_batch(feed) for _, feed in members))
        except Exception as problem:
            if len(members) > 1:
                for index, _ in members:
                    self._answer([index], requests, feeds, responses)
            else:
                responses[members[0][0]] = self._error(problem)
            return
        start = 0
        for index, feed in members:
            stop = start + _batch(feed) if len(members) > 1 else None
            chosen = [self._tensor(name, outputs[name][start:stop]) for name in wanted[index]]
            responses[index] = self._pb.InferenceResponse(output_tensors=chosen)
            start = stop or 0

    def _wanted(self, request: Any) -> list[str]:
        asked = set(request.requested_output_names())
        return [item.name for item in self._config.outputs if not asked or item.name in asked]

    def _check_outputs(self, outputs: Arrays, batch: int) -> None:
        for item in self._config.outputs:
            if item.name not in outputs:
                continue
            check_array(item, outputs[item.name])
            if self._config.max_batch_size and len(outputs[item.name]) != batch:
                raise ValueError(f"{item.name} has {len(outputs[item.name])} rows for a batch of {batch}")

    def _tensor(self, name: str, array: npt.NDArray[Any]) -> Any:
        return self._pb.Tensor(name, np.ascontiguousarray(array))

    def _error(self, problem: Exception) -> Any:
        """The last line of an exception; its class says whether the request or the network was at fault."""
        lines = str(problem).strip().splitlines() or [type(problem).__name__]
        ours = isinstance(problem, ValueError)
        code, text = ("REQUEST_INVALID", lines[0]) if ours else ("NETWORK_FAILED", lines[0][:300])
        kind = self._pb.TritonError.INVALID_ARG if ours else self._pb.TritonError.INTERNAL
        return self._pb.InferenceResponse(
            output_tensors=[], error=self._pb.TritonError(f"{code}: {self._config.name}: {text}", kind)
        )


def _batch(feed: Arrays) -> int:
    array = next(iter(feed.values()))
    return len(array) if array.ndim else 1


def _join(feeds: Sequence[Arrays]) -> Arrays:
    if len(feeds) == 1:
        return feeds[0]
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def zeros(config: Config) -> Arrays | None:
    """A feed of zeros with batch 1 for a trial run, or None where a dimension is free, or too large for a trial."""
    feed: Arrays = {}
    for item in config.inputs:
        dims = ((1, *item.dims[1:])) if config.max_batch_size else item.dims
        if -1 in dims or math.prod(dims) > 1 << 27 or item.data_type == "TYPE_STRING":
            return None
        feed[item.name] = np.zeros(dims, dtype=item.numpy_type)
    return feed
