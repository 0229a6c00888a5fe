"""Golden predictions through TorchServe: a version is ready when it answers right, not when /ping says so.

/ping is 200 before any model is loaded, looks at default versions only, and stays 200 while a worker cannot start
(0.12). So every version is asked, by its number, through the port that clients' requests take.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.golden_compare import Record, differences, expected_record
from serving.torchserve.management import ManagementClient
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
        image = next(iter(sorted(folder.glob("input.*")))).read_bytes()
        values = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        record = expected_record(values)
        # the first form held every label; a request gives the contract's number unless it asks for more
        parameters = values.get("parameters") or ({} if "record" in values else {"top_k": len(record["labels"])})
        return Golden(image, record, parameters)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as problem:
        raise VersionLoadFailed(
            f"{model} version {version} has no readable golden prediction",
            observed=f"{type(problem).__name__}: {problem}",
            expected=f"{folder}/input.png and expected.json",
            fix="publish the version again",
        ) from problem


def check_version(client: ManagementClient, repository: Repository, model: str, version: int, timeout: float) -> None:
    """Asks one version. Raises VersionLoadFailed for another answer, and what ManagementClient.predict raises."""
    golden = read_golden(repository, model, version)
    answer = client.predict(model, version, golden.image, timeout, golden.parameters)
    wrong = differences(golden.record, answer) if isinstance(answer, Mapping) else [f"{type(answer).__name__}"]
    if wrong:
        raise VersionLoadFailed(
            f"{model} version {version} answers its golden image wrongly",
            observed="; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""),
            expected="the record of golden/expected.json",
        )
