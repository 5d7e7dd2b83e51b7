"""What `doctor` finds in a data directory and on a machine. The states are made with the daemon's own files."""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from greenroom.cli.agents import check_workdir
from greenroom.cli.doctor_checks import OK, WARNING, Finding, advise_on_unreachable_server
from greenroom.cli.doctor_daemon_checks import (
    check_clis,
    check_harnesses,
    check_machine,
    check_outbox,
    check_runs,
    check_sizes,
)
from greenroom.cli.errors import UsageError
from greenroom.clock import SystemClock
from greenroom.daemon.inventory import read_daemon_files
from greenroom.daemon.machine_identity import MachineIdentity
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.run_records import Resident, ResidentRecords, RunRecord, RunRecords
from greenroom.domain.limits import Limits
from greenroom.file_lock import acquire_lock
from greenroom.process.agent_clis import find_agent_clis
from greenroom.process.identity import ProcessIdentity, identity_of
from greenroom.process.run_folder import ExitRecord
from greenroom.settings import paths
from greenroom.settings.files import disk_usage, write_record
from greenroom.settings.harness import DaemonSettings, Harness
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import AgentReport
from tests.unit.agent_commands import make_settings
from tests.unit.one_role_daemon import SPEC

NOW = SystemClock().wall()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings("http://127.0.0.1:9", tmp_path)


def make_report(name: str) -> AgentReport:
    return AgentReport(id=name, kind="started", room="room_1", role="builder", connection_id="c1")


def make_run(folder: Path, identity: ProcessIdentity | None = None) -> RunRecord:
    return RunRecord(
        task="task_1",
        attempt=2,
        room="room_1",
        role="builder",
        connection_id="c1",
        began_at=NOW - 90,
        folder=str(folder),
        identity=identity,
    )


def only_finding(findings: Iterable[Finding]) -> Finding:
    [finding] = findings
    return finding


def outbox_finding(settings: Settings) -> Finding:
    return only_finding(check_outbox(settings, read_daemon_files(settings).reports_written_at, NOW))


def test_unsent_reports_are_counted_with_age(settings: Settings) -> None:
    assert OK == outbox_finding(settings).level

    outbox = Outbox(paths.outbox(settings.data_dir), 100)
    for name in ("one", "two"):
        outbox.add(make_report(name))
    oldest = min(paths.outbox(settings.data_dir).glob("*.json"))
    os.utime(oldest, (NOW - 3_700, NOW - 3_700))
    (paths.outbox(settings.data_dir) / "000000000009.json").write_text("no report")

    finding = outbox_finding(settings)
    assert (WARNING, "greenroom daemon start sends them") == (finding.level, finding.next)
    assert finding.detail.startswith("2 unsent reports, the oldest from 1 h 1 min ago (")

    with acquire_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.write_info("")
        assert "as soon as it reaches http://127.0.0.1:9" in str(outbox_finding(settings).next)
        oldest.unlink()
        assert OK == outbox_finding(settings).level


def test_reports_in_one_file_are_counted(settings: Settings) -> None:
    Outbox(paths.outbox(settings.data_dir), 100).add(make_report("one"), make_report("two"), make_report("three"))
    assert outbox_finding(settings).detail.startswith("3 unsent reports")


