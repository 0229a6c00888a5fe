"""OpenCV, imported when text is first looked for: only that task needs it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from slipway.errors import EnvironmentUnfit


@lru_cache(maxsize=1)
def opencv() -> Any:
    """The module ``cv2``, with one thread: the workers of a server share the cores already. Raises EnvironmentUnfit."""
    try:
        import cv2
    except ImportError as error:
        raise EnvironmentUnfit(
            "text recognition needs OpenCV, which is not installed here",
            observed=error,
            fix="install opencv-python-headless in this environment, as requirements/ pins it",
        ) from error
    cv2.setNumThreads(1)
    return cv2
