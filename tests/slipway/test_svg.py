"""Pictures that fit a page: its ink, their own ids, the same bytes each time; matplotlib waits until one is drawn."""

import subprocess
import sys
from pathlib import Path

from slipway import svg

ROOT = Path(__file__).resolve().parents[2]


def drawn(name: str) -> str:
    with svg.canvas(3.0, 2.0, {"legend.fontsize": 8}) as (figure, axes):
        axes.plot([1, 2], [3, 4], label="a line")
        axes.legend()
        return svg.element(figure, name)


def test_it_takes_the_pages_ink_and_keeps_its_ids_apart() -> None:
    found = drawn("first")
    assert found.startswith("<svg") and found.endswith("</svg>")
    assert svg.INK not in found and "currentColor" in found and "a line" in found
    assert found.count('id="first-') == found.count('id="') > 0
    assert found.count("url(#first-") == found.count("url(#") > 0
    assert found == drawn("first")


def test_matplotlib_waits_for_a_picture() -> None:
    code = "import sys; from slipway import svg; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
