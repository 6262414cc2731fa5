"""The load test: puts a load on a server, and checks all that its clients see.

It is a tool of its own. It imports nothing of the library but the poller, not even the codecs: a
tester that shares the codec can't find its bugs. Only the command line imports it. Its rooms, each
of which imports only those above it:

- `plan`, `op`: what is done and when; every process derives the same from it.
- `checks`: what a server may do, as its clients see it, and what is wrong otherwise.
- `clients`: the clients of one process, and what they share.
- `process`: one generator process, which owns a share of the clients.
- `coordinator`: the process that runs the server and the generator processes, adds up what they
  report, and judges the end.
- `report`: what was found, as JSON, as text and as a page; and live progress.

`run` is the way through all of them. `pipe_lines` and `distributions` are used by several.
"""
