"""Endings: how exactly rooms that nobody uses end, here and where people would go instead.

`python -m benchmarks.endings --help`. Each server is a process of its own on kernel loopback, and
so is the client. There are two stories, since not every server can end a room that has a client:

- `idle`: in each room a client says one thing and is silent; the room is to end so many seconds
  later, and to tell its client. The client notes when it is told, and how.
- `left`: a client says one thing and leaves; the room is to end so many seconds later. The server
  notes it, since nobody else is there.

Its modules: `catalogue` says who takes part, `dialects` how a client speaks to each, `client` is
the process of clients, and `__main__` runs them one after the other and shows what came out.
"""
