"""The page's pictures have one size and style, the time below, and words for those who cannot see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from html import escape
from typing import Any

from routing.report.words import clean
from slipway.svg import QUIET, element
from slipway.svg import canvas as page_canvas

#: By role; legible on white and on near black, and apart for the colour-blind (after Okabe and Ito).
COLOURS = {"stable": "#2f86d6", "canary": "#d9822b", "shadow": "#c15fa8", "": "#1fa187"}
DASHES = {"stable": "-", "canary": "-", "shadow": "--", "": "-"}
#: Inches. As wide as a phone shows it without making the letters small.
_SIZE = (4.7, 2.7)
_STYLE = {"legend.fontsize": 8, "axes.formatter.useoffset": False}
_LONG_FRACTION = re.compile(r"(\.\d\d)\d+")


@contextmanager
def canvas(y_label: str = "") -> Iterator[tuple[Any, Any]]:
    """(figure, axes) in the page's style, to be drawn and saved within the block."""
    with page_canvas(*_SIZE, _STYLE) as (figure, axes):
        axes.set_ylabel(y_label)
        axes.grid(axis="y", color=QUIET, alpha=0.25, linewidth=0.6)
        yield figure, axes


def svg(figure: Any, name: str, words: str) -> str:
    """The figure as an ``<svg>`` element whose ids begin with ``name``. ``words``: what a screen reader says of it."""
    drawn = element(figure, name)
    # a hundredth of a point is finer than any screen
    drawn = re.sub(r' d="[^"]*"', lambda found: _LONG_FRACTION.sub(r"\1", found[0]).replace("\n", ""), drawn)
    label = escape(clean(words, 1000), quote=True)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def times(values: Sequence[float]) -> list[datetime]:
    """Seconds since 1970 as matplotlib takes them."""
    return [datetime.fromtimestamp(value, timezone.utc) for value in values]


def time_axis(axes: Any, first: float, last: float) -> None:
    """x is the time of day (UTC) from ``first`` to ``last``; a single moment gets room around it."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    room = max(0.02 * (last - first), 5.0 if last - first < 10 else 0.0)
    axes.set_xlim(*times([first - room, last + room]))
    # with less than 7, some ranges (as of 170 s) fall between its steps
    locator = AutoDateLocator(minticks=3, maxticks=7, tz=timezone.utc)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=timezone.utc))


def legend(axes: Any) -> None:
    """Above the axes, where no line is."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, handlelength=1.6)
