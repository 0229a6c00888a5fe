"""Finds photographs that lie inside the scikit-image and scikit-learn wheels; nothing is ever downloaded.

china.jpg (danielbuechele) and flower.jpg (vultilion) are CC BY 2.0, as scikit-learn states; scikit-image states the
licences of its own in its data registry.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from PIL import Image

from slipway.errors import SampleUnavailable

#: Not ``skimage.data.*``: those functions fetch what is missing from the network.
_FOLDERS = (("skimage", "data"), ("sklearn", "datasets/images"))


def original(name: str) -> Path:
    """The file of that name in a wheel; raises SampleUnavailable when neither wheel holds it."""
    for package, folder in _FOLDERS:
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(location) / folder / name
            if path.is_file():
                return path
    raise SampleUnavailable(
        f"the photograph {name} is not on this machine",
        observed=f"not in {' or '.join(f'{package}/{folder}' for package, folder in _FOLDERS)}",
        expected="scikit-image and scikit-learn, whose wheels hold it",
        fix="install the project's pinned requirements: make setup",
    )


def opened(name: str, mode: str = "RGB") -> Image.Image:
    """The decoded photograph in a Pillow mode, without its colour profile, which fits no other mode."""
    with Image.open(original(name)) as image:
        converted: Image.Image = image.convert(mode)
    converted.info.pop("icc_profile", None)
    return converted
