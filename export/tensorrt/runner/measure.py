"""Numbers of a network against the trained model: difference, SQNR, agreement, accuracy, and times side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .engines import Engine

#: Below this largest value rounding is as large as the answer; the same as export.gates.parity has.
SMALLEST_SCALE = 1e-4


def answers(engine: Engine, pixels: np.ndarray, batch: int) -> np.ndarray:
    """float32[n, classes] of all images in batches of exactly ``batch``; the last is filled up with the first ones."""
    rounds = math.ceil(len(pixels) / batch)
    order = np.arange(rounds * batch) % len(pixels)
    outputs = [engine.run(pixels[order[i * batch : (i + 1) * batch]]) for i in range(rounds)]
    return np.concatenate(outputs)[: len(pixels)]


def compare(found: np.ndarray, reference: np.ndarray, labels: np.ndarray, step: float = 0.0) -> dict[str, Any]:
    """How far ``found`` is from ``reference``, both float32[n, classes]. ``labels``: int[n], -1 where there is none.

    ``relative_difference``: the largest difference over the largest reference value. ``sqnr_db``: ten times the
    decimal logarithm of signal over error energy, where the signal is what distinguishes the images (each value less
    its mean over them); None where there is no error. ``agreement``: share of equal best classes; two that the
    reference holds within ``step`` of its scale are tied, and either is right. ``accuracy``, ``reference_accuracy``,
    ``drop``: of labelled images, None without.
    """
    if found.shape != reference.shape:
        return {"finite": False, "reason": f"shape {list(found.shape)}, expected {list(reference.shape)}"}
    if not np.isfinite(found).all():
        return {"finite": False, "reason": f"{int((~np.isfinite(found)).sum())} values are not finite"}
    exact = reference.astype(np.float64)
    error, signal = found - exact, exact - exact.mean(axis=0) if len(exact) > 1 else exact
    scale, noise, energy = (float(value) for value in (np.abs(exact).max(), np.sum(error**2), np.sum(signal**2)))
    rows, best, wanted = np.arange(len(exact)), found.argmax(axis=1), exact.argmax(axis=1)
    agrees = exact[rows, wanted] - exact[rows, best] <= step * scale
    known = labels >= 0
    accuracy = float((best[known] == labels[known]).mean()) if known.any() else None
    before = float((wanted[known] == labels[known]).mean()) if known.any() else None
    return {
        "finite": True,
        "images": len(found),
        "scale": scale,
        # an output that is all but zero has no relative difference, and must not pass for lack of one
        "relative_difference": float(np.abs(error).max()) / scale if scale > SMALLEST_SCALE else None,
        "sqnr_db": 10 * math.log10(energy / noise) if noise > 0 and energy > 0 else None,
        "agreement": float(agrees.mean()),
        "accuracy": accuracy,
        "reference_accuracy": before,
        "drop": None if accuracy is None or before is None else before - accuracy,
    }


def failures(measured: Mapping[str, Any], thresholds: Mapping[str, float | None]) -> list[str]:
    """What does not hold, a sentence each. Thresholds: ``max_relative_difference``, ``min_sqnr_db``,
    ``min_agreement``, ``max_drop``, ``min_accuracy``; those that are missing or None are not asked for."""
    if not measured["finite"]:
        return [str(measured["reason"])]
    if measured["scale"] <= SMALLEST_SCALE:
        return [
            f"the trained model's outputs are all but zero (at most {measured['scale']:.2g}): nothing can be compared"
        ]
    found = []
    equal = measured["relative_difference"] == 0
    for key, name, above, words in (
        ("max_relative_difference", "relative_difference", False, "relative difference"),
        ("min_sqnr_db", "sqnr_db", True, "SQNR in dB"),
        ("min_agreement", "agreement", True, "agreement of best classes"),
        ("max_drop", "drop", False, "drop of accuracy"),
        ("min_accuracy", "accuracy", True, "accuracy"),
    ):
        limit, value = thresholds.get(key), measured[name]
        if limit is None or (value is None and (equal or name in ("drop", "accuracy"))):
            continue
        if value is None:
            found.append(f"{words} cannot be measured: the outputs do not depend on the image")
        elif (value < limit) if above else (value > limit):
            found.append(f"{words} {value:.4g}, allowed {'at least' if above else 'at most'} {limit:.4g}")
    return found


def interleaved(
    engines: Mapping[str, Engine], pixels: np.ndarray, batches: Sequence[int], rounds: int, runs: int
) -> dict[str, dict[str, Any]]:
    """Times of all engines side by side: engine -> batch -> ``ms_per_image`` (median), ``low``, ``high`` (5th and
    95th percentile over single runs), ``runs``. Rounds turn the order, so that drift of clocks hits all alike."""
    names = list(engines)
    samples: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in names for batch in batches}
    for turn in range(rounds):
        for step in range(len(names)):
            name = names[(turn + step) % len(names)]
            for batch in batches:
                some = pixels[np.arange(batch) % len(pixels)]
                samples[name, batch] += engines[name].time_ms(some, runs)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for (name, batch), times in samples.items():
        low, middle, high = (float(value) for value in np.percentile(np.array(times) / batch, [5, 50, 95]))
        found[name][str(batch)] = {"ms_per_image": middle, "low": low, "high": high, "runs": len(times)}
    return found
