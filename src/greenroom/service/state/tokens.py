"""Signs and verifies tokens: each is an HMAC over its scope and subject, checked without a look-up in the store.

A token is `gr~<scope>~<fields>~<mac>`. Nothing is stored for it. The name of a machine or of a role can be used again
after its deletion; so tokens made since then have a serial as their last field, which each deletion raises, and those
with an earlier serial are refused. A token of an attempt is refused by the state of its task.
"""

import base64
import hmac
import threading
from collections.abc import Mapping, Sequence

from greenroom.domain.principal import AGENT, ATTEMPT, MACHINE, OPERATOR, Principal
from greenroom.domain.task import Task
from greenroom.service.state.thread_rules import Locked

TOKEN_PREFIX = "gr"
SEPARATOR = "~"
SECRET_BYTES = 32
TOKENS_CACHED_MAX = 100_000
TOKEN_CHARACTERS_MAX = 512


class TokenSigner(Locked):
    """Makes and verifies tokens. Verified tokens are cached, so that a heartbeat costs one look-up in a dict.

    At TOKENS_CACHED_MAX tokens the cache is cleared.
    """

    def __init__(self, secret: bytes, serials: Mapping[str, int]) -> None:
        """`serials` has the serials of the machines and roles that were deleted, by `Principal.subject`."""
        self._secret = secret
        self._serials = dict(serials)
        self._verified: dict[str, Principal] = {}
        self._lock = threading.Lock()

    def make_operator_token(self) -> str:
        """The token of this server's operators."""
        return self._sign(OPERATOR)

    def make_machine_token(self, machine: str) -> str:
        """The token of a machine's daemon."""
        return self._sign(MACHINE, machine, *self._serial_field(Principal(scope=MACHINE, machine=machine)))

    def make_agent_token(self, room: str, role: str) -> str:
        """The token of the agent of one role; `room` is the room's id."""
        return self._sign(AGENT, room, role, *self._serial_field(Principal(scope=AGENT, room=room, role=role)))

    def make_attempt_token(self, task: Task) -> str:
        """The token of the task's current attempt."""
        token = self._sign(ATTEMPT, task.id, str(task.attempt), task.room, task.target_role)
        # Its first call follows soon; cached here, the token is not verified then.
        self._cache(
            token, Principal(scope=ATTEMPT, task=task.id, attempt=task.attempt, room=task.room, role=task.target_role)
        )
        return token

    def verify(self, token: str) -> Principal | None:
        """The caller that a token stands for; None when this server did not make the token."""
        cached = self._verified.get(token)
        if cached is not None:
            return cached
        if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii() or SEPARATOR not in token:
            return None
        principal = self._verify(token)
        if principal is None or not self.is_current(principal):
            return None
        self._cache(token, principal)
        return principal

    def is_current(self, principal: Principal) -> bool:
        """Whether the machine or role of a token was not deleted since the token was made."""
        return principal.serial == self._serials.get(principal.subject, 0)

    def set_serial(self, subject: str, serial: int) -> None:
        """Refuse all tokens of a subject that have an earlier serial."""
        with self._lock:
            self._serials[subject] = serial
            self._verified.clear()

    def _cache(self, token: str, principal: Principal) -> None:
        with self._lock:
            if len(self._verified) >= TOKENS_CACHED_MAX:
                self._verified.clear()
            if self.is_current(principal):  # A deletion may have come in between.
                self._verified[token] = principal

    def _verify(self, token: str) -> Principal | None:
        prefix, *fields, mac = token.split(SEPARATOR)
        if prefix != TOKEN_PREFIX or not fields or not hmac.compare_digest(mac, self._mac(SEPARATOR.join(fields))):
            return None
        match fields:
            case ["operator"]:
                return Principal(scope=OPERATOR)
            case ["machine", machine, *serial]:
                return Principal(scope=MACHINE, machine=machine, serial=parse_serial(serial))
            case ["agent", room, role, *serial]:
                return Principal(scope=AGENT, room=room, role=role, serial=parse_serial(serial))
            case ["attempt", task, attempt, room, role]:
                return Principal(scope=ATTEMPT, task=task, attempt=int(attempt), room=room, role=role)
        return None

    def _serial_field(self, principal: Principal) -> tuple[str, ...]:
        """The last field of a new token; none for a name that was never deleted."""
        serial = self._serials.get(principal.subject, 0)
        return (str(serial),) if serial else ()

    def _sign(self, *fields: str) -> str:
        body = SEPARATOR.join(fields)
        return SEPARATOR.join((TOKEN_PREFIX, body, self._mac(body)))

    def _mac(self, body: str) -> str:
        digest = hmac.digest(self._secret, body.encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:24]).decode()


def parse_serial(fields: Sequence[str]) -> int:
    """The serial of a token that this server has signed, from its last field if there is one."""
    return int(fields[0]) if fields else 0
