"""What can be wrong on the way from a trained model to a published version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slipway.errors.base import EXIT_BAD_INPUT, EXIT_ENVIRONMENT, EXIT_NOT_FOUND, SlipwayError


class RepositoryDamaged(SlipwayError):
    """A published version's files do not match its manifest."""

    code = "REPOSITORY_DAMAGED"


class ManifestInvalid(SlipwayError):
    """A manifest.json is malformed or of an unknown schema."""

    code = "MANIFEST_INVALID"


class InterfaceChanged(SlipwayError):
    """A new version's inputs or outputs do not fit the served config.pbtxt of its model."""

    code = "INTERFACE_CHANGED"
    exit_code = EXIT_BAD_INPUT


class PublishRefused(SlipwayError):
    """What was to be published is not complete or not valid."""

    code = "PUBLISH_REFUSED"


class RollbackImpossible(SlipwayError):
    """There is no earlier version to go back to."""

    code = "ROLLBACK_IMPOSSIBLE"
    exit_code = EXIT_NOT_FOUND


class SourceInvalid(SlipwayError):
    """The trained model cannot be loaded: missing file, keys, shapes, classes, or a factory that fails."""

    code = "SOURCE_INVALID"
    exit_code = EXIT_BAD_INPUT


class DownloadFailed(SlipwayError):
    """A file could not be fetched, or its sha256 is not the declared one."""

    code = "DOWNLOAD_FAILED"


class FormatUnavailable(SlipwayError):
    """An export format cannot run here; the message says what is missing."""

    code = "FORMAT_UNAVAILABLE"
    exit_code = EXIT_ENVIRONMENT


class ExportFailed(SlipwayError):
    """The exporter itself failed."""

    code = "EXPORT_FAILED"


class OptimiseFailed(SlipwayError):
    """A step of ``optimise`` failed: the module cannot be pruned, or a function of the specification went wrong."""

    code = "OPTIMISE_FAILED"


class GateFailed(SlipwayError):
    """An export is worse than the trained model; nothing was published.

    ``evidence``: what evidence.json would have held, every gate's numbers among it, for the table of gates. ``kept``:
    the folder with the artefacts that failed, evidence.html and the scripts that reproduce each gate.
    """

    code = "GATE_FAILED"
    evidence: dict[str, Any] | None = None
    kept: Path | None = None


class SamplesInvalid(SlipwayError):
    """The held-out images of a model are missing, undecodable, or carry labels that it does not know."""

    code = "SAMPLES_INVALID"
    exit_code = EXIT_BAD_INPUT


class SampleUnavailable(SlipwayError):
    """A sample's data or weights cannot be made here."""

    code = "SAMPLE_UNAVAILABLE"
    exit_code = EXIT_NOT_FOUND
