"""Runs one role runner of a daemon between a fake server and real processes."""

import threading
from collections.abc import Callable
from pathlib import Path

from greenroom.client.session import Session
from greenroom.clock import Clock, SystemClock
from greenroom.daemon.desk import Desk
from greenroom.daemon.facts import FactTeller
from greenroom.daemon.harness import House
from greenroom.daemon.histories import Histories
from greenroom.daemon.machine import Machine
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.premises import Premises
from greenroom.daemon.runs import Run, RunBook
from greenroom.daemon.seat import Seat
from greenroom.daemon.shelf import LogShelf
from greenroom.daemon.worker import WorkerSeat
from greenroom.domain.reliability import Reliability
from greenroom.domain.supervision import History
from greenroom.entropy import SystemEntropy
from greenroom.settings.harness import Harness
from greenroom.wire.replies import Wish
from greenroom.wire.requests import Fact, PutMachine
from tests.unit.stand_in import Server, StandInTransport
from tests.waiting import PATIENCE_S, NotYet, wait_until

LIMITS = Reliability(retry_pause_s=0.01, stop_grace_s=PATIENCE_S, takeover_grace_s=PATIENCE_S)
ENVIRON = {"PATH": "/usr/bin:/bin", "GREENROOM_TOKEN": "of the operator", "SECRET": "s"}
WISH = Wish(
    room="room_1",
    room_name="r",
    role="builder",
    roles=("builder", "reviewer"),
    desired="running",
    generation=3,
    harness="sh",
    model=None,
    workdir=None,
)


class ScriptedDesk(Desk):
    """A server link whose sessions lead to the fake server."""

    def __init__(self, server: Server) -> None:
        introduction = PutMachine(name="m1", harnesses=[])
        machine = Machine(id="m1", name="m1")
        super().__init__("http://127.0.0.1:1", lambda: None, machine, lambda: introduction, LIMITS)
        self._server = server
        self.lines: list[StandInTransport] = []

    def open_session(self) -> Session:
        self.lines.append(StandInTransport(self._server))
        return Session(self.url, None, LIMITS, self.lines[-1])


class Stage:
    """One role runner, with a fake server in front of it and real processes behind it."""

    def __init__(
        self,
        tmp_path: Path,
        server: Server,
        script: str,
        wish: Wish = WISH,
        environ: dict[str, str] = ENVIRON,
        history: History | None = None,
        adopted: Run | None = None,
        takes_facts: bool = True,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.server = server
        self.facts: list[Fact] = []
        self.put: list[tuple[str, bool]] = []
        self.ended = threading.Event()
        self.beats = threading.Event()
        entropy = SystemEntropy()  # runs are found by their ids, which must differ from those of another test process
        self.outbox = outbox = WatchedOutbox(self, tmp_path / "outbox", LIMITS.facts_waiting_max)
        self.takes_facts = threading.Event()
        if takes_facts:
            self.takes_facts.set()
        FactTeller(outbox, self.post, LIMITS, entropy, lambda: None, lambda: None).start()
        self.book = RunBook(tmp_path / "runs")
        self.logs = tmp_path / "logs"
        harness = Harness(command=("sh", "-c", script), env={"OWN": "own"})
        self.desk = ScriptedDesk(server)
        premises = Premises(
            desk=self.desk,
            house=House({"sh": harness}, (), tmp_path / "work"),
            outbox=outbox,
            book=self.book,
            shelf=LogShelf(self.logs, 5, 1024 * 1024, self.book.folders_in_use),
            histories=Histories(tmp_path / "histories.json", "boot", clock, LIMITS),
            clock=clock,
            entropy=entropy,
            limits=LIMITS,
            environ=environ,
            is_connected=lambda: True,
            beat_now=self.beats.set,
        )
        history = history or History(generation=wish.generation)
        self.seat = self.make_seat(premises, wish, history, adopted)
        self.seat.start()

    def make_seat(self, premises: Premises, wish: Wish, history: History, adopted: Run | None) -> Seat:
        return WorkerSeat(premises, wish, history, self.ended.set, adopted)

    def post(self, facts: list[Fact]) -> None:
        assert self.takes_facts.wait(PATIENCE_S)
        self.facts.extend(facts)

    def kinds(self) -> list[str]:
        return [fact.kind for fact in self.facts]

    def told(self) -> list[tuple[str, bool | None, int | None, int | None]]:
        return [(fact.kind, fact.intended, fact.code, fact.signal) for fact in self.facts]

    def wait_for_facts(self, count: int) -> list[Fact]:
        def look() -> list[Fact]:
            if len(self.facts) < count:
                raise NotYet(self.facts)
            return self.facts

        return wait_until(look, f"{count} reports arrive")

    def end(self, reason: str = "stopped by wish") -> None:
        """Stop the role runner, and wait until every report is sent that can be sent."""
        self.seat.stop(reason)
        assert self.ended.wait(PATIENCE_S), "the role runner did not end"
        if self.takes_facts.is_set():
            assert self.outbox.wait(lambda count: count == 0, PATIENCE_S) == 0, "not every report was sent"


class WatchedOutbox(Outbox):
    """Records for each report whether the heartbeats still named the participant at that moment."""

    def __init__(self, stage: Stage, folder: Path, waiting_max: int) -> None:
        super().__init__(folder, waiting_max)
        self._stage = stage

    def put(self, *facts: Fact, when_safe: Callable[[], None] = lambda: None) -> threading.Event:
        self._stage.put += [(fact.kind, self._stage.seat.is_seated) for fact in facts]
        return super().put(*facts, when_safe=when_safe)
