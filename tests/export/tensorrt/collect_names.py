"""Writes names.json: the public names that real TensorRT bindings and CUDA driver bindings have, by version.

    python -m pip download --no-deps -d WHEELS tensorrt-bindings==8.6.1 cuda-bindings==13.5.0
    python -m pip download --no-deps -d WHEELS tensorrt_cu13_bindings==10.16.1.11   # and ==11.4.0.106
    python -m tests.export.tensorrt.collect_names WHEELS/*.whl > tests/export/tensorrt/names.json

The bindings are imported in a process each, with empty libraries in the place of libnvinfer, which the wheels do not
carry: enough to list names with `dir()`, and nothing can be run. It needs gcc, and Python 3.11 for these wheels. Only
names are kept; the wheels are proprietary and are not to be passed on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CLASSES = [
    "Builder",
    "BuilderFlag",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITimingCache",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "Runtime",
    "TacticSource",
]
SYMBOLS = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
]
LIST = """
import json, sys
import tensorrt_bindings as trt
names = {"": sorted(name for name in dir(trt) if name[0] != "_" or name == "__version__")}
for name in json.loads(sys.argv[1]):
    if hasattr(trt, name):
        names[name] = sorted(item for item in dir(getattr(trt, name)) if item[0] != "_")
print(json.dumps({trt.__version__: names}))
"""


def bindings(wheel: Path, folder: Path) -> dict[str, dict[str, list[str]]]:
    """Names of the module (under an empty key) and of its classes, by version."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    major = re.search(r"-(\d+)\.", wheel.name)[1]
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS), encoding="utf-8")
    for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin", "nvparsers"):
        library = f"lib{name}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", "-o", folder / library, f"-Wl,-soname,{library}", source]
        subprocess.run(command, check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", LIST, json.dumps(CLASSES)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)


def driver_functions(wheel: Path) -> list[str]:
    """Functions that the CUDA driver's bindings look up in libcuda by name."""
    found: set[str] = set()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                found.update(match.decode() for match in re.findall(rb"\0(cu[A-Z]\w+)(?=\0)", archive.read(name)))
    return sorted(found)


def main(wheels: list[str]) -> None:
    """Prints the JSON."""
    versions: dict[str, object] = {}
    functions: list[str] = []
    for wheel in map(Path, wheels):
        if wheel.name.startswith("cuda_bindings"):
            functions = driver_functions(wheel)
        else:
            with tempfile.TemporaryDirectory() as folder:
                versions |= bindings(wheel, Path(folder))
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from export.tensorrt.runner.cuda import FUNCTIONS

    # of thousands, those that are used: what is not there is missing from the list, and the test says so
    used = [name for name in functions if name in FUNCTIONS]
    sys.stdout.write(json.dumps({"tensorrt": versions, "cuda": used}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
