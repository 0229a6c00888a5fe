"""A process of its own that asks an archive's handler, loaded by TorchServe's own loader, about sample files.

``python -m export.migrate.reference_worker JOB.json``; see export.migrate.asked for the job and the result.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

from handlers.archived import to_bytes


def main(job: dict[str, Any]) -> None:
    """Writes one entry per sample to ``job["out"]``: ``answer`` (base64) or ``error``."""
    folder = Path(job["folder"])
    if job["code"]:
        sys.path.insert(0, str(folder))
    os.chdir(folder)
    if job["torchvision"]:
        _prepare_torchvision()
    service = _service(job)
    rows = [_ask(service, Path(path)) for path in job["samples"]]
    Path(job["out"]).write_text(json.dumps(rows), encoding="utf-8")


def _prepare_torchvision() -> None:
    """The stock handlers import torchvision and captum; of captum only explanations need anything."""
    from export.sources.torchvision_shim import import_torchvision

    import_torchvision()
    if importlib.util.find_spec("captum") is None:
        captum, attr = types.ModuleType("captum"), types.ModuleType("captum.attr")
        # VisionHandler.initialize makes one and never calls it for a prediction (ts/torch_handler/vision_handler.py)
        vars(attr)["IntegratedGradients"] = lambda model: model
        sys.modules.update({"captum": captum, "captum.attr": attr})


def _service(job: dict[str, Any]) -> Any:
    import torch
    import ts
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
    from ts.model_loader import ModelLoaderFactory

    torch.set_num_threads(1)
    metrics = MetricsCacheYamlImpl(str(Path(ts.__file__).parent / "configs" / "metrics.yaml"))
    metrics.initialize_cache()
    loader = ModelLoaderFactory.get_model_loader()
    return loader.load(job["name"], job["folder"], job["handler"], None, 1, None, True, metrics)


def _ask(service: Any, path: Path) -> dict[str, str]:
    """One request with one file as its body, as Service.predict of TorchServe does it, without its encoding."""
    headers, batch, ids = service.retrieve_data_for_inference(
        [
            {
                "requestId": b"0",
                "headers": [],
                "parameters": [{"name": "body", "contentType": "", "value": bytearray(path.read_bytes())}],
            }
        ]
    )
    service.context.request_ids, service.context.request_processor = ids, headers
    service.context.metrics.request_ids = ids
    try:
        answers = service._entry_point(batch, service.context)
        status, phrase = service.context.get_response_status(0)
        if not isinstance(answers, list) or len(answers) != 1:
            raise TypeError(f"{type(answers).__name__} instead of a list with one answer")
        if status >= 400:
            return {"error": f"status {status} {phrase or ''}".strip()}
        return {"answer": base64.b64encode(to_bytes(answers[0])).decode("ascii")}
    except Exception as problem:  # the handler: what it raises for this sample is what there is to compare
        return {"error": f"{type(problem).__name__}: {str(problem)[:300]}"}


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
