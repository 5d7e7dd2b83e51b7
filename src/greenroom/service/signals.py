"""Wake-ups: callbacks that are called after a commit when the thing that they watch has changed."""

import threading
from collections.abc import Callable

FEED = "feed"


def claim_key(room: str, role: str) -> str:
    """The key for standing claims: a task or the participant of the role changed. `room` is the room's id."""
    return f"claim:{room}/{role}"


def wishes_key(machine: str) -> str:
    """The key for daemons: the assignments of the machine changed."""
    return f"wishes:{machine}"


class Signals:
    """Callbacks by key. A callback runs in the thread that calls `wake`, and must do no more than wake a waiter."""

    def __init__(self) -> None:
        self._watchers: dict[str, dict[int, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._next = 0

    def watch(self, key: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on every `wake` of `key`, until the returned function is called."""
        with self._lock:
            self._next += 1
            number = self._next
            self._watchers.setdefault(key, {})[number] = callback

        def unwatch() -> None:
            with self._lock:
                watchers = self._watchers.get(key)
                if watchers is not None:
                    watchers.pop(number, None)
                    if not watchers:
                        del self._watchers[key]

        return unwatch

    def wake(self, key: str) -> None:
        """Call every callback that watches `key`."""
        with self._lock:
            callbacks = list(self._watchers.get(key, {}).values())
        for callback in callbacks:
            callback()
