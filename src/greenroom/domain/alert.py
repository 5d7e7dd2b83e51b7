"""Defines an alert: something that needs a user."""

import msgspec

REVIEW = "review"
QUARANTINED = "quarantined"
CRASH_LOOPING = "crash_looping"
PAUSED = "paused"
UNATTENDED = "unattended"
MACHINE_NOT_CONNECTED = "machine_not_connected"
MACHINE_CLONED = "machine_cloned"
MASS_SILENCE = "mass_silence"
LOOP_LATE = "loop_late"
LATE_RESULT = "late_result"

TASK_KINDS = (REVIEW, QUARANTINED, LATE_RESULT)
"""Kinds whose subject is the id of a task."""
ROLE_KINDS = (UNATTENDED, CRASH_LOOPING, PAUSED)
"""Kinds whose subject is a role: the id of its room, a slash, and its name."""
MACHINE_KINDS = (MACHINE_NOT_CONNECTED, MACHINE_CLONED)
"""Kinds whose subject is the id of a machine."""
KINDS = (*TASK_KINDS, *ROLE_KINDS, *MACHINE_KINDS, MASS_SILENCE, LOOP_LATE)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is its id, `KIND:SUBJECT`. It is raised once for each key, and resolved when its cause is gone.

    `room` is a room's id. `text` is what it said when it was raised. `subjects` has the senders of a mass silence, and
    is empty where the subject says everything.
    """

    key: str
    room: str | None = None
    text: str
    subjects: tuple[str, ...] = ()
    raised_at: str

    @property
    def kind(self) -> str:
        """The part of the key before its colon."""
        return self.key.partition(":")[0]

    @property
    def subject(self) -> str:
        """The part of the key after its colon."""
        return self.key.partition(":")[2]

    @property
    def role(self) -> str | None:
        """The name of the role that is its subject."""
        return self.subject.partition("/")[2] if self.kind in ROLE_KINDS else None

    @property
    def task(self) -> str | None:
        """The id of the task that is its subject."""
        return self.subject if self.kind in TASK_KINDS else None


def alert_key(kind: str, subject: str) -> str:
    """Return the key of an alert."""
    return f"{kind}:{subject}"
