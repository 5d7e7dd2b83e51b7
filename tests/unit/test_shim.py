import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import pytest

import greenroom
from greenroom.domain.errors import ConfigurationError
from greenroom.process import process_tree, shim, spawn
from greenroom.process.identity import ProcessIdentity
from greenroom.process.process_group import ExitStatus, ProcessGroup
from greenroom.process.run_folder import prepare_folder, read_text, stream_files, written_size
from greenroom.process.spawn import StartDeclined
from tests.unit.process_checks import has_ended, running_processes, wait_until_written
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ENVIRONMENT = {"PATH": os.environ["PATH"]}
MIB = 1024 * 1024
INTERNAL = 0b11 << 31
"""The signals 32 and 33, which the C library reserves for itself."""
WAIT_FOR_GATE = "until [ -e go ]; do sleep 0.01; done; "


def spawn_group(
    folder: Path, *command: str, bytes_max: int = MIB, env: Mapping[str, str] = ENVIRONMENT
) -> ProcessGroup:
    return ProcessGroup.spawn(command, folder, env, b"", folder / "run", {}, bytes_max)


def spawn_shell(folder: Path, script: str, bytes_max: int = MIB) -> ProcessGroup:
    return spawn_group(folder, "sh", "-c", script, bytes_max=bytes_max)


def read_stdout(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for _, path in stream_files(folder / "run" / "stdout"))


def command_line_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def process_of(identity: ProcessIdentity) -> psutil.Process:
    return psutil.Process(identity.pid)


# The environment of the command.


def test_shim_identity_is_written_before_start(tmp_path: Path) -> None:
    group = spawn_group(tmp_path, "cat", "run/shim.json")
    assert group.wait(PATIENCE_S) == ExitStatus(0, None)
    assert msgspec.json.decode(read_stdout(tmp_path), type=ProcessIdentity) == group.identity


@pytest.mark.parametrize("more", [{}, {"LC_CTYPE": "C"}, {"LANG": "C", "PYTHONHOME": "/nowhere"}], ids=str)
def test_command_environment_is_exact(tmp_path: Path, more: dict[str, str]) -> None:
    group = spawn_group(tmp_path, "env", env=ENVIRONMENT | more)
    assert group.wait(PATIENCE_S) == ExitStatus(0, None)
    assert dict(line.split("=", 1) for line in read_stdout(tmp_path).decode().splitlines()) == ENVIRONMENT | more


def test_command_has_default_signals(tmp_path: Path) -> None:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGFPE)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        group = spawn_group(tmp_path, "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert group.wait(PATIENCE_S) == ExitStatus(0, None)
    blocked, ignored = (int(word, 16) for word in read_stdout(tmp_path).split()[1::2])
    assert (blocked, ignored & ~INTERNAL) == (0, 0)


def test_command_has_no_extra_files(tmp_path: Path) -> None:
    group = spawn_shell(tmp_path, "ls /proc/$$/fd")
    assert group.wait(PATIENCE_S) == ExitStatus(0, None)
    assert read_stdout(tmp_path).split() == [b"0", b"1", b"2"]


def test_replaced_directory_is_rejected(tmp_path: Path) -> None:
    allowed, forbidden = tmp_path / "allowed", tmp_path / "forbidden"
    forbidden.mkdir()
    allowed.symlink_to(forbidden)  # it was a directory when it was checked
    with pytest.raises(ConfigurationError, match=f"{allowed} was replaced: it leads to {forbidden}"):
        ProcessGroup.spawn(["touch", "here"], allowed, ENVIRONMENT, b"", tmp_path / "run")
    assert list(forbidden.iterdir()) == []
    assert ProcessGroup.adopt(tmp_path / "run", {}) is None


def test_failing_python_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigurationError, match="/bin/false, which runs the shim, failed; see "):
        spawn_group(tmp_path, "true")


def test_command_line_is_found_once(tmp_path: Path) -> None:
    command = f"1000.{os.getpid()}"
    group = spawn_group(tmp_path, "sleep", command)
    found = [process for process in psutil.process_iter() if command in command_line_of(process)]
    assert found == process_of(group.identity).children()
    group.stop(PATIENCE_S)


UPGRADE = """
import os, sys
from pathlib import Path
from greenroom.process import process_group, shim
Path(shim.__file__).write_text("the next version, which is incompatible")
folder = Path(sys.argv[1])
print(process_group.ProcessGroup.spawn(["true"], folder, {"PATH": os.environ["PATH"]}, b"", folder / "run").wait())
"""


def test_upgrade_during_run_keeps_shim(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(greenroom.__file__).parent, tmp_path / "greenroom", ignore=ignored)
    arguments, env = [sys.executable, "-c", UPGRADE, str(tmp_path)], ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}
    completed = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (completed.stdout, completed.stderr) == ("exit code 0\n", "")


