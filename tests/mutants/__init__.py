"""Mutants: our code with one fault that others have made, each of which the tests must find.

`faults` has the mutants: which place of which module is something else, what that is in words, and
which tests find it. The first are faults of SquireCore's attempt and of Colyseus, Hocuspocus,
Orleans and Akka.NET. `python -m tests.mutants` (`make mutants`) runs the tests of each, in a
process of its own whose imports are changed (`tests.mutating`, `plugin`), and prints a table.
`test_faults.py` tries at each `make test` whether all mutants still fit the code.

A mutant that survives shows a test that is missing. It is written, in the folder where it belongs;
then the mutant stays here.
"""
