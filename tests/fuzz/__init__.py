"""Fuzzing: what comes from outside, made up by a machine that sees which code it reaches.

Each module that `targets` imports has targets: functions that take bytes and raise if anything is
wrong. `make test` gives them the inputs of `corpus/`; `make fuzz` looks for new ones.
"""
