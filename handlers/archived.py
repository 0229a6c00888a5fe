"""A user's TorchServe handler, called as TorchServe would call it: encoded inputs in, JSON or other bytes out.

The handler is the user's code and runs as it stands, in this process, with what this process has installed. It comes
from an unpacked archive in the version's ``archive/`` (export/migrate), which whoever published it was asked about.

``ts`` is imported only where the handler itself does; a handler without it needs no TorchServe.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from handlers.archived_context import Context
from handlers.fields import Field, Record
from handlers.log import json_logger
from slipway.contract import Contract
from slipway.errors import EnvironmentUnfit, HandlerFailed, HandlerRefused, RequestInvalid, SlipwayError

#: Inside a version: the unpacked archive, and its configuration as JSON (YAML is not there where models are served).
FOLDER = "archive"
SETTINGS = "archive.json"
#: JSON or other bytes, exactly as the handler gave them; clients that read records see text.
ANSWER = Field("answer", "string")
_SHOWN = 200


@dataclass(frozen=True)
class ArchivedResult:
    """``answer``: what the handler returned, as the bytes that TorchServe would have sent."""

    answer: bytes

    def record(self) -> Record:
        """As handlers.task.Result."""
        return {ANSWER.name: self.answer}


class Archived:
    """What the contract of such a model names as its handler: the form of its answers, for clients and servers. The
    answers themselves come from handlers.archived_triton, which knows where the archive lies."""

    fields = (ANSWER,)

    def __init__(self, contract: Contract) -> None:
        self._model = contract.model

    def options(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Whatever the request says; ``content_type`` is that of the inputs. Raises RequestInvalid."""
        kind = parameters.get("content_type", "")
        if not isinstance(kind, str):
            raise RequestInvalid("content_type is no text", observed=kind, expected="for example application/json")
        return parameters

    def width(self, options: Any) -> int:
        """As handlers.task.Task: one answer per input."""
        return 1

    def run(self, pictures: Sequence[Any], options: Sequence[Any], networks: Any) -> list[Any]:
        """Raises EnvironmentUnfit: without its archive it answers nothing."""
        raise EnvironmentUnfit(
            f"{self._model} is a TorchServe handler, and this server cannot run it",
            expected="Triton, through handlers.archived_triton",
            fix="serve it with ENGINE=triton",
        )


class ArchivedHandler:
    """The user's handler, loaded and initialised once; not for several threads."""

    def __init__(self, version_dir: Path, name: str) -> None:
        """``version_dir`` holds ``archive/`` and ``archive.json``. Raises HandlerFailed."""
        folder = version_dir / FOLDER
        settings = json.loads((version_dir / SETTINGS).read_text(encoding="utf-8"))
        manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))
        self._log = json_logger("slipway.handlers")
        self._name = name
        self._context = Context(name, folder, manifest, settings["config"], settings["batch_size"])
        self._largest = int(settings["batch_size"])
        # as in a worker of TorchServe: handlers import their neighbours and open files beside them
        sys.path.insert(0, str(folder))
        os.chdir(folder)
        try:
            self._call, initialise = entry_points(str(manifest["model"]["handler"]))
            initialise(self._context)
        except Exception as problem:  # the user's code: whatever it raises is the finding
            self._log.error("the handler cannot start", extra={"fields": {"model": name}}, exc_info=problem)
            raise HandlerFailed(
                f"the handler of {name} cannot start",
                observed=f"{type(problem).__name__}: {str(problem)[:_SHOWN]}",
                expected="a handler whose packages are all installed where it is served",
                fix=_advice(problem),
            ) from problem

    def run(self, bodies: Sequence[bytes], headers: Sequence[Mapping[str, str]]) -> list[ArchivedResult | SlipwayError]:
        """One answer or error per input, in order. A batch that fails is tried one by one, so that nobody pays for
        another's input."""
        answers: list[ArchivedResult | SlipwayError] = []
        for start in range(0, len(bodies), self._largest):
            piece = slice(start, start + self._largest)
            answers += self._batch(bodies[piece], headers[piece])
        return answers

    def _batch(
        self, bodies: Sequence[bytes], headers: Sequence[Mapping[str, str]]
    ) -> list[ArchivedResult | SlipwayError]:
        try:
            return self._asked(bodies, headers)
        except Exception as problem:  # the user's code
            if len(bodies) > 1:
                pairs = zip(bodies, headers, strict=True)
                return [answer for body, header in pairs for answer in self._batch([body], [header])]
            self._log.warning("the handler failed", extra={"fields": {"model": self._name}}, exc_info=problem)
            return [_failure(self._name, problem)]

    def _asked(
        self, bodies: Sequence[bytes], headers: Sequence[Mapping[str, str]]
    ) -> list[ArchivedResult | SlipwayError]:
        self._context.begin(list(headers))
        data = [{"body": _body(body, header)} for body, header in zip(bodies, headers, strict=True)]
        found = self._call(data, self._context)
        if not isinstance(found, list) or len(found) != len(bodies):
            raise HandlerFailed(
                f"the handler of {self._name} does not give one answer per input",
                observed=f"{len(found)} answers" if isinstance(found, list) else type(found).__name__,
                expected=f"a list of {len(bodies)}",
            )
        return [self._answer(index, to_bytes(value)) for index, value in enumerate(found)]

    def _answer(self, index: int, value: bytes) -> ArchivedResult | SlipwayError:
        status, phrase = self._context.get_response_status(index)
        if status < 400:
            return ArchivedResult(value)
        text = phrase or value[:_SHOWN].decode("utf-8", "replace")
        kind = HandlerRefused if status < 500 else HandlerFailed
        return kind(f"the handler of {self._name} answers with status {status}", observed=text or None)


