"""The peer: FastAPI and onnxruntime fp32, as one writes it by hand in an afternoon, and as good as it gets that way.

    PEER_CONTRACT=.../contract.json PEER_NETWORK=.../model.onnx uvicorn --factory --workers 2 \
        benchmarks.peers.fastapi_server:create_app

Decode, resize, network and labels are the served version's own pipeline on one thread per worker, so what differs
from Slipway is the server and the format. `POST /predict` takes an image as the body, which costs the server least,
or as the file ``image`` of a multipart form.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from handlers.fields import plain
from handlers.networks import open_network
from handlers.pipeline import Pipeline
from slipway.contract import Contract
from slipway.errors import ImageError, RequestInvalid

CONTRACT, NETWORK = "PEER_CONTRACT", "PEER_NETWORK"
PATH = "/predict"
#: Response header: the worker's process id.
WORKER = "x-worker"


def create_app() -> FastAPI:
    """The application of one worker; raises what reading the contract and opening the network raise."""
    contract = Contract.read(Path(os.environ[CONTRACT]))
    pipeline = Pipeline(contract, open_network(Path(os.environ[NETWORK]), contract.network.output, threads=1))
    app = FastAPI(title=contract.model, openapi_url=None)
    headers = {WORKER: str(os.getpid())}

    # Async although it computes: a second thread would only take the core from the first.
    @app.post(PATH)
    async def predict(request: Request) -> JSONResponse:
        """Best labels and their scores."""
        try:
            (answer,) = pipeline.run([await _image(request)])
        except RequestInvalid as problem:
            return JSONResponse(problem.to_dict(), problem.http_status, headers)
        if isinstance(answer, ImageError):
            return JSONResponse(answer.to_dict(), answer.http_status, headers)
        return JSONResponse(plain(pipeline.task.fields, answer.record()), headers=headers)

    return app


async def _image(request: Request) -> bytes:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await request.body()
    async with request.form() as form:
        file = form.get("image")
        if not isinstance(file, UploadFile):
            raise RequestInvalid("the form has no file", expected="a file named image")
        return await file.read()
