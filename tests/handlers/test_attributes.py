"""Attributes on pictures and on what is found in them: one list of calls, merged results, subsets, failures by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers import attributes as module
from handlers.attributes import AttributedResult, WithAttributes
from handlers.calls import Call, InProcess
from handlers.fields import pack, plain, unpack
from handlers.pipeline import Pipeline
from handlers.task import load_task
from slipway.contract import Attribute, Contract, Network, Postprocess, Preprocess
from slipway.errors import ContractInvalid, ImageError, NetworkFailed, RequestInvalid
from tests.handlers.pictures import encode, read

SIDE = 128
NAMES = ("magenta", "lime", "cyan")
COLOURS = ((255, 0, 255), (0, 255, 0), (0, 255, 255))
CHANNELS = ("red", "green", "blue")
Pixels = np.ndarray


def network(name: str) -> Network:
    return Network(name, "onnx", "model.onnx", max_batch_size=4)


def attribute(name: str, on: str, task: str, margin: float = 0.0, **values: Any) -> Attribute:
    contract = Contract(
        model="signs",
        task=task,
        preprocess=Preprocess(16, 16, resize="stretch"),
        network=network(f"signs.{name}.onnx"),
        labels=CHANNELS if task == "classification" else (),
        handler=f"handlers.{task}:{task.capitalize()}",
        postprocess=values.pop("postprocess", Postprocess(top_k=2)),
        **values,
    )
    return Attribute(name, on, contract, margin)


def contract(*attributes: Attribute) -> Contract:
    return Contract(
        model="signs",
        task="detection",
        preprocess=Preprocess(SIDE, SIDE, resize="letterbox"),
        network=network("signs.onnx"),
        labels=NAMES,
        handler="handlers.detection:Detection",
        attributes=attributes,
        settings={"tile": {"enabled": "never"}, "max_detections": 10},
    )


CHANNEL = attribute("channel", "items", "classification")
VECTOR = attribute("vector", "items", "embedding", margin=0.5)
SCENE = attribute("scene", "image", "classification", postprocess=Postprocess("sigmoid", top_k=3, score_threshold=0.5))
WHOLE = attribute("whole", "image", "embedding")
ALL = contract(CHANNEL, VECTOR, SCENE, WHOLE)


def found(pixels: Pixels) -> Pixels:
    """A detector by rule: the surroundings of each label's pure colour."""
    answers = np.zeros((len(pixels), 3, 7), np.float32)
    for row, image in enumerate(pixels.astype(int)):
        for label, colour in enumerate(COLOURS):
            y, x = np.nonzero(np.abs(image - colour).sum(axis=2) < 190)
            if len(x) > 8:
                answers[row, label, :4] = x.min(), y.min(), x.max() + 1, y.max() + 1
                answers[row, label, 4 + label] = 0.9 - 0.1 * label
    return answers


def means(pixels: Pixels) -> Pixels:
    """float32[N, 3]: how much of each channel there is, around 0."""
    return (pixels.astype(np.float32).mean(axis=(1, 2)) - 100) / 10


class Recording(InProcess):
    """In-process networks that note the lists they were asked for."""

    def __init__(self, contract: Contract, **runs: Any) -> None:
        names = contract.networks()
        super().__init__({name: runs.get(name.split("/")[-1], means) for name in names} | {"network": found}, contract)
        self.lists: list[list[tuple[str, int]]] = []

    def run(self, calls: Sequence[Call]) -> list[np.ndarray]:
        self.lists.append([(call.network, len(call.pixels)) for call in calls])
        return super().run(calls)


def signs(*labels: int, ground: int = 90) -> bytes:
    """Grey, with one square per label from left to right."""
    image = Image.new("RGB", (240, 160), (ground,) * 3)
    for place, label in enumerate(labels):
        image.paste(COLOURS[label], (20 + 70 * place, 40, 60 + 70 * place, 90))
    return encode(image, "PNG")


