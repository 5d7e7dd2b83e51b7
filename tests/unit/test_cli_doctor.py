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
from tests.unit.calling import settings_of
from tests.unit.stage import WISH

NOW = SystemClock().wall()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of("http://127.0.0.1:9", tmp_path)


def fact(name: str) -> Fact:
    return Fact(id=name, kind="started", room="room_1", role="builder", connection_id="c1")


def run_of(folder: Path, identity: Identity | None = None) -> Run:
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


def only(findings: Iterable[Finding]) -> Finding:
    [finding] = findings
    return finding


def facts_of(settings: Settings) -> Finding:
    return only(examine_outbox(settings, take_inventory(settings).facts_at, NOW))


def test_untold_facts_are_counted_with_their_age(settings: Settings) -> None:
    assert OK == facts_of(settings).level

    outbox = Outbox(paths.outbox(settings.data_dir), 100)
    for name in ("one", "two"):
        outbox.put(fact(name))
    oldest = min(paths.outbox(settings.data_dir).glob("*.json"))
    os.utime(oldest, (NOW - 3_700, NOW - 3_700))
    (paths.outbox(settings.data_dir) / "000000000009.json").write_text("no report")

    waiting = facts_of(settings)
    assert (WARNING, "greenroom daemon start sends them") == (waiting.level, waiting.next)
    assert waiting.detail.startswith("2 unsent reports, the oldest from 1 h 1 min ago (")

    with hold_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.tell("")
        assert "as soon as it reaches http://127.0.0.1:9" in str(facts_of(settings).next)
        oldest.unlink()
        assert OK == facts_of(settings).level


def test_untold_facts_that_are_in_one_file_are_counted_each(settings: Settings) -> None:
    Outbox(paths.outbox(settings.data_dir), 100).put(fact("one"), fact("two"), fact("three"))
    assert facts_of(settings).detail.startswith("3 unsent reports")


