"""Where the daemon's calls go out: address, token, registration. Must not know what is called for."""

from collections.abc import Callable

from greenroom.client.session import Session
from greenroom.client.transport import HttpTransport, Transport
from greenroom.daemon.line import MachineLine
from greenroom.daemon.machine import Machine
from greenroom.domain.errors import Refused, Unauthorized
from greenroom.domain.reliability import Reliability
from greenroom.wire.requests import PutMachine


class Desk:
    """Opens sessions with the token of this machine.

    The daemon may have been started with an operator's token; it goes on with one that can do no more than it needs.
    `read_token` is asked at each registration, since a server that was set up anew made new tokens; `introduce`
    too, since what this machine can run may have changed meanwhile.
    """

    def __init__(
        self,
        url: str,
        read_token: Callable[[], str | None],
        machine: Machine,
        introduce: Callable[[], PutMachine],
        limits: Reliability,
    ) -> None:
        self.url = url
        self.machine = machine
        self.limits = limits
        self._read_token = read_token
        self._introduce = introduce
        self._token: str | None = None

    def open_session(self) -> Session:
        """A session of its own for one thread, with this machine's token. It can do nothing before that is there."""
        line = HttpTransport(self.url, self.limits.request_timeout_for(self.limits.daemon_heartbeat_interval_s))
        return self._open(None, MachineLine(line, lambda: self._token))

    def register(self) -> Session:
        """Tell the server who this machine is and what it can run; a session that speaks for it from then on."""
        given = self._read_token()
        session = self._open(given)
        try:
            try:
                session.register(self.machine.id, self._introduce())
            except Unauthorized as error:
                raise self._not_let_in(error, given) from error
            except Refused as error:
                raise self._not_this_machine(error) from error
            try:
                self._token = session.machine_token(self.machine.id).token
            except Refused:
                self._token = given  # it is a machine's token already: only an operator may make others
        finally:
            session.close()
        return self.open_session()

    def _not_let_in(self, error: Unauthorized, given: str | None) -> Unauthorized:
        what = "has no token for it" if given is None else "has a token that it does not know, or not any more"
        return Unauthorized(
            f"{self.url} is there, but this machine {what}.",
            f"Have its operator make one: greenroom machine token {self.machine.id}. Here, set GREENROOM_TOKEN to it, "
            "or give it to daemon start --token -.",
            error.code,
        )

    def _not_this_machine(self, error: Refused) -> Refused:
        return Refused(
            f"{self.url} knows this token, but not as one of this machine, whose id is {self.machine.id}.",
            f"Have its operator make the right one: greenroom machine token {self.machine.id}.{self._another_name()}",
            error.code,
        )

    def _another_name(self) -> str:
        if not self.machine.is_new:
            return ""
        return " Or, since no server has taken it yet, start it as what the token was made for: --machine NAME."

    def _open(self, token: str | None, line: Transport | None = None) -> Session:
        # Its calls keep the pace of the daemon's own heart, also where agents beat at another.
        return Session(self.url, token, self.limits, line, interval_s=self.limits.daemon_heartbeat_interval_s)
