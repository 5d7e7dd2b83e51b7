"""Builds the environment of a command from a list of allowed variables.

The environment is never inherited as a whole: what a daemon was started with (other tokens, the address of a
development server, the variables of the agent that started it) must not reach the agents that it runs.
"""

import os
from collections.abc import Mapping

KEPT = frozenset(
    {
        "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
        # Directories where programs keep their files.
        "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
        # Trusted certificates.
        "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR", "SSL_CERT_FILE",
    }
)  # fmt: skip
KEPT_PREFIX = "LC_"


def child_environment(parent: Mapping[str, str], additions: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: the allowed variables of `parent`, and all `additions`, which take precedence."""
    kept = {name: value for name, value in parent.items() if name in KEPT or name.startswith(KEPT_PREFIX)}
    kept.setdefault("PATH", os.defpath)
    return kept | dict(additions)
