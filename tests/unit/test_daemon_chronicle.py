"""An exit is recorded in several files. A daemon may be killed after each of them; the next one completes the record.

At worst a report is sent twice, with the same id, and the server accepts it once.
"""

import os
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greenroom.client.outcome import DONE, PAUSED, Outcome
from greenroom.clock import SystemClock, seconds_of
from greenroom.daemon import adoption, histories, outbox
from greenroom.daemon.chronicle import Chronicle, id_of_sitting
from greenroom.daemon.harness import House
from greenroom.daemon.histories import Histories
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.premises import Premises
from greenroom.daemon.resident import ResidentSeat
from greenroom.daemon.residents import Resident, ResidentBook
from greenroom.daemon.runs import Run, RunBook
from greenroom.daemon.shelf import LogShelf
from greenroom.domain import supervision
from greenroom.domain.supervision import PARKED, History
from greenroom.domain.supervision import PAUSED as RESTS
from greenroom.entropy import SystemEntropy
from greenroom.process.group import Exit
from greenroom.wire.requests import Fact
from tests.unit.stage import LIMITS, WISH, ScriptedDesk, Stage
from tests.unit.stand_in import Server
from tests.unit.test_daemon_adoption import Held, run_in, spawn
from tests.unit.test_daemon_resident import Residence, left_behind
from tests.unit.test_daemon_seat import died_often, on_trial
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ALMOST_PARKED = LIMITS.park_after_ends - 1
LIMITED = """echo '{"status": "login_required"}' > logs/r/builder/task_1.1/result.json; exit 1"""


class Killed(BaseException):
    """Raised where the daemon is killed."""


Told = list[tuple[str, bool | None, bool | None]]
Tell = Callable[[Chronicle], object]


def premises_in(folder: Path) -> Premises:
    clock, book = SystemClock(), RunBook(folder / "runs")
    return Premises(
        desk=ScriptedDesk(Server()),
        house=House({}, (), folder / "work"),
        outbox=Outbox(folder / "outbox", LIMITS.facts_waiting_max),
        book=book,
        shelf=LogShelf(folder / "logs", 5, 1024 * 1024, book.folders_in_use),
        histories=Histories(folder / "histories.json", "boot", clock, LIMITS),
        clock=clock,
        entropy=SystemEntropy(),
        limits=LIMITS,
        environ={},
        is_connected=lambda: True,
        beat_now=lambda: None,
    )


def history_in(folder: Path) -> History:
    return premises_in(folder).histories.of(WISH.room, WISH.role)


def is_killed_after(steps: int, tell: Callable[[], object]) -> bool:
    """Kill a call after that many files were written or removed; False if the call completed before."""
    left = steps

    def then(act: Callable[..., None], *arguments: Any) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        act(*arguments)
        left -= 1

    with pytest.MonkeyPatch.context() as patch:
        for module in (histories, outbox):
            patch.setattr(module, "write_record", partial(then, module.write_record))
        for book in (RunBook, ResidentBook):
            forget = book.forget
            patch.setattr(book, "forget", lambda *arguments, forget=forget: then(forget, *arguments))
        try:
            tell()
        except Killed:
            return True
    return False


def told_once(facts: list[Fact]) -> Told:
    """What the server accepts of these reports: each id once."""
    taken = {fact.id: fact for fact in facts if fact.kind != "started"}
    return [(fact.kind, fact.intended, fact.trial) for fact in taken.values()]


def next_daemon(folder: Path, server: Callable[[Run], Server] = Held) -> list[Fact]:
    """The reports of the next daemon over the same folder. It adopts the runs that are still recorded."""
    waiting, history = premises_in(folder).outbox, history_in(folder)
    runs = adoption.take_over(RunBook(folder / "runs"), waiting, SystemClock())
    if not runs:
        return waiting.first(100)
    stage = Stage(folder, server(runs[0]), "true", adopted=runs[0], history=history)
    wait_until(lambda: stage.ended.is_set() or bool(stage.server.called("claim")), "the role runner ended or claims")
    stage.end()
    wait_until(lambda: not Outbox(folder / "outbox", 100).first(1), "the outbox is empty")
    return stage.facts


