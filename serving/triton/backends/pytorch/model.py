"""Serves TorchScript models (``platform: "pytorch_libtorch"``, ``backend: "pytorch"``) inside the embedded Triton.

Tensors find their place as in the native backend: by ``NAME__<index>``, else by the names of forward()'s arguments,
else in the order of config.pbtxt. One thread per instance unless INTRA_OP_THREAD_COUNT says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton_python_backend_utils as pb

from serving.triton.backends.execution import Arrays, Executor, zeros
from serving.triton.backends.model_config import Config, ModelRefused, Tensor, check_array, model_file

_INDEXED = re.compile(r"^.+__(\d+)$")


class TritonPythonModel:
    """One instance: one TorchScript module on the CPU in one process."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the model and tries it once; one that does not fit its configuration is refused with the reason."""
        try:
            config = Config.parse(args["model_config"])
            torch.set_num_threads(max(1, config.integer("INTRA_OP_THREAD_COUNT", 1)))
            torch.set_grad_enabled(False)
            self._module = _open()
            self._inputs = _ordered(config.inputs, _arguments(self._module))
            self._outputs = _ordered(config.outputs, [])
            self._try(config)
        except (ModelRefused, RuntimeError, ValueError) as problem:
            raise pb.TritonModelException(f"{args['model_name']}: {_last_line(problem)}") from None
        self._executor = Executor(config, self._run, pb)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return self._executor.execute(requests)

    def _try(self, config: Config) -> None:
        """TorchScript says nothing of types and shapes before it runs; so it runs once, on zeros."""
        feed = zeros(config)
        if feed is None:
            return
        results = self._run(feed, [item.name for item in config.outputs])
        for item in config.outputs:
            array = results[item.name]
            if array.dtype != item.numpy_type:
                raise ModelRefused(f"output {item.name}: config.pbtxt says {item.data_type}, the model {array.dtype}")
            check_array(item, array)

    def _run(self, feeds: Arrays, wanted: Sequence[str]) -> Arrays:
        arguments = [torch.from_numpy(_writable(feeds[item.name])) for item in self._inputs]
        try:
            results = self._module(*arguments)
        except RuntimeError as problem:
            raise RuntimeError(_last_line(problem)) from None
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        if len(results) != len(self._outputs):
            raise RuntimeError(f"the model returns {len(results)} outputs, config.pbtxt declares {len(self._outputs)}")
        named = zip(self._outputs, results, strict=True)
        return {item.name: result.numpy() for item, result in named if item.name in set(wanted)}


def _open() -> Any:
    path = model_file()
    load: Any = torch.jit.load
    try:
        return load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError, OSError) as problem:
        raise ModelRefused(f"{path.parent.name}/{path.name} cannot be opened: {_last_line(problem)}") from problem


def _arguments(module: Any) -> list[str]:
    """Names of forward()'s arguments, without self."""
    return [argument.name for argument in module.forward.schema.arguments[1:]]


def _ordered(declared: Sequence[Tensor], arguments: Sequence[str]) -> list[Tensor]:
    matches = [_INDEXED.match(item.name) for item in declared]
    if declared and all(matches):
        order = [int(match[1]) for match in matches if match]
        if sorted(order) != list(range(len(declared))):
            raise ModelRefused(f"indices {order} of the tensors are not 0 to {len(declared) - 1}")
        return [item for _, item in sorted(zip(order, declared, strict=True), key=lambda pair: pair[0])]
    if arguments and len(arguments) != len(declared):
        raise ModelRefused(f"config.pbtxt declares {len(declared)} inputs, forward() takes {list(arguments)}")
    if {item.name for item in declared} == set(arguments):
        return sorted(declared, key=lambda item: arguments.index(item.name))
    return list(declared)


def _writable(array: Any) -> Any:
    """torch warns once for a read-only array, which Triton's shared memory may be; a copy costs less than a doubt."""
    return array if array.flags.writeable else array.copy()


def _last_line(problem: BaseException) -> str:
    """TorchScript errors carry a traceback of their own; the last line says what went wrong."""
    lines = [line for line in str(problem).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(problem).__name__
