"""Plans: what is valid, what a file's mistake looks like, what options compile to, and what changes between two."""

from pathlib import Path

import pytest

from routing.plan.diff import diff
from routing.plan.file import read_routes
from routing.plan.model import RoutePlan, Routes
from routing.plan.options import Options, compile_plan
from routing.verdict.rules import Guardrails, Latency, Outcome, Rules
from slipway.errors import RoutesInvalid

ROOT = Path(__file__).resolve().parents[3]


def walk(**values: object) -> list[tuple[float, float | None]]:
    return [(step.share, step.bake) for step in RoutePlan.model_validate(values).walk]


def test_the_walk_of_a_canary() -> None:
    assert walk(canary=2, share="10%") == [(0.1, 300.0)]
    assert walk(canary=2, auto=True) == [(share, 300.0) for share in (0.01, 0.05, 0.25, 0.5, 1.0)]
    assert walk(canary=2, steps=["5%", {"share": 0.5, "bake": 7}], bake=60) == [(0.05, 60.0), (0.5, 7.0)]
    assert walk(canary=2, share="10%", steps=["1%", "10%", "50%"]) == [(0.1, 300.0), (0.5, 300.0)]
    assert walk(canary=2, share="20%", steps=["1%", "50%"]) == [(0.2, 300.0), (0.5, 300.0)]
    assert walk(shadow={"version": 3}) == []


def test_a_plan_survives_json() -> None:
    plan = RoutePlan.model_validate(
        {"canary": 2, "steps": ["1%", {"share": "50%", "bake": 1}], "layer": {"name": "a", "stop": "50%"}}
    )
    assert RoutePlan.model_validate_json(plan.model_dump_json()) == plan
    assert RoutePlan.model_validate(plan.to_dict()) == plan


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("models:\n  digits: {}\n", 2, "models.digits: Value error, names neither a canary nor a shadow"),
        ("models:\n  digits:\n    canari: 2\n    share: 5%\n", 3, "unknown key; did you mean 'canary'"),
        (
            "models:\n  digits:\n    canary: 2\n    share: 10\n",
            4,
            "models.digits.share: Value error, not a share; write 10%",
        ),
        ("models:\n  digits:\n    canary: two\n    share: 5%\n", 3, "models.digits.canary"),
        ("models:\n  digits:\n    canary: 2\n    steps:\n      - 1%\n      - 200%\n", 6, "between 0% and 100%"),
        ("models:\n  digits:\n    canary: 2\n    steps: [5%, 1%]\n", 2, "steps have to ascend: 5%, 1%"),
        ("models:\n  digits:\n    canary: 2\n", 2, "say how much it gets"),
        ("models:\n  digits:\n    shadow: {version: 3}\n    auto: true\n", 2, "need a canary"),
        (
            "models:\n  digits:\n    canary: 2\n    share: 5%\n    units: [query:a]\n",
            5,
            "write header:NAME or cookie:NAME",
        ),
        ("models:\n  digits:\n    canary: 2\n    share: 5%\n    override: 'a b'\n", 5, "not the name of a header"),
        ("models:\n  digits:\n    shadow: {version: 3}\n    layer: {name: a, start: 5%, stop: 5%}\n", 4, "above start"),
        ("models:\n  digits:\n    canary: 2\n    share: 5%\n    shadow: {version: 2}\n", 2, "are the same version"),
        ("models:\n  Digits:\n    canary: 2\n    share: 5%\n", 2, "pattern"),
        ("models:\n  digits:\n    canary: 2\n    share: 5%\n    rules: {alfa: 1}\n", 5, "unknown key"),
        ("models:\n  digits:\n    canary: 2\n    steps: [0%, 5%]\n    auto: true\n", 2, "would wait in it for ever"),
        ("models:\n  digits:\n    canary: 2\n    steps: [100%]\n    auto: true\n", 2, "no stable traffic to compare"),
        ("models:\n  digits:\n    canary: 2\n    share: 100%\n    auto: true\n", 2, "no stable traffic to compare"),
        ("models:\n  digits:\n    canary: 2\n    share: 5%\n    bake: .inf\n", 5, "finite"),
        ("model: {}\n", 1, "did you mean 'models'"),
        ("models: [\n", 2, "not valid YAML"),
    ],
)
def test_mistakes_are_shown_by_file_line_and_key(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    with pytest.raises(RoutesInvalid) as caught:
        read_routes(path)
    assert f"{path}:{line}:" in caught.value.message
    assert says in caught.value.message


@pytest.mark.parametrize("value", ["2020-13-45", "[" * 5000, "1" * 5000])
def test_a_value_that_yaml_cannot_make_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text(f"models: {value}\n")
    with pytest.raises(RoutesInvalid, match="a value cannot be understood"):
        read_routes(path)


def test_the_example_is_valid_and_changes_nothing(tmp_path: Path) -> None:
    example = ROOT / "config" / "routes.yaml"
    assert read_routes(example) == Routes()
    # what it shows as a comment is valid too
    head, _, shown = example.read_text().partition("models: {}")
    (tmp_path / "routes.yaml").write_text(head + "models:\n" + shown.replace("\n#", "\n"))
    assert read_routes(tmp_path / "routes.yaml").models["digits"].canary == 2


def test_options_make_the_same_plan_as_a_file() -> None:
    options = Options(
        canary="2=10%",
        shadow="3=50%",
        steps="1%, 50%",
        bake=5,
        auto=True,
        units=["cookie:session"],
        allow=["a=b=2"],
        layer="home=0%-50%",
        record="20%",
        compare="0%",
        keep_images=True,
        fallback=False,
        try_timeout=2.5,
    )
    assert compile_plan(options) == RoutePlan.model_validate(
        {
            "canary": 2,
            "share": 0.1,
            "steps": [0.01, 0.5],
            "bake": 5,
            "auto": True,
            "shadow": {"version": 3, "share": 0.5},
            "units": ["cookie:session"],
            "allow": {"a=b": 2},
            "layer": {"name": "home", "start": 0, "stop": 0.5},
            "record": 0.2,
            "compare": 0,
            "keep_images": True,
            "fallback": False,
            "try_timeout": 2.5,
        }
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(), "neither a canary nor a shadow"),
        (Options(canary="two=10%"), "--canary: not a version"),
        (Options(canary="2="), "--canary: not a version"),
        (Options(canary="2=10"), "--canary: not a share; write 10%"),
        (Options(canary="2=10%", steps="1%,x"), "--steps: not a share"),
        (Options(shadow="3=2"), "--shadow: not a share"),
        (Options(shadow="3", auto=True), "need a canary"),
        (Options(canary="2=5%", allow=["x"]), "--allow"),
        (Options(canary="2=5%", layer="home=1"), "--layer"),
        (Options(canary="2=5%", rules=["alpha"]), "--rule"),
        (Options(canary="2=5%", rules=["alfa=0.1"]), "--rule alfa"),
        (Options(canary="2=5%", units=["me"]), "--unit"),
        (Options(canary="2=5%", bake=-1), "--bake"),
        (Options(canary="2=5%", override="Content-Type"), "--override: requests have this header"),
        (Options(canary="2=5%", override="host"), "--override: requests have this header"),
        (Options(canary="1" * 5000), "--canary: not a version"),
        (Options(canary="2=5%", allow=["me=" + "1" * 5000]), "--allow"),
        (Options(canary="2=5%", rules=["min_requests=2020-13-45"]), "--rule min_requests: not a YAML value"),
        (Options(canary="2=5%", rules=["a=" + "[" * 5000]), "--rule a: not a YAML value"),
        (Options(canary="2=5%", rules=["min_seconds=.inf"]), "--rule min_seconds: .*finite"),
        (Options(canary="2=5%", rules=["latency.margin=.inf"]), "--rule latency.margin: .*finite"),
        (Options(canary="2=5%", rules=["guardrails.p99_max_ms=.inf"]), "--rule guardrails.p99_max_ms: .*finite"),
    ],
)
def test_a_wrong_option_is_named(options: Options, says: str) -> None:
    with pytest.raises(RoutesInvalid, match=says):
        compile_plan(options)