def next_daemon_of_resident(folder: Path) -> list[Fact]:
    waiting, history = premises_in(folder).outbox, history_in(folder)
    stayed = ResidentBook(folder / "residents").take_over(
        (), lambda connection: waiting.holds(id_of_sitting("exit", connection))
    )
    if not stayed:
        return waiting.first(100)
    stage = Residence(folder, Server(), "true", stays=stayed[0], history=history)
    assert stage.ended.wait(PATIENCE_S)
    wait_until(lambda: not Outbox(folder / "outbox", 100).first(1), "the outbox is empty")
    return stage.facts


def ended_run(folder: Path, script: str, history: History, trial: bool) -> Run:
    """A run that has ended and is not reported yet."""
    run = run_in(folder, trial=trial)
    spawn(run, script, folder).wait(PATIENCE_S)
    premises_in(folder).histories.note(WISH.room, WISH.role, history)
    return run


def died(run: Run | None, chronicle: Chronicle) -> None:
    chronicle.died("it broke", run, Exit(7, None))


def paused(run: Run, chronicle: Chronicle) -> None:
    chronicle.paused(run, Outcome(kind=PAUSED, detail="Its login is needed", exit=Exit(1, None)))


def did_it(run: Run, chronicle: Chronicle) -> None:
    chronicle.ended(run, Outcome(kind=DONE, detail="Its output went to reviewer.", exit=Exit(0, None)))


def by_seat(folder: Path, connection_id: str, tell: Tell, **more: Any) -> None:
    tell(Chronicle(premises_in(folder), WISH, connection_id, history_in(folder), **more))


BACKS_OFF = [("exited", False, False)]
PARKS = [("exited", False, False), ("parked", False, None)]
PARKS_FOR_GOOD = [("exited", False, True), ("parked", False, None)]


@pytest.mark.parametrize(
    ("script", "ends", "trial", "tell", "told", "rest", "count_of_ends", "is_for_person"),
    [
        ("exit 7", 0, False, died, BACKS_OFF, supervision.BACKING_OFF, 1, False),
        ("exit 7", ALMOST_PARKED, False, died, PARKS, PARKED, LIMITS.park_after_ends, False),
        ("exit 7", 0, True, died, PARKS_FOR_GOOD, PARKED, 0, True),
        (LIMITED, 1, False, paused, [("exited", True, None), ("paused", False, None)], RESTS, 1, True),
        ("true", 0, True, did_it, [("exited", True, None), ("unparked", False, None)], None, 0, False),
    ],
    ids=["failed", "crash-looping", "probe run failed", "paused", "probe run succeeded"],
)
def test_wherever_a_daemon_is_killed_an_end_is_told_whole_and_counts_once(
    tmp_path: Path,
    script: str,
    ends: int,
    trial: bool,
    tell: Callable[[Run, Chronicle], None],
    told: Told,
    rest: str | None,
    count_of_ends: int,
    is_for_person: bool,
) -> None:
    for steps in count():
        folder = tmp_path / f"{tmp_path.name}_{steps}"
        run = ended_run(folder, script, on_trial() if trial else died_often(ends), trial)
        is_killed = is_killed_after(steps, partial(by_seat, folder, run.connection_id, partial(tell, run)))
        assert (steps, told_once(next_daemon(folder))) == (steps, told)
        history = history_in(folder)
        assert (steps, history.rest, len(history.ends)) == (steps, rest, count_of_ends)
        assert (steps, history.needs_person) == (steps, is_for_person)
        assert list(RunBook(folder / "runs").read_all()) == []
        if not is_killed:
            break
    assert steps == 3, "the restart history, the reports, and the removed record of the run"


def ended_resident(folder: Path) -> Callable[[], None]:
    """A resident that has ended and is not reported yet. Returns the call by which its role runner records the end."""
    resident = left_behind(folder, "exit 7", f"conn_{folder.name}_{os.getpid()}")
    wait_until(lambda: (Path(resident.folder) / "exit.json").exists(), "the resident has ended")
    book, connection_id = ResidentBook(folder / "residents"), resident.connection_id
    book.note(resident)
    premises_in(folder).histories.note(WISH.room, WISH.role, died_often(ALMOST_PARKED))
    return partial(by_seat, folder, connection_id, partial(died, None), when_over=lambda: book.forget(connection_id))


