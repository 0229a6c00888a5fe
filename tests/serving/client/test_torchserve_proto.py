"""The hand-written description is TorchServe's own proto, which lies in its jar."""

from __future__ import annotations

import re
import zipfile

from serving.client.torchserve_proto import PACKAGE, PREDICTIONS, messages
from serving.torchserve.installation import find_torchserve


def _proto() -> str:
    jar = next((find_torchserve().home / "ts" / "frontend").glob("*.jar"))
    with zipfile.ZipFile(jar) as archive:
        return archive.read("inference.proto").decode()


def test_names_and_numbers_are_those_of_the_jar() -> None:
    text = _proto()
    assert f"package {PACKAGE};" in text and "service InferenceAPIsService" in text
    assert PREDICTIONS.endswith("/Predictions") and "rpc Predictions(PredictionsRequest)" in text
    for message in messages():
        body = re.search(rf"message {message.DESCRIPTOR.name} {{(.*?)}}", text, re.DOTALL)
        assert body is not None
        for field in message.DESCRIPTOR.fields:
            assert re.search(rf"(string|bytes|>) {field.name} = {field.number};", body[1]), field.name


def test_a_map_survives_the_wire() -> None:
    request, _ = messages()
    sent = request(model_name="m", model_version="2", input={"body": b"\xff\xd8", "top_k": b"3"})
    read = request.FromString(sent.SerializeToString())
    assert dict(read.input) == {"body": b"\xff\xd8", "top_k": b"3"}
    # the edge appends the version as field 2: the last one counts
    assert request.FromString(sent.SerializeToString() + b"\x12\x017").model_version == "7"
