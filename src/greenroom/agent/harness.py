"""How long a command may take inside the tools that run agents. Knows their environment; must not know what waits."""

from collections.abc import Mapping

CLAUDE_CODE_CAP_S = 120.0
"""Claude Code ends a command after two minutes, or after BASH_DEFAULT_TIMEOUT_MS, unless the agent asks for more."""
CODEX_CAP_S = 10.0
"""Codex ends a command after ten seconds unless the agent asks for more; it says nothing about that to the command."""
CODEX_VARIABLES = ("CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CODEX_THREAD_ID", "CODEX_CI")
SHARE = 0.9
RESERVE_S = 2.0


def slice_s(environ: Mapping[str, str]) -> float | None:
    """How long to wait by default; None for ever. Ended by ourselves a wait can be carried on, killed it cannot."""
    cap_s = cap_of(environ)
    return None if cap_s is None else max(1.0, min(cap_s * SHARE, cap_s - RESERVE_S))


def cap_of(environ: Mapping[str, str]) -> float | None:
    if environ.get("CLAUDECODE"):
        told = environ.get("BASH_DEFAULT_TIMEOUT_MS", "")
        return int(told) / 1000 if told.isascii() and told.isdigit() and int(told) > 0 else CLAUDE_CODE_CAP_S
    if any(environ.get(name) for name in CODEX_VARIABLES):
        return CODEX_CAP_S
    return None
