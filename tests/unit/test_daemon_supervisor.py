import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from greenroom.clock import MovedClock
from greenroom.daemon import supervisor
from greenroom.daemon.histories import Histories
from greenroom.daemon.supervisor import LOOK_EVERY_S, Supervisor
from greenroom.domain.reliability import DEFAULTS
from greenroom.domain.supervision import History, ended, paused, yielded
from greenroom.wire.replies import Wish, Wishes
from tests.waiting import PATIENCE_S

ROOM = "room_1"


def wish_for(role: str, desired: str = "running", generation: int = 1) -> Wish:
    return Wish(
        room=ROOM,
        room_name="r",
        role=role,
        roles=("builder", "reviewer"),
        desired=desired,
        generation=generation,
        harness="h",
        model=None,
        workdir=None,
    )


class FakeSeat:
    """A role runner that ends when the test calls `on_end`."""

    def __init__(self, wish: Wish, history: History, on_end: Callable[[], None]) -> None:
        self.wish, self.history, self.on_end = wish, history, on_end
        self.is_started = False
        self.reasons: list[str] = []

    def start(self) -> None:
        self.is_started = True

    def stop(self, reason: str) -> None:
        self.reasons.append(reason)


class Desk:
    """A supervisor under a moved clock, and every role runner that it made."""

    def __init__(self, folder: Path, clock: MovedClock | None = None) -> None:
        self.clock = clock or MovedClock()
        self.made: list[FakeSeat] = []
        self.has_made = threading.Event()
        self.histories = Histories(folder / "histories.json", "boot", self.clock, DEFAULTS)
        self.supervisor: Supervisor[FakeSeat] = Supervisor(self.make, self.histories, self.clock, lambda: None)

    def make(self, wish: Wish, history: History, on_end: Callable[[], None]) -> FakeSeat:
        self.made.append(FakeSeat(wish, history, on_end))
        self.has_made.set()
        return self.made[-1]

    def adopt(self, wish: Wish) -> FakeSeat:
        history = self.histories.of(wish.room, wish.role)
        seat = FakeSeat(wish, history, partial(self.supervisor.take_end, wish.room, wish.role))
        self.supervisor.adopt(seat)
        return seat

    def wish(self, *roles: str, desired: str = "running", generation: int = 1) -> float:
        wishes = tuple(wish_for(role, desired, generation) for role in roles)
        self.supervisor.take_wishes(Wishes(version=generation, wishes=wishes))
        return self.supervisor.step()

    def end(self, seat: FakeSeat, history: History) -> float:
        """End a role runner with that history. As in the daemon, the history is recorded before `on_end` is called."""
        self.histories.note(seat.wish.room, seat.wish.role, history)
        seat.on_end()
        return self.supervisor.step()

    def die(self, seat: FakeSeat) -> float:
        now = self.clock.boottime()
        return self.end(seat, ended(seat.history, seat.wish.generation, now, 0.5, DEFAULTS, "exit code 3"))

    def roles(self) -> list[str]:
        return [seat.wish.role for seat in self.supervisor.seats()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_is_wished_is_seated_once(desk: Desk) -> None:
    desk.wish("builder", "reviewer")
    desk.supervisor.step()
    assert desk.roles() == ["builder", "reviewer"]
    assert [seat.is_started for seat in desk.made] == [True, True]


def test_a_stop_is_asked_for_once_and_the_role_stays_empty(desk: Desk) -> None:
    desk.wish("builder")
    desk.wish("builder", desired="stopped", generation=2)
    desk.supervisor.step()
    assert desk.made[0].reasons == ["stopped by wish"]
    desk.made[0].on_end()
    desk.supervisor.step()
    assert desk.roles() == []


def test_a_wish_that_is_gone_stops_its_seat(desk: Desk) -> None:
    desk.wish("builder", "reviewer")
    desk.wish("reviewer")
    assert [seat.reasons for seat in desk.made] == [["stopped by wish"], []]


def test_a_new_generation_is_a_new_seat_and_only_after_the_old_has_ended(desk: Desk) -> None:
    desk.wish("builder")
    desk.wish("builder", generation=2)
    assert desk.made[0].reasons == ["the wish changed"]
    assert len(desk.made) == 1
    desk.made[0].on_end()
    desk.supervisor.step()
    assert [seat.wish.generation for seat in desk.made] == [1, 2]


def test_nothing_stale_is_carried_out(desk: Desk) -> None:
    """A queue of commands would start, stop and start the agent again here, although they are outdated."""
    desk.supervisor.take_wishes(Wishes(version=1, wishes=()))
    for generation, desired in ((1, "running"), (2, "stopped"), (3, "running"), (4, "stopped")):
        wish = wish_for("builder", desired, generation)
        desk.supervisor.take_wishes(Wishes(version=generation, wishes=(wish,)))
    desk.supervisor.step()
    assert desk.made == []


def test_a_death_is_followed_by_a_rest_and_then_by_a_new_seat(desk: Desk) -> None:
    desk.wish("builder")
    wait_s = desk.die(desk.made[0])
    assert wait_s == 1.5
    assert desk.roles() == []
    desk.clock.sleep(wait_s)  # time that a machine is suspended counts for a hold
    desk.supervisor.step()
    assert desk.roles() == ["builder"]
    assert desk.made[1].history.in_a_row == 1


def test_a_wished_stop_leaves_no_mark(desk: Desk) -> None:
    """If it counted as a failure, the next start would wait, and the third one would be a crash loop."""
    for generation in range(1, 10, 2):
        desk.wish("builder", generation=generation)
        desk.wish("builder", desired="stopped", generation=generation + 1)
        seat = desk.made[-1]
        assert seat.reasons == ["stopped by wish"]
        seat.on_end()
        desk.supervisor.step()
    assert [seat.history for seat in desk.made] == [History(generation=each) for each in range(1, 10, 2)]


def test_a_parked_role_is_tried_once_and_then_waits_for_a_person(desk: Desk) -> None:
    desk.wish("builder")
    for _ in range(3):
        wait_s = desk.die(desk.made[-1])
        desk.clock.move(wait_s)
        desk.supervisor.step()
    assert desk.roles() == [], "crash-looping"
    for _ in range(10):
        desk.clock.move(desk.supervisor.step())
    assert desk.roles() == ["builder"], "the probe run"
    assert desk.made[-1].history.is_parked
    assert desk.die(desk.made[-1]) == LOOK_EVERY_S
    desk.clock.move(1e7)
    desk.wish("builder")
    assert len(desk.made) == 4
    desk.wish("builder", generation=2)
    assert desk.made[-1].history == History(generation=2)


def test_who_was_paused_waits_for_its_time_or_for_a_person(desk: Desk) -> None:
    desk.wish("builder", "reviewer")
    now = desk.clock.boottime()
    desk.end(desk.made[1], paused(History(), 1, now, None, "the login is missing"))
    assert desk.end(desk.made[0], paused(History(), 1, now, now + 40.0, "too many requests")) == 40.0
    desk.clock.move(40.0)
    desk.supervisor.step()
    assert desk.roles() == ["builder"]


def test_a_supervisor_that_was_told_no_wishes_starts_and_stops_nothing(desk: Desk) -> None:
    """If no specs yet counted as empty specs, a new daemon would stop the runs it adopted before the first answer."""
    seat = desk.adopt(wish_for("builder"))
    for _ in range(3):
        assert desk.supervisor.step() == LOOK_EVERY_S
        desk.clock.move(LOOK_EVERY_S)
    assert desk.roles() == ["builder"]
    assert seat.reasons == []
    desk.die(seat)
    desk.clock.move(600.0)
    desk.supervisor.step()
    assert desk.made == []
    assert desk.histories.of(ROOM, "builder").in_a_row == 1, "the history is kept"


@pytest.mark.parametrize(
    ("roles", "desired", "generation", "reasons"),
    [
        (["builder"], "running", 1, []),
        (["builder"], "running", 2, ["the wish changed"]),
        (["builder"], "stopped", 2, ["stopped by wish"]),
        ([], "running", 2, ["stopped by wish"]),
    ],
)
def test_what_was_adopted_is_held_against_the_first_wishes(
    desk: Desk, roles: list[str], desired: str, generation: int, reasons: list[str]
) -> None:
    seat = desk.adopt(wish_for("builder"))
    desk.wish(*roles, desired=desired, generation=generation)
    desk.supervisor.step()
    assert seat.reasons == reasons
    assert desk.made == [], "one role runner at a time"
    seat.on_end()
    desk.supervisor.step()
    assert desk.roles() == (["builder"] if desired == "running" and roles else [])


def test_a_daemon_that_is_started_anew_keeps_to_the_rests_of_the_one_before(tmp_path: Path) -> None:
    """Without that, an agent that crashes its daemon is restarted as often as the daemon is."""
    first = Desk(tmp_path)
    first.wish("builder")
    for _ in range(3):
        first.clock.move(first.die(first.made[-1]))
        first.supervisor.step()
    second = Desk(tmp_path, first.clock)
    second.wish("builder")
    assert second.made == []
    second.clock.move(DEFAULTS.park_pause_s)
    second.supervisor.step()
    assert [seat.history.is_parked for seat in second.made] == [True]
    second.die(second.made[0])
    third = Desk(tmp_path, first.clock)
    third.clock.move(1e7)
    third.wish("builder")
    assert third.made == []


def test_a_daemon_killed_while_a_death_is_being_told_has_it_written_down(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    first.wish("builder")
    now = first.clock.boottime()
    first.histories.note(ROOM, "builder", ended(History(), 1, now, 0.5, DEFAULTS, "exit code 3"))
    second = Desk(tmp_path, first.clock)
    assert second.wish("builder") == pytest.approx(1.5)
    assert second.made == []


def test_a_role_that_is_wished_away_leaves_no_history_behind(desk: Desk) -> None:
    desk.wish("builder", "reviewer")
    desk.die(desk.made[1])
    desk.wish("reviewer")
    assert desk.histories.of(ROOM, "reviewer").in_a_row == 1
    desk.die(desk.made[0])
    assert desk.histories.of(ROOM, "builder") == History()
    desk.wish()
    assert desk.histories.of(ROOM, "reviewer") == History()


def test_why_a_role_is_as_it_is_is_said_once_and_until_when(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        desk.wish("builder")
        desk.die(desk.made[0])
        for _ in range(5):
            desk.clock.move(0.1)
            desk.supervisor.step()
    assert caplog.messages == [
        "agent status: r/builder: wished to run",
        "agent status: r/builder: backing off: an unintended end: exit code 3 (until 2025-10-09T08:53:21.500Z)",
    ]


def test_however_many_call_at_once_a_role_has_one_seat(desk: Desk) -> None:
    """Without one reconciler, several threads see a role without an agent, and each of them starts one."""
    begin, roles = threading.Barrier(8), [f"r{number}" for number in range(30)]

    def press() -> None:
        begin.wait(PATIENCE_S)
        for _ in range(5):
            desk.wish(*roles)

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(seat.wish.role for seat in desk.made) == sorted(roles)


def test_a_role_that_somebody_took_is_looked_at_again_after_an_interval(desk: Desk) -> None:
    desk.wish("builder")
    taken = yielded(History(), 1, desk.clock.boottime(), DEFAULTS)
    assert desk.end(desk.made[0], taken) == DEFAULTS.daemon_heartbeat_interval_s
    assert desk.roles() == []
    desk.clock.move(DEFAULTS.daemon_heartbeat_interval_s)
    desk.supervisor.step()
    assert desk.roles() == ["builder"]


def test_the_end_of_the_daemon_stops_every_seat_and_makes_no_new_one(desk: Desk) -> None:
    desk.wish("builder", "reviewer")
    assert not desk.supervisor.stop("the daemon was stopped", 0.0)
    assert [seat.reasons for seat in desk.made] == [["the daemon was stopped"]] * 2
    for seat in desk.made:
        seat.on_end()
    assert desk.supervisor.stop("the daemon was stopped", 0.0)
    desk.supervisor.step()
    assert len(desk.made) == 2


def test_the_end_of_the_daemon_stops_what_was_adopted_even_before_the_first_wishes(desk: Desk) -> None:
    seat = desk.adopt(wish_for("builder"))
    assert not desk.supervisor.stop("the daemon was stopped", 0.0)
    assert seat.reasons == ["the daemon was stopped"]


@pytest.fixture
def never_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the supervisor's own interval so long that only a new event can wake it."""
    monkeypatch.setattr(supervisor, "LOOK_EVERY_S", 10 * PATIENCE_S)


@pytest.mark.usefixtures("never_looks_by_itself")
def test_a_new_wish_is_looked_at_at_once(desk: Desk) -> None:
    desk.supervisor.start()
    desk.supervisor.take_wishes(Wishes(version=1, wishes=(wish_for("builder"),)))
    assert desk.has_made.wait(PATIENCE_S)
    desk.supervisor.stop("the test is over", 0.0)


@pytest.mark.usefixtures("never_looks_by_itself")
def test_a_wish_that_comes_between_a_look_and_the_wait_is_not_slept_over(desk: Desk) -> None:
    wishes = Wishes(version=2, wishes=(wish_for("builder"),))
    look, late = desk.supervisor.step, threading.Thread(target=desk.supervisor.take_wishes, args=(wishes,))

    def look_and_be_told() -> float:
        wait_s = look()
        if late.ident is None:
            late.start()
            late.join(0.2)
        return wait_s

    desk.supervisor.step = look_and_be_told  # type: ignore[method-assign]
    desk.supervisor.take_wishes(Wishes(version=1, wishes=()))
    desk.supervisor.start()
    assert desk.has_made.wait(PATIENCE_S)
    desk.supervisor.stop("the test is over", 0)
