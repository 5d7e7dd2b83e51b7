from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from greenroom.client.api_client import ApiClient
from greenroom.client.http_transport import Response
from greenroom.client.sse import StreamReset
from greenroom.domain.errors import (
    GreenroomError,
    InvalidTransition,
    NotFound,
    StoreOverloaded,
    Superseded,
    Unavailable,
)
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.testing import MovedClock
from greenroom.wire.replies import EventView, HeartbeatReply, StreamHeartbeat
from greenroom.wire.requests import SendMessage
from tests.unit.scripted_transport import (
    NoDelayEntropy,
    ScriptedTransport,
    Step,
    empty_response,
    heartbeat_reply,
    json_response,
    make_task,
    problem_response,
    unreachable,
)


def session_with(*steps: Step, patience_s: float = 0.0, clock: MovedClock | None = None) -> ApiClient:
    transport = ScriptedTransport(*steps)
    clock = clock or MovedClock()
    return ApiClient(
        "http://there/",
        "secret",
        DEFAULT_LIMITS,
        transport,
        patience_s=patience_s,
        clock=clock,
        entropy=NoDelayEntropy(1),
    )


def requests_of(session: ApiClient) -> list[tuple[str, str, Any, dict[str, str], float]]:
    assert isinstance(session._transport, ScriptedTransport)
    return session._transport.requests


def test_call_has_token_and_decodes_reply() -> None:
    session = session_with(json_response(heartbeat_reply()))
    assert heartbeat_reply() == session.beat("my room", "builder", "conn_1", 2.5)
    method, path, body, headers, timeout_s = requests_of(session)[0]
    assert ("POST", "/api/v1/rooms/my%20room/participants/builder/heartbeat") == (method, path)
    assert {"connection_id": "conn_1", "slept_s": 2.5, "pausing": False} == body
    assert "Bearer secret" == headers["Authorization"]
    assert "Idempotency-Key" not in headers
    assert DEFAULT_LIMITS.request_timeout_s == timeout_s


def test_path_arguments_are_quoted() -> None:
    session = session_with(problem_response("not_found"))
    with pytest.raises(NotFound):
        session.task("../rooms?x=1#")
    assert "/api/v1/tasks/..%2Frooms%3Fx%3D1%23" == requests_of(session)[0][1]


@pytest.mark.parametrize(
    ("code", "error_class"), [("not_found", NotFound), ("superseded", Superseded), ("overloaded", StoreOverloaded)]
)
def test_error_response_raises_its_class(code: str, error_class: type[GreenroomError]) -> None:
    with pytest.raises(error_class) as caught:
        session_with(problem_response(code, "Because.")).snapshot("demo")
    assert (code, "Because.") == (caught.value.code, caught.value.detail)


def test_invalid_transition_keeps_allowed_states() -> None:
    body = b'{"type":"t","title":"t","status":409,"code":"invalid_transition","detail":"d","guidance":"g",'
    body += b'"current":"closed","attempted":"start","allowed":[]}'
    response = Response(409, {"content-type": "application/problem+json; charset=utf-8"}, body)
    with pytest.raises(InvalidTransition) as caught:
        session_with(response).start("task_1", "conn_1", 1)
    assert ("closed", "start", ()) == (caught.value.current, caught.value.attempted, caught.value.allowed)


@pytest.mark.parametrize(
    "response",
    [
        Response(404, {"content-type": "text/html"}, b"<h1>Not found</h1>"),
        Response(403, {}, b""),
        Response(302, {"location": "/login"}, b""),
        Response(200, {"content-type": "text/html"}, b"<h1>Please log in</h1>"),
        Response(502, {}, b"bad gateway"),
        json_response({"status": 5}),
    ],
)
def test_foreign_response_is_unreachable(response: Response) -> None:
    with pytest.raises(Unavailable) as caught:
        session_with(response).beat("demo", "builder", "conn_1")
    assert "unreachable" == caught.value.code


def test_retries_keep_idempotency_key() -> None:
    created = json_response(
        {"message": {"id": "m", "room": "r", "sender": "user", "to": "b", "text": "t", "task": None, "at": "a"}}
    )
    sent = json_response({**msgspec.json.decode(created.body), "task": None})
    session = session_with(unreachable(), problem_response("store_unavailable"), sent, sent, patience_s=60.0)
    for _ in range(2):
        session.send_message("demo", SendMessage(sender="user", text="t"))
    keys = [headers["Idempotency-Key"] for _, _, _, headers, _ in requests_of(session)]
    assert 4 == len(keys)
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_retries_end_with_patience() -> None:
    clock = MovedClock()

    def slow_silence() -> Response:
        clock.advance(4.0)
        raise unreachable()

    session = session_with(slow_silence, slow_silence, slow_silence, patience_s=10.0, clock=clock)
    with pytest.raises(Unavailable):
        session.start("task_1", "conn_1", 1)
    assert 3 == len(requests_of(session))
    impatient = session_with(unreachable())
    with pytest.raises(Unavailable):
        impatient.start("task_1", "conn_1", 1)


def test_give_up_stops_own_retries_only() -> None:
    session = session_with(patience_s=0.0)
    patient = session.with_patience(float("inf"))

    def give_up_then_fail() -> Response:
        patient.give_up()
        raise unreachable()

    assert isinstance(session._transport, ScriptedTransport)
    session._transport.steps += [
        unreachable(),
        give_up_then_fail,
        unreachable(),
        json_response(make_task()),
    ]
    with pytest.raises(Unavailable):
        patient.start("task_1", "conn_1", 1)
    assert 1 == session._transport.drops
    assert make_task() == session.with_patience(float("inf")).start("task_1", "conn_1", 1)


