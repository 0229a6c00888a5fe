"""Where trained models come from: builders with weights, whole networks in files, and a digest of both.

What finds files (``location``, ``kind``) imports no torch, so neither does this package until a model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.sources.base import LoadedModel, load

__all__ = ["LoadedModel", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from export.sources import base

    return getattr(base, name)
