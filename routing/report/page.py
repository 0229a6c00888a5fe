"""The HTML report of one rollout: one file that needs no other, on a phone or a desk, in light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routing.report import words
from routing.report.answers import pairs
from routing.report.charts import Chart, all_charts
from routing.report.data import ArmRow, ReportData, Traffic
from routing.report.series import coarse

if TYPE_CHECKING:
    from jinja2 import Environment

#: What is shown at most; the page says what it leaves out. Together they keep it below a megabyte.
MOST_DISAGREEMENTS = 12
MOST_ROWS = 60
_PICTURE_BYTES = 420_000
_GOOD = frozenset(("promote", "promoted", "pass", "passed", "ok", "promoting"))
_BAD = frozenset(("abort", "aborted", "fail", "failed", "mismatch", "broken", "aborting"))


def render(data: ReportData) -> str:
    """The page. Every text of ``data`` is escaped, and shortened where it is long; the same data give the same page."""
    return _environment().get_template("report.html.j2").render(
        data=data,
        title=_title(data),
        headline=_headline(data),
        charts=[_chart(item) for item in all_charts(data)],
        arms=[_arm(data, item) for item in data.arms[:MOST_ROWS]],
        pairs=pairs(data.disagreements, MOST_DISAGREEMENTS, _PICTURE_BYTES),
        traffic=_newest(coarse(data).traffic),
        traffic_interval=coarse(data).interval,
        most=MOST_ROWS,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_finalize,
    )
    for name in (
        "percent",
        "milliseconds",
        "count",
        "in_unit",
        "between",
        "moment",
        "machine_moment",
        "duration",
        "short",
    ):
        environment.filters[name] = getattr(words, name)
    environment.filters["kind"] = _kind
    environment.filters["uri"] = _uri
    return environment


def _finalize(value: Any) -> Any:
    """Whatever is put into the page passes here, before it is escaped."""
    from markupsafe import Markup

    if value is None:
        return words.UNKNOWN
    return words.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _kind(decision: str) -> str:
    """The class of a decision: ``good``, ``bad`` or ``open``."""
    return "good" if decision in _GOOD else "bad" if decision in _BAD else "open"


def _uri(uri: str) -> Any:
    """A data URI of ours: base64, which is not to be cut as other texts are."""
    from markupsafe import Markup

    return Markup(uri)  # noqa: S704 - letters of base64


def _title(data: ReportData) -> str:
    tried = [f"version {version}" for version in (data.versions.canary, data.versions.shadow) if version is not None]
    return f"{data.model}: {' and '.join(tried) or 'nothing'} against version {data.versions.stable}"


def _headline(data: ReportData) -> str:
    """Where it stands, in one sentence."""
    if data.versions.canary is None:
        return "Copies of requests go to the shadow; clients see the stable version alone."
    if not 0 <= data.step < len(data.steps):
        return ""
    share = words.percent(data.steps[data.step].share)
    verb = "reached" if data.status in ("promoted", "aborted", "stopped") else "at"
    return f"{verb.capitalize()} step {data.step + 1} of {len(data.steps)}: {share} of the units for the canary."


def _chart(chart: Chart) -> dict[str, Any]:
    from markupsafe import Markup

    svg = None if chart.svg is None else Markup(chart.svg)  # noqa: S704 - drawn here, its texts are escaped there
    return {"title": chart.title, "words": chart.words, "svg": svg}


def _arm(data: ReportData, arm: ArmRow) -> dict[str, str]:
    """The cells of one row."""
    rate = arm.errors / arm.requests if arm.requests > 0 else None
    inside = words.between(arm.error_lower, arm.error_upper, "rate")
    return {
        "version": str(arm.version),
        "role": data.versions.role(arm.version),
        "share": words.percent(arm.share),
        "units": words.count(arm.units),
        "requests": words.count(arm.requests),
        "errors": words.count(arm.errors),
        "rate": words.percent(rate),
        "inside": inside,
        "p50": words.milliseconds(arm.p50_ms),
        "p99": words.milliseconds(arm.p99_ms),
        "correct": words.percent(arm.correct / arm.labelled if arm.labelled > 0 else None),
        "labelled": words.count(arm.labelled),
        "not_finite": f"{words.count(arm.not_finite)} of {words.count(arm.answers)}" if arm.answers else words.UNKNOWN,
    }


def _newest(rows: Sequence[Traffic]) -> list[Traffic]:
    return sorted(rows, key=lambda row: (-row.start, row.version))[:MOST_ROWS]
