"""Published weights by name: torchvision's enum members and timm's tags, downloaded like any other URL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from export.sources.download import sha256_differs
from export.sources.location import Located, locate
from export.sources.timm_builder import timm_weights
from export.sources.torchvision_builder import torchvision_weights
from slipway.errors import SourceInvalid
from slipway.files import sha256_file

if TYPE_CHECKING:
    from slipway.spec import SourceSpec

#: Names such as resnet50-11ad3fa6.pth carry the first digits of their sha256 (torch.hub.HASH_REGEX).
_PREFIX = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")


def published_weights(source: SourceSpec, cache_dir: Path) -> Located:
    """The file of ``source.weights``, with the digits of its sha256 checked that its name carries.

    Raises SourceInvalid for a name that is not published for the architecture, DownloadFailed for the rest.
    """
    asked = str(source.weights)
    if source.torchvision is not None:
        name, url = torchvision_weights(source.torchvision, asked)
    elif source.timm is not None:
        name, url = timm_weights(source.timm, asked)
    else:
        raise SourceInvalid("source.weights: weights are published for torchvision and timm only", observed=asked)
    path = locate(url, cache_dir, cache_dir, sha256=source.sha256).path
    prefix = _PREFIX.search(url)
    if prefix is not None and not (observed := sha256_file(path)).startswith(prefix[1]):
        path.unlink()  # or it would be taken for the right one, unchanged on the server, ever after
        raise sha256_differs(url, observed, f"{prefix[1]}...")
    return Located(path, name)
