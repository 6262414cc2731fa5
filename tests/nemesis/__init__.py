"""The nemesis: several nodes, their clients, faults at random, and what must hold all the same.

The checker, which needs no server:

- `linearizability`: is there an order of concurrent operations that explains what they returned?
- `history`, `gathering_log`: what was done to a gathering's log, and what a log may answer.
- `log_order`: the same question for logs alone, answered in one pass over any number of operations.
- `halls`: nodes in one process and on a virtual clock, whose histories the checker is given.

The run, with real processes, from its parts to the whole:

- `node`, `database`, `proxy`, `network`, `clocks`, `cluster`: what serves, and what can be done to
  it.
- `diary`: what was done and when, and what was found.
- `allowed`, `messages`, `pending`, `ends`, `client`, `gathering`, `crowd`: who uses it, and sees
  what is wrong.
- `told`: what the nodes' webhook is told.
- `faults`, `run`: what is done at random, and the way from the first join to the last check.

It is in the tests, since nobody who uses the package needs it; and of the package it uses the load
test's frames and links, which share no code with the server.
"""
