"""Finds out how long a command may take inside the tool that runs it, so that a wait ends before the tool kills it.

Where each figure comes from: Claude Code's and Codex's documentation; `DEFAULT_TIMEOUT` in OpenCode's
`src/tool/bash.ts` and the variables that its `src/index.ts` sets; `DEFAULT_FOREGROUND_TIMEOUT_MS` in Qwen Code's
package (0.15); `shellToolInactivityTimeout` and `GEMINI_CLI_IDENTIFICATION_ENV_VAR` in Gemini CLI's core package
(0.61).

Limits: a tool that is not in this list is not recognised, and a wait in it lasts until there is a task. A longer limit
that an agent asks for with a single command is not seen.
"""

from collections.abc import Mapping
from typing import NamedTuple

WAIT_SHARE = 0.9
WAIT_RESERVE_S = 2.0


class HostTool(NamedTuple):
    """A tool that ends commands: the variables (`marks`) by which it is recognised, and its limit in seconds.

    `variable` is the one in which its user sets another limit, in milliseconds.
    """

    marks: tuple[str, ...]
    limit_s: float
    variable: str | None = None


HOST_TOOLS = (
    # Two minutes, unless the agent asks for more.
    HostTool(("CLAUDECODE",), 120.0, "BASH_DEFAULT_TIMEOUT_MS"),
    # Ten seconds, unless the agent asks for more, which the command cannot see.
    HostTool(("CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CODEX_THREAD_ID", "CODEX_CI"), 10.0),
    # Two minutes, unless the agent asks for more.
    HostTool(("OPENCODE",), 120.0, "OPENCODE_EXPERIMENTAL_BASH_DEFAULT_TIMEOUT_MS"),
    # Two minutes for a command in the foreground.
    HostTool(("QWEN_CODE",), 120.0),
    # Five minutes without output; a wait prints nothing.
    HostTool(("GEMINI_CLI",), 300.0),
)


def default_wait_s(environ: Mapping[str, str]) -> float | None:
    """Return how many seconds to wait by default, None for no limit.

    A wait that ends by itself can be continued; one that the tool kills cannot.
    """
    cap_s = shortest_limit_s(environ)
    return None if cap_s is None else max(1.0, min(cap_s * WAIT_SHARE, cap_s - WAIT_RESERVE_S))


def shortest_limit_s(environ: Mapping[str, str]) -> float | None:
    """Return the shortest limit of the tools that this process runs in: one may have started another."""
    caps = [tool_limit_s(tool, environ) for tool in HOST_TOOLS if any(environ.get(mark) for mark in tool.marks)]
    return min(caps, default=None)


def tool_limit_s(tool: HostTool, environ: Mapping[str, str]) -> float:
    """Return the limit that the user set for a tool, or else the tool's own."""
    text = environ.get(tool.variable, "") if tool.variable is not None else ""
    return int(text) / 1000 if text.isascii() and text.isdigit() and int(text) > 0 else tool.limit_s
