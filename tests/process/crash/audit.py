"""Compares the state that the API shows with what the clients were answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from tests.process.api import Api, after_last
from tests.process.crash.api_connection import ApiConnection
from tests.process.crash.request_log import RequestLog

PAGE = 1000
RESULT_FIELDS = ("completed_at", "accepted_attempt", "result", "handed_to", "next_task", "promoted")
OPENING_FIELDS = ("id", "room", "request", "target_role", "text", "created_at", "handoffs", "origin")
Objects = dict[str, dict[str, Any]]


class Auditor:
    """Reads the event log again and again; what it has read once must never change."""

    def __init__(self, api: Api, room: str, request_log: RequestLog) -> None:
        self._api, self._room, self._request_log = api, room, request_log
        self.events: list[dict[str, Any]] = []
        self._seqs: Counter[str] = Counter()
        self._messages: set[str] = set()
        self._checked = 0

    def check_log(self) -> None:
        """The quick check: the log has no gap, and has every message that was answered so far."""
        answered = [request for request in self._request_log.answered() if request.path.endswith("/messages")]
        while page := self._api.get(f"events?limit={PAGE}{after_last(self.events)}"):
            for event in page:
                self._append(event)
        for request in answered[self._checked :]:
            assert request.answer["message"]["id"] in self._messages, f"lost: {request}"
        self._checked = len(answered)

    def _append(self, event: dict[str, Any]) -> None:
        assert not self.events or event["pos"] > self.events[-1]["pos"], (self.events[-1], event)
        self._seqs[event["stream"]] += 1
        assert self._seqs[event["stream"]] == event["seq"], f"stream {event['stream']} has a gap at {event}"
        self.events.append(event)
        if event["type"] == "message.sent":
            self._messages.add(event["data"]["message"])

    def repeat_all(self, connection: ApiConnection) -> int:
        """Send every request with a key that was answered once more; the request log records any differing answer."""
        keyed = [request for request in self._request_log.answered() if request.key is not None]
        for request in keyed:
            assert self._request_log.send(connection, request) is not None, f"not answered: {request}"
        return len(keyed)

    def audit(self) -> None:
        """The full check, when all clients have stopped."""
        self.check_log()
        seen = self._api.events()
        assert self.events == seen, "the log has changed"
        check_empty(self._request_log.complaints, "a client has a complaint")
        tasks = {task["id"]: task for task in self._pages("tasks")}
        messages = {message["id"]: message for message in self._pages("messages")}
        self._check_all_stored(tasks, messages)
        self._check_no_duplicates(tasks, messages)
        self._check_log_agrees(tasks, messages)

    def _pages(self, noun: str) -> Iterable[dict[str, Any]]:
        after = ""
        while page := self._api.get(f"rooms/{self._room}/{noun}?limit={PAGE}{after}"):
            yield from page
            after = f"&after={page[-1]['id']}"

    def _check_all_stored(self, tasks: Objects, messages: Objects) -> None:
        """Each answer still agrees with the state."""
        for request in self._request_log.answered():
            answer = request.answer
            if request.path.endswith("/messages"):
                assert messages[answer["message"]["id"]] == answer["message"], request
                assert same_fields(tasks[answer["task"]["id"]], answer["task"], OPENING_FIELDS), request
                continue
            now = tasks[answer["id"]]
            assert same_fields(now, answer, OPENING_FIELDS), request
            if answer["attempt"] == now["attempt"]:
                held = ("acknowledged_at", *(("started_at",) if answer["started_at"] else ()))
                assert same_fields(now, answer, held), request
            if answer["status"] == "completed":
                assert same_fields(now, answer, (*RESULT_FIELDS, "status", "attempt", "last_holder")), (request, now)
                assert answer["result"] == request.text, request

    def _check_no_duplicates(self, tasks: Objects, messages: Objects) -> None:
        """Each text that was answered is stored once; each that was not answered at most once, and no other."""
        progress = [event["data"]["text"] for event in self.events if event["type"] == "task.progressed"]
        texts = Counter([message["text"] for message in messages.values()] + progress)
        check_empty(more_than_once(texts), "stored more than once")
        done = {request.text for request in self._request_log.requests if request.is_done and request.text}
        possible = {request.text for request in self._request_log.requests if request.may_be_done and request.text}
        check_empty(done - set(texts), "answered, and not stored")
        check_empty(set(texts) - possible, "refused or never sent, and yet stored")
        opened = Counter(message["task"] for message in messages.values() if message["task"])
        assert opened == Counter(tasks.keys()), "each task was opened by one message"
        assert all(text == tasks[task]["text"] for task, text in opened_texts(messages.values()))

    def _check_log_agrees(self, tasks: Objects, messages: Objects) -> None:
        """Each transition has one event, and the tasks agree with the log."""
        assert Counter(messages.keys()) == Counter(self._values_of("message.sent", "message"))
        assert Counter(tasks.keys()) == Counter(self._values_of("task.opened", "task"))
        for kind in ("task.claimed", "task.started"):
            times = Counter((event["data"]["task"], event["data"]["attempt"]) for event in self.events_of(kind))
            check_empty(more_than_once(times), f"{kind} more than once")
        ended = Counter(self._values_of("task.completed", "task"))
        assert ended == Counter(task["id"] for task in tasks.values() if task["status"] == "completed")
        following = [task["next_task"] for task in tasks.values() if task["next_task"]]
        assert len(following) == len(set(following))
        assert set(following) <= set(tasks)

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def _values_of(self, kind: str, name: str) -> list[str]:
        return [event["data"][name] for event in self.events_of(kind)]


def same_fields(now: dict[str, Any], answer: dict[str, Any], names: Iterable[str]) -> bool:
    return all(now[name] == answer[name] for name in names)


def more_than_once(counted: Counter[Any]) -> list[Any]:
    return [each for each, times in counted.items() if times > 1]


def check_empty(found: Collection[object], what: str) -> None:
    """Assert that nothing was found, or show some of it."""
    assert not found, f"{what} ({len(found)}): {list(found)[:5]}"


def opened_texts(messages: Iterable[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    """The tasks that messages opened, with the texts of these messages."""
    return ((message["task"], message["text"]) for message in messages if message["task"])
