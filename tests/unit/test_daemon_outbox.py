import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from greenroom.clock import SystemClock
from greenroom.daemon.outbox import Outbox, make_entry
from greenroom.daemon.outbox_sender import OutboxSender
from greenroom.domain.errors import GreenroomError, NotFound, Superseded, Unavailable, Unusable
from greenroom.domain.limits import Limits
from greenroom.testing import SeededEntropy
from greenroom.wire.requests import AgentReport
from tests.waiting import PATIENCE_S

LIMITS = Limits(retry_pause_s=0.001, reports_per_post_max=3, reports_waiting_max=5)


class ReportReceiver:
    """Accepts reports, after it has raised the errors it was given."""

    def __init__(self, *errors: GreenroomError) -> None:
        self.errors = list(errors)
        self.rejected_id: str | None = None
        self.posts: list[list[str]] = []
        self.is_rejected = threading.Event()
        self.failures = 0

    def post(self, reports: list[AgentReport]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if self.rejected_id in [report.id for report in reports]:
            raise Unusable("This report is invalid.", "Correct it.")
        self.posts.append([report.id for report in reports])

    def count_failure(self) -> None:
        self.failures += 1

    @property
    def received(self) -> list[str]:
        return [name for post in self.posts for name in post]


def make_report(name: str) -> AgentReport:
    return AgentReport(id=name, kind="exited", room="r", role="builder", connection_id="c1")


def make_outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox", LIMITS.reports_waiting_max)


def list_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "outbox").iterdir())


def list_ids(outbox: Outbox) -> list[str]:
    return [report.id for report in outbox.oldest(100)]


@contextmanager
def make_sender(receiver: ReportReceiver, outbox: Outbox) -> Iterator[OutboxSender]:
    sender = OutboxSender(
        outbox, receiver.post, LIMITS, SystemClock(), SeededEntropy(1), receiver.is_rejected.set, receiver.count_failure
    )
    yield sender
    assert sender.close(PATIENCE_S) == 0


def unreachable() -> Unavailable:
    return Unavailable("The server cannot be reached.", "Check that it runs.", "unreachable")


# The outbox.


def test_outbox_keeps_order_across_restart(tmp_path: Path) -> None:
    before = make_outbox(tmp_path)
    for name in "abc":
        before.add(make_report(name))
    before.remove_confirmed([make_report("a")])
    after = make_outbox(tmp_path)
    after.add(make_report("d"))
    assert list_ids(after) == ["b", "c", "d"]
    assert list_ids(make_outbox(tmp_path)) == ["b", "c", "d"]


