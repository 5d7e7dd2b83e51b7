"""The standard library's HTTP client, imported without TLS.

Most agents talk to a server on their own machine, and many of them wait at a time: TLS would take a fifth of the memory
of each. A connection to an https address is wrapped by `tls`, which is imported only then.

Limits: it must not share a process with the server, whose libraries would find `http.client` without TLS.
"""

import sys

_has_tls = "ssl" in sys.modules
if not _has_tls:
    sys.modules["ssl"] = None  # type: ignore[assignment] # `http.client` works without `ssl` if that cannot be imported

from http.client import HTTPConnection, HTTPException, HTTPResponse  # noqa: E402

if not _has_tls:
    del sys.modules["ssl"]

__all__ = ["HTTPConnection", "HTTPException", "HTTPResponse"]
