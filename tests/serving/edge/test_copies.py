"""Copies are counted by the edge's own statistics; an edge that does not answer is no error."""

from serving import ports
from serving.edge.copies import Copies, counted
from serving.edge.copies import _copies as copies_of
from serving.state import ProcessState, State


def test_what_waits_for_a_connection_was_sent_and_what_was_dropped_did_not_fail() -> None:
    totals = {"total": 7, "active": 2, "pending_active": 2, "pending_overflow": 36, "5xx": 39, "completed": 41}
    assert copies_of(totals) == Copies(sent=9, waiting=4, failed=3, dropped=36)
    assert copies_of({**totals, "5xx": 30}).failed == 0
    assert copies_of({"total": 5}) == Copies(sent=5)


def test_without_an_edge_nothing_is_known() -> None:
    state = State(ProcessState(1, None), "ready", "", {}, {}, {})
    assert counted(state, "digits", 2) is None
    state.envoy["admin"] = f"127.0.0.1:{ports.free_ports('127.0.0.1', 1)[0]}"
    assert counted(state, "digits", 2) is None
