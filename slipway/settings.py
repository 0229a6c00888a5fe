"""Settings of this machine: from ``config/environments/<name>.yaml``, overridden by ``SLIPWAY_*`` variables.

``SLIPWAY_ENVIRONMENT`` names the file (``local`` unless set; a missing ``local.yaml`` means defaults).
Every field can be set by its upper-case name, for example ``SLIPWAY_HTTP_PORT=9000``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from slipway.errors import SettingsInvalid
from slipway.servers import ServerAddress, parse_servers
from slipway.yaml_file import YamlFile

PREFIX = "SLIPWAY_"
#: Variables with the prefix that are not fields: they choose the file, or speak to another process.
_NOT_FIELDS = {"SLIPWAY_ENVIRONMENT", "SLIPWAY_NETWORK_PLACEMENT", "SLIPWAY_TRACE_INPUTS", "SLIPWAY_PREDICTIONS"}


class Settings(BaseModel):
    """Where things are and how they are served on this machine. Relative paths are relative to ``root``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path = Field(description="the project: holds config/models")
    repository: Path = Field(default=Path("model_repository"), description="the versioned model repository")
    engine: Literal["triton", "torchserve"] = Field(default="triton", description="the model server that answers")
    state_dir: Path = Field(default=Path(".slipway/run"), description="state, logs and generated files of servers")
    cache_dir: Path = Field(default=Path("var/cache"), description="downloaded weights")
    triton_env: Path = Field(default=Path(".venv-triton"), description="the virtual environment of the embedded Triton")
    host: str = Field(default="127.0.0.1", description="address of the edge; loopback unless told otherwise")
    http_port: int = Field(default=8000, ge=1, le=65535, description="edge: V2 HTTP and gRPC")
    grpc_port: int = Field(default=8001, ge=1, le=65535, description="edge: gRPC")
    max_request_bytes: int = Field(default=32 << 20, ge=1 << 10, description="bytes of one request body")
    drain_seconds: float = Field(default=30.0, gt=0, description="how long a stop waits for accepted requests")
    start_seconds: float = Field(default=120.0, gt=0, description="how long a start may take until ready")
    database_url: str | None = Field(
        default=None, description="PostgreSQL of exposures and outcomes; the embedded one unless set"
    )
    load_previous: bool = Field(default=True, description="keep the previous version loaded, for a warm rollback")
    servers: tuple[str, ...] = Field(
        default=(),
        description="other servers with a copy of this repository, which share the traffic: a list (by comma in the "
        "environment) of HOST:HTTP_PORT:GRPC_PORT of their edges",
    )

    @field_validator("servers", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """The environment has no lists."""
        return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("servers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_servers(value)
        return value

    @model_validator(mode="after")
    def _absolute(self) -> Settings:
        for name in ("repository", "state_dir", "cache_dir", "triton_env"):
            # frozen: set past pydantic, once, while the object is being made
            object.__setattr__(self, name, self.root / getattr(self, name))
        if self.http_port == self.grpc_port:
            raise ValueError("http_port and grpc_port are the same; the first takes gRPC too, choose another second")
        return self

    @property
    def models_dir(self) -> Path:
        """Where the model specifications lie: one YAML file per public model."""
        return self.root / "config" / "models"

    @property
    def server_addresses(self) -> tuple[ServerAddress, ...]:
        """The other servers of the fleet."""
        return parse_servers(self.servers)

    @property
    def ports_are_explicit(self) -> bool:
        """Whether a person chose the edge's ports; then a taken one is an error, not a reason to take another."""
        return bool({"http_port", "grpc_port"} & self.model_fields_set)

    @property
    def engine_is_explicit(self) -> bool:
        """Whether a person chose the engine; else one that runs already is as good as the default."""
        return "engine" in self.model_fields_set

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Reads file and environment; raises SettingsInvalid with the place of the mistake."""
        environ = os.environ if environ is None else environ
        root = Path(environ["SLIPWAY_ROOT"]).absolute() if "SLIPWAY_ROOT" in environ else find_root(Path.cwd())
        values: dict[str, object] = {"root": root}
        name = environ.get("SLIPWAY_ENVIRONMENT", "local")
        path = root / "config" / "environments" / f"{name}.yaml"
        file = YamlFile(path, SettingsInvalid) if path.exists() or name != "local" else None
        if file is not None:
            values |= file.values
        values |= _from_environment(environ)
        try:
            return cls.model_validate(values)
        except ValidationError as problem:
            raise _refused(problem, file, environ) from problem


def find_root(start: Path) -> Path:
    """The nearest folder at or above ``start`` that holds ``config/models``; else the folder of this package."""
    for folder in (start, *start.parents):
        if (folder / "config" / "models").is_dir():
            return folder
    return Path(__file__).resolve().parent.parent


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in _NOT_FIELDS or name == "SLIPWAY_ROOT":
            continue
        key = name[len(PREFIX) :].lower()
        if key not in Settings.model_fields:
            known = ", ".join(PREFIX + field.upper() for field in Settings.model_fields)
            raise SettingsInvalid(f"{name}: unknown setting", expected=known, fix=f"unset {name} or correct its name")
        values[key] = value
    return values


def _refused(problem: ValidationError, file: YamlFile | None, environ: Mapping[str, str]) -> Exception:
    item = problem.errors()[0]
    variable = PREFIX + str(item["loc"][0]).upper() if item["loc"] else "SLIPWAY_HTTP_PORT"
    if file is not None and variable not in environ:
        return file.refuse(problem, Settings)
    return SettingsInvalid(f"{variable}: {item['msg']}", observed=item["input"], fix=f"correct or unset {variable}")
