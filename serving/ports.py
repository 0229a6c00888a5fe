"""Ports of this machine: which are free, and which one a server gets."""

from __future__ import annotations

import socket

from slipway.errors import PortUnavailable


def is_free(host: str, port: int) -> bool:
    """Whether a server could bind the port now. A port in TIME_WAIT counts as free, as servers reuse it."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(host: str, count: int) -> list[int]:
    """``count`` different ports that are free now; held open together while they are chosen."""
    probes = [socket.socket(_family(host), socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def choose(host: str, wanted: int, explicit: bool, what: str) -> int:
    """``wanted`` when it is free; else another free port, or PortUnavailable when it was asked for by name."""
    if is_free(host, wanted):
        return wanted
    if explicit:
        raise PortUnavailable(
            f"the {what} port {wanted} on {host} is taken",
            observed=f"{host}:{wanted} cannot be bound",
            fix="stop what uses it (`ss -ltnp` shows it), or leave the port open to choice by not naming one",
        )
    return free_ports(host, 1)[0]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
