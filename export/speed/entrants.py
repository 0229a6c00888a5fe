"""Who is measured: the trained model, formats of this run, and the published version; opened with so many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.formats.registry import find_format
from handlers.calls import ONLY
from handlers.networks import open_network
from handlers.pipeline import RunNetwork
from handlers.placement import fused_networks
from handlers.preprocess import preprocess

if TYPE_CHECKING:
    from export.formats.base import Artifact
    from export.gates.base import Reference
    from slipway.repository import Repository


@dataclass(frozen=True)
class Entrant:
    """Someone who runs: ``pixels``: uint8[n, H, W, 3] that it takes; ``bytes``: size of its files."""

    run: RunNetwork
    pixels: NDArray[np.uint8]
    bytes: int


def eager(reference: Reference) -> Entrant:
    """The trained model as torch runs it; its size is that of its weights. Threads: see :func:`torch_threads`."""
    return Entrant(reference.run, reference.pixels, weight_bytes(reference))


def exported(reference: Reference, artifact: Artifact, threads: int) -> Entrant:
    """One format, opened anew: gates leave a runtime its own choice of threads. Raises ExportFailed."""
    run = find_format(artifact.format).session(artifact, threads)
    return Entrant(run, reference.pixels, artifact.bytes)


def published(reference: Reference, repository: Repository, threads: int) -> Entrant | None:
    """The served network of the stable version, on the same images through its own contract; None before the first.

    Raises RepositoryDamaged, ContractInvalid, NetworkUnreadable, and ImageError for an image that it cannot take.
    """
    model = reference.contract.model
    if model not in repository.models():
        return None
    version = repository.pointer(model).stable
    repository.verify(model, version)
    contract = repository.contract(model, version)
    path = fused_networks(repository.version_dir(model, version), contract)[ONLY]
    run = open_network(path, contract.network.output, threads)
    encoded = [image.encoded for image in reference.held_out.images[: len(reference.pixels)]]
    pixels = np.stack([preprocess(image, contract.preprocess) for image in encoded])
    return Entrant(run, pixels, sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file()))


def weight_bytes(reference: Reference) -> int:
    """Parameters and buffers of the trained model, as its state_dict holds them."""
    module = reference.module.module
    if isinstance(known := getattr(module, "weight_bytes", None), int):
        return known  # of a source that is a file
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """torch knows one number of threads per process; it is put back at the end."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
