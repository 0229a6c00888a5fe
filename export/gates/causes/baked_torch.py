"""Finds the node that holds a baked batch in what torch exports: TorchScript graphs and torch.export programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.formats.places import innermost, place_of_trace
from export.gates.causes.baked import BakedNode

#: Operators that are given a shape, that combine tensors of equal shapes, and that put parts together.
_SHAPING = frozenset(("view", "reshape", "expand", "_unsafe_view", "repeat", "zeros", "ones", "full", "empty"))
_COMBINING = frozenset(("add", "add_", "sub", "mul", "mul_", "div", "where", "maximum", "minimum"))
_JOINING = frozenset(("stack", "cat", "concat"))
#: A line of a TorchScript source range: ``/path/model.py(12): forward``.
_RANGE_LINE = re.compile(r"^\s*(?P<file>.+?)\((?P<line>\d+)\): (?P<function>\S+)", re.MULTILINE)


def baked_in_script(path: Path, worked: Sequence[int]) -> BakedNode | None:
    """The node of a TorchScript file with a constant that begins with a batch of ``worked``; None when none has."""
    import torch

    graph = torch.jit.load(str(path), map_location="cpu").inlined_graph  # type: ignore[no-untyped-call]
    nodes = list(graph.nodes())
    found = [(node, text) for node in nodes if (text := _constant(_script_name(node), _script_values(node), worked))]
    if not found:
        return None
    node, text = found[-1]
    places = [
        (match["file"], int(match["line"]), match["function"]) for match in _RANGE_LINE.finditer(node.sourceRange())
    ]
    name = next(iter(node.outputs())).debugName()
    return BakedNode(f"%{name}", node.kind(), text, innermost(reversed(places)))


def baked_in_program(path: Path, worked: Sequence[int]) -> BakedNode | None:
    """The same for a ``.pt2`` file, which was checked for pickles when its session was opened."""
    import torch

    program = torch.export.load(str(path))
    held = {**program.state_dict, **program.constants}
    targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target}
    tensors = {name: held[target] for name, target in targets.items() if target in held}
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    found = [
        (node, text)
        for node in nodes
        if (text := _constant(_program_name(node), [_program_value(item, tensors) for item in node.args], worked))
    ]
    if not found:
        return None
    node, text = found[-1]
    return BakedNode(node.name, str(node.target), text, place_of_trace(str(node.meta.get("stack_trace") or "")))


def _constant(operator: str, values: Sequence[Any], worked: Sequence[int]) -> str | None:
    """The text of an argument that holds a batch. A program that was specialised as a whole has several such nodes,
    the line that asked for it comes last."""
    batches = [size for size in worked if size > 1]
    for value in values:
        if operator in _SHAPING and isinstance(value, list) and value and value[0] in batches:
            return str(value)
        if operator in _JOINING and isinstance(value, list) and len(value) in batches:
            return f"of {len(value)} parts"
        shape = list(getattr(value, "shape", ()))
        if operator in _COMBINING and len(shape) > 1 and shape[0] in batches:
            return f"of shape {shape}"
    return None


def _script_name(node: Any) -> str:
    return str(node.kind()).removeprefix("aten::")


def _script_values(node: Any) -> list[Any]:
    """Constants among the arguments, lists of constants and of tensors; None for what is computed."""
    found: list[Any] = []
    for value in node.inputs():
        if value.node().kind() == "prim::ListConstruct":
            found.append([item.toIValue() for item in value.node().inputs()])
        else:
            found.append(value.toIValue())
    return found


def _program_name(node: Any) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0]


def _program_value(argument: Any, tensors: dict[str, Any]) -> Any:
    if isinstance(argument, (list, tuple)):
        return list(argument)
    return tensors.get(getattr(argument, "name", ""))