def run(contract: Contract, images: Sequence[bytes], **parameters: Any) -> tuple[list[Any], Recording, Pipeline]:
    networks = Recording(contract)
    pipeline = Pipeline(contract, networks)
    return pipeline.run(images, parameters), networks, pipeline


def test_fields_are_the_tasks_and_every_attributes() -> None:
    task = load_task(ALL)
    assert isinstance(task, WithAttributes)
    told = {field.name: (field.dtype, field.shape, field.each) for field in task.fields}
    assert told.pop("count") == ("int32", (), False)
    assert told == {
        "boxes": ("float32", (4,), True),
        "scores": ("float32", (), True),
        "labels": ("string", (), True),
        "channel.labels": ("string", (-1,), True),
        "channel.scores": ("float32", (-1,), True),
        "vector.embedding": ("float32", (-1,), True),
        "scene.labels": ("string", (-1,), False),
        "scene.scores": ("float32", (-1,), False),
        "whole.embedding": ("float32", (-1,), False),
    }


def test_crops_of_all_items_of_all_images_go_in_one_list() -> None:
    answers, networks, _ = run(ALL, [signs(0, 1), signs(), signs(2, 1, 0)])
    assert networks.lists == [
        [("network", 3), ("attributes/scene", 3), ("attributes/whole", 3)],
        [("attributes/channel", 5), ("attributes/vector", 5)],
    ]
    assert [len(answer.record()["boxes"]) for answer in answers] == [2, 0, 3]


def test_values_belong_to_their_items() -> None:
    (answer,), _, pipeline = run(ALL, [signs(2, 0, 1)])
    told = plain(pipeline.task.fields, answer.record())
    assert told["labels"] == ["magenta", "lime", "cyan"], "by score, not by place"
    assert [set(names) for names in told["channel.labels"]] == [{"red", "blue"}, {"green", "red"}, {"green", "blue"}]
    assert [scores[0] for scores in told["channel.scores"]] == pytest.approx([0.5, 1.0, 0.5], abs=1e-3)
    vectors = np.array(told["vector.embedding"])
    assert vectors.shape == (3, 3) and np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(told["whole.embedding"]) == pytest.approx(1, abs=1e-6)


def test_margins_enlarge_the_crops() -> None:
    seen: list[np.ndarray] = []

    def watch(pixels: Pixels) -> Pixels:
        seen.append(pixels)
        return means(pixels)

    for margin in (0.0, 0.5):
        one = contract(attribute("a", "items", "embedding", margin))
        Pipeline(one, Recording(one, a=watch)).run([signs(1)])
    tight, wide = seen
    assert (tight == COLOURS[1]).all(axis=3).mean() > 0.8
    assert 0.1 < (wide == COLOURS[1]).all(axis=3).mean() < 0.35, "a quarter is the item"


def test_tensors_become_the_same_json_however_many_items() -> None:
    images = [signs(0), b"junk", signs(), signs(1, 2, 0, ground=250)]
    answers, _, pipeline = run(ALL, images)
    assert isinstance(answers[1], ImageError)
    records = [None if isinstance(answer, ImageError) else answer.record() for answer in answers]
    options = pipeline.task.options({})
    tensors = pack(pipeline.task.fields, records, pipeline.task.width(options))
    assert tensors["channel.labels"].shape == (4, 10, 2)
    back = unpack(pipeline.task.fields, tensors)
    for row in (0, 2, 3):
        assert back[row] == plain(pipeline.task.fields, records[row])  # type: ignore[arg-type]
    assert back[0]["scene.labels"] == [] and len(back[3]["scene.labels"]) == 3, "by the threshold"
    assert back[2]["channel.labels"] == []


def test_a_subset_on_request() -> None:
    answers, networks, pipeline = run(ALL, [signs(0, 1)], attributes="vector, scene")
    assert networks.lists == [[("network", 1), ("attributes/scene", 1)], [("attributes/vector", 2)]]
    told = plain(pipeline.task.fields, answers[0].record())
    assert told["channel.labels"] == [[], []] and told["whole.embedding"] == []
    assert len(told["vector.embedding"]) == 2
    tensors = pack(pipeline.task.fields, [answers[0].record()], 10)
    assert unpack(pipeline.task.fields, tensors) == [told]
    _, networks, _ = run(ALL, [signs(0, 1)], attributes=["none"])
    assert networks.lists == [[("network", 1)]]


