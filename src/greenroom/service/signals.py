"""Wake-ups: who waits for something to have changed is called after the commit. Must not know what they wait for."""

import threading
from collections.abc import Callable

FEED = "feed"


def claim_key(room: str, role: str) -> str:
    """What a standing claim watches: a task or a seat of the role changed. `room` is the room's id."""
    return f"claim:{room}/{role}"


def wishes_key(machine: str) -> str:
    """What a daemon watches: a wish for its machine changed."""
    return f"wishes:{machine}"


class Signals:
    """Callbacks by key. They are called from whichever thread raises the key and must only wake somebody."""

    def __init__(self) -> None:
        self._watchers: dict[str, dict[int, Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._next = 0

    def watch(self, key: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called whenever `key` is raised, until the function that is returned is called."""
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
        """Call everybody who watches `key`."""
        with self._lock:
            callbacks = list(self._watchers.get(key, {}).values())
        for callback in callbacks:
            callback()
