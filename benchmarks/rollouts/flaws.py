"""Versions of a published classification that start, answer their golden image rightly and fail in traffic.

No gate lets such networks pass, so they are published by hand: the same contract and files, another ONNX graph. A flaw
strikes images by a number of their own, the sum of their pixels modulo N: the same images every time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from handlers.networks import open_networks
from handlers.pipeline import Pipeline
from slipway.contract import Contract
from slipway.errors import BenchmarkFailed, NetworkFailed
from slipway.repository import Publication, Repository

Constant = np.ndarray[Any, Any]
#: Nodes that make the flawed output of ``sound`` [batch, classes] where ``struck`` [batch, 1] is true, and constants.
Parts = tuple[list[onnx.NodeProto], dict[str, Constant]]
Build = Callable[[], Parts]
#: Side of the square matrices that a slow version multiplies: 0.13 GFLOP a product.
_SIDE = 400
_PRODUCTS = 24


@dataclass(frozen=True)
class Flaw:
    """``one_in``: it strikes one image in so many; ``says``: in plain words."""

    name: str
    says: str
    one_in: int
    build: Build


def _ints(*values: int) -> Constant:
    return np.array(values, np.int64)


def _floats(*values: float) -> Constant:
    return np.array(values, np.float32)


def _own(name: str) -> str:
    """No name of the network's own may be taken."""
    return f"flaw/{name}"


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(map(_own, inputs)), [_own(output)], name=_own(output), **attributes)


def _nan() -> Parts:
    return [_node("Where", ["struck", "nan", "sound"], "flawed")], {"nan": _floats(np.nan)}


def _error() -> Parts:
    """An index out of range fails the whole run, as a shape does that a network was not made for."""
    nodes = [
        _node("Cast", ["struck"], "index", to=TensorProto.INT64),
        _node("Mul", ["index", "far"], "place"),
        _node("Gather", ["one", "place"], "ones"),
        _node("Mul", ["sound", "ones"], "flawed"),
    ]
    return nodes, {"far": _ints(1000), "one": _floats(1.0)}


def _wrong() -> Parts:
    """Every score belongs to the next class."""
    nodes = [
        _node("Slice", ["sound", "first", "last", "axis"], "rest"),
        _node("Slice", ["sound", "zero", "first", "axis"], "head"),
        _node("Concat", ["rest", "head"], "turned", axis=1),
        _node("Where", ["struck", "turned", "sound"], "flawed"),
    ]
    ends = {"zero": _ints(0), "first": _ints(1), "last": _ints(1 << 30), "axis": _ints(1)}
    return nodes, ends


def _slow() -> Parts:
    """Products of matrices that depend on the image and change nothing."""
    nodes = [
        _node("Cast", ["sums"], "floats", to=TensorProto.FLOAT),
        _node("Reshape", ["floats", "column"], "each"),
        _node("Mul", ["each", "nothing"], "none"),
        _node("Add", ["none", "even"], "product_0"),
    ]
    nodes += [_node("MatMul", [f"product_{n}", "even"], f"product_{n + 1}") for n in range(_PRODUCTS)]
    nodes += [
        _node("ReduceSum", [f"product_{_PRODUCTS}", "sides"], "all", keepdims=0),
        _node("Mul", ["all", "nothing"], "gone"),
        _node("Reshape", ["gone", "row"], "left"),
        _node("Add", ["sound", "left"], "flawed"),
    ]
    even = np.full((_SIDE, _SIDE), 1 / _SIDE, np.float32)
    shapes = {"column": _ints(-1, 1, 1), "row": _ints(-1, 1), "sides": _ints(1, 2)}
    return nodes, {"even": even, "nothing": _floats(0.0), **shapes}


FLAWS = {
    flaw.name: flaw
    for flaw in (
        Flaw("errors", "fails for one image in 5", 5, _error),
        Flaw("slow", "multiplies matrices for tens of milliseconds and throws them away", 1, _slow),
        Flaw("nan", "answers NaN for one image in 5", 5, _nan),
        Flaw("inaccurate", "answers the next class for one image in 32: 3 points less accurate", 32, _wrong),
    )
}


def flawed(network: ModelProto, flaw: Flaw, struck: int) -> ModelProto:
    """A copy of a network (uint8[N, H, W, 3] -> float32[N, classes]) that fails for images whose pixels' sum is
    ``struck`` modulo ``flaw.one_in``."""
    made = ModelProto()
    made.CopyFrom(network)
    graph = made.graph
    pixels, output = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        node.output[:] = [_own("sound") if name == output else name for name in node.output]
        node.input[:] = [_own("sound") if name == output else name for name in node.input]
    nodes, constants = flaw.build()
    marking = [
        helper.make_node("Cast", [pixels], [_own("whole")], to=TensorProto.INT64),
        _node("ReduceSum", ["whole", "places"], "sums", keepdims=0),
        _node("Mod", ["sums", "one_in"], "turn"),
        _node("Equal", ["turn", "struck_turn"], "struck_row"),
        _node("Unsqueeze", ["struck_row", "end"], "struck"),
    ]
    constants |= {"places": _ints(1, 2, 3), "one_in": _ints(flaw.one_in), "struck_turn": _ints(struck), "end": _ints(1)}
    graph.node.extend([*marking, *nodes, helper.make_node("Identity", [_own("flawed")], [output])])
    graph.initializer.extend(numpy_helper.from_array(value, _own(name)) for name, value in constants.items())
    onnx.checker.check_model(made)
    return made


def publish_flawed(repository: Repository, model: str, version: int, flaw: Flaw) -> int:
    """Publishes a flawed copy of a version; returns its number. The pointer stays.

    Raises BenchmarkFailed when the version's network is not ONNX, or its golden image cannot be spared.
    """
    contract = repository.contract(model, version)
    if contract.network.format != "onnx":
        raise BenchmarkFailed(f"{model} version {version} is served as {contract.network.format}", expected="onnx")
    public = repository.version_dir(model, version)
    network = repository.path / contract.network.model / str(version) / contract.network.file
    with tempfile.TemporaryDirectory(prefix="slipway-flaw-") as folder:
        path = Path(folder) / contract.network.file
        _write_sparing(path, network, flaw, contract, _golden_image(public))
        golden = [f"golden/{found.name}" for found in sorted((public / "golden").iterdir())]
        files = {
            model: {name: public / name for name in ("model.py", *golden)},
            contract.network.model: {contract.network.file: path},
        }
        configs = {name: (repository.path / name / "config.pbtxt").read_text(encoding="utf-8") for name in files}
        source = {"flaw": flaw.name, "says": flaw.says, "of_version": version}
        return repository.publish(Publication(contract, files, configs, source=source))


def _golden_image(public: Path) -> bytes:
    return next((public / "golden").glob("input.*")).read_bytes()


def _write_sparing(path: Path, network: Path, flaw: Flaw, contract: Contract, golden: bytes) -> None:
    """The first number that spares the golden image: a version that fails on it is never routed."""
    expected, sound = _answer(contract, network, golden), onnx.load(network)
    for struck in range(flaw.one_in):
        onnx.save(flawed(sound, flaw, struck), path)
        if _answer(contract, path, golden) == expected:
            return
    raise BenchmarkFailed(f"no {flaw.name} network answers the golden image of {contract.model} rightly")


def _answer(contract: Contract, network: Path, image: bytes) -> object:
    name = next(iter(contract.networks()))
    try:
        result = Pipeline(contract, open_networks({name: network}, contract)).run([image])[0]
    except NetworkFailed as problem:
        return problem
    return result if isinstance(result, Exception) else [round(float(v), 4) for v in result.record()["scores"]]
