"""Gives memory that was freed back to the system, so that an idle instance is small."""

from __future__ import annotations

import ctypes

#: Triton warms an instance up with one image and with the largest batch; what these freed is worth giving back.
WARM_UP_RUNS = 2


def return_freed_memory() -> None:
    """Gives back what loading or a large batch has freed.

    glibc keeps it otherwise: 95 of the 149 MB that a session over a 47 MB ONNX file holds after loading. Other C
    libraries have no such call and need none.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return
    trim(0)


class WarmUp:
    """Counts runs, and gives memory back once, after the last run of the warm-up."""

    def __init__(self, runs: int = WARM_UP_RUNS) -> None:
        self._left = runs

    def ran(self) -> None:
        """To be called after every run; costs nothing once the warm-up is over."""
        if self._left > 0:
            self._left -= 1
            if self._left == 0:
                return_freed_memory()
