"""Fonts that lie inside the matplotlib wheel; nothing is ever downloaded."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from PIL import ImageFont

from slipway.errors import SampleUnavailable

#: DejaVu (Bitstream Vera licence), STIX (OFL) and Computer Modern (BaKoMa): sans, serif, monospaced, bold, slanted.
#: Computer Modern only where letters and digits stand at their Unicode places.
NAMES = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf",
    "DejaVuSerif-Italic.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSansMono-BoldOblique.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf",
    "cmr10.ttf",
    "cmss10.ttf",
    "cmtt10.ttf",
)


def path(name: str) -> Path:
    """The font's file; raises SampleUnavailable where matplotlib is not installed."""
    spec = importlib.util.find_spec("matplotlib")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        found = Path(location) / "mpl-data" / "fonts" / "ttf" / name
        if found.is_file():
            return found
    raise SampleUnavailable(
        f"the font {name} is not on this machine",
        observed="not in matplotlib/mpl-data/fonts/ttf",
        expected="matplotlib, whose wheel holds it",
        fix="install the project's pinned requirements: make setup",
    )


@functools.lru_cache(maxsize=64)
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """The font with an em of ``size`` pixels, laid out the same everywhere."""
    return ImageFont.truetype(str(path(name)), size, layout_engine=ImageFont.Layout.BASIC)
