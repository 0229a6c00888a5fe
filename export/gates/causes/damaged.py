"""Artefacts that are not what was exported: truncated, exchanged, or of another ONNX opset than they say."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from slipway.files import sha256_file

if TYPE_CHECKING:
    from export.formats.base import Artifact

#: Protobuf wire types (protobuf.dev, "Encoding"): what follows a tag.
_VARINT, _LENGTH_DELIMITED, _FIXED = 0, 2, {1: 8, 5: 4}
#: Field 7 of onnx.ModelProto is its graph, field 8 an opset_import.
_FIELDS = {7: "graph", 8: "opset_import"}
#: A constant of an OpenVINO IR: where its bytes lie in the .bin file.
_IR_CONSTANT = re.compile(r'offset="(\d+)"[^>]*?size="(\d+)"|size="(\d+)"[^>]*?offset="(\d+)"')


def recorded_facts(artifact: Artifact) -> dict[str, Any]:
    """What the file itself says: ``sha256``, and ``opset`` where it is an ONNX file that can be read."""
    if not artifact.path.is_file():
        return {}
    opset = _opset(artifact.path) if artifact.path.suffix == ".onnx" else None
    return {"sha256": sha256_file(artifact.path), **({} if opset is None else {"opset": opset})}


def contradiction(artifact: Artifact, facts: dict[str, Any]) -> str | None:
    """How ``facts`` contradict the artefact's ``details``: another ``sha256`` or another ``opset`` than recorded."""
    name, recorded, asked = artifact.path.name, artifact.details.get("sha256"), artifact.details.get("opset")
    if recorded is not None and facts.get("sha256", recorded) != recorded:
        return (
            f"{name} is not the file that was exported: its sha256 is {facts['sha256'][:12]}, the recorded one "
            f"{str(recorded)[:12]} (a stale or exchanged file)"
        )
    if asked is not None and facts.get("opset", asked) != asked:
        return f"the opset was changed silently: {name} is of opset {facts['opset']}, asked for was {asked}"
    return None


def explain_unreadable(artifact: Artifact) -> str | None:
    """Why a file cannot be opened, from its bytes alone; None when they look whole."""
    path = artifact.path
    if not path.is_file():
        return "there is no such file"
    if not path.stat().st_size:
        return "the file is empty"
    explain = {".onnx": _short_protobuf, ".pt": _short_zip, ".pt2": _short_zip, ".xml": _short_ir}.get(path.suffix)
    return explain(path) if explain else None


def _opset(path: Path) -> int | None:
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's own errors: opening it reports them
        return None
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)


def _short_protobuf(path: Path) -> str | None:
    """Walks the top level of the message: a field that would end behind the file shows that it was cut."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        while stream.tell() < size:
            tag = _varint(stream)
            kind = None if tag is None else tag & 7
            if kind == _LENGTH_DELIMITED:
                length = _varint(stream)
                end = None if length is None else stream.tell() + length
            elif kind == _VARINT:
                end = None if _varint(stream) is None else stream.tell()
            elif kind in _FIXED:
                end = stream.tell() + _FIXED[kind]
            else:
                return "it is no protobuf message, so no ONNX file"
            if end is None or end > size:
                field = _FIELDS.get((tag or 0) >> 3, "last field")
                needed = f"needs {end:,} bytes" if end is not None else "is cut"
                return f"the file is truncated: it ends after {size:,} bytes, its {field} {needed}"
            stream.seek(end)
    return None


def _varint(stream: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


def _short_zip(path: Path) -> str | None:
    if zipfile.is_zipfile(path):
        return None
    with path.open("rb") as stream:
        begins = stream.read(4) == b"PK\x03\x04"
    if begins:
        return f"the file is truncated: it ends after {path.stat().st_size:,} bytes, before the archive's directory"
    return "it is no zip archive"


def _short_ir(path: Path) -> str | None:
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.rstrip().endswith("</net>"):
        return f"the file is truncated: it ends after {path.stat().st_size:,} bytes, before its </net>"
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        return f"its weights {weights.name} are not beside it"
    ends = (sum(int(part) for part in found.groups() if part) for found in _IR_CONSTANT.finditer(text))
    needed, size = max(ends, default=0), weights.stat().st_size
    return f"{weights.name} is truncated: it has {size:,} bytes and needs {needed:,}" if needed > size else None
