"""Which version answers requests without one."""

from dataclasses import replace

import pytest

from serving.supervisor.board import Board
from serving.supervisor.desired import DesiredModel


def desired(pointer: int, *active: int, published: tuple[int, ...] = (1, 2, 3)) -> DesiredModel:
    networks = {"digits.onnx": active}
    previous = active[1] if len(active) > 1 else None
    return DesiredModel("digits", pointer, published, active, "fused", networks, {}, previous=previous)


@pytest.fixture
def board() -> Board:
    board = Board()
    board.observe(desired(1, 1, 2))
    return board


def test_nothing_is_routed_before_its_golden_answer(board: Board) -> None:
    assert board.default_versions() == {} and not board.all_routed()
    board.mark("digits", 1, "loading")
    assert not board.all_routed()
    board.mark("digits", 1, "ready")
    assert board.default_versions() == {"digits": 1} and board.all_routed() and board.as_wanted()
    board.mark_network("digits", "digits.onnx", (1,))
    assert board.default_versions() == {"digits": 1, "digits.onnx": 1}


def test_the_pointer_moves_the_route_only_when_its_version_is_ready(board: Board) -> None:
    board.mark("digits", 1, "ready")
    board.observe(desired(2, 2, 1))
    assert board.default_versions()["digits"] == 1 and not board.as_wanted()
    board.mark("digits", 2, "ready")
    assert board.default_versions()["digits"] == 2 and board.as_wanted()


def test_a_failed_version_leaves_the_old_route(board: Board) -> None:
    board.mark("digits", 1, "ready")
    board.observe(desired(2, 2, 1))
    board.mark("digits", 2, "failed", "wrong")
    assert board.default_versions()["digits"] == 1
    assert board.all_routed() and not board.as_wanted()
    assert board.failed("digits") == {2}
    (state,) = board.states()
    assert state.routed == 1 and state.version(2).reason == "wrong" and state.version(3).state == "unloaded"


def test_a_pointer_that_comes_back_gives_another_chance(board: Board) -> None:
    board.mark("digits", 1, "ready")
    board.mark("digits", 2, "failed", "wrong")
    board.observe(desired(1, 1, 2))
    assert board.failed("digits") == {2}, "the same pointer is no new wish"
    board.observe(desired(2, 2, 1))
    assert board.failed("digits") == set()


def test_a_network_moves_when_its_new_version_answered_and_goes_with_the_last_that_has_it(board: Board) -> None:
    board.mark("digits", 1, "ready")
    board.mark("digits", 2, "ready")
    board.mark_network("digits", "digits.onnx", (1,))
    board.observe(desired(2, 2, 1))
    assert board.default_versions() == {"digits": 2, "digits.onnx": 1}, "version 2 of the network is not proven"
    board.mark_network("digits", "digits.onnx", (1, 2))
    assert board.default_versions() == {"digits": 2, "digits.onnx": 2}
    board.observe(DesiredModel("digits", 2, (1, 2), (2, 1), "fused", {"digits.onnx": (1,)}, {}, previous=1))
    assert board.default_versions() == {"digits": 2}


def test_a_pointer_that_was_written_again_gives_another_chance(board: Board) -> None:
    board.mark("digits", 1, "failed", "wrong")
    again = replace(desired(1, 1, 2), pointer_updated="2026-11-21T01:02:03.000004+00:00")
    board.observe(again)
    assert board.failed("digits") == set()
    assert board.states()[0].pointer_updated == again.pointer_updated


def test_when_triton_is_gone_routes_stay_and_hopeless_versions_stay_failed(board: Board) -> None:
    board.mark("digits", 1, "ready")
    board.mark_network("digits", "digits.onnx", (1,))
    board.mark("digits", 2, "failed", "never loaded")
    board.all_loading()
    assert board.default_versions() == {"digits": 1, "digits.onnx": 1} and not board.all_routed()
    assert board.failed("digits") == {2}
    (state,) = board.states()
    assert state.routed is None and state.version(1).state == "loading"


def test_a_version_that_answered_is_tried_again_after_triton_died(board: Board) -> None:
    board.mark("digits", 1, "ready")
    board.mark("digits", 1, "failed", "out of memory")
    board.all_loading()
    assert board.failed("digits") == set()


def test_versions_that_are_no_longer_active_are_not_ready(board: Board) -> None:
    for version in (1, 2):
        board.mark("digits", version, "ready")
    board.observe(desired(3, 3, 2))
    assert board.ready_versions("digits") == (2,)
    assert board.default_versions()["digits"] == 2


def test_an_unreadable_model_is_not_as_wanted(board: Board) -> None:
    board.mark("digits", 1, "ready")
    before = board.changes
    board.problem("photos", "config.pbtxt: 3:1")
    assert not board.as_wanted() and not board.all_routed() and board.changes > before
    board.problem("photos", None)
    assert board.as_wanted()


def test_a_removed_model_is_forgotten(board: Board) -> None:
    board.mark("digits", 1, "ready")
    board.forget("digits")
    assert board.models() == [] and board.default_versions() == {}


@pytest.mark.parametrize("previous", [1, None])
def test_a_version_that_is_tried_answers_nobody_else(previous: int | None) -> None:
    """Version 2 is an arm, a shadow or the newest: it may be the very one that is judged bad."""
    board = Board()
    active = (3, 2, 1) if previous else (3, 2)
    board.observe(DesiredModel("m", 3, (1, 2, 3), active, "in process", {}, {}, previous=previous))
    board.mark("m", 2, "ready")
    assert board.default_versions() == {} and not board.all_routed()
    for version in active:
        board.mark("m", version, "ready")
    board.mark("m", 3, "loading")
    # with nothing else that answers, the route stays, and requests are repeated until the version is back
    assert board.default_versions() == {"m": previous or 3}
    assert board.reloading("m") == 3
    board.all_loading()
    board.mark("m", 2, "ready")
    assert board.default_versions() == {"m": previous or 3}
    board.mark("m", 3, "ready")
    assert board.default_versions() == {"m": 3} and board.reloading("m") is None
    board.mark("m", 3, "failed", "wrong")
    assert board.default_versions() == {} and board.reloading("m") is None
