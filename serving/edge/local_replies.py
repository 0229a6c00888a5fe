"""What Envoy answers by itself (limits, timeouts, nothing upstream), in the form of every other error of the edge.

Answers of the Lua filter pass unchanged: they carry their own code already.
"""

from __future__ import annotations

from typing import Any

from slipway import errors

Json = dict[str, Any]

#: (first status, last status, error, text); the first range that fits decides.
TABLE: tuple[tuple[int, int, type[errors.SlipwayError], str], ...] = (
    (400, 400, errors.RequestMalformed, "the request is not valid HTTP"),
    (403, 403, errors.EndpointForbidden, "this is not open to clients"),
    (404, 404, errors.EndpointUnknown, "there is no such path"),
    (408, 408, errors.RequestTimeout, "the request did not arrive in time"),
    (413, 413, errors.RequestTooLarge, "the body is larger than the edge takes"),
    (431, 431, errors.RequestTooLarge, "the headers are larger or more than the edge takes"),
    (504, 504, errors.RequestTimeout, "the model did not answer in time"),
    (400, 499, errors.RequestMalformed, "the request is not valid"),
    (500, 501, errors.SlipwayError, "the edge failed"),
    (502, 599, errors.ServerUnavailable, "the model server did not answer; try again"),
)

_GRPC = {
    "header_filter": {
        "header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}},
    }
}
_FROM_LUA = {
    "metadata_filter": {
        "matcher": {
            "filter": "slipway",
            "path": [{"key": "request"}, {"key": "code"}],
            "value": {"present_match": True},
        },
        "match_if_key_not_found": False,
    }
}


def _comparison(op: str, status: int) -> Json:
    return {
        "status_code_filter": {
            "comparison": {"op": op, "value": {"default_value": status, "runtime_key": "slipway.unused"}}
        }
    }


def _between(first: int, last: int) -> list[Json]:
    return [_comparison("GE", first), _comparison("LE", last)]


def _headers(code: str) -> list[Json]:
    return [{"header": {"key": "x-slipway-error", "value": code}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]


def _mappers(first: int, last: int, code: str, text: str) -> list[Json]:
    message = f"{code}: {text}"
    grpc = {
        "filter": {"and_filter": {"filters": [*_between(first, last), _GRPC]}},
        "body_format_override": {"text_format_source": {"inline_string": message}},
        "headers_to_add": _headers(code),
    }
    answer = {"error": message, "code": code, "request_id": "%REQ(X-REQUEST-ID)%"}
    http = {
        "filter": {"and_filter": {"filters": _between(first, last)}},
        "body_format_override": {"json_format": answer, "content_type": "application/json"},
        "headers_to_add": _headers(code),
    }
    return [grpc, http]


#: Envoy's flags of a request that got no answer from upstream: no connection, no host, too many, a broken one.
_LOST = ["UF", "UH", "UO", "UC", "UR", "LR"]


def lost_requests() -> Json:
    """The ``local_reply_config`` in front of another server: a request that was lost there is marked for a retry."""
    lost: Json = {"filter": {"response_flag_filter": {"flags": _LOST}}}
    marked = []
    for mapper in _mappers(502, 599, errors.ServerUnavailable.code, "the server did not answer; try again"):
        filters = [*mapper["filter"]["and_filter"]["filters"], lost["filter"]]
        retry = {"header": {"key": "x-slipway-retry", "value": "1"}}
        marked.append(
            {
                **mapper,
                "filter": {"and_filter": {"filters": filters}},
                "headers_to_add": [*mapper["headers_to_add"], retry],
            }
        )
    return {"mappers": [*marked, *local_reply_config()["mappers"]]}


def local_reply_config() -> Json:
    """The ``local_reply_config`` of an HTTP connection manager."""
    unchanged = {
        "filter": _FROM_LUA,
        "body_format_override": {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}},
    }
    mappers = [unchanged]
    for first, last, error, text in TABLE:
        mappers += _mappers(first, last, error.code, text)
    return {"mappers": mappers}
