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
from greenroom.process import members, start, wrapper
from greenroom.process.group import Exit, Group
from greenroom.process.identity import Identity
from greenroom.process.journal import begin, parts_of, size_of
from greenroom.process.output import text_of
from greenroom.process.start import NotNow
from tests.unit.living import has_ended, survivors, wait_until_written
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ENVIRONMENT = {"PATH": os.environ["PATH"]}
MIB = 1024 * 1024
INTERNAL = 0b11 << 31
"""The signals 32 and 33, which the C library reserves for itself."""
GATE = "until [ -e go ]; do sleep 0.01; done; "


def spawn(folder: Path, *command: str, bytes_max: int = MIB, env: Mapping[str, str] = ENVIRONMENT) -> Group:
    return Group.spawn(command, folder, env, b"", folder / "run", {}, bytes_max)


def spawn_shell(folder: Path, script: str, bytes_max: int = MIB) -> Group:
    return spawn(folder, "sh", "-c", script, bytes_max=bytes_max)


def output_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for _, path in parts_of(folder / "run" / "stdout"))


def command_line_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def process_of(identity: Identity) -> psutil.Process:
    return psutil.Process(identity.pid)


# The environment of the command.


def test_it_is_written_down_who_watches_before_the_command_starts(tmp_path: Path) -> None:
    group = spawn(tmp_path, "cat", "run/wrapper.json")
    assert group.wait(PATIENCE_S) == Exit(0, None)
    assert msgspec.json.decode(output_of(tmp_path), type=Identity) == group.identity


@pytest.mark.parametrize("more", [{}, {"LC_CTYPE": "C"}, {"LANG": "C", "PYTHONHOME": "/nowhere"}], ids=str)
def test_a_command_sees_exactly_the_environment_that_was_made_for_it(tmp_path: Path, more: dict[str, str]) -> None:
    group = spawn(tmp_path, "env", env=ENVIRONMENT | more)
    assert group.wait(PATIENCE_S) == Exit(0, None)
    assert dict(line.split("=", 1) for line in output_of(tmp_path).decode().splitlines()) == ENVIRONMENT | more


def test_a_command_begins_with_the_signals_of_any_command(tmp_path: Path) -> None:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGFPE)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        group = spawn(tmp_path, "grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert group.wait(PATIENCE_S) == Exit(0, None)
    blocked, ignored = (int(word, 16) for word in output_of(tmp_path).split()[1::2])
    assert (blocked, ignored & ~INTERNAL) == (0, 0)


def test_a_command_has_no_file_of_ours_open(tmp_path: Path) -> None:
    group = spawn_shell(tmp_path, "ls /proc/$$/fd")
    assert group.wait(PATIENCE_S) == Exit(0, None)
    assert output_of(tmp_path).split() == [b"0", b"1", b"2"]


def test_a_directory_that_was_swapped_for_a_link_is_not_entered(tmp_path: Path) -> None:
    allowed, forbidden = tmp_path / "allowed", tmp_path / "forbidden"
    forbidden.mkdir()
    allowed.symlink_to(forbidden)  # it was a directory when it was checked
    with pytest.raises(ConfigurationError, match=f"{allowed} was replaced: it leads to {forbidden}"):
        Group.spawn(["touch", "here"], allowed, ENVIRONMENT, b"", tmp_path / "run")
    assert list(forbidden.iterdir()) == []
    assert Group.adopt(tmp_path / "run", {}) is None


def test_a_python_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigurationError, match="/bin/false, which runs the shim, failed; see "):
        spawn(tmp_path, "true")


def test_who_looks_for_the_command_by_its_words_finds_it_alone(tmp_path: Path) -> None:
    words = f"1000.{os.getpid()}"
    group = spawn(tmp_path, "sleep", words)
    found = [process for process in psutil.process_iter() if words in command_line_of(process)]
    assert found == process_of(group.identity).children()
    group.stop(PATIENCE_S)


UPGRADED = """
import os, sys
from pathlib import Path
from greenroom.process import group, wrapper
Path(wrapper.__file__).write_text("the next version, which is incompatible")
folder = Path(sys.argv[1])
print(group.Group.spawn(["true"], folder, {"PATH": os.environ["PATH"]}, b"", folder / "run").wait())
"""


def test_an_upgrade_beneath_a_process_that_runs_stops_no_run(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(greenroom.__file__).parent, tmp_path / "greenroom", ignore=ignored)
    told, env = [sys.executable, "-c", UPGRADED, str(tmp_path)], ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(told, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (ended.stdout, ended.stderr) == ("exit code 0\n", "")


def test_a_command_begins_only_where_that_is_allowed_at_the_last_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "KILL_S_MAX", 10 * PATIENCE_S)  # a test that waited for the kill would hang
    asked = []

    def refuse() -> bool:
        asked.append((tmp_path / "run" / "wrapper.json").exists())
        return False

    with pytest.raises(NotNow):
        Group.spawn(["touch", "started"], tmp_path, ENVIRONMENT, b"", tmp_path / "run", may_begin=refuse)
    assert asked == [True], "called once, when the shim was ready"
    assert not (tmp_path / "started").exists()
    assert spawn(tmp_path, "touch", "started").wait(PATIENCE_S) == Exit(0, None)
    assert not (tmp_path / "run" / wrapper.PROGRAM).exists()


