"""What was measured, as JSON, as Markdown tables and as a plot."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from routing.statistics.simulate.false_alarms import FalseAlarm
from routing.statistics.simulate.power import Found


def values(alarms: list[FalseAlarm], found: list[Found], alpha: float, experiments: int) -> dict[str, Any]:
    """JSON-ready: numbers that are not finite become None."""
    rows = {"false_alarms": [asdict(row) for row in alarms], "power": [asdict(row) for row in found]}
    clean = {name: [{key: _finite(value) for key, value in row.items()} for row in of] for name, of in rows.items()}
    return {"alpha": alpha, "experiments": experiments, **clean}


def markdown(alarms: list[FalseAlarm], found: list[Found]) -> str:
    """Both tables."""
    lines = [
        "| test | case | canary's share | looks | found | one-look test at every look |",
        "|---|---|---|---|---|---|",
    ]
    for row in alarms:
        share, naive = _share(row.share), "" if row.peeking is None else f"{row.peeking:.1%}"
        lines.append(f"| {row.test} | {row.case} | {share} | {row.looks} | {row.found:.2%} | {naive} |")
    lines += [
        "",
        "| effect | canary's share | found | median | nine in ten | one planned look | universal inference, median |",
        "|---|---|---|---|---|---|---|",
    ]
    for of in found:
        numbers = " | ".join(_count(number) for number in (of.median, of.late, of.fixed, of.universal))
        lines.append(f"| {of.effect} | {_share(of.share)} | {of.found:.1%} | {numbers} |")
    return "\n".join(lines) + "\n"


def plot(path: Path, alarms: list[FalseAlarm], alpha: float) -> None:
    """False alarms by case, with the declared alpha."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 6.4), layout="constrained")
    names = [f"{row.test}, {row.case}, {_share(row.share)}".rstrip(", ") for row in alarms]
    axes.plot([100 * row.found for row in alarms], names, "o", color="#0b6e4f", label="this test, at every look")
    naive = [(100 * row.peeking, name) for row, name in zip(alarms, names, strict=True) if row.peeking is not None]
    axes.plot(*zip(*naive, strict=True), "x", color="#b3261e", label="one-look test, at every look")
    axes.axvline(100 * alpha, color="black", linestyle="--", label=f"declared alpha, {alpha:.0%}")
    axes.set(xlabel="experiments in which something was found where nothing is, %", xlim=(-1, None))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="center right", bbox_to_anchor=(1.0, 0.55))
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _share(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.0%}"


def _count(number: float | None) -> str:
    if number is None or math.isnan(number):
        return ""
    return f"{number:,.0f}" if math.isfinite(number) else "later"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
