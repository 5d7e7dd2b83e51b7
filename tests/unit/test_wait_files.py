import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from greenroom.agent import claim_file, connection_file
from greenroom.agent.claim_file import Claim, ClaimQuery
from greenroom.agent.connection_file import FINISHED, PAUSED, TASK_PRINTED, WAITING, ConnectionFile
from greenroom.domain.errors import Unusable
from greenroom.process.agent_session import AgentSession
from greenroom.process.identity import ProcessIdentity
from greenroom.settings import paths
from greenroom.settings.files import read_record, write_record, write_text

URL = "http://127.0.0.1:6464"
NO_ENVIRONMENT: Mapping[str, str] = {}


def make_claim(task: str = "task_1", attempt: int = 1, room: str = "demo", role: str = "builder") -> Claim:
    return Claim(url=URL, room=room, role=role, task=task, attempt=attempt, connection_id="conn_1", token="secret")


def test_claim_file_is_private(tmp_path: Path) -> None:
    path = claim_file.write(tmp_path, make_claim())
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    folder = path.parent
    while folder != tmp_path:
        assert 0o700 == stat.S_IMODE(folder.stat().st_mode), folder
        folder = folder.parent
    assert make_claim() == read_record(path, Claim)
    assert [path] == [found for found in tmp_path.rglob("*") if found.is_file()], "no partly written file is left"


def test_claim_file_is_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "note"
    write_text(path, "whole")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert "whole" == path.read_text()
    assert [path] == list(tmp_path.iterdir())


def test_task_id_with_path_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Unusable):
        claim_file.write(tmp_path, make_claim("../../evil"))
    assert [] == list(tmp_path.iterdir())


def test_options_choose_claim(tmp_path: Path) -> None:
    older, newer = make_claim(attempt=1), make_claim(attempt=2)
    for claim in (older, newer, make_claim("task_2", role="reviewer")):
        claim_file.write(tmp_path, claim)
    assert older == choose(tmp_path, ClaimQuery(task="task_1", attempt=1))
    assert newer == choose(tmp_path, ClaimQuery(task="task_1", attempt=2))
    with pytest.raises(Unusable, match="2 tasks are held"):
        choose(tmp_path, ClaimQuery(task="task_1"))
    with pytest.raises(Unusable, match="no longer held on this computer"):
        choose(tmp_path, ClaimQuery(task="task_1", attempt=3))


def test_named_task_ignores_role_of_environment(tmp_path: Path) -> None:
    claim_file.write(tmp_path, make_claim())
    environ = {"GREENROOM_ROLE": "reviewer", "GREENROOM_ROOM": "other"}
    assert make_claim() == choose(tmp_path, ClaimQuery(task="task_1", attempt=1), environ)


def test_task_in_environment_is_chosen(tmp_path: Path) -> None:
    claim_file.write(tmp_path, make_claim("task_9"))
    environ = {
        "GREENROOM_TASK": "task_5",
        "GREENROOM_ATTEMPT": "3",
        "GREENROOM_CONNECTION": "conn_5",
        "GREENROOM_TOKEN": "five",
        "GREENROOM_ROOM": "demo",
        "GREENROOM_ROLE": "builder",
    }
    chosen = choose(tmp_path, ClaimQuery(), environ)
    assert ("task_5", 3, "conn_5", "five") == (chosen.task, chosen.attempt, chosen.connection_id, chosen.token)
    assert chosen == choose(tmp_path, ClaimQuery(task="task_5", attempt=3), environ)
    assert make_claim("task_9") == choose(tmp_path, ClaimQuery(task="task_9", attempt=1), environ)


def test_task_without_token_is_looked_up(tmp_path: Path) -> None:
    for task in ("task_1", "task_2"):
        claim_file.write(tmp_path, make_claim(task))
    assert make_claim("task_2") == choose(
        tmp_path, ClaimQuery(), {"GREENROOM_TASK": "task_2", "GREENROOM_ATTEMPT": "1"}
    )


def test_only_claim_is_default(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="No task is held on this computer"):
        choose(tmp_path, ClaimQuery())
    claim_file.write(tmp_path, make_claim())
    assert make_claim() == choose(tmp_path, ClaimQuery())
    review_claim = make_claim("task_2", role="reviewer")
    claim_file.write(tmp_path, review_claim)
    with pytest.raises(Unusable) as caught:
        choose(tmp_path, ClaimQuery())
    assert "--task task_1 --attempt 1" in caught.value.detail
    assert "--task task_2 --attempt 1" in caught.value.detail
    assert review_claim == choose(tmp_path, ClaimQuery(role="reviewer"))
    assert make_claim() == choose(tmp_path, ClaimQuery(), {"GREENROOM_ROLE": "builder"})
    with pytest.raises(Unusable):
        choose(tmp_path, ClaimQuery(room="other"))


