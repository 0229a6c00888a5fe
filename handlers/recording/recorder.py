"""Notes the answers of requests that the edge asked to have recorded: header ``x-slipway-record``, ``1`` or ``image``.

Only the edge can set the header. The server's thread builds a small summary and puts it into a bounded queue; another
thread writes it. A full queue or disk loses notes, never answers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from handlers.log import json_logger
from handlers.pipeline import Answer
from handlers.recording.summaries import TooLarge, form_of
from handlers.recording.writer import Writer
from handlers.wire import header_of
from slipway.contract import Contract
from slipway.errors import NetworkFailed, SlipwayError

#: Folder of the notes, set for the server's process; without it nothing is noted.
VARIABLE = "SLIPWAY_PREDICTIONS"
RECORD_HEADER = "x-slipway-record"
#: Value of the header that asks to keep the encoded images too, and those that ask for nothing: with one of them the
#: edge overrules a client's request parameter of that name. Any other one asks for notes alone.
WITH_IMAGES, NOTHING = "image", ("", "0")


def wanted(parameters: Mapping[str, Any]) -> str | None:
    """The header's value as the server forwards it; None where it asks for nothing or is absent."""
    value = header_of(parameters, RECORD_HEADER)
    return None if value in NOTHING else value


class Recorder:
    """One per version in a server's process; for one thread, as the model that it belongs to."""

    def __init__(self, folder: Path, contract: Contract, identity: Mapping[str, str]) -> None:
        """``identity``: ``model`` and ``version``."""
        self._writer = Writer(folder)
        self._summarise = form_of(contract)
        version = identity["version"]
        self._about = {
            "model": identity["model"],
            "version": int(version) if version.isdigit() else version,
            "task": contract.task,
        }
        self._told = False

    @classmethod
    def of_environment(cls, contract: Contract, identity: Mapping[str, str]) -> Recorder | None:
        """As the variable says; None without it."""
        folder = os.environ.get(VARIABLE)
        return cls(Path(folder), contract, identity) if folder else None

    def note(
        self,
        how: str,
        request_id: str | None,
        images: Sequence[bytes | None],
        reply: Sequence[Answer | Exception] | Exception,
        seconds: float,
    ) -> None:
        """One line per image, one in all for a request that failed before its images were known. Never raises.

        ``how``: the header's value. ``request_id``: the edge's; without it nobody could use a note. ``images``:
        encoded, None where there was none to keep; ``reply``: an answer or error for each, or the request's own error.
        ``seconds``: of the whole call.
        """
        if not request_id:
            return
        about = {"time": round(time.time(), 3), "request_id": request_id, **self._about, "ms": round(seconds * 1000, 2)}
        answers = [reply] * max(1, len(images)) if isinstance(reply, Exception) else reply
        for index, answer in enumerate(answers):
            image = images[index] if how == WITH_IMAGES and index < len(images) else None
            self._writer.put({**about, "index": index, **self._said(answer)}, image)

    def close(self) -> None:
        """Writes what is still queued, within two seconds."""
        self._writer.close()

    def _said(self, answer: Answer | Exception) -> dict[str, Any]:
        if isinstance(answer, Exception):
            code = answer.code if isinstance(answer, SlipwayError) else SlipwayError.code
            return {"code": code, "not_finite": not_finite(answer), "summary": None}
        said: dict[str, Any] = {"code": None, "not_finite": False, "summary": None}
        try:
            if self._summarise is not None:
                said["summary"] = self._summarise(answer)
        except TooLarge:
            said["truncated"] = True
        except Exception as error:  # a custom task's answer of another form: it was an answer all the same
            if not self._told:
                self._told = True
                fields = {**self._about, "error": repr(error)[:200]}
                json_logger("slipway.handlers").warning("answers have no summary", extra={"fields": fields})
        return said


def not_finite(error: BaseException) -> bool:
    """Whether it says that a network's values were NaN or infinite, also as the cause of an error that names it."""
    return any(isinstance(one, NetworkFailed) and one.not_finite for one in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
