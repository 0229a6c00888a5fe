"""What can be wrong with images, requests and servers."""

from __future__ import annotations

from slipway.errors.base import EXIT_BAD_INPUT, EXIT_NOT_FOUND, EXIT_NOT_RUNNING, SlipwayError


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


class ImageTooManyBytes(ImageError):
    """The encoded image is larger than the contract allows."""

    code = "IMAGE_TOO_MANY_BYTES"


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
    #: Whether the outputs had NaN or infinite values: what an experiment aborts a version for.
    not_finite = False


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
