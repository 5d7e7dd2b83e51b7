"""Files that a daemon of an earlier version left are read with all they say."""

from pathlib import Path

import msgspec
import pytest

from greenroom.agent import connection_file
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.record_conversion import converted, decode_record
from greenroom.daemon.restart_state import RestartStates
from greenroom.daemon.run_records import Resident, RunRecord
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.domain.restart_policy import CRASH_LOOPING
from greenroom.process.run_folder import read_shim
from greenroom.settings import paths
from greenroom.settings.files import rename_former
from greenroom.testing import MovedClock

# As the last version with store schema 3 wrote them.
SPEC = (
    '{"room":"room_1","room_name":"shop","role":"builder","roles":["builder","reviewer"],"desired":"running",'
    '"generation":3,"harness":"shell","model":null,"workdir":null,"task_timeout_s":null}'
)
HISTORIES = (
    '{"boot":"boot 1","booted_at":0.0,"written_at":1000.0,"agents":[{"room":"room_1","role":"builder","history":'
    '{"generation":3,"ends":[990.0,1000.0],"in_a_row":2,"last_end_at":1000.0,"rest":"parked","rests_until":1300.0,'
    '"reason":"3 ends","owes_trial":true,"last_end":"exit_1"}}]}'
)
ENTRY = (
    '{"id":"exit_1","kind":"exited","room":"room_1","role":"builder","connection_id":"c1","task":"task_1","attempt":2,'
    '"code":3,"signal":null,"intended":false,"trial":true,"generation":3,"at":null,"until":null,"detail":null,"then":'
    '[{"id":"parked_1","kind":"parked","room":"room_1","role":"builder","connection_id":"c1","generation":3},'
    '{"id":"u","kind":"unparked","room":"room_1","role":"builder","connection_id":"c1","generation":3}]}'
)
RUN = (
    '{"task":"task_1","attempt":2,"room":"room_1","role":"builder","connection_id":"c1","wish":' + SPEC + ',"claimed":'
    '{"id":"task_1","room":"room_1","request":"task_1","target_role":"builder","status":"acknowledged","attempt":2,'
    '"claimed_by":"c1","deaths":1,"text":"","created_at":"2026-11-30T10:00:00.000Z","token":""},"then":"reviewer",'
    '"result":null,"timeout_s":null,"began_at":5.0,"folder":"/x","trial":true,"identity":null}'
)
RESIDENT = '{"connection_id":"c1","wish":' + SPEC + ',"folder":"/x","began_at":5.0}'


def test_restart_state_is_kept(tmp_path: Path) -> None:
    (tmp_path / "histories.json").write_text(HISTORIES)
    rename_former(tmp_path / paths.FORMER_RESTART_STATE, paths.restart_state(tmp_path))
    clock = MovedClock(wall=1100.0, monotonic=1100.0)

    history = RestartStates(paths.restart_state(tmp_path), "boot 1", clock, DEFAULT_LIMITS).get("room_1", "builder")

    assert (history.hold, history.failures, history.consecutive) == (CRASH_LOOPING, (990.0, 1000.0), 2)
    assert (history.owes_probe_run, history.last_failure_id, history.last_failure_at) == (True, "exit_1", 1000.0)
    assert history.hold_until is not None


def test_present_restart_state_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "histories.json").write_text(HISTORIES)
    (tmp_path / "restart_state.json").write_text("present")

    rename_former(tmp_path / paths.FORMER_RESTART_STATE, paths.restart_state(tmp_path))

    assert (tmp_path / "restart_state.json").read_text() == "present"


def test_unsent_reports_are_kept(tmp_path: Path) -> None:
    (tmp_path / "0000000001.json").write_text(ENTRY)

    reports = Outbox(tmp_path, 100).oldest(10)

    assert [(report.id, report.kind) for report in reports] == [
        ("exit_1", "exited"), ("parked_1", "crash_looping"), ("u", "recovered")
    ]  # fmt: skip
    assert (reports[0].probe, reports[0].code, reports[0].generation) == (True, 3, 3)


def test_run_record_is_kept() -> None:
    run = decode_record(RUN.encode(), RunRecord)

    assert run.spec is not None
    assert run.claimed is not None
    assert (run.probe, run.then, run.spec.generation, run.claimed.failures) == (True, "reviewer", 3, 1)
    assert decode_record(msgspec.json.encode(run), RunRecord) == run


def test_resident_record_is_kept() -> None:
    resident = decode_record(RESIDENT.encode(), Resident)

    assert (resident.spec.role, resident.began_at) == ("builder", 5.0)


def test_shim_of_run_at_work_is_found(tmp_path: Path) -> None:
    (tmp_path / "wrapper.json").write_text('{"pid":7,"started":"boot:123"}')

    shim = read_shim(tmp_path)

    assert shim is not None
    assert shim.pid == 7


def test_connection_files_are_moved_once(tmp_path: Path) -> None:
    former = tmp_path / "sittings" / "127.0.0.1_6464" / "shop" / "till"
    former.mkdir(parents=True)
    (former / "c1.json").write_text("{}")

    for _ in range(2):
        folder = connection_file.folder_of(tmp_path, "http://127.0.0.1:6464", "shop", "till")

        assert [path.name for path in folder.iterdir()] == ["c1.json"]
    assert not (tmp_path / "sittings").exists()


@pytest.mark.parametrize("value", [None, 1, "parked", ["rest"], {"status": "parked"}, {"kind": ["parked"]}])
def test_other_values_stay(value: object) -> None:
    assert converted(value) == value
