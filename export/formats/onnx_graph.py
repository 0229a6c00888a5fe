"""What several ONNX formats ask of a graph: its normalisation, its nodes by name, who makes and who reads a tensor."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from export.formats.base import INPUT_NAME
from slipway.errors import ExportFailed

#: What a normalisation is made of, with constants beside the image.
_POINTWISE = {"Transpose", "Cast", "Mul", "Add", "Sub", "Div", "Identity"}


def makers(model: Any) -> dict[str, Any]:
    """The node that makes each tensor."""
    return {name: node for node in model.graph.node for name in node.output}


def readers(model: Any) -> dict[str, list[Any]]:
    """The nodes that read each tensor; one that reads it twice stands there twice."""
    found: dict[str, list[Any]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            found[name].append(node)
    return found


def constants(model: Any) -> dict[str, Any]:
    """The initializers (onnx.TensorProto) by name."""
    return {item.name: item for item in model.graph.initializer}


def opset(model: Any) -> int:
    """The version of ONNX's own operators that a model is written in."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def normalise_nodes(model: Any) -> tuple[str, ...]:
    """Names of the nodes from ``pixels`` to the first real layer: bytes become what the network was trained on.

    They stay in fp32 at every precision: they cost nothing beside a convolution, and ``pixels * factor + offset``
    would be the first place to lose bits.
    """
    fixed, read, found, tensor = constants(model), readers(model), [], INPUT_NAME
    while len(read[tensor]) == 1:
        node = read[tensor][0]
        if node.op_type not in _POINTWISE or any(name not in fixed for name in node.input if name != tensor):
            break
        found.append(node.name)
        tensor = node.output[0]
    return tuple(found)


def check_names(model: Any, names: Iterable[str], format_name: str) -> None:
    """Raises ExportFailed for a name that no node has: a layer that should stay in fp32 would not."""
    known = [node.name for node in model.graph.node]
    lost = [name for name in names if name not in known]
    if lost:
        near = [match for name in lost for match in difflib.get_close_matches(name, known, n=2)]
        raise ExportFailed(
            f"{format_name}: nodes that are to stay in fp32 are not in the model",
            observed=", ".join(lost),
            expected=f"names of nodes of the ONNX file, for example {', '.join(near or known[-3:])}",
        )
