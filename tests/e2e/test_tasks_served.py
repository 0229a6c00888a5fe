"""Every task on Triton and on TorchServe: the same answers as in process, from bit-equal network inputs, and every
hostile image or parameter refused with a code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.agreement import compare
from benchmarks.engines import ENGINES, EngineName, address, serving, settings_for
from benchmarks.voices import Published, in_process, of_client, sample_images
from handlers.calls import Call, Networks
from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from handlers.placement import fused_networks
from handlers.trace import TRACE_VARIABLE, lines_of
from serving.client import PredictClient
from slipway import errors
from slipway.errors import SlipwayError
from slipway.repository import Repository
from slipway.settings import Settings
from tests.e2e.conftest import ROOT
from tests.e2e.hostile import IMAGES, MUST_FAIL

pytestmark = pytest.mark.e2e
#: The sample that each needs, by model.
MODELS = {
    "digits": "digits",
    "groups": "groups",
    "scenes": "scenes",
    "faces": "faces",
    "ocr": "texts",
    "vectors": "vectors",
    "strokes": "strokes",
}
#: Images of each that are asked, and of those hashed.
ASKED, TRACED = 8, 3
CODES = {cls.code for cls in errors.all_errors()} - {"INTERNAL"}


@dataclass(frozen=True)
class Engine:
    name: EngineName
    client: PredictClient
    pids: tuple[int, ...]
    trace: Path


@dataclass(frozen=True)
class World:
    settings: Settings
    published: dict[str, Published]
    engines: dict[str, Engine]

    def images(self, model: str, most: int = ASKED) -> list[bytes]:
        return [path.read_bytes() for path in sample_images(self.settings, self.published[model], most)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, slipway: Any) -> Iterator[World]:
    """All tasks' samples exported into one repository, which both engines serve side by side."""
    folder = tmp_path_factory.mktemp("tasks")
    env = {"SLIPWAY_ROOT": str(ROOT), "SLIPWAY_REPOSITORY": str(folder / "models")}
    env["SLIPWAY_STATE_DIR"] = str(folder / "run")
    for model, sample in MODELS.items():
        for words in (("samples", sample), ("export", model, "--only", "onnx")):
            run = slipway(*words, env=env, timeout=900)
            assert run.returncode == 0, run.stdout + run.stderr
    settings = Settings.load({**os.environ, **env})
    repository = Repository(settings.repository)
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        engines = {}
        for name in ENGINES:
            trace = folder / f"trace-{name}"
            trace.mkdir()
            patch.setenv(TRACE_VARIABLE, str(trace))
            state = stack.enter_context(serving(settings_for(settings, name, folder / "serving")))
            ready = {item.name: item.routed for item in state.models}
            assert ready == dict.fromkeys(MODELS, 1), state.to_dict()
            client = stack.enter_context(PredictClient(address(state, "grpc"), timeout=120))
            server = psutil.Process(state.engine["pid"])
            pids = (server.pid, *(child.pid for child in server.children(recursive=True)))
            engines[name] = Engine(name, client, pids, trace)
        patch.delenv(TRACE_VARIABLE)
        yield World(settings, {model: Published.of(repository, model) for model in MODELS}, engines)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_served_is_what_this_process_answers(world: World, model: str, engine: str) -> None:
    published, images = world.published[model], world.images(model)
    wanted = in_process(published, images)
    found = of_client(world.engines[engine].client)(published, images)
    assert len(wanted) == len(found) == min(ASKED, len(images)) > 0
    for one, other in zip(wanted, found, strict=True):
        assert not isinstance(one, SlipwayError) and not isinstance(other, SlipwayError), other
        agreement = compare(published.fields, one, other)
        assert agreement.same, agreement.problems


class Noted:
    """What this process asks its networks, as handlers.trace notes it in a server."""

    def __init__(self, networks: Networks) -> None:
        self.networks, self.rows = networks, set[str]()

    def run(self, calls: list[Call]) -> Any:
        self.rows |= {json.dumps(line, sort_keys=True) for call in calls for line in lines_of(call)}
        return self.networks.run(calls)


@pytest.mark.parametrize("model", MODELS)
def test_networks_are_asked_the_very_same_bytes(world: World, model: str) -> None:
    published = world.published[model]
    contract = published.pipeline.contract
    noted = Noted(open_networks(fused_networks(published.folder, contract), contract))
    pipeline = Pipeline(contract, noted)
    own: dict[str, set[str]] = {}
    for kind, images in (
        ("asked", world.images(model, TRACED)),
        ("golden", [(published.folder / "golden/input.png").read_bytes()]),
    ):
        noted.rows = set()
        for image in images:
            pipeline.run([image])
        own[kind] = noted.rows
    assert {json.loads(row)["network"] for row in own["asked"]} <= set(contract.networks())
    for engine in world.engines.values():
        before = _rows(engine.trace)
        engine.client.predict(model, world.images(model, TRACED), version=1)
        after = _rows(engine.trace)
        assert own["asked"] <= after, engine.name
        unexplained = after - before - own["asked"] - own["golden"]
        others = {row for row in unexplained if json.loads(row)["network"] in contract.networks()}
        assert not others or len(contract.networks()) == 1, engine.name  # golden probes of others name `network` too


def _rows(folder: Path) -> set[str]:
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return {json.dumps(json.loads(line), sort_keys=True) for line in lines}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_hostile_images_are_refused_and_harm_nobody(world: World, model: str, engine: str) -> None:
    served, good = world.engines[engine], world.images(model, 1)[0]
    (wanted,) = served.client.predict(model, [good])
    refused = 0
    for name, data in IMAGES.items():
        try:
            (prediction,) = served.client.predict(model, [data])
            error = prediction.error
        except SlipwayError as problem:
            error = problem
        if error is None:
            assert name not in MUST_FAIL, name
            continue
        refused += 1
        assert error.code in CODES and 400 <= error.http_status < 500, f"{name}: {error}"
        assert "Traceback" not in str(error), name
    assert refused >= len(MUST_FAIL)
    mixed = served.client.predict(model, [b"", good, b"junk"])
    assert [item.error is not None for item in mixed] == [True, False, True]
    assert compare(world.published[model].fields, wanted.values, mixed[1].values).same
    alive = {pid for pid in served.pids if psutil.pid_exists(pid)}
    assert alive == set(served.pids)


HOSTILE_PARAMETERS = {
    "digits": [{"top_k": -1}, {"top_k": 10**9}, {"top_k": "many"}, {"top_k": "nan"}],
    "groups": [{"score_threshold": "nan"}, {"score_threshold": 2}, {"top_k": 0}],
    "scenes": [{"score_threshold": "inf"}, {"classes": "unicorn"}, {"max_detections": 10**9}, {"tile": "perhaps"}],
    "faces": [{"attributes": "nope"}, {"max_faces": 0}, {"min_face_size": -5}, {"score_threshold": "nan"}],
    "ocr": [{"text_score": "x"}, {"max_lines": 10**9}, {"use_direction": "sideways"}],
    "strokes": [{"encoding": "tiff"}],
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", HOSTILE_PARAMETERS)
def test_hostile_parameters_are_refused(world: World, model: str, engine: str) -> None:
    client, good = world.engines[engine].client, world.images(model, 1)[0]
    for parameters in HOSTILE_PARAMETERS[model]:
        with pytest.raises(SlipwayError) as caught:
            client.ask(model, [good], parameters=parameters)
        assert caught.value.code == "REQUEST_INVALID", f"{parameters}: {caught.value}"
        assert next(iter(parameters)) in str(caught.value)
    assert client.predict(model, [good])[0].error is None