@pytest.mark.parametrize("has_read_it", [True, False], ids=["permission read", "permission not read"])
def test_a_wrapper_that_is_killed_may_have_begun_only_with_our_word(tmp_path: Path, has_read_it: bool) -> None:
    ours, its = socket.socketpair()

    def killed_then() -> bool:
        if not has_read_it:
            its.close()
        return True

    def begin() -> None:
        start.let_begin(ours.fileno(), killed_then, ["true"], tmp_path, tmp_path)

    with ours, its:
        its.sendall(start.READY)
        if has_read_it:
            its.shutdown(socket.SHUT_WR)
            begin()
        else:
            with pytest.raises(ConfigurationError, match="failed"):
                begin()


def test_it_is_small(tmp_path: Path) -> None:
    group = spawn(tmp_path, "sleep", "1000")
    assert process_of(group.identity).memory_info().rss < 14 * MIB
    group.stop(PATIENCE_S)


# Signals to the group, and killed processes.


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "ALRM", "PIPE", "TSTP"])
def test_what_a_command_tells_its_own_group_ends_nobody_who_watches(tmp_path: Path, name: str) -> None:
    group = spawn_shell(tmp_path, f"trap '' {name}; kill -{name} 0; exit 7")
    assert group.wait(PATIENCE_S) == Exit(7, None)


@pytest.mark.parametrize(
    ("script", "count"),
    [("sleep 1000 & setsid sleep 1000 & echo ready; wait", 3), ("echo ready; exec env -i sleep 1000", 1)],
    ids=["several processes", "without marks"],
)
def test_whose_wrapper_was_killed_ended_unseen_and_is_ended_whole(tmp_path: Path, script: str, count: int) -> None:
    marks = {"MARK_OF_A_RUN": str(tmp_path)}
    group = Group.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT | marks, b"", tmp_path / "run", marks)
    wait_until_written(tmp_path / "run" / "stdout", "ready")  # a later write would end by SIGPIPE
    wait_until(lambda: len(process_of(group.identity).children(recursive=True)) == count, "every process runs")
    below = process_of(group.identity).children(recursive=True)
    os.kill(group.identity.pid, signal.SIGKILL)
    ended = group.wait(PATIENCE_S)
    assert ended is not None
    assert ended.is_unseen
    assert "how the command ended is unknown" in str(ended)
    assert len(survivors(below)) == count
    group.stop(PATIENCE_S)
    assert survivors(below) == []


def test_whom_a_command_left_behind_is_ended_though_it_bears_no_marks(tmp_path: Path) -> None:
    marks = {"MARK_OF_A_RUN": str(tmp_path)}
    script = "env -i sleep 1000 & echo $!"
    group = Group.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT | marks, b"", tmp_path / "run", marks)
    assert group.wait(PATIENCE_S) == Exit(0, None)
    left = psutil.Process(int(output_of(tmp_path)))
    assert not has_ended(left)
    group.stop(PATIENCE_S)
    assert has_ended(left)


def test_a_wrapper_that_stood_still_has_missed_nothing(tmp_path: Path) -> None:
    group = spawn_shell(tmp_path, GATE + "head -c 60000 /dev/zero; exit 7")
    (command,) = process_of(group.identity).children()
    os.kill(group.identity.pid, signal.SIGSTOP)
    wait_until(lambda: process_of(group.identity).status() == psutil.STATUS_STOPPED, "the shim is stopped")
    (tmp_path / "go").touch()
    wait_until(lambda: has_ended(command), "the command has ended")
    assert group.wait(0.3) is None
    os.kill(group.identity.pid, signal.SIGCONT)
    assert group.wait(PATIENCE_S) == Exit(7, None)
    assert output_of(tmp_path) == bytes(60000)


def test_who_stands_still_is_stopped_like_anybody(tmp_path: Path) -> None:
    group = spawn(tmp_path, "sleep", "1000")
    below = process_of(group.identity).children()
    os.killpg(group.identity.pid, signal.SIGSTOP)
    wait_until(lambda: process_of(group.identity).status() == psutil.STATUS_STOPPED, "the shim is stopped")
    assert group.stop(PATIENCE_S) == Exit(None, signal.SIGTERM)
    assert survivors(below) == []


# Limits of the output, and a full disk.


