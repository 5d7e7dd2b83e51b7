"""The commands of users: notes, the backlog, accepting results, changing rooms, logging in to a remote server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.house import OFTEN, ROOM, SELDOM, House
from tests.acceptance.processes import Started
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

READS_NOTES = 'cat; until grep -q blue "$GREENROOM_NOTES"; do sleep 0.1; done; echo "notes:"; cat "$GREENROOM_NOTES"'


def claim_of(said: str) -> list[str]:
    found = re.search(r"greenroom task-started (--task \S+ --attempt \d+)", said)
    assert found, said
    return found[1].split()


def begun(house: House, task: str) -> None:
    wait_until(lambda: house.task(task)["status"] == "in_progress", "the task is in progress")


def test_a_note_reaches_the_command_of_a_work(house: House) -> None:
    words = ("work", ROOM, "--role", "builder", "--then", "user", "--", "sh", "-c", READS_NOTES)
    work = house.start(*words, **OFTEN)
    task = house.send("paint the door")
    house.run("note", task, "mind the cat")
    begun(house, task)
    house.run("note", task, "make it\nblue")
    done = wait_until(lambda: house.task(task)["result"], "the command has read its notes")
    assert "notes:\nmind the cat\nmake it\nblue\n" in done
    said = f"{task}: a note for its agent: make"
    assert [f"{said} it"] == wait_until(lambda: work.err_lines(said), "`work` prints the note that it has delivered")
    shown = house.run("task", "show", task).out
    assert "mind the cat" in shown
    assert "during attempt 1" in shown


def test_a_note_reaches_the_command_of_a_daemon(bare: House) -> None:
    bare.durations |= SELDOM
    house = bare.open()
    config = house.write_team()
    config.write_text(
        f'[room]\nname = "{ROOM}"\nroles = ["builder", "reviewer"]\n[daemon.harnesses.painter]\nthen = "user"\n'
        f"command = ['sh', '-c', '''{READS_NOTES}; echo \"by $0 and $GREENROOM_MODEL\"''', '{{model}}']\n"
    )
    house.start_daemon(config=config)
    machine = house.machine()["id"]
    wish = ("agent", "set", f"{ROOM}/builder", "--machine", machine, "--harness", "painter")
    house.run(*wish, "--model", "large-1")
    task = house.send("paint the door")
    begun(house, task)
    house.run("note", task, "blue")
    done = wait_until(lambda: house.task(task)["result"], "the command has read its notes")
    assert "notes:\nblue\nby large-1 and large-1\n" in done


def test_notes_and_reasons_reach_an_agent_that_is_called_again(house: House) -> None:
    task = house.run("backlog", "add", ROOM, "-", "--json", text="paint the door\n").data["id"]
    assert [(task, "backlog")] == [(each["id"], each["status"]) for each in listed(house)]
    assert ", 1 in the backlog: greenroom backlog list shop" in house.run("status").out
    nobody = house.run("wait-for-task", ROOM, "--role", "builder", "--timeout", "0.3", expect=75)
    assert "call again" in nobody.err
    house.run("backlog", "queue", task)
    house.run("note", task, "mind the cat")
    taken = house.run("wait-for-task", ROOM, "--role", "builder").out
    claim = claim_of(taken)
    assert "mind the cat" in taken
    assert "A note by" not in house.run("task-started", *claim).out
    house.run("note", task, "make it blue")
    assert "make it blue" in house.run("report-progress", *claim, "sanded").out
    assert "make it blue" not in house.run("report-progress", *claim, "painted").out
    for _ in range(2):
        assert "is pending_review" in house.run("task-complete", *claim, "it is red").out
    assert [] == house.task(task)["late_results"]

    needs = house.run("status", "--json").data["needs"]
    assert [f"greenroom task show {task}"] == [need["next"] for need in needs if task in need["detail"]]
    assert f"greenroom backlog send-back {task}" in house.run("task", "show", task).out
    assert [(task, "pending_review")] == [(each["id"], each["status"]) for each in listed(house)]
    house.run("backlog", "send-back", task, "--reason", "I said blue")
    again = house.run("wait-for-task", ROOM, "--role", "builder").out
    assert "I said blue" in again
    house.run("task-complete", *claim_of(again), "it is blue")
    house.run("backlog", "accept", task)
    done = house.task(task)
    assert ("completed", "it is blue", 2) == (done["status"], done["result"], done["accepted_attempt"])
    assert [] == listed(house)
    assert [] == [need for need in house.run("status", "--json").data["needs"] if task in need["detail"]]


def listed(house: House) -> list[dict[str, str]]:
    found: list[dict[str, str]] = house.run("backlog", "list", ROOM, "--json").data
    return found


def test_what_one_role_cannot_do_is_sent_to_another(house: House) -> None:
    task = house.send("paint the sky")
    claim = claim_of(house.run("wait-for-task", ROOM, "--role", "builder").out)
    house.run("decline", *claim, "too high")
    assert f"greenroom task retry {task}" in house.run("task", "show", task).out
    following = house.run("task", "retry", task, "--to", "reviewer", "--json").data["next_task"]
    assert ("closed", "pending", "reviewer") == (
        house.task(task)["status"],
        house.task(following)["status"],
        house.task(following)["target_role"],
    )
    taken = house.run("wait-for-task", ROOM, "--role", "reviewer").out
    assert "paint the sky" in taken


def test_an_unknown_role_is_wrong_usage_and_the_roles_are_named(house: House) -> None:
    house.send("paint")
    claim = claim_of(house.run("wait-for-task", ROOM, "--role", "builder").out)
    refused = house.run("handoff", "--to", "bilder", *claim, "done", expect=2)
    assert "builder" in refused.err
    assert "reviewer" in refused.err
    house.run("handoff", "--to", "reviewer", *claim, "done")


def test_a_room_is_changed_and_deleted(house: House) -> None:
    changed = house.run(
        "room", "change", ROOM, "--roles", "builder,reviewer,painter", "--max-requests", "2", "--json"
    ).data
    assert ["builder", "reviewer", "painter"] == [role["name"] for role in changed["roles"]]
    assert 2 == changed["max_requests"]
    house.run("room", "change", ROOM, expect=2)
    house.run("room", "change", ROOM, "--entry-role", "missing", expect=2)
    house.run("room", "delete", ROOM, expect=4)
    house.run("room", "close", ROOM)
    assert {"room": ROOM, "status": "deleted"} == house.run("room", "delete", ROOM, "--json").data
    house.run("room", "show", ROOM, expect=3)
    house.open_room()


def test_a_token_is_tried_before_it_is_stored(house: House, tmp_path: Path) -> None:
    far = str(tmp_path / "far")  # as on another machine: no file of the server is found
    stored = house.home / ".config" / "greenroom" / "logins"
    house.run("status", expect=77, GREENROOM_DATA_DIR=far)
    refused = house.run("login", house.url, expect=77, text="wrong\n", GREENROOM_DATA_DIR=far)
    assert "rejects this token; nothing was stored" in refused.err
    away = house.run("login", "http://127.0.0.1:9", expect=69, text=house.token, GREENROOM_DATA_DIR=far)
    assert "cannot be reached" in away.err
    house.run("login", house.url, expect=2, text="\n", GREENROOM_DATA_DIR=far)
    assert not stored.exists()

    said = house.run("login", house.url, "--json", text=house.token + "\n", GREENROOM_DATA_DIR=far)
    assert "stored" == said.data["token"]
    assert house.token not in said.out + said.err
    [path] = stored.iterdir()
    assert 0o600 == path.stat().st_mode & 0o777
    assert "ok" == house.run("status", "--json", GREENROOM_DATA_DIR=far).data["server"]["status"]
    assert str(path) in house.run("config", GREENROOM_DATA_DIR=far).out
    house.run("login", house.url, expect=2, text=house.token)
    house.run("login", "--forget", house.url, GREENROOM_DATA_DIR=far)
    assert [] == list(stored.iterdir())
    house.run("status", expect=77, GREENROOM_DATA_DIR=far)


def test_every_stream_is_a_document_on_each_line(house: House) -> None:
    messages = house.start("messages", ROOM, "--follow", "--json")
    watch = house.start("watch", ROOM, "--json", "--from-start")
    status = house.start("status", "--watch", "--json")
    house.send("paint")

    def told(started: Started, word: str) -> bool:
        return word in started.out and all(json.loads(line) for line in started.out.splitlines())

    for started, word in ((messages, '"paint"'), (watch, "task.opened"), (status, '"pending"')):
        wait_until(lambda started=started, word=word: told(started, word), f"{started.name} prints it in JSON")  # type: ignore[misc]


def test_a_reader_that_goes_away_loses_nothing(house: House) -> None:
    task = house.send("paint")
    claim = " ".join(claim_of(house.run("wait-for-task", ROOM, "--role", "builder").out))
    line = f"{sys.executable} -m greenroom task-complete {claim} done"
    done = subprocess.run(
        ["sh", "-c", f"{line} | true; {line} >&-; {line}"],
        env=house.environment(), cwd=house.home, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    assert ("completed", "done", []) == tuple(house.task(task)[name] for name in ("status", "result", "late_results"))
    assert ["done"] == house.heard_by_user()


def test_a_daemon_that_is_stopped_under_up_stays_stopped(bare: House) -> None:
    up = bare.start_up(bare.write_team())
    bare.run("daemon", "stop")
    wait_until(lambda: "was stopped and is not restarted" in up.err, "`up` prints that")
    assert f"greenroom daemon start --config {bare.home / 'greenroom.toml'}" in up.err
    bare.run("daemon", "status", expect=3)
    assert not bare.machine()["daemon_connected"]
    assert up.poll() is None
    bare.start_daemon(config=bare.home / "greenroom.toml")
    assert up.poll() is None
