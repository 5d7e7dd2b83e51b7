"""What restarts there were, and whether a role may have another. Must not use the product's own rules.

All instants are seconds of true time, which no clock of the computer shows.
"""

from dataclasses import dataclass, field

from greenroom.domain.reliability import Reliability

EPSILON_S = 0.001


@dataclass
class Account:
    """One role under one generation of its wish: what it went through since a person wrote that."""

    generation: int
    ends: list[float] = field(default_factory=list)
    seen_ends: list[float] = field(default_factory=list)
    is_parked: bool = False
    needs_person: bool = False
    not_before: float = float("-inf")
    trials: int = 0


class Budget:
    """The accounts of all roles of one machine, under those limits."""

    def __init__(self, limits: Reliability) -> None:
        self._limits = limits
        self._accounts: dict[str, Account] = {}

    def of(self, role: str, generation: int) -> Account:
        """The account of the newest generation that was spoken of."""
        known = self._accounts.get(role)
        if known is None or known.generation < generation:
            known = self._accounts[role] = Account(generation)
        assert known.generation == generation, "a generation fell"
        return known

    def began(self, role: str, generation: int, is_trial: bool, now: float) -> None:
        """An agent was started."""
        account = self.of(role, generation)
        assert not account.needs_person, "started although that was for a person to do"
        assert now > account.not_before - EPSILON_S, "started before its rest was over"
        assert is_trial == account.is_parked, "a run on trial and a parked role are the same thing"

    def died(self, role: str, generation: int, now: float) -> None:
        account = self.of(role, generation)
        if account.is_parked:
            account.trials += 1
            assert account.trials == 1, "a park has one trial"
            account.needs_person = True
            return
        limits = self._limits
        account.ends.append(now)
        if len(account.ends) > limits.park_after_ends:
            span_s = now - account.ends[-limits.park_after_ends - 1]
            assert span_s > limits.park_window_s - EPSILON_S, "more ends than the budget allows"
        account.seen_ends = [at for at in account.seen_ends if now - at < limits.park_window_s] + [now]
        account.is_parked = len(account.seen_ends) >= limits.park_after_ends
        account.not_before = now + (limits.park_pause_s if account.is_parked else limits.restart_pause_s_min)

    def succeeded(self, role: str, generation: int) -> None:
        account = self.of(role, generation)
        if not account.is_parked:
            account.not_before = float("-inf")
            return
        fresh = self._accounts[role] = Account(generation)
        if self._limits.park_pause_s >= self._limits.park_window_s:
            fresh.ends = account.ends

    def waits(self, role: str, generation: int, until: float | None) -> None:
        """Something else than an end makes it wait, for that long or (None) for a person."""
        account = self.of(role, generation)
        account.needs_person = until is None
        account.not_before = float("inf") if until is None else until

    def clock_was_set_back(self, by_s: float, now: float) -> None:
        """All that is known after a boot is by the wall clock: what happened looks younger, never older."""
        for account in self._accounts.values():
            account.seen_ends = [min(at + by_s, now) for at in account.seen_ends]
