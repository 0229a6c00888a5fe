"""What runs a network here: a TensorRT plan, onnxruntime on the same typed graph, or an AOTInductor package.

All are opened with a path and answer ``uint8[N, H, W, 3] -> float32[N, classes]``. ``time_ms`` is the time of the
network alone: CUDA events around it on a GPU, the clock on a CPU.
"""

from __future__ import annotations

import importlib
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .cuda import Driver
from .errors import EngineFailed, EngineMissing


class Engine(Protocol):
    """An opened network."""

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """float32[N, classes] of ``uint8[N, H, W, 3]``; raises EngineFailed."""

    def time_ms(self, pixels: np.ndarray, count: int) -> list[float]:
        """Milliseconds of ``count`` runs in a row, input already in place."""


class TensorRtEngine:
    """One plan. Names that it uses of the bindings exist in 8.6, 10 and 11; a test compares."""

    def __init__(self, plan: Path, input_name: str, output_name: str) -> None:
        self._driver = Driver()  # first: without a driver TensorRT's Runtime ends the process
        self._driver.make_current()
        trt: Any = importlib.import_module("tensorrt")

        self._names = (input_name, output_name)
        logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = runtime = trt.Runtime(logger)
        # A version-compatible plan carries the runtime of its builder, which is code: plans are opened only after
        # their sha256 was compared with what was published.
        runtime.engine_host_code_allowed = True
        self._engine = engine = runtime.deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise EngineFailed(f"{plan.name}: TensorRT {trt.__version__} cannot open it: other version or GPU")
        self._context = context = engine.create_execution_context()
        if context is None:
            raise EngineFailed(f"{plan.name}: no execution context; is the GPU's memory full?")
        self._dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(output_name)))
        self._stream = self._driver.stream()
        self._buffers: dict[str, tuple[int, int]] = {}

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """As :meth:`Engine.run`; raises EngineFailed for a batch outside the profile."""
        pixels = np.ascontiguousarray(pixels)
        answer = self._place(pixels)
        self._execute()
        self._driver.to_host(answer, self._buffers[self._names[1]][0], self._stream)
        self._driver.synchronise(self._stream)
        return answer.astype(np.float32, copy=False)

    def time_ms(self, pixels: np.ndarray, count: int) -> list[float]:
        """As :meth:`Engine.time_ms`, by CUDA events."""
        self._place(np.ascontiguousarray(pixels))
        events = [self._driver.event() for _ in range(count + 1)]
        self._execute()  # the first run after a change of shape pays for it
        self._driver.record(events[0], self._stream)
        for event in events[1:]:
            self._execute()
            self._driver.record(event, self._stream)
        return [self._driver.elapsed_ms(a, b) for a, b in pairwise(events)]

    def _place(self, pixels: np.ndarray) -> np.ndarray:
        """Puts the input on the GPU and returns the array that the output will be copied to."""
        context, (source, target) = self._context, self._names
        if not context.set_input_shape(source, tuple(pixels.shape)):
            raise EngineFailed(f"the plan's profile does not take {list(pixels.shape)}")
        answer = np.empty(tuple(context.get_tensor_shape(target)), dtype=self._dtype)
        self._driver.to_device(self._buffer(source, pixels.nbytes), pixels, self._stream)
        self._buffer(target, answer.nbytes)
        # the copy reads the caller's array, which it may drop as soon as this returns
        self._driver.synchronise(self._stream)
        for name, (address, _) in self._buffers.items():
            context.set_tensor_address(name, address)
        return answer

    def _buffer(self, name: str, size: int) -> int:
        address, there = self._buffers.get(name, (0, 0))
        if there < size:
            if address:
                self._driver.free(address)
            address = self._driver.allocate(size)
            self._buffers[name] = (address, size)
        return address

    def _execute(self) -> None:
        context = self._context
        if not context.execute_async_v3(self._stream):
            raise EngineFailed("TensorRT refused to run the plan")


