"""Knows which variables a command needs to find its way on this computer. Must not know what the command is for.

An environment is made on purpose and never inherited whole: what a daemon was started with (other tokens, the address
of a development server, the variables of the agent that started it) is not for the agents it runs.
"""

import os
from collections.abc import Mapping

KEPT = frozenset(
    {
        "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
        # Where programs keep what is theirs.
        "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
        # Whose certificates are trusted.
        "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR", "SSL_CERT_FILE",
    }
)  # fmt: skip
KEPT_PREFIX = "LC_"


def child_environment(parent: Mapping[str, str], additions: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: what it needs from `parent`, and all of `additions`, which win."""
    kept = {name: value for name, value in parent.items() if name in KEPT or name.startswith(KEPT_PREFIX)}
    kept.setdefault("PATH", os.defpath)
    return kept | dict(additions)
