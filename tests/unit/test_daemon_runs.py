import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from greenroom.daemon.leftovers import Leftovers
from greenroom.daemon.machine import slug, this_machine
from greenroom.daemon.runs import LogShelf, Run, RunBook
from greenroom.domain.errors import ConfigurationError, Unavailable
from greenroom.domain.reliability import DEFAULTS
from greenroom.entropy import SeededEntropy
from greenroom.process.group import Group
from greenroom.wire.requests import Fact

RUN = Run(task="task_1", attempt=2, room="room_1", role="builder", connection_id=f"conn_{os.getpid()}")
NOW = "2026-11-21T00:00:00.000Z"


def sleeper(tmp_path: Path, run: Run) -> Group:
    marks = {
        "GREENROOM_TASK": run.task,
        "GREENROOM_ATTEMPT": str(run.attempt),
        "GREENROOM_CONNECTION": run.connection_id,
    }
    env = {"PATH": os.environ["PATH"], **marks}
    return Group.spawn(["sleep", "1000"], tmp_path, env, b"", tmp_path / "out", tmp_path / "err")


def leftovers(book: RunBook) -> tuple[Leftovers, list[Fact]]:
    left, told = Leftovers(book, DEFAULTS, NOW), list[Fact]()
    left.end_all()
    left.tell(told.extend)
    return left, told


@pytest.mark.parametrize("is_known", [True, False], ids=["number known", "killed before it was written down"])
def test_what_a_killed_daemon_left_is_ended_and_told(tmp_path: Path, is_known: bool) -> None:
    run = msgspec.structs.replace(RUN, connection_id=f"conn_{tmp_path.name}"[:64])
    group = sleeper(tmp_path, run)
    book = RunBook(tmp_path / "runs")
    book.note(msgspec.structs.replace(run, identity=group.identity if is_known else None))
    _, told = leftovers(book)
    ended = group.wait(20)
    assert ended is not None
    assert ended.signal == 9
    assert [(fact.kind, fact.task, fact.attempt, fact.intended) for fact in told] == [("exited", "task_1", 2, False)]
    assert list(book.read_all()) == []


def test_a_process_that_got_the_number_later_survives(tmp_path: Path) -> None:
    stranger = sleeper(tmp_path, msgspec.structs.replace(RUN, connection_id="conn_of_another"))
    boot, _, _ = stranger.identity.started.rpartition(":")
    book = RunBook(tmp_path / "runs")
    book.note(msgspec.structs.replace(RUN, identity=msgspec.structs.replace(stranger.identity, started=f"{boot}:1")))
    _, told = leftovers(book)
    assert stranger.poll() is None
    assert told[0].signal is None
    stranger.stop(5)


def test_how_a_run_ended_is_told_as_it_was_when_the_daemon_knew(tmp_path: Path) -> None:
    known = Fact(
        id="fact_1",
        kind="exited",
        room="room_1",
        role="builder",
        connection_id=RUN.connection_id,
        intended=True,
        code=0,
    )
    book = RunBook(tmp_path / "runs")
    book.note(msgspec.structs.replace(RUN, fact=known))
    assert leftovers(book)[1] == [known]


def test_what_could_not_be_told_stays_written_down(tmp_path: Path) -> None:
    def refuse(facts: list[Fact]) -> None:
        raise Unavailable("The server cannot be reached.", "Check that it runs.")

    book = RunBook(tmp_path / "runs")
    book.note(RUN)
    left = Leftovers(book, DEFAULTS, NOW)
    left.end_all()
    with pytest.raises(Unavailable):
        left.tell(refuse)
    assert list(book.read_all()) == [RUN]
    told: list[Fact] = []
    left.tell(told.extend)
    left.tell(told.extend)
    assert len(told) == 1


def test_a_file_that_tells_of_no_run_is_put_aside(tmp_path: Path) -> None:
    book = RunBook(tmp_path)
    (tmp_path / "task_1.1.json").write_text("{")
    book.note(RUN)
    assert list(book.read_all()) == [RUN]
    assert (tmp_path / "task_1.1.unreadable").exists()


def test_seats_that_look_at_the_same_moment_do_not_disturb_each_other(tmp_path: Path) -> None:
    book = RunBook(tmp_path / "runs")
    with ThreadPoolExecutor(8) as pool:
        for look in [pool.submit(book.check) for _ in range(200)]:
            look.result()
    assert list((tmp_path / "runs").iterdir()) == []


def test_only_the_newest_logs_of_a_role_are_kept(tmp_path: Path) -> None:
    shelf = LogShelf(tmp_path, kept_max=3)
    for attempt in range(1, 7):
        folder = shelf.place("r", "builder", "task_1", attempt)
        folder.mkdir()
        os.utime(folder, (attempt, attempt))
    assert sorted(path.name for path in (tmp_path / "r" / "builder").iterdir()) == ["task_1.4", "task_1.5", "task_1.6"]


def test_a_machine_keeps_its_id(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    first = this_machine(path, SeededEntropy(1))
    assert this_machine(path, SeededEntropy(2)) == first
    assert first.id.startswith(f"{first.name[:59]}-")
    renamed = this_machine(path, SeededEntropy(2), "tower")
    assert (renamed.id, renamed.name) == (first.id, "tower")


def test_a_machine_that_is_named_at_its_first_start_is_whom_its_token_was_made_for(tmp_path: Path) -> None:
    named = this_machine(tmp_path / "machine.json", SeededEntropy(1), "tower")
    assert (named.id, named.name) == ("tower", "tower")


@pytest.mark.parametrize("content", ["{", '{"id": "a b", "name": "x"}', "{}"])
def test_a_file_that_names_no_machine_is_told_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="who this machine is"):
        this_machine(path, SeededEntropy(1))
    assert path.read_text() == content


def test_any_host_has_a_name() -> None:
    assert slug("Büro PC.local") == "B-ro-PC"
    assert slug("---") == "machine"
    assert len(slug("x" * 300)) == 64
