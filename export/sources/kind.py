"""What a model file is, by its content where the format has a mark, and the digest that identifies it."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path, PurePosixPath
from typing import Literal

from slipway.files import sha256_file

#: ``weights``: whatever is no whole network: a state_dict, or a pickled object.
Kind = Literal["onnx", "torchscript", "torch-export", "weights"]

#: What to call each in a message.
WORDS: dict[Kind, str] = {
    "onnx": "an ONNX file",
    "torchscript": "a TorchScript archive",
    "torch-export": "a torch.export archive",
    "weights": "neither a TorchScript nor a torch.export archive",
}


def kind_of(path: Path) -> Kind:
    """ONNX files have no mark and are told by their suffix; the others by the entries of their zip archive.

    TorchScript keeps its code under ``<name>/code/`` beside ``constants.pkl`` (torch/csrc/jit/serialization);
    torch.export writes ``archive_format`` and ``models/`` (torch/export/pt2_archive/constants.py).
    """
    if path.suffix == ".onnx":
        return "onnx"
    entries = _entries(path)
    names = {PurePosixPath(name).name for name in entries}
    if "archive_format" in names and any("models/" in name for name in entries):
        return "torch-export"
    if "constants.pkl" in names and any("/code/" in name for name in entries):
        return "torchscript"
    return "weights"


def _entries(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return []


def file_digest(path: Path) -> str:
    """sha256 (hex) of the model's bytes: the file, and for ONNX the files that hold its external tensors."""
    own = sha256_file(path)
    outside = external_files(path) if path.suffix == ".onnx" else []
    if not outside:
        return own
    digest = hashlib.sha256(own.encode())
    for file in outside:
        digest.update(f"\0{file.name}\0{sha256_file(file)}".encode())
    return digest.hexdigest()


def external_files(path: Path) -> list[Path]:
    """Files beside an ONNX file that hold its tensors; empty for a self-contained or an unreadable one."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (DecodeError, OSError, ValueError):
        return []  # whoever loads it says what is wrong
    constants = (attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t"))
    tensors = (tensor for tensor in (*graph.initializer, *constants) if uses_external_data(tensor))
    names = {ExternalDataInfo(tensor).location for tensor in tensors}
    return [file for name in sorted(names) if (file := path.parent / name).is_file()]
