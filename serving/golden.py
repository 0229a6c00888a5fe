"""The golden prediction of a version: one real image whose answer is known, and whether a served answer is that one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.golden_compare import Record, differences, expected_record
from slipway.errors import VersionLoadFailed
from slipway.repository import Repository


@dataclass(frozen=True)
class Golden:
    """The encoded image, the record that it is to give, and the parameters of the request that gives it."""

    image: bytes
    record: Record
    parameters: Mapping[str, Any]


def read_golden(repository: Repository, model: str, version: int) -> Golden:
    """Reads ``golden/`` of a version; raises VersionLoadFailed when it is missing or malformed."""
    folder = repository.version_dir(model, version) / "golden"
    try:
        image = _image(folder).read_bytes()
        values = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        record = expected_record(values)
        if "labels" in record and len(record["labels"]) != len(record["scores"]):
            raise ValueError("labels and scores are not equally many")
        # the first form held every label; a request gives the contract's number unless it asks for more
        parameters = values.get("parameters", {}) if "record" in values else {"top_k": len(record["labels"])}
        if parameters.get("top_k") == 0:
            raise ValueError("the golden prediction is empty")
        return Golden(image, record, parameters)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise VersionLoadFailed(
            f"{model} version {version} has no readable golden prediction",
            observed=f"{type(problem).__name__}: {problem}",
            expected=f"an input.* and expected.json in {folder}",
            fix="publish the version again",
        ) from problem


def refuse_other(what: str, expected: Record, found: Any) -> None:
    """Raises VersionLoadFailed where an answer differs from the golden one by more than rounding."""
    wrong = differences(expected, found) if isinstance(found, Mapping) else [f"a {type(found).__name__}, no record"]
    if wrong:
        raise VersionLoadFailed(
            f"{what} answers its golden image wrongly",
            observed="; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""),
            expected="the record of golden/expected.json",
        )


def _image(folder: Path) -> Path:
    found = sorted(folder.glob("input.*"))
    if len(found) != 1:
        raise FileNotFoundError(f"{len(found)} files input.*")
    return found[0]
