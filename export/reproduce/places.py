"""Where an artefact lies: in a published version, or in what was kept of a failed export."""

from __future__ import annotations

from pathlib import Path


def published_file(version_dir: Path, model: str, format_name: str, file_name: str) -> Path | None:
    """An artefact of the public model's version directory (export.publication lays it out); None if it has none."""
    network = version_dir.parent.parent / f"{model}.{format_name}" / version_dir.name / file_name
    beside = version_dir / "artifacts" / format_name / file_name
    return next((path for path in (network, beside) if path.is_file()), None)


def places(home: Path, model: str, format_name: str, file_name: str) -> list[Path]:
    """Every file that may be the artefact of a version's directory or of a failed export's folder, which has a
    directory per format, and further ones for exports that were tried with layers in fp32."""
    published = published_file(home, model, format_name, file_name)
    kept = [home / format_name / file_name, *sorted(home.glob(f"{format_name}-*/*/{file_name}"))]
    return [path for path in (published, *kept) if path is not None and path.is_file()]
