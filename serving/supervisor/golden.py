"""Golden predictions: one real image of each version whose answer is known, asked through the served model.

A version is ready when it answers right, not when a health endpoint says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from handlers.preprocess import preprocess
from serving.triton.client import ControlClient
from slipway.errors import VersionLoadFailed
from slipway.repository import Repository

#: The answer may differ from the trained model's by this much: resize and float rounding, not another model.
SCORE_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Golden:
    """The encoded image and what the trained model says of it: labels best first, their scores."""

    image: bytes
    labels: tuple[str, ...]
    scores: tuple[float, ...]


def read_golden(repository: Repository, model: str, version: int) -> Golden:
    """Reads ``golden/`` of a version; raises VersionLoadFailed when it is missing or malformed."""
    folder = repository.version_dir(model, version) / "golden"
    try:
        expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        golden = Golden((folder / "input.png").read_bytes(), tuple(expected["labels"]), tuple(expected["scores"]))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise VersionLoadFailed(
            f"{model} version {version} has no readable golden prediction",
            observed=str(problem),
            expected=f"{folder}/input.png and expected.json",
            fix="publish the version again",
        ) from problem
    if not golden.labels or len(golden.labels) != len(golden.scores):
        raise VersionLoadFailed(f"{model} version {version}: the golden prediction is empty or uneven")
    return golden


def check_public(client: ControlClient, repository: Repository, model: str, version: int, timeout: float) -> None:
    """Asks the public model. Raises VersionLoadFailed for another answer, and what ControlClient.classify raises."""
    golden = read_golden(repository, model, version)
    answer = client.classify(model, version, golden.image, len(golden.labels), timeout)
    label, score = (answer.labels[0], float(answer.scores[0])) if answer.labels else ("", float("nan"))
    if label != golden.labels[0] or not abs(score - golden.scores[0]) <= SCORE_TOLERANCE:
        raise VersionLoadFailed(
            f"{model} version {version} answers its golden image wrongly",
            observed=f"{label} with score {score:.4f}",
            expected=f"{golden.labels[0]} with score {golden.scores[0]:.4f} within {SCORE_TOLERANCE}",
        )


def check_network(
    client: ControlClient, repository: Repository, model: str, network: str, version: int, timeout: float
) -> None:
    """Asks a network of the public ``model`` with the same image; its best class must be the golden label.

    Softmax, sigmoid and temperature keep the order of the logits, so the best class is the best label.
    """
    golden, contract = read_golden(repository, model, version), repository.contract(model, version)
    pixels = preprocess(golden.image, contract.preprocess)[np.newaxis]
    names = (contract.network.input, contract.network.output)
    logits = client.run_network(network, version, pixels, timeout, names)[0]
    best = int(np.argmax(logits)) if np.isfinite(logits).all() and logits.size else -1
    label = contract.labels[best] if 0 <= best < len(contract.labels) else f"class {best}"
    if label != golden.labels[0]:
        raise VersionLoadFailed(
            f"{network} version {version} answers the golden image of {model} wrongly",
            observed=label,
            expected=golden.labels[0],
        )
