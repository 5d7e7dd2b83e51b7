"""Calls an agent's commands (`wait-for-task` and those that follow it) in this process, against a TinyServer."""

import io
import os
import signal
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec

from greenroom.agent import connection_file, wait
from greenroom.agent.claim_file import Claim
from greenroom.client.http_transport import Response
from greenroom.domain.limits import Limits
from greenroom.process.identity import ProcessIdentity
from greenroom.settings.files import write_record
from greenroom.settings.harness import DaemonSettings
from greenroom.settings.resolve import Settings
from tests.unit.scripted_transport import claimed_task, empty_response, heartbeat_reply, join_reply, json_response
from tests.unit.tiny_server import AnswerFunction, TinyServer
from tests.waiting import PATIENCE_S

LIMITS = Limits(first_contact_s=PATIENCE_S, retry_pause_s=0.02)
SHORT_CONTACT_LIMITS = Limits(first_contact_s=3.0, retry_pause_s=0.02)
"""Limits for tests whose server does not answer: the first contact is given up after 3 s."""


DEFAULT_ANSWERS: dict[str, AnswerFunction] = {
    "POST join": lambda server, body: json_response(join_reply()),
    "POST heartbeat": lambda server, body: json_response(heartbeat_reply()),
    "POST leave": lambda server, body: json_response({"status": "ok"}),
    "POST claim": lambda server, body: json_response(claimed_task()),
}


def signal_answer(number: signal.Signals) -> AnswerFunction:
    """An answer that never comes: while the command waits for it, this process gets the signal of a user's stop."""

    def interrupt(server: TinyServer, body: Any) -> Response:
        os.kill(os.getpid(), number)
        server.closing.wait(PATIENCE_S)
        return empty_response()

    return interrupt


def make_settings(url: str, folder: Path, limits: Limits = LIMITS) -> Settings:
    return Settings(
        url=url,
        token="t",
        data_dir=folder,
        database=None,
        limits=limits,
        project=None,
        user_daemon=DaemonSettings(),
        origins={"data_dir": "flag --data-dir"},
    )


class WaitCall:
    """One call of `wait-for-task`, in this process."""

    def __init__(self, url: str, folder: Path, limits: Limits = LIMITS) -> None:
        self.settings = make_settings(url, folder, limits)
        self.out, self.err = io.StringIO(), io.StringIO()

    def wait(self, timeout: float | None = None, take_over: bool = False, json: bool = False) -> int:
        arguments = Namespace(room="demo", role="builder", timeout=timeout, take_over=take_over, json=json)
        return wait.run(arguments, self.settings, self.out, self.err)

    def files(self, kind: str) -> list[Path]:
        return [path for path in (self.settings.data_dir / kind).rglob("*") if path.is_file()]

    def claims(self) -> list[Claim]:
        return [msgspec.json.decode(path.read_bytes(), type=Claim) for path in self.files("claims")]

    def participant_file(self) -> connection_file.ConnectionFile:
        return msgspec.json.decode(self.files("connections")[0].read_bytes(), type=connection_file.ConnectionFile)

    def record_ended_process(self) -> None:
        """Record in the participant's file a process that has ended."""
        record = msgspec.structs.replace(
            self.participant_file(), process=ProcessIdentity(os.getpid(), "an earlier start")
        )
        write_record(self.files("connections")[0], record)


class ReportCall:
    """Calls the commands that follow a claim (`task-started`, `task-complete`, ...), in this process."""

    def __init__(self, url: str, folder: Path, limits: Limits = LIMITS) -> None:
        self.settings = make_settings(url, folder, limits)
        self.out, self.err = io.StringIO(), io.StringIO()

    def run(self, function: Any, **options: Any) -> int:
        defaults = {"task": None, "attempt": None, "room": None, "role": None, "json": False, "text": ""}
        code = function(Namespace(**defaults | options), self.settings, self.out, self.err)
        assert isinstance(code, int)
        return code