def test_may_begin_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tree, "KILL_S_MAX", 10 * PATIENCE_S)  # a test that waited for the kill would hang
    shim_ready = []

    def refuse() -> bool:
        shim_ready.append((tmp_path / "run" / "shim.json").exists())
        return False

    with pytest.raises(StartDeclined):
        ProcessGroup.spawn(["touch", "started"], tmp_path, ENVIRONMENT, b"", tmp_path / "run", may_start=refuse)
    assert shim_ready == [True], "called once, when the shim was ready"
    assert not (tmp_path / "started").exists()
    assert spawn_group(tmp_path, "touch", "started").wait(PATIENCE_S) == ExitStatus(0, None)
    assert not (tmp_path / "run" / shim.PROGRAM).exists()


@pytest.mark.parametrize("has_read_it", [True, False], ids=["permission read", "permission not read"])
def test_killed_shim_starts_only_with_permission(tmp_path: Path, has_read_it: bool) -> None:
    parent_side, shim_side = socket.socketpair()

    def allow() -> bool:
        if not has_read_it:
            shim_side.close()
        return True

    def begin() -> None:
        spawn.await_start(parent_side.fileno(), allow, ["true"], tmp_path, tmp_path)

    with parent_side, shim_side:
        shim_side.sendall(spawn.READY)
        if has_read_it:
            shim_side.shutdown(socket.SHUT_WR)
            begin()
        else:
            with pytest.raises(ConfigurationError, match="failed"):
                begin()


def test_shim_memory(tmp_path: Path) -> None:
    group = spawn_group(tmp_path, "sleep", "1000")
    assert process_of(group.identity).memory_info().rss < 14 * MIB
    group.stop(PATIENCE_S)


# Signals to the group, and killed processes.


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "ALRM", "PIPE", "TSTP"])
def test_group_signals_do_not_end_shim(tmp_path: Path, name: str) -> None:
    group = spawn_shell(tmp_path, f"trap '' {name}; kill -{name} 0; exit 7")
    assert group.wait(PATIENCE_S) == ExitStatus(7, None)


@pytest.mark.parametrize(
    ("script", "count"),
    [("sleep 1000 & setsid sleep 1000 & echo ready; wait", 3), ("echo ready; exec env -i sleep 1000", 1)],
    ids=["several processes", "without marks"],
)
def test_exit_of_killed_shim_is_unseen_and_stop_ends_group(tmp_path: Path, script: str, count: int) -> None:
    marks = {"MARK_OF_A_RUN": str(tmp_path)}
    group = ProcessGroup.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT | marks, b"", tmp_path / "run", marks)
    wait_until_written(tmp_path / "run" / "stdout", "ready")  # a later write would end by SIGPIPE
    wait_until(lambda: len(process_of(group.identity).children(recursive=True)) == count, "every process runs")
    descendants = process_of(group.identity).children(recursive=True)
    os.kill(group.identity.pid, signal.SIGKILL)
    ended = group.wait(PATIENCE_S)
    assert ended is not None
    assert ended.is_unknown
    assert "how the command ended is unknown" in str(ended)
    assert len(running_processes(descendants)) == count
    group.stop(PATIENCE_S)
    assert running_processes(descendants) == []


def test_stopped_shim_misses_no_output(tmp_path: Path) -> None:
    group = spawn_shell(tmp_path, WAIT_FOR_GATE + "head -c 60000 /dev/zero; exit 7")
    (command,) = process_of(group.identity).children()
    os.kill(group.identity.pid, signal.SIGSTOP)
    wait_until(lambda: process_of(group.identity).status() == psutil.STATUS_STOPPED, "the shim is stopped")
    (tmp_path / "go").touch()
    wait_until(lambda: has_ended(command), "the command has ended")
    assert group.wait(0.3) is None
    os.kill(group.identity.pid, signal.SIGCONT)
    assert group.wait(PATIENCE_S) == ExitStatus(7, None)
    assert read_stdout(tmp_path) == bytes(60000)


def test_stopped_group_can_be_stopped(tmp_path: Path) -> None:
    group = spawn_group(tmp_path, "sleep", "1000")
    descendants = process_of(group.identity).children()
    os.killpg(group.identity.pid, signal.SIGSTOP)
    wait_until(lambda: process_of(group.identity).status() == psutil.STATUS_STOPPED, "the shim is stopped")
    assert group.stop(PATIENCE_S) == ExitStatus(None, signal.SIGTERM)
    assert running_processes(descendants) == []


# Limits of the output, and a full disk.


