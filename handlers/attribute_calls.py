"""What an attribute is asked and what it answers: its input from a picture or a crop, its results as one record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from handlers.calls import ATTRIBUTES, Call
from handlers.fields import Field, Record, pack
from handlers.picture import Picture
from handlers.preprocess import Prepared, Preprocessor
from handlers.task import SingleNetwork, load_task
from slipway.contract import Attribute
from slipway.errors import ContractInvalid, ImageError, NetworkFailed


class AttributeTask:
    """One attribute's own task with its own preparation. ``on``: ``image`` or ``items``; ``margin``: of crops."""

    def __init__(self, attribute: Attribute) -> None:
        """Raises ContractInvalid for a task that does not call one network once per image."""
        self.name, self.on, self.margin = attribute.name, attribute.on, attribute.margin
        self.network = f"{ATTRIBUTES}/{attribute.name}"
        self._preprocessor = Preprocessor(attribute.contract.preprocess)
        task = load_task(attribute.contract)
        if not isinstance(task, SingleNetwork):
            raise ContractInvalid(
                f"attribute {self.name}: its task cannot be one",
                observed=attribute.contract.handler,
                expected="a task with one network",
            )
        self._task: Any = task

    @property
    def fields(self) -> tuple[Field, ...]:
        """``<name>.<field>``: one entry per item where it is on items; else one value, a list where the task has
        items of its own."""
        each = self.on == "items"
        return tuple(replace(field.prefixed(self.name, each=True), each=each) for field in self._task.fields)

    def options(self, parameters: Mapping[str, Any]) -> Any:
        """Those of the task, from the parameters that begin with ``<name>.``. Raises RequestInvalid."""
        start = f"{self.name}."
        own = {key[len(start) :]: value for key, value in parameters.items() if key.startswith(start)}
        return self._task.options(own)

    def of_picture(self, picture: Picture) -> Prepared | None:
        """Its input; None where the picture cannot be decoded, as the main task will find too."""
        try:
            return self._preprocessor.prepared(picture)
        except ImageError:
            return None

    def of_crop(self, crop: Image.Image) -> Prepared:
        """Its input. ``crop``: mode RGB."""
        return self._preprocessor.from_image(crop)

    def records(self, output: npt.NDArray[np.float32], entries: Sequence[Entry]) -> list[Record]:
        """One per entry. Raises NetworkFailed with the attribute's name."""
        prepared, options = [entry.prepared for entry in entries], [entry.options for entry in entries]
        try:
            return [result.record() for result in self._task.results(output, prepared, options)]
        except NetworkFailed as error:
            raise NetworkFailed(
                f"attribute {self.name}: {error.message}",
                observed=error.observed,
                expected=error.expected,
                fix=error.fix,
            ) from error

    def merged(self, records: Sequence[Record | None], options: Any) -> dict[str, Any]:
        """Values by ``<name>.<field>``. ``records``: one per item of a picture, or the picture's only one; None where
        the attribute was not asked for, which gives empty values."""
        width = 0 if options is None else self._task.width(options)
        packed = pack(self._task.fields, records, width)
        values = {f"{self.name}.{field.name}": self._value(field, packed[field.name]) for field in self._task.fields}
        return values if self.on == "items" else {name: value[0] for name, value in values.items()}

    def _value(self, field: Field, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return column if field.each or field.shape else column[:, 0]


@dataclass(frozen=True, eq=False)
class Entry:
    """One input of one attribute's network. ``row``: of the picture that it belongs to."""

    attribute: AttributeTask
    row: int
    prepared: Prepared
    options: Any


def by_attribute(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries of each attribute, in order."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.attribute.name, []).append(entry)
    return list(found.values())


def call_of(entries: Sequence[Entry]) -> Call:
    """One call of the network of the attribute that all the entries are of."""
    return Call(entries[0].attribute.network, np.stack([entry.prepared.pixels for entry in entries]))
