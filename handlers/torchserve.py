"""TorchServe calls a subclass of :class:`TorchServeModel`; everything that is not TorchServe's lies in its neighbours.

An archive's handler module defines that subclass and nothing else: TorchServe (0.12) refuses a module with two classes.
All networks run in the worker's own process, one thread each, from the files that ``networks.json`` names.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from handlers.answer import Question, answers
from handlers.json_request import answer_records, error_record, parse_object, read_body, to_json
from handlers.log import json_logger
from handlers.memory import return_freed_memory
from handlers.networks import open_networks
from handlers.pipeline import Answer, Pipeline
from handlers.recording import RECORD_HEADER, Recorder, wanted
from handlers.wire import REQUEST_ID_HEADER, request_id_of
from slipway.contract import Contract
from slipway.errors import ContractInvalid, ImageError, RequestInvalid, SlipwayError

#: Inside an archive: the networks' files by the contract's names.
NETWORKS_FILE = "networks.json"
#: Parameters of a request whose body is an image; TorchServe (0.12) hides the query of /predictions from handlers.
PARAMETERS_HEADER = "x-slipway-parameters"
_BODIES = ("body", "data", "image")
#: TorchScript optimises a graph in its first calls of a shape; the largest batch is what memory is judged by.
_WARM_UP_CALLS = 3


@dataclass
class _Slot:
    """One request of a batch: its ids for the log, the images that can be tried and, per image, what failed already."""

    ids: dict[str, str | None]
    content: Question | Exception
    early: list[ImageError | None]
    several: bool = False
    #: value of the header that asks to have the answers noted
    record: str | None = None

    def merged(self, reply: Sequence[Answer] | Exception) -> list[Answer | Exception]:
        """One answer or error per image of the request. ``reply``: of the images that could be tried."""
        tried = iter(() if isinstance(reply, Exception) else reply)
        return [failed or (reply if isinstance(reply, Exception) else next(tried)) for failed in self.early]

    def images(self) -> list[bytes | None]:
        """Encoded, in the request's order; None for those that failed already."""
        tried = iter(self.content.images if isinstance(self.content, Question) else ())
        return [next(tried) if failed is None else None for failed in self.early]


class TorchServeModel:
    """The public model. TorchServe makes one per worker process and calls it from one thread."""

    def initialize(self, context: Any) -> None:
        """``context``: TorchServe's. Raises SlipwayError when this cannot serve; its one line is logged first."""
        self._log = json_logger("slipway.handlers")
        version = context.manifest["model"]["modelVersion"]
        self._identity = {"model": context.model_name, "version": version}
        try:
            self._start(Path(context.system_properties["model_dir"]), context.model_yaml_config or {})
        except SlipwayError as error:
            self._log.error("the model cannot start", extra={"fields": {**self._identity, "error": str(error)}})
            raise

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """One JSON body per request, in order. Never raises: TorchServe would fail the whole batch."""
        if _only_described(data, context):
            return [self._name_worker(context)]
        started = time.perf_counter()
        slots = [self._read(row, context, index) for index, row in enumerate(data)]
        questions = [slot.content for slot in slots if isinstance(slot.content, Question)]
        answered = iter(self._answer(questions))
        replies = [next(answered) if isinstance(slot.content, Question) else slot.content for slot in slots]
        for slot, reply in zip(slots, replies, strict=True):
            self._note(slot, reply, started)
        return [
            self._respond(slot, reply, context, index)
            for index, (slot, reply) in enumerate(zip(slots, replies, strict=True))
        ]

    def _start(self, folder: Path, config: Mapping[str, Any]) -> None:
        # TorchServe (0.12) tells java two lines per request, its arrival and PredictionTime, through a pipe and regular
        # expressions: 3 % of a detection
        logging.getLogger().setLevel(logging.WARNING)
        if "torch" in sys.modules:  # TorchServe imports it in every worker, and its pool would spin beside ours
            sys.modules["torch"].set_num_threads(1)
        contract = Contract.read(folder / "contract.json")
        self._pipeline = Pipeline(contract, open_networks(_network_files(folder, contract), contract))
        self._recorder = Recorder.of_environment(contract, self._identity)
        self._max_images = int(config.get("handler", {}).get("max_images", 4 * contract.network.max_batch_size))
        self._max_bytes = contract.preprocess.max_bytes
        self._warm_up(folder / "golden", contract.network.max_batch_size)

    def _warm_up(self, golden: Path, largest: int) -> None:
        for path in sorted(golden.glob("input.*")):
            image = path.read_bytes()
            for size in [1] * _WARM_UP_CALLS + [largest]:
                self._pipeline.run([image] * size)
        return_freed_memory()

    def _read(self, row: Mapping[str, Any], context: Any, index: int) -> _Slot:
        ids: dict[str, str | None] = {"request_id": None}
        record = None
        try:
            headers = context.get_all_request_header(index)
            marks = _marks(headers, row)
            ids = {"request_id": context.get_request_id(index), "x_request_id": request_id_of(marks)}
            record = wanted(marks)
            name = next((name for name in _BODIES if name in row), None)
            if name is None:
                raise RequestInvalid(
                    "the request has no body", observed=sorted(row)[:10], expected="an image, or JSON with images"
                )
            body = read_body(_bytes(row[name]), _content_type(headers, name), self._max_images, self._max_bytes)
            parameters = {**_header_parameters(headers), **_row_parameters(row, name), **body.parameters}
            images = [image for image in body.images if isinstance(image, bytes)]
            early = [image if isinstance(image, ImageError) else None for image in body.images]
            question = Question(images, self._pipeline.task.options(parameters))
            return _Slot(ids, question, early, body.several, record)
        except Exception as error:  # answered by _respond: an error of ours as itself, a bug as INTERNAL
            return _Slot(ids, error, [], record=record)

    def _answer(self, questions: Sequence[Question]) -> Sequence[list[Answer] | Exception]:
        return answers(self._pipeline, questions)  # a bug's exception too; answered and logged by _respond

    def _note(self, slot: _Slot, reply: Sequence[Answer] | Exception, started: float) -> None:
        """``started``: when the call did, of time.perf_counter."""
        if self._recorder is None or slot.record is None:
            return
        found = slot.merged(reply) if slot.early else reply
        took = time.perf_counter() - started
        self._recorder.note(slot.record, slot.ids.get("x_request_id"), slot.images(), found, took)

    def _respond(self, slot: _Slot, reply: list[Answer] | Exception, context: Any, index: int) -> bytes:
        if isinstance(reply, Exception):
            return self._refuse(slot, reply, context, index)
        try:
            found = cast("list[Answer]", slot.merged(reply))
            errors = [answer for answer in found if isinstance(answer, ImageError)]
            if len(errors) == len(found):
                return self._refuse(slot, errors[0], context, index)
            records = answer_records(self._pipeline.task.fields, found)
            self._describe(context, index, "application/json")
            return to_json(records if slot.several else records[0])
        except Exception as error:  # a record that cannot be written
            return self._refuse(slot, error, context, index)

    def _refuse(self, slot: _Slot, error: Exception, context: Any, index: int) -> bytes:
        fields = {**self._identity, **slot.ids, "code": getattr(error, "code", "INTERNAL"), "error": str(error)}
        if isinstance(error, SlipwayError):
            self._log.warning("request failed", extra={"fields": fields})
            told = error
        else:
            self._log.error("request failed by a bug", extra={"fields": fields}, exc_info=error)
            told = SlipwayError("the model failed unexpectedly", fix="report it with the server's log of this request")
        context.set_response_status(code=told.http_status, idx=index)
        self._describe(context, index, "application/json")
        context.set_response_header(index, "x-slipway-error", told.code)
        return to_json(error_record(told))

    def _name_worker(self, context: Any) -> bytes:
        """Whoever gets this knows that everything this process had taken up before is answered."""
        self._describe(context, 0, "application/json")
        return to_json({**self._identity, "worker": os.getpid()})

    def _describe(self, context: Any, index: int, content_type: str) -> None:
        context.set_response_content_type(index, content_type)
        for name, value in self._identity.items():
            context.set_response_header(index, f"x-slipway-{name}", value)


