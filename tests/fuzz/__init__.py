"""Fuzzing: what comes from outside, made up by a machine that sees which code it reaches.

Each module here that ends in no `test_` and is named in `targets` has targets: functions that take
bytes and raise if anything is wrong. `make test` gives them the inputs of `corpus/`; `make fuzz`
looks for new ones.
"""
