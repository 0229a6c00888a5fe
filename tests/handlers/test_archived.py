"""A user's handler is called as TorchServe calls it; one bad input costs nobody else an answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from handlers.archived import ArchivedHandler, ArchivedResult, entry_points, to_bytes
from slipway.errors import HandlerFailed, HandlerRefused, SlipwayError

HANDLER = '''
"""Answers lengths; needs nothing of TorchServe's."""
import json


class Lengths:
    calls = []

    def initialize(self, context):
        assert context.system_properties["model_dir"]
        self.unit = context.model_yaml_config["unit"]
        self.name = context.manifest["model"]["modelName"]

    def handle(self, data, context):
        self.calls.append(len(data))
        answers = []
        for index, row in enumerate(data):
            body = row["body"]
            if body == b"bad":
                raise ValueError("secret of the server")
            if body == b"teapot":
                context.set_response_status(code=418, phrase="no coffee", idx=index)
                answers.append("ignored")
            elif body == b"short":
                return []
            elif isinstance(body, dict):
                answers.append({"keys": sorted(body), "header": context.get_request_header(index, "content-type")})
            else:
                assert isinstance(body, bytearray)
                context.metrics.add_time("HandlerTime", 1, None, "ms")
                context.metrics.get_metric("Sizes").add_or_update(len(body), [])
                answers.append({"model": self.name, self.unit: len(body)})
        return answers
'''


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A version's folder; what the handler changes of this process is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "archive"
    (folder / "MAR-INF").mkdir(parents=True)
    module = f"lengths_{abs(hash(tmp_path))}"
    (folder / f"{module}.py").write_text(HANDLER, encoding="utf-8")
    manifest = {"model": {"modelName": "m", "handler": f"{module}.py"}}
    (folder / "MAR-INF/MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    settings = {"batch_size": 3, "config": {"unit": "bytes"}}
    (tmp_path / "archive.json").write_text(json.dumps(settings), encoding="utf-8")
    return tmp_path


def answered(found: ArchivedResult | SlipwayError) -> object:
    return json.loads(found.answer) if isinstance(found, ArchivedResult) else type(found)


def test_each_input_has_its_own_answer(version: Path) -> None:
    handler = ArchivedHandler(version, "m")
    bodies = [b"1234", b"bad", b"teapot", b"12", b"short", b"", b"1"]
    found = handler.run(bodies, [{} for _ in bodies])
    assert [answered(item) for item in found] == [
        {"model": "m", "bytes": 4},
        HandlerFailed,
        HandlerRefused,
        {"model": "m", "bytes": 2},
        HandlerFailed,
        {"model": "m", "bytes": 0},
        {"model": "m", "bytes": 1},
    ]
    failed, refused = found[1], found[2]
    assert isinstance(failed, HandlerFailed) and isinstance(refused, HandlerRefused)
    assert "secret" not in str(failed)
    assert (failed.http_status, refused.http_status, refused.observed) == (500, 400, "no coffee")


def test_batches_are_no_larger_than_the_archive_says(version: Path) -> None:
    handler = ArchivedHandler(version, "m")
    handler.run([b"1"] * 7, [{}] * 7)
    (module,) = [name for name in sys.modules if name.startswith("lengths_") and name in str(handler._call)]
    assert sys.modules[module].Lengths.calls == [3, 3, 1]


def test_json_is_decoded_as_torchserve_does(version: Path) -> None:
    handler = ArchivedHandler(version, "m")
    headers = {"content-type": "application/json"}
    found = handler.run([b'{"b": 1, "a": 2}', b"not json"], [headers, headers])
    assert [answered(item) for item in found] == [
        {"keys": ["a", "b"], "header": "application/json"},
        {"model": "m", "bytes": 8},
    ]


def test_a_handler_that_cannot_start_names_what_is_missing(version: Path) -> None:
    (module,) = (version / "archive").glob("*.py")
    module.write_text("import no_such_package\n", encoding="utf-8")
    sys.modules.pop(module.stem, None)
    with pytest.raises(HandlerFailed, match="cannot start") as problem:
        ArchivedHandler(version, "m")
    assert "install no_such_package" in str(problem.value.fix)


def test_functions_and_wrong_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "as_function.py").write_text(
        "seen = []\ndef answer(data, context):\n    seen.append(data)\n    return data\n", encoding="utf-8"
    )
    call, initialise = entry_points("as_function.py:answer")
    initialise(None)  # type: ignore[arg-type]
    assert call([1], None) == [1]
    assert sys.modules["as_function"].seen == [None, [1]]
    (tmp_path / "two_classes.py").write_text("class A:\n    pass\nclass B:\n    pass\n", encoding="utf-8")
    with pytest.raises(TypeError, match="2 classes"):
        entry_points("two_classes.py")


def test_values_are_sent_as_torchserve_sends_them() -> None:
    import numpy as np

    assert to_bytes(bytearray(b"\x89")) == b"\x89"
    assert to_bytes("é") == "é".encode()
    assert json.loads(to_bytes({"a": np.float32(0.5), "b": np.arange(2)})) == {"a": 0.5, "b": [0, 1]}
