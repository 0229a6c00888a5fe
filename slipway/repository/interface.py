"""Whether a new version fits the served config.pbtxt, which Triton keeps per model and not per version."""

from __future__ import annotations

from typing import Any

from slipway.errors import InterfaceChanged, PublishRefused


def parse_config(text: str, where: str) -> Any:
    """config.pbtxt text -> inference.ModelConfig; raises PublishRefused with the parser's words."""
    # imported here: grpc costs a quarter of a second that listing versions need not pay
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as problem:
        raise PublishRefused(f"{where}: not a Triton model configuration: {problem}") from problem


def check_fits(old_text: str, new_text: str, model: str) -> None:
    """Raises InterfaceChanged when clients of the served versions could not talk to the new one.

    Inputs must be the same; outputs the same names and types, with a dimension allowed to differ only where the
    served config has -1; the largest batch may not shrink. Everything else of a config may change.
    """
    old, new = parse_config(old_text, f"{model}/config.pbtxt"), parse_config(new_text, f"{model} (new)")
    _compare(model, "inputs", {i.name: _signature(i) for i in old.input}, {i.name: _signature(i) for i in new.input})
    _compare(model, "outputs", {o.name: _signature(o) for o in old.output}, {o.name: _signature(o) for o in new.output})
    if new.max_batch_size < old.max_batch_size:
        _refuse(model, "max_batch_size shrinks", new.max_batch_size, f">= {old.max_batch_size}")


def _signature(tensor: Any) -> tuple[int, tuple[int, ...]]:
    return tensor.data_type, tuple(tensor.dims)


def _compare(model: str, what: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    if old.keys() != new.keys():
        _refuse(model, f"{what} have other names", sorted(new), sorted(old))
    for name, (old_type, old_dims) in old.items():
        new_type, new_dims = new[name]
        same_rank = len(old_dims) == len(new_dims)
        fits = same_rank and all(a in (-1, b) for a, b in zip(old_dims, new_dims, strict=True))
        if old_type != new_type or not fits:
            _refuse(model, f"{what}: {name} changes", _text(new_type, new_dims), _text(old_type, old_dims))


def _text(data_type: int, dims: tuple[int, ...]) -> str:
    from tritonclient.grpc import model_config_pb2

    return f"{model_config_pb2.DataType.Name(data_type)} {list(dims)}"


def _refuse(model: str, what: str, observed: object, expected: object) -> None:
    raise InterfaceChanged(
        f"{model}: {what}, and the versions that are served share one config.pbtxt",
        observed=observed,
        expected=expected,
        fix="publish it as a model of another name and move clients over, or keep the interface",
    )
