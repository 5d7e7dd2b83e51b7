"""The server's Prometheus metrics: their names, units and help texts.

All values are read when Prometheus asks for them. The hot paths only increment plain numbers.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from greenroom.server.background import BackgroundLoops
from greenroom.server.counters import Counters
from greenroom.service.context import ServiceContext

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """All metrics of one server, in a registry of its own."""

    def __init__(self, context: ServiceContext, counters: Counters, background: BackgroundLoops) -> None:
        self._context = context
        self._counters = counters
        self._background = background
        self._registry: Final = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from self._beats()
        yield from self._connections()
        yield from self._store()
        yield from self._loops()

    def _beats(self) -> Iterator[Metric]:
        counters = self._counters
        beats = CounterMetricFamily(
            "greenroom_beats", "Heartbeats by sender (agent or machine) and verdict", labels=["of", "verdict"]
        )
        for verdict, count in counters.agent_beats.items():
            beats.add_metric(["agent", verdict], count)
        for verdict, count in counters.machine_beats.items():
            beats.add_metric(["machine", verdict], count)
        yield beats
        yield counter(
            "agents_in_machine_beats", "Agents named in the heartbeats of machines", counters.agents_in_machine_beats
        )
        transitions = CounterMetricFamily("greenroom_transitions", "Committed events by type", labels=["type"])
        for type, count in counters.transitions.items():
            transitions.add_metric([type], count)
        yield transitions

    def _connections(self) -> Iterator[Metric]:
        counters, leases = self._counters, self._context.leases
        yield gauge("participants", "Present participants", len(leases.participants))
        yield gauge("machines", "Connected machines", len(leases.machines))
        yield gauge("streams", "Open event streams", counters.streams)
        yield gauge("waits", "Open long polls: claims, and waits for assignments", counters.long_polls)

    def _store(self) -> Iterator[Metric]:
        writer = self._context.store.writer
        yield gauge("writer_queue", "Mutations that wait for their commit", writer.queued)
        yield counter("writer_batches", "Commits", writer.batches)
        yield counter("writer_failures", "Callbacks, publications and deliveries that raised", writer.callback_failures)

    def _loops(self) -> Iterator[Metric]:
        sweep, counters = self._context.sweep, self._context.sweep_counters
        yield counter(
            "sweep_extensions", "Times that all leases were extended because the sweep came too late", sweep.extensions
        )
        yield counter("expired", "Participants whose lease the sweep ended", counters.expired)
        yield counter("disconnected", "Machines that the sweep marked disconnected", counters.disconnected)
        yield counter("released", "Tasks that the sweep released since their holder stayed absent", counters.released)
        loops = self._background.loops
        yield add_labelled(
            GaugeMetricFamily(
                "greenroom_loop_age_seconds", "Seconds since the loop last finished a round", labels=["loop"]
            ),
            ((health.name, health.age_s()) for health in loops),
        )
        yield add_labelled(
            CounterMetricFamily("greenroom_loop_failures", "Rounds of a loop that raised", labels=["loop"]),
            ((health.name, health.failures) for health in loops),
        )
        rounds = self._counters
        yield gauge("sweep_last_seconds", "Duration of the last round of the sweep", rounds.sweep_last_s)
        yield counter("sweep_seconds", "Total duration of all rounds of the sweep", rounds.sweep_s)
        yield counter("sweeps", "Rounds of the sweep", rounds.sweeps)


def counter(name: str, description: str, value: float) -> Metric:
    return CounterMetricFamily(f"greenroom_{name}", description, value=value)


def gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"greenroom_{name}", description, value=value)


def add_labelled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Iterable[tuple[str, float]]
) -> GaugeMetricFamily | CounterMetricFamily:
    for label, value in values:
        family.add_metric([label], value)
    return family
