"""The versioned model repository: a plain Triton tree whose versions are immutable and published as a transaction."""

from slipway.repository.layout import Pointer
from slipway.repository.publish import Publication
from slipway.repository.store import Repository

__all__ = ["Pointer", "Publication", "Repository"]
