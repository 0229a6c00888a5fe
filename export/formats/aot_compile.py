"""A program of its own: compiles a ``torch.export`` program to native code. ``aot_compile.py PROGRAM.pt2 PACKAGE.pt2``.

Apart from the exporting process because inductor keeps caches, precompiled headers and settings for as long as a
process lives, under a directory that it chooses while it is imported. It imports nothing of this project.
"""

from __future__ import annotations

import sys
from typing import Any

#: ``freezing`` folds weights into the code, as TorchScript's does. Without dynamic threads the number of this machine's
#: cores would be compiled in, whatever the session asks for. Precompiled headers would be used once: a third more time.
SETTINGS: dict[str, Any] = {
    "freezing": True,
    "cpp.dynamic_threads": True,
    "aot_inductor.package": True,
    "aot_inductor.precompile_headers": False,
    "cpp_cache_precompile_headers": False,
}


def compile_program(program: str, package: str) -> None:
    """Reads one, writes the other. The C++ sources are left out of it: they hold this machine's paths, and nothing
    reads them."""
    import torch
    from torch._inductor.package.package import package_aoti

    exported = torch.export.load(program)
    arguments, keywords = exported.example_inputs
    with torch.no_grad():
        module = exported.module(check_guards=False)
        files: Any = torch._inductor.aot_compile(module, arguments, keywords, options=SETTINGS)
    package_aoti(package, [name for name in files if not (isinstance(name, str) and name.endswith(".cpp"))])


if __name__ == "__main__":
    compile_program(*sys.argv[1:])
