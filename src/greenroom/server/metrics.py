"""The server's Prometheus metrics: their names, units and help texts.

All values are read when Prometheus asks for them. The hot paths only increment plain numbers.
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
    """All metrics of one server, in a registry of its own."""

    def __init__(self, world: World, tally: Tally, healing: Healing) -> None:
        self._world = world
        self._tally = tally
        self._healing = healing
        self._registry: Final = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._beats()
        yield from self._people()
        yield from self._store()
        yield from self._healers()

    def _beats(self) -> Iterator[Metric]:
        tally = self._tally
        beats = CounterMetricFamily(
            "greenroom_beats", "Heartbeats by sender (agent or machine) and verdict", labels=["of", "verdict"]
        )
        for verdict, count in tally.agent_beats.items():
            beats.add_metric(["agent", verdict], count)
        for verdict, count in tally.machine_beats.items():
            beats.add_metric(["machine", verdict], count)
        yield beats
        yield counter(
            "agents_in_machine_beats", "Agents named in the heartbeats of machines", tally.agents_in_machine_beats
        )
        transitions = CounterMetricFamily("greenroom_transitions", "Committed events by type", labels=["type"])
        for type, count in tally.transitions.items():
            transitions.add_metric([type], count)
        yield transitions

    def _people(self) -> Iterator[Metric]:
        tally, leases = self._tally, self._world.leases
        yield gauge("participants", "Present participants", len(leases.seats))
        yield gauge("machines", "Connected machines", len(leases.machines))
        yield gauge("streams", "Open event streams", tally.streams)
        yield gauge("waits", "Open long polls: claims, and waits for assignments", tally.waits)

    def _store(self) -> Iterator[Metric]:
        writer = self._world.store.writer
        yield gauge("writer_queue", "Mutations that wait for their commit", writer.queued)
        yield counter("writer_batches", "Commits", writer.batches)
        yield counter("writer_failures", "Effects, publications and deliveries that raised", writer.failures)

    def _healers(self) -> Iterator[Metric]:
        healer = self._world.healer
        yield counter(
            "sweep_extensions", "Times that all leases were extended because the sweep came too late", healer.extensions
        )
        yield counter("expired", "Participants whose lease the sweep ended", healer.expired)
        yield counter("disconnected", "Machines that the sweep marked disconnected", healer.disconnected)
        yield counter("released", "Tasks that the sweep released since their holder stayed absent", healer.released)
        pulses = self._healing.pulses
        yield labelled(
            GaugeMetricFamily(
                "greenroom_loop_age_seconds", "Seconds since the loop last finished a round", labels=["loop"]
            ),
            ((pulse.name, pulse.age_s()) for pulse in pulses),
        )
        yield labelled(
            CounterMetricFamily("greenroom_loop_failures", "Rounds of a loop that raised", labels=["loop"]),
            ((pulse.name, pulse.failures) for pulse in pulses),
        )
        tally = self._tally
        yield gauge("sweep_last_seconds", "Duration of the last round of the sweep", tally.sweep_last_s)
        yield counter("sweep_seconds", "Total duration of all rounds of the sweep", tally.sweep_s)
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
