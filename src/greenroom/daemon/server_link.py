"""The daemon's link to its server: the address, the machine's current token, and the registration of the machine.

A registration has the machine's name, the harnesses that it can run now, and its labels.
"""

import logging
from collections.abc import Callable, Iterator, Mapping

from greenroom.client.api_client import ApiClient
from greenroom.client.http_transport import UNREACHABLE, HttpTransport, Response, Transport
from greenroom.daemon.harness import HarnessPolicy
from greenroom.daemon.machine_identity import MachineIdentity, default_labels
from greenroom.domain.errors import Refused, Unauthorized, Unavailable
from greenroom.domain.limits import Limits
from greenroom.process.agent_clis import filter_unused, find_agent_clis
from greenroom.wire.requests import PutMachine

log = logging.getLogger("greenroom.daemon.server_link")

FOUND_LABEL = "found"
"""The label that names the agent CLIs which are installed, but which no harness of the configuration runs."""


class ServerLink:
    """Opens sessions with the token of this machine.

    A daemon that was started with an operator's token goes on with a token of the machine, which can do no more than
    the daemon needs. `read_token` and `build_registration` are called at each registration: a server that was set up
    again has new tokens, and what this machine can run may have changed.
    """

    def __init__(
        self,
        url: str,
        read_token: Callable[[], str | None],
        machine: MachineIdentity,
        build_registration: Callable[[], PutMachine],
        limits: Limits,
    ) -> None:
        self.url = url
        self.machine = machine
        self.limits = limits
        self._read_token = read_token
        self._build_registration = build_registration
        self._token: str | None = None

    def open_session(self) -> ApiClient:
        """A session for one thread, with this machine's token. Its calls raise Unavailable before the registration."""
        line = HttpTransport(self.url, self.limits.request_timeout_for(self.limits.daemon_heartbeat_interval_s))
        return self._open(None, MachineTransport(line, lambda: self._token))

    def register(self) -> ApiClient:
        """Register this machine and what it can run; a session with the machine's token.

        Raises Unauthorized and Refused, with guidance about the token, and any other error of the server.
        """
        token = self._read_token()
        session = self._open(token)
        try:
            try:
                session.register(self.machine.id, self._build_registration())
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

    def _open(self, token: str | None, line: Transport | None = None) -> ApiClient:
        # Timeouts follow the daemon's heartbeat interval, even if agents have another one.
        return ApiClient(self.url, token, self.limits, line, interval_s=self.limits.daemon_heartbeat_interval_s)


class MachineTransport:
    """Wraps `line` and adds the machine's token to each of its requests.

    The token is read for each request: a server that was set up again has new tokens. Before the machine is registered
    there is none; the request then raises Unavailable, so that callers retry it as if the server were unreachable.
    """

    def __init__(self, transport: Transport, read_token: Callable[[], str | None]) -> None:
        self._line = transport
        self._read_token = read_token

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Response:
        return self._line.request(method, path, body, self._with_token(headers), timeout_s)

    def stream(self, path: str, headers: Mapping[str, str], silence_s: float) -> tuple[Response, Iterator[bytes]]:
        return self._line.stream(path, self._with_token(headers), silence_s)

    def drop(self) -> None:
        self._line.drop()

    def close(self) -> None:
        self._line.close()

    def _with_token(self, headers: Mapping[str, str]) -> dict[str, str]:
        token = self._read_token()
        if token is None:
            raise Unavailable(
                "This machine is not registered with the server yet.",
                "Wait until the daemon has registered it.",
                UNREACHABLE,
            )
        return {**headers, "Authorization": f"Bearer {token}"}


class MachineRegistration:
    """Builds the registration, as the machine is at each call.

    A harness whose program is missing is left out, and logged once for as long as the program is missing.
    """

    def __init__(
        self, machine: MachineIdentity, policy: HarnessPolicy, labels: Mapping[str, str], environ: Mapping[str, str]
    ) -> None:
        self._machine = machine
        self._policy = policy
        self._labels = dict(labels)
        self._environ = environ
        self._logged_missing: frozenset[str] = frozenset()

    def __call__(self) -> PutMachine:
        missing = self._policy.find_missing_programs(self._environ)
        for name in missing.keys() - self._logged_missing:
            log.warning("harness not offered: %s: %s", name, missing[name])
        self._logged_missing = frozenset(missing)
        found_clis = [cli.name for cli in filter_unused(find_agent_clis(self._environ), self._policy.commands)]
        found_label = {FOUND_LABEL: ", ".join(found_clis)} if found_clis else {}
        return PutMachine(
            name=self._machine.name,
            harnesses=[name for name in self._policy.harness_names if name not in missing],
            labels={**self._labels, **default_labels(), **found_label},
        )
