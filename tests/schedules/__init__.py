"""Schedules: small stories, told in every order, and at random in as many as there is time for.

A *story* is what happens to a hall: messages, joins, commits that end well or badly, a deadline
that strikes, leaves, crashes, evictions. It is told by one task, which decides by itself how far
the hall gets in between: nothing happens between two events, or one turn of Trio, or all that can.
A *plan* is the order of the events, with that. `stories` has the events, `truth` what must hold
whatever the order, and `plans` all plans of a story.

What a plan doesn't decide is in which order Trio runs the tasks of one turn. `orders` has that
follow from a seed, predicts it, and finds seeds for orders that weren't tried yet, until there is
none: then the tree of the orders is complete, and is a proof that all were tried.

`make test` tries all plans of the smallest stories and some at random; `make schedules` all plans
of all stories in all orders, and then as many at random as `ARGS="--count N"` says. What it finds
becomes a test: a plan in `test_schedules.py`.

Only public calls are used (`orders` says how), so what runs is Trio as it is.
"""
