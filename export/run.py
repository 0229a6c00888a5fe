"""The way of an export: source, wrap, formats, gates, evidence, publication; and none of it when nothing changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.identity import checkpoint_digest, export_identity, published_version
from export.images import HeldOut, load_held_out
from export.steps import Progress, Steps
from export.workspace import workspace
from slipway.contract import Contract
from slipway.errors import GateFailed, SpecInvalid
from slipway.repository import Repository
from slipway.settings import Settings
from slipway.spec import NETWORK_FILES, ModelSpec

if TYPE_CHECKING:  # everything that imports torch is imported where it is used: an unchanged model never pays for it
    from export.formats.base import Artifact
    from export.gates.base import GateResult, Reference
    from export.golden import Golden
    from export.sources import LoadedModel


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
    progress: Progress = lambda event: None,
) -> ExportResult:
    """Exports one model and publishes it as a new version when every gate of every format passes.

    ``checkpoint`` takes the place of the specification's. With ``dry_run`` everything runs and nothing is published.
    A version made of the same weights, specification, images, tools and code is returned instead of made again.

    Raises GateFailed (its ``evidence`` holds every number) and whatever the parts raise: SourceInvalid,
    DownloadFailed, SamplesInvalid, FormatUnavailable, ExportFailed, InterfaceChanged, PublishRefused.
    """
    if checkpoint is not None:
        source = spec.source.model_copy(update={"checkpoint": str(checkpoint), "sha256": None})
        spec = spec.model_copy(update={"source": source})
    return _Export(spec, settings, progress).run(dry_run)


class _Export:
    """One run."""

    def __init__(self, spec: ModelSpec, settings: Settings, progress: Progress) -> None:
        self.spec = spec
        self.settings = settings
        self.repository = Repository(settings.repository)
        self.steps = Steps(progress)

    def run(self, dry_run: bool) -> ExportResult:
        self._check_served(dry_run)
        with self.steps.step("compare with published versions"):
            contract = self.spec.contract(self.settings.root)
            held_out = self._held_out(contract)
            known = checkpoint_digest(self.spec, self.settings.root)
            identity = self._identity(contract, held_out, known) if known else None
            version = self._unchanged(identity) if identity and not dry_run else None
        if version is not None:
            return self._found(version)
        if not dry_run:
            self.repository.check_writable()
        with self.steps.step("load the trained model"):
            loaded = self._load(contract)
        if identity is None:
            identity = self._identity(contract, held_out, loaded.digest)
            if not dry_run and (version := self._unchanged(identity)) is not None:
                return self._found(version)
        with workspace(self.settings.state_dir) as folder:
            return self._export(contract, held_out, loaded, identity, folder, dry_run)

    def _export(
        self,
        contract: Contract,
        held_out: HeldOut,
        loaded: LoadedModel,
        identity: dict[str, Any],
        folder: Path,
        dry_run: bool,
    ) -> ExportResult:
        from export.evidence import build_evidence
        from export.making import Maker

        reference = self._reference(contract, held_out, loaded)
        maker = Maker(self.spec, self.settings, reference, folder, self._log_dir, self.steps)
        made = [maker.make(name) for name in self.spec.formats]
        artifacts = [each.artifact for each in made]
        results = [result for each in made for result in each.results]
        passed = all(result.passed for result in results)
        golden = self._golden(reference) if passed else None
        evidence = build_evidence(reference, artifacts, results, golden, identity, loaded.description)
        if golden is None:
            raise _refusal(self.spec.model, results, evidence)
        version = None
        if not dry_run:
            with self.steps.step("publish"):
                version = self._publish(reference, artifacts, golden, evidence, identity, folder)
        return ExportResult(self.spec.model, version, version is not None, False, evidence, self.steps.seconds)

    def _check_served(self, dry_run: bool) -> None:
        if not dry_run and self.spec.serve not in self.spec.formats:
            raise SpecInvalid(
                f"{self.spec.model}: nothing of this can be served, so it is no version",
                observed=f"formats {', '.join(self.spec.formats)}",
                expected=f"one of {', '.join(sorted(NETWORK_FILES))} among them",
                fix="add such a format, or give --dry-run",
            )

    def _held_out(self, contract: Contract) -> HeldOut:
        accept = self.spec.gates.accuracy.accept_unlabelled
        return load_held_out(self.settings.root / self.spec.samples, contract.labels, accept_unlabelled=accept)

    def _identity(self, contract: Contract, held_out: HeldOut, weights: str) -> dict[str, Any]:
        return export_identity(self.spec, contract, self.settings.root, held_out.digest, weights)

    def _unchanged(self, identity: dict[str, Any]) -> int | None:
        return published_version(self.repository, self.spec.model, identity["digest"])

    def _found(self, version: int) -> ExportResult:
        import json

        path = self.repository.version_dir(self.spec.model, version) / "evidence.json"
        evidence = json.loads(path.read_text(encoding="utf-8"))
        return ExportResult(self.spec.model, version, False, True, evidence, self.steps.seconds)

    def _load(self, contract: Contract) -> LoadedModel:
        from export import sources

        size = (contract.preprocess.height, contract.preprocess.width)
        return sources.load(
            self.spec.source, self.settings.root, len(contract.labels), self.settings.cache_dir, input_size=size
        )

    def _reference(self, contract: Contract, held_out: HeldOut, loaded: LoadedModel) -> Reference:
        from export.gates.base import Reference
        from export.wrap import eager_network, wrap

        module = wrap(loaded.module, contract.normalise)
        return Reference(contract, self.spec.gates, held_out, module, eager_network(module))

    def _golden(self, reference: Reference) -> Golden:
        from export.golden import choose_golden

        with self.steps.step("choose the golden image"):
            return choose_golden(reference)

    def _publish(
        self,
        reference: Reference,
        artifacts: list[Artifact],
        golden: Golden,
        evidence: dict[str, Any],
        identity: dict[str, Any],
        folder: Path,
    ) -> int:
        from export.publication import make_publication

        publication = make_publication(self.spec, reference, artifacts, golden, evidence, identity, folder)
        return self.repository.publish(publication)

    @property
    def _log_dir(self) -> Path:
        return self.settings.state_dir / "logs" / self.spec.model


def _refusal(model: str, results: list[GateResult], evidence: dict[str, Any]) -> GateFailed:
    failed = [result for result in results if not result.passed]
    error = GateFailed(
        f"{model}: {len(failed)} of {len(results)} gates failed; nothing was published",
        observed="; ".join(f"{result.format} {result.name}: {result.reason}" for result in failed),
        expected="every gate of every format passes",
        fix="correct the cause, or the thresholds under gates in the specification if they are wrong",
    )
    error.evidence = evidence
    return error
