"""What a run of a plan needs of CUDA, by the driver's C API: memory, copies, a stream, events.

The driver is there wherever a plan can run at all, so neither torch (2.8 GB with CUDA) nor a package of bindings is
needed, and the old Python that TensorRT 8.6 wants does not matter. It shares the primary context with TensorRT, whose
runtime API uses the same one. Names and types: CUDA driver API, cuda.h; a test compares the names with real bindings.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import EngineFailed, EngineMissing

LIBRARY = "libcuda.so.1"
#: CUdevice_attribute of cuda.h.
_MAJOR, _MINOR = 75, 76
_NON_BLOCKING = 1
_u64, _int, _float = ctypes.c_uint64, ctypes.c_int, ctypes.c_float
_pointer = ctypes.c_void_p
#: Every function that is called, with its arguments.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDriverGetVersion": (ctypes.POINTER(_int),),
    "cuDeviceGetCount": (ctypes.POINTER(_int),),
    "cuDeviceGet": (ctypes.POINTER(_int), _int),
    "cuDeviceGetName": (ctypes.c_char_p, _int, _int),
    "cuDeviceGetAttribute": (ctypes.POINTER(_int), _int, _int),
    "cuDeviceTotalMem_v2": (ctypes.POINTER(ctypes.c_size_t), _int),
    "cuDevicePrimaryCtxRetain": (ctypes.POINTER(_pointer), _int),
    "cuCtxSetCurrent": (_pointer,),
    "cuMemAlloc_v2": (ctypes.POINTER(_u64), ctypes.c_size_t),
    "cuMemFree_v2": (_u64,),
    "cuMemcpyHtoDAsync_v2": (_u64, _pointer, ctypes.c_size_t, _pointer),
    "cuMemcpyDtoHAsync_v2": (_pointer, _u64, ctypes.c_size_t, _pointer),
    "cuStreamCreate": (ctypes.POINTER(_pointer), ctypes.c_uint),
    "cuStreamSynchronize": (_pointer,),
    "cuEventCreate": (ctypes.POINTER(_pointer), ctypes.c_uint),
    "cuEventRecord": (_pointer, _pointer),
    "cuEventSynchronize": (_pointer,),
    "cuEventElapsedTime": (ctypes.POINTER(_float), _pointer, _pointer),
    "cuGetErrorString": (_int, ctypes.POINTER(ctypes.c_char_p)),
}


@dataclass(frozen=True)
class Device:
    """One GPU. ``compute_capability``: ``9.0``; ``memory``: bytes."""

    name: str
    compute_capability: str
    memory: int


class Driver:
    """The loaded driver; raises EngineMissing where there is none or no GPU."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as problem:
            raise EngineMissing(f"{LIBRARY} is missing: there is no NVIDIA driver here") from problem
        for name, arguments in FUNCTIONS.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = list(arguments), _int
        code = int(self._library.cuInit(0))
        if code:
            raise EngineMissing(f"the CUDA driver does not start: {self._reason(code)}")

    @property
    def version(self) -> str:
        """CUDA version of the driver, for example ``13.0``."""
        number = _int()
        self._call("cuDriverGetVersion", ctypes.byref(number))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def devices(self) -> list[Device]:
        """Every GPU that the driver shows."""
        count = _int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        return [self._device(index) for index in range(count.value)]

    def make_current(self, index: int = 0) -> None:
        """Retains the primary context of a GPU and makes it this thread's."""
        handle, context = _int(), _pointer()
        self._call("cuDeviceGet", ctypes.byref(handle), index)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), handle)
        self._call("cuCtxSetCurrent", context)

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the GPU."""
        address = _u64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), size)
        return int(address.value)

    def free(self, address: int) -> None:
        """Gives an address back."""
        self._call("cuMemFree_v2", address)

    def stream(self) -> int:
        """A new stream."""
        handle = _pointer()
        self._call("cuStreamCreate", ctypes.byref(handle), _NON_BLOCKING)
        return int(handle.value or 0)

    def to_device(self, address: int, array: np.ndarray, stream: int) -> None:
        """Copies a contiguous array in the stream's order; the array must live until the stream is synchronised."""
        self._call("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, stream)

    def to_host(self, array: np.ndarray, address: int, stream: int) -> None:
        """As :meth:`to_device`, the other way."""
        self._call("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, stream)

    def synchronise(self, stream: int) -> None:
        """Waits for a stream."""
        self._call("cuStreamSynchronize", stream)

    def event(self) -> int:
        """A new event with timing."""
        handle = _pointer()
        self._call("cuEventCreate", ctypes.byref(handle), 0)
        return int(handle.value or 0)

    def record(self, event: int, stream: int) -> None:
        """Records an event in a stream."""
        self._call("cuEventRecord", event, stream)

    def elapsed_ms(self, begin: int, end: int) -> float:
        """Milliseconds between two recorded events; waits for the second."""
        milliseconds = _float()
        self._call("cuEventSynchronize", end)
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), begin, end)
        return float(milliseconds.value)

    def _device(self, index: int) -> Device:
        handle, major, minor, memory = _int(), _int(), _int(), ctypes.c_size_t()
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGet", ctypes.byref(handle), index)
        self._call("cuDeviceGetName", name, len(name), handle)
        self._call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, handle)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, handle)
        self._call("cuDeviceTotalMem_v2", ctypes.byref(memory), handle)
        return Device(name.value.decode(), f"{major.value}.{minor.value}", int(memory.value))

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(getattr(self._library, name)(*arguments))
        if code:
            raise EngineFailed(f"CUDA: {name}: {self._reason(code)}")

    def _reason(self, code: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(code, ctypes.byref(text))
        return (text.value or b"unknown error").decode() + f" ({code})"