def test_claims_of_other_servers_are_ignored(tmp_path: Path) -> None:
    claim_file.write(tmp_path, make_claim())
    with pytest.raises(Unusable, match="No task is held on this computer"):
        claim_file.resolve_claim(tmp_path, "http://127.0.0.1:7000", ClaimQuery(), NO_ENVIRONMENT)


def test_old_claims_are_removed(tmp_path: Path) -> None:
    old, new = claim_file.write(tmp_path, make_claim()), claim_file.write(tmp_path, make_claim(attempt=2))
    os.utime(old, (1000.0, 1000.0))
    claim_file.remove_expired(tmp_path, URL, "demo", "builder", 2000.0)
    assert [new] == list(new.parent.iterdir())


def choose(folder: Path, wanted: ClaimQuery, environ: Mapping[str, str] = NO_ENVIRONMENT) -> Claim:
    return claim_file.resolve_claim(folder, URL, wanted, environ)


# Participants.


def write_participant(folder: Path, connection_id: str, state: str, changed_at: float = 5000.0) -> None:
    connection_file.record_state(folder, connection_id, state, None)
    os.utime(connection_file.path_of(folder, connection_id), (changed_at, changed_at))


def take_up(folder: Path, running: bool = False) -> str | None:
    return connection_file.take_reusable(folder, 1000.0, lambda identity: running)


@pytest.mark.parametrize("state", [PAUSED, FINISHED])
def test_paused_or_finished_participant_is_resumed_once(tmp_path: Path, state: str) -> None:
    write_participant(tmp_path, "conn_1", state)
    assert "conn_1" == take_up(tmp_path)
    assert take_up(tmp_path) is None


@pytest.mark.parametrize("state", [WAITING, TASK_PRINTED])
def test_other_participants_are_not_resumed(tmp_path: Path, state: str) -> None:
    write_participant(tmp_path, "conn_1", state)
    assert take_up(tmp_path) is None


@pytest.mark.parametrize("state", [WAITING, PAUSED, TASK_PRINTED, FINISHED])
def test_running_process_keeps_participant(tmp_path: Path, state: str) -> None:
    write_participant(tmp_path, "conn_1", state)
    assert take_up(tmp_path, running=True) is None
    assert connection_file.path_of(tmp_path, "conn_1").exists()


def test_newest_participant_is_resumed(tmp_path: Path) -> None:
    write_participant(tmp_path, "conn_1", PAUSED, 5000.0)
    write_participant(tmp_path, "conn_2", FINISHED, 6000.0)
    assert ["conn_2", "conn_1", None] == [take_up(tmp_path) for _ in range(3)]


def test_old_participants_are_removed(tmp_path: Path) -> None:
    write_participant(tmp_path, "conn_1", PAUSED, 500.0)
    write_participant(tmp_path, "conn_2", TASK_PRINTED, 500.0)
    write_participant(tmp_path, "conn_3", TASK_PRINTED)
    assert take_up(tmp_path) is None
    assert ["conn_3.json"] == [path.name for path in tmp_path.iterdir()]


def test_abandoned_wait_needs_ended_process(tmp_path: Path) -> None:
    for state in (WAITING, PAUSED, TASK_PRINTED, FINISHED):
        write_participant(tmp_path, f"conn_{state}", state)
    assert ["conn_waiting"] == connection_file.find_deserted(tmp_path, lambda identity: False)
    assert [] == connection_file.find_deserted(tmp_path, lambda identity: True)


@pytest.mark.parametrize("task", [None, "task_1"])
@pytest.mark.parametrize("attempt", [None, 2])
def test_partial_options_choose_environment_task(tmp_path: Path, task: str | None, attempt: int | None) -> None:
    claim_file.write(tmp_path, make_claim(attempt=1))
    names = {"TASK": "task_1", "ATTEMPT": "2", "CONNECTION": "conn_2", "TOKEN": "its own"}
    environ = {f"GREENROOM_{name}": value for name, value in names.items()}
    chosen = choose(tmp_path, ClaimQuery(task=task, attempt=attempt), environ)
    assert ("task_1", 2, "its own") == (chosen.task, chosen.attempt, chosen.token)


