"""The standard library's HTTP client, imported without TLS.

Most agents talk to a server on their own machine, and many of them wait at a time: TLS would take a fifth of the memory
of each. A connection to an https address is wrapped by `tls`, which is imported only then.

The copy without TLS is this module's own: whatever else imports `http.client`, now or later, gets one with TLS.
"""

import http
import sys

_is_first = "ssl" not in sys.modules and "http.client" not in sys.modules
if _is_first:
    sys.modules["ssl"] = None  # type: ignore[assignment] # `http.client` works without `ssl` if that cannot be imported

from http.client import HTTPConnection, HTTPException, HTTPResponse  # noqa: E402

if _is_first:
    del sys.modules["ssl"], sys.modules["http.client"], http.client

__all__ = ["HTTPConnection", "HTTPException", "HTTPResponse"]
