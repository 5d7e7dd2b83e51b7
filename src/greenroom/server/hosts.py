"""Knows by which names this server may be called. Must not know tokens: this comes before them, and on everything.

A page in somebody's browser can send requests to 127.0.0.1, and by rebinding its own name's address even read the
answers. Its requests still carry that name as Host, or its own address as Origin: both are refused.

The port of a Host proves nothing, and differs from ours behind a forwarded port (ssh -L, a container's). So a good name
is good with any port, and a page may call the very address that it came from.
"""

import re
from collections.abc import Iterable
from typing import Final

from greenroom.domain.errors import Refused

Headers = Iterable[tuple[bytes, bytes]]

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
EVERY_ADDRESS: Final = ("0.0.0.0", "::", "")
HTTP_PORT: Final = 80
PORT: Final = re.compile(rb":[0-9]{1,5}\Z")


class Hosts:
    """The names under which this server answers, as they stand in Host and Origin."""

    def __init__(self, host: str, port: int, allowed: Iterable[str] = ()) -> None:
        own = () if host in EVERY_ADDRESS else (f"[{host}]" if ":" in host else host,)
        names = {f"{name}:{port}" for name in (*LOCAL_NAMES, *own)}
        if port == HTTP_PORT:
            names.update((*LOCAL_NAMES, *own))
        for name in allowed:
            names.update((name, f"{name}:{port}"))
        self.names: Final = frozenset(map(spell, names))
        self._good_on_any_port: Final = frozenset(map(spell, (*LOCAL_NAMES, *own, *allowed)))
        self._origins: Final = frozenset(scheme + name for name in self.names for scheme in (b"http://", b"https://"))

    def check(self, headers: Headers) -> None:
        """Let the request pass, or raise Refused."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_good(hosts[0].lower()):
            raise refusal("host", hosts)
        same = {scheme + hosts[0].lower() for scheme in (b"http://", b"https://")}
        origins = [value for name, value in headers if name == b"origin"]
        if any(origin.lower() not in self._origins | same for origin in origins):
            raise refusal("origin", origins)

    def _is_good(self, host: bytes) -> bool:
        return host in self.names or PORT.sub(b"", host) in self._good_on_any_port


def spell(name: str) -> bytes:
    return name.lower().encode("ascii" if name.isascii() else "idna")


def refusal(what: str, told: list[bytes]) -> Refused:
    shown = ", ".join(value[:200].decode("latin-1") for value in told) or "none"
    return Refused(
        f"This server does not answer to that {what} ({shown}).",
        "Call it by the address it printed at its start, or have its operator add the name with --allow-host.",
        "host_refused",
    )
