import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from greenroom.daemon.facts import FactTeller
from greenroom.daemon.letter import letter_of
from greenroom.daemon.outbox import Outbox
from greenroom.domain.errors import GreenroomError, NotFound, Superseded, Unavailable, Unusable
from greenroom.domain.reliability import Reliability
from greenroom.entropy import SeededEntropy
from greenroom.wire.requests import Fact
from tests.waiting import PATIENCE_S

LIMITS = Reliability(retry_pause_s=0.001, facts_per_post_max=3, facts_waiting_max=5)


class Server:
    """Accepts reports, after it has raised the errors it was given."""

    def __init__(self, *refusals: GreenroomError) -> None:
        self.refusals = list(refusals)
        self.poison: str | None = None
        self.posts: list[list[str]] = []
        self.forgotten = threading.Event()
        self.deaths = 0

    def post(self, facts: list[Fact]) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        if self.poison in [fact.id for fact in facts]:
            raise Unusable("This report is invalid.", "Correct it.")
        self.posts.append([fact.id for fact in facts])

    def die(self) -> None:
        self.deaths += 1

    @property
    def told(self) -> list[str]:
        return [name for post in self.posts for name in post]


def fact(name: str) -> Fact:
    return Fact(id=name, kind="exited", room="r", role="builder", connection_id="c1")


def box(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox", LIMITS.facts_waiting_max)


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "outbox").iterdir())


def ids(outbox: Outbox) -> list[str]:
    return [each.id for each in outbox.first(100)]


@contextmanager
def teller_to(server: Server, outbox: Outbox) -> Iterator[FactTeller]:
    teller = FactTeller(outbox, server.post, LIMITS, SeededEntropy(1), server.forgotten.set, server.die)
    yield teller
    assert teller.close(PATIENCE_S) == 0


def gone() -> Unavailable:
    return Unavailable("The server cannot be reached.", "Check that it runs.", "unreachable")


# The outbox.


def test_what_a_daemon_could_not_tell_waits_on_disk_in_its_order(tmp_path: Path) -> None:
    before = box(tmp_path)
    for name in "abc":
        before.put(fact(name))
    before.settle([fact("a")])
    after = box(tmp_path)
    after.put(fact("d"))
    assert ids(after) == ["b", "c", "d"]
    assert ids(box(tmp_path)) == ["b", "c", "d"]


def test_a_fact_that_waits_already_is_not_put_again(tmp_path: Path) -> None:
    outbox = box(tmp_path)
    first, again = outbox.put(fact("a")), outbox.put(fact("a"))
    assert ids(outbox) == ["a"]
    outbox.settle([fact("a")])
    assert (first.is_set(), again.is_set(), files(tmp_path)) == (True, True, [])


def test_a_file_that_tells_of_no_fact_is_put_aside(tmp_path: Path) -> None:
    before = box(tmp_path)
    for name in "ab":
        before.put(fact(name))
    (tmp_path / "outbox" / "000000000001.json").write_text("{")
    (tmp_path / "outbox" / "notes.json").write_text("{}")
    after = box(tmp_path)
    assert ids(after) == ["b"]
    assert files(tmp_path) == ["000000000001.unreadable", "000000000002.json", "notes.unreadable"]


def test_a_full_disk_keeps_facts_in_memory_and_writes_them_when_there_is_room(tmp_path: Path) -> None:
    safe: list[str] = []
    (tmp_path / "outbox").write_text("no folder, so nothing can be written in it")
    outbox = box(tmp_path)
    outbox.put(fact("a"), when_safe=lambda: safe.append("a"))
    outbox.put(fact("b"), when_safe=lambda: safe.append("b"))
    assert (ids(outbox), safe) == (["a", "b"], [])
    (tmp_path / "outbox").unlink()
    outbox.put(fact("c"), when_safe=lambda: safe.append("c"))
    assert safe == ["a", "b", "c"]
    assert ids(box(tmp_path)) == ["a", "b", "c"]


def test_a_fact_that_was_never_written_is_safe_when_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("no folder")
    safe = threading.Event()
    server, outbox = Server(), box(tmp_path)
    with teller_to(server, outbox) as teller:
        told = outbox.put(fact("a"), when_safe=safe.set)
        assert not safe.is_set()
        teller.start()
        assert told.wait(PATIENCE_S)
        assert safe.is_set()


def test_what_waits_is_bounded_and_the_oldest_is_let_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = box(tmp_path)
    told = [outbox.put(fact(name)) for name in "abcdefg"]
    assert [event.is_set() for event in told] == [True, True, False, False, False, False, False]
    assert ids(box(tmp_path)) == list("cdefg")
    assert "dropped the oldest report" in caplog.text


# Reports that belong together.


def test_facts_that_belong_together_are_in_one_file_until_the_last_of_them_is_told(tmp_path: Path) -> None:
    outbox, safe = box(tmp_path), threading.Event()
    told = outbox.put(fact("a"), fact("b"), when_safe=safe.set)
    assert (ids(outbox), files(tmp_path), safe.is_set()) == (["a", "b"], ["000000000001.json"], True)
    outbox.settle([fact("a")])
    assert (ids(outbox), told.is_set()) == (["b"], False)
    assert ids(box(tmp_path)) == ["a", "b"], "both are sent again, and the server recognises the first by its id"
    outbox.settle([fact("b")])
    assert (ids(outbox), told.is_set(), files(tmp_path)) == ([], True, [])


def test_what_a_former_daemon_wrote_with_one_fact_in_each_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    for number, name in enumerate("ab", start=1):
        (tmp_path / "outbox" / f"{number:012}.json").write_bytes(msgspec.json.encode(fact(name)))
    outbox = box(tmp_path)
    outbox.put(fact("c"), fact("d"))
    assert outbox.first(100) == [fact("a"), fact("b"), fact("c"), fact("d")]
    assert box(tmp_path).first(100) == outbox.first(100)


