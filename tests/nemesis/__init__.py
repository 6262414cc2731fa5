"""The nemesis: several nodes, their clients, faults at random, and what must hold all the same.

The checker, which needs no server:

- `linearizability`: is there an order of concurrent operations that explains what they returned?
- `history`, `gathering_log`: what was done to a gathering's log, and what a log may answer.
- `log_order`: the same question for logs alone, answered in one pass over any number of operations.
"""
