"""``serving``: how the model is served."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway.spec.base import Section
from slipway.spec.formats import FormatName


class ServingSpec(Section):
    """How the model is served. ``instances: auto`` is one per core of the serving machine; ``network_instances: auto``
    is one per GPU, and on a CPU one per core where the public model calls the network (``separate``), else one."""

    placement: Literal["fused", "separate"] = "fused"
    instances: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    network_instances: Literal["auto"] | Annotated[int, Field(ge=1, le=64)] = "auto"
    max_batch_size: int = Field(default=8, ge=1, le=1024)
    dynamic_batching: bool = True
    queue_delay_microseconds: int = Field(default=0, ge=0)
    networks: tuple[FormatName, ...] | None = Field(default=None, description="networks that clients may call directly")
