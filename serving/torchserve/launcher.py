"""The command line and the environment that start TorchServe: java directly, without the ``torchserve`` wrapper.

The wrapper always exits with 0, and a SIGTERM ends it alone while java goes on serving (0.12).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from serving.torchserve.config import LOG4J, TorchServeConfig, properties, properties_text
from serving.torchserve.private_folder import make_private
from slipway.files import write_atomically

_MAIN = "org.pytorch.serve.ModelServer"
_KEPT = ("HOME", "LANG", "LC_ALL", "TZ", "SLIPWAY_TRACE_INPUTS", "SLIPWAY_PREDICTIONS")
#: One thread per worker: workers are the unit of parallelism.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def prepare(config: TorchServeConfig) -> None:
    """Makes the folders, empties the temporary one and writes the configuration. Raises ServerStartFailed when that one
    is somebody else's.

    Workers that stop leave unpacked archives and compiled programs in TMPDIR (0.12; AOTInductor 95 MB each)."""
    shutil.rmtree(config.temporary, ignore_errors=True)
    make_private(config.temporary)
    for folder in (config.store, workflows(config), working_directory(config)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(config.properties_file, properties_text(properties(config)))
    write_atomically(config.log_config, LOG4J)


def command(config: TorchServeConfig) -> tuple[list[str], dict[str, str]]:
    """``(argv, environment)`` that start TorchServe for ``config``, after :func:`prepare`."""
    installation = config.installation
    argv = [
        str(installation.java.path),
        f"-Dmodel_server_home={installation.home}",
        f"-Djava.io.tmpdir={config.temporary}",
        f"-Dlog4j.configurationFile=file://{config.log_config}",
        f"-Xmx{config.heap_megabytes}m",
        # a server without memory answers nobody and stays; one that ends is started again
        "-XX:+ExitOnOutOfMemoryError",
        # it copies bytes between sockets: an optimising compiler and a concurrent collector cost the workers' cores
        # more than they save (detection on two cores: 72 to 78 % of in process over gRPC, 75 to 86 % over HTTP)
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-cp",
        installation.class_path,
        _MAIN,
        "--python",
        str(installation.python),
        "--ts-config-file",
        str(config.properties_file),
        "--model-store",
        str(config.store),
        # workflows can be registered although the model API is off (0.12): an empty store, and blocked at the edge
        "--workflow-store",
        str(workflows(config)),
        "--no-config-snapshot",
        "--disable-token-auth",
        "--enable-model-api",
    ]
    return argv, _environment(config)


def working_directory(config: TorchServeConfig) -> Path:
    """Where java runs: it writes key_file.json into its working directory when tokens are on."""
    return config.folder / "empty"


def workflows(config: TorchServeConfig) -> Path:
    """An empty workflow store."""
    return config.folder / "workflows"


def _environment(config: TorchServeConfig) -> dict[str, str]:
    """Nothing is inherited but what ``_KEPT`` names: workers get java's whole environment."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {name: str(config.temporary) for name in ("TMPDIR", "TEMP", "LOG_LOCATION", "METRICS_LOCATION")}
    environment["PATH"] = f"{config.installation.python.parent}:/usr/local/bin:/usr/bin:/bin"
    environment["PYTHONNOUSERSITE"] = "1"
    return environment | dict.fromkeys(_THREAD_VARIABLES, "1")
