"""Where the daemon's calls go out: address, token, registration. Must not know what is called for."""

from collections.abc import Callable

from greenroom.client.session import Session
from greenroom.daemon.machine import Machine, labels_of_this_machine
from greenroom.domain.errors import Refused
from greenroom.domain.reliability import Reliability
from greenroom.wire.requests import PutMachine


class Desk:
    """Opens sessions with the token of this machine.

    The daemon may have been started with an operator's token; it goes on with one that can do no more than it needs.
    `read_token` is asked at each registration, since a server that was set up anew made new tokens.
    """

    def __init__(
        self,
        url: str,
        read_token: Callable[[], str | None],
        machine: Machine,
        harnesses: list[str],
        limits: Reliability,
    ) -> None:
        self.url = url
        self.machine = machine
        self.limits = limits
        self._read_token = read_token
        self._harnesses = harnesses
        self._token: str | None = None

    def open_session(self) -> Session:
        """A session of its own for one thread, with this machine's token."""
        return self._open(self._token)

    def register(self) -> Session:
        """Tell the server who this machine is and what it can run; a session that speaks for it from then on."""
        given = self._read_token()
        session = self._open(given)
        try:
            body = PutMachine(name=self.machine.name, harnesses=self._harnesses, labels=labels_of_this_machine())
            session.register(self.machine.id, body)
            try:
                self._token = session.machine_token(self.machine.id).token
            except Refused:
                self._token = given  # it is a machine's token already: only an operator may make others
        finally:
            session.close()
        return self.open_session()

    def _open(self, token: str | None) -> Session:
        # Its calls keep the pace of the daemon's own heart, also where agents beat at another.
        return Session(self.url, token, self.limits, interval_s=self.limits.daemon_heartbeat_interval_s)
