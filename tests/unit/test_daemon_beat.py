import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from greenroom.client.session import Session
from greenroom.daemon.beat import MachineBeat
from greenroom.daemon.desk import Desk
from greenroom.daemon.facts import FactTeller
from greenroom.daemon.machine import Machine
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.wishing import WishWatch
from greenroom.domain.errors import NotFound, Refused, RejoinRequired, Unavailable
from greenroom.domain.reliability import DEFAULTS
from greenroom.entropy import SeededEntropy
from greenroom.wire.replies import AgentVerdict, MachineHeartbeatReply, TaskRef, Wishes
from greenroom.wire.requests import Fact, MachineHeartbeat, PostFacts, PutMachine


@dataclass
class Seat:
    """A role runner that records its calls."""

    role: str
    room: str = "room_1"
    connection_id: str = "conn_1"
    told: list[Any] = field(default_factory=list)

    def join_again(self, session: Session) -> None:
        self.told.append("join again")

    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        self.told.append((task, asked_at))

    def drain(self) -> None:
        self.told.append("drain")

    def yield_role(self) -> None:
        self.told.append("yield")


class FakeSession(Session):
    """A session with prepared answers."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", None, DEFAULTS)
        self.errors: list[Exception] = []
        self.facts_errors: list[Exception] = []
        self.calls: list[str] = []
        self.told: list[Fact] = []
        self.bodies: list[MachineHeartbeat] = []
        self.answers: list[Wishes] = []
        self.afters: list[int | None] = []

    def machine_beat(self, machine: str, body: MachineHeartbeat) -> MachineHeartbeatReply:
        self.calls.append("beat")
        if self.errors:
            raise self.errors.pop(0)
        self.bodies.append(body)
        return MachineHeartbeatReply(status="ok", daemon_connected=True, next_in_s=1.0, wishes_version=4)

    def facts(self, machine: str, body: PostFacts) -> Any:
        self.calls.append("facts")
        if self.facts_errors:
            raise self.facts_errors.pop(0)
        self.told += body.facts

    def wishes(self, machine: str, after: int | None = None, wait_s: float = 0.0) -> Wishes:
        self.afters.append(after)
        if self.errors:
            raise self.errors.pop(0)
        return self.answers.pop(0)


class FakeDesk(Desk):
    """A server link on which registering always succeeds and is recorded."""

    def __init__(self) -> None:
        introduction = PutMachine(name="m1", harnesses=[])
        machine = Machine(id="m1", name="m1")
        super().__init__("http://127.0.0.1:1", lambda: None, machine, lambda: introduction, DEFAULTS)
        self.session = FakeSession()

    def register(self) -> Session:
        self.session.calls.append("register")
        return self.session


def beat_of(tmp_path: Path, *seats: Seat) -> tuple[MachineBeat, FakeSession, list[int]]:
    outbox = Outbox(tmp_path / "outbox", 10)
    outbox.put(Fact(id="exit:task_1.1.conn_0", kind="exited", room="r", role="builder", connection_id="conn_0"))
    return beat_telling(outbox, *seats)


def beat_telling(outbox: Outbox, *seats: Seat) -> tuple[MachineBeat, FakeSession, list[int]]:
    teller = FactTeller(outbox, lambda facts: None, DEFAULTS, SeededEntropy(1), lambda: None, lambda: None)
    desk, versions = FakeDesk(), list[int]()
    beat = MachineBeat(desk, "inc_1", lambda: seats, versions.append, teller.deliver_all)
    return beat, desk.session, versions


def reply(*agents: AgentVerdict) -> MachineHeartbeatReply:
    return MachineHeartbeatReply(status="ok", daemon_connected=True, next_in_s=1.0, wishes_version=4, agents=agents)


def test_what_an_earlier_daemon_could_not_tell_is_told_before_the_first_beat_and_once(tmp_path: Path) -> None:
    beat, session, _ = beat_of(tmp_path)
    beat.register_and_beat()
    beat.beat(0.0)
    beat.register_and_beat()
    assert session.calls == ["register", "facts", "beat", "beat", "register", "beat"]


def test_facts_that_cannot_be_told_hold_up_the_first_beat(tmp_path: Path) -> None:
    beat, session, _ = beat_of(tmp_path)
    session.facts_errors.append(Unavailable("d", "g"))
    with pytest.raises(Unavailable):
        beat.register_and_beat()
    assert "beat" not in session.calls  # its inventory would contradict reports that are not sent yet
    beat.register_and_beat()
    assert session.calls[-2:] == ["facts", "beat"]


def test_who_ends_while_the_first_beat_is_prepared_is_told_before_it_or_named_in_it(tmp_path: Path) -> None:
    told: list[str] = []
    seats = [Seat("builder")]

    def tell_all(post: object) -> None:
        told.append("facts")
        seats.clear()  # its exit is reported at this moment, too late for this delivery

    desk = FakeDesk()
    MachineBeat(desk, "inc_1", lambda: list(seats), lambda version: None, tell_all).register_and_beat()
    assert told == ["facts"]
    assert [agent.role for agent in desk.session.bodies[0].agents] == ["builder"]


def test_a_beat_carries_every_agent(tmp_path: Path) -> None:
    beat, session, _ = beat_of(tmp_path, Seat("builder"), Seat("reviewer", connection_id="conn_2"))
    beat.register_and_beat()
    beat.beat(2.5)
    assert [(agent.role, agent.connection_id) for agent in session.bodies[1].agents] == [
        ("builder", "conn_1"),
        ("reviewer", "conn_2"),
    ]
    assert (session.bodies[1].incarnation, session.bodies[1].slept_s) == ("inc_1", 2.5)


@pytest.mark.parametrize(
    "error", [NotFound("d", "g"), Refused("d", "g")], ids=["response to an operator", "response to a machine"]
)
def test_a_server_that_forgot_the_machine_is_registered_with_again(tmp_path: Path, error: Exception) -> None:
    beat, session, _ = beat_of(tmp_path)
    beat.register_and_beat()
    session.errors.append(error)
    with pytest.raises(RejoinRequired):
        beat.beat(0.0)


def test_a_refusal_is_for_a_person_at_first_and_tried_on_later(tmp_path: Path) -> None:
    beat, session, _ = beat_of(tmp_path)
    session.errors.append(Refused("d", "g"))
    with pytest.raises(Refused):
        beat.register_and_beat()
    beat.register_and_beat()
    session.errors.append(Refused("d", "g"))
    with pytest.raises(Unavailable):
        beat.register_and_beat()


def test_each_verdict_reaches_its_seat(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seats = {name: Seat(name) for name in ("well", "gone", "taken", "leaving", "lost")}
    beat, _, versions = beat_of(tmp_path, *seats.values())
    beat.register_and_beat()
    task = TaskRef("task_1", 1)
    verdicts = {"well": "ok", "gone": "rejoin_required", "taken": "superseded", "leaving": "drain", "stranger": "ok"}
    agents = [AgentVerdict(room="room_1", role=role, status=verdict, task=task) for role, verdict in verdicts.items()]
    agents.append(AgentVerdict(room="room_1", role="lost", status="rejoin_required"))
    beat.take(reply(*agents), 7.0)
    assert {name: seat.told for name, seat in seats.items()} == {
        "well": [(task, 7.0)],
        "gone": ["join again"],
        "taken": ["yield"],
        "leaving": ["drain", (task, 7.0)],
        "lost": ["join again"],
    }
    assert versions == [4]
    assert [record.levelname for record in caplog.records if "agents rejoined: " in record.message] == ["WARNING"]


def test_a_verdict_is_for_the_sitting_that_was_named_and_not_for_the_next_one(tmp_path: Path) -> None:
    seat = Seat("builder")
    beat, _, _ = beat_of(tmp_path, seat)
    beat.register_and_beat()
    seat.connection_id = "conn_2"  # the participant that was named has ended, and the next one has joined
    for status in ("superseded", "drain", "ok", "rejoin_required"):
        beat.take(reply(AgentVerdict(room="room_1", role="builder", status=status)), 7.0)
    assert seat.told == []


def test_a_server_that_goes_away_again_is_not_waited_for_once_for_each_agent(tmp_path: Path) -> None:
    asked: list[str] = []

    class Away(Seat):
        def join_again(self, session: Session) -> None:
            asked.append(self.role)
            raise Unavailable("d", "g")

    seats = [Away(f"role-{number}") for number in range(50)]
    beat, _, _ = beat_of(tmp_path, *seats)
    beat.register_and_beat()
    beat.take(reply(*[AgentVerdict(room="room_1", role=seat.role, status="rejoin_required") for seat in seats]), 7.0)
    assert asked == ["role-0"]


class Watch:
    """A watch of agent specs whose requests the test triggers itself."""

    def __init__(self, *answers: Wishes) -> None:
        self.desk = FakeDesk()
        self.desk.session.answers = list(answers)
        self.heard: list[Wishes] = []
        self.forgotten = threading.Event()
        self.watch = WishWatch(
            lambda: self.desk.session,
            "m1",
            DEFAULTS,
            SeededEntropy(1),
            self.heard.append,
            self.forgotten.set,
            lambda: None,
        )
        self.watch.renew()  # makes its pauses end at once


def wishes(version: int) -> Wishes:
    return Wishes(version=version, wishes=())


def test_wishes_are_asked_for_anew_only_when_they_are_newer() -> None:
    watch = Watch(wishes(4), wishes(4), wishes(5))
    for _ in range(3):
        watch.watch.ask()
    assert watch.desk.session.afters == [None, 4, 4]
    assert [each.version for each in watch.heard] == [4, 5]


def test_another_version_in_a_beat_is_looked_at_at_once_even_a_lower_one() -> None:
    watch = Watch(wishes(9), wishes(2))
    watch.watch.ask()
    watch.watch.heard_of(9)
    assert watch.watch._version == 9
    watch.watch.heard_of(2)
    watch.watch.ask()
    assert watch.desk.session.afters == [None, None]
    assert [each.version for each in watch.heard] == [9, 2]


def test_an_absent_server_is_asked_again_and_a_refusal_lets_the_machine_register() -> None:
    watch = Watch(wishes(1))
    watch.desk.session.errors = [Unavailable("d", "g", "unreachable"), Refused("d", "g")]
    watch.watch.ask()
    assert not watch.forgotten.is_set()
    watch.watch.ask()
    assert watch.forgotten.is_set()
    watch.watch.ask()
    assert [each.version for each in watch.heard] == [1]
