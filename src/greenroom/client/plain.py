"""The standard library's HTTP client without the TLS that it always imports. Must not know who asks whom.

Most agents speak with a server on their own machine, and many of them wait at a time: what TLS takes is a fifth of
the memory of each. A connection to an https address is wrapped by `tls` instead, which only those import.
It must not share a process with the server, whose libraries would find `http.client` without its TLS.
"""

import sys

_has_tls = "ssl" in sys.modules
if not _has_tls:
    sys.modules["ssl"] = None  # type: ignore[assignment] # `http.client` does without what cannot be imported

from http.client import HTTPConnection, HTTPException, HTTPResponse  # noqa: E402

if not _has_tls:
    del sys.modules["ssl"]

__all__ = ["HTTPConnection", "HTTPException", "HTTPResponse"]