def test_requests_of_one_batch_may_ask_for_different_attributes() -> None:
    networks = Recording(ALL)
    pipeline = Pipeline(ALL, networks)
    options = [pipeline.task.options({"attributes": names}) for names in ("channel", "none", "scene")]
    answers = pipeline.run([signs(0), signs(1), signs(2)], options)
    assert networks.lists == [[("network", 3), ("attributes/scene", 1)], [("attributes/channel", 1)]]
    told = [plain(pipeline.task.fields, answer.record()) for answer in answers if isinstance(answer, AttributedResult)]
    assert [len(item["channel.labels"][0]) for item in told] == [2, 0, 0]


@pytest.mark.parametrize(
    "value", ["colour", "channel,colour", "", ",", 7, {"channel": 1}, [], [["channel"]], "x" * 9999]
)
def test_unknown_attributes_are_refused(value: Any) -> None:
    with pytest.raises(RequestInvalid, match="attributes"):
        load_task(ALL).options({"attributes": value})


def test_an_attributes_own_parameters_have_its_name_in_front() -> None:
    (answer,), _, pipeline = run(ALL, [signs(0)], **{"channel.top_k": "1", "scene.score_threshold": 0.0})
    told = plain(pipeline.task.fields, answer.record())
    assert len(told["channel.labels"][0]) == 1 and len(told["scene.labels"]) == 3
    with pytest.raises(RequestInvalid, match="top_k"):
        pipeline.task.options({"channel.top_k": 4})
    pipeline.task.options({"channel.top_k": 4, "attributes": "vector"})


def test_a_network_that_fails_is_named() -> None:
    def refuses(pixels: Pixels) -> Pixels:
        raise NetworkFailed("the network model.onnx failed", observed="out of memory")

    for failing, text in (
        (refuses, "attributes/vector: the network"),
        (lambda p: means(p) * np.nan, "attribute vector"),
    ):
        with pytest.raises(NetworkFailed, match=text):
            Pipeline(ALL, Recording(ALL, vector=failing)).run([signs(0)])


def test_many_items_are_prepared_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, pipeline = run(contract(CHANNEL), [signs(0, 1, 2)] * 3)
    monkeypatch.setattr(module, "_AT_ONCE", 4)
    parts, networks, _ = run(contract(CHANNEL), [signs(0, 1, 2)] * 3)
    assert networks.lists[1:] == [[("attributes/channel", 4)], [("attributes/channel", 4)], [("attributes/channel", 1)]]
    fields = pipeline.task.fields
    assert [plain(fields, answer.record()) for answer in parts] == [plain(fields, answer.record()) for answer in whole]


def test_attributes_of_pictures_need_no_items() -> None:
    picture = replace(CHANNEL.contract, attributes=(WHOLE, SCENE), model="pictures")
    networks = InProcess(dict.fromkeys(picture.networks(), means), picture)
    (answer,) = Pipeline(picture, networks).run([signs(0)])
    assert set(answer.record()) == {"labels", "scores", "whole.embedding", "scene.labels", "scene.scores"}  # type: ignore[union-attr]
    with pytest.raises(ContractInvalid, match="finds no items"):
        load_task(replace(picture, attributes=(VECTOR,)))


def test_a_task_with_a_name_of_its_own_is_left_alone() -> None:
    with pytest.raises(ContractInvalid, match="none"):
        load_task(contract(attribute("none", "image", "embedding")))


def test_only_bad_images_ask_nobody() -> None:
    answers, networks, _ = run(ALL, [b"junk", read("chelsea.png")[:9000]])
    assert all(isinstance(answer, ImageError) for answer in answers)
    assert networks.lists == []
