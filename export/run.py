"""The way of an export: source, wrap, formats, gates, evidence, publication; and none of it when nothing changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.identity import checkpoint_digest, export_identity, published_version, with_plans
from export.images import HeldOut, load_held_out
from export.steps import Progress, Steps
from export.workspace import workspace
from handlers.calls import only
from handlers.preprocess import preprocess
from slipway.contract import Contract
from slipway.errors import GateFailed, SpecInvalid
from slipway.repository import Repository
from slipway.settings import Settings
from slipway.spec import NETWORK_FILES, ModelSpec

if TYPE_CHECKING:  # everything that imports torch is imported where it is used: an unchanged model never pays for it
    from export.formats.base import Artifact
    from export.gates.base import GateResult, Reference
    from export.golden import Golden
    from export.making import Collection
    from export.optimise.run import Optimised
    from export.publication import Papers


@dataclass(frozen=True)
class ExportResult:
    """What an export did. ``version``: published or found unchanged, None after a dry run. ``evidence``: content of
    evidence.json (``export.evidence.rows`` makes its table). ``seconds``: by step, in order."""

    model: str
    version: int | None
    published: bool
    unchanged: bool
    evidence: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def formats(self) -> list[dict[str, Any]]:
        """One entry per format: ``format``, ``file``, ``bytes``, ``sha256``, ``seconds``, ``details``."""
        found: list[dict[str, Any]] = self.evidence.get("formats", [])
        return found

    @property
    def gates(self) -> list[dict[str, Any]]:
        """One entry per gate and format, as GateResult.to_dict gives it."""
        found: list[dict[str, Any]] = self.evidence.get("gates", [])
        return found


def export_model(
    spec: ModelSpec,
    settings: Settings,
    *,
    checkpoint: str | Path | None = None,
    dry_run: bool = False,
    plans: Path | None = None,
    progress: Progress = lambda event: None,
) -> ExportResult:
    """Exports one model and publishes it as a new version when every gate of every format passes.

    ``checkpoint`` takes the place of the specification's. With ``dry_run`` everything runs and nothing is published.
    ``plans``: a bundle that a GPU machine ran (export.tensorrt.bundle); its TensorRT plans join the version.
    A version made of the same weights, specification, images, tools and code is returned instead of made again.

    Raises GateFailed (its ``evidence`` holds every number, its ``kept`` names the folder of what failed) and whatever
    the parts raise: SourceInvalid, DownloadFailed, SamplesInvalid, OptimiseFailed, FormatUnavailable, ExportFailed,
    InterfaceChanged, PublishRefused.
    """
    if checkpoint is not None:
        spec = spec.model_copy(update={"source": spec.one_source.with_file(str(checkpoint))})
    return _Export(spec, settings, progress).run(dry_run, plans)


def write_plan_bundle(
    spec: ModelSpec, settings: Settings, out_dir: Path, *, progress: Progress = lambda event: None
) -> Path:
    """Writes the folder that builds, checks and times TensorRT plans on a GPU machine; see export.tensorrt.bundle.

    Raises what loading a model raises, and OutputUnwritable, SpecInvalid (profile), ExportFailed (a graph that TensorRT
    would refuse)."""
    return _Export(spec, settings, progress).bundle(out_dir)


class _Export:
    """One run."""

    def __init__(self, spec: ModelSpec, settings: Settings, progress: Progress) -> None:
        self.spec = spec
        self.settings = settings
        self.repository = Repository(settings.repository)
        self.steps = Steps(progress)

    def run(self, dry_run: bool, plans: Path | None) -> ExportResult:
        self._check_served(dry_run)
        with self.steps.step("compare with published versions"):
            contract = self.spec.contract(self.settings.root)
            held_out = self._held_out(contract)
            known = checkpoint_digest(self.spec, self.settings.root, self.settings.cache_dir)
            identity = self._identity(contract, held_out, known, plans) if known else None
            version = self._unchanged(identity) if identity and not dry_run else None
        if version is not None:
            return self._found(version)
        if plans is not None and identity is not None:
            self._check_plans(plans, identity)
        if not dry_run:
            self.repository.check_writable()
        if len(contract.networks()) > 1:
            return self._several(contract, held_out, identity, dry_run, plans)
        optimised = self._load(contract, held_out)
        if identity is None:
            identity = self._identity(contract, held_out, optimised.loaded.weights, plans)
            if not dry_run and (version := self._unchanged(identity)) is not None:
                return self._found(version)
        with workspace(self.settings.state_dir) as folder:
            reference = self._reference(contract, held_out, optimised)
            made = self._make(reference, folder, plans, identity)
            return self._conclude(reference, optimised, made, identity, folder, dry_run)

    def _several(
        self,
        contract: Contract,
        held_out: HeldOut,
        identity: dict[str, Any] | None,
        dry_run: bool,
        plans: Path | None,
    ) -> ExportResult:
        """A model with several networks; see export.several."""
        from export.evidence import build_evidence
        from export.publication import Papers, make_publication
        from export.several import describe, load_members, make_several

        if plans is not None or self.spec.gates.speed is not None:
            self.spec.of_one(None, "one network for --plans and gates.speed")
        with self.steps.step("load the trained networks"):
            members = load_members(self.spec, contract, self.settings)
        if identity is None:
            weights = "+".join(member.loaded.weights for member in members)
            identity = self._identity(contract, held_out, weights, None)
            if not dry_run and (version := self._unchanged(identity)) is not None:
                return self._found(version)
        with workspace(self.settings.state_dir) as folder:
            done = make_several(
                self.spec, self.settings, contract, held_out, members, folder, self._log_dir, self.steps
            )
            evidence = build_evidence(
                done.whole, done.artifacts, done.results, done.golden, identity, describe(members), done.notes
            )
            papers = Papers(evidence, {}, done.golden)
            if done.golden is None:
                papers.write(folder)
                raise _refusal(self.spec.model, done.results, evidence, self._keep(folder))
            version = None
            if not dry_run:
                with self.steps.step("publish"):
                    publication = make_publication(
                        self.spec, contract, done.networks, papers, done.golden, identity, folder
                    )
                    version = self.repository.publish(publication)
        return ExportResult(self.spec.model, version, version is not None, False, evidence, self.steps.seconds)

    def _check_plans(self, plans: Path, identity: dict[str, Any]) -> None:
        """A bundle of another export is refused before anything is loaded."""
        from export.tensorrt.imported import check_bundle

        check_bundle(plans, identity["export"])

    def bundle(self, out_dir: Path) -> Path:
        from export.making import Maker
        from export.tensorrt.bundle import write_bundle

        contract = self.spec.contract(self.settings.root)
        held_out = self._held_out(contract)
        optimised = self._load(contract, held_out)
        weights = checkpoint_digest(self.spec, self.settings.root, self.settings.cache_dir) or optimised.loaded.weights
        identity = self._identity(contract, held_out, weights, None)
        with workspace(self.settings.state_dir) as folder, self.steps.step("write the bundle"):
            reference = self._reference(contract, held_out, optimised)
            options = Maker(self.spec, self.settings, reference, folder, self._log_dir, self.steps).options
            return write_bundle(self.spec, reference, identity, options, out_dir)

    def _make(self, reference: Reference, folder: Path, plans: Path | None, identity: dict[str, Any]) -> Collection:
        from export.making import Maker

        maker = Maker(self.spec, self.settings, reference, folder, self._log_dir, self.steps)
        made = maker.make_all(self.spec.formats, plans, identity)
        with self.steps.step("gates of the model"):
            made.results[:0] = maker.judge_model()
        if self.spec.gates.speed is not None:
            with self.steps.step("gate of speed"):
                made.results.extend(maker.judge_speed(made, self.repository))
        return made

    def _conclude(
        self,
        reference: Reference,
        optimised: Optimised,
        made: Collection,
        identity: dict[str, Any],
        folder: Path,
        dry_run: bool,
    ) -> ExportResult:
        """Evidence, and then a version, or what failed kept aside."""
        from export.evidence import build_evidence
        from export.publication import Papers
        from export.reproduce.scripts import write_scripts

        passed = all(result.passed for result in made.results)
        golden = self._golden(reference, made) if passed else None
        extra = {**made.notes, "optimise": optimised.report, "calibration": self._calibration()}
        evidence = build_evidence(
            reference, made.artifacts, made.results, golden, identity, optimised.loaded.description, extra
        )
        scripts = write_scripts(
            folder,
            self.spec,
            reference,
            made.artifacts,
            made.results,
            weights=optimised.loaded.digest,
            root=self.settings.root,
        )
        papers = Papers(evidence, scripts, golden)
        if golden is None:
            papers.write(folder)
            raise _refusal(self.spec.model, made.results, evidence, self._keep(folder))
        version = None
        if not dry_run:
            with self.steps.step("publish"):
                version = self._publish(reference, made.artifacts, papers, golden, identity, folder)
        return ExportResult(self.spec.model, version, version is not None, False, evidence, self.steps.seconds)

    def _calibration(self) -> dict[str, Any]:
        """What INT8 ranges were measured on, for the evidence; empty where no format has any."""
        if not any("int8" in name for name in self.spec.formats):
            return {}
        rules = self.spec.calibration
        own = "the held-out images" if rules.images is None else rules.images
        return {"images": own, "count": rules.count, **self.spec.int8.model_dump(mode="json")}

    def _keep(self, folder: Path) -> Path:
        from export.reproduce.failed import keep_failed

        return keep_failed(folder, self.settings.state_dir, self.spec.model)

    def _check_served(self, dry_run: bool) -> None:
        if not dry_run and self.spec.serve not in self.spec.formats:
            raise SpecInvalid(
                f"{self.spec.model}: nothing of this can be served, so it is no version",
                observed=f"formats {', '.join(self.spec.formats)}",
                expected=f"one of {', '.join(sorted(NETWORK_FILES))} among them",
                fix="add such a format, or give --dry-run",
            )

    def _held_out(self, contract: Contract) -> HeldOut:
        accept = self.spec.gates.task.accept_unlabelled
        return load_held_out(self.settings.root / self.spec.samples, contract.labels, accept_unlabelled=accept)

    def _identity(self, contract: Contract, held_out: HeldOut, weights: str, plans: Path | None) -> dict[str, Any]:
        identity = export_identity(self.spec, contract, self.settings.root, held_out.digest, weights)
        return identity if plans is None else with_plans(identity, plans)

    def _unchanged(self, identity: dict[str, Any]) -> int | None:
        return published_version(self.repository, self.spec.model, identity["digest"])

    def _found(self, version: int) -> ExportResult:
        import json

        path = self.repository.version_dir(self.spec.model, version) / "evidence.json"
        evidence = json.loads(path.read_text(encoding="utf-8"))
        return ExportResult(self.spec.model, version, False, True, evidence, self.steps.seconds)

    def _load(self, contract: Contract, held_out: HeldOut) -> Optimised:
        """The trained model, and what the optimising steps of the specification made of it."""
        from export import sources
        from export.formats.origin import check_formats
        from export.optimise.run import optimise

        with self.steps.step("load the trained model"):
            loaded = sources.load(
                self.spec.one_source,
                self.settings.root,
                contract.classes,
                self.settings.cache_dir,
                input_size=(contract.preprocess.height, contract.preprocess.width),
                activation=contract.postprocess.activation,
            )
        check_formats(loaded.module, self.spec.formats)
        if not self.spec.optimise:
            return optimise(loaded, self.spec, self.settings, contract)
        with self.steps.step("optimise"):
            pixels = np.stack([preprocess(image.encoded, contract.preprocess) for image in held_out.images[:2]])
            return optimise(loaded, self.spec, self.settings, contract, pixels)

    def _reference(self, contract: Contract, held_out: HeldOut, optimised: Optimised) -> Reference:
        from export.gates.base import Reference
        from export.gates.causes.earlier import published_networks
        from export.whole import whole_of
        from export.wrap import eager_network, wrap

        module = wrap(optimised.loaded.module, contract.normalise)
        run = eager_network(module)
        trained = eager_network(wrap(optimised.trained, contract.normalise)) if self.spec.optimise else run
        earlier = published_networks(self.repository, self.spec.model, self.spec.formats)
        whole = whole_of(contract, self.spec.gates, held_out, trained)
        return Reference(contract, self.spec.gates, held_out, module, run, earlier, trained, whole=whole)

    def _golden(self, reference: Reference, made: Collection) -> Golden:
        from export.golden import choose_golden, choose_golden_answer

        here = [item for item in made.candidates if item.format not in made.notes.get("imported", ())]
        served = next((item.run for item in here if item.format == self.spec.serve), None)
        with self.steps.step("choose the golden image"):
            if reference.whole is None:
                return choose_golden(reference, served)
            return choose_golden_answer(reference.whole, served and only(served, reference.contract))

    def _publish(
        self,
        reference: Reference,
        artifacts: list[Artifact],
        papers: Papers,
        golden: Golden,
        identity: dict[str, Any],
        folder: Path,
    ) -> int:
        from export.publication import make_publication, of_one

        networks = of_one(self.spec, reference, artifacts, golden)
        publication = make_publication(self.spec, reference.contract, networks, papers, golden, identity, folder)
        return self.repository.publish(publication)

    @property
    def _log_dir(self) -> Path:
        return self.settings.state_dir / "logs" / self.spec.model


def _refusal(model: str, results: list[GateResult], evidence: dict[str, Any], kept: Path) -> GateFailed:
    failed = [result for result in results if not result.passed]
    error = GateFailed(
        f"{model}: {len(failed)} of {len(results)} gates failed; nothing was published",
        observed="; ".join(f"{result.format} {result.name}: {result.reason}" for result in failed),
        expected="every gate of every format passes",
        fix="correct the cause, or the thresholds under gates in the specification if they are wrong; "
        f"evidence.html and a script per gate that reproduces it: {kept}",
    )
    error.evidence = evidence
    error.kept = kept
    return error
