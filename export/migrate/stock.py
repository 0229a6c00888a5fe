"""TorchServe's stock vision handlers as specifications: their transforms and results are known, read in 0.12.

============================  ===========================================================================
image_classifier              shorter side to 256, centre 224x224, ImageNet's normalisation; softmax, top 5
image_segmenter               the same input; the best class of every pixel
object_detector               pixels / 255 as they come; detections with a score of 0.5 or more
============================  ===========================================================================
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.migrate.archive import Archive
from slipway.errors import ArchiveInvalid, MigrationRefused
from slipway.files import sha256_file, write_atomically

#: ``image_processing`` of ts/torch_handler/image_classifier.py and image_segmenter.py.
_SIDE, _CROP = 256, 224
_IMAGENET: dict[str, Any] = {"scale": 255.0, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_TOP = 5
_THRESHOLD = 0.5
#: Detections of an image at most: ``box_detections_per_img`` of torchvision's detectors.
_PLACES = 100
KINDS = {"image_classifier": "logits", "image_segmenter": "maps", "object_detector": "boxes"}
TASKS = {"image_classifier": "classification", "image_segmenter": "segmentation", "object_detector": "detection"}
#: A zip archive as torch.jit.save writes it: the first entry's header.
_ZIP = b"PK\x03\x04"
#: More labels than these go into a file of their own.
_INLINE = 20
_FACTORY = '''"""Builds the network of {shown}: written by `slipway migrate`, read by `slipway export`."""

from pathlib import Path
from typing import Any

from torch import nn

from export.migrate.networks import build_network


def build(**arguments: Any) -> nn.Module:
    """``arguments``: of the specification."""
    return build_network(Path(__file__).resolve().parent / "files", **arguments)
'''


@dataclass(frozen=True)
class Mapped:
    """``values``: of the specification, for YAML. ``original``: label of the contract -> the name that TorchServe
    answers with, where the contract needed another. ``notes``: what a person should know."""

    task: str
    values: dict[str, Any]
    original: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check_stock(archive: Archive, allow_code: bool) -> None:
    """Whether the archive can be mapped at all. Raises ArchiveInvalid and MigrationRefused."""
    _refuse_compiled(archive)
    if archive.model_file is not None:
        if archive.handler == "object_detector":
            raise MigrationRefused(
                f"{archive.shown}: a detector given as Python code has no form that could be exported",
                observed=f"modelFile {archive.model_file}",
                expected="TorchScript that takes [N, 3, H, W] and returns boxes, labels and scores per image",
                fix="archive it as TorchScript (torch.jit.script), or write a specification with a factory",
            )
        if not allow_code:
            raise MigrationRefused(
                f"{archive.shown}: its network is Python code, {archive.model_file}, which would be run here",
                observed="no --allow-code",
                expected="a TorchScript file, which runs no Python",
                fix=f"read {archive.model_file}; then give --allow-code, or archive the network as TorchScript",
            )
        return
    if archive.serialized is None:
        raise ArchiveInvalid(f"{archive.shown}: it has neither serializedFile nor modelFile", expected="a network")
    _check_script(archive, archive.serialized)


def _refuse_compiled(archive: Archive) -> None:
    """TorchServe 0.12 compiles the network or loads it as a shared library where ``pt2`` says so
    (``BaseHandler.initialize`` of ts/torch_handler/base_handler.py), and opening a library runs its code."""
    if "pt2" in archive.config:
        raise MigrationRefused(
            f"{archive.shown}: its model-config.yaml has the network compiled, or loaded as a library of machine code",
            observed=f"pt2: {str(archive.config['pt2'])[:200]}",
            expected="a model-config.yaml without pt2",
            fix="archive the network as TorchScript without that section; formats are chosen when it is exported here",
        )


def _check_script(archive: Archive, name: str) -> None:
    """TorchServe opens a file by its suffix, and a zip's directory stands at its end: what comes before may be another
    program. So the suffix, the first bytes and the entries must all be TorchScript's."""
    from export.sources.kind import WORDS, kind_of

    path = archive.folder / name
    kind = kind_of(path)
    with path.open("rb") as stream:
        begins = stream.read(len(_ZIP))
    if kind != "torchscript":
        observed = WORDS[kind]
    elif path.suffix != ".pt":
        observed = f"{WORDS[kind]} by its entries, and the suffix {path.suffix or '(none)'}"
    elif begins != _ZIP:
        observed = f"other bytes before its archive: {begins.hex(' ')}"
    else:
        return
    raise MigrationRefused(
        f"{archive.shown}: {archive.handler} cannot run this file in TorchServe either"
        if kind != "torchscript"
        else f"{archive.shown}: its network is not a plain TorchScript file",
        observed=f"{name}, {observed}",
        expected=f"{WORDS['torchscript']} whose name ends in .pt",
        fix="name the file as the source of a specification (docs/spec.md): onnx, torch_export or checkpoint"
        if kind != "torchscript"
        else "save it with torch.jit.save as model.pt and archive it again",
    )


