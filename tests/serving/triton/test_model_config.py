"""Reading config.pbtxt and overriding it at load time."""

import json
import os
from pathlib import Path

import pytest

from serving.triton import model_config
from slipway.errors import RepositoryDamaged

CONFIG = """
name: "digits" backend: "python" max_batch_size: 8
input [{ name: "image" data_type: TYPE_STRING dims: [1] }]
output [{ name: "labels" data_type: TYPE_STRING dims: [-1] }]
instance_group [{ count: 3 kind: KIND_AUTO }]
version_policy { latest { num_versions: 2 } }
dynamic_batching { }
parameters { key: "instances" value { string_value: "%s" } }
parameters { key: "network_placement" value { string_value: "separate" } }
model_warmup [{ name: "one" batch_size: 1 inputs { key: "image" value {
  data_type: TYPE_STRING dims: [1] input_data_file: "image" } } }]
"""


def read(tmp_path: Path, instances: str = "auto"):
    path = tmp_path / "config.pbtxt"
    path.write_text(CONFIG % instances)
    return model_config.read_config(path)


def test_override_names_versions_and_counts_instances(tmp_path: Path) -> None:
    config = read(tmp_path)
    values = json.loads(model_config.override(config, (3, 2), generation=7, auto=5))
    assert values["version_policy"] == {"specific": {"versions": ["3", "2"]}}
    assert values["instance_group"] == [{"count": 5, "kind": "KIND_CPU"}]
    assert values["parameters"]["slipway_generation"] == {"string_value": "7"}
    assert "dynamic_batching" in values and values["model_warmup"][0]["inputs"]["image"]["input_data_file"] == "image"
    assert config.version_policy.latest.num_versions == 2, "the config that was read is not changed"


def test_a_number_of_instances_stays(tmp_path: Path) -> None:
    values = json.loads(model_config.override(read(tmp_path, "3"), (1,), generation=1, auto=16))
    assert values["instance_group"] == [{"count": 3, "kind": "KIND_CPU"}]


def test_every_override_differs(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert model_config.override(config, (1,), 1, 2) != model_config.override(config, (1,), 2, 2)


def test_placement_is_the_files_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_NETWORK_PLACEMENT", raising=False)
    assert model_config.placement(read(tmp_path)) == "separate"
    monkeypatch.setenv("SLIPWAY_NETWORK_PLACEMENT", "fused")
    assert model_config.placement(read(tmp_path)) == "fused"


@pytest.mark.parametrize("text", ["nonsense: 3", "name: ", "\xff\xfe"])
def test_a_damaged_config_names_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RepositoryDamaged, match=r"config\.pbtxt"):
        model_config.read_config(path)


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("rubbish", None)]
)
def test_quota_of_the_control_group(tmp_path: Path, text: str, cores: int | None) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(text)
    assert model_config._quota(path) == cores


def test_usable_cores_are_within_the_affinity() -> None:
    assert 1 <= model_config.usable_cores() <= len(os.sched_getaffinity(0))
