"""Where in the source a node was written, as ``package/file.py:12 in forward``: the same on every machine."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterable
from pathlib import Path

#: A frame as Python prints it, in torch's ``stack_trace`` texts.
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
#: Packages whose frames say how something is computed, not who asked for it.
_MACHINERY = ("torch", "onnxscript")
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]

Frame = tuple[str, int, str]


def place(file: str, line: int, function: str) -> str:
    """One frame without this machine's path: the file from its outermost package on (``torchvision/models/resnet.py``),
    its bare name where it lies in no package, or is not on this machine."""
    return f"{_portable(Path(file))}:{line} in {function}"


def place_of_trace(trace: str) -> str | None:
    """The innermost frame of a printed stack that is not torch's own: the line that a person wrote."""
    return innermost((found["file"], int(found["line"]), found["function"]) for found in _FRAME.finditer(trace))


def innermost(frames: Iterable[Frame]) -> str | None:
    """The place of the last frame, outermost first, that is not :func:`is_machinery`."""
    mine = [frame for frame in frames if not is_machinery(frame[0])]
    return place(*mine[-1]) if mine else None


def is_machinery(file: str) -> bool:
    """Whether a frame belongs to torch, its ONNX exporter, the standard library or no file at all (``<string>``)."""
    if file.startswith("<") or (file.startswith(_STANDARD_LIBRARY) and "-packages" not in file):
        return True
    return any(f"/{name}/" in Path(file).as_posix() for name in _MACHINERY)


def _portable(path: Path) -> str:
    root = path.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    return path.relative_to(root).as_posix()