def test_long_output_keeps_head_and_tail(tmp_path: Path) -> None:
    bytes_max = 64 * 1024
    group = spawn_shell(tmp_path, "seq 1 200000", bytes_max=bytes_max)
    assert group.wait(PATIENCE_S) == ExitStatus(0, None)
    output = "".join(f"{number}\n" for number in range(1, 200001)).encode()
    stdout = tmp_path / "run" / "stdout"
    (_, head), *tail = stream_files(stdout)
    kept = b"".join(path.read_bytes() for _, path in tail)
    assert head.read_bytes() == output[: bytes_max // 2]
    assert output.endswith(kept)
    assert bytes_max // 4 <= len(kept) <= bytes_max // 2
    assert written_size(stdout) == len(output)
    text = read_text(stdout, 8 * 1024)
    assert text.startswith("1\n2\n3\n")
    assert text.endswith("\n199999\n200000\n")
    assert f"{len(output) - bytes_max // 2 - len(kept)} of {len(output)} bytes were not kept" in text
    assert all(str(path) in text for path in (head, *(path for _, path in tail)))


def test_second_run_in_folder_starts_clean(tmp_path: Path) -> None:
    first = spawn_shell(tmp_path, "seq 1 20000; exit 3", bytes_max=8 * 1024)
    assert first.wait(PATIENCE_S) == ExitStatus(3, None)
    second = spawn_shell(tmp_path, "sleep 1000")
    assert second.poll() is None
    os.kill(second.identity.pid, signal.SIGKILL)
    assert second.wait(PATIENCE_S) == ExitStatus(None, None)
    assert read_stdout(tmp_path) == b""
    second.stop(PATIENCE_S)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount_point], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield mount_point
    subprocess.run(["umount", "-l", mount_point], check=True)


