"""A whole fleet reconnects after an outage of its server or network: in time, and without a burst of requests."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from greenroom.domain import presence, standing
from greenroom.domain.reliability import DEFAULTS, Reliability
from greenroom.domain.standing import Standing, standing_for
from greenroom.entropy import SeededEntropy
from tests.simulation.fleet import INTERVAL_S, Fleet

Patch = pytest.MonkeyPatch
Outage = Callable[[Fleet], None]

PEAK_MAX = 3.0
"""Limit for the requests in the busiest second of an interval, as a multiple of the mean per second."""
INTERVALS = 2
LONGER_THAN_EVERY_LEASE_S = DEFAULTS.daemon_heartbeat_ttl_s + DEFAULTS.task_lost_after_s + INTERVAL_S
WHOLE = (500, 20)
SMALL = (250, 8)
"""Machines, and agents of each. The small fleet is large enough for `crowded`, and takes less time."""

OUTAGES: dict[str, Outage] = {
    "5 s without a server": lambda fleet: fleet.lose_server(5.0),
    "3 min without a server": lambda fleet: fleet.lose_server(180.0),
    "no server for longer than every lease": lambda fleet: fleet.lose_server(LONGER_THAN_EVERY_LEASE_S),
    "no network for longer than every lease": lambda fleet: fleet.cut_line(LONGER_THAN_EVERY_LEASE_S),
}


def come_back(fleet: Fleet, name: str) -> None:
    """Cause an outage, end it, and assert that the fleet recovers within an interval and without a burst."""
    assert [] == fleet.unwell()
    OUTAGES[name](fleet)
    fleet.line.pass_time(INTERVAL_S)
    assert [] == fleet.unwell()[:5], f"after {name} not all have recovered within an interval"
    fleet.line.pass_time((INTERVALS - 1) * INTERVAL_S)
    for number in range(INTERVALS):
        rates = fleet.rates(number)
        mean = sum(rates) / len(rates)
        peak = f"{max(rates)} of {mean:.0f} a second"
        assert max(rates) < PEAK_MAX * mean, f"after {name} a burst in interval {number}: {peak}"


def test_ten_thousand_come_back_within_an_interval_and_not_in_a_wave() -> None:
    come_back(Fleet(*WHOLE, seed=1), "5 s without a server")


def test_all_come_back_outage_after_outage() -> None:
    """The outages follow one another, so that each begins with the state that the last one left."""
    fleet = Fleet(*SMALL, seed=2)
    for name in OUTAGES:
        come_back(fleet, name)


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(10, 20))
def test_ten_thousand_come_back_however_chance_falls(seed: int) -> None:
    fleet = Fleet(*WHOLE, seed)
    for name in OUTAGES:
        come_back(fleet, name)


# Planted faults must be found.


def retries_without_chance(patch: Patch) -> None:
    """All retry after the same pause."""

    def fixed(longest_s: float, is_crowded: bool, was_failing: bool, fraction: float) -> float:
        return longest_s

    patch.setattr(presence, "retry_pause_s", fixed)
    patch.setattr(standing, "retry_pause_s", fixed)


def crowd_unheard(patch: Patch) -> None:
    """A claim is retried within the short pause, regardless of `crowded`."""
    patch.setattr(Reliability, "retry_pause_for", lambda self, interval_s, is_crowded=False: self.retry_pause_s)


def one_return_for_all_agents(patch: Patch) -> None:
    """A daemon that reconnects sends the claims of all its agents at once."""
    retries_without_chance(patch)
    patch.setattr(Standing, "returned_in_crowd", lambda self, fraction: 0.0)


@pytest.mark.parametrize("fault", [retries_without_chance, crowd_unheard, one_return_for_all_agents])
def test_a_wave_is_found(fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    fault(monkeypatch)
    with pytest.raises(AssertionError, match="a burst in interval 0"):
        come_back(Fleet(*SMALL, seed=1), "5 s without a server")


# The steady state: requests that were once synchronised spread out again.


def busiest_of(next_in_s: Callable[[float], float], rounds: int) -> float:
    """The busiest second as a multiple of the mean, that many rounds after all requests came at the same time."""
    entropy, parties = SeededEntropy(1), 5_000
    times = [0.0] * parties
    for _ in range(rounds):
        times = [at + next_in_s(entropy.fraction()) for at in times]
    begins_at = min(times)
    period_s = next_in_s(0.5)
    seconds = [0] * (int(period_s) + 1)
    for at in times:
        seconds[int((at - begins_at) % period_s)] += 1
    return max(seconds) * period_s / parties


WAITS = standing_for(DEFAULTS, INTERVAL_S)


@pytest.mark.parametrize(
    "next_in_s",
    [lambda fraction: DEFAULTS.next_beat_in_s(INTERVAL_S, fraction), WAITS.wait_s],
    ids=["beats", "waits"],
)
def test_a_wave_goes_flat_by_itself(next_in_s: Callable[[float], float]) -> None:
    peaks = [busiest_of(next_in_s, rounds) for rounds in (1, 4, 16, 64)]
    assert all(later < earlier for earlier, later in pairwise(peaks)), peaks
    assert peaks[2] < PEAK_MAX
    assert busiest_of(lambda fraction: next_in_s(0.5), 64) > PEAK_MAX, "the check would not find unspread requests"
