"""An address with a password: no verb shows it, and no name or content of a file contains it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.cli.verbs import VERBS, Verb
from greenroom.settings import paths
from tests.process.installation import ROOM, Installation
from tests.process.test_foreign_input import words_of
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

SECRET = "hush-hush"


def secret_url(installation: Installation) -> str:
    return f"http://me:{SECRET}@{installation.host}:{installation.port}"


def names_and_contents(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join([*map(str, folder.rglob("*")), *(path.read_text("utf-8", "replace") for path in files)])


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS if verb.name not in ("up", "server", "daemon start")], ids=lambda verb: verb.name
)
@pytest.mark.parametrize("by_flag", [False, True], ids=["variable", "flag"])
def test_no_verb_shows_the_password(verb: Verb, by_flag: bool, tmp_path: Path) -> None:
    """The server cannot be reached, which most errors say with its address."""
    url = f"http://me:{SECRET}@127.0.0.1:1"
    words = words_of(verb, "a/b" if "why" in verb.name or "agent" in verb.name else "a")
    flags = ["--url", url] if by_flag else []
    command = [sys.executable, "-m", "greenroom", *verb.name.split(), *flags, *words[len(verb.name.split()) :]]
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GREENROOM_FIRST_CONTACT_S": "0.1"}
    done = subprocess.run(
        command, env=environ | ({} if by_flag else {"GREENROOM_URL": url}), cwd=tmp_path, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert SECRET not in done.stdout + done.stderr
    assert SECRET not in names_and_contents(tmp_path)


def test_agent_works_with_such_an_address(installation: Installation) -> None:
    installation.send("paint")
    url = secret_url(installation)
    shown = installation.run("wait-for-task", ROOM, "--role", "builder", url=url)
    shown = shown._replace(err=shown.err + installation.run("task-started", "--url", url).out)
    assert SECRET not in shown.out + shown.err
    for folder in (paths.all_claims(installation.data_dir), paths.all_connections(installation.data_dir)):
        assert SECRET not in names_and_contents(folder)
    done = installation.run("task-complete", "done", url=url)
    assert SECRET not in done.out + done.err


def test_folders_of_an_earlier_version_are_read(installation: Installation) -> None:
    """They are named by the address with its password, which each claim contains, too."""
    task = installation.send("paint")
    url = secret_url(installation)
    installation.run("wait-for-task", ROOM, "--role", "builder")
    tops = (paths.all_claims(installation.data_dir), paths.all_connections(installation.data_dir))
    for top in tops:
        [folder] = top.iterdir()
        folder.rename(top / f"me_{SECRET}_{folder.name}")
    [claim] = tops[0].rglob("*.json")
    claim.write_text(json.dumps(json.loads(claim.read_text()) | {"url": url}))

    installation.run("task-started", url=url)
    installation.run("task-complete", "done", url=url)
    installation.wait_for_task(task, "completed")
    for top in tops:
        assert SECRET not in names_and_contents(top)
    [connection] = tops[1].rglob("*.json")
    assert "finished" == json.loads(connection.read_text())["state"]


def test_daemon_shows_no_password(installation: Installation) -> None:
    daemon = installation.start_daemon(secret_url(installation))
    assert "machine connected" in daemon.err
    assert SECRET not in daemon.err + (installation.data_dir / "daemon.lock").read_text()
    status = installation.run("daemon", "status", "--json", url=secret_url(installation))
    assert SECRET not in status.out + status.err
    assert f"http://{installation.host}:{installation.port}" == status.data["url"]
