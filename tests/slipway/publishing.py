"""A small but real publication: configs that parse, files with content, a contract. Also a program of its own.

`python -m tests.slipway.publishing REPOSITORY KILL_AT` publishes and kills itself with SIGKILL before step KILL_AT
(counted from 0); without a kill it prints the version. Tests run it as a real process.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.contract import Contract, Network, Postprocess, Preprocess
from slipway.repository import Publication, Repository

CONTRACT = Contract(
    model="digits",
    task="classification",
    preprocess=Preprocess(height=32, width=32, resize="stretch", resize_to=32),
    network=Network(model="digits.onnx", format="onnx", file="model.onnx"),
    postprocess=Postprocess(top_k=2),
    labels=("zero", "one", "two"),
)


def config_text(name: str, outputs: int = -1, output_type: str = "TYPE_FP32", max_batch_size: int = 8) -> str:
    config = model_config_pb2.ModelConfig(name=name, max_batch_size=max_batch_size)
    config.input.add(name="pixels", data_type=model_config_pb2.TYPE_UINT8, dims=[32, 32, 3])
    config.output.add(name="logits", data_type=model_config_pb2.DataType.Value(output_type), dims=[outputs])
    return text_format.MessageToString(config)


def publication(folder: Path, content: bytes = b"network", **config: object) -> Publication:
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, data in {"model.onnx": content * 1000, "model.py": b"# handler\n", "image": b"\x04\0\0\0true"}.items():
        files[name] = folder / name
        files[name].write_bytes(data)
    return Publication(
        contract=CONTRACT,
        files={"digits": {"model.py": files["model.py"]}, "digits.onnx": {"model.onnx": files["model.onnx"]}},
        configs={name: config_text(name, **config) for name in ("digits", "digits.onnx")},
        model_files={"digits": {"warmup/image": files["image"]}},
        source={"weights": "0" * 64},
    )


def main(repository: str, kill_at: int) -> None:
    steps = 0

    def on_step(step: str) -> None:
        nonlocal steps
        if steps == kill_at:
            print(step, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1

    with tempfile.TemporaryDirectory() as folder:
        print(Repository(Path(repository)).publish(publication(Path(folder), content=os.urandom(8)), on_step))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else -1)
