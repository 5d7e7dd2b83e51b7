"""Which exit code an error of a command has, and what is printed about it."""

import io
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, TextIO

import pytest

from greenroom.cli import exits, main
from greenroom.domain import errors

KINDS = {
    errors.NotFound: 3,
    errors.Conflict: 4,
    errors.Superseded: 4,
    errors.RejoinRequired: 4,
    errors.Refused: 77,
    errors.Unauthorized: 77,
    errors.ConfigurationError: 78,
    errors.AlreadyRunning: 78,
    errors.Unusable: 2,
    errors.StoreUnavailable: 1,
    errors.GreenroomError: 1,
    exits.WrongUsage: 2,
}


@pytest.mark.parametrize(("kind", "code"), KINDS.items(), ids=lambda part: getattr(part, "__name__", ""))
def test_each_kind_of_error_has_its_code(kind: type[errors.GreenroomError], code: int) -> None:
    assert code == exits.code_of(kind("It went wrong.", "Do this."))
    assert code in exits.MEANINGS


def test_only_a_server_that_is_not_reached_is_unreachable() -> None:
    assert 69 == exits.code_of(errors.Unavailable("No answer.", "Start it.", "unreachable"))
    assert 1 == exits.code_of(errors.Unavailable("Busy.", "Again."))


def test_a_command_that_could_mean_several_tasks_is_wrong_usage() -> None:
    assert 2 == exits.code_of(errors.Unusable("Two tasks are held here.", "Name yours.", "no_claim"))


def test_an_illegal_move_is_a_conflict() -> None:
    assert 4 == exits.code_of(errors.InvalidTransition("task", "closed", "start", ()))


def play(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    """Replace the function of `greenroom completion bash`."""
    monkeypatch.setattr(main, "function_of", lambda verb: function)


def test_an_error_is_told_with_its_guidance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: Namespace, settings: None, out: TextIO, err: TextIO) -> int:
        print("data", file=out)
        raise errors.NotFound("There is no room shop.", "See greenroom room list.")

    play(monkeypatch, fail)

    assert 3 == main.main(["completion", "bash"])
    shown = capsys.readouterr()
    assert ("data\n", "error: There is no room shop.\nSee greenroom room list.\n") == (shown.out, shown.err)


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    play(monkeypatch, interrupt)

    assert 130 == main.main(["completion", "bash"])


def test_a_reader_who_leaves_is_no_news(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`greenroom messages shop | head`: no traceback, neither now nor at the flush at exit."""
    reading, writing = os.pipe()
    os.close(reading)
    pipe = os.fdopen(writing, "w")
    err = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(sys, "stderr", err)

    assert 1 == main.main(["completion", "bash"])
    pipe.close()
    assert "" == err.getvalue()


def test_a_broken_configuration_ends_with_78(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GREENROOM_HEARTBEAT_TTL_S", "10")

    assert 78 == main.main(["config"])
    told = capsys.readouterr().err
    assert "heartbeat_interval_s" in told
    assert "heartbeat_ttl_s" in told


def test_nobody_there_ends_with_69_and_speaks_of_no_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert 69 == main.main(["status", "--url", "http://127.0.0.1:9"])
    told = capsys.readouterr().err
    assert "cannot be reached" in told
    assert "log in" not in told
    assert "token" not in told


@pytest.mark.process
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("config >&-", 1, "error: "),
        ("config >/dev/full", 1, "No space left"),
        ("config >/dev/full 2>/dev/full", 1, ""),
        ("send room <&-", 2, "There is no text"),
        ("config 2>&-", 0, ""),
    ],
)
def test_streams_that_are_closed_or_full_are_told_of_in_a_line(tmp_path: Path, line: str, code: int, says: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = ["sh", "-c", f"exec {sys.executable} -m greenroom {line}"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert code == done.returncode
    assert says in done.stderr
    assert "Traceback" not in done.stderr
