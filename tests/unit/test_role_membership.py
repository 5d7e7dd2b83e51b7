"""The states of a participant's membership in its role: each cell of the table, and what each state means."""

from itertools import product
from typing import Any, Self

import pytest

from greenroom.daemon.role_runner import IllegalTransition, MembershipEvent, MembershipState, RoleMembership
from greenroom.domain.errors import Superseded, Unavailable
from greenroom.domain.participant import SUPERSEDED
from tests.unit.scripted_transport import join_reply

EVENTS = ("joined", "no answer to a join", "taken over", "report", "report in the outbox", "leave")
GRID = {
    "joining": ("running", "unanswered", "yielded", "-", "-", "left"),
    "unanswered": ("running", "unanswered", "yielded", "-", "-", "left"),
    "running": ("running", "running", "yielding", "reporting", "-", "left"),
    "reporting": ("reporting", "reporting", "reporting", "reporting", "reported", "left"),
    "reported": ("reporting", "reported", "reported", "-", "-", "left"),
    "yielding": ("yielding", "yielding", "yielding", "yielding", "yielded", "yielded"),
    "yielded": ("yielded", "yielded", "yielded", "-", "-", "yielded"),
    "left": ("left", "left", "left", "-", "-", "-"),
}
CELLS = [(state, event, GRID[state][EVENTS.index(event)]) for state, event in product(GRID, EVENTS)]


class LeaveSession:
    """A session that records which calls it was asked for, and answers joins from a list."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def with_patience(self, patience_s: float) -> Self:
        return self

    def join(self, room: str, role: str, connection_id: str, if_vacant: bool) -> Any:
        self.calls.append(("join", if_vacant))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def leave(self, room: str, role: str, connection_id: str, cause: str, reason: str | None) -> None:
        self.calls.append(("leave", reason))


def membership_in(state: str) -> RoleMembership:
    membership = RoleMembership("room_1", "builder", "conn_1")
    membership._state = MembershipState(state)
    return membership


def test_grid_names_every_state_and_event() -> None:
    assert list(GRID) == [state.value for state in MembershipState]
    assert list(EVENTS) == [event.value for event in MembershipEvent]


@pytest.mark.parametrize(("state", "event", "after"), [cell for cell in CELLS if cell[2] != "-"])
def test_event_leads_to_next_state(state: str, event: str, after: str) -> None:
    membership = membership_in(state)
    assert membership.apply(MembershipEvent(event)).value == state, "the state before"
    assert membership._state.value == after


@pytest.mark.parametrize(("state", "event"), [cell[:2] for cell in CELLS if cell[2] == "-"])
def test_missing_cell_is_refused(state: str, event: str) -> None:
    membership = membership_in(state)
    with pytest.raises(IllegalTransition, match=f"room_1/builder: {event} while {state}"):
        membership.apply(MembershipEvent(event))
    assert membership._state.value == state


@pytest.mark.parametrize(
    ("adopted", "has_joined", "is_superseded"), [(False, False, False), (True, True, False)], ids=["new", "adopted"]
)
def test_first_state(adopted: bool, has_joined: bool, is_superseded: bool) -> None:
    membership = RoleMembership("room_1", "builder", "conn_1", is_taken=adopted)
    assert (membership.has_joined, membership.is_superseded) == (has_joined, is_superseded)


def test_heartbeats_name_it_from_join_until_report_is_safe() -> None:
    named = {state for state in GRID if membership_in(state).has_joined}
    assert named == {"running", "reporting", "yielding"}
    assert {state for state in GRID if membership_in(state).is_superseded} == {"yielding", "yielded"}


@pytest.mark.parametrize("state", [state for state in GRID if state != "left"])
def test_server_is_called_only_if_it_may_have_the_participant(state: str) -> None:
    membership, session = membership_in(state), LeaveSession()
    last = membership.leave(session, "the daemon was stopped")  # type: ignore[arg-type]
    assert last.value == ("yielded" if state in ("yielding", "yielded") else "left")
    called = state in ("unanswered", "running", "reporting")
    assert session.calls == ([("leave", "the daemon was stopped")] if called else [])


def test_join_is_for_vacant_role_and_rejoin_is_not() -> None:
    membership = RoleMembership("room_1", "builder", "conn_1")
    session = LeaveSession(Unavailable("d", "g", "unreachable"), join_reply(), Unavailable("d", "g", "unreachable"))
    with pytest.raises(Unavailable):
        membership.join(session)  # type: ignore[arg-type]
    assert membership._state.value == "unanswered"
    membership.join(session)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        membership.join(session)  # type: ignore[arg-type]
    assert membership._state.value == "running"
    assert session.calls == [("join", True), ("join", True), ("join", False)]


def test_superseded_answer_raises_and_changes_no_state() -> None:
    """The caller yields: on the heartbeat's thread, that stops the work too."""
    membership = membership_in("running")
    with pytest.raises(Superseded):
        membership.join(LeaveSession(join_reply(SUPERSEDED)))  # type: ignore[arg-type]
    assert membership._state.value == "running"


def test_rejoin_answered_after_the_report_is_left_again() -> None:
    membership, session = membership_in("running"), LeaveSession()
    for event in (MembershipEvent.REPORT, MembershipEvent.IN_OUTBOX, MembershipEvent.JOINED):
        membership.apply(event)
    membership.leave(session, None)  # type: ignore[arg-type]
    assert session.calls == [("leave", None)]
