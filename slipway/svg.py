"""SVG text from matplotlib that fits a page: in the colour of its text, light or dark, and with ids of its own.

matplotlib is imported when something is drawn: it takes a second, and most commands draw nothing.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Drawn in this colour, it becomes the colour of the page's text; no other colour of a chart is near it.
INK = "#010203"
#: What is too much, and what stays behind; legible on white and on near black.
BAD, QUIET = "#d4473a", "#8c8c8c"
_STYLE = {
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "font.size": 9,
    # text stays text: small, selectable, read out by screen readers
    "svg.fonttype": "none",
    # the same figures give the same bytes
    "svg.hashsalt": "slipway",
}


@contextmanager
def canvas(width: float, height: float, style: Mapping[str, Any] | None = None) -> Iterator[tuple[Figure, Axes]]:
    """A figure of ``width`` x ``height`` inches and its axes, to be drawn and saved within the block.

    ``style``: of matplotlib's rcParams, those that differ from the page's.
    """
    # The class, not pyplot: no global state, no display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**_STYLE, **(style or {})}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes: Any = figure.subplots()
        yield figure, axes


def element(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element whose ids begin with ``name``."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = stream.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    for pattern in (r'(\bid=")', r"(url\(#)", r'(href="#)'):
        drawn = re.sub(pattern, rf"\g<1>{name}-", drawn)
    return drawn.strip()
