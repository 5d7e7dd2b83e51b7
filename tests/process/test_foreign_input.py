"""A user without a home, and input that is not text: each verb says what is wrong, or does not need it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from greenroom.cli.verbs import VERBS, Verb, all_arguments
from tests.process.installation import Installation, interrupt
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

NO_TEXT = b"\xff\xfe"
UNREACHABLE = "http://127.0.0.1:1"
LASTING = ("up", "server", "daemon start")
AS_NOBODY = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
"""A user number without a name, which still owns the files of this user."""


def run(folder: Path, command: list[Any], environ: Mapping[str, Any]) -> subprocess.CompletedProcess[bytes]:
    variables = {"PATH": os.environ["PATH"], "GREENROOM_FIRST_CONTACT_S": "0.1", **environ}
    return subprocess.run(
        command,
        env=variables,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


def words_of(verb: Verb, value: Any) -> list[Any]:
    """The arguments that the verb requires, each with that value where it is not one of a few."""
    words: list[Any] = []
    for names, options in all_arguments(verb):
        choices = options.get("choices")
        word = sorted(choices)[0] if choices else value
        if not names[0].startswith("-"):
            words += [] if options.get("nargs") in ("?", "*") else [word]
        elif options.get("required"):
            words += [names[0], word]
    return [*verb.name.split(), *words, *(["--", value] if verb.takes_command else [])]


ENDING_VERBS = [verb for verb in VERBS if verb.name not in LASTING]


@pytest.fixture(scope="module")
def nobody() -> tuple[str, ...]:
    if shutil.which(AS_NOBODY[0]) is None or subprocess.run([*AS_NOBODY, "true"], check=False).returncode != 0:
        pytest.skip("this system gives no user namespace")
    return AS_NOBODY


@pytest.mark.parametrize("verb", ENDING_VERBS, ids=lambda verb: verb.name)
def test_verbs_need_no_home_with_a_data_directory(verb: Verb, nobody: tuple[str, ...], tmp_path: Path) -> None:
    command = [*nobody, sys.executable, "-m", "greenroom", *words_of(verb, "a/b")]
    done = run(tmp_path, command, {"GREENROOM_DATA_DIR": str(tmp_path / "data"), "GREENROOM_URL": UNREACHABLE})
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"No home directory" not in done.stderr + done.stdout


@pytest.mark.parametrize("words", [("status",), ("server",), ("up",), ("daemon", "start"), ("doctor",)], ids=" ".join)
@pytest.mark.parametrize("home", [None, "", "relative"])
def test_missing_home_is_told(
    words: tuple[str, ...], home: str | None, nobody: tuple[str, ...], tmp_path: Path
) -> None:
    command = [*nobody, sys.executable, "-m", "greenroom", *words]
    done = run(tmp_path, command, {} if home is None else {"HOME": home})
    told = (done.stdout + done.stderr).decode()
    assert (
        "No home directory is known: HOME is no absolute path, and the user number 12345 is in no passwd file" in told
    )
    assert "--data-dir" in told
    assert ("Traceback" not in told, 1 if words == ("doctor",) else 78) == (True, done.returncode)


def test_up_works_without_a_home(nobody: tuple[str, ...], bare: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.process.installation.PROGRAM", (*nobody, "env", "-u", "HOME", sys.executable, "-m", "greenroom")
    )
    up = bare.start("up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
    wait_until(lambda: "Ctrl-C stops everything" in up.out, "everything is up")
    assert f"export GREENROOM_DATA_DIR={bare.data_dir}" in up.out
    assert interrupt(up) == 130
    assert "Traceback" not in up.err


@pytest.mark.parametrize("verb", ENDING_VERBS, ids=lambda verb: verb.name)
def test_arguments_that_are_no_text_are_told(verb: Verb, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "greenroom", *words_of(verb, NO_TEXT)]
    environ = {
        "HOME": str(tmp_path),
        "GREENROOM_URL": UNREACHABLE,
        "GREENROOM_ROLE": NO_TEXT,
        "GREENROOM_ROOM": NO_TEXT,
    }
    done = run(tmp_path, command, environ)
    assert b"Traceback" not in done.stderr, done.stderr.decode()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (b"http://\xff.example", 78),
        ("http://" + "ä" * 70 + ".example", 78),
        ("http://ä..example", 78),
        ("http://127.0.0.1:1/ä", 78),
        ("http://" + "a" * 70 + ".invalid", 69),
    ],
)
def test_address_that_cannot_be_encoded_is_told(url: Any, code: int, tmp_path: Path) -> None:
    done = run(tmp_path, [sys.executable, "-m", "greenroom", "status"], {"HOME": str(tmp_path), "GREENROOM_URL": url})
    assert (b"Traceback" not in done.stderr, code) == (True, done.returncode), done.stderr.decode()


@pytest.mark.parametrize("address", ["ä" * 70 + ":0", "..:0", b"\xff:0"])
def test_address_to_listen_on_that_is_no_name_is_told(address: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "greenroom", "server", "--data-dir", "data", "--listen", address]
    done = run(tmp_path, command, {"HOME": str(tmp_path)})
    assert (78, b"Traceback" not in done.stderr) == (done.returncode, True), done.stderr.decode()
    assert b"Cannot listen on" in done.stderr


def test_data_directory_of_a_missing_user_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "greenroom", "status", "--data-dir", "~no-such-user/data"]
    done = run(tmp_path, command, {"HOME": str(tmp_path)})
    assert (78, True) == (done.returncode, b"~no-such-user/data: no home directory of that user" in done.stderr)
