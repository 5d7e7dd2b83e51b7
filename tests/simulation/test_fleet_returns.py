"""A whole fleet reconnects after an outage of its server or network: in time, and without a burst of requests."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from greenroom.domain import heartbeat_policy
from greenroom.domain.heartbeat_policy import LongPollPolicy, make_long_poll_policy
from greenroom.domain.limits import DEFAULT_LIMITS, Limits
from greenroom.testing import SeededEntropy
from tests.simulation.simulated_fleet import INTERVAL_S, SimulatedFleet

Patch = pytest.MonkeyPatch
Outage = Callable[[SimulatedFleet], None]

PEAK_MAX = 3.0
"""Limit for the requests in the busiest second of an interval, as a multiple of the mean per second."""
INTERVALS = 2
LONGER_THAN_EVERY_LEASE_S = DEFAULT_LIMITS.daemon_heartbeat_ttl_s + DEFAULT_LIMITS.task_lost_after_s + INTERVAL_S
LARGE = (500, 20)
SMALL = (250, 8)
"""Machines, and agents of each. The small fleet is large enough for `spread_retries`, and takes less time."""

OUTAGES: dict[str, Outage] = {
    "5 s without a server": lambda fleet: fleet.stop_server(5.0),
    "3 min without a server": lambda fleet: fleet.stop_server(180.0),
    "no server for longer than every lease": lambda fleet: fleet.stop_server(LONGER_THAN_EVERY_LEASE_S),
    "no network for longer than every lease": lambda fleet: fleet.cut_network(LONGER_THAN_EVERY_LEASE_S),
}


def assert_recovery(fleet: SimulatedFleet, name: str) -> None:
    """Cause an outage, end it, and assert that the fleet recovers within an interval and without a burst."""
    assert [] == fleet.unrecovered()
    OUTAGES[name](fleet)
    fleet.network.pass_time(INTERVAL_S)
    assert [] == fleet.unrecovered()[:5], f"after {name} not all have recovered within an interval"
    fleet.network.pass_time((INTERVALS - 1) * INTERVAL_S)
    for number in range(INTERVALS):
        rates = fleet.rates(number)
        mean = sum(rates) / len(rates)
        peak = f"{max(rates)} of {mean:.0f} a second"
        assert max(rates) < PEAK_MAX * mean, f"after {name} a burst in interval {number}: {peak}"


def test_large_fleet_recovers_without_burst() -> None:
    assert_recovery(SimulatedFleet(*LARGE, seed=1), "5 s without a server")


def test_fleet_recovers_from_each_outage() -> None:
    """The outages follow one another, so that each begins with the state that the last one left."""
    fleet = SimulatedFleet(*SMALL, seed=2)
    for name in OUTAGES:
        assert_recovery(fleet, name)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(10, 20))
def test_large_fleet_recovers_for_any_seed(seed: int) -> None:
    fleet = SimulatedFleet(*LARGE, seed)
    for name in OUTAGES:
        assert_recovery(fleet, name)


# Planted faults must be found.


def retries_without_randomness(patch: Patch) -> None:
    """All retry after the same pause."""

    def fixed(longest_s: float, spread_retries: bool, was_failing: bool, fraction: float) -> float:
        return longest_s

    patch.setattr(heartbeat_policy, "retry_pause_s", fixed)
    patch.setattr(heartbeat_policy, "retry_pause_s", fixed)


def spread_hint_ignored(patch: Patch) -> None:
    """A claim is retried within the short pause, regardless of `spread_retries`."""
    patch.setattr(Limits, "retry_pause_for", lambda self, interval_s, spread_retries=False: self.retry_pause_s)


def claims_sent_at_once(patch: Patch) -> None:
    """A daemon that reconnects sends the claims of all its agents at once."""
    retries_without_randomness(patch)
    patch.setattr(LongPollPolicy, "record_return", lambda self, fraction: 0.0)


@pytest.mark.parametrize("fault", [retries_without_randomness, spread_hint_ignored, claims_sent_at_once])
def test_burst_is_found(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError, match="a burst in interval 0"):
        assert_recovery(SimulatedFleet(*SMALL, seed=1), "5 s without a server")


# The steady state: requests that were once synchronised spread out again.


def peak_after(next_in_s: Callable[[float], float], rounds: int) -> float:
    """The busiest second as a multiple of the mean, that many rounds after all requests came at the same time."""
    entropy, clients = SeededEntropy(1), 5_000
    times = [0.0] * clients
    for _ in range(rounds):
        times = [at + next_in_s(entropy.fraction()) for at in times]
    start_at = min(times)
    period_s = next_in_s(0.5)
    seconds = [0] * (int(period_s) + 1)
    for at in times:
        seconds[int((at - start_at) % period_s)] += 1
    return max(seconds) * period_s / clients


CLAIM_POLICY = make_long_poll_policy(DEFAULT_LIMITS, INTERVAL_S)


@pytest.mark.parametrize(
    "next_in_s",
    [lambda fraction: DEFAULT_LIMITS.next_beat_in_s(INTERVAL_S, fraction), CLAIM_POLICY.wait_s],
    ids=["beats", "waits"],
)
def test_synchronised_requests_spread(next_in_s: Callable[[float], float]) -> None:
    peaks = [peak_after(next_in_s, rounds) for rounds in (1, 4, 16, 64)]
    assert all(later < earlier for earlier, later in pairwise(peaks)), peaks
    assert peaks[2] < PEAK_MAX
    assert peak_after(lambda fraction: next_in_s(0.5), 64) > PEAK_MAX, "the check would not find unspread requests"
