"""The model: several nodes, their gatherings and clients, in every order that there is.

An explicit-state model checker: all states that can be reached from the first one are looked at,
breadth first (`checker`), so that what it finds is told by the shortest way there. There is no
TLA+ here, whose tools no registry of ours has; what there is is better tied to the code: what a
gathering decides, the objects of `_rules` decide (`Deadline`, `OpLog` with its `SyncIds`, `Lease`,
`DeliveryWindow`), which are made anew of each state. What the model adds is what lies between them:

- `world`: the state. The store's logs, owners and sleepers, nodes and their leases, rooms, clients,
  appends under way. Times are ages, so that a state that was is the same again.
- `steps`: what may happen next. Clients join, speak, are cut off, and lose their rights; time
  passes. `rooms`: a turn, a commit that ends, fails or seems to fail, the deadline, a behaviour
  that crashes, hibernation and waking. `appends`: what the store does. `processes`: kills, leases
  that run out, takeovers. Each step is what the hall does between two checkpoints.
- `truths`: what must hold in each state, and at each step.
- `configurations`: how many there are of each, and which steps may happen how often. Small ones run
  in `make test`, all of them with `make model`.
- `delivery`: a second, smaller model: what a client is forwarded, acknowledges, loses, and is sent
  again, by the real `DeliveryWindow`.
- `traces`: what clients saw of a real hall, in stories at random (`tests/schedules`), must be
  something that the model can do.

A model that can't fail proves nothing: `test_model` plants faults, and each must be found.

Liveness (whatever is unused ends, whoever asks is answered) is: from each state that can be
reached, one can be reached in which nothing is left to do (AG EF). That is weaker than what
fairness would say, and is no promise of when; `make schedules` looks at that.
"""
