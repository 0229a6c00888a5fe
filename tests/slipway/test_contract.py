"""contract.json: what it holds comes back, what was edited is refused, and old hashes stay."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import pytest

from slipway.contract import Attribute, Contract, Network, Normalise, Part, Preprocess
from slipway.errors import ContractInvalid

PLAIN = Contract(
    model="digits",
    task="classification",
    preprocess=Preprocess(32, 32),
    network=Network("digits.onnx", "onnx", "model.onnx"),
    labels=("a", "b", "c", "d", "e"),
)
AGE = Attribute("age", "items", PLAIN, margin=0.1)
FACES = Contract(
    model="faces",
    task="faces",
    preprocess=Preprocess(0, 0),
    network=Network("faces.pnet.onnx", "onnx", "model.onnx"),
    labels=(),
    handler="handlers.faces:Faces",
    parts=(
        Part("pnet", Network("faces.pnet.onnx", "onnx", "model.onnx"), Normalise(128.0, (1.0, 1.0, 1.0))),
        Part("rnet", Network("faces.rnet.onnx", "onnx", "model.onnx"), height=24, width=24, colour="bgr"),
    ),
    attributes=(AGE,),
    settings={"score_threshold": 0.7, "tile": {"enabled": "auto"}},
)


@pytest.mark.parametrize("contract", [PLAIN, FACES, replace(PLAIN, attributes=(replace(AGE, on="image"),))])
def test_what_is_written_is_read(contract: Contract) -> None:
    again = Contract.from_dict(json.loads(contract.to_json()))
    assert again == contract and again.hash == contract.hash


def test_the_hash_of_a_contract_with_one_network_is_what_it_always_was() -> None:
    first_release = {  # keys that came later are left out where they are empty
        key: value for key, value in asdict(PLAIN).items() if key not in ("parts", "attributes", "settings")
    }
    del first_release["postprocess"]["score_threshold"]
    text = json.dumps(first_release, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert PLAIN.hash == hashlib.sha256(text.encode()).hexdigest()


def test_every_network_has_a_name_and_a_size() -> None:
    assert {name: network.model for name, network in FACES.networks().items()} == {
        "pnet": "faces.pnet.onnx",
        "rnet": "faces.rnet.onnx",
        "attributes/age": "digits.onnx",
    }
    assert FACES.inputs() == {"pnet": (0, 0), "rnet": (24, 24), "attributes/age": (32, 32)}
    assert (PLAIN.classes, FACES.classes) == (5, None)


@pytest.mark.parametrize("path", [("settings", "score_threshold"), ("parts", 1, "height"), ("attributes", 0, "margin")])
def test_an_edited_file_is_refused(path: tuple[object, ...]) -> None:
    values = json.loads(FACES.to_json())
    inside = values
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = 0.5
    with pytest.raises(ContractInvalid, match="hash"):
        Contract.from_dict(values)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "telepathy"},
        {"task": "detection"},
        {"parts": ()},
        {"attributes": (AGE, AGE)},
        {"attributes": (replace(AGE, on="nothing"),)},
        {"attributes": (replace(AGE, contract=FACES),)},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ContractInvalid):
        replace(FACES, **change)


@pytest.mark.parametrize(
    "network",
    [
        *(Network(name, "onnx", "model.onnx") for name in ("", ".", "..", "/m", "m.onnx/../../evil", "m/../n", "m.\n")),
        *(
            Network("m.onnx", "onnx", file)
            for file in ("", ".", "..", "/etc/passwd", "../2/model.onnx", "a/../../b", "\0")
        ),
    ],
)
def test_networks_that_would_lie_elsewhere_are_refused(network: Network) -> None:
    with pytest.raises(ContractInvalid, match=r"network\.(model|file)"):
        replace(PLAIN, network=network)
    with pytest.raises(ContractInvalid, match=r"parts\.rnet\.network\.(model|file)"):
        replace(FACES, parts=(FACES.parts[0], replace(FACES.parts[1], network=network)))


@pytest.mark.parametrize(
    "name", ["digits", "digits.onnx", "faces.age.onnx", "digits.torch-export", "a_b.tensorrt-int8"]
)
@pytest.mark.parametrize("file", ["model.onnx", "archive/MAR-INF/MANIFEST.json", "model..onnx"])
def test_networks_have_plain_names_and_files(name: str, file: str) -> None:
    assert replace(PLAIN, network=Network(name, "onnx", file)).network.file == file
