"""What a text from outside must keep to. Must not know whose text it is."""

from greenroom.domain.errors import Unusable
from greenroom.service.world import World


def check(world: World, what: str, text: str) -> None:
    """Raise Unusable for a text that is too long or cannot be stored."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > world.limits.text_bytes_max:
        raise Unusable(
            f"{what} has {size} bytes; at most {world.limits.text_bytes_max} are taken.",
            "Send the beginning and say in it where the whole can be found, for example in a file of the repository.",
        )
    if "\0" in text:
        raise Unusable(
            f"{what} has the character U+0000 in it, which cannot be stored.", "Remove it and send it again."
        )
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Unusable(f"{what} has half of a surrogate pair in it.", "Send well-formed Unicode.")
