"""Formats ids, and checks the names of rooms, roles and machines."""

import base64
import re

from greenroom.domain.errors import Unusable

ID_BYTES = 10
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?!\n)$"
USER = "user"
SYSTEM = "system"
RESERVED_ROLES = (USER, SYSTEM)

_NAME = re.compile(NAME_PATTERN)
_ROOM_ID = re.compile(r"^room_[a-z2-7]{16}$")


def format_id(prefix: str, entropy: bytes) -> str:
    """Format ten random bytes as an id: `task_k5q...`, the prefix and 16 characters of lower-case base 32."""
    assert len(entropy) == ID_BYTES
    return f"{prefix}_{base64.b32encode(entropy).decode().lower()}"


def is_name(text: str) -> bool:
    """Return whether `text` is a valid name for a room, a role or a machine."""
    return _NAME.match(text) is not None and not text.endswith("\n")


def check_name(kind: str, text: str) -> str:
    """Return `text` if it is a valid name for a `kind` (room, role, ...); raise Unusable otherwise."""
    if not is_name(text):
        raise Unusable(
            f"{text[:80]!r} cannot be the name of a {kind}.",
            "Use 1 to 64 ASCII letters, digits, '-', '_' or '.', beginning with a letter or a digit.",
        )
    if kind == "room" and _ROOM_ID.match(text):
        raise Unusable(
            f"{text!r} has the form of a room's id.", "Choose a name that is not of the form room_<16 characters>."
        )
    if kind == "role" and text in RESERVED_ROLES:
        raise Unusable(
            f"{text!r} cannot be the name of a role.", "'user' and 'system' are reserved. Choose another name."
        )
    return text
