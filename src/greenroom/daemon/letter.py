"""One entry of the outbox: reports that belong together, as one file holds them."""

import msgspec

from greenroom.wire.requests import Fact


class Letter(Fact, frozen=True):
    """A report, with those that are sent after it. The files of earlier versions, with one report, can be read too."""

    then: tuple[Fact, ...] = ()

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All reports, in their order."""
        return (Fact(**{name: getattr(self, name) for name in Fact.__struct_fields__}), *self.then)


def letter_of(first: Fact, *then: Fact) -> Letter:
    return Letter(**msgspec.structs.asdict(first), then=then)
