import io
import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenroom.agent import work
from greenroom.agent.work import environment_for
from greenroom.cli.exits import FAILED, code_of
from greenroom.client.transport import Response
from greenroom.clock import SystemClock, instant_of, seconds_of
from greenroom.domain.errors import ConfigurationError, GreenroomError, Superseded, Unusable
from greenroom.domain.reliability import Reliability
from greenroom.settings.harness import DaemonSettings
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import TaskRef
from tests.unit.calling import interrupted_by
from tests.unit.scripted import answer, beaten, claimed, joined, nothing, refusal, task_of
from tests.unit.tiny_server import Answer, TinyServer, serving
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

LIMITS = Reliability(
    heartbeat_interval_s=20.0,
    heartbeat_ttl_s=60.0,
    stop_grace_s=PATIENCE_S,
    takeover_grace_s=PATIENCE_S,
    restart_pause_s_min=0.01,
    restart_pause_s_max=0.02,
    park_pause_s=0.2,
    retry_pause_s=0.02,
)
ECHO = "print('made of', input())"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("GREENROOM_"):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[TinyServer]:
    roles = [role(name) for name in ("planner", "builder")]
    room = {"id": "room_1", "name": "demo", "status": "open", "entry_role": "planner", "max_requests": 1, "cursor": 1}
    shown = answer(room | {"roles": roles, "participants": [], "tasks": [], "created_at": "2026-11-20T23:46:34.120Z"})

    def held(server: TinyServer, body: Any) -> Response:
        newest = [body["connection_id"] for key, body in server.seen if key == "POST join"][-1]
        return answer(task_of(claimed_by=newest, last_holder=newest))

    plain: dict[str, Answer] = {
        "GET demo": lambda server, body: shown,
        "POST join": lambda server, body: answer(joined()),
        "POST leave": lambda server, body: answer({"status": "ok"}),
        "POST start": held,
        "GET task_1": held,
        "POST handoff": lambda server, body: answer(task_of(status="completed")),
        "POST complete": lambda server, body: answer(task_of(status="completed")),
    }
    with serving(plain) as tiny:
        yield tiny


def role(name: str) -> dict[str, Any]:
    plain = dict.fromkeys(("status_reason", "status_until", "machine", "harness", "model", "workdir"))
    more = dict.fromkeys(("desired_by", "desired_reason", "last_seen_at"))
    return plain | more | {"name": name, "kind": "custom", "desired": "running", "status": "vacant", "generation": 0}


def claims(*answers: Response) -> Answer:
    """Give these answers one after another, and then interrupt `work`, which would go on for ever."""
    left = list(answers)
    interrupt = interrupted_by(signal.SIGTERM)
    return lambda server, body: left.pop(0) if left else interrupt(server, body)


