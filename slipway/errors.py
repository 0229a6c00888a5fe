"""Every error that Slipway raises on purpose: one tree, stable codes, and what a person needs to act.

This module is imported inside model servers (numpy-only environments), so it uses the standard library alone.

Each class is one kind of mistake, named after what happened. Its ``code`` never changes once released: clients,
dashboards and ``docs/errors.md`` rely on it (a test holds that page complete). An error carries what was observed,
what was expected and what to do about it; the command line prints those without a traceback, HTTP answers carry
them as JSON, and the Triton adapter sends ``str(error)``, which always starts with the code.
"""

from __future__ import annotations

from typing import Any, ClassVar

#: Exit codes of the ``slipway`` command (also listed in docs/errors.md).
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BAD_INPUT = 3
EXIT_NOT_FOUND = 4
EXIT_NOT_RUNNING = 5
EXIT_ENVIRONMENT = 6


class SlipwayError(Exception):
    """Base of the tree. ``str(error)`` is one line: ``CODE: message; observed ...; expected ...; fix ...``."""

    code: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(
        self,
        message: str,
        *,
        observed: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.observed = observed
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        parts = [f"{self.code}: {self.message}"]
        if self.observed is not None:
            parts.append(f"observed {self.observed}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.fix is not None:
            parts.append(f"fix: {self.fix}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON-ready values: ``code``, ``message`` and those of observed/expected/fix that are set."""
        fields: dict[str, Any] = {"code": self.code, "message": self.message}
        for name in ("observed", "expected", "fix"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value if isinstance(value, (str, int, float, bool, list, dict)) else str(value)
        return fields


# --- what people write: specs, settings, arguments -------------------------------------------------------------------


class SpecInvalid(SlipwayError):
    """A model specification (config/models/*.yaml) is not valid; the message names file, line and key."""

    code = "SPEC_INVALID"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class SpecNotFound(SlipwayError):
    """There is no model specification of that name."""

    code = "SPEC_NOT_FOUND"
    http_status = 404
    exit_code = EXIT_NOT_FOUND


class SettingsInvalid(SlipwayError):
    """A setting, from the environment or from the settings file, is not valid."""

    code = "SETTINGS_INVALID"
    exit_code = EXIT_BAD_INPUT


class InputFileUnreadable(SlipwayError):
    """A file that the user named is missing or cannot be read."""

    code = "INPUT_FILE_UNREADABLE"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class ContractInvalid(SlipwayError):
    """A contract.json is malformed, of an unknown schema, or its hash does not match its content."""

    code = "CONTRACT_INVALID"
    exit_code = EXIT_BAD_INPUT


# --- the machine ------------------------------------------------------------------------------------------------------


class EnvironmentUnfit(SlipwayError):
    """This machine or environment lacks something that is needed; ``slipway doctor`` shows the whole list."""

    code = "ENVIRONMENT_UNFIT"
    exit_code = EXIT_ENVIRONMENT


class PortUnavailable(SlipwayError):
    """A port that was asked for by name cannot be bound."""

    code = "PORT_UNAVAILABLE"
    exit_code = EXIT_ENVIRONMENT


# --- images -----------------------------------------------------------------------------------------------------------


class ImageError(SlipwayError):
    """Base of what can be wrong with one image; never fails the rest of its batch."""

    code = "IMAGE_INVALID"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class ImageEmpty(ImageError):
    """The image has 0 bytes."""

    code = "IMAGE_EMPTY"


class ImageFormatUnsupported(ImageError):
    """The bytes are not a JPEG, PNG, WebP, BMP or GIF."""

    code = "IMAGE_FORMAT_UNSUPPORTED"


class ImageTruncated(ImageError):
    """The image ends before its data does."""

    code = "IMAGE_TRUNCATED"


class ImageCorrupt(ImageError):
    """The image has a known format but cannot be decoded."""

    code = "IMAGE_CORRUPT"


class ImageTooManyPixels(ImageError):
    """The image declares more pixels than the contract allows; it is refused before it is decoded."""

    code = "IMAGE_TOO_MANY_PIXELS"
    http_status = 413


class ImageTooManyBytes(ImageError):
    """The encoded image is larger than the contract allows."""

    code = "IMAGE_TOO_MANY_BYTES"
    http_status = 413


# --- requests ---------------------------------------------------------------------------------------------------------


class RequestInvalid(SlipwayError):
    """An inference request does not have the declared inputs, data types, shapes or parameters."""

    code = "REQUEST_INVALID"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class RequestMalformed(SlipwayError):
    """The body of a request is not valid JSON, or not of the KServe V2 form."""

    code = "REQUEST_MALFORMED"
    http_status = 400
    exit_code = EXIT_BAD_INPUT


class RequestTooLarge(SlipwayError):
    """The body of a request exceeds the edge's limit."""

    code = "REQUEST_TOO_LARGE"
    http_status = 413
    exit_code = EXIT_BAD_INPUT


class RequestTimeout(SlipwayError):
    """The request was not finished in its time, or its body did not arrive in time."""

    code = "REQUEST_TIMEOUT"
    http_status = 408


class EndpointForbidden(SlipwayError):
    """The path or gRPC method is blocked at the edge (repository, shared memory, trace, logging, administration)."""

    code = "ENDPOINT_FORBIDDEN"
    http_status = 403


class EndpointUnknown(SlipwayError):
    """There is no such path, method or gRPC call at the edge."""

    code = "ENDPOINT_UNKNOWN"
    http_status = 404
    exit_code = EXIT_NOT_FOUND


class MediaTypeUnsupported(SlipwayError):
    """The content type of a request is not one that the edge takes."""

    code = "MEDIA_TYPE_UNSUPPORTED"
    http_status = 415
    exit_code = EXIT_BAD_INPUT


class ModelNotFound(SlipwayError):
    """There is no such model, in the repository or on the server."""

    code = "MODEL_NOT_FOUND"
    http_status = 404
    exit_code = EXIT_NOT_FOUND


class VersionNotFound(SlipwayError):
    """The model exists, but not in that version."""

    code = "VERSION_NOT_FOUND"
    http_status = 404
    exit_code = EXIT_NOT_FOUND


class NetworkFailed(SlipwayError):
    """The network behind a public model failed, or returned outputs that the contract does not know."""

    code = "NETWORK_FAILED"


class NetworkUnreadable(SlipwayError):
    """A network's file is missing, corrupt, or has other inputs and outputs than its contract says."""

    code = "NETWORK_UNREADABLE"


class InstanceDead(NetworkFailed):
    """The process behind an instance of a model is dead; the supervisor replaces it."""

    code = "INSTANCE_DEAD"


class ServerUnavailable(SlipwayError):
    """The server cannot answer at the moment: starting, recovering or draining."""

    code = "SERVER_UNAVAILABLE"
    http_status = 503
    exit_code = EXIT_NOT_RUNNING


# --- the repository ---------------------------------------------------------------------------------------------------


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


# --- export -----------------------------------------------------------------------------------------------------------


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


class GateFailed(SlipwayError):
    """An export is worse than the trained model; nothing was published.

    ``evidence``: what evidence.json would have held, every gate's numbers among it, for the table of gates.
    """

    code = "GATE_FAILED"
    evidence: dict[str, Any] | None = None


class SamplesInvalid(SlipwayError):
    """The held-out images of a model are missing, undecodable, or carry labels that it does not know."""

    code = "SAMPLES_INVALID"
    exit_code = EXIT_BAD_INPUT


class SampleUnavailable(SlipwayError):
    """A sample's data or weights cannot be made here."""

    code = "SAMPLE_UNAVAILABLE"


# --- serving ----------------------------------------------------------------------------------------------------------


class ServerNotRunning(SlipwayError):
    """Nothing is being served from this project on this machine, or the address given does not answer."""

    code = "SERVER_NOT_RUNNING"
    http_status = 503
    exit_code = EXIT_NOT_RUNNING


class ServerAlreadyRunning(SlipwayError):
    """A supervisor already serves this state directory."""

    code = "SERVER_ALREADY_RUNNING"


class ServerStartFailed(SlipwayError):
    """Triton or Envoy did not become ready; the message quotes the end of its log."""

    code = "SERVER_START_FAILED"


class VersionLoadFailed(SlipwayError):
    """The server refused a version, or its golden prediction failed; what served before keeps serving."""

    code = "VERSION_LOAD_FAILED"


class BenchmarkFailed(SlipwayError):
    """A benchmark could not run to its end, or measured failed requests only."""

    code = "BENCHMARK_FAILED"


def all_errors() -> list[type[SlipwayError]]:
    """Every class of the tree, the base first, each parent before its children."""
    found: list[type[SlipwayError]] = [SlipwayError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return found
