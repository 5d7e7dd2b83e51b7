"""Checks the Host and Origin headers of a request, before anything else.

A page in a user's browser can send requests to 127.0.0.1, and by DNS rebinding of its own domain even read the answers.
Its requests still carry that domain as Host, or the page's address as Origin. Both are refused.

The port of a Host proves nothing, and differs from the server's behind a forwarded port (ssh -L, a container's). So an
allowed name is allowed with any port, and a page may call the very address that it was loaded from.
"""

import re
from collections.abc import Iterable
from typing import Final

from greenroom.domain.errors import Refused
from greenroom.server.request_headers import RequestHeaders

LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
WILDCARD_ADDRESSES: Final = ("0.0.0.0", "::", "")
HTTP_PORT: Final = 80
PORT_SUFFIX: Final = re.compile(rb":[0-9]{1,5}\Z")


class AllowedHosts:
    """The names under which this server answers, as Host and Origin carry them."""

    def __init__(self, host: str, port: int, allowed: Iterable[str] = ()) -> None:
        own = () if host in WILDCARD_ADDRESSES else (f"[{host}]" if ":" in host else host,)
        names = {f"{name}:{port}" for name in (*LOCAL_NAMES, *own)}
        if port == HTTP_PORT:
            names.update((*LOCAL_NAMES, *own))
        for name in allowed:
            names.update((name, f"{name}:{port}"))
        self.names: Final = frozenset(map(encode_host, names))
        self._names_on_any_port: Final = frozenset(map(encode_host, (*LOCAL_NAMES, *own, *allowed)))
        self._origins: Final = frozenset(scheme + name for name in self.names for scheme in (b"http://", b"https://"))

    def check(self, headers: RequestHeaders) -> None:
        """Raise Refused (`host_refused`) unless the request's Host and Origin are allowed."""
        host = headers.get(b"host", b"").lower()
        if not self._is_allowed(host):
            raise host_refused("host", host)
        if b"origin" in headers:
            origin = headers[b"origin"].lower()
            if origin not in self._origins and origin not in (b"http://" + host, b"https://" + host):
                raise host_refused("origin", origin)

    def _is_allowed(self, host: bytes) -> bool:
        return host in self.names or PORT_SUFFIX.sub(b"", host) in self._names_on_any_port


def encode_host(name: str) -> bytes:
    return name.lower().encode("ascii" if name.isascii() else "idna")


def host_refused(header: str, value: bytes) -> Refused:
    shown = value[:200].decode("latin-1") or "none"
    return Refused(
        f"This server does not accept this {header} ({shown}).",
        "Use the address that the server printed at its start, or restart it with --allow-host NAME to add a name.",
        "host_refused",
    )
