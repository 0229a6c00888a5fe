"""Every task on Triton and on TorchServe: the same answers as in process, from bit-equal network inputs, and every
hostile image or parameter refused with a code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.agreement import compare
from benchmarks.engines import ENGINES, EngineName, address, serving, settings_for
from benchmarks.voices import Published, Said, in_process, of_client, sample_images
from handlers.calls import Call, Networks
from handlers.decode import decode
from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from handlers.placement import fused_networks
from handlers.trace import TRACE_VARIABLE, lines_of
from serving.client import PredictClient
from serving.triton.model_config import usable_cores
from slipway import errors
from slipway.errors import ImageError, ImageTooManyBytes, SlipwayError
from slipway.repository import Repository
from slipway.settings import Settings
from tests.e2e.conftest import ROOT
from tests.e2e.hostile import IMAGES, LARGE, MUST_ANSWER, MUST_FAIL

pytestmark = pytest.mark.e2e
#: The sample that each needs, by model; the one that takes longest first.
MODELS = {
    "scenes": "scenes",
    "digits": "digits",
    "groups": "groups",
    "faces": "faces",
    "ocr": "texts",
    "vectors": "vectors",
    "strokes": "strokes",
}
#: Images of each that are asked, and of those hashed.
ASKED, TRACED = 8, 3
CODES = {cls.code for cls in errors.all_errors()} - {"INTERNAL"}


#: Tasks that take seconds for all the hostile images that are pictures in the end.
COSTLY = ("scenes", "faces", "ocr")


@cache
def different() -> set[str]:
    """Names of the hostile images that are refused, and of one picture of every size."""
    sizes: dict[object, str] = {}
    for name, image in IMAGES.items():
        try:
            sizes.setdefault(decode(image).size, name)
        except ImageError:
            sizes[name] = name
    return set(sizes.values())


@dataclass(frozen=True)
class Engine:
    name: EngineName
    client: PredictClient
    http: PredictClient
    pids: tuple[int, ...]
    trace: Path


@dataclass(frozen=True)
class World:
    settings: Settings
    published: dict[str, Published]
    engines: dict[str, Engine]
    heard: dict[str, dict[str, Said]] = field(default_factory=dict)

    def images(self, model: str, most: int = ASKED) -> list[bytes]:
        return [path.read_bytes() for path in sample_images(self.settings, self.published[model], most)]

    def hostile(self, model: str) -> dict[str, Said]:
        """What this process says of each hostile image that is small enough for a batch, or of the different ones."""
        if model not in self.heard:
            names = [name for name in IMAGES if name != LARGE and (model not in COSTLY or name in different())]
            said = in_process(self.published[model], [IMAGES[name] for name in names])
            self.heard[model] = dict(zip(names, said, strict=True))
        return self.heard[model]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, slipway: Any) -> Iterator[World]:
    """All tasks' samples exported into one repository, which both engines serve side by side."""
    folder = tmp_path_factory.mktemp("tasks")
    env = {"SLIPWAY_ROOT": str(ROOT), "SLIPWAY_REPOSITORY": str(folder / "models")}
    env["SLIPWAY_STATE_DIR"] = str(folder / "run")

    def make(model: str) -> None:
        for words in (("samples", MODELS[model]), ("export", model, "--only", "onnx")):
            run = slipway(*words, env=env, timeout=900)
            assert run.returncode == 0, run.stdout + run.stderr

    # training takes one core, and most of this module's time in a fresh clone
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(make, MODELS))
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
            http = stack.enter_context(PredictClient(address(state, "http"), timeout=120))
            server = psutil.Process(state.engine["pid"])
            pids = (server.pid, *(child.pid for child in server.children(recursive=True)))
            engines[name] = Engine(name, client, http, pids, trace)
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


@pytest.mark.parametrize("model", MODELS)
def test_hostile_images_are_refused_or_answered(world: World, model: str) -> None:
    """In process: every one is answered or refused with a code, as it must be."""
    for name, said in world.hostile(model).items():
        refused = isinstance(said, SlipwayError)
        assert not (refused and name in MUST_ANSWER) and (refused or name not in MUST_FAIL), f"{name}: {said}"
        assert not refused or (said.code in CODES and 400 <= said.http_status < 500), f"{name}: {said}"
    assert len(IMAGES) > 400 and len(MUST_FAIL) > 200 and len(MUST_ANSWER) >= 100


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("model", "transport"),
    [(model, way) for model in MODELS for way in ("grpc", "http") if model not in COSTLY or way == "grpc"],
)
def test_hostile_images_harm_nobody(world: World, model: str, engine: str, transport: str) -> None:
    """Served in batches, those of batches that fail whole one by one too: each gets what it gets in process."""
    served, good = world.engines[engine], world.images(model, 1)[0]
    client = served.client if transport == "grpc" else served.http
    (wanted,) = client.predict(model, [good])
    with pytest.raises(ImageTooManyBytes):
        client.predict(model, [IMAGES[LARGE]])
    expected = world.hostile(model)
    found = client.predict(model, [IMAGES[name] for name in expected])
    fields = world.published[model].fields
    for (name, said), prediction in zip(expected.items(), found, strict=True):
        if isinstance(said, SlipwayError):
            assert prediction.error is not None and prediction.error.code in CODES, f"{name}: {prediction}"
            # alone it is TorchServe's whole body, and one of JSON is a request
            assert prediction.error.code == said.code or name == "json", f"{name}: {prediction}"
            assert "Traceback" not in str(prediction.error), name
        else:
            assert prediction.error is None, f"{name}: {prediction.error}"
            assert compare(fields, said, prediction.values).same, name
    mixed = client.predict(model, [b"", good, b"junk"])
    assert [item.error is not None for item in mixed] == [True, False, True]
    assert compare(fields, wanted.values, mixed[1].values).same
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


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_task_without_parameters_is_not_moved_by_any(world: World, engine: str, transport: str) -> None:
    served, good = world.engines[engine], world.images("vectors", 1)[0]
    client = served.client if transport == "grpc" else served.http
    plain = client.predict("vectors", [good])[0].values
    for parameters in (
        {"dimension": 10**9},
        {"normalise": "none"},
        {"top_k": -1},
        {"n" * 200: "v" * 700},  # as long as a query may be
        {"a": "nan"},
    ):
        found = client.ask("vectors", [good], parameters=parameters).predictions[0].values
        assert compare(world.published["vectors"].fields, plain, found).same, parameters
