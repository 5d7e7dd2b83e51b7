"""What `doctor` finds in a data directory and on a machine. The states are made with the daemon's own files."""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from greenroom.cli.agent import check_workdir
from greenroom.cli.examination import OK, WARNING, Finding, where_else
from greenroom.cli.exits import WrongUsage
from greenroom.cli.storeroom import examine_outbox, examine_runs, examine_sizes
from greenroom.cli.workshop import examine_clis, examine_harnesses, examine_machine
from greenroom.clock import SystemClock
from greenroom.daemon.inventory import take_inventory
from greenroom.daemon.machine import Machine
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.residents import Resident, ResidentBook
from greenroom.daemon.runs import Run, RunBook
from greenroom.domain.reliability import Reliability
from greenroom.lock import hold_lock
from greenroom.process.discovery import discover
from greenroom.process.identity import Identity, identity_of
from greenroom.process.journal import Record
from greenroom.settings import paths
from greenroom.settings.harness import DaemonSettings, Harness
from greenroom.settings.private_file import write_record
from greenroom.settings.resolve import Settings
from greenroom.settings.volume import size_of
from greenroom.wire.requests import Fact
from tests.unit.agent_commands import make_settings
from tests.unit.one_role_daemon import SPEC

NOW = SystemClock().wall()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings("http://127.0.0.1:9", tmp_path)


def make_report(name: str) -> Fact:
    return Fact(id=name, kind="started", room="room_1", role="builder", connection_id="c1")


