"""The generated pages are what the code says, and every error code is unique and explained."""

import importlib.util
import re
from pathlib import Path

import pytest

from slipway import errors

ROOT = Path(__file__).resolve().parents[1]
LUA = sorted((ROOT / "serving").rglob("*.lua"))


def load_generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["errors.md", "spec.md"])
def test_pages_are_current(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert text == load_generator().PAGES[name](), f"run `python docs/generate.py` and commit docs/{name}"


def test_codes_are_unique_and_explained() -> None:
    found = errors.all_errors()
    codes = [cls.code for cls in found]
    assert len(set(codes)) == len(codes) >= 30
    assert all(cls.__doc__ and re.fullmatch(r"[A-Z][A-Z0-9_]+", cls.code) for cls in found)


def test_an_error_says_what_to_do() -> None:
    error = errors.ImageTruncated("the image ends early", observed="10 bytes", expected="120", fix="send it whole")
    assert str(error) == "IMAGE_TRUNCATED: the image ends early; observed 10 bytes; expected 120; fix: send it whole"
    assert error.to_dict()["fix"] == "send it whole"


def test_codes_of_the_edge_exist() -> None:
    assert LUA
    known = {cls.code for cls in errors.all_errors()}
    used = {code for path in LUA for code in re.findall(r'"([A-Z]+_[A-Z_]+)"', path.read_text(encoding="utf-8"))}
    assert {code for code in used if code.startswith(("REQUEST", "MODEL", "ENDPOINT", "VERSION", "SERVER"))} <= known
