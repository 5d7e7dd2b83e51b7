import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenroom.daemon.facts import Outbox
from greenroom.domain.errors import GreenroomError, NotFound, Unavailable, Unusable
from greenroom.domain.reliability import Reliability
from greenroom.entropy import SeededEntropy
from greenroom.wire.requests import Fact

LIMITS = Reliability(retry_pause_s=0.001, facts_per_post_max=3, facts_waiting_max=5)


class Server:
    """Takes facts, or answers with what it was told to answer first."""

    def __init__(self, *refusals: GreenroomError) -> None:
        self.refusals = list(refusals)
        self.poison: str | None = None
        self.posts: list[list[str]] = []
        self.forgotten = 0
        self.deaths = 0

    def post(self, facts: list[Fact]) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        if self.poison in [fact.id for fact in facts]:
            raise Unusable("This fact makes no sense.", "Correct it.")
        self.posts.append([fact.id for fact in facts])

    def forget(self) -> None:
        self.forgotten += 1

    def die(self) -> None:
        self.deaths += 1


def fact(name: str) -> Fact:
    return Fact(id=name, kind="exited", room="r", role="builder", connection_id="c1")


@contextmanager
def outbox_to(server: Server) -> Iterator[Outbox]:
    outbox = Outbox(server.post, LIMITS, SeededEntropy(1), server.forget, server.die)
    yield outbox
    assert outbox.close(20) == 0


def gone() -> Unavailable:
    return Unavailable("The server cannot be reached.", "Check that it runs.", "unreachable")


def test_facts_arrive_in_order_in_bounded_posts() -> None:
    server = Server()
    with outbox_to(server) as outbox:
        told = [outbox.put(fact(name)) for name in "abcde"]
        outbox.start()
        assert all(event.wait(20) for event in told)
    assert server.posts == [["a", "b", "c"], ["d", "e"]]
    assert server.deaths == 0


def test_an_absent_server_is_tried_until_it_is_back() -> None:
    server = Server(gone(), gone(), gone())
    with outbox_to(server) as outbox:
        outbox.start()
        assert outbox.put(fact("a")).wait(20)
    assert server.posts == [["a"]]


def test_a_server_that_forgot_the_machine_is_told_of_it_first() -> None:
    server = Server(NotFound("There is no machine 'm1'.", "Register it."))
    with outbox_to(server) as outbox:
        outbox.start()
        assert outbox.put(fact("a")).wait(20)
    assert server.forgotten == 1
    assert server.posts == [["a"]]


def test_a_fact_that_is_refused_for_good_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    server.poison = "b"
    with outbox_to(server) as outbox:
        told = [outbox.put(fact(name)) for name in "abc"]
        outbox.start()
        assert all(event.wait(20) for event in told)
    assert server.posts == [["a"], ["c"]]
    assert "refuses a fact for good" in caplog.text


def test_what_waits_is_bounded_and_the_oldest_is_let_go(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    with outbox_to(server) as outbox:
        told = [outbox.put(fact(name)) for name in "abcdefg"]
        assert [event.is_set() for event in told] == [True, True, False, False, False, False, False]
        outbox.start()
    assert [name for post in server.posts for name in post] == list("cdefg")
    assert "the oldest is let go" in caplog.text


def test_then_is_called_before_the_event_is_set() -> None:
    called = threading.Event()
    server = Server()
    with outbox_to(server) as outbox:
        outbox.start()
        assert outbox.put(fact("a"), called.set).wait(20)
        assert called.is_set()


def test_a_close_says_how_much_could_not_be_told() -> None:
    outbox = Outbox(Server().post, LIMITS, SeededEntropy(1), lambda: None, lambda: None)
    outbox.put(fact("a"))
    assert outbox.close(0) == 1  # nobody has started it
