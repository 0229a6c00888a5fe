"""`slipway deploy`: everything from the sample's weights to a first answer; each part is skipped where it is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.cli.context import load_settings, load_spec, open_repository
from slipway.cli.export import run
from slipway.cli.options import AsJson, Engine, SpecName
from slipway.cli.output import Steps, print_json, print_line, print_table
from slipway.cli.versions import move_pointer
from slipway.errors import SampleUnavailable

if TYPE_CHECKING:
    from export.run import ExportResult
    from serving.client import Answer
    from serving.state import State
    from slipway.settings import Settings
    from slipway.spec import ModelSpec

#: What else can ask, by engine.
_CLIENTS = {
    "triton": "any KServe V2 client: http://{http} (HTTP and gRPC)",
    "torchserve": "curl -T {image} http://{http}/predictions/{model} (gRPC on the same port)",
}
#: Lines of the first answer after its first one.
_MOST_LINES = 5
_IMAGES = ("*.png", "*.jpg", "*.jpeg", "*.webp", "*.bmp", "*.gif")


def deploy(
    model: SpecName,
    served_format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="Serve this format, exported beside the others.")
    ] = None,
    engine: Engine = None,
    as_json: AsJson = False,
) -> None:
    """Sample weights where they are ours, export, gates, publish, serve, promote, and a first answer."""
    from serving import control

    settings, steps = load_settings(engine and engine.value), Steps()
    spec = load_spec(model, settings)
    if served_format is not None:
        spec = spec.served_as(served_format)
    results = []
    for changes in _trainings(settings, model, steps):
        title = " ".join(["export", model, *changes])
        results.append(run(settings, spec.changed(changes), title, steps, quiet=as_json))
    with steps.step("serve"):
        state = control.start_detached(settings, progress=steps.say)
    with steps.step("promote"):
        _promote(settings, model, results)
    image = _first_image(settings, spec)
    with steps.step("first answer"):
        answer = _answer(model, image, state)
    if as_json:
        first = {"image": str(image), "version": answer.version, **answer.predictions[0].to_dict()}
        values = {"model": model, "engine": state.engine["name"], "edge": state.edge}
        print_json({**values, "first_answer": first, "seconds": steps.seconds})
    else:
        _print_answer(model, image, answer)
        print_table("Where the time went", ["step", "seconds"], [(k, f"{v:.1f}") for k, v in steps.seconds.items()])
        _how_to_go_on(model, image, state)


def _trainings(settings: Settings, model: str, steps: Steps) -> list[list[str]]:
    """The changes of the spec for each version to publish: a sample brings its trainings, a user's model is one."""
    from samples import registry

    sample = registry.for_model(model)
    if sample is None:
        return [[]]
    with steps.step(f"sample {sample.name}"):
        registry.prepare(sample.name, settings, progress=steps.tell)
    return [list(changes) for changes in sample.trainings.get(model, ((),))]


def _promote(settings: Settings, model: str, results: list[ExportResult]) -> None:
    """What was published now becomes stable; where nothing was, the pointer stays, so a rollback is not undone."""
    new = [result.version for result in results if result.published and result.version is not None]
    move_pointer(settings, model, new[-1] if new else open_repository(settings).pointer(model).stable)


def _first_image(settings: Settings, spec: ModelSpec) -> Path:
    folder = settings.root / spec.samples
    found = next((path for pattern in _IMAGES for path in sorted(folder.glob(pattern))), None)
    if found is None:
        raise SampleUnavailable(f"{spec.model}: no image to ask about", observed=folder, fix="put real images there")
    return found


def _answer(model: str, image: Path, state: State) -> Answer:
    from serving.client import PredictClient
    from serving.client.address import of_edge

    with PredictClient(of_edge(state.edge, str(state.engine["name"]), "grpc")) as client:
        answer = client.ask(model, [image.read_bytes()])
    if answer.predictions[0].error is not None:
        raise answer.predictions[0].error
    return answer


def _print_answer(model: str, image: Path, answer: Answer) -> None:
    from slipway.cli.records import lines

    first, *rest = lines(answer.predictions[0].values)
    print_line(f"{image.name} -> {first}   (model {model}, version {answer.version})")
    for line in rest[:_MOST_LINES]:
        print_line(f"{' ' * len(image.name)}    {line}")


def _how_to_go_on(model: str, image: Path, state: State) -> None:
    shown = image.relative_to(Path.cwd()) if image.is_relative_to(Path.cwd()) else image
    print_line(f"Next:  .venv/bin/slipway predict {model} {shown}")
    others = _CLIENTS[str(state.engine["name"])].format(http=state.edge["http"], model=model, image=shown)
    print_line(f"       {others}")
    print_line("       `slipway status`, `slipway versions`")
    print_line("       make down stops it")