def make_run(folder: Path, identity: Identity | None = None) -> Run:
    return Run(
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
    return only_finding(examine_outbox(settings, take_inventory(settings).facts_at, NOW))


def test_unsent_reports_are_counted_with_age(settings: Settings) -> None:
    assert OK == outbox_finding(settings).level

    outbox = Outbox(paths.outbox(settings.data_dir), 100)
    for name in ("one", "two"):
        outbox.put(make_report(name))
    oldest = min(paths.outbox(settings.data_dir).glob("*.json"))
    os.utime(oldest, (NOW - 3_700, NOW - 3_700))
    (paths.outbox(settings.data_dir) / "000000000009.json").write_text("no report")

    finding = outbox_finding(settings)
    assert (WARNING, "greenroom daemon start sends them") == (finding.level, finding.next)
    assert finding.detail.startswith("2 unsent reports, the oldest from 1 h 1 min ago (")

    with hold_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.tell("")
        assert "as soon as it reaches http://127.0.0.1:9" in str(outbox_finding(settings).next)
        oldest.unlink()
        assert OK == outbox_finding(settings).level


def test_reports_in_one_file_are_counted(settings: Settings) -> None:
    Outbox(paths.outbox(settings.data_dir), 100).put(make_report("one"), make_report("two"), make_report("three"))
    assert outbox_finding(settings).detail.startswith("3 unsent reports")


def test_inventory_changes_and_logs_nothing(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    folders = [folder(settings.data_dir) for folder in (paths.runs, paths.residents, paths.outbox)]
    for folder in folders:
        folder.mkdir()
        (folder / "1.json").write_text("{}")
        (folder / "2.json").mkdir()
    inventory = take_inventory(settings)
    assert ((), ()) == (inventory.runs, inventory.facts_at)
    assert [["1.json", "2.json"]] * 3 == [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert "" == caplog.text


def check_run_records(settings: Settings) -> Finding:
    return only_finding(examine_runs(settings, take_inventory(settings).runs, NOW))


def test_run_without_daemon_finding(settings: Settings, tmp_path: Path) -> None:
    assert OK == check_run_records(settings).level
    records, folder = RunBook(paths.runs(settings.data_dir)), tmp_path / "run"
    folder.mkdir()

    records.note(make_run(folder, identity_of(os.getpid())))
    running = check_run_records(settings)
    assert (
        WARNING,
        f"room_1/builder: task_1 (attempt 2) runs without a daemon, started 1 min 30 s ago (process {os.getpid()})",
        "greenroom daemon start adopts it and reports its result",
    ) == (running.level, running.detail, running.next)

    records.note(make_run(folder, Identity(os.getpid(), "an earlier start")))
    killed = check_run_records(settings)
    assert (True, "greenroom daemon start reports it, and the server retries the task") == (
        killed.detail.endswith("was killed; its exit status is unknown"),
        killed.next,
    )

    write_record(folder / "exit.json", Record(3, None))
    exited = check_run_records(settings)
    assert ("room_1/builder: task_1 (attempt 2) exited without a daemon (exit code 3)", True) == (
        exited.detail,
        str(exited.next).endswith("reports its result"),
    )

    with hold_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.tell("")
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
    assert 3_000 == size_of(paths.logs(settings.data_dir))

    levels = {finding.what: finding.level for finding in examine_sizes(settings)}
    assert {"store": OK, "logs": OK, "runs": OK, "claims": OK} == levels

    limited = msgspec.structs.replace(settings, limits=Reliability(run_logs_bytes_max=2_000))
    logs = next(finding for finding in examine_sizes(limited) if finding.what == "logs")
    assert (WARNING, True) == (logs.level, logs.detail.startswith("2.9 KiB of 2.0 KiB"))
    assert logs.next


def test_missing_harness_programs_are_warned(settings: Settings) -> None:
    assert "none is configured" in only_finding(examine_harnesses(settings, os.environ)).detail
    installed, missing_program = Harness(command=("sh",)), Harness(command=("no-such-program-at-all",))
    relative = Harness(command=("./agent.sh",))
    configured = with_harnesses(settings, there=installed, beside=relative)
    assert (OK, "beside, there: all programs found") == (
        only_finding(examine_harnesses(configured, os.environ)).level,
        only_finding(examine_harnesses(configured, os.environ)).detail,
    )
    finding = only_finding(
        examine_harnesses(with_harnesses(settings, there=installed, gone=missing_program), os.environ)
    )
    assert ("harness gone", WARNING) == (finding.what, finding.level)
    assert "no-such-program-at-all" in finding.detail


def with_harnesses(settings: Settings, **harnesses: Harness) -> Settings:
    return msgspec.structs.replace(settings, user_daemon=DaemonSettings(harnesses=harnesses))


def test_machine_identity_finding(settings: Settings) -> None:
    assert "it has no id yet" in only_finding(examine_machine(settings, take_inventory(settings).machine)).detail
    write_record(paths.machine(settings.data_dir), Machine(id="attic-1", name="attic"))
    assert only_finding(examine_machine(settings, take_inventory(settings).machine)).detail.startswith(
        "attic (id attic-1)"
    )
    paths.machine(settings.data_dir).write_text("{}")
    assert WARNING == only_finding(examine_machine(settings, take_inventory(settings).machine)).level


def test_agent_cli_without_harness_is_suggested(settings: Settings, tmp_path: Path) -> None:
    for name in ("claude", "codex"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o700)
    configured = with_harnesses(settings, mine=Harness(command=(str(tmp_path / "codex"), "exec")))
    finding = only_finding(examine_clis(configured, discover({"PATH": str(tmp_path)})))
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
    assert [] == list(examine_clis(wrapped, discover({"PATH": str(tmp_path)})))


def test_resident_without_daemon_finding(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "stays"
    folder.mkdir()
    resident = Resident(connection_id="c1", wish=SPEC, folder=str(folder), began_at=NOW - 5)
    ResidentBook(paths.residents(settings.data_dir)).note(resident)

    assert "r/builder: resident was killed" in check_run_records(settings).detail
    write_record(folder / "wrapper.json", identity_of(os.getpid()))  # type: ignore[arg-type]
    assert f"runs without a daemon, started 5 s ago (process {os.getpid()})" in check_run_records(settings).detail
    assert "greenroom daemon start adopts it" == check_run_records(settings).next


def test_wrong_server_address_is_corrected(settings: Settings) -> None:
    assert where_else(settings) == "Start it: greenroom up"
    with hold_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.tell("http://10.0.0.1:6464")
        assert "http://10.0.0.1:6464: set GREENROOM_URL" in where_else(settings)
    remote = msgspec.structs.replace(settings, url="http://10.0.0.9:6464")
    assert "curl http://10.0.0.9:6464/healthz" in where_else(remote)


@pytest.mark.parametrize("workdir", ["~/work", "work", "/work/../etc"])
def test_invalid_workdir_is_rejected(workdir: str) -> None:
    check_workdir("/work")
    with pytest.raises(WrongUsage, match="not an absolute path"):
        check_workdir(workdir)
