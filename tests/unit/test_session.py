from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from greenroom.client.session import Session
from greenroom.client.streaming import Reset
from greenroom.client.transport import Response
from greenroom.clock import MovedClock
from greenroom.domain.errors import (
    GreenroomError,
    InvalidTransition,
    NotFound,
    StoreOverloaded,
    Superseded,
    Unavailable,
)
from greenroom.domain.event import Event
from greenroom.domain.reliability import DEFAULTS
from greenroom.entropy import SeededEntropy
from greenroom.wire.replies import HeartbeatReply
from greenroom.wire.requests import SendMessage
from tests.unit.scripted import ScriptedTransport, Step, answer, beaten, nothing, refusal, silence, task_of


class NoPause(SeededEntropy):
    def fraction(self) -> float:
        return 0.0


def session_with(*steps: Step, patience_s: float = 0.0, clock: MovedClock | None = None) -> Session:
    transport = ScriptedTransport(*steps)
    clock = clock or MovedClock()
    return Session(
        "http://there/", "secret", DEFAULTS, transport, patience_s=patience_s, clock=clock, entropy=NoPause(1)
    )


def asked(session: Session) -> list[tuple[str, str, Any, dict[str, str], float]]:
    assert isinstance(session._transport, ScriptedTransport)
    return session._transport.asked


def test_a_call_says_who_asks_and_reads_the_answer() -> None:
    session = session_with(answer(beaten()))
    assert beaten() == session.beat("my room", "builder", "conn_1", 2.5)
    method, path, body, headers, timeout_s = asked(session)[0]
    assert ("POST", "/api/v1/rooms/my%20room/participants/builder/heartbeat") == (method, path)
    assert {"connection_id": "conn_1", "slept_s": 2.5} == body
    assert "Bearer secret" == headers["Authorization"]
    assert "Idempotency-Key" not in headers
    assert DEFAULTS.request_timeout_s == timeout_s


def test_a_name_can_never_lead_to_another_route() -> None:
    session = session_with(refusal("not_found"))
    with pytest.raises(NotFound):
        session.task("../rooms?x=1#")
    assert "/api/v1/tasks/..%2Frooms%3Fx%3D1%23" == asked(session)[0][1]


@pytest.mark.parametrize(
    ("code", "kind"), [("not_found", NotFound), ("superseded", Superseded), ("overloaded", StoreOverloaded)]
)
def test_a_refusal_is_raised_as_what_it_was(code: str, kind: type[GreenroomError]) -> None:
    with pytest.raises(kind) as caught:
        session_with(refusal(code, "Because.")).snapshot("demo")
    assert (code, "Because.") == (caught.value.code, caught.value.detail)


def test_a_refused_move_keeps_what_would_be_allowed() -> None:
    body = b'{"type":"t","title":"t","status":409,"code":"invalid_transition","detail":"d","guidance":"g",'
    body += b'"current":"closed","attempted":"start","allowed":[]}'
    refused = Response(409, {"content-type": "application/problem+json; charset=utf-8"}, body)
    with pytest.raises(InvalidTransition) as caught:
        session_with(refused).start("task_1", "conn_1", 1)
    assert ("closed", "start", ()) == (caught.value.current, caught.value.attempted, caught.value.allowed)


@pytest.mark.parametrize(
    "strange",
    [
        Response(404, {"content-type": "text/html"}, b"<h1>Not found</h1>"),
        Response(403, {}, b""),
        Response(302, {"location": "/login"}, b""),
        Response(200, {"content-type": "text/html"}, b"<h1>Please log in</h1>"),
        Response(502, {}, b"bad gateway"),
        answer({"status": 5}),
    ],
)
def test_what_stands_between_is_not_taken_for_the_server(strange: Response) -> None:
    with pytest.raises(Unavailable) as caught:
        session_with(strange).beat("demo", "builder", "conn_1")
    assert "unreachable" == caught.value.code


def test_every_retry_of_what_creates_carries_the_same_key_and_the_next_call_another() -> None:
    made = answer(
        {"message": {"id": "m", "room": "r", "sender": "user", "to": "b", "text": "t", "task": None, "at": "a"}}
    )
    sent = answer({**msgspec.json.decode(made.body), "task": None})
    session = session_with(silence(), refusal("store_unavailable"), sent, sent, patience_s=60.0)
    for _ in range(2):
        session.send("demo", SendMessage(sender="user", text="t"))
    keys = [headers["Idempotency-Key"] for _, _, _, headers, _ in asked(session)]
    assert 4 == len(keys)
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_patience_ends() -> None:
    clock = MovedClock()

    def slow_silence() -> Response:
        clock.move(4.0)
        raise silence()

    session = session_with(slow_silence, slow_silence, slow_silence, patience_s=10.0, clock=clock)
    with pytest.raises(Unavailable):
        session.start("task_1", "conn_1", 1)
    assert 3 == len(asked(session))
    impatient = session_with(silence())
    with pytest.raises(Unavailable):
        impatient.start("task_1", "conn_1", 1)


