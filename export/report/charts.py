"""The page's pictures. Each takes evidence.json's content and gives SVG text, None where the numbers are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.report.drawing import GOOD, canvas, height_of, line_style, rows
from export.report.reading import TASK_GATES, gate, measured, number, part
from export.report.reading import rows as listed
from slipway.svg import BAD, INK, QUIET, element

Evidence = Mapping[str, Any]


def difference_by_batch(evidence: Evidence) -> str | None:
    """By batch size: the largest difference over the scale of the outputs; for fewer bits, noise over signal (RMS)."""
    lines: dict[str, dict[int, float]] = {}
    for name, values, rule in measured(evidence, "parity"):
        points = _by_size(part(values, "by_batch_size"), decibels="min_sqnr_db" in rule)
        if points:
            lines[name] = points
    if not lines:
        return None
    sizes = sorted({size for points in lines.values() for size in points})
    with canvas(max(3.0, 0.2 * len(lines) + 1.0), "images per batch") as (figure, axes):
        for place, (name, points) in enumerate(lines.items()):
            axes.plot([sizes.index(size) for size in points], list(points.values()), label=name, **line_style(place))
        axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        axes.set_yscale("log")
        axes.set_ylabel("difference")
        for limit in sorted({limit for _, _, rule in measured(evidence, "parity") if (limit := _limit(rule))}):
            axes.axhline(limit, color=BAD, linewidth=1, linestyle="--")
            axes.annotate("allowed in fp32", (0, limit), xytext=(0, 3), textcoords="offset points", fontsize=8)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
        return element(figure, "difference")


def signal_to_noise(evidence: Evidence) -> str | None:
    """Signal to quantisation noise of each format, with what it must have."""
    found = [(name, number(values.get("sqnr_db")), rule) for name, values, rule in measured(evidence, "parity")]
    bars = [(name, value, number(rule.get("min_sqnr_db"))) for name, value, rule in found if value is not None]
    if not bars:
        return None
    names = [name for name, _, _ in bars]
    with canvas(height_of(names), "SQNR, dB (more is closer to the trained model)") as (figure, axes):
        for place, (_, value, least) in zip(rows(axes, names), bars, strict=True):
            axes.barh(place, value, height=0.62, color=BAD if least is not None and value < least else GOOD)
            axes.annotate(f"{value:.0f}", (value, place), xytext=(3, -3), textcoords="offset points", fontsize=8)
            if least is not None:
                _mark(axes, least, place)
        _explain_mark(axes, any(least is not None for _, _, least in bars), "at least")
        return element(figure, "sqnr")


def loss_of_the_task(evidence: Evidence) -> str | None:
    """How much worse each format does its task than the trained model: found, its upper limit, and the margin."""
    points = []
    for name, values, rule in measured(evidence, *TASK_GATES):
        drop, upper = number(values.get("drop")), number(values.get("upper"))
        margin = number(values.get("margin")) or number(rule.get("margin")) or number(rule.get("max_drop"))
        if drop is not None:
            points.append((name, drop, upper, margin))
    if not points:
        return None
    names = [name for name, _, _, _ in points]
    with canvas(height_of(names), "loss against the trained model, points of 100") as (figure, axes):
        for place, (name, drop, upper, margin) in zip(rows(axes, names), points, strict=True):
            colour = GOOD if gate(evidence, name, *TASK_GATES).get("passed") else BAD
            if upper is not None:
                axes.plot([100 * drop, 100 * upper], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
                axes.plot([100 * upper], [place], "|", color=colour, markersize=9, markeredgewidth=2)
            axes.plot([100 * drop], [place], "o", color=colour, markersize=5)
            if margin is not None:
                _mark(axes, 100 * margin, place)
        axes.axvline(0, color=QUIET, linewidth=0.8)
        _explain_mark(axes, any(margin is not None for _, _, _, margin in points), "allowed")
        return element(figure, "task")


def agreement(evidence: Evidence) -> str | None:
    """Share of images on which a format's answer is the trained model's."""
    found = {}
    for name in dict.fromkeys(name for name, _, _ in measured(evidence, *TASK_GATES, "parity")):
        shares = (
            number(part(gate(evidence, name, key), "measured").get("agreement")) for key in (*TASK_GATES, "parity")
        )
        share = next((value for value in shares if value is not None), None)
        if share is not None:
            found[name] = 100 * share
    if not found:
        return None
    names = list(found)
    with canvas(height_of(names), "same answer as the trained model, % of images") as (figure, axes):
        for place, name in zip(rows(axes, names), names, strict=True):
            axes.plot([found[name]], [place], "o", color=GOOD, markersize=6)
            axes.annotate(f"{found[name]:.1f}", (found[name], place), xytext=(-6, -3), textcoords="offset points",
                          fontsize=8, ha="right")  # fmt: skip
        least = min(found.values())
        axes.set_xlim(least - max(1.0, 0.25 * (100 - least)), 100 + max(0.1, 0.02 * (100 - least)))
        axes.grid(axis="x", color=QUIET, alpha=0.3, linewidth=0.6)
        return element(figure, "agreement")


def time_per_image(evidence: Evidence) -> str | None:
    """Milliseconds per image, median and 10th to 90th percentile, with what the formats replace."""
    bars: dict[str, tuple[float, float, float]] = {}
    for name, values, _ in measured(evidence, "speed"):
        against = part(values, "against")
        label = f"{against.get('name', 'reference')} (replaced)"
        for shown, item in ((label, against), (name, values)):
            times = [number(item.get(key)) for key in ("p10", "ms_per_image", "p90")]
            if None not in times and shown not in bars:
                bars[shown] = (float(times[0] or 0), float(times[1] or 0), float(times[2] or 0))
    if not bars:
        return None
    names = list(bars)
    with canvas(height_of(names), "ms per image: median, and 10th to 90th percentile of the rounds") as (figure, axes):
        for place, (name, (low, median, high)) in zip(rows(axes, names), bars.items(), strict=True):
            axes.barh(place, median, height=0.62, color=QUIET if name.endswith("(replaced)") else GOOD)
            axes.plot([low, high], [place, place], color=INK, linewidth=1.2)
            axes.annotate(f"{median:.2f}", (high, place), xytext=(4, -3), textcoords="offset points", fontsize=8)
        axes.set_xlim(left=0, right=1.08 * max(high for _, _, high in bars.values()))
        return element(figure, "time")


def sizes(evidence: Evidence) -> str | None:
    """Megabytes of each format's files."""
    found = {str(item.get("format")): number(item.get("bytes")) for item in listed(evidence, "formats")}
    bars = {name: value / 1e6 for name, value in found.items() if value is not None}
    if not bars:
        return None
    names = list(bars)
    with canvas(height_of(names), "MB of files") as (figure, axes):
        for place, value in zip(rows(axes, names), bars.values(), strict=True):
            axes.barh(place, value, height=0.62, color=GOOD)
            axes.annotate(f"{value:.2f}", (value, place), xytext=(4, -3), textcoords="offset points", fontsize=8)
        axes.set_xlim(left=0, right=1.1 * max(bars.values()))
        return element(figure, "sizes")


def _by_size(values: Mapping[str, Any], decibels: bool) -> dict[int, float]:
    """As ratios; without zeros: a logarithmic axis has none, and bit-identical outputs need no picture."""
    numbers = {int(size): number(value) for size, value in values.items() if size.isdecimal()}
    points = {size: value for size, value in sorted(numbers.items()) if value is not None}
    if decibels:
        return {size: 10 ** (-value / 20) for size, value in points.items()}
    return {size: value for size, value in points.items() if value > 0}


def _limit(rule: Mapping[str, Any]) -> float | None:
    return number(rule.get("max_relative_difference"))


def _mark(axes: Any, value: float, place: int) -> None:
    axes.plot([value, value], [place - 0.4, place + 0.4], color=BAD, linewidth=2)


def _explain_mark(axes: Any, drawn: bool, words: str) -> None:
    if drawn:
        axes.plot([], [], color=BAD, linewidth=2, label=words)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, fontsize=8)
