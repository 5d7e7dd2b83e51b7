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
from greenroom.agent.work import make_environment
from greenroom.cli.errors import exit_code
from greenroom.client.http_transport import Response
from greenroom.clock import SystemClock, format_instant, parse_instant
from greenroom.domain.errors import ConfigurationError, GreenroomError, Superseded, Unusable
from greenroom.domain.limits import Limits
from greenroom.exit_codes import ExitCode
from greenroom.settings.harness import DaemonSettings
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import TaskRef
from tests.unit.agent_commands import signal_answer
from tests.unit.scripted_transport import (
    claimed_task,
    empty_response,
    heartbeat_reply,
    join_reply,
    json_response,
    make_task,
    problem_response,
)
from tests.unit.tiny_server import AnswerFunction, TinyServer, run_tiny_server
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

LIMITS = Limits(
    heartbeat_interval_s=20.0,
    heartbeat_ttl_s=60.0,
    stop_grace_s=PATIENCE_S,
    takeover_grace_s=PATIENCE_S,
    restart_backoff_s_min=0.01,
    restart_backoff_s_max=0.02,
    crash_loop_probe_after_s=0.2,
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
    room = {
        "id": "room_1",
        "name": "demo",
        "status": "open",
        "entry_role": "planner",
        "max_requests": 1,
        "cursor": "c1",
    }
    room_response = json_response(
        room | {"roles": roles, "participants": [], "tasks": [], "created_at": "2026-11-20T23:46:34.120Z"}
    )

    def held(server: TinyServer, body: Any) -> Response:
        newest = [body["connection_id"] for key, body in server.requests if key == "POST join"][-1]
        return json_response(make_task(claimed_by=newest, last_holder=newest))

    answers: dict[str, AnswerFunction] = {
        "GET demo": lambda server, body: room_response,
        "POST join": lambda server, body: json_response(join_reply()),
        "POST leave": lambda server, body: json_response({"status": "ok"}),
        "POST start": held,
        "GET task_1": held,
        "POST handoff": lambda server, body: json_response(make_task(status="completed")),
        "POST complete": lambda server, body: json_response(make_task(status="completed")),
    }
    with run_tiny_server(answers) as tiny_server:
        yield tiny_server


def role(name: str) -> dict[str, Any]:
    fields = dict.fromkeys(("status_reason", "status_until", "machine", "harness", "model", "workdir"))
    more_fields = dict.fromkeys(("desired_by", "desired_reason", "last_seen_at"))
    return (
        fields
        | more_fields
        | {"name": name, "kind": "custom", "desired": "running", "status": "vacant", "generation": 0}
    )


def answer_claims(*answers: Response) -> AnswerFunction:
    """Give these answers one after another, and then interrupt `work`, which would go on for ever."""
    remaining = list(answers)
    interrupt = signal_answer(signal.SIGTERM)
    return lambda server, body: remaining.pop(0) if remaining else interrupt(server, body)


class WorkCall:
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
        return [body for seen, body in self.server.requests if seen == key]

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


def test_tasks_run_once_and_are_handed_off(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = answer_claims(
        json_response(claimed_task()), empty_response(), json_response(claimed_task(text="more"))
    )
    work_call = WorkCall(server, tmp_path)
    assert 130 == work_call.work(ECHO, role="planner")
    sent = [(body["to"], body["text"]) for body in work_call.bodies("POST handoff")]
    assert [("builder", "made of build it\n"), ("builder", "made of more\n")] == sent
    assert ["left"] == [body["cause"] for body in work_call.bodies("POST leave")]
    assert 1 == len({body["connection_id"] for body in work_call.bodies("POST join")})
    assert [] == work_call.files()
    assert "next, to work again: greenroom work demo --role planner --then builder -- " in work_call.err.getvalue()


def test_last_role_completes_by_default(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()))
    work_call = WorkCall(server, tmp_path)
    work_call.work(ECHO)
    assert ["made of build it\n"] == [body["text"] for body in work_call.bodies("POST complete")]
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()))
    work_call.work(ECHO, then="planner")
    assert ["planner"] == [body["to"] for body in work_call.bodies("POST handoff")]


@pytest.mark.parametrize(("unknown_role", "then"), [("nobody", None), ("builder", "nobody")])
def test_unknown_role_is_rejected_before_join(
    server: TinyServer, tmp_path: Path, unknown_role: str, then: str | None
) -> None:
    with pytest.raises(Unusable, match="nobody"):
        WorkCall(server, tmp_path).work(ECHO, role=unknown_role, then=then)
    assert "POST join" not in server.request_keys()


def test_failure_ends_participant_and_next_joins(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()))
    work_call = WorkCall(server, tmp_path)
    script = "import sys; print('half'); sys.stderr.write('the reason'); sys.exit(3)"
    assert 130 == work_call.work(script)
    first, second = work_call.bodies("POST leave")
    assert "exited" == first["cause"]
    assert first["reason"].endswith("the reason")
    assert first["connection_id"] != second["connection_id"]
    assert "left" == second["cause"]
    assert "POST complete" not in server.request_keys()
    assert [] == work_call.files()


