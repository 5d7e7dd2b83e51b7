"""What the server tells Prometheus. Knows names and units; must not know who counts, nor cost them anything.

Everything is read when Prometheus asks: the hot paths raise plain numbers and nothing else.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from greenroom.server.healing import Healing
from greenroom.server.tally import Tally
from greenroom.service.world import World

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """All numbers of one server, in a registry of its own."""

    def __init__(self, world: World, tally: Tally, healing: Healing) -> None:
        self._world = world
        self._tally = tally
        self._healing = healing
        self._registry: Final = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._beats()
        yield from self._people()
        yield from self._store()
        yield from self._healers()

    def _beats(self) -> Iterator[Metric]:
        tally = self._tally
        beats = CounterMetricFamily(
            "greenroom_beats", "Heartbeats by who sent them and verdict", labels=["of", "verdict"]
        )
        for verdict, count in tally.agent_beats.items():
            beats.add_metric(["agent", verdict], count)
        for verdict, count in tally.machine_beats.items():
            beats.add_metric(["machine", verdict], count)
        yield beats
        yield counter(
            "agents_in_machine_beats", "Agents that machines' heartbeats spoke for", tally.agents_in_machine_beats
        )
        transitions = CounterMetricFamily("greenroom_transitions", "Committed events by type", labels=["type"])
        for type, count in tally.transitions.items():
            transitions.add_metric([type], count)
        yield transitions

    def _people(self) -> Iterator[Metric]:
        tally, leases = self._tally, self._world.leases
        yield gauge("participants", "Participants that are present", len(leases.seats))
        yield gauge("machines", "Machines that are connected", len(leases.machines))
        yield gauge("streams", "Readers of event streams", tally.streams)
        yield gauge("waits", "Standing claims and waits for wishes", tally.waits)

    def _store(self) -> Iterator[Metric]:
        writer = self._world.store.writer
        yield gauge("writer_queue", "Changes that wait for their commit", writer.queued)
        yield counter("writer_batches", "Commits", writer.batches)
        yield counter("writer_failures", "Effects, publications and deliveries that raised", writer.failures)

    def _healers(self) -> Iterator[Metric]:
        healer = self._world.healer
        yield counter(
            "sweep_extensions", "Times all leases were counted anew because the server was away", healer.extensions
        )
        yield counter("expired", "Participants that cleanup removed", healer.expired)
        yield counter("disconnected", "Machines that cleanup marked disconnected", healer.disconnected)
        yield counter("released", "Tasks that silence released", healer.released)
        pulses = self._healing.pulses
        yield labelled(
            GaugeMetricFamily("greenroom_loop_age_seconds", "Since a loop last finished a round", labels=["loop"]),
            ((pulse.name, pulse.age_s()) for pulse in pulses),
        )
        yield labelled(
            CounterMetricFamily("greenroom_loop_failures", "Rounds that raised", labels=["loop"]),
            ((pulse.name, pulse.failures) for pulse in pulses),
        )
        tally = self._tally
        yield gauge("sweep_last_seconds", "How long the last round of the sweep took", tally.sweep_last_s)
        yield counter("sweep_seconds", "How long all rounds of the sweep took", tally.sweep_s)
        yield counter("sweeps", "Rounds of the sweep", tally.sweeps)


def counter(name: str, says: str, value: float) -> Metric:
    return CounterMetricFamily(f"greenroom_{name}", says, value=value)


def gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"greenroom_{name}", says, value=value)


def labelled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[str, float]]
) -> GaugeMetricFamily | CounterMetricFamily:
    for label, value in values:
        family.add_metric([label], value)
    return family
