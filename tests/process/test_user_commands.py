"""The commands of users: notes, the backlog, accepting results, changing rooms, logging in to a remote server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.installation import FREQUENT_HEARTBEATS, RARE_HEARTBEATS, ROOM, Installation
from tests.process.processes import StartedProcess
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

READS_NOTES = 'cat; until grep -q blue "$GREENROOM_NOTES"; do sleep 0.1; done; echo "notes:"; cat "$GREENROOM_NOTES"'


def claim_of(output: str) -> list[str]:
    found = re.search(r"greenroom task-started (--task \S+ --attempt \d+)", output)
    assert found, output
    return found[1].split()


def wait_until_in_progress(installation: Installation, task: str) -> None:
    wait_until(lambda: installation.task(task)["status"] == "in_progress", "the task is in progress")


def test_note_reaches_command_of_work(installation: Installation) -> None:
    arguments = ("work", ROOM, "--role", "builder", "--then", "user", "--", "sh", "-c", READS_NOTES)
    work = installation.start(*arguments, **FREQUENT_HEARTBEATS)
    task = installation.send("paint the door")
    installation.run("note", task, "mind the cat")
    wait_until_in_progress(installation, task)
    installation.run("note", task, "make it\nblue")
    done = wait_until(lambda: installation.task(task)["result"], "the command has read its notes")
    assert "notes:\nmind the cat\nmake it\nblue\n" in done
    line = f"{task}: a note was passed to the command: make"
    assert [f"{line} it"] == wait_until(lambda: work.err_lines(line), "`work` prints the note that it has delivered")
    shown = installation.run("task", "show", task).out
    assert "mind the cat" in shown
    assert "during attempt 1" in shown


def test_note_reaches_command_of_daemon(bare: Installation) -> None:
    bare.durations |= RARE_HEARTBEATS
    installation = bare.start_with_room()
    config = installation.write_team()
    config.write_text(
        f'[room]\nname = "{ROOM}"\nroles = ["builder", "reviewer"]\n[daemon.harnesses.painter]\nthen = "user"\n'
        f"command = ['sh', '-c', '''{READS_NOTES}; echo \"by $0 and $GREENROOM_MODEL\"''', '{{model}}']\n"
    )
    installation.start_daemon(config=config)
    machine = installation.machine()["id"]
    assignment = ("agent", "set", f"{ROOM}/builder", "--machine", machine, "--harness", "painter")
    installation.run(*assignment, "--model", "large-1")
    task = installation.send("paint the door")
    wait_until_in_progress(installation, task)
    installation.run("note", task, "blue")
    done = wait_until(lambda: installation.task(task)["result"], "the command has read its notes")
    assert "notes:\nblue\nby large-1 and large-1\n" in done


def test_notes_and_send_back_reason_reach_agent(installation: Installation) -> None:
    task = installation.run("backlog", "add", ROOM, "-", "--json", text="paint the door\n").data["id"]
    assert [(task, "backlog")] == [(each["id"], each["status"]) for each in backlog(installation)]
    assert ", 1 in the backlog: greenroom backlog list shop" in installation.run("status").out
    timed_out = installation.run("wait-for-task", ROOM, "--role", "builder", "--timeout", "0.3", expect=75)
    assert "call again" in timed_out.err
    installation.run("backlog", "queue", task)
    installation.run("note", task, "mind the cat")
    taken = installation.run("wait-for-task", ROOM, "--role", "builder").out
    claim = claim_of(taken)
    assert "mind the cat" in taken
    assert "A note by" not in installation.run("task-started", *claim).out
    installation.run("note", task, "make it blue")
    assert "make it blue" in installation.run("report-progress", *claim, "sanded").out
    assert "make it blue" not in installation.run("report-progress", *claim, "painted").out
    for _ in range(2):
        assert "is pending_review" in installation.run("task-complete", *claim, "it is red").out
    assert [] == installation.task(task)["late_results"]

    needs = installation.run("status", "--json").data["needs"]
    assert [f"greenroom task show {task}"] == [need["next"] for need in needs if task == need["task"]]
    assert f"greenroom backlog send-back {task}" in installation.run("task", "show", task).out
    assert [(task, "pending_review")] == [(each["id"], each["status"]) for each in backlog(installation)]
    installation.run("backlog", "send-back", task, "--reason", "I said blue")
    again = installation.run("wait-for-task", ROOM, "--role", "builder").out
    assert "I said blue" in again
    installation.run("task-complete", *claim_of(again), "it is blue")
    installation.run("backlog", "accept", task)
    done = installation.task(task)
    assert ("completed", "it is blue", 2) == (done["status"], done["result"], done["accepted_attempt"])
    assert [] == backlog(installation)
    assert [] == [need for need in installation.run("status", "--json").data["needs"] if task == need["task"]]


def backlog(installation: Installation) -> list[dict[str, str]]:
    found: list[dict[str, str]] = installation.run("backlog", "list", ROOM, "--json").data
    return found


def test_declined_task_is_retried_in_another_role(installation: Installation) -> None:
    task = installation.send("paint the sky")
    claim = claim_of(installation.run("wait-for-task", ROOM, "--role", "builder").out)
    installation.run("decline", *claim, "too high")
    assert f"greenroom task retry {task}" in installation.run("task", "show", task).out
    following = installation.run("task", "retry", task, "--to", "reviewer", "--json").data["next_task"]
    assert ("closed", "pending", "reviewer") == (
        installation.task(task)["status"],
        installation.task(following)["status"],
        installation.task(following)["target_role"],
    )
    taken = installation.run("wait-for-task", ROOM, "--role", "reviewer").out
    assert "paint the sky" in taken


def test_handoff_to_unknown_role_lists_roles(installation: Installation) -> None:
    installation.send("paint")
    claim = claim_of(installation.run("wait-for-task", ROOM, "--role", "builder").out)
    refused = installation.run("handoff", "--to", "bilder", *claim, "done", expect=2)
    assert "builder" in refused.err
    assert "reviewer" in refused.err
    installation.run("handoff", "--to", "reviewer", *claim, "done")


def test_room_change_and_delete(installation: Installation) -> None:
    changed = installation.run(
        "room", "change", ROOM, "--roles", "builder,reviewer,painter", "--max-requests", "2", "--json"
    ).data
    assert ["builder", "reviewer", "painter"] == [role["name"] for role in changed["roles"]]
    assert 2 == changed["max_requests"]
    installation.run("room", "change", ROOM, expect=2)
    installation.run("room", "change", ROOM, "--entry-role", "missing", expect=2)
    installation.run("room", "delete", ROOM, expect=4)
    installation.run("room", "close", ROOM)
    assert {"room": ROOM, "status": "deleted"} == installation.run("room", "delete", ROOM, "--json").data
    installation.run("room", "show", ROOM, expect=3)
    installation.open_room()


def test_login_checks_token_before_storing(installation: Installation, tmp_path: Path) -> None:
    far = str(tmp_path / "far")  # as on another machine: no file of the server is found
    stored = installation.home / ".config" / "greenroom" / "logins"
    installation.run("status", expect=77, GREENROOM_DATA_DIR=far)
    refused = installation.run("login", installation.url, expect=77, text="wrong\n", GREENROOM_DATA_DIR=far)
    assert "rejects this token; nothing was stored" in refused.err
    unreachable = installation.run(
        "login", "http://127.0.0.1:9", expect=69, text=installation.token, GREENROOM_DATA_DIR=far
    )
    assert "cannot be reached" in unreachable.err
    installation.run("login", installation.url, expect=2, text="\n", GREENROOM_DATA_DIR=far)
    assert not stored.exists()

    output = installation.run(
        "login", installation.url, "--json", text=installation.token + "\n", GREENROOM_DATA_DIR=far
    )
    assert "stored" == output.data["token"]
    assert installation.token not in output.out + output.err
    [path] = stored.iterdir()
    assert 0o600 == path.stat().st_mode & 0o777
    assert "ok" == installation.run("status", "--json", GREENROOM_DATA_DIR=far).data["server"]["status"]
    assert str(path) in installation.run("config", GREENROOM_DATA_DIR=far).out
    installation.run("login", installation.url, expect=2, text=installation.token)
    installation.run("login", "--forget", installation.url, GREENROOM_DATA_DIR=far)
    assert [] == list(stored.iterdir())
    installation.run("status", expect=77, GREENROOM_DATA_DIR=far)


def test_streams_print_one_json_document_per_line(installation: Installation) -> None:
    messages = installation.start("messages", ROOM, "--follow", "--json")
    watch = installation.start("watch", ROOM, "--json", "--from-start")
    status = installation.start("status", "--watch", "--json")
    installation.send("paint")

    def has_printed(started: StartedProcess, word: str) -> bool:
        return word in started.out and all(json.loads(line) for line in started.out.splitlines())

    for started, word in ((messages, '"paint"'), (watch, "task.opened"), (status, '"pending"')):
        wait_until(lambda started=started, word=word: has_printed(started, word), f"{started.name} prints it in JSON")  # type: ignore[misc]


def test_task_complete_with_closed_stdout(installation: Installation) -> None:
    task = installation.send("paint")
    claim = " ".join(claim_of(installation.run("wait-for-task", ROOM, "--role", "builder").out))
    line = f"{sys.executable} -m greenroom task-complete {claim} done"
    done = subprocess.run(
        ["sh", "-c", f"{line} | true; {line} >&-; {line}"],
        env=installation.environment(), cwd=installation.home, capture_output=True, text=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    assert ("completed", "done", []) == tuple(
        installation.task(task)[name] for name in ("status", "result", "late_results")
    )
    assert ["done"] == installation.messages_to_user()


def test_daemon_stopped_under_up_stays_stopped(bare: Installation) -> None:
    up = bare.start_up(bare.write_team())
    bare.run("daemon", "stop")
    wait_until(lambda: "was stopped and is not restarted" in up.err, "`up` prints that")
    assert f"greenroom daemon start --config {bare.home / 'greenroom.toml'}" in up.err
    bare.run("daemon", "status", expect=3)
    assert not bare.machine()["daemon_connected"]
    assert up.poll() is None
    bare.start_daemon(config=bare.home / "greenroom.toml")
    assert up.poll() is None
