"""Models with several networks: every one is exported and judged alone, on what it is really asked, and then all of
them together, in whole answers.

What a network is really asked is recorded while the trained model answers the held-out images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export import sources
from export.formats.origin import check_formats
from export.gates.answers import judge_answers
from export.gates.base import GateResult, Reference
from export.golden import Golden, choose_golden_answer
from export.making import Collection, Maker
from export.publication import NetworkFiles
from export.triton_config import NetworkTensors
from export.whole import Recording, Whole
from export.wrap import eager_network, wrap
from handlers.calls import Call, InProcess, flipped
from slipway.contract import ATTRIBUTES, ONLY, Contract
from slipway.errors import SamplesInvalid

if TYPE_CHECKING:
    from export.formats.base import Artifact
    from export.images import HeldOut
    from export.sources import LoadedModel
    from export.steps import Steps
    from export.wrap import NormalisedNetwork
    from handlers.calls import RunNetwork
    from slipway.settings import Settings
    from slipway.spec import ModelSpec

#: Real inputs of a network that it is judged on, at most.
_MOST_INPUTS = 64


@dataclass(frozen=True)
class Member:
    """One of the networks. ``name``: the contract's; ``short``: in names of models and files; ``contract``: of this
    network alone; ``sizes``: heights and widths that it must take, the first for examples."""

    name: str
    short: str
    spec: ModelSpec
    contract: Contract
    sizes: tuple[tuple[int, int], ...]
    loaded: LoadedModel
    module: NormalisedNetwork

    @property
    def model(self) -> str:
        """Before the dot and the format in the repository."""
        return self.spec.model

    def label(self, format_name: str) -> str:
        """What its results are filed under."""
        return f"{self.short}.{format_name}" if self.short else format_name


@dataclass(frozen=True)
class Several:
    """Everything that became of one run. ``artifacts``: filed under their labels; ``golden``: None after a failure."""

    whole: Whole
    networks: tuple[NetworkFiles, ...]
    artifacts: list[Artifact]
    results: list[GateResult]
    golden: Golden | None
    notes: dict[str, Any] = field(default_factory=dict)


def load_members(spec: ModelSpec, contract: Contract, settings: Settings) -> list[Member]:
    """Loads every trained network. Raises what export.sources.load raises."""
    return [_member(spec, contract, name, settings) for name in contract.networks()]


def describe(members: Sequence[Member]) -> str:
    """One line for people."""
    return "; ".join(f"{member.short or ONLY}: {member.loaded.description}" for member in members)


def _member(spec: ModelSpec, contract: Contract, name: str, settings: Settings) -> Member:
    own, alone, sizes = _of(spec, contract, name)
    height, width = sizes[0]
    loaded = sources.load(
        own.one_source,
        settings.root,
        alone.classes,
        settings.cache_dir,
        input_size=(height, width),
        activation=alone.postprocess.activation,
    )
    check_formats(loaded.module, own.formats)
    module = wrap(loaded.module, alone.normalise)
    short = own.model.removeprefix(spec.model).removeprefix(".")
    return Member(name, short, own, alone, sizes, loaded, module)


def _of(spec: ModelSpec, contract: Contract, name: str) -> tuple[ModelSpec, Contract, tuple[tuple[int, int], ...]]:
    """The specification and the contract of one network alone, and the sizes that it must take."""
    changes: dict[str, Any] = {"networks": {}, "attributes": {}}
    if name == ONLY:
        size = (contract.preprocess.height, contract.preprocess.width)
        return spec.model_copy(update=changes), replace(contract, attributes=()), (size,)
    short = name.removeprefix(f"{ATTRIBUTES}/")
    item = spec.attributes[short] if name != short else spec.networks[short]
    formats, serve = item.exported(spec.formats, spec.serve)
    changes |= {"model": f"{spec.model}.{short}", "source": item.source, "normalise": item.normalise}
    own = spec.model_copy(update={**changes, "formats": formats, "serve": serve})
    if name != short:
        alone = next(one.contract for one in contract.attributes if one.name == short)
        return own, alone, ((alone.preprocess.height, alone.preprocess.width),)
    part = next(one for one in contract.parts if one.name == short)
    sizes = spec.networks[short].sizes
    seen = replace(contract.preprocess, height=sizes[0][0], width=sizes[0][1])  # what its examples look like
    alone = replace(
        contract, parts=(part,), attributes=(), network=part.network, normalise=part.normalise, preprocess=seen
    )
    return own, alone, tuple(sizes)


def make_several(
    spec: ModelSpec,
    settings: Settings,
    contract: Contract,
    held_out: HeldOut,
    members: Sequence[Member],
    folder: Path,
    log_dir: Path,
    steps: Steps,
) -> Several:
    """Exports and judges. Raises what making a format raises, and SamplesInvalid for a network that no held-out image
    reaches."""
    runs = {member.name: eager_network(member.module) for member in members}
    recording = Recording(InProcess(runs, contract))
    whole = Whole(contract, spec.gates, held_out, recording)
    with steps.step("answers of the trained model"):
        answered = whole.records
    made = {
        member.name: _make(spec, settings, member, whole, recording, runs[member.name], folder, log_dir, steps)
        for member in members
        if answered
    }
    results = [result for member in members for result in _labelled(member, made[member.name][0].results)]
    if all(result.passed for result in results):
        with steps.step("whole answers"):
            results += _judge_whole(spec, whole, {name: item[0] for name, item in made.items()}, members)
    passed = all(result.passed for result in results)
    served = _networks(whole, {name: item[0] for name, item in made.items()}, members, spec.serve)
    golden = choose_golden_answer(whole, served) if passed else None
    artifacts = [
        replace(artifact, format=member.label(artifact.format))
        for member in members
        for artifact in made[member.name][0].artifacts
    ]
    notes = {f"{section} of {name}": note for name, item in made.items() for section, note in item[0].notes.items()}
    return Several(whole, tuple(item[1] for item in made.values()), artifacts, results, golden, notes)


def _make(
    spec: ModelSpec,
    settings: Settings,
    member: Member,
    whole: Whole,
    recording: Recording,
    run: RunNetwork,
    folder: Path,
    log_dir: Path,
    steps: Steps,
) -> tuple[Collection, NetworkFiles]:
    inputs = _inputs(member, whole.contract, recording.inputs.get(member.name, ()))
    alone = Reference(
        member.contract, spec.gates, whole.held_out, member.module, run, inputs=inputs, sizes=member.sizes[1:]
    )
    own = folder / (member.short or ONLY)
    own.mkdir()
    maker = Maker(member.spec, settings, alone, own, log_dir, steps, member.short)
    made = maker.make_all(member.spec.formats, None, {})
    if member.name == ONLY:
        made.results[:0] = maker.judge_model()
    return made, NetworkFiles(_tensors(member, alone), made.artifacts, inputs[0])


def _inputs(member: Member, contract: Contract, calls: Sequence[Call]) -> NDArray[np.uint8]:
    """uint8[n, H, W, 3]: what the network was asked, spread evenly, at its first size."""
    images = [image for call in calls for image in call.pixels]
    if not images:
        raise SamplesInvalid(
            f"no held-out image reaches the network {member.short}",
            observed=f"{member.contract.model}: nothing was found that it could be asked about",
            expected="held-out images on which the networks before it find something",
            fix="add such images to the directory that `samples` names",
        )
    chosen = [images[row] for row in np.linspace(0, len(images) - 1, min(len(images), _MOST_INPUTS)).astype(int)]
    height, width = member.sizes[0]
    resized = [
        image if image.shape[:2] == (height, width) else np.asarray(Image.fromarray(image).resize((width, height)))
        for image in chosen
    ]
    pixels = np.stack(resized)
    return np.ascontiguousarray(pixels[..., ::-1]) if member.name in flipped(contract) else pixels


def _tensors(member: Member, alone: Reference) -> NetworkTensors:
    """What config.pbtxt says of it. The axis of a list is opened in the artefact; others vary with the input's size."""
    rows = alone.logits.shape[1:]
    example = member.sizes[0]
    output = (-1,) if len(rows) == 1 else rows
    for height, width in member.sizes[1:]:
        pixels = np.stack([np.asarray(Image.fromarray(alone.pixels[0]).resize((width, height)))])
        other = alone.run(pixels).shape[1:]
        output = tuple(one if one == two else -1 for one, two in zip(output, other, strict=True))
    size = (-1 if 1 in alone.free_sides else example[0], -1 if 2 in alone.free_sides else example[1])
    return NetworkTensors(member.model, member.contract.network, size, output, example)


def _labelled(member: Member, results: Sequence[GateResult]) -> list[GateResult]:
    return [replace(result, format=member.label(result.format)) for result in results]


def _judge_whole(
    spec: ModelSpec, whole: Whole, made: Mapping[str, Collection], members: Sequence[Member]
) -> list[GateResult]:
    """Every format of the model: all its networks in it, or in the one that they are served in."""
    return [judge_answers(whole, _networks(whole, made, members, name), name) for name in spec.formats]


def _networks(whole: Whole, made: Mapping[str, Collection], members: Sequence[Member], format_name: str) -> InProcess:
    runs = {}
    for member in members:
        opened = {candidate.format: candidate for candidate in made[member.name].candidates}
        chosen = opened.get(format_name) or opened[member.spec.serve]
        runs[member.name] = _lazily(chosen)
    return InProcess(runs, whole.contract)


def _lazily(candidate: Any) -> RunNetwork:
    """Opened when it is first asked: a format that does not open has been refused before."""

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = candidate.run(pixels)
        return output

    return run