def test_crash_loop_then_failed_probe_run_needs_user(server: TinyServer, tmp_path: Path) -> None:
    """Without crash-loop detection, a command that fails at once runs all night and puts every task into quarantine."""
    server.answers["POST claim"] = answer_claims(*[json_response(claimed_task())] * 9)
    work_call = WorkCall(server, tmp_path)
    with pytest.raises(GreenroomError, match="until a user starts it again: its probe run failed too") as caught:
        work_call.work("import sys; sys.exit(3)")
    assert ExitCode.FAILED == exit_code(caught.value)
    assert "then run: greenroom work demo --role builder" in caught.value.guidance
    lines = work_call.err.getvalue().splitlines()
    assert 1 == len([line for line in lines if line.startswith("crash-looping, one probe run follows: 3 ")])
    assert 1 == lines.count("crash-looping; this is the probe run")
    causes = [body["cause"] for body in work_call.bodies("POST leave")]
    assert ["exited", "exited", "exited", "stopped"] == causes, "a probe run's failure is not counted for its task"
    assert 4 == len(work_call.bodies("POST join"))


def test_successful_probe_run_recovers(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = answer_claims(*[json_response(claimed_task())] * 6)
    work_call = WorkCall(server, tmp_path)
    runs = str(tmp_path / "runs.txt")
    script = f"import sys; open({runs!r}, 'a').write('x'); sys.exit(open({runs!r}).read() != 'xxxx')"
    assert 130 == work_call.work(script)
    assert 6 == len((tmp_path / "runs.txt").read_text())
    assert ["exited"] * 5 + ["left"] == [body["cause"] for body in work_call.bodies("POST leave")]
    assert 1 == work_call.err.getvalue().count("crash-looping; this is the probe run")


def test_missing_login_needs_user(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = answer_claims(*[json_response(claimed_task())] * 3)
    work_call = WorkCall(server, tmp_path)
    with pytest.raises(GreenroomError, match=r"paused until a user starts it again: .*the key is void") as caught:
        work_call.work(result_script(status="login_required", reason="the key is void"))
    assert ExitCode.FAILED == exit_code(caught.value)
    assert "then run: greenroom work demo --role builder" in caught.value.guidance
    assert ["stopped"] == [body["cause"] for body in work_call.bodies("POST leave")]


def test_rate_limit_pauses_without_failure(server: TinyServer, tmp_path: Path) -> None:
    """Counted as failures, an hour without quota would be a crash loop and put the agent's tasks into quarantine."""
    server.answers["POST claim"] = answer_claims(*[json_response(claimed_task())] * 5)
    work_call = WorkCall(server, tmp_path)
    path_file, instants = tmp_path / "where", list[str]()
    original_answer = server.answers["GET task_1"]

    def write_result(server: TinyServer, body: Any) -> Response | None:
        """Write the result between the run's end and the reading of it, so that the limit is still in the future."""
        instants.append(instants[0] if instants else format_instant(SystemClock().wall() + 2.0))
        result = {"status": "rate_limited", "until": instants[0], "reason": "too many requests"}
        Path(path_file.read_text()).write_text(json.dumps(result))
        return original_answer(server, body)

    server.answers["GET task_1"] = write_result
    assert 130 == work_call.work(f"import os; open({str(path_file)!r}, 'w').write(os.environ['GREENROOM_RESULT'])")
    assert SystemClock().wall() >= parse_instant(instants[0])
    lines = [line for line in work_call.err.getvalue().splitlines() if line.startswith("paused: ")]
    assert instants[0] in lines[0]
    assert "too many requests" in lines[0]
    causes = [body["cause"] for body in work_call.bodies("POST leave")]
    assert ["stopped"] * 5 + ["left"] == causes


def test_failed_start_is_no_failure(server: TinyServer, tmp_path: Path) -> None:
    """Counted as failures, an update of the agent's program would put its tasks into quarantine."""
    program = tmp_path / "agent"
    program.write_text('#!/bin/sh\nrm "$0"\n')
    program.chmod(0o700)
    server.answers["POST claim"] = answer_claims(*[json_response(claimed_task())] * 6)
    work_call = WorkCall(server, tmp_path)
    assert 130 == work_call.work("", program=str(program))
    assert 1 == len(work_call.bodies("POST complete"))
    leaves = [(body["cause"], "cannot be started" in (body["reason"] or "")) for body in work_call.bodies("POST leave")]
    assert [("stopped", True)] * 5 + [("left", False)] == leaves
    assert "crash_looping" not in work_call.err.getvalue()


def result_script(**result: str) -> str:
    """A script that writes this result file."""
    return f"import os; open(os.environ['GREENROOM_RESULT'], 'w').write({json.dumps(result)!r})"


def test_interrupted_run_gives_task_back(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()))
    script = f"import os, signal, time; os.kill({os.getpid()}, signal.SIGTERM); time.sleep(600)"
    work_call = WorkCall(server, tmp_path)
    assert 130 == work_call.work(script)
    assert ["stopped"] == [body["cause"] for body in work_call.bodies("POST leave")]
    assert [] == work_call.files()


def test_output_of_interrupted_run_is_kept(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()))
    script = f"import os, signal, time; print('half', flush=True); os.kill({os.getpid()}, 15); time.sleep(600)"
    work_call = WorkCall(server, tmp_path)
    assert 130 == work_call.work(script)
    output = next(path for path in work_call.files() if path.name == "stdout")
    assert "half\n" == output.read_text()
    assert f"its whole output is in {output}" in work_call.err.getvalue()


