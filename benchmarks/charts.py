"""The report's pictures, as SVG text: latency distribution, latency over time, throughput against the ceiling."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.measures import Arm, percentile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Distinguishable by the colour-blind (Okabe and Ito); the ceiling is grey.
_COLOURS = {
    "raw": "#777777",
    "grpc": "#0072B2",
    "http": "#D55E00",
    "triton-grpc": "#009E73",
    "envoy-grpc": "#CC79A7",
}
#: Points of a distribution curve: enough for p99.5 to be drawn, few enough for a small file.
_POINTS = 400


def latency_distribution(arms: Sequence[Arm]) -> str:
    """Share of requests answered within so many milliseconds; percentile lines at 50, 95 and 99."""
    figure, axes = _axes("Latency", "milliseconds", "requests answered, %")
    for arm in arms:
        latencies = arm.latencies
        percents = [100 * step / _POINTS for step in range(_POINTS + 1)]
        axes.plot([percentile(latencies, percent) for percent in percents], percents, **_style(arm.name))
    for percent in (50, 95, 99):
        axes.axhline(percent, color="#cccccc", linewidth=0.8, zorder=0)
    longest = max(percentile(arm.latencies, 99.5) for arm in arms)
    axes.set_xlim(0, longest * 1.05)
    axes.set_ylim(0, 100.5)
    axes.legend(loc="lower right")
    return _svg(figure)


def latency_over_time(requests: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Every request of the served arms: ``requests`` has (second of the arm's measured time, milliseconds) by arm."""
    figure, axes = _axes("Latency over time", "measured second of the arm", "milliseconds")
    for name, points in requests.items():
        # drawn as pixels: thousands of vector dots would make the file large
        axes.plot(*zip(*points, strict=True), ".", markersize=2.5, alpha=0.5, rasterized=True, **_style(name))
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", markerscale=4)
    return _svg(figure)


def throughput(arms: Sequence[Arm], ceiling: Arm) -> str:
    """Images per second of each arm, the ceiling as a line, single rounds as dots."""
    figure, axes = _axes("Throughput", "", "images per second")
    for place, arm in enumerate(arms):
        axes.bar(place, arm.images_per_second, width=0.6, color=_COLOURS.get(arm.name, "#56B4E9"))
        rounds = [item.images_per_second for item in arm.rounds]
        axes.plot([place] * len(rounds), rounds, "o", color="black", markersize=3)
        percent = 100 * arm.images_per_second / ceiling.images_per_second
        axes.annotate(f"{percent:.0f} %", (place, 0), xytext=(0, 6), textcoords="offset points", ha="center", color="w")
    axes.axhline(ceiling.images_per_second, color=_COLOURS["raw"], linestyle="--", linewidth=1)
    axes.set_xticks(range(len(arms)), [arm.name for arm in arms])
    return _svg(figure)


def _style(name: str) -> dict[str, Any]:
    return {"label": name, "color": _COLOURS.get(name, "#56B4E9")}


def _axes(title: str, x_label: str, y_label: str) -> tuple[Figure, Any]:
    # The class, not pyplot: no global state, no display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    # no creation date: the same figures give the same file
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
