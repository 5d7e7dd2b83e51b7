"""Which exit code an error of a command has, and what is printed about it."""

import io
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, TextIO

import pytest

from greenroom.cli import errors as cli_errors
from greenroom.cli import main
from greenroom.cli.verbs import VERBS, Verb
from greenroom.domain import errors
from tests.waiting import PATIENCE_S

CODES = {
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
    cli_errors.UsageError: 2,
}


@pytest.mark.parametrize(("error_class", "code"), CODES.items(), ids=lambda part: getattr(part, "__name__", ""))
def test_exit_code_of_each_error(error_class: type[errors.GreenroomError], code: int) -> None:
    assert code == cli_errors.exit_code(error_class("It went wrong.", "Do this."))


def test_only_unreachable_server_exits_69() -> None:
    assert 69 == cli_errors.exit_code(errors.Unavailable("No answer.", "Start it.", "unreachable"))
    assert 1 == cli_errors.exit_code(errors.Unavailable("Busy.", "Again."))


def test_ambiguous_task_exits_2() -> None:
    assert 2 == cli_errors.exit_code(errors.Unusable("Two tasks are held here.", "Name yours.", "no_claim"))


def test_invalid_transition_exits_4() -> None:
    assert 4 == cli_errors.exit_code(errors.InvalidTransition("task", "closed", "start", ()))


def replace_completion(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    """Replace the function of `greenroom completion bash`."""
    monkeypatch.setattr(main, "import_function", lambda verb: function)


def test_error_is_printed_with_guidance(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: Namespace, settings: None, out: TextIO, err: TextIO) -> int:
        print("data", file=out)
        raise errors.NotFound("There is no room shop.", "See greenroom room list.")

    replace_completion(monkeypatch, fail)

    assert 3 == main.main(["completion", "bash"])
    shown = capsys.readouterr()
    assert ("data\n", "error: There is no room shop.\nSee greenroom room list.\n") == (shown.out, shown.err)


def test_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    replace_completion(monkeypatch, interrupt)

    assert 130 == main.main(["completion", "bash"])


def test_closed_reader_prints_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`greenroom messages shop | head`: no traceback, neither now nor at the flush at exit."""
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    pipe = os.fdopen(write_fd, "w")
    err = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(sys, "stderr", err)

    assert 1 == main.main(["completion", "bash"])
    pipe.close()
    assert "" == err.getvalue()


def test_invalid_configuration_exits_78(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GREENROOM_HEARTBEAT_TTL_S", "10")

    assert 78 == main.main(["config"])
    error_output = capsys.readouterr().err
    assert "heartbeat_interval_s" in error_output
    assert "heartbeat_ttl_s" in error_output


def test_unreachable_server_exits_69(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert 69 == main.main(["status", "--url", "http://127.0.0.1:9"])
    error_output = capsys.readouterr().err
    assert "cannot be reached" in error_output
    assert "log in" not in error_output
    assert "token" not in error_output


@pytest.mark.process
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.text is not None], ids=lambda verb: verb.name)
def test_open_pipe_is_not_read_without_request(tmp_path: Path, verb: Verb) -> None:
    """Harnesses start commands with a pipe as standard input that they never close."""
    task = {"TASK": "task_1", "ATTEMPT": "1", "CONNECTION": "conn_1", "TOKEN": "t", "FIRST_CONTACT_S": "0.05"}
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GREENROOM_URL": "http://127.0.0.1:9"}
    environment |= {f"GREENROOM_{name}": value for name, value in task.items()}
    subject = {"send": ["room"], "backlog add": ["room"], "note": ["task_1"], "handoff": ["--to", "user"]}
    command = [sys.executable, "-m", "greenroom", *verb.name.split(), *subject.get(verb.name, [])]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert (2 if verb.text == "required" else 69) == process.wait(PATIENCE_S)
        assert ("There is no text" in process.stderr.read()) is (verb.text == "required")


@pytest.mark.process
@pytest.mark.parametrize(
    ("line", "code", "error_text"),
    [
        ("config >&-", 1, "error: "),
        ("config >/dev/full", 1, "No space left"),
        ("config >/dev/full 2>/dev/full", 1, ""),
        ("send room <&-", 2, "There is no text"),
        ("config 2>&-", 0, ""),
    ],
)
def test_closed_or_full_streams(tmp_path: Path, line: str, code: int, error_text: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = ["sh", "-c", f"exec {sys.executable} -m greenroom {line}"]
    completed = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert code == completed.returncode
    assert error_text in completed.stderr
    assert "Traceback" not in completed.stderr