def test_what_lies_in_two_files_is_told_once_and_leaves_neither(tmp_path: Path) -> None:
    """A file that could not be removed stays, and so does one from a copy of the folder."""
    (tmp_path / "outbox").mkdir()
    for number, letter in enumerate((letter_of(fact("a"), fact("b")), letter_of(fact("a"))), start=1):
        (tmp_path / "outbox" / f"{number:012}.json").write_bytes(msgspec.json.encode(letter))
    outbox = box(tmp_path)
    assert ids(outbox) == ["a", "b"]
    outbox.settle([fact("a"), fact("b")])
    assert (ids(outbox), files(tmp_path)) == ([], [])


def test_a_full_disk_takes_all_of_them_later_or_none(tmp_path: Path) -> None:
    safe = threading.Event()
    (tmp_path / "outbox").write_text("no folder")
    outbox = box(tmp_path)
    outbox.put(fact("a"), fact("b"), when_safe=safe.set)
    assert (ids(outbox), safe.is_set()) == (["a", "b"], False)
    (tmp_path / "outbox").unlink()
    outbox.write_down()
    assert (ids(box(tmp_path)), safe.is_set()) == (["a", "b"], True)


def test_of_those_only_what_does_not_wait_yet_is_put(tmp_path: Path) -> None:
    outbox = box(tmp_path)
    outbox.put(fact("a"))
    told = outbox.put(fact("a"), fact("b"))
    assert ids(outbox) == ids(box(tmp_path)) == ["a", "b"]
    outbox.settle([fact("a"), fact("b")])
    assert (told.is_set(), files(tmp_path)) == (True, [])


def test_a_post_is_full_and_an_outbox_has_its_bound_whatever_belongs_together(tmp_path: Path) -> None:
    server, outbox = Server(), box(tmp_path)
    with teller_to(server, outbox) as teller:
        for pair in ("ab", "cd", "ef"):
            outbox.put(*(fact(name) for name in pair))
        teller.start()
    assert server.posts == [["b", "c", "d"], ["e", "f"]]


def test_of_those_one_that_is_refused_for_good_is_let_go_alone(tmp_path: Path) -> None:
    server, outbox = Server(), box(tmp_path)
    server.poison = "b"
    with teller_to(server, outbox) as teller:
        told = outbox.put(*(fact(name) for name in "abc"))
        teller.start()
        assert told.wait(PATIENCE_S)
    assert (server.posts, files(tmp_path)) == ([["a"], ["c"]], [])


# The sender.


def test_facts_arrive_in_order_in_bounded_posts(tmp_path: Path) -> None:
    server, outbox = Server(), box(tmp_path)
    with teller_to(server, outbox) as teller:
        told = [outbox.put(fact(name)) for name in "abcde"]
        teller.start()
        assert all(event.wait(PATIENCE_S) for event in told)
    assert server.posts == [["a", "b", "c"], ["d", "e"]]
    assert (server.deaths, files(tmp_path)) == (0, [])


def test_what_an_earlier_daemon_could_not_tell_is_told_at_once(tmp_path: Path) -> None:
    for name in "abcd":
        box(tmp_path).put(fact(name))
    server = Server()
    with teller_to(server, box(tmp_path)) as teller:
        teller.deliver_all(server.post)
        assert server.posts == [["a", "b", "c"], ["d"]]
        teller.start()
    assert server.told == list("abcd")


def test_what_cannot_be_told_now_stays(tmp_path: Path) -> None:
    outbox, server = box(tmp_path), Server(gone())
    outbox.put(fact("a"))
    with teller_to(server, outbox) as teller:
        with pytest.raises(Unavailable):
            teller.deliver_all(server.post)
        assert ids(box(tmp_path)) == ["a"]
        teller.start()
    assert server.posts == [["a"]]


def test_an_absent_server_is_tried_until_it_is_back(tmp_path: Path) -> None:
    server, outbox = Server(gone(), gone(), gone()), box(tmp_path)
    with teller_to(server, outbox) as teller:
        teller.start()
        assert outbox.put(fact("a")).wait(PATIENCE_S)
    assert server.posts == [["a"]]


@pytest.mark.parametrize(
    "refusal", [NotFound("There is no machine 'm1'.", "Register it."), Superseded("Another runs.", "Stop.")]
)
def test_who_is_not_known_or_no_longer_the_newest_loses_no_fact(tmp_path: Path, refusal: GreenroomError) -> None:
    server, outbox = Server(refusal), box(tmp_path)
    with teller_to(server, outbox) as teller:
        teller.start()
        assert outbox.put(fact("a")).wait(PATIENCE_S)
    assert server.forgotten.is_set()
    assert server.posts == [["a"]]


def test_a_fact_that_is_refused_for_good_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server, outbox = Server(), box(tmp_path)
    server.poison = "b"
    with teller_to(server, outbox) as teller:
        told = [outbox.put(fact(name)) for name in "abc"]
        teller.start()
        assert all(event.wait(PATIENCE_S) for event in told)
    assert server.posts == [["a"], ["c"]]
    assert "the server rejected it" in caplog.text


def test_a_close_says_how_much_could_not_be_told(tmp_path: Path) -> None:
    outbox = box(tmp_path)
    teller = FactTeller(outbox, Server().post, LIMITS, SeededEntropy(1), lambda: None, lambda: None)
    outbox.put(fact("a"))
    assert teller.close(0) == 1  # it was never started
    assert ids(box(tmp_path)) == ["a"]
