"""A reference model of restarts and their limits, which uses none of the product's rules.

All instants are seconds of true time, which is independent of the simulated computer's clocks.
"""

from dataclasses import dataclass, field

from greenroom.domain.reliability import Reliability

EPSILON_S = 0.001


@dataclass
class Account:
    """The failures and restart holds of one role since the present generation of its agent spec was written."""

    generation: int
    ends: list[float] = field(default_factory=list)
    seen_ends: list[float] = field(default_factory=list)
    is_parked: bool = False
    needs_person: bool = False
    not_before: float = float("-inf")
    trials: int = 0


class Budget:
    """The restart accounts of all roles of one machine under the given limits."""

    def __init__(self, limits: Reliability) -> None:
        self._limits = limits
        self._accounts: dict[str, Account] = {}

    def of(self, role: str, generation: int) -> Account:
        """The account of a role; a newer generation begins a new account."""
        known = self._accounts.get(role)
        if known is None or known.generation < generation:
            known = self._accounts[role] = Account(generation)
        assert known.generation == generation, "the generation decreased"
        return known

    def began(self, role: str, generation: int, is_trial: bool, now: float) -> None:
        """Record that an agent was started, and check that it was allowed to."""
        account = self.of(role, generation)
        assert not account.needs_person, "started although a user has to start it"
        assert now > account.not_before - EPSILON_S, "started during its restart hold"
        assert is_trial == account.is_parked, "a run must be a probe run exactly if the role is crash-looping"

    def died(self, role: str, generation: int, now: float) -> None:
        account = self.of(role, generation)
        if account.is_parked:
            account.trials += 1
            assert account.trials == 1, "more than one probe run for one crash loop"
            account.needs_person = True
            return
        limits = self._limits
        account.ends.append(now)
        if len(account.ends) > limits.park_after_ends:
            span_s = now - account.ends[-limits.park_after_ends - 1]
            assert span_s > limits.park_window_s - EPSILON_S, "more failures than the limit within the window"
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
        """Record a restart hold without a failure: until `until`, or (None) until a user starts the agent."""
        account = self.of(role, generation)
        account.needs_person = until is None
        account.not_before = float("inf") if until is None else until

    def clock_was_set_back(self, by_s: float, now: float) -> None:
        """Record a boot with the wall clock set back: failures then look more recent, never older."""
        for account in self._accounts.values():
            account.seen_ends = [min(at + by_s, now) for at in account.seen_ends]
