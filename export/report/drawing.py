"""The page's pictures have one style, and rows by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slipway import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Legible on white and on near black, and apart for the colour-blind (after Okabe and Ito).
PALETTE = ("#2f86d6", "#d9822b", "#1fa187", "#c15fa8", "#8f8f2f", "#6f7fd8", "#c0504d", "#5f9e5f", "#9b7653", "#4fb3c8")
GOOD = PALETTE[0]
_STYLES = ("-", "--", ":")


@contextmanager
def canvas(height: float, x_label: str = "", width: float = 6.4) -> Iterator[tuple[Figure, Axes]]:
    """A figure of ``width`` x ``height`` inches in the page's style, to be drawn and saved within the block."""
    with svg.canvas(width, height) as (figure, axes):
        axes.set_xlabel(x_label)
        yield figure, axes


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
