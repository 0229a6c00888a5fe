"""Attributes: further networks on the picture, or on the crop of everything that a task has found in it.

All attributes of all pictures are called in one list, so that an engine that can runs them side by side; those on whole
pictures travel with the first call of the task itself. Each is prepared by its own contract. Results are merged into
the task's record as ``<name>.<field>``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.attribute_calls import AttributeTask, Entry, by_attribute, call_of
from handlers.calls import Call, Networks
from handlers.fields import Field, Record
from handlers.parameters import names
from handlers.picture import Picture
from handlers.stages import stage
from handlers.task import Answer, Result, Task
from slipway.contract import Contract
from slipway.errors import ContractInvalid, ImageError

#: Inputs that are prepared at once: what keeps memory bounded however much was found.
_AT_ONCE = 256
#: As the only value of the parameter ``attributes``: none of them.
_NONE = "none"

Output = npt.NDArray[np.float32]
#: Of every picture, what each attribute answered, by its name.
Found = list[dict[str, list[Record]]]


class FindsItems(Protocol):
    """What a task must offer for attributes on its items."""

    def crops(self, image: Image.Image, result: Any, margin: float) -> Sequence[Image.Image]:
        """The picture of every item of ``result``, in its order, in mode RGB."""


@dataclass(frozen=True)
class AttributesOptions:
    """``task``: options of the task itself; ``chosen``: options of each attribute that was asked for, by its name."""

    task: Any
    chosen: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class AttributedResult:
    """``result``: of the task itself; ``attributes``: values by ``<name>.<field>``."""

    result: Result
    attributes: Record

    def record(self) -> Record:
        """As handlers.task.Result."""
        return {**self.result.record(), **self.attributes}


class WithAttributes:
    """A task handler around another; see the module's text."""

    def __init__(self, task: Task, contract: Contract) -> None:
        """``contract``: the one with the attributes. Raises ContractInvalid for attributes on the items of a task that
        has none, and for names that the task uses itself."""
        self.task = task
        self._attributes = {item.name: AttributeTask(item) for item in contract.attributes}
        on_items = [item.name for item in contract.attributes if item.on == "items"]
        if on_items and not hasattr(task, "crops"):
            raise ContractInvalid(
                f"{contract.model}: a {contract.task} finds no items that attributes could be on",
                observed=on_items,
                fix="set on: image, or use them with a task that finds items",
            )
        if _NONE in self._attributes:
            raise ContractInvalid(f"{contract.model}: no attribute can be called {_NONE}", fix="call it otherwise")

    @property
    def fields(self) -> tuple[Field, ...]:
        """The task's fields, then ``<name>.<field>`` of every attribute."""
        return (*self.task.fields, *(field for item in self._attributes.values() for field in item.fields))

    def options(self, parameters: Mapping[str, Any]) -> AttributesOptions:
        """The task's parameters; ``attributes``: which ones, all unless given, ``none`` for none; and each attribute's
        own as ``<name>.<parameter>``, for example ``age.top_k``. Raises RequestInvalid."""
        asked = names(parameters, "attributes", (*self._attributes, _NONE))
        wanted = [name for name in self._attributes if asked is None or name in asked]
        chosen = {name: self._attributes[name].options(parameters) for name in wanted}
        return AttributesOptions(self.task.options(parameters), chosen)

    def width(self, options: AttributesOptions) -> int:
        """As handlers.task.Task: attributes have no items of their own."""
        return self.task.width(options.task)

    def run(
        self, pictures: Sequence[Picture], options: Sequence[AttributesOptions], networks: Networks
    ) -> list[Answer]:
        """As handlers.task.Task.run. Raises NetworkFailed, with the attribute's name where its network is to blame."""
        found: Found = [{} for _ in pictures]
        whole = by_attribute(self._on_images(pictures, options))
        alongside = _Alongside(networks, [call_of(entries) for entries in whole])
        answers = self.task.run(pictures, [option.task for option in options], alongside)
        for entries, output in zip(whole, alongside.outputs(), strict=True):
            _keep(entries, output, found)
        entries_of_items = self._on_items(pictures, answers, options)
        while group := by_attribute(islice(entries_of_items, _AT_ONCE)):
            with stage("attributes"):
                outputs = networks.run([call_of(entries) for entries in group])
            for entries, output in zip(group, outputs, strict=True):
                _keep(entries, output, found)
        return [self._merged(*row) for row in zip(answers, options, found, strict=True)]

    def _on_images(self, pictures: Sequence[Picture], options: Sequence[AttributesOptions]) -> Iterator[Entry]:
        for row, (picture, option) in enumerate(zip(pictures, options, strict=True)):
            for attribute in self._chosen(option, "image"):
                prepared = attribute.of_picture(picture)
                if prepared is not None:
                    yield Entry(attribute, row, prepared, option.chosen[attribute.name])

    def _on_items(
        self, pictures: Sequence[Picture], answers: Sequence[Answer], options: Sequence[AttributesOptions]
    ) -> Iterator[Entry]:
        """Prepared as they are asked for, so that no more than one group of inputs is held."""
        for row, (picture, answer, option) in enumerate(zip(pictures, answers, options, strict=True)):
            chosen = self._chosen(option, "items")
            if isinstance(answer, ImageError):
                continue
            for margin in dict.fromkeys(attribute.margin for attribute in chosen):
                with stage("crop"):
                    crops = cast("FindsItems", self.task).crops(picture.image(), answer, margin)
                for crop in crops:
                    for attribute in chosen:
                        if attribute.margin == margin:
                            yield Entry(attribute, row, attribute.of_crop(crop), option.chosen[attribute.name])

    def _chosen(self, options: AttributesOptions, on: str) -> list[AttributeTask]:
        return [self._attributes[name] for name in options.chosen if self._attributes[name].on == on]

    def _merged(self, answer: Answer, options: AttributesOptions, found: Mapping[str, list[Record]]) -> Answer:
        """Every attribute's fields, also of those that were not asked for: those are empty."""
        if isinstance(answer, ImageError):
            return answer
        items = _items(self.task.fields, answer.record())
        values: dict[str, Any] = {}
        for attribute in self._attributes.values():
            nothing: list[Record | None] = [None] * (items if attribute.on == "items" else 1)
            own = found.get(attribute.name, nothing)
            values.update(attribute.merged(own, options.chosen.get(attribute.name)))
        return AttributedResult(answer, values)


class _Alongside:
    """Networks that send some calls of their own with the first list that somebody asks for."""

    def __init__(self, networks: Networks, calls: Sequence[Call]) -> None:
        self._networks, self._calls = networks, calls
        self._outputs: list[Output] | None = None

    def run(self, calls: Sequence[Call]) -> list[Output]:
        """As handlers.calls.Networks.run."""
        if self._outputs is not None:
            return self._networks.run(calls)
        outputs = self._networks.run([*calls, *self._calls])
        self._outputs = outputs[len(calls) :]
        return outputs[: len(calls)]

    def outputs(self) -> list[Output]:
        """Of its own calls, in order. They are made now where nobody asked for anything."""
        if self._outputs is None:
            self._outputs = self._networks.run(self._calls) if self._calls else []
        return self._outputs


def _keep(entries: Sequence[Entry], output: Output, found: Found) -> None:
    """All entries are of one attribute."""
    attribute = entries[0].attribute
    for entry, record in zip(entries, attribute.records(output, entries), strict=True):
        found[entry.row].setdefault(attribute.name, []).append(record)


def _items(fields: Sequence[Field], record: Record) -> int:
    """How many items a record of the task has."""
    return next((len(record[field.name]) for field in fields if field.each and field.name in record), 0)
