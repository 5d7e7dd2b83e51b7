"""Notes on a task reach the agent that holds it, with a beat or a claim, and none is lost."""

from collections.abc import Callable

import pytest

from greenroom.domain.errors import Conflict, Unusable
from greenroom.domain.task import NOTES_MAX, Task
from greenroom.wire.requests import Fact
from tests.service.house import House


@pytest.fixture
def house() -> House:
    made = House()
    made.room()
    made.join("builder", "A")
    return made


def working(house: House) -> Task:
    house.send()
    task = house.claim("builder", "A")
    assert task is not None
    return task


def told(house: House, connection: str = "A") -> list[str]:
    return list(house.beat("builder", connection).notes)


def test_every_beat_tells_all_of_them_again(house: House) -> None:
    """So a lost response loses no note."""
    task = working(house)
    assert [] == told(house)

    noted = house.note(task.id, "use the blue one")
    assert [("use the blue one", 1, "operator")] == [(note.text, note.attempt, note.by) for note in noted.notes]
    house.note(task.id, "and be quick")

    assert ["use the blue one", "and be quick"] == told(house) == told(house)
    assert task.id == house.beat("builder", "A").task.id  # type: ignore[union-attr]
    assert 2 == house.event_types().count("task.noted")


def test_an_attempts_beats_tell_what_was_written_since_it_began(house: House) -> None:
    task = working(house)
    house.note(task.id, "to the first")
    house.reset(task.id)
    assert [] == told(house)
    house.note(task.id, "to whoever comes")

    again = house.claim("builder", "A")

    assert again is not None
    assert ["to the first", "to whoever comes"] == [note.text for note in again.notes]
    assert [1, None] == [note.attempt for note in again.notes]
    assert [] == told(house)
    house.note(task.id, "to the second")
    assert ["to the second"] == told(house)


def test_the_next_task_has_none_of_them(house: House) -> None:
    task = working(house)
    house.note(task.id)
    house.complete(task.id, "A", 1)
    assert [] == told(house)
    working(house)
    assert [] == told(house)


def test_they_are_there_again_after_a_restart(house: House) -> None:
    task = working(house)
    house.note(task.id, "use the blue one")
    house.open()
    assert ["use the blue one"] == told(house)


def test_they_are_there_again_after_an_outage(house: House) -> None:
    """Also notes written while the task was released: its holder resumes it without a new claim."""
    task = working(house)
    house.note(task.id, "before")
    house.pass_time(house.limits.heartbeat_ttl_s + 2)
    house.note(task.id, "while it was silent")
    house.pass_time(house.limits.task_lost_after_s + 2)
    assert "pending" == house.task(task.id).status
    house.note(task.id, "while it was lost")

    assert task.id == house.join("builder", "A").task.id  # type: ignore[union-attr]

    assert ["before", "while it was silent", "while it was lost"] == told(house)


def test_a_daemons_beat_tells_those_of_its_agents(house: House) -> None:
    house.register()
    house.wish("builder")
    house.beat_machine()
    task = working(house)
    house.note(task.id, "use the blue one")
    house.beat_machine(("builder", "A"))

    [verdict] = house.beat_machine(("builder", "A")).agents
    assert ("ok", ("use the blue one",)) == (verdict.status, verdict.notes)

    house.pass_time(house.limits.daemon_heartbeat_ttl_s + 2)
    [verdict] = house.beat_machine(("builder", "A")).agents
    assert ("ok", ("use the blue one",)) == (verdict.status, verdict.notes)


def test_a_run_that_ended_takes_its_notes_from_the_beats(house: House) -> None:
    house.register()
    house.wish("builder")
    house.beat_machine()
    task = working(house)
    house.note(task.id)
    house.beat_machine(("builder", "A"))
    house.report(Fact(id="f1", kind="exited", room="r", role="builder", connection_id="A", task=task.id, attempt=1,
                      intended=True))  # fmt: skip
    [verdict] = house.beat_machine(("builder", "A")).agents
    assert (None, ()) == (verdict.task, verdict.notes)


def test_so_many_and_no_more(house: House) -> None:
    task = working(house)
    for number in range(NOTES_MAX):
        house.note(task.id, f"note {number}")
    with pytest.raises(Conflict, match="20 notes already"):
        house.note(task.id, "one more")
    assert [f"note {number}" for number in range(NOTES_MAX)] == told(house)


def test_nobody_reads_a_note_on_what_is_over(house: House) -> None:
    task = working(house)
    house.complete(task.id, "A", 1)
    with pytest.raises(Conflict, match="no agent would read"):
        house.note(task.id)


def test_a_text_that_cannot_be_stored_is_refused(house: House) -> None:
    task = working(house)
    refusals: tuple[Callable[[], object], ...] = (
        lambda: house.note(task.id, "a\0b"),
        lambda: house.cancel(task.id, "a\0b"),
        lambda: house.decline(task.id, "A", 1, "half \ud800 of one"),
        lambda: house.send_back(task.id, reason="a\0b"),
    )
    for refused in refusals:
        with pytest.raises(Unusable):
            refused()
    assert "acknowledged" == house.task(task.id).status