class Working:
    """One call of `work`, in this process."""

    def __init__(self, server: TinyServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.out, self.err = io.StringIO(), io.StringIO()

    def work(self, script: str, role: str = "builder", then: str | None = None, program: str = sys.executable) -> int:
        settings = Settings(
            url=self.server.url,
            token="t",
            data_dir=self.folder,
            database=None,
            limits=LIMITS,
            project=None,
            user_daemon=DaemonSettings(),
            origins={},
        )
        arguments = Namespace(room="demo", role=role, then=then, command=[program, "-c", script], json=False)
        return work.run(arguments, settings, self.out, self.err)

    def bodies(self, key: str) -> list[Any]:
        return [body for seen, body in self.server.seen if seen == key]

    def left_behind(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


def test_each_task_is_run_once_and_its_output_goes_down_the_line(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = claims(answer(claimed()), nothing(), answer(claimed(text="more")))
    working = Working(server, tmp_path)
    assert 130 == working.work(ECHO, role="planner")
    sent = [(body["to"], body["text"]) for body in working.bodies("POST handoff")]
    assert [("builder", "made of build it\n"), ("builder", "made of more\n")] == sent
    assert ["left"] == [body["cause"] for body in working.bodies("POST leave")]
    assert 1 == len({body["connection_id"] for body in working.bodies("POST join")})
    assert [] == working.left_behind()
    assert "to come back: greenroom work demo --role planner --then builder -- " in working.err.getvalue()


def test_the_last_role_answers_the_user_unless_it_says_otherwise(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = claims(answer(claimed()))
    working = Working(server, tmp_path)
    working.work(ECHO)
    assert ["made of build it\n"] == [body["text"] for body in working.bodies("POST complete")]
    server.answers["POST claim"] = claims(answer(claimed()))
    working.work(ECHO, then="planner")
    assert ["planner"] == [body["to"] for body in working.bodies("POST handoff")]


@pytest.mark.parametrize(("given_role", "then"), [("nobody", None), ("builder", "nobody")])
def test_a_role_that_is_not_there_is_told_before_anybody_sits(
    server: TinyServer, tmp_path: Path, given_role: str, then: str | None
) -> None:
    with pytest.raises(Unusable, match="nobody"):
        Working(server, tmp_path).work(ECHO, role=given_role, then=then)
    assert "POST join" not in server.asked()


def test_a_bad_end_ends_the_sitting_with_its_reason_and_a_new_one_begins(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = claims(answer(claimed()))
    working = Working(server, tmp_path)
    script = "import sys; print('half'); sys.stderr.write('the reason'); sys.exit(3)"
    assert 130 == working.work(script)
    first, second = working.bodies("POST leave")
    assert "exited" == first["cause"]
    assert first["reason"].endswith("the reason")
    assert first["connection_id"] != second["connection_id"]
    assert "left" == second["cause"]
    assert "POST complete" not in server.asked()
    assert [] == working.left_behind()


def test_who_dies_again_and_again_is_parked_tried_once_and_then_left_to_a_person(
    server: TinyServer, tmp_path: Path
) -> None:
    """Without crash-loop detection, a command that fails at once runs all night and puts every task into quarantine."""
    server.answers["POST claim"] = claims(*[answer(claimed())] * 9)
    working = Working(server, tmp_path)
    with pytest.raises(GreenroomError, match="until a person starts it again: its run on trial ended too") as caught:
        working.work("import sys; sys.exit(3)")
    assert FAILED == code_of(caught.value)
    assert "start it again: greenroom work demo --role builder" in caught.value.guidance
    said = working.err.getvalue().splitlines()
    assert 1 == len([line for line in said if line.startswith("parked, with one run on trial to come: 3 ")])
    assert 1 == said.count("parked before, it gets one run on trial")
    causes = [body["cause"] for body in working.bodies("POST leave")]
    assert ["exited", "exited", "exited", "stopped"] == causes, "a probe run's failure is not counted for its task"
    assert 4 == len(working.bodies("POST join"))


def test_a_trial_that_does_its_task_is_a_new_beginning(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = claims(*[answer(claimed())] * 6)
    working = Working(server, tmp_path)
    runs = str(tmp_path / "runs.txt")
    script = f"import sys; open({runs!r}, 'a').write('x'); sys.exit(open({runs!r}).read() != 'xxxx')"
    assert 130 == working.work(script)
    assert 6 == len((tmp_path / "runs.txt").read_text())
    assert ["exited"] * 5 + ["left"] == [body["cause"] for body in working.bodies("POST leave")]
    assert 1 == working.err.getvalue().count("parked before, it gets one run on trial")


def test_who_has_to_log_in_is_left_to_a_person(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = claims(*[answer(claimed())] * 3)
    working = Working(server, tmp_path)
    with pytest.raises(GreenroomError, match=r"paused until a person starts it again: .*the key is void") as caught:
        working.work(saying(status="login_required", reason="the key is void"))
    assert FAILED == code_of(caught.value)
    assert "start it again: greenroom work demo --role builder" in caught.value.guidance
    assert ["stopped"] == [body["cause"] for body in working.bodies("POST leave")]


def test_who_is_rate_limited_waits_until_then_and_nobody_died(server: TinyServer, tmp_path: Path) -> None:
    """Counted as failures, an hour without quota would be a crash loop and put the agent's tasks into quarantine."""
    server.answers["POST claim"] = claims(*[answer(claimed())] * 5)
    working = Working(server, tmp_path)
    where, chosen = tmp_path / "where", list[str]()
    shown = server.answers["GET task_1"]

    def judged_next(server: TinyServer, body: Any) -> Response | None:
        """Write the result between the run's end and the reading of it, so that the limit is still in the future."""
        chosen.append(chosen[0] if chosen else instant_of(SystemClock().wall() + 2.0))
        result = {"status": "rate_limited", "until": chosen[0], "reason": "too many requests"}
        Path(where.read_text()).write_text(json.dumps(result))
        return shown(server, body)

    server.answers["GET task_1"] = judged_next
    assert 130 == working.work(f"import os; open({str(where)!r}, 'w').write(os.environ['GREENROOM_RESULT'])")
    assert SystemClock().wall() >= seconds_of(chosen[0])
    said = [line for line in working.err.getvalue().splitlines() if line.startswith("paused: ")]
    assert chosen[0] in said[0]
    assert "too many requests" in said[0]
    causes = [body["cause"] for body in working.bodies("POST leave")]
    assert ["stopped"] * 5 + ["left"] == causes


def test_a_command_that_cannot_be_run_any_more_is_no_death_and_never_parks(server: TinyServer, tmp_path: Path) -> None:
    """Counted as failures, an update of the agent's program would put its tasks into quarantine."""
    program = tmp_path / "agent"
    program.write_text('#!/bin/sh\nrm "$0"\n')
    program.chmod(0o700)
    server.answers["POST claim"] = claims(*[answer(claimed())] * 6)
    working = Working(server, tmp_path)
    assert 130 == working.work("", program=str(program))
    assert 1 == len(working.bodies("POST complete"))
    left = [(body["cause"], "cannot be started" in (body["reason"] or "")) for body in working.bodies("POST leave")]
    assert [("stopped", True)] * 5 + [("left", False)] == left
    assert "parked" not in working.err.getvalue()


def saying(**result: str) -> str:
    """A script that writes this result file."""
    return f"import os; open(os.environ['GREENROOM_RESULT'], 'w').write({json.dumps(result)!r})"


def test_an_interrupted_run_is_stopped_and_its_task_given_back(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = claims(answer(claimed()))
    script = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGTERM); time.sleep(600)"
    working = Working(server, tmp_path)
    assert 130 == working.work(script)
    assert ["stopped"] == [body["cause"] for body in working.bodies("POST leave")]
    assert [] == working.left_behind()


def test_what_an_interrupted_run_had_written_is_kept_and_told(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = claims(answer(claimed()))
    script = f"import os, signal, time; print('half', flush=True); os.kill({os.getpid()}, 15); time.sleep(600)"
    working = Working(server, tmp_path)
    assert 130 == working.work(script)
    kept = next(path for path in working.left_behind() if path.name == "stdout")
    assert "half\n" == kept.read_text()
    assert f"its whole output is in {kept}" in working.err.getvalue()


def test_a_beat_that_names_another_task_stops_the_run_if_the_server_stands_by_it(
    server: TinyServer, tmp_path: Path
) -> None:
    cancelled = answer(task_of(status="closed", claimed_by=None, reason="no more"))
    server.answers["POST join"] = lambda server, body: answer(joined(next_in_s=0.0))
    server.answers["POST heartbeat"] = lambda server, body: answer(beaten(next_in_s=0.0))
    server.answers["GET task_1"] = lambda server, body: cancelled
    server.answers["POST claim"] = claims(answer(claimed()))
    working = Working(server, tmp_path)
    assert 130 == working.work("import time; time.sleep(600)")
    assert "cancelled (no more)" in working.err.getvalue()
    assert ["left"] == [body["cause"] for body in working.bodies("POST leave")]


def test_a_beat_that_names_the_run_leaves_it_alone(server: TinyServer, tmp_path: Path) -> None:
    beats: list[int] = []

    def beat(server: TinyServer, body: Any) -> Response:
        beats.append(1)
        if len(beats) == 2:
            (tmp_path / "go").touch()
        return answer(beaten(next_in_s=0.0, task=TaskRef("task_1", 1)))

    server.answers["POST join"] = lambda server, body: answer(joined(next_in_s=0.0))
    server.answers["POST heartbeat"] = beat
    server.answers["POST claim"] = claims(answer(claimed()))
    go = str(tmp_path / "go")
    script = f"import pathlib, threading\nwhile not pathlib.Path({go!r}).exists(): threading.Event().wait(0.01)"
    working = Working(server, tmp_path)
    assert 130 == working.work(script)
    assert 1 == working.server.asked().count("GET task_1"), "the task was read once, after the run had ended"
    assert 1 == len(working.bodies("POST complete"))


def test_who_is_superseded_stops_its_run_says_so_and_does_not_come_back(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST join"] = lambda server, body: answer(joined(next_in_s=0.0))
    server.answers["POST heartbeat"] = lambda server, body: answer(beaten("superseded"))
    server.answers["POST claim"] = claims(answer(claimed()), refusal("superseded"))
    working = Working(server, tmp_path)
    with pytest.raises(Superseded):
        working.work("import time; time.sleep(600)")
    assert 1 == len(working.bodies("POST join"))
    assert 1 == len(working.bodies("POST leave")), "the stop of the run is reported"


def test_who_is_asked_to_go_finishes_its_task_first(server: TinyServer, tmp_path: Path) -> None:
    beats: list[int] = []

    def drain(server: TinyServer, body: Any) -> Response:
        beats.append(1)
        if len(beats) == 3:
            (tmp_path / "go").touch()
        return answer(beaten("drain", next_in_s=0.0, task=TaskRef("task_1", 1)))

    server.answers["POST join"] = lambda server, body: answer(joined(next_in_s=0.0))
    server.answers["POST heartbeat"] = drain
    server.answers["POST claim"] = claims(answer(claimed()))
    go = str(tmp_path / "go")
    script = f"import pathlib, threading\nwhile not pathlib.Path({go!r}).exists(): threading.Event().wait(0.01)"
    working = Working(server, tmp_path)
    assert 0 == working.work(script)
    assert 1 == len(working.bodies("POST complete"))
    assert ["left"] == [body["cause"] for body in working.bodies("POST leave")]
    assert 1 == working.server.asked().count("POST claim")


def test_the_command_gets_its_users_environment_but_of_ours_only_what_its_task_needs() -> None:
    parent = {"PATH": "/bin", "SOME_API_KEY": "theirs", "GREENROOM_TOKEN": "operator", "GREENROOM_DATA_DIR": "/there"}
    told = {"GREENROOM_TOKEN": "attempt"}
    assert {"PATH": "/bin", "SOME_API_KEY": "theirs", "GREENROOM_TOKEN": "attempt"} == environment_for(parent, told)


def test_a_command_that_is_not_there_is_told_before_anybody_sits(server: TinyServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-program"):
        Working(server, tmp_path).work("", program="no-such-program")
    assert [] == server.asked()