def test_duplicate_report_is_not_added(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    first, again = outbox.add(make_report("a")), outbox.add(make_report("a"))
    assert list_ids(outbox) == ["a"]
    outbox.remove_confirmed([make_report("a")])
    assert (first.is_set(), again.is_set(), list_files(tmp_path)) == (True, True, [])


def test_unreadable_outbox_file_is_set_aside(tmp_path: Path) -> None:
    before = make_outbox(tmp_path)
    for name in "ab":
        before.add(make_report(name))
    (tmp_path / "outbox" / "000000000001.json").write_text("{")
    (tmp_path / "outbox" / "notes.json").write_text("{}")
    after = make_outbox(tmp_path)
    assert list_ids(after) == ["b"]
    assert list_files(tmp_path) == ["000000000001.unreadable", "000000000002.json", "notes.unreadable"]


def test_full_disk_keeps_reports_in_memory(tmp_path: Path) -> None:
    safe: list[str] = []
    (tmp_path / "outbox").write_text("no folder, so nothing can be written in it")
    outbox = make_outbox(tmp_path)
    outbox.add(make_report("a"), on_safe=lambda: safe.append("a"))
    outbox.add(make_report("b"), on_safe=lambda: safe.append("b"))
    assert (list_ids(outbox), safe) == (["a", "b"], [])
    (tmp_path / "outbox").unlink()
    outbox.add(make_report("c"), on_safe=lambda: safe.append("c"))
    assert safe == ["a", "b", "c"]
    assert list_ids(make_outbox(tmp_path)) == ["a", "b", "c"]


def test_unwritten_report_is_safe_once_sent(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("no folder")
    safe = threading.Event()
    receiver, outbox = ReportReceiver(), make_outbox(tmp_path)
    with make_sender(receiver, outbox) as sender:
        sent = outbox.add(make_report("a"), on_safe=safe.set)
        assert not safe.is_set()
        sender.start()
        assert sent.wait(PATIENCE_S)
        assert safe.is_set()


def test_full_outbox_drops_oldest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = make_outbox(tmp_path)
    sent = [outbox.add(make_report(name)) for name in "abcdefg"]
    assert [event.is_set() for event in sent] == [True, True, False, False, False, False, False]
    assert list_ids(make_outbox(tmp_path)) == list("cdefg")
    assert "dropped the oldest report" in caplog.text


# Reports that belong together.


def test_batch_stays_in_one_file_until_sent(tmp_path: Path) -> None:
    outbox, safe = make_outbox(tmp_path), threading.Event()
    sent = outbox.add(make_report("a"), make_report("b"), on_safe=safe.set)
    assert (list_ids(outbox), list_files(tmp_path), safe.is_set()) == (["a", "b"], ["000000000001.json"], True)
    outbox.remove_confirmed([make_report("a")])
    assert (list_ids(outbox), sent.is_set()) == (["b"], False)
    assert list_ids(make_outbox(tmp_path)) == ["a", "b"], (
        "both are sent again, and the server recognises the first by its id"
    )
    outbox.remove_confirmed([make_report("b")])
    assert (list_ids(outbox), sent.is_set(), list_files(tmp_path)) == ([], True, [])


def test_outbox_reads_single_report_files(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    for number, name in enumerate("ab", start=1):
        (tmp_path / "outbox" / f"{number:012}.json").write_bytes(msgspec.json.encode(make_report(name)))
    outbox = make_outbox(tmp_path)
    outbox.add(make_report("c"), make_report("d"))
    assert outbox.oldest(100) == [make_report("a"), make_report("b"), make_report("c"), make_report("d")]
    assert make_outbox(tmp_path).oldest(100) == outbox.oldest(100)


def test_report_in_two_files_is_sent_once(tmp_path: Path) -> None:
    """A file that could not be removed stays, and so does one from a copy of the folder."""
    (tmp_path / "outbox").mkdir()
    for number, entry in enumerate(
        (make_entry(make_report("a"), make_report("b")), make_entry(make_report("a"))), start=1
    ):
        (tmp_path / "outbox" / f"{number:012}.json").write_bytes(msgspec.json.encode(entry))
    outbox = make_outbox(tmp_path)
    assert list_ids(outbox) == ["a", "b"]
    outbox.remove_confirmed([make_report("a"), make_report("b")])
    assert (list_ids(outbox), list_files(tmp_path)) == ([], [])


def test_full_disk_keeps_batch_together(tmp_path: Path) -> None:
    safe = threading.Event()
    (tmp_path / "outbox").write_text("no folder")
    outbox = make_outbox(tmp_path)
    outbox.add(make_report("a"), make_report("b"), on_safe=safe.set)
    assert (list_ids(outbox), safe.is_set()) == (["a", "b"], False)
    (tmp_path / "outbox").unlink()
    outbox.write_unsaved()
    assert (list_ids(make_outbox(tmp_path)), safe.is_set()) == (["a", "b"], True)


def test_batch_skips_waiting_reports(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    outbox.add(make_report("a"))
    sent = outbox.add(make_report("a"), make_report("b"))
    assert list_ids(outbox) == list_ids(make_outbox(tmp_path)) == ["a", "b"]
    outbox.remove_confirmed([make_report("a"), make_report("b")])
    assert (sent.is_set(), list_files(tmp_path)) == (True, [])


def test_post_size_and_outbox_limit_with_batches(tmp_path: Path) -> None:
    receiver, outbox = ReportReceiver(), make_outbox(tmp_path)
    with make_sender(receiver, outbox) as sender:
        for pair in ("ab", "cd", "ef"):
            outbox.add(*(make_report(name) for name in pair))
        sender.start()
    assert receiver.posts == [["b", "c", "d"], ["e", "f"]]


def test_rejected_report_of_batch_is_dropped_alone(tmp_path: Path) -> None:
    receiver, outbox = ReportReceiver(), make_outbox(tmp_path)
    receiver.rejected_id = "b"
    with make_sender(receiver, outbox) as sender:
        sent = outbox.add(*(make_report(name) for name in "abc"))
        sender.start()
        assert sent.wait(PATIENCE_S)
    assert (receiver.posts, list_files(tmp_path)) == ([["a"], ["c"]], [])


# The sender.


def test_reports_are_sent_in_order_in_limited_posts(tmp_path: Path) -> None:
    receiver, outbox = ReportReceiver(), make_outbox(tmp_path)
    with make_sender(receiver, outbox) as sender:
        sent = [outbox.add(make_report(name)) for name in "abcde"]
        sender.start()
        assert all(event.wait(PATIENCE_S) for event in sent)
    assert receiver.posts == [["a", "b", "c"], ["d", "e"]]
    assert (receiver.failures, list_files(tmp_path)) == (0, [])


def test_earlier_reports_are_sent_first(tmp_path: Path) -> None:
    for name in "abcd":
        make_outbox(tmp_path).add(make_report(name))
    receiver = ReportReceiver()
    with make_sender(receiver, make_outbox(tmp_path)) as sender:
        sender.send_all(receiver.post)
        assert receiver.posts == [["a", "b", "c"], ["d"]]
        sender.start()
    assert receiver.received == list("abcd")


def test_failed_send_keeps_report(tmp_path: Path) -> None:
    outbox, receiver = make_outbox(tmp_path), ReportReceiver(unreachable())
    outbox.add(make_report("a"))
    with make_sender(receiver, outbox) as sender:
        with pytest.raises(Unavailable):
            sender.send_all(receiver.post)
        assert list_ids(make_outbox(tmp_path)) == ["a"]
        sender.start()
    assert receiver.posts == [["a"]]


def test_sender_retries_until_server_returns(tmp_path: Path) -> None:
    receiver, outbox = (ReportReceiver(unreachable(), unreachable(), unreachable()), make_outbox(tmp_path))
    with make_sender(receiver, outbox) as sender:
        sender.start()
        assert outbox.add(make_report("a")).wait(PATIENCE_S)
    assert receiver.posts == [["a"]]


@pytest.mark.parametrize(
    "error", [NotFound("There is no machine 'm1'.", "Register it."), Superseded("Another runs.", "Stop.")]
)
def test_unknown_or_superseded_daemon_keeps_reports(tmp_path: Path, error: GreenroomError) -> None:
    receiver, outbox = ReportReceiver(error), make_outbox(tmp_path)
    with make_sender(receiver, outbox) as sender:
        sender.start()
        assert outbox.add(make_report("a")).wait(PATIENCE_S)
    assert receiver.is_rejected.is_set()
    assert receiver.posts == [["a"]]


def test_rejected_report_does_not_block_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    receiver, outbox = ReportReceiver(), make_outbox(tmp_path)
    receiver.rejected_id = "b"
    with make_sender(receiver, outbox) as sender:
        sent = [outbox.add(make_report(name)) for name in "abc"]
        sender.start()
        assert all(event.wait(PATIENCE_S) for event in sent)
    assert receiver.posts == [["a"], ["c"]]
    assert "the server rejected it" in caplog.text


def test_close_returns_unsent_count(tmp_path: Path) -> None:
    outbox = make_outbox(tmp_path)
    sender = OutboxSender(
        outbox, ReportReceiver().post, LIMITS, SystemClock(), SeededEntropy(1), lambda: None, lambda: None
    )
    outbox.add(make_report("a"))
    assert sender.close(0) == 1  # it was never started
    assert list_ids(make_outbox(tmp_path)) == ["a"]
