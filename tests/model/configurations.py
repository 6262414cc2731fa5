"""Configurations: how many there are of each, and what may happen how often."""

from tests.model.steps import Nodes
from tests.model.world import Budget

SMALL: dict[str, Nodes] = {
    "a message, a join and the end": Nodes(),
    "commits that fail": Nodes(clients=1, budget=Budget(failures=2, booms=1)),
    "crashes": Nodes(clients=1, budget=Budget(crashes=1, failures=1, sleeps=1)),
    "a sleep": Nodes(clients=1, messages=2, budget=Budget(sleeps=1, cuts=1)),
    "a revocation": Nodes(budget=Budget(revocations=1)),
    "a node that is cut off": Nodes(places=2, clients=1, budget=Budget(silences=1)),
    "a takeover of a sleeper": Nodes(places=2, clients=1, budget=Budget(crashes=1, sleeps=1)),
}
"""Those of `make test`."""

LARGE: dict[str, Nodes] = {
    "two messages of two clients": Nodes(messages=2, budget=Budget(failures=1, cuts=1)),
    "two clients, a sleep and a crash": Nodes(budget=Budget(crashes=1, sleeps=1, failures=1)),
    "revocations": Nodes(budget=Budget(revocations=2, failures=1, cuts=1)),
    "four messages": Nodes(clients=1, messages=4, budget=Budget(crashes=1, failures=2, sleeps=1)),
    "crashes of behaviours": Nodes(messages=2, budget=Budget(booms=2)),
    "two gatherings": Nodes(gatherings=2, budget=Budget(crashes=1, failures=1)),
    "three gatherings": Nodes(gatherings=3, clients=3),
    "two clients at two nodes": Nodes(places=2, budget=Budget(silences=1, failures=1)),
    "a takeover, while commits fail": Nodes(
        places=2, clients=1, messages=2, budget=Budget(crashes=1, silences=1, failures=1)
    ),
    "sleepers that are taken over": Nodes(
        places=2, clients=1, messages=2, budget=Budget(silences=2, sleeps=1)
    ),
    "three nodes": Nodes(places=3, clients=1, budget=Budget(silences=2, crashes=1)),
    "three nodes and two gatherings": Nodes(places=3, gatherings=2, budget=Budget(silences=1)),
}
"""And those of `make model`."""
