"""Checks texts that clients send (their length, and characters that cannot be stored) and the names of new rooms."""

from greenroom.domain.errors import Conflict, Unusable
from greenroom.domain.ids import check_name
from greenroom.service.context import ServiceContext
from greenroom.store import rooms
from greenroom.store.transaction import Reader


def check_text(context: ServiceContext, field: str, text: str) -> None:
    """Raise Unusable for a text that is longer than `text_bytes_max` bytes or cannot be stored.

    `field` names the field in the error.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > context.limits.text_bytes_max:
        raise Unusable(
            f"{field} has {size} bytes; the limit is {context.limits.text_bytes_max}.",
            "Send the beginning, and name in it where the full text is, for example a file in the repository.",
        )
    if "\0" in text:
        raise Unusable(
            f"{field} contains the character U+0000, which cannot be stored.", "Remove it and send the text again."
        )
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Unusable(f"{field} contains half of a surrogate pair.", "Send well-formed Unicode.")


def require_free_name(reader: Reader, name: str) -> None:
    """Raise Unusable for an invalid name, and Conflict for the name of another room."""
    check_name("room", name)
    if rooms.get(reader, name) is not None:
        raise Conflict(f"Room {name!r} exists already.", "Use that room, or choose another name.")
