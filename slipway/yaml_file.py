"""YAML that remembers where each key stands, so that a mistake can be shown by file, line and key."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from slipway.errors import SlipwayError

Location = tuple[int | str, ...]
#: No file of ours nests deeper than five; an alias inside its own anchor nests without end.
_DEPTH = 20


class YamlFile:
    """One parsed YAML mapping. ``values`` are plain Python values; ``line(location)`` finds a key's 1-based line."""

    def __init__(self, path: Path, error: type[SlipwayError]) -> None:
        self.path = path
        self._error = error
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise error(f"{path}: cannot be read ({problem})") from problem
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            values = yaml.safe_load(text)
        except yaml.YAMLError as problem:
            mark = getattr(problem, "problem_mark", None)
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            what = getattr(problem, "problem", None) or str(problem)
            raise error(f"{where}: not valid YAML: {what}", fix="check indentation and quotes there") from problem
        except (ValueError, RecursionError) as problem:
            # of PyYAML: a date that there is not, as 2020-13-45, a number of thousands of digits, brackets without end
            raise error(f"{path}: a value cannot be understood: {problem}", fix="put quotes around it") from problem
        self._lines: dict[Location, int] = {}
        if node is not None:
            self._walk(node, ())
        if not isinstance(values, dict):
            raise error(f"{path}:1: expected keys and values", observed=type(values).__name__, expected="a mapping")
        self.values: dict[str, Any] = values

    def line(self, location: Location) -> int:
        """The line of ``location``, or of the closest parent that exists."""
        while location and location not in self._lines:
            location = location[:-1]
        return self._lines.get(location, 1)

    def refuse(self, problem: ValidationError, model: type[BaseModel]) -> SlipwayError:
        """The first validation problems of a pydantic model as one error that names file, line and key."""
        lines = list(dict.fromkeys(self._describe(item, model) for item in problem.errors()))
        return self._error("\n".join(lines), fix="correct the lines named above; docs/spec.md lists every key")

    def _describe(self, item: Any, model: type[BaseModel]) -> str:
        location: Location = tuple(item["loc"])
        # pydantic adds the name of the branch of a union: a key that nobody wrote
        while location and location not in self._lines and item["type"] not in ("missing", "extra_forbidden"):
            location = location[:-1]
        key = ".".join(str(part) for part in location) or "(file)"
        text = item["msg"]
        if item["type"] == "extra_forbidden":
            text = f"unknown key{_nearest(str(location[-1]), _keys_at(model, location[:-1]))}"
        elif item["type"] == "missing":
            text = "required key is missing"
        else:
            text = f"{text} (got {item['input']!r:.80})"
        return f"{self.path}:{self.line(location)}: {key}: {text}"

    def _walk(self, node: yaml.Node, location: Location) -> None:
        if len(location) > _DEPTH:
            line = node.start_mark.line + 1
            raise self._error(f"{self.path}:{line}: nested too deeply", fix="remove the alias that contains itself")
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                key = key_node.value
                line = key_node.start_mark.line + 1
                inside = (*location, key)
                if inside in self._lines:
                    raise self._error(f"{self.path}:{line}: {key}: the key stands twice", fix="remove one of the two")
                self._lines[inside] = line
                self._walk(value_node, inside)
        elif isinstance(node, yaml.SequenceNode):
            for index, child in enumerate(node.value):
                inside = (*location, index)
                self._lines[inside] = child.start_mark.line + 1
                self._walk(child, inside)


def _keys_at(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that a nested pydantic model knows at ``location``; empty where the path leaves the models."""
    current: Any = model
    for part in location:
        if typing.get_origin(current) is dict:
            current = typing.get_args(current)[1]
            continue
        field = getattr(current, "model_fields", {}).get(part)
        current = _required(field.annotation) if field is not None else None
    return list(getattr(current, "model_fields", {}))


def _required(annotation: Any) -> Any:
    """``Model`` of ``Model | None``, anything else as it is."""
    inside = [item for item in typing.get_args(annotation) if item is not type(None)]
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return inside[0] if union and len(inside) == 1 else annotation


def _nearest(word: str, known: list[str]) -> str:
    # imported here: only a mistaken key needs it
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(known)}" if known else ""
