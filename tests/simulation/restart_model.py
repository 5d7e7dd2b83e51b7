"""A reference model of restarts and their limits, which uses none of the product's rules.

All instants are seconds of true time, which is independent of the simulated computer's clocks.
"""

from dataclasses import dataclass, field

from greenroom.domain.limits import Limits

EPSILON_S = 0.001


@dataclass
class RestartAccount:
    """The failures and restart holds of one role since the present generation of its agent spec was written."""

    generation: int
    failures: list[float] = field(default_factory=list)
    seen_failures: list[float] = field(default_factory=list)
    is_crash_looping: bool = False
    needs_user: bool = False
    held_until: float = float("-inf")
    probe_runs: int = 0


class RestartModel:
    """The restart accounts of all roles of one machine under the given limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._accounts: dict[str, RestartAccount] = {}

    def account_of(self, role: str, generation: int) -> RestartAccount:
        """The account of a role; a newer generation begins a new account."""
        account = self._accounts.get(role)
        if account is None or account.generation < generation:
            account = self._accounts[role] = RestartAccount(generation)
        assert account.generation == generation, "the generation decreased"
        return account

    def record_start(self, role: str, generation: int, is_probe: bool, now: float) -> None:
        """Record that an agent was started, and check that it was allowed to."""
        account = self.account_of(role, generation)
        assert not account.needs_user, "started although a user has to start it"
        assert now > account.held_until - EPSILON_S, "started during its restart hold"
        assert is_probe == account.is_crash_looping, "a run must be a probe run exactly if the role is crash-looping"

    def record_failure(self, role: str, generation: int, now: float) -> None:
        account = self.account_of(role, generation)
        if account.is_crash_looping:
            account.probe_runs += 1
            assert account.probe_runs == 1, "more than one probe run for one crash loop"
            account.needs_user = True
            return
        limits = self._limits
        account.failures.append(now)
        if len(account.failures) > limits.crash_loop_after_failures:
            span_s = now - account.failures[-limits.crash_loop_after_failures - 1]
            assert span_s > limits.crash_loop_window_s - EPSILON_S, "more failures than the limit within the window"
        account.seen_failures = [at for at in account.seen_failures if now - at < limits.crash_loop_window_s] + [now]
        account.is_crash_looping = len(account.seen_failures) >= limits.crash_loop_after_failures
        account.held_until = now + (
            limits.crash_loop_probe_after_s if account.is_crash_looping else limits.restart_backoff_s_min
        )

    def record_success(self, role: str, generation: int) -> None:
        account = self.account_of(role, generation)
        if not account.is_crash_looping:
            account.held_until = float("-inf")
            return
        new_account = self._accounts[role] = RestartAccount(generation)
        if self._limits.crash_loop_probe_after_s >= self._limits.crash_loop_window_s:
            new_account.failures = account.failures

    def record_hold(self, role: str, generation: int, until: float | None) -> None:
        """Record a restart hold without a failure: until `until`, or (None) until a user starts the agent."""
        account = self.account_of(role, generation)
        account.needs_user = until is None
        account.held_until = float("inf") if until is None else until

    def set_clock_back(self, by_s: float, now: float) -> None:
        """Record a boot with the wall clock set back: failures then look more recent, never older."""
        for account in self._accounts.values():
            account.seen_failures = [min(at + by_s, now) for at in account.seen_failures]