def test_the_diff_says_what_changes_and_nothing_else() -> None:
    old = RoutePlan.model_validate({"canary": 2, "share": "10%", "shadow": {"version": 3}})
    new = RoutePlan.model_validate({"canary": 2, "steps": ["10%", "50%"], "record": "5%", "auto": True})
    assert diff(old, old) == []
    assert sorted(diff(old, new)) == [
        "+ auto: yes",
        "+ record: 5%",
        "- shadow.version: 3",
        "~ steps: 10% for 300 s -> 10% for 300 s, 50% for 300 s",
    ]
    assert diff(None, old) == ["+ canary: 2", "+ shadow.version: 3", "+ steps: 10% for 300 s"]
    # another way to write the same walk is no change
    assert diff(old, RoutePlan.model_validate({**old.to_dict(), "share": None, "steps": ["10%"]})) == []


def test_every_key_is_documented() -> None:
    page = (ROOT / "docs" / "routing.md").read_text()
    missing = [key for key in RoutePlan.model_fields if f"`{key}" not in page]
    parts = {"": Rules, "latency.": Latency, "outcomes.NAME.": Outcome, "guardrails.": Guardrails}
    rules = [start + key for start, part in parts.items() for key in part.model_fields if start + key != "guardrails"]
    assert not missing + [key for key in rules if f"| `{key}" not in page]


def test_headers_are_lower_case_and_cookies_are_not() -> None:
    plan = RoutePlan(canary=2, share=0.1, units=("header:X-Unit-Id", "cookie:Session"), override="X-Version")
    assert (plan.units, plan.override) == (("header:x-unit-id", "cookie:Session"), "x-version")