def test_rejection_is_not_retried() -> None:
    session = session_with(problem_response("superseded"), patience_s=60.0)
    with pytest.raises(Superseded):
        session.complete("task_1", "conn_1", 1, "done")
    assert 1 == len(requests_of(session))


def test_empty_claim_and_its_timeout() -> None:
    session = session_with(empty_response())
    assert session.claim("demo", "builder", "conn_1", wait_s=10.0) is None
    assert 10.0 + DEFAULT_LIMITS.request_timeout_s == requests_of(session)[0][4]


def test_fast_beats_have_short_timeout() -> None:
    transport = ScriptedTransport(json_response(heartbeat_reply()))
    quick = ApiClient("http://there", None, DEFAULT_LIMITS, transport, interval_s=2.0)
    assert isinstance(quick.beat("demo", "builder", "conn_1"), HeartbeatReply)
    _, _, _, headers, timeout_s = transport.requests[0]
    assert 0.5 == timeout_s
    assert "Authorization" not in headers


CALLS: list[tuple[Callable[[ApiClient], Any], str, str]] = [
    (lambda s: s.rooms(after="r1", limit=5), "GET", "/api/v1/rooms?after=r1&limit=5"),
    (lambda s: s.messages("demo"), "GET", "/api/v1/rooms/demo/messages"),
    (lambda s: s.tasks("demo", status="pending"), "GET", "/api/v1/rooms/demo/tasks?status=pending"),
    (lambda s: s.room_events("demo", after="c3"), "GET", "/api/v1/rooms/demo/events?after=c3"),
    (lambda s: s.machine_events("m1"), "GET", "/api/v1/machines/m1/events"),
    (lambda s: s.all_events(limit=1, newest=5), "GET", "/api/v1/events?newest=5&limit=1"),
    (lambda s: s.machines(), "GET", "/api/v1/machines"),
]


@pytest.mark.parametrize(("call", "method", "path"), CALLS)
def test_list_calls_have_paging(call: Callable[[ApiClient], Any], method: str, path: str) -> None:
    session = session_with(json_response([]))
    assert [] == call(session)
    assert (method, path) == requests_of(session)[0][:2]


def test_assignments_wait_needs_version() -> None:
    session = session_with(*(json_response({"version": 4, "assignments": []}) for _ in range(2)))
    session.assignments("m1", wait_s=20.0)
    session.assignments("m1", after=3, wait_s=20.0)
    paths = [path for _, path, _, _, _ in requests_of(session)]
    assert ["/api/v1/machines/m1/assignments", "/api/v1/machines/m1/assignments?after=3&wait_s=20.0"] == paths


def test_late_health_is_a_reply() -> None:
    assert ("sweep",) == session_with(json_response({"status": "late", "late": ["sweep"]}, 503)).healthz().late


def make_event(pos: int) -> EventView:
    at = "2026-11-20T23:46:34.120Z"
    return EventView(
        pos=pos, stream="room:r", seq=pos, type="message.sent", at=at, cause="c", data={}, cursor=f"c{pos}"
    )


def make_frame(pos: int) -> bytes:
    return b"id: c%d\nevent: message.sent\ndata: %s\n\n" % (pos, msgspec.json.encode(make_event(pos)))


def heartbeat_frame(cursor: str) -> bytes:
    data = msgspec.json.encode(StreamHeartbeat(cursor=cursor, at="2026-11-20T23:46:34.120Z", version="7"))
    return b"id: %s\nevent: heartbeat\ndata: %s\n\n" % (cursor.encode(), data)


def sent_cursors(session: ApiClient) -> list[str | None]:
    """The Last-Event-ID of each request."""
    return [headers.get("Last-Event-ID") for _, _, _, headers, _ in requests_of(session)]


def test_stream_resumes_after_interruptions() -> None:
    body = b": a comment\n\n" + heartbeat_frame("c0") + make_frame(1) + make_frame(2) + b"id: c3\ndata: {broken off"
    first = Response(200, {}, body)
    second = Response(200, {}, make_frame(3))
    reset = Response(200, {}, b'event: reset\nid: c9\ndata: {"cursor":"c9"}\n\n' + make_frame(10))
    session = session_with(first, unreachable(), problem_response("overloaded"), second, reset)
    events = session.stream_events("demo", after="c0")
    found = [next(events) for _ in range(5)]
    assert [make_event(1), make_event(2), make_event(3), StreamReset(), make_event(10)] == found
    assert ["c0", "c2", "c2", "c2", "c3"] == sent_cursors(session)


def test_stream_resumes_after_heartbeat() -> None:
    """A stream that begins now has no event to resume after, and no event of an interruption is missed."""
    quiet = Response(200, {}, heartbeat_frame("c7") + heartbeat_frame("c7"))
    session = session_with(quiet, unreachable(), Response(200, {}, heartbeat_frame("c7") + make_frame(8)))
    assert make_event(8) == next(session.stream_events(newest=0))
    assert [None, "c7", "c7"] == sent_cursors(session)
    assert "/api/v1/events?newest=0" == requests_of(session)[0][1]


def test_stream_errors_are_raised() -> None:
    with pytest.raises(Unavailable):
        next(session_with(unreachable()).stream_events("demo"))
    lost_room = session_with(Response(200, {}, make_frame(1)), problem_response("not_found")).stream_events("demo")
    assert make_event(1) == next(lost_room)
    with pytest.raises(NotFound):
        next(lost_room)
