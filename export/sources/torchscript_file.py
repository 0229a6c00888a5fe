"""A TorchScript file as a module.

What loading runs, checked with torch 2.13: ``torch.jit.load`` reads the archive's pickles with its own C++ reader,
which knows TorchScript's types alone ("Unknown type name 'posix.system'"), so no Python code runs. The archive's own
TorchScript does run: ``__setstate__`` on loading, ``forward`` later. That language reaches the machine through three
families of operators, ``aten::save``, ``aten::from_file`` and ``prim::rpc_*``; a file whose code names one of them is
refused before it is loaded. It is still a program: take it from people whom you trust, and pin its sha256.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from export.sources.location import Located
from slipway.errors import SourceInvalid

#: The operators' names wherever they stand in the code, in comments too: between the dot, the name and the bracket
#: TorchScript takes spaces, comments and line ends, so anything finer than the whole word can be written around. A
#: network with a method or variable of such a name is refused with the others.
_REACHING = re.compile(rb"\b(save|from_file|_load_from_file|rpc_\w+)\b")


def load_torchscript(located: Located) -> tuple[nn.Module, str]:
    """The module in eval mode on the CPU, float32, and its description, e.g. ``TorchScript file net.pt``.

    Raises SourceInvalid for a damaged file and for one whose code reads or writes files.
    """
    _refuse_reaching(located)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript as a whole; see export.formats
            module: torch.jit.ScriptModule = torch.jit.load(str(located.path), map_location="cpu")  # type: ignore[no-untyped-call]
        module = module.to("cpu", torch.float32).eval()
    except Exception as problem:  # torch raises RuntimeError, ValueError, OSError and its own kinds for damaged files
        raise SourceInvalid(
            f"{located.shown} is not a readable TorchScript file",
            observed=f"{type(problem).__name__}: {_told(problem)}; {_size(located.path)}",
            expected="a whole file written by torch.jit.save",
        ) from problem
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module, f"TorchScript file {located.shown}"


def _refuse_reaching(located: Located) -> None:
    try:
        with zipfile.ZipFile(located.path) as archive:
            code = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    except (zipfile.BadZipFile, OSError, ValueError) as problem:
        raise SourceInvalid(
            f"{located.shown} is not a readable TorchScript file",
            observed=f"no whole zip archive: {problem}; {_size(located.path)}",
            expected="a whole file written by torch.jit.save",
        ) from problem
    found = sorted({match[1].decode() for text in code.values() for match in _REACHING.finditer(text)})
    if found:
        raise SourceInvalid(
            f"{located.shown} holds code that reaches files or other machines; it is not loaded",
            observed=f"operators {', '.join(found)}",
            expected="a network: tensors in, tensors out",
            fix="remove those calls, or names, from the module and save it again",
        )


def _size(path: Path) -> str:
    return f"the file has {path.stat().st_size} bytes"


def _told(problem: Exception) -> str:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"
