from collections.abc import Mapping

import pytest

from greenroom.client.api_client import ApiClient
from greenroom.client.http_transport import Response
from greenroom.daemon.server_link import MachineTransport
from greenroom.domain.errors import Unavailable
from greenroom.domain.limits import Limits
from tests.unit.fake_server import FakeServer, FakeServerTransport
from tests.unit.scripted_transport import json_response, make_task

LIMITS = Limits(retry_pause_s=0.01)


class TokenRecordingTransport(FakeServerTransport):
    """A connection that records the token of each request."""

    def __init__(self) -> None:
        super().__init__(FakeServer())
        self.tokens: list[str | None] = []

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        self.tokens.append(headers.get("Authorization"))
        return json_response(make_task())


def test_request_uses_current_token() -> None:
    transport, tokens = TokenRecordingTransport(), ["one", "two"]
    session = ApiClient("http://127.0.0.1:1", None, LIMITS, MachineTransport(transport, lambda: tokens.pop(0)))
    session.task("task_1")
    session.task("task_1")
    assert transport.tokens == ["Bearer one", "Bearer two"]


def test_requests_wait_for_registration() -> None:
    transport, tokens = TokenRecordingTransport(), [None, None, "one"]
    session = ApiClient("http://127.0.0.1:1", None, LIMITS, MachineTransport(transport, lambda: tokens.pop(0)))
    with pytest.raises(Unavailable, match="not registered"):
        session.task("task_1")
    session.with_patience(20).task("task_1")
    assert transport.tokens == ["Bearer one"]
