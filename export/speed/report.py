"""The results of the benchmark of formats: rows for programs, a table for people, JSON and Markdown files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.speed.figures import Limits, Speed

if TYPE_CHECKING:
    from export.speed.formats import Options

_MEGABYTE = 1e6


@dataclass(frozen=True)
class Figures:
    """One format at one batch size; ``speedup``: how many times as fast as the trained model in torch eager."""

    speed: Speed
    speedup: Limits

    def to_dict(self) -> dict[str, Any]:
        """Milliseconds per image; ``spread`` is p90 minus p10."""
        return {
            "ms_per_image": self.speed.ms_per_image,
            "spread": self.speed.spread,
            "p10": self.speed.p10,
            "p90": self.speed.p90,
            "cpu_ms_per_image": self.speed.cpu_ms_per_image,
            "rounds": self.speed.rounds,
            "speedup": self.speedup.median,
            "speedup_lower": self.speedup.low,
        }


@dataclass(frozen=True)
class Row:
    """One format. ``figures``: by batch size, the first is the row's own; ``bytes``: of its files; ``agreement``: share
    of real images whose best label is the trained model's; ``failed``: gates that would not let it be published, None
    where none was asked."""

    format: str
    figures: Mapping[int, Figures]
    bytes: int
    agreement: float
    sqnr_db: float
    export_seconds: float
    failed: tuple[str, ...] | None

    @property
    def gates(self) -> str:
        """``passed``, or which failed; empty where none was asked, as for the trained model, which is their measure."""
        if self.failed is None:
            return ""
        return f"failed: {', '.join(self.failed)}" if self.failed else "passed"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``format``, ``ms_per_image``, ``spread``, ``mb``, ``agreement``, and the rest."""
        first, *others = self.figures
        own = self.figures[first].to_dict()
        return {
            "format": self.format,
            "ms_per_image": own.pop("ms_per_image"),
            "spread": own.pop("spread"),
            "mb": self.bytes / _MEGABYTE,
            "agreement": self.agreement,
            "sqnr_db": self.sqnr_db if math.isfinite(self.sqnr_db) else None,
            "gates": self.gates or None,
            "export_seconds": self.export_seconds,
            "batch": first,
            **own,
            **{f"batch_{batch}": self.figures[batch].to_dict() for batch in others},
        }

    def cells(self) -> list[str]:
        """Under FormatsReport.columns."""
        times = []
        for found in self.figures.values():
            times += [f"{found.speed.ms_per_image:.2f}", f"{found.speed.spread:.2f}", f"{found.speedup.median:.2f}"]
        first = next(iter(self.figures.values()))
        noise = f"{self.sqnr_db:.1f}" if math.isfinite(self.sqnr_db) else ""
        quality = [f"{self.bytes / _MEGABYTE:.2f}", f"{self.agreement:.1%}", noise]
        return [self.format, *times, f"{first.speed.cpu_ms_per_image:.2f}", *quality]


@dataclass(frozen=True)
class Unavailable:
    """A format without figures, and why."""

    format: str
    reason: str


@dataclass
class FormatsReport:
    """What was measured, the trained model first. ``machine``: label and value, set by whoever knows the machine."""

    model: str
    options: Options
    rows: Sequence[Row]
    unavailable: Sequence[Unavailable]
    machine: Mapping[str, str] = field(default_factory=dict)
    when: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @property
    def title(self) -> str:
        """What the figures are of."""
        threads, processes = self.options.threads, self.options.processes
        return (
            f"{self.model}: ms per image, {threads} thread{'s' if threads > 1 else ''}, "
            f"{processes} process{'es' if processes > 1 else ''} at once"
        )

    @property
    def columns(self) -> list[str]:
        """Of the table; ``x`` is times as fast as eager."""
        times = []
        for batch in self.options.batches:
            times += [f"batch {batch} ms", "p90-p10", "x"]
        return ["format", *times, "CPU ms", "MB", "agreement", "SQNR dB", *self._judged]

    def cells(self) -> list[list[str]]:
        """The table's rows."""
        return [row.cells() + [row.gates] * len(self._judged) for row in self.rows]

    @property
    def _judged(self) -> list[str]:
        return ["gates"] if self.options.gates else []

    def missing(self) -> list[tuple[str, str]]:
        """Names of the formats without figures, and their reason; those of one reason together."""
        by_reason: dict[str, list[str]] = {}
        for item in self.unavailable:
            by_reason.setdefault(item.reason, []).append(item.format)
        return [(", ".join(names), reason) for reason, names in by_reason.items()]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": self.model,
            "when": self.when.isoformat(timespec="seconds"),
            "options": asdict(self.options),
            "machine": dict(self.machine),
            "rows": [row.to_dict() for row in self.rows],
            "unavailable": [asdict(item) for item in self.unavailable],
        }

    def markdown(self) -> str:
        """The table as it stands in a README."""
        lines = [f"| {' | '.join(self.columns)} |", "|" + "---|" * len(self.columns)]
        lines += [f"| {' | '.join(cells)} |" for cells in self.cells()]
        lines += ["", f"{self.title}; medians of {self.rows[0].figures[self.options.batches[0]].speed.rounds} rounds."]
        lines += [f"{name}: {value}." for name, value in self.machine.items()]
        if self.unavailable:
            lines += ["", "| not measured | why |", "|---|---|"]
            lines += [f"| {names} | {_cell(reason)} |" for names, reason in self.missing()]
        return "\n".join(lines) + "\n"

    def write(self, out: Path) -> Path:
        """Writes summary.json and table.md into a new folder of ``out``, and returns it."""
        folder = out / f"{self.when:%Y%m%dT%H%M%S}-formats-{self.model}"
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
        (folder / "table.md").write_text(self.markdown(), encoding="utf-8")
        return folder


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
