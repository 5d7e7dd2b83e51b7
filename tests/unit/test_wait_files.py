import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from greenroom.agent import claim_file, sitting_file
from greenroom.agent.claim_file import Claim, Wanted
from greenroom.agent.sitting_file import FINISHED, HANDED, PAUSED, WAITING, SittingFile
from greenroom.domain.errors import Unusable
from greenroom.process.identity import Identity
from greenroom.settings import paths
from greenroom.settings.private_file import read_record, write_record, write_text

URL = "http://127.0.0.1:6464"
NO_ENVIRONMENT: Mapping[str, str] = {}


def claim_of(task: str = "task_1", attempt: int = 1, room: str = "demo", role: str = "builder") -> Claim:
    return Claim(url=URL, room=room, role=role, task=task, attempt=attempt, connection_id="conn_1", token="secret")


def test_a_claim_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = claim_file.write(tmp_path, claim_of())
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    folder = path.parent
    while folder != tmp_path:
        assert 0o700 == stat.S_IMODE(folder.stat().st_mode), folder
        folder = folder.parent
    assert claim_of() == read_record(path, Claim)
    assert [path] == [found for found in tmp_path.rglob("*") if found.is_file()], "no partly written file is left"


def test_a_claim_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "note"
    write_text(path, "whole")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert "whole" == path.read_text()
    assert [path] == list(tmp_path.iterdir())


def test_a_task_with_the_name_of_another_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable):
        claim_file.write(tmp_path, claim_of("../../evil"))
    assert [] == list(tmp_path.iterdir())


def test_the_flags_choose_their_claim_and_no_other(tmp_path: Path) -> None:
    older, newer = claim_of(attempt=1), claim_of(attempt=2)
    for claim in (older, newer, claim_of("task_2", role="reviewer")):
        claim_file.write(tmp_path, claim)
    assert older == choose(tmp_path, Wanted(task="task_1", attempt=1))
    assert newer == choose(tmp_path, Wanted(task="task_1", attempt=2))
    with pytest.raises(Unusable, match="2 tasks are held"):
        choose(tmp_path, Wanted(task="task_1"))
    with pytest.raises(Unusable, match="not held here any more"):
        choose(tmp_path, Wanted(task="task_1", attempt=3))


def test_a_named_task_is_found_whatever_role_the_environment_speaks_of(tmp_path: Path) -> None:
    claim_file.write(tmp_path, claim_of())
    environ = {"GREENROOM_ROLE": "reviewer", "GREENROOM_ROOM": "other"}
    assert claim_of() == choose(tmp_path, Wanted(task="task_1", attempt=1), environ)


def test_a_process_that_was_run_for_a_task_speaks_for_it(tmp_path: Path) -> None:
    claim_file.write(tmp_path, claim_of("task_9"))
    environ = {
        "GREENROOM_TASK": "task_5",
        "GREENROOM_ATTEMPT": "3",
        "GREENROOM_CONNECTION": "conn_5",
        "GREENROOM_TOKEN": "five",
        "GREENROOM_ROOM": "demo",
        "GREENROOM_ROLE": "builder",
    }
    told = choose(tmp_path, Wanted(), environ)
    assert ("task_5", 3, "conn_5", "five") == (told.task, told.attempt, told.connection_id, told.token)
    assert told == choose(tmp_path, Wanted(task="task_5", attempt=3), environ)
    assert claim_of("task_9") == choose(tmp_path, Wanted(task="task_9", attempt=1), environ)


def test_a_task_in_the_environment_without_a_token_is_looked_up(tmp_path: Path) -> None:
    for task in ("task_1", "task_2"):
        claim_file.write(tmp_path, claim_of(task))
    assert claim_of("task_2") == choose(tmp_path, Wanted(), {"GREENROOM_TASK": "task_2", "GREENROOM_ATTEMPT": "1"})


def test_without_flags_the_only_one_is_meant_and_never_one_of_several(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="No task is held here"):
        choose(tmp_path, Wanted())
    claim_file.write(tmp_path, claim_of())
    assert claim_of() == choose(tmp_path, Wanted())
    reviewing = claim_of("task_2", role="reviewer")
    claim_file.write(tmp_path, reviewing)
    with pytest.raises(Unusable) as caught:
        choose(tmp_path, Wanted())
    assert "--task task_1 --attempt 1" in caught.value.detail
    assert "--task task_2 --attempt 1" in caught.value.detail
    assert reviewing == choose(tmp_path, Wanted(role="reviewer"))
    assert claim_of() == choose(tmp_path, Wanted(), {"GREENROOM_ROLE": "builder"})
    with pytest.raises(Unusable):
        choose(tmp_path, Wanted(room="other"))


def test_claims_on_other_servers_are_not_seen(tmp_path: Path) -> None:
    claim_file.write(tmp_path, claim_of())
    with pytest.raises(Unusable, match="No task is held here"):
        claim_file.choose(tmp_path, "http://127.0.0.1:7000", Wanted(), NO_ENVIRONMENT)


def test_old_claims_are_forgotten(tmp_path: Path) -> None:
    old, new = claim_file.write(tmp_path, claim_of()), claim_file.write(tmp_path, claim_of(attempt=2))
    os.utime(old, (1000.0, 1000.0))
    claim_file.forget_old(tmp_path, URL, "demo", "builder", 2000.0)
    assert [new] == list(new.parent.iterdir())


def choose(folder: Path, wanted: Wanted, environ: Mapping[str, str] = NO_ENVIRONMENT) -> Claim:
    return claim_file.choose(folder, URL, wanted, environ)


# Participants.


def sitting(folder: Path, connection_id: str, state: str, changed_at: float = 5000.0) -> None:
    sitting_file.note(folder, connection_id, state)
    os.utime(sitting_file.path_of(folder, connection_id), (changed_at, changed_at))


