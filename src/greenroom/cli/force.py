"""Which durations and limits are in force for a role in its state. Knows whose word they are; must not apply any."""

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
"""What matters in which state, beside the heartbeats."""
DAEMON_KEEPS = (*OF_RESTARTS, "park_pause_s", "stop_grace_s")
"""What a machine's daemon goes by, as it was started."""
ALWAYS = (*BY_ITSELF, *BY_DAEMON, "sweep_interval_s")
TOLD = tuple(dict.fromkeys((*ALWAYS, *(name for names in IN_STATE.values() for name in names))))


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """The values of what is told, and whether they are the `server`'s own or only those of this `shell`."""

    values: dict[str, float]
    origin: str

    def tell(self, role: RoleView) -> Iterator[str]:
        """Those that matter for a role in its state, after a head that says whose they are."""
        if self.origin == SERVER:
            yield "limits in force, by the server's word:"
        else:
            yield "limits as this shell knows them (a server started with other variables goes by its own):"
        names = names_for(role)
        yield from (f"  {name} = {self.values[name]:g}   ({variable_of(name)})" for name in names)
        if self.origin == SERVER and role.machine and set(names) & set(DAEMON_KEEPS):
            yield "  (the machine's daemon restarts and stops; it goes by its own variables where they differ)"


def names_for(role: RoleView) -> tuple[str, ...]:
    """Which limits explain the state of a role."""
    beats = BY_DAEMON if role.machine else BY_ITSELF
    return (*beats, "sweep_interval_s", *IN_STATE.get(role.status, ()))


def in_force(session: Session) -> InForce:
    """Ask the server. One that is older than this command does not say, and not everybody may ask."""
    known = {name: float(getattr(session.limits, name)) for name in TOLD}
    try:
        said = session.server_limits()
    except (NotFound, Refused):
        return InForce(values=known, origin=SHELL)
    return InForce(values=known | {name: said[name] for name in TOLD if name in said}, origin=SERVER)