def test_inventory_changes_and_logs_nothing(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    folders = [folder(settings.data_dir) for folder in (paths.runs, paths.residents, paths.outbox)]
    for folder in folders:
        folder.mkdir()
        (folder / "1.json").write_text("{}")
        (folder / "2.json").mkdir()
    inventory = read_daemon_files(settings)
    assert ((), ()) == (inventory.runs, inventory.reports_written_at)
    assert [["1.json", "2.json"]] * 3 == [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert "" == caplog.text


def check_run_records(settings: Settings) -> Finding:
    return only_finding(check_runs(settings, read_daemon_files(settings).runs, NOW))


def test_run_without_daemon_finding(settings: Settings, tmp_path: Path) -> None:
    assert OK == check_run_records(settings).level
    records, folder = RunRecords(paths.runs(settings.data_dir)), tmp_path / "run"
    folder.mkdir()

    records.write(make_run(folder, identity_of(os.getpid())))
    running = check_run_records(settings)
    assert (
        WARNING,
        f"room_1/builder: task_1 (attempt 2) runs without a daemon, started 1 min 30 s ago (process {os.getpid()})",
        "greenroom daemon start adopts it and reports its result",
    ) == (running.level, running.detail, running.next)

    records.write(make_run(folder, ProcessIdentity(os.getpid(), "an earlier start")))
    killed = check_run_records(settings)
    assert (True, "greenroom daemon start reports it, and the server retries the task") == (
        killed.detail.endswith("was killed; its exit status is unknown"),
        killed.next,
    )

    write_record(folder / "exit.json", ExitRecord(3, None))
    exited = check_run_records(settings)
    assert ("room_1/builder: task_1 (attempt 2) exited without a daemon (exit code 3)", True) == (
        exited.detail,
        str(exited.next).endswith("reports its result"),
    )

    with acquire_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.write_info("")
        daemon = check_run_records(settings)
        assert (OK, f"process {os.getpid()} runs this machine's agents; runs in progress: 1") == (
            daemon.level,
            daemon.detail,
        )


def test_sizes_over_limits_are_warned(settings: Settings) -> None:
    folder = paths.logs(settings.data_dir) / "shop" / "builder" / "task_1.1"
    folder.mkdir(parents=True)
    (folder / "stdout").write_bytes(bytes(3_000))
    (folder / "loop").symlink_to(settings.data_dir)
    (settings.data_dir / "greenroom.db").write_bytes(bytes(2_048))
    assert 3_000 == disk_usage(paths.logs(settings.data_dir))

    levels = {finding.what: finding.level for finding in check_sizes(settings)}
    assert {"store": OK, "logs": OK, "runs": OK, "claims": OK} == levels

    limited = msgspec.structs.replace(settings, limits=Limits(run_logs_bytes_max=2_000))
    logs = next(finding for finding in check_sizes(limited) if finding.what == "logs")
    assert (WARNING, True) == (logs.level, logs.detail.startswith("2.9 KiB of 2.0 KiB"))
    assert logs.next


def test_missing_harness_programs_are_warned(settings: Settings) -> None:
    assert "none is configured" in only_finding(check_harnesses(settings, os.environ)).detail
    installed, missing_program = Harness(command=("sh",)), Harness(command=("no-such-program-at-all",))
    relative = Harness(command=("./agent.sh",))
    configured = with_harnesses(settings, there=installed, beside=relative)
    assert (OK, "beside, there: all programs found") == (
        only_finding(check_harnesses(configured, os.environ)).level,
        only_finding(check_harnesses(configured, os.environ)).detail,
    )
    finding = only_finding(check_harnesses(with_harnesses(settings, there=installed, gone=missing_program), os.environ))
    assert ("harness gone", WARNING) == (finding.what, finding.level)
    assert "no-such-program-at-all" in finding.detail


@pytest.mark.parametrize(
    ("text", "mode", "detail"),
    [("#!/bin/sh\n", 0o644, "not executable"), ("#!/bin/sh\r\n", 0o755, "carriage return"), (None, 0o755, "a folder")],
)
def test_harness_program_that_cannot_be_run_is_not_called_missing(
    settings: Settings, tmp_path: Path, text: str | None, mode: int, detail: str
) -> None:
    program = tmp_path / "agent"
    if text is None:
        program.mkdir()
    else:
        program.write_text(text, newline="")
    program.chmod(mode)
    finding = only_finding(check_harnesses(with_harnesses(settings, mine=Harness(command=(str(program),))), os.environ))
    assert (WARNING, True, True) == (finding.level, detail in finding.detail, str(program) in finding.detail)


def with_harnesses(settings: Settings, **harnesses: Harness) -> Settings:
    return msgspec.structs.replace(settings, user_daemon=DaemonSettings(harnesses=harnesses))


def test_machine_identity_finding(settings: Settings) -> None:
    assert "it has no id yet" in only_finding(check_machine(settings, read_daemon_files(settings).machine)).detail
    write_record(paths.machine(settings.data_dir), MachineIdentity(id="attic-1", name="attic"))
    assert only_finding(check_machine(settings, read_daemon_files(settings).machine)).detail.startswith(
        "attic (id attic-1)"
    )
    paths.machine(settings.data_dir).write_text("{}")
    assert WARNING == only_finding(check_machine(settings, read_daemon_files(settings).machine)).level


def test_agent_cli_without_harness_is_suggested(settings: Settings, tmp_path: Path) -> None:
    for name in ("claude", "codex"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o700)
    configured = with_harnesses(settings, mine=Harness(command=(str(tmp_path / "codex"), "exec")))
    finding = only_finding(check_clis(configured, find_agent_clis({"PATH": str(tmp_path)})))
    assert (OK, f"claude is installed ({tmp_path / 'claude'}), but no harness runs it") == (
        finding.level,
        finding.detail,
    )
    assert "[daemon.harnesses.claude]" in str(finding.next)


def test_wrapped_agent_cli_is_not_suggested(settings: Settings, tmp_path: Path) -> None:
    """The daemon does not list it among the found CLIs either."""
    (tmp_path / "claude").write_text("#!/bin/sh\n")
    (tmp_path / "claude").chmod(0o700)
    wrapped = with_harnesses(settings, mine=Harness(command=("nice", str(tmp_path / "claude"), "-p")))
    assert [] == list(check_clis(wrapped, find_agent_clis({"PATH": str(tmp_path)})))


def test_resident_without_daemon_finding(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "stays"
    folder.mkdir()
    resident = Resident(connection_id="c1", spec=SPEC, folder=str(folder), began_at=NOW - 5)
    ResidentRecords(paths.residents(settings.data_dir)).write(resident)

    assert "r/builder: resident was killed" in check_run_records(settings).detail
    write_record(folder / "shim.json", identity_of(os.getpid()))  # type: ignore[arg-type]
    assert f"runs without a daemon, started 5 s ago (process {os.getpid()})" in check_run_records(settings).detail
    assert "greenroom daemon start adopts it" == check_run_records(settings).next


def test_wrong_server_address_is_corrected(settings: Settings) -> None:
    assert advise_on_unreachable_server(settings) == "Start it: greenroom up"
    with acquire_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.write_info("http://10.0.0.1:6464")
        assert "http://10.0.0.1:6464: set GREENROOM_URL" in advise_on_unreachable_server(settings)
    remote = msgspec.structs.replace(settings, url="http://10.0.0.9:6464")
    assert "curl http://10.0.0.9:6464/healthz" in advise_on_unreachable_server(remote)


@pytest.mark.parametrize("workdir", ["~/work", "work", "/work/../etc"])
def test_invalid_workdir_is_rejected(workdir: str) -> None:
    check_workdir("/work")
    with pytest.raises(UsageError, match="not an absolute path"):
        check_workdir(workdir)