def test_whoever_examines_what_the_daemon_wrote_changes_and_says_nothing(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [folder(settings.data_dir) for folder in (paths.runs, paths.residents, paths.outbox)]
    for folder in folders:
        folder.mkdir()
        (folder / "1.json").write_text("{}")
        (folder / "2.json").mkdir()
    found = take_inventory(settings)
    assert ((), ()) == (found.runs, found.facts_at)
    assert [["1.json", "2.json"]] * 3 == [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert "" == caplog.text


def runs_of(settings: Settings) -> Finding:
    return only(examine_runs(settings, take_inventory(settings).runs, NOW))


def test_a_run_without_a_daemon_is_told_with_what_becomes_of_it(settings: Settings, tmp_path: Path) -> None:
    assert OK == runs_of(settings).level
    book, folder = RunBook(paths.runs(settings.data_dir)), tmp_path / "run"
    folder.mkdir()

    book.note(run_of(folder, identity_of(os.getpid())))
    alive = runs_of(settings)
    assert (
        WARNING,
        f"room_1/builder: task_1 (attempt 2) runs without a daemon, started 1 min 30 s ago (process {os.getpid()})",
        "greenroom daemon start adopts it and reports its result",
    ) == (alive.level, alive.detail, alive.next)

    book.note(run_of(folder, Identity(os.getpid(), "an earlier start")))
    killed = runs_of(settings)
    assert (True, "greenroom daemon start reports it, and the server retries the task") == (
        killed.detail.endswith("was killed; its exit status is unknown"),
        killed.next,
    )

    write_record(folder / "exit.json", Record(3, None))
    ended = runs_of(settings)
    assert ("room_1/builder: task_1 (attempt 2) exited without a daemon (exit code 3)", True) == (
        ended.detail,
        str(ended.next).endswith("reports its result"),
    )

    with hold_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.tell("")
        daemon = runs_of(settings)
        assert (OK, f"process {os.getpid()} runs this machine's agents; runs in progress: 1") == (
            daemon.level,
            daemon.detail,
        )


def test_what_takes_more_than_it_may_is_told(settings: Settings) -> None:
    shelf = paths.logs(settings.data_dir) / "shop" / "builder" / "task_1.1"
    shelf.mkdir(parents=True)
    (shelf / "stdout").write_bytes(bytes(3_000))
    (shelf / "loop").symlink_to(settings.data_dir)
    (settings.data_dir / "greenroom.db").write_bytes(bytes(2_048))
    assert 3_000 == size_of(paths.logs(settings.data_dir))

    levels = {finding.what: finding.level for finding in examine_sizes(settings)}
    assert {"store": OK, "logs": OK, "runs": OK, "claims": OK} == levels

    tight = msgspec.structs.replace(settings, limits=Reliability(run_logs_bytes_max=2_000))
    logs = next(finding for finding in examine_sizes(tight) if finding.what == "logs")
    assert (WARNING, True) == (logs.level, logs.detail.startswith("2.9 KiB of 2.0 KiB"))
    assert logs.next


def test_harnesses_whose_program_is_missing_are_told(settings: Settings) -> None:
    assert "none is configured" in only(examine_harnesses(settings, os.environ)).detail
    there, gone = Harness(command=("sh",)), Harness(command=("no-such-program-at-all",))
    beside = Harness(command=("./agent.sh",))
    found = with_harnesses(settings, there=there, beside=beside)
    assert (OK, "beside, there: all programs found") == (
        only(examine_harnesses(found, os.environ)).level,
        only(examine_harnesses(found, os.environ)).detail,
    )
    missing = only(examine_harnesses(with_harnesses(settings, there=there, gone=gone), os.environ))
    assert ("harness gone", WARNING) == (missing.what, missing.level)
    assert "no-such-program-at-all" in missing.detail


def with_harnesses(settings: Settings, **harnesses: Harness) -> Settings:
    return msgspec.structs.replace(settings, user_daemon=DaemonSettings(harnesses=harnesses))


def test_the_machine_is_named(settings: Settings) -> None:
    assert "it has no id yet" in only(examine_machine(settings, take_inventory(settings).machine)).detail
    write_record(paths.machine(settings.data_dir), Machine(id="attic-1", name="attic"))
    assert only(examine_machine(settings, take_inventory(settings).machine)).detail.startswith("attic (id attic-1)")
    paths.machine(settings.data_dir).write_text("{}")
    assert WARNING == only(examine_machine(settings, take_inventory(settings).machine)).level


def test_installed_agents_that_nobody_runs_are_told_with_what_would(settings: Settings, tmp_path: Path) -> None:
    for name in ("claude", "codex"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o700)
    configured = with_harnesses(settings, mine=Harness(command=(str(tmp_path / "codex"), "exec")))
    found = only(examine_clis(configured, discover({"PATH": str(tmp_path)})))
    assert (OK, f"claude is installed ({tmp_path / 'claude'}), but no harness runs it") == (found.level, found.detail)
    assert "[daemon.harnesses.claude]" in str(found.next)


def test_an_agent_that_is_run_by_way_of_another_program_is_not_offered(settings: Settings, tmp_path: Path) -> None:
    """The daemon does not list it among the found CLIs either."""
    (tmp_path / "claude").write_text("#!/bin/sh\n")
    (tmp_path / "claude").chmod(0o700)
    wrapped = with_harnesses(settings, mine=Harness(command=("nice", str(tmp_path / "claude"), "-p")))
    assert [] == list(examine_clis(wrapped, discover({"PATH": str(tmp_path)})))


def test_a_process_that_stays_is_told_of_as_one(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "stays"
    folder.mkdir()
    resident = Resident(connection_id="c1", wish=WISH, folder=str(folder), began_at=NOW - 5)
    ResidentBook(paths.residents(settings.data_dir)).note(resident)

    assert "r/builder: resident was killed" in runs_of(settings).detail
    write_record(folder / "wrapper.json", identity_of(os.getpid()))  # type: ignore[arg-type]
    assert f"runs without a daemon, started 5 s ago (process {os.getpid()})" in runs_of(settings).detail
    assert "greenroom daemon start adopts it" == runs_of(settings).next


def test_whoever_looks_at_the_wrong_address_is_told_the_right_one(settings: Settings) -> None:
    assert where_else(settings) == "Start it: greenroom up"
    with hold_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock:
        lock.tell("http://10.0.0.1:6464")
        assert "http://10.0.0.1:6464: set GREENROOM_URL" in where_else(settings)
    away = msgspec.structs.replace(settings, url="http://10.0.0.9:6464")
    assert "curl http://10.0.0.9:6464/healthz" in where_else(away)


@pytest.mark.parametrize("told", ["~/work", "work", "/work/../etc"])
def test_a_directory_that_no_machine_takes_is_refused_where_it_is_typed(told: str) -> None:
    check_workdir("/work")
    with pytest.raises(WrongUsage, match="not an absolute path"):
        check_workdir(told)
