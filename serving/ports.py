"""Ports of this machine: which are free, and which one a server gets."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

from slipway.errors import PortUnavailable

#: The ports that are given out start here: above what servers are usually told to listen on.
_LOWEST = 15000
_FEWEST = 1000
#: The kernel's own choice for outgoing connections.
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 100
#: Not the module's own generator: programs that seed it alike would all choose the same ports.
_CHOOSER = random.SystemRandom()


def is_free(host: str, port: int) -> bool:
    """Whether a server could bind the port now. A port in TIME_WAIT counts as free, as servers reuse it."""
    return _refusal(host, port) is None


def _refusal(host: str, port: int) -> OSError | None:
    """Why the port cannot be bound; None when it can."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as problem:
            return problem
    return None


def free_ports(host: str, count: int) -> list[int]:
    """``count`` different ports that are free now; held open together while they are chosen.

    Below the range of outgoing connections, any of which could take a port between its choice and its server's start.
    """
    probes = [socket.socket(_family(host), socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            _bind(probe, host)
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _bind(probe: socket.socket, host: str) -> None:
    own = _own_range()
    for port in _CHOOSER.sample(own, min(_TRIES, len(own))):
        try:
            probe.bind((host, port))
            return
        except OSError as problem:
            if problem.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    probe.bind((host, 0))


def _own_range() -> range:
    """The ports that the kernel gives to nobody by itself; all of them where it leaves few."""
    try:
        first = int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        first = 32768
    return range(_LOWEST, first) if first - _LOWEST >= _FEWEST else range(_LOWEST, 65536)


def choose(host: str, wanted: int, explicit: bool, what: str) -> int:
    """``wanted`` when it is free; else another free port, or PortUnavailable when it was asked for by name.

    PortUnavailable in any case when ``host`` is no address of this machine: no port of it is any better.
    """
    refusal = _refusal(host, wanted)
    if refusal is None:
        return wanted
    if refusal.errno == errno.EADDRNOTAVAIL or isinstance(refusal, socket.gaierror):
        raise PortUnavailable(
            f"{host} is not an address of this machine",
            observed=f"{host}:{wanted} cannot be bound: {refusal.strerror}",
            expected="an address of this machine, such as 127.0.0.1 or 0.0.0.0",
            fix="correct or unset SLIPWAY_HOST",
        )
    if explicit and refusal.errno == errno.EACCES:
        raise PortUnavailable(
            f"the {what} port {wanted} on {host} may not be bound by this user",
            observed=f"{host}:{wanted}: {refusal.strerror}",
            fix="choose a port of 1024 or more",
        )
    if explicit:
        raise PortUnavailable(
            f"the {what} port {wanted} on {host} is taken",
            observed=f"{host}:{wanted} cannot be bound",
            fix="stop what uses it (`ss -ltnp` shows it), or leave the port open to choice by not naming one",
        )
    return free_ports(host, 1)[0]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
