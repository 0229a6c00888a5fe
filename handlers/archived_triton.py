"""Triton's python backend calls :class:`ArchivedModel` for a migrated archive whose handler is its user's own."""

from __future__ import annotations

import json
import locale
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from handlers.answer import Note, Question
from handlers.archived import Archived, ArchivedHandler, ArchivedResult
from handlers.fields import Tensors, pack
from handlers.log import json_logger
from handlers.memory import WarmUp
from handlers.placement import refuse_numpy_2
from handlers.triton import TritonPythonModel
from handlers.wire import ERRORS_OUTPUT
from slipway.contract import Contract
from slipway.errors import ImageTooManyBytes, SlipwayError


class ArchivedModel(TritonPythonModel):
    """As handlers.triton.TritonPythonModel, with the user's handler in the place of the pipeline."""

    def _start(self, args: Mapping[str, str]) -> None:
        refuse_numpy_2(np.__version__)
        version_dir = Path(args["model_repository"]) / args["model_version"]
        contract = Contract.read(version_dir / "contract.json")
        self._log = json_logger("slipway.handlers")
        self._identity = {"model": args["model_name"], "version": args["model_version"]}
        self._max_images = max(1, int(json.loads(args["model_config"]).get("max_batch_size", 0)))
        self._max_bytes = contract.preprocess.max_bytes
        self._task = Archived(contract)
        # Triton (2.51) embeds its Python without setting the locale: text files would be read as ASCII, and not as in a
        # worker of TorchServe. Can go when locale.getpreferredencoding() says UTF-8 in a stub.
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        self._handler = ArchivedHandler(version_dir, args["model_name"])
        self._warm_up = WarmUp()

    def _options(self, parameters: Mapping[str, object]) -> Mapping[str, object]:
        return self._task.options(parameters)

    def _answer(self, questions: list[Question], note: Note) -> Sequence[Tensors | Exception]:
        """One batch of the handler for all requests; each input has its own answer or error. What a stranger's handler
        answers has no form that could be noted."""
        bodies = [body for question in questions for body in question.images]
        headers = [_headers(question.options) for question in questions for _ in question.images]
        found = iter(self._run(bodies, headers))
        return [self._reply([next(found) for _ in question.images]) for question in questions]

    def _run(
        self, bodies: Sequence[bytes], headers: Sequence[Mapping[str, str]]
    ) -> list[ArchivedResult | SlipwayError]:
        large = {index: _too_large(body, self._max_bytes) for index, body in enumerate(bodies)}
        good = [index for index, error in large.items() if error is None]
        answers: list[ArchivedResult | SlipwayError | None] = list(large.values())
        for index, answer in zip(
            good, self._handler.run([bodies[i] for i in good], [headers[i] for i in good]), strict=True
        ):
            answers[index] = answer
        return [answer for answer in answers if answer is not None]

    def _reply(self, found: Sequence[ArchivedResult | SlipwayError]) -> Tensors | SlipwayError:
        failed = [answer for answer in found if isinstance(answer, SlipwayError)]
        if len(failed) == len(found):
            return failed[0]
        records = [answer.record() if isinstance(answer, ArchivedResult) else None for answer in found]
        errors = np.array([[str(a) if isinstance(a, SlipwayError) else ""] for a in found], object)
        return {**pack(self._task.fields, records, 1), ERRORS_OUTPUT: errors}


def _headers(parameters: Mapping[str, object]) -> dict[str, str]:
    """A request's parameters as the headers that TorchServe's handlers read, in small letters."""
    return {str(key).lower().replace("_", "-"): str(value) for key, value in parameters.items()}


def _too_large(body: bytes, limit: int) -> SlipwayError | None:
    if len(body) <= limit:
        return None
    return ImageTooManyBytes("the input has too many bytes", observed=len(body), expected=f"at most {limit}")
