"""What is counted of a hall as one of several nodes, and of where its clients are brought."""

from collections import Counter
from collections.abc import Iterable

import trio
from prometheus_client.core import Metric

from squire_gatherings._admin.metrics.families import counter, counters, gauge, gauges, histogram
from squire_gatherings._cluster.node import LocalNode
from squire_gatherings._hall.tally import Tally
from squire_gatherings._values.nodes import STATES, state_of


def way_metrics(tally: Tally) -> Iterable[Metric]:
    """Yield where clients were brought whose gathering another process has."""
    yield counters(
        "squire_routed",
        "Clients whose request came to this one of several processes, by where it went.",
        "way",
        tally.routed,
    )
    text = "Connections that other processes serve, and this one stays in between."
    yield gauge("squire_relayed_connections", text, tally.between)


def node_metrics(local: LocalNode, tally: Tally) -> Iterable[Metric]:
    """Yield what is counted of a node."""
    beats, lease = local.beats, local.ownership.lease
    is_silent = local.ownership.is_silent
    states = Counter(state_of(node, is_silent=is_silent(node)) for node in local.nodes)
    yield gauges(
        "squire_nodes",
        "Nodes that share the store, as this one sees them.",
        "state",
        {state: states[state] for state in STATES},
    )
    yield gauge(
        "squire_lease_seconds_left",
        "How long what this node has stays its own without another beat.",
        lease.until - trio.current_time(),
    )
    yield counter("squire_beats", "Beats that were taken.", beats.count_beats)
    text = "Beats that came later than twice the time between two."
    yield counter("squire_beats_late", text, beats.late)
    text = "How often the others declared this node dead."
    yield counter("squire_node_deaths", text, beats.deaths)
    text = "Dead nodes whose gatherings this one took over."
    yield counter("squire_takeovers", text, local.inherited)
    text = "Gatherings that came from other nodes, dead ones among them."
    yield counter("squire_gatherings_arrived", text, local.arrived)
    text = "Gatherings that were given to other nodes."
    yield counter("squire_gatherings_moved", text, local.moved)
    yield histogram(
        "squire_move_pause_seconds",
        "How long gatherings were nobody's while they were given to another node.",
        local.pauses,
    )
    text = "Gatherings that another node turned out to have when something was appended."
    yield counter("squire_fenced_gatherings", text, tally.taken_away)
