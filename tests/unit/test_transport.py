import contextlib
import socket
import threading

import pytest

from greenroom.client.http_transport import HttpTransport, Response
from greenroom.domain.errors import ConfigurationError, Unavailable
from tests.unit.tiny_server import accept_connections, run_tiny_server
from tests.waiting import PATIENCE_S

OK = Response(200, {"X-Thing": "one"}, b"well")


def get(transport: HttpTransport, timeout_s: float = PATIENCE_S) -> Response:
    return transport.request("GET", "/thing", None, {}, timeout_s)


def test_connection_is_reused() -> None:
    with run_tiny_server({"GET thing": lambda server, body: OK}) as server:
        transport = HttpTransport(server.url)
        assert [b"well"] * 3 == [get(transport).body for _ in range(3)]
        assert "one" == get(transport).headers["x-thing"]
        assert 1 == server.connections
        transport.close()


def test_closed_connection_is_reopened() -> None:
    with run_tiny_server({"GET thing": lambda server, body: Response(200, {"Connection": "close"}, b"bye")}) as server:
        transport = HttpTransport(server.url)
        assert [b"bye"] * 2 == [get(transport).body for _ in range(2)]
        assert 2 == server.connections
        transport.close()


def test_dead_idle_connection_is_replaced() -> None:
    connections: list[socket.socket] = []

    def answer_and_hang_up(connection: socket.socket) -> None:
        connection.recv(1000)
        connections.append(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with accept_connections(answer_and_hang_up) as url:
        transport = HttpTransport(url)
        assert [b"hi"] * 3 == [get(transport).body for _ in range(3)]
        assert 3 == len(connections)
        transport.close()


def test_unreachable_server_names_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}.*refused") as caught:
        get(HttpTransport(f"http://127.0.0.1:{port}"))
    assert "unreachable" == caught.value.code


def test_silent_server_times_out() -> None:
    hold = threading.Event()
    calls: list[int] = []

    def silent_at_first(connection: socket.socket) -> None:
        calls.append(1)
        connection.recv(1000)
        if len(calls) > 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        else:
            connection.recv(1000)  # until the client hangs up

    with accept_connections(silent_at_first) as url:
        transport = HttpTransport(url)
        with pytest.raises(Unavailable, match="did not answer within"):
            get(transport, timeout_s=0.1)
        assert b"hi" == get(transport).body
        transport.close()
    hold.set()


def test_slow_server_times_out() -> None:
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

    with accept_connections(drip) as url, pytest.raises(Unavailable, match="did not answer within"):
        get(HttpTransport(url), timeout_s=0.3)


@pytest.mark.parametrize(
    "reply", [b"", b"\x00\xff\n\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"HTTP/1.1 abc\r\n\r\n"]
)
def test_invalid_response_is_unreachable(reply: bytes) -> None:
    def break_off(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(reply)

    with accept_connections(break_off) as url, pytest.raises(Unavailable) as caught:
        get(HttpTransport(url))
    assert "unreachable" == caught.value.code


def test_drop_from_other_thread() -> None:
    arrived = threading.Event()

    def wait_long(connection: socket.socket) -> None:
        connection.recv(1000)
        arrived.set()
        connection.recv(1000)

    with accept_connections(wait_long) as url:
        transport = HttpTransport(url)

        def drop() -> None:
            arrived.wait(PATIENCE_S)
            transport.drop()

        dropper = threading.Thread(target=drop)
        dropper.start()
        with pytest.raises(Unavailable):
            get(transport, timeout_s=10 * PATIENCE_S)
        dropper.join(PATIENCE_S)


def test_drop_of_idle_connection_is_harmless() -> None:
    with run_tiny_server({"GET thing": lambda server, body: OK}) as server:
        transport = HttpTransport(server.url)
        get(transport)
        transport.drop()
        assert b"well" == get(transport).body
        assert 2 == server.connections
        transport.close()


def test_interrupted_response_is_discarded() -> None:
    class InterruptedRead(BaseException):
        pass

    with run_tiny_server({"GET thing": lambda server, body: OK}) as server:
        transport = HttpTransport(server.url)
        get(transport)
        connection = transport._connection
        assert connection is not None

        def interrupt() -> None:
            raise InterruptedRead

        connection.getresponse = interrupt  # type: ignore[method-assign, assignment]
        with pytest.raises(InterruptedRead):
            get(transport)
        assert b"well" == get(transport).body
        assert 2 == server.connections
        transport.close()


def test_stream_yields_lines_until_drop() -> None:
    def stream(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 1\r\ndata: a\n\n")
        connection.recv(1000)

    with accept_connections(stream) as url:
        transport = HttpTransport(url)
        head, lines = transport.stream("/events", {}, PATIENCE_S)
        assert 200 == head.status
        assert [b"id: 1", b"data: a", b""] == [next(lines) for _ in range(3)]
        transport.drop()
        with pytest.raises(Unavailable):
            next(lines)


def test_silent_stream_times_out() -> None:
    def fall_silent(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n: hello\n")
        connection.recv(1000)

    with accept_connections(fall_silent) as url:
        _, lines = HttpTransport(url).stream("/events", {}, 5.0)
        assert b": hello" == next(lines)
        with pytest.raises(Unavailable, match="did not answer within"):
            next(lines)


@pytest.mark.parametrize("url", ["", "127.0.0.1:6464", "ftp://there", "http://", "http://there:port", "http://[::1"])
def test_invalid_address_is_rejected(url: str) -> None:
    with pytest.raises(ConfigurationError, match="address of a server"):
        HttpTransport(url)


def test_connection_lost_on_reuse_is_retried() -> None:
    calls: list[int] = []

    def answer_once(connection: socket.socket) -> None:
        connection.recv(1000)
        calls.append(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        connection.recv(1000)

    with accept_connections(answer_once) as url:
        transport = HttpTransport(url)
        assert [b"hi"] * 3 == [get(transport).body for _ in range(3)]
        assert 3 == len(calls)
        transport.close()


def test_lost_new_connection_is_not_retried() -> None:
    calls: list[int] = []

    def hang_up(connection: socket.socket) -> None:
        calls.append(1)
        connection.recv(1000)

    with accept_connections(hang_up) as url, pytest.raises(Unavailable):
        get(HttpTransport(url))
    assert [1] == calls
