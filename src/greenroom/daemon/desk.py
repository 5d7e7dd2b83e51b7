"""The daemon's link to its server: address, token and registration of the machine."""

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

    A daemon that was started with an operator's token goes on with a token of the machine, which can do no more than
    the daemon needs. `read_token` and `introduce` are called at each registration: a server that was set up again has
    new tokens, and what this machine can run may have changed.
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
        """A session for one thread, with this machine's token. Its calls raise Unavailable before the registration."""
        line = HttpTransport(self.url, self.limits.request_timeout_for(self.limits.daemon_heartbeat_interval_s))
        return self._open(None, MachineLine(line, lambda: self._token))

    def register(self) -> Session:
        """Register this machine and what it can run; a session with the machine's token.

        Raises Unauthorized and Refused, with guidance about the token, and any other error of the server.
        """
        token = self._read_token()
        session = self._open(token)
        try:
            try:
                session.register(self.machine.id, self._introduce())
            except Unauthorized as error:
                raise self._unauthorized_error(error, token) from error
            except Refused as error:
                raise self._wrong_token_error(error) from error
            try:
                self._token = session.machine_token(self.machine.id).token
            except Refused:
                self._token = token  # it is a machine's token already: only an operator may create others
        finally:
            session.close()
        return self.open_session()

    def _unauthorized_error(self, error: Unauthorized, token: str | None) -> Unauthorized:
        problem = "has no token for it" if token is None else "has an unknown or expired token"
        return Unauthorized(
            f"{self.url} answers, but this machine {problem}.",
            f"Ask its operator for one: greenroom machine token {self.machine.id}. On this machine, set "
            "GREENROOM_TOKEN to it, or pipe it into greenroom daemon start --token -.",
            error.code,
        )

    def _wrong_token_error(self, error: Refused) -> Refused:
        return Refused(
            f"{self.url} accepts this token, but not for this machine, whose id is {self.machine.id}.",
            f"Ask its operator for the right one: greenroom machine token {self.machine.id}.{self._name_hint()}",
            error.code,
        )

    def _name_hint(self) -> str:
        if not self.machine.is_new:
            return ""
        return " Or, as no server has registered it yet, start it as the machine that the token is for: --machine NAME."

    def _open(self, token: str | None, line: Transport | None = None) -> Session:
        # Timeouts follow the daemon's heartbeat interval, even if agents have another one.
        return Session(self.url, token, self.limits, line, interval_s=self.limits.daemon_heartbeat_interval_s)
