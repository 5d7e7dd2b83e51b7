"""Facts that belong together, as one file holds them, all of them or none. Must not know where that file lies."""

import msgspec

from greenroom.wire.requests import Fact


class Letter(Fact, frozen=True):
    """A fact with those that are told after it. What a former daemon wrote was a fact alone, which reads the same."""

    then: tuple[Fact, ...] = ()

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All of them, in their order."""
        return (Fact(**{name: getattr(self, name) for name in Fact.__struct_fields__}), *self.then)


def letter_of(first: Fact, *then: Fact) -> Letter:
    return Letter(**msgspec.structs.asdict(first), then=then)