def fill(disk: Path) -> Path:
    """Fill the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (64 * 1024, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


def test_full_disk_delays_command(small_disk: Path, tmp_path: Path) -> None:
    script = WAIT_FOR_GATE + "head -c 300000 /dev/zero; touch written; exit 7"
    group = ProcessGroup.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT, b"", small_disk / "run")
    ballast = fill(small_disk)
    (tmp_path / "go").touch()
    assert group.wait(1.0) is None
    assert not (tmp_path / "written").exists(), "the command waits until there is space for its output"
    ballast.unlink()
    assert group.wait(PATIENCE_S) == ExitStatus(7, None)
    assert (small_disk / "run" / "stdout").read_bytes() == bytes(300000)


def test_exit_is_recorded_after_full_disk(small_disk: Path, tmp_path: Path) -> None:
    script = WAIT_FOR_GATE + "touch ended; exit 7"
    group = ProcessGroup.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT, b"", small_disk / "run")
    ballast = fill(small_disk)
    (tmp_path / "go").touch()
    wait_until((tmp_path / "ended").exists, "the command has ended")
    assert group.wait(1.0) is None
    ballast.unlink()
    assert group.wait(PATIENCE_S) == ExitStatus(7, None)


def test_full_disk_does_not_block_stop(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_tree, "KILL_S_MAX", 0.5)
    group = ProcessGroup.spawn(["sh", "-c", "cat /dev/zero"], tmp_path, ENVIRONMENT, b"", small_disk / "run")
    descendants = process_of(group.identity).children(recursive=True)
    fill(small_disk)
    ended = group.stop(0.2)
    assert ended is not None
    assert ended.is_unknown
    assert running_processes(descendants) == []


def test_full_disk_starts_nothing(small_disk: Path, tmp_path: Path) -> None:
    fill(small_disk)
    with pytest.raises(ConfigurationError, match="No space left"):
        ProcessGroup.spawn(["touch", "started"], tmp_path, ENVIRONMENT, b"", small_disk / "run")
    assert not (tmp_path / "started").exists()


def test_removed_folder_does_not_block(tmp_path: Path) -> None:
    group = spawn_shell(tmp_path, WAIT_FOR_GATE + "seq 1 20000", bytes_max=8 * 1024)
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    (tmp_path / "run").rmdir()
    (tmp_path / "go").touch()
    ended = group.wait(PATIENCE_S)
    assert ended is not None
    assert ended.is_unknown
    group.stop(PATIENCE_S)


# The process that starts the command is killed.

PARENT = """
import os, sys
from pathlib import Path
from greenroom.process.process_group import ProcessGroup
folder, lifeline, script, grace_s = Path(sys.argv[1]), sys.argv[2] == "lifeline", sys.argv[3], float(sys.argv[4])
marks = {"MARK_OF_A_RUN": sys.argv[1]}
env = {"PATH": os.environ["PATH"], **marks}
limits = {"ends_with_parent": lifeline, "grace_s": grace_s}
group = ProcessGroup.spawn(["sh", "-c", script], folder, env, b"", folder / "run", marks, **limits)
print(group.identity.pid, flush=True)
group.wait()
"""


def spawn_and_kill_parent(folder: Path, lifeline: str, script: str, grace_s: float = 0.3) -> list[psutil.Process]:
    """The processes of a command whose starter was killed."""
    arguments = [sys.executable, "-c", PARENT, str(folder), lifeline, script, str(grace_s)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        leader = psutil.Process(int(parent.stdout.readline()))
        wait_until_written(folder / "run" / "stdout", "ready\n")
        processes = [leader, *leader.children(recursive=True)]
        parent.kill()
    return processes


STUBBORN = (
    "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$; sleep 1000' &); "
    "until [ -s run/stdout ]; do sleep 0.01; done; echo ready; "
)


def test_parent_death_ends_every_process(tmp_path: Path) -> None:
    processes = spawn_and_kill_parent(tmp_path, "lifeline", STUBBORN + "sleep 1000; exit 3")
    escaped = psutil.Process(int((tmp_path / "run" / "stdout").read_text().split()[0]))
    assert escaped in processes, "it has left the group and the session, and the shim has adopted it"
    wait_until(lambda: running_processes([*processes, escaped]) == [], "every process has ended")


def test_parent_death_grace_time(tmp_path: Path) -> None:
    script = "trap 'seq 1 30000; sleep 0.1; touch tidy; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    processes = spawn_and_kill_parent(tmp_path, "lifeline", script, grace_s=PATIENCE_S)
    wait_until(lambda: running_processes(processes) == [], "every process has ended")
    assert (tmp_path / "tidy").exists()
    assert read_stdout(tmp_path).endswith(b"\n30000\n")


def test_full_disk_does_not_block_parent_death(small_disk: Path) -> None:
    processes = spawn_and_kill_parent(small_disk, "lifeline", "echo ready; head -c 2000000 /dev/zero")
    wait_until(lambda: running_processes(processes) == [], "every process has ended")


def test_orphaned_command_is_adopted(tmp_path: Path) -> None:
    processes = spawn_and_kill_parent(tmp_path, "none", "echo ready; " + WAIT_FOR_GATE + "echo done; exit 3")
    group = ProcessGroup.adopt(tmp_path / "run", {"MARK_OF_A_RUN": str(tmp_path)})
    assert group is not None
    assert group.identity == ProcessIdentity(processes[0].pid, group.identity.started)
    assert group.wait(0.3) is None
    (tmp_path / "go").touch()
    assert group.wait(PATIENCE_S) == ExitStatus(3, None)
    assert read_stdout(tmp_path) == b"ready\ndone\n"
    again = ProcessGroup.adopt(tmp_path / "run", {"MARK_OF_A_RUN": str(tmp_path)})
    assert again is not None
    assert again.wait(PATIENCE_S) == ExitStatus(3, None), "an unobserved exit is read later"


def test_adopted_command_is_stopped_with_descendants(tmp_path: Path) -> None:
    processes = spawn_and_kill_parent(tmp_path, "none", STUBBORN + "sleep 1000")
    escaped = psutil.Process(int((tmp_path / "run" / "stdout").read_text().split()[0]))
    group = ProcessGroup.adopt(tmp_path / "run", {"MARK_OF_A_RUN": str(tmp_path)})
    assert group is not None
    assert group.stop(0.2) == ExitStatus(None, signal.SIGKILL)
    assert running_processes([*processes, escaped]) == []


def test_unmarked_orphan_is_stopped(tmp_path: Path) -> None:
    processes = spawn_and_kill_parent(tmp_path, "none", "echo ready; exec env -i sleep 1000")
    os.kill(processes[0].pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(processes[0].pid), "the shim has ended and was reaped")
    group = ProcessGroup.adopt(tmp_path / "run", {"MARK_OF_A_RUN": str(tmp_path)})
    assert group is not None
    ended = group.wait(PATIENCE_S)
    assert ended is not None
    assert ended.is_unknown
    assert running_processes(processes) != []
    group.stop(PATIENCE_S)
    assert running_processes(processes) == []


@pytest.mark.parametrize("when", ["before", "before the permission"])
def test_shim_without_parent_starts_nothing(tmp_path: Path, when: str) -> None:
    folder = tmp_path / "run"
    prepare_folder(folder, ["touch", "started"], b"")
    parent_side, shim_side = socket.socketpair()
    if when == "before":
        parent_side.close()
    arguments = [str(folder), str(tmp_path), "1000", "10", "", "", str(shim_side.fileno()), "-1"]
    command = [sys.executable, "-I", "-S", shim.__file__, *arguments]
    with subprocess.Popen(command, cwd=tmp_path, pass_fds=[shim_side.fileno()]) as started:
        shim_side.close()
        if when != "before":
            assert parent_side.recv(100) == spawn.READY
            parent_side.close()
        assert started.wait(PATIENCE_S) == 0
    assert not (tmp_path / "started").exists()
    assert ProcessGroup.adopt(folder, {}) is None
    assert ProcessGroup.adopt(tmp_path / "nowhere", {}) is None