def test_of_much_output_head_and_tail_are_kept_and_the_rest_is_named(tmp_path: Path) -> None:
    bytes_max = 64 * 1024
    group = spawn_shell(tmp_path, "seq 1 200000", bytes_max=bytes_max)
    assert group.wait(PATIENCE_S) == Exit(0, None)
    whole = "".join(f"{number}\n" for number in range(1, 200001)).encode()
    stdout = tmp_path / "run" / "stdout"
    (_, head), *tail = parts_of(stdout)
    kept = b"".join(path.read_bytes() for _, path in tail)
    assert head.read_bytes() == whole[: bytes_max // 2]
    assert whole.endswith(kept)
    assert bytes_max // 4 <= len(kept) <= bytes_max // 2
    assert size_of(stdout) == len(whole)
    text = text_of(stdout, 8 * 1024)
    assert text.startswith("1\n2\n3\n")
    assert text.endswith("\n199999\n200000\n")
    assert f"{len(whole) - bytes_max // 2 - len(kept)} of {len(whole)} bytes were not kept" in text
    assert all(str(path) in text for path in (head, *(path for _, path in tail)))


def test_a_second_run_in_a_folder_finds_nothing_of_the_first(tmp_path: Path) -> None:
    first = spawn_shell(tmp_path, "seq 1 20000; exit 3", bytes_max=8 * 1024)
    assert first.wait(PATIENCE_S) == Exit(3, None)
    second = spawn_shell(tmp_path, "sleep 1000")
    assert second.poll() is None
    os.kill(second.identity.pid, signal.SIGKILL)
    assert second.wait(PATIENCE_S) == Exit(None, None)
    assert output_of(tmp_path) == b""
    second.stop(PATIENCE_S)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


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


def test_a_full_disk_delays_a_command_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    script = GATE + "head -c 300000 /dev/zero; touch written; exit 7"
    group = Group.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT, b"", small_disk / "run")
    ballast = fill(small_disk)
    (tmp_path / "go").touch()
    assert group.wait(1.0) is None
    assert not (tmp_path / "written").exists(), "the command waits until there is space for its output"
    ballast.unlink()
    assert group.wait(PATIENCE_S) == Exit(7, None)
    assert (small_disk / "run" / "stdout").read_bytes() == bytes(300000)


def test_how_a_command_ended_is_written_down_when_there_is_room_again(small_disk: Path, tmp_path: Path) -> None:
    script = GATE + "touch ended; exit 7"
    group = Group.spawn(["sh", "-c", script], tmp_path, ENVIRONMENT, b"", small_disk / "run")
    ballast = fill(small_disk)
    (tmp_path / "go").touch()
    wait_until((tmp_path / "ended").exists, "the command has ended")
    assert group.wait(1.0) is None
    ballast.unlink()
    assert group.wait(PATIENCE_S) == Exit(7, None)


def test_a_full_disk_holds_up_no_stop(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "KILL_S_MAX", 0.5)
    group = Group.spawn(["sh", "-c", "cat /dev/zero"], tmp_path, ENVIRONMENT, b"", small_disk / "run")
    below = process_of(group.identity).children(recursive=True)
    fill(small_disk)
    ended = group.stop(0.2)
    assert ended is not None
    assert ended.is_unseen
    assert survivors(below) == []


def test_on_a_full_disk_nothing_is_started(small_disk: Path, tmp_path: Path) -> None:
    fill(small_disk)
    with pytest.raises(ConfigurationError, match="No space left"):
        Group.spawn(["touch", "started"], tmp_path, ENVIRONMENT, b"", small_disk / "run")
    assert not (tmp_path / "started").exists()


def test_a_folder_that_was_taken_away_holds_up_nobody(tmp_path: Path) -> None:
    group = spawn_shell(tmp_path, GATE + "seq 1 20000", bytes_max=8 * 1024)
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    (tmp_path / "run").rmdir()
    (tmp_path / "go").touch()
    ended = group.wait(PATIENCE_S)
    assert ended is not None
    assert ended.is_unseen
    group.stop(PATIENCE_S)


# The process that starts the command is killed.

STARTER = """
import os, sys
from pathlib import Path
from greenroom.process.group import Group
folder, lifeline, script, grace_s = Path(sys.argv[1]), sys.argv[2] == "lifeline", sys.argv[3], float(sys.argv[4])
marks = {"MARK_OF_A_RUN": sys.argv[1]}
env = {"PATH": os.environ["PATH"], **marks}
group = Group.spawn(["sh", "-c", script], folder, env, b"", folder / "run", marks, lifeline=lifeline, grace_s=grace_s)
print(group.identity.pid, flush=True)
group.wait()
"""


