from collections.abc import Mapping

import pytest

from greenroom.client.session import Session
from greenroom.client.transport import Response
from greenroom.daemon.line import MachineLine
from greenroom.domain.errors import Unavailable
from greenroom.domain.reliability import Reliability
from tests.unit.scripted import answer, task_of
from tests.unit.stand_in import Server, StandInTransport

LIMITS = Reliability(retry_pause_s=0.01)


class Eavesdropped(StandInTransport):
    """A connection that records the token of each request."""

    def __init__(self) -> None:
        super().__init__(Server())
        self.tokens: list[str | None] = []

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        self.tokens.append(headers.get("Authorization"))
        return answer(task_of())


def test_a_machine_speaks_with_the_token_of_the_moment() -> None:
    line, tokens = Eavesdropped(), ["one", "two"]
    session = Session("http://127.0.0.1:1", None, LIMITS, MachineLine(line, lambda: tokens.pop(0)))
    session.task("task_1")
    session.task("task_1")
    assert line.tokens == ["Bearer one", "Bearer two"]


def test_before_it_is_registered_it_says_nothing_and_who_is_patient_tries_again() -> None:
    line, tokens = Eavesdropped(), [None, None, "one"]
    session = Session("http://127.0.0.1:1", None, LIMITS, MachineLine(line, lambda: tokens.pop(0)))
    with pytest.raises(Unavailable, match="not registered"):
        session.task("task_1")
    session.patient(20).task("task_1")
    assert line.tokens == ["Bearer one"]
