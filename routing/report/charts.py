"""The page's pictures. Each gives an accessible SVG, or None where there is nothing to draw yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routing.report.data import Band, Curve, ReportData
from routing.report.drawing import COLOURS, DASHES, canvas, legend, svg, time_axis, times
from routing.report.series import by_start, coarse, thin
from routing.report.words import clean, in_unit, is_time, number, percent
from slipway.svg import BAD, QUIET

#: Lines with fewer points show each as a dot, so that a single one is seen.
_FEW = 40
#: Beginnings of steps that are marked at most: more lines than that are a grey area.
_MOST_STEPS = 30
_AXES = {"rate": (100.0, "%"), "points": (100.0, "percentage points"), "ms": (1.0, "ms")}
_CUMULATIVE = (
    "Since the beginning, with its confidence sequence: the range holds at every moment at once, however often one "
    "looks. Where it is widest, in the beginning, it may leave the picture."
)
_PIECEWISE = "Of each piece of time; small pieces scatter."


@dataclass(frozen=True)
class Chart:
    """``title`` and ``words`` are for people; ``svg`` is None where there is nothing to draw yet."""

    title: str
    words: str
    svg: str | None


def all_charts(data: ReportData) -> Iterator[Chart]:
    """The pictures in the page's order; those of things that this rollout does not have are left out."""
    data = coarse(data)
    yield Chart(
        "Traffic split",
        "The canary's share of the requests (dots) beside its declared share of the units (line). Both differ by "
        "chance, and by as much as some units ask more often. Dotted lines: where steps begin.",
        traffic_split(data),
    )
    yield Chart("Requests", "Per second, by the version that the hash chose.", requests(data))
    yield Chart("Error rate", _CUMULATIVE if _has_bands(data) else _PIECEWISE, error_rates(data))
    yield Chart("Latency", "Of answers of the version itself. Solid: p99. Dashed: p50.", latency(data))
    for place, curve in enumerate(data.differences):
        title = f"Difference: {clean(curve.metric, 60)}"
        words = "Canary minus stable, with its confidence sequence. Dashed: what the rules allow."
        yield Chart(title, words, curves((curve,), data, f"difference{place}", title))
    if data.agreements:
        words = "How often a version gives the stable version's answer to the same image."
        yield Chart("Agreement", words, curves(data.agreements, data, "agreement", "Agreement"))


def traffic_split(data: ReportData) -> str | None:
    """The canary's observed share over time, its declared share, and the steps."""
    canary = data.versions.canary
    if canary is None or not data.traffic:
        return None
    starts, by_version = by_start(data)
    total = sum(by_version.values(), np.zeros(len(starts)))
    share = 100 * by_version.get(canary, np.zeros(len(starts))) / np.where(total > 0, total, np.nan)
    with canvas("% of requests") as (figure, axes):
        axes.plot(times(starts), share, ".", markersize=4, color=COLOURS["canary"], label="requests", zorder=3)
        last = starts[-1] + data.interval
        declared = _declared(data, starts[0], last)
        if declared:
            xs, ys = zip(*declared, strict=True)
            axes.step(times(xs), [100 * y for y in ys], where="post", color=QUIET, linewidth=1.4, label="declared")
        axes.set_ylim(0, max(5.0, min(104.0, 1.25 * _highest([*share, *(100 * y for _, y in declared)]))))
        _finish(axes, data, starts[0], last)
        words = f"Share of version {canary} over time; last {percent(float(share[-1]) / 100)} of the requests."
        return svg(figure, "split", words)


def requests(data: ReportData) -> str | None:
    """Requests per second, stacked by version."""
    if not data.traffic:
        return None
    starts, by_version = by_start(data)
    order = sorted(by_version, key=lambda version: (version != data.versions.stable, version))
    edges = [*starts, starts[-1] + data.interval]
    with canvas("requests per second") as (figure, axes):
        below = np.zeros(len(edges))
        for version in order:
            heights = np.append(by_version[version], by_version[version][-1]) / data.interval
            colour = COLOURS[data.versions.role(version)]
            axes.fill_between(
                times(edges), below, below + heights, step="post", color=colour, alpha=0.75, linewidth=0,
                label=_name(data, version),
            )  # fmt: skip
            below = below + heights
        axes.set_ylim(0, max(1.05 * _highest(below), 1e-9))
        _finish(axes, data, starts[0], edges[-1])
        parts = ", ".join(f"{_name(data, version)} {np.nansum(by_version[version]):,.0f}" for version in order)
        return svg(figure, "requests", f"Requests per second by version; in all {parts}.")


def error_rates(data: ReportData) -> str | None:
    """Cumulative error rates with their confidence sequences; without them, the rate of each piece of time."""
    if _has_bands(data):
        return curves(data.error_rates, data, "errors", "Error rate")
    pieces = []
    for version in sorted({row.version for row in data.traffic}):
        rows = [row for row in data.traffic if row.version == version and row.requests > 0]
        bands = tuple(Band(row.start, row.errors / row.requests) for row in rows)
        pieces.append(Curve("errors", bands, "rate", version))
    return curves(tuple(pieces), data, "errors", "Error rate")


