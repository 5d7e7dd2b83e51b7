"""How the daemon learns what is wished for its machine. Knows versions and waits; must not know what is done then."""

import logging
import threading
from collections.abc import Callable

from greenroom.client.session import Session
from greenroom.domain.errors import GreenroomError, Unavailable
from greenroom.domain.reliability import Reliability
from greenroom.domain.standing import standing_for
from greenroom.entropy import Entropy
from greenroom.wire.replies import Wishes

log = logging.getLogger("greenroom.daemon.wishing")


class WishWatch:
    """A thread that asks for the machine's wishes, waits for a newer version, and asks again.

    A wish is a state: whatever was missed while the server was away does not matter, the next answer is all of it.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        machine: str,
        limits: Reliability,
        entropy: Entropy,
        on_wishes: Callable[[Wishes], None],
        on_forgotten: Callable[[], None],
        on_death: Callable[[], None],
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._open_session = open_session
        self._machine = machine
        self._standing = standing_for(limits, limits.daemon_heartbeat_interval_s, limits.wishes_wait_max_s)
        self._is_crowded = is_crowded
        self._entropy = entropy
        self._on_wishes = on_wishes
        self._on_forgotten = on_forgotten
        self._on_death = on_death
        self._session: Session | None = None
        self._version: int | None = None
        self._look = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="wishes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._is_stopped = True
        self._drop()

    def heard_of(self, version: int) -> None:
        """Somebody else learned which version is current: look at once if it is not the one we know.

        Not only if it is newer: a server that was set up from an older copy counts from there.
        """
        if version != self._version:
            self._version = None
            self._drop()

    def renew(self) -> None:
        """Drop the call that stands: the line that it waits on may be dead."""
        self._drop()

    def _drop(self) -> None:
        self._look.set()
        session = self._session
        if session is not None:
            session.drop()

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                self._look.clear()
                self.ask()
        finally:
            if not self._is_stopped:
                self._on_death()

    def ask(self) -> None:
        """Ask once, and hand on what is new."""
        after = self._version
        session = self._session = self._session or self._open_session()
        try:
            wishes = session.wishes(self._machine, after, self._standing.wait_s(self._entropy.fraction()))
        except Unavailable:
            self._pause()
        except GreenroomError as error:
            log.warning("the wishes of this machine cannot be read: %s", error)
            session.close()
            self._session = None  # registered anew, it speaks with a new token
            self._on_forgotten()
            self._pause()
        else:
            self._standing.answered()
            if wishes.version != after:
                self._version = wishes.version
                self._on_wishes(wishes)

    def _pause(self) -> None:
        """Wait a random while, or until the beat has found the server: daemons come back at times of their own."""
        self._look.wait(self._standing.failed(self._is_crowded(), self._entropy.fraction()))
