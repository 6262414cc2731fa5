"""The exposition: what was counted, as Prometheus reads it.

All is made at the scrape, of sums that are there: that takes as long for a hundred thousand
gatherings as for none. No label has an id.
"""

import math
import sys
from collections.abc import Iterable, Sized

from attrs import frozen
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from squire_gatherings._admin.metrics.collector_pauses import CollectorPauses
from squire_gatherings._admin.metrics.families import (
    buckets,
    counter,
    counters,
    gauge,
    gauges,
    histogram,
)
from squire_gatherings._admin.metrics.loop_delay import LoopDelay
from squire_gatherings._admin.metrics.nodes import node_metrics, way_metrics
from squire_gatherings._cluster.node import LocalNode
from squire_gatherings._hall.observing import Observer
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.tally import Tally
from squire_gatherings._rules.histogram import PowerHistogram
from squire_gatherings._rules.refusals import Limit
from squire_gatherings._values.endings import DispersalReason
from squire_gatherings._values.numbers import Stage

CONTENT_TYPE = CONTENT_TYPE_LATEST


@frozen(eq=False)
class Numbers(Collector):
    """All numbers of one hall, and of the process that has it."""

    observer: Observer
    quotas: Quotas
    loop: LoopDelay
    pauses: CollectorPauses
    version: str
    viewers: Sized = ()
    """Who watches the page."""
    node: LocalNode | None = None
    """What the hall does as one of several nodes, if it is one."""

    def collect(self) -> Iterable[Metric]:
        """Yield them, as they are now."""
        tally = self.observer.tally
        yield from self._gatherings(tally)
        yield from _messages(tally)
        yield counter(
            "squire_store_lost_logs",
            "Logs of which the store has lost what was acknowledged.",
            self.observer.lost_logs,
        )
        yield from self._events()
        yield from self._connections(tally)
        yield from way_metrics(tally)
        if self.node is not None:
            yield from node_metrics(self.node, tally)
        yield from self._process()

    def _gatherings(self, tally: Tally) -> Iterable[Metric]:
        observer = self.observer
        stages = {str(stage): observer.stages[stage] for stage in Stage}
        yield gauges(
            "squire_gatherings", "Gatherings in memory, by how far they are.", "stage", stages
        )
        yield counter("squire_gatherings_opened", "Gatherings opened.", observer.opened)
        ended = dict.fromkeys(map(str, DispersalReason), 0) | observer.ended
        yield counters("squire_dispersals", "Gatherings ended, by rule or reason.", "rule", ended)
        yield histogram(
            "squire_dispersal_lateness_seconds",
            "Time from the deadline of a gathering to its last notices.",
            tally.lateness,
        )
        yield histogram(
            "squire_gathering_lifetime_seconds", "How long gatherings lived.", tally.lifetimes
        )
        yield counters(
            "squire_notices", "Last notices to clients, by outcome.", "outcome", tally.notices
        )
        yield histogram(
            "squire_restore_duration_seconds", "Time to restore a gathering.", tally.restores
        )
        yield histogram("squire_restored_ops", "Ops that a restore folded.", tally.restored_ops)
        yield counter(
            "squire_restore_failures",
            "Restores that failed.",
            tally.failed_restores,
        )

    def _events(self) -> Iterable[Metric]:
        events = self.observer.events
        if events is not None:
            text = "Lifecycle events that wait to be delivered."
            yield gauge("squire_events_waiting", text, events.waiting)
            yield gauge("squire_events_limit", "How many may wait.", events.max_events)
            yield counter(
                "squire_events_delivered", "Lifecycle events delivered.", events.delivered
            )
            yield counter(
                "squire_events_omitted",
                "Lifecycle events left out, as too many waited.",
                events.omitted,
            )

    def _connections(self, tally: Tally) -> Iterable[Metric]:
        quotas = self.quotas
        budget = quotas.budget
        yield gauge("squire_clients", "Clients in gatherings.", self.observer.clients)
        yield gauge("squire_connections", "Connections, also at the door.", budget.connections)
        yield counter("squire_connections_accepted", "Connections let in.", tally.connections)
        closes = {str(int(code)): count for code, count in tally.closes.items()}
        yield counters(
            "squire_connections_closed", "Connections ended, by close code.", "code", closes
        )
        joins = CounterMetricFamily(
            "squire_joins",
            "Joins: new, with a last seq, or of a client that comes back by itself.",
            labels=("kind", "outcome"),
        )
        for labels, count in sorted(tally.joins.items()):
            joins.add_metric(labels, count)
        yield joins
        counts = quotas.refusals.counts
        refused = {str(limit): counts.get(limit, 0) for limit in Limit}
        yield counters("squire_refusals", "How often limits were enforced.", "limit", refused)
        yield gauge("squire_outbox_bytes", "Bytes that wait for slow readers.", budget.outbound)
        yield gauge("squire_held_bytes", "Bytes held in all, as far as counted.", budget.used)
        most = math.inf if budget.limit is None else budget.limit
        yield gauge("squire_held_bytes_limit", "Bytes that may be held in all.", most)
        yield histogram(
            "squire_ping_round_trip_seconds", "Time from a ping to its pong.", tally.round_trips
        )

    def _process(self) -> Iterable[Metric]:
        yield gauge("squire_admin_viewers", "Viewers of the admin page.", len(self.viewers))
        yield histogram(
            "squire_loop_delay_seconds",
            "How much later a task is woken than it asked for.",
            self.loop.delays,
        )
        pauses = HistogramMetricFamily(
            "squire_collector_pause_seconds",
            "Pauses of Python's garbage collector.",
            labels=("generation",),
        )
        for generation, one in enumerate(self.pauses.pauses):
            pauses.add_metric((str(generation),), buckets(one), one.total)
        yield pauses
        python = ".".join(map(str, sys.version_info[:3]))
        labels = {"version": self.version, "python": python}
        yield InfoMetricFamily("squire_build", "What runs here.", labels)


def _messages(tally: Tally) -> Iterable[Metric]:
    yield counter("squire_messages", "Messages processed.", tally.messages)
    syncs = {"synced": tally.synced, **tally.syncs}
    yield counters("squire_syncs", "Syncs, by outcome.", "outcome", syncs)
    yield counter(
        "squire_forwarded_ops", "Ops forwarded, each once for each client.", tally.forwards
    )
    yield counter("squire_retries", "Messages sent again.", tally.retries)
    yield HistogramMetricFamily(
        "squire_commit_duration_seconds",
        "Time until what was committed was durable.",
        buckets=buckets(tally.commits, at_once=tally.at_once),
        sum_value=tally.commits.total,
    )
    yield histogram("squire_committed_ops", "Ops of a commit.", PowerHistogram.of(tally.committed))
    yield counter("squire_commit_failures", "Commits that were tried again.", tally.failed_commits)


class Exposition:
    """Makes the text that a scrape is answered with."""

    def __init__(self, numbers: Numbers) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(numbers)
        # Memory, processor time and open files, by the names that all programs have.
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return it."""
        return generate_latest(self._registry)
