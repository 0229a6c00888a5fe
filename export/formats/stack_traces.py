"""Keeps what the dynamo exporter knows about the source of every ONNX node, without this machine's paths.

The exporter writes whole Python stacks with absolute paths into ``metadata_props`` (torch 2.13,
``pkg.torch.onnx.stack_trace``). A file that travels keeps one line of each: who asked for this node.
"""

from __future__ import annotations

from typing import Any

from export.formats.places import place_of_trace

#: Key of the note, for example ``samples/digits/network.py:41 in forward``.
SOURCE = "slipway.source"
_TRACE = "stack_trace"


def clean_stack_traces(model: Any) -> None:
    """Replaces the stack traces of every node of an ONNX model, in place, also inside of its functions and
    subgraphs, by a SOURCE note; a stack without a frame of the model's own leaves none."""
    for node in _nodes(model):
        kept = [(entry.key, entry.value) for entry in node.metadata_props if _TRACE not in entry.key]
        traces = [entry.value for entry in node.metadata_props if _TRACE in entry.key]
        note = next((found for trace in traces if (found := place_of_trace(trace))), None)
        del node.metadata_props[:]
        for key, value in [*kept, *([(SOURCE, note)] if note else [])]:
            node.metadata_props.add(key=key, value=value)


def source_of(node: Any) -> str | None:
    """The place that a node was written at, from its note; None where the file does not know."""
    return next((str(entry.value) for entry in node.metadata_props if entry.key == SOURCE), None)


def _nodes(model: Any) -> list[Any]:
    found: list[Any] = []
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        found.append(node)
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                waiting.extend(graph.node)
    return found
