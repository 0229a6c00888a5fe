"""config.properties and log4j2.xml of a TorchServe that is closed in on itself.

It listens on loopback only, asks for no tokens (the edge is in front), takes archives from its own store alone,
and keeps no snapshots. Its management port, on loopback, is Slipway's own way of registering versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.torchserve.installation import TorchServeInstallation
from serving.triton.model_config import usable_cores

#: A regular expression that matches nothing: archives are registered by their name in the store, never by URL.
_NO_URL = "(?!)"
#: Environment variables that no worker sees; the launcher hands on none of them, a person's own start might.
SECRETS = "(?i)(aws_|azure_|gcp_|google_).*|.*(secret|token|password|passwd|credential|api_?key|private_?key).*"
_ADDRESSES = ("inference", "management", "metrics")


@dataclass(frozen=True)
class Ports:
    """Loopback ports; ``queue`` is the exporter's of what waits in TorchServe's queues."""

    http: int
    grpc: int
    management: int
    management_grpc: int
    metrics: int
    queue: int


@dataclass(frozen=True)
class TorchServeConfig:
    """One TorchServe server. ``folder``: its own; ``temporary``: TMPDIR of java and workers, swept at every start.

    ``load_models``: archives in the store that are loaded at start, the default version of each model first; empty
    where a supervisor registers them. ``max_request_bytes``: of one body; ``queue``: requests that may wait per model
    version; ``response_timeout``: seconds that a worker may take for a batch before it is replaced.
    """

    installation: TorchServeInstallation
    folder: Path
    temporary: Path
    ports: Ports
    host: str = "127.0.0.1"
    load_models: tuple[str, ...] = ()
    max_request_bytes: int = 32 << 20
    max_response_bytes: int = 32 << 20
    queue: int = 100
    response_timeout: int = 120
    startup_timeout: int = 120
    heap_megabytes: int = 1024
    cores: int = field(default_factory=usable_cores)

    @property
    def store(self) -> Path:
        """Where the archives lie."""
        return self.folder / "store"

    @property
    def properties_file(self) -> Path:
        """What java reads its configuration from."""
        return self.folder / "config.properties"

    @property
    def log_config(self) -> Path:
        """What java reads its log levels from."""
        return self.folder / "log4j2.xml"


def properties(config: TorchServeConfig) -> dict[str, str]:
    """The keys of config.properties (TorchServe 0.12, ConfigManager)."""
    host, ports = config.host, config.ports
    addresses = dict(zip(_ADDRESSES, (ports.http, ports.management, ports.metrics), strict=True))
    values: dict[str, object] = {f"{name}_address": f"http://{host}:{port}" for name, port in addresses.items()}
    values |= {
        "grpc_inference_address": host,
        "grpc_inference_port": ports.grpc,
        "grpc_management_address": host,
        "grpc_management_port": ports.management_grpc,
        "model_store": config.store,
        "load_models": ",".join(config.load_models),
        "allowed_urls": _NO_URL,
        "use_env_allowed_urls": "false",
        "disable_token_authorization": "true",
        "enable_model_api": "true",
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "blacklist_env_vars": SECRETS,
        # our handlers read bodies themselves; a worker's own JSON parser would log each that it cannot parse
        "decode_input_request": "false",
        "default_workers_per_model": config.cores,
        "default_response_timeout": config.response_timeout,
        "default_startup_timeout": config.startup_timeout,
        "unregister_model_timeout": 30,
        "job_queue_size": config.queue,
        "max_request_size": config.max_request_bytes,
        # a larger answer would cost its worker (0.12)
        "max_response_size": config.max_response_bytes,
        "number_of_gpu": 0,
        "metrics_mode": "prometheus",
        "enable_metrics_api": "true",
        "disable_system_metrics": "true",
        "async_logging": "true",
    }
    return {name: str(value) for name, value in values.items() if value != ""}


def properties_text(values: Mapping[str, str]) -> str:
    """Java's properties format, which is Latin-1 with escapes."""
    return "".join(f"{name}={_escaped(value)}\n" for name, value in values.items())


def _escaped(value: str) -> str:
    text = value.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(text[at : at + 2], "big") for at in range(0, len(text), 2)]
    return "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for unit in units)


#: One line per event, ``LEVEL|thread|logger|message``: what serving.torchserve.log_lines reads. The default would write
#: a kilobyte per request. MODEL_LOG is what workers print; its thread names the model and version.
LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="warn">
  <Appenders>
    <Console name="out" target="SYSTEM_OUT">
      <PatternLayout charset="UTF-8" pattern="%p|%t|%c{1}|%m%notEmpty{ %ex{short.message}}%n" alwaysWriteExceptions="false"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="MODEL_LOG" level="info" additivity="false">
      <RegexFilter regex="(Backend received inference at|Connection accepted|Listening on|s_name_part0|Torch worker started|Python runtime|model_name: |\\[PID\\]|Successfully loaded|Frontend disconnected|Enabled tensor cores|OpenVINO is not enabled|proceeding without).*" onMatch="DENY" onMismatch="NEUTRAL" useRawMsg="true"/>
      <AppenderRef ref="out"/>
    </Logger>
    <Logger name="ACCESS_LOG" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
    <Logger name="TS_METRICS" level="off"/>
    <Logger name="TELEMETRY_METRICS" level="off"/>
    <Logger name="io.netty" level="error"/>
    <Logger name="org.apache" level="off"/>
    <Logger name="org.pytorch.serve" level="warn"/>
    <Root level="warn"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
"""  # noqa: E501