class OnnxRuntimeEngine:
    """The typed graph on the CPU: an oracle for the way of a bundle, never a measure of a plan."""

    def __init__(self, graph: Path, input_name: str, output_name: str) -> None:
        try:
            import onnxruntime
        except ImportError as problem:
            raise EngineMissing("onnxruntime is not installed: pip install onnxruntime") from problem
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's exceptions share no public base class
            line = (str(problem).splitlines() or [""])[0][:300]
            kind = EngineMissing if "NOT_IMPLEMENTED" in line else EngineFailed
            raise kind(f"onnxruntime {onnxruntime.__version__} cannot open {graph.name}: {line}") from problem
        self._names = (input_name, output_name)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """As :meth:`Engine.run`."""
        source, target = self._names
        answer: np.ndarray = self._session.run([target], {source: pixels})[0]
        return answer

    def time_ms(self, pixels: np.ndarray, count: int) -> list[float]:
        """As :meth:`Engine.time_ms`, by the clock."""
        return clock_ms(self, pixels, count)


class AotInductorEngine:
    """A ``torch.export`` program, compiled by AOTInductor for ``cuda`` or ``cpu`` on this machine."""

    def __init__(self, package: Path, device: str) -> None:
        import torch

        self._torch: Any = torch
        self._device = device
        _compute_in_fp32(torch)
        self._model: Any = torch._inductor.aoti_load_package(str(package))

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """As :meth:`Engine.run`."""
        answer: np.ndarray = self._model(self._tensor(pixels)).float().cpu().numpy()
        return answer

    def time_ms(self, pixels: np.ndarray, count: int) -> list[float]:
        """As :meth:`Engine.time_ms`: by CUDA events on a GPU."""
        if self._device != "cuda":
            return clock_ms(self, pixels, count)
        torch, tensor = self._torch, self._tensor(pixels)
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        self._model(tensor)
        events[0].record()
        for event in events[1:]:
            self._model(tensor)
            event.record()
        torch.cuda.synchronize()
        return [a.elapsed_time(b) for a, b in pairwise(events)]

    def _tensor(self, pixels: np.ndarray) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)


def compile_aot_inductor(program: Path, package: Path, device: str) -> dict[str, Any]:
    """Compiles a program that :mod:`torch.export` wrote; returns ``seconds``, ``bytes``, ``torch``, ``device``.

    Raises EngineMissing without torch or without its GPU, EngineFailed with what the compiler said. The file's sha256
    was compared before: loading a program can unpickle.
    """
    try:
        import torch
    except ImportError as problem:
        raise EngineMissing("torch is not installed") from problem
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineMissing(f"torch {torch.__version__} sees no CUDA GPU")
    _compute_in_fp32(torch)
    begin = time.perf_counter()
    try:
        exported = torch.export.load(str(program))
        if device == "cuda":
            from torch.export.passes import move_to_device_pass

            exported = move_to_device_pass(exported, device)
        torch._inductor.aoti_compile_and_package(exported, package_path=str(package))
    except Exception as problem:  # compilers raise whatever their passes and g++ or nvcc raise
        line = (str(problem).strip().splitlines() or [""])[0][:300]
        raise EngineFailed(f"AOTInductor (torch {torch.__version__}): {type(problem).__name__}: {line}") from problem
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return {
        "seconds": time.perf_counter() - begin,
        "bytes": package.stat().st_size,
        "torch": str(torch.__version__),
        "device": name,
    }


def _compute_in_fp32(torch: Any) -> None:
    """Convolutions of cuDNN run in TF32 by default, which keeps 10 bits: an fp32 check would find just that."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def clock_ms(engine: Engine, pixels: np.ndarray, count: int) -> list[float]:
    """Milliseconds of ``count`` runs by the clock, after one that is not counted."""
    engine.run(pixels)
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        engine.run(pixels)
        times.append((time.perf_counter() - begin) * 1e3)
    return times
