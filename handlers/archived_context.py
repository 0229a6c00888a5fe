"""What TorchServe hands to a handler beside the requests, for handlers that are served elsewhere.

The names are those of ``ts/context.py`` of TorchServe 0.12, which handlers call; metrics go nowhere, because the server
that answers counts requests itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: As ``ts.context.Context`` calls TorchServe towards handlers.
_SERVER = {"server_name": "MMS", "server_version": "0.12.0"}


class NoMetrics:
    """Takes whatever a handler counts: ``add_time``, ``add_counter``, ``get_metric(...).add_or_update`` and so on."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_, **__: self


class RequestProcessor:
    """One element of a batch: its request's headers, and what the handler says about its response."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = dict(headers)
        self.status, self.phrase = 200, ""
        self.response: dict[str, str] = {}

    def get_request_property(self, key: str) -> str | None:
        """A header of the request."""
        return self.headers.get(key)

    def get_request_properties(self) -> dict[str, str]:
        """All of them."""
        return self.headers

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """HTTP status of this element."""
        self.status, self.phrase = code, reason_phrase or ""

    def get_response_status_code(self) -> int:
        """What was reported, 200 unless it was."""
        return self.status

    def get_response_status_phrase(self) -> str:
        """What was reported with it."""
        return self.phrase

    def add_response_property(self, key: str, value: str) -> None:
        """A header of the response."""
        self.response[key] = value

    def get_response_headers(self) -> dict[str, str]:
        """All of them."""
        return self.response

    def get_response_header(self, key: str) -> str | None:
        """One of them."""
        return self.response.get(key)


class Context:
    """As ``ts.context.Context``: what was fixed when the model was loaded, and the batch that is being answered."""

    def __init__(
        self, name: str, folder: Path, manifest: Mapping[str, Any], config: Mapping[str, Any], batch_size: int
    ) -> None:
        """``folder``: of the unpacked archive; ``config``: its model-config.yaml."""
        self.model_name = name
        self.manifest = dict(manifest)
        self.model_yaml_config = dict(config)
        self.system_properties = {
            "model_dir": str(folder),
            "gpu_id": None,
            "batch_size": batch_size,
            "limit_max_image_pixels": True,
            **_SERVER,
        }
        self.metrics: Any = NoMetrics()
        self.stopping_criteria = None
        self.request_ids: dict[int, str] = {}
        self.request_processor: list[RequestProcessor] = []

    def begin(self, headers: list[Mapping[str, str]]) -> None:
        """A new batch: one entry per element."""
        self.request_processor = [RequestProcessor(item) for item in headers]
        self.request_ids = {index: item.get("x-request-id", str(index)) for index, item in enumerate(headers)}

    def get_request_id(self, idx: int = 0) -> str | None:
        """Of an element."""
        return self.request_ids.get(idx)

    def get_request_header(self, idx: int, key: str) -> str | None:
        """Of an element's request."""
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """Of an element's request."""
        return self.request_processor[idx].get_request_properties()

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Of an element's response."""
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx: int) -> str | None:
        """Of an element's response."""
        return self.get_response_headers(idx).get("content-type")

    def get_response_status(self, idx: int) -> tuple[int, str]:
        """Of an element's response."""
        return self.request_processor[idx].status, self.request_processor[idx].phrase

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Of an element's response."""
        if idx < len(self.request_processor):
            self.request_processor[idx].report_status(code, phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Of all responses."""
        for processor in self.request_processor:
            processor.report_status(code, phrase)

    def get_response_headers(self, idx: int) -> dict[str, str]:
        """Of an element's response."""
        return self.request_processor[idx].get_response_headers()

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Of an element's response."""
        self.request_processor[idx].add_response_property(key, value)

    def get_sequence_id(self, idx: int) -> str:
        """Of an element's request; empty without one."""
        return self.get_request_header(idx, "ts_request_sequence_id") or ""