def test_wherever_a_daemon_is_killed_a_resident_dies_once(tmp_path: Path) -> None:
    for steps in count():
        folder = tmp_path / f"{tmp_path.name}_{steps}"
        is_killed = is_killed_after(steps, ended_resident(folder))
        assert (steps, told_once(next_daemon_of_resident(folder))) == (steps, PARKS)
        history = history_in(folder)
        assert (steps, history.rest, len(history.ends)) == (steps, PARKED, LIMITS.park_after_ends)
        assert not history.needs_person
        assert residents_in(folder) == []
        if not is_killed:
            break
    assert steps == 3


def residents_in(folder: Path) -> list[Resident]:
    files = (folder / "residents").glob("*.json")
    return [msgspec.json.decode(path.read_bytes(), type=Resident) for path in files]


def test_a_death_that_was_counted_is_told_though_its_task_is_gone_by_now(tmp_path: Path) -> None:
    run = ended_run(tmp_path, "exit 7", died_often(ALMOST_PARKED), trial=False)
    assert is_killed_after(1, partial(by_seat, tmp_path, run.connection_id, partial(died, run)))

    def elsewhere(run: Run) -> Server:
        server = Held(run)
        server.status[run.task] = "pending"
        return server

    assert told_once(next_daemon(tmp_path, elsewhere)) == PARKS
    assert history_in(tmp_path).rest == PARKED


def test_a_death_that_was_counted_is_told_though_its_resident_is_stopped_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_killed_after(1, ended_resident(tmp_path))
    start = ResidentSeat.start

    def stopped_at_once(seat: ResidentSeat) -> None:
        seat.stop("stopped by wish")
        start(seat)

    monkeypatch.setattr(ResidentSeat, "start", stopped_at_once)
    assert told_once(next_daemon_of_resident(tmp_path)) == PARKS


def test_what_can_be_handed_on_after_all_is_no_death_though_it_was_counted(tmp_path: Path) -> None:
    run = ended_run(tmp_path, "true", died_often(ALMOST_PARKED), trial=False)
    assert is_killed_after(1, partial(by_seat, tmp_path, run.connection_id, partial(died, run)))
    assert history_in(tmp_path).is_parked
    assert told_once(next_daemon(tmp_path)) == [("exited", True, None)]
    assert not history_in(tmp_path).is_parked


def test_what_hinders_a_run_ends_its_sitting_in_the_same_file(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    RunBook(tmp_path / "runs").note(run)
    tell = partial(by_seat, tmp_path, run.connection_id, lambda it: it.hindered("The disk is full.", run))
    assert is_killed_after(2, tell)
    assert told_once(next_daemon(tmp_path)) == [("exited", True, None), ("exited", False, False)]
    assert history_in(tmp_path).rest == supervision.BACKING_OFF


def test_who_has_lived_through_its_trial_twice_is_told_of_once(tmp_path: Path) -> None:
    premises_in(tmp_path).histories.note(WISH.room, WISH.role, on_trial())
    tell = partial(by_seat, tmp_path, "conn_1", Chronicle.is_well)
    assert is_killed_after(1, tell)
    assert history_in(tmp_path).is_parked
    assert not is_killed_after(2, tell)
    assert told_once(premises_in(tmp_path).outbox.first(100)) == [("unparked", False, None)]
    assert not history_in(tmp_path).is_parked


def test_until_when_it_rests_is_the_same_in_all_that_is_told_of_an_end(tmp_path: Path) -> None:
    run = ended_run(tmp_path, "exit 7", died_often(ALMOST_PARKED), trial=False)
    before = SystemClock().wall()
    by_seat(tmp_path, run.connection_id, partial(died, run))
    exited, parked = premises_in(tmp_path).outbox.first(100)
    assert exited.until == parked.until
    assert seconds_of(str(parked.until)) >= before + LIMITS.park_pause_s - 0.01


def test_a_directory_whose_name_is_no_text_keeps_no_fact_from_being_told(tmp_path: Path) -> None:
    name = os.fsdecode(b"odd\xff")
    by_seat(tmp_path, "conn_1", lambda it: it.hindered(f"No agent may work in {name}."))
    by_seat(tmp_path, "conn_2", lambda it: it.is_over("stopped"))
    assert [fact.detail for fact in premises_in(tmp_path).outbox.first(100)] == [
        "No agent may work in odd?.",
        "stopped",
    ]
