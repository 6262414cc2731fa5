"""A small client of the protocol, written from docs/protocol.md alone, and certified.

- `client`: the client, on asyncio and the `websockets` library, in both encodings.
- `__main__`: the adapter by which `squire-gatherings conform` drives it.

`squire-gatherings conform -- python -m examples.small_client`
"""
