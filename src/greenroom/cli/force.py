"""Selects the durations and limits that explain a role's status, with the values that the server uses."""

from collections.abc import Iterator

import msgspec

from greenroom.client.session import Session
from greenroom.domain.errors import NotFound, Refused
from greenroom.domain.reliability import variable_of
from greenroom.domain.status import BACKING_OFF, OFFLINE, PARKED, PAUSED, STARTING, STOPPING, UNKNOWN, VACANT, WORKING
from greenroom.wire.replies import RoleView

SERVER = "server"
SHELL = "shell"

BY_ITSELF = ("heartbeat_interval_s", "heartbeat_ttl_s")
BY_DAEMON = ("daemon_heartbeat_interval_s", "daemon_heartbeat_ttl_s")
OF_RESTARTS = ("restart_pause_s_min", "restart_pause_s_max", "restart_reset_s", "park_after_ends", "park_window_s")
IN_STATE: dict[str, tuple[str, ...]] = {
    WORKING: ("task_lost_after_s", "task_deaths_max", "work_lease_s"),
    STARTING: ("start_timeout_s",),
    STOPPING: ("stop_grace_s", "takeover_grace_s"),
    BACKING_OFF: OF_RESTARTS,
    PARKED: ("park_after_ends", "park_window_s", "park_pause_s", "task_deaths_max"),
    PAUSED: ("restart_pause_s_max",),
    UNKNOWN: ("task_lost_after_s",),
    OFFLINE: ("task_lost_after_s",),
    VACANT: ("task_pending_timeout_s",),
}
"""The limits that matter in each status, besides those of heartbeats."""
DAEMON_KEEPS = (*OF_RESTARTS, "park_pause_s", "stop_grace_s")
"""Limits that a machine's daemon applies, with the values of its own environment."""
ALWAYS = (*BY_ITSELF, *BY_DAEMON, "sweep_interval_s")
TOLD = tuple(dict.fromkeys((*ALWAYS, *(name for names in IN_STATE.values() for name in names))))


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """Values of limits by name. `origin` is `server`, or `shell` for this process's own settings."""

    values: dict[str, float]
    origin: str

    def tell(self, role: RoleView) -> Iterator[str]:
        """Lines with the limits that matter for a role, after a heading that names their origin."""
        if self.origin == SERVER:
            yield "limits in force, as the server reports them:"
        else:
            yield "limits from the settings of this shell (the server may use others):"
        names = names_for(role)
        yield from (f"  {name} = {self.values[name]:g}   ({variable_of(name)})" for name in names)
        if self.origin == SERVER and role.machine and set(names) & set(DAEMON_KEEPS):
            yield "  (the machine's daemon restarts and stops the agent; if its own variables differ, they apply)"


def names_for(role: RoleView) -> tuple[str, ...]:
    """The names of the limits that explain the status of a role."""
    beats = BY_DAEMON if role.machine else BY_ITSELF
    return (*beats, "sweep_interval_s", *IN_STATE.get(role.status, ()))


def in_force(session: Session) -> InForce:
    """Ask the server for its limits. An older server, or a token without that permission, gives the shell's values."""
    values = {name: float(getattr(session.limits, name)) for name in TOLD}
    try:
        reported = session.server_limits()
    except (NotFound, Refused):
        return InForce(values=values, origin=SHELL)
    return InForce(values=values | {name: reported[name] for name in TOLD if name in reported}, origin=SERVER)