def entry_points(handler: str) -> tuple[Callable[..., Any], Callable[[Context], Any]]:
    """What answers and what initialises, found as ``ts/model_loader.py`` finds them: ``module.py``, or
    ``module.py:function``; a module of TorchServe's own where the archive has none. Raises what importing raises."""
    module_name, _, function = handler.partition(":")
    module = _module(module_name.removesuffix(".py").split("/")[-1])
    call = getattr(module, function or "handle", None)
    if call is not None:
        return call, lambda context: call(None, context)
    classes = [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
    if len(classes) != 1 or not hasattr(classes[0], "handle"):
        raise TypeError(f"{module_name} has {len(classes)} classes; one with a method handle is expected")
    service: Any = classes[0]()
    return service.handle, getattr(service, "initialize", lambda context: None)


def to_bytes(value: Any) -> bytes:
    """A handler's value as TorchServe sends it: bytes and text as they are, everything else as JSON."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8")
    return json.dumps(value, ensure_ascii=False, default=_plain).encode("utf-8")


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name != name:  # one of its own imports is missing: that is what has to be said
            raise
        return importlib.import_module(f"ts.torch_handler.{name}")


def _plain(value: Any) -> Any:
    """numpy's and torch's own numbers and arrays."""
    if isinstance(value, (np.generic, np.ndarray)) or hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _body(body: bytes, headers: Mapping[str, str]) -> Any:
    """TorchServe decodes JSON before the handler sees it, and hands over a bytearray otherwise."""
    if headers.get("content-type", "").split(";")[0].strip().lower() == "application/json":
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return bytearray(body)
    return bytearray(body)


def _failure(name: str, problem: Exception) -> SlipwayError:
    """What a client may know; the traceback is in the log. ``ts`` has an exception that carries a status."""
    if isinstance(problem, SlipwayError):
        return problem
    code = getattr(problem, "error_code", None)
    if isinstance(code, int) and 400 <= code < 500:
        return HandlerRefused(f"the handler of {name} answers with status {code}", observed=str(problem)[:_SHOWN])
    return HandlerFailed(
        f"the handler of {name} failed", observed=type(problem).__name__, fix="the server's log has its traceback"
    )


def _advice(problem: Exception) -> str:
    if isinstance(problem, ModuleNotFoundError) and problem.name is not None:
        return f"install {problem.name.split('.')[0]} in the environment that serves (.venv-triton, or the image)"
    return "correct the archive; the log has the traceback"
