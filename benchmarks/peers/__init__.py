"""Peers: this project and what people would pick instead, the same work in one run.

`python -m benchmarks.peers --help`. Each server is a process of its own on kernel loopback, and
so is the client that loads it (`picows` on `uvloop`, lean enough not to be the bottleneck:
its share of a core is printed). Only ratios within a run mean something.
"""