def start_and_kill(folder: Path, how: str, script: str, grace_s: float = 0.3) -> list[psutil.Process]:
    """The processes of a command whose starter was killed."""
    told = [sys.executable, "-c", STARTER, str(folder), how, script, str(grace_s)]
    with subprocess.Popen(told, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        leader = psutil.Process(int(starter.stdout.readline()))
        wait_until_written(folder / "run" / "stdout", "ready\n")
        everybody = [leader, *leader.children(recursive=True)]
        starter.kill()
    return everybody


STUBBORN = (
    "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$; sleep 1000' &); "
    "until [ -s run/stdout ]; do sleep 0.01; done; echo ready; "
)


def test_nothing_outlives_a_starter_that_held_the_lifeline(tmp_path: Path) -> None:
    everybody = start_and_kill(tmp_path, "lifeline", STUBBORN + "sleep 1000; exit 3")
    escaped = psutil.Process(int((tmp_path / "run" / "stdout").read_text().split()[0]))
    assert escaped not in everybody, "it has left the group, the session and the tree, so only its marks identify it"
    wait_until(lambda: survivors([*everybody, escaped]) == [], "every process has ended")


def test_who_tidies_up_when_the_lifeline_is_cut_has_the_grace_for_it(tmp_path: Path) -> None:
    script = "trap 'seq 1 30000; sleep 0.1; touch tidy; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    everybody = start_and_kill(tmp_path, "lifeline", script, grace_s=PATIENCE_S)
    wait_until(lambda: survivors(everybody) == [], "every process has ended")
    assert (tmp_path / "tidy").exists()
    assert output_of(tmp_path).endswith(b"\n30000\n")


def test_a_full_disk_holds_up_no_end_by_the_lifeline(small_disk: Path) -> None:
    everybody = start_and_kill(small_disk, "lifeline", "echo ready; head -c 2000000 /dev/zero")
    wait_until(lambda: survivors(everybody) == [], "every process has ended")


def test_a_command_whose_starter_was_killed_is_carried_on(tmp_path: Path) -> None:
    everybody = start_and_kill(tmp_path, "none", "echo ready; " + GATE + "echo done; exit 3")
    group = Group.adopt(tmp_path / "run", {"MARK_OF_A_RUN": str(tmp_path)})
    assert group is not None
    assert group.identity == Identity(everybody[0].pid, group.identity.started)
    assert group.wait(0.3) is None
    (tmp_path / "go").touch()
    assert group.wait(PATIENCE_S) == Exit(3, None)
    assert output_of(tmp_path) == b"ready\ndone\n"
    again = Group.adopt(tmp_path / "run", {"MARK_OF_A_RUN": str(tmp_path)})
    assert again is not None
    assert again.wait(PATIENCE_S) == Exit(3, None), "an unobserved exit is read later"


def test_an_adopted_command_is_stopped_with_all_that_is_its_own(tmp_path: Path) -> None:
    everybody = start_and_kill(tmp_path, "none", STUBBORN + "sleep 1000")
    escaped = psutil.Process(int((tmp_path / "run" / "stdout").read_text().split()[0]))
    group = Group.adopt(tmp_path / "run", {"MARK_OF_A_RUN": str(tmp_path)})
    assert group is not None
    assert group.stop(0.2) == Exit(None, signal.SIGKILL)
    assert survivors([*everybody, escaped]) == []


def test_whose_starter_and_wrapper_were_killed_is_ended_though_it_bears_no_marks(tmp_path: Path) -> None:
    everybody = start_and_kill(tmp_path, "none", "echo ready; exec env -i sleep 1000")
    os.kill(everybody[0].pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(everybody[0].pid), "the shim has ended and was reaped")
    group = Group.adopt(tmp_path / "run", {"MARK_OF_A_RUN": str(tmp_path)})
    assert group is not None
    ended = group.wait(PATIENCE_S)
    assert ended is not None
    assert ended.is_unseen
    assert survivors(everybody) != []
    group.stop(PATIENCE_S)
    assert survivors(everybody) == []


@pytest.mark.parametrize("when", ["before", "before the permission"])
def test_a_wrapper_whose_starter_has_ended_starts_nothing(tmp_path: Path, when: str) -> None:
    folder = tmp_path / "run"
    begin(folder, ["touch", "started"], b"")
    ours, its = socket.socketpair()
    if when == "before":
        ours.close()
    told = [str(folder), str(tmp_path), "1000", "0", "", "", str(its.fileno()), "-1"]
    words = [sys.executable, "-I", "-S", wrapper.__file__, *told]
    with subprocess.Popen(words, cwd=tmp_path, pass_fds=[its.fileno()]) as started:
        its.close()
        if when != "before":
            assert ours.recv(100) == start.READY
            ours.close()
        assert started.wait(PATIENCE_S) == 0
    assert not (tmp_path / "started").exists()
    assert Group.adopt(folder, {}) is None
    assert Group.adopt(tmp_path / "nowhere", {}) is None