def keep_files(archive: Archive, home: Path) -> None:
    """Copies what the specification's source needs to ``home/files`` and writes ``home/factory.py``."""
    files = home / "files"
    shutil.rmtree(files, ignore_errors=True)
    if archive.model_file is None:
        files.mkdir(parents=True)
        shutil.copyfile(archive.folder / str(archive.serialized), files / str(archive.serialized))
    else:  # the model file may need whatever was archived with it
        shutil.copytree(archive.folder, files, ignore=shutil.ignore_patterns("MAR-INF", "__pycache__"))
    write_atomically(home / "factory.py", _FACTORY.format(shown=archive.shown))


def network_arguments(archive: Archive, labels: Sequence[int] = ()) -> dict[str, Any]:
    """Keyword arguments of export.migrate.networks.build_network."""
    values: dict[str, Any] = {"kind": KINDS[archive.handler]}
    if archive.serialized is not None:
        values |= {"file": archive.serialized, "sha256": sha256_file(archive.folder / archive.serialized)}
    if archive.model_file is not None:
        values["model_file"] = archive.model_file
    if archive.handler == "object_detector":
        values |= {"classes": list(labels), "places": _PLACES}
    return values


def map_stock(archive: Archive, model: str, home: Path, root: Path, size: tuple[int, int] | None) -> Mapped:
    """The specification of an archive with a stock handler; ``home``: holds its files, below ``root``. ``size``: height
    and width of a detector's input. Raises MigrationRefused, ArchiveInvalid, and SourceInvalid for its network."""
    if archive.handler == "object_detector":
        return _detector(archive, model, home, root, size)
    count = _classes(home, archive)
    labels, original, notes = _labels(archive, list(range(count)))
    values = {
        **_head(archive, model, home, root),
        "input": {"height": _CROP, "width": _CROP, "resize": "shorter_side", "resize_to": _SIDE},
        "normalise": _IMAGENET,
        "labels": _labels_section(labels, home, root),
        "gates": {"preprocessing": {"transform": "export.migrate.transforms:imagenet"}},
    }
    if archive.handler == "image_classifier":
        values["postprocess"] = {"activation": "softmax", "top_k": min(_TOP, count)}
    return Mapped(TASKS[archive.handler], values, original, notes)


