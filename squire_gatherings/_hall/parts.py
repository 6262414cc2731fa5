"""Parts: what other layers, and other processes, get of a hall. Not for programs."""

from squire_gatherings._hall.asking import Asking
from squire_gatherings._hall.board import Board
from squire_gatherings._hall.event_delivery import Delivery
from squire_gatherings._hall.hall import Hall
from squire_gatherings._hall.observing import Observer
from squire_gatherings._hall.ownership import Peers
from squire_gatherings._hall.quotas import Quotas
from squire_gatherings._hall.registry import Registry
from squire_gatherings._hall.rights import Rights
from squire_gatherings._hall.turnstile import Turnstile


def parts_of(hall: Hall) -> tuple[Registry, Rights, Asking]:
    """Return what another process goes on with, or goes on for."""
    return hall._registry, hall._rights, hall._asking


def events_of(hall: Hall) -> Delivery | None:
    """Return the delivery of the hall's lifecycle events, if they are told."""
    return hall._events


def peers_of(hall: Hall) -> Peers | None:
    """Return what the hall is among the nodes that share its store."""
    return hall._peers


def be_one_of(hall: Hall, peers: Peers) -> None:
    """Have a hall be one of several that share its store."""
    hall._peers = peers


def quotas_of(hall: Hall) -> Quotas:
    """Return what the hall's gatherings and ways in may use up together."""
    return hall._registry.quotas


def turnstile_of(hall: Hall) -> Turnstile:
    """Return whose turn it is to end, and to be taken down."""
    return hall._registry.turnstile


def board_of(hall: Hall) -> Board:
    """Return a board on which the hall's gatherings are watched."""
    return Board(hall._registry)


def observer_of(hall: Hall) -> Observer:
    """Return what operators read of the hall. Programs have `Hall.snapshot`."""
    return Observer(hall._registry, hall._rights.terms.wall)
