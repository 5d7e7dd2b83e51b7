"""How long a command may take inside the tools that run agents. Knows their environment; must not know what waits.

Where each figure comes from: Claude Code's and Codex's documentation; `DEFAULT_TIMEOUT` in OpenCode's
`src/tool/bash.ts` and the variables that its `src/index.ts` sets; `DEFAULT_FOREGROUND_TIMEOUT_MS` in Qwen Code's
package (0.15); `shellToolInactivityTimeout` and `GEMINI_CLI_IDENTIFICATION_ENV_VAR` in Gemini CLI's core package
(0.61). A tool that is not known here says nothing that we could go by: a wait in it lasts until there is a task.
"""

from collections.abc import Mapping
from typing import NamedTuple

SHARE = 0.9
RESERVE_S = 2.0


class Tool(NamedTuple):
    """A tool that ends commands: by which of `marks` it is known, and after how long it ends one.

    `variable` is where it lets its user say another limit, in milliseconds.
    """

    marks: tuple[str, ...]
    cap_s: float
    variable: str | None = None


TOOLS = (
    # Two minutes, unless the agent asks for more.
    Tool(("CLAUDECODE",), 120.0, "BASH_DEFAULT_TIMEOUT_MS"),
    # Ten seconds, unless the agent asks for more; it says nothing about that to the command.
    Tool(("CODEX_SANDBOX", "CODEX_SANDBOX_NETWORK_DISABLED", "CODEX_THREAD_ID", "CODEX_CI"), 10.0),
    # Two minutes, unless the agent asks for more.
    Tool(("OPENCODE",), 120.0, "OPENCODE_EXPERIMENTAL_BASH_DEFAULT_TIMEOUT_MS"),
    # Two minutes for a command in the foreground.
    Tool(("QWEN_CODE",), 120.0),
    # Five minutes without a word; a wait is silent.
    Tool(("GEMINI_CLI",), 300.0),
)


def slice_s(environ: Mapping[str, str]) -> float | None:
    """How long to wait by default; None for ever. Ended by ourselves a wait can be carried on, killed it cannot."""
    cap_s = cap_of(environ)
    return None if cap_s is None else max(1.0, min(cap_s * SHARE, cap_s - RESERVE_S))


def cap_of(environ: Mapping[str, str]) -> float | None:
    """The shortest limit of the tools around us: one may have been started inside another."""
    caps = [told_cap(tool, environ) for tool in TOOLS if any(environ.get(mark) for mark in tool.marks)]
    return min(caps, default=None)


def told_cap(tool: Tool, environ: Mapping[str, str]) -> float:
    """The limit that its user set for a tool, or the tool's own."""
    told = environ.get(tool.variable, "") if tool.variable is not None else ""
    return int(told) / 1000 if told.isascii() and told.isdigit() and int(told) > 0 else tool.cap_s