def latency(data: ReportData) -> str | None:
    """p50 and p99 by version over time; a logarithmic axis where one is many times another."""
    drawn = []
    with canvas("ms") as (figure, axes):
        for version in sorted({row.version for row in data.traffic}):
            rows = [row for row in data.traffic if row.version == version]
            style: dict[str, Any] = {"color": COLOURS[data.versions.role(version)], "linewidth": 1.2}
            for quantile, dashes, name in (("p99_ms", "-", _name(data, version)), ("p50_ms", "--", None)):
                found = [(row.start, number(getattr(row, quantile))) for row in rows]
                line = thin([(at, value) for at, value in found if value is not None])
                if line:
                    axes.plot(times([at for at, _ in line]), [y for _, y in line], dashes, label=name, **style,
                              marker="o" if len(line) < _FEW else None, markersize=2.5)  # fmt: skip
                    drawn += [(at, value, quantile, version) for at, value in line]
        if not drawn:
            return None
        values = [value for _, value, _, _ in drawn]
        if min(values) > 0 and max(values) > 20 * min(values):
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, max(1.1 * max(values), 1e-9))
        _finish(axes, data, min(at for at, *_ in drawn), max(at for at, *_ in drawn))
        newest = {(version, quantile): value for _, value, quantile, version in drawn}
        parts = [f"version {version} {quantile[:3]} {value:.3g} ms" for (version, quantile), value in newest.items()]
        return svg(figure, "latency", f"Latency over time; last: {', '.join(parts)}.")


def curves(found: Sequence[Curve], data: ReportData, name: str, title: str) -> str | None:
    """Metrics over time with their bands, all in the first one's unit."""
    lines = [(curve, bands) for curve in found if (bands := thin(_finite(curve.bands)))]
    if not lines:
        return None
    unit = lines[0][0].unit
    scale, label = _AXES.get(unit, (1.0, ""))
    with canvas(label) as (figure, axes):
        for curve, bands in lines:
            _draw_curve(axes, data, curve, bands, scale)
        limits = {limit for curve, _ in lines if (limit := number(curve.limit)) is not None}
        for limit in sorted(limits):
            axes.axhline(scale * limit, color=BAD, linewidth=1, linestyle="--", label="allowed")
        if unit == "points":
            axes.axhline(0, color=QUIET, linewidth=0.8)
        axes.set_ylim(*_range([bands for _, bands in lines], limits, scale))
        moments = [band.time for _, bands in lines for band in bands]
        _finish(axes, data, min(moments), max(moments))
        return svg(figure, name, f"{title} over time; last: {_last(data, lines)}.")


def _has_bands(data: ReportData) -> bool:
    return any(_finite(curve.bands) for curve in data.error_rates)


def _draw_curve(axes: Any, data: ReportData, curve: Curve, bands: Sequence[Band], scale: float) -> None:
    role = data.versions.role(curve.version)
    xs = times([band.time for band in bands])
    middle, lower, upper = (
        [scale * _or_nan(getattr(band, part)) for band in bands] for part in ("estimate", "lower", "upper")
    )
    dots = {"marker": "o", "markersize": 3} if len(bands) < _FEW else {}
    label = _name(data, curve.version) if curve.version is not None else None
    axes.plot(xs, middle, DASHES[role], color=COLOURS[role], linewidth=1.4, label=label, **dots)
    if len(bands) == 1 and not math.isnan(lower[0] + upper[0]):
        # a band of one moment has no area
        axes.vlines(xs, lower, upper, color=COLOURS[role], alpha=0.4, linewidth=4)
    else:
        axes.fill_between(xs, lower, upper, color=COLOURS[role], alpha=0.2, linewidth=0)


def _range(lines: Sequence[Sequence[Band]], limits: Iterable[float], scale: float) -> tuple[float, float]:
    """Of the y axis: every estimate and limit, and what bands are after their first quarter, where they are wide."""
    found: list[float | None] = list(limits)
    for bands in lines:
        found += [number(band.estimate) for band in bands]
        found += [number(edge) for band in bands[len(bands) // 4 :] for edge in (band.lower, band.upper)]
    values = [scale * value for value in found if value is not None]
    room = 0.06 * (max(values) - min(values)) or max(abs(values[0]) * 0.1, 1e-3 * scale)
    return min(values) - room, max(values) + room


def _last(data: ReportData, lines: Sequence[tuple[Curve, Sequence[Band]]]) -> str:
    parts = []
    for curve, bands in lines:
        band, unit = bands[-1], curve.unit
        who = "" if curve.version is None else f"{_name(data, curve.version)} "
        inside = (
            f" ({in_unit(band.lower, unit)} to {in_unit(band.upper, unit)})" if number(band.lower) is not None else ""
        )
        parts.append(f"{who}{in_unit(band.estimate, unit)}{inside}")
    return ", ".join(parts)


def _finish(axes: Any, data: ReportData, first: float, last: float) -> None:
    """The time axis, the steps that begin within it, and the legend."""
    time_axis(axes, first, last)
    for step in data.steps[:_MOST_STEPS]:
        began = step.started
        if began is not None and is_time(began) and first <= began <= last:
            axes.axvline(times([began])[0], color=QUIET, linewidth=0.9, linestyle=":", zorder=0)
    legend(axes)


def _declared(data: ReportData, first: float, last: float) -> list[tuple[float, float]]:
    """(time, share) of the steps that have begun, cut to the axis, carried on to where the last one ended."""
    begun = [(step.started, step.ended, step.share) for step in data.steps if is_time(step.started)]
    found = [(max(first, at), share) for at, _, share in begun if at is not None and at <= last]
    if not found:
        return []
    ends = [until for at, until, _ in begun if at is not None]
    stop = last if ends[-1] is None else min(last, ends[-1])
    return [*found, (max(stop, found[-1][0]), found[-1][1])]


def _finite(bands: Sequence[Band]) -> list[Band]:
    return [band for band in bands if is_time(band.time) and number(band.estimate) is not None]


def _highest(values: Sequence[float] | np.ndarray[Any, Any]) -> float:
    return max((float(value) for value in values if math.isfinite(value)), default=0.0)


def _or_nan(value: float | None) -> float:
    found = number(value)
    return math.nan if found is None else found


def _name(data: ReportData, version: int | None) -> str:
    role = data.versions.role(version)
    return f"version {version}, {role}" if role else f"version {version}"