def test_unnamed_run_is_checked_and_stopped(server: TinyServer, tmp_path: Path) -> None:
    cancelled = json_response(make_task(status="closed", claimed_by=None, reason="no more"))
    server.answers["POST join"] = lambda server, body: json_response(join_reply(next_in_s=0.0))
    server.answers["POST heartbeat"] = lambda server, body: json_response(heartbeat_reply(next_in_s=0.0))
    server.answers["GET task_1"] = lambda server, body: cancelled
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()))
    work_call = WorkCall(server, tmp_path)
    assert 130 == work_call.work("import time; time.sleep(600)")
    assert "cancelled (no more)" in work_call.err.getvalue()
    assert ["left"] == [body["cause"] for body in work_call.bodies("POST leave")]


def test_named_run_goes_on(server: TinyServer, tmp_path: Path) -> None:
    beats: list[int] = []

    def beat(server: TinyServer, body: Any) -> Response:
        beats.append(1)
        if len(beats) == 2:
            (tmp_path / "go").touch()
        return json_response(heartbeat_reply(next_in_s=0.0, task=TaskRef("task_1", 1)))

    server.answers["POST join"] = lambda server, body: json_response(join_reply(next_in_s=0.0))
    server.answers["POST heartbeat"] = beat
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()))
    go = str(tmp_path / "go")
    script = f"import pathlib, threading\nwhile not pathlib.Path({go!r}).exists(): threading.Event().wait(0.01)"
    work_call = WorkCall(server, tmp_path)
    assert 130 == work_call.work(script)
    assert 1 == work_call.server.request_keys().count("GET task_1"), "the task was read once, after the run had ended"
    assert 1 == len(work_call.bodies("POST complete"))


def test_superseded_work_stops_and_ends(server: TinyServer, tmp_path: Path) -> None:
    server.answers["POST join"] = lambda server, body: json_response(join_reply(next_in_s=0.0))
    server.answers["POST heartbeat"] = lambda server, body: json_response(heartbeat_reply("superseded"))
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()), problem_response("superseded"))
    work_call = WorkCall(server, tmp_path)
    with pytest.raises(Superseded):
        work_call.work("import time; time.sleep(600)")
    assert 1 == len(work_call.bodies("POST join"))
    assert 1 == len(work_call.bodies("POST leave")), "the stop of the run is reported"


def test_drain_finishes_task_first(server: TinyServer, tmp_path: Path) -> None:
    beats: list[int] = []

    def drain(server: TinyServer, body: Any) -> Response:
        beats.append(1)
        if len(beats) == 3:
            (tmp_path / "go").touch()
        return json_response(heartbeat_reply("drain", next_in_s=0.0, task=TaskRef("task_1", 1)))

    server.answers["POST join"] = lambda server, body: json_response(join_reply(next_in_s=0.0))
    server.answers["POST heartbeat"] = drain
    server.answers["POST claim"] = answer_claims(json_response(claimed_task()))
    go = str(tmp_path / "go")
    script = f"import pathlib, threading\nwhile not pathlib.Path({go!r}).exists(): threading.Event().wait(0.01)"
    work_call = WorkCall(server, tmp_path)
    assert 0 == work_call.work(script)
    assert 1 == len(work_call.bodies("POST complete"))
    assert ["left"] == [body["cause"] for body in work_call.bodies("POST leave")]
    assert 1 == work_call.server.request_keys().count("POST claim")


def test_command_environment() -> None:
    parent = {"PATH": "/bin", "SOME_API_KEY": "theirs", "GREENROOM_TOKEN": "operator", "GREENROOM_DATA_DIR": "/there"}
    variables = {"GREENROOM_TOKEN": "attempt"}
    assert {"PATH": "/bin", "SOME_API_KEY": "theirs", "GREENROOM_TOKEN": "attempt"} == make_environment(
        parent, variables
    )


def test_missing_command_is_rejected_before_join(server: TinyServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such-program"):
        WorkCall(server, tmp_path).work("", program="no-such-program")
    assert [] == server.request_keys()
