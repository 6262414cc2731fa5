"""What the nodes' webhook is told of lifecycle events: each incarnation's opening and end, once."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from squire_gatherings._values.events import LOST, EventKind, LifecycleEvent
from tests.nemesis.ends import Life
from tests.webhook.receiver import SECRET, Receiver, receiving


@define(eq=False)
class Told:
    """The receiver, and what clients know."""

    receiver: Receiver
    lives: list[Life] = field(factory=list)
    """All incarnations of which clients know."""

    def is_all_there(self) -> bool:
        """Whether all ends were told of which clients know."""
        told = {one.incarnation for one in self._events() if one.kind is EventKind.DISPERSED}
        return all(life.incarnation in told for life in self.lives if life.notice is not None)

    def wrong(self) -> Iterator[str]:
        """Find what may not be, in what was told and what is missing."""
        events = self._events()
        yield from _wrong_order(events)
        opened = {one.incarnation for one in events if one.kind is EventKind.OPENED}
        ends = {
            one.incarnation: one.data["reason"] for one in events if one.kind is EventKind.DISPERSED
        }
        for life in self.lives:
            name = life.incarnation
            if name not in opened:
                yield f"clients were let in by {name}, of which no opening was told"
            # A notice waits for no store: a node that dies after it has not told the end.
            if life.notice is not None and ends.get(name) not in ("idle", LOST):
                yield f"clients were told that {name} was idle, and the webhook {ends.get(name)}"

    def _events(self) -> list[LifecycleEvent]:
        """Return each event once, in order."""
        with self.receiver.arrived:
            events = {one.id: one for one in self.receiver.taken}
        return sorted(events.values(), key=lambda one: one.number)


def _wrong_order(events: Iterable[LifecycleEvent]) -> Iterator[str]:
    """Find openings while another incarnation was open, and ends of none, or that come again."""
    living: dict[str, str] = {}
    kinds: dict[str, list[EventKind]] = defaultdict(list)
    for event in events:
        name, room = event.incarnation, event.gathering
        if event.kind is EventKind.OPENED:
            if room in living:
                yield f"{room}: {name} was opened while {living[room]} was open"
            living[room] = name
        elif living.get(room) != name:
            yield f"{room}: {event.kind} of {name} when {living.get(room)} was open: {kinds[name]}"
        if event.kind is EventKind.DISPERSED and living.get(room) == name:
            del living[room]
        kinds[name].append(event.kind)


@contextmanager
def told(folder: Path) -> Iterator[tuple[Told, list[str]]]:
    """Receive a webhook; give the options of `serve` by which nodes know it."""
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    with receiving() as receiver:
        options = ["--webhook", receiver.url, "--webhook-secret-file", str(secret)]
        yield Told(receiver), options
