"""Triton's python backend calls :class:`TritonPythonModel`; everything that is not Triton's lies in its neighbours.

A version's ``model.py`` is one import of this class. The network runs in this process (``fused``) or is another model
of the same server, called at this version through business logic scripting (``separate``).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from handlers.answer import Note, Question, answer
from handlers.bls import ServerNetworks
from handlers.calls import Networks
from handlers.fields import Tensors
from handlers.log import json_logger
from handlers.memory import WarmUp
from handlers.networks import open_networks
from handlers.pipeline import Answer, Pipeline
from handlers.placement import fused_networks, placement, refuse_numpy_2
from handlers.recording import Recorder, wanted
from handlers.wire import IMAGE_INPUT, images_of, parameters_of, request_id_of
from slipway.contract import Contract
from slipway.errors import ServerUnavailable, SlipwayError


@dataclass
class _Slot:
    """One request of a batch on its way: who asked, and the question or the error that it has become."""

    request: Any
    ids: dict[str, str | None]
    content: Question | Exception
    #: value of the header that asks to have the answers noted
    record: str | None = None


class TritonPythonModel:
    """The public model. Triton makes one per instance, in a process of its own, and calls it from one thread."""

    _recorder: Recorder | None = None

    def initialize(self, args: Mapping[str, str]) -> None:
        """``args``: Triton's; raises TritonModelException with one line of ``CODE: text`` when this cannot serve."""
        try:
            self._start(args)
        except SlipwayError as error:
            raise pb_utils.TritonModelException(str(error)) from None

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order. Never raises: Triton would send the traceback to the client."""
        started = time.perf_counter()
        slots = [self._read(request) for request in requests]
        asked = [slot for slot in slots if isinstance(slot.content, Question)]
        questions = [slot.content for slot in asked if isinstance(slot.content, Question)]
        replies = iter(self._answer(questions, self._noting(asked, started)) if asked else [])
        responses = [
            self._respond(slot, next(replies) if isinstance(slot.content, Question) else slot.content) for slot in slots
        ]
        for slot in slots:
            if isinstance(slot.content, Exception):
                self._note(slot, slot.content, started)
        self._warm_up.ran()
        return responses

    def finalize(self) -> None:
        """Triton is about to end this instance."""
        if self._recorder is not None:
            self._recorder.close()

    def _start(self, args: Mapping[str, str]) -> None:
        refuse_numpy_2(np.__version__)
        version_dir = Path(args["model_repository"]) / args["model_version"]
        config = json.loads(args["model_config"])
        contract = Contract.read(version_dir / "contract.json")
        self._log = json_logger("slipway.handlers")
        self._identity = {"model": args["model_name"], "version": args["model_version"]}
        self._max_images = max(1, int(config.get("max_batch_size", 0)))
        if placement(config, os.environ) == "fused":
            networks: Networks = open_networks(fused_networks(version_dir, contract), contract)
        else:
            networks = ServerNetworks(contract, int(args["model_version"]))
        self._pipeline = Pipeline(contract, networks)
        self._recorder = Recorder.of_environment(contract, self._identity)
        self._warm_up = WarmUp()

    def _read(self, request: Any) -> _Slot:
        ids: dict[str, str | None] = {"request_id": request.request_id() or None}
        record = None
        try:
            parameters = parameters_of(request.parameters())
            ids["x_request_id"], record = request_id_of(parameters), wanted(parameters)
            tensor = pb_utils.get_input_tensor_by_name(request, IMAGE_INPUT)
            images = images_of(None if tensor is None else tensor.as_numpy(), self._max_images)
            return _Slot(request, ids, Question(images, self._options(parameters)), record)
        except Exception as error:  # answered by _respond: an error of ours as itself, a bug as INTERNAL
            return _Slot(request, ids, error, record)

    def _options(self, parameters: Mapping[str, Any]) -> Any:
        """The checked parameters of one request. Raises RequestInvalid."""
        return self._pipeline.task.options(parameters)

    def _answer(self, questions: list[Question], note: Note) -> Sequence[Tensors | Exception]:
        """A bug's exception too; answered and logged by _respond."""
        return answer(self._pipeline, questions, note)

    def _noting(self, asked: Sequence[_Slot], started: float) -> Note:
        return lambda index, found: self._note(asked[index], found, started)

    def _note(self, slot: _Slot, found: Sequence[Answer] | Exception, started: float) -> None:
        """``started``: when the call did, of time.perf_counter."""
        if self._recorder is None or slot.record is None:
            return
        images = slot.content.images if isinstance(slot.content, Question) else []
        self._recorder.note(slot.record, slot.ids.get("x_request_id"), images, found, time.perf_counter() - started)

    def _respond(self, slot: _Slot, reply: Tensors | Exception) -> Any:
        if isinstance(reply, Exception):
            return pb_utils.InferenceResponse(output_tensors=[], error=self._refusal(slot, reply))
        try:
            wanted = set(slot.request.requested_output_names()) or reply.keys()
            return pb_utils.InferenceResponse([pb_utils.Tensor(name, reply[name]) for name in reply if name in wanted])
        except Exception as error:  # a label, say, that cannot be written as UTF-8
            return self._respond(slot, error)

    def _refusal(self, slot: _Slot, error: Exception) -> Any:
        fields = {**self._identity, **slot.ids, "code": getattr(error, "code", "INTERNAL"), "error": str(error)}
        if isinstance(error, SlipwayError):
            self._log.warning("request failed", extra={"fields": fields})
            return pb_utils.TritonError(str(error), _status(error))
        self._log.error("request failed by a bug", extra={"fields": fields}, exc_info=error)
        text = "INTERNAL: the model failed unexpectedly; fix: report it with the server's log of this request"
        # not UNKNOWN, which Triton's HTTP front end answers with 400, as if the client were to blame
        return pb_utils.TritonError(text, pb_utils.TritonError.INTERNAL)


def _status(error: SlipwayError) -> Any:
    """Triton's status code: HTTP 400, 503 and 500; gRPC INVALID_ARGUMENT, UNAVAILABLE and INTERNAL."""
    if error.http_status < 500:
        return pb_utils.TritonError.INVALID_ARG
    if error.http_status == ServerUnavailable.http_status:
        return pb_utils.TritonError.UNAVAILABLE
    return pb_utils.TritonError.INTERNAL
