"""Compares the state that the API shows with what the clients were answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from tests.acceptance.api import Api
from tests.acceptance.crash.ledger import Ledger
from tests.acceptance.crash.line import Line

PAGE = 1000
SETTLED = ("completed_at", "accepted_attempt", "result", "handed_to", "next_task", "promoted")
OF_ITS_OPENING = ("id", "room", "request", "target_role", "text", "created_at", "handoffs", "origin")
Shown = dict[str, dict[str, Any]]


class Auditor:
    """Reads the event log again and again; what it has read once must never change."""

    def __init__(self, api: Api, room: str, ledger: Ledger) -> None:
        self._api, self._room, self._ledger = api, room, ledger
        self.events: list[dict[str, Any]] = []
        self._seqs: Counter[str] = Counter()
        self._messages: set[str] = set()
        self._looked_at = 0

    def look(self) -> None:
        """The quick check: the log has no gap, and has every message that was answered so far."""
        answered = [asked for asked in self._ledger.answered() if asked.path.endswith("/messages")]
        while page := self._api.get(f"events?limit={PAGE}&after={self.events[-1]['pos'] if self.events else 0}"):
            for event in page:
                self._take(event)
        for asked in answered[self._looked_at :]:
            assert asked.done["message"]["id"] in self._messages, f"lost: {asked}"
        self._looked_at = len(answered)

    def _take(self, event: dict[str, Any]) -> None:
        assert not self.events or event["pos"] > self.events[-1]["pos"], (self.events[-1], event)
        self._seqs[event["stream"]] += 1
        assert self._seqs[event["stream"]] == event["seq"], f"stream {event['stream']} has a gap at {event}"
        self.events.append(event)
        if event["type"] == "message.sent":
            self._messages.add(event["data"]["message"])

    def repeat_all(self, line: Line) -> int:
        """Send every request with a key that was answered once more; the ledger records any differing answer."""
        keyed = [asked for asked in self._ledger.answered() if asked.key is not None]
        for asked in keyed:
            assert self._ledger.send(line, asked) is not None, f"not answered: {asked}"
        return len(keyed)

    def audit(self) -> None:
        """The full check, when all clients have stopped."""
        self.look()
        seen = self._api.events()
        assert self.events == seen, "the log has changed"
        nothing(self._ledger.complaints, "a client has a complaint")
        tasks = {task["id"]: task for task in self._pages("tasks")}
        messages = {message["id"]: message for message in self._pages("messages")}
        self._all_is_there(tasks, messages)
        self._nothing_is_there_twice(tasks, messages)
        self._log_tells_the_same(tasks, messages)

    def _pages(self, noun: str) -> Iterable[dict[str, Any]]:
        after = ""
        while page := self._api.get(f"rooms/{self._room}/{noun}?limit={PAGE}{after}"):
            yield from page
            after = f"&after={page[-1]['id']}"

    def _all_is_there(self, tasks: Shown, messages: Shown) -> None:
        """Each answer still agrees with the state."""
        for asked in self._ledger.answered():
            told = asked.done
            if asked.path.endswith("/messages"):
                assert messages[told["message"]["id"]] == told["message"], asked
                assert alike(tasks[told["task"]["id"]], told["task"], OF_ITS_OPENING), asked
                continue
            now = tasks[told["id"]]
            assert alike(now, told, OF_ITS_OPENING), asked
            if told["attempt"] == now["attempt"]:
                held = ("acknowledged_at", *(("started_at",) if told["started_at"] else ()))
                assert alike(now, told, held), asked
            if told["status"] == "completed":
                assert alike(now, told, (*SETTLED, "status", "attempt", "last_holder")), (asked, now)
                assert told["result"] == asked.text, asked

    def _nothing_is_there_twice(self, tasks: Shown, messages: Shown) -> None:
        """Each text that was answered is stored once; each that was not answered at most once, and no other."""
        progress = [event["data"]["text"] for event in self.events if event["type"] == "task.progressed"]
        texts = Counter([message["text"] for message in messages.values()] + progress)
        nothing(more_than_once(texts), "stored more than once")
        done = {asked.text for asked in self._ledger.asked if asked.is_done and asked.text}
        possible = {asked.text for asked in self._ledger.asked if asked.can_be_done and asked.text}
        nothing(done - set(texts), "answered, and not stored")
        nothing(set(texts) - possible, "refused or never sent, and yet stored")
        opened = Counter(message["task"] for message in messages.values() if message["task"])
        assert opened == Counter(tasks.keys()), "each task was opened by one message"
        assert all(messages_text == tasks[task]["text"] for task, messages_text in opening(messages.values()))

    def _log_tells_the_same(self, tasks: Shown, messages: Shown) -> None:
        """Each transition has one event, and the tasks agree with the log."""
        assert Counter(messages.keys()) == Counter(self._told("message.sent", "message"))
        assert Counter(tasks.keys()) == Counter(self._told("task.opened", "task"))
        for kind in ("task.claimed", "task.started"):
            times = Counter((event["data"]["task"], event["data"]["attempt"]) for event in self.of_type(kind))
            nothing(more_than_once(times), f"{kind} more than once")
        ended = Counter(self._told("task.completed", "task"))
        assert ended == Counter(task["id"] for task in tasks.values() if task["status"] == "completed")
        following = [task["next_task"] for task in tasks.values() if task["next_task"]]
        assert len(following) == len(set(following))
        assert set(following) <= set(tasks)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def _told(self, kind: str, name: str) -> list[str]:
        return [event["data"][name] for event in self.of_type(kind)]


def alike(now: dict[str, Any], told: dict[str, Any], names: Iterable[str]) -> bool:
    return all(now[name] == told[name] for name in names)


def more_than_once(counted: Counter[Any]) -> list[Any]:
    return [each for each, times in counted.items() if times > 1]


def nothing(found: Collection[object], what: str) -> None:
    """Assert that nothing was found, or show some of it."""
    assert not found, f"{what} ({len(found)}): {list(found)[:5]}"


def opening(messages: Iterable[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    """The tasks that messages opened, with the texts of these messages."""
    return ((message["task"], message["text"]) for message in messages if message["task"])
