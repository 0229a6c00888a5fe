"""SVG text from matplotlib that fits a page: it takes the page's text colour, light or dark; its ids are its own."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Drawn in this colour, it becomes the colour of the page's text; no other colour of a chart is near it.
INK = "#010203"
#: Legible on white and on near black, and apart for the colour-blind (after Okabe and Ito).
PALETTE = ("#2f86d6", "#d9822b", "#1fa187", "#c15fa8", "#8f8f2f", "#6f7fd8", "#c0504d", "#5f9e5f", "#9b7653", "#4fb3c8")
GOOD, BAD, QUIET = PALETTE[0], "#d4473a", "#8c8c8c"
_STYLES = ("-", "--", ":")
_RC = {
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
def canvas(height: float, x_label: str = "", width: float = 6.4) -> Iterator[tuple[Figure, Axes]]:
    """A figure of ``width`` x ``height`` inches in the page's style, to be drawn and saved within the block."""
    # The class, not pyplot: no global state, no display.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes: Any = figure.subplots()
        axes.set_xlabel(x_label)
        yield figure, axes


def svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element whose ids begin with ``name``."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = stream.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    for pattern in (r'(\bid=")', r"(url\(#)", r'(href="#)'):
        drawn = re.sub(pattern, rf"\g<1>{name}-", drawn)
    return drawn.strip()


def rows(axes: Axes, names: list[str]) -> list[int]:
    """Puts one row per name on the y axis, the first at the top; returns their places."""
    places = list(range(len(names)))
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    return places


def height_of(names: list[str]) -> float:
    """Inches for so many rows."""
    return 0.85 + 0.27 * len(names)


def line_style(place: int) -> dict[str, Any]:
    """Colour, dashes and marker of the n-th line."""
    return {
        "color": PALETTE[place % len(PALETTE)],
        "linestyle": _STYLES[place // len(PALETTE) % len(_STYLES)],
        "marker": "osD^v"[place % 5],
        "markersize": 4,
        "linewidth": 1.3,
    }
