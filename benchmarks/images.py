"""The pictures that load is made of: real photographs as JPEGs, of mixed sizes or all of one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from samples.photos.jpegs import jpegs
from samples.photos.originals import original

ImageSet = Literal["fixed", "mixed", "small"]

#: Kilobytes; 100 kB is 640x427, the image that figures of servers are usually given for.
_FIXED = (100,)
#: What thumbnails and cropped uploads weigh: 453x302.
_SMALL = (50,)
_MIXED = (20, 50, 100, 200)
#: As they came from their cameras: 110 to 530 kB, 640x427 to 1411x1411.
_PHOTOGRAPHS = ("rocket.jpg", "flower.jpg", "retina.jpg", "hubble_deep_field.jpg")


def write_images(images: ImageSet, folder: Path) -> list[Path]:
    """Writes JPEGs and returns their paths: ``fixed`` is one of 640x427 pixels and about 100 kB, ``small`` one of
    453x302 and about 50 kB, ``mixed`` eight of 286x191 to 1411x1411 pixels and 20 to 530 kB. The same bytes
    on every run."""
    if images != "mixed":
        return jpegs(folder, _FIXED if images == "fixed" else _SMALL)
    copied = [Path(shutil.copy(original(name), folder / name)) for name in _PHOTOGRAPHS]
    return jpegs(folder, _MIXED) + copied