def take_up(folder: Path, running: bool = False) -> str | None:
    return sitting_file.take_up(folder, 1000.0, lambda identity: running)


@pytest.mark.parametrize("state", [PAUSED, FINISHED])
def test_a_sitting_that_paused_or_finished_is_carried_on_once(tmp_path: Path, state: str) -> None:
    sitting(tmp_path, "conn_1", state)
    assert "conn_1" == take_up(tmp_path)
    assert take_up(tmp_path) is None


@pytest.mark.parametrize("state", [WAITING, HANDED])
def test_no_other_sitting_is_carried_on(tmp_path: Path, state: str) -> None:
    sitting(tmp_path, "conn_1", state)
    assert take_up(tmp_path) is None


@pytest.mark.parametrize("state", [WAITING, PAUSED, HANDED, FINISHED])
def test_a_living_process_keeps_its_sitting(tmp_path: Path, state: str) -> None:
    sitting(tmp_path, "conn_1", state)
    assert take_up(tmp_path, running=True) is None
    assert sitting_file.path_of(tmp_path, "conn_1").exists()


def test_the_newest_is_carried_on(tmp_path: Path) -> None:
    sitting(tmp_path, "conn_1", PAUSED, 5000.0)
    sitting(tmp_path, "conn_2", FINISHED, 6000.0)
    assert ["conn_2", "conn_1", None] == [take_up(tmp_path) for _ in range(3)]


def test_what_is_old_is_cleared_away(tmp_path: Path) -> None:
    sitting(tmp_path, "conn_1", PAUSED, 500.0)
    sitting(tmp_path, "conn_2", HANDED, 500.0)
    sitting(tmp_path, "conn_3", HANDED)
    assert take_up(tmp_path) is None
    assert ["conn_3.json"] == [path.name for path in tmp_path.iterdir()]


def test_only_a_wait_whose_process_ended_is_deserted(tmp_path: Path) -> None:
    for state in (WAITING, PAUSED, HANDED, FINISHED):
        sitting(tmp_path, f"conn_{state}", state)
    assert ["conn_waiting"] == sitting_file.deserted(tmp_path, lambda identity: False)
    assert [] == sitting_file.deserted(tmp_path, lambda identity: True)


@pytest.mark.parametrize("task", [None, "task_1"])
@pytest.mark.parametrize("attempt", [None, 2])
def test_a_process_run_for_a_task_means_that_one_however_much_of_it_is_named(
    tmp_path: Path, task: str | None, attempt: int | None
) -> None:
    claim_file.write(tmp_path, claim_of(attempt=1))
    names = {"TASK": "task_1", "ATTEMPT": "2", "CONNECTION": "conn_2", "TOKEN": "its own"}
    environ = {f"GREENROOM_{name}": value for name, value in names.items()}
    chosen = choose(tmp_path, Wanted(task=task, attempt=attempt), environ)
    assert ("task_1", 2, "its own") == (chosen.task, chosen.attempt, chosen.token)


def test_a_finished_task_finishes_its_sitting_if_it_is_known_here(tmp_path: Path) -> None:
    sitting(tmp_path, "conn_1", HANDED)
    sitting_file.finish(tmp_path, "conn_1")
    sitting_file.finish(tmp_path, "conn_of_another_computer")
    assert ["conn_1.json"] == [path.name for path in tmp_path.iterdir()]
    assert "conn_1" == take_up(tmp_path)


def test_a_sitting_knows_its_process_for_all_time(tmp_path: Path) -> None:
    sitting_file.note(tmp_path, "conn_1", PAUSED)
    assert sitting_file.take_up(tmp_path, 0.0) is None, "the process is this one, and it is running"
    path = sitting_file.path_of(tmp_path, "conn_1")
    known = read_record(path, SittingFile)
    assert known is not None
    assert os.getpid() == known.process.pid
    reused = Identity(known.process.pid, "another start")
    write_record(path, SittingFile(connection_id="conn_1", process=reused, state=PAUSED))
    assert "conn_1" == sitting_file.take_up(tmp_path, 0.0)


def test_the_files_lie_where_the_settings_say(tmp_path: Path) -> None:
    assert tmp_path / "claims" / "127.0.0.1_6464" / "demo" / "builder" / "task_1.1.json" == claim_file.path_of(
        tmp_path, claim_of()
    )
    assert tmp_path / "sittings" / "127.0.0.1_6464" / "demo" / "builder" == paths.sittings(
        tmp_path, URL, "demo", "builder"
    )


def test_a_finished_claim_is_meant_only_by_who_names_its_task(tmp_path: Path) -> None:
    done, going = claim_of("task_1"), claim_of("task_2")
    for claim in (done, going):
        claim_file.write(tmp_path, claim)
    claim_file.finish(tmp_path, done)
    assert going == choose(tmp_path, Wanted())
    named = choose(tmp_path, Wanted(task="task_1", attempt=1))
    assert (claim_file.FINISHED, "secret") == (named.state, named.token)
    claim_file.write(tmp_path, claim_of("task_1", attempt=2))
    assert 2 == choose(tmp_path, Wanted(task="task_1")).attempt, "an open claim is preferred to a finished one"
    claim_file.finish(tmp_path, going)
    claim_file.finish(tmp_path, claim_of("task_1", attempt=2))
    with pytest.raises(Unusable, match="No task is held here"):
        choose(tmp_path, Wanted())


def test_a_claim_that_cannot_be_finished_does_not_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, record: object) -> None:
        raise OSError

    claim_file.write(tmp_path, claim_of())
    monkeypatch.setattr(claim_file, "write_record", refuse)
    claim_file.finish(tmp_path, claim_of())
    assert [] == claim_file.all_claims(tmp_path, URL)
