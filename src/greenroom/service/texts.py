"""Checks texts that clients send: their length, and characters that cannot be stored."""

from greenroom.domain.errors import Unusable
from greenroom.service.world import World


def check(world: World, what: str, text: str) -> None:
    """Raise Unusable for a text that is longer than `text_bytes_max` bytes or cannot be stored.

    `what` names the field in the error.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > world.limits.text_bytes_max:
        raise Unusable(
            f"{what} has {size} bytes; the limit is {world.limits.text_bytes_max}.",
            "Send the beginning, and name in it where the full text is, for example a file in the repository.",
        )
    if "\0" in text:
        raise Unusable(
            f"{what} contains the character U+0000, which cannot be stored.", "Remove it and send the text again."
        )
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Unusable(f"{what} contains half of a surrogate pair.", "Send well-formed Unicode.")
