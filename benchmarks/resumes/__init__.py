"""Resumes: which clients come back exact after their connection was cut, here and elsewhere.

`python -m benchmarks.resumes --help`. In each room an author, who is never cut off, says some
events; a listener is connected through a proxy of ours, which cuts its connection. Nobody helps the
listener: its library connects again by itself. It is *exact* if it has heard each event once, in
order, and nothing is missing; where the room ended, it must know that as well.

Where the connection is cut:

- `random`: at a random byte, in one direction or the other, the handshake included.
- `first`: within the first event, after the listener has joined.
- `twice`: at a random byte, and the connection after that again.
- `ending`: within the notice that the room has ended (only where rooms end and tell it).

Its modules: `cuts` says where a connection is cut, `proxy` cuts it, `catalogue` has who takes part,
`listeners` is our own process of authors and listeners (those of others are on node, beside the
servers of `benchmarks.peers`), and `__main__` runs them and shows what came out.
"""
