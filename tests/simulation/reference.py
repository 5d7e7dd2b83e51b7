"""What must be true of presence, written a second time and more simply. Must not use the product's own rules."""

from dataclasses import dataclass, field


@dataclass
class Seat:
    """One role, as the promises describe it."""

    newest: str | None = None
    is_present: bool = False
    closed: set[str] = field(default_factory=set)
    seen_at: float = 0.0

    def verdict(self, connection: str) -> str:
        """What a beat of that connection must be answered."""
        if connection in self.closed:
            return "superseded"
        return "ok" if connection == self.newest and self.is_present else "rejoin_required"

    def join(self, connection: str, now: float) -> str:
        """What a join must be answered, and what it does."""
        if connection in self.closed:
            return "superseded"
        if self.newest is not None and self.newest != connection:
            self.closed.add(self.newest)
        self.newest, self.is_present, self.seen_at = connection, True, now
        return "ok"

    def leave(self, connection: str) -> None:
        """Only who sits, or may come back, can leave."""
        if connection == self.newest and connection not in self.closed:
            self.closed.add(connection)
            self.is_present = False
