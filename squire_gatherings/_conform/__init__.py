"""The conformance test of clients: a hostile server that plays a client through the protocol.

It is a tool of its own, and imports nothing of the library, not even the codecs: a judge who shares
the code of those that he judges can't find its faults. Only the command line imports it. Its rooms,
each of which imports only those above it:

- `encodings`, `messages`: JSON and MessagePack; what a client may say at all.
- `rules`: what a client must do, and where the protocol says so.
- `links`, `server`: one WebSocket, as a server sees it; where clients come in.
- `subject`, `process`, `control`: the client under test, which is told what to do and tells what
  it sees, in lines of JSON; as a process, or over a WebSocket of its own.
- `logs`, `room`: a gathering's log, and what the server of a story says.
- `judge`, `reports`, `witness`: whether what a client sends, and what it reports, is right.
- `stage`, `story`: what a story is played on, and what one is; `stories` has them all.
- `report`, `run`, `files`: what was found; all stories, one after the other; vectors and schema.

`adapters` has the adapters of our own clients. They import those clients, and nothing imports them.
"""