def _network_files(folder: Path, contract: Contract) -> dict[str, Path]:
    """The files of ``networks.json``; raises ContractInvalid when it does not name the contract's networks."""
    try:
        names = json.loads((folder / NETWORKS_FILE).read_text(encoding="utf-8"))
        files = {str(name): folder / path for name, path in names.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ContractInvalid(f"{NETWORKS_FILE}: {error}", fix="make the archive again") from error
    if files.keys() != contract.networks().keys():
        raise ContractInvalid(
            f"{NETWORKS_FILE} names other networks than the contract",
            observed=sorted(files),
            expected=sorted(contract.networks()),
            fix="make the archive again",
        )
    return files


def _only_described(data: Sequence[Mapping[str, Any]], context: Any) -> bool:
    """Whether this is the management API's "describe", which TorchServe (0.12) hands over alone and marks with a
    header; the edge lets no client send that."""
    return len(data) == 1 and not data[0] and context.get_all_request_header(0).get("describe") == "True"


def _marks(headers: Mapping[str, Any], row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the edge says of a request: its headers. gRPC's never come here (0.12), so the edge puts them among the
    inputs; those of a request over HTTP, which has a host, are its client's form fields. Among the headers lie the
    fields' media types, too, as mappings under the fields' names."""
    own = {name: value for name, value in headers.items() if isinstance(value, str)}
    if any(name.lower() == "host" for name in own):
        return own
    return _row_parameters({name: row[name] for name in (REQUEST_ID_HEADER, RECORD_HEADER) if name in row}, "")


def _bytes(value: Any) -> Any:
    """The body as bytes; JSON that TorchServe has decoded already stays what it is."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else bytes(value) if _is_bytes(value) else value


def _is_bytes(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


def _content_type(headers: Mapping[str, Any], name: str) -> str:
    """Of a body or form field; TorchServe keeps it among the headers, where a header of that name may lie instead."""
    found = headers.get(name)
    return str(found.get("content-type", "")) if isinstance(found, Mapping) else ""


def _header_parameters(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in headers.items():
        if name.lower() == PARAMETERS_HEADER:
            return parse_object(str(value), f"header {PARAMETERS_HEADER}")
    return {}


def _row_parameters(row: Mapping[str, Any], body: str) -> dict[str, Any]:
    """Form fields and gRPC inputs beside the image."""
    return {
        name: bytes(value).decode("utf-8", "replace") if _is_bytes(value) else value
        for name, value in row.items()
        if name != body
    }
