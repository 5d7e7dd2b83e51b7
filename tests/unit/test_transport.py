import contextlib
import socket
import threading

import pytest

from greenroom.client.transport import HttpTransport, Response
from greenroom.domain.errors import ConfigurationError, Unavailable
from tests.unit.tiny_server import listening, serving
from tests.waiting import PATIENCE_S

OK = Response(200, {"X-Thing": "one"}, b"well")


def get(transport: HttpTransport, timeout_s: float = PATIENCE_S) -> Response:
    return transport.request("GET", "/thing", None, {}, timeout_s)


def test_a_connection_is_kept_for_the_next_request() -> None:
    with serving({"GET thing": lambda server, body: OK}) as server:
        transport = HttpTransport(server.url)
        assert [b"well"] * 3 == [get(transport).body for _ in range(3)]
        assert "one" == get(transport).headers["x-thing"]
        assert 1 == server.connections
        transport.close()


def test_a_connection_that_the_server_closed_meanwhile_is_opened_anew() -> None:
    with serving({"GET thing": lambda server, body: Response(200, {"Connection": "close"}, b"bye")}) as server:
        transport = HttpTransport(server.url)
        assert [b"bye"] * 2 == [get(transport).body for _ in range(2)]
        assert 2 == server.connections
        transport.close()


def test_an_idle_connection_that_died_is_not_used_again() -> None:
    ends: list[socket.socket] = []

    def answer_and_hang_up(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        ends.append(connection)

    with listening(answer_and_hang_up) as url:
        transport = HttpTransport(url)
        assert [b"hi"] * 3 == [get(transport).body for _ in range(3)]
        assert 3 == len(ends)
        transport.close()


def test_nobody_there_is_unreachable_and_says_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}.*refused") as caught:
        get(HttpTransport(f"http://127.0.0.1:{port}"))
    assert "unreachable" == caught.value.code


def test_a_server_that_says_nothing_is_given_up_in_time_and_asked_on_a_new_connection() -> None:
    hold = threading.Event()
    seen: list[int] = []

    def dumb_at_first(connection: socket.socket) -> None:
        seen.append(1)
        connection.recv(1000)
        if len(seen) > 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        else:
            connection.recv(1000)  # until the client hangs up

    with listening(dumb_at_first) as url:
        transport = HttpTransport(url)
        with pytest.raises(Unavailable, match="did not answer within"):
            get(transport, timeout_s=0.1)
        assert b"hi" == get(transport).body
        transport.close()
    hold.set()


def test_a_server_that_drips_is_given_up_in_time_too() -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")  # years, at this rate
        with contextlib.suppress(OSError):
            connection.settimeout(0.02)
            while True:
                connection.sendall(b".")
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1):
                        return

    with listening(drip) as url, pytest.raises(Unavailable, match="did not answer within"):
        get(HttpTransport(url), timeout_s=0.3)


@pytest.mark.parametrize(
    "reply", [b"", b"\x00\xff\n\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"HTTP/1.1 abc\r\n\r\n"]
)
def test_a_broken_answer_is_no_answer(reply: bytes) -> None:
    def break_off(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(reply)

    with listening(break_off) as url, pytest.raises(Unavailable) as caught:
        get(HttpTransport(url))
    assert "unreachable" == caught.value.code


def test_a_request_in_flight_is_dropped_from_another_thread() -> None:
    arrived = threading.Event()

    def wait_long(connection: socket.socket) -> None:
        connection.recv(1000)
        arrived.set()
        connection.recv(1000)

    with listening(wait_long) as url:
        transport = HttpTransport(url)

        def drop() -> None:
            arrived.wait(PATIENCE_S)
            transport.drop()

        dropper = threading.Thread(target=drop)
        dropper.start()
        with pytest.raises(Unavailable):
            get(transport, timeout_s=10 * PATIENCE_S)
        dropper.join(PATIENCE_S)


def test_a_dropped_idle_connection_does_not_harm_the_next_request() -> None:
    with serving({"GET thing": lambda server, body: OK}) as server:
        transport = HttpTransport(server.url)
        get(transport)
        transport.drop()
        assert b"well" == get(transport).body
        assert 2 == server.connections
        transport.close()


def test_a_signal_in_the_middle_leaves_no_answer_for_the_next_request() -> None:
    class Cut(BaseException):
        pass

    with serving({"GET thing": lambda server, body: OK}) as server:
        transport = HttpTransport(server.url)
        get(transport)
        connection = transport._connection
        assert connection is not None

        def cut() -> None:
            raise Cut

        connection.getresponse = cut  # type: ignore[method-assign, assignment]
        with pytest.raises(Cut):
            get(transport)
        assert b"well" == get(transport).body
        assert 2 == server.connections
        transport.close()


def test_a_stream_gives_lines_as_they_come_and_ends_when_it_is_dropped() -> None:
    def stream(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 1\r\ndata: a\n\n")
        connection.recv(1000)

    with listening(stream) as url:
        transport = HttpTransport(url)
        head, lines = transport.stream("/events", {}, PATIENCE_S)
        assert 200 == head.status
        assert [b"id: 1", b"data: a", b""] == [next(lines) for _ in range(3)]
        transport.drop()
        with pytest.raises(Unavailable):
            next(lines)


def test_a_stream_that_falls_silent_is_given_up() -> None:
    def fall_silent(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n: hello\n")
        connection.recv(1000)

    with listening(fall_silent) as url:
        _, lines = HttpTransport(url).stream("/events", {}, 5.0)
        assert b": hello" == next(lines)
        with pytest.raises(Unavailable, match="did not answer within"):
            next(lines)


@pytest.mark.parametrize("url", ["", "127.0.0.1:6464", "ftp://there", "http://", "http://there:port", "http://[::1"])
def test_what_is_no_address_is_told_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ConfigurationError, match="address of a server"):
        HttpTransport(url)


def test_a_connection_that_dies_in_the_moment_of_its_next_use_costs_nothing() -> None:
    seen: list[int] = []

    def answer_once_and_hang_up_on_the_second(connection: socket.socket) -> None:
        connection.recv(1000)
        seen.append(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        connection.recv(1000)

    with listening(answer_once_and_hang_up_on_the_second) as url:
        transport = HttpTransport(url)
        assert [b"hi"] * 3 == [get(transport).body for _ in range(3)]
        assert 3 == len(seen)
        transport.close()


def test_a_new_connection_that_dies_is_not_tried_again() -> None:
    seen: list[int] = []

    def hang_up(connection: socket.socket) -> None:
        seen.append(1)
        connection.recv(1000)

    with listening(hang_up) as url, pytest.raises(Unavailable):
        get(HttpTransport(url))
    assert [1] == seen
