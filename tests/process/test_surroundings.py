"""Locales, ignored signals, modules and folders of other people's surroundings: no command fails because of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process.installation import ROOM, Installation
from tests.waiting import assert_stays_true, wait_until

pytestmark = pytest.mark.process

TEXT = "grün, 日本語, 👩‍🔧"
LATIN_LOCALE = "en_US.ISO-8859-1"
SURROUNDINGS = {
    "latin-1": {"LC_ALL": LATIN_LOCALE},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C": {"LC_ALL": "C"},
    "POSIX": {"LC_ALL": "POSIX"},
    "no locale": {"LC_ALL": "", "LANG": ""},
    "unknown locale": {"LC_ALL": "xx_XX.UTF-8"},
    "encoding of streams": {"PYTHONIOENCODING": "latin-1"},
}
IGNORE_HANGUP = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh")


@pytest.fixture(scope="session")
def locale_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Latin-1 locale, which few systems have."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/charmaps").is_dir():
        pytest.skip("no localedef: apt-get install locales")
    subprocess.run(["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / LATIN_LOCALE)], check=True)
    return folder


@pytest.fixture(params=SURROUNDINGS)
def variables(request: pytest.FixtureRequest) -> dict[str, Any]:
    variables: dict[str, Any] = dict(SURROUNDINGS[request.param])
    if request.param == "latin-1":
        variables["LOCPATH"] = str(request.getfixturevalue("locale_folder"))
    return variables


def test_text_passes_through_every_locale(installation: Installation, variables: dict[str, Any]) -> None:
    """An argument, standard input, a printed task, a result, a table and a file name."""
    installation.run("send", ROOM, TEXT, **variables)
    claimed = installation.run("wait-for-task", ROOM, "--role", "builder", "--json", **variables).data
    assert TEXT == claimed["task"]["text"]
    claim = ("--task", claimed["task"]["id"], "--attempt", "1")
    installation.run("task-started", *claim, **variables)
    installation.run("report-progress", *claim, TEXT, **variables)
    assert TEXT in installation.run("task", "list", ROOM, **variables).out
    installation.run("handoff", "--to", "user", *claim, "-", text=TEXT, **variables)
    assert [TEXT] == installation.messages_to_user()
    assert 2 == installation.run("messages", ROOM, **variables).out.count(TEXT)
    folder = str(installation.home / "ö 日")
    shown = installation.run("config", "--json", "--data-dir", folder, **variables).data["values"]
    assert folder in [value["value"] for value in shown]


def test_work_and_daemon_in_every_locale(bare: Installation, variables: dict[str, Any]) -> None:
    up = bare.start_up(bare.write_team(), **variables)
    bare.wait_for_task(bare.send(TEXT), "completed")
    wait_until(bare.messages_to_user, "the reviewer answers")
    assert [f"did did {TEXT}\n"] == bare.messages_to_user()
    up.send(signal.SIGTERM)
    assert up.wait() == 0
    assert "Traceback" not in up.err


def test_hangup_stays_ignored(installation: Installation) -> None:
    """`nohup greenroom wait-for-task`, `work`, `daemon start` and `server`"""
    config = str(installation.write_team())
    started = [
        installation.start_wrapped(IGNORE_HANGUP, *arguments)
        for arguments in (
            ("work", ROOM, "--role", "builder", "--then", "user", "--", "cat"),
            ("wait-for-task", ROOM, "--role", "reviewer"),
            ("daemon", "start", "--config", config),
            ("server", "--listen", "127.0.0.1:0", "--data-dir", str(installation.root / "other")),
        )
    ]
    work, agent, daemon, server = started
    wait_until(lambda: len(installation.room()["participants"]) == 2, "both agents are present")
    wait_until(lambda: "machine connected: " in daemon.err, "the daemon is connected")
    wait_until(lambda: "listening on " in server.err, "the server listens")
    for process in started:
        process.send(signal.SIGHUP)
    assert_stays_true(lambda: all(each.poll() is None for each in started), "they run", 0.5)
    task = installation.send("paint")
    assert "completed" == installation.wait_for_task(task, "completed")["status"]
    installation.send("sand", to="reviewer")
    assert agent.wait() == 0
    assert "sand" in agent.out
    assert [None] * 3 == [each.poll() for each in (work, daemon, server)]


def test_up_ignores_hangup_after_nohup(bare: Installation) -> None:
    up = bare.start_wrapped(IGNORE_HANGUP, "up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
    wait_until(lambda: "Ctrl-C stops everything" in up.out, "everything is up")
    bare.port = int((bare.data_dir / "server.url").read_text().rpartition(":")[2])
    up.send(signal.SIGHUP)
    assert_stays_true(lambda: up.poll() is None, "it runs", 0.5)
    bare.wait_for_task(bare.send("paint"), "completed")
    assert up.poll() is None
    assert "up: stopping" not in up.err


def test_server_ends_in_order_when_its_terminal_is_closed(installation: Installation) -> None:
    assert installation.server is not None
    installation.server.send(signal.SIGHUP)
    assert installation.server.wait() == 0


@pytest.mark.parametrize("variables", [{}, {"PYTHONPATH": os.pathsep}], ids=["folder", "search path"])
def test_modules_of_the_project_shadow_nothing(bare: Installation, variables: dict[str, Any]) -> None:
    """`up` is started in the project's folder. An empty entry in a search path is that folder too."""
    shadowed = bare.root / "shadowed"
    for name in ("types", "json", "socket", "greenroom", "sitecustomize"):
        (bare.home / f"{name}.py").write_text(f"open({str(shadowed)!r}, 'a').write({name!r})\n")
    command = [sys.executable, "-E", "-P", "-m", "greenroom", "up", "--config", str(bare.write_team())]
    up = bare.start_command([*command, "--listen", "127.0.0.1:0"], "up", bare.environment() | variables)
    wait_until(lambda: "Ctrl-C stops everything" in up.out or shadowed.exists(), "everything is up")
    assert not shadowed.exists(), shadowed.read_text()
    assert up.poll() is None, up.err


def test_work_in_removed_folder_claims_nothing(installation: Installation) -> None:
    task = installation.send("paint")
    work = installation.start_wrapped(
        ("sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh"),
        "work",
        ROOM,
        "--role",
        "builder",
        "--",
        "cat",
    )
    assert work.wait() == 78
    assert "error: The folder in which this command runs cannot be used" in work.err
    assert "Traceback" not in work.err
    assert ("pending", 0) == (installation.task(task)["status"], installation.task(task)["attempt"])


def test_work_gives_task_back_when_its_folder_is_removed(installation: Installation) -> None:
    folder = installation.home / "gone"
    folder.mkdir()
    work = installation.start_wrapped(
        ("sh", "-c", 'cd gone; exec "$@"', "sh"), "work", ROOM, "--role", "builder", "--", "cat"
    )
    wait_until(installation.participant, "`work` has joined")
    folder.rmdir()
    task = installation.send("paint")
    assert work.wait() == 78
    assert f"error: The folder {folder}, in which the command runs, was removed." in work.err
    assert "Traceback" not in work.err
    assert ("pending", 0) == (installation.task(task)["status"], installation.task(task)["failures"])
    assert [] == installation.room()["participants"]
