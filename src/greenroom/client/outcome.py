"""How an errand ends, in a word and for people. Must not know what follows from it."""

import msgspec

from greenroom.process.group import Exit

DONE = "done"
DID_ITSELF = "did_itself"
FAILED = "failed"
GONE = "gone"
STOPPED = "stopped"
PAUSED = "paused"
NOT_BEGUN = "not_begun"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended, in a word and for people. `is_kept`: the files of the run hold more than was sent.

    `until` is when one that paused may go on, as ISO; None where a person has to do something first.
    """

    kind: str
    detail: str
    exit: Exit | None = None
    is_kept: bool = False
    until: str | None = None
