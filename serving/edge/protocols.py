"""What differs at the edge between the engines: the Lua programs, and which calls must be short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.edge.scripts import COMMON, COMMON_ANSWERS, ENTRIES, FLEET, TRIES

Json = dict[str, Any]

_SERVICE = "/inference.GRPCInferenceService/Server"
_TORCHSERVE_PING = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping"
_HEALTH = "/grpc.health.v1.Health/"


@dataclass(frozen=True)
class Protocol:
    """One engine's side of the edge.

    ``downstream``: Lua files that judge requests and answers; ``upstream``: those that mark what is worth a retry;
    ``tries``: the same for the clusters of an experiment, where each try has its version.
    ``short_http``, ``short_grpc``: path prefixes of health calls, never repeated. ``retries``: of what no model had
    yet; they bridge a restart of the engine, with back-offs of 0.05 s growing to 0.5 s (Envoy draws each between 0 and
    that). ``streams``: gRPC methods with many messages, which have no end of their own and are never repeated.
    """

    downstream: tuple[str, ...]
    upstream: tuple[str, ...]
    tries: tuple[str, ...]
    short_http: tuple[str, ...]
    short_grpc: tuple[str, ...]
    retries: int
    streams: tuple[str, ...] = ()

    def way_in(self, fleet: bool) -> tuple[str, ...]:
        """``downstream``, with what other servers need where there are some."""
        if not fleet:
            return self.downstream
        at = self.downstream.index("versions") + 1
        return (*self.downstream[:at], *FLEET, *self.downstream[at:])


PROTOCOLS = {
    "triton": Protocol(
        downstream=(
            *COMMON,
            "tensors",
            "infer_json",
            "infer_proto",
            "streams",
            "triton_endpoints",
            "triton_faults",
            *COMMON_ANSWERS,
            "triton_streams",
            "triton_requests",
            *ENTRIES,
        ),
        upstream=("faults", "triton_faults", "triton_retries"),
        tries=(*TRIES, "faults", "triton_faults", "triton_retries", "tries"),
        short_http=("/v2/health/",),
        short_grpc=(_SERVICE, _HEALTH),
        retries=50,  # about 12 s
        streams=("/inference.GRPCInferenceService/ModelStreamInfer",),
    ),
    "torchserve": Protocol(
        downstream=(
            *COMMON,
            "torchserve_endpoints",
            "torchserve_faults",
            "torchserve_requests",
            *COMMON_ANSWERS,
            "torchserve_answers",
            *ENTRIES,
        ),
        upstream=("faults", "torchserve_faults", "torchserve_retries"),
        tries=(*TRIES, "faults", "torchserve_faults", "torchserve_retries", "tries"),
        short_http=("/ping", "/v2/health/"),
        short_grpc=(_TORCHSERVE_PING, _HEALTH),
        retries=120,  # about 30 s: java, and then workers that import torch
    ),
}
