"""The command line and the environment that start the embedded Triton, closed in on itself.

It listens on loopback, loads nothing by itself (EXPLICIT mode; poll mode is never used), and gives its repository,
shared-memory, logging and trace APIs only to the holder of a key that is made anew at every start.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from serving.triton.environment import TritonInstallation

ADMIN_HEADER = "x-slipway-admin"
_RESTRICTED = "model-repository,shared-memory,logging,trace"
_OURS = ("SLIPWAY_NETWORK_PLACEMENT", "SLIPWAY_TRACE_INPUTS", "SLIPWAY_PREDICTIONS")
_KEPT = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", *_OURS)
#: One thread per instance: instances are the unit of parallelism, and a thread pool in each only makes them wait.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class TritonConfig:
    """One Triton server. ``admin_key`` opens the restricted APIs; ``exit_timeout``: seconds."""

    triton: TritonInstallation
    repository: Path
    backends: Path
    shm_prefix: str
    http_port: int
    grpc_port: int
    metrics_port: int
    host: str = "127.0.0.1"
    exit_timeout: int = 10
    admin_key: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)


def command(config: TritonConfig) -> tuple[list[str], dict[str, str]]:
    """``(argv, environment)`` that start Triton for ``config``."""
    return [str(config.triton.server), *_flags(config)], _environment(config)


def _flags(config: TritonConfig) -> list[str]:
    restricted = f"{_RESTRICTED}:{ADMIN_HEADER}={config.admin_key}"
    values = {
        "model-repository": config.repository,
        "backend-directory": config.backends,
        "cache-directory": config.triton.caches,
        "model-control-mode": "explicit",
        "exit-on-error": "false",
        "strict-readiness": "true",
        "exit-timeout-secs": config.exit_timeout,
        "http-address": config.host,
        "http-port": config.http_port,
        "grpc-address": config.host,
        "grpc-port": config.grpc_port,
        "metrics-address": config.host,
        "metrics-port": config.metrics_port,
        "allow-gpu-metrics": "false",
        "http-restricted-api": restricted,
        "grpc-restricted-protocol": restricted,
        # The request id reaches the model as a request parameter, and from there its log lines.
        "http-header-forward-pattern": "(?i)(x-request-id|x-slipway-record)",
        "grpc-header-forward-pattern": "(?i)(x-request-id|x-slipway-record)",
        "log-format": "ISO8601",
        # No GPU here: asking for pinned memory only logs an error.
        "pinned-memory-pool-byte-size": 0,
    }
    # Published configurations are complete; completing them would start every stub twice, which doubles a load's time.
    flags = [f"--{name}={value}" for name, value in values.items()]
    return [*flags, "--disable-auto-complete-config", *_python_backend_flags(config)]


def _python_backend_flags(config: TritonConfig) -> list[str]:
    # These reach the python-based backends too; under their own names they are ignored (2.51).
    return [f"--backend-config=python,shm-region-prefix-name={config.shm_prefix}"]


def _environment(config: TritonConfig) -> dict[str, str]:
    """Nothing is inherited but what ``_KEPT`` names. No PYTHON* variable: the stub's Python ignores them (2.51)."""
    triton = config.triton
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # The stub's embedded interpreter finds its prefix through the first python3 on PATH.
    environment["PATH"] = f"{triton.environment / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    libraries = [triton.libraries, *([triton.libpython_folder] if triton.libpython_folder else [])]
    environment["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
    return environment | dict.fromkeys(_THREAD_VARIABLES, "1")