def _detector(archive: Archive, model: str, home: Path, root: Path, size: tuple[int, int] | None) -> Mapped:
    if archive.mapping is None:
        raise MigrationRefused(
            f"{archive.shown}: a detector's labels are not in the archive",
            observed="no index_to_name.json",
            expected='its classes, {"1": "person", ...}',
            fix="add index_to_name.json to the archive (--extra-files)",
        )
    if size is None:
        raise MigrationRefused(
            f"{archive.shown}: object_detector takes images of any size, a served network has one",
            observed="sample images of different sizes",
            fix="give --input-size HEIGHTxWIDTH: that of most of your images",
        )
    numbers = sorted(archive.mapping)
    labels, original, notes = _labels(archive, numbers)
    values = {
        **_head(archive, model, home, root, numbers),
        "input": {"height": size[0], "width": size[1], "resize": "letterbox"},
        "labels": _labels_section(labels, home, root),
        # the network has suppressed overlaps itself
        "detection": {
            "score_threshold": _THRESHOLD,
            "iou_threshold": 1.0,
            "max_detections": _PLACES,
            "candidates": _PLACES,
            "tile": {"enabled": "never"},
        },
    }
    # the loop over images and the varying number of boxes are TorchScript's: other formats fix them
    return Mapped("detection", {**values, "formats": ["torchscript"], "serve": "torchscript"}, original, notes)


def _head(archive: Archive, model: str, home: Path, root: Path, numbers: Sequence[int] = ()) -> dict[str, Any]:
    place = home.relative_to(root)
    serving: dict[str, Any] = {"max_batch_size": max(8, archive.batch_size)}
    if archive.delay_microseconds:
        serving["queue_delay_microseconds"] = archive.delay_microseconds
    if archive.workers is not None:
        serving["instances"] = archive.workers
    if archive.handler == "image_classifier" and archive.model_file is None:
        file = f"{place.as_posix()}/files/{archive.serialized}"
        digest = sha256_file(archive.folder / str(archive.serialized))
        source: dict[str, Any] = {"torchscript": file, "sha256": digest}
    else:
        arguments = network_arguments(archive, numbers)
        source = {"factory": f"{'.'.join(place.parts)}.factory:build", "arguments": arguments}
    return {
        "model": model,
        "task": TASKS[archive.handler],
        "source": source,
        "formats": ["onnx", "torchscript"],
        "serve": "onnx",
        "serving": serving,
    }


def _classes(home: Path, archive: Archive) -> int:
    """How many classes the network gives: asked with a grey image."""
    import torch

    from export.migrate.networks import build_network

    network = build_network(home / "files", **network_arguments(archive))
    with torch.inference_mode():
        outputs = network(torch.zeros(2, 3, _CROP, _CROP))
    wanted = 2 if archive.handler == "image_classifier" else 4
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != wanted or len(outputs) != 2:
        shape = list(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise MigrationRefused(
            f"{archive.shown}: its network does not answer as {archive.handler} needs it",
            observed=f"{shape} for 2 images of {_CROP}x{_CROP}",
            expected="[2, classes]" if wanted == 2 else "[2, classes, height, width]",
        )
    return int(outputs.shape[1])


def _labels(archive: Archive, numbers: Sequence[int]) -> tuple[list[str], dict[str, str], tuple[str, ...]]:
    """One label per class, all different; which of them TorchServe calls otherwise; and notes about that."""
    mapping = archive.mapping
    names = [str(number) if mapping is None else mapping.get(number, f"class {number}") for number in numbers]
    counted = Counter(names)
    labels = [f"{name} [{number}]" if counted[name] > 1 else name for name, number in zip(names, numbers, strict=True)]
    original = {label: name for label, name in zip(labels, names, strict=True) if label != name}
    notes = []
    if original:
        notes.append(f"labels that stand twice carry their class number: {', '.join(list(original)[:4])}")
    missing = [] if mapping is None else [number for number in numbers if number not in mapping]
    if missing:
        notes.append(f"{len(missing)} classes have no name in index_to_name.json; TorchServe fails when it meets one")
    return labels, original, tuple(notes)


def _labels_section(labels: list[str], home: Path, root: Path) -> Any:
    if len(labels) <= _INLINE:
        return labels
    path = home / "labels.txt"
    write_atomically(path, "\n".join(labels) + "\n")
    return {"file": path.relative_to(root).as_posix()}