def test_finish_known_participant(tmp_path: Path) -> None:
    write_participant(tmp_path, "conn_1", TASK_PRINTED)
    connection_file.record_finish(tmp_path, "conn_1")
    connection_file.record_finish(tmp_path, "conn_of_another_computer")
    assert ["conn_1.json"] == [path.name for path in tmp_path.iterdir()]
    assert "conn_1" == take_up(tmp_path)


def test_participant_file_has_process_identity(tmp_path: Path) -> None:
    connection_file.record_state(tmp_path, "conn_1", PAUSED, None)
    assert connection_file.take_reusable(tmp_path, 0.0) is None, "the process is this one, and it is running"
    path = connection_file.path_of(tmp_path, "conn_1")
    record = read_record(path, ConnectionFile)
    assert record is not None
    assert os.getpid() == record.process.pid
    reused = ProcessIdentity(record.process.pid, "another start")
    write_record(path, ConnectionFile(connection_id="conn_1", process=reused, state=PAUSED))
    assert "conn_1" == connection_file.take_reusable(tmp_path, 0.0)


def test_file_paths(tmp_path: Path) -> None:
    assert tmp_path / "claims" / "127.0.0.1_6464" / "demo" / "builder" / "task_1.1.json" == claim_file.path_of(
        tmp_path, make_claim()
    )
    assert tmp_path / "connections" / "127.0.0.1_6464" / "demo" / "builder" == paths.connections(
        tmp_path, URL, "demo", "builder"
    )


def test_finished_claim_needs_task_option(tmp_path: Path) -> None:
    finished, open_claim = make_claim("task_1"), make_claim("task_2")
    for claim in (finished, open_claim):
        claim_file.write(tmp_path, claim)
    claim_file.finish(tmp_path, finished)
    assert open_claim == choose(tmp_path, ClaimQuery())
    named = choose(tmp_path, ClaimQuery(task="task_1", attempt=1))
    assert (claim_file.FINISHED, "secret") == (named.state, named.token)
    claim_file.write(tmp_path, make_claim("task_1", attempt=2))
    assert 2 == choose(tmp_path, ClaimQuery(task="task_1")).attempt, "an open claim is preferred to a finished one"
    claim_file.finish(tmp_path, open_claim)
    claim_file.finish(tmp_path, make_claim("task_1", attempt=2))
    with pytest.raises(Unusable, match="No task is held on this computer"):
        choose(tmp_path, ClaimQuery())


def test_unfinishable_claim_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, record: object) -> None:
        raise OSError

    claim_file.write(tmp_path, make_claim())
    monkeypatch.setattr(claim_file, "write_record", refuse)
    claim_file.finish(tmp_path, make_claim())
    assert [] == claim_file.all_claims(tmp_path, URL)


SESSION = AgentSession(id="claude:one")


def test_holder_is_participant_of_same_session(tmp_path: Path) -> None:
    def find(session: AgentSession | None, running: bool = False) -> str | None:
        return connection_file.find_holder(tmp_path, session, lambda identity: running)

    connection_file.record_state(tmp_path, "conn_1", TASK_PRINTED, SESSION)
    assert "conn_1" == find(SESSION)
    assert find(AgentSession(id="claude:two")) is None
    assert find(None) is None
    assert find(SESSION, running=True) is None, "the other call is still printing it"
    for state in (WAITING, PAUSED, FINISHED):
        connection_file.record_state(tmp_path, "conn_1", state, SESSION)
        assert find(SESSION) is None, state


def test_files_without_session_are_read(tmp_path: Path) -> None:
    """They were written before the session was recorded."""
    claim = claim_file.write(tmp_path, make_claim())
    connection_file.record_state(tmp_path, "conn_1", TASK_PRINTED, None)
    for path in (claim, connection_file.path_of(tmp_path, "conn_1")):
        fields = msgspec.json.decode(path.read_bytes())
        del fields["session"]
        path.write_bytes(msgspec.json.encode(fields))
    assert make_claim() == read_record(claim, Claim)
    assert connection_file.find_holder(tmp_path, SESSION, lambda identity: False) is None


def test_claim_of_own_session_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim_file, "find_session", lambda environ: SESSION)
    own = msgspec.structs.replace(make_claim("task_2"), session=SESSION)
    for claim in (make_claim("task_1"), own):
        claim_file.write(tmp_path, claim)
    assert own == choose(tmp_path, ClaimQuery())
    claim_file.write(tmp_path, msgspec.structs.replace(make_claim("task_3"), session=SESSION))
    with pytest.raises(Unusable, match="2 tasks are held"):
        choose(tmp_path, ClaimQuery())