def test_who_gives_up_tries_no_more_but_its_sibling_does() -> None:
    session = session_with(patience_s=0.0)
    insistent = session.patient(float("inf"))

    def given_up() -> Response:
        insistent.give_up()
        raise silence()

    assert isinstance(session._transport, ScriptedTransport)
    session._transport.steps += [silence(), given_up, silence(), answer(task_of())]
    with pytest.raises(Unavailable):
        insistent.start("task_1", "conn_1", 1)
    assert 1 == session._transport.drops
    assert task_of() == session.patient(float("inf")).start("task_1", "conn_1", 1)


def test_a_refusal_is_not_tried_again() -> None:
    session = session_with(refusal("superseded"), patience_s=60.0)
    with pytest.raises(Superseded):
        session.complete("task_1", "conn_1", 1, "done")
    assert 1 == len(asked(session))


def test_a_claim_may_find_nothing_and_waits_no_longer_than_it_says() -> None:
    session = session_with(nothing())
    assert session.claim("demo", "builder", "conn_1", wait_s=10.0) is None
    assert 10.0 + DEFAULTS.request_timeout_s == asked(session)[0][4]


def test_who_beats_faster_waits_shorter() -> None:
    transport = ScriptedTransport(answer(beaten()))
    quick = Session("http://there", None, DEFAULTS, transport, interval_s=2.0)
    assert isinstance(quick.beat("demo", "builder", "conn_1"), HeartbeatReply)
    _, _, _, headers, timeout_s = transport.asked[0]
    assert 0.5 == timeout_s
    assert "Authorization" not in headers


CALLS: list[tuple[Callable[[Session], Any], str, str]] = [
    (lambda s: s.rooms(after="r1", limit=5), "GET", "/api/v1/rooms?after=r1&limit=5"),
    (lambda s: s.messages("demo"), "GET", "/api/v1/rooms/demo/messages"),
    (lambda s: s.tasks("demo", status="pending"), "GET", "/api/v1/rooms/demo/tasks?status=pending"),
    (lambda s: s.room_events("demo", after=3), "GET", "/api/v1/rooms/demo/events?after=3"),
    (lambda s: s.machine_events("m1"), "GET", "/api/v1/machines/m1/events?after=0"),
    (lambda s: s.all_events(limit=1), "GET", "/api/v1/events?after=0&limit=1"),
    (lambda s: s.machines(), "GET", "/api/v1/machines"),
]


@pytest.mark.parametrize(("call", "method", "path"), CALLS)
def test_lists_are_asked_for_in_pages(call: Callable[[Session], Any], method: str, path: str) -> None:
    session = session_with(answer([]))
    assert [] == call(session)
    assert (method, path) == asked(session)[0][:2]


def test_wishes_are_waited_for_only_after_a_version() -> None:
    session = session_with(*(answer({"version": 4, "wishes": []}) for _ in range(2)))
    session.wishes("m1", wait_s=20.0)
    session.wishes("m1", after=3, wait_s=20.0)
    paths = [path for _, path, _, _, _ in asked(session)]
    assert ["/api/v1/machines/m1/wishes", "/api/v1/machines/m1/wishes?after=3&wait_s=20.0"] == paths


def test_a_late_loop_is_an_answer() -> None:
    assert ("sweep",) == session_with(answer({"status": "late", "late": ["sweep"]}, 503)).healthz().late


def event(pos: int) -> Event:
    return Event(
        pos=pos, stream="room:r", seq=pos, type="message.sent", at="2026-11-20T23:46:34.120Z", cause="c", data={}
    )


def frame(pos: int) -> bytes:
    return b"id: %d\nevent: message.sent\ndata: %s\n\n" % (pos, msgspec.json.encode(event(pos)))


def test_a_stream_goes_on_after_the_last_event_over_every_interruption() -> None:
    first = Response(200, {}, b": still here\n\n" + frame(1) + frame(2) + b"id: 3\ndata: {broken off")
    second = Response(200, {}, frame(3))
    reset = Response(200, {}, b'event: reset\nid: 9\ndata: {"cursor":9}\n\n' + frame(10))
    session = session_with(first, silence(), refusal("overloaded"), second, reset)
    events = session.stream_events("demo", after=0)
    found = [next(events) for _ in range(5)]
    assert [event(1), event(2), event(3), Reset(), event(10)] == found
    assert ["0", "2", "2", "2", "3"] == [headers["Last-Event-ID"] for _, _, _, headers, _ in asked(session)]


def test_a_stream_that_never_began_is_told_at_once_and_a_refusal_always() -> None:
    with pytest.raises(Unavailable):
        next(session_with(silence()).stream_events("demo"))
    lost_room = session_with(Response(200, {}, frame(1)), refusal("not_found")).stream_events("demo")
    assert event(1) == next(lost_room)
    with pytest.raises(NotFound):
        next(lost_room)
