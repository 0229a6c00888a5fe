"""Where trained models come from: a builder, a checkpoint that fits it, and a digest of both."""

from export.sources.base import LoadedModel, Source, load

__all__ = ["LoadedModel", "Source", "load"]
